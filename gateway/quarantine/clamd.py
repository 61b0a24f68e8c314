"""Ask ClamAV's daemon about a file: `INSTREAM` over a Unix socket or TCP (clamd(8)).

Blocking, for a thread. One connection for one file; nothing of the file is written by us. What the daemon says is
taken at its word only where it is one of its answers; everything else is no answer.
"""

from __future__ import annotations

import errno
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from gateway.inspection.upload.scanning import ScanFailedError, ScanIncompleteError

_LENGTH: Final = struct.Struct(">I")
_LONGEST_ANSWER: Final = 4096
_FOUND: Final = re.compile(rb"stream: ([\x21-\x7e]{1,200}?)(?:\([0-9a-f:]+\))? FOUND")
_LIMIT: Final = b"INSTREAM size limit exceeded"
_EXCEEDED: Final = b"Heuristics.Limits.Exceeded"
_ADDRESS: Final = re.compile(r"tcp://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):([1-9][0-9]{0,4})")
_LAST_PORT: Final = 65535
_LONGEST_PATH: Final = 107  # unix(7): sun_path, without the NUL


class Address(NamedTuple):
    """A path, or a host and a port."""

    path: str
    host: str
    port: int


def parse_address(text: str) -> Address:
    """Read `unix:/run/clamav/clamd.ctl` or `tcp://127.0.0.1:3310`. Raises ValueError with a sentence."""
    if text.startswith("unix:/") and "\0" not in text and len(text) - len("unix:") <= _LONGEST_PATH:
        return Address(text.removeprefix("unix:"), "", 0)
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found[2]) > _LAST_PORT:
        raise ValueError(f"{text!r}: write unix:/run/clamav/clamd.ctl or tcp://127.0.0.1:3310")
    return Address("", found[1].strip("[]"), int(found[2]))


class Clamd:
    """One daemon. Called with the pieces of a file it says what the file is infected with; empty = nothing is known."""

    __slots__ = ("_address", "_clock", "_timeout_s")

    def __init__(self, address: Address, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._address, self._timeout_s, self._clock = address, timeout_s, clock

    def __call__(self, pieces: Iterator[bytes], /) -> str:
        """Have one file scanned.

        Raises:
            ScanFailedError: it cannot be reached, or answers with an error.
            ScanIncompleteError: it did not look at the whole file, gave up over it, or was not done in time.

        """
        deadline = self._clock() + self._timeout_s
        with self._connected(deadline) as connection:
            has_begun = False
            try:
                self._send(connection, b"zINSTREAM\0", deadline)
                for piece in pieces:
                    self._send(connection, _LENGTH.pack(len(piece)) + piece, deadline)
                    has_begun = True
                self._send(connection, _LENGTH.pack(0), deadline)
                return _verdict(self._answer(connection, deadline))
            except TimeoutError:
                if has_begun:  # attack: who sends a file chooses how long it is looked at
                    raise ScanIncompleteError("the antivirus takes too long") from None
                raise ScanFailedError("the antivirus takes too long") from None
            except OSError as error:
                # It ends a stream that is too long, and says so; a file that kills it is not looked at either.
                if has_begun:
                    raise ScanIncompleteError(self._said_before_leaving(connection)) from error
                raise ScanFailedError(f"the antivirus broke off: {error.strerror}") from error

    def version(self) -> str:
        """Ask for its version and that of its signatures. Raises `ScanFailedError`."""
        deadline = self._clock() + self._timeout_s
        with self._connected(deadline) as connection:
            try:
                self._send(connection, b"zVERSION\0", deadline)
                return self._answer(connection, deadline).decode("ascii", "replace")
            except TimeoutError:
                raise ScanFailedError("the antivirus takes too long") from None
            except OSError as error:
                raise ScanFailedError(f"the antivirus broke off: {error.strerror}") from error

    def _connected(self, deadline: float) -> socket.socket:
        address = self._address
        try:
            if not address.path:
                return socket.create_connection((address.host, address.port), self._left(deadline))
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            try:
                connection.settimeout(self._left(deadline))
                connection.connect(address.path)
            except OSError:
                connection.close()
                raise
        except OSError as error:
            raise ScanFailedError(f"the antivirus cannot be reached: {error.strerror or error}") from error
        return connection

    def _left(self, deadline: float) -> float:
        left = deadline - self._clock()
        if left <= 0:
            raise TimeoutError
        return left

    def _send(self, connection: socket.socket, data: bytes, deadline: float) -> None:
        connection.settimeout(self._left(deadline))
        connection.sendall(data)

    def _answer(self, connection: socket.socket, deadline: float) -> bytes:
        """Read one answer. Raises `OSError` where it ends before, `ScanFailedError` where it does not end."""
        answer = b""
        while b"\0" not in answer:
            connection.settimeout(self._left(deadline))
            more = connection.recv(_LONGEST_ANSWER)
            answer += more
            if not more:
                raise ConnectionResetError(errno.ECONNRESET, "no answer")
            if len(answer) > _LONGEST_ANSWER:
                raise ScanFailedError("the antivirus gave no answer")
        return answer.partition(b"\0")[0]

    def _said_before_leaving(self, connection: socket.socket) -> str:
        try:
            connection.settimeout(1.0)
            said = connection.recv(_LONGEST_ANSWER)
        except OSError:
            said = b""
        return "the file is longer than StreamMaxLength" if _LIMIT in said else "the antivirus broke off"


def _verdict(answer: bytes) -> str:
    if answer == b"stream: OK":
        return ""
    if _LIMIT in answer:
        raise ScanIncompleteError("the file is longer than StreamMaxLength")
    found = _FOUND.fullmatch(answer)
    if found is None:
        raise ScanFailedError("the antivirus answered with an error")
    if found[1].startswith(_EXCEEDED):
        raise ScanIncompleteError("the file is beyond the limits of the antivirus")
    return found[1].decode("ascii")
