"""Poison, pauses, replays and logs that change under a shipper."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import record
from gateway.audit.canonical import encode
from gateway.audit.delivery import Batch
from gateway.audit.entry import EntryError, pack_entry
from gateway.custody.sinks import cursor as cursor_module
from gateway.custody.sinks.cursor import Cursor, Replay, Unlisted
from gateway.custody.sinks.shipping import LONELY_TRIES, Limits
from gateway.custody.sinks.sink import Fault, NotDeliveredError, RefusedRecordsError
from gateway.custody.sinks.standing import FIRST_HUSH_S, LONGEST_HUSH_S, TELL_AFTER, Retry, ShippingMetrics, Standing
from gateway.exchange.metrics import Registry
from gateway.exchange.stream import Stream
from tests.fakes.log_source import ORIGIN, TIME_NS, MemorySource, Recorded, Shipment, entry, stamp


class Shelf:
    """A sink that stores in memory and refuses what it is told to, in one of the two ways there are."""

    def __init__(self, *, names_the_records: bool = False) -> None:
        self.got: list[tuple[int, bytes]] = []
        self.batches: list[tuple[int, int]] = []
        self.refuses: Callable[[int], bool] = lambda _index: False
        self.fails: Callable[[], Exception | None] = lambda: None
        self._names_the_records = names_the_records
        self.closed = 0

    async def deliver(self, batch: Batch) -> None:
        error = self.fails()
        if error is not None:
            raise error
        refused = [d.index for d in batch.deliveries if self.refuses(d.index)]
        if refused and not self._names_the_records:
            raise RefusedRecordsError("it answered 400")
        self.batches.append((batch.first, batch.last))
        self.got += [(d.index, d.line) for d in batch.deliveries if d.index not in refused]
        if refused:
            raise RefusedRecordsError("it answered 400", refused)

    async def probe(self) -> None:
        pass

    async def close(self) -> None:
        self.closed += 1

    def indexes(self) -> list[int]:
        return [index for index, _ in self.got]


def log(count: int) -> MemorySource:
    return MemorySource([entry(index) for index in range(count)])


@pytest.mark.parametrize("names_the_records", [True, False])
async def test_one_record_that_is_always_refused_is_listed_and_all_others_arrive(
    tmp_path: Path, *, names_the_records: bool
) -> None:
    """T-46."""
    shelf = Shelf(names_the_records=names_the_records)
    shelf.refuses = lambda index: index == 13
    async with Shipment(shelf, log(40), tmp_path) as shipment:
        await shipment.until_acknowledged(40)
        await shipment.until(lambda: bool(shipment.recorded.records), "the record")
        assert sorted(set(shelf.indexes())) == [index for index in range(40) if index != 13]
        assert [(dead.origin, dead.index) for dead in shipment.cursors.dead_letters()] == [(ORIGIN, 13)]
        assert shipment.recorded.events() == [("audit.sink_failed", "dead_letter")]
        assert shipment.recorded.records[0]["unmapped"]["gw"]["sink"]["indexes"] == [13]
        assert shipment.value("gateway_audit_dead_letter") == 1
        assert shipment.value("gateway_audit_sink_delivered_records_total") == 39
        assert shipment.value("gateway_audit_sink_lag_records") == 0


async def test_a_receiver_that_refuses_everything_is_at_fault_itself_and_nothing_is_buried(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.refuses = lambda _index: True
    async with Shipment(shelf, log(20), tmp_path) as shipment:
        await shipment.until(lambda: ("audit.sink_failed", "refused") in shipment.recorded.events(), "the failure")
        assert shipment.cursors.dead_letters() == []
        shelf.refuses = lambda _index: False
        await shipment.until_acknowledged(20)
    assert sorted(set(shelf.indexes())) == list(range(20))


async def test_a_receiver_that_was_out_of_order_for_a_while_loses_no_record_to_the_dead_letters(tmp_path: Path) -> None:
    """Attack on T-46: while the culprit is looked for, the receiver recovers, and what it refused until then is given up."""
    shelf = Shelf()
    offers = iter(range(1, 1000))
    shelf.refuses = lambda index: index == 13 or broken
    broken = True

    def fail() -> None:
        nonlocal broken
        broken = next(offers) < 9  # well again between two halves

    shelf.fails = fail
    async with Shipment(shelf, log(40), tmp_path, limits=Limits(records=20)) as shipment:
        await shipment.until_acknowledged(40)
        assert [dead.index for dead in shipment.cursors.dead_letters()] == [13]
    assert sorted(set(shelf.indexes())) == [index for index in range(40) if index != 13]


async def test_the_search_for_a_poisoned_record_goes_on_where_a_failure_interrupted_it(tmp_path: Path) -> None:
    """Attack on T-46: a receiver that fails now and then, and so never to the end of a batch with poison in it."""
    shelf = Shelf()
    shelf.refuses = lambda index: index % 7 == 3
    offers = iter(range(1, 10_000))
    shelf.fails = lambda: NotDeliveredError(Fault.BROKEN, "it answered 500") if next(offers) % 3 == 0 else None
    async with Shipment(shelf, log(64), tmp_path, limits=Limits(records=64)) as shipment:
        await shipment.until_acknowledged(64)
        assert [dead.index for dead in shipment.cursors.dead_letters()] == list(range(3, 64, 7))
    assert shelf.indexes() == [index for index in range(64) if index % 7 != 3], "each once, in order"


async def test_a_batch_of_nothing_but_poison_is_passed_when_the_receiver_takes_what_it_had_before(
    tmp_path: Path,
) -> None:
    """Attack on T-46: as many requests in a row that the receiver refuses as a batch holds, and it hears of nothing any more."""
    shelf = Shelf()
    shelf.refuses = lambda index: 10 <= index < 40
    async with Shipment(shelf, log(50), tmp_path) as shipment:
        await shipment.until_acknowledged(50)
        assert [dead.index for dead in shipment.cursors.dead_letters()] == list(range(10, 40))
        assert shipment.value("gateway_audit_dead_letter") == 30
    assert set(shelf.indexes()) == {*range(10), *range(40, 50)}


async def test_poison_at_the_very_beginning_is_passed_when_the_receiver_takes_what_comes_after_it(
    tmp_path: Path,
) -> None:
    shelf = Shelf()
    shelf.refuses = lambda index: index < 10
    async with Shipment(shelf, log(15), tmp_path) as shipment:
        await shipment.until_acknowledged(15)
        assert len(shipment.cursors.dead_letters()) == 10


async def test_a_receiver_that_refuses_what_it_had_before_is_at_fault_itself(tmp_path: Path) -> None:
    shelf = Shelf()
    async with Shipment(shelf, log(20), tmp_path) as shipment:
        await shipment.until_acknowledged(20)
    shelf.refuses = lambda _index: True
    refused = ("siem", "refused")
    async with Shipment(shelf, log(21), tmp_path) as shipment:
        name = "gateway_audit_sink_failures_total"
        await shipment.until(lambda: shipment.value(name, refused) > 2 * LONELY_TRIES, "many refusals")
        assert shipment.cursors.dead_letters() == []
        shelf.refuses = lambda _index: False
        await shipment.until_acknowledged(21)


@pytest.mark.parametrize("names_the_records", [True, False])
@pytest.mark.parametrize("restarts", [True, False])
async def test_a_receiver_that_is_mended_just_before_it_is_asked_whose_fault_it_is_loses_nothing(
    tmp_path: Path, *, names_the_records: bool, restarts: bool
) -> None:
    """Attack on T-46: it refused a whole batch, is well again when it is offered another record, and the batch is given up."""
    shelf = Shelf(names_the_records=names_the_records)
    async with Shipment(shelf, log(10), tmp_path) as shipment:
        await shipment.until_acknowledged(10)
    refused, is_broken, is_away = 0, True, False

    def refuses(index: int) -> bool:
        nonlocal refused, is_broken, is_away
        if is_broken and index < 10:  # the question whose fault it is: here the operator is faster
            is_broken, is_away = False, restarts
        refused += is_broken
        return is_broken or index == 13

    def fails() -> Exception | None:
        nonlocal is_away
        was_away, is_away = is_away, False
        return NotDeliveredError(Fault.UNREACHABLE, "it restarts") if was_away else None

    shelf.refuses, shelf.fails = refuses, fails
    async with Shipment(shelf, log(20), tmp_path) as shipment:
        await shipment.until_acknowledged(20)
        assert [dead.index for dead in shipment.cursors.dead_letters()] == [13]
        assert refused >= LONELY_TRIES
    assert set(shelf.indexes()) == {*range(20)} - {13}


async def test_more_poison_than_is_listed_stops_no_sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack on T-46: ten thousand requests with what a filter before the receiver refuses, and it hears of nothing any more."""
    monkeypatch.setattr(cursor_module, "MOST_BURIED", 5)
    shelf = Shelf()
    shelf.refuses = lambda index: index % 2 == 1
    async with Shipment(shelf, log(40), tmp_path) as shipment:
        await shipment.until_acknowledged(40)
        assert [dead.index for dead in shipment.cursors.dead_letters()] == [1, 3, 5, 7, 9]
        assert shipment.cursors.unlisted() == Unlisted(origin=ORIGIN, first=11, last=39, count=15)
        assert shipment.value("gateway_audit_dead_letter") == 20
        shelf.refuses = lambda _index: False
        shipment.cursors.ask(Replay(start=11))
        await shipment.until(lambda: shipment.cursors.asked() is None, "the answer")
        await shipment.until_acknowledged(40)
        assert shipment.value("gateway_audit_dead_letter") == 5
        shipment.cursors.ask(Replay(dead_letters=True))
        await shipment.until(lambda: shipment.cursors.asked() is None, "the answer")
        assert shipment.value("gateway_audit_dead_letter") == 0
    assert set(shelf.indexes()) == set(range(40))
    assert len(set(shelf.got)) == 40


