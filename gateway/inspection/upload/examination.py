"""What one file may cost to look into, and how deep one is in it.

The budget is that of the outermost file: a thousand archives within it share it. Nothing here counts time.
"""

from __future__ import annotations

from typing import Final

from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.policy import UploadPolicy
from gateway.inspection.upload.source import Source

DEEP_BYTES: Final = 64 << 20
"""The most of one file that is in memory at once; what has to be read whole and is larger is not looked into, and refused."""
RATIO_FLOOR_BYTES: Final = 1 << 20
"""Less than this may come out of nothing: blank pages and bitmaps compress to almost nothing."""


class Examination:
    """The budget of one file and everything in it."""

    __slots__ = ("_entries", "_unpacked", "policy")

    def __init__(self, policy: UploadPolicy) -> None:
        self.policy = policy
        self._entries = policy.archives.entries
        self._unpacked = policy.archives.unpacked

    @property
    def refuses_active(self) -> bool:
        """Scripts and macros are refused."""
        return self.policy.active_content == "refuse"

    def active(self) -> None:
        """There is active content. Raises `UploadRefusedError` where it is refused."""
        if self.refuses_active:
            raise UploadRefusedError(Objection.ACTIVE_CONTENT)

    def encrypted(self) -> None:
        """Something cannot be looked into. Raises `UploadRefusedError` where it is refused."""
        if self.policy.archives.encrypted == "refuse":
            raise UploadRefusedError(Objection.ENCRYPTED)

    def count(self, entries: int) -> None:
        """Take members of an archive. Raises `UploadRefusedError`."""
        self._entries -= entries
        if self._entries < 0:
            raise UploadRefusedError(Objection.ARCHIVE_ENTRIES)

    @property
    def left(self) -> int:
        """Bytes that may still come out of archives."""
        return self._unpacked

    def unpack(self, length: int) -> None:
        """Take bytes that came out. Raises `UploadRefusedError`."""
        self._unpacked -= length
        if self._unpacked < 0:
            raise UploadRefusedError(Objection.ARCHIVE_SIZE)

    def check_ratio(self, packed: int, unpacked: int) -> None:
        """Compare what went in with what came out. Raises `UploadRefusedError`."""
        if unpacked > RATIO_FLOOR_BYTES and unpacked > self.policy.archives.ratio * max(packed, 1):
            raise UploadRefusedError(Objection.ARCHIVE_RATIO)

    def descend(self, depth: int) -> None:
        """Enter an archive at `depth`, 1 = not within another. Raises `UploadRefusedError`."""
        if depth > self.policy.archives.depth:
            raise UploadRefusedError(Objection.ARCHIVE_DEPTH)


def broken() -> UploadRefusedError:
    """Make the refusal of what does not have the structure of its type."""
    return UploadRefusedError(Objection.CONTENT_BROKEN)


def whole(source: Source) -> bytes:
    """Return all bytes of what must be read whole. Raises `UploadRefusedError`."""
    if source.size > DEEP_BYTES:
        raise UploadRefusedError(Objection.TOO_COMPLEX)
    return source.read(0, source.size)
