"""What inspection does to one request and its answer: judge the head, hold the body, change or withhold what comes back.

The pure judging is `gateway.inspection`'s. Here stands what it is given and what follows from its word. A route without
`inspection` has none of this: `Snapshot.inspections` has no entry for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Protocol

from gateway.edge.exchange import Exchange, Refusal
from gateway.exchange.reason import Reason
from gateway.wire.response import ResponseHead

Done = Callable[[Refusal | None], None]
"""Takes the verdict about a body: None = it may go upstream."""


class WithheldError(Exception):
    """The rest of an answer must not reach the client."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason.value)
        self.refusal = refusal


class Holding(Protocol):
    """Holds the body of one request until it was judged, and then gives out what goes upstream."""

    def feed(self, data: bytes) -> Refusal | None:
        """Take more of the body; a refusal ends the request at once."""

    def finish(self, done: Done) -> None:
        """Judge the whole body; `done` is called on the loop, before this returns or later, and once."""

    @property
    def length(self) -> int:
        """Bytes that `pieces` gives out; known when `done` was called."""

    def pieces(self) -> Iterator[bytes]:
        """What goes upstream, in pieces of 64 KiB at most."""

    def close(self) -> None:
        """Forget the body; called once, however the request ends."""


class Transform(Protocol):
    """Changes one answer on its way to the client."""

    head: ResponseHead
    """As it is to be sent; its `length` is None where the body may change."""

    def feed(self, data: bytes) -> bytes:
        """Return what may leave now. Raises WithheldError."""

    def finish(self) -> bytes:
        """Return the rest. Raises WithheldError."""


class Chain:
    """Several transforms, one after the other."""

    def __init__(self, transforms: list[Transform]) -> None:
        self._transforms = transforms
        self.head = transforms[-1].head

    def feed(self, data: bytes) -> bytes:
        """Pass data through all of them."""
        for transform in self._transforms:
            data = transform.feed(data)
            if not data:
                break
        return data

    def finish(self) -> bytes:
        """Take the rest out of each, and pass it through those that follow."""
        rest = b""
        for transform in self._transforms:
            rest = (transform.feed(rest) if rest else b"") + transform.finish()
        return rest


Opener = Callable[[Exchange, ResponseHead], Transform | None]
"""Says whether, and how, an answer with this head is changed; None = it is not."""
_OPENERS: Final[tuple[Opener, ...]] = ()
"""In their order: unpack and look for what must not leave, then rewrite the page."""


def judge_head(x: Exchange) -> Refusal | None:
    """Judge everything of a request but its body. Raises whatever goes wrong, which refuses."""
    return None


def hold_body(x: Exchange) -> Holding | None:
    """Say how the body of `x` is held and judged; None = it goes upstream as it comes."""
    return None


def transform_answer(x: Exchange, head: ResponseHead) -> Transform | None:
    """Say how the answer with `head` is changed; None = not at all."""
    transforms: list[Transform] = []
    for opener in _OPENERS:
        transform = opener(x, head)
        if transform is not None:
            transforms.append(transform)
            head = transform.head
    if not transforms:
        return None
    return transforms[0] if len(transforms) == 1 else Chain(transforms)


BROKEN: Final = Refusal("inspection", Reason.INTERNAL_ERROR)
"""What inspecting that failed comes to."""
