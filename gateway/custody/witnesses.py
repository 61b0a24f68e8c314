"""Has witnesses cosign each stream as it grows, and raises the alarm when they do not, or say that it is not the same log.

Decides when a checkpoint is *published*: when the quorum of the policy has cosigned it. Requests never
wait for that. A witness that contradicts is an incident: its word stands against the files of this node.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import msgspec
import structlog

from gateway.audit.checkpoint import Checkpoint, CheckpointError, parse_checkpoint, split_note
from gateway.audit.cosignature import cosignatures
from gateway.audit.merkle import ProofError, verify_consistency
from gateway.audit.proof import HashStore, prove_consistency, tree_root
from gateway.audit.record import CRITICAL, HIGH, INFORMATIONAL, MEDIUM, lifecycle
from gateway.audit.trust import TrustedWitness, TrustPolicy
from gateway.audit.witness import Submission
from gateway.custody.station import Station
from gateway.custody.tail import Extent
from gateway.custody.threads import in_thread
from gateway.custody.witness_client import WitnessAnswer, WitnessClient, WitnessUnreachableError
from gateway.custody.witness_metrics import WitnessMetrics
from gateway.exchange.errors import AuditUnavailableError
from gateway.exchange.stream import Stream
from gateway.ledger.disk import sync_directory
from gateway.ledger.hashes import leaf_hashes, proven_hashes
from gateway.ledger.spool import SpoolError

REFRESH_S: Final = 30.0
"""A log that does not grow is cosigned again so often: then a witness that is gone is noticed on an idle node too."""
LOST_S: Final = 60.0
"""Without a quorum for so long: alarm (specification, 2.7)."""
INCIDENT_S: Final = 900.0
_ATTEMPTS: Final = 3
_TILES_TRIES: Final = 10
_TILES_S: Final = 0.1
"""The tiles of a checkpoint come a moment after it."""
_MOST_HASHED: Final = 65_536
"""Entries of a log without tiles that are hashed again for one proof: a fraction of a second."""
_OK, _CONFLICT, _UNPROCESSABLE = 200, 409, 422
_log = structlog.get_logger("gateway.audit")


class _Standing(msgspec.Struct):
    """One witness and one stream."""

    witness: TrustedWitness
    known: int = -1
    """What it cosigned last, as far as we know; -1 = nothing is known."""
    refusal: str = ""
    """Why it refuses, as it was recorded."""
    task: asyncio.Task[bytes] | None = None


class Witnesses:
    """The duty for one stream."""

    def __init__(
        self,
        station: Station,
        stream: Stream,
        *,
        policy: TrustPolicy,
        client: Callable[[], WitnessClient],
        metrics: WitnessMetrics,
        clock: Callable[[], float],
        interval_s: float,
    ) -> None:
        self.name = f"witness-{stream}"
        self._tail = station.tails[stream]
        self._layout = station.layout
        self._keys = station.keys
        self._trail = station.trail
        self._policy = policy
        self._client = client
        self._metrics = metrics
        self._clock = clock
        self._interval_s = interval_s
        self._standings = [_Standing(witness) for witness in policy.witnesses if witness.url]
        self._published: Checkpoint | None = None
        self._since = clock()
        """When the quorum cosigned last; before it ever did, when we began to ask."""
        self._alarm = 0
        """How loud the alarm is: 0 none, 1 lost, 2 an incident."""
        self._hashes: tuple[Checkpoint, HashStore] | None = None

    async def run(self) -> None:
        """Put every checkpoint before the witnesses, at most once each interval."""
        self._resume()
        async with self._client() as client:
            try:
                while True:
                    extent = self._tail.extent()
                    if extent is not None and self._is_due(extent):
                        await self._round(client, extent)
                    await self._watch_age()
                    await asyncio.sleep(self._interval_s)
            finally:
                await self._end_tasks()
                for standing in self._standings:  # of a policy that may be gone after a reload
                    self._metrics.refused.set(0, (self._tail.stream, standing.witness.name))

    def measure(self) -> None:
        """Bring the gauges up to date."""
        self._metrics.age.set(max(0.0, self._clock() - self._since), (self._tail.stream,))
        self._metrics.cosigned.set(self._published.size if self._published else 0, (self._tail.stream,))
        for standing in self._standings:
            refused = float(bool(standing.refusal))
            self._metrics.refused.set(refused, (self._tail.stream, standing.witness.name))

    # one round

    def _is_due(self, extent: Extent) -> bool:
        published = self._published
        if published is None or published.origin != extent.origin or published.size != extent.size:
            return True
        return self._clock() - self._since >= REFRESH_S

    async def _round(self, client: WitnessClient, extent: Extent) -> None:
        """Ask every witness that is not still being asked, until the quorum has answered or everybody has."""
        checkpoint = parse_checkpoint(split_note(extent.note)[0])
        if self._published is not None and self._published.origin == checkpoint.origin:
            await self._compare(self._published, checkpoint)
        waiting: set[asyncio.Task[bytes]] = set()
        for standing in self._standings:
            if standing.task is None or standing.task.done():
                if standing.task is not None:
                    standing.task.result()  # what it could not handle ends this duty, which begins anew
                standing.task = asyncio.create_task(self._ask(client, standing, extent.note, checkpoint))
                waiting.add(standing.task)
        lines: list[bytes] = []
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            lines += [line for task in done if (line := task.result())]
            note = extent.note + b"".join(lines)
            if lines and self._policy.judge(note, log=self._keys.vkey(checkpoint.origin)).is_met:
                await in_thread(self._publish, note, checkpoint)
                return

    def _publish(self, note: bytes, checkpoint: Checkpoint) -> None:
        path = self._layout.cosigned(self._tail.stream)
        if not path.parent.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
        fresh = path.with_name(f"{path.name}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(note)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)
        sync_directory(path.parent)
        self._since = self._clock()
        self._published = checkpoint

    def _resume(self) -> None:
        """Read what was published before; what cannot be believed is as if it were not there."""
        path = self._layout.cosigned(self._tail.stream)
        try:
            note = path.read_bytes()
            origin = parse_checkpoint(split_note(note)[0]).origin
            judged = self._policy.judge(note, log=self._keys.vkey(origin))
        except FileNotFoundError:
            return
        except (OSError, CheckpointError) as error:
            _log.warning("witness.unreadable", path=str(path), reason=str(error))
            return
        self._published = judged.checkpoint
        self._since = min(self._clock(), float(judged.time_s) or self._clock())
        names = {name for name, _ in judged.cosigned}
        for standing in self._standings:
            if standing.witness.name in names:
                standing.known = judged.checkpoint.size

    async def _compare(self, published: Checkpoint, checkpoint: Checkpoint) -> None:
        """Notice without any witness that a log is shorter than what was published of it, or another."""
        if checkpoint.size < published.size:
            await self._accuse(
                "the file of the last cosigned checkpoint", published.size, checkpoint, "the log is shorter than it was"
            )
        elif checkpoint.size == published.size and checkpoint.root != published.root:
            await self._accuse(
                "the file of the last cosigned checkpoint", published.size, checkpoint, "the log has another root"
            )

    async def _accuse(self, who: str, size: int, checkpoint: Checkpoint, sentence: str) -> None:
        self._published = None  # said once; from here on the witnesses say it
        await self._record_refusal(who, sentence, size, checkpoint)

    # one witness

    async def _ask(self, client: WitnessClient, standing: _Standing, note: bytes, checkpoint: Checkpoint) -> bytes:
        """Return the signature line of a witness for this checkpoint; empty when it gave none."""
        try:
            answer = await self._submit(client, standing, note, checkpoint)
            if answer is None:
                return b""
            self._metrics.requests.inc((standing.witness.name, str(answer.status)))
            if answer.status != _OK:
                await self._refused(standing, answer, checkpoint)
                return b""
            line = _line_of(standing.witness, note, answer.body)
        except (WitnessUnreachableError, CheckpointError) as error:
            self._metrics.requests.inc((standing.witness.name, "unreachable"))
            _log.warning(
                "witness.unreachable", witness=standing.witness.name, stream=self._tail.stream, reason=str(error)
            )
            return b""
        except (ProofError, SpoolError, OSError) as error:
            _log.error("witness.unproven", stream=self._tail.stream, reason=str(error))
            return b""
        standing.known = checkpoint.size
        if standing.refusal:
            await self._record(
                "audit.witness_accepted", INFORMATIONAL, witness=standing.witness.name, size=checkpoint.size
            )
            standing.refusal = ""
        return line

    async def _submit(
        self, client: WitnessClient, standing: _Standing, note: bytes, checkpoint: Checkpoint
    ) -> WitnessAnswer | None:
        """Put a checkpoint before a witness, from the size it has seen; None = the log is shorter than that."""
        old = standing.known if 0 <= standing.known <= checkpoint.size else 0
        for _ in range(_ATTEMPTS):
            proof = await self._prove(old, checkpoint)
            body = Submission(old, tuple(proof), note).dump()
            answer = await client.add_checkpoint(standing.witness.url, body)
            if answer.status != _CONFLICT:
                return answer
            standing.known = old = answer.size
            if old > checkpoint.size:
                self._metrics.requests.inc((standing.witness.name, str(answer.status)))
                await self._ahead(standing, checkpoint)
                return None
        raise WitnessUnreachableError("it answers 409 again and again")

    async def _prove(self, old: int, checkpoint: Checkpoint) -> Sequence[bytes]:
        """Return a proof that was checked: then a witness that refuses it has seen another log. Raises like `proven_hashes`."""
        if old in (0, checkpoint.size):
            return ()
        for _ in range(_TILES_TRIES):
            try:
                return await asyncio.to_thread(self._proof, old, checkpoint, 0)
            except ProofError:
                await asyncio.sleep(_TILES_S)
        return await asyncio.to_thread(self._proof, old, checkpoint, _MOST_HASHED)

    def _proof(self, old: int, checkpoint: Checkpoint, most_hashed: int) -> Sequence[bytes]:
        cached = self._hashes
        if cached is None or cached[0] != checkpoint:
            store = proven_hashes(self._layout, self._keys, self._tail.stream, checkpoint, most_hashed=most_hashed)
            self._hashes = cached = (checkpoint, store)
        try:
            return self._checked(cached[1], old, checkpoint)
        except ProofError:
            self._hashes = None
            if checkpoint.size > most_hashed:
                raise
        # tiles that are damaged below what their root shows
        return self._checked(leaf_hashes(self._layout, self._keys, self._tail.stream, checkpoint.size), old, checkpoint)

    def _checked(self, store: HashStore, old: int, checkpoint: Checkpoint) -> Sequence[bytes]:
        proof = prove_consistency(store, old, checkpoint.size)
        verify_consistency(old, checkpoint.size, tree_root(store, old), checkpoint.root, proof)
        return proof

    async def _ahead(self, standing: _Standing, checkpoint: Checkpoint) -> None:
        """Judge that a witness has seen more than there is: fine while the checkpoint here is an old one."""
        await asyncio.to_thread(self._tail.look)
        newest = self._tail.extent()
        if newest is not None and newest.origin == checkpoint.origin and newest.size < standing.known:
            await self._contradicted(standing, "it has cosigned more entries than the log has", checkpoint)

    async def _refused(self, standing: _Standing, answer: WitnessAnswer, checkpoint: Checkpoint) -> None:
        sentence = answer.body.decode("utf-8", "replace").strip()[:200]
        if answer.status == _UNPROCESSABLE:
            await self._contradicted(standing, sentence or "it has seen another log", checkpoint)
            return
        reason = f"it answered {answer.status}: {sentence}"
        if standing.refusal != reason:
            standing.refusal = reason
            await self._record(
                "audit.witness_refused", HIGH, witness=standing.witness.name, sentence=reason, size=checkpoint.size
            )

    async def _contradicted(self, standing: _Standing, sentence: str, checkpoint: Checkpoint) -> None:
        if standing.refusal == sentence:
            return
        standing.refusal = sentence
        await self._record_refusal(standing.witness.name, sentence, standing.known, checkpoint)

    async def _record_refusal(self, who: str, sentence: str, size: int, checkpoint: Checkpoint) -> None:
        _log.error(
            "witness.contradicts",
            witness=who,
            stream=self._tail.stream,
            reason=sentence,
            size=checkpoint.size,
            seen=size,
        )
        await self._record(
            "audit.witness_refused", CRITICAL, witness=who, sentence=sentence, size=checkpoint.size, seen=size
        )

    # age

    async def _watch_age(self) -> None:
        """Say once that there is no quorum any more, once more when it lasts, and once when there is one again."""
        extent = self._tail.extent()
        if extent is None:
            self._since = self._clock()  # nothing is there that could be cosigned
            return
        age = self._clock() - self._since
        loud = 2 if age > INCIDENT_S else 1 if age > LOST_S else 0
        if loud > self._alarm:
            sentence = f"no quorum of witnesses has cosigned for {int(age)} s"
            severity = CRITICAL if loud > 1 else MEDIUM
            await self._record("audit.witness_lost", severity, sentence=sentence, size=extent.size, seen=self._size())
        elif loud == 0 and self._alarm:
            await self._record("audit.witness_restored", INFORMATIONAL, size=extent.size, seen=self._size())
        self._alarm = loud if loud > self._alarm or loud == 0 else self._alarm

    def _size(self) -> int:
        return self._published.size if self._published is not None else 0

    async def _record(
        self, event: str, severity: int, *, size: int, seen: int = -1, witness: str = "", sentence: str = ""
    ) -> None:
        """Put it into the log, which may be the one that is accused: an attacker has to leave it there, or be seen again."""
        about = {"stream": str(self._tail.stream), "size": size}
        more = about | ({"witness": witness} if witness else {}) | ({"seen": seen} if seen >= 0 else {})
        success = event not in ("audit.witness_lost", "audit.witness_refused")
        build = partial(
            lifecycle, event=event, success=success, severity=severity, detail=sentence, more={"witness": more}
        )
        try:
            await self._trail.record(build)
        except AuditUnavailableError as error:
            _log.error("witness.unrecorded", event_name=event, reason=str(error))

    async def _end_tasks(self) -> None:
        for standing in self._standings:
            if standing.task is not None and not standing.task.done():
                standing.task.cancel()
                with suppress(asyncio.CancelledError):
                    await standing.task


def _line_of(witness: TrustedWitness, note: bytes, body: bytes) -> bytes:
    """Return the signature line of a witness in its answer. Raises `CheckpointError`, `WitnessUnreachableError`."""
    found = cosignatures(note + body, [witness.key])
    if not found:
        raise WitnessUnreachableError("its answer is signed by another key than the policy says")
    return found[0].line
