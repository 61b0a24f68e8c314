"""What the engine says of a request: how hostile it is, by which rules, and whether that is too much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.inspection.finding import Finding

MAX_FINDINGS: Final = 16


@dataclass(frozen=True, slots=True)
class Verdict:
    """The engine's word about a head, a body, or both."""

    score: int
    """The highest of all values: what one value is suspected of makes another no worse."""
    findings: tuple[Finding, ...] = ()
    """The gravest first, at most `MAX_FINDINGS`."""
    is_blocked: bool = False
    """It must not go upstream."""
    is_detected: bool = False
    """It reached the threshold, or a patch applied, where that is only recorded."""
    is_truncated: bool = False
    """There was more to find than is told."""

    def merge(self, other: Verdict) -> Verdict:
        """Join the verdicts about two parts of one request."""
        if not self.findings:
            return other
        if not other.findings:
            return self
        findings = sorted((*self.findings, *other.findings), key=lambda finding: -finding.score)
        return Verdict(
            max(self.score, other.score),
            tuple(findings[:MAX_FINDINGS]),
            self.is_blocked or other.is_blocked,
            self.is_detected or other.is_detected,
            self.is_truncated or other.is_truncated or len(findings) > MAX_FINDINGS,
        )


CLEAN: Final = Verdict(0)
