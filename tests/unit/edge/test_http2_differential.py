"""The same request by HTTP/1.1 and by HTTP/2: the same decision, the same head at the portal, the same record but for its version."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit.edge.conftest import Http2Edge, Reply

Field = tuple[bytes, bytes]
METHODS = st.sampled_from([b"GET", b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"DELETE", b"TRACE", b"FOO"])
TARGETS = st.sampled_from(
    ["/public/x", "/public/a?b=c&d=%2F", "/", "/invoices/7", "/admin/x", "/nowhere", "/public/%2e%2e/admin/x", "/public//x", "/public/a%2Fb",
     "/files/a%2Fb", "/strict", "/public/x;y=1", "/PUBLIC/x", "/public/%zz", "/public/a#b", "/.gateway/jwks.json", "/.gateway/nothing", "/ours"],
) | st.from_regex(r"/public/[!-~]{0,20}", fullmatch=True)  # fmt: skip
FIELDS = st.lists(
    st.sampled_from(
        [
            (b"accept", b"text/html"),
            (b"accept-encoding", b"gzip, br"),
            (b"cookie", b"__Host-gw=secure"),
            (b"cookie", b"a=1; b=2"),
            (b"cookie", b"gw=tok"),
            (b"authorization", b"Basic eDp5"),
            (b"sec-fetch-mode", b"navigate"),
            (b"sec-fetch-mode", b"cors"),
            (b"sec-fetch-dest", b"document"),
            (b"sec-fetch-site", b"same-origin"),
            (b"origin", b"https://portal.test"),
            (b"x-forwarded-for", b"10.1.1.1"),
            (b"forwarded", b"for=10.1.1.1"),
            (b"x-gateway-user", b"root"),
            (b"x_forwarded_host", b"evil"),
            (b"service-worker", b"script"),
            (b"user-agent", b"Mozilla/5.0 (\xe4)"),
            (b"if-none-match", b'"1"'),
            (b"via", b"1.1 somebody"),
            (b"max-forwards", b"0"),
            (b"te", b"trailers"),
            (b"expect", b"42"),
            (b"content-type", b"application/json"),
            (b"range", b"bytes=0-1"),
            (b"x-empty", b""),
        ]
    )
    | st.tuples(
        st.from_regex(rb"x-[a-z0-9-]{1,20}", fullmatch=True),
        st.from_regex(rb"[!-~\x80-\xff](?:[\t -~\x80-\xff]{0,20}[!-~\x80-\xff])?", fullmatch=True),
    ),
    max_size=8,
    unique=True,
)
BODIES = st.sampled_from([None, None, b"", b"a=1", b"x" * 5000])
_DIFFERS = re.compile(rb"(?mi)^(?:x-request-id|x-gateway-assertion|x-gateway-envelope): .*\r\n")
# of a record: its name, its moments, its order, and what says which version it was
_OWN = {
    "latency",
    "uid",
    "correlation_uid",
    "time",
    "start_time",
    "sequence",
    "port",
    "version",
    "duration",
    "logged_time",
    "original_time",
    "mono_ns",
    "dur_ms",
    "seq",
}


def portal_view(http2: Http2Edge) -> list[tuple[bytes, bytes]]:
    heads = [
        _DIFFERS.sub(b"", head).replace(b"via: 2 ", b"via: 1.1 ").replace(b", 2 gateway", b", 1.1 gateway")
        for head in http2.edge.portal.heads
    ]
    bodies = list(http2.edge.portal.bodies) + [b""] * len(heads)
    http2.edge.portal.heads.clear()
    http2.edge.portal.bodies.clear()
    return list(zip(heads, bodies, strict=False))


def evidence(http2: Http2Edge) -> list[dict[str, Any]]:
    """The records, each as its values by their path."""

    def flat(value: Any, path: str) -> dict[str, Any]:
        if isinstance(value, dict):
            return {
                key: found
                for name, one in value.items()
                if name not in _OWN
                for key, found in flat(one, f"{path}.{name}").items()
            }
        return {path: value}

    records = [flat(record, "") for record in http2.edge.audit.records]
    http2.edge.audit.payloads.clear()
    return records


async def by_http_1(
    http2: Http2Edge, method: bytes, target: str, fields: list[Field], body: bytes | None
) -> tuple[int, bytes]:
    context = http2.context()
    context.set_alpn_protocols(["http/1.1"])
    reader, writer = await asyncio.open_connection("127.0.0.1", http2.port, ssl=context, server_hostname="portal.test")
    lines = b"".join(b"%b: %b\r\n" % pair for pair in fields)
    framing = b"" if body is None else b"transfer-encoding: chunked\r\n"
    chunks = b"" if body is None else (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
    writer.write(
        b"%b %b HTTP/1.1\r\nhost: portal.test\r\nconnection: close\r\n%b%b\r\n%b"
        % (method, target.encode(), lines, framing, chunks)
    )
    reply = Reply(await reader.readuntil(b"\r\n\r\n"))
    if method == b"HEAD" or reply.status in (204, 304):
        reply.body = b""
    elif length := reply.field("content-length"):
        reply.body = await reader.readexactly(int(length[0]))
    else:
        reply.body = await reader.read()
    writer.transport.abort()
    return reply.status, reply.body


async def by_http_2(
    http2: Http2Edge, method: bytes, target: str, fields: list[Field], body: bytes | None
) -> tuple[int, bytes]:
    client = await http2.client()
    stream_id = client.request(client.get(target, *fields, method=method), end=body is None)
    if body is not None:
        client.data(stream_id, body, end=True)
    answer = await client.answer(stream_id)
    await client.close()
    return answer.status, answer.body


def reason_of(body: bytes) -> bytes:
    """What a refusal says, without the id of its request."""
    found = re.search(rb'"reason":"(\w+)"', body)
    return found[1] if found else body if len(body) < 100 else b"a page"


@pytest.mark.timeout(180)  # many handshakes, on a busy machine
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(METHODS, TARGETS, FIELDS, BODIES)
@example(b"POST", "/public/x", [(b"cookie", b"__Host-gw=secure"), (b"cookie", b"a=1")], b"a=1")
@example(b"GET", "/invoices/7", [(b"cookie", b"__Host-gw=secure")], None)
async def test_both_versions_are_one(
    http2: Http2Edge, method: bytes, target: str, fields: list[Field], body: bytes | None
) -> None:
    portal_view(http2), evidence(http2)
    status_1, body_1 = await by_http_1(http2, method, target, fields, body)
    seen_1, records_1 = portal_view(http2), evidence(http2)
    status_2, body_2 = await by_http_2(http2, method, target, fields, body)
    seen_2, records_2 = portal_view(http2), evidence(http2)
    assert (status_1, reason_of(body_1)) == (status_2, reason_of(body_2))
    assert seen_1 == seen_2
    assert len(records_1) == len(records_2)
    for one, two in zip(records_1, records_2, strict=True):
        assert one.items() ^ two.items() == set()
