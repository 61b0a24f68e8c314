"""What the custodian writes under `state_dir`, so that the kernel can keep it from everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Final

DIRECTORIES: Final = ("audit", "tiles", "index", "custody", "cursors", "cosigned", "witness", "run")


def writable_places(state_dir: Path) -> list[Path]:
    """Make what is not there yet, and return the places. Raises `OSError`."""
    places = [state_dir / name for name in DIRECTORIES]
    for place in places:
        place.mkdir(mode=0o700, exist_ok=True)
    return places
