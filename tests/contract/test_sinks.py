"""What every sink does, whatever receives: everything arrives, in order, and what arrives twice is the same twice.

Each runs against a real server (see tests/fakes/log_receivers.py), through a proxy that breaks the way there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.custody.sinks.elasticsearch import ElasticsearchSink
from gateway.custody.sinks.file import FileSink
from gateway.custody.sinks.http import Endpoint
from gateway.custody.sinks.kafka import Cluster, KafkaSink
from gateway.custody.sinks.s3 import Bucket, Lock, S3Sink
from gateway.custody.sinks.sink import Fault, NotDeliveredError, Sink
from gateway.custody.sinks.syslog import Collector, SyslogSink
from gateway.custody.sinks.webhook import WebhookSink
from tests.fakes.fault_proxy import FaultProxy, Weather
from tests.fakes.log_receivers import (
    KAFKA_PASSWORD,
    Authority,
    BulkReceiver,
    Copy,
    KafkaBroker,
    Rsyslog,
    S3Store,
    WebReceiver,
    copy_of,
    started,
)
from tests.fakes.log_source import ORIGIN, MemorySource, Shipment, batch, entry

SECRET = b"a secret of thirty-two bytes ...."
REMOTE = ["webhook", "elasticsearch", "syslog", "kafka", "s3"]
ANSWERING = ["webhook", "elasticsearch", "kafka", "s3"]
"""Those that say when they have something."""


class Place:
    """One receiver behind one proxy, and what makes sinks that deliver to it."""

    def __init__(
        self,
        kind: str,
        make: Callable[[float], Sink],
        copies: Callable[[], Awaitable[list[Copy]]],
        proxy: FaultProxy | None,
    ) -> None:
        self.kind = kind
        self._make = make
        self.copies = copies
        self._proxy = proxy
        self._made: list[Sink] = []

    def sink(self, timeout_s: float = 20.0) -> Sink:
        sink = self._make(timeout_s)
        self._made.append(sink)
        return sink

    def weather(self, weather: Weather) -> None:
        assert self._proxy is not None
        self._proxy.change(weather)

    @property
    def lost_answers(self) -> int:
        assert self._proxy is not None
        return self._proxy.lost_answers

    async def complete(self, count: int) -> list[Copy]:
        """Wait until records 0 to `count` are there, each copy equal to what was sent; return all copies."""
        lines = {index: delivery.line for index, delivery in enumerate(batch(0, count).deliveries)}
        deadline = time.monotonic() + 60
        while True:
            copies = await self.copies()
            if {index for _, index, _ in copies} >= lines.keys():
                break
            assert time.monotonic() < deadline, f"{self.kind} has {len(copies)} copies"
            await asyncio.sleep(0.05)
        assert {origin for origin, _, _ in copies} == {ORIGIN}
        assert all(line == lines[index] for _, index, line in copies)
        return copies

    async def close(self) -> None:
        for sink in self._made:
            await sink.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[KafkaBroker]:
    with started(KafkaBroker(tmp_path_factory.mktemp("kafka"), authority)) as server:
        yield server


@pytest.fixture(scope="session")
def store() -> Iterator[S3Store]:
    server = S3Store()
    yield server
    server.stop()


@pytest.fixture
async def open_place(
    request: pytest.FixtureRequest, tmp_path: Path, authority: Authority
) -> AsyncIterator[Callable[[str], Awaitable[Place]]]:
    async with AsyncExitStack() as stack:

        async def open_one(kind: str) -> Place:
            place = await _open(kind, stack, request, tmp_path, authority)
            stack.push_async_callback(place.close)
            return place

        yield open_one


@pytest.fixture
async def place(kind: str, open_place: Callable[[str], Awaitable[Place]]) -> Place:
    return await open_place(kind)


async def _open(
    kind: str, stack: AsyncExitStack, request: pytest.FixtureRequest, directory: Path, authority: Authority
) -> Place:
    unique = f"t{time.monotonic_ns():x}"
    match kind:
        case "file":
            path = directory / "audit.jsonl"

            async def lines() -> list[Copy]:
                return [copy_of(line) for line in path.read_bytes().splitlines()] if path.exists() else []

            return Place(kind, lambda _timeout: FileSink(path), lines, None)
        case "webhook" | "elasticsearch":
            tls = authority.server_context()
            receiver = await stack.enter_async_context(WebReceiver(tls) if kind == "webhook" else BulkReceiver(tls))
            proxy = await stack.enter_async_context(FaultProxy(receiver.port))

            def make_web(timeout_s: float) -> Sink:
                endpoint = Endpoint(
                    url=f"https://127.0.0.1:{proxy.port}", tls=authority.client_context(), timeout_s=timeout_s
                )
                if kind == "webhook":
                    return WebhookSink(endpoint, secret=SECRET, clock=time.time)
                return ElasticsearchSink(endpoint, index="audit-{stream}")

            async def stored() -> list[Copy]:
                return receiver.copies()

            return Place(kind, make_web, stored, proxy)
        case "syslog":
            server = stack.enter_context(started(Rsyslog(directory / "rsyslog", authority)))
            proxy = await stack.enter_async_context(FaultProxy(server.port))

            def make_syslog(timeout_s: float) -> Sink:
                return SyslogSink(
                    Collector(
                        host="127.0.0.1",
                        port=proxy.port,
                        tls=authority.client_context(certificate=True),
                        facility=13,
                        enterprise=32473,
                        timeout_s=timeout_s,
                    )
                )

            async def written() -> list[Copy]:
                return list(server.copies())

            return Place(kind, make_syslog, written, proxy)
        case "kafka":
            broker: KafkaBroker = request.getfixturevalue("broker")
            proxy = await stack.enter_async_context(FaultProxy(broker.port, broker.public_port))

            def make_kafka(timeout_s: float) -> Sink:
                return KafkaSink(
                    Cluster(
                        servers=(f"127.0.0.1:{proxy.port}",),
                        topic=unique + "-{stream}",
                        tls=authority.client_context(),
                        mechanism="PLAIN",
                        username="gateway",
                        password=KAFKA_PASSWORD,
                        timeout_s=timeout_s,
                    )
                )

            async def produced() -> list[Copy]:
                messages = await broker.messages(f"{unique}-access")
                return [_message(message) for message in messages]

            return Place(kind, make_kafka, produced, proxy)
        case "s3":
            store: S3Store = request.getfixturevalue("store")
            proxy = await stack.enter_async_context(FaultProxy(store.port))

            def make_s3(timeout_s: float) -> Sink:
                return S3Sink(
                    Bucket(
                        bucket=store.bucket,
                        prefix=f"{unique}/",
                        endpoint=f"http://127.0.0.1:{proxy.port}",
                        region="eu-central-1",
                        access_key="testing",
                        secret_key="testing",
                        path_style=True,
                        lock=Lock(mode="COMPLIANCE", retain_s=30 * 86_400.0),
                        timeout_s=timeout_s,
                    ),
                    clock=time.time,
                )

            async def put() -> list[Copy]:
                return await asyncio.to_thread(store.copies, unique)

            return Place(kind, make_s3, put, proxy)
        case _:
            raise AssertionError(kind)


def _message(message: Any) -> Copy:
    headers = dict(message.headers)
    assert message.key == headers["origin"]
    return headers["origin"].decode(), int(headers["index"]), message.value


@pytest.mark.parametrize("kind", ["file", *REMOTE])
async def test_everything_arrives_and_twice_delivered_is_twice_the_same(place: Place) -> None:
    sink = place.sink()
    await sink.deliver(batch(0, 3))
    await sink.deliver(batch(3, 4))
    await sink.deliver(batch(3, 4))  # as after a crash between acknowledgement and cursor
    copies = await place.complete(7)
    once = list(dict.fromkeys(index for _, index, _ in copies))
    assert once == list(range(7)), "out of order"


@pytest.mark.parametrize("kind", ["file", *REMOTE])
async def test_a_probe_delivers_nothing(place: Place) -> None:
    await place.sink().probe()
    assert await place.copies() == []


@pytest.mark.parametrize("kind", REMOTE)
async def test_a_receiver_that_is_away_is_said_to_be_and_gets_everything_later(place: Place, tmp_path: Path) -> None:
    """T-45: sink down."""
    place.weather(Weather.CUT)
    with pytest.raises(NotDeliveredError) as refused:
        await place.sink(2.0).probe()
    assert refused.value.fault in {Fault.UNREACHABLE, Fault.TLS, Fault.BROKEN, Fault.TIMED_OUT}
    source = MemorySource([entry(index) for index in range(25)])
    async with Shipment(place.sink(), source, tmp_path) as shipment:
        await shipment.until(lambda: "audit.sink_failed" in dict(shipment.recorded.events()), "the failure is recorded")
        assert shipment.shipper.acknowledged() == 0
        place.weather(Weather.FAIR)
        await shipment.until_acknowledged(25)
        await place.complete(25)
        await shipment.until(lambda: shipment.recorded.events()[-1][0] == "audit.sink_recovered", "the recovery")


@pytest.mark.parametrize("kind", REMOTE)
async def test_a_receiver_that_swallows_everything_is_given_up_after_the_time_allowed(
    place: Place, tmp_path: Path
) -> None:
    """T-45: black-holed, no reset."""
    place.weather(Weather.BLACK_HOLE)
    source = MemorySource([entry(index) for index in range(12)])
    async with Shipment(place.sink(1.0), source, tmp_path, timeout_s=1.5) as shipment:
        await shipment.until(
            lambda: (
                ("audit.sink_failed", "timed_out") in shipment.recorded.events()
                or ("audit.sink_failed", "unreachable") in shipment.recorded.events()
            ),
            "the failure is recorded",
        )
        place.weather(Weather.FAIR)
        await shipment.until_acknowledged(12)
        await place.complete(12)


@pytest.mark.parametrize("kind", ANSWERING)
async def test_a_receiver_that_answers_a_byte_a_second_is_given_up(place: Place) -> None:
    """T-45: slow."""
    place.weather(Weather.SLOW)
    began = asyncio.get_running_loop().time()
    with pytest.raises(NotDeliveredError) as refused:
        async with asyncio.timeout(60):
            await place.sink(1.0).deliver(batch(0, 2))
    assert refused.value.fault in {Fault.TIMED_OUT, Fault.UNREACHABLE}
    assert asyncio.get_running_loop().time() - began < 55
    place.weather(Weather.FAIR)


@pytest.mark.parametrize("kind", ANSWERING)
async def test_an_answer_that_is_lost_after_the_receiver_stored_the_batch_costs_copies_and_no_record(
    place: Place, tmp_path: Path
) -> None:
    """T-45: resets mid-batch after the server committed; duplicates have equal bytes."""
    sink = place.sink(3.0)
    await sink.deliver(batch(0, 1))
    place.weather(Weather.LOSES_ANSWERS)
    source = MemorySource([entry(index) for index in range(30)])
    async with Shipment(sink, source, tmp_path, timeout_s=4.0) as shipment:
        await shipment.until(lambda: place.lost_answers >= 2, "answers are lost")
        place.weather(Weather.FAIR)
        await shipment.until_acknowledged(30)
    await place.complete(30)


async def test_a_sink_that_hangs_delays_no_other(open_place: Callable[[str], Awaitable[Place]], tmp_path: Path) -> None:
    hanging, other = await open_place("webhook"), await open_place("file")
    hanging.weather(Weather.BLACK_HOLE)
    source = MemorySource([entry(index) for index in range(100)])
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    async with (
        Shipment(hanging.sink(60.0), source, tmp_path / "one", timeout_s=60.0) as stuck,
        Shipment(other.sink(), source, tmp_path / "other") as shipment,
    ):
        await shipment.until_acknowledged(100)
        assert stuck.shipper.acknowledged() == 0
    await other.complete(100)


@pytest.mark.parametrize("kind", ANSWERING)
async def test_a_shipper_that_is_killed_anywhere_leaves_no_gap(place: Place, tmp_path: Path) -> None:
    source = MemorySource([entry(index) for index in range(60)])
    for stop_after in (0, 10, 20, 40):
        async with Shipment(place.sink(), source, tmp_path) as shipment:
            await shipment.until(lambda: shipment.shipper.acknowledged() >= stop_after, "the next stop")  # noqa: B023
    async with Shipment(place.sink(), source, tmp_path) as shipment:
        await shipment.until_acknowledged(60)
    await place.complete(60)
