"""Segments and checkpoints in a real S3 server under Object Lock, and a log that was rewritten."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.segment import parse_segment
from gateway.custody.sealing import Sealing
from gateway.custody.sinks.archive import ArchiveDuty
from gateway.custody.sinks.cursor import Cursor, CursorFile
from gateway.custody.sinks.register import Register
from gateway.custody.sinks.s3 import Bucket, Lock, S3Sink
from gateway.custody.sinks.sink import Fault, NotDeliveredError
from gateway.custody.sinks.standing import Retry, ShippingMetrics
from gateway.custody.tail import Extent
from gateway.exchange.metrics import Registry
from gateway.exchange.stream import Stream
from tests.fakes.log_receivers import S3Store
from tests.fakes.log_source import MemorySource, Recorded, at_once

DAY_S = 86_400.0


class Untold:
    """Takes every record of the sealing."""

    def done(self, _matter: str) -> int:
        return 0

    def write(self, *_: Any, **__: Any) -> None:
        pass


@pytest.fixture(scope="module")
def store() -> Iterator[S3Store]:
    server = S3Store()
    yield server
    server.stop()


@pytest.fixture
async def sink(store: S3Store, tmp_path: Path) -> AsyncIterator[S3Sink]:
    made = S3Sink(bucket(store, prefix=f"{tmp_path.name}/"), clock=time.time)
    yield made
    await made.close()


def bucket(store: S3Store, **changes: Any) -> Bucket:
    return Bucket(
        **{
            "bucket": store.bucket,
            "endpoint": f"http://127.0.0.1:{store.port}",
            "region": "eu-central-1",
            "access_key": "testing",
            "secret_key": "testing",
            "path_style": True,
            "lock": Lock(mode="COMPLIANCE", retain_s=30 * DAY_S),
            **changes,
        }
    )


def archive(
    sink: S3Sink, source: Any, segments: Path, cursors: Path, clock: Any = time.time, *, recorder: Any = None
) -> ArchiveDuty:
    return ArchiveDuty(
        sink,
        source,
        segments,
        CursorFile(cursors, "archive", "security.archive"),
        stream=Stream.SECURITY,
        retry=Retry(first_s=0.01, longest_s=0.02),
        recorder=recorder or Recorded(),
        threads=at_once,
        metrics=ShippingMetrics(Registry()),
        clock=clock,
        random=lambda: 0.5,
    )


async def test_each_segment_is_put_once_locked_and_whole(custody: Any, store: S3Store) -> None:
    sink = S3Sink(bucket(store, prefix="whole/"), clock=lambda: 0.0)  # the bench's records are of an early time
    custody.fill(3)
    station = custody.station()
    for number in (1, 2):
        for _ in Sealing(custody.bench.layout, custody.bench.keys, Stream.SECURITY, number, trail=Untold()).steps():
            pass
    tail = station.tails[Stream.SECURITY]
    tail.look()
    cursors = custody.bench.state_dir / "cursors"
    await archive(sink, tail, custody.directory, cursors).step()
    segments = [name for name in store.names() if "/segments/" in name]
    assert len(segments) == 2
    for name, path in zip(segments, sorted(custody.directory.glob("*.seg")), strict=True):
        assert store.body(name) == path.read_bytes()
        segment = parse_segment(path.read_bytes())
        assert name.endswith(
            f"{segment.head.first_index:020d}-{segment.next_index - 1:020d}-{segment.sha256.hex()}.seg"
        )
        found = store.client.head_object(Bucket=store.bucket, Key=name)
        assert found["ObjectLockMode"] == "COMPLIANCE"
        kept_s = found["ObjectLockRetainUntilDate"].timestamp() - segment.last_ns / 1e9
        assert 0 < kept_s - 30 * DAY_S <= 2
    [checkpoint] = [name for name in store.names() if "/checkpoints/" in name and tail.extent().origin in name]
    assert store.body(checkpoint) == tail.extent().note
    again = archive(sink, tail, custody.directory, cursors)
    await again.step()
    assert CursorFile(cursors, "archive", "security.archive").load().next_index == 3  # type: ignore[union-attr]
    (cursors / "archive-security.archive.json").write_bytes(b"junk")
    await archive(sink, tail, custody.directory, cursors).step()  # puts both again, and finds them there
    assert len([name for name in store.names() if "/segments/" in name]) == 2
    await sink.close()


class Noted(MemorySource):
    """A source with a checkpoint."""

    def __init__(self, note: bytes, size: int) -> None:
        super().__init__()
        self.note, self.size = note, size

    def extent(self) -> Extent:
        return Extent("gateway/a/security", 0, self.size, self.note)


def note(size: int, root: str, signature: str = "s") -> bytes:
    return f"gateway/a/security\n{size}\n{root}\n\n— gateway/a/security {signature}\n".encode()


async def test_a_checkpoint_with_another_root_shows_two_histories(sink: S3Sink, tmp_path: Path) -> None:
    await archive(sink, Noted(note(5, "cm9vdA=="), 5), tmp_path, tmp_path).step()
    await archive(sink, Noted(note(5, "cm9vdA==", "cosigned"), 5), tmp_path, tmp_path).step()
    with pytest.raises(NotDeliveredError, match="two histories") as refused:
        await archive(sink, Noted(note(5, "Zm9yaw=="), 5), tmp_path, tmp_path).step()
    assert refused.value.fault is Fault.CONFLICT


async def test_a_checkpoint_is_put_once_a_minute_at_most(sink: S3Sink, store: S3Store, tmp_path: Path) -> None:
    now = [1_790_000_000.0]
    source = Noted(note(5, "cm9vdA=="), 5)
    duty = archive(sink, source, tmp_path, tmp_path, clock=lambda: now[0])
    for size in (5, 6, 7):
        source.note, source.size = note(size, "cm9vdA=="), size
        await duty.step()
    now[0] += 61
    await duty.step()
    names = store.names(f"{tmp_path.name}/checkpoints/")
    assert [int(name.rpartition("/")[2]) for name in names] == [5, 7]


async def test_an_archive_that_finds_another_log_says_so_once_with_both_names(sink: S3Sink, tmp_path: Path) -> None:
    """Attack: a log is set aside with the files that its archive lacks, and another begins as if nothing had been."""
    cursor = CursorFile(tmp_path, "archive", "security.archive")
    cursor.store(Cursor(origin="gateway/before/security", next_index=8))
    source, recorder = Noted(note(5, "cm9vdA=="), 5), Recorded()
    for _ in range(2):  # a custodian, and the one after it
        duty = archive(sink, source, tmp_path, tmp_path, recorder=recorder)
        await duty.step()
        await duty.step()
    (told,) = recorder.records
    assert (told["unmapped"]["gw"]["event"], told["status_id"]) == ("audit.sink_restarted", 2)
    assert told["unmapped"]["gw"]["sink"] == {
        "name": "archive",
        "stream": "security",
        "origin_before": "gateway/before/security",
        "origin": "gateway/a/security",
        "files_before": 7,
    }
    found = cursor.load()
    assert found is not None
    assert (found.origin, found.next_index) == ("gateway/a/security", 1)


async def test_a_record_whose_time_is_over_is_put_without_a_lock(store: S3Store, tmp_path: Path) -> None:
    made = S3Sink(bucket(store, prefix=f"{tmp_path.name}/"), clock=time.time)
    old_ns = int((time.time() - 40 * DAY_S) * 1e9)
    assert await made.put("old", b"x", content_type="text/plain", newest_ns=old_ns)
    assert "ObjectLockMode" not in store.client.head_object(Bucket=store.bucket, Key=f"{tmp_path.name}/old")
    assert not await made.put("old", b"y", content_type="text/plain", newest_ns=old_ns), "nobody writes it twice"
    assert await made.fetch("old") == b"x"
    await made.close()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [({"bucket": "nobody-has-it"}, Fault.MISCONFIGURED), ({"endpoint": "http://127.0.0.1:9"}, Fault.UNREACHABLE)],
)
async def test_a_bucket_that_cannot_be_used_is_said(store: S3Store, changes: dict[str, str], fault: Fault) -> None:
    made = S3Sink(bucket(store, **changes), clock=time.time)
    with pytest.raises(NotDeliveredError) as refused:
        await made.probe()
    await made.close()
    assert refused.value.fault is fault
    assert "testing" not in repr(bucket(store))


async def test_a_bucket_without_object_lock_is_said_when_locks_are_asked_for(store: S3Store) -> None:
    store.client.create_bucket(
        Bucket=f"unlocked-{store.port}", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    made = S3Sink(bucket(store, bucket=f"unlocked-{store.port}"), clock=time.time)
    with pytest.raises(NotDeliveredError) as refused:
        await made.probe()
    await made.close()
    assert refused.value.fault is Fault.MISCONFIGURED


async def test_a_sink_that_is_new_changed_or_gone_is_recorded_once(tmp_path: Path) -> None:
    recorded = Recorded()

    async def begin(sinks: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
        recorded.records.clear()
        await Register(tmp_path, sinks, recorder=recorded, threads=at_once).run()
        told = [record["unmapped"]["gw"]["sink"] for record in recorded.records]
        return [(sink["name"], sink["change"]) for sink in told]

    assert await begin({"a": {"type": "stdout"}, "b": {"type": "file"}}) == [("a", "added"), ("b", "added")]
    assert await begin({"a": {"type": "stdout"}, "b": {"type": "file"}}) == []
    assert await begin({"a": {"type": "syslog"}}) == [("a", "changed"), ("b", "removed")]
    (tmp_path / "configured.json").write_bytes(b"junk")
    assert await begin({"a": {"type": "syslog"}}) == [("a", "added")]


async def test_a_file_that_is_sealed_after_its_successor_is_put_all_the_same(custody: Any) -> None:
    """attack: evidence that was passed over once, and whose local copy goes because the archive is said to be further."""

    class Shelf:
        def __init__(self) -> None:
            self.names: list[str] = []

        async def put(self, name: str, _body: bytes, **_: Any) -> bool:
            self.names.append(name)
            return True

    custody.fill(4)
    station, shelf = custody.station(), Shelf()
    tail = station.tails[Stream.SECURITY]
    tail.look()
    cursors = custody.bench.state_dir / "cursors"
    cursors.mkdir(exist_ok=True)
    place = CursorFile(cursors, "archive", "security.archive")

    def seal(number: int) -> None:
        for _ in Sealing(custody.bench.layout, custody.bench.keys, Stream.SECURITY, number, trail=Untold()).steps():
            pass

    def put() -> list[int]:
        firsts = [
            int(name.rpartition("/")[2].partition("-")[0]) for name in shelf.names if name.startswith("segments/")
        ]
        return [first // 5 + 1 for first in firsts]

    duty = archive(shelf, tail, custody.directory, cursors)  # type: ignore[arg-type]
    for number in (1, 3):
        seal(number)
    await duty.step()
    assert put() == [1, 3]
    cursor = place.load()
    assert cursor is not None
    assert cursor.next_index == 2, "retention may not pass what is not there"
    await duty.step()
    seal(2)
    await duty.step()
    assert put() == [1, 3, 2]
    cursor = place.load()
    assert cursor is not None
    assert cursor.next_index == 4
