"""RFC 9112 (HTTP/1.1): what it demands of a server, of a client and of what stands between them, by section.

docs/conformance.md lists every requirement with its test. The corpora of `test_smuggling` and
`test_smuggling_answers` hold the many spellings; here stands each rule once.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

import pytest

from tests.fakes.portal import OK, Portal
from tests.unit.edge.conftest import Edge, Reply
from tests.unit.edge.raw import exchange, split_answers

HOST = b"Host: 127.0.0.1\r\n"
CLOSE = b"Connection: close\r\n"


def get(path: str = "/public/a", *fields: bytes, method: str = "GET", version: str = "1.1") -> bytes:
    return f"{method} {path} HTTP/{version}\r\n".encode("ascii") + HOST + b"".join(fields) + b"\r\n"


async def refused(edge: Edge, raw: bytes, status: int) -> None:
    """Refused with the status, the connection ends, and nothing reaches the portal."""
    seen = await exchange(edge, raw)
    assert [answer.status for answer in seen.answers] == [status]
    assert b"\r\nconnection: close\r\n" in seen.answers[0].head
    assert seen.heard == []


async def reply_of(edge: Edge, answer: bytes, request: bytes | None = None, *, then_close: bool = True) -> Reply:
    """What the client gets for a raw answer of the portal."""

    async def say(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        if then_close:
            writer.write_eof()

    edge.portal.answers[b"/public/a"] = say
    return Reply(await edge.raw(request or get("/public/a", CLOSE)))


async def test_9112_2_2_a_message_is_parsed_as_octets(edge: Edge) -> None:
    seen = await exchange(edge, get("/public/a", b"X-A: \xe2\x80\xa8\xff\x85\r\n"))
    assert seen.heard[0].values("x-a") == ["\xe2\x80\xa8\xff\x85"]


async def test_9112_2_2_a_bare_cr_is_invalid(edge: Edge) -> None:
    await refused(edge, get("/public/a", b"X-A: b\rX-B: c\r\n"), 400)


async def test_9112_2_2_a_bare_lf_ends_no_line(edge: Edge) -> None:
    await refused(edge, get().replace(b"\r\n", b"\n"), 400)


async def test_9112_2_2_an_empty_line_before_a_request_is_ignored(edge: Edge) -> None:
    seen = await exchange(edge, b"\r\n" + get())
    assert [answer.status for answer in seen.answers] == [200, 200]


async def test_9112_2_2_white_space_before_the_first_field_is_refused(edge: Edge) -> None:
    await refused(edge, b"GET /public/a HTTP/1.1\r\n X-A: b\r\n" + HOST + b"\r\n", 400)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_9112_2_3_the_gateway_sends_its_own_version_both_ways(edge: Edge, version: str) -> None:
    await reply_of(edge, b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", get("/public/a", CLOSE, version=version))
    assert edge.portal.head.startswith(b"GET /public/a HTTP/1.1\r\n")
    reply = await reply_of(edge, b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert reply.raw.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_9112_2_3_an_unknown_major_version_is_505(edge: Edge) -> None:
    await refused(edge, get(version="3.0"), 505)


async def test_9112_3_a_target_that_is_too_long_is_414(edge: Edge) -> None:
    await refused(edge, get("/public/" + "a" * 9000), 414)
    await refused(edge, get("/public/" + "a" * 40000), 414)


async def test_9112_3_a_method_longer_than_any_is_501(edge: Edge) -> None:
    await refused(edge, get(method="A" * 100), 501)


@pytest.mark.parametrize(
    "hosts", [b"", HOST + HOST, b"Host: a b\r\n", b"Host:\r\n"], ids=["none", "two", "invalid", "empty"]
)
async def test_9112_3_2_a_request_has_exactly_one_valid_host(edge: Edge, hosts: bytes) -> None:
    await refused(edge, b"GET /public/a HTTP/1.1\r\n" + hosts + b"\r\n", 400)


async def test_9112_3_2_2_the_absolute_form_is_accepted_and_becomes_the_origin_form(edge: Edge) -> None:
    seen = await exchange(edge, get("http://127.0.0.1/public/a?b"))
    assert seen.heard[0].line == "GET /public/a?b"
    assert seen.heard[0].values("host") == ["127.0.0.1"]


async def test_9112_3_2_2_an_absolute_form_that_disagrees_with_host_is_refused_not_chosen_from(edge: Edge) -> None:
    """The RFC lets the target win; a portal that reads the other one would be confused, so neither does."""
    seen = await exchange(edge, get("http://globex.example/public/a"))
    assert seen.answers[0].status == 400
    assert [heard.line for heard in seen.heard] == ["GET /public/marker"]


async def test_9112_3_2_3_the_authority_form_is_refused(edge: Edge) -> None:
    assert (await exchange(edge, get("127.0.0.1:80"))).answers[0].status == 400


async def test_9112_3_2_4_the_asterisk_form_is_answered_by_the_gateway(edge: Edge) -> None:
    seen = await exchange(edge, get("*", method="OPTIONS"))
    assert seen.answers[0].status == 204
    assert b"\r\nallow: " in seen.answers[0].head
    assert [heard.line for heard in seen.heard] == ["GET /public/marker"]
    assert (await exchange(edge, get("*"))).answers[0].status == 400


@pytest.mark.parametrize("status", [200, 299, 404, 599])
async def test_9112_4_a_status_line_has_its_space_even_without_a_reason(edge: Edge, status: int) -> None:
    reply = await reply_of(edge, b"HTTP/1.1 %d\r\nContent-Length: 0\r\n\r\n" % status)
    assert re.match(rb"HTTP/1\.1 %d [^\r\n]*\r\n" % status, reply.raw)


async def test_9112_5_1_white_space_before_a_colon_is_400(edge: Edge) -> None:
    await refused(edge, get("/public/a", b"X-A : b\r\n"), 400)


async def test_9112_5_1_white_space_before_a_colon_never_reaches_the_client(edge: Edge) -> None:
    assert (await reply_of(edge, b"HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 0\r\n\r\n")).status == 502


async def test_9112_5_2_a_folded_field_is_400(edge: Edge) -> None:
    await refused(edge, get("/public/a", b"X-A: b\r\n c\r\n"), 400)


async def test_9112_5_2_a_folded_field_of_an_answer_is_502(edge: Edge) -> None:
    assert (await reply_of(edge, b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n")).status == 502


async def test_9112_6_1_chunked_is_understood_and_applied_once(edge: Edge) -> None:
    raw = get("/public/a", b"Transfer-Encoding: chunked\r\n", method="POST") + b"5\r\nhello\r\n0\r\n\r\n"
    seen = await exchange(edge, raw)
    assert seen.heard[0].values("transfer-encoding") == ["chunked"]
    assert seen.heard[0].body == b"hello"


async def test_9112_6_1_an_unknown_coding_before_chunked_is_501(edge: Edge) -> None:
    await refused(edge, get("/public/a", b"Transfer-Encoding: gzip, chunked\r\n", method="POST"), 501)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_9112_6_1_no_coding_where_there_is_no_body(edge: Edge, status: bytes) -> None:
    reply = await reply_of(edge, b"HTTP/1.1 " + status + b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert (reply.body, reply.field("transfer-encoding")) == (b"", [])


async def test_9112_6_1_no_coding_for_an_http_1_0_client(edge: Edge) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    reply = await reply_of(edge, chunked, get(version="1.0"))
    assert (reply.field("transfer-encoding"), reply.field("connection"), reply.body) == ([], [b"close"], b"hello")


async def test_9112_6_1_a_coding_in_http_1_0_is_faulty_framing(edge: Edge) -> None:
    await refused(edge, get("/public/a", b"Transfer-Encoding: chunked\r\n", method="POST", version="1.0"), 400)
    chunked = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert (await reply_of(edge, chunked)).status == 502


async def test_9112_6_3_a_length_and_a_coding_together_are_refused_and_the_connection_ends(edge: Edge) -> None:
    fields = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
    await refused(edge, get("/public/a", fields, method="POST") + b"0\r\n\r\n", 400)


async def test_9112_6_3_a_length_and_a_coding_in_an_answer_are_502(edge: Edge) -> None:
    both = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    assert (await reply_of(edge, both)).status == 502


@pytest.mark.parametrize("coding", [b"gzip", b"chunked, gzip", b"identity"])
async def test_9112_6_3_a_coding_that_does_not_end_in_chunked_is_400(edge: Edge, coding: bytes) -> None:
    await refused(edge, get("/public/a", b"Transfer-Encoding: " + coding + b"\r\n", method="POST"), 400)


@pytest.mark.parametrize("length", [b"a", b"+1", b"1, 2", b"-1", b""])
async def test_9112_6_3_an_invalid_length_is_400(edge: Edge, length: bytes) -> None:
    await refused(edge, get("/public/a", b"Content-Length: " + length + b"\r\n", method="POST"), 400)


async def test_9112_6_3_an_invalid_length_of_an_answer_is_502_and_its_connection_is_not_used_again(edge: Edge) -> None:
    bad = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"
    assert (await reply_of(edge, bad, then_close=False)).status == 502
    assert (await edge.get("/public/b")).status == 200
    assert edge.portal.connections == 2


async def test_9112_6_3_a_request_that_ends_too_soon_never_looks_complete(edge: Edge) -> None:
    _, writer = await edge.connect()
    writer.write(get("/public/a", b"Content-Length: 50\r\n", method="POST") + b"hello")
    async with asyncio.timeout(10):
        while not edge.portal.heads:
            await asyncio.sleep(0.01)
    writer.close()
    async with asyncio.timeout(10):
        while not any(record["unmapped"]["gw"]["outcome"] == "aborted_client" for record in edge.audit.records):
            await asyncio.sleep(0.01)
    assert edge.portal.bodies == []


async def test_9112_6_3_an_answer_that_ends_too_soon_never_looks_complete(edge: Edge) -> None:
    reader, writer = await edge.connect()

    async def short(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.transport.abort()

    edge.portal.answers[b"/public/a"] = short
    writer.write(get())
    written = b""
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            while piece := await reader.read(4096):
                written += piece
    writer.close()
    assert written.endswith(b"5\r\nhello\r\n")


async def test_9112_7_1_large_chunk_sizes_do_not_overflow(edge: Edge) -> None:
    raw = get("/public/a", b"Transfer-Encoding: chunked\r\n", method="POST")
    for size in (b"10000000000000005", b"fffffffffffffffff", b"0" * 5000 + b"5"):
        seen = await exchange(edge, raw + size + b"\r\nhello\r\n0\r\n\r\n")
        assert seen.answers[0].status == 400
        assert not any(heard.complete for heard in seen.heard)


async def test_9112_7_1_1_chunk_extensions_are_ignored_and_bounded(edge: Edge) -> None:
    raw = get("/public/a", b"Transfer-Encoding: chunked\r\n", method="POST")
    seen = await exchange(edge, raw + b'5 ; a = "b;c"\r\nhello\r\n0;d\r\n\r\n')
    assert (seen.heard[0].body, seen.answers[0].status) == (b"hello", 200)
    assert (await exchange(edge, raw + b"5;" + b"a" * 2000 + b"\r\nhello\r\n0\r\n\r\n")).answers[0].status == 400


async def test_9112_7_1_2_trailers_never_become_fields(edge: Edge) -> None:
    raw = get("/public/a", b"Transfer-Encoding: chunked\r\nTrailer: X-A\r\n", method="POST")
    seen = await exchange(edge, raw + b"5\r\nhello\r\n0\r\nX-A: b\r\nX-Gateway-User: root\r\n\r\n")
    assert (
        seen.heard[0].values("x-a") == seen.heard[0].values("x-gateway-user") == seen.heard[0].values("trailer") == []
    )
    assert b"X-A" not in seen.wire


async def test_9112_7_4_te_stays_on_its_connection(edge: Edge) -> None:
    seen = await exchange(edge, get("/public/a", b"TE: trailers, chunked\r\nConnection: TE\r\n"))
    assert seen.heard[0].values("te") == []


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", b"<html>", b"220 smtp.example ESMTP", b"HTTP/2 200\r\n"]
)
async def test_9112_9_2_what_can_never_be_an_answer_is_502_at_once(edge: Edge, answer: bytes) -> None:
    assert (await reply_of(edge, answer, then_close=False)).status == 502


async def test_9112_9_2_data_that_nobody_asked_for_are_no_answer(edge: Edge) -> None:
    async def twice(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON")

    edge.portal.answers[b"/public/a"] = twice
    assert (await edge.get("/public/a")).body == b"ok"
    assert (await edge.get("/public/b")).body == b"ok"
    assert edge.portal.connections == 2


@pytest.mark.parametrize(
    "head",
    [b"204 X\r\nContent-Length: 54", b"204 X\r\nTransfer-Encoding: chunked", b"304 X\r\nTransfer-Encoding: chunked"],
)
async def test_9112_6_3_a_body_that_must_not_be_there_is_not_awaited_on_a_connection_that_is_used_again(
    edge: Edge, head: bytes
) -> None:
    assert (await reply_of(edge, b"HTTP/1.1 " + head + b"\r\n\r\n", then_close=False)).body == b""
    assert (await edge.get("/public/b")).body == b"ok"
    assert edge.portal.connections == 2


async def test_9112_9_3_a_body_that_is_not_read_ends_the_connection(edge: Edge) -> None:
    seen = await exchange(edge, get("/nowhere", b"Content-Length: 5\r\n", method="POST") + b"hello")
    assert [answer.status for answer in seen.answers] == [404]
    assert b"\r\nconnection: close\r\n" in seen.answers[0].head


async def test_9112_9_3_http_1_0_lives_on_only_where_it_asks_to(edge: Edge) -> None:
    assert len((await exchange(edge, get(version="1.0"))).answers) == 1
    seen = await exchange(edge, get("/public/a", b"Connection: keep-alive\r\n", version="1.0"))
    assert len(seen.answers) == 2
    assert b"\r\nconnection: keep-alive\r\n" in seen.answers[0].head


async def test_9112_9_3_2_pipelined_requests_are_answered_in_order(edge: Edge) -> None:
    async def slow(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")

    edge.portal.answers[b"/public/slow"] = slow
    seen = await exchange(edge, get("/public/slow") + get("/public/a"))
    assert [answer.body for answer in seen.answers] == [b"slow", b"ok", b"ok"]


@pytest.mark.parametrize("count", [1, 3])
async def test_9112_9_6_a_client_that_ended_its_side_gets_all_its_answers(edge: Edge, count: int) -> None:
    reader, writer = await edge.connect()
    writer.write(get("/public/a", b"Content-Length: 5\r\n", method="POST") + b"hello")
    writer.write(get() * count + b"GET /half HTTP/1.1\r\n")
    writer.write_eof()
    async with asyncio.timeout(10):
        answers = split_answers(await reader.read(), [])
    writer.close()
    assert [answer.status for answer in answers] == [200] * (count + 1)


async def test_9112_9_6_nothing_is_served_after_close(edge: Edge) -> None:
    seen = await exchange(edge, get("/public/a", CLOSE) + get("/public/b"))
    assert len(seen.answers) == 1
    assert b"\r\nconnection: close\r\n" in seen.answers[0].head
    assert [heard.line for heard in seen.heard] == ["GET /public/a"]


async def test_9112_9_6_an_upstream_that_says_close_gets_no_further_request(edge: Edge) -> None:
    closing = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    assert (await reply_of(edge, closing, then_close=False)).status == 200
    await edge.get("/public/b")
    assert edge.portal.connections == 2


async def test_9112_9_6_an_early_answer_ends_both_connections(edge: Edge) -> None:
    async def early(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\n\r\nno")

    edge.portal.answers[b"/public/a"] = early
    smuggled = get("/admin")
    raw = get("/public/a", b"Content-Length: %d\r\n" % (len(smuggled) + 100), method="POST") + smuggled
    reader, writer = await edge.connect()
    writer.write(raw)
    async with asyncio.timeout(10):
        answers = split_answers(await reader.read(), [])
    assert [(answer.status, answer.body) for answer in answers] == [(413, b"no")]
    writer.close()
    await edge.get("/public/b")
    assert edge.portal.connections == 2
