"""Lengths of time, sizes and rates as people write them: `15m`, `25MiB`, `60/m`.

A quantity always carries its unit, so that nobody has to guess; a size may also be a plain
number of bytes. Signs, exponents and blanks are refused.
"""

from __future__ import annotations

import re
from typing import Final

DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d|w|y)")
SIZE: Final = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)?")
RATE: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)/(s|m|h|d)")

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 365 * 86400.0}
_BYTES: Final = {
    "B": 1,
    "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}  # fmt: skip
_LARGEST: Final = 1 << 62


def duration(text: str) -> float:
    """Read a length of time: `250ms`, `2s`, `15m`, `8h`, `30d`, `2w`, `2y` (of 365 days). Returns seconds.

    Raises:
        ValueError: with a sentence.

    """
    found = DURATION.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not a length of time; write a number and a unit, such as 30s, 15m, 8h or 2y")
    return float(found[1]) * _SECONDS[found[2]]


def written_duration(seconds: float) -> str:
    """Write a length of time as `duration` reads it, in the largest of `d h m s` that needs no fraction."""
    unit = next((unit for unit in ("d", "h", "m") if seconds and seconds % _SECONDS[unit] == 0), "s")
    return f"{seconds / _SECONDS[unit]:g}{unit}"


def size(value: str | int) -> int:
    """Read a size: `64KiB`, `25MiB`, `1GiB`, `10MB` or a number of bytes. Returns bytes.

    Raises:
        ValueError: with a sentence.

    """
    found = SIZE.fullmatch(str(value))
    number = int(found[1]) * _BYTES[found[2] or "B"] if found else -1
    if not 0 <= number <= _LARGEST:
        raise ValueError(f"{value!r} is not a size; write a number and a unit, such as 64KiB, 25MiB or 1GiB")
    return number


def rate(text: str) -> float:
    """Read a rate: `50/s`, `10/m`, `60/h`, `1000/d`. Returns events per second.

    Raises:
        ValueError: with a sentence.

    """
    found = RATE.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is not a rate; write a number and a period, such as 50/s, 10/m or 60/h")
    return float(found[1]) / _SECONDS[found[2]]
