"""Records as syslog over TLS (RFC 5424, RFC 5425).

The protocol has no acknowledgement: a batch counts as delivered when the receiver's system has taken every
byte of it, which is less than having stored it. What was sent last on a connection that broke is sent once
more on the next one. So it is best effort, and may not be the only sink that must have everything.
"""

from __future__ import annotations

import asyncio
import fcntl
import ssl
import termios
from struct import unpack
from typing import Any, Final

import msgspec

from gateway.audit.delivery import Batch
from gateway.audit.syslog import frame, write_message
from gateway.custody.sinks.sink import Fault, NotDeliveredError

_LOOK_S: Final = 0.01
_LEAVE_S: Final = 1.0


class Collector(msgspec.Struct, frozen=True, kw_only=True):
    """Where messages go, and what they say of themselves."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    """None: plain TCP, which has an unsafe switch."""
    facility: int
    enterprise: int
    timeout_s: float = 30.0


class SyslogSink:
    """One connection to one collector, for all streams."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._turn = asyncio.Lock()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._watch: asyncio.Task[bytes] | None = None
        """Ends when the collector closes the connection: it never says anything else."""
        self._last: dict[str, bytes] = {}
        """Stream -> what was sent last, and may have been lost with its connection."""

    async def deliver(self, batch: Batch) -> None:
        """Send a batch. Raises NotDeliveredError."""
        async with self._turn:
            collector = self._collector
            messages = [
                write_message(
                    delivery, origin=batch.origin, facility=collector.facility, enterprise=collector.enterprise
                )
                for delivery in batch.deliveries
            ]
            data = b"".join(map(frame, messages))
            try:
                async with asyncio.timeout(collector.timeout_s):
                    if self._is_gone():
                        await self._connect()
                        await self._send(b"".join(self._last.values()))
                    await self._send(data)
            except TimeoutError:
                self._let_go()
                raise NotDeliveredError(Fault.TIMED_OUT, f"after {collector.timeout_s:g} s") from None
            except ssl.SSLCertVerificationError as exc:
                self._let_go()
                raise NotDeliveredError(Fault.TLS, exc.verify_message) from exc
            except ssl.SSLError as exc:
                self._let_go()
                raise NotDeliveredError(Fault.TLS, exc.reason or "") from exc
            except OSError as exc:
                self._let_go()
                raise NotDeliveredError(Fault.UNREACHABLE, type(exc).__name__) from exc
            except BaseException:  # cancelled in the middle of a message: the connection is of no use any more
                self._let_go()
                raise
            self._last[batch.stream] = data

    async def probe(self) -> None:
        """Connect and leave. Raises NotDeliveredError."""
        probe = SyslogSink(self._collector)
        try:
            await probe.deliver(Batch("", "", ()))
        finally:
            await probe.close()

    async def close(self) -> None:
        """Say goodbye, and close."""
        writer = self._writer
        if writer is not None and not self._is_gone():
            try:
                async with asyncio.timeout(_LEAVE_S):
                    writer.close()
                    await writer.wait_closed()
            except (OSError, TimeoutError):
                pass
        self._let_go()

    async def _connect(self) -> None:
        self._let_go()
        collector = self._collector
        self._reader, self._writer = await asyncio.open_connection(
            collector.host, collector.port, ssl=collector.tls, server_hostname=collector.host if collector.tls else None
        )
        self._watch = asyncio.create_task(self._reader.read(1), name="syslog watch")

    async def _send(self, data: bytes) -> None:
        """Write everything, and return when the other side's system has it. Raises OSError."""
        writer = self._writer
        if writer is None:
            raise ConnectionResetError
        writer.write(data)
        await writer.drain()
        while _unsent(writer):
            if self._is_gone():
                raise ConnectionResetError
            await asyncio.sleep(_LOOK_S)
        if self._is_gone():
            raise ConnectionResetError

    def _is_gone(self) -> bool:
        return self._writer is None or self._writer.is_closing() or self._watch is None or self._watch.done()

    def _let_go(self) -> None:
        if self._watch is not None:
            if self._watch.done() and not self._watch.cancelled():
                self._watch.exception()  # why the connection broke; it was noticed
            self._watch.cancel()
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = self._watch = None


def _unsent(writer: asyncio.StreamWriter) -> int:
    """Return how many bytes are still here: in our buffers, or sent and not acknowledged (tcp(7), SIOCOUTQ)."""
    transport: Any = writer.transport  # uvloop's are no subclass of asyncio's
    buffered = int(transport.get_write_buffer_size())
    connection = writer.get_extra_info("socket")
    if buffered or connection is None or connection.fileno() < 0:
        return buffered
    queued: int = unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    return queued
