"""How long each stream is kept: what is in force, what two people agreed on, and which files are over their time.

Without a rule everything is kept for ever. A longer rule counts at once; a shorter one only a week after
two different people wanted it, so that a stolen account cannot erase traces today. Age is counted from file
to file in the order of the log, each step at most as long as files are normally apart: a clock that jumps
years ahead makes nothing old. It decides and removes nothing.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from itertools import pairwise
from typing import Final

import msgspec

from gateway.audit.filehead import FileHead, FileHeadError
from gateway.audit.merkle import Tree
from gateway.audit.segment import SegmentError
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import Stream
from gateway.ledger.holds import Holds
from gateway.ledger.layout import Layout, segment_name
from gateway.ledger.spare import replace_file
from gateway.ledger.spool import numbers, read_head

DELAY_S: Final = 7 * 86_400.0
"""Between the second person's word and the moment when a shorter retention counts."""
_NS: Final = 1_000_000_000
_DAY_S: Final = 86_400
_SHORTEST_STEP_S: Final = 2 * 86_400.0
FILE_NAME: Final = "retention.json"


def describe(seconds: float | None) -> str:
    """Write a retention for people and for the log."""
    if seconds is None:
        return "none"
    return f"{int(seconds // _DAY_S)}d" if seconds % _DAY_S == 0 else f"{int(seconds)}s"


def described(text: str) -> float | None:
    """Read what `describe` wrote, in whole seconds; what is neither days nor seconds keeps everything."""
    number, unit = text[:-1], text[-1:]
    if unit not in {"d", "s"} or not number.isdecimal():
        return None
    return float(int(number) * (_DAY_S if unit == "d" else 1))


class RetentionError(AuditUnavailableError):
    """The rules of retention cannot be read or written: nothing is removed."""


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A shorter retention that somebody wants."""

    seconds: float
    proposed_by: str
    proposed_ns: int
    approved_by: str = ""
    approved_ns: int = 0


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for one stream."""

    seconds: float | None = None
    """None = for ever."""
    approved_by: str = ""
    """Who agreed to it second; empty where nobody had to."""
    change: Change | None = None


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules of all streams; a stream that is not named keeps everything."""

    version: int = 1
    streams: dict[Stream, Rule] = {}

    def of(self, stream: Stream) -> Rule:
        """Return the rule of a stream."""
        return self.streams.get(stream, Rule())

    def with_rule(self, stream: Stream, rule: Rule) -> Rules:
        """Return rules in which one is another."""
        return msgspec.structs.replace(self, streams={**self.streams, stream: rule})


class State(StrEnum):
    """What becomes of a file at the next application."""

    DUE = "due"
    KEPT = "kept"
    """Its time is not over."""
    HELD = "held"
    UNDELIVERED = "undelivered"
    """A sink that must have it does not."""
    OPEN = "open"
    """It is not a segment yet."""
    BEHIND = "behind"
    """Over its time, and kept because one before it is: a log is pruned from its beginning."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One closed file and how old it is."""

    number: int
    first: int
    last: int
    created_ns: int
    ended_ns: int
    """When the file after it began."""
    age_s: float
    """Since then, as the log can prove."""
    bytes: int
    is_sealed: bool
    following: FileHead

    @property
    def since_ns(self) -> int:
        """Its entries were taken in from here on, whichever way the clock went."""
        return min(self.created_ns, self.ended_ns)

    @property
    def until_ns(self) -> int:
        """Its entries were taken in up to here."""
        return max(self.created_ns, self.ended_ns)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A file and what becomes of it."""

    file: File
    state: State
    why: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What would be removed of one stream now."""

    stream: Stream
    rule: Rule
    wanted_s: float | None
    """What gateway.yaml says; None = for ever."""
    verdicts: tuple[Verdict, ...]

    @property
    def due(self) -> list[File]:
        """The files that would be removed, the oldest first."""
        return [verdict.file for verdict in self.verdicts if verdict.state is State.DUE]

    @property
    def is_waiting(self) -> bool:
        """Tell whether gateway.yaml asks for a shorter retention than is in force."""
        return is_shorter(self.wanted_s, self.rule.seconds)


def is_shorter(one: float | None, other: float | None) -> bool:
    """Tell whether a retention keeps less than another; None keeps for ever."""
    return one is not None and (other is None or one < other)


Blocks = Callable[[Stream, File], str]
"""Says why a file of a stream must stay (a sink lacks its entries, or the file itself); empty = it need not."""


def settle(rule: Rule, wanted_s: float | None, *, waited_s: float, is_young: bool) -> Rule:
    """Return the rule that is in force now that gateway.yaml asks for `wanted_s`.

    `waited_s` is how long ago the second person agreed; `is_young` says that the log has nothing older than the delay.
    """
    if not is_shorter(wanted_s, rule.seconds):
        return rule if wanted_s == rule.seconds and rule.change is None else Rule(seconds=wanted_s)
    change = rule.change
    if change is not None and change.seconds == wanted_s and change.approved_by and waited_s >= DELAY_S:
        return Rule(seconds=wanted_s, approved_by=change.approved_by)
    if is_young and rule == Rule():
        return Rule(seconds=wanted_s)
    return rule


def propose(rule: Rule, wanted_s: float | None, by: str, now_ns: int) -> Rule:
    """Note that somebody wants the shorter retention of gateway.yaml. Raises `ValueError`."""
    if wanted_s is None or not is_shorter(wanted_s, rule.seconds):
        raise ValueError("gateway.yaml asks for no shorter retention than is in force")
    return msgspec.structs.replace(rule, change=Change(seconds=wanted_s, proposed_by=by, proposed_ns=now_ns))


