"""An upstream that wants audit receipts gets no request without the one of its own record."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gateway.audit.protocol import pack_ack, pack_receipt, pack_shipped
from gateway.edge.recorder import MAX_UNACKED_RECORDS
from gateway.exchange.route import Durability
from gateway.exchange.stream import STREAM_NUMBERS, Stream
from tests.fakes.receipts import ReceiptError, Receipts
from tests.unit.edge.conftest import Edge, until

KEY = b"k" * 32


@pytest.fixture
def enforced(edge: Edge) -> Edge:
    edge.audit.receipt_key = KEY
    edge.change_upstream(receipt_key=3)
    edge.change(receipts=True)
    return edge


def verified(edge: Edge, *, key: bytes = KEY) -> str:
    """What the upstream makes of the last request."""
    line = edge.portal.head.partition(b"\r\n")[0]
    (receipt,), (uid,) = edge.portal.field(b"x-audit-receipt"), edge.portal.field(b"x-request-id")
    place: str = Receipts([key]).verify(line, uid.decode(), receipt.decode())
    return place


def phases(edge: Edge) -> list[str]:
    return [record["unmapped"]["gw"]["phase"] for record in edge.audit.records]


@pytest.mark.parametrize("target", ["/public/a", "/public/a?b=%20&c", "/public/a?", "/public/%c3%a4?x=%2f"])
async def test_even_a_read_is_announced_and_goes_upstream_with_the_receipt_of_that_record(
    enforced: Edge, target: str
) -> None:
    assert (await enforced.get(target)).status == 200
    index = int(verified(enforced).partition("#")[2])
    assert phases(enforced)[:2] == ["intent", "single"]
    announced = enforced.audit.records[index]
    assert announced["unmapped"]["gw"]["sent"]["key"] == 3
    assert announced["metadata"]["correlation_uid"].encode() == enforced.portal.field(b"x-request-id")[0]


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        ("/public/4111111111111111", ""),
        ("/public/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jkPW6yN1xA", ""),
        ("/public/" + "a" * 3000, ""),
        ("/public/a", 'User-Agent: \\u0041 "quoted" \t\xe4\r\n'),
        ("/public/a", "User-Agent: " + "a" * 3000 + "\r\n"),
        ("/public/%22%C3%A4", "User-Agent: \xe2\x80\xa8 \xed\xa0\x80\r\n"),
        ("/public/a", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"),
    ],
)
@pytest.mark.parametrize("token", ["", "tok"])
async def test_a_request_whose_record_is_unusual_gets_its_receipt_too(
    enforced: Edge, target: str, fields: str, token: str
) -> None:
    assert (await enforced.get(target, fields=fields, token=token)).status == 200
    assert verified(enforced)


async def test_a_change_is_announced_once_and_its_body_follows(enforced: Edge) -> None:
    assert (await enforced.get("/public/a", method="POST", body=b"hello")).status == 200
    assert verified(enforced)
    assert enforced.portal.bodies == [b"hello"]
    assert phases(enforced) == ["intent", "single"]


async def test_each_request_has_a_receipt_of_its_own(enforced: Edge) -> None:
    found = set()
    for _ in range(3):
        await enforced.get("/", token="tok")
        found.add(verified(enforced))
    assert len(found) == 3


async def test_a_receipt_of_the_client_is_removed_in_any_spelling_with_receipts_and_without(enforced: Edge) -> None:
    fields = "X-Audit-Receipt: forged#1 x\r\nX_Audit_Receipt: forged#2 x\r\nHTTP-X-Audit--Receipt: forged#3 x\r\n"
    await enforced.get("/public/a", fields=fields)
    assert verified(enforced)
    assert b"forged" not in enforced.portal.head
    enforced.change(receipts=False)
    await enforced.get("/public/a", fields=fields)
    assert b"receipt" not in enforced.portal.head.lower()


async def test_without_the_setting_a_read_is_neither_announced_nor_receipted(edge: Edge) -> None:
    edge.audit.receipt_key = KEY
    assert (await edge.get("/public/a")).status == 200
    assert edge.portal.field(b"x-audit-receipt") == []
    assert phases(edge) == ["single"]
    assert "sent" not in edge.audit.records[0]["unmapped"]["gw"]


async def test_a_daemon_that_acknowledges_without_a_receipt_lets_nothing_go_upstream(enforced: Edge) -> None:
    enforced.audit.receipt_key = b""
    for method in ("GET", "POST"):
        answer = await enforced.get("/public/a", method=method)
        assert answer.status == 503
        assert answer.field("retry-after") == [b"1"]
    assert enforced.portal.heads == []
    assert [r["status_detail"] for r in enforced.audit.records if r["unmapped"]["gw"]["phase"] != "intent"] == [
        "audit_unavailable"
    ] * 2
    assert enforced.worker.metrics.unrecorded.values == {("intent",): 2}


async def test_a_daemon_that_is_away_lets_nothing_go_upstream(enforced: Edge) -> None:
    enforced.audit.refuses = True
    assert (await enforced.get("/public/a")).status == 503
    await enforced.audit.stop()
    await until(lambda: not enforced.worker.recorder.available)
    assert (await enforced.get("/public/a")).status == 503
    assert enforced.portal.heads == []


async def test_a_stream_that_may_lack_records_lets_nothing_go_upstream_without_one(enforced: Edge) -> None:
    recorder = enforced.worker.recorder
    recorder.may_gap = frozenset((STREAM_NUMBERS[Stream.TRAFFIC],))
    enforced.audit.acknowledges = False
    recorder.unacked += MAX_UNACKED_RECORDS
    recorder.available = False
    assert (await enforced.get("/public/a")).status == 503
    assert enforced.portal.heads == []
    recorder.unacked -= MAX_UNACKED_RECORDS


async def test_under_remote_durability_the_receipt_is_kept_until_the_record_is_elsewhere(enforced: Edge) -> None:
    enforced.change(durability=Durability.REMOTE)
    asked = asyncio.ensure_future(enforced.get("/public/a"))
    await until(lambda: len(enforced.worker.recorder._remote) == 1)
    assert enforced.portal.heads == []

    def shipped() -> bool:
        enforced.audit.reply(pack_shipped(enforced.audit.last[0]))
        return asked.done()

    await until(shipped)
    assert (await asked).status == 200
    assert verified(enforced)


async def test_a_receipt_that_nobody_waits_for_is_dropped(enforced: Edge) -> None:
    enforced.audit.reply(pack_receipt(7, b"forged#1 x") + pack_ack(0))
    assert (await enforced.get("/public/a")).status == 200
    assert verified(enforced)


async def test_a_worker_that_invents_a_receipt_does_not_know_the_key(enforced: Edge) -> None:
    """Attack: code in a worker goes upstream without a record, and signs by whatever it has."""
    await enforced.get("/public/a")
    with pytest.raises(ReceiptError, match="nobody who has a key"):
        verified(enforced, key=b"a" * 32)
    held: list[Any] = [enforced.worker.snapshot, enforced.worker.recorder, *enforced.worker.snapshot.upstreams.values()]
    assert all(KEY not in repr(thing).encode() for thing in held)


async def test_our_own_pages_need_none(enforced: Edge) -> None:
    enforced.change(pages=replace(enforced.worker.snapshot.pages, receipt_key=3))
    assert (await enforced.get("/.gateway/login")).status == 200
    assert enforced.portal.field(b"x-audit-receipt") == []
