"""Each stage refuses somebody, and nothing that was refused reaches the portal."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import orjson
import pytest

from gateway.exchange.envelope import Event, pack_events
from gateway.exchange.route import LimitSpec
from gateway.exchange.session import Owed
from gateway.ratelimit.gcra import Bucket
from gateway.wire.forwarded import TrustedProxies
from tests.unit.edge.conftest import Edge, Entry, Reply, session

HTML = "Sec-Fetch-Mode: navigate\r\nAccept: text/html\r\n"


def reason_of(reply: Reply) -> str:
    return str(orjson.loads(reply.body)["reason"])


async def test_a_session_with_the_role_is_let_through_with_its_identity(edge: Edge) -> None:
    reply = await edge.get("/invoices/42", token="tok")
    assert reply.status == 200
    assert edge.portal.field(b"x-gateway-user") == [b"alice"]
    assert edge.portal.field(b"x-gateway-tenant") == [b"acme"]
    assert edge.portal.field(b"x-gateway-roles") == [b"client"]
    assert edge.portal.field(b"x-gateway-email") == [b"alice@acme.example"]
    assert edge.portal.field(b"x-gateway-session") == [b"handle1"]
    assert edge.portal.field(b"x-gateway-assertion") == [b"signed"]
    assert edge.portal.field(b"x-request-id") == reply.field("x-request-id")
    assert edge.portal.field(b"x-forwarded-for") == [b"127.0.0.1"]
    assert edge.portal.field(b"x-forwarded-proto") == [b"http"]
    assert (
        b"tok" not in edge.portal.head.partition(b"\r\n\r\n")[0].replace(b"user-token", b"").split(b"x-gateway", 1)[0]
    )
    record = edge.audit.records[-1]
    assert record["actor"]["user"]["name"] == "alice"
    assert record["resources"] == [{"type": "invoice", "uid": "42"}]
    assert record["unmapped"]["gw"]["route"] == "invoice"
    assert record["policy"]["uid"].startswith("policies/test.yaml:")
    assert b"tok" not in edge.audit.payloads[-1]


async def test_without_a_session_a_navigation_is_sent_to_sign_in_and_a_program_gets_401(edge: Edge) -> None:
    page = await edge.get("/invoices/42?a=b&c", fields=HTML)
    assert (page.status, page.field("location")) == (302, [b"/.gateway/login?return_to=/invoices/42%3Fa%3Db%26c"])
    program = await edge.get("/invoices/42")
    assert (program.status, reason_of(program)) == (401, "sign_in_required")
    assert program.field("www-authenticate")
    assert edge.portal.heads == []


@pytest.mark.parametrize("token", ["unknown", "", "x" * 5000, "tok tok", '"tok"'])
async def test_a_malformed_or_unknown_cookie_is_never_a_yes_cve_2026_25748(edge: Edge, token: str) -> None:
    assert (await edge.get("/", fields=f"Cookie: gw={token}\r\n")).status == 401
    assert edge.portal.heads == []


async def test_a_session_of_another_host_or_transport_is_no_session(edge: Edge) -> None:
    edge.sessions.entries[b"other"] = Entry(session(host="globex.example"))
    edge.sessions.entries[b"tls"] = Entry(session(secure=True))
    assert (await edge.get("/", token="other")).status == 401
    assert (await edge.get("/", token="tls")).status == 401
    assert (await edge.get("/", fields="Cookie: __Host-gw=tok\r\n")).status == 401, (
        "the TLS cookie means nothing over plain HTTP"
    )


async def test_a_missing_second_factor_leads_to_it(edge: Edge) -> None:
    edge.sessions.entries[b"half"] = Entry(session(owes=Owed.MFA, mfa_time=0.0, amr=("pwd",)))
    edge.sessions.entries[b"new"] = Entry(session(owes=Owed.ENROLMENT, mfa_time=0.0, amr=("pwd",)))
    assert reason_of(await edge.get("/", token="half")) == "mfa_required"
    assert (await edge.get("/", token="half", fields=HTML)).field("location") == [b"/.gateway/mfa?return_to=/"]
    assert reason_of(await edge.get("/", token="new")) == "mfa_enrolment_required"
    assert edge.portal.heads == []


async def test_a_half_session_is_anonymous_on_a_public_route(edge: Edge) -> None:
    edge.sessions.entries[b"half"] = Entry(session(owes=Owed.MFA, mfa_time=0.0))
    assert (await edge.get("/public/a", token="half")).status == 200
    assert edge.portal.field(b"x-gateway-user") == []


async def test_another_tenants_host_is_refused_before_policy(edge: Edge) -> None:
    edge.sessions.entries[b"tok"] = Entry(session(host="globex.example"))
    raw = await edge.raw(b"GET / HTTP/1.1\r\nHost: globex.example\r\nCookie: gw=tok\r\nConnection: close\r\n\r\n")
    assert reason_of(Reply(raw)) == "tenant_mismatch"
    assert edge.portal.heads == []


async def test_a_missing_role_is_403_and_names_the_rule(edge: Edge) -> None:
    reply = await edge.get("/admin/users", token="tok", fields=HTML)
    assert reply.status == 403
    assert b"policies/test.yaml:" in reply.body
    assert reply.field("content-type") == [b"text/html; charset=utf-8"]
    assert (await edge.get("/admin/users", token="admin")).status == 200


async def test_the_path_alone_picks_the_template_then_405(edge: Edge) -> None:
    reply = await edge.get("/invoices/42", method="DELETE", token="tok")
    assert (reply.status, reply.field("allow")) == (405, [b"GET, HEAD"])
    assert (await edge.get("/nowhere", token="tok")).status == 404


ADMIN_SPELLINGS = [
    "/public/../admin/x", "/public/%2e%2e/admin/x", "/public/..;/admin/x", "/public/..%2fadmin/x", "/public/..%5cadmin/x", "/public/%2e%2e%2fadmin/x", "/public/..%252fadmin/x",
    "/ADMIN/x", "/Admin/x", "/%61dmin/x", "/%2561dmin/x", "/admin%2fx", "/admin;a=b/x", "//admin/x", "/./admin/x", "/admin/./x", "/public/..%c0%afadmin/x",
    "/public/%EF%BC%8E%EF%BC%8E/admin/x", "/admin%20/x", "/admin%09/x", "/adm%E2%80%8Bin/x", "/public/.%2e/admin/x", "/public/%2e./admin/x", "/.;/admin/x", "/files/..%2fadmin/x", "/files/..%5Cadmin/x",
    "/public/secret%23/../../admin/x", "/public/a%3f/../../admin/x",
]  # fmt: skip


@pytest.mark.parametrize("target", ADMIN_SPELLINGS)
async def test_no_spelling_of_a_denied_path_reaches_the_portal(edge: Edge, target: str) -> None:
    reply = await edge.get(target, token="tok")
    assert reply.status in {400, 403, 404}, reply.head
    assert edge.portal.heads == []


async def test_dot_segments_are_gone_before_anybody_sees_the_path(edge: Edge) -> None:
    assert (await edge.get("/public//../admin/x", token="tok")).status == 200
    assert edge.portal.head.startswith(b"GET /public/admin/x HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "target",
    [
        "/public/c%23",
        "/public/items;color=red",
        "/public/caf%C3%A9",
        "/public/a%20b",
        "/public/A.JPG",
        "/files/a%2Fb",
        "/public/x?q=[a]|{b}",
        "/public/a//b",
        "/public/" + "a" * 7900,
    ],
)
async def test_unusual_but_honest_targets_pass(edge: Edge, target: str) -> None:
    reply = await edge.get(target)
    assert reply.status == 200, reply.raw
    assert edge.portal.head.split(b" ")[1] == target.encode()


async def test_an_encoded_slash_passes_only_where_the_route_says_so(edge: Edge) -> None:
    assert (await edge.get("/public/a%2fb")).status == 400
    assert (await edge.get("/files/a%2fb")).status == 200


async def test_a_route_limit_refuses_with_retry_after_and_counts_per_user(edge: Edge) -> None:
    statuses = [(await edge.get("/limited", token="tok")).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    refused = await edge.get("/limited", token="tok")
    assert int(refused.field("retry-after")[0]) in range(1, 61)
    edge.sessions.entries[b"other"] = Entry(session(user_id="u9"))
    assert (await edge.get("/limited", token="other")).status == 200


async def test_a_flood_is_shed_before_any_store_is_touched(edge: Edge) -> None:
    edge.change(limits=(Bucket(LimitSpec(name="client", rate_per_s=0.01, burst=1, per="ip")),))
    edge.sessions.unavailable = True
    assert (await edge.get("/", token="tok")).status == 503
    shed = await edge.get("/", token="tok")
    assert (shed.status, reason_of(shed)) == (429, "shed")


async def test_a_store_that_cannot_be_read_is_503_and_the_cookie_stays(edge: Edge) -> None:
    edge.sessions.unavailable = True
    reply = await edge.get("/", token="tok", fields=HTML)
    assert reply.status == 503
    assert reply.field("retry-after")
    assert reply.field("set-cookie") == []
    assert reply.field("location") == []
    edge.sessions.unavailable = False
    assert (await edge.get("/", token="tok")).status == 200


async def test_an_exception_in_the_pipeline_refuses_and_is_reported(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(token: bytes, now: float) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(edge.sessions, "lookup", broken)
    reply = await edge.get("/", token="tok")
    assert (reply.status, reason_of(reply)) == (500, "internal_error")
    assert b"secret detail" not in reply.raw
    assert edge.portal.heads == []
    assert edge.reports
    assert "secret detail" not in str(edge.reports)


@pytest.mark.parametrize(
    "name",
    [
        "X-Forwarded-For",
        "X-Real-IP",
        "Forwarded",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Original-URL",
        "X-Gateway-User",
        "X_Gateway_User",
    ],
)
async def test_forwarding_fields_of_an_untrusted_peer_change_nothing_cve_2026_40575(edge: Edge, name: str) -> None:
    reply = await edge.get("/admin/x", token="tok", fields=f"{name}: 10.9.9.9\r\n")
    assert reply.status == 403
    assert edge.audit.records[-1]["src_endpoint"]["ip"] == "127.0.0.1"
    assert (await edge.get("/public/a", token="tok", fields=f"{name}: evil\r\nConnection: {name}\r\n")).status == 200
    assert b"evil" not in edge.portal.head
    assert edge.portal.field(b"x-gateway-user") == [b"alice"]


async def test_a_trusted_proxy_names_the_client_and_the_scheme(edge: Edge) -> None:
    edge.change(trusted_proxies=TrustedProxies((ip_network("127.0.0.0/8"),)))
    edge.sessions.entries[b"tls"] = Entry(session(secure=True))
    reply = await edge.get(
        "/", fields="X-Forwarded-For: 6.6.6.6, 203.0.113.9\r\nX-Forwarded-Proto: https\r\nCookie: __Host-gw=tls\r\n"
    )
    assert reply.status == 200
    assert edge.audit.records[-1]["src_endpoint"]["ip"] == "203.0.113.9"
    assert edge.portal.field(b"x-forwarded-for") == [b"203.0.113.9, 127.0.0.1"]  # not what the client made up
    assert reply.field("strict-transport-security") == [b"max-age=63072000"]
    assert (await edge.get("/", fields="X-Forwarded-For: unknown\r\n")).status == 400


async def test_only_the_field_that_the_proxies_write_is_read(edge: Edge) -> None:
    """A client sends the other one: it names nobody and makes no connection secure."""
    both = "X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: http\r\nForwarded: for=6.6.6.6;proto=https\r\n"
    trusted = (ip_network("127.0.0.0/8"),)
    edge.change(trusted_proxies=TrustedProxies(trusted))
    reply = await edge.get("/public/a", fields=both)
    assert edge.audit.records[-1]["src_endpoint"]["ip"] == "198.51.100.7"
    assert not reply.field("strict-transport-security")
    edge.change(trusted_proxies=TrustedProxies(trusted, believes="forwarded"))
    reply = await edge.get("/public/a", fields=both)
    assert edge.audit.records[-1]["src_endpoint"]["ip"] == "6.6.6.6"
    assert reply.field("strict-transport-security")
    assert edge.portal.field(b"x-forwarded-for") == [b"6.6.6.6, 127.0.0.1"]
    assert edge.portal.field(b"forwarded") == [b"for=6.6.6.6;host=127.0.0.1;proto=https"]


@pytest.mark.parametrize("value", ["for=unknown", "for=_hidden", "proto=https", 'for="[::1', "for=1.2.3.4:80"])
async def test_a_forwarded_field_that_names_no_client_is_refused(edge: Edge, value: str) -> None:
    edge.change(trusted_proxies=TrustedProxies((ip_network("127.0.0.0/8"),), believes="forwarded"))
    reply = await edge.get("/public/a", fields=f"Forwarded: {value}\r\n")
    assert (reply.status, reason_of(reply)) == (400, "invalid_forwarded")
    assert edge.portal.heads == []


async def test_the_host_is_never_taken_from_a_forwarding_field(edge: Edge) -> None:
    edge.change(trusted_proxies=TrustedProxies((ip_network("127.0.0.0/8"),)))
    fields = "X-Forwarded-Host: globex.example\r\nX-Forwarded-Port: 9\r\nForwarded: host=globex.example\r\n"
    assert (await edge.get("/public/a", fields=fields)).status == 200
    assert edge.portal.field(b"x-forwarded-host") == [b"127.0.0.1"]
    assert edge.portal.field(b"x-forwarded-port") == [b"80"]


async def test_a_cross_origin_websocket_is_refused_even_on_a_public_route(edge: Edge) -> None:
    handshake = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    raw = (
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n{handshake}Origin: https://evil.example\r\n\r\n"
    )
    assert reason_of(Reply(await edge.raw(raw.encode()))) == "cross_origin"
    assert edge.portal.heads == []


async def test_a_service_worker_script_is_refused_unless_the_route_allows_it(edge: Edge) -> None:
    assert reason_of(await edge.get("/public/sw.js", fields="Service-Worker: script\r\n")) == "service_worker"


async def test_two_credentials_are_refused_only_where_authorization_is_ours(edge: Edge) -> None:
    fields = "Authorization: Basic eDp5\r\n"
    assert reason_of(await edge.get("/ours", token="tok", fields=fields)) == "credentials_conflict"
    assert reason_of(await edge.get("/ours", fields=fields)) == "sign_in_required"
    assert (await edge.get("/", token="tok", fields=fields)).status == 200
    assert edge.portal.field(b"authorization") == [b"Basic eDp5"]


async def test_sign_in_attempts_are_limited_per_address(edge: Edge) -> None:
    statuses = [(await edge.get("/.gateway/login", method="POST", body=b"x")).status for _ in range(4)]
    assert statuses[-1] == 429
    assert (await edge.get("/.gateway/login")).status == 200, "reading the page is no attempt"


@pytest.mark.parametrize("target", ["/.gateway/login", "/%2egateway/login"])
async def test_our_own_pages_get_an_envelope_that_no_client_can_forge(edge: Edge, target: str) -> None:
    await edge.get(target, token="tok", fields="X-Gateway-Envelope: forged\r\nCookie: PHPSESSID=secret\r\n")
    assert len(edge.portal.field(b"X-Gateway-Envelope")) == 1
    assert b"forged" not in edge.portal.head
    assert b"PHPSESSID" not in edge.portal.head


@pytest.mark.parametrize(
    "target", ["/.GATEWAY/login", "/public/..%2f.gateway/login", "/.gateway;/login", "/%252egateway/login"]
)
async def test_no_spelling_leads_around_our_own_pages(edge: Edge, target: str) -> None:
    assert (await edge.get(target, token="tok")).status in {400, 404}
    assert edge.portal.heads == []


async def test_the_key_set_is_public(edge: Edge) -> None:
    reply = await edge.get("/.gateway/jwks.json")
    assert (reply.status, reply.body) == (200, b'{"keys":[]}')


async def test_a_new_snapshot_decides_the_next_request(edge: Edge) -> None:
    assert (await edge.get("/", token="tok")).status == 200
    table = edge.worker.snapshot
    edge.change(hosts={"elsewhere.example": ""})
    assert (await edge.get("/", token="tok")).status == 421
    edge.worker.swap(replace(table))
    assert (await edge.get("/", token="tok")).status == 200


async def test_what_happened_in_our_pages_stands_in_the_record_of_that_request(edge: Edge) -> None:
    failed = pack_events([Event(name="login.failed", outcome="failure", reason="credentials_refused")])
    signed_in = pack_events([Event(name="login.succeeded", user_id="u1", user="alice", tenant="acme")])
    edge.portal.answers[b"/.gateway/login"] = (
        b"HTTP/1.1 401 X\r\nContent-Length: 0\r\nX-Gateway-Events: " + failed + b"\r\n\r\n"
    )
    reply = await edge.get("/.gateway/login", method="POST", body=b"x")
    assert (reply.status, reply.field("x-gateway-events")) == (401, [])
    record = edge.audit.records[-1]
    assert (record["action_id"], record["status_detail"]) == (2, "credentials_refused")
    assert record["unmapped"]["gw"]["events"][0]["name"] == "login.failed"
    assert "actor" not in record
    edge.portal.answers[b"/.gateway/login"] = (
        b"HTTP/1.1 303 X\r\nContent-Length: 0\r\nX-Gateway-Events: " + signed_in + b"\r\n\r\n"
    )
    await edge.get("/.gateway/login", method="POST", body=b"x")
    record = edge.audit.records[-1]
    assert (record["actor"]["user"]["name"], record["metadata"]["tenant_uid"]) == ("alice", "acme")


async def test_a_request_with_exotic_bytes_everywhere_is_recorded(edge: Edge) -> None:
    reply = await edge.get("/public/%ff%80", fields='User-Agent: \x80\xff"\\\u00e9\r\nX: \xff\r\n')
    assert reply.status == 200
    assert edge.audit.records[-1]["http_request"]["user_agent"] == '%80%FF"\\%E9'


@pytest.mark.pure
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_stage_that_forgets_to_refuse_lets_nothing_reach_the_portal(
    edge: Edge, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Only policy allows: a pipeline that ends without an objection is no permission."""
    monkeypatch.setattr("gateway.edge.answering.admit", lambda *_: None)
    reply = await edge.get("/public/a", method=method, body=b"x" if method == "POST" else b"")
    assert reply.status == 500
    assert edge.portal.heads == []