def approve(rule: Rule, wanted_s: float | None, by: str, now_ns: int) -> Rule:
    """Note that a second person agrees. Raises `ValueError`: nobody proposed it, or this is the same person."""
    change = rule.change
    if change is None or change.seconds != wanted_s:
        raise ValueError("nobody has proposed the retention that gateway.yaml asks for")
    if change.proposed_by == by:
        raise ValueError("whoever proposed a shorter retention cannot approve it; a second person has to")
    if change.approved_by:
        raise ValueError("it is approved already")
    return msgspec.structs.replace(rule, change=msgspec.structs.replace(change, approved_by=by, approved_ns=now_ns))


class Timeline:
    """How much time passed between two moments, as far as the security stream's files prove: it is never idle for long."""

    def __init__(self, created_ns: Sequence[int], longest_step_s: float) -> None:
        self._longest_ns = int(longest_step_s * _NS)
        pairs = pairwise(created_ns)
        self._steps = [(one, min(max(0, other - one), self._longest_ns)) for one, other in pairs]

    def span_ns(self, begin: int, end: int) -> int:
        """Return nanoseconds, never more than passed by the clock."""
        proven = sum(step for at, step in self._steps if begin <= at < end)
        return min(max(0, end - begin), max(self._longest_ns, proven))


def longest_step_s(segment_age_s: float) -> float:
    """Return the longest time between two files that is believed, `audit.segment_age` given."""
    return max(_SHORTEST_STEP_S, 2 * segment_age_s)


def heads(layout: Layout, stream: Stream) -> list[FileHead]:
    """Return the heads of a stream's files in order. Raises `RetentionError`."""
    try:
        return [read_head(layout.directory, stream, number) for number in numbers(layout.directory, stream)]
    except (OSError, FileHeadError, SegmentError) as exc:
        raise RetentionError(f"{layout.directory}: {stream}: {exc}; run gateway audit verify") from exc


def files(layout: Layout, stream: Stream, timeline: Timeline, now_ns: int) -> list[File]:
    """Return the closed files of a stream in order, with their age. Raises `RetentionError`."""
    known = heads(layout, stream)
    found: list[File] = []
    age_ns = timeline.span_ns(known[-1].created_ns, now_ns) if known else 0
    for head, following in reversed(list(pairwise(known))):
        sealed = layout.directory / segment_name(stream, head.file_no)
        is_sealed = sealed.exists()
        found.append(
            File(
                number=head.file_no,
                first=head.first_index,
                last=following.first_index - 1,
                created_ns=head.created_ns,
                ended_ns=following.created_ns,
                age_s=age_ns / _NS,
                bytes=sealed.stat().st_size if is_sealed else following.prev_tail,
                is_sealed=is_sealed and following.file_no == head.file_no + 1,
                following=following,
            )
        )
        age_ns += timeline.span_ns(head.created_ns, following.created_ns)
    return found[::-1]


def plan(
    layout: Layout,
    stream: Stream,
    rule: Rule,
    wanted_s: float | None,
    *,
    holds: Holds,
    blocks: Blocks,
    timeline: Timeline,
    now_ns: int,
) -> Plan:
    """Say what becomes of each closed file of a stream. Raises `RetentionError`."""
    verdicts: list[Verdict] = []
    is_open = True
    for file in files(layout, stream, timeline, now_ns):
        state, why = State.DUE, ""
        if rule.seconds is None or file.age_s < rule.seconds:
            state = State.KEPT
        elif hold := holds.blocks(stream, file.since_ns, file.until_ns):
            state, why = State.HELD, hold.case
        elif not file.is_sealed:
            state = State.OPEN
        elif why := blocks(stream, file):
            state = State.UNDELIVERED
        elif not is_open:
            state = State.BEHIND
        is_open = is_open and state is State.DUE
        verdicts.append(Verdict(file=file, state=state, why=why))
    return Plan(stream=stream, rule=rule, wanted_s=wanted_s, verdicts=tuple(verdicts))


def root_after(head: FileHead) -> bytes:
    """Return the root of the tree of everything before a file."""
    return Tree(head.first_index, head.frontier).root()


def load(layout: Layout) -> Rules:
    """Read the rules; no file = everything is kept. Raises `RetentionError`."""
    path = layout.custody / FILE_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Rules)
    except FileNotFoundError:
        return Rules()
    except (OSError, msgspec.MsgspecError) as exc:
        raise RetentionError(f"{path}: cannot be read, so that nothing is removed: {exc}") from exc


def make_directory(layout: Layout) -> None:
    """Make the directory of the custodian's memory where no custodian ran yet. Raises `OSError`."""
    layout.create()
    if not layout.custody.exists():
        layout.custody.mkdir(mode=0o700)
        layout.give(layout.custody)


def save(layout: Layout, rules: Rules) -> None:
    """Write the rules. Raises `RetentionError`."""
    path = layout.custody / FILE_NAME
    try:
        replace_file(path, msgspec.json.format(msgspec.json.encode(rules)) + b"\n")
    except OSError as exc:
        raise RetentionError(f"{path}: cannot be written: {os.strerror(exc.errno or 0).lower()}") from exc


@contextmanager
def changing(layout: Layout) -> Iterator[None]:
    """Be the only one who changes the rules or the holds for a moment. Raises `OSError`."""
    fd = os.open(layout.run / "retention.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        layout.give(fd)
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
