"""Records as messages of Apache Kafka: acknowledged by all replicas, written once by an idempotent producer.

The key is the log's origin, so one log is in one partition, in order. Headers name origin and index: a
consumer knows by them what it has. A producer that failed is thrown away, because nobody can say what it sent.
Needs `gateway[kafka]`.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final

import aiokafka.errors as kafka
import msgspec
from aiokafka import AIOKafkaProducer

from gateway.audit.delivery import Batch, idempotency_key
from gateway.custody.sinks.sink import Fault, NotDeliveredError, RefusedRecordsError

_LEAVE_S: Final = 5.0
_LARGEST_REQUEST: Final = 4 << 20
_UNAUTHORIZED: Final = (
    kafka.TopicAuthorizationFailedError,
    kafka.ClusterAuthorizationFailedError,
    kafka.AuthenticationFailedError,
    kafka.UnsupportedSaslMechanismError,
)
_MISCONFIGURED: Final = (
    kafka.UnknownTopicOrPartitionError,
    kafka.InvalidTopicError,
    kafka.UnsupportedVersionError,
    kafka.IncompatibleBrokerVersion,
)
_BUSY: Final = (kafka.NotEnoughReplicasError, kafka.NotEnoughReplicasAfterAppendError, kafka.NotLeaderForPartitionError)
_RECORD_FAULTS: Final = (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError, kafka.InvalidMessageError)


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """Which cluster and topic, and what proves who we are. Not to be printed."""

    servers: tuple[str, ...]
    topic: str
    """`{stream}` in it is the stream."""
    tls: ssl.SSLContext | None
    """None: plain TCP, which has an unsafe switch."""
    mechanism: str = ""
    """Of SASL; empty: none."""
    username: str = ""
    password: str = ""
    timeout_s: float = 30.0

    def __repr__(self) -> str:  # secrets: the generated one would print the password
        return f"Cluster(servers={self.servers!r}, topic={self.topic!r})"


class KafkaSink:
    """Produces to one topic, or one for each stream."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._producer: Any = None
        self._starting = asyncio.Lock()
        self._leaving: set[asyncio.Task[None]] = set()

    async def deliver(self, batch: Batch) -> None:
        """Produce a batch, and wait for every acknowledgement. Raises NotDeliveredError, RefusedRecordsError."""
        producer = await self._ready()
        topic = self._cluster.topic.replace("{stream}", batch.stream)
        key = batch.origin.encode()
        sent: list[asyncio.Future[Any]] = []
        try:
            for delivery in batch.deliveries:
                headers = [
                    ("origin", key),
                    ("index", str(delivery.index).encode()),
                    ("idempotency-key", idempotency_key(batch.origin, delivery.index).encode()),
                    ("content-type", b"application/json"),
                ]
                stamp = delivery.time_ns // 1_000_000
                sent.append(await producer.send(topic, delivery.line, key=key, timestamp_ms=stamp, headers=headers))
            for acknowledgement in sent:
                await acknowledgement
        except _RECORD_FAULTS as exc:
            self._discard(producer, sent)
            raise RefusedRecordsError(type(exc).__name__) from exc
        except kafka.KafkaError as exc:
            self._discard(producer, sent)
            raise _fault_of(exc) from exc
        except OSError as exc:
            self._discard(producer, sent)
            raise NotDeliveredError(Fault.UNREACHABLE, type(exc).__name__) from exc
        except BaseException:
            self._discard(producer, sent)
            raise

    async def probe(self) -> None:
        """Ask the cluster for the topic. Raises NotDeliveredError."""
        producer = await self._ready()
        try:
            async with asyncio.timeout(self._cluster.timeout_s):
                for stream in ("security", "access", "traffic") if "{stream}" in self._cluster.topic else ("",):
                    await producer.partitions_for(self._cluster.topic.replace("{stream}", stream))
        except TimeoutError:
            raise NotDeliveredError(Fault.TIMED_OUT, f"after {self._cluster.timeout_s:g} s") from None
        except kafka.KafkaError as exc:
            raise _fault_of(exc) from exc

    async def close(self) -> None:
        """Stop the producer; what was not acknowledged is delivered by the next."""
        if self._producer is not None:
            self._discard(self._producer, [])
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=_LEAVE_S)

    async def _ready(self) -> Any:
        async with self._starting:
            if self._producer is not None:
                return self._producer
            cluster = self._cluster
            sasl = {"sasl_mechanism": cluster.mechanism} if cluster.mechanism else {}
            layers = ("SASL_" if cluster.mechanism else "") + ("SSL" if cluster.tls else "PLAINTEXT")
            producer = AIOKafkaProducer(
                bootstrap_servers=list(cluster.servers),
                client_id="gateway-audit",
                acks="all",
                enable_idempotence=True,
                max_request_size=_LARGEST_REQUEST,
                max_batch_size=_LARGEST_REQUEST // 4,
                request_timeout_ms=int(cluster.timeout_s * 1000),
                security_protocol=layers,
                ssl_context=cluster.tls,
                sasl_plain_username=cluster.username or None,
                sasl_plain_password=cluster.password or None,
                **sasl,
            )
            start = asyncio.create_task(producer.start(), name="kafka start")
            try:
                ended, _ = await asyncio.wait({start}, timeout=cluster.timeout_s)
            except BaseException:
                self._discard(producer, [], start)
                raise
            if not ended:
                self._discard(producer, [], start)
                raise NotDeliveredError(Fault.TIMED_OUT, f"after {cluster.timeout_s:g} s")
            try:
                start.result()
            except kafka.KafkaError as exc:
                self._discard(producer, [])
                raise _fault_of(exc) from exc
            except OSError as exc:
                self._discard(producer, [])
                raise NotDeliveredError(Fault.UNREACHABLE, type(exc).__name__) from exc
            except BaseException:
                self._discard(producer, [])
                raise
            self._producer = producer
            return producer

    def _discard(self, producer: Any, sent: list[asyncio.Future[Any]], start: asyncio.Task[None] | None = None) -> None:
        """Throw a producer away, in the background: it would wait for what it has not sent."""
        if producer is self._producer:
            self._producer = None
        for acknowledgement in sent:
            acknowledgement.add_done_callback(_look_at)
        task = asyncio.create_task(_stop(producer, start), name="kafka leave")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


