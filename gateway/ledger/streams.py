"""The logs of a node, one for each stream: opened together, by one process.

Decides nothing about a log; it only makes sure that nobody has half of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.disk import Disk, LocalDisk
from gateway.ledger.keys import AuditKeys
from gateway.ledger.log import Log, open_log
from gateway.ledger.log_file import FILE_BYTES

Logs = Mapping[Stream, Log]


def open_logs(
    state_dir: Path,
    keys: AuditKeys,
    *,
    boot: str,
    disk: Disk | None = None,
    random: Callable[[int], bytes] = os.urandom,
    capacity: int = FILE_BYTES,
) -> dict[Stream, Log]:
    """Become the writer of every stream under `state_dir`.

    Raises `LogBusyError`, `LogTamperedError`, `OSError`; then none is held.
    """
    logs: dict[Stream, Log] = {}
    disk = disk or LocalDisk()
    try:
        for stream in STREAMS:
            logs[stream] = open_log(state_dir, keys, stream, boot=boot, disk=disk, random=random, capacity=capacity)
    except BaseException:
        with suppress(AuditUnavailableError, OSError):  # nothing was written yet
            close_logs(logs)
        raise
    return logs


def close_logs(logs: Logs) -> None:
    """Close all of them, whatever one says. Raises the first `AuditUnavailableError` or `OSError` afterwards."""
    fault: Exception | None = None
    for log in logs.values():
        try:
            log.close()
        except (AuditUnavailableError, OSError) as exc:
            fault = fault or exc
    if fault is not None:
        raise fault


def last_sequence(logs: Logs, slot: int) -> int:
    """Return the highest sequence of a slot that any stream has taken in, 0 when none has."""
    return max(log.taken.get(slot, 0) for log in logs.values())
