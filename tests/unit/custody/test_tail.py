"""A stream as it grows: no entry before it is safe, none twice, none left out."""

from __future__ import annotations

import asyncio

import pytest

from gateway.custody.duty import Roster
from gateway.custody.tail import Tail, Watch
from gateway.exchange.stream import Stream
from gateway.ledger.spool import PrunedError
from tests.unit.custody.conftest import STREAM, Custody
from tests.unit.ledger.test_spool import seal_file


def tail_of(custody: Custody) -> Tail:
    return custody.station().tails[STREAM]


def test_before_the_log_begins_there_is_nothing(custody: Custody) -> None:
    tail = tail_of(custody)
    tail.look()
    assert tail.extent() is None
    assert asyncio.run(tail.read(0, 10)) == []


def test_what_is_not_published_is_not_there(custody: Custody) -> None:
    """A crash may replace it: a copy of it would be of something that never was in the log."""
    log = custody.bench.open()
    custody.bench.append(log, 3)
    log.publish()
    custody.bench.append(log, 3)
    tail = tail_of(custody)
    tail.look()
    assert len(asyncio.run(tail.read(0, 100))) == 3
    log.publish()
    tail.look()
    assert len(asyncio.run(tail.read(0, 100))) == 6
    log.close()


def test_the_extent_says_what_there_is(custody: Custody) -> None:
    custody.fill(files=3, records=4)
    tail = tail_of(custody)
    tail.look()
    extent = tail.extent()
    assert extent is not None
    assert (extent.first, extent.size) == (0, 12)
    assert extent.origin.endswith("/security")
    assert extent.note == custody.bench.layout.checkpoint(STREAM).read_bytes()
    for number in (1, 2):
        seal_file(custody.bench, number)
    (custody.directory / "security-000000000001.seg").unlink()
    tail.look()
    pruned = tail.extent()
    assert pruned is not None
    assert (pruned.first, pruned.size) == (4, 12)
    with pytest.raises(PrunedError):
        asyncio.run(tail.read(0, 10))


def test_a_checkpoint_of_another_key_is_not_believed(custody: Custody) -> None:
    custody.fill(files=1)
    path = custody.bench.layout.checkpoint(STREAM)
    path.write_bytes(path.read_bytes().replace(b"\n5\n", b"\n9\n"))
    with pytest.raises(Exception, match="signature"):
        tail_of(custody).look()


def test_readers_at_many_places_share_a_tail(custody: Custody) -> None:
    custody.fill(files=3, records=20)
    tail = tail_of(custody)
    tail.look()

    async def read() -> None:
        whole = await tail.read(0, 100)
        places = list(range(0, 60, 4))
        for _ in range(4):
            for slot, at in enumerate(places):
                found = await tail.read(at, 3)
                assert found == whole[at : at + 3]
                places[slot] = (at + len(found)) % 60

    asyncio.run(read())


def test_following_yields_everything_once_while_files_close_and_are_sealed(custody: Custody) -> None:
    custody.fill(files=2, records=5)

    async def scenario() -> list[bytes]:
        station = custody.station()
        tail = station.tails[STREAM]
        watch = asyncio.create_task(Watch(tail).run())
        found: list[bytes] = []

        async def follow() -> None:
            async for batch in tail.follow(0, most=3):
                assert batch.first == len(found)
                found.extend(batch.raw)

        following = asyncio.create_task(follow())

        async def until(count: int) -> None:
            async with asyncio.timeout(20):
                while len(found) < count:
                    await asyncio.sleep(0.005)

        await until(10)
        await asyncio.to_thread(seal_file, custody.bench, 1)
        await asyncio.to_thread(custody.fill, 2, 5)
        await asyncio.to_thread(seal_file, custody.bench, 2)
        await until(20)
        for task in (following, watch):
            task.cancel()
        await asyncio.gather(following, watch, return_exceptions=True)
        return found

    found = asyncio.run(scenario())
    assert len(found) == len(set(found)) == 20


def test_streams_are_followed_apart(custody: Custody) -> None:
    custody.fill(files=1, records=2)
    custody.fill(files=1, records=3, stream=Stream.ACCESS)
    station = custody.station()
    for stream, count in ((Stream.SECURITY, 2), (Stream.ACCESS, 3)):
        tail = station.tails[stream]
        tail.look()
        assert len(asyncio.run(tail.read(0, 100))) == count


def test_a_damaged_checkpoint_of_one_stream_keeps_no_other_from_being_followed(custody: Custody) -> None:
    """attack: one file is spoiled, and no sink gets anything of any stream."""
    custody.fill(files=1, records=2)
    custody.fill(files=1, records=3, stream=Stream.ACCESS)
    custody.bench.layout.checkpoint(STREAM).write_bytes(b"junk\n")

    async def scenario() -> None:
        station = custody.station()
        roster = Roster(station.metrics)
        roster.begin([Watch(tail) for tail in station.tails.values()])
        async with asyncio.timeout(20):
            await station.tails[Stream.ACCESS].grown(2)
            while f"watch-{STREAM}" not in roster.faults:
                await asyncio.sleep(0.005)
        assert list(roster.faults) == [f"watch-{STREAM}"]
        await roster.end()

    asyncio.run(scenario())


def test_a_sink_that_never_comes_back_keeps_no_removed_file_on_the_disk(custody: Custody) -> None:
    custody.fill(files=2, records=5)
    tail = custody.station().tails[STREAM]
    tail.look()
    asyncio.run(tail.read(0, 2))
    [(_, idle)] = tail._readers.items()
    seal_file(custody.bench, 1)
    assert idle.is_unlinked()
    asyncio.run(tail.read(7, 1))
    assert not any(reader.is_unlinked() for reader in tail._readers.values())
    assert len(asyncio.run(tail.read(2, 8))) == 8
