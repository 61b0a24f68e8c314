"""What the supervisor and its children say to each other, over one socket pair each.

A message is a little-endian u32 length and a MessagePack value. The supervisor asks, the child
answers, one exchange at a time; a child never speaks unasked. Nothing here decides anything.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final, Literal

import msgspec

from gateway.exchange.errors import GatewayError
from gateway.exchange.metrics import Sample
from gateway.server.bundle import Bundle, Kind

LIMITS_BYTES: Final = 4 * 1024 * 1024
"""Size of the shared memory of the rate limits."""
LIMITS_LAYOUT: Final = 1
"""Another number whenever something in that memory means something else: a new program takes no other over."""
_LARGEST_MESSAGE: Final = 64 * 1024 * 1024
_LENGTH: Final = struct.Struct("<I")


class ControlError(GatewayError):
    """The other side is gone, or said something that is no message."""


class ListenerSocket(msgspec.Struct, frozen=True, kw_only=True):
    """A bound and listening socket that the supervisor keeps and this child accepts on."""

    fd: int
    kind: Literal["tls", "redirect", "plaintext", "pages"]
    """`pages` is the Unix socket between the edges and the pages."""
    proxied: bool = False
    """Each connection begins with a PROXY header."""
    address: str
    """As in gateway.yaml, where it is unique; for `pages` the path of the socket."""


class Boot(msgspec.Struct, frozen=True, kw_only=True, tag="boot"):
    """First message to a child: who it is and what it runs on. Answered by `Done`."""

    kind: Kind
    slot: int
    """Of the audit trail (`audit.protocol`): 0 to 999 for edge workers, then pages and the audit process itself."""
    badge: bytes = b""
    """Proof to the audit process that the slot is this child's; empty for the audit process itself."""
    shipping_badge: bytes = b""
    """The custodian's, for `SHIPPING_SLOT`."""
    inquiry_badge: bytes = b""
    """What the pages show to the custodian, which answers nobody else: both have it."""
    worker: int = 0
    """Number of an edge worker among its like, from 0; its slot is another one after each upgrade."""
    workers: int
    """Number of edge workers."""
    is_reserve: bool = False
    """Get ready and touch nothing that the processes of the predecessor serve or write, until `Serve`."""
    shares_limits: bool
    """Other processes count limits in the same memory."""
    listeners: tuple[ListenerSocket, ...] = ()
    bundle: Bundle
    state_dir: str
    run_dir: str
    """`state_dir/run`, 0700: `audit.sock` and the socket of the pages."""
    pages_socket: str
    """Name of the socket of the pages in it."""
    limits_fd: int = -1
    """memfd of `LIMITS_BYTES`, zeroed when the gateway started, shared by all edges; -1 for other kinds."""
    node: str
    boot_id: str
    """Random, new for each start of the gateway."""
    version: str


class Prepare(msgspec.Struct, frozen=True, kw_only=True, tag="prepare"):
    """Build everything the bundle says and keep it aside. Answered by `Done`."""

    bundle: Bundle


class Commit(msgspec.Struct, frozen=True, tag="commit"):
    """Swap in what was prepared last. Answered by `Done`."""


class Dump(msgspec.Struct, frozen=True, tag="dump"):
    """Tell all counters and how you are. Answered by `Dumped`."""


class Serve(msgspec.Struct, frozen=True, tag="serve"):
    """To a reserve: take the place of your predecessor. Answered by `Done`."""


class ShareLimits(msgspec.Struct, frozen=True, kw_only=True, tag="share-limits"):
    """From now on other processes count limits in the same memory too, or no more. Answered by `Done`."""

    is_shared: bool


class HandOver(msgspec.Struct, frozen=True, kw_only=True, tag="hand-over"):
    """To the audit process: make everything safe, let the log go, answer `Done` and end; a successor comes within `seconds`."""

    seconds: float


class LastRequests(msgspec.Struct, frozen=True, tag="last-requests"):
    """Say on every answer that the connection closes after it: the gateway stops soon. Answered by `Done`."""


class Drain(msgspec.Struct, frozen=True, kw_only=True, tag="drain"):
    """Accept nothing new, finish what is open within `seconds`, then answer `Done` and end."""

    seconds: float
    keeps_idle: bool = False
    """Connections that wait for a request may go on to wait for one more: a successor serves, nobody is in a hurry."""


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """It is done, or, with `diagnostics`, it was not and nothing changed."""

    diagnostics: tuple[str, ...] = ()


