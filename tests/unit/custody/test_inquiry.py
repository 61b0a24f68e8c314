"""Questions of the console to the custodian: recorded before anything is read, answered within what who asks may see."""

from __future__ import annotations

import asyncio
import socket
from base64 import b64encode
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from jsonschema import Draft202012Validator

from gateway.audit import protocol
from gateway.audit.checkpoint import parse_checkpoint, split_note
from gateway.audit.schema import record_schema
from gateway.custody import inquiry as inquiry_module
from gateway.custody.inquiry import InquiryDuty, InquiryMetrics
from gateway.custody.proof_state import ProofState, Receiver
from gateway.custody.sinks.cursor import Cursor, CursorFile
from gateway.custody.station import Station
from gateway.custody.tail import Tail
from gateway.exchange.inquiry import (
    LENGTH,
    MAX_QUESTION_BYTES,
    Answer,
    Asker,
    Question,
    Sealed,
    Wanted,
    Whom,
    pack,
    parse_answer,
)
from gateway.exchange.stream import Stream
from tests.fakes.evidence import BEGIN_S, access, write
from tests.unit.custody.conftest import Custody, Start
from tests.unit.custody.test_sealing import published

TOKEN = "ab" * 16
ROOT = Asker(user_id="u_root", user="root", tenant="acme", is_operator=True, session="h1", request_id="01PAGE")
TINA = Asker(user_id="u_tina", user="tina", tenant="acme", is_operator=False, session="h2", request_id="01PAGE")
GUS = msgspec.structs.replace(TINA, user_id="u_gus", user="gus", tenant="globex")


def of_globex(n: int) -> bytes:
    return access(n, metadata={"correlation_uid": f"req-{n}", "tenant_uid": "globex", "uid": f"e-{n}"})


def of_the_console(n: int) -> bytes:
    """An operator of acme looked at somebody of globex."""
    return access(n, unmapped={"gw": {"action": "admin", "route": "gateway.admin"}})


def about_a_person(n: int) -> bytes:
    sealed = {"c": "AAAA", "e": 1, "t": TOKEN}
    return access(n, resources=[{"type": "patient", "uid": sealed}], actor={"user": {"name": sealed, "uid": sealed}})


class Bureau:
    """The duty over a log with records of two organisations."""

    def __init__(self, custody: Custody) -> None:
        self.custody = custody
        bench = custody.bench
        self.badge = bench.keys.inquiry_badge()
        payloads = [*map(access, range(4)), *map(of_globex, range(4, 7)), of_the_console(7), about_a_person(8)]
        write(bench.state_dir, bench.keys, Stream.ACCESS, payloads)
        self.station: Station = custody.station()
        for tail in self.station.tails.values():
            tail.look()

    def duty(self, **limits: Any) -> InquiryDuty:
        cursors = self.custody.bench.state_dir / "cursors"
        receiver = Receiver(name="siem", streams=(Stream.ACCESS,), is_required=True)
        proof = ProofState(self.station, policy=None, receivers=[receiver], cursors=cursors)
        self.metrics = InquiryMetrics(type(self.station.metrics)())
        return InquiryDuty(self.station, proof, self.metrics, badge=self.badge, **limits)

    def ask(self, question: Question, **limits: Any) -> Answer:
        return asyncio.run(self._ask(question, limits))

    async def _ask(self, question: Question, limits: dict[str, Any]) -> Answer:
        async with Serving(self.duty(**limits)) as path:
            return await ask(path, question, self.badge)

    def uses(self, count: int) -> list[dict[str, Any]]:
        """The records of questions, oldest first."""
        published(self.custody, "admin", count)
        return [
            record
            for record in self.custody.records()
            if record.get("api", {}).get("operation", "").startswith("evidence ")
        ]


class Serving:
    """Runs the duty as the custodian does."""

    def __init__(self, duty: InquiryDuty) -> None:
        self.duty = duty

    async def __aenter__(self) -> Path:
        self.task = asyncio.create_task(self.duty.run())
        path = self.duty._path
        async with asyncio.timeout(20):
            while not await is_open(path):
                await asyncio.sleep(0.01)
        return path

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        assert not self.duty._path.exists()


