"""The directory of a running gateway: `state_dir/run`, its lock and its sockets.

One state directory belongs to one running gateway. The lock is the kernel's and dies with its
holder, so a crash never leaves a gateway that cannot start.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.exchange.errors import ConfigurationError, GatewayError
from gateway.exchange.inquiry import SOCKET_NAME as EVIDENCE_SOCKET_NAME

LOCK_NAME: Final = "gateway.pid"
COMMANDS_NAME: Final = "commands.sock"
AUDIT_SOCKET_NAME: Final = "audit.sock"
PAGES_SOCKET_NAMES: Final = ("pages.sock", "pages-2.sock")
"""Programs that follow each other in upgrades take turns: edges reach the pages of their own version."""
_SOCKET_NAMES: Final = (COMMANDS_NAME, AUDIT_SOCKET_NAME, EVIDENCE_SOCKET_NAME, *PAGES_SOCKET_NAMES)
_LOCK_ATTEMPTS: Final = 5
_LOCK_PAUSE_S: Final = 0.02
_PRIVATE: Final = 0o700
_LONGEST_SOCKET_PATH: Final = 107  # unix(7): sun_path, without the NUL
_CREDENTIALS: Final = struct.Struct("3i")  # unix(7): pid, uid, gid


class AlreadyRunningError(GatewayError):
    """Another gateway runs on this state directory."""


class RunDirectory:
    """The locked run directory of this gateway; `release` it last."""

    def __init__(self, state_dir: Path, *, lock: int = -1) -> None:
        """Create what is missing, private to us, and take the lock, or go on under the one of a predecessor.

        Raises:
            AlreadyRunningError: names the process that holds the directory.
            ConfigurationError: the directory cannot be made, is not ours, or its path is too long for a socket.

        """
        self.state_dir = state_dir
        self.path = state_dir / "run"
        self._is_ours = lock < 0
        longest = max(len(os.fsencode(self.path / name)) for name in _SOCKET_NAMES)
        if longest > _LONGEST_SOCKET_PATH:
            excess = longest - _LONGEST_SOCKET_PATH
            raise ConfigurationError(
                (f"state_dir: {state_dir}: is {excess} characters too long for the sockets in it",)
            )
        for directory in (state_dir, self.path):
            _make_private(directory)
        if lock >= 0:
            self._descriptor = lock
            return
        self._descriptor = os.open(self.path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if not _lock(self._descriptor):
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise AlreadyRunningError(
                f"a gateway already runs on {state_dir} (process {holder or 'unknown'}); "
                "stop it, or give this one another state_dir"
            )
        try:
            self.sign()
        except OSError as error:
            os.close(self._descriptor)
            reason = (error.strerror or "unknown error").lower()
            raise ConfigurationError((f"state_dir: {self.path / LOCK_NAME}: cannot be written: {reason}",)) from error
        for name in _SOCKET_NAMES:
            (self.path / name).unlink(missing_ok=True)  # left by a crash; the lock says nobody listens

    @property
    def lock(self) -> int:
        """Descriptor of the lock, for a successor: the kernel holds it until the last copy is closed."""
        return self._descriptor

    def sign(self) -> None:
        """Become the gateway of this directory, in the lock's file too."""
        self._is_ours = True
        _note(self._descriptor, b"%d\n" % os.getpid())

    def give_up(self) -> None:
        """Leave the directory to a successor: `release` removes nothing then."""
        self._is_ours = False

    def release(self) -> None:
        """Remove the sockets and let the next gateway in."""
        if self._is_ours:
            for name in _SOCKET_NAMES:
                (self.path / name).unlink(missing_ok=True)
            with suppress(OSError):
                _note(self._descriptor, b"\n")
        os.close(self._descriptor)


def running_process(state_dir: Path) -> int | None:
    """Tell the process id of the gateway that runs on `state_dir`; None when none does."""
    try:
        descriptor = os.open(state_dir / "run" / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 20, 0).strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)
    return None


def is_trusted_peer(connection: socket.socket) -> bool:
    """Tell whether the other end of a Unix socket is our own user or root (unix(7), SO_PEERCRED)."""
    _, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return uid in {0, os.geteuid()}


def _lock(descriptor: int) -> bool:
    """Take the lock; `running_process` of another program may hold it for an instant."""
    for _ in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)
        else:
            return True
    return False


def _note(descriptor: int, text: bytes) -> None:
    """Write over what the lock's file says, in the room that it has: a full disk keeps nobody from upgrading."""
    os.ftruncate(descriptor, os.pwrite(descriptor, text, 0))


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        raise ConfigurationError((f"state_dir: {directory}: cannot be made: {reason}",)) from error
    if status.st_uid not in {0, os.geteuid()}:
        raise ConfigurationError((f"state_dir: {directory}: belongs to user {status.st_uid}, not to {os.geteuid()}",))
    if stat.S_IMODE(status.st_mode) & 0o077:
        directory.chmod(_PRIVATE)  # an older or hand-made directory: sockets and state in it are ours alone
