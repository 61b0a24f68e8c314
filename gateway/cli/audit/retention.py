"""`gateway audit retention`: what is kept for how long, what is removed next, and who agreed to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import click

from gateway.cli.administration import read_settings, refuse, table
from gateway.cli.audit.custody import custody, person, promises, prove, record_act, standing
from gateway.cli.invocation import current
from gateway.custody.custodian import CustodyBusyError
from gateway.custody.pruning import WISH_NAME, Pruning, make_plans, record_differences, settle_rules
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger import retention
from gateway.ledger.errors import LogBusyError
from gateway.ledger.layout import Layout
from gateway.ledger.promise_reader import Standing
from gateway.ledger.retention import Plan, Rule, Timeline, describe
from gateway.server.progress import Progress
from gateway.server.retention import undelivered, wanted_retention
from gateway.server.settings import Settings

_WAIT_S: Final = 120.0
_POLL_S: Final = 0.2
_STREAM: Final = click.Choice([str(stream) for stream in STREAMS])


@click.group("retention", short_help="See and apply how long records are kept.")
def retention_group() -> None:
    """See what is kept for how long, remove what is over its time, and agree on a shorter retention."""


@retention_group.command("plan", short_help="Show what would be removed now.")
def plan_verb() -> None:
    """Show for each stream what is in force, what gateway.yaml asks for, and what becomes of each closed file."""
    settings = read_settings()
    in_force = standing(settings)
    plans = _plans(settings, in_force)
    rows = [
        (
            str(plan.stream),
            describe(plan.rule.seconds),
            describe(plan.wanted_s),
            str(len(plan.verdicts)),
            *(str(sum(verdict.state is state for verdict in plan.verdicts)) for state in retention.State),
        )
        for plan in plans
    ]
    columns = ("stream", "in force", "asked for", "closed files", *(str(state) for state in retention.State))
    lines = [table(columns, rows), *_remarks(plans)]
    holds = in_force.holds.holds
    lines += [f"hold in force: {hold.case} ({', '.join(hold.streams)})" for hold in holds]
    differences = [found.message for found in in_force.differences]
    lines += [f"what the log says counts: {message}" for message in differences]
    value = {
        "ok": True,
        "streams": [_value(plan) for plan in plans],
        "holds": [hold.case for hold in holds],
        "differences": differences,
    }
    current().answer(value, "\n".join(lines))


@retention_group.command("apply", short_help="Remove what is over its time, now.")
def apply_verb() -> None:
    """Remove what is over its time. A running gateway does so once a day by itself; this has it done now.

    Each removal is recorded before it happens. What a hold covers, and what a required sink has not, stays.
    """
    settings = read_settings()
    record_act(settings, "retention.asked")
    try:
        removed = _apply(settings)
    except (CustodyBusyError, LogBusyError):
        _have_applied(Layout(settings.state_dir))
        removed = None
    in_force = standing(settings)
    plans = _plans(settings, in_force)
    lines = _remarks(plans)
    if removed is None:
        lines.insert(0, "the gateway has applied the rules; its log says what was removed")
    else:
        count = sum(removed.values())
        lines.insert(0, f"{count} segments were removed" if count else "nothing was removed")
    differences = [found.message for found in in_force.differences]
    lines += [f"what the log says counts: {message}" for message in differences]
    value: dict[str, Any] = {"ok": True, "streams": [_value(plan) for plan in plans], "differences": differences}
    if removed is not None:
        value["removed"] = {str(stream): count for stream, count in removed.items()}
    current().answer(value, "\n".join(lines))


@retention_group.command("propose", short_help="Want the shorter retention of gateway.yaml.")
@click.argument("stream", type=_STREAM)
@click.option("--reason", required=True, help="Why; it is recorded.")
def propose_verb(stream: str, reason: str) -> None:
    """Propose the shorter retention that gateway.yaml asks for. A second person has to approve it."""
    rule = _change(stream, "retention.proposed", reason, retention.propose)
    seconds = rule.change.seconds if rule.change else None
    current().answer(
        {"ok": True, "stream": stream, "proposed": describe(seconds)},
        f"{describe(seconds)} for {stream} is proposed; another person approves it with: "
        f"gateway audit retention approve {stream} --reason …",
    )


@retention_group.command("approve", short_help="Agree to what another person proposed.")
@click.argument("stream", type=_STREAM)
@click.option("--reason", required=True, help="Why; it is recorded.")
def approve_verb(stream: str, reason: str) -> None:
    """Agree to a shorter retention that another person has proposed. It counts seven days later."""
    rule = _change(stream, "retention.approved", reason, retention.approve)
    seconds = rule.change.seconds if rule.change else None
    current().answer(
        {"ok": True, "stream": stream, "approved": describe(seconds)},
        f"{describe(seconds)} for {stream} is approved and counts in 7 days; until then anybody withdraws it with: "
        f"gateway audit retention withdraw {stream} --reason …",
    )


@retention_group.command("withdraw", short_help="Drop what was proposed.")
@click.argument("stream", type=_STREAM)
@click.option("--reason", required=True, help="Why; it is recorded.")
def withdraw_verb(stream: str, reason: str) -> None:
    """Drop a shorter retention that was proposed or approved and does not count yet. One person is enough."""

    def withdraw(rule: Rule, _wanted: float | None, _by: str, _now_ns: int) -> Rule:
        if rule.change is None:
            raise ValueError(f"nothing is proposed for {stream}")
        return Rule(seconds=rule.seconds, approved_by=rule.approved_by)

    _change(stream, "retention.withdrawn", reason, withdraw)
    current().answer({"ok": True, "stream": stream}, f"what was proposed for {stream} is dropped")


def _change(name: str, event: str, reason: str, decide: Callable[[Rule, float | None, str, int], Rule]) -> Rule:
    """Change one stream's rule as a person asks, recorded before it counts."""
    settings = read_settings()
    stream = Stream(name)
    layout = Layout(settings.state_dir)
    by, _ = person()
    wanted = wanted_retention(settings)[stream]
    retention.make_directory(layout)
    with retention.changing(layout):
        rules = promises(settings).standing().rules
        try:
            rule = decide(rules.of(stream), wanted, by, time.time_ns())
        except ValueError as error:
            refuse(str(error))
        more = {"retention": {"by": by, "in_force": describe(rule.seconds), "stream": name, "wanted": describe(wanted)}}
        record_act(settings, event, detail=reason, more=more)
        retention.save(layout, rules.with_rule(stream, rule))
    return rule


