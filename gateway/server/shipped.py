"""Where the files of `config/` are that ship with the gateway: in a checkout beside the package, in a wheel inside it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).resolve().parent.parent
_PLACES: Final = (_PACKAGE / "config", _PACKAGE.parent / "config")


def shipped(name: str) -> Path:
    """Return the path of a shipped file or directory, such as `inspection/rules`."""
    return next((place / name for place in _PLACES if (place / name).exists()), _PLACES[0] / name)
