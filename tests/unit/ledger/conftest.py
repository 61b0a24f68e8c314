"""A real log in a directory of the test's own, and disks that fail where they are told to."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.audit.pressure import Space
from gateway.audit.protocol import pack_hello
from gateway.audit.verdict import Verdict
from gateway.exchange.stream import Stream
from gateway.ledger.disk import LocalDisk
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.log import Log, open_log
from gateway.ledger.reader import Stored, entries
from gateway.ledger.verification import verify_directory

CAPACITY = 64 * 1024


class FaultyDisk(LocalDisk):
    """The kernel's files, with errors armed by the test."""

    def __init__(self) -> None:
        self.fail_allocate = 0
        self.fail_write = 0
        self.fail_sync = 0
        self.fail_sync_after = 0
        """So many succeed before `fail_sync` counts."""
        self.error = errno.EIO
        self.no_room = errno.ENOSPC
        self.free: Space = Space(1 << 40, 1 << 39, 0, 0)
        """What the file system is said to have."""
        self.syncs = 0

    def allocate(self, fd: int, size: int) -> None:
        if self.fail_allocate:
            self.fail_allocate -= 1
            raise OSError(self.no_room, "armed")
        super().allocate(fd, size)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        if self.fail_write:
            self.fail_write -= 1
            super().write(fd, data[: len(data) // 2], offset)
            raise OSError(self.error, "armed")
        super().write(fd, data, offset)

    def space(self, path: Path) -> Space:
        return self.free

    def sync(self, fd: int) -> None:
        self.syncs += 1
        if self.fail_sync_after:
            self.fail_sync_after -= 1
        elif self.fail_sync:
            self.fail_sync -= 1
            raise OSError(self.error, "armed")
        super().sync(fd)


class Bench:
    """Opens, reads and verifies one log."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.layout = Layout(state_dir)
        self.keys_path = state_dir.parent / "audit-keys.json"
        if not self.keys_path.exists():
            AuditKeys.generate(origin="gateway/node", created="2026-01-01T00:00:00Z", random=os.urandom).create(
                self.keys_path
            )
        self.keys = AuditKeys.load(self.keys_path)
        self.disk = FaultyDisk()
        self.now_ns = 10**18
        self.sockets: list[socket.socket] = []
        """Closed after the test."""

    def hello(self, slot: int) -> bytes:
        return pack_hello(slot, self.keys.badge(slot))

    def open(self, capacity: int = CAPACITY, boot: str = "boot-1", stream: Stream = Stream.SECURITY) -> Log:
        return open_log(self.state_dir, self.keys, stream, boot=boot, disk=self.disk, capacity=capacity)

    def append(self, log: Log, count: int = 1, *, slot: int = 1, is_safe: bool = True, size: int = 20) -> None:
        self.now_ns += 10**6
        first = log.taken.get(slot, 0) + 1
        payloads = [b'{"n":%d,"pad":"%b"}' % (first + i, b"x" * size) for i in range(count)]
        log.append([(slot, range(first, first + count), payloads)], is_safe=is_safe, now_ns=self.now_ns)

    def verify(self, *, checkpoint: bool = True, stream: Stream = Stream.SECURITY) -> Verdict:
        path = self.layout.checkpoint(stream)
        notes = [("checkpoint", path.read_bytes())] if checkpoint and path.exists() else []
        return verify_directory(self.layout.directory, stream, keys=self.keys, checkpoints=notes)

    def stored(self, *streams: Stream) -> list[Stored]:
        damages: list[str] = []
        found = list(
            entries(self.layout.directory, self.keys, streams=streams or tuple(Stream), on_damage=damages.append)
        )
        assert damages == []
        return found

    def numbers(self) -> list[tuple[int, int]]:
        return [(stored.entry.slot, stored.entry.sequence) for stored in self.stored()]

    def assert_intact(self, size: int) -> None:
        verdict = self.verify()
        assert [str(f) for f in verdict.failures] == []
        assert (verdict.exit_code, verdict.size, verdict.proven) == (0, size, size)

    def files(self) -> list[Path]:
        return sorted(self.layout.directory.iterdir())

    def crash(self, log: Log) -> None:
        """Leave everything as a killed process would: nothing is flushed, closed or published."""
        assert log._file is not None
        os.close(log._file.fd)
        os.close(log._lock_fd)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "state")
    yield bench
    for sock in bench.sockets:
        sock.close()


_DAEMON = """
import sys
from pathlib import Path
from gateway.ledger.daemon_process import serve
from gateway.ledger.keys import AuditKeys
serve(state_dir=Path(sys.argv[1]), keys=AuditKeys.load(Path(sys.argv[2])), node="node", version="0", boot_id=sys.argv[3],
      capacity=int(sys.argv[4]), ballast_bytes=0)
"""


@pytest.fixture
def daemon(bench: Bench) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start the real daemon in a process of its own; every one is gone after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(boot: str = "boot-1", capacity: int = 1 << 20) -> subprocess.Popen[bytes]:
        bench.layout.create()
        bench.layout.socket.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-c", _DAEMON, str(bench.state_dir), str(bench.keys_path), boot, str(capacity)]
        )
        started.append(process)
        deadline = time.monotonic() + 30
        while not bench.layout.socket.exists():
            assert process.poll() is None, "the daemon ended"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
