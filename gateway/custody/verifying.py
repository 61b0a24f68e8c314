"""Verifies the log where it is, every so often: a change that nobody looks for is found when it is too late.

What is judged, and by what, is `ledger.verification`'s. This duty takes at most half of a processor, stops nothing, and
says what it found: in the log, as metrics and as health. It is the machine judging itself: somebody who has taken it over can keep
it from saying anything, which is why `gateway audit verify` on another machine, with a checkpoint of its own, stays worth more.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Final

import msgspec
import structlog

from gateway.audit import record
from gateway.audit.checkpoint import CheckpointError, parse_checkpoint, split_note
from gateway.audit.finding import Finding
from gateway.audit.verdict import INTACT
from gateway.custody.station import Station
from gateway.custody.threads import in_thread
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.metrics import Registry
from gateway.ledger.layout import Layout
from gateway.ledger.reader import UnreadableLogError
from gateway.ledger.spare import replace_file
from gateway.ledger.verification import OWN_CHECKPOINT, Question, Report, published, verify_own

VERIFIED_NAME: Final = "verified.json"
"""Below `state_dir/custody`: when the log was verified last, so that a restart neither repeats nor delays it."""
UNREADABLE: Final = 2
_FIRST_S: Final = 120.0
"""After a start: whatever else the custodian has to catch up with comes first."""
_LOOK_S: Final = 60.0
_LONGEST_REST_S: Final = 5.0
_MOST_TOLD: Final = 20
_LONGEST_FINDING: Final = 300
_log = structlog.get_logger("gateway.audit")


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the last verification. A format on disk."""

    at: float = 0.0
    """Unix seconds; 0 = there was none."""
    last_ok: float = 0.0
    exit_code: int = INTACT
    """As `gateway audit verify` exits."""
    findings: int = 0
    first: str = ""
    """The first finding, or why nothing could be judged."""
    heads: tuple[str, ...] = ()
    """Signed tree heads up to which the log was intact: it has to have them the next time too."""

    @property
    def fault(self) -> str:
        """Say for whoever asks how the gateway is what is wrong; empty where nothing is known to be."""
        match self.exit_code:
            case 1:
                many = "1 finding" if self.findings == 1 else f"{self.findings} findings, the first"
                return f"the audit log is not what was written: {many}: {self.first}; run gateway audit verify"
            case 2:
                return f"the audit log could not be verified: {self.first}"
            case _:
                return ""


class VerifyMetrics:
    """Called as `gateway audit verify --metrics` calls them, and declared once a process."""

    def __init__(self, registry: Registry) -> None:
        """Declare the metrics."""
        self.at = registry.gauge("gateway_audit_verify_timestamp_seconds", "When the log was verified last.")
        self.exit_code = registry.gauge("gateway_audit_verify_exit_code", "What came of it: 0 is intact.")
        self.last_ok = registry.gauge(
            "gateway_audit_verify_last_ok_timestamp_seconds", "When the log was found intact last; 0 = never."
        )
        self.forget()  # where nobody looks there is nothing to raise an alarm about

    def show(self, known: Verified) -> None:
        """Show the last verification, once there was one."""
        if known.at:
            self.at.set(known.at)
            self.exit_code.set(known.exit_code)
            self.last_ok.set(known.last_ok)

    def forget(self) -> None:
        """Show nothing: nobody looks any more."""
        for gauge in (self.at, self.exit_code, self.last_ok):
            gauge.forget(())


class _StoppedError(Exception):
    pass


