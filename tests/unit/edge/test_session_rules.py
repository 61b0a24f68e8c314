"""What the edge makes of a session's rules on each request: bonds, activity, and what a page may know of it."""

from __future__ import annotations

import json
import time
from ipaddress import ip_network
from typing import Any

import pytest

from gateway.exchange.envelope import unpack_envelope
from gateway.exchange.session import Owed
from gateway.session.binding import COUNTRY, Bond
from gateway.session.device import device_id, make_device
from gateway.wire.forwarded import TrustedProxies
from tests.unit.edge.conftest import Edge, Entry, session

DEVICE = make_device(b"d" * 32)
DETECTION_FINDING = 2004
OTHER_DEVICE = make_device(b"o" * 32)
WEBSOCKET = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nOrigin: http://127.0.0.1\r\n"


def bind(edge: Edge, **changes: Any) -> Entry:
    entry = edge.sessions.entries[b"bound"] = Entry(session(handle="bound1", **changes))
    entry.seen = 0.0
    return entry


def unused(edge: Edge) -> Entry:
    entry = edge.sessions.entries[b"tok"]
    entry.seen = 0.0
    return entry


def device_field(value: bytes) -> str:
    return f"Cookie: gw-device={value.decode()}\r\n"


def events_of(edge: Edge) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = record_of(edge)["unmapped"]["gw"].get("events", [])
    return found


def record_of(edge: Edge) -> dict[str, Any]:
    """Return the record of the last request; what somebody should look at follows it as a finding of its own."""
    return [record for record in edge.audit.records if record["class_uid"] != DETECTION_FINDING][-1]


# Bonds


async def test_a_bound_session_passes_with_its_device(edge: Edge) -> None:
    bind(edge, device=device_id(DEVICE))
    reply = await edge.get("/", token="bound", fields=device_field(DEVICE))
    assert reply.status == 200
    assert edge.portal.field(b"X-Gateway-User") == [b"alice"]
    assert b"gwd_" not in edge.portal.head, "the device cookie is ours alone"


@pytest.mark.parametrize(
    "fields", ["", device_field(OTHER_DEVICE), device_field(DEVICE) + device_field(DEVICE), device_field(b"rubbish")]
)
async def test_a_stolen_cookie_without_its_device_reaches_nothing(edge: Edge, fields: str) -> None:
    entry = bind(edge, device=device_id(DEVICE))
    reply = await edge.get("/", token="bound", fields=fields)
    assert reply.status == 401
    assert json.loads(reply.body)["reason"] == "session_elsewhere"
    assert edge.portal.heads == []
    assert reply.field("set-cookie") == [], "the rightful owner keeps theirs"
    assert entry.seen == 0, "a thief keeps no session alive"
    assert edge.sessions.strays == [("bound1", Bond.DEVICE, "127.0.0.1")]
    assert record_of(edge)["unmapped"]["gw"]["reason"] == "session_elsewhere"
    assert [(event["name"], event["session"]) for event in events_of(edge)] == [("session.bound_elsewhere", "bound1")]


async def test_a_person_with_a_session_from_elsewhere_is_led_to_sign_in(edge: Edge) -> None:
    bind(edge, device=device_id(DEVICE))
    reply = await edge.get("/invoices/1", token="bound", fields="Accept: text/html\r\n")
    assert (reply.status, reply.field("location")) == (302, [b"/.gateway/login?return_to=/invoices/1"])


async def test_on_a_public_route_a_session_from_elsewhere_is_nobody(edge: Edge) -> None:
    bind(edge, device=device_id(DEVICE))
    assert (await edge.get("/public/x", token="bound")).status == 200
    assert edge.portal.field(b"X-Gateway-User") == []
    assert events_of(edge)[0]["name"] == "session.bound_elsewhere"


async def test_our_own_pages_are_told_that_the_session_is_none_here(edge: Edge) -> None:
    bind(edge, device=device_id(DEVICE))
    await edge.get("/.gateway/account", token="bound")
    (packed,) = edge.portal.field(b"X-Gateway-Envelope")
    envelope = unpack_envelope(packed)
    assert (envelope.astray, envelope.session) == (True, "")
    await edge.get("/.gateway/account", token="bound", fields=device_field(DEVICE))
    envelope = unpack_envelope(edge.portal.field(b"X-Gateway-Envelope")[-1])
    assert (envelope.astray, envelope.session) == (False, "bound1")


