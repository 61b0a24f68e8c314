"""Legal holds: what must be kept although its time is over, and whose key must not be destroyed.

One person is enough to make a hold; it counts at once. Two are needed to end one. The file says what is in
force, the log says who did what: each change is recorded before it counts. A file that cannot be read holds everything,
and one that says less than the log ends nothing: `promise_reader` puts both together.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection
from hashlib import sha256
from typing import Final

import msgspec

from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.reader import entries
from gateway.ledger.spare import replace_file

_BALLAST_SHARE: Final = 64 * 1024
"""Taken from the ballast when the disk is full: a hold must be possible then."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class HoldsError(AuditUnavailableError):
    """The holds cannot be read or written: everything counts as held."""


class Hold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One hold."""

    case: str
    """The name under which it is known, such as a file reference of counsel."""
    reason: str
    streams: tuple[Stream, ...] = STREAMS
    since_ns: int = 0
    """Records that were taken in from here on; 0 = from the beginning."""
    until_ns: int = 0
    """Up to here; 0 = for as long as the hold lasts."""
    subjects: tuple[str, ...] = ()
    """People whose keys are held, by name, id or token; none = everybody whose data is in the records held."""
    created_by: str
    created_ns: int
    release_by: str = ""
    """Who asked for its end first; a second person has to ask too."""
    release_ns: int = 0
    everybody: bool = False
    """It named people, and which is not known any more: no key is destroyed."""
    salt: str = ""
    """Random, and only in the file: without it nobody finds out from the log whom the hold named."""

    def covers(self, stream: Stream, first_ns: int, last_ns: int) -> bool:
        """Tell whether it keeps records of a stream that were taken in between two moments."""
        return stream in self.streams and last_ns >= self.since_ns and (not self.until_ns or first_ns <= self.until_ns)

    def mark(self) -> str:
        """Return what stands in the log for the people it names: their SHA-256 with the salt; empty for none."""
        return sha256("\n".join((self.salt, *sorted(self.subjects))).encode()).hexdigest() if self.subjects else ""

    def facts(self) -> dict[str, object]:
        """Return what its records say."""
        return {
            "case": self.case,
            "reason": self.reason,
            "streams": [stream.value for stream in self.streams],
            "since_ns": str(self.since_ns),
            "subjects": -1 if self.everybody else len(self.subjects),
            "subjects_sha256": "" if self.everybody else self.mark(),
            "until_ns": str(self.until_ns),
        }


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int = 1
    holds: tuple[Hold, ...] = ()


class Holds:
    """The holds in force. `create`, `ask_release` and `release` return new ones; `save` makes them count."""

    def __init__(self, holds: Collection[Hold] = ()) -> None:
        self.holds = tuple(holds)

    @classmethod
    def load(cls, layout: Layout) -> Holds:
        """Read the holds; no file = none. Raises `HoldsError`."""
        try:
            return cls(msgspec.json.decode(layout.holds.read_bytes(), type=_File).holds)
        except FileNotFoundError:
            return cls()
        except (OSError, msgspec.MsgspecError) as exc:
            raise HoldsError(
                f"{layout.holds}: cannot be read, so that everything counts as held: restore it from the backup ({exc})"
            ) from exc

    def save(self, layout: Layout) -> None:
        """Write the holds; on a full disk with room from the ballast. Raises `HoldsError`."""
        data = msgspec.json.format(msgspec.json.encode(_File(holds=self.holds))) + b"\n"
        try:
            try:
                replace_file(layout.holds, data)
            except OSError as exc:
                if exc.errno not in _FULL:
                    raise
                kept = layout.ballast.stat().st_size
                os.truncate(layout.ballast, max(0, kept - _BALLAST_SHARE - len(data)))
                replace_file(layout.holds, data)
        except OSError as exc:
            raise HoldsError(f"{layout.holds}: cannot be written: {os.strerror(exc.errno or 0).lower()}") from exc

    def named(self, case: str) -> Hold | None:
        """Return the hold of a case."""
        return next((hold for hold in self.holds if hold.case == case), None)

    def blocks(self, stream: Stream, first_ns: int, last_ns: int) -> Hold | None:
        """Return a hold that keeps records of a stream that were taken in between two moments."""
        return next((hold for hold in self.holds if hold.covers(stream, first_ns, last_ns)), None)

    def blocks_subject(self, names: Collection[str], is_referenced: Callable[[Hold], bool]) -> Hold | None:
        """Return a hold that keeps a person's key: one that names them, or one over records that `is_referenced` finds.

        `names` are all by which a hold may name the person: account name, id, token.
        """
        for hold in self.holds:
            if hold.everybody or (set(names) & set(hold.subjects) if hold.subjects else is_referenced(hold)):
                return hold
        return None

    def create(self, hold: Hold) -> Holds:
        """Add one. Raises `ValueError` when its case has one."""
        if self.named(hold.case) is not None:
            raise ValueError(f"there is a hold of the case {hold.case} already")
        return Holds((*self.holds, hold))

    def restore(self, hold: Hold) -> Holds:
        """Put one back that the file has lost or says less of."""
        return Holds([*(other for other in self.holds if other.case != hold.case), hold])

    def ask_release(self, case: str, by: str, now_ns: int) -> Holds:
        """Note that somebody wants a hold to end. Raises `ValueError` when there is none."""
        return self._with(msgspec.structs.replace(self._require(case), release_by=by, release_ns=now_ns))

    def release(self, case: str, by: str) -> Holds:
        """End one that another person has asked to end. Raises `ValueError`."""
        hold = self._require(case)
        if not hold.release_by or hold.release_by == by:
            raise ValueError(f"the hold of the case {case} ends when a second person asks for it too")
        return Holds([other for other in self.holds if other.case != case])

    def _require(self, case: str) -> Hold:
        hold = self.named(case)
        if hold is None:
            raise ValueError(f"there is no hold of the case {case}")
        return hold

    def _with(self, changed: Hold) -> Holds:
        return Holds([changed if hold.case == changed.case else hold for hold in self.holds])


def find_token(layout: Layout, keys: AuditKeys, hold: Hold, token: str) -> bool:
    """Tell whether a subject's token stands in a record that a hold keeps. Raises `HoldsError` when that cannot be told."""
    mark = token.encode()
    damages: list[str] = []
    streams = [stream for stream in STREAMS if stream in hold.streams]
    for stored in entries(layout.directory, keys, streams=streams, since_ns=hold.since_ns, on_damage=damages.append):
        entry = stored.entry
        if hold.covers(entry.stream, entry.time_ns, entry.time_ns) and mark in entry.payload:
            return True
    if damages:
        raise HoldsError(f"whether the hold of the case {hold.case} keeps the key cannot be told: {damages[0]}")
    return False