class VerifyingDuty:
    """Verifies all streams, each `every_s`."""

    name = "verification"

    def __init__(
        self,
        station: Station,
        *,
        every_s: float,
        metrics: VerifyMetrics,
        clock: Callable[[], float] = time.time,
        first_s: float = _FIRST_S,
    ) -> None:
        self._station = station
        self._every_s = every_s
        self._metrics = metrics
        self._clock = clock
        self._first_s = first_s
        self._path = station.layout.custody / VERIFIED_NAME
        self._known = Verified()
        self._untold: Callable[[record.Stamp], dict[str, Any]] | None = None
        """A record that the log did not take yet."""

    @property
    def fault(self) -> str:
        """What is wrong by the last verification, as a sentence; empty where nothing is."""
        return self._known.fault

    async def run(self) -> None:
        """Verify whenever it is time."""
        self._known = await in_thread(last_verified, self._station.layout)
        self._metrics.show(self._known)
        try:
            await asyncio.sleep(self._first_s)
            while True:
                if self._untold is not None:
                    await self._tell(self._untold)
                elif self._is_due():
                    await self.verify()
                else:
                    await asyncio.sleep(_LOOK_S)
        finally:
            self._metrics.forget()

    async def verify(self) -> None:
        """Verify once, and say what came of it."""
        stop = threading.Event()
        began = time.monotonic()
        try:
            known, more = await asyncio.to_thread(self._judge, stop)
        finally:
            stop.set()  # whoever is cancelled does not wait for the whole log
        self._known = known
        self._metrics.show(known)
        try:
            await in_thread(self._store, known)
        except OSError as error:  # attack: a disk that is full keeps what was found from being said
            _log.warning("audit.verified_not_noted", reason=os.strerror(error.errno or 0).lower())
        _log.info(
            "audit.verified", exit_code=known.exit_code, findings=known.findings, duration_s=time.monotonic() - began
        )
        await self._tell(
            partial(
                record.lifecycle,
                event="audit.verified",
                success=known.exit_code == INTACT,
                detail=known.fault,
                severity=_severity(known.exit_code),
                more={"verification": more},
            )
        )

    def measure(self) -> None:
        """Nothing that is not up to date."""

    def _is_due(self) -> bool:
        passed = self._clock() - self._known.at
        return not 0 <= passed < self._every_s  # a clock that was set back must not put it off for years

    async def _tell(self, build: Callable[[record.Stamp], dict[str, Any]]) -> None:
        self._untold = build
        try:
            await self._station.trail.record(build)
        except AuditUnavailableError as error:
            _log.warning("audit.verified_not_recorded", reason=str(error))
            await asyncio.sleep(_LOOK_S)
        else:
            self._untold = None

    def _judge(self, stop: threading.Event) -> tuple[Verified, dict[str, Any]]:
        layout, at = self._station.layout, self._clock()
        heads = tuple(published(layout))
        # attack: a log and its checkpoint are removed, or put back as they once were, while the gateway is down
        question = Question(
            keys=self._station.keys,
            published=heads,
            trusted=tuple((VERIFIED_NAME, head.encode()) for head in self._known.heads),
            is_live=True,
        )
        try:
            report = verify_own(layout, question, _Pace(stop))
        except UnreadableLogError as error:
            known = Verified(
                at=at,
                last_ok=self._known.last_ok,
                exit_code=UNREADABLE,
                first=str(error)[:_LONGEST_FINDING],
                heads=self._known.heads,
            )
            return known, {"exit_code": UNREADABLE}
        findings = [str(finding)[:_LONGEST_FINDING] for finding in _failures(report)]
        code = report.exit_code
        own = tuple(note.decode() for _, name, note in heads if name == OWN_CHECKPOINT)
        known = Verified(
            at=at,
            last_ok=at if code == INTACT else self._known.last_ok,
            exit_code=code,
            findings=len(findings),
            first=findings[0] if findings else "",
            heads=own if code == INTACT else tuple(_still_meant(self._known.heads, report)),
        )
        streams = {
            verdict.stream: {"first": verdict.first, "proven": verdict.proven, "size": verdict.size}
            for _, verdict in report.verdicts
            if verdict.stream
        }
        return known, {
            "exit_code": code,
            "count": len(findings),
            "findings": findings[:_MOST_TOLD],
            "streams": streams,
        }

    def _store(self, known: Verified) -> None:
        replace_file(self._path, msgspec.json.encode(known) + b"\n")


class _Pace:
    """Is told of each file that was judged: rests as long as that took, and ends it when nobody waits for it any more."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._since = time.monotonic()

    def __call__(self, _name: str, _done: int, _total: int) -> None:
        if self._stop.wait(min(time.monotonic() - self._since, _LONGEST_REST_S)):
            raise _StoppedError
        self._since = time.monotonic()


def _failures(report: Report) -> Iterator[Finding]:
    yield from (finding for finding in report.findings if finding.is_failure)
    for _, verdict in report.verdicts:
        yield from verdict.failures


def _still_meant(heads: Iterable[str], report: Report) -> Iterator[str]:
    """Yield the tree heads that the log is held against once more after it was not intact.

    Not those of a log in whose place another one was begun, which was said now, nor those of what was pruned since.
    """
    there = {verdict.stream: verdict for _, verdict in report.verdicts if verdict.files and verdict.origin}
    for head in heads:
        try:
            checkpoint = parse_checkpoint(split_note(head.encode())[0])
        except CheckpointError:  # the note was damaged, which was said now
            continue
        verdict = there.get(checkpoint.origin.rpartition("/")[2])
        if verdict is None or (verdict.origin == checkpoint.origin and verdict.first <= checkpoint.size):
            yield head


def _severity(exit_code: int) -> int:
    match exit_code:
        case 0:
            return record.INFORMATIONAL
        case 1:
            return record.CRITICAL
        case _:
            return record.HIGH


def last_verified(layout: Layout) -> Verified:
    """Return what came of the custodian's last verification; one at 0 where there was none. Blocking."""
    try:
        return msgspec.json.decode((layout.custody / VERIFIED_NAME).read_bytes(), type=Verified)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):  # then it is verified anew
        return Verified()