@pytest.mark.parametrize(("minutes", "tries"), [(1, 7), (15, 21), (120, 126)])
async def test_an_outage_of_any_length_costs_no_record(tmp_path: Path, minutes: int, tries: int) -> None:
    """T-45: as many tries as the pauses of so many minutes hold, at the longest they can be."""
    pauses = [Retry().pause(count, 1.0) for count in range(1, tries)]
    assert sum(pauses[:-1]) < minutes * 60 <= sum(pauses)
    shelf, source = Shelf(), log(30)
    failed = iter(range(tries))

    def fail() -> Exception | None:
        if next(failed, None) is None:
            return None
        source.add(entry(len(source.entries)))  # requests go on
        return NotDeliveredError(Fault.UNREACHABLE, "nobody listens")

    shelf.fails = fail
    retry = Retry(first_s=0.001, longest_s=0.001)
    async with Shipment(shelf, source, tmp_path, retry=retry) as shipment:
        await shipment.until_acknowledged(30 + tries)
        await shipment.until(lambda: shipment.recorded.events()[-1][0] == "audit.sink_recovered", "the recovery")
    assert shelf.indexes() == list(range(30 + tries)), "each once, in order"
    assert shipment.recorded.events() == [("audit.sink_failed", "unreachable"), ("audit.sink_recovered", "")]


