"""Removes the beginning of a stream whose time is over, after saying so in the log, and never without.

The record comes first and is durable; what was said to be removed is removed whatever happens in between.
It removes what `ledger.retention` planned, and decides nothing itself.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from gateway.audit import record
from gateway.audit.filehead import FileHead
from gateway.audit.protocol import CUSTODIAN_SLOT
from gateway.custody.sealing import Recording
from gateway.custody.station import Station
from gateway.custody.threads import in_thread
from gateway.custody.tiling import TilesError, TilingDuty
from gateway.custody.trail import JOURNAL_NAME, Mark
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger import retention
from gateway.ledger.disk import sync_directory
from gateway.ledger.holds import Hold, Holds
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import UNFINISHED_SUFFIX, Layout, parse_name
from gateway.ledger.promise_reader import PromiseReader, Standing
from gateway.ledger.reader import entries
from gateway.ledger.retention import Blocks, Plan, Rules, Timeline, describe
from gateway.ledger.spool import numbers, read_head

FIRST_S: Final = 600.0
EVERY_S: Final = 86_400.0
_LOOK_S: Final = 1.0
WISH_NAME: Final = "apply"
"""A file of this name below `state_dir/custody` asks for an application now; the custodian removes it afterwards."""
_PRUNED: Final = b'"retention.prune"'
_log = structlog.get_logger("gateway.audit")

Prove = Callable[[Stream, int], None]
"""Makes sure that what is left of a stream from an index on stays provable."""


def pruned_matter(origin: str) -> str:
    """Name the matter of a log's removed files in the custodian's journal: another log has other files."""
    return f"pruned/{origin}"


class Pruning:
    """One application of the rules. `steps` says after each what is done. Blocking."""

    def __init__(
        self, layout: Layout, keys: AuditKeys, plans: Sequence[Plan], holds: Holds, *, trail: Recording, prove: Prove
    ) -> None:
        self._layout = layout
        self._keys = keys
        self._plans = plans
        self._holds = holds
        self._trail = trail
        self._prove = prove
        self.removed: dict[Stream, int] = {}
        """How many files of each stream were removed."""

    def steps(self) -> Iterator[str]:
        """Do the steps. Raises `AuditUnavailableError`, `TilesError`, `OSError`."""
        for stream in STREAMS:
            self._finish(stream)
        yield "finished"
        for plan in self._plans:
            due = plan.due
            if not due or not due[-1].following.first_index:  # files without entries alone are not worth a record
                continue
            following = due[-1].following
            if self._trail.done(pruned_matter(following.origin)) >= due[-1].number:
                continue  # said before the process was killed, and done just now
            self._prove(plan.stream, following.first_index)
            yield "proven"
            if plan.stream is Stream.SECURITY:
                self._say_again()
                yield "said again"
            mark = Mark(pruned_matter(following.origin), due[-1].number)
            self._trail.write(partial(_prune_event, plan=plan, following=following, files=len(due)), mark=mark)
            yield "recorded"
            self.removed[plan.stream] = self._finish(plan.stream, is_said=True)
            yield "removed"

    def _finish(self, stream: Stream, *, is_said: bool = False) -> int:
        """Remove every file that the log says was removed; returns how many. Raises `AuditUnavailableError`, `OSError`.

        `is_said`: it was said just now. Else the journal's number is not enough: a changed digit must remove nothing.
        """
        known = numbers(self._layout.directory, stream)
        if not known:
            return 0
        origin = read_head(self._layout.directory, stream, known[-1]).origin
        last = self._trail.done(pruned_matter(origin))
        names = [
            (path, parse_name(path.name.removesuffix(UNFINISHED_SUFFIX))) for path in self._layout.directory.iterdir()
        ]
        gone = sorted(path for path, name in names if name and name.stream is stream and name.number <= last)
        if gone and not is_said and not self._says(origin, last):
            raise AuditUnavailableError(
                f"{self._layout.custody / JOURNAL_NAME}: says that the files of {origin} up to {last} were pruned, and the "
                "log does not; nothing is removed: move it away, and at most one record is made twice"
            )
        for path in gone:
            path.unlink(missing_ok=True)
        if gone:
            sync_directory(self._layout.directory)
        return len(gone)

    def _says(self, origin: str, last: int) -> bool:
        """Tell whether the log says that the files of a log up to this one were removed. Raises `UnreadableLogError`."""
        found = entries(self._layout.directory, self._keys, streams=(Stream.SECURITY,), on_damage=lambda _: None)
        return any(
            _last_pruned(stored.entry.payload, origin) == last
            for stored in found
            if stored.entry.slot == CUSTODIAN_SLOT and _PRUNED in stored.entry.payload
        )

    def _say_again(self) -> None:
        """Say in what stays of the security stream what its beginning said, and verification must know."""
        for stream in STREAMS:
            known = retention.heads(self._layout, stream)
            if stream is not Stream.SECURITY and known and known[0].first_index:
                self._trail.write(partial(_still_pruned_event, stream=stream, head=known[0]))
        for hold in self._holds.holds:
            self._trail.write(partial(_still_held_event, hold=hold))
        for plan in self._plans:
            if plan.rule.seconds is not None:
                kept = describe(plan.rule.seconds)
                said = {"approver": plan.rule.approved_by, "before": kept, "now": kept, "proposer": ""}
                more: dict[str, Any] = {"retention": said | {"stream": plan.stream.value, "said_again": True}}
                self._trail.write(partial(record.lifecycle, event="retention.changed", more=more))


def _last_pruned(payload: bytes, origin: str) -> int:
    """Return the last file that a record says was removed of a log; 0 = it says nothing of it."""
    try:
        gw = msgspec.json.decode(payload)["unmapped"]["gw"]
        said = gw["prune"] if gw["event"] == "retention.prune" else {}
        return int(said["last_file"]) if said["origin"] == origin else 0
    except (KeyError, TypeError, ValueError, msgspec.MsgspecError):
        return 0


def _prune_event(stamp: record.Stamp, plan: Plan, following: FileHead, files: int) -> dict[str, Any]:
    """Return `retention.prune`: it names everything before `following`, so that it alone excuses the whole beginning."""
    return record.lifecycle(
        stamp,
        "retention.prune",
        severity=record.MEDIUM,
        more={
            "prune": {
                "approver": plan.rule.approved_by,
                "files": files,
                "first_file": 1,
                "from": 0,
                "last_file": following.file_no - 1,
                "newly_from": plan.due[0].first,
                "origin": following.origin,
                "policy": f"retention {describe(plan.rule.seconds)}",
                "root": b64encode(retention.root_after(following)).decode(),
                "since_ns": str(min(file.since_ns for file in plan.due)),
                "stream": plan.stream.value,
                "to": following.first_index - 1,
                "until_ns": str(max(file.until_ns for file in plan.due)),
            }
        },
    )


def _still_pruned_event(stamp: record.Stamp, stream: Stream, head: FileHead) -> dict[str, Any]:
    return record.lifecycle(
        stamp,
        "retention.prune",
        more={
            "prune": {
                "approver": "",
                "files": 0,
                "first_file": 1,
                "from": 0,
                "last_file": head.file_no - 1,
                "origin": head.origin,
                "policy": "said again",
                "root": b64encode(retention.root_after(head)).decode(),
                "stream": stream.value,
                "to": head.first_index - 1,
            }
        },
    )


def _still_held_event(stamp: record.Stamp, hold: Hold) -> dict[str, Any]:
    again = {"asked_by": hold.release_by, "created_by": hold.created_by, "said_again": True}
    return record.lifecycle(stamp, "hold.created", more={"hold": hold.facts() | again})


def settle_rules(  # noqa: PLR0917 - what it is decided from
    layout: Layout,
    promises: PromiseReader,
    wanted: Mapping[Stream, float | None],
    timeline: Timeline,
    trail: Recording,
    now_ns: int,
) -> Rules:
    """Bring what is in force to what gateway.yaml asks for, as far as that counts by now; record each change first.

    Raises `RetentionError`, `AuditUnavailableError`, `OSError`.
    """
    with retention.changing(layout):
        rules = promises.standing().rules
        for stream in STREAMS:
            rule = rules.of(stream)
            known = retention.heads(layout, stream)
            waited_ns = timeline.span_ns(rule.change.approved_ns, now_ns) if rule.change else 0
            is_young = not known or (
                known[0].file_no == 1 and timeline.span_ns(known[0].created_ns, now_ns) / 1e9 < retention.DELAY_S
            )
            settled = retention.settle(rule, wanted[stream], waited_s=waited_ns / 1e9, is_young=is_young)
            if settled == rule:
                continue
            more = {
                "retention": {
                    "approver": settled.approved_by,
                    "before": describe(rule.seconds),
                    "now": describe(settled.seconds),
                    "proposer": rule.change.proposed_by if rule.change and settled.approved_by else "",
                    "stream": stream.value,
                }
            }
            trail.write(partial(record.lifecycle, event="retention.changed", severity=record.MEDIUM, more=more))
            rules = rules.with_rule(stream, settled)
            retention.save(layout, rules)
        return rules


def make_plans(
    layout: Layout,
    rules: Rules,
    wanted: Mapping[Stream, float | None],
    *,
    holds: Holds,
    blocks: Blocks,
    timeline: Timeline,
    now_ns: int,
) -> list[Plan]:
    """Plan every stream. Raises `RetentionError`."""
    return [
        retention.plan(
            layout,
            stream,
            rules.of(stream),
            wanted[stream],
            holds=holds,
            blocks=blocks,
            timeline=timeline,
            now_ns=now_ns,
        )
        for stream in STREAMS
    ]


def record_differences(standing: Standing, trail: Recording) -> None:
    """Record each file that says less than the log, once as long as it stays as it is, and the holds that the log lacks.

    Raises `AuditUnavailableError`.
    """
    for hold in standing.unsaid:  # attack: a new log, which does not know what the old one promised
        trail.write(partial(_still_held_event, hold=hold))
    for found in standing.differences:
        if found.is_told:
            continue
        matter = found.event.partition(".")[0]
        named = {"case" if matter == "hold" else "stream": found.name, "file_sha256": found.file_sha256}
        trail.write(
            partial(
                record.lifecycle,
                event=found.event,
                success=False,
                detail=found.message,
                severity=record.HIGH,
                more={matter: named},
            )
        )


class Schedule:
    """When the rules are applied next. One for the life of the process: reloads must not put it off for ever."""

    def __init__(self) -> None:
        self.due = time.monotonic() + FIRST_S
        self.fault = ""
        """Which files said less than the log when they were applied last."""


class RetentionDuty:
    """Applies the rules once a day, and when an operator asks."""

    name = "retention"

    def __init__(
        self,
        station: Station,
        tiling: Mapping[Stream, TilingDuty],
        wanted: Mapping[Stream, float | None],
        *,
        blocks: Blocks,
        segment_age_s: float,
        schedule: Schedule,
        counters: RetentionCounters,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._station = station
        self._tiling = tiling
        self._wanted = wanted
        self._blocks = blocks
        self._longest_step_s = retention.longest_step_s(segment_age_s)
        self._schedule = schedule
        self._counters = counters
        self._clock_ns = clock_ns
        self._promises = PromiseReader(station.layout, station.keys)

    async def run(self) -> None:
        """Apply soon, and then each day. Raises `RetentionError`, `HoldsError`, `AuditUnavailableError`, `OSError`."""
        wish = self._station.layout.custody / WISH_NAME
        while True:
            if wish.exists() or time.monotonic() >= self._schedule.due:
                await self.apply()
                self._schedule.due = time.monotonic() + EVERY_S
                wish.unlink(missing_ok=True)
            await asyncio.sleep(_LOOK_S)

    async def apply(self) -> None:
        """Apply the rules once. Raises like `run`."""
        loop = asyncio.get_running_loop()
        await in_thread(self._apply, loop)

    def _apply(self, loop: asyncio.AbstractEventLoop) -> None:
        station, now_ns = self._station, self._clock_ns()
        layout = station.layout
        created = [head.created_ns for head in retention.heads(layout, Stream.SECURITY)]
        timeline = Timeline(created, self._longest_step_s)
        with retention.changing(layout):
            standing = self._promises.standing()
            record_differences(standing, station.trail)
        for found in standing.differences:
            _log.error(found.event, name=found.name, reason=found.message)
        self._schedule.fault = "; ".join(found.message for found in standing.differences)
        settle_rules(layout, self._promises, self._wanted, timeline, station.trail, now_ns)

        def prove(stream: Stream, first: int) -> None:
            asyncio.run_coroutine_threadsafe(self._tiling[stream].prune(first), loop).result()

        try:
            with retention.changing(layout):  # a hold that begins now is in force before anything goes, or after
                standing = self._promises.standing()
                holds = standing.holds
                plans = make_plans(
                    layout,
                    standing.rules,
                    self._wanted,
                    holds=holds,
                    blocks=self._blocks,
                    timeline=timeline,
                    now_ns=now_ns,
                )
                pruning = Pruning(layout, station.keys, plans, holds, trail=station.trail, prove=prove)
                for _ in pruning.steps():
                    pass
        except TilesError as error:
            raise AuditUnavailableError(str(error)) from error
        for plan in plans:
            self._counters.note(plan, pruning.removed.get(plan.stream, 0))
            if plan.is_waiting:
                _log.warning(
                    "retention.not_approved",
                    stream=plan.stream,
                    wanted=describe(plan.wanted_s),
                    in_force=describe(plan.rule.seconds),
                )
        self._counters.holds.set(len(holds.holds))

    def measure(self) -> None:
        """Nothing that is not up to date."""


class RetentionCounters:
    """What is counted about retention, for all streams."""

    def __init__(self, station: Station) -> None:
        """Declare the metrics."""
        registry = station.metrics
        self.pruned = registry.counter(
            "gateway_audit_pruned_files_total", "Segments that were removed because their time was over.", ("stream",)
        )
        self.overdue = registry.gauge(
            "gateway_audit_overdue_files", "Files over their time that a hold or a sink keeps.", ("stream",)
        )
        self.holds = registry.gauge("gateway_audit_holds", "Legal holds in force.")

    def note(self, plan: Plan, removed: int) -> None:
        """Count one application."""
        if removed:
            self.pruned.inc((plan.stream.value,), removed)
        kept = [v for v in plan.verdicts if v.state not in (retention.State.DUE, retention.State.KEPT)]
        self.overdue.set(len(kept), (plan.stream.value,))
