"""What receivers over HTTP answer, and what it means."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from gateway.audit.webhook import sign
from gateway.custody.sinks.elasticsearch import ElasticsearchSink
from gateway.custody.sinks.http import Endpoint
from gateway.custody.sinks.sink import Fault, NotDeliveredError, RefusedRecordsError
from gateway.custody.sinks.webhook import WebhookSink
from tests.fakes.log_receivers import Authority, BulkReceiver, WebReceiver
from tests.fakes.log_source import ORIGIN, MemorySource, Shipment, batch, entry

SECRET = b"a secret of thirty-two bytes ...."


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def receiver(authority: Authority) -> AsyncIterator[WebReceiver]:
    async with WebReceiver(authority.server_context()) as server:
        yield server


@pytest.fixture
async def sink(receiver: WebReceiver, authority: Authority) -> AsyncIterator[WebhookSink]:
    made = webhook(receiver, authority)
    yield made
    await made.close()


def webhook(receiver: WebReceiver, authority: Authority) -> WebhookSink:
    endpoint = Endpoint(
        url=f"https://127.0.0.1:{receiver.port}/audit",
        tls=authority.client_context(),
        authorization="Bearer token",
        timeout_s=20.0,
    )
    return WebhookSink(endpoint, secret=SECRET, clock=time.time)


async def test_a_batch_carries_its_key_its_signature_and_its_lines(receiver: WebReceiver, sink: WebhookSink) -> None:
    await sink.deliver(batch(3, 4))
    [(fields, body)] = receiver.requests
    assert body == batch(3, 4).body()
    assert fields["Idempotency-Key"] == f'"{ORIGIN}#3-6#{hashlib.sha256(body).hexdigest()}"'
    assert fields["Content-Type"] == "application/x-ndjson"
    assert fields["Authorization"] == "Bearer token"
    assert fields["Gateway-Audit-Stream"] == "access"
    assert fields["webhook-signature"] == sign(
        SECRET, identity=fields["webhook-id"], time_s=int(fields["webhook-timestamp"]), body=body
    )


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (301, Fault.MISCONFIGURED),
        (401, Fault.UNAUTHORIZED),
        (403, Fault.UNAUTHORIZED),
        (404, Fault.MISCONFIGURED),
        (405, Fault.MISCONFIGURED),
        (429, Fault.BUSY),
        (500, Fault.BROKEN),
        (503, Fault.BUSY),
    ],
)
async def test_an_answer_that_says_nothing_about_records_keeps_them_for_later(
    receiver: WebReceiver, sink: WebhookSink, status: int, fault: Fault
) -> None:
    receiver.status, receiver.headers = status, {"Location": "https://elsewhere.example.com/", "Retry-After": "7"}
    with pytest.raises(NotDeliveredError) as refused:
        await sink.deliver(batch(0, 2))
    assert refused.value.fault is fault
    assert refused.value.retry_after_s == (7.0 if status in {429, 503} else 0.0)
    assert "token" not in str(refused.value)
    assert receiver.asked == 1


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_an_answer_about_records_says_so(receiver: WebReceiver, sink: WebhookSink, status: int) -> None:
    receiver.status = status
    with pytest.raises(RefusedRecordsError):
        await sink.deliver(batch(0, 2))


@pytest.mark.parametrize("status", [429, 500])
async def test_a_receiver_that_is_overwhelmed_or_broken_gets_everything_when_it_is_well(
    receiver: WebReceiver, sink: WebhookSink, tmp_path: Path, status: int
) -> None:
    """T-45: 429 and 500."""
    receiver.status = status
    async with Shipment(sink, MemorySource([entry(i) for i in range(15)]), tmp_path) as shipment:
        await shipment.until(lambda: receiver.asked >= 3, "tries")
        assert shipment.shipper.acknowledged() == 0
        receiver.status = 200
        await shipment.until_acknowledged(15)
    assert {index for _, index, _ in receiver.copies()} == set(range(15))
    assert len(set(receiver.copies())) == 15


async def test_one_record_that_is_always_400_is_a_dead_letter_and_the_rest_arrives(
    receiver: WebReceiver, sink: WebhookSink, tmp_path: Path
) -> None:
    """T-46."""
    receiver.refuses = lambda line: b'"poison"' in line
    entries = [entry(i, "poison" if i == 7 else "") for i in range(15)]
    async with Shipment(sink, MemorySource(entries), tmp_path) as shipment:
        await shipment.until_acknowledged(15)
        assert [letter.index for letter in shipment.cursors.dead_letters()] == [7]
        await shipment.until(
            lambda: ("audit.sink_failed", "dead_letter") in shipment.recorded.events(), "the record of it"
        )
    assert {index for _, index, _ in receiver.copies()} == set(range(15)) - {7}


async def test_a_certificate_that_ended_is_said_and_nothing_is_sent(authority: Authority) -> None:
    async with WebReceiver(authority.server_context(expired=True)) as receiver:
        sink = webhook(receiver, authority)
        with pytest.raises(NotDeliveredError, match="certificate has expired") as refused:
            await sink.deliver(batch(0, 1))
        with pytest.raises(NotDeliveredError):
            await sink.probe()
        await sink.close()
        assert refused.value.fault is Fault.TLS
        assert receiver.requests == []


async def test_a_certificate_that_is_renewed_ends_the_outage_without_a_restart(
    authority: Authority, tmp_path: Path
) -> None:
    """T-45: TLS expired."""
    async with WebReceiver(authority.server_context(expired=True)) as expired:
        port = expired.port
        sink = webhook(expired, authority)
        shipment = Shipment(sink, MemorySource([entry(i) for i in range(15)]), tmp_path)
        async with shipment:
            await shipment.until(lambda: ("audit.sink_failed", "tls") in shipment.recorded.events(), "the failure")
            assert shipment.shipper.acknowledged() == 0
            await expired.__aexit__()
            async with WebReceiver(authority.server_context(), port=port) as renewed:
                await shipment.until_acknowledged(15)
                assert sorted(index for _, index, _ in renewed.copies()) == list(range(15))


async def test_a_receiver_of_another_authority_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    async with WebReceiver(Authority(tmp_path / "other").server_context()) as receiver:
        sink = webhook(receiver, authority)
        with pytest.raises(NotDeliveredError) as refused:
            await sink.deliver(batch(0, 1))
        await sink.close()
        assert refused.value.fault is Fault.TLS


async def test_elasticsearch_refuses_one_document_and_takes_the_others(authority: Authority) -> None:
    async with BulkReceiver(authority.server_context()) as receiver:
        endpoint = Endpoint(url=f"https://127.0.0.1:{receiver.port}", tls=authority.client_context())
        sink = ElasticsearchSink(endpoint, index="audit-{stream}")
        found = batch(0, 3)
        poisoned = type(found)(
            found.origin,
            found.stream,
            [
                d if d.index != 1 else type(d)(d.index, d.time_ns, d.record, orjson.dumps({"a": "refuse me"}))
                for d in found.deliveries
            ],
        )
        with pytest.raises(RefusedRecordsError) as refused:
            await sink.deliver(poisoned)
        assert refused.value.indexes == [1]
        assert set(receiver.documents) == {f"{ORIGIN}#0", f"{ORIGIN}#2"}
        await sink.deliver(batch(2, 2))
        await sink.close()
        assert len(receiver.documents) == 3


async def test_what_does_not_answer_as_elasticsearch_is_no_elasticsearch(authority: Authority) -> None:
    async with WebReceiver(authority.server_context()) as receiver:
        sink = ElasticsearchSink(
            Endpoint(url=f"https://127.0.0.1:{receiver.port}", tls=authority.client_context()), index="audit"
        )
        with pytest.raises(NotDeliveredError) as refused:
            await sink.deliver(batch(0, 1))
        await sink.close()
        assert refused.value.fault is Fault.MISCONFIGURED


def test_an_endpoint_shows_no_credential() -> None:
    assert "Bearer" not in repr(Endpoint(url="https://x", tls=None, authorization="Bearer x"))
