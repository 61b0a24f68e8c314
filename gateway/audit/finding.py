"""What verification can find in a log, and where it found it."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What can be wrong, or worth saying."""

    BITFLIP = "BITFLIP"
    MISSING = "MISSING"
    MISSING_ORIGIN = "MISSING_ORIGIN"
    REORDERED = "REORDERED"
    DUPLICATE = "DUPLICATE"
    INSERTED = "INSERTED"
    TRUNCATED = "TRUNCATED"
    ROLLBACK = "ROLLBACK"
    FORK = "FORK"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    UNSIGNED_TAIL = "UNSIGNED_TAIL"
    WRONG_KEY_RANGE = "WRONG_KEY_RANGE"
    PRUNED_HELD = "PRUNED_HELD"
    PRUNED_OK = "PRUNED_OK"
    HELD = "HELD"
    GAP_DECLARED = "GAP_DECLARED"
    OPEN_INTENT = "OPEN_INTENT"
    CLOCK_JUMP = "CLOCK_JUMP"
    STALE_HEARTBEAT = "STALE_HEARTBEAT"
    RECOVERED = "RECOVERED"
    INTERRUPTED = "INTERRUPTED"
    UNDECRYPTABLE = "UNDECRYPTABLE"


DECLARED = frozenset(
    {
        Kind.PRUNED_OK,
        Kind.HELD,
        Kind.GAP_DECLARED,
        Kind.OPEN_INTENT,
        Kind.CLOCK_JUMP,
        Kind.STALE_HEARTBEAT,
        Kind.RECOVERED,
        Kind.INTERRUPTED,
        Kind.UNDECRYPTABLE,
    }
)
"""Said, because an auditor wants to know; they do not contradict that the log is intact."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing found, and where."""

    kind: Kind
    message: str
    file: str = ""
    offset: int = -1
    """Byte in the file; -1 = the file as a whole."""
    first_index: int = -1
    last_index: int = -1
    """Range of entries; -1 = none or unknown."""

    @property
    def is_failure(self) -> bool:
        """True when the log is not what was written."""
        return self.kind not in DECLARED

    def __str__(self) -> str:
        place = self.file if self.offset < 0 else f"{self.file}@{self.offset}"
        entries = ""
        if self.first_index >= 0:
            last = self.last_index
            entries = f"({self.first_index})" if last in (-1, self.first_index) else f"({self.first_index}-{last})"
        return f"{self.kind.value}{entries} {place}{': ' if place else ''}{self.message}"
