"""What came of the last reload, left by the supervisor where the pages can read it: a file in the run directory, 0600.

A refused reload reaches no other process, and those who administer the gateway should see why without its log.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog

from gateway.exchange.administration import ReloadNote

_NAME: Final = "reload.json"
_MOST_PROBLEMS: Final = 50
_log = structlog.get_logger()


def write_reload_note(run_dir: Path, problems: tuple[str, ...], *, now: float) -> None:
    """Leave the note in place of the one before. One that cannot be written changes nothing else."""
    path, fresh = run_dir / _NAME, run_dir / f".{_NAME}"
    note = ReloadNote(at=now, problems=problems[:_MOST_PROBLEMS])
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(note))
        fresh.replace(path)
    except OSError as error:
        _log.warning("reload.not_noted", error=error.strerror)


def drop_reload_note(run_dir: Path) -> None:
    """Forget what an earlier gateway left."""
    with suppress(OSError):
        (run_dir / _NAME).unlink(missing_ok=True)


def read_reload_note(run_dir: Path) -> ReloadNote | None:
    """Read the note; None where there is none that can be read."""
    try:
        return msgspec.json.decode((run_dir / _NAME).read_bytes(), type=ReloadNote)
    except (OSError, msgspec.MsgspecError):
        return None