async def test_what_our_pages_say_stands_beside_what_the_edge_saw(edge: Edge) -> None:
    bind(edge, device=device_id(DEVICE))
    await edge.get("/.gateway/login", token="bound", method="POST", body=b"x")
    assert events_of(edge)[0]["name"] == "session.bound_elsewhere"


async def test_a_session_bound_to_a_network_is_refused_outside_it(edge: Edge) -> None:
    edge.change(trusted_proxies=TrustedProxies((ip_network("127.0.0.1"),)))
    bind(edge, network="192.0.2.0/24")
    assert (await edge.get("/", token="bound", fields="X-Forwarded-For: 192.0.2.9\r\n")).status == 200
    assert (await edge.get("/", token="bound", fields="X-Forwarded-For: 192.0.3.9\r\n")).status == 401
    assert edge.sessions.strays == [("bound1", Bond.NETWORK, "192.0.3.9")]


async def test_a_session_bound_to_a_country_needs_to_be_located(edge: Edge) -> None:
    bind(edge, network=COUNTRY, country="CH")
    assert (await edge.get("/", token="bound")).status == 401, "nobody can say where this is"
    edge.change(country=lambda address: "CH" if address == "127.0.0.1" else "XX")
    assert (await edge.get("/", token="bound")).status == 200
    edge.change(country=lambda address: "XX")
    assert (await edge.get("/", token="bound")).status == 401
    assert [bond for _, bond, _ in edge.sessions.strays] == [Bond.COUNTRY, Bond.COUNTRY]


async def test_a_session_bound_to_a_certificate_is_refused_without_it(edge: Edge) -> None:
    bind(edge, certificate="ab" * 32)
    assert (await edge.get("/", token="bound")).status == 401
    assert edge.sessions.strays == [("bound1", Bond.CERTIFICATE, "127.0.0.1")]


async def test_whoever_has_to_end_a_session_first_reaches_no_route_at_all(edge: Edge) -> None:
    """Also where `unsafe_without_mfa` lets half a sign-in pass."""
    edge.sessions.entries[b"full"] = Entry(session(owes=Owed.ROOM))
    reply = await edge.get("/", token="full", fields="Accept: text/html\r\n")
    assert (reply.status, reply.field("location")) == (302, [b"/.gateway/sessions?return_to=/"])
    assert (await edge.get("/unproven", token="full")).status == 401
    assert edge.portal.heads == []


@pytest.mark.parametrize(
    ("owing", "reason", "page"),
    [
        ({"owes": Owed.DEVICE}, "device_unconfirmed", b"/.gateway/device"),
        ({"owes": Owed.MFA, "owes_next": Owed.DEVICE}, "mfa_required", b"/.gateway/mfa"),
    ],
)
async def test_a_device_that_is_not_confirmed_reaches_no_route_at_all(
    edge: Edge, owing: dict[str, Owed], reason: str, page: bytes
) -> None:
    """Also where `unsafe_without_mfa` lets half a sign-in pass, and before the second factor is given."""
    edge.sessions.entries[b"new"] = Entry(session(**owing))
    reply = await edge.get("/", token="new", fields="Accept: text/html\r\n")
    assert (reply.status, reply.field("location")) == (302, [page + b"?return_to=/"])
    for target in ("/", "/unproven"):
        reply = await edge.get(target, token="new", fields="Accept: application/json\r\n")
        assert (reply.status, json.loads(reply.body)["reason"]) == (401, reason)
    assert edge.portal.heads == []


# Activity


async def test_an_ordinary_request_is_activity_and_so_is_a_page_of_ours(edge: Edge) -> None:
    entry = unused(edge)
    for target in ("/", "/.gateway/account"):
        entry.seen = 0.0
        await edge.get(target, token="tok")
        assert entry.seen > 0, target


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        ("/polled/news", ""),
        ("/", "X-Poll: 1\r\n"),
        ("/", "x-requested-with: poll\r\n"),
        ("/", "Accept: text/event-stream\r\n"),
        ("/.gateway/static/gateway.css", ""),
        ("/.gateway/jwks.json", ""),
        ("/.gateway/session", ""),
    ],
)
async def test_what_a_page_asks_by_itself_is_no_activity(edge: Edge, target: str, fields: str) -> None:
    edge.change(background=(b"\nx-poll:", b"\nx-requested-with: poll"))
    entry = unused(edge)
    await edge.get(target, token="tok", fields=fields)
    assert entry.seen == 0


async def test_a_field_that_nobody_configured_changes_nothing(edge: Edge) -> None:
    edge.change(background=(b"\nx-poll:",))
    entry = unused(edge)
    await edge.get("/", token="tok", fields="X-Requested-With: XMLHttpRequest\r\nY: x-poll: 1\r\n")
    assert entry.seen > 0