class Dumped(msgspec.Struct, frozen=True, kw_only=True, tag="dumped"):
    """Counters, and health by subject: `{"store": "locked"}`; an empty sentence means well."""

    samples: list[Sample]
    health: dict[str, str]
    degraded: dict[str, str] = {}
    """What is out and keeps nobody from being ready, by subject: `{"upstream portal": "1 of 2 servers out: …"}`."""


class Reload(msgspec.Struct, frozen=True, tag="reload"):
    """From `gateway reload` to the supervisor: read the configuration again. Answered by `Done`."""


class Upgrade(msgspec.Struct, frozen=True, kw_only=True, tag="upgrade"):
    """From `gateway upgrade` to the supervisor: hand over to a new program. Answered by `Done`, when it serves."""

    program: str = ""
    """Path of the new program; empty = the one that is found where this one was started from."""
    proof: bytes = b""
    """Made by `commands.prove`: whoever asks can read the keys of the audit trail."""


Request = Boot | Prepare | Commit | Dump | Serve | ShareLimits | HandOver | LastRequests | Drain | Reload | Upgrade
Reply = Done | Dumped
_REQUESTS: Final[msgspec.msgpack.Decoder[Request]] = msgspec.msgpack.Decoder(Request)
_REPLIES: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)


def pack(message: Request | Reply) -> bytes:
    """Encode one message with its length."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


def _length(head: bytes | bytearray) -> int:
    length: int = _LENGTH.unpack(head)[0]
    if length > _LARGEST_MESSAGE:
        raise ControlError("a control message is too long")
    return length


def receive(connection: socket.socket) -> Request:
    """Wait, blocking, for one request: a child's first, before it has a loop. Raises ControlError."""
    return _decode_request(_receive_message(connection))


def receive_reply(connection: socket.socket) -> Reply:
    """Wait, blocking, for one reply. Raises ControlError."""
    return _decode_reply(_receive_message(connection))


def _receive_message(connection: socket.socket) -> bytes:
    try:
        return _receive_exactly(connection, _length(_receive_exactly(connection, _LENGTH.size)))
    except OSError as error:
        raise ControlError("the other side does not answer") from error


def _receive_exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise ControlError("the other side is gone")
        data += chunk
    return bytes(data)


def _decode_request(data: bytes) -> Request:
    try:
        return _REQUESTS.decode(data)
    except msgspec.MsgspecError as error:
        raise ControlError(f"a control message cannot be read: {error}") from error


def _decode_reply(data: bytes) -> Reply:
    try:
        return _REPLIES.decode(data)
    except msgspec.MsgspecError as error:
        raise ControlError(f"a control message cannot be read: {error}") from error


class Inbox:
    """Puts requests together from whatever pieces a socket gives, for a reader that must not block."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Request]:
        """Take bytes, return the requests that are complete. Raises ControlError."""
        self._buffer += data
        requests = []
        while len(self._buffer) >= _LENGTH.size:
            end = _LENGTH.size + _length(self._buffer[: _LENGTH.size])
            if len(self._buffer) < end:
                break
            requests.append(_decode_request(bytes(self._buffer[_LENGTH.size : end])))
            del self._buffer[:end]
        return requests


class Channel:
    """One end of the pair on an event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, connection: socket.socket) -> Channel:
        """Take over a connected socket."""
        connection.settimeout(0)
        return cls(*await asyncio.open_unix_connection(sock=connection))

    async def ask(self, request: Request, timeout_s: float) -> Reply:
        """Send a request and wait for its reply. A channel that failed once is closed, lest replies slip.

        Raises:
            ControlError: the child is gone, or did not answer in time.

        """
        async with self._turn:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._send(request)
                    reply = _decode_reply(await self._receive())
            except TimeoutError as error:
                self.close()
                raise ControlError("the child did not answer in time") from error
            except (OSError, asyncio.IncompleteReadError, ControlError) as error:
                self.close()
                raise ControlError("the child is gone") from error
            return reply

    async def next_request(self) -> Request:
        """Wait for what the supervisor asks next. Raises ControlError when it is gone."""
        try:
            return _decode_request(await self._receive())
        except (OSError, asyncio.IncompleteReadError) as error:
            raise ControlError("the supervisor is gone") from error

    async def reply(self, reply: Reply) -> None:
        """Answer the last request. Raises ControlError when the supervisor is gone."""
        try:
            await self._send(reply)
        except OSError as error:
            raise ControlError("the supervisor is gone") from error

    def close(self) -> None:
        """Close this end; the other side sees its end of file."""
        self._writer.close()

    async def _send(self, message: Request | Reply) -> None:
        self._writer.write(pack(message))
        await self._writer.drain()

    async def _receive(self) -> bytes:
        return await self._reader.readexactly(_length(await self._reader.readexactly(_LENGTH.size)))
