"""Where detectors of abuse watch: in the pages process, of which a node has one.

Every edge tells what it saw; what that amounts to is recorded first, and then has its answer stand in the store, from where every
worker and node reads it. No request waits for any of this. What was counted is kept for the next process, as pseudonyms.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import Any, Final, TypeVar

import msgspec
import structlog

from gateway.audit import record
from gateway.audit.protocol import PAGES_SLOT
from gateway.audit.subject import ADDRESS, CHANGED_NAME, CHANGED_UID, Sealing, seal_fields
from gateway.exchange.errors import AuditUnavailableError, StoreUnavailableError
from gateway.exchange.metrics import Registry
from gateway.exchange.subject import SubjectKey
from gateway.inspection.abuse.rule import Answer, Detector, Scope
from gateway.inspection.abuse.sighting import MAX_COUNT, Sighting, digest
from gateway.inspection.abuse.standing import Standing, Standings, answered, limit_of
from gateway.inspection.abuse.watch import Finding, Watch
from gateway.ledger.producer import Build, append_with_badge
from gateway.ratelimit.gcra import Bucket
from gateway.server.abuse import AbuseRules
from gateway.server.control import Boot
from gateway.store.executor import BoundedExecutor, OverloadedError
from gateway.store.standings import StandingStore
from gateway.store.state import Store

LOOK_S: Final = 2.0
"""How often one looks whether somebody lifted an answer."""
REMEMBER_S: Final = 60.0
MAX_TOLD: Final = 16_384
"""Sightings of one message."""
MAX_WAITING: Final = 1_000
"""Findings that wait for their record."""
SPARED: Final = "spared"
_BREATH: Final = 256
"""Sightings that are counted before a page may be served again."""
_RECORD_WAIT_S: Final = 5.0
_AGAIN_S: Final = 1.0
_TRIES: Final = 30
_REFERENCE_BYTES: Final = 6
_SEVERITIES: Final = {"low": record.LOW, "medium": record.MEDIUM, "high": record.HIGH, "critical": record.CRITICAL}
_PSEUDONYM: Final = "memory"
_log = structlog.get_logger("gateway.abuse")
Result = TypeVar("Result")
_SIGHTINGS: Final = msgspec.msgpack.Decoder(list[Sighting])


class AbuseMetrics:
    """What is counted about the detectors, over reloads."""

    def __init__(self, registry: Registry) -> None:
        """Declare the metrics."""
        self.found = registry.counter(
            "gateway_abuse_findings_total",
            "What detectors of abuse found, by what was answered; spared: it would have been.",
            ("detector", "answer"),
        )
        self.seen = registry.counter("gateway_abuse_sightings_total", "What edges told detectors of abuse.")
        self.lost = registry.counter(
            "gateway_abuse_lost_total",
            "What detectors could not take: sightings or findings for which there was no room, answers that could not be stored.",
            ("what",),
        )
        self.forgotten = registry.counter(
            "gateway_abuse_forgotten_total", "Subjects that a detector forgot early, for want of memory.", ("detector",)
        )
        self.standing = registry.gauge("gateway_abuse_answers", "Answers of detectors that stand.", ("answer",))


class WatchTower:
    """Counts, records and answers, for one node."""

    def __init__(self, boot: Boot, storing: BoundedExecutor, metrics: AbuseMetrics) -> None:
        self._boot = boot
        self._storing = storing
        self._metrics = metrics
        self._rules: AbuseRules | None = None
        self._store: Store | None = None
        self._kept: StandingStore | None = None
        self._watch = Watch(())
        self._detectors: dict[str, Detector] = {}
        self._known: dict[str, Standing] = {}
        """What stood at the last look, by its reference."""
        self._standings = Standings()
        self._held: dict[str, tuple[Bucket, float]] = {}
        self._version = b"?"
        self._findings: asyncio.Queue[Finding] = asyncio.Queue(MAX_WAITING)
        self._looked = self._remembered = 0.0
        self._is_recalled = False

    def adopt(self, store: Store, rules: AbuseRules) -> None:
        """Go by these rules from now on; what was counted by the same conditions goes on."""
        memory = self._watch.dump()
        self._count_forgotten()
        self._store, self._rules = store, rules
        self._kept = StandingStore(store.rows, store.sealer)
        self._version = b"?"
        self._detectors = {detector.id: detector for detector in rules.detectors}
        self._watch = Watch(rules.detectors, pseudonym=partial(digest, rules.key, _PSEUDONYM))
        self._watch.load(memory, time.time())
        for detector in rules.detectors:  # a series that begins at one has not increased, for whoever alerts on it
            for said in (*detector.answers, SPARED):
                self._metrics.found.inc((detector.id, str(said)), by=0)

    async def take(self, told: bytes) -> None:
        """Count what an edge saw. Raises `ValueError` for anything else than sightings."""
        try:
            sightings = _SIGHTINGS.decode(told)
        except msgspec.DecodeError as error:
            raise ValueError("no sightings") from error
        if len(sightings) > MAX_TOLD:
            raise ValueError("too many sightings")
        # attack: a worker that was taken over ends every day, or counts backwards, with one sighting
        if not all(0.0 < seen.at < inf and 0 < seen.count <= MAX_COUNT for seen in sightings):
            raise ValueError("no time, or no number")
        now = time.time()
        self._metrics.seen.inc(by=sum(seen.count for seen in sightings))
        for number, seen in enumerate(sightings, 1):
            for finding in self._watch.see(seen if seen.at <= now else msgspec.structs.replace(seen, at=now)):
                try:
                    self._findings.put_nowait(finding)
                except asyncio.QueueFull:  # attack: more to find than can be recorded
                    self._metrics.lost.inc(("findings",))
            if number % _BREATH == 0:
                await asyncio.sleep(0)

    def holds(self, account: str, now: float) -> bool:
        """Tell whether strangers may not try an account now; whoever knows the password learns nothing by it."""
        is_held = False
        for standing in self._standings.on_account(account, now):
            if standing.answer is not Answer.SLOW_DOWN:
                return True
            bucket, tat = self._held.get(standing.reference) or (Bucket(limit_of(standing)), 0.0)
            admitted = bucket.admit(tat, now)
            self._held[standing.reference] = bucket, admitted or tat
            is_held = is_held or not admitted
        return is_held

    async def run(self) -> None:
        """Record and answer findings as they come, for ever."""
        while True:
            try:
                await self._go_on()
            except (StoreUnavailableError, OverloadedError) as error:
                _log.warning("abuse.store_away", reason=str(error) or type(error).__name__)
                await asyncio.sleep(_AGAIN_S)
            except Exception:  # noqa: BLE001 - a task root: nobody would look for abuse any more
                _log.exception("abuse.failed")
                await asyncio.sleep(_AGAIN_S)

    async def remember(self) -> None:
        """Keep what was counted for the next process. Raises `StoreUnavailableError`, `OverloadedError`."""
        kept = self._kept
        if kept is not None and self._is_recalled:
            memory = self._watch.dump()
            await self._storing.run(partial(kept.remember, self._boot.node, memory, now=time.time()))

    async def _go_on(self) -> None:
        now = time.time()
        if self._kept is None:
            await asyncio.sleep(_AGAIN_S)
            return
        if not self._is_recalled:
            memory = await self._storing.run(partial(self._kept.recall, self._boot.node, now=now))
            self._watch.load(memory, now)
            self._is_recalled, self._remembered = True, now
        if not self._looked <= now < self._looked + LOOK_S:
            await self._look(self._kept, now)
            self._looked = now
        if not self._remembered <= now < self._remembered + REMEMBER_S:
            await self.remember()
            self._remembered = now
        try:
            async with asyncio.timeout(LOOK_S):
                finding = await self._findings.get()
        except TimeoutError:
            return
        try:
            await self._answer(finding)
        except (StoreUnavailableError, OverloadedError):
            self._metrics.lost.inc(("findings",))
            raise

    async def _look(self, kept: StandingStore, now: float) -> None:
        """See what stands, and let those begin anew whom somebody let go."""
        self._count_forgotten()
        version = await self._storing.run(kept.version)
        if version != self._version:
            standing = await self._storing.run(partial(kept.all, now))
            found = {each.reference: each for each in standing}
            held = {(each.detector, each.scope, each.subject) for each in standing}  # renewed under another reference
            for before in self._known.values():
                if (before.detector, before.scope, before.subject) not in held and now < before.until:
                    self._watch.forget(before.detector, before.subject)
            self._known, self._version = found, version
            self._standings = Standings(standing)
            self._held = {each: held for each, held in self._held.items() if each in found}
        counts = dict.fromkeys(Answer, 0)
        for each in self._known.values():
            counts[each.answer] += each.holds(now)
        for answer in (Answer.SLOW_DOWN, Answer.STEP_UP, Answer.BLOCK):
            self._metrics.standing.set(counts[answer], (answer.value,))

    async def _answer(self, finding: Finding) -> None:
        """Record a finding, then have its answer stand."""
        rules, kept, detector = self._rules, self._kept, self._detectors.get(finding.detector)
        if rules is None or kept is None or detector is None:  # a reload took it out
            return
        reference = f"a_{os.urandom(_REFERENCE_BYTES).hex()}"
        standing, because = answered(finding, detector, rules.spared, reference=reference, now=time.time())
        said = standing.answer.value if standing is not None else SPARED if because else Answer.ALERT.value
        found = _found(finding, standing, because, reference)
        build = await self._stored(partial(self._build, rules, finding, detector, found))
        if not await self._recorded(build):
            self._metrics.lost.inc(("findings",))
            return
        self._metrics.found.inc((finding.detector, said))
        _log.warning(
            "abuse.found", detector=finding.detector, rule=finding.rule, scope=finding.scope, answer=said, ref=reference
        )
        if standing is not None:
            if not await self._stored(partial(kept.add, standing, now=time.time())):
                self._metrics.lost.inc(("answers",))
            self._looked = 0.0

    async def _stored(self, work: Callable[[], Result]) -> Result:
        """Ask the store, for a while even if it is away: the detector is silent about whom it found already."""
        for _ in range(_TRIES):
            try:
                return await self._storing.run(work)
            except (StoreUnavailableError, OverloadedError) as error:
                _log.warning("abuse.store_away", reason=str(error) or type(error).__name__)
                await asyncio.sleep(_AGAIN_S)
        return await self._storing.run(work)

    async def _recorded(self, build: Build) -> bool:
        for _ in range(_TRIES):
            try:
                await asyncio.to_thread(self._record, build)
            except AuditUnavailableError as error:  # an answer that is in no record is none
                _log.warning("abuse.unrecorded", reason=str(error))
                await asyncio.sleep(_AGAIN_S)
            else:
                return True
        return False

    def _record(self, build: Build) -> None:
        append_with_badge(
            self._boot.state_dir,
            self._boot.badge,
            [build],
            slot=PAGES_SLOT,
            node=self._boot.node,
            boot_uid=self._boot.boot_id,
            timeout_s=_RECORD_WAIT_S,
        )

    def _build(self, rules: AbuseRules, finding: Finding, detector: Detector, found: Mapping[str, Any]) -> Build:
        """Return the record; runs in the store's thread."""
        address = finding.subject if finding.scope is Scope.NETWORK else ""
        is_known = bool(finding.person)
        build: Build = partial(
            record.abuse,
            title=detector.title,
            technique=detector.technique,
            severity=_SEVERITIES[finding.severity],
            found=found,
            tenant=finding.tenant,
            address=address,
            user=(finding.person, finding.name) if is_known else None,
        )
        store = self._store
        if not rules.seals or store is None or not (address or is_known):
            return build
        now = time.time()
        key: SubjectKey = (
            store.subjects.of(finding.person, finding.tenant, now=now)
            if is_known
            else store.subjects.of_nobody(now=now, kept_s=rules.anonymous_s)
        )
        return partial(_sealed, build, Sealing(key, os.urandom))

    def _count_forgotten(self) -> None:
        for identifier, number in self._watch.evicted.items():
            self._metrics.forgotten.values[(identifier,)] = max(
                number, self._metrics.forgotten.values.get((identifier,), 0)
            )


def _found(finding: Finding, standing: Standing | None, because: str, reference: str) -> dict[str, Any]:
    """Return what a record says of a finding; who it is about stands where records name people."""
    told: dict[str, Any] = {
        "answer": finding.answer.value if standing is not None else Answer.ALERT.value,
        "detector": finding.detector,
        "numbers": dict(finding.numbers),
        "reference": reference,
        "rule": finding.rule,
        "scope": finding.scope.value,
    }
    if finding.within_s < float("inf"):
        told["within_s"] = int(finding.within_s)
    if finding.scope in {Scope.KEY, Scope.SESSION, Scope.ACCOUNT, Scope.TENANT}:
        told["subject"] = finding.subject  # a handle, a digest or the name of an organisation
    if finding.route:
        told["route"] = finding.route
    if because:
        told["spared"] = because
    if standing is not None:
        told["until"] = int(standing.until * 1000)
    return told


def _sealed(build: Build, sealing: Sealing, stamp: record.Stamp) -> dict[str, object]:
    return seal_fields(build(stamp), {ADDRESS: sealing, CHANGED_UID: sealing, CHANGED_NAME: sealing})
