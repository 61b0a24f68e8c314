"""What every audit daemon does on its socket: the real one, and the one the edge is tested with."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.audit.protocol import GROUP, Ack, Reply, ReplyDecoder, Welcome, pack_hello, pack_records
from gateway.ledger.keys import AuditKeys
from tests.fakes.audit_daemon import FakeAuditDaemon

REAL = """
    import sys
    from pathlib import Path
    from gateway.ledger.daemon_process import serve
    from gateway.ledger.keys import AuditKeys
    from gateway.ledger.layout import Layout
    state = Path(sys.argv[1])
    Layout(state).create()
    serve(state_dir=state, keys=AuditKeys.generate(origin="test/node", created="2026-01-01T00:00:00Z", random=bytes), node="n", version="0", boot_id="b",
          capacity=1 << 20, ballast_bytes=0)
"""
PAYLOAD = b'{"a":1}'
KEYS = AuditKeys.generate(origin="test/node", created="2026-01-01T00:00:00Z", random=bytes)


@pytest.fixture(params=["fake", "real"])
async def socket_path(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Path]:
    if request.param == "fake":
        daemon = FakeAuditDaemon()
        await daemon.start(tmp_path / "audit.sock")
        yield tmp_path / "audit.sock"
        await daemon.stop()
        return
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(REAL), str(tmp_path)])
    path = tmp_path / "run" / "audit.sock"
    try:
        async with asyncio.timeout(20):
            while not path.exists():
                assert process.poll() is None
                await asyncio.sleep(0.02)
        yield path
    finally:
        process.terminate()
        process.wait(20)


class Producer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.decoder = reader, writer, ReplyDecoder()

    @classmethod
    async def connect(cls, path: Path, slot: int) -> tuple[Producer, int]:
        producer = cls(*await asyncio.open_unix_connection(str(path)))
        producer.writer.write(pack_hello(slot, KEYS.badge(slot)))
        welcome = await producer.reply()
        assert isinstance(welcome, Welcome)
        return producer, welcome.last_seq

    async def reply(self) -> Reply:
        async with asyncio.timeout(10):
            while True:
                replies = self.decoder.feed(await self.reader.readexactly(16))
                if replies:
                    return replies[-1]

    async def send(self, first: int, count: int) -> int:
        self.writer.writelines(pack_records(GROUP, first, [PAYLOAD] * count, b"\2" * count))
        while True:
            ack = await self.reply()
            assert isinstance(ack, Ack)
            if ack.seq >= first + count - 1:
                return ack.seq

    def hang_up(self) -> None:
        self.writer.close()


async def test_a_new_slot_is_welcomed_with_zero(socket_path: Path) -> None:
    producer, last = await Producer.connect(socket_path, 7)
    assert last == 0
    producer.hang_up()


async def test_records_are_acknowledged_up_to_their_last_sequence(socket_path: Path) -> None:
    producer, _ = await Producer.connect(socket_path, 7)
    assert await producer.send(100, 5) == 104
    assert await producer.send(105, 1) == 105
    producer.hang_up()


async def test_a_producer_that_comes_back_is_told_where_it_was(socket_path: Path) -> None:
    producer, _ = await Producer.connect(socket_path, 7)
    await producer.send(100, 5)
    producer.hang_up()
    again, last = await Producer.connect(socket_path, 7)
    assert last == 104
    again.hang_up()


async def test_records_sent_again_are_acknowledged(socket_path: Path) -> None:
    producer, _ = await Producer.connect(socket_path, 7)
    await producer.send(100, 5)
    producer.hang_up()
    again, _ = await Producer.connect(socket_path, 7)
    assert await again.send(100, 6) == 105
    again.hang_up()


async def test_slots_do_not_know_of_each_other(socket_path: Path) -> None:
    one, _ = await Producer.connect(socket_path, 1)
    two, _ = await Producer.connect(socket_path, 2)
    await one.send(100, 5)
    assert await two.send(50, 1) == 50
    one.hang_up()
    two.hang_up()
