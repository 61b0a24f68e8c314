"""Card numbers and secrets at the edge: what leaves, what goes upstream, and what is recorded of it."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
from backports import zstd

from gateway.edge.leaks import MOST_ASKED
from gateway.edge.snapshot import RouteInspection
from gateway.inspection.leak.pattern import Pattern, compile_pattern
from gateway.inspection.leak.rules import Choice, LeakRules
from gateway.inspection.leak.sighting import Action
from tests.fakes.portal import Portal
from tests.unit.edge.conftest import Edge, Http2Edge, Reply, until

PAN = b"4111111111111111"
TEXT = b"Your card 4111 1111 1111 1111 is valid. " + b"Lorem ipsum. " * 40
CLEAN = TEXT.replace(b"4111 1111 1111 1111", b"**** **** **** 1111")
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
JSON = "Content-Type: application/json\r\n"
KINDS = ("cards", "secrets")


def choice(action: Action, **of_roles: Action) -> Choice:
    return Choice(dict.fromkeys(KINDS, action), {role: dict.fromkeys(KINDS, other) for role, other in of_roles.items()})


def look(edge: Edge, *, on: str = "public", patterns: tuple[Pattern, ...] = (), **rules: Any) -> None:
    leaks = LeakRules(key=b"k" * 32, patterns=patterns, **rules)
    edge.change(inspections={on: RouteInspection(leaks=leaks, max_body=4096)})


def answer(body: bytes, *fields: bytes, status: bytes = b"200 OK", content_type: bytes = b"text/html") -> bytes:
    lines = [
        b"HTTP/1.1 " + status,
        b"Content-Type: " + content_type,
        *fields,
        b"Content-Length: %d" % len(body),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def told(edge: Edge) -> list[dict[str, Any]]:
    """What the records say of leaks, the last word of each request."""
    return [
        word
        for record in edge.audit.records
        for word in record["unmapped"]["gw"].get("inspection", {}).get("leaks", [])
        if record["unmapped"]["gw"]["phase"] in {"single", "closing"}
    ]


def findings(edge: Edge) -> list[str]:
    return [record["unmapped"]["gw"]["event"] for record in edge.audit.records if record.get("class_uid") == 2004]


def unchunked(body: bytes) -> bytes:
    text = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        text, body = text + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return text


def body_of(reply: Reply) -> bytes:
    return unchunked(reply.body) if reply.field("transfer-encoding") else reply.body


async def test_a_card_number_is_masked_and_the_length_stays(edge: Edge) -> None:
    look(edge, answers=choice(Action.MASK))
    edge.portal.answers[b"/public/x"] = answer(TEXT, b'ETag: "v1"', b"Digest: sha-256=abc", b"Content-MD5: abc")
    reply = await edge.get("/public/x", fields="Accept-Encoding: gzip\r\nRange: bytes=0-9\r\nIf-Range: x\r\n")
    assert (reply.status, reply.body) == (200, CLEAN)
    assert reply.field("content-length") == [b"%d" % len(CLEAN)]
    assert reply.field("etag") == [b'W/"v1"']
    assert reply.field("digest") == reply.field("content-md5") == []
    assert edge.portal.field(b"accept-encoding") == [b"identity"]
    assert edge.portal.field(b"range") == edge.portal.field(b"if-range") == []


async def test_the_head_alone_is_that_of_the_whole_answer(edge: Edge) -> None:
    look(edge, answers=choice(Action.MASK))
    edge.portal.answers[b"/public/x"] = (
        b'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nETag: "v1"\r\nContent-Encoding: gzip\r\nContent-Length: 99\r\n\r\n'
    )
    reply = await edge.get("/public/x", method="HEAD")
    assert (reply.status, reply.body) == (200, b"")
    assert reply.field("etag") == [b'W/"v1"']
    assert reply.field("content-encoding") == reply.field("content-length") == []


async def test_what_was_sighted_is_recorded_by_kind_and_digest_and_found(edge: Edge) -> None:
    look(edge, answers=choice(Action.MASK))
    edge.portal.answers[b"/public/x"] = answer(TEXT)
    await edge.get("/public/x")
    (word,) = told(edge)
    assert word["in"] == "answer"
    assert [(one["kind"], one["action"], one["count"]) for one in word["sightings"]] == [("cards", "mask", 1)]
    assert len(word["sightings"][0]["digests"][0]) == 16
    assert findings(edge) == ["data.exposed"]
    assert not any(PAN in line or b"4111 1111" in line for line in edge.lines)
    assert "4111" not in json.dumps(edge.audit.records)


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        (b"gzip", gzip.compress),
        (b"deflate", zlib.compress),
        (b"br", brotli.compress),
        (b"zstd", zstd.compress),
    ],
)
async def test_what_comes_compressed_all_the_same_is_undone_and_leaves_as_it_is(
    edge: Edge, coding: bytes, encode: Callable[[bytes], bytes]
) -> None:
    look(edge, answers=choice(Action.MASK))
    edge.portal.answers[b"/public/x"] = answer(encode(TEXT), b"Content-Encoding: " + coding)
    reply = await edge.get("/public/x")
    assert body_of(reply) == CLEAN
    assert reply.field("content-encoding") == reply.field("content-length") == []


async def test_a_number_that_is_cut_in_two_by_the_network_is_masked(edge: Edge) -> None:
    async def slow(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"card 4111 11", b"11 1111 1", b"111, and more"):
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(0.02)
        writer.write(b"0\r\n\r\n")

    look(edge, answers=choice(Action.MASK))
    edge.portal.answers[b"/public/x"] = slow
    reply = await edge.get("/public/x")
    assert unchunked(reply.body) == b"card **** **** **** 1111, and more"


async def test_an_answer_that_must_not_leave_is_answered_by_us_with_a_reference_number(edge: Edge) -> None:
    look(edge, answers=choice(Action.BLOCK))
    edge.portal.answers[b"/public/x"] = answer(TEXT)
    reply = await edge.get("/public/x", fields="Accept: application/json\r\n")
    assert json.loads(reply.body)["reason"] == "data_withheld"
    assert reply.status >= 400
    assert b"Lorem" not in reply.raw
    assert reply.field("x-request-id")[0] in reply.body
    assert told(edge)[0]["sightings"][0]["action"] == "block"


async def test_an_answer_that_comes_slowly_waits_until_it_may_leave(edge: Edge) -> None:
    async def slow(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 55\r\n\r\nDear Anna, ")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b"your card is 4111111111111111 as you know.   ")

    look(edge, answers=choice(Action.BLOCK))
    edge.portal.answers[b"/public/x"] = slow
    reply = await edge.get("/public/x")
    assert reply.status >= 400
    assert b"Anna" not in reply.raw


async def test_a_long_answer_breaks_off_before_what_must_not_leave(edge: Edge) -> None:
    look(edge, answers=choice(Action.BLOCK))
    long = b"Lorem ipsum. " * 20_000 + b"card 4111111111111111 and more"
    edge.portal.answers[b"/public/x"] = answer(long)
    reply = await edge.get("/public/x")
    assert reply.status == 200
    assert len(reply.body) < len(long)
    assert b"4111" not in reply.raw
    await until(lambda: told(edge))
    assert told(edge)[0]["sightings"][0]["action"] == "block"
    assert findings(edge) == ["data.exposed"]


async def test_an_answer_without_anything_in_it_passes_as_a_whole(edge: Edge) -> None:
    look(edge, answers=choice(Action.BLOCK))
    long = b"Lorem ipsum. " * 20_000
    edge.portal.answers[b"/public/x"] = answer(long, b"X-Portal: yes")
    reply = await edge.get("/public/x")
    assert reply.body == long
    assert reply.field("x-portal") == [b"yes"]
    assert told(edge) == []


@pytest.mark.parametrize("coding", [b"", b"gzip"])
async def test_an_alert_leaves_an_answer_untouched(edge: Edge, coding: bytes) -> None:
    look(edge, answers=choice(Action.ALERT))
    body = gzip.compress(TEXT) if coding else TEXT
    fields = [b'ETag: "v1"', *([b"Content-Encoding: gzip"] if coding else [])]
    edge.portal.answers[b"/public/x"] = answer(body, *fields)
    reply = await edge.get("/public/x", fields="Accept-Encoding: gzip\r\n")
    assert reply.body == body
    assert reply.field("etag") == [b'"v1"']
    assert edge.portal.field(b"accept-encoding") == [b"gzip"]
    assert told(edge)[0]["sightings"][0]["action"] == "alert"


async def test_a_text_that_is_dense_with_numbers_and_small_when_packed_does_not_keep_everybody_waiting(
    edge: Edge,
) -> None:
    packed = gzip.compress(b"".join(b"visa 4111111111111111 %d " % number for number in range(60_000)))
    edge.portal.answers[b"/public/x"] = answer(packed, b"Content-Encoding: gzip")
    look(edge, answers=choice(Action.ALERT))
    assert (await edge.get("/public/x")).body == packed
    sighted, unread = told(edge)
    assert MOST_ASKED / 2 < sighted["sightings"][0]["count"] < MOST_ASKED * 2
    assert unread["outcome"] == "unread"


async def test_what_holds_depends_on_the_role(edge: Edge) -> None:
    look(edge, on="home", answers=choice(Action.MASK, client=Action.ALLOW))
    edge.portal.answers[b"/"] = answer(TEXT)
    assert (await edge.get("/", token="tok")).body == TEXT
    look(edge, on="home", answers=choice(Action.MASK, admin=Action.ALLOW))
    assert (await edge.get("/", token="tok")).body == CLEAN


@pytest.mark.parametrize(
    ("content_type", "fields"),
    [
        (b"text/html; charset=utf-7", []),
        (b"text/html", [b"Content-Encoding: compress"]),
        (b"text/html", [b"Content-Encoding: gzip, br"]),
        (b"text/html", [b"Content-Encoding: gzip"]),
    ],
)
async def test_a_text_that_cannot_be_looked_through_does_not_pass_where_it_matters(
    edge: Edge, content_type: bytes, fields: list[bytes]
) -> None:
    edge.portal.answers[b"/public/x"] = answer(TEXT, *fields, content_type=content_type)
    look(edge, answers=choice(Action.MASK))
    reply = await edge.get("/public/x")
    assert reply.status >= 400
    assert b"Lorem" not in reply.raw
    look(edge, answers=choice(Action.ALERT))
    assert (await edge.get("/public/x")).body == TEXT
    assert [word["outcome"] for word in told(edge)][-1] == "unread"


async def test_what_cannot_be_looked_through_may_pass_by_choice(edge: Edge) -> None:
    edge.portal.answers[b"/public/x"] = answer(TEXT, content_type=b"text/html; charset=utf-7")
    look(edge, answers=choice(Action.MASK), refuses_unreadable=False)
    assert (await edge.get("/public/x")).body == TEXT


async def test_decompression_bomb_in_an_answer_ends(edge: Edge) -> None:
    edge.portal.answers[b"/public/x"] = answer(gzip.compress(b"\0" * (32 << 20)), b"Content-Encoding: gzip")
    look(edge, answers=choice(Action.MASK))
    reply = await edge.get("/public/x")
    assert len(reply.raw) < 8 << 20
    await until(lambda: told(edge))
    assert told(edge)[-1]["outcome"] == "unread"


async def test_images_and_files_are_not_looked_into(edge: Edge) -> None:
    edge.portal.answers[b"/public/x"] = answer(TEXT, b'ETag: "v1"', content_type=b"application/pdf")
    look(edge, answers=choice(Action.BLOCK))
    reply = await edge.get("/public/x")
    assert (reply.body, reply.field("etag")) == (TEXT, [b'"v1"'])


@pytest.mark.parametrize("status", [b"304 Not Modified", b"204 No Content"])
async def test_an_answer_without_a_body_is_left_alone(edge: Edge, status: bytes) -> None:
    edge.portal.answers[b"/public/x"] = b"HTTP/1.1 " + status + b'\r\nETag: "v1"\r\nContent-Type: text/html\r\n\r\n'
    look(edge, answers=choice(Action.BLOCK))
    assert (await edge.get("/public/x")).field("etag") == [b'"v1"']


async def test_events_leave_as_they_come(edge: Edge) -> None:
    async def stream(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1700000000000\n\n")
        await writer.drain()
        await asyncio.sleep(30)

    look(edge, answers=choice(Action.BLOCK))
    edge.portal.answers[b"/public/x"] = stream
    reader, writer = await edge.connect()
    writer.write(b"GET /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    async with asyncio.timeout(10):
        assert b"data: 1700000000000\n\n" in await reader.readuntil(b"00\n\n")
    writer.close()


async def test_an_event_does_not_wait_for_the_next_one(edge: Edge) -> None:
    event = b'data: {"number of the meter": "4111111111111111"}\n\n'

    async def stream(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + event[:-1])
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(event[-1:])
        await asyncio.sleep(30)

    look(edge, answers=choice(Action.MASK))
    edge.portal.answers[b"/public/x"] = stream
    reader, writer = await edge.connect()
    writer.write(b"GET /public/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    async with asyncio.timeout(10):
        assert b"4111111111111111" in await reader.readuntil(b'"}\n\n')
    writer.close()


async def test_a_part_of_a_text_by_an_old_name_is_not_asked_for(edge: Edge) -> None:
    look(edge, answers=choice(Action.MASK))
    edge.portal.answers[b"/public/x"] = answer(TEXT)
    assert (await edge.get("/public/x", fields="Request-Range: bytes=0-14\r\n")).body == CLEAN
    assert edge.portal.field(b"request-range") == []


@pytest.mark.parametrize("content_type", [b"text/html", b"multipart/byteranges; boundary=x"])
async def test_a_part_of_a_text_that_nobody_asked_for_is_withheld(edge: Edge, content_type: bytes) -> None:
    look(edge, answers=choice(Action.MASK))
    part = answer(TEXT[:20], b"Content-Range: bytes 0-19/600", status=b"206 Partial Content", content_type=content_type)
    edge.portal.answers[b"/public/x"] = part
    reply = await edge.get("/public/x")
    assert reply.status >= 400
    assert TEXT[:20] not in reply.raw
    look(edge, answers=choice(Action.ALERT))
    assert (await edge.get("/public/x", fields="Range: bytes=0-19\r\n")).body == TEXT[:20]


async def test_a_tag_that_was_weakened_is_known_again_by_the_portal(edge: Edge) -> None:
    look(edge, answers=choice(Action.MASK))
    edge.portal.answers[b"/public/x"] = answer(TEXT, b'ETag: "v1"')
    tag = (await edge.get("/public/x")).field("etag")[0].decode()
    await edge.get("/public/x", fields=f'If-Match: {tag}, W/"v0"\r\n')
    assert edge.portal.field(b"if-match") == [b'"v1", "v0"']


# requests


async def test_a_card_number_in_a_form_is_masked_before_the_portal_sees_it(edge: Edge) -> None:
    look(edge, requests=choice(Action.MASK))
    reply = await edge.get("/public/x", method="POST", fields=FORM, body=b"note=card+4111111111111111&x=1")
    assert reply.status == 200
    assert edge.portal.bodies == [b"note=card+************1111&x=1"]
    assert findings(edge) == ["data.sent"]


async def test_a_compressed_body_is_read_masked_and_compressed_again(edge: Edge) -> None:
    look(edge, requests=choice(Action.MASK))
    body = gzip.compress(b'{"card":"4111111111111111"}')
    reply = await edge.get("/public/x", method="POST", fields=JSON + "Content-Encoding: gzip\r\n", body=body)
    assert reply.status == 200
    assert gzip.decompress(edge.portal.bodies[0]) == b'{"card":"************1111"}'
    assert edge.portal.field(b"content-length") == [b"%d" % len(edge.portal.bodies[0])]


@pytest.mark.parametrize(("coding", "body"), [("gzip", b"no gzip"), ("compress", b"x"), ("gzip, br", b"x")])
async def test_a_body_that_cannot_be_unpacked_passes_only_where_that_is_no_matter(
    edge: Edge, coding: str, body: bytes
) -> None:
    fields = JSON + f"Content-Encoding: {coding}\r\n"
    look(edge, requests=choice(Action.MASK))
    assert (await edge.get("/public/x", method="POST", fields=fields, body=body)).status == 415
    assert edge.portal.heads == []
    look(edge, requests=choice(Action.ALERT))
    assert (await edge.get("/public/x", method="POST", fields=fields, body=body)).status == 200
    assert edge.portal.bodies == [body]


async def test_a_compressed_body_in_which_nothing_is_found_goes_upstream_byte_for_byte(edge: Edge) -> None:
    look(edge, requests=choice(Action.MASK))
    body = gzip.compress(b'{"name":"O\'Brien"}', 1)
    await edge.get("/public/x", method="POST", fields=JSON + "Content-Encoding: gzip\r\n", body=body)
    assert edge.portal.bodies == [body]


async def test_a_secret_in_a_request_is_refused(edge: Edge) -> None:
    look(edge, requests=choice(Action.BLOCK))
    body = b'{"key":"AKIAIOSFODNN7EXAMPLE"}'
    reply = await edge.get("/public/x", method="POST", fields=JSON, body=body)
    assert reply.status == 403
    assert b"data_refused" in reply.body
    assert b"AKIA" not in reply.raw
    assert edge.portal.heads == []


@pytest.mark.parametrize(("action", "status"), [(Action.BLOCK, 403), (Action.MASK, 200), (Action.ALERT, 200)])
async def test_a_target_goes_upstream_as_it_is_or_not_at_all(edge: Edge, action: Action, status: int) -> None:
    look(edge, requests=choice(action))
    reply = await edge.get("/public/x?card=4111111111111111")
    assert reply.status == status
    assert told(edge)[0]["in"] == "target"
    assert "4111" not in json.dumps(edge.audit.records)


async def test_a_field_of_a_multipart_form_is_refused_rather_than_masked_and_files_are_left_to_others(
    edge: Edge,
) -> None:
    look(edge, requests=choice(Action.MASK))
    fields = "Content-Type: multipart/form-data; boundary=b\r\n"

    def form(note: bytes) -> bytes:
        return (
            b'--b\r\nContent-Disposition: form-data; name="card"\r\n\r\n' + note
            + b'\r\n--b\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\ncard 4111111111111111\r\n--b--\r\n'
        )  # fmt: skip

    assert (await edge.get("/public/x", method="POST", fields=fields, body=form(PAN))).status == 403
    assert (await edge.get("/public/x", method="POST", fields=fields, body=form(b"none"))).status == 200
    assert edge.portal.bodies == [form(b"none")]


async def test_an_operators_pattern_is_looked_for(edge: Edge) -> None:
    customer = compile_pattern("customer", r"\bKD-[0-9]{8}\b")
    look(edge, patterns=(customer,), answers=Choice({"customer": Action.MASK}))
    edge.portal.answers[b"/public/x"] = answer(b"Customer KD-12345678, KD-1")
    assert (await edge.get("/public/x")).body == b"Customer ***********, KD-1"


async def test_over_http2_the_same_is_masked(http2: Http2Edge) -> None:
    look(http2.edge, answers=choice(Action.MASK))
    http2.edge.portal.answers[b"/public/x"] = answer(TEXT)
    client = await http2.client()
    assert (await client.ask("/public/x", method=b"GET")).body == CLEAN


async def test_a_body_that_is_too_large_to_be_looked_through_is_refused_only_where_it_matters(edge: Edge) -> None:
    body = b"note=" + b"x" * 5_000
    look(edge, requests=choice(Action.BLOCK))
    assert (await edge.get("/public/x", method="POST", fields=FORM, body=body)).status == 413
    look(edge, requests=choice(Action.ALERT))
    assert (await edge.get("/public/x", method="POST", fields=FORM, body=body)).status == 200
