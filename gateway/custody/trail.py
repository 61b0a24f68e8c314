"""Records what the custodian does, in the log that it keeps.

A record with a mark is written exactly once, whenever the process is killed: its bytes and sequence are
on disk before they are sent, and the log takes no sequence twice. What a mark says was done is done.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, Self

import msgspec

from gateway.audit.canonical import encode
from gateway.audit.protocol import (
    CUSTODIAN_SLOT,
    RESERVED,
    STRICT,
    Ack,
    ProtocolError,
    Refused,
    Reply,
    ReplyDecoder,
    Welcome,
    first_sequence,
    pack_hello,
    pack_records,
)
from gateway.audit.record import Stamp, uuid7
from gateway.custody.threads import in_thread
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import STREAM_NUMBERS, Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.log import open_log
from gateway.ledger.log_file import SMALL_FILE_BYTES
from gateway.ledger.spare import replace_file

TIMEOUT_S: Final = 5.0
_READ_BYTES: Final = 4096
JOURNAL_NAME: Final = "journal.json"

Build = Callable[[Stamp], Mapping[str, Any]]
"""A builder of `gateway.audit.record` with everything but its stamp."""


class Mark(msgspec.Struct, frozen=True):
    """What a record says was done: how far, in which matter."""

    matter: str
    """Of which log: `sealed/<origin>`, `pruned/<origin>`."""
    number: int


class Journal(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The file of marks, and the record that may or may not be in the log."""

    marks: dict[str, int] = {}
    pending: bytes = b""
    sequence: int = 0
    stream: Stream = Stream.SECURITY
    mark: Mark | None = None


class Connection(Protocol):
    """Somebody who takes records of the custodian."""

    last_sequence: int
    """Of the custodian's slot, that is in the log."""

    def send(self, sequence: int, payload: bytes, stream: Stream) -> None:
        """Return when the record is on stable storage. Raises `OSError`, `ProtocolError`, `AuditUnavailableError`."""
        ...


Connect = Callable[[], AbstractContextManager[Connection]]


class Trail:
    """Writes records as the custodian. One at a time."""

    def __init__(
        self,
        layout: Layout,
        *,
        node: str,
        boot_uid: str,
        version: str,
        badge: bytes = b"",
        connect: Connect | None = None,
    ) -> None:
        """`badge` is for the daemon; `connect` for a log that no daemon has: see `DirectLog`."""
        self._connect = connect or partial(_Connection, layout.socket, badge)
        self._node = node
        self._boot_uid = boot_uid
        self._version = version
        self._path = layout.custody / JOURNAL_NAME
        self._journal: Journal | None = None
        self._turn = asyncio.Lock()

    async def record(self, build: Build, *, stream: Stream = Stream.SECURITY, mark: Mark | None = None) -> None:
        """Write one record and return when it is on stable storage. Raises `AuditUnavailableError`."""
        async with self._turn:
            await in_thread(self.write, build, stream, mark)  # whoever is cancelled keeps the turn until it is written

    def write(self, build: Build, stream: Stream = Stream.SECURITY, mark: Mark | None = None) -> None:
        """Write one record, blocking. Raises `AuditUnavailableError`."""
        try:
            self._write(build, stream, mark)
        except (OSError, ProtocolError) as exc:
            what = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            raise AuditUnavailableError(f"the audit daemon did not take a record of the custodian: {what}") from exc

    def done(self, matter: str) -> int:
        """Return how far a matter is recorded, 0 before the first record. Blocking. Raises `AuditUnavailableError`."""
        journal = self._load()
        if journal.pending:
            try:
                with self._connect() as connection:
                    self._settle(journal, connection)
            except (OSError, ProtocolError) as exc:
                raise AuditUnavailableError(f"the audit daemon does not answer: {exc}") from exc
        return journal.marks.get(matter, 0)

    def _write(self, build: Build, stream: Stream, mark: Mark | None) -> None:
        with self._connect() as connection:
            journal = self._load()
            if journal.pending:
                self._settle(journal, connection)
            sequence = first_sequence(time.time(), connection.last_sequence)
            payload = encode(build(self._stamp(sequence)))
            if mark is None:
                connection.send(sequence, payload, stream)
                return
            journal.pending, journal.sequence, journal.stream, journal.mark = payload, sequence, stream, mark
            self._save(journal)
            self._settle(journal, connection)

    def _settle(self, journal: Journal, connection: Connection) -> None:
        """Put the pending record into the log unless it is there, and then its mark."""
        if connection.last_sequence < journal.sequence:
            connection.send(journal.sequence, journal.pending, journal.stream)
        if journal.mark is not None:
            journal.marks[journal.mark.matter] = journal.mark.number
        journal.pending, journal.sequence, journal.mark = b"", 0, None
        self._save(journal)

    def _stamp(self, sequence: int) -> Stamp:
        time_ms = time.time_ns() // 1_000_000
        return Stamp(
            uid=uuid7(time_ms, os.urandom(10)),
            sequence=sequence,
            time_ms=time_ms,
            mono_ns=time.monotonic_ns(),
            boot_uid=self._boot_uid,
            node=self._node,
            version=self._version,
        )

    def _load(self) -> Journal:
        if self._journal is None:
            try:
                self._journal = msgspec.json.decode(self._path.read_bytes(), type=Journal)
            except FileNotFoundError:
                self._journal = Journal()
            except (OSError, msgspec.MsgspecError) as exc:
                raise AuditUnavailableError(
                    f"{self._path}: cannot be read: {exc}; move it away, and at most one record is made twice"
                ) from exc
        return self._journal

    def _save(self, journal: Journal) -> None:
        try:
            replace_file(self._path, msgspec.json.encode(journal))
        except OSError:
            self._journal = None  # what is on disk counts
            raise


