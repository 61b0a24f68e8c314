"""Advisories about trust in fields: what the gateway says of a person and a client, no client says. docs/advisories.md lists them all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.wire.names import fold
from tests.unit.edge.conftest import Edge
from tests.unit.edge.raw import exchange

NAMES = (Path(__file__).parents[2] / "corpora" / "field_names.txt").read_text(encoding="ascii").splitlines()
HOST = b"Host: 127.0.0.1\r\n"


def spellings(name: str) -> Iterator[str]:
    """How the name may be written for a server that reads all of these alike."""
    yield from (name, name.lower(), name.upper(), name.swapcase(), name.title())
    yield name.replace("-", "_")
    yield name.replace("-", "_", 1)
    yield name.replace("-", ".")
    yield name.replace("-", "--")
    yield name.replace("-", "-_")
    yield from (f"-{name}", f"{name}-", f"{name}_", f"_{name}", f"{name}--")
    yield from (f"HTTP-{name}", f"http_{name.lower()}", f"HTTP_{name.upper().replace('-', '_')}", f"HTTP-HTTP-{name}")
    yield from (f"{name}'", f"{name}*", f"{name}+", f"{name}~", f"{name}|", f"!{name}", f"{name}.")


async def test_cve_2025_64484_no_client_copy_survives_in_any_spelling(edge: Edge) -> None:
    """Also CVE-2026-39858, CVE-2026-54763, CVE-2026-52845 (the underscore again), CVE-2026-35051, CVE-2026-54764, CVE-2023-27487."""
    edge.change(mapped_names=frozenset((b"x-portal-mapped",)))
    edge.change_wire(max_fields=300, max_head=1 << 16)
    every = [spelling for name in NAMES for spelling in spellings(name)]
    for start in range(0, len(every), 250):
        block = "".join(f"{spelling}: EVIL\r\n" for spelling in every[start : start + 250])
        raw = b"GET /public/a HTTP/1.1\r\n" + HOST + block.encode("ascii") + b"\r\n"
        seen = await exchange(edge, raw)
        assert [answer.status for answer in seen.answers] == [200, 200]
        assert b"EVIL" not in seen.wire, re.findall(rb"[^\r\n]*EVIL", seen.wire)
    assert len(every) > 2500


async def test_cve_2025_64484_a_copy_beside_an_identity_leaves_exactly_ours(edge: Edge) -> None:
    for name in ("X-Gateway-User", "X-Gateway-Roles", "X-Gateway-Tenant", "X-Gateway-Email", "X-Gateway-Session"):
        block = "".join(f"{spelling}: EVIL\r\n" for spelling in spellings(name))
        raw = b"GET /invoices/1 HTTP/1.1\r\n" + HOST + b"Cookie: gw=tok\r\n" + block.encode("ascii") + b"\r\n"
        seen = await exchange(edge, raw)
        assert len(seen.heard[0].values(name.lower())) == 1
        assert b"EVIL" not in seen.wire


async def test_cve_2026_30851_without_a_session_no_identity_is_there_at_all(edge: Edge) -> None:
    raw = b"GET /public/a HTTP/1.1\r\n" + HOST + b"X-Gateway-User: root\r\nX-Gateway-Roles: admin\r\n\r\n"
    seen = await exchange(edge, raw)
    assert [name for name, _ in seen.heard[0].fields if name.startswith("x-gateway-")] == []


@pytest.mark.parametrize("mapped", ["remote_user_id", "X-PORTAL-user", "x-portal-User"])
async def test_cve_2026_33433_a_mapped_name_is_the_gateways_in_any_case(edge: Edge, mapped: str) -> None:
    edge.change(mapped_names=frozenset((fold(mapped.encode("ascii")),)))
    raw = (
        b"GET /public/a HTTP/1.1\r\n"
        + HOST
        + f"{mapped.lower()}: EVIL\r\n{mapped.upper()}: EVIL\r\n\r\n".encode("ascii")
    )
    assert b"EVIL" not in (await exchange(edge, raw)).wire


NOMINATED = (
    "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded", "via", "x-request-id", "x-gateway-user",
    "x-gateway-roles", "x-gateway-tenant", "x-gateway-email", "x-gateway-session", "x-gateway-assertion", "host",
)  # fmt: skip


@pytest.mark.parametrize("style", [str.lower, str.upper, str.title])
async def test_cve_2024_45410_cve_2026_29054_cve_2025_48865_cve_2022_1388_connection_takes_nothing_of_ours(
    edge: Edge, style: object
) -> None:
    assert callable(style)
    for nominated in (*NOMINATED, ", ".join(NOMINATED)):
        raw = (
            b"GET /invoices/1 HTTP/1.1\r\n"
            + HOST
            + b"Cookie: gw=tok\r\n"
            + f"Connection: {style(nominated)}\r\n\r\n".encode("ascii")
        )
        heard = (await exchange(edge, raw)).heard[0]
        assert [name for name in NOMINATED if len(heard.values(name)) != 1] == []
        assert heard.values("x-gateway-user") == ["alice"]


@pytest.mark.parametrize(
    "line",
    [
        "X-Forwarded-For: 10.0.0.1", "X-Real-IP: 10.0.0.1", "Forwarded: for=10.0.0.1;proto=https;host=globex.example", "X-Forwarded-Proto: https", "X-Forwarded-Host: globex.example",
        "X-Forwarded-Uri: /public/a", "X-Original-URL: /public/a", "X-Rewrite-URL: /public/a", "X-Forwarded-Method: GET", "X-HTTP-Method-Override: GET", "X-Forwarded-Prefix: /public",
        "X-Forwarded-Port: 443", "True-Client-IP: 10.0.0.1", "X-Envoy-Original-Path: /public/a", "X-Auth-Request-User: root", "Remote-User: root", "X-Forwarded-User: root", "X-Original-Method: GET",
    ],
)  # fmt: skip
async def test_cve_2026_40575_33495_57210_cve_2023_36456_cve_2024_21494_no_field_of_a_stranger_changes_a_decision(
    edge: Edge, line: str
) -> None:
    """Also GHSA-4jgr: neither who is limited nor which route, host or method is judged."""
    raw = b"GET /admin HTTP/1.1\r\n" + HOST + line.encode("ascii") + b"\r\n\r\n"
    seen = await exchange(edge, raw)
    assert seen.answers[0].status == 401
    record = edge.audit.records[0]
    assert record["src_endpoint"]["ip"] == "127.0.0.1"
    assert [heard.line for heard in seen.heard] == ["GET /public/marker"]
    (chain,) = seen.heard[0].values("x-forwarded-for")
    assert chain == "127.0.0.1"


async def test_cve_2021_32777_cve_2026_34525_a_security_field_stands_once(edge: Edge) -> None:
    for line in (
        b"Host: 127.0.0.1\r\n",
        b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
        b"Origin: http://a\r\nORIGIN: http://b\r\n",
    ):
        seen = await exchange(edge, b"GET /public/a HTTP/1.1\r\n" + HOST + line + b"\r\n")
        assert (seen.answers[0].status, seen.heard) == (400, [])


async def test_cve_2023_27488_bytes_that_are_no_utf_8_break_no_record(edge: Edge) -> None:
    seen = await exchange(edge, b"GET /public/a HTTP/1.1\r\n" + HOST + b"User-Agent: \xff\xfe\x80\r\nX-A: \xc3\r\n\r\n")
    assert seen.heard[0].values("x-a") == ["\xc3"]
    assert edge.audit.records[0]["status_code"] == "200"


async def test_cve_2023_27493_a_value_never_becomes_a_line(edge: Edge) -> None:
    for value in (b"a\r\n X-Gateway-User: root", b"a\rX-Gateway-User: root", b"a\nX-Gateway-User: root"):
        seen = await exchange(edge, b"GET /public/a HTTP/1.1\r\n" + HOST + b"X-A: " + value + b"\r\n\r\n")
        assert (seen.answers[0].status, seen.heard) == (400, [])
