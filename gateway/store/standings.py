"""Answers of detectors that stand, for every worker and node: written by whoever finds or lifts them, read once a second.

A worker reads one row, and the others only when that one changed. An answer ends by itself; `lift` ends it before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from hashlib import sha256
from typing import Any, Final

import msgspec

from gateway.inspection.abuse.rule import Scope
from gateway.inspection.abuse.standing import MOST_STANDINGS, Standing
from gateway.store.rows import Row, Rows, Transaction
from gateway.store.sealing import SealBrokenError, Sealer
from gateway.store.shelf import Shelf
from gateway.store.tables import ABUSE_MEMORY, MARKS, STANDINGS

_MARK: Final = b"standings"
_MARK_BYTES: Final = 8
MEMORY_S: Final = 30 * 86_400.0


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What the detectors of one node remember over a restart."""

    at: float
    memory: bytes
    """MessagePack of what `Watch.dump` returned."""


class StandingStore:
    """The standings of one gateway. Usable from any thread; methods raise `StoreUnavailableError`."""

    __slots__ = ("_memory", "_random", "_rows", "_shelf")

    def __init__(self, rows: Rows, sealer: Sealer, random: Callable[[int], bytes] = os.urandom) -> None:
        self._rows = rows
        self._shelf = Shelf(STANDINGS, Standing, rows, sealer)
        self._memory = Shelf(ABUSE_MEMORY, Kept, rows, sealer)
        self._random = random

    def version(self) -> bytes:
        """Return another value whenever something was added or lifted."""
        mark = self._rows.get(MARKS, _MARK)
        return b"" if mark is None else mark.value

    def all(self, now: float) -> list[Standing]:
        """Return what stands now, the newest first; what does not open is left out: it blocks nobody."""
        found = []
        for row in self._rows.all(STANDINGS):
            if row.expires is not None and now >= row.expires:
                continue
            try:
                found.append(self._shelf.open(row))
            except SealBrokenError:
                continue
        return sorted(found, key=lambda standing: standing.since, reverse=True)

    def add(self, standing: Standing, *, now: float) -> bool:
        """Have it stand, in place of an older answer of the same rule to the same; False when there is no room.

        Networks leave room for everybody else: whoever has a /48 has 65,536 of them.
        """
        row_id = _row(standing)
        is_full = self._rows.get(STANDINGS, row_id) is None and len(self._rows.all(STANDINGS)) >= MOST_STANDINGS
        displaced = self._network_that_ends_first(now) if is_full and standing.scope is not Scope.NETWORK else None
        if is_full and displaced is None:
            return False

        def work(tx: Transaction) -> None:
            if displaced is not None:
                self._shelf.delete_in(tx, _row(displaced))
            self._shelf.put_in(tx, row_id, standing, now=now, expires=standing.until)
            self._mark_in(tx)

        self._rows.transact(work)
        return True

    def _network_that_ends_first(self, now: float) -> Standing | None:
        networks = (standing for standing in self.all(now) if standing.scope is Scope.NETWORK)
        return min(networks, key=lambda standing: standing.until, default=None)

    def lift(self, standings: Collection[Standing]) -> int:
        """End these now; returns how many stood."""

        def work(tx: Transaction) -> int:
            ended = sum(self._shelf.delete_in(tx, _row(standing)) for standing in standings)
            self._mark_in(tx)
            return ended

        return self._rows.transact(work) if standings else 0

    def remember(self, node: str, memory: dict[str, Any], *, now: float) -> None:
        """Keep what the detectors of a node remember."""
        kept = Kept(at=now, memory=msgspec.msgpack.encode(memory))
        self._rows.transact(
            lambda tx: self._memory.put_in(tx, _node(node), kept, now=now, expires=now + MEMORY_S), durable=False
        )

    def recall(self, node: str, *, now: float) -> dict[str, Any]:
        """Return what a node remembered; nothing where that cannot be read."""
        try:
            kept = self._memory.get(_node(node), now=now)
            found = {} if kept is None else msgspec.msgpack.decode(kept.memory)
        except (SealBrokenError, msgspec.DecodeError):
            return {}
        return found if isinstance(found, dict) else {}

    def _mark_in(self, tx: Transaction) -> None:
        tx.put(MARKS, Row(id=_MARK, value=self._random(_MARK_BYTES)))


def is_about(standing: Standing, user_id: str) -> bool:
    """Tell whether a standing is about a person."""
    return standing.person == user_id


def _row(standing: Standing) -> bytes:
    named = f"{standing.detector}\0{standing.rule}\0{standing.scope}\0{standing.subject}"
    return sha256(b"standing\0" + named.encode()).digest()


def _node(node: str) -> bytes:
    return sha256(b"abuse\0" + node.encode()).digest()