async def _stop(producer: Any, start: asyncio.Task[None] | None) -> None:
    """Give everything up that a producer still wants to send, and stop it.

    One that has not started ends by its own time limits: cancelled, it would forget a connection.
    """
    if start is not None:
        await asyncio.wait({start})
        if not start.cancelled():
            start.exception()  # it came too late to be told
    try:
        async with asyncio.timeout(_LEAVE_S):
            await producer.client.close()
            producer._message_accumulator.fail_all(kafka.KafkaError())  # noqa: SLF001 - stop() alone waits for a receiver that is away
            await producer.stop()
    except (TimeoutError, OSError, kafka.KafkaError):
        return


def _look_at(acknowledgement: asyncio.Future[Any]) -> None:
    """Have seen how a message ended that nobody waits for."""
    if not acknowledgement.cancelled():
        acknowledgement.exception()


def _fault_of(error: kafka.KafkaError) -> NotDeliveredError:
    name = type(error).__name__
    if isinstance(error, _UNAUTHORIZED):
        return NotDeliveredError(Fault.UNAUTHORIZED, name)
    if isinstance(error, _MISCONFIGURED):
        return NotDeliveredError(Fault.MISCONFIGURED, name)
    if isinstance(error, _BUSY):
        return NotDeliveredError(Fault.BUSY, name)
    if isinstance(error, kafka.KafkaTimeoutError | kafka.RequestTimedOutError):
        return NotDeliveredError(Fault.TIMED_OUT, name)
    if isinstance(error, kafka.KafkaConnectionError):
        return NotDeliveredError(Fault.UNREACHABLE, name)
    return NotDeliveredError(Fault.BROKEN, name)
