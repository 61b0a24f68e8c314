"""Files that are rotated, torn, full, or something else than files; and standard output that nobody reads."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from pathlib import Path

import pytest

from gateway.custody.sinks import file as file_module
from gateway.custody.sinks.file import FileSink, StandardOutputSink
from gateway.custody.sinks.sink import Fault, NotDeliveredError
from tests.fakes.log_source import batch


async def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    sink = FileSink(path)
    await sink.deliver(batch(0, 2))
    path.rename(tmp_path / "audit.jsonl.1")
    await sink.deliver(batch(2, 2))
    path.unlink()
    await sink.deliver(batch(4, 2))
    await sink.close()
    assert (tmp_path / "audit.jsonl.1").read_bytes() == batch(0, 2).body()
    assert path.read_bytes() == batch(4, 2).body()
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_line_that_a_crash_cut_is_removed_and_comes_again_whole(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    whole = batch(0, 3).body()
    path.write_bytes(whole[:-40])
    sink = FileSink(path)
    await sink.deliver(batch(2, 1))
    await sink.close()
    assert path.read_bytes() == whole


async def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"x" * 300_000)
    with pytest.raises(NotDeliveredError) as refused:
        await FileSink(path).deliver(batch(0, 1))
    assert refused.value.fault is Fault.MISCONFIGURED
    assert path.stat().st_size == 300_000


async def test_half_a_batch_is_taken_back_when_the_rest_has_no_room(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    sink = FileSink(path)
    await sink.deliver(batch(0, 1))
    size = path.stat().st_size
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
    try:
        with pytest.raises(NotDeliveredError) as refused:
            await sink.deliver(batch(1, 5))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert refused.value.fault is Fault.DISK
    assert path.stat().st_size == size
    await sink.deliver(batch(1, 5))
    await sink.close()
    assert path.read_bytes() == batch(0, 6).body()


async def test_what_is_no_file_takes_no_record(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    for path in (tmp_path / "directory", tmp_path / "gone" / "audit.jsonl"):
        sink = FileSink(path)
        with pytest.raises(NotDeliveredError):
            await sink.probe()
        with pytest.raises(NotDeliveredError):
            await sink.deliver(batch(0, 1))
        await sink.close()


async def test_a_fifo_that_nobody_reads_hangs_nobody(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(NotDeliveredError) as refused:
        await FileSink(path).deliver(batch(0, 1))
    assert refused.value.fault in {Fault.MISCONFIGURED, Fault.DISK}


async def test_a_probe_makes_no_file(tmp_path: Path) -> None:
    sink = FileSink(tmp_path / "audit.jsonl")
    await sink.probe()
    await sink.close()
    assert list(tmp_path.iterdir()) == []


async def test_standard_output_that_nobody_reads_is_given_up_and_ends_its_line_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(file_module, "_WAIT_S", 0.05)
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        sink = StandardOutputSink(writing)
        await sink.probe()
        with pytest.raises(NotDeliveredError) as refused:
            await sink.deliver(batch(0, 200))
        assert refused.value.fault is Fault.TIMED_OUT
        found = os.read(reading, 1 << 20)
        delivery = asyncio.create_task(sink.deliver(batch(0, 20)))
        while not delivery.done() or (rest := _read(reading)):
            found += rest if delivery.done() else _read(reading)
            await asyncio.sleep(0.001)
        await delivery
        await sink.close()
    finally:
        os.close(writing)
        os.close(reading)
    lines = found.split(b"\n")
    assert lines[-1] == b""
    sent = batch(0, 200).body().split(b"\n")
    assert all(line in sent for line in lines)
    assert found.endswith(batch(0, 20).body())


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 20)
    except BlockingIOError:
        return b""


async def test_standard_output_that_is_closed_is_said() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with pytest.raises(NotDeliveredError):
            await StandardOutputSink(writing).deliver(batch(0, 1))
    finally:
        os.close(writing)
