"""Who must sign in first is told so in the form that whoever asked can use; a form sent too late is not lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest

from gateway.exchange.envelope import Envelope, Event, pack_events, unpack_envelope
from gateway.exchange.session import Owed
from tests.unit.edge.conftest import Edge, Entry, Http2Edge, Reply, session

BROWSER = "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nOrigin: http://127.0.0.1\r\n"
FORM = BROWSER + "Content-Type: application/x-www-form-urlencoded\r\nReferer: http://127.0.0.1/public/new?a=1\r\n"
NO_FORM = "What you sent was not kept"


def login_url(reply: Reply) -> str:
    assert reply.field("content-type") == [b"application/problem+json"]
    return str(orjson.loads(reply.body)["login_url"])


def envelope(edge: Edge) -> Envelope:
    (value,) = edge.portal.field(b"X-Gateway-Envelope")
    return unpack_envelope(value)


# Programs get 401 and the address of the sign-in


@pytest.mark.parametrize(
    "fields",
    [
        "",
        "Accept: */*\r\n",
        "Accept: application/json\r\n",
        "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nAccept: text/html\r\n",
        "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n",
        "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\n",
        "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nAccept: text/event-stream\r\n",
        "Sec-Fetch-Mode: same-origin\r\nSec-Fetch-Dest: serviceworker\r\nService-Worker: script\r\n",
        "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Purpose: prefetch;prerender\r\nAccept: text/html\r\n",
        "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: empty\r\nSec-Purpose: prefetch\r\n",
        "Accept: text/html, */*; q=0.01\r\nX-Requested-With: XMLHttpRequest\r\n",
    ],
    ids=["nothing", "curl", "json", "fetch", "image", "script", "EventSource", "service worker", "prerender", "prefetch", "XMLHttpRequest"],
)  # fmt: skip
async def test_whoever_is_no_navigation_gets_401_and_never_a_redirect(edge: Edge, fields: str) -> None:
    reply = await edge.get("/invoices/42", fields=fields)
    assert reply.status == 401
    assert reply.field("location") == []
    assert login_url(reply) == "/.gateway/login?return_to=/"
    assert reply.field("cache-control") == [b"no-store"]
    assert {b"accept", b"sec-fetch-mode", b"sec-fetch-dest", b"sec-purpose"} <= set(reply.field("vary")[0].split(b", "))
    assert reply.field("www-authenticate")


async def test_a_websocket_handshake_gets_401_and_the_address_of_the_sign_in(edge: Edge) -> None:
    handshake = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    raw = await edge.raw(
        f"GET /invoices/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nSec-Fetch-Mode: websocket\r\n{handshake}\r\n".encode()
    )
    assert login_url(Reply(raw)) == "/.gateway/login?return_to=/"


@pytest.mark.parametrize(
    ("referer", "page"),
    [
        ("http://127.0.0.1/dashboard?tab=2#x", "/dashboard%3Ftab%3D2"),
        ("http://127.0.0.1:80/dashboard", "/"),
        ("https://127.0.0.1/dashboard", "/"),
        ("http://127.0.0.1.evil.example/x", "/"),
        ("http://evil.example/x", "/"),
        ("http://127.0.0.1/.gateway/account", "/"),
        ("http://127.0.0.1", "/"),
        ("/dashboard", "/"),
        ('http://127.0.0.1/"><script>', "/%22%3E%3Cscript%3E"),
        ("http://127.0.0.1//evil.example", "//evil.example"),
    ],
)
async def test_sign_in_leads_back_to_the_page_that_asked_not_to_what_it_asked_for(
    edge: Edge, referer: str, page: str
) -> None:
    reply = await edge.get("/invoices/42", fields=f"Referer: {referer}\r\nSec-Fetch-Mode: cors\r\n")
    assert login_url(reply) == f"/.gateway/login?return_to={page}", "the pages judge what of it is harmless"


async def test_a_missing_factor_leads_to_its_page(edge: Edge) -> None:
    edge.sessions.entries[b"half"] = Entry(session(owes=Owed.MFA))
    edge.sessions.entries[b"new"] = Entry(session(owes=Owed.ENROLMENT))
    assert login_url(await edge.get("/", token="half")) == "/.gateway/mfa?return_to=/"
    assert login_url(await edge.get("/", token="new")) == "/.gateway/enrol?return_to=/"


async def test_other_refusals_name_no_sign_in(edge: Edge) -> None:
    assert "login_url" not in orjson.loads((await edge.get("/nowhere")).body)


# Frames


@pytest.mark.parametrize("kind", ["iframe", "frame", "object", "embed"])
async def test_a_frame_is_told_to_sign_in_outside_of_it(edge: Edge, kind: str) -> None:
    fields = f"Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: {kind}\r\nReferer: http://127.0.0.1/board\r\n"
    reply = await edge.get("/invoices/42", fields=fields)
    assert reply.status == 401
    assert reply.field("x-frame-options") == [b"SAMEORIGIN"]
    assert b"frame-ancestors 'self'" in reply.field("content-security-policy")[0]
    assert b'href="/.gateway/login?return_to=/board" target="_blank" rel="noopener"' in reply.body
    assert b"<form" not in reply.body
    assert b"<script" not in reply.body


async def test_every_other_refusal_refuses_frames(edge: Edge) -> None:
    fields = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n"
    reply = await edge.get("/admin/x", token="tok", fields=fields)
    assert reply.status == 403
    assert reply.field("x-frame-options") == [b"DENY"]
    assert b"frame-ancestors 'none'" in reply.field("content-security-policy")[0]


# A form that came too late


async def test_an_interrupted_form_is_handed_to_the_pages_whole_and_recorded_as_refused(edge: Edge) -> None:
    event = pack_events([Event(name="form.kept", path="/", size=7)])
    edge.portal.answers[b"/.gateway/keep"] = (
        b"HTTP/1.1 303 See Other\r\nLocation: /.gateway/login\r\nContent-Length: 0\r\nX-Gateway-Events: %b\r\n\r\n"
        % event
    )
    reply = await edge.get("/?step=2", method="POST", body=b"a=1&b=2", fields=FORM + "Cookie: PHPSESSID=secret\r\n")
    assert (reply.status, reply.field("location")) == (303, [b"/.gateway/login"])
    assert reply.field("x-gateway-events") == []
    assert edge.portal.head.startswith(b"POST /.gateway/keep HTTP/1.1\r\n")
    assert edge.portal.bodies[-1] == b"a=1&b=2"
    assert b"PHPSESSID" not in edge.portal.head
    told = envelope(edge).interrupted
    assert told is not None
    assert (told.target, told.return_to, told.reason) == ("/?step=2", "/public/new?a=1", "sign_in_required")
    (record,) = edge.audit.records
    assert record["unmapped"]["gw"]["reason"] == "sign_in_required"
    assert record["unmapped"]["gw"]["outcome"] == "blocked"
    assert record["unmapped"]["gw"]["route"] == "home"
    assert record["unmapped"]["gw"]["events"] == [{"name": "form.kept", "path": "/", "size": 7}]
    assert b"a=1" not in edge.audit.payloads[-1]


async def test_a_session_that_owes_its_factor_keeps_its_form_too(edge: Edge) -> None:
    edge.sessions.entries[b"half"] = Entry(session(owes=Owed.MFA))
    edge.portal.answers[b"/.gateway/keep"] = (
        b"HTTP/1.1 303 See Other\r\nLocation: /.gateway/mfa\r\nContent-Length: 0\r\n\r\n"
    )
    assert (await edge.get("/", method="POST", body=b"a=1", fields=FORM, token="half")).status == 303
    told = envelope(edge).interrupted
    assert told is not None
    assert told.reason == "mfa_required"


async def test_a_form_with_100_continue_is_asked_for(edge: Edge) -> None:
    edge.portal.answers[b"/.gateway/keep"] = b"HTTP/1.1 303 See Other\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
    reply = await edge.get("/", method="POST", body=b"a=1", fields=FORM + "Expect: 100-continue\r\n")
    assert reply.raw.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 303 ")


async def test_the_connection_serves_the_next_request_after_a_kept_form(edge: Edge) -> None:
    edge.portal.answers[b"/.gateway/keep"] = b"HTTP/1.1 303 See Other\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
    head = f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\n{FORM}\r\na=1"
    raw = await edge.raw(
        (head + "GET /.gateway/jwks.json HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").encode()
    )
    assert raw.count(b"HTTP/1.1 ") == 2
    assert raw.endswith(b'{"keys":[]}')


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda f: f.replace("same-origin", "cross-site"), NO_FORM),
        (lambda f: f.replace("same-origin", "same-site"), NO_FORM),
        (lambda f: f.replace("same-origin", "none"), NO_FORM),
        (lambda f: f.replace("Sec-Fetch-Dest: document", "Sec-Fetch-Dest: iframe"), NO_FORM),
        (lambda f: f.replace("http://127.0.0.1\r", "http://evil.example\r"), NO_FORM),
        (lambda _: "Accept: text/html\r\nOrigin: http://evil.example\r\nContent-Type: application/x-www-form-urlencoded\r\n", NO_FORM),
        (lambda _: "Accept: text/html\r\nContent-Type: application/x-www-form-urlencoded\r\n", NO_FORM),
        (lambda f: f.replace("application/x-www-form-urlencoded", "text/plain"), "files, and whatever"),
        (lambda f: f + "Content-Encoding: gzip\r\n", "files, and whatever"),
    ],
    ids=["cross-site", "same-site", "typed", "frame", "foreign Origin", "old browser, foreign", "old browser, silent", "text", "coded"],
)  # fmt: skip
async def test_csrf_a_form_that_this_origin_did_not_send_is_never_kept(
    edge: Edge, change: Callable[[str], str], why: str
) -> None:
    reply = await edge.get("/", method="POST", body=b"a=1", fields=change(FORM))
    assert reply.status == 401
    assert why.encode() in reply.body
    assert edge.portal.heads == []


async def test_a_script_that_posts_gets_401_and_nothing_is_kept(edge: Edge) -> None:
    fields = FORM.replace("navigate", "cors").replace("document", "empty")
    reply = await edge.get("/", method="POST", body=b"a=1", fields=fields)
    assert login_url(reply) == "/.gateway/login?return_to=/public/new%3Fa%3D1"
    assert edge.portal.heads == []


async def test_an_old_browser_without_tls_is_believed_by_its_origin(edge: Edge) -> None:
    edge.portal.answers[b"/.gateway/keep"] = b"HTTP/1.1 303 See Other\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
    fields = "Accept: text/html\r\nOrigin: http://127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    assert (await edge.get("/", method="POST", body=b"a=1", fields=fields)).status == 303


OVER_TLS = (
    (b"sec-fetch-site", b"same-origin"),
    (b"sec-fetch-mode", b"navigate"),
    (b"sec-fetch-dest", b"document"),
    (b"origin", b"https://portal.test"),
)


@pytest.mark.parametrize("missing", [None, 0, 1, 2])
async def test_over_tls_and_http2_a_browser_must_say_that_the_form_is_ours(
    http2: Http2Edge, missing: int | None
) -> None:
    edge = http2.edge
    edge.portal.answers[b"/.gateway/keep"] = b"HTTP/1.1 303 See Other\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
    client = await http2.client()
    said = [field for number, field in enumerate(OVER_TLS) if number != missing]
    kind = (
        (b"content-type", b"application/x-www-form-urlencoded"),
        (b"content-length", b"3"),
        (b"accept", b"text/html"),
    )
    stream = client.request(client.get("/", *said, *kind, method=b"POST"), end=False)
    client.data(stream, b"a=1", end=True)
    answer = await client.answer(stream)
    if missing is not None:
        assert (answer.status, edge.portal.heads) == (401, [])
        return
    assert answer.status == 303
    assert edge.portal.bodies == [b"a=1"]
    told = envelope(edge)
    assert (told.scheme, told.cookie_name) == ("https", "__Host-gw")
    assert told.interrupted is not None


async def test_a_form_larger_than_the_limit_is_said_to_be_lost(edge: Edge) -> None:
    edge.change_wire(kept_form=8)
    reply = await edge.get("/", method="POST", body=b"a=1234567", fields=FORM)
    assert reply.status == 401
    assert b"it is too large for that" in reply.body
    assert b'href="/.gateway/login?return_to=/public/new%3Fa%3D1"' in reply.body


async def test_a_form_of_the_largest_size_is_handed_over_whole(edge: Edge) -> None:
    edge.portal.answers[b"/.gateway/keep"] = b"HTTP/1.1 303 See Other\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
    body = b"a=" + b"x" * (64 * 1024 - 2)
    assert (await edge.get("/", method="POST", body=body, fields=FORM)).status == 303
    assert edge.portal.bodies == [body]
    assert (await edge.get("/", method="POST", body=body + b"x", fields=FORM)).status == 401


async def test_zero_keeps_nothing(edge: Edge) -> None:
    edge.change_wire(kept_form=0)
    reply = await edge.get("/", method="POST", body=b"a=1", fields=FORM)
    assert (reply.status, NO_FORM.encode() in reply.body) == (401, True)
    assert edge.portal.heads == []


async def test_a_form_in_chunks_is_no_browsers_and_not_kept(edge: Edge) -> None:
    raw = await edge.raw(
        f"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n{FORM}\r\n3\r\na=1\r\n0\r\n\r\n".encode()
    )
    assert Reply(raw).status == 401
    assert edge.portal.heads == []


async def test_a_flood_of_forms_is_limited_per_address(edge: Edge) -> None:
    edge.portal.answers[b"/.gateway/keep"] = b"HTTP/1.1 303 See Other\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
    statuses = [(await edge.get("/", method="POST", body=b"a=1", fields=FORM)).status for _ in range(14)]
    assert statuses[:12] == [303] * 12
    assert statuses[-1] == 401


async def test_pages_that_are_away_lose_the_form_and_say_so(edge: Edge) -> None:
    pages = edge.worker.snapshot.pages
    edge.change(pages=replace(pages, servers=tuple(replace(s, port=1) for s in pages.servers)))
    reply = await edge.get("/", method="POST", body=b"a=1", fields=FORM)
    assert reply.status == 401
    assert b"not possible right now" in reply.body
    (record,) = edge.audit.records
    assert record["unmapped"]["gw"]["reason"] == "sign_in_required"


@pytest.mark.parametrize("target", ["/.gateway/keep", "/%2egateway/keep"])
async def test_a_client_that_asks_for_the_keeper_is_a_client_like_any_other(edge: Edge, target: str) -> None:
    await edge.get(target, method="POST", body=b"a=1", fields=FORM)
    assert envelope(edge).interrupted is None


async def test_an_authorization_for_the_portal_stays_out_of_our_pages(edge: Edge) -> None:
    edge.portal.answers[b"/.gateway/keep"] = b"HTTP/1.1 303 See Other\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
    await edge.get("/", method="POST", body=b"a=1", fields=FORM + "Authorization: Basic c2VjcmV0\r\n")
    assert b"c2VjcmV0" not in edge.portal.head


async def test_a_form_of_somebody_signed_in_goes_straight_through(edge: Edge) -> None:
    reply = await edge.get("/", method="POST", body=b"a=1", fields=FORM, token="tok")
    assert reply.status == 200
    assert edge.portal.head.startswith(b"POST / HTTP/1.1\r\n")
