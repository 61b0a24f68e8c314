"""Reads the entries of a log one batch after another: hashes each leaf, and notices what an auditor asks about.

The one loop of verification that runs for every record. It follows order, clock, producers and
open intents, and opens a payload only where the gateway's own processes wrote something that
verification has to know. It compares nothing with a signature; `walk` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from struct import Struct
from typing import Any

import msgspec
import orjson

from gateway.audit.entry import HEAD, MAGIC, EntryError
from gateway.audit.finding import DECLARED, Finding, Kind
from gateway.audit.intent import CORRELATION_MARK, INTENT, MAX_UID_BYTES, PHASE_MARK, announce, conclude
from gateway.audit.protocol import MAX_PAYLOAD_BYTES, SUPERVISOR_SLOT
from gateway.exchange.stream import STREAMS

CLOCK_SLACK_NS = 1_000_000_000
"""Intake times may go back this far before it is called a jump."""
SILENCE_NS = 45 * 60 * 1_000_000_000
"""Three heartbeats: within one run of the gateway the log is never silent for longer."""
FIRST_OWN_SLOT = SUPERVISOR_SLOT
"""From here on, producers do not parse what strangers send; what the others say about the log itself is not believed."""
SHORTEST_ENTRY = HEAD.size + 1
LONGEST_ENTRY = HEAD.size + MAX_PAYLOAD_BYTES
_ENTRY = Struct("<H6sHQQ")
_COMMON = Struct("<6sHQ")
_COMMON_BYTES = _COMMON.size
_SEQUENCE = Struct("<Q").unpack_from
_MARKS = (b'"event":"audit.gap"', b'"event":"retention.prune"', b'"event":"hold.')


class Prune(msgspec.Struct, frozen=True):
    """Entries that were removed because their time was over, as the log itself says."""

    stream: str
    first: int
    last: int
    root: str
    """Base64 root of the tree of the `last + 1` first entries."""
    policy: str = ""
    approver: str = ""
    origin: str = ""
    """The log itself: one that is begun anew has the same keys and streams. Empty where the record does not say."""
    index: int = -1
    """Of the record that says so; -1 = none of this log's."""
    files: int = 0
    """How many went with this record; 0 = it says again what went before."""
    since_ns: int = 0
    """What went with this record was taken in from here on; 0 = it does not say."""
    until_ns: int = 0


class Hold(msgspec.Struct, frozen=True):
    """A legal hold that was made or released, as the log itself says."""

    name: str
    is_released: bool
    index: int
    streams: tuple[str, ...] = tuple(STREAMS)
    since_ns: int = 0
    until_ns: int = 0
    """0 = for as long as it lasts."""

    def covers(self, prune: Prune) -> bool | None:
        """Tell whether it kept what was removed; None = the record of the removal does not say when that was taken in."""
        if prune.stream not in self.streams:
            return False
        if not self.since_ns and not self.until_ns:
            return True
        if not prune.until_ns:
            return None
        return prune.until_ns >= self.since_ns and (not self.until_ns or prune.since_ns <= self.until_ns)


