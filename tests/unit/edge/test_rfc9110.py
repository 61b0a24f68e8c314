"""RFC 9110 (semantics): what it demands of an intermediary and of the server that clients see, by section."""

from __future__ import annotations

import asyncio
import re
from email.utils import parsedate_to_datetime

import pytest

from tests.fakes.portal import OK, Portal
from tests.unit.edge.conftest import Edge, Reply
from tests.unit.edge.raw import exchange

HOST = b"Host: 127.0.0.1\r\n"
CLOSE = b"Connection: close\r\n"
HANDSHAKE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def get(path: str = "/public/a", *fields: bytes, method: str = "GET", version: str = "1.1") -> bytes:
    return f"{method} {path} HTTP/{version}\r\n".encode("ascii") + HOST + b"".join(fields) + b"\r\n"


def values(head: bytes, name: str) -> list[bytes]:
    return re.findall(rb"(?mi)^" + name.encode() + rb": ([^\r\n]*)\r?$", head)


async def test_9110_2_5_a_higher_minor_version_is_refused_not_guessed(edge: Edge) -> None:
    assert (await exchange(edge, get(version="1.2"))).answers[0].status == 505


async def test_9110_4_2_an_http_uri_without_a_host_is_invalid(edge: Edge) -> None:
    assert (await exchange(edge, get("http:///public/a"))).answers[0].status == 400


async def test_9110_4_2_4_user_information_is_invalid(edge: Edge) -> None:
    assert (await exchange(edge, get("http://a:b@127.0.0.1/public/a"))).answers[0].status == 400


async def test_9110_5_1_unknown_fields_are_forwarded(edge: Edge) -> None:
    heard = (await exchange(edge, get("/public/a", b"X-Never-Seen: 1\r\nPriority: u=1\r\n"))).heard[0]
    assert (heard.values("x-never-seen"), heard.values("priority")) == (["1"], ["u=1"])


