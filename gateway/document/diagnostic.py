"""One finding about a file a person wrote: where it is and what to do about it.

Decides how a finding reads. It does not find anything itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal

import msgspec

from gateway.exchange.errors import ConfigurationError


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A place in a file and a sentence. Lines and columns count from 1, columns in characters."""

    path: str
    line: int
    column: int
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        """Write `policies/portal.yaml:12:5: message`, which editors and terminals can follow."""
        kind = "" if self.severity == "error" else f"{self.severity}: "
        return f"{self.path}:{self.line}:{self.column}: {kind}{self.message}"


class DocumentError(ConfigurationError):
    """A file that cannot be read as one strict YAML document. `findings` names every place."""

    def __init__(self, findings: tuple[Diagnostic, ...]) -> None:
        super().__init__(tuple(map(str, findings)))
        self.findings = findings


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """Name the candidate that `word` was probably meant to be, or None when nothing is close."""
    by_folded: dict[str, str] = {}
    for candidate in candidates:
        by_folded.setdefault(candidate.casefold(), candidate)
    close = get_close_matches(word.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """End a sentence about an unknown word: `; did you mean 'billing'?`, or nothing."""
    similar = nearest(word, candidates)
    return f"; did you mean {similar!r}?" if similar else ""
