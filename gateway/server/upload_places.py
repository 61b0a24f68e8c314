"""Where uploads are on disk: the spool until their verdict, and the quarantine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def spool_directory(state_dir: Path) -> Path:
    """Where uploads wait that are too large for memory."""
    return state_dir / "spool"


def quarantine_directory(state_dir: Path) -> Path:
    """Where refused files are kept."""
    return state_dir / "quarantine"


def make_upload_places(state_dir: Path) -> list[Path]:
    """Make both directories, and return those that are there: a process is kept to its own before it knows what a reload will say."""
    places = [spool_directory(state_dir), quarantine_directory(state_dir)]
    for place in places:
        with suppress(OSError):  # of a full disk; whoever uploads is told
            place.mkdir(mode=0o700, exist_ok=True)
    return [place for place in places if place.is_dir()]
