"""What became of an upload: what was in it, and what is wrong with it."""

from __future__ import annotations

from typing import NamedTuple

from gateway.inspection.upload.objection import Complaint


class JudgedFile(NamedTuple):
    """One file. `name` is the client's word and `field` too: for the quarantine and the operator, not for logs."""

    part: int
    """Number of its part, -1 = it is the body."""
    field: str
    name: str
    declared: str
    kind: str
    """A word of `kinds.KINDS`; empty where it was refused before that was known."""
    start: int
    size: int
    digest: str
    """SHA-256, hexadecimal."""


class Verdict(NamedTuple):
    """Judged files and complaints, in the order of the body."""

    files: tuple[JudgedFile, ...]
    complaints: tuple[Complaint, ...]
    unscanned: int = 0
    """Files that the route lets through although the antivirus could not be asked."""

    @property
    def is_refused(self) -> bool:
        """Nothing of the body may reach the portal."""
        return bool(self.complaints)
