"""What one worker gives to all that passes through it: names of records that are nobody else's."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from tests.fakes.portal import Portal
from tests.unit.edge.conftest import Edge

ENDLESS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"


@pytest.mark.pure
async def test_every_record_of_one_millisecond_has_a_uuid_of_its_own(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An intent, an opening and a closing record share the request's id as correlation, never their own."""
    ids = edge.worker.request_id
    monkeypatch.setattr(edge.worker, "request_id", lambda now: ids(1_795_000_000.0))
    opened = asyncio.Event()

    async def in_two_parts(
        portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(ENDLESS)
        await opened.wait()
        writer.write(b"0\r\n\r\n")

    edge.portal.answers[b"/public/a"] = in_two_parts
    requests = [asyncio.create_task(edge.get("/public/a", method=method)) for method in ("POST", "GET") * 15]
    async with asyncio.timeout(10):
        while sum(record["unmapped"]["gw"]["phase"] == "opening" for record in edge.audit.records) < 30:
            await asyncio.sleep(0.01)
    opened.set()
    await asyncio.gather(*requests)
    records = [record["metadata"] for record in edge.audit.records]
    phases = [record["unmapped"]["gw"]["phase"] for record in edge.audit.records]
    assert sorted(phases) == ["closing"] * 30 + ["intent"] * 15 + ["opening"] * 30
    for record in records:
        assert str(uuid.UUID(record["uid"])) == record["uid"]
        assert uuid.UUID(record["uid"]).version == 7
        assert uuid.UUID(record["uid"]).variant == uuid.RFC_4122
    assert len({record["uid"] for record in records}) == len(records)
    assert len({record["correlation_uid"] for record in records}) == 30


async def test_pools_of_earlier_snapshots_go_when_their_last_request_did(edge: Edge) -> None:
    for _ in range(3):
        assert (await edge.get("/public/a")).status == 200
        edge.change()
    assert len(edge.worker._old_pools) == 3
    async with asyncio.timeout(10):
        while edge.worker._old_pools:
            await asyncio.sleep(0.01)
    assert (await edge.get("/public/a")).status == 200
