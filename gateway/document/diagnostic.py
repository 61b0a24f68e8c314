"""One finding about a file a person wrote: where it is, what it is called and what to do about it.

Decides how a finding reads. It does not find anything itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final, Literal
from unicodedata import east_asian_width

import msgspec

from gateway.exchange.errors import ConfigurationError

UNNAMED: Final = "configuration"
"""The name of a finding of which docs/diagnostics.md says no more than its sentence does."""
_WIDEST_EXCERPT: Final = 120


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A place in a file and a sentence. Lines and columns count from 1, columns in characters."""

    path: str
    line: int
    column: int
    message: str
    severity: Literal["error", "warning"] = "error"
    name: str = UNNAMED
    """`unknown-role`: what docs/diagnostics.md explains, and programs can tell apart."""
    excerpt: str = ""
    """The line of the file, where it may be shown: never one of gateway.yaml, which a secret may stand in by mistake."""

    def __str__(self) -> str:
        """Write `policies/portal.yaml:12:5: message [name]`, which editors and terminals can follow."""
        kind = "" if self.severity == "error" else f"{self.severity}: "
        name = "" if self.name == UNNAMED else f" [{self.name}]"
        return f"{self.path}:{self.line}:{self.column}: {kind}{self.message}{name}"

    def drawn(self) -> str:
        """Write the finding and, below it, the line it is about with a mark under the column."""
        if not self.excerpt:
            return str(self)
        first = max(0, self.column - 1 - _WIDEST_EXCERPT // 2)
        shown = "".join(letter if letter.isprintable() else " " for letter in self.excerpt[first:][:_WIDEST_EXCERPT])
        before = shown[: self.column - 1 - first]
        blank = " " * sum(2 if east_asian_width(letter) in "WF" else 1 for letter in before)
        number = str(self.line)
        return f"{self}\n  {number} | {shown.rstrip()}\n  {' ' * len(number)} | {blank}^"


class DocumentError(ConfigurationError):
    """A file that cannot be read as one strict YAML document. `findings` names every place."""

    def __init__(self, findings: tuple[Diagnostic, ...]) -> None:
        super().__init__(tuple(map(str, findings)))
        self.findings = findings


def illustrated(findings: Iterable[Diagnostic], files: Mapping[str, str]) -> list[Diagnostic]:
    """Add to each finding the line it is about, from `files` (path of a finding -> text)."""
    findings = tuple(findings)
    lines = {path: files[path].split("\n") for path in {finding.path for finding in findings} if path in files}
    return [
        msgspec.structs.replace(finding, excerpt=lines[finding.path][finding.line - 1])
        if finding.path in lines and finding.line <= len(lines[finding.path])
        else finding
        for finding in findings
    ]


def as_json(finding: Diagnostic) -> dict[str, str | int]:
    """Write a finding for programs: its name, its severity, where it stands and what it says."""
    return {
        "name": finding.name,
        "severity": finding.severity,
        "path": finding.path,
        "line": finding.line,
        "column": finding.column,
        "message": finding.message,
    }


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
    return f"; did you mean {str(similar)!r}?" if similar else ""  # a member of an enumeration is written as its word
