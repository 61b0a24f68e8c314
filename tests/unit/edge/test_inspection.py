"""Attacks in requests, at the edge: what reaches the portal, what the client is told, what is recorded."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.edge import held_bytes, inspecting
from gateway.edge.answering import Answering
from gateway.edge.exchange import Refusal
from gateway.edge.http2_stream import STREAM_WINDOW
from gateway.edge.inspecting import ON_LOOP_BYTES
from gateway.edge.snapshot import CrsRules, RouteInspection, WafRules
from gateway.edge.withheld import WithheldError
from gateway.exchange.opinion import Match, Opinion, Question
from gateway.exchange.reason import Reason
from gateway.inspection.engine import Inspection
from gateway.inspection.finding import Position
from gateway.inspection.patch import Patch, template
from gateway.inspection.patterns import compile_pattern
from gateway.inspection.rules import read_rules
from gateway.inspection.tuning import Mode, Settings, tuned
from tests.fakes.portal import OK, Portal, read_body
from tests.unit.edge.conftest import Edge, Http2Edge, Reply, until

RULES = read_rules(
    {"r.yaml": "version: 1\nclass: sqli\nrules:\n"
     "  - {id: test-union, title: t, pattern: '(?i)union select', contains: [union], score: 5, paranoia: 1}\n"
     "  - {id: test-quote, title: t, pattern: \"''\", contains: [\"''\"], score: 2, paranoia: 1}\n"},
    (),
)  # fmt: skip
ATTACK = "1+union+select+2"
PAYLOAD = "union select"
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
MAX_BODY = 4096


def rules(mode: Mode = Mode.BLOCK, **changes: Any) -> RouteInspection:
    engine = Inspection(RULES, mechanisms=(), digest_key=b"k" * 32)
    waf = WafRules(engine, tuned(Settings(mode=mode), RULES))
    return replace(RouteInspection(waf=waf, max_body=MAX_BODY), **changes)


def inspect(edge: Edge, *, on: str = "public", **changes: Any) -> None:
    edge.change(inspections={on: rules(**changes)})


def told(edge: Edge) -> list[dict[str, Any]]:
    """What the records say of inspection."""
    return [
        record["unmapped"]["gw"]["inspection"]
        for record in edge.audit.records
        if "inspection" in record["unmapped"]["gw"] and record["unmapped"]["gw"]["phase"] != "intent"
    ]


def is_untouched(edge: Edge) -> bool:
    return edge.portal.heads == []


async def test_an_attack_in_the_query_never_reaches_the_portal(edge: Edge) -> None:
    inspect(edge)
    reply = await edge.get(f"/public/x?q={ATTACK}", fields="Accept: application/json\r\n")
    assert (reply.status, json.loads(reply.body)["reason"]) == (403, "hostile_input")
    assert is_untouched(edge)


async def test_the_answer_names_no_rule_and_no_payload_and_has_a_reference_number(edge: Edge) -> None:
    inspect(edge)
    reply = await edge.get(f"/public/x?q={ATTACK}", fields="Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n")
    assert reply.status == 403
    assert b"test-union" not in reply.raw
    assert b"union" not in reply.body
    assert reply.field("x-request-id")[0] in reply.body


async def test_an_honest_request_passes_as_it_was_sent(edge: Edge) -> None:
    inspect(edge)
    reply = await edge.get("/public/x?name=O%27Brien&q=the+student+union")
    assert reply.status == 200
    assert edge.portal.head.startswith(b"GET /public/x?name=O%27Brien&q=the+student+union HTTP/1.1")
    assert told(edge) == []


async def test_a_route_without_inspection_is_not_inspected(edge: Edge) -> None:
    inspect(edge, on="invoice")
    assert (await edge.get(f"/public/x?q={ATTACK}")).status == 200


@pytest.mark.parametrize(
    "fields",
    [
        "User-Agent: x union select y\r\n",
        "Referer: https://portal.example/?q=union%20select\r\n",
        "X-Filter: union select\r\n",
        "Cookie: theme=union select\r\n",
        "Authorization: Basic dW5pb24gc2VsZWN0OnB3\r\n",
    ],
)
async def test_an_attack_in_a_field_that_goes_upstream_is_stopped(edge: Edge, fields: str) -> None:
    inspect(edge)
    assert (await edge.get("/public/x", fields=fields)).status == 403
    assert is_untouched(edge)


async def test_our_own_cookie_and_an_authorization_that_stays_here_are_nobodys_input(edge: Edge) -> None:
    inspect(edge, on="home")
    assert (await edge.get("/", token="tok")).status == 200


async def test_an_attack_in_a_form_is_stopped_before_the_portal_sees_its_head(edge: Edge) -> None:
    inspect(edge)
    reply = await edge.get("/public/x", method="POST", fields=FORM, body=f"a=1&q={ATTACK}".encode())
    assert reply.status == 403
    assert is_untouched(edge)


async def test_a_body_that_comes_in_pieces_is_judged_whole(edge: Edge) -> None:
    inspect(edge)
    reader, writer = await edge.connect()
    body = f"a=1&q={ATTACK}".encode()
    writer.write(
        b"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n%b\r\n" % (len(body), FORM.encode())
    )
    for byte in body:
        writer.write(bytes((byte,)))
        await asyncio.sleep(0.001)
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 403")
    assert is_untouched(edge)
    writer.close()


async def test_a_chunked_body_is_judged_and_goes_upstream_with_its_length(edge: Edge) -> None:
    inspect(edge)
    start = (
        f"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n{FORM}\r\n"
    )
    reply = Reply(await edge.raw(start.encode() + b"3\r\na=1\r\n4\r\n&b=2\r\n0\r\n\r\n"))
    assert reply.status == 200
    assert edge.portal.bodies == [b"a=1&b=2"]
    assert edge.portal.field(b"content-length") == [b"7"]
    assert edge.portal.field(b"transfer-encoding") == []
    hostile = start.encode() + b"a\r\nq=1+union+\r\n8\r\nselect+2\r\n0\r\n\r\n"
    assert Reply(await edge.raw(hostile)).status == 403
    assert len(edge.portal.heads) == 1


async def test_an_honest_body_reaches_the_portal_byte_for_byte(edge: Edge) -> None:
    inspect(edge)
    body = b"name=O%27Brien&text=stra%C3%9Fe+%26+co&a=&a=2"
    assert (await edge.get("/public/x", method="POST", fields=FORM, body=body)).status == 200
    assert edge.portal.bodies == [body]


async def test_a_client_that_waits_for_continue_is_told_to_go_on(edge: Edge) -> None:
    inspect(edge)
    reader, writer = await edge.connect()
    writer.write(
        f"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n{FORM}\r\n".encode()
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    writer.write(b"a=1")
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_the_next_request_of_the_connection_is_served_after_a_held_body(edge: Edge) -> None:
    inspect(edge)
    one = f"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n{FORM}\r\na=1".encode()
    two = b"GET /public/y HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    answer = await edge.raw(one + two)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert [head.split()[1] for head in edge.portal.heads] == [b"/public/x", b"/public/y"]


async def test_a_hostile_body_does_not_become_the_next_request(edge: Edge) -> None:
    inspect(edge)
    inner = b"GET /public/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    body = f"q={ATTACK}&x=".encode() + inner
    head = b"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: %d\r\n%b\r\n"
    answer = await edge.raw(head % (len(body), FORM.encode()) + body)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert is_untouched(edge)


async def test_a_body_beyond_what_is_read_is_refused_before_it_was_sent_whole(edge: Edge) -> None:
    inspect(edge)
    reply = await edge.get("/public/x", method="POST", fields=FORM, body=b"a=" + b"x" * 2 * MAX_BODY)
    assert (reply.status, json.loads(reply.body)["reason"]) == (413, "body_too_large")
    assert is_untouched(edge)


async def test_a_file_of_any_size_is_no_text_and_passes(edge: Edge) -> None:
    inspect(edge)
    image = bytes(range(256)) * 64
    fields = "Content-Type: image/png\r\n"
    assert (await edge.get("/public/x", method="POST", fields=fields, body=image)).status == 200
    assert edge.portal.bodies == [image]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"a": '),
        ("application/xml", b"<a><b></a>"),
        ("multipart/form-data; boundary=x", b"--x\r\nno head"),
        ("application/x-www-form-urlencoded; charset=utf-7", b"a=1"),
    ],
)
async def test_a_body_that_is_not_what_it_says_is_refused(edge: Edge, kind: str, body: bytes) -> None:
    inspect(edge)
    reply = await edge.get("/public/x", method="POST", fields=f"Content-Type: {kind}\r\n", body=body)
    assert (reply.status, json.loads(reply.body)["reason"]) == (415, "body_unreadable")
    assert is_untouched(edge)
    assert edge.worker.metrics.inspection_unread.values == {("public", "body_unreadable"): 1}


async def test_a_body_that_is_too_complex_is_refused(edge: Edge) -> None:
    inspect(edge)
    body = b"[" * 100 + b"]" * 100
    reply = await edge.get("/public/x", method="POST", fields="Content-Type: application/json\r\n", body=body)
    assert (reply.status, json.loads(reply.body)["reason"]) == (413, "body_too_complex")


async def test_where_attacks_are_only_detected_they_pass_and_are_recorded(edge: Edge) -> None:
    inspect(edge, mode=Mode.DETECT)
    assert (await edge.get(f"/public/x?q={ATTACK}")).status == 200
    assert told(edge)[0]["waf"][0]["outcome"] == "detected"
    assert edge.worker.metrics.inspection_findings.values == {("public", "sqli", "detected"): 1}


async def test_where_attacks_are_only_detected_an_unreadable_or_large_body_passes_as_it_came(edge: Edge) -> None:
    inspect(edge, mode=Mode.DETECT)
    assert (
        await edge.get("/public/x", method="POST", fields="Content-Type: application/json\r\n", body=b"{")
    ).status == 200
    large = b"a=" + b"x" * 3 * MAX_BODY
    assert (await edge.get("/public/x", method="POST", fields=FORM, body=large)).status == 200
    start = (
        f"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n{FORM}\r\n"
    )
    chunks = b"".join(b"%x\r\n%b\r\n" % (1000, b"y" * 1000) for _ in range(9))
    assert Reply(await edge.raw(start.encode() + chunks + b"0\r\n\r\n")).status == 200
    assert edge.portal.bodies == [b"{", large, b"y" * 9000]
    assert [item["waf"][0]["outcome"] for item in told(edge)] == ["unread"] * 3


async def test_the_record_says_rule_place_and_digest_and_never_the_payload(edge: Edge) -> None:
    inspect(edge)
    await edge.get(f"/public/x?q={ATTACK}&secret=hunter2")
    (record,) = [record for record in edge.audit.records if "inspection" in record["unmapped"]["gw"]]
    (verdict,) = record["unmapped"]["gw"]["inspection"]["waf"]
    (finding,) = verdict["findings"]
    assert (verdict["outcome"], verdict["score"]) == ("blocked", 5)
    assert {key: finding[key] for key in ("rule", "class", "position", "name")} == {
        "rule": "test-union", "class": "sqli", "position": "query", "name": "q",
    }  # fmt: skip
    assert len(finding["digest"]) == 16
    assert PAYLOAD not in json.dumps(edge.audit.records).lower()
    assert "hunter2" not in json.dumps(edge.audit.records)
    found = [record for record in edge.audit.records if record["class_uid"] == 2004]
    assert [record["unmapped"]["gw"]["event"] for record in found] == ["request.hostile"]


async def test_what_stays_below_the_threshold_passes_and_is_noted_without_an_alarm(edge: Edge) -> None:
    inspect(edge)
    assert (await edge.get("/public/x?q=%27%27")).status == 200
    assert told(edge)[0]["waf"][0]["outcome"] == "noted"
    assert not any(record["class_uid"] == 2004 for record in edge.audit.records)


async def test_a_fault_of_the_engine_refuses(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("boom")

    inspect(edge)
    monkeypatch.setattr(Inspection, "judge_head", broken)
    assert (await edge.get("/public/x")).status == 500
    monkeypatch.undo()
    monkeypatch.setattr(Inspection, "judge_body", broken)
    assert (await edge.get("/public/x", method="POST", fields=FORM, body=b"a=1")).status == 500
    assert is_untouched(edge)


async def test_a_client_that_leaves_in_the_middle_of_a_held_body_leaves_nothing_behind(edge: Edge) -> None:
    inspect(edge)
    _, writer = await edge.connect()
    writer.write(f"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 30\r\n{FORM}\r\na=1".encode())
    await until(lambda: edge.worker.uploads is not None)
    writer.transport.abort()
    await until(lambda: any(record["unmapped"]["gw"]["outcome"] == "aborted_client" for record in edge.audit.records))
    assert is_untouched(edge)


async def test_a_held_body_larger_than_the_sockets_reaches_a_slow_portal_whole(edge: Edge) -> None:
    edge.change(inspections={"public": rules(max_body=1 << 20)})
    body = b"a=" + b"0123456789" * 90_000

    async def slow(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        portal.bodies.append(await read_body(head, reader))
        writer.write(OK)

    edge.portal.answers[b"/public/slow"] = slow
    assert (await edge.get("/public/slow", method="POST", fields=FORM, body=body)).status == 200
    assert edge.portal.bodies == [body]


async def test_bodies_of_many_clients_together_do_not_fill_the_memory(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_bytes, "MOST_HELD_BYTES", 6000)
    edge.change(inspections={"public": rules(max_body=1500)})
    first = [await edge.connect() for _ in range(5)]
    for _, writer in first:  # each is slow with its last byte
        writer.write(
            f"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1200\r\n{FORM}\r\n".encode() + b"a" * 1199
        )
    await until(lambda: edge.worker.held_bytes.held == 5 * 1199)
    reply = await edge.get("/public/x", method="POST", fields=FORM + "Accept: application/json\r\n", body=b"a=1234")
    assert (reply.status, json.loads(reply.body)["reason"]) == (503, "overloaded")
    assert reply.field("retry-after") == [b"1"]
    for reader, writer in first:
        writer.write(b"=")
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        writer.close()
    assert (await edge.get("/public/x", method="POST", fields=FORM, body=b"a=1234")).status == 200
    assert edge.worker.held_bytes.held == 0


async def test_while_a_portal_takes_a_held_body_slowly_its_answer_is_not_overdue(edge: Edge) -> None:
    size = 16 << 20  # more than the sockets between take
    edge.change(inspections={"public": rules(max_body=size)})
    edge.change_wire(max_body=size)
    gate = asyncio.Event()
    waiting: list[tuple[Answering, float]] = []

    async def slow(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await reader.readexactly(size // 2)
        await until(lambda: waiting[0][0].deadline > waiting[0][1])
        await reader.readexactly(size // 2)
        writer.write(OK)

    edge.portal.answers[b"/public/slow"] = slow
    reply = asyncio.create_task(edge.get("/public/slow", method="POST", fields=FORM, body=b"a=" + b"b" * (size - 2)))
    await until(lambda: edge.portal.heads)
    (client,) = edge.worker._connections
    assert isinstance(client, Answering)
    waiting.append((client, client.deadline))
    gate.set()
    assert (await reply).status == 200


async def test_after_an_early_answer_to_a_held_body_nobodys_request_becomes_the_rest_of_it(edge: Edge) -> None:
    size = 16 << 20  # more than the sockets between take
    edge.change(inspections={"public": rules(max_body=size)})
    edge.change_wire(max_body=size)

    async def early(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
        await read_body(head, reader)

    edge.portal.answers[b"/public/early"] = early
    reply = await edge.get("/public/early", method="POST", fields=FORM, body=b"a=" + b"b" * (size - 2))
    assert reply.status == 413
    assert (await edge.get("/public/next", fields="Cookie: sid=s\r\n")).status == 200
    assert not any(b"/public/early" in wire and b"/public/next" in wire for wire in edge.portal.wire)


class Second:
    """A second engine that says what it is told to."""

    def __init__(self, opinion: Opinion | None) -> None:
        self.opinion = opinion
        self.questions: list[Question] = []
        self.delay_s = 0.01

    def ask(self, question: Question, answered: Callable[[Opinion | None], None]) -> None:
        self.questions.append(question)
        asyncio.get_running_loop().call_later(self.delay_s, answered, self.opinion)


HARMLESS = Opinion(is_hostile=False, matches=[], micros=1)
HOSTILE = Opinion(is_hostile=True, matches=[Match(942100, 2, "ARGS:q")], micros=1)


def second(edge: Edge, opinion: Opinion | None, *, blocks: bool = True, may_fail: bool = False) -> Second:
    engine = Second(opinion)
    inspect(edge, crs=CrsRules(engine, blocks=blocks, may_fail=may_fail))
    return engine


async def test_a_second_engine_is_asked_about_what_goes_upstream_and_nothing_else(edge: Edge) -> None:
    engine = second(edge, HARMLESS)
    fields = FORM + "Connection: x-hop\r\nX-Hop: 1\r\nX-Gateway-User: root\r\nCookie: gw=tok; theme=dark\r\n"
    assert (await edge.get("/public/x?a=1", method="POST", fields=fields, body=b"b=2")).status == 200
    (question,) = engine.questions
    assert (question.method, question.target, question.body) == ("POST", b"/public/x?a=1", b"b=2")
    names = [name for name, _ in question.fields]
    assert b"x-gateway-user" not in names
    assert (b"cookie", b"theme=dark") in question.fields
    assert edge.portal.bodies == [b"b=2"]


async def test_what_a_second_engine_finds_is_stopped_and_recorded(edge: Edge) -> None:
    second(edge, HOSTILE)
    assert (await edge.get("/public/x?q=1")).status == 403
    assert is_untouched(edge)
    assert told(edge)[0]["crs"] == [
        {"outcome": "blocked", "rules": [{"rule": 942100, "place": "ARGS:q", "severity": 2}]}
    ]


async def test_a_second_engine_that_only_detects_stops_nothing(edge: Edge) -> None:
    second(edge, HOSTILE, blocks=False)
    assert (await edge.get("/public/x?q=1")).status == 200
    assert told(edge)[0]["crs"][0]["outcome"] == "detected"


@pytest.mark.parametrize(("may_fail", "status"), [(False, 503), (True, 200)])
async def test_a_second_engine_that_cannot_be_asked_refuses_unless_the_route_says_otherwise(
    edge: Edge, may_fail: bool, status: int
) -> None:
    second(edge, None, may_fail=may_fail)
    assert (await edge.get("/public/x?q=1")).status == status
    assert edge.worker.metrics.crs.values == {("public", "failed"): 1}


async def test_a_second_engine_is_not_asked_about_what_ours_stopped(edge: Edge) -> None:
    engine = second(edge, HARMLESS)
    assert (await edge.get(f"/public/x?q={ATTACK}")).status == 403
    assert engine.questions == []


async def test_a_client_that_leaves_while_a_second_engine_judges_is_forgotten(edge: Edge) -> None:
    engine = second(edge, HARMLESS)
    engine.delay_s = 0.2
    _, writer = await edge.connect()
    writer.write(b"GET /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    await until(lambda: engine.questions)
    # a reset: who only ends a plain connection may still read
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    await asyncio.sleep(0.3)
    assert is_untouched(edge)


async def test_a_field_block_that_was_harmless_is_not_read_again_and_a_hostile_one_always_is(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    judge = Inspection.judge_head

    def counted(self: Inspection, line: Any, fields: Any, tuning: Any, *, now: float) -> Any:
        given.append(len(list(fields)))
        return judge(self, line, fields, tuning, now=now)

    inspect(edge)
    monkeypatch.setattr(Inspection, "judge_head", counted)
    for _ in range(2):
        assert (await edge.get("/public/x", fields="User-Agent: plain\r\n")).status == 200
        assert (await edge.get("/public/x", fields=f"User-Agent: {PAYLOAD}\r\n")).status == 403
    assert given[0] > 0
    assert given[2] == 0
    assert given[1] == given[3] > 0
    assert (await edge.get(f"/public/x?q={ATTACK}", fields="User-Agent: plain\r\n")).status == 403


FORM_FIELD = (b"content-type", b"application/x-www-form-urlencoded")


@pytest.mark.parametrize("length", [True, False])
async def test_over_http2_a_body_is_judged_whole_and_goes_upstream_with_its_length(
    http2: Http2Edge, length: bool
) -> None:
    inspect(http2.edge)
    client = await http2.client()
    for body, status in ((b"a=1&b=2", 200), (f"q={ATTACK}".encode(), 403)):
        fields = (FORM_FIELD, (b"content-length", b"%d" % len(body))) if length else (FORM_FIELD,)
        stream_id = client.request(client.get("/public/x", *fields, method=b"POST"), end=False)
        client.data(stream_id, body[:3])
        client.data(stream_id, body[3:], end=True)
        assert (await client.answer(stream_id)).status == status
    assert http2.edge.portal.bodies == [b"a=1&b=2"]
    assert http2.edge.portal.field(b"content-length") == [b"7"]


async def test_over_http2_a_large_body_keeps_its_window_open_while_it_is_held(http2: Http2Edge) -> None:
    http2.edge.change(inspections={"public": rules(max_body=1 << 20)})
    client = await http2.client()
    body = b"a=" + b"x" * 900_000
    stream_id = client.request(client.get("/public/x", FORM_FIELD, method=b"POST"), end=False)
    sent = 0
    while sent < len(body):
        await client.until(lambda sent=sent: client.room(stream_id) + STREAM_WINDOW - sent >= 16_384)  # type: ignore[misc]
        piece = body[sent : sent + 16_384]
        sent += len(piece)
        client.data(stream_id, piece, end=sent == len(body))
    assert (await client.answer(stream_id)).status == 200
    assert http2.edge.portal.bodies == [body]


async def test_over_http2_a_second_engine_is_waited_for_and_other_streams_go_on(http2: Http2Edge) -> None:
    engine = second(http2.edge, HARMLESS)
    engine.delay_s = 0.2
    client = await http2.client()
    slow = client.request(client.get("/public/x"))
    assert (await client.ask("/invoices/1", method=b"GET")).status in {302, 401}
    assert not client.is_over(slow)
    assert (await client.answer(slow)).status == 200


class Shout:
    """A transform for tests: upper case, and a word that must not leave."""

    def __init__(self, head: Any) -> None:
        self.head = replace(head, length=None, hardened={})
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        if b"secret" in data:
            raise WithheldError(Refusal("inspection", Reason.DATA_WITHHELD))
        return data.upper()

    def finish(self) -> bytes:
        return b"!"


@pytest.fixture
def shouting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspecting, "_OPENERS", (lambda x, head: Shout(head),))


@pytest.mark.usefixtures("shouting")
async def test_an_answer_is_changed_on_its_way_and_framed_anew(edge: Edge) -> None:
    inspect(edge)
    edge.portal.answers[b"/public/whole"] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
    edge.portal.answers[b"/public/chunks"] = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    )
    for path in ("/public/whole", "/public/chunks"):
        reply = await edge.get(path)
        assert reply.status == 200
        assert reply.field("content-length") == []
        assert unchunked(reply.body) == b"HELLO!"
    assert (await edge.get("/public/whole", method="HEAD")).body == b""


def unchunked(body: bytes) -> bytes:
    text = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        text, body = text + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return text


@pytest.mark.usefixtures("shouting")
async def test_an_answer_that_must_not_leave_is_answered_by_us_while_nobody_has_seen_it(edge: Edge) -> None:
    inspect(edge)
    edge.portal.answers[b"/public/x"] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"
    reply = await edge.get("/public/x")
    assert (reply.status, json.loads(reply.body)["reason"]) == (403, "data_withheld")
    assert b"secret" not in reply.raw
    (record,) = [record for record in edge.audit.records if record["unmapped"]["gw"].get("phase") != "intent"]
    assert record["unmapped"]["gw"]["reason"] == "data_withheld"


@pytest.mark.parametrize(
    "framed",
    [
        b"Content-Length: 30\r\n\r\nsecret",
        b"Transfer-Encoding: chunked\r\n\r\n6\r\nsecret\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n6\r\nsecret\r\n0\r\n\r\n",
        b"\r\nsecret",
    ],
)
async def test_nothing_of_an_answer_that_its_head_gives_away_stands_behind_ours(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, framed: bytes
) -> None:
    """Response splitting: what the portal sent along with the head would be read as the next answer."""

    def withheld(x: Any, head: Any) -> Any:
        raise WithheldError(Refusal("inspection", Reason.DATA_WITHHELD))

    inspect(edge)
    monkeypatch.setattr(inspecting, "_OPENERS", (withheld,))
    edge.portal.answers[b"/public/x"] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n" + framed
    reply = await edge.get("/public/x")
    assert (reply.status, json.loads(reply.body)["reason"]) == (403, "data_withheld")
    assert b"secret" not in reply.raw


@pytest.mark.usefixtures("shouting")
async def test_a_connection_whose_answer_was_withheld_at_its_end_serves_nobody_else(edge: Edge) -> None:
    inspect(edge)
    edge.change_upstream(max_connections=1)
    gate = asyncio.Event()

    async def slowly(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        await gate.wait()
        writer.write(b"secret")

    edge.portal.answers[b"/public/x"] = slowly
    first = asyncio.create_task(edge.get("/public/x"))
    await until(lambda: edge.portal.heads)
    second = asyncio.create_task(edge.get("/public/y", method="POST", fields=FORM, body=b"a=1"))
    await until(lambda: any(record["unmapped"]["gw"]["phase"] == "intent" for record in edge.audit.records))
    await asyncio.sleep(0.05)  # it waits for the connection by now
    gate.set()
    assert (await second).status == 200
    assert b"secret" not in (await first).raw.lower()


@pytest.mark.usefixtures("shouting")
async def test_an_answer_that_must_not_go_on_is_broken_off_where_it_began(edge: Edge) -> None:
    inspect(edge)
    gate = asyncio.Event()

    async def slowly(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello ")
        await gate.wait()
        writer.write(b"secret")

    edge.portal.answers[b"/public/x"] = slowly
    reader, writer = await edge.connect()
    writer.write(b"GET /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    await reader.readuntil(b"HELLO \r\n")
    gate.set()
    assert await reader.read() == b"", "without the last chunk: whoever reads it knows that it is not whole"
    writer.close()
    await until(lambda: any(record["unmapped"]["gw"]["reason"] == "data_withheld" for record in edge.audit.records))


@pytest.mark.usefixtures("shouting")
async def test_the_connection_goes_on_after_an_answer_that_was_changed(edge: Edge) -> None:
    inspect(edge)
    one = b"GET /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    two = b"GET /public/b HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    answer = await edge.raw(one + two)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.count(b"OK\r\n1\r\n!\r\n0\r\n\r\n") == 2


@pytest.mark.usefixtures("shouting")
async def test_over_http2_an_answer_is_changed_too(http2: Http2Edge) -> None:
    inspect(http2.edge)
    client = await http2.client()
    answer = await client.ask("/public/x")
    assert (answer.body, answer.field(b"content-length")) == (b"OK!", [])


async def test_a_fault_while_an_answer_is_changed_releases_nothing(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(x: Any, head: Any) -> Any:
        raise RuntimeError("boom")

    inspect(edge)
    monkeypatch.setattr(inspecting, "_OPENERS", (broken,))
    reply = await edge.get("/public/x")
    assert (reply.status, json.loads(reply.body)["reason"]) == (500, "internal_error")


@pytest.mark.usefixtures("shouting")
@pytest.mark.parametrize("part", ["feed", "finish"])
async def test_a_fault_in_the_middle_of_an_answer_releases_nothing_more(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def broken(*_: Any) -> bytes:
        raise RuntimeError("boom")

    inspect(edge)
    monkeypatch.setattr(Shout, part, broken)
    reply = await edge.get("/public/x")
    assert (reply.status, json.loads(reply.body)["reason"]) == (500, "internal_error")


async def test_a_large_body_is_judged_beside_the_loop_and_others_are_served_meanwhile(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, judge = threading.Event(), Inspection.judge_body

    def slow(self: Inspection, *given: Any, **named: Any) -> Any:
        assert gate.wait(30)
        return judge(self, *given, **named)

    edge.change(inspections={"public": rules(max_body=1 << 20)})
    monkeypatch.setattr(Inspection, "judge_body", slow)
    body = b"a=" + b"x" * (ON_LOOP_BYTES + 1)
    large = asyncio.ensure_future(edge.get("/public/large", method="POST", fields=FORM, body=body))
    hostile = asyncio.ensure_future(
        edge.get("/public/x", method="POST", fields=FORM, body=body + f"&q={ATTACK}".encode())
    )
    assert (await edge.get("/public/other")).status == 200
    gate.set()
    assert (await large).status == 200
    assert (await hostile).status == 403
    assert [head.split()[1] for head in edge.portal.heads] == [b"/public/other", b"/public/large"]


async def test_bodies_of_clients_that_left_are_neither_kept_nor_judged(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, judge, judged = threading.Event(), Inspection.judge_body, []

    def slow(self: Inspection, *given: Any, **named: Any) -> Any:
        judged.append(given)
        assert gate.wait(30)
        return judge(self, *given, **named)

    edge.change(inspections={"public": rules(max_body=1 << 20)})
    monkeypatch.setattr(Inspection, "judge_body", slow)
    body = b"a=" + b"x" * (ON_LOOP_BYTES + 1)
    first = asyncio.ensure_future(edge.get("/public/x", method="POST", fields=FORM, body=body))
    await until(lambda: judged)
    for _ in range(5):
        _, writer = await edge.connect()
        writer.write(
            f"POST /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n{FORM}\r\n".encode()
        )
        writer.write(body)
        await until(lambda: edge.worker.held_bytes.held == 2 * len(body))
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
        writer.transport.abort()
        await until(lambda: edge.worker.held_bytes.held == len(body))
    gate.set()
    assert (await first).status == 200
    assert (await edge.get("/public/x", method="POST", fields=FORM, body=body)).status == 200
    assert len(judged) == 2, "the one that waited for its answer, and the last"


async def test_a_fault_beside_the_loop_refuses(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("boom")

    edge.change(inspections={"public": rules(max_body=1 << 20)})
    monkeypatch.setattr(Inspection, "judge_body", broken)
    body = b"a=" + b"x" * (ON_LOOP_BYTES + 1)
    assert (await edge.get("/public/x", method="POST", fields=FORM, body=body)).status == 500
    assert is_untouched(edge)
    assert ("request.failed" in [name for name, _ in edge.reports]) is True


def patched(mode: Mode, positions: frozenset[Position] = frozenset()) -> RouteInspection:
    """A hole of one parameter that is closed, whatever is done about attacks."""
    patch = Patch(
        id="cve-2027-1", title="T", action="block", methods=frozenset(), path=template("/public/hole"),
        positions=positions, name="file", pattern=compile_pattern(r"\.\."), expires_at=float("inf"),
    )  # fmt: skip
    waf = WafRules(Inspection(RULES, mechanisms=()), tuned(Settings(mode=mode, patches=(patch,)), RULES))
    return RouteInspection(waf=waf, max_body=MAX_BODY)


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.DETECT])
@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (FORM, b"file=../x"),
        (FORM, b"a=" + b"x" * MAX_BODY + b"&file=../x"),  # longer than what is held
        (FORM.replace("\r", "; charset=ibm037\r"), b"file=../x"),
        ("Content-Type: application/json\r\n", b'{"file": "../x",}'),
        (FORM + "Content-Encoding: gzip\r\n", b"file=../x"),
        (FORM + "Content-Encoding: zzz\r\n", b"file=../x"),
    ],
)
async def test_a_patch_is_not_passed_by_where_attacks_are_only_recorded(
    edge: Edge, mode: Mode, fields: str, body: bytes
) -> None:
    edge.change(inspections={"public": patched(mode)})
    assert (await edge.get("/public/hole", method="POST", fields=fields, body=body)).status >= 400
    assert is_untouched(edge)


async def test_a_patch_of_one_page_and_place_asks_nothing_of_other_bodies(edge: Edge) -> None:
    body = b"a=" + b"x" * MAX_BODY
    edge.change(inspections={"public": patched(Mode.OFF)})
    assert (await edge.get("/public/x", method="POST", fields=FORM, body=body)).status == 200
    edge.change(inspections={"public": patched(Mode.OFF, frozenset({Position.QUERY}))})
    assert (await edge.get("/public/hole", method="POST", fields=FORM, body=body)).status == 200


@pytest.mark.parametrize("mode", [Mode.BLOCK, Mode.DETECT])
async def test_a_head_that_takes_too_long_to_judge_is_refused_where_attacks_are(
    edge: Edge, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.inspection.engine.MAX_HEAD_WORK", 100)
    inspect(edge, mode=mode)
    reply = await edge.get("/public/x?q=" + "the+union+of+students" * 9)
    assert reply.status == (431 if mode is Mode.BLOCK else 200)
    assert told(edge)[0] == {"waf": [{"outcome": "unread", "because": "head_too_large"}]}


async def test_a_dense_head_does_not_pass_by_a_patch(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.inspection.engine.MAX_HEAD_WORK", 100)
    edge.change(inspections={"public": patched(Mode.DETECT)})
    assert (await edge.get("/public/hole?q=" + "the+union+of+students" * 9 + "&file=..")).status == 431
    assert is_untouched(edge)
