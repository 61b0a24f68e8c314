"""What a route takes from people who upload: sizes, types, archives, active content."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Answer = Literal["refuse", "allow"]
MIB: Final = 1 << 20


class ArchivePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How far an archive is followed, and how much it may become."""

    depth: int = 3
    """Archives within archives; 1 = none inside the first."""
    ratio: int = 100
    """Bytes that come out for one that went in."""
    entries: int = 10_000
    """Members, in all archives of one file together."""
    unpacked: int = 256 * MIB
    """Bytes that come out of one file, in all depths together."""
    encrypted: Answer = "refuse"


class Antivirus(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asked about each file."""

    clamd: str
    """`unix:/run/clamav/clamd.ctl` or `tcp://127.0.0.1:3310`."""
    timeout_s: float = 30.0
    """For all files of one upload together."""
    on_failure: Answer = "refuse"


class QuarantinePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of files that are refused because of what they are."""

    keep_s: float = 30 * 86_400.0
    max_bytes: int = 1024 * MIB
    """Of all that is kept; 0 = nothing is."""


class UploadPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of one route."""

    max_size: int = 25 * MIB
    """Bytes of one file."""
    max_files: int = 20
    types: frozenset[str] | None = None
    """Names of `kinds.KINDS`; None = any that is not run."""
    archives: ArchivePolicy = ArchivePolicy()
    active_content: Answer = "refuse"
    antivirus: Antivirus | None = None
    quarantine: QuarantinePolicy = QuarantinePolicy()

    @property
    def max_body(self) -> int:
        """Bytes of a whole form: every file at its largest, the fields, and what frames them."""
        return self.max_size * self.max_files + FIELD_BYTES + 64 * 1024


FIELD_BYTES: Final = 1 * MIB
"""Of all fields that are no files, names and values."""
MAX_PARTS: Final = 1000
