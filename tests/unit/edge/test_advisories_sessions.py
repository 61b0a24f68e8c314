"""What went wrong with sessions and cookies in comparable software, tried on the edge (docs/advisories.md)."""

from __future__ import annotations

import json

import pytest

from tests.unit.edge.conftest import Edge, Entry, session

PAGE = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"


@pytest.mark.parametrize(
    "cookie",
    [
        "gw_chunks=99999999; gw=tok",
        "; ".join(f"gw.{number}=x" for number in range(1000)),
        "; ".join(f"c{number}=x" for number in range(1500)) + "; gw=tok",
        "gw=" + "A" * 8000,
    ],
)
async def test_cve_2023_28625_cve_2024_24814_absurd_cookies_cost_nothing_and_open_nothing(
    edge: Edge, cookie: str
) -> None:
    """A session is one cookie of at most a hundred bytes: nothing counts its parts or puts them together."""
    reply = await edge.get("/", fields=f"Cookie: {cookie}\r\n")
    assert reply.status == (200 if cookie.endswith("gw=tok") else 401)


async def test_cve_2023_28625_64_kib_of_cookies_are_refused_before_anything_is_looked_up(edge: Edge) -> None:
    looked_up = edge.sessions.lookups
    assert (await edge.get("/", fields=f"Cookie: a={'x' * 65536}\r\n", token="tok")).status == 431
    assert edge.sessions.lookups == looked_up


@pytest.mark.parametrize("fields", [PAGE, "Accept: application/json\r\n", ""])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_cve_2025_31492_no_byte_of_the_portal_comes_with_the_way_to_sign_in(
    edge: Edge, method: str, fields: str
) -> None:
    edge.portal.answers[b"/"] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Secret: 1\r\n\r\nsecret"
    reply = await edge.get("/", method=method, fields=fields)
    assert reply.status in {302, 401}
    assert b"secret" not in reply.raw.lower()
    assert edge.portal.heads == [], "it was not even asked"


async def test_cve_2025_29928_cve_2024_21492_what_has_ended_opens_nothing_on_the_next_request(edge: Edge) -> None:
    assert (await edge.get("/", token="tok")).status == 200
    del edge.sessions.entries[b"tok"]
    reply = await edge.get("/", token="tok")
    assert (reply.status, json.loads(reply.body)["reason"]) == (401, "sign_in_required")


@pytest.mark.parametrize("name", ["__Host-gw", "gw", "__HOST-GW", "gw.0", "gw_0"])
async def test_a_cookie_of_another_transport_or_spelling_is_no_session(edge: Edge, name: str) -> None:
    """Cookie tossing: over plain HTTP only `gw` counts, over TLS only `__Host-gw`."""
    edge.sessions.entries[b"secure"] = Entry(session(secure=True))
    reply = await edge.get("/", fields=f"Cookie: {name}=secure\r\n")
    assert reply.status == 401


async def test_a_second_session_cookie_of_a_sibling_host_makes_none_of_both(edge: Edge) -> None:
    """Cookie tossing and fixation: whoever can set a second one must not choose whose session it is."""
    assert (await edge.get("/", fields="Cookie: gw=tok; gw=admin\r\n")).status == 401
    assert (await edge.get("/", fields="Cookie: gw=admin\r\nCookie: gw=tok\r\n")).status == 401