async def is_open(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(str(path))
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def send(path: Path, data: bytes) -> bytes:
    """Send bytes, a badge first, and return everything that comes back."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(data)
        async with asyncio.timeout(30):
            try:
                head = await reader.readexactly(LENGTH.size)
                return await reader.readexactly(LENGTH.unpack(head)[0])
            except (asyncio.IncompleteReadError, ConnectionResetError):
                return b""
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def ask(path: Path, question: Question, badge: bytes) -> Answer:
    return parse_answer(await send(path, badge + pack(question)))


@pytest.fixture
def bureau(custody: Custody, daemon: Start) -> Bureau:
    made = Bureau(custody)
    daemon()
    return made


def indexes(answer: Answer) -> list[int]:
    assert answer.status == "ok"
    return [row.index for row in answer.rows]


def test_an_operator_finds_everything_and_the_question_is_recorded(bureau: Bureau) -> None:
    whom = Whom(said=Sealed(c="AAAA", t=TOKEN), names=("person1",), tokens=(TOKEN,))
    answer = bureau.ask(Question(about="search", asker=ROOT, wanted=Wanted(streams=(Stream.ACCESS,), person=whom)))
    assert indexes(answer) == [8, 1]
    assert answer.origins["access"].endswith("/access")
    assert orjson.loads(answer.rows[1].payload)["metadata"]["uid"] == "e-1"
    [use] = bureau.uses(1)
    assert use["actor"] == {"session": {"uid": "h1"}, "user": {"name": "root", "type_id": 1, "uid": "u_root"}}
    assert use["api"]["operation"] == "evidence search"
    Draft202012Validator(record_schema()).validate(use)
    assert use["metadata"]["correlation_uid"] == "01PAGE"
    assert use["metadata"]["tenant_uid"] == "", "what an operator looked for is no organisation's to see"
    assert use["unmapped"]["gw"]["query"] == {"streams": "access", "user": {"c": "AAAA", "e": 1, "t": TOKEN}}


def test_an_organisation_sees_its_own_records_and_never_those_of_the_console(bureau: Bureau) -> None:
    streams = Wanted(streams=(Stream.ACCESS,))
    assert indexes(bureau.ask(Question(about="search", asker=TINA, wanted=streams))) == [8, 3, 2, 1, 0]
    assert indexes(bureau.ask(Question(about="export", asker=GUS, wanted=streams))) == [6, 5, 4]
    assert [use["metadata"]["tenant_uid"] for use in bureau.uses(2)] == ["acme", "globex"]


@pytest.mark.parametrize(("index", "is_theirs"), [(0, True), (5, False), (7, False), (9, False), (1 << 60, False)])
def test_one_record_of_others_is_like_one_that_is_not_there(bureau: Bureau, index: int, is_theirs: bool) -> None:
    question = Question(about="record", asker=TINA, stream=Stream.ACCESS, index=index)
    answer = bureau.ask(question)
    assert (answer.status, len(answer.rows)) == (("ok", 1) if is_theirs else ("none", 0))
    [use] = bureau.uses(1)
    assert use["unmapped"]["gw"]["query"] == {"index": str(index), "stream": "access"}


def test_an_administrator_of_no_organisation_sees_nothing(bureau: Bureau) -> None:
    """attack: an empty organisation is a filter that is not there."""
    nobody = msgspec.structs.replace(TINA, tenant="")
    assert bureau.ask(Question(about="search", asker=nobody)).status == "none"


def test_the_state_of_the_proofs_is_an_operators_and_a_refusal_is_recorded(bureau: Bureau) -> None:
    bureau_cursors = bureau.custody.bench.state_dir / "cursors"
    origin = bureau.station.tails[Stream.ACCESS].extent()
    assert origin is not None
    CursorFile(bureau_cursors, "siem", Stream.ACCESS).store(Cursor(origin=origin.origin, next_index=4))
    assert bureau.ask(Question(about="proof", asker=TINA)) == Answer(status="none")
    answer = bureau.ask(Question(about="proof", asker=ROOT))
    found = {standing.stream: standing for standing in answer.standings}
    access_ = found[Stream.ACCESS]
    head = parse_checkpoint(split_note(bureau.custody.bench.layout.checkpoint(Stream.ACCESS).read_bytes())[0])
    assert (access_.size, access_.root, access_.first) == (9, b64encode(head.root).decode(), 0)
    assert (access_.segments, access_.open_files, access_.cosigned) == (0, 1, ())
    assert [(lag.sink, lag.waiting, lag.is_required) for lag in access_.lags] == [("siem", 5, True)]
    assert not answer.is_witnessed
    assert not found[Stream.TRAFFIC].lags
    refused, shown = bureau.uses(2)
    assert (refused["status_id"], refused["unmapped"]["gw"]["reason"]) == (2, "role_missing")
    assert shown["status_id"] == 1


@pytest.mark.parametrize("about", ["search", "export", "record", "proof"])
def test_nothing_is_answered_that_could_not_be_recorded(custody: Custody, about: Any) -> None:
    bureau = Bureau(custody)  # and no daemon
    assert bureau.ask(Question(about=about, asker=ROOT, stream=Stream.ACCESS)) == Answer(status="unrecorded")


def test_a_resource_is_found_by_its_id_in_clear_and_sealed(bureau: Bureau) -> None:
    def found(kind: str, whom: Whom | None) -> list[int]:
        wanted = Wanted(streams=(Stream.ACCESS,), resource_type=kind, resource=whom)
        return indexes(bureau.ask(Question(about="search", asker=ROOT, wanted=wanted)))

    assert found("invoice", Whom(said="2", names=("2",))) == [2]
    assert found("patient", None) == [8]
    assert found("patient", Whom(said="x", names=("x",), tokens=(TOKEN,))) == [8]
    assert found("patient", Whom(said="x", names=("x",), tokens=("cd" * 16,))) == []


def test_records_are_leafed_through_and_narrowed(bureau: Bureau) -> None:
    def page(start: int, **wanted: Any) -> Answer:
        asked = Wanted(**{"streams": (Stream.ACCESS,), **wanted})
        return bureau.ask(Question(about="search", asker=ROOT, wanted=asked, start=start, size=4))

    assert (indexes(page(0)), page(0).more) == ([8, 7, 6, 5], True)
    assert (indexes(page(8)), page(8).more) == ([0], False)
    assert indexes(page(0, since=float(BEGIN_S + 1), until=float(BEGIN_S + 3))) == [2, 1]
    assert indexes(page(0, request_id="req-6")) == [6]
    token = "Bearer abcdefghijklmnopqrstuvwxyz0123456789"
    assert indexes(page(0, request_id=token)) == []
    assert token not in str(bureau.uses(7)[-1]), "what was pasted by mistake is not kept"
    assert indexes(page(0, decision="deny")) == []


def test_nothing_is_cut_silently(bureau: Bureau, monkeypatch: pytest.MonkeyPatch) -> None:
    question = Question(about="export", asker=ROOT, wanted=Wanted(streams=(Stream.ACCESS,)))
    assert bureau.ask(question, room=100) == Answer(status="many")
    monkeypatch.setattr(inquiry_module, "MAX_ROWS", 8)
    assert bureau.ask(question) == Answer(status="many")
    monkeypatch.setattr(inquiry_module, "MAX_ROWS", 9)
    assert len(bureau.ask(question).rows) == 9


def test_a_question_that_takes_too_long_is_ended(bureau: Bureau) -> None:
    assert bureau.ask(Question(about="search", asker=ROOT), longest_s=0.0) == Answer(status="slow")


@pytest.mark.parametrize(
    "data",
    [
        LENGTH.pack(MAX_QUESTION_BYTES + 1),
        LENGTH.pack(4) + b"\xc1\xc1\xc1\xc1",
        LENGTH.pack(1) + b"\x80",
        pack(Question(about="search", asker=ROOT)).replace(b"search", b"sealed"),
        pack(Question(about="search", asker=ROOT, wanted=Wanted(request_id="x" * 257))),
        pack(Question(about="search", asker=msgspec.structs.replace(ROOT, user=Sealed(c="", t="no token")))),
        pack(Question(about="search", asker=ROOT, size=101)),
        pack(Question(about="search", asker=ROOT, start=1 << 40)),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_question_is_not_answered(bureau: Bureau, data: bytes) -> None:
    async def converse() -> None:
        async with Serving(bureau.duty()) as path:
            assert await send(path, bureau.badge + data) == b""
            assert (await ask(path, Question(about="record", asker=ROOT), bureau.badge)).status in {"ok", "none"}

    asyncio.run(converse())


def test_one_person_asks_one_thing_at_a_time_and_whoever_is_gone_is_forgotten(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    """attack: one administrator's searches take every thread, or go on for ever after the browser left."""
    begun = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    real = InquiryDuty._search

    def endless(self: InquiryDuty, question: Question, stop: Any) -> Answer:
        if question.asker.user != "root":
            return real(self, question, stop)
        loops[0].call_soon_threadsafe(begun.set)
        assert stop.wait(30), "nobody ended it"
        return Answer(status="ok")

    monkeypatch.setattr(InquiryDuty, "_search", endless)

    async def converse() -> None:
        loops.append(asyncio.get_running_loop())
        question = Question(about="search", asker=ROOT)
        async with Serving(bureau.duty()) as path:
            _, writer = await asyncio.open_unix_connection(str(path))
            writer.write(bureau.badge + pack(question))
            await begun.wait()
            assert (await ask(path, question, bureau.badge)).status == "busy"
            assert (await ask(path, Question(about="search", asker=TINA), bureau.badge)).status == "ok"
            writer.close()
            await writer.wait_closed()
            async with asyncio.timeout(20):
                while (await ask(path, Question(about="record", asker=ROOT), bureau.badge)).status == "busy":
                    await asyncio.sleep(0.01)

    asyncio.run(converse())


def test_a_socket_that_was_left_behind_is_replaced(bureau: Bureau) -> None:
    path = bureau.custody.bench.layout.run / "evidence.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert bureau.ask(Question(about="search", asker=ROOT)).status == "ok"


def test_a_record_under_way_is_not_overtaken_when_whoever_waits_for_it_is_cancelled(
    bureau: Bureau, monkeypatch: pytest.MonkeyPatch
) -> None:
    """attack: two writers of the custodian's slot at once, and the log takes the one for a repetition of the other."""
    trail = bureau.station.trail
    at_once: list[int] = []
    running = 0
    real = trail.write

    def counted(*arguments: Any) -> None:
        nonlocal running
        running += 1
        at_once.append(running)
        real(*arguments)
        running -= 1

    monkeypatch.setattr(trail, "write", counted)

    async def interrupted() -> None:
        build = partial(inquiry_module.use_of, question=Question(about="search", asker=ROOT), success=True)
        tasks = [asyncio.create_task(trail.record(build)) for _ in range(6)]
        await asyncio.sleep(0)
        for _ in range(2):  # a reload cancels again what does not end
            await asyncio.sleep(0)
            tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(interrupted())
    assert set(at_once) == {1}
    assert len(bureau.uses(len(at_once))) == len(at_once)


async def look(tail: Tail) -> None:
    """Watch the stream as the custodian does."""
    while True:
        tail.look()
        tail.wake()
        await asyncio.sleep(0.05)


def test_a_record_is_shown_as_soon_as_a_search_finds_it(bureau: Bureau) -> None:
    """A search reads what no tree head covers yet; whoever clicks on it must not be told that it is not there."""

    async def converse() -> Answer:
        watch = asyncio.create_task(look(bureau.station.tails[Stream.SECURITY]))
        try:
            async with Serving(bureau.duty()) as path:
                everything = Question(about="search", asker=ROOT, wanted=Wanted(streams=(Stream.SECURITY,)))
                found = await ask(path, everything, bureau.badge)
                newest = found.rows[0].index
                one = Question(about="record", asker=ROOT, stream=Stream.SECURITY, index=newest)
                return await ask(path, one, bureau.badge)
        finally:
            watch.cancel()

    answer = asyncio.run(converse())
    assert answer.status == "ok"
    assert orjson.loads(answer.rows[0].payload)["api"]["operation"] == "evidence search"


@pytest.mark.parametrize("slot", [0, protocol.PAGES_SLOT])
def test_a_worker_that_was_taken_over_cannot_ask_in_the_name_of_an_operator(
    bureau: Bureau, slot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """attack: it may connect where the user of the gateway may, reads the log and has an operator recorded for it."""
    monkeypatch.setattr("gateway.custody.impostors.PAUSE_S", 0.01)
    question = Question(about="export", asker=ROOT)

    async def converse() -> Answer:
        async with Serving(bureau.duty()) as path:
            for badge in (bureau.custody.bench.keys.badge(slot), bytes(16), bytes(16)):
                assert await send(path, badge + pack(question)) == b""
            assert await send(path, pack(question)) == b"", "nor without any"
            answer = await ask(path, Question(about="search", asker=ROOT), bureau.badge)
            async with asyncio.timeout(20):
                while sum(claimed["count"] for claimed in tried()) < 4:
                    await asyncio.sleep(0.02)
            return answer

    def tried() -> list[dict[str, Any]]:
        return [gw["claimed"] for gw in bureau.custody.events("audit.impostor")]

    assert asyncio.run(converse()).status == "ok"
    assert {claimed["socket"] for claimed in tried()} == {"evidence.sock"}
    assert sum(claimed["count"] for claimed in tried()) == 4
    assert bureau.uses(1)[0]["api"]["operation"] == "evidence search", "what was refused is no use of the log"
    assert dict(bureau.metrics.asked.values)["unknown", "impostor"] == 4
