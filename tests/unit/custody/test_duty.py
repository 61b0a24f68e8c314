"""Duties of the custodian: none that fails stops another, and one custodian alone does them."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog

from gateway.custody import custodian as custodian_module
from gateway.custody import duty as duty_module
from gateway.custody.custodian import Custodian, CustodyBusyError, CustodyLock
from gateway.custody.duty import Duty, Roster
from gateway.custody.places import writable_places
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.metrics import Registry
from gateway.ledger.layout import Layout
from tests.unit.custody.conftest import Custody


class Task:
    """A duty that does what the test says."""

    def __init__(self, name: str, *faults: Exception) -> None:
        self.name = name
        self.faults = list(faults)
        self.runs = 0
        self.measured = 0
        self.is_running = False

    async def run(self) -> None:
        self.runs += 1
        if self.faults:
            raise self.faults.pop(0)
        self.is_running = True
        try:
            await asyncio.Event().wait()
        finally:
            self.is_running = False

    def measure(self) -> None:
        self.measured += 1


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duty_module, "_FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(custodian_module, "_LOCK_POLL_S", 0.005)


def values(registry: Registry, name: str) -> dict[tuple[str, ...], float]:
    return next(dict(sample.values) for sample in registry.dump() if sample.name == name)


def test_a_duty_that_fails_is_tried_again_and_stops_no_other() -> None:
    async def scenario() -> None:
        registry = Registry()
        roster = Roster(registry)
        broken, well = Task("broken", AuditUnavailableError("no room"), KeyError("x")), Task("well")
        roster.begin([broken, well])
        await until(lambda: broken.runs == 3 and well.is_running)
        assert values(registry, "gateway_custody_failures_total") == {("broken",): 2.0}
        assert values(registry, "gateway_custody_duty_up") == {("broken",): 1.0, ("well",): 1.0}
        assert roster.faults == {"broken": "KeyError"}
        roster.measure()
        assert (broken.measured, well.measured) == (1, 1)
        await roster.end()
        assert not well.is_running
        assert values(registry, "gateway_custody_duty_up") == {("broken",): 0.0, ("well",): 0.0}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "tiles/0"), "tiles/0: no space left on device"),
        (OSError(errno.EMFILE, "Too many open files"), "too many open files"),
        (OSError(), "OSError"),
    ],
    ids=["with its file", "without one", "without words"],
)
def test_a_full_disk_is_said_in_a_sentence(error: OSError, said: str) -> None:
    """T-41: once per try, and a page of stack for each would fill what others have left."""

    async def scenario() -> None:
        roster = Roster(Registry())
        duty = Task("tiles", error)
        with structlog.testing.capture_logs() as lines:
            roster.begin([duty])
            await until(lambda: duty.is_running)
        assert roster.faults == {"tiles": said}
        assert [(line["log_level"], line["event"], line["reason"]) for line in lines] == [
            ("warning", "custody.failed", said)
        ]
        await roster.end()

    asyncio.run(scenario())


def test_a_duty_that_goes_on_after_a_failure_is_well_again_without_a_reload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duty_module, "WELL_AFTER_S", 0.01)

    async def scenario() -> None:
        roster = Roster(Registry())
        mended, broken = Task("mended", KeyError("x")), Task("broken", *[KeyError("x")] * 3)
        roster.begin([mended])
        await until(lambda: mended.is_running)
        await until(lambda: roster.faults == {})
        await roster.end()
        monkeypatch.setattr(duty_module, "WELL_AFTER_S", 60.0)
        roster.begin([broken])
        await until(lambda: broken.is_running)
        assert roster.faults == {"broken": "KeyError"}, "not yet"
        await roster.end()

    asyncio.run(scenario())


def test_a_duty_that_returns_is_done() -> None:
    class Once(Task):
        async def run(self) -> None:
            self.runs += 1
            if self.faults:
                raise self.faults.pop(0)

    async def scenario() -> None:
        roster = Roster(Registry())
        once, late = Once("once"), Once("late", KeyError("x"))
        roster.begin([once, late])
        await until(lambda: all(task.done() for task in roster._tasks))
        assert (once.runs, late.runs, roster.faults) == (1, 2, {})
        await roster.end()

    asyncio.run(scenario())


def test_two_custodians_never_act_at_once_and_the_second_goes_on_when_the_first_ends(custody: Custody) -> None:
    async def scenario() -> None:
        old, new = Custodian(custody.station()), Custodian(custody.station())
        first, second = Task("old"), Task("new")
        old.begin(lambda: [first])
        await until(lambda: first.is_running)
        new.begin(lambda: [second])
        for _ in range(10):
            await asyncio.sleep(0.01)
            assert not second.is_running
        assert values(custody.stations[1].metrics, "gateway_custody_active") == {(): 0.0}
        await old.end()
        await until(lambda: second.is_running)
        assert not first.is_running
        assert values(custody.stations[1].metrics, "gateway_custody_active") == {(): 1.0}
        await new.end()

    asyncio.run(scenario())


def test_a_reload_ends_old_duties_before_new_ones_begin(custody: Custody) -> None:
    async def scenario() -> None:
        custodian = Custodian(custody.station())
        first, second, third = Task("first"), Task("second"), Task("third")

        def overlaps() -> list[Duty]:
            assert not first.is_running
            return [second]

        custodian.begin(lambda: [first])
        await until(lambda: first.is_running)
        custodian.change(overlaps)
        await until(lambda: second.is_running)
        custodian.change(lambda: [first])
        custodian.change(lambda: [third])
        await until(lambda: third.is_running)
        assert first.runs == 1
        await custodian.end()
        assert not third.is_running

    asyncio.run(scenario())


def test_a_custodian_that_ends_while_it_waits_lets_nothing_begin(custody: Custody) -> None:
    async def scenario() -> None:
        lock = CustodyLock(custody.bench.layout)
        custodian = Custodian(custody.station())
        task = Task("task")
        custodian.begin(lambda: [task])
        await custodian.end()
        lock.release()
        await asyncio.sleep(0.02)
        assert task.runs == 0

    asyncio.run(scenario())


def test_the_lock_is_one_process_s(custody: Custody) -> None:
    lock = CustodyLock(custody.bench.layout)
    with pytest.raises(CustodyBusyError, match="another process has the custody"):
        CustodyLock(custody.bench.layout)
    lock.release()
    CustodyLock(custody.bench.layout).release()


def test_a_lock_that_cannot_be_made_is_waited_for(tmp_path: Path, custody: Custody) -> None:
    async def scenario() -> None:
        custodian = Custodian(custody.station())
        task = Task("task")
        run = custody.bench.layout.run
        run.rename(tmp_path / "away")
        custodian.begin(lambda: [task])
        await asyncio.sleep(0.05)
        assert task.runs == 0
        (tmp_path / "away").rename(run)
        await until(lambda: task.is_running)
        await custodian.end()

    asyncio.run(scenario())


def test_what_it_writes_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    places = writable_places(tmp_path)
    assert {place.name for place in places} >= {"audit", "tiles", "custody", "run"}
    assert {place.stat().st_mode & 0o777 for place in places} == {0o700}
    assert Layout(tmp_path).custody in places


def test_a_duty_that_fails_while_it_is_cancelled_ends_all_the_same() -> None:
    """attack: a connection that breaks as it is closed, and the custodian never ends and takes no reload."""

    class Clumsy(Task):
        async def run(self) -> None:
            try:
                await super().run()
            finally:
                if self.runs == 1:
                    raise OSError("the connection was reset")

    async def scenario() -> None:
        roster = Roster(Registry())
        clumsy = Clumsy("clumsy")
        roster.begin([clumsy])
        await until(lambda: clumsy.is_running)
        ending = asyncio.create_task(roster.end())
        await until(ending.done)
        assert not clumsy.is_running

    asyncio.run(scenario())


def test_duties_that_cannot_be_begun_are_tried_again_and_the_failure_is_told(
    custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custodian_module, "_AGAIN_S", 0.01)

    async def scenario() -> None:
        custodian = Custodian(custody.station())
        task = Task("task")
        faults = [OSError("no room for a certificate"), ValueError("ca")]
        told: list[dict[str, str]] = []

        def duties() -> list[Duty]:
            told.append(dict(custodian.roster.faults))
            if faults:
                raise faults.pop(0)
            return [task]

        custodian.begin(duties)
        await until(lambda: task.is_running)
        assert len(told) == 3
        assert custodian.roster.faults == {}
        await custodian.end()

    asyncio.run(scenario())
