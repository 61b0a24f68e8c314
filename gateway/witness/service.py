"""A witness at work: judges what is put before it, keeps it, and only then signs.

One checkpoint of a log is judged and kept before the next one of the same log is looked at, so that
two requests at once can never take a log back to the smaller of their sizes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Final

import msgspec
import structlog

from gateway.audit.checkpoint import CheckpointError, Vkey, split_note
from gateway.audit.cosignature import Cosigner
from gateway.audit.witness import SIZE_TYPE, Refusal, Submission, SubmissionError, judge_submission, origin_hash
from gateway.exchange.metrics import Registry
from gateway.witness.store import Kept, WitnessStore

TEXT: Final = "text/plain; charset=utf-8"
_LONGEST_EVIDENCE: Final = 8192
_log = structlog.get_logger()


class Answer(msgspec.Struct, frozen=True):
    """An answer over HTTP."""

    status: int
    body: bytes
    content_type: str = TEXT
    retry_after_s: int = 0


class ServiceMetrics:
    """What a witness counts."""

    def __init__(self, registry: Registry) -> None:
        """Declare the metrics."""
        self.requests = registry.counter(
            "gateway_witness_requests_total",
            "Checkpoints put before the witness, by the status of its answer.",
            ("status",),
        )
        self.conflicts = registry.counter(
            "gateway_witness_conflicts_total",
            "Checkpoints that a log signed and that do not continue what was cosigned: the log was rewritten.",
            ("log",),
        )
        self.sizes = registry.gauge(
            "gateway_witness_log_entries", "Entries of a log when it was cosigned last.", ("log",)
        )
        self.ages = registry.gauge(
            "gateway_witness_cosigned_age_seconds", "Time since a checkpoint of a log was cosigned.", ("log",)
        )


class Witness:
    """The logs it knows, and what it saw last of each."""

    def __init__(
        self,
        cosigner: Cosigner,
        logs: Sequence[Vkey],
        store: WitnessStore,
        clock: Callable[[], float],
        metrics: ServiceMetrics,
    ) -> None:
        self.key = cosigner.key
        self._cosigner = cosigner
        self._logs: dict[str, list[Vkey]] = {}
        for vkey in logs:
            self._logs.setdefault(vkey.name, []).append(vkey)
        self._locks = {origin: Lock() for origin in self._logs}
        self._by_hash = {origin_hash(origin): origin for origin in self._logs}
        self._store = store
        self._clock = clock
        self._kept: dict[str, Kept] = {}
        self._metrics = metrics
        for origin in self._logs:
            metrics.conflicts.inc((origin,), 0)

    def start(self) -> None:
        """Take the state. Raises `WitnessStateError`."""
        self._kept = self._store.open()
        for origin in self._kept.keys() - self._logs.keys():
            _log.warning("witness.log_unknown", log=origin, detail="it was cosigned before and is no longer configured")

    def stop(self) -> None:
        """Let the state go."""
        self._store.close()

    def measure(self) -> None:
        """Bring the gauges up to date."""
        now, metrics = self._clock(), self._metrics
        metrics.sizes.values.clear()
        metrics.ages.values.clear()
        for origin, kept in self._kept.items():
            if origin in self._logs:
                metrics.sizes.set(kept.checkpoint.size, (origin,))
                metrics.ages.set(max(0.0, now - kept.time_s), (origin,))

    def count(self, status: int) -> None:
        """Count an answer that was given before anything was judged: too many requests, too long a body."""
        self._metrics.requests.inc((str(status),))

    def add(self, body: bytes) -> Answer:
        """Judge a request to cosign, keep what is sound and answer (C2SP tlog-witness, add-checkpoint); may wait for the disk."""
        answer = self._add(body)
        self.count(answer.status)
        return answer

    def checkpoint(self, hashed: str) -> Answer:
        """Return the last cosigned checkpoint of a log by the hash of its origin (Monitor Retrieval Mechanism)."""
        origin = self._by_hash.get(hashed)
        kept = self._kept.get(origin) if origin is not None else None
        if kept is None:
            return Answer(404, b"nothing of such a log was cosigned\n")
        return Answer(200, kept.note)

    def _add(self, body: bytes) -> Answer:
        try:
            submission = Submission.parse(body)
        except SubmissionError as error:
            return _refusal(Refusal(400, str(error)))
        origin = submission.note.partition(b"\n")[0].decode("utf-8", "replace")
        lock = self._locks.get(origin)
        if lock is None:
            judged = judge_submission(submission, {}, {})
            return (
                _refusal(judged)
                if isinstance(judged, Refusal)
                else Answer(404, b"this witness does not know the log\n")
            )
        with lock:
            return self._judge(origin, submission)

    def _judge(self, origin: str, submission: Submission) -> Answer:
        last = self._kept.get(origin)
        seen = {origin: last.seen} if last is not None else {}
        judged = judge_submission(submission, self._logs, seen)
        if isinstance(judged, Refusal):
            if judged.is_conflict:
                self._metrics.conflicts.inc((origin,))
                text = submission.note[:_LONGEST_EVIDENCE].decode("utf-8", "replace")
                _log.error("witness.conflict", log=origin, reason=judged.sentence, checkpoint=text)
            elif judged.status != 409:  # noqa: PLR2004 - a log that was restarted asks for the size this way
                _log.warning("witness.refused", log=origin, status=judged.status, reason=judged.sentence)
            return _refusal(judged)
        time_s = int(self._clock())
        try:
            line = self._cosigner.cosign(judged.text, time_s)
            note = judged.text + b"\n" + judged.signatures + line
            split_note(note)  # what could not be read again must not be kept
        except CheckpointError as error:
            return _refusal(Refusal(400, str(error)))
        kept = Kept(judged.checkpoint, note, time_s)
        try:
            self._store.keep(kept)
        except OSError as error:
            _log.error("witness.state_failed", log=origin, reason=os.strerror(error.errno or 0).lower())
            return Answer(503, b"the witness cannot keep what it saw\n", retry_after_s=1)
        self._kept[origin] = kept
        if last is None:
            _log.info("witness.began", log=origin, size=judged.checkpoint.size)
        return Answer(200, line)


def describe(kept: Mapping[str, Kept], logs: Sequence[Vkey]) -> list[tuple[str, Kept | None]]:
    """Return each log with what was cosigned last, those that are no longer configured last."""
    names = list(dict.fromkeys(vkey.name for vkey in logs))
    return [(name, kept.get(name)) for name in [*names, *sorted(kept.keys() - set(names))]]


def _refusal(refusal: Refusal) -> Answer:
    if refusal.size >= 0:
        return Answer(refusal.status, b"%d\n" % refusal.size, SIZE_TYPE)
    return Answer(refusal.status, refusal.sentence.encode() + b"\n")
