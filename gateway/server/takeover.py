"""How a running gateway hands everything to a new program: what the two supervisors say to each other.

Over a socket pair that the old one made for the new one, so that nobody else can take part. The old
one gives its sockets, its lock and the memory of the limits (SCM_RIGHTS, unix(7)); the new one says when it
is ready, and from `Take` on the gateway is its own. A line that breaks before `Taken` means that
nothing changed. Versions that differ meet here: messages are extended, never changed.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from gateway.exchange.errors import ConfigurationError, GatewayError
from gateway.exchange.metrics import Sample

FORMAT: Final = 1
_LARGEST_MESSAGE: Final = 64 * 1024 * 1024
_DESCRIPTORS_AT_ONCE: Final = 200  # unix(7): SCM_MAX_FD is 253
_MOST_DESCRIPTORS: Final = 16_384
_HEAD: Final = struct.Struct("<II")
LENGTH: Final = struct.Struct("<I")
_ESTATE_WAIT_S: Final = 10.0


class TakeOverError(GatewayError):
    """The other supervisor is gone, failed, or said something that makes no sense here."""


class Estate(msgspec.Struct, frozen=True, kw_only=True, tag="estate"):
    """Old to new, with every descriptor: what there is."""

    format: int = FORMAT
    version: str
    """Of the old program."""
    generation: int
    """Of the new one: the first program of a gateway is 0, each upgrade counts one."""
    boot_id: str
    state_dir: str
    supervisor: int
    """Process id of the old supervisor, whose end before `Taken` is the new one's end."""
    keeper: int
    """Process id that whoever started the gateway knows."""
    admin: str
    """Address of the admin listener."""
    listeners: tuple[tuple[str, int], ...]
    """Address and number of sockets of each listener, in the order of the descriptors."""
    limits_layout: int
    reloads: dict[str, int]
    upgrades: dict[str, int]


class Descriptors(msgspec.Struct, frozen=True, kw_only=True):
    """The descriptors that come with an `Estate`."""

    lock: int
    limits: int
    keeper: int
    """Pipe to the keeper."""
    admin: int
    listeners: tuple[int, ...]

    def in_order(self) -> list[int]:
        """List them as they are sent."""
        return [self.lock, self.limits, self.keeper, self.admin, *self.listeners]


class Prepared(msgspec.Struct, frozen=True, tag="prepared"):
    """New to old: configuration, pages and edges are ready; now the audit log, which has one writer."""


class LogIsFree(msgspec.Struct, frozen=True, tag="log-is-free"):
    """Old to new: wait for the lock of the audit log; whoever has it lets it go now."""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """New to old: everything works, and nothing was accepted yet."""

    version: str
    interpreter: str
    """Python that the new program runs on."""


class Take(msgspec.Struct, frozen=True, kw_only=True, tag="take"):
    """Old to new: serve."""

    samples: list[Sample]
    """Everything that was counted so far."""


class Taken(msgspec.Struct, frozen=True, tag="taken"):
    """New to old: served from now on; finish what you have and end."""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """New to old, instead of any answer: why it cannot take over."""

    diagnostics: tuple[str, ...]


class Counted(msgspec.Struct, frozen=True, kw_only=True, tag="counted"):
    """Old to new, while it finishes: everything it counted, so that no counter falls."""

    samples: list[Sample]


class Finish(msgspec.Struct, frozen=True, tag="finish"):
    """New to old: cut what you still have; another configuration holds now."""


Message = Estate | Prepared | LogIsFree | Ready | Take | Taken | Failed | Counted | Finish
M = TypeVar("M", bound=Message)
_MESSAGES: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)


