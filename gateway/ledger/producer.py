"""Writes a few records and waits until they are safe: for the command line and the supervisor.

Through the daemon where one runs; where none runs, as the log's writer for that moment. Raises
`AuditUnavailableError` when the records are not safe: what they are about must then not happen.
"""

from __future__ import annotations

import os
import pwd
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway import __version__
from gateway.audit import record
from gateway.audit.canonical import encode
from gateway.audit.protocol import (
    CLI_SLOT,
    DAEMON_SLOT,
    STRICT,
    Ack,
    Farewell,
    ProtocolError,
    Refusal,
    Refused,
    Reply,
    ReplyDecoder,
    Welcome,
    first_sequence,
    pack_hello,
    pack_records,
)
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import STREAM_NUMBERS, Stream
from gateway.ledger.chunk import Group
from gateway.ledger.errors import LogBusyError
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.log import open_log
from gateway.ledger.log_file import SMALL_FILE_BYTES

Build = Callable[[record.Stamp], Mapping[str, Any]]
"""A builder of `gateway.audit.record` with everything but its stamp: `partial(administration, operation=…)`."""

TIMEOUT_S = 10.0
_RETRY_S = 0.05


def append(
    state_dir: Path,
    keys_path: Path,
    builds: Sequence[Build],
    *,
    slot: int = CLI_SLOT,
    node: str = "",
    boot_uid: str = "",
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Write records of what people do to the gateway, and return when they are on stable storage.

    Raises `AuditUnavailableError`, `KeyringError`.
    """
    deadline = time.monotonic() + timeout_s
    stamps = _Stamps(node or socket.gethostname(), boot_uid)
    keys = AuditKeys.load(keys_path)  # who cannot read them has no place in the log
    path = Layout(state_dir).socket
    while True:
        try:
            return _through_daemon(path, builds, slot, keys.badge(slot), stamps, deadline)
        except (FileNotFoundError, ConnectionRefusedError):
            pass  # nobody listens
        except _ReplacedError as exc:
            if time.monotonic() >= deadline:
                raise AuditUnavailableError(f"{path}: the audit daemon does not answer") from exc
            time.sleep(_RETRY_S)
            continue
        except (OSError, ProtocolError) as exc:
            raise AuditUnavailableError(f"{path}: the audit daemon does not answer: {exc}") from exc
        try:
            return _directly(state_dir, keys, builds, slot, stamps)
        except LogBusyError:  # a daemon is starting or stopping, or another command writes
            if time.monotonic() >= deadline:
                raise
            time.sleep(_RETRY_S)
        except OSError as exc:
            raise AuditUnavailableError(f"{state_dir}: the audit log cannot be written: {exc}") from exc


def append_with_badge(
    state_dir: str,
    badge: bytes,
    builds: Sequence[Build],
    *,
    slot: int,
    node: str,
    boot_uid: str,
    timeout_s: float = TIMEOUT_S,
) -> None:
    """Write records as a process that was given a badge and no keys, through the daemon alone; return when they are safe.

    Raises `AuditUnavailableError`.
    """
    deadline = time.monotonic() + timeout_s
    path = Layout(Path(state_dir)).socket
    stamps = _Stamps(node, boot_uid)
    try:
        _through_daemon(path, builds, slot, badge, stamps, deadline)
    except _ReplacedError as exc:
        raise AuditUnavailableError(f"{path}: the audit daemon is being replaced") from exc
    except (OSError, ProtocolError) as exc:
        raise AuditUnavailableError(f"{path}: the audit daemon does not answer: {exc}") from exc


def operator() -> dict[str, Any]:
    """Return the actor of a record made from the command line: the person behind sudo where there is one."""
    uid = os.geteuid()
    if uid == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        uid = int(os.environ["SUDO_UID"])
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return record.system_actor(name, str(uid))


class _ReplacedError(Exception):
    """The daemon made room for its successor and did not take the records."""


class _Stamps:
    def __init__(self, node: str, boot_uid: str) -> None:
        self._node = node
        self._boot_uid = boot_uid or record.uuid7(time.time_ns() // 1_000_000, os.urandom(10))

    def encode(self, builds: Sequence[Build], first: int) -> list[bytes]:
        return [encode(build(self._next(first + i))) for i, build in enumerate(builds)]

    def _next(self, sequence: int) -> record.Stamp:
        time_ms = time.time_ns() // 1_000_000
        return record.Stamp(
            uid=record.uuid7(time_ms, os.urandom(10)),
            sequence=sequence,
            time_ms=time_ms,
            mono_ns=time.monotonic_ns(),
            boot_uid=self._boot_uid,
            node=self._node,
            version=__version__,
        )


def _through_daemon(  # noqa: PLR0917 - what a record needs
    path: Path, builds: Sequence[Build], slot: int, badge: bytes, stamps: _Stamps, deadline: float
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(max(0.1, deadline - time.monotonic()))
        connection.connect(str(path))
        connection.sendall(pack_hello(slot, badge))
        replies = _Replies(connection)
        welcome = replies.next()
        if not isinstance(welcome, Welcome):
            raise ProtocolError("no welcome")
        first = first_sequence(time.time(), welcome.last_seq)
        streams = bytes([STREAM_NUMBERS[Stream.SECURITY]]) * len(builds)
        connection.sendall(b"".join(pack_records(STRICT, first, stamps.encode(builds, first), streams)))
        last = first + len(builds) - 1
        while True:
            reply = replies.next()
            if isinstance(reply, Refused):
                reason = "the disk is full" if reply.code == Refusal.DISK_FULL else "the log cannot be written"
                raise AuditUnavailableError(f"the audit daemon refused the record: {reason}")
            if isinstance(reply, Ack) and reply.seq >= last:
                return


class _Replies:
    """Replies in order; after FAREWELL the end of the connection is no fault, and what was not acknowledged was not taken."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._is_leaving = False
        self._decoder = ReplyDecoder()
        self._ready: list[Reply] = []

    def next(self) -> Reply:
        while not self._ready:
            data = self._connection.recv(4096)
            if not data:
                raise _ReplacedError if self._is_leaving else ConnectionResetError("it closed the connection")
            self._ready = self._decoder.feed(data)
        reply = self._ready.pop(0)
        self._is_leaving = self._is_leaving or isinstance(reply, Farewell)
        return reply


def _directly(state_dir: Path, keys: AuditKeys, builds: Sequence[Build], slot: int, stamps: _Stamps) -> None:
    log = open_log(state_dir, keys, Stream.SECURITY, boot="", capacity=SMALL_FILE_BYTES)
    try:
        now_ns = time.time_ns()
        groups: list[Group] = []
        if log.recovery.discarded_bytes or log.recovery.missing_files:
            first = first_sequence(now_ns / 1e9, log.taken.get(DAEMON_SLOT, 0))
            groups.append((DAEMON_SLOT, range(first, first + 1), stamps.encode([log.recovery.event], first)))
        first = first_sequence(now_ns / 1e9, log.taken.get(slot, 0))
        groups.append((slot, range(first, first + len(builds)), stamps.encode(builds, first)))
        log.append(groups, is_safe=True, now_ns=now_ns, reserved=True)
    finally:
        log.close()