async def test_a_refused_record_that_is_alone_is_buried_after_some_tries(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.refuses = lambda _index: True
    async with Shipment(shelf, log(1), tmp_path) as shipment:
        await shipment.until_acknowledged(1)
        assert [dead.index for dead in shipment.cursors.dead_letters()] == [0]
        assert shipment.value("gateway_audit_sink_failures_total", ("siem", "refused")) == LONELY_TRIES - 1


async def test_dead_letters_are_offered_again_when_an_operator_asks(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.refuses = lambda index: index in {2, 5}
    async with Shipment(shelf, log(10), tmp_path) as shipment:
        await shipment.until_acknowledged(10)
        shelf.refuses = lambda index: index == 5
        shipment.cursors.ask(Replay(dead_letters=True))
        await shipment.until(lambda: shipment.cursors.asked() is None, "the answer")
        assert 2 in shelf.indexes()
        assert [dead.index for dead in shipment.cursors.dead_letters()] == [5]


async def test_a_replay_delivers_the_same_bytes_from_an_index_on(tmp_path: Path) -> None:
    shelf = Shelf()
    async with Shipment(shelf, log(30), tmp_path) as shipment:
        await shipment.until_acknowledged(30)
        shipment.cursors.ask(Replay(start=25))
        await shipment.until(lambda: shelf.indexes().count(29) == 2, "the replay")
        await shipment.until(lambda: shipment.cursors.asked() is None, "the answer")
        assert shelf.indexes() == [*range(30), *range(25, 30)]
        assert len(set(shelf.got)) == 30
        shipment.cursors.ask(Replay(start=1000))
        await shipment.until(lambda: shipment.cursors.asked() is None, "a replay from beyond the end")
        assert shipment.shipper.acknowledged() == 30


async def test_the_same_batch_is_offered_again_after_a_failure(tmp_path: Path) -> None:
    shelf, offered = Shelf(), []
    source = log(5)

    def fail() -> Exception | None:
        offered.append(len(source.entries))
        if len(offered) < 4:
            source.add(entry(len(source.entries)))
            return NotDeliveredError(Fault.BUSY, "it answered 429")
        return None

    shelf.fails = fail
    async with Shipment(shelf, source, tmp_path) as shipment:
        await shipment.until_acknowledged(8)
    assert shelf.batches == [(0, 4), (5, 7)]


async def test_a_cursor_of_another_log_begins_at_the_beginning(tmp_path: Path) -> None:
    shelf, source = Shelf(), log(5)
    async with Shipment(shelf, source, tmp_path) as shipment:
        await shipment.until_acknowledged(5)
        source.origin, source.entries = "gateway/node-a/11111111/access", []
        source.add(entry(0), entry(1))
        await shipment.until(lambda: len(shelf.got) == 7, "the new log")
        assert shipment.shipper.acknowledged() == 2


async def test_a_log_that_was_begun_anew_is_said_once_with_its_old_and_its_new_name(tmp_path: Path) -> None:
    """Attack: a log is moved away before its receiver has all of it, and another begins as if nothing had been."""
    new = "gateway/node-a/11111111/access"
    async with Shipment(Shelf(), log(5), tmp_path) as shipment:
        await shipment.until_acknowledged(5)
        assert shipment.recorded.events() == [], "a sink that begins is no sink that begins anew"
    source = log(2)
    source.origin = new
    async with Shipment(Shelf(), source, tmp_path) as shipment:
        await shipment.until_acknowledged(2)
        (told,) = shipment.recorded.records
        assert told["unmapped"]["gw"]["event"] == "audit.sink_restarted"
        assert told["unmapped"]["gw"]["sink"] == {
            "name": "siem",
            "stream": "access",
            "origin_before": ORIGIN,
            "origin": new,
            "delivered_before": 5,
        }
    source = log(3)
    source.origin = new
    async with Shipment(Shelf(), source, tmp_path) as shipment:
        await shipment.until_acknowledged(3)
        assert shipment.recorded.events() == []


async def test_a_replay_that_somebody_asked_for_hides_no_new_log_and_skips_none_of_it(tmp_path: Path) -> None:
    """Attack: a wish that is left beside the cursor while the log is moved away; its number is one of the old log."""
    async with Shipment(Shelf(), log(5), tmp_path) as shipment:
        await shipment.until_acknowledged(5)
    shipment.cursors.ask(Replay(start=4))
    shelf, source = Shelf(), log(6)
    source.origin = "gateway/node-a/11111111/access"
    async with Shipment(shelf, source, tmp_path) as shipment:
        await shipment.until_acknowledged(6)
        await shipment.until(lambda: shipment.cursors.asked() is None, "the answer")
        assert shelf.indexes() == list(range(6))
        assert shipment.recorded.events() == [("audit.sink_restarted", "")]


async def test_a_cursor_that_cannot_be_written_makes_one_record_of_a_new_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, source = Shelf(), log(5)
    async with Shipment(shelf, source, tmp_path) as shipment:
        await shipment.until_acknowledged(5)
        full = OSError(errno.ENOSPC, "armed")

        def refuse(*_: Any, **__: Any) -> None:
            raise full

        monkeypatch.setattr(cursor_module, "replace_file", refuse)
        source.origin, source.entries = "gateway/node-a/11111111/access", []
        source.add(entry(0))
        refused = ("siem", "disk")
        await shipment.until(lambda: shipment.value("gateway_audit_sink_failures_total", refused) >= 3, "the failures")
        assert shipment.recorded.events().count(("audit.sink_restarted", "")) == 1
        monkeypatch.undo()
        await shipment.until(lambda: len(shelf.got) == 6, "the new log")
        assert shipment.recorded.events().count(("audit.sink_restarted", "")) == 1


async def test_a_log_that_is_shorter_than_what_was_delivered_is_said_and_not_papered_over(tmp_path: Path) -> None:
    source = log(5)
    shelf = Shelf()
    shipment = Shipment(shelf, source, tmp_path)
    shipment.cursors.store(Cursor(origin=ORIGIN, next_index=9))
    async with shipment:
        await shipment.until(lambda: ("audit.sink_failed", "log") in shipment.recorded.events(), "the failure")
        assert shelf.got == []


async def test_what_was_pruned_before_it_was_delivered_is_counted(tmp_path: Path) -> None:
    source = log(10)
    source.first = 4
    shipment = Shipment(Shelf(), source, tmp_path)
    shipment.cursors.store(Cursor(origin=ORIGIN, next_index=1))
    async with shipment:
        await shipment.until_acknowledged(10)
        assert shipment.value("gateway_audit_sink_skipped_records_total") == 3
        assert ("audit.sink_failed", "pruned") in shipment.recorded.events()


async def test_a_sink_with_a_fault_in_it_stops_nothing_but_itself(tmp_path: Path) -> None:
    shelf = Shelf()
    faults = iter([KeyError("bug"), KeyError("bug"), KeyError("bug")])
    shelf.fails = lambda: next(faults, None)
    async with Shipment(shelf, log(3), tmp_path) as shipment:
        await shipment.until_acknowledged(3)
        assert shipment.value("gateway_audit_sink_failures_total", ("siem", "internal")) == 3
    assert shelf.closed >= 1


async def test_a_damaged_cursor_costs_copies_and_no_record(tmp_path: Path) -> None:
    shelf = Shelf()
    async with Shipment(shelf, log(25), tmp_path) as shipment:
        await shipment.until_acknowledged(25)
    shipment.cursors.path.write_bytes(b"junk")
    async with Shipment(shelf, log(40), tmp_path) as again:
        await again.until_acknowledged(40)
    assert set(shelf.indexes()) == set(range(40))
    assert len(set(shelf.got)) == 40


async def test_batches_keep_to_their_size_but_for_a_record_that_is_larger(tmp_path: Path) -> None:
    shelf = Shelf()
    source = MemorySource([entry(0), entry(1), entry(2, "x" * 1000), entry(3)])
    async with Shipment(shelf, source, tmp_path, limits=Limits(records=10, bytes=900)) as shipment:
        await shipment.until_acknowledged(4)
    assert all(first == last for first, last in shelf.batches)


async def test_a_record_waits_for_company_when_it_may(tmp_path: Path) -> None:
    shelf, source = Shelf(), log(1)
    async with Shipment(shelf, source, tmp_path, limits=Limits(records=3, linger_s=30.0)) as shipment:
        await asyncio.sleep(0)
        assert shelf.got == []
        source.add(entry(1), entry(2))
    assert shipment.task is not None
    assert shipment.task.cancelled()


async def test_what_a_receiver_has_is_known_of_the_present_log_alone(tmp_path: Path) -> None:
    source = log(8)
    async with Shipment(Shelf(), source, tmp_path, is_required=True) as shipment:
        assert shipment.shipper.acknowledged() == 0
        await shipment.until_acknowledged(8)
        assert shipment.shipper.is_required
        source.origin = "gateway/node-a/11111111/access"
        assert shipment.shipper.acknowledged() == 0


def test_pauses_double_up_to_their_bound_and_are_anything_below_it() -> None:
    retry = Retry()
    assert [retry.pause(n, 1.0) for n in (1, 2, 3, 6, 7, 50)] == [1.0, 2.0, 4.0, 32.0, 60.0, 60.0]
    assert retry.pause(9, 0.0) == 0.0


async def test_bytes_that_are_no_entry_are_a_fault_of_the_log(tmp_path: Path) -> None:
    source = MemorySource([b"junk"])
    async with Shipment(Shelf(), source, tmp_path) as shipment:
        await shipment.until(lambda: ("audit.sink_failed", "log") in shipment.recorded.events(), "the failure")
    assert issubclass(EntryError, Exception)


async def test_a_sink_that_a_reload_removed_leaves_no_alarm_behind(tmp_path: Path) -> None:
    shelf = Shelf()
    shelf.fails = lambda: NotDeliveredError(Fault.UNREACHABLE, "nobody listens")
    async with Shipment(shelf, log(5), tmp_path) as shipment:
        refused = ("siem", "unreachable")
        await shipment.until(lambda: shipment.value("gateway_audit_sink_failures_total", refused) >= 1, "the failure")
        assert shipment.value("gateway_audit_sink_lag_records") == 5
    left = {sample.name for sample in shipment.registry.dump() if sample.kind == "gauge" and sample.values}
    assert not left
    assert any(
        sample.name == "gateway_audit_sink_failures_total" and sample.values for sample in shipment.registry.dump()
    )


async def test_a_receiver_that_refuses_what_is_said_of_its_refusals_is_told_of_no_more(tmp_path: Path) -> None:
    """attack: each notice is refused and makes the next one, until no dead letter can be listed any more."""
    shelf, source = Shelf(names_the_records=True), log(3)

    async def keep(build: Callable[[record.Stamp], Mapping[str, Any]]) -> None:
        index = len(source.entries)
        payload = encode(build(stamp(index)))
        notice = pack_entry(Stream.ACCESS, 1004, TIME_NS, index + 1, bytes(16), payload)
        source.add(notice, entry(index + 1))

    shelf.refuses = lambda index: index == 1 or b"audit.sink_failed" in source.entries[index]
    async with Shipment(shelf, source, tmp_path, recorder=keep) as shipment:
        await shipment.until_acknowledged(5)
        source.add(entry(5))
        await shipment.until_acknowledged(6)
        assert len(source.entries) == 6
        assert [letter.index for letter in shipment.cursors.dead_letters()] == [1, 3]


async def test_a_dead_letter_that_its_receiver_breaks_over_holds_up_no_other_record(tmp_path: Path) -> None:
    """attack: it is refused at first, and an operator has it offered again to a receiver that answers it with 500."""
    shelf, source = Shelf(), log(10)
    shelf.refuses = lambda index: index in {2, 5}
    async with Shipment(shelf, source, tmp_path) as shipment:
        await shipment.until_acknowledged(10)
        shelf.refuses = lambda _index: False
        deliver = shelf.deliver

        async def break_over_it(batch: Batch) -> None:
            if batch.first == 5:
                raise NotDeliveredError(Fault.BROKEN, "it answered 500")
            await deliver(batch)

        shelf.deliver = break_over_it  # type: ignore[method-assign]
        shipment.cursors.ask(Replay(dead_letters=True))
        await shipment.until(lambda: len(shipment.cursors.dead_letters()) == 1, "the one that is taken")
        source.add(entry(10))
        await shipment.until_acknowledged(11)
        assert shipment.cursors.asked() is not None, "it is tried again later"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE], ids=errno.errorcode.get)
