"""What is over its time goes, after the log says so; a kill in between neither loses nor doubles anything."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.audit.canonical import encode
from gateway.audit.filehead import parse_head
from gateway.audit.finding import Kind
from gateway.audit.protocol import CLI_SLOT
from gateway.audit.segment import seal
from gateway.custody.pruning import Pruning, RetentionCounters, RetentionDuty, Schedule, make_plans, settle_rules
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger import retention
from gateway.ledger.holds import Hold, Holds
from gateway.ledger.layout import file_name, segment_name
from gateway.ledger.promise_reader import PromiseReader
from gateway.ledger.retention import Change, Plan, Rule, Rules, Timeline
from gateway.ledger.spool import read_head
from tests.unit.custody.conftest import Custody, Start
from tests.unit.custody.test_sealing import published
from tests.unit.ledger.test_spool import seal_file as seal_security

DAY_NS = 86_400 * 10**9
NOW = 10**18 + 30 * DAY_NS
WANTED: dict[Stream, float | None] = {Stream.SECURITY: None, Stream.ACCESS: 10 * 86_400.0, Stream.TRAFFIC: None}
STEPS = ["finished", "proven", "recorded", "removed"]


def fill(custody: Custody, stream: Stream = Stream.ACCESS, days: int = 6) -> None:
    """Write and seal one file a day, from a month ago on."""
    bench = custody.bench
    for day in range(days):
        bench.now_ns = 10**18 + day * DAY_NS
        log = bench.open(stream=stream)
        bench.append(log, 4)
        log.close()
    for number in range(1, days):
        path = custody.directory / file_name(stream, number)
        data = path.read_bytes()
        cipher = bench.keys.open(parse_head(data)[0])
        following = read_head(custody.directory, stream, number + 1)
        segment = seal(data, following, cipher, bench.keys.public, salt=os.urandom(6))
        (custody.directory / segment_name(stream, number)).write_bytes(segment)
        path.unlink()


def plans(custody: Custody, *, rules: Rules | None = None, holds: Holds | None = None) -> list[Plan]:
    layout = custody.bench.layout
    created = [head.created_ns for head in retention.heads(layout, Stream.ACCESS)]
    rules = rules or Rules(streams={stream: Rule(seconds=WANTED[stream], approved_by="os:2") for stream in STREAMS})
    return make_plans(
        layout,
        rules,
        WANTED,
        holds=holds or Holds(),
        blocks=lambda _stream, _file: "",
        timeline=Timeline(created, 40 * 86_400),
        now_ns=NOW,
    )


def prune(custody: Custody, made: Sequence[Plan], holds: Holds | None = None) -> Pruning:
    bench = custody.bench
    pruning = Pruning(
        bench.layout, bench.keys, made, holds or Holds(), trail=custody.trail(), prove=lambda _stream, _first: None
    )
    assert list(pruning.steps())
    return pruning


def test_the_beginning_goes_and_the_log_says_so(custody: Custody, daemon: Start) -> None:
    """T-71."""
    fill(custody)
    daemon()
    made = plans(custody)
    known = retention.heads(custody.bench.layout, Stream.ACCESS)
    following = known[5]
    assert prune(custody, made).removed == {Stream.ACCESS: 5}
    assert [name for name in custody.names() if name.startswith("access")] == [file_name(Stream.ACCESS, 6)]
    published(custody, "retention.prune", 1)
    [gw] = custody.events("retention.prune")
    assert gw["prune"] == {
        "approver": "os:2",
        "files": 5,
        "first_file": 1,
        "from": 0,
        "last_file": 5,
        "newly_from": 0,
        "origin": following.origin,
        "policy": "retention 10d",
        "root": b64encode(retention.root_after(following)).decode(),
        "since_ns": str(known[0].created_ns),
        "stream": "access",
        "to": 19,
        "until_ns": str(following.created_ns),
    }
    assert retention.heads(custody.bench.layout, Stream.ACCESS)[0].first_index == 20


DYING = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[4])
from pathlib import Path
from typing import Any
from tests.unit.custody.test_pruning import plans
from tests.unit.custody.conftest import Custody
from tests.unit.ledger.conftest import Bench
from gateway.custody.pruning import Pruning
from gateway.ledger.holds import Holds

custody = Custody(Bench(Path(sys.argv[1])))
place = sys.argv[3]
unlink = Path.unlink
removed = 0

def dying(path, missing_ok=False):
    global removed
    unlink(path, missing_ok=missing_ok)
    removed += path.name.endswith(".seg")
    if place == "third" and removed == 3:
        os.kill(os.getpid(), signal.SIGKILL)

Path.unlink = dying
trail = custody.trail()
bench = custody.bench
for step in Pruning(bench.layout, bench.keys, plans(custody), Holds(), trail=trail, prove=lambda *_: None).steps():
    if step == place:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("place", [*STEPS, "third"])
def test_a_kill_between_any_two_steps_neither_loses_nor_doubles(custody: Custody, daemon: Start, place: str) -> None:
    fill(custody)
    daemon()
    root = str(Path(__file__).resolve().parents[3])
    script = [sys.executable, "-c", DYING, str(custody.bench.state_dir), "", place, root]
    assert subprocess.run(script, check=False, timeout=60, cwd=root).returncode == -signal.SIGKILL
    prune(custody, plans(custody))
    assert [name for name in custody.names() if name.startswith("access")] == [file_name(Stream.ACCESS, 6)]
    published(custody, "retention.prune", 1)
    custody.trail().write(lambda stamp: {"uid": stamp.uid, "unmapped": {"gw": {"event": "last"}}})
    published(custody, "last", 1)
    assert len(custody.events("retention.prune")) == 1


def test_a_changed_digit_of_the_journal_removes_nothing(custody: Custody, daemon: Start) -> None:
    """The journal says how far the log was pruned; only the log itself is believed."""
    fill(custody)
    daemon()
    made = plans(custody)
    origin = retention.heads(custody.bench.layout, Stream.ACCESS)[0].origin
    three = [msgspec.structs.replace(plan, verdicts=plan.verdicts[:3]) for plan in made]
    assert prune(custody, three).removed == {Stream.ACCESS: 3}
    journal = custody.bench.layout.custody / "journal.json"
    said, digit = journal.read_text(), f'"pruned/{origin}":'
    assert digit + "3" in said
    journal.write_text(said.replace(digit + "3", digit + "5"))
    there = custody.names()
    with pytest.raises(AuditUnavailableError, match=r"journal\.json: says that the files of .* up to 5 were pruned"):
        prune(custody, [])
    assert custody.names() == there
    journal.write_text(said)
    assert prune(custody, made).removed == {Stream.ACCESS: 2}


def test_what_was_said_to_be_removed_of_one_log_stays_in_another(custody: Custody, daemon: Start) -> None:
    """The directory was moved away and a new log begun: its files have the same numbers."""
    fill(custody)
    process = daemon()
    prune(custody, plans(custody))
    process.kill()
    process.wait()
    for path in custody.directory.glob("access-*"):
        path.unlink()
    custody.bench.layout.checkpoint(Stream.ACCESS).unlink()
    fill(custody, days=3)
    daemon()
    prune(custody, [])
    assert [name for name in custody.names() if name.startswith("access")] == [
        segment_name(Stream.ACCESS, 1),
        segment_name(Stream.ACCESS, 2),
        file_name(Stream.ACCESS, 3),
    ]


def test_a_held_file_and_all_after_it_stay(custody: Custody, daemon: Start) -> None:
    """T-61, in part."""
    fill(custody)
    daemon()
    hold = Hold(
        case="c",
        reason="r",
        since_ns=10**18 + 2 * DAY_NS + 10**9,
        until_ns=10**18 + 2 * DAY_NS + 2 * 10**9,
        created_by="os:1",
        created_ns=1,
    )
    prune(custody, plans(custody, holds=Holds([hold])))
    assert [name for name in custody.names() if name.startswith("access")] == [
        segment_name(Stream.ACCESS, 3),
        segment_name(Stream.ACCESS, 4),
        segment_name(Stream.ACCESS, 5),
        file_name(Stream.ACCESS, 6),
    ]


def test_nothing_due_is_no_record(custody: Custody, daemon: Start) -> None:
    fill(custody)
    daemon()
    assert prune(custody, plans(custody, rules=Rules())).removed == {}
    assert len([name for name in custody.names() if name.startswith("access")]) == 6


def test_a_file_without_entries_alone_is_not_worth_a_record(custody: Custody, daemon: Start) -> None:
    bench = custody.bench
    log = bench.open(stream=Stream.ACCESS)
    bench.append(log, 1)
    log.turn_over(now_ns=bench.now_ns)
    log.close()
    daemon()
    assert prune(custody, plans(custody)).removed == {}


def test_the_security_stream_says_again_what_its_beginning_said(custody: Custody, daemon: Start) -> None:
    fill(custody)
    bench = custody.bench
    for day in range(3):
        bench.now_ns = 10**18 + day * DAY_NS
        log = bench.open()
        bench.append(log, 2)
        log.close()
    for number in (1, 2):
        seal_security(bench, number)
    daemon()
    prune(custody, plans(custody))
    rules = Rules(streams={Stream.SECURITY: Rule(seconds=86_400.0)})
    holds = Holds([Hold(case="c", reason="r", streams=(Stream.TRAFFIC,), created_by="os:1", created_ns=1)])
    prune(custody, plans(custody, rules=rules, holds=holds), holds)
    published(custody, "hold.created", 1)
    published(custody, "retention.changed", 1)
    published(custody, "retention.prune", 3)
    promises = PromiseReader(bench.layout, bench.keys).read()
    again = promises.holds["c"]
    assert (again.hold.streams, again.hold.created_by, again.mark) == ((Stream.TRAFFIC,), "os:1", "")
    assert promises.rules[Stream.SECURITY].seconds == 86_400.0
    said = [gw["prune"] for gw in custody.events("retention.prune")]
    assert [(prune["stream"], prune["from"], prune["to"]) for prune in said] == [
        ("access", 0, 19),
        ("access", 0, 19),
        ("security", 0, 3),
    ]
    assert said[0]["root"] == said[1]["root"]


def say(custody: Custody, *said: tuple[str, int, dict[str, Any]], slot: int = CLI_SLOT) -> None:
    """Have records in the security stream: each an event, when it was taken in, and what it says."""
    log = custody.bench.open()
    for event, at_ns, fields in said:
        gw = {"event": event, event.partition(".")[0]: fields}
        payload = encode({"actor": {"user": {"uid": "1"}}, "unmapped": {"gw": gw}})
        sequence = log.taken.get(slot, 0) + 1
        log.append([(slot, range(sequence, sequence + 1), [payload])], is_safe=True, now_ns=at_ns)
    log.close()


def agreement(day: int, first: str = "os:1", second: str = "os:2") -> list[tuple[str, int, dict[str, Any]]]:
    """Return the records of two people who want ten days, and when."""
    at = 10**18 + day * DAY_NS
    wanted = {"stream": "access", "wanted": "10d", "in_force": "none"}
    return [("retention.proposed", at, wanted | {"by": first}), ("retention.approved", at, wanted | {"by": second})]


def settled(custody: Custody, wanted: dict[Stream, float | None], now_ns: int) -> Rules:
    layout = custody.bench.layout
    created = [head.created_ns for head in retention.heads(layout, Stream.ACCESS)]
    promises = PromiseReader(layout, custody.bench.keys)
    return settle_rules(layout, promises, wanted, Timeline(created, 2 * 86_400), custody.trail(), now_ns)


def test_a_shorter_retention_waits_for_two_people_and_seven_days(custody: Custody, daemon: Start) -> None:
    """T-72."""
    fill(custody, days=12)
    say(custody, *agreement(4))
    daemon()
    assert settled(custody, WANTED, 10**18 + 10 * DAY_NS).of(Stream.ACCESS).seconds is None
    assert settled(custody, WANTED, 10**18 + 4 * DAY_NS + 3650 * DAY_NS).of(Stream.ACCESS).seconds == 10 * 86_400.0
    published(custody, "retention.changed", 1)
    [gw] = custody.events("retention.changed")
    assert gw["retention"] == {
        "approver": "os:2",
        "before": "none",
        "now": "10d",
        "proposer": "os:1",
        "stream": "access",
    }
    assert settled(custody, dict.fromkeys(STREAMS), 10**18 + 12 * DAY_NS).of(Stream.ACCESS) == Rule()


@pytest.mark.parametrize(
    "said",
    [
        [],
        agreement(1)[:1],
        agreement(1)[1:],
        agreement(1, second="os:1"),
        [*agreement(1), ("retention.withdrawn", 10**18 + 2 * DAY_NS, {"stream": "access", "by": "os:3"})],
    ],
)
def test_a_shorter_retention_that_only_the_file_agrees_to_does_not_come_into_force(
    custody: Custody, daemon: Start, said: list[tuple[str, int, dict[str, Any]]]
) -> None:
    """attack: retention.json is edited; only two people in the log shorten anything."""
    fill(custody, days=12)
    say(custody, *said)
    daemon()
    ago = 10**18 + DAY_NS
    change = Change(seconds=864_000.0, proposed_by="os:1", proposed_ns=ago, approved_by="os:2", approved_ns=ago)
    retention.make_directory(custody.bench.layout)
    retention.save(custody.bench.layout, Rules().with_rule(Stream.ACCESS, Rule(change=change)))
    assert settled(custody, WANTED, 10**18 + 3650 * DAY_NS).of(Stream.ACCESS).seconds is None


def test_a_clock_that_jumps_does_not_shorten_the_seven_days(custody: Custody, daemon: Start) -> None:
    """T-20 and T-72: the second person agreed today, and the clock says next year."""
    fill(custody, days=3)
    say(custody, *agreement(2))
    daemon()
    assert settled(custody, WANTED, 10**18 + 402 * DAY_NS).of(Stream.ACCESS).seconds is None


def test_files_that_were_removed_and_kept_are_counted(custody: Custody) -> None:
    fill(custody)
    station = custody.station()
    counters = RetentionCounters(station)
    for plan in plans(custody, rules=Rules()):
        counters.note(plan, 0)
    hold = Hold(case="c", reason="r", created_by="os:1", created_ns=1)
    for plan in plans(custody, holds=Holds([hold])):
        counters.note(plan, 2 if plan.stream is Stream.ACCESS else 0)
    found = {sample.name: dict(sample.values) for sample in station.metrics.dump()}
    assert found["gateway_audit_pruned_files_total"] == {("access",): 2.0}
    assert found["gateway_audit_overdue_files"]["access",] == 5.0


def test_a_hold_cannot_begin_between_the_plan_and_the_removal(custody: Custody, daemon: Start) -> None:
    """attack: a hold that is said to be in force, over files that were planned to go a moment before."""
    fill(custody, days=12)
    daemon()
    layout = custody.bench.layout
    retention.save(layout, Rules(streams={Stream.ACCESS: Rule(seconds=10 * 86_400.0)}))
    station = custody.station()
    tried: list[bool] = []

    class Tiles:
        async def prune(self, _first: int) -> None:
            with (layout.run / "retention.lock").open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    tried.append(False)
                else:
                    tried.append(True)

    duty = RetentionDuty(
        station,
        {Stream.ACCESS: Tiles()},  # type: ignore[dict-item]
        {**WANTED, Stream.ACCESS: 10 * 86_400.0},
        blocks=lambda _stream, _file: "",
        segment_age_s=86_400.0,
        schedule=Schedule(),
        counters=RetentionCounters(station),
        clock_ns=lambda: NOW,
    )
    asyncio.run(duty.apply())
    assert tried == [False]
    assert retention.heads(layout, Stream.ACCESS)[0].first_index > 0


class NoTiles:
    """Nothing has to be provable here."""

    async def prune(self, _first: int) -> None:
        pass


def applying(custody: Custody, schedule: Schedule) -> RetentionDuty:
    station = custody.station()
    return RetentionDuty(
        station,
        {Stream.ACCESS: NoTiles()},  # type: ignore[dict-item]
        WANTED,
        blocks=lambda _stream, _file: "",
        segment_age_s=86_400.0,
        schedule=schedule,
        counters=RetentionCounters(station),
        clock_ns=lambda: NOW,
    )


HELD = Hold(
    case="A",
    reason="r",
    streams=(Stream.ACCESS,),
    since_ns=10**18 + 2 * DAY_NS + 10**9,
    until_ns=10**18 + 2 * DAY_NS + 2 * 10**9,
    created_by="os:1",
    created_ns=10**18,
)


@pytest.mark.parametrize(
    "kept", [None, [], [msgspec.structs.replace(HELD, until_ns=HELD.since_ns - 1, since_ns=HELD.since_ns - 1)]]
)
def test_a_hold_that_was_taken_out_of_the_file_keeps_what_it_covers_and_is_told_once(
    custody: Custody, daemon: Start, kept: list[Hold] | None
) -> None:
    """attack: holds.json is removed or edited; also a kill between the record of a hold and the file."""
    fill(custody, days=12)
    layout = custody.bench.layout
    say(custody, ("hold.created", 10**18 + DAY_NS, HELD.facts()))
    daemon()
    if kept is not None:
        Holds(kept).save(layout)
    schedule = Schedule()
    duty = applying(custody, schedule)
    for _ in range(2):
        asyncio.run(duty.apply())
        assert retention.heads(layout, Stream.ACCESS)[0].file_no == 3, "what came before the hold is gone"
        assert "holds.json" in schedule.fault
    published(custody, "hold.differs", 1)
    published(custody, "retention.prune", 1)
    asyncio.run(applying(custody, schedule).apply())
    custody.trail().write(lambda stamp: {"uid": stamp.uid, "unmapped": {"gw": {"event": "last"}}})
    published(custody, "last", 1)
    [told] = custody.events("hold.differs")
    assert told["hold"]["case"] == "A"
    verdict = custody.bench.verify(stream=Stream.SECURITY)
    assert Kind.PRUNED_HELD not in {finding.kind for finding in verdict.findings}
    Holds([HELD]).save(layout)
    asyncio.run(duty.apply())
    assert schedule.fault == ""
    assert retention.heads(layout, Stream.ACCESS)[0].file_no == 3


def test_a_hold_that_a_new_log_does_not_know_is_said_in_it_before_the_file_can_lose_it(
    custody: Custody, daemon: Start
) -> None:
    """The old log was moved away; its holds go on, and so they are promises of the new one."""
    fill(custody, days=12)
    layout = custody.bench.layout
    daemon()
    Holds([msgspec.structs.replace(HELD, release_by="os:1")]).save(layout)
    schedule = Schedule()
    for _ in range(2):
        asyncio.run(applying(custody, schedule).apply())
    assert schedule.fault == ""
    layout.holds.unlink()
    asyncio.run(applying(custody, schedule).apply())
    assert retention.heads(layout, Stream.ACCESS)[0].file_no == 3
    assert schedule.fault == "holds.json lacks the hold of the case A, which is in force by the log"
    published(custody, "hold.differs", 1)
    [gw] = custody.events("hold.created")
    assert (gw["hold"]["said_again"], gw["hold"]["asked_by"]) == (True, "os:1")


def test_a_hold_that_the_log_says_has_ended_keeps_nothing(custody: Custody, daemon: Start) -> None:
    fill(custody, days=12)
    at = 10**18 + DAY_NS
    say(custody, ("hold.created", at, HELD.facts()), ("hold.released", at + 1, {"case": "A"}))
    daemon()
    schedule = Schedule()
    asyncio.run(applying(custody, schedule).apply())
    assert retention.heads(custody.bench.layout, Stream.ACCESS)[0].file_no > 3
    assert schedule.fault == ""


def test_a_retention_that_was_shortened_in_the_file_removes_nothing_and_is_told_once(
    custody: Custody, daemon: Start
) -> None:
    """attack: retention.json is edited."""
    fill(custody, days=12)
    layout = custody.bench.layout
    said = {"approver": "os:2", "before": "none", "now": "365d", "proposer": "os:1", "stream": "access"}
    say(custody, ("retention.changed", 10**18, said))
    daemon()
    retention.make_directory(layout)
    retention.save(layout, Rules(streams={Stream.ACCESS: Rule(seconds=10 * 86_400.0, approved_by="os:2")}))
    schedule = Schedule()
    duty = applying(custody, schedule)
    for _ in range(2):
        asyncio.run(duty.apply())
    assert retention.heads(layout, Stream.ACCESS)[0].file_no == 1
    assert schedule.fault == "retention.json keeps access for less time than the log says was agreed"
    published(custody, "retention.differs", 1)
    [told] = custody.events("retention.differs")
    assert told["retention"]["stream"] == "access"


def test_while_the_log_cannot_be_read_nothing_is_removed(custody: Custody, daemon: Start) -> None:
    fill(custody, days=12)
    say(custody, ("hold.created", 10**18 + DAY_NS, HELD.facts()))
    daemon()
    custody.trail().write(lambda stamp: {"uid": stamp.uid, "unmapped": {"gw": {"event": "first"}}})
    published(custody, "first", 1)
    (custody.directory / file_name(Stream.SECURITY, 1)).unlink()
    before = custody.names()
    with pytest.raises(AuditUnavailableError, match="what the log says of holds and retention cannot be read"):
        asyncio.run(applying(custody, Schedule()).apply())
    assert custody.names() == before


def test_reloads_do_not_put_the_removal_off_for_ever(custody: Custody, monkeypatch: pytest.MonkeyPatch) -> None:
    """attack: whoever can have gateway.yaml read again every few minutes keeps everything for ever."""
    applied: list[bool] = []

    async def apply(_duty: RetentionDuty) -> None:
        applied.append(True)

    monkeypatch.setattr(RetentionDuty, "apply", apply)
    station, schedule = custody.station(), Schedule()
    counters = RetentionCounters(station)

    def duty() -> RetentionDuty:
        return RetentionDuty(
            station,
            {},
            WANTED,
            blocks=lambda _stream, _file: "",
            segment_age_s=86_400.0,
            schedule=schedule,
            counters=counters,
        )

    async def run() -> None:
        first = asyncio.create_task(duty().run())
        await asyncio.sleep(0)
        first.cancel()
        schedule.due = 0.0
        second = asyncio.create_task(duty().run())
        async with asyncio.timeout(20):
            while not applied:
                await asyncio.sleep(0.005)
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)

    asyncio.run(run())
    assert applied == [True]


def test_a_sink_that_is_away_for_longer_than_the_retention_costs_disk_and_no_record(
    custody: Custody, daemon: Start
) -> None:
    """T-47: nothing goes that a required receiver lacks, whatever its age; what it has goes."""
    fill(custody, days=12)
    daemon()
    layout = custody.bench.layout
    retention.save(layout, Rules(streams={Stream.ACCESS: Rule(seconds=10 * 86_400.0)}))
    station = custody.station()
    has = 0

    class Tiles:
        async def prune(self, _first: int) -> None:
            pass

    duty = RetentionDuty(
        station,
        {Stream.ACCESS: Tiles()},  # type: ignore[dict-item]
        {**WANTED, Stream.ACCESS: 10 * 86_400.0},
        blocks=lambda _stream, file: "siem" if file.last >= has else "",
        segment_age_s=86_400.0,
        schedule=Schedule(),
        counters=RetentionCounters(station),
        clock_ns=lambda: NOW,
    )
    before = custody.names()
    asyncio.run(duty.apply())
    assert custody.names() == before
    has = 8
    asyncio.run(duty.apply())
    assert retention.heads(layout, Stream.ACCESS)[0].first_index == 8
