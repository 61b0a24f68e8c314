"""What leaves with an answer, whatever the portal says."""

from __future__ import annotations

import pytest

from tests.unit.edge.conftest import Edge, Reply


async def answered(edge: Edge, fields: bytes, target: str = "/", token: str = "tok") -> Reply:
    edge.portal.answers[target.encode()] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + fields + b"\r\n"
    return await edge.get(target, token=token)


async def test_weaker_fields_of_the_portal_are_overwritten_and_none_stands_twice(edge: Edge) -> None:
    reply = await answered(
        edge,
        b"X-Frame-Options: ALLOWALL\r\nX-Content-Type-Options: none\r\nReferrer-Policy: unsafe-url\r\nPermissions-Policy: camera=*\r\nStrict-Transport-Security: max-age=0\r\n"
        b"Cross-Origin-Opener-Policy: unsafe-none\r\nCross-Origin-Resource-Policy: cross-origin\r\nServer: x\r\nX-Powered-By: y\r\n",
    )
    assert reply.field("x-frame-options") == [b"SAMEORIGIN"]
    assert reply.field("x-content-type-options") == [b"nosniff"]
    assert reply.field("referrer-policy") == [b"same-origin"]
    assert reply.field("permissions-policy") == [b"camera=()"]
    assert reply.field("cross-origin-opener-policy") == [b"same-origin"]
    assert reply.field("cross-origin-resource-policy") == [b"same-origin"]
    assert reply.field("strict-transport-security") == [], "not over plain HTTP (RFC 6797 §7.2)"
    assert reply.field("server") == reply.field("x-powered-by") == []


async def test_stricter_fields_of_the_portal_are_kept(edge: Edge) -> None:
    reply = await answered(
        edge,
        b"X-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'self'\r\n",
    )
    assert reply.field("x-frame-options") == [b"DENY"]
    assert reply.field("referrer-policy") == [b"no-referrer"]
    assert reply.field("content-security-policy") == [
        b"default-src 'self'",
        b"object-src 'none'; base-uri 'self'; frame-ancestors 'self'",
    ]


async def test_authenticated_pages_are_not_stored_and_public_ones_keep_the_portals_word(edge: Edge) -> None:
    assert (await answered(edge, b"Cache-Control: public, max-age=60\r\nExpires: never\r\n")).field(
        "cache-control"
    ) == [b"no-store"]
    public = await answered(edge, b"Cache-Control: public, max-age=60\r\n", "/public/a")
    assert public.field("cache-control") == [b"public, max-age=60"]


async def test_the_portal_cannot_touch_our_cookies(edge: Edge) -> None:
    reply = await answered(
        edge,
        b'Set-Cookie: gw=evil\r\nSet-Cookie: __Host-gw=evil; Path=/; Secure\r\nSet-Cookie: a=1\r\nClear-Site-Data: "cookies", "cache"\r\n',
    )
    assert reply.field("set-cookie") == [b"a=1; SameSite=Lax"]
    assert reply.field("clear-site-data") == [b'"cache"']


@pytest.mark.parametrize("value", [b'"*"', b'"cookies"', b"*"])
async def test_clear_site_data_that_would_sign_people_out_is_dropped(edge: Edge, value: bytes) -> None:
    assert (await answered(edge, b"Clear-Site-Data: " + value + b"\r\n")).field("clear-site-data") == []


@pytest.mark.parametrize(
    ("location", "public"),
    [
        (b"/next", b"/next"),
        (b"http://127.0.0.1/next", b"http://127.0.0.1/next"),
        (b"https://127.0.0.1/next", b"http://127.0.0.1/next"),
        (b"http://10.0.0.9:3000/next?a=b", b"http://127.0.0.1/next?a=b"),
        (b"http://10.0.0.9:3000", b"http://127.0.0.1"),
        (b"http://10.0.0.9:3000.evil.example/", b"http://10.0.0.9:3000.evil.example/"),
        (b"https://elsewhere.example/", b"https://elsewhere.example/"),
    ],
)
async def test_absolute_redirects_of_the_portal_lead_to_the_public_origin(
    edge: Edge, location: bytes, public: bytes
) -> None:
    assert (await answered(edge, b"Location: " + location + b"\r\n")).field("location") == [public]


async def test_service_worker_scope_is_not_widened(edge: Edge) -> None:
    assert (await answered(edge, b"Service-Worker-Allowed: /\r\n")).field("service-worker-allowed") == []


async def test_gateway_fields_of_the_portal_do_not_reach_the_client(edge: Edge) -> None:
    reply = await answered(edge, b"X-Gateway-Events: kA==\r\nX-Gateway-User: evil\r\nX-Audit-Receipt: evil\r\n")
    assert b"evil" not in reply.head
    assert b"X-Gateway-Events" not in reply.head
    assert "events" not in edge.audit.records[-1]["unmapped"]["gw"]


async def test_no_script_of_the_portal_can_hold_a_window_of_our_pages(edge: Edge) -> None:
    reply = await edge.get("/.gateway/account", token="tok")
    assert reply.field("cross-origin-opener-policy") == [b"noopener-allow-popups"]