class Tally:
    """What is known after the entries so far."""

    def __init__(
        self, *, stream: int, file: str, sequences: Mapping[int, int], intents: Mapping[str, int], last_ns: int = 0
    ) -> None:
        self.findings: list[Finding] = []
        self.sequences = dict(sequences)
        self.intents = dict(intents)
        self.prunes: list[Prune] = []
        self.holds: list[Hold] = []
        self.first_ns = 0
        self.last_ns = last_ns
        """Intake time of the entry before; 0 = there is none."""
        self.earliest_ns = 0
        self.latest_ns = 0
        self.has_failed = False
        """Something was found that contradicts an intact log."""
        self._file = file
        self._prefix = MAGIC + bytes((0, stream))

    def take(self, bundle: bytes, first_index: int) -> tuple[list[bytes], int]:
        """Follow the whole entries at the beginning of a bundle; return their leaf hashes and how many bytes they have.

        Raises `EntryError`.
        """
        buffer = bytearray(bundle)
        view = memoryview(buffer)
        leaves: list[bytes] = []
        intents = self.intents
        rfind, starts = bundle.rfind, bundle.startswith
        known, slot, sequence = b"\xff", -1, 0
        at, end = 0, len(bundle)
        last = end - _ENTRY.size
        while at <= last:
            high = bundle[at + 1]
            start = at + 2
            stop = start + (bundle[at] | high << 8)
            if stop > end:
                break
            # entries of one batch have one producer and one time: sixteen bytes that need no parsing
            if not starts(known, start):
                if slot >= 0:
                    self.sequences[slot] = sequence
                slot = self._enter(bundle, start, stop - start, first_index + len(leaves))
                sequence = self.sequences.get(slot, 0)
                known = bundle[start : start + _COMMON_BYTES]
            (found,) = _SEQUENCE(bundle, start + _COMMON_BYTES)
            if found <= sequence or stop - start < SHORTEST_ENTRY:
                self._refuse(stop - start, slot, found, first_index + len(leaves))
            else:
                sequence = found
            buffer[at + 1] = 0  # the leaf's prefix; hashing it in place spares two copies of every record
            leaves.append(sha256(view[at + 1 : stop]).digest())
            # keys are sorted, so it stands near the end: searching from there costs a third
            phase = rfind(PHASE_MARK, start, stop)
            if phase >= 0 and starts(INTENT, phase + len(PHASE_MARK)):
                announce(intents, slot, _uid(bundle, start, stop))
            elif intents:
                conclude(intents, slot, _uid(bundle, start, stop))
            if slot >= FIRST_OWN_SLOT:
                self._notice_own(bundle, start, stop, first_index + len(leaves) - 1)
            at = stop
        if slot >= 0:
            self.sequences[slot] = sequence
        return leaves, at

    def _enter(self, bundle: bytes, start: int, length: int, index: int) -> int:
        """Read what an entry has in common with those of its batch; return its producer. Raises `EntryError`."""
        slot: int
        prefix, slot, time_ns = _COMMON.unpack_from(bundle, start)
        if prefix != self._prefix or not SHORTEST_ENTRY <= length <= LONGEST_ENTRY:
            raise EntryError("an entry of another stream, or of another version")
        last_ns = self.last_ns
        if last_ns and not last_ns - CLOCK_SLACK_NS <= time_ns <= last_ns + SILENCE_NS:
            self._notice_time(index, last_ns, time_ns)
        self.last_ns = time_ns
        self.first_ns = self.first_ns or time_ns
        self.earliest_ns = min(self.earliest_ns or time_ns, time_ns)
        self.latest_ns = max(self.latest_ns, time_ns)
        return slot

    def _refuse(self, length: int, slot: int, sequence: int, index: int) -> None:
        if length < SHORTEST_ENTRY:
            raise EntryError(f"an entry of {length} bytes")
        self._find(Kind.DUPLICATE, f"producer {slot} has sequence {sequence} twice", index)

    def _notice_time(self, index: int, last_ns: int, time_ns: int) -> None:
        if time_ns < last_ns:
            self._find(Kind.CLOCK_JUMP, f"the clock went back by {(last_ns - time_ns) / 1e9:.1f} s", index)
        else:
            minutes = (time_ns - last_ns) // 60_000_000_000
            self._find(
                Kind.STALE_HEARTBEAT,
                f"nothing was recorded for {minutes} minutes; a running gateway says something every 15",
                index,
            )

    def _notice_own(self, bundle: bytes, start: int, stop: int, index: int) -> None:
        if not any(bundle.find(mark, start, stop) >= 0 for mark in _MARKS):
            return
        try:
            gw: Mapping[str, Any] = orjson.loads(bundle[start + HEAD.size : stop])["unmapped"]["gw"]
            event = gw["event"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            event, gw = "", {}
        if event == "audit.gap":
            self._find(Kind.GAP_DECLARED, _gap_text(gw), index)
        elif event == "retention.prune":
            prune = _prune(gw, index)
            if prune is not None:
                self.prunes.append(prune)
        elif event in {"hold.created", "hold.released"}:
            self.holds.append(_hold(gw, index, is_released=event == "hold.released"))

    def _find(self, kind: Kind, message: str, index: int) -> None:
        self.has_failed = self.has_failed or kind not in DECLARED
        self.findings.append(Finding(kind=kind, message=message, file=self._file, first_index=index))


def _uid(bundle: bytes, start: int, stop: int) -> str:
    at = bundle.find(CORRELATION_MARK, start, stop)
    if at < 0:
        return ""
    at += len(CORRELATION_MARK)
    end = bundle.find(b'"', at, min(stop, at + MAX_UID_BYTES + 1))
    return bundle[at:end].decode("utf-8", "replace") if end >= 0 else ""


def _gap_text(gw: Mapping[str, Any]) -> str:
    try:
        gap = gw["gap"]
        return f"{gap['count']} records of producer {gap['slot']} were not stored ({gw['reason']})"
    except (KeyError, TypeError):
        return "records were not stored"


def _prune(gw: Mapping[str, Any], index: int) -> Prune | None:
    """Read what a record says was removed; None when it does not say it in full, and then it excuses nothing."""
    try:
        said = gw["prune"]
        return Prune(
            stream=str(said["stream"]),
            first=int(said["from"]),
            last=int(said["to"]),
            root=str(said["root"]),
            policy=str(said.get("policy") or ""),
            approver=str(said.get("approver") or ""),
            origin=str(said.get("origin") or ""),
            index=index,
            files=int(said.get("files") or 0),
            since_ns=int(said.get("since_ns") or 0),
            until_ns=int(said.get("until_ns") or 0),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _hold(gw: Mapping[str, Any], index: int, *, is_released: bool) -> Hold:
    """Read what a record says of a hold; where it does not say what is held, everything is."""
    said = gw.get("hold")
    if not isinstance(said, Mapping):
        return Hold(str(said or ""), is_released, index)
    name = str(said.get("case") or said.get("name") or "")
    try:
        return Hold(
            name,
            is_released,
            index,
            streams=tuple(map(str, said.get("streams") or STREAMS)),
            since_ns=int(said.get("since_ns") or 0),
            until_ns=int(said.get("until_ns") or 0),
        )
    except (TypeError, ValueError):
        return Hold(name, is_released, index)