class DirectLog:
    """Takes the custodian's records where no gateway runs, as the log's writer for as long as it is open."""

    def __init__(self, layout: Layout, keys: AuditKeys) -> None:
        """Become the writer. Raises `LogBusyError`, `LogTamperedError`, `OSError`."""
        self._log = open_log(layout.state_dir, keys, Stream.SECURITY, boot="", capacity=SMALL_FILE_BYTES)
        self.last_sequence = self._log.taken.get(CUSTODIAN_SLOT, 0)

    def connect(self) -> AbstractContextManager[Connection]:
        """Return it for one record; it stays open."""
        return nullcontext(self)

    def send(self, sequence: int, payload: bytes, stream: Stream) -> None:
        """Store one record of the security stream. Raises `AuditUnavailableError`."""
        if stream is not Stream.SECURITY:
            raise ValueError("the custodian records in the security stream")
        group = (CUSTODIAN_SLOT, range(sequence, sequence + 1), [payload])
        self._log.append([group], is_safe=True, now_ns=time.time_ns(), reserved=True)
        self.last_sequence = sequence

    def close(self) -> None:
        """Let the log go. Raises `OSError`, `AuditUnavailableError`."""
        self._log.close()


class _Connection:
    """One conversation with the daemon. Raises `OSError`, `ProtocolError`."""

    def __init__(self, path: Path, badge: bytes) -> None:
        self._path = path
        self._hello = pack_hello(CUSTODIAN_SLOT, badge)
        self._decoder = ReplyDecoder()
        self._ready: list[Reply] = []
        self.last_sequence = 0

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(TIMEOUT_S)
            self._socket.connect(str(self._path))
            self._socket.sendall(self._hello)
            self.last_sequence = self._welcome()
        except BaseException:
            self._socket.close()
            raise
        return self

    def _welcome(self) -> int:
        welcome = self._next()
        if not isinstance(welcome, Welcome):
            raise ProtocolError("no welcome")
        return welcome.last_seq

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, sequence: int, payload: bytes, stream: Stream) -> None:
        number = STREAM_NUMBERS[stream] | RESERVED  # when the disk is full, what is done about it must be recorded
        self._socket.sendall(b"".join(pack_records(STRICT, sequence, [payload], bytes([number]))))
        while True:
            reply = self._next()
            if isinstance(reply, Refused):
                raise ProtocolError("it has no room for it, or cannot write")
            if isinstance(reply, Ack) and reply.seq >= sequence:
                self.last_sequence = sequence
                return

    def _next(self) -> Reply:
        while not self._ready:
            data = self._socket.recv(_READ_BYTES)
            if not data:
                raise ConnectionResetError("it closed the connection")
            self._ready = self._decoder.feed(data)
        return self._ready.pop(0)
