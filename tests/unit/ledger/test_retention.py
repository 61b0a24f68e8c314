"""What is in force, what is due, and that neither a stolen account nor a wrong clock makes anything due."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.stream import Stream
from gateway.ledger import retention
from gateway.ledger.holds import Hold, Holds
from gateway.ledger.layout import Layout
from gateway.ledger.retention import (
    DELAY_S,
    Change,
    RetentionError,
    Rule,
    Rules,
    State,
    Timeline,
    approve,
    is_shorter,
    propose,
    settle,
)
from tests.unit.ledger.conftest import Bench
from tests.unit.ledger.test_spool import seal_file

DAY = 86_400.0
DAY_NS = 86_400 * 10**9
STREAM = Stream.SECURITY


def nothing(_stream: Stream, _last: int) -> str:
    return ""


def log_of_days(bench: Bench, days: int, *, start: int = 10**18) -> None:
    """One file a day."""
    for day in range(days):
        bench.now_ns = start + day * DAY_NS
        log = bench.open()
        bench.append(log, 3)
        log.close()


def plan_of(bench: Bench, seconds: float | None, now_ns: int, **more: object) -> list[State]:
    created = [head.created_ns for head in retention.heads(bench.layout, STREAM)]
    made = retention.plan(
        bench.layout,
        STREAM,
        Rule(seconds=seconds),
        seconds,
        **{  # type: ignore[arg-type]
            "holds": Holds(),
            "blocks": nothing,
            "timeline": Timeline(created, 2 * DAY),
            "now_ns": now_ns,
            **more,
        },
    )
    return [verdict.state for verdict in made.verdicts]


# what is in force


def test_without_a_rule_nothing_is_ever_due(bench: Bench) -> None:
    log_of_days(bench, 5)
    assert plan_of(bench, None, 10**18 + 10_000 * DAY_NS) == [State.KEPT] * 4


def test_a_longer_retention_counts_at_once() -> None:
    for wanted in (400 * DAY, None):
        rule = settle(Rule(seconds=365 * DAY, approved_by="os:2"), wanted, waited_s=0, is_young=False)
        assert rule == Rule(seconds=wanted)


def test_a_shorter_retention_does_not_count_by_itself() -> None:
    """T-72: one administrator changes gateway.yaml."""
    for before in (None, 365 * DAY):
        rule = Rule(seconds=before, approved_by="os:9")
        assert settle(rule, 1 * DAY, waited_s=100 * DAY, is_young=False) == rule


def test_a_shorter_retention_counts_seven_days_after_a_second_person_agreed() -> None:
    rule = approve(propose(Rule(), 30 * DAY, "os:1", 5), 30 * DAY, "os:2", 6)
    assert settle(rule, 30 * DAY, waited_s=DELAY_S - 1, is_young=False) == rule
    assert settle(rule, 30 * DAY, waited_s=DELAY_S, is_young=False) == Rule(seconds=30 * DAY, approved_by="os:2")


def test_one_person_cannot_do_both() -> None:
    """T-72."""
    rule = propose(Rule(), 30 * DAY, "os:1", 5)
    with pytest.raises(ValueError, match="a second person has to"):
        approve(rule, 30 * DAY, "os:1", 6)
    assert settle(rule, 30 * DAY, waited_s=100 * DAY, is_young=False) == rule


def test_what_was_agreed_on_is_what_counts() -> None:
    """attack: two people agree on a year, and gateway.yaml says a day afterwards."""
    rule = approve(propose(Rule(), 365 * DAY, "os:1", 5), 365 * DAY, "os:2", 6)
    assert settle(rule, 1 * DAY, waited_s=100 * DAY, is_young=False) == rule
    with pytest.raises(ValueError, match="nobody has proposed"):
        approve(rule, 1 * DAY, "os:2", 7)


def test_nothing_is_approved_that_nobody_proposed_and_nothing_twice() -> None:
    with pytest.raises(ValueError, match="nobody has proposed"):
        approve(Rule(), 30 * DAY, "os:1", 6)
    rule = approve(propose(Rule(), 30 * DAY, "os:1", 5), 30 * DAY, "os:2", 6)
    with pytest.raises(ValueError, match="approved already"):
        approve(rule, 30 * DAY, "os:3", 6)


@pytest.mark.parametrize("wanted", [None, 365 * DAY, 400 * DAY])
def test_only_a_shorter_retention_is_proposed(wanted: float | None) -> None:
    with pytest.raises(ValueError, match="no shorter retention"):
        propose(Rule(seconds=365 * DAY), wanted, "os:1", 5)


def test_a_new_log_takes_the_rule_that_it_begins_with() -> None:
    assert settle(Rule(), 30 * DAY, waited_s=0, is_young=True) == Rule(seconds=30 * DAY)
    settled = Rule(seconds=30 * DAY)
    assert settle(settled, 1 * DAY, waited_s=0, is_young=True) == settled


def test_taking_a_wish_back_drops_what_was_agreed_on() -> None:
    rule = approve(propose(Rule(seconds=365 * DAY), 30 * DAY, "os:1", 5), 30 * DAY, "os:2", 6)
    assert settle(rule, 365 * DAY, waited_s=100 * DAY, is_young=False) == Rule(seconds=365 * DAY)


SECONDS = st.one_of(st.none(), st.floats(DAY, 10_000 * DAY))


@given(SECONDS, SECONDS, st.booleans(), st.floats(0, 100 * DAY), st.booleans())
def test_settling_shortens_nothing_without_two_people_or_a_new_log(
    before: float | None, wanted: float | None, has_second: bool, waited: float, is_young: bool
) -> None:
    rule = Rule(seconds=before)
    if is_shorter(wanted, before):
        rule = propose(rule, wanted, "os:1", 1)
        if has_second:
            rule = approve(rule, wanted, "os:2", 2)
    settled = settle(rule, wanted, waited_s=waited, is_young=is_young)
    if is_shorter(settled.seconds, before):
        assert has_second
        assert waited >= DELAY_S
    if not is_shorter(wanted, before):
        assert settled.seconds == wanted


# what is due


def test_files_whose_last_record_is_older_than_the_rule_are_due(bench: Bench) -> None:
    log_of_days(bench, 10)
    for number in range(1, 10):
        seal_file(bench, number)
    now = 10**18 + 9 * DAY_NS
    assert plan_of(bench, 5 * DAY, now) == [State.DUE] * 4 + [State.KEPT] * 5


def test_the_newest_file_is_never_due(bench: Bench) -> None:
    log_of_days(bench, 2)
    assert len(plan_of(bench, DAY, 10**18 + 900 * DAY_NS)) == 1


def test_what_is_not_sealed_held_or_undelivered_stays_and_so_does_what_follows(bench: Bench) -> None:
    log_of_days(bench, 10)
    for number in range(2, 10):
        seal_file(bench, number)
    now = 10**18 + 9 * DAY_NS
    assert plan_of(bench, 5 * DAY, now) == [State.OPEN] + [State.BEHIND] * 3 + [State.KEPT] * 5
    seal_file(bench, 1)
    hold = Hold(
        case="c",
        reason="r",
        since_ns=10**18 + 2 * DAY_NS + 10**9,
        until_ns=10**18 + 2 * DAY_NS + 2 * 10**9,
        created_by="os:1",
        created_ns=1,
    )
    states = plan_of(bench, 5 * DAY, now, holds=Holds([hold]))
    assert states == [State.DUE, State.DUE, State.HELD, State.BEHIND] + [State.KEPT] * 5
    states = plan_of(bench, 5 * DAY, now, blocks=lambda _stream, file: "siem" if file.last >= 3 else "")
    assert states == [State.DUE, State.UNDELIVERED, State.UNDELIVERED, State.UNDELIVERED] + [State.KEPT] * 5


@pytest.mark.parametrize("years", [1, 10, 100])
def test_a_clock_that_jumps_ahead_makes_nothing_due(bench: Bench, years: int) -> None:
    """T-20: with the clock years ahead, whether before or after another file began."""
    log_of_days(bench, 5)
    ahead = 10**18 + years * 365 * DAY_NS
    bench.now_ns = ahead
    log = bench.open()
    bench.append(log, 1)
    log.close()
    bench.now_ns = 10**18 + 5 * DAY_NS  # and back again
    log = bench.open()
    bench.append(log, 1)
    log.close()
    for number in range(1, 7):
        seal_file(bench, number)
    for now in (ahead, 10**18 + 5 * DAY_NS):
        assert plan_of(bench, 30 * DAY, now) == [State.KEPT] * 6


def test_a_clock_that_began_in_1970_makes_nothing_due(bench: Bench) -> None:
    log_of_days(bench, 1, start=5)
    log_of_days(bench, 3)
    for number in range(1, 4):
        seal_file(bench, number)
    assert plan_of(bench, 30 * DAY, 10**18 + 3 * DAY_NS) == [State.KEPT] * 3


def test_a_quiet_stream_ages_by_the_files_of_the_security_stream(bench: Bench) -> None:
    log_of_days(bench, 100)
    for day in (0, 1, 90):
        bench.now_ns = 10**18 + day * DAY_NS
        log = bench.open(stream=Stream.ACCESS)
        bench.append(log, 3)
        log.close()
    created = [head.created_ns for head in retention.heads(bench.layout, STREAM)]
    found = retention.files(bench.layout, Stream.ACCESS, Timeline(created, 2 * DAY), 10**18 + 99 * DAY_NS)
    assert [round(file.age_s / DAY) for file in found] == [98, 9]


@given(st.lists(st.integers(0, 10**19), max_size=20), st.integers(0, 10**19), st.integers(0, 10**19))
def test_no_span_is_longer_than_the_clock_says_or_negative(created: list[int], begin: int, end: int) -> None:
    span = Timeline(created, 2 * DAY).span_ns(begin, end)
    assert 0 <= span <= max(0, end - begin)


# the file


def test_rules_are_read_as_they_were_written(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "state")
    assert retention.load(layout) == Rules()
    retention.make_directory(layout)
    rules = Rules().with_rule(
        Stream.ACCESS, Rule(seconds=DAY, change=Change(seconds=1.0, proposed_by="os:1", proposed_ns=1))
    )
    retention.save(layout, rules)
    assert retention.load(layout) == rules
    assert retention.load(layout).of(Stream.TRAFFIC) == Rule()


@pytest.mark.parametrize("junk", [b"", b"{", b'{"streams":{"access":{"seconds":1,"more":2}}}', b'{"streams":{"x":{}}}'])
def test_rules_that_cannot_be_read_remove_nothing(tmp_path: Path, junk: bytes) -> None:
    layout = Layout(tmp_path / "state")
    retention.make_directory(layout)
    (layout.custody / retention.FILE_NAME).write_bytes(junk)
    with pytest.raises(RetentionError, match="nothing is removed"):
        retention.load(layout)


def test_a_stream_with_a_damaged_head_is_not_planned(bench: Bench) -> None:
    log_of_days(bench, 3)
    path = bench.files()[0]
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    with pytest.raises(RetentionError, match="run gateway audit verify"):
        retention.heads(bench.layout, STREAM)


def test_a_rule_says_who_agreed() -> None:
    assert (
        msgspec.json.decode(msgspec.json.encode(Rule(seconds=1, approved_by="os:2")), type=Rule).approved_by == "os:2"
    )
