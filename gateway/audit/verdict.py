"""What is proven about a log, by whom, and the sentence that says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec

from gateway.audit.finding import Finding
from gateway.audit.tally import Hold, Prune
from gateway.exchange.stream import Stream

INTACT = 0
TAMPERED = 1
INCOMPLETE = 3
POLICY_NOT_MET = 4
_WORST_FIRST = (TAMPERED, POLICY_NOT_MET, INCOMPLETE)


class Vouched(msgspec.Struct, frozen=True, order=True):
    """A tree head that was kept apart from the log and that the log agrees with."""

    size: int
    name: str
    """Where it was kept."""
    witnesses: tuple[str, ...] = ()
    """Who cosigned it, of those that the trust policy names."""
    time_s: int = 0
    """When the last of them did, unix seconds; 0 = nobody."""
    note: bytes = b""
    """The tree head itself: two of them can have one name."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is proven of one log, and by what."""

    findings: tuple[Finding, ...]
    origin: str
    vkey: str
    """The verifier key that the signatures were checked with; empty when there was none."""
    first: int = 0
    """Index of the first entry that is there; what came before was pruned, or was not asked about."""
    size: int
    """Entries in the log, as far as it could be followed."""
    root: bytes
    """Root of the tree of `size` entries; empty when it could not be computed."""
    proven: int
    """Entries `first` to `proven - 1` are exactly what the log's key signed."""
    files: int
    segments: int = 0
    """How many of the files are sealed."""
    first_ns: int
    last_ns: int
    has_contents: bool
    """The records were decrypted and hashed again, not only counted."""
    vouched: tuple[Vouched, ...] = ()
    """Tree heads kept elsewhere that the log agrees with, smallest first."""
    doubts: tuple[str, ...] = ()
    """What else keeps it from being proven, in words."""
    lacks: str = ""
    """What the trust policy asks for and this log does not have; empty when it is met, or was not given."""
    prunes: tuple[Prune, ...] = ()
    """What the log says was removed, of any stream."""
    holds: tuple[Hold, ...] = ()
    named: str = ""
    """The stream that its files are called after: all that is known of a log of which no head can be read."""

    @property
    def stream(self) -> str:
        """Return the stream that the origin names, or else its files; empty when none does."""
        name = self.origin.rpartition("/")[2]
        return name if name in set(Stream) else self.named

    @property
    def failures(self) -> list[Finding]:
        """Findings that contradict an intact log."""
        return [finding for finding in self.findings if finding.is_failure]

    @property
    def tail(self) -> str:
        """Return the furthest tree head that fits, in words; empty when nothing proves where the log ends."""
        return f"{self.vouched[-1].name} at {self.vouched[-1].size} entries" if self.vouched else ""

    @property
    def exit_code(self) -> int:
        """0 intact, 1 a finding, 3 nothing wrong but not everything provable, 4 intact but not vouched for as asked."""
        if self.failures:
            return TAMPERED
        if self.lacks:
            return POLICY_NOT_MET
        return INTACT if self.tail and self.has_contents and not self.doubts else INCOMPLETE

    def sentence(self) -> str:
        """Return what is proven, and by whom."""
        proven = _span(self.first, self.proven)
        if self.exit_code == TAMPERED:
            count = len(self.failures)
            return (
                f"{self.origin or f'the log {self.stream}'.rstrip()}: NOT INTACT: {count} finding{'s' * (count > 1)}; "
                f"{proven} before the first of them proven"
            )
        if not self.files:
            return f"{self.origin or 'there'}: there is no log yet, and nothing says that there should be one: nothing is proven"
        taken = f", taken in from {moment(self.first_ns)} to {moment(self.last_ns)}" if self.first_ns else ""
        lacking = self._lacking()
        if not lacking:
            return f"{self.origin}: intact: {proven} are what the log's key signed{taken}; {self.by_whom()}"
        if not self.has_contents:
            return (
                f"{self.origin}: nothing wrong in {_span(self.first, self.size)}{taken}; {self.by_whom()}; but: "
                + "; ".join(lacking)
            )
        if self.proven <= self.first < self.size:
            proven = f"none of {_span(self.first, self.size)} is proven"
        return f"{self.origin}: nothing wrong: {proven}{taken}; {self.by_whom()}; but: " + "; ".join(lacking)

    def _lacking(self) -> list[str]:
        lacking = []
        if self.lacks:
            lacking.append(f"the trust policy is not met: {self.lacks}")
        if not self.has_contents:
            lacking.append("the records were not decrypted and hashed (give -c gateway.yaml, without --structural)")
        if not self.tail:
            lacking.append(
                "nothing says how long the log should be, so its end may have been cut off (give -c or --trusted-checkpoint)"
            )
        return [*lacking, *self.doubts]

    def by_whom(self) -> str:
        """Return which range who stands for: witnesses, tree heads kept elsewhere, the node alone."""
        reach = max(self.proven, self.size if not self.has_contents else 0)
        parts: list[str] = []
        start = self.first
        for vouched in _strongest(self.vouched):
            size = min(vouched.size, reach)
            if size <= start:
                continue
            parts.append(f"{_span(start, size)} {'proven' if self.has_contents else 'covered'} by {_who(vouched)}")
            start = size
        if start < reach:
            parts.append(f"{_span(start, reach)} signed by the node only")
        if not parts and self.vouched:
            parts.append(f"its length proven by {_who(self.vouched[-1])}")
        return "; ".join(parts) or "nobody vouches for its length"


def exit_code_of(verdicts: Iterable[Verdict]) -> int:
    """Return the worst of several verdicts; nothing at all is incomplete."""
    codes = {verdict.exit_code for verdict in verdicts}
    for code in _WORST_FIRST:
        if code in codes:
            return code
    return INTACT if codes else INCOMPLETE


def moment(time_ns: int) -> str:
    """Write a time, unix nanoseconds, as people read it; empty for none."""
    if not time_ns:
        return ""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _strongest(vouched: Sequence[Vouched]) -> list[Vouched]:
    """Return the furthest tree head that witnesses cosigned, and the furthest of all where that goes further."""
    witnessed = [one for one in vouched if one.witnesses]
    found = witnessed[-1:]
    if vouched and (not found or vouched[-1].size > found[0].size):
        found.append(vouched[-1])
    return found


def _who(vouched: Vouched) -> str:
    if vouched.witnesses:
        return f"{', '.join(vouched.witnesses)} at {moment(vouched.time_s * 1_000_000_000)}"
    return f"the {vouched.name} of {vouched.size} entries (signed by the node, no witness)"


def _span(first: int, stop: int) -> str:
    if stop <= first:
        return "no entry"
    return f"entry {first}" if stop == first + 1 else f"entries {first} to {stop - 1}"