async def test_while_no_cursor_can_be_written_no_record_is_sent_twice_and_the_log_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """T-41: each record of a failure would take room from the ballast."""
    shelf, source = Shelf(), log(20)
    shelf.refuses = lambda index: index == 3
    tries = []

    def fail(path: Path, *_: object, **__: object) -> None:
        tries.append(path)
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr("gateway.custody.sinks.cursor.replace_file", fail)
        async with Shipment(shelf, source, tmp_path) as shipment:
            await shipment.until(lambda: len(tries) > TELL_AFTER + 5, "the tries")
            assert shelf.indexes() == [index for index in range(10) if index != 3], (
                "the receiver has it; the cursor alone is tried again"
            )
            assert shipment.recorded.events() == [("audit.sink_failed", "disk")]
            assert os.strerror(error).lower() in str(shipment.recorded.records[0])
            patch.undo()
            await shipment.until_acknowledged(20)
            assert sorted(shelf.indexes()) == [index for index in range(20) if index != 3]
            assert [dead.index for dead in shipment.cursors.dead_letters()] == [3]
            assert shipment.value("gateway_audit_dead_letter") == 1
            assert shipment.recorded.events()[1:] == [
                ("audit.sink_failed", "dead_letter"),
                ("audit.sink_recovered", ""),
            ]


