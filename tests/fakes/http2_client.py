"""A client that speaks HTTP/2 frame by frame, and as wrongly as a test wants it to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Headers = Iterable[tuple[bytes, bytes]]


def raw_frame(kind: int, flags: int, stream_id: int, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """A frame that says whatever it should not."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


@dataclass
class Answer:
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    interim: list[list[tuple[bytes, bytes]]] = field(default_factory=list)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None

    def field(self, name: bytes) -> list[bytes]:
        return [value for known, value in self.headers if known == name]


class Http2Client:
    """`windows`: give room back as data comes; without, the windows of RFC 9113 §6.9.2 stand."""

    def __init__(self, authority: str, *, windows: bool = True) -> None:
        self.authority = authority.encode()
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.windows = windows
        self.frames: list[Frame] = []
        self.answers: dict[int, Answer] = {}
        self.closed = False
        self.next_id = 1
        self.greets = True
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._block = b""

    async def open(
        self,
        port: int,
        context: ssl.SSLContext,
        name: str,
        *,
        preface: bytes = PREFACE,
        settings: dict[int, int] | None = None,
        greet: bool = True,
        before: bytes = b"",
    ) -> Http2Client:
        """`before`: what comes before TLS, such as a PROXY header."""
        context.set_alpn_protocols(["h2"])
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        self._writer.write(before)
        try:
            await self._writer.start_tls(context, server_hostname=name)
        except ConnectionError:
            self._writer.transport.abort()
            raise
        self.greets = greet
        self._task = asyncio.get_running_loop().create_task(self._listen())
        if greet:
            self.send(preface + SettingsFrame(0, settings or {}).serialize())
        return self

    @property
    def protocol(self) -> str | None:
        return self._writer.get_extra_info("ssl_object").selected_alpn_protocol()  # type: ignore[no-any-return]

    async def close(self) -> None:
        if self._task is None:
            return
        self._writer.transport.abort()
        self._task.cancel()
        with suppress(asyncio.CancelledError, ConnectionError, ssl.SSLError):
            await self._task

    def stop_reading(self) -> None:
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume_reading(self) -> None:
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def get(
        self, path: str = "/public/x", *extra: tuple[bytes, bytes], method: bytes = b"GET"
    ) -> list[tuple[bytes, bytes]]:
        return [
            (b":method", method),
            (b":scheme", b"https"),
            (b":authority", self.authority),
            (b":path", path.encode("latin-1")),
            *extra,
        ]

    def block(self, headers: Headers, stream_id: int, *, end: bool = True) -> bytes:
        frame = HeadersFrame(stream_id, self.encoder.encode(list(headers)), flags=["END_HEADERS"])
        if end:
            frame.flags.add("END_STREAM")
        return frame.serialize()

    def request(self, headers: Headers, *, end: bool = True) -> int:
        stream_id, self.next_id = self.next_id, self.next_id + 2
        self.send(self.block(headers, stream_id, end=end))
        return stream_id

    def data(self, stream_id: int, data: bytes, *, end: bool = False) -> None:
        frame = DataFrame(stream_id, data)
        if end:
            frame.flags.add("END_STREAM")
        self.send(frame.serialize())

    def ping(self, data: bytes = b"12345678") -> None:
        self.send(PingFrame(0, data).serialize())

    def reset(self, stream_id: int, code: int = 8) -> None:
        self.send(RstStreamFrame(stream_id, code).serialize())

    def give(self, stream_id: int, size: int) -> None:
        self.send(WindowUpdateFrame(stream_id, size).serialize())

    async def ask(self, path: str = "/public/x", *extra: tuple[bytes, bytes], method: bytes = b"GET") -> Answer:
        return await self.answer(self.request(self.get(path, *extra, method=method)))

    async def answer(self, stream_id: int) -> Answer:
        await self.until(lambda: stream_id in self.answers and self.is_over(stream_id))
        return self.answers[stream_id]

    def is_over(self, stream_id: int) -> bool:
        answer = self.answers.get(stream_id)
        return self.closed or (answer is not None and (answer.ended or answer.reset is not None))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: bool(condition()))

    def room(self, stream_id: int) -> int:
        """What windows were opened by so far."""
        return sum(
            f.window_increment for f in self.frames if isinstance(f, WindowUpdateFrame) and f.stream_id == stream_id
        )

    async def pinged(self) -> None:
        """Wait until the other end has taken everything sent so far, or is gone."""
        token = len(self.frames).to_bytes(8, "big")
        self.ping(token)
        await self.until(
            lambda: self.closed or any(isinstance(f, PingFrame) and f.opaque_data == token for f in self.frames)
        )

    async def goaway(self) -> int:
        """The code of the last GOAWAY, once the connection is closed."""
        await self.until(lambda: self.closed)
        codes = [frame.error_code for frame in self.frames if isinstance(frame, GoAwayFrame)]
        return codes[-1] if codes else -1

    async def reset_code(self, stream_id: int) -> int:
        """The code with which a stream was reset; of the connection's end if that came."""
        await self.until(lambda: self.closed or self.answers.get(stream_id, Answer()).reset is not None)
        answer = self.answers.get(stream_id)
        return answer.reset if answer is not None and answer.reset is not None else 1000 + await self.goaway()

    async def _listen(self) -> None:
        buffer = b""
        try:
            while data := await self._reader.read(1 << 16):
                buffer += data
                while len(buffer) >= 9:
                    frame, length = Frame.parse_frame_header(memoryview(buffer[:9]))
                    if len(buffer) < 9 + length:
                        break
                    frame.parse_body(memoryview(buffer[9 : 9 + length]))
                    buffer = buffer[9 + length :]
                    self._take(frame)
                async with self._changed:
                    self._changed.notify_all()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            self.closed = True
            async with self._changed:
                self._changed.notify_all()

    def _take(self, frame: Frame) -> None:
        self.frames.append(frame)
        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags and self.greets:
            self.send(SettingsFrame(0, flags=["ACK"]).serialize())
        elif isinstance(frame, (HeadersFrame, ContinuationFrame)):
            self._block += frame.data
            answer = self.answers.setdefault(frame.stream_id, Answer())
            if "END_STREAM" in frame.flags:
                answer.ended = True
            if "END_HEADERS" in frame.flags:
                headers = [(bytes(name), bytes(value)) for name, value in self.decoder.decode(self._block, raw=True)]
                self._block = b""
                status = int(dict(headers)[b":status"])
                if status < 200:
                    answer.interim.append(headers)
                else:
                    answer.status, answer.headers = status, headers
        elif isinstance(frame, DataFrame):
            answer = self.answers[frame.stream_id]
            answer.body += frame.data
            if "END_STREAM" in frame.flags:
                answer.ended = True
            if self.windows and frame.data:
                self.give(0, len(frame.data))
                if not answer.ended:
                    self.give(frame.stream_id, len(frame.data))
        elif isinstance(frame, RstStreamFrame):
            self.answers.setdefault(frame.stream_id, Answer()).reset = frame.error_code