async def test_9110_5_3_lines_of_one_name_keep_their_order_both_ways(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = (
        b"HTTP/1.1 200 OK\r\nX-B: 2\r\nX-C: 0\r\nx-b: 1\r\nX-B: 3\r\nContent-Length: 2\r\n\r\nok"
    )
    seen = await exchange(edge, get("/public/a", b"X-A: 2\r\nX-C: 0\r\nx-a: 1\r\nX-A: 3\r\n"))
    assert seen.heard[0].values("x-a") == ["2", "1", "3"]
    assert values(seen.answers[0].head, "x-b") == [b"2", b"1", b"3"]


@pytest.mark.parametrize(
    "name",
    ["Host", "Content-Length", "Content-Type", "Authorization", "Origin", "Range", "If-Modified-Since", "Max-Forwards"],
)
async def test_9110_5_3_a_field_that_stands_once_is_refused_twice(edge: Edge, name: str) -> None:
    line = f"{name}: 1\r\n".encode("ascii")
    seen = await exchange(edge, get("/public/a", line, line))
    assert seen.answers[0].status == 400
    assert seen.heard == []


async def test_9110_5_4_more_than_the_gateway_takes_is_a_4xx(edge: Edge) -> None:
    assert (await exchange(edge, get("/public/a", b"X-A: " + b"a" * 20000 + b"\r\n"))).answers[0].status == 431
    assert (await exchange(edge, get("/public/a", b"X-A: b\r\n" * 60))).answers[0].status == 431


@pytest.mark.parametrize("byte", [b"\r", b"\n", b"\0", b"\x01", b"\x7f"])
async def test_9110_5_5_control_characters_in_a_value_are_refused(edge: Edge, byte: bytes) -> None:
    assert (await exchange(edge, get("/public/a", b"X-A: b" + byte + b"c\r\n"))).answers[0].status == 400


async def test_9110_5_5_white_space_around_a_value_is_no_part_of_it(edge: Edge) -> None:
    seen = await exchange(edge, get("/public/a", b"X-A: \t b c \t\r\n"))
    assert seen.heard[0].values("x-a") == ["b c"]


async def test_9110_5_6_1_empty_elements_of_connection_are_ignored(edge: Edge) -> None:
    seen = await exchange(edge, get("/public/a", b"Connection: , ,x-a,, \r\nX-A: b\r\n"))
    assert seen.heard[0].values("x-a") == []
    assert len(seen.answers) == 2


async def test_9110_6_5_1_trailers_of_an_answer_never_become_fields(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Set-Cookie\r\n\r\n2\r\nok\r\n0\r\nSet-Cookie: a=b\r\n\r\n"
    )
    reply = await edge.get("/public/a")
    assert b"a=b" not in reply.raw
    assert reply.field("trailer") == []


async def test_9110_6_6_1_every_answer_has_one_date(edge: Edge) -> None:
    edge.portal.answers[b"/public/dated"] = (
        b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n"
    )
    assert (await edge.get("/public/dated")).field("date") == [b"Sun, 06 Nov 1994 08:49:37 GMT"]
    for path in ("/public/a", "/nowhere", "/invoices/1", "/.gateway/jwks.json", "*"):
        (date,) = (await edge.get(path, method="OPTIONS" if path == "*" else "GET")).field("date")
        assert parsedate_to_datetime(date.decode()).tzinfo is not None


async def test_9110_7_4_an_https_target_on_a_plain_connection_is_misdirected(edge: Edge) -> None:
    seen = await exchange(edge, get("https://127.0.0.1/public/a"))
    assert seen.answers[0].status == 421
    assert len(seen.heard) == 1


async def test_9110_7_4_a_host_that_the_gateway_does_not_serve_is_misdirected(edge: Edge) -> None:
    raw = b"GET /public/a HTTP/1.1\r\nHost: other.example\r\n\r\n"
    assert (await exchange(edge, raw)).answers[0].status == 421


async def test_9110_7_6_a_request_that_comes_back_is_a_loop(edge: Edge) -> None:
    raw = get("/public/a", b"Via: 1.1 front\r\n" + b"Via: 1.1 gateway\r\n" * 5)
    seen = await exchange(edge, raw)
    assert (seen.answers[0].status, seen.heard) == (508, [])
    assert edge.audit.records[-1]["status_detail"] == "loop_detected"


async def test_9110_7_6_a_portal_that_forwards_to_the_gateway_is_stopped(edge: Edge) -> None:
    """A real loop: each turn carries one member of Via more."""
    turns = 0

    async def back(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal turns
        turns += 1
        via = b"".join(b"Via: " + value + b"\r\n" for value in values(head, "via"))
        answer = await edge.raw(get("/public/a", via, CLOSE))
        writer.write(b"HTTP/1.1 %b X\r\nContent-Length: 0\r\n\r\n" % answer.split(b" ")[1])

    edge.portal.answers[b"/public/a"] = back
    assert (await edge.get("/public/a")).status == 508
    assert turns == 5


async def test_9110_7_6_1_what_connection_names_and_hop_by_hop_fields_go_no_further(edge: Edge) -> None:
    fields = b"Connection: X-Hop, cookie\r\nConnection: keep-alive\r\nX-Hop: 1\r\nCookie: a=b\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
    edge.portal.answers[b"/public/a"] = (
        b"HTTP/1.1 200 OK\r\nConnection: X-Hop, Set-Cookie, location\r\nX-Hop: 1\r\nSet-Cookie: a=b\r\nLocation: /x\r\n"
        b"Keep-Alive: 5\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nok"
    )
    seen = await exchange(edge, get("/public/a", fields))
    for name in ("x-hop", "cookie", "keep-alive", "te", "connection"):
        assert seen.heard[0].values(name) == []
    for name in ("x-hop", "set-cookie", "location", "keep-alive", "proxy-authenticate"):
        assert values(seen.answers[0].head, name) == []


async def test_9110_7_6_2_options_that_may_go_no_further_is_answered_here(edge: Edge) -> None:
    seen = await exchange(edge, get("/public/a", b"Max-Forwards: 0\r\n", method="OPTIONS"))
    assert (seen.answers[0].status, values(seen.answers[0].head, "allow")) == (204, [b"GET, HEAD, OPTIONS, POST, PUT"])
    assert len(seen.heard) == 1, "the marker"


async def test_9110_7_6_2_options_for_a_page_of_the_gateway_is_answered_here(edge: Edge) -> None:
    seen = await exchange(edge, get("/.gateway/login", b"Max-Forwards: 0\r\n", method="OPTIONS"))
    assert (seen.answers[0].status, values(seen.answers[0].head, "allow")) == (204, [b"GET, POST"])


async def test_9110_7_6_2_options_that_may_go_no_further_still_needs_a_session(edge: Edge) -> None:
    seen = await exchange(edge, get("/invoices/1", b"Max-Forwards: 0\r\n", method="OPTIONS"))
    assert seen.answers[0].status in {401, 405}


@pytest.mark.parametrize(("sent", "on"), [(b"1", "0"), (b"10", "9"), (b"99999", "254")])
async def test_9110_7_6_2_max_forwards_counts_down(edge: Edge, sent: bytes, on: str) -> None:
    seen = await exchange(edge, get("/public/a", b"Max-Forwards: " + sent + b"\r\n", method="OPTIONS"))
    assert seen.heard[0].values("max-forwards") == [on]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_9110_7_6_3_via_says_how_the_request_came(edge: Edge, version: str) -> None:
    seen = await exchange(edge, get("/public/a", b"Via: 1.0 front, 2 middle\r\n", version=version))
    assert seen.heard[0].values("via") == [f"1.0 front, 2 middle, {version} gateway"]


async def test_9110_7_6_3_via_of_the_portal_stays_inside(edge: Edge) -> None:
    """A gateway may send Via in answers; names of what stands behind it are nobody's business."""
    edge.portal.answers[b"/public/a"] = b"HTTP/1.1 200 OK\r\nVia: 1.1 internal-7\r\nContent-Length: 0\r\n\r\n"
    assert (await edge.get("/public/a")).field("via") == []


@pytest.mark.parametrize("protocol", [b"h2c", b"TLS/1.0", b"foo", b"h2c, websocket"])
async def test_9110_7_8_other_upgrades_are_not_passed_on(edge: Edge, protocol: bytes) -> None:
    seen = await exchange(edge, get("/public/a", b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n"))
    assert (seen.heard[0].values("upgrade"), seen.answers[0].status) == ([], 200)


async def test_9110_7_8_upgrade_in_http_1_0_is_ignored(edge: Edge) -> None:
    seen = await exchange(edge, get("/public/a", HANDSHAKE, version="1.0"), follow=b"")
    assert (seen.heard[0].values("upgrade"), seen.answers[0].status) == ([], 200)


async def test_9110_7_8_a_switch_that_nobody_asked_for_is_502(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = SWITCHED
    assert (await edge.get("/public/a")).status == 502


async def test_9110_7_8_a_switch_to_another_protocol_is_502(edge: Edge) -> None:
    edge.portal.answers[b"/ws"] = SWITCHED.replace(b"Upgrade: websocket", b"Upgrade: h2c")
    assert (await exchange(edge, get("/ws", HANDSHAKE), follow=b"")).answers[0].status == 502


async def test_9110_7_8_an_expectation_is_met_before_the_switch(edge: Edge) -> None:
    edge.portal.answers[b"/ws"] = SWITCHED
    reader, writer = await edge.connect()
    writer.write(get("/ws", HANDSHAKE, b"Expect: 100-continue\r\n"))
    async with asyncio.timeout(10):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    writer.close()


async def test_9110_8_6_no_length_where_there_is_no_body(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"
    assert (await edge.get("/public/a")).field("content-length") == []


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
async def test_9110_8_6_a_switch_has_no_body(edge: Edge, framing: bytes) -> None:
    edge.portal.answers[b"/ws"] = SWITCHED.replace(b"\r\n\r\n", b"\r\n" + framing + b"\r\n\r\n")
    assert (await exchange(edge, get("/ws", HANDSHAKE), follow=b"")).answers[0].status == 502


async def test_9110_8_6_a_length_is_forwarded_only_as_its_grammar_has_it(edge: Edge) -> None:
    seen = await exchange(edge, get("/public/a", b"Content-Length: 0005\r\n", method="POST") + b"hello")
    assert seen.heard[0].values("content-length") == ["5"]


@pytest.mark.parametrize(("method", "times"), [("POST", 1), ("PUT", 2), ("GET", 2)])
async def test_9110_9_2_2_only_idempotent_requests_are_repeated(edge: Edge, method: str, times: int) -> None:
    await edge.get("/public/a")  # a connection of the pool may be gone when it is used again

    async def gone(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    edge.portal.answers[b"/public/b"] = gone
    assert (await edge.get("/public/b", method=method)).status == 502
    assert sum(b" /public/b " in head for head in edge.portal.heads) == times


async def test_9110_9_3_2_a_head_has_no_content(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    reply = await edge.get("/public/a", method="HEAD")
    assert (reply.body, reply.field("content-length")) == (b"", [b"2"])
    for path in ("/nowhere", "/invoices/1", "/.gateway/jwks.json"):
        assert (await edge.get(path, method="HEAD")).body == b""


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
async def test_9110_9_3_6_and_8_connect_and_trace_are_refused(edge: Edge, method: str) -> None:
    target = "127.0.0.1:80" if method == "CONNECT" else "/public/a"
    seen = await exchange(edge, get(target, b"Cookie: gw=tok\r\n", method=method))
    assert ([answer.status for answer in seen.answers], seen.heard) == ([501], [])
    assert b"gw=tok" not in seen.answers[0].body


async def test_9110_10_1_1_the_gateway_says_continue_before_it_has_the_body(edge: Edge) -> None:
    reader, writer = await edge.connect()
    writer.write(get("/public/a", b"Expect: 100-continue\r\nContent-Length: 5\r\n", CLOSE, method="POST"))
    async with asyncio.timeout(10):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hello")
        assert Reply(await reader.read()).status == 200
    assert edge.portal.field(b"expect") == []
    writer.close()


async def test_9110_10_1_1_a_refusal_comes_instead_of_continue(edge: Edge) -> None:
    seen = await exchange(
        edge, get("/nowhere", b"Expect: 100-continue\r\nContent-Length: 5\r\n", method="POST"), follow=b""
    )
    assert [answer.status for answer in seen.answers] == [404]


async def test_9110_10_1_1_an_expectation_in_http_1_0_is_ignored(edge: Edge) -> None:
    raw = get("/public/a", b"Expect: 100-continue\r\nContent-Length: 5\r\n", method="POST", version="1.0")
    assert b" 100 " not in await edge.raw(raw + b"hello")


async def test_9110_10_1_1_other_expectations_fail(edge: Edge) -> None:
    assert (await exchange(edge, get("/public/a", b"Expect: the-unexpected\r\n"))).answers[0].status == 417


async def test_9110_11_6_1_challenges_of_the_portal_pass_unchanged(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = (
        b'HTTP/1.1 401 X\r\nWWW-Authenticate: Basic realm="a, b"\r\nWWW-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n'
    )
    assert (await edge.get("/public/a")).field("www-authenticate") == [b'Basic realm="a, b"', b"Negotiate"]


async def test_9110_11_6_2_the_portals_credential_passes_unchanged(edge: Edge) -> None:
    seen = await exchange(edge, get("/public/a", b"Authorization: Basic  QTpC\t=\r\n"))
    assert seen.heard[0].values("authorization") == ["Basic  QTpC\t="]


async def test_9110_13_2_1_conditions_are_left_to_the_portal(edge: Edge) -> None:
    fields = b'If-None-Match: "a", W/"b"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\nRange: bytes=0-1\r\nIf-Range: "a"\r\n'
    heard = (await exchange(edge, get("/public/a", fields))).heard[0]
    assert heard.values("if-none-match") == ['"a", W/"b"']
    assert heard.values("range") == ["bytes=0-1"]


async def test_9110_15_2_no_interim_answer_for_http_1_0(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK
    assert (await edge.raw(get(version="1.0"))).startswith(b"HTTP/1.1 200 ")


async def test_9110_15_2_interim_answers_of_the_portal_end_at_the_gateway(edge: Edge) -> None:
    """A byte of the portal's that leaves before its record would break the promise of the audit trail."""
    edge.portal.answers[b"/public/a"] = (
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK
    )
    reply = await edge.get("/public/a")
    assert (reply.status, reply.body) == (200, b"ok")


async def test_9110_15_3_6_a_205_with_content_is_502(edge: Edge) -> None:
    edge.portal.answers[b"/public/a"] = b"HTTP/1.1 205 Reset\r\nContent-Length: 2\r\n\r\nok"
    assert (await edge.get("/public/a")).status == 502


async def test_9110_15_5_2_a_401_has_a_challenge(edge: Edge) -> None:
    assert (await edge.get("/invoices/1")).field("www-authenticate") != []


@pytest.mark.parametrize("path", ["/public/a", "/.gateway/jwks.json", "/.gateway/csp-report"])
async def test_9110_15_5_6_a_405_says_what_is_allowed(edge: Edge, path: str) -> None:
    reply = await edge.get(path, method="DELETE")
    assert reply.status == 405
    assert reply.field("allow") not in ([], [b""])


async def test_9110_15_5_22_a_426_names_the_protocol(edge: Edge) -> None:
    reply = Reply(await edge.raw(get("/ws", HANDSHAKE.replace(b"13", b"8"), CLOSE)))
    assert (reply.status, reply.field("upgrade"), reply.field("sec-websocket-version")) == (
        426,
        [b"websocket"],
        [b"13"],
    )
    edge.portal.answers[b"/public/a"] = (
        b"HTTP/1.1 426 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n"
    )
    reply = await edge.get("/public/a")
    assert (reply.status, reply.field("upgrade")) == (426, [b"websocket"])
    assert b"upgrade" in reply.field("connection")
