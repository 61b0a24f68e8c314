"""What the log says was promised: which legal holds are in force, and how long each stream is kept.

The log cannot be changed, the files beside it can: what counts is what was recorded. A hold counts until its end is
recorded, a retention is as long as the last `retention.changed` says, and a shorter one needs the recorded word of
two people. It is told of the gateway's own processes alone, as verification believes them. It reads nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from gateway.audit.tally import FIRST_OWN_SLOT
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.holds import Hold
from gateway.ledger.reader import Stored
from gateway.ledger.retention import Change, Rule, described

EVENTS: Final = frozenset(
    {
        "hold.created",
        "hold.release_asked",
        "hold.released",
        "hold.differs",
        "retention.changed",
        "retention.proposed",
        "retention.approved",
        "retention.withdrawn",
        "retention.differs",
        "retention.prune",
    }
)
"""The records that say it."""
_TRACES: Final = (b'"event":"hold.', b'"event":"retention.')
UNKNOWN: Final = "?"
"""Stands for people whom a hold named when it is not known any more who they are."""


class Said(NamedTuple):
    """One record that says something of it."""

    time_ns: int
    """When it was taken in."""
    event: str
    gw: Mapping[str, Any]
    by: str
    """Who caused it, as rules about two persons know them; empty where a process did."""


class Promise(msgspec.Struct, frozen=True):
    """A hold as its records say it; of whom it names they have a salted hash."""

    hold: Hold
    mark: str = ""
    """`Hold.mark`, or `UNKNOWN`."""


class Promises:
    """What the records say in their order."""

    def __init__(self, said: Iterable[Said] = ()) -> None:
        self.holds: dict[str, Promise] = {}
        """The holds in force, by case."""
        self.ended: set[str] = set()
        """Cases of which the log knows an end and no hold since."""
        self.rules: dict[Stream, Rule] = {}
        self.told: set[tuple[str, str]] = set()
        """Case or stream, and the SHA-256 of the file that was found to differ in it."""
        self.pruned: list[Mapping[str, Any]] = []
        for each in said:
            self._take(each)

    def _take(self, said: Said) -> None:
        matter, _, what = said.event.partition(".")
        fields = said.gw.get("prune" if what == "prune" else matter)
        if not isinstance(fields, Mapping):
            return
        if what == "prune":
            self.pruned.append(fields)
        elif what == "differs":
            self.told.add((str(fields.get("case") or fields.get("stream")), str(fields.get("file_sha256"))))
        elif matter == "hold":
            self._take_hold(what, said, str(fields.get("case") or ""), fields)
        elif fields.get("stream") in set(Stream):
            self._take_rule(what, said, Stream(fields["stream"]), fields)

    def _take_hold(self, what: str, said: Said, case: str, fields: Mapping[str, Any]) -> None:
        known = self.holds.get(case)
        if what == "released":
            self.holds.pop(case, None)
            self.ended.add(case)
        elif what == "created":
            self.ended.discard(case)
            made = _promise(said, case, fields)
            self.holds[case] = made if known is None else _both(known, made)
        elif known is not None:
            asked = msgspec.structs.replace(known.hold, release_by=str(fields.get("by") or ""), release_ns=said.time_ns)
            self.holds[case] = msgspec.structs.replace(known, hold=asked)

    def _take_rule(self, what: str, said: Said, stream: Stream, fields: Mapping[str, Any]) -> None:
        rule = self.rules.get(stream, Rule())
        change, by, wanted = rule.change, str(fields.get("by") or ""), described(str(fields.get("wanted")))
        if what == "changed":
            rule = Rule(seconds=described(str(fields.get("now"))), approved_by=str(fields.get("approver") or ""))
        elif what == "withdrawn":
            rule = msgspec.structs.replace(rule, change=None)
        elif what == "proposed" and wanted is not None:
            change = Change(seconds=wanted, proposed_by=by, proposed_ns=said.time_ns)
            rule = msgspec.structs.replace(rule, change=change)
        elif what == "approved" and change is not None and change.seconds == wanted and by != change.proposed_by:
            change = msgspec.structs.replace(change, approved_by=by, approved_ns=said.time_ns)
            rule = msgspec.structs.replace(rule, change=change)
        self.rules[stream] = rule


def read_said(stored: Stored) -> Said | None:
    """Return what a record of the security stream says of holds or retention; None where it says nothing of them."""
    entry = stored.entry
    if entry.slot < FIRST_OWN_SLOT or not any(trace in entry.payload for trace in _TRACES):
        return None
    try:
        record = orjson.loads(entry.payload)
        gw = record["unmapped"]["gw"]
        event = gw["event"]
        uid = record.get("actor", {}).get("user", {}).get("uid", "")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return None
    return Said(entry.time_ns, event, gw, f"os:{uid}" if uid else "") if event in EVENTS else None


def widest(one: Hold, other: Hold) -> Hold:
    """Return a hold that keeps whatever one of two keeps; whom it names is the first's."""
    return msgspec.structs.replace(
        one,
        streams=tuple(stream for stream in STREAMS if stream in one.streams or stream in other.streams),
        since_ns=min(one.since_ns, other.since_ns),
        until_ns=max(one.until_ns, other.until_ns) if one.until_ns and other.until_ns else 0,
    )


def _promise(said: Said, case: str, fields: Mapping[str, Any]) -> Promise:
    """Read what a record promises; where it does not say what is held, everything is."""
    hold = Hold(
        case=case,
        reason=str(fields.get("reason") or ""),
        created_by=str(fields.get("created_by") or said.by),
        created_ns=said.time_ns,
        release_by=str(fields.get("asked_by") or ""),
        release_ns=said.time_ns if fields.get("asked_by") else 0,
    )
    try:
        ranged = msgspec.structs.replace(
            hold,
            streams=tuple(map(Stream, fields["streams"])) or STREAMS,
            since_ns=int(fields["since_ns"]),
            until_ns=int(fields["until_ns"]),
        )
        return Promise(ranged, str(fields.get("subjects_sha256") or UNKNOWN) if fields["subjects"] else "")
    except (KeyError, TypeError, ValueError):
        return Promise(hold, UNKNOWN)


def _both(one: Promise, other: Promise) -> Promise:
    """Return the promise of a hold that was recorded again: in force is what either says."""
    return Promise(widest(one.hold, other.hold), one.mark if one.mark == other.mark else UNKNOWN)
