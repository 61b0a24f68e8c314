from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.audit.protocol import BADGE_BYTES, SHIPPING_SLOT, Elsewhere, Hello, Request, RequestDecoder, pack_welcome
from gateway.custody.elsewhere import ElsewhereDuty
from gateway.custody.tail import Extent
from gateway.exchange.stream import Stream
from tests.unit.edge.conftest import until

BADGE = b"b" * BADGE_BYTES


class Tail:
    known = Extent(origin="gateway/n/1/access", first=0, size=9, note=b"")

    def extent(self) -> Extent:
        return self.known


class Shipper:
    def __init__(self, stream: str, *, is_required: bool = True) -> None:
        self.stream = stream
        self.is_required = is_required
        self.size = 0

    def acknowledged(self) -> int:
        return self.size


async def test_the_daemon_learns_what_one_required_sink_has_and_again_when_it_comes_back(tmp_path: Path) -> None:
    heard: list[Request] = []
    connections: list[asyncio.StreamWriter] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        decoder = RequestDecoder()
        while data := await reader.read(4096):
            for request in decoder.feed(data):
                if isinstance(request, Hello):
                    assert request == Hello(SHIPPING_SLOT, BADGE)
                    writer.write(pack_welcome(0))
                else:
                    heard.append(request)
        writer.close()

    one, two, optional = Shipper("access"), Shipper("access"), Shipper("traffic", is_required=False)
    optional.size = 99
    tail = Tail()
    duty = ElsewhereDuty(tmp_path / "audit.sock", [one, two, optional], {Stream.ACCESS: tail}, badge=BADGE)  # type: ignore[list-item, dict-item]
    task = asyncio.create_task(duty.run())
    server = await asyncio.start_unix_server(listen, str(tmp_path / "audit.sock"))
    try:
        await until(lambda: heard == [Elsewhere(2, 0, b"gateway/n/1/access")])
        one.size, two.size = 5, 3
        await until(lambda: heard[-1] == Elsewhere(2, 5, b"gateway/n/1/access"))
        connections[0].close()
        two.size = 7
        tail.known = Extent(origin="gateway/n/2/access", first=0, size=9, note=b"")
        await until(lambda: len(connections) == 2 and heard[-1] == Elsewhere(2, 7, b"gateway/n/2/access"))
        assert {request.stream for request in heard if isinstance(request, Elsewhere)} == {2}
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for writer in connections:
            writer.close()
        server.close()
        await server.wait_closed()