async def test_a_sink_that_comes_and_goes_is_told_of_less_and_less_often() -> None:
    """Each record takes room from a disk that may be full, and makes the sink send again."""
    now, recorded = [0.0], Recorded()
    standing = Standing(
        "siem",
        "access",
        retry=Retry(first_s=0.0, longest_s=0.0),
        recorder=recorded,
        metrics=ShippingMetrics(Registry()),
        clock=lambda: now[0],
        random=lambda: 0.0,
    )
    told = []
    while now[0] < 12 * LONGEST_HUSH_S:
        before = len(recorded.records)
        for _ in range(TELL_AFTER):
            await standing.failed(NotDeliveredError(Fault.DISK, "no space left on device"))
        if len(recorded.records) > before:
            told.append(now[0])
        await standing.well()
        assert len(recorded.records) % 2 == 0, "what began is said to have ended"
        now[0] += 10.0
    pauses = [later - earlier for earlier, later in pairwise(told)]
    assert pauses[:3] == [FIRST_HUSH_S, 2 * FIRST_HUSH_S, 4 * FIRST_HUSH_S]
    assert set(pauses[6:]) == {LONGEST_HUSH_S}
    now[0] -= 86_400.0
    for _ in range(TELL_AFTER):
        await standing.failed(NotDeliveredError(Fault.DISK, "no space left on device"))
    assert recorded.events()[-1] == ("audit.sink_failed", "disk"), "a clock that was set back hushes nothing"
