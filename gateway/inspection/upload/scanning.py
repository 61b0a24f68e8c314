"""What an antivirus is to the verdict: something that is shown a file and answers with a name or with nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class ScanFailedError(Exception):
    """Nobody could be asked, or the answer was an error: the route says what that means. The text is for operators."""


class ScanIncompleteError(Exception):
    """The file was not looked at to its end: beyond the limits or the time of the antivirus, or it died of it. Always refused."""


class Scan(Protocol):
    """Looks at one file."""

    def __call__(self, pieces: Iterator[bytes], /) -> str:
        """Return what the file is infected with; empty = nothing is known of it.

        Raises:
            ScanFailedError: no answer.
            ScanIncompleteError: an answer about a part of it.

        """
        ...
