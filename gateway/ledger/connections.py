"""The audit daemon's socket and whoever is connected to it: who speaks for which slot, what they sent, what they are told.

A producer shows the badge of its slot; a slot has one connection at a time. What was sent waits in `gathering` until it is
time; `intake` decides what becomes of it.
"""

from __future__ import annotations

import os
import resource
import select
import socket
import struct
from collections import deque
from collections.abc import Callable
from hmac import compare_digest
from pathlib import Path

from gateway.audit import record
from gateway.audit.protocol import (
    DAEMON_SLOT,
    REMOTE,
    SHIPPING_SLOT,
    Elsewhere,
    Hello,
    ProtocolError,
    Records,
    Request,
    pack_farewell,
    pack_shipped,
    pack_welcome,
)
from gateway.exchange.stream import STREAMS_BY_NUMBER, Stream
from gateway.ledger.batch import by_stream
from gateway.ledger.connection import Connection
from gateway.ledger.daemon_metrics import DaemonMetrics
from gateway.ledger.gathering import Gathering
from gateway.ledger.intake import NEW_PROCESS_JUMP, Intake
from gateway.ledger.own_records import OwnRecords
from gateway.ledger.streams import Logs, last_sequence

READ_BYTES = 256 * 1024
BACKLOG = 512
MAX_CONNECTIONS = 2048
MAX_UNREAD_REPLY_BYTES = 1 << 20
NAMED_SLOTS = 16
FARTHEST_AHEAD_MS = 366 * 86_400_000
"""A sequence is the time at which its producer began, or goes on from there: none is of years to come."""
_PEERCRED = struct.Struct("3i")
_LOST = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Connections:
    """All of them, and the listening socket."""

    def __init__(
        self,
        path: Path,
        logs: Logs,
        intake: Intake,
        metrics: DaemonMetrics,
        poll: select.poll,
        *,
        badge: Callable[[int], bytes],
        clock_ns: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        """Nobody is heard before `listen`. `badge` returns what a producer must show to speak as a slot."""
        self.open: dict[int, Connection] = {}
        """By descriptor."""
        self.slots: dict[int, Connection] = {}
        """Who speaks for each slot."""
        self._path = path
        self._logs = logs
        self._intake = intake
        self._metrics = metrics
        self._poll = poll
        self._badge = badge
        self._clock_ns = clock_ns
        self._listener: socket.socket | None = None
        self._waiting: dict[int, deque[Connection]] = {}
        self.gathering = Gathering(monotonic)
        """What was sent and is not stored yet."""
        self._elsewhere: dict[Stream, int] = {}
        """How many records of each stream a required sink has."""
        self._impostors: dict[int, int] = {}
        """Slot -> how often somebody claimed it without its badge and was not told of yet."""
        self._farthest_ms = 0
        # attack: a process that was taken over connects until no descriptor is left for the next log file
        self._most = min(MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self.note_time()

    def listen(self) -> None:
        """Let producers connect. Raises `OSError`."""
        unready = self._path.with_name(self._path.name + ".new")
        unready.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        before = os.umask(0o177)
        try:
            listener.bind(str(unready))
        finally:
            os.umask(before)
        listener.listen(BACKLOG)
        unready.rename(self._path)  # who finds the name can connect; a leftover is nobody's: the lock's holder is alone
        self._listener = listener
        self._poll.register(listener.fileno(), select.POLLIN)

    def note_time(self) -> None:
        """Take over the clock as it is now."""
        self._farthest_ms = self._clock_ns() // 1_000_000 + FARTHEST_AHEAD_MS

    def handle(self, fd: int, events: int) -> bool:
        """Do what a descriptor is ready for; False when it is not one of ours."""
        connection = self.open.get(fd)
        if connection is not None:
            if events & select.POLLOUT:
                self._flush(connection)
            if events & (select.POLLIN | _LOST):
                self._receive(connection)
        elif self._listener is not None and fd == self._listener.fileno():
            self._accept(self._listener)
        else:
            return False
        return True

    def commit(self) -> None:
        """Have what was sent so far stored, whether it is time or not, and answer it."""
        batch = self.gathering.take()
        if not batch:
            return
        for connection, answers in self._intake.commit(batch):
            self._send(connection, answers)
        for connection, records in batch:
            if records.grade == REMOTE:
                sizes = {stream: self._logs[stream].size for stream, _ in by_stream(connection.slot, records)}
                connection.remote.append((records.first_seq + len(records.payloads) - 1, sizes))
                self._release(connection)

    def name_impostors(self, own: OwnRecords) -> None:
        """At most one record for each call, however often somebody tries, and of few slots: whoever tries must not fill the log."""
        if self._impostors:
            tried, self._impostors = self._impostors, {}
            claimed = {"count": sum(tried.values()), "slots": sorted(tried)[:NAMED_SLOTS]}
            own.say("audit.impostor", success=False, severity=record.CRITICAL, more={"claimed": claimed})

    @property
    def is_alone(self) -> bool:
        """Nobody is left who may have something to record."""
        return not self.slots.keys() - {SHIPPING_SLOT}

    def say_farewell(self, seconds: float) -> None:
        """Tell producers that a successor comes within so long."""
        for connection in list(self.slots.values()):
            self._send(connection, pack_farewell(int(seconds * 1000)))

    def drain(self) -> None:
        """Take in what still waits in the sockets."""
        for connection in list(self.slots.values()):
            self._receive(connection)
        self.commit()

    def close(self) -> None:
        """End all connections, and the socket."""
        for connection in list(self.open.values()):
            self._drop(connection)
        if self._listener is not None:
            self._listener.close()
            self._path.unlink(missing_ok=True)

    # one connection

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            _, uid, _ = _PEERCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size))
            if uid not in {0, os.geteuid()} or len(self.open) >= self._most:
                self._metrics.rejected.inc()
                sock.close()
                continue
            sock.settimeout(0)
            self.open[sock.fileno()] = Connection(sock)
            self._poll.register(sock.fileno(), select.POLLIN)

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        try:
            for request in connection.decoder.feed(data):
                self._take(connection, request)
        except ProtocolError:
            self._metrics.rejected.inc()
            self._drop(connection)

    def _take(self, connection: Connection, request: Request) -> None:
        if isinstance(request, Records):
            if connection.slot < 0 or connection.is_waiting or connection.slot == SHIPPING_SLOT:
                raise ProtocolError("records before the welcome, or of who has none")
            self._judge_sequence(connection.slot, request)
            self.gathering.add(connection, request)
        elif isinstance(request, Hello):
            self._greet(connection, request)
        else:
            self._note_elsewhere(connection, request)

    def _greet(self, connection: Connection, hello: Hello) -> None:
        slot = hello.slot
        if connection.slot >= 0 or slot == DAEMON_SLOT:
            raise ProtocolError("a second HELLO, or one for the daemon's own slot")
        # attack: a worker that was taken over speaks as the custodian, whose word excuses what is missing
        if not compare_digest(hello.badge, self._badge(slot)):
            self._impostors[slot] = self._impostors.get(slot, 0) + 1
            raise ProtocolError("a slot that was not given to it")
        connection.slot = slot
        if slot in self.slots:  # its last bytes may still be unread: first come, first served
            connection.is_waiting = True
            self._waiting.setdefault(slot, deque()).append(connection)
        else:
            self._welcome(connection)

    def _note_elsewhere(self, connection: Connection, said: Elsewhere) -> None:
        if connection.slot != SHIPPING_SLOT or connection.is_waiting:
            raise ProtocolError("only the custodian says what sinks have")
        stream = STREAMS_BY_NUMBER[said.stream]
        if said.origin != self._logs[stream].origin.encode():  # of a log that was moved away
            return
        self._elsewhere[stream] = said.size
        for waiting in list(self.slots.values()):
            self._release(waiting)

    def _judge_sequence(self, slot: int, records: Records) -> None:
        """Refuse what would leave the slot no numbers for ever (attack: 2**64 - 1, and nobody can follow). Raises `ProtocolError`."""
        if (
            records.first_seq >> 20 > self._farthest_ms
            and records.first_seq - self._intake.last_known(slot) > NEW_PROCESS_JUMP
        ):
            raise ProtocolError("a sequence of years to come")

    def _release(self, connection: Connection) -> None:
        """Say which of a producer's records are elsewhere by now."""
        reached, remote = 0, connection.remote
        while remote and all(self._elsewhere.get(stream, 0) >= size for stream, size in remote[0][1].items()):
            reached = remote.popleft()[0]
        if reached:
            self._send(connection, pack_shipped(reached))

    def _welcome(self, connection: Connection) -> None:
        self.slots[connection.slot] = connection
        connection.is_waiting = False
        self._send(connection, pack_welcome(last_sequence(self._logs, connection.slot)))

    def _drop(self, connection: Connection) -> None:
        fd = connection.sock.fileno()
        if self.open.pop(fd, None) is None:
            return
        self._poll.unregister(fd)
        connection.sock.close()
        slot = connection.slot
        if connection.is_waiting:
            self._waiting[slot].remove(connection)
        elif self.slots.get(slot) is connection:
            del self.slots[slot]
            self.commit()  # what it sent before it went is taken in before another speaks for the slot
            if queue := self._waiting.get(slot):
                self._welcome(queue.popleft())

    def _send(self, connection: Connection, data: bytes) -> None:
        if connection.out:
            connection.out += data
        else:
            try:
                sent = connection.sock.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # gone; poll will say so
            if sent == len(data):
                return
            connection.out += data[sent:]
            self._poll.modify(connection.sock.fileno(), select.POLLIN | select.POLLOUT)
        if len(connection.out) > MAX_UNREAD_REPLY_BYTES:
            self._drop(connection)

    def _flush(self, connection: Connection) -> None:
        try:
            del connection.out[: connection.sock.send(connection.out)]
        except OSError:
            return
        if not connection.out:
            self._poll.modify(connection.sock.fileno(), select.POLLIN)
