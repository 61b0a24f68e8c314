"""What inspection does to one request and its answer: judge the head, hold the body, change or withhold what comes back.

The pure judging is `gateway.inspection`'s. Here stands what it is given and what follows from its word. A route without
`inspection` has none of this: `Snapshot.inspections` has no entry for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Final, NamedTuple, Protocol

from gateway.edge.body_shape import decoded, encoded_again, judge_coding, weigh
from gateway.edge.browser import said
from gateway.edge.cross_origin import is_strict_about_forms, judge_form, reads_forms
from gateway.edge.downloads import judge_taking, open_taking
from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.leaks import (
    judge_leaks,
    judge_target,
    looks_into_requests,
    open_leaks,
)
from gateway.edge.page_answer import open_answer
from gateway.edge.snapshot import RouteInspection
from gateway.edge.upload_holding import Beside, hold_upload
from gateway.edge.waf import ask_second, is_lenient, judge_body, judge_by_waf, note, refuses_unread
from gateway.exchange.reason import Reason
from gateway.wire.response import ResponseHead

Done = Callable[[Refusal | None], None]
"""Takes the verdict about a body: None = it may go upstream."""


class Released(Enum):
    """What is held and cannot be judged goes on all the same: where inspection only records."""

    RELEASED = True


RELEASED: Final = Released.RELEASED


class Holding(Protocol):
    """Holds the body of one request until it was judged, and then gives out what goes upstream."""

    def feed(self, data: bytes) -> Refusal | Released | None:
        """Take more of the body; a refusal ends the request at once, `RELEASED` lets it go on unheld and unjudged."""

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


Judge = Callable[[Exchange, bytes], Refusal | bytes | None]
"""Judges a whole body; bytes are what goes upstream instead of it."""
BODY_JUDGES: Final[tuple[tuple[Callable[[Exchange, RouteInspection], bool], Judge], ...]] = (
    (lambda _, rules: rules.is_bounded, weigh),
    (reads_forms, judge_form),
    (looks_into_requests, judge_leaks),
    (lambda _, rules: rules.waf is not None, judge_body),
)
"""Who reads bodies, in their order, and on which routes."""
FILES: Final = (
    b"image/",
    b"audio/",
    b"video/",
    b"font/",
    b"application/octet-stream",
    b"application/pdf",
    b"application/zip",
)
"""Types that are no text: larger than what is held, they go upstream as they come."""
PIECE_BYTES: Final = 64 * 1024
_CROWDED: Final = Refusal("capacity", Reason.OVERLOADED, retry_after_s=1.0)
"""No memory for another body now."""
ON_LOOP_BYTES: Final = 8 * 1024
"""A larger body, or one that is packed, is judged beside the loop: others are served meanwhile."""
_BESIDE: Final = ThreadPoolExecutor(1, thread_name_prefix="inspection")

Opener = Callable[[Exchange, ResponseHead], Transform | None]
"""Says whether, and how, an answer with this head is changed; None = it is not."""
_OPENERS: Final[tuple[Opener, ...]] = (open_taking, open_leaks, open_answer)
"""In their order: unpack and look for what must not leave, then rewrite the page."""


def judge_head(x: Exchange) -> Refusal | None:
    """Judge everything of a request but its body. Raises whatever goes wrong, which refuses."""
    rules = x.inspection
    if rules is None:
        return None
    refusal = judge_by_waf(x, rules.waf) if rules.waf is not None else None
    if refusal is None and rules.downloads is not None:
        refusal = judge_taking(x)
    if refusal is None and rules.leaks is not None:
        refusal = judge_target(x)
    if refusal is None and not x.body_done and reads_bodies(x, rules):
        refusal = judge_coding(x, rules)
    return refusal


def reads_bodies(x: Exchange, rules: RouteInspection) -> bool:
    """Whether bodies are read here, by whomever."""
    return rules.crs is not None or rules.uploads is not None or any(wants(x, rules) for wants, _ in BODY_JUDGES)


def hold_body(x: Exchange) -> Holding | None:
    """Say how the body of `x` is held and judged; None = it goes upstream as it comes.

    Where a second engine judges, a request without a body is held like one whose body is empty.
    """
    rules = x.inspection
    if rules is None:
        return None
    wanted = [judge for wants, judge in BODY_JUDGES if wants(x, rules)] if not x.body_done else []
    reads = not x.body_done and is_read(x, rules)
    is_strict = (
        refuses_unread(x, rules) or not is_lenient(x, rules) or (judge_form in wanted and is_strict_about_forms(rules))
    )
    beside = Beside(_BESIDE, ON_LOOP_BYTES)
    upload = hold_upload(x, rules, wanted, beside, reads_files=reads, is_strict=is_strict)
    if upload is not None:
        return upload
    judges = wanted if reads else []
    if not judges and rules.crs is None:
        return None
    return MemoryHolding(x, rules, judges, is_strict=is_strict)


def is_read(x: Exchange, rules: RouteInspection) -> bool:
    """Whether the body is one that is read: not a file of a size that is not held."""
    kind = said(x.fields, b"content-type").lower()
    if not kind.startswith(FILES):
        return True
    length = x.fields.length
    return length is not None and length <= rules.max_body


class Judged(NamedTuple):
    """A body that may go upstream."""

    says: bytes
    """Without its content coding."""
    goes_on: bytes


class MemoryHolding:
    """A body that is read whole, in memory."""

    def __init__(self, x: Exchange, rules: RouteInspection, judges: Sequence[Judge], *, is_strict: bool) -> None:
        """Begin. `is_strict`: a body that is too large to be read is refused."""
        self._x = x
        self._rules = rules
        self._judges = judges
        self._body = bytearray()
        self._counted = 0
        self._is_closed = False
        self._is_strict = is_strict

    def feed(self, data: bytes) -> Refusal | Released | None:
        """Take more of the body."""
        if not self._x.client.held_bytes.take(len(data), self._rules.max_body):
            return _CROWDED
        self._counted += len(data)
        self._body += data
        if len(self._body) <= self._rules.max_body:
            return None
        if self._is_strict:
            return Refusal("inspection", Reason.BODY_TOO_LARGE)
        note(self._x, "waf", {"outcome": "unread", "because": "body too large"})
        return RELEASED

    def finish(self, done: Done) -> None:
        """Judge by our own rules, then by the second engine's where there is one; a large or packed body beside the loop."""
        if len(self._body) <= ON_LOOP_BYTES and not said(self._x.fields, b"content-encoding"):
            self._follow(self._judged(), done)
            return
        judging = asyncio.get_running_loop().run_in_executor(_BESIDE, self._judged)
        judging.add_done_callback(lambda judged: self._follow_late(judged, done))

    def _judged(self) -> Judged | Refusal:
        """Judge the body, and say what of it goes upstream."""
        if self._is_closed:  # attack: bodies of clients that leave, one after the other, while others wait
            return BROKEN
        x, body = self._x, bytes(self._body)
        said_by_it = decoded(x, self._rules, body)
        if isinstance(said_by_it, Refusal):
            return said_by_it
        if said_by_it is None:  # nobody reads it, and it goes on
            return Judged(body, body)
        says = said_by_it
        for judge in self._judges:
            judged = judge(x, says)
            if isinstance(judged, Refusal):
                return judged
            if judged is not None:
                says = judged
        return Judged(says, body if says is said_by_it else encoded_again(x, says))

    def _follow_late(self, judging: asyncio.Future[Judged | Refusal], done: Done) -> None:
        if self._is_closed:
            return
        try:
            judged: Judged | Refusal = judging.result()
        except Exception:  # noqa: BLE001 - whatever goes wrong while inspecting refuses
            self._x.client.inspection_failed(self._x)
            judged = BROKEN
        self._follow(judged, done)

    def _follow(self, judged: Judged | Refusal, done: Done) -> None:
        if isinstance(judged, Refusal):
            done(judged)
            return
        self._body[:] = judged.goes_on
        if self._rules.crs is None:
            done(None)
        else:
            is_unpacked = judged.says is not judged.goes_on
            ask_second(self._x, self._rules.crs, judged.says, done, is_unpacked=is_unpacked)

    @property
    def length(self) -> int:
        """Bytes that go upstream."""
        return len(self._body)

    def pieces(self) -> Iterator[bytes]:
        """Give out the body."""
        body = bytes(self._body)
        for start in range(0, len(body), PIECE_BYTES):
            yield body[start : start + PIECE_BYTES]

    def close(self) -> None:
        """Forget the body; what waits to be judged is not judged any more."""
        self._is_closed = True
        self._body.clear()
        self._x.client.held_bytes.give_back(self._counted)
        self._counted = 0


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