class Line:
    """One end of the pair on an event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, connection: socket.socket) -> Line:
        """Take over a connected socket."""
        connection.settimeout(0)
        return cls(*await asyncio.open_unix_connection(sock=connection))

    async def send(self, message: Message) -> None:
        """Say something. Raises TakeOverError when nobody is there."""
        body = msgspec.msgpack.encode(message)
        try:
            self._writer.write(LENGTH.pack(len(body)) + body)
            await self._writer.drain()
        except OSError as error:
            raise TakeOverError("the other supervisor is gone") from error

    async def receive(self) -> Message:
        """Wait for the next word. Raises TakeOverError when nobody is there."""
        try:
            (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
            if length > _LARGEST_MESSAGE:
                raise TakeOverError("a message is too long")
            return _MESSAGES.decode(await self._reader.readexactly(length))
        except (OSError, asyncio.IncompleteReadError) as error:
            raise TakeOverError("the other supervisor is gone") from error
        except msgspec.MsgspecError as error:
            raise TakeOverError(f"the other supervisor says what this one does not understand: {error}") from error

    async def expect(self, kind: type[M]) -> M:
        """Wait for this word and no other.

        Raises:
            ConfigurationError: the other side said why it cannot.
            TakeOverError: it is gone, or said something else.

        """
        message = await self.receive()
        if isinstance(message, Failed):
            raise ConfigurationError(message.diagnostics)
        if not isinstance(message, kind):
            raise TakeOverError(f"the other supervisor said {type(message).__name__} instead of {kind.__name__}")
        return message

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


def send_estate(connection: socket.socket, estate: Estate, descriptors: Descriptors) -> None:
    """Give everything away, blocking; our own copies stay open. Raises TakeOverError."""
    body = msgspec.msgpack.encode(estate)
    fds = descriptors.in_order()
    try:
        connection.sendall(_HEAD.pack(len(body), len(fds)))
        for at in range(0, len(fds), _DESCRIPTORS_AT_ONCE):
            socket.send_fds(connection, [b"\0"], fds[at : at + _DESCRIPTORS_AT_ONCE])
        connection.sendall(body)
    except OSError as error:
        raise TakeOverError("the new program went away before it took anything") from error


def receive_estate(connection: socket.socket) -> tuple[Estate, Descriptors]:
    """Take everything, blocking. Raises TakeOverError when what comes makes no sense."""
    connection.settimeout(_ESTATE_WAIT_S)
    fds: list[int] = []
    try:
        length, count = _HEAD.unpack(_receive_exactly(connection, _HEAD.size))
        _require(
            length <= _LARGEST_MESSAGE and count <= _MOST_DESCRIPTORS, "the old supervisor gives more than this takes"
        )
        while len(fds) < count:
            _, received, _, _ = socket.recv_fds(connection, 1, _DESCRIPTORS_AT_ONCE)
            _require(bool(received), "the old supervisor went away")
            for fd in received:
                os.set_inheritable(fd, False)  # noqa: FBT003 - a positional-only parameter
            fds += received
        estate = _MESSAGES.decode(_receive_exactly(connection, length))
        return _checked(estate), _sort(_checked(estate), fds)
    except (OSError, msgspec.MsgspecError) as error:
        _close(fds)
        raise TakeOverError("the old supervisor cannot be understood") from error
    except TakeOverError:
        _close(fds)
        raise


def _require(holds: bool, sentence: str) -> None:  # noqa: FBT001 - a condition, as in assert
    if not holds:
        raise TakeOverError(sentence)


def _checked(message: Message) -> Estate:
    if not isinstance(message, Estate) or message.format != FORMAT:
        raise TakeOverError("the old supervisor hands over in a form this program does not know; stop and start it")
    return message


def _sort(estate: Estate, fds: Sequence[int]) -> Descriptors:
    lock, limits, keeper, admin, *listeners = fds
    if len(listeners) != sum(count for _, count in estate.listeners):
        raise TakeOverError("the old supervisor hands over other sockets than it says")
    return Descriptors(lock=lock, limits=limits, keeper=keeper, admin=admin, listeners=tuple(listeners))


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def _receive_exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise TakeOverError("the old supervisor went away")
        data += chunk
    return bytes(data)
