"""Gives receipts for what was just stored: records that announce requests to upstreams that ask for them.

Only what is safe gets one, and only where the record itself says for which upstream and which request: what a producer says
beside it counts for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from gateway.audit.protocol import pack_receipt
from gateway.audit.receipt import announced, sign_receipt
from gateway.ledger.chunk import Group

_KEYS: Final = 256
"""Keys that are remembered; a node has fewer upstreams."""


class Receipts:
    """Signs for all upstreams; the one place where their keys are."""

    def __init__(self, derive: Callable[[str, int], bytes]) -> None:
        """`derive` is `AuditKeys.receipt_key`."""
        self._derive = derive
        self._keys: dict[tuple[str, int], bytes] = {}

    def give(
        self, origin: str, size: int, groups: Sequence[Group], asked: Mapping[int, Collection[int]]
    ) -> dict[int, list[bytes]]:
        """Return the replies for each slot, for those of `asked` (slot -> sequences) that announce what a receipt is for.

        `groups` are the last records of the log `origin`, which has `size` of them on stable storage.
        """
        found: dict[int, list[bytes]] = {}
        index = size - sum(len(payloads) for _, _, payloads in groups)
        for slot, sequences, payloads in groups:
            wanted = asked.get(slot, ())
            for sequence, payload in zip(sequences, payloads, strict=True):
                if sequence in wanted and (about := announced(payload)) is not None:
                    text = sign_receipt(
                        self._key(about.upstream, about.key),
                        origin=origin,
                        index=index,
                        request_uid=about.request_uid,
                        line=about.line,
                    )
                    found.setdefault(slot, []).append(pack_receipt(sequence, text))
                index += 1
        return found

    def _key(self, upstream: str, number: int) -> bytes:
        key = self._keys.get((upstream, number))
        if key is None:
            if len(self._keys) >= _KEYS:  # attack: a worker that makes up names
                self._keys.clear()
            key = self._keys[upstream, number] = self._derive(upstream, number)
        return key
