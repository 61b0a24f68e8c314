"""Answers questions about the log for the console: what was recorded, and what can be proven of it.

The pages have no key of the log; this duty has, and decides what leaves: an administrator of one organisation gets its
records and never those of the console, which may name anybody; only an operator gets the state of the proofs. Every question is
recorded before anything is read for it, and nothing is answered where that fails. Whoever asks shows the badge that the
pages were given: other processes of the same user cannot ask in the name of an operator. Personal fields leave sealed, as they
are stored. A question is bounded in rows, bytes and time, and ends when whoever asked is gone.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from hmac import compare_digest
from struct import Struct
from typing import Any, Final

import msgspec
import structlog

from gateway.audit import record
from gateway.audit.entry import EntryError, parse_entry
from gateway.audit.redact import redact
from gateway.custody.impostors import Impostors
from gateway.custody.proof_state import ProofState
from gateway.custody.station import Station
from gateway.exchange.built_in import OPERATOR
from gateway.exchange.errors import AuditUnavailableError, GatewayError
from gateway.exchange.inquiry import (
    BADGE_BYTES,
    LENGTH,
    MAX_ANSWER_BYTES,
    MAX_QUESTION_BYTES,
    MAX_ROWS,
    SOCKET_NAME,
    Answer,
    Asker,
    InquiryError,
    Question,
    Row,
    Sealed,
    Wanted,
    Whom,
    pack,
    parse_question,
)
from gateway.exchange.metrics import Registry
from gateway.exchange.stream import STREAMS
from gateway.ledger.search import FOR_EVER, Filters, Search, Somebody, parse_payload
from gateway.ledger.spool import PrunedError, SpoolError, SpoolReader

CONSOLE_ROUTE: Final = OPERATOR
"""Requests to the console are recorded under this route."""
LONGEST_S: Final = 10.0
LONGEST_EXPORT_S: Final = 45.0
PATIENCE_S: Final = 5.0
"""For a question to come, and for an answer to go."""
SETTLE_S: Final = 2.0
"""A tree head is at most a second old."""
AT_ONCE: Final = 2
"""Questions that read the log at the same moment; one of each person."""
CONNECTIONS: Final = 16
_UNSIGNED: Final = 65_536
"""More records than come in that time."""
_ROOM: Final = MAX_ANSWER_BYTES - (1 << 20)
_CREDENTIALS: Final = Struct("3i")  # unix(7): pid, uid, gid
_log = structlog.get_logger("gateway.audit")


class _StoppedError(Exception):
    """Nobody waits for what is being looked for any more."""


class _Reading:
    """A question that is being read for."""

    __slots__ = ("stop", "work")

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.work: asyncio.Future[Answer] | None = None
        """Goes on for a moment after it was stopped; until then whoever asked asks nothing else."""


class InquiryMetrics:
    """What is counted about questions, over reloads."""

    def __init__(self, registry: Registry) -> None:
        """Declare the metric."""
        self.asked = registry.counter(
            "gateway_audit_inquiries_total",
            "Questions of the console about the audit log, by what came of them.",
            ("about", "status"),
        )


class InquiryDuty:
    """Serves `state_dir/run/evidence.sock`. Cancel `run` to stop."""

    name = "evidence"

    def __init__(
        self,
        station: Station,
        proof: ProofState,
        metrics: InquiryMetrics,
        *,
        badge: bytes,
        longest_s: float = LONGEST_S,
        room: int = _ROOM,
    ) -> None:
        """Answer who shows `badge`; look for at most `longest_s`, and let at most `room` bytes of records go with one answer."""
        self._badge = badge
        self._impostors = Impostors(station.trail, SOCKET_NAME)
        self._station = station
        self._proof = proof
        self._longest_s = longest_s
        self._room = room
        self._path = station.layout.run / SOCKET_NAME
        self._metrics = metrics
        self._reading: dict[str, _Reading] = {}
        """By who asks."""
        self._connections: set[asyncio.Task[None]] = set()
        self._threads: ThreadPoolExecutor | None = None

    def measure(self) -> None:
        """Nothing: questions are counted as they are answered."""

    async def run(self) -> None:
        """Answer until cancelled. Raises `OSError` when the socket cannot be made."""
        with suppress(FileNotFoundError):
            self._path.unlink()  # whoever has the custody has the socket
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="evidence")
        try:
            server = await asyncio.start_unix_server(self._take, self._path)
            try:
                self._path.chmod(0o600)
                await server.serve_forever()
            finally:
                server.close()
                with suppress(OSError):
                    self._path.unlink()  # before anything is waited for: the next one's must stay
                for task in self._connections:
                    task.cancel()
                if self._connections:
                    await asyncio.wait(set(self._connections))
                await self._impostors.close()
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= CONNECTIONS or not _is_trusted(writer):
            writer.close()
            return
        self._connections.add(task)
        try:
            await self._converse(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, InquiryError) as error:
            _log.warning("evidence.refused", reason=str(error) or type(error).__name__)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(PATIENCE_S):
            # attack: a worker that was taken over asks in the name of an operator
            if not compare_digest(await reader.readexactly(BADGE_BYTES), self._badge):
                self._metrics.asked.inc(("unknown", "impostor"))
                self._impostors.note()
                raise InquiryError("a badge that was not given to it")
            (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            if size > MAX_QUESTION_BYTES:
                raise InquiryError(f"a question of {size} bytes")
            question = parse_question(await reader.readexactly(size))
        work = asyncio.ensure_future(self.answer(question))
        gone = asyncio.ensure_future(reader.read(1))  # the end of the connection, or a second question
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                return
            answer = pack(work.result())
        finally:
            for each in (work, gone):
                each.cancel()
            await asyncio.wait({work, gone})
        writer.write(answer)
        async with asyncio.timeout(PATIENCE_S):
            await writer.drain()

    async def answer(self, question: Question) -> Answer:
        """Record the question, then answer it as far as who asks may know."""
        try:
            answer = await self._answered(question)
        except (GatewayError, OSError) as error:
            _log.warning("evidence.failed", reason=str(error))
            answer = Answer(status="failed")
        self._metrics.asked.inc((question.about, answer.status))
        return answer

    async def _answered(self, question: Question) -> Answer:
        asker = question.asker
        if not asker.is_operator and not asker.tenant:
            return Answer(status="none")
        who = asker.user_id.t if isinstance(asker.user_id, Sealed) else asker.user_id
        if who in self._reading or len(self._reading) >= AT_ONCE:
            return Answer(status="busy")  # attack: one administrator's long searches keep the others out
        reading = self._reading[who] = _Reading()
        try:
            is_allowed = asker.is_operator or question.about != "proof"
            try:
                await self._station.trail.record(partial(use_of, question=question, success=is_allowed))
            except AuditUnavailableError as error:
                _log.warning("evidence.unrecorded", reason=str(error))
                return Answer(status="unrecorded")
            if not is_allowed:
                return Answer(status="none")
            if question.about == "record":
                await self._settle(question)
            return await self._read(question, reading)
        finally:
            reading.stop.set()
            if reading.work is None or reading.work.done():
                del self._reading[who]
            else:
                reading.work.add_done_callback(partial(self._leave, who))

    async def _settle(self, question: Question) -> None:
        """Wait a moment for the tree head of a record that was just found: searches read what is not signed yet."""
        tail = self._station.tails[question.stream]
        extent = tail.extent()
        if extent is None or extent.size <= question.index < extent.size + _UNSIGNED:
            with suppress(TimeoutError):
                async with asyncio.timeout(SETTLE_S):
                    await tail.grown(question.index)

    def _leave(self, who: str, work: asyncio.Future[Answer]) -> None:
        del self._reading[who]
        if not work.cancelled():
            work.exception()  # it was stopped; nobody asks what became of it

    async def _read(self, question: Question, reading: _Reading) -> Answer:
        reads: dict[str, Callable[[Question, threading.Event], Answer]] = {
            "search": self._search,
            "export": self._export,
            "record": self._record,
            "proof": self._prove,
        }
        loop = asyncio.get_running_loop()
        reading.work = loop.run_in_executor(self._threads, reads[question.about], question, reading.stop)
        longest_s = LONGEST_EXPORT_S if question.about == "export" else self._longest_s
        try:
            async with asyncio.timeout(longest_s):
                return await asyncio.shield(reading.work)
        except TimeoutError:
            return Answer(status="slow")

    # Everything below runs in a thread.

    def _search(self, question: Question, stop: threading.Event) -> Answer:
        end = question.start + question.size
        answer = self._find(question, end + 1, question.start, stop)
        found = answer.rows
        return msgspec.structs.replace(answer, rows=found[: question.size], more=len(found) > question.size)

    def _export(self, question: Question, stop: threading.Event) -> Answer:
        answer = self._find(question, MAX_ROWS + 1, 0, stop)
        return answer if len(answer.rows) <= MAX_ROWS else Answer(status="many")

    def _find(self, question: Question, limit: int, skipped: int, stop: threading.Event) -> Answer:
        damages: list[str] = []

        def look(_done: int, _total: int) -> None:
            if stop.is_set():
                raise _StoppedError

        search = Search(self._station.layout.state_dir, self._station.keys, on_damage=damages.append)
        rows: list[Row] = []
        room = self._room
        found = search.find(filters_of(question), limit=limit, newest_first=True, progress=look)
        for number, each in enumerate(found):
            look(0, 0)
            if number < skipped:
                continue
            entry = each.stored.entry
            room -= len(entry.payload)
            if room < 0:
                return Answer(status="many")
            rows.append(Row(each.stream, each.index, entry.time_ns, entry.payload))
        origins = {stream.value: origin for stream, origin in search.origins().items()}
        return Answer(status="ok", rows=tuple(rows), is_damaged=bool(damages), origins=origins)

    def _record(self, question: Question, _stop: threading.Event) -> Answer:
        tail = self._station.tails[question.stream]
        extent = tail.extent()
        if extent is None:
            return Answer(status="none")
        layout, index = self._station.layout, question.index
        # Not the tail's own readers: those are of the sinks, which come along in order.
        reader = SpoolReader(layout.directory, self._station.keys, question.stream, index)
        try:
            raw = reader.read(1, extent.size) if index < extent.size else []
            entry = parse_entry(raw[0]) if raw else None
        except PrunedError:
            entry = None
        except (SpoolError, EntryError) as error:
            _log.warning("evidence.unreadable", stream=question.stream, index=index, reason=str(error))
            return Answer(status="failed")
        finally:
            reader.close()
        if entry is None or not may_see(question.asker, parse_payload(entry.payload)):
            return Answer(status="none")
        row = Row(question.stream, index, entry.time_ns, entry.payload)
        return Answer(status="ok", rows=(row,), origins={question.stream.value: extent.origin})

    def _prove(self, _question: Question, _stop: threading.Event) -> Answer:
        return Answer(status="ok", standings=self._proof.standings(), is_witnessed=self._proof.is_witnessed)


def filters_of(question: Question) -> Filters:
    """Return what is looked for, within what who asks may see."""
    wanted, asker = question.wanted, question.asker
    return Filters(
        since=max(0.0, wanted.since),
        until=wanted.until or FOR_EVER,
        streams=wanted.streams or STREAMS,
        person=_somebody(wanted.person),
        tenant=None if asker.is_operator else asker.tenant,
        hidden_routes=frozenset() if asker.is_operator else frozenset((CONSOLE_ROUTE,)),
        resource=_resource(wanted) if wanted.resource_type else None,
        resource_tokens=frozenset(wanted.resource.tokens) if wanted.resource is not None else frozenset(),
        request_id=wanted.request_id or None,
        decision=wanted.decision or None,
    )


def _somebody(whom: Whom | None) -> Somebody | None:
    return None if whom is None else Somebody(names=frozenset(whom.names), tokens=frozenset(whom.tokens))


def _resource(wanted: Wanted) -> str:
    names = wanted.resource.names if wanted.resource is not None else ()
    return f"{wanted.resource_type}/{names[0]}" if names else wanted.resource_type


def may_see(asker: Asker, read: Mapping[str, Any]) -> bool:
    """Tell whether a record is for who asks: the same as `filters_of`, of one record."""
    if asker.is_operator:
        return True
    metadata, unmapped = read.get("metadata"), read.get("unmapped")
    gw = unmapped.get("gw") if isinstance(unmapped, dict) else None
    if not isinstance(metadata, dict) or not isinstance(gw, dict):
        return False
    return bool(asker.tenant) and metadata.get("tenant_uid") == asker.tenant and gw.get("route") != CONSOLE_ROUTE


def use_of(stamp: record.Stamp, *, question: Question, success: bool) -> dict[str, Any]:
    """Return the record of a question: who asked for what. An operator's is no organisation's to see."""
    asker = question.asker
    streams = (question.stream,) if question.about == "record" else question.wanted.streams or STREAMS
    made = record.administration(
        stamp,
        f"evidence {question.about}",
        actor={
            "session": {"uid": asker.session},
            "user": {"name": _said(asker.user), "type_id": 1, "uid": _said(asker.user_id)},
        },
        action="export" if question.about == "export" else "view",
        resources=[("audit_log", stream.value) for stream in streams],
        tenant="" if asker.is_operator else asker.tenant,
        success=success,
        reason="" if success else "role_missing",
        more={"query": _query(question)},
    )
    if asker.request_id:
        made["metadata"]["correlation_uid"] = asker.request_id
    return made


def _query(question: Question) -> dict[str, Any]:
    wanted = question.wanted
    if question.about == "record":
        return {"index": str(question.index), "stream": question.stream.value}
    said: dict[str, Any] = {
        "since": _number(wanted.since),
        "until": _number(wanted.until),
        "streams": "" if set(wanted.streams) == set(STREAMS) else ",".join(wanted.streams),
        "user": "" if wanted.person is None else _said(wanted.person.said),
        "resource_type": wanted.resource_type,
        "resource": "" if wanted.resource is None else _said(wanted.resource.said),
        "request_id": wanted.request_id,
        "decision": wanted.decision,
        "start": str(question.start) if question.start else "",
    }
    shown = {name: redact(value)[0] if isinstance(value, str) else value for name, value in said.items()}
    return {name: value for name, value in shown.items() if value}


def _number(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds else ""


def _said(said: str | Sealed) -> str | dict[str, Any]:
    return said if isinstance(said, str) else {"c": said.c, "e": said.e, "t": said.t}


def _is_trusted(writer: asyncio.StreamWriter) -> bool:
    """Tell whether the other end is our own user or root (unix(7), SO_PEERCRED)."""
    own = socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno()))
    try:
        _, uid, _ = _CREDENTIALS.unpack(own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    finally:
        own.close()
    return uid in {0, os.geteuid()}
