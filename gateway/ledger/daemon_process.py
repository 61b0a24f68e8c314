"""Runs the audit daemon as the main thread of a process: signals, the logs it opens, and its end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path

from gateway.audit.pressure import Watermarks
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import Stream
from gateway.ledger.ballast import BALLAST_BYTES
from gateway.ledger.daemon import NO_MARKS, SEGMENT_AGE_S, Control, Daemon
from gateway.ledger.disk import Disk, LocalDisk
from gateway.ledger.errors import LogBusyError
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.log_file import FILE_BYTES
from gateway.ledger.streams import Logs, open_logs

LOCK_POLL_S = 0.005


def serve(
    *,
    state_dir: Path,
    keys: AuditKeys,
    node: str,
    version: str,
    boot_id: str,
    control: Control | None = None,
    disk: Disk | None = None,
    segment_age_s: float = SEGMENT_AGE_S,
    marks: Watermarks = NO_MARKS,
    may_gap: Collection[Stream] = (),
    capacity: int = FILE_BYTES,
    ballast_bytes: int = BALLAST_BYTES,
    on_ready: Callable[[], None] | None = None,
    wait_s: float = 0.0,
) -> None:
    """Run the daemon in this process's main thread until SIGTERM, or until `control` says stop.

    Waits `wait_s` for another writer of the logs to end. Ctrl-C reaches the whole terminal: the supervisor decides when this process may end, so SIGINT
    and SIGHUP are ignored. Raises `LogBusyError`, `LogTamperedError`, `LogUnavailableError` or `OSError` when it
    cannot begin.
    """
    layout = Layout(state_dir)
    logs = _wait_for(
        partial(open_logs, state_dir, keys, boot=boot_id, disk=disk or LocalDisk(), capacity=capacity), wait_s=wait_s
    )
    daemon = Daemon(
        logs,
        layout,
        node=node,
        version=version,
        boot_id=boot_id,
        badge=keys.badge,
        receipt_key=keys.receipt_key,
        control=control,
        segment_age_s=segment_age_s,
        marks=marks,
        may_gap=may_gap,
        ballast_bytes=ballast_bytes,
    )
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: daemon.stop())
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    daemon.wake_on(wake_read)
    daemon.start()
    if on_ready is not None:
        on_ready()
    while not daemon.is_done:
        daemon.turn()
    with suppress(AuditUnavailableError, OSError):  # what could not be stored was refused to its producer
        daemon.close()


def _wait_for(attempt: Callable[[], Logs], *, wait_s: float) -> Logs:
    until = time.monotonic() + wait_s
    while True:
        try:
            return attempt()
        except LogBusyError:
            if time.monotonic() >= until:
                raise
            time.sleep(LOCK_POLL_S)