async def test_a_handshake_is_no_activity(edge: Edge) -> None:
    edge.portal.answers[b"/ws"] = b"HTTP/1.1 403 X\r\nContent-Length: 0\r\n\r\n"
    entry = unused(edge)
    head = f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: gw=tok\r\n{WEBSOCKET}\r\n"
    assert b" 403 " in await edge.raw(head.encode())
    assert entry.seen == 0


# What a page may know


async def test_a_page_learns_how_long_its_session_lasts(edge: Edge) -> None:
    edge.change(idle_warning_s=120.0)
    now = time.time()
    entry = edge.sessions.entries[b"tok"] = Entry(session(expires=now + 3600.9, idle_s=900.0))
    entry.seen = now - 60
    reply = await edge.get("/.gateway/session", token="tok")
    told = json.loads(reply.body)
    assert reply.status == 200
    assert (told["signed_in"], told["warn_s"]) == (True, 120)
    assert 800 < told["idle_s"] <= 840
    assert 3500 < told["absolute_s"] <= 3600
    assert reply.field("cache-control") == [b"no-store"]
    assert set(told) == {"signed_in", "idle_s", "absolute_s", "warn_s"}, "nothing about the person"
    assert entry.seen == now - 60, "to ask is no activity"
    assert edge.portal.heads == []


async def test_the_idle_time_that_is_told_never_exceeds_the_absolute_one(edge: Edge) -> None:
    now = time.time()
    edge.sessions.entries[b"tok"] = Entry(session(expires=now + 30, idle_s=900.0))
    edge.sessions.entries[b"tok"].seen = now
    told = json.loads((await edge.get("/.gateway/session", token="tok")).body)
    assert told["idle_s"] <= told["absolute_s"] <= 30


async def test_nobody_and_half_a_session_are_not_signed_in(edge: Edge) -> None:
    edge.sessions.entries[b"half"] = Entry(session(owes=Owed.MFA))
    assert json.loads((await edge.get("/.gateway/session")).body) == {"signed_in": False}
    assert json.loads((await edge.get("/.gateway/session", token="half")).body)["signed_in"] is False


async def test_a_person_who_stays_extends_the_session(edge: Edge) -> None:
    entry = unused(edge)
    fields = "Origin: http://127.0.0.1\r\nSec-Fetch-Site: same-origin\r\n"
    replies = [
        await edge.get("/.gateway/session", token="tok", method="POST", fields=fields)
        for _ in range(20)  # more than the forms of ours that an address may send
    ]
    assert {reply.status for reply in replies} == {200}
    assert entry.seen > 0
    assert 890 <= json.loads(replies[-1].body)["idle_s"] <= 900


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("POST", ""),
        ("POST", "Origin: https://evil.example\r\n"),
        ("POST", "Origin: null\r\n"),
        ("POST", "Sec-Fetch-Site: none\r\n"),
        ("POST", "Origin: http://127.0.0.1\r\nSec-Fetch-Site: same-site\r\n"),
        ("GET", "Sec-Fetch-Site: cross-site\r\n"),
        ("GET", "Sec-Fetch-Site: same-site\r\n"),
        ("GET", "Origin: https://evil.example\r\n"),
    ],
)
async def test_no_other_origin_asks_about_a_session_or_extends_it(edge: Edge, method: str, fields: str) -> None:
    entry = unused(edge)
    reply = await edge.get("/.gateway/session", token="tok", method=method, fields=fields)
    assert (reply.status, json.loads(reply.body)["reason"]) == (403, "cross_origin")
    assert entry.seen == 0


async def test_a_session_from_elsewhere_learns_nothing(edge: Edge) -> None:
    bind(edge, device=device_id(DEVICE))
    assert json.loads((await edge.get("/.gateway/session", token="bound")).body) == {"signed_in": False}


async def test_other_methods_are_not_for_this_address(edge: Edge) -> None:
    reply = await edge.get("/.gateway/session", token="tok", method="DELETE")
    assert (reply.status, reply.field("allow")) == (405, [b"GET, HEAD, POST"])


async def test_a_store_that_is_away_is_not_the_end_of_a_session(edge: Edge) -> None:
    """A page that asks must not tell a person that they are signed out because a store is down."""
    edge.sessions.unavailable = True
    reply = await edge.get("/.gateway/session", token="tok")
    assert reply.status == 503
    assert reply.field("retry-after")
    assert b"signed_in" not in reply.body
