"""The lock of a stream's log: it has one writer."""

from __future__ import annotations

import fcntl
import os

from gateway.exchange.stream import Stream
from gateway.ledger.errors import LogBusyError
from gateway.ledger.layout import Layout


def lock_log(layout: Layout, stream: Stream) -> int:
    """Return the descriptor that holds the lock until it is closed. Raises `LogBusyError`, `OSError`."""
    fd = os.open(layout.lock(stream), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        layout.give(fd)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        os.close(fd)
        raise LogBusyError(f"{layout.directory}: another process writes this audit log") from exc
    except OSError:
        os.close(fd)
        raise
    return fd