def _timeline(settings: Settings, layout: Layout) -> Timeline:
    created = [head.created_ns for head in retention.heads(layout, Stream.SECURITY)]
    return Timeline(created, retention.longest_step_s(settings.audit.segment_age))


def _plans(settings: Settings, in_force: Standing) -> list[Plan]:
    layout = Layout(settings.state_dir)
    return make_plans(
        layout,
        in_force.rules,
        wanted_retention(settings),
        holds=in_force.holds,
        blocks=undelivered(settings, layout),
        timeline=_timeline(settings, layout),
        now_ns=time.time_ns(),
    )


def _apply(settings: Settings) -> dict[Stream, int]:
    with custody(settings) as station, Progress("applying the retention"):
        layout = station.layout
        timeline = _timeline(settings, layout)
        reader = promises(settings)
        with retention.changing(layout):
            record_differences(reader.standing(), station.trail)
        settle_rules(layout, reader, wanted_retention(settings), timeline, station.trail, time.time_ns())
        with retention.changing(layout):  # a hold that begins now is in force before anything goes, or after
            in_force = reader.standing()
            pruning = Pruning(
                layout,
                station.keys,
                _plans(settings, in_force),
                in_force.holds,
                trail=station.trail,
                prove=partial(prove, station),
            )
            for _ in pruning.steps():
                pass
    return pruning.removed


def _have_applied(layout: Layout) -> None:
    """Ask the custodian of the running gateway, and wait."""
    wish = layout.custody / WISH_NAME
    wish.touch(mode=0o600)
    layout.give(wish)
    deadline = time.monotonic() + _WAIT_S
    with Progress("the gateway applies the retention"):
        while wish.exists():
            if time.monotonic() >= deadline:
                refuse("the custodian of the gateway has not applied the rules in time; its log says why")
            time.sleep(_POLL_S)


def _remarks(plans: list[Plan]) -> list[str]:
    lines = []
    for plan in plans:
        change = plan.rule.change
        if plan.is_waiting and change is None:
            lines.append(
                f"{plan.stream}: gateway.yaml asks for {describe(plan.wanted_s)}; it counts 7 days after two people agreed: "
                f"gateway audit retention propose {plan.stream} --reason … (a log that began less than 7 days ago takes "
                "its first rule by itself, within a day or with gateway audit retention apply)"
            )
        elif plan.is_waiting and change is not None:
            what = f"approved by {change.approved_by}" if change.approved_by else "not approved yet"
            lines.append(f"{plan.stream}: {describe(change.seconds)} was proposed by {change.proposed_by}, {what}")
        lines += [
            f"{plan.stream}: file {verdict.file.number} is over its time and stays: {verdict.state} {verdict.why}".rstrip()
            for verdict in plan.verdicts
            if verdict.state in (retention.State.HELD, retention.State.UNDELIVERED, retention.State.OPEN)
        ]
    return lines


def _value(plan: Plan) -> dict[str, Any]:
    change = plan.rule.change
    return {
        "stream": str(plan.stream),
        "in_force": describe(plan.rule.seconds),
        "asked_for": describe(plan.wanted_s),
        "approver": plan.rule.approved_by,
        "proposed": None
        if change is None
        else {
            "retention": describe(change.seconds),
            "by": change.proposed_by,
            "approved_by": change.approved_by,
            "approved": _moment(change.approved_ns),
        },
        "files": [
            {
                "number": verdict.file.number,
                "from": verdict.file.first,
                "to": verdict.file.last,
                "ended": _moment(verdict.file.ended_ns),
                "age_days": round(verdict.file.age_s / 86_400, 2),
                "bytes": verdict.file.bytes,
                "state": str(verdict.state),
                "why": verdict.why,
            }
            for verdict in plan.verdicts
        ],
    }


def _moment(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if time_ns else ""
