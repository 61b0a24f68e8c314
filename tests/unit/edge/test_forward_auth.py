"""Forward-auth through a real worker: who may ask, what a question is, what is answered to each kind of proxy."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import Any, Literal

import pytest

from gateway.edge.resolve import Resolver
from gateway.edge.snapshot import ForwardAuthRules
from gateway.exchange.route import LimitSpec
from gateway.policy import compile_policy
from gateway.ratelimit.gcra import Bucket
from gateway.wire.forwarded import TrustedProxies
from tests.unit.edge.conftest import Edge, Http2Edge, Reply
from tests.unit.edge.test_inspection import ATTACK, PAYLOAD, inspect

Style = Literal["nginx", "forwarded", "envoy"]
STYLES: tuple[Style, ...] = ("nginx", "forwarded", "envoy")
LOOPBACK = ip_network("127.0.0.0/8")
PAGE = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"


def serve(edge: Edge, style: Style, *, askers: str = "127.0.0.0/8") -> None:
    rules = ForwardAuthRules(
        style=style, askers=TrustedProxies([ip_network(askers)]), proxies=TrustedProxies([LOOPBACK])
    )
    edge.change(forward_auth=rules)


async def check(
    edge: Edge,
    style: Style,
    target: str = "/invoices/7",
    *,
    method: str = "GET",
    token: str = "tok",
    fields: str = "",
    proto: str = "http",
) -> Reply:
    """Ask as a proxy of the style does that overwrites its fields."""
    client = f"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: {proto}\r\n"
    match style:
        case "nginx":
            said = f"X-Original-Method: {method}\r\nX-Original-URI: {target}\r\n"
            return await edge.get("/.gateway/check", token=token, fields=client + said + fields)
        case "forwarded":
            said = f"X-Forwarded-Method: {method}\r\nX-Forwarded-Uri: {target}\r\nX-Forwarded-Host: 127.0.0.1\r\n"
            return await edge.get("/.gateway/check", token=token, fields=client + said + fields)
        case "envoy":
            return await edge.get(f"/.gateway/check{target}", method=method, token=token, fields=client + fields)


def record(edge: Edge) -> Any:
    return edge.audit.records[-1]


# who may ask


async def test_unconfigured_there_is_nothing_to_ask(edge: Edge) -> None:
    reply = await check(edge, "nginx")
    assert not reply.field("x-gateway-user")
    assert edge.portal.head.startswith(b"GET /.gateway/check HTTP/1.1"), "our pages know no such page"


@pytest.mark.parametrize("style", STYLES)
async def test_a_stranger_that_asks_gets_what_any_unknown_address_gets(edge: Edge, style: Style) -> None:
    serve(edge, style, askers="198.51.100.0/24")
    reply = await check(edge, style)
    assert not reply.field("x-gateway-user")
    assert len(edge.portal.heads) == 1
    assert "via" not in record(edge)["unmapped"]["gw"]


# the decision is that of the pipeline


@pytest.mark.parametrize("style", STYLES)
async def test_an_allowed_request_is_answered_with_the_identity_for_its_upstream(edge: Edge, style: Style) -> None:
    serve(edge, style)
    reply = await check(edge, style)
    assert reply.status == 200
    assert reply.field("x-gateway-user") == [b"alice"]
    assert reply.field("x-gateway-tenant") == [b"acme"]
    assert reply.field("x-gateway-roles") == [b"client"]
    assert reply.field("x-gateway-session") == [b"handle1"]
    assert reply.field("x-gateway-assertion") == [b"signed"]
    assert reply.field("x-request-id")
    assert reply.field("cache-control") == [b"no-store"]
    assert reply.body == b""
    assert edge.portal.heads == [], "another one forwards"


@pytest.mark.parametrize("style", STYLES)
async def test_the_record_is_that_of_the_request_that_was_asked_about(edge: Edge, style: Style) -> None:
    serve(edge, style)
    await check(edge, style, "/invoices/7?secret=1")
    made = record(edge)
    assert made["http_request"]["http_method"] == "GET"
    assert made["http_request"]["url"]["path"] == "/invoices/7"
    assert made["src_endpoint"]["ip"] == "203.0.113.9"
    assert made["resources"] == [{"type": "invoice", "uid": "7"}]
    assert made["actor"]["user"]["name"] == "alice"
    assert made["unmapped"]["gw"]["route"] == "invoice"
    assert made["unmapped"]["gw"]["via"] == "forward_auth"
    assert edge.worker.metrics.checks.values["allowed", "allowed"] == 1
    edge.worker.evidence.flush_log()
    assert b'"via":"forward_auth"' in edge.lines[-1]


async def test_an_ordinary_record_and_line_say_nothing_of_it(edge: Edge) -> None:
    serve(edge, "nginx")
    await edge.get("/invoices/7", token="tok")
    edge.worker.evidence.flush_log()
    assert "via" not in record(edge)["unmapped"]["gw"]
    assert b"via" not in edge.lines[-1]


@pytest.mark.parametrize("style", STYLES)
async def test_a_role_that_is_missing_is_403(edge: Edge, style: Style) -> None:
    serve(edge, style)
    reply = await check(edge, style, "/admin/users")
    assert reply.status == 403
    assert not reply.field("x-gateway-user")
    assert record(edge)["status_detail"] == "role_missing"
    assert edge.worker.metrics.checks.values["refused", "role_missing"] == 1


@pytest.mark.parametrize("style", STYLES)
async def test_the_method_that_was_asked_about_counts(edge: Edge, style: Style) -> None:
    serve(edge, style)
    reply = await check(edge, style, "/invoices/7", method="DELETE")
    assert reply.status == (403 if style == "nginx" else 405)
    assert record(edge)["status_detail"] == "method_not_allowed"
    assert record(edge)["http_request"]["http_method"] == "DELETE"


@pytest.mark.parametrize("style", STYLES)
async def test_the_answer_to_a_question_about_head_is_framed_by_how_it_was_asked(edge: Edge, style: Style) -> None:
    serve(edge, style)
    async with asyncio.timeout(5):
        reply = await check(edge, style, "/admin/users", method="HEAD")
    assert reply.status == 403
    length = int(reply.field("content-length")[0])
    assert len(reply.body) == (0 if style == "envoy" else length)
    assert record(edge)["http_request"]["http_method"] == "HEAD"


@pytest.mark.parametrize("style", STYLES)
async def test_on_a_public_route_every_identity_field_is_there_and_empty(edge: Edge, style: Style) -> None:
    """Caddy before 2.11.2 left a client's field alone when the answer had none of that name."""
    serve(edge, style)
    reply = await check(edge, style, "/public/a", token="")
    assert reply.status == 200
    for name in ("user", "tenant", "roles", "email", "session", "assertion"):
        assert reply.field(f"x-gateway-{name}") == [b""]


@pytest.mark.parametrize("style", STYLES)
async def test_identity_fields_have_the_names_of_the_routes_upstream(edge: Edge, style: Style) -> None:
    names = dict(edge.worker.snapshot.upstreams["portal"].field_names)
    edge.change_upstream(field_names=names | {"user": b"remote-user"})
    serve(edge, style)
    assert (await check(edge, style)).field("remote-user") == [b"alice"]
    assert (await check(edge, style, "/public/a", token="")).field("remote-user") == [b""]


@pytest.mark.parametrize("style", STYLES)
async def test_limits_count_the_request_that_is_asked_about(edge: Edge, style: Style) -> None:
    serve(edge, style)
    edge.change(limits=(Bucket(LimitSpec(name="client", rate_per_s=1 / 60, burst=1, per="ip")),))
    assert (await check(edge, style)).status == 200
    reply = await check(edge, style)
    assert reply.status == (403 if style == "nginx" else 429)
    assert int(reply.field("retry-after")[0]) > 0
    if style == "nginx":
        assert reply.field("x-gateway-status") == [b"429"]


async def test_a_route_for_unsafe_methods_is_recorded_before_it_is_answered(edge: Edge) -> None:
    serve(edge, "nginx")
    edge.audit.acknowledges = False
    asked = asyncio.create_task(check(edge, "nginx", "/", method="POST"))
    async with asyncio.timeout(5):
        while not edge.audit.payloads:
            await asyncio.sleep(0.01)
    assert not asked.done()
    edge.audit.acknowledge_all()
    assert (await asked).status == 200


@pytest.mark.parametrize("style", STYLES)
async def test_without_an_audit_trail_nothing_is_allowed(edge: Edge, style: Style) -> None:
    serve(edge, style)
    edge.audit.refuses = True
    reply = await check(edge, style)
    assert reply.status == (403 if style == "nginx" else 503)
    assert not reply.field("x-gateway-user")


@pytest.mark.parametrize("style", STYLES)
async def test_a_store_that_cannot_say_refuses_without_a_sign_in(edge: Edge, style: Style) -> None:
    serve(edge, style)
    edge.sessions.unavailable = True
    reply = await check(edge, style, fields=PAGE)
    assert reply.status == (403 if style == "nginx" else 503)
    assert not reply.field("location")
    assert not reply.field("x-gateway-login")


@pytest.mark.parametrize("style", STYLES)
async def test_a_websocket_of_another_origin_is_refused_though_the_proxy_keeps_the_upgrade_to_itself(
    edge: Edge, style: Style
) -> None:
    serve(edge, style)
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    assert (await check(edge, style, "/ws", fields=key + "Origin: http://evil.example\r\n")).status == 403
    assert (await check(edge, style, "/ws", fields=key + "Origin: http://127.0.0.1\r\n")).status == 200


async def test_a_handshake_that_the_proxy_passes_on_whole_is_answered_and_the_connection_closed(edge: Edge) -> None:
    serve(edge, "forwarded")
    upgrade = (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://127.0.0.1\r\n"
    )
    head = (
        "GET /.gateway/check HTTP/1.1\r\nHost: gateway\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\n"
        f"X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /ws\r\nX-Forwarded-Host: 127.0.0.1\r\n{upgrade}\r\n"
    )
    answer = await edge.raw(head.encode() + b"GET /public/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert edge.portal.heads == []


# sign-in


async def test_nginx_is_told_where_to_sign_in_by_a_field_of_a_401(edge: Edge) -> None:
    serve(edge, "nginx")
    reply = await check(edge, "nginx", "/invoices/7?a=1", token="", fields=PAGE)
    assert reply.status == 401
    assert reply.field("x-gateway-login") == [b"http://127.0.0.1/.gateway/login?return_to=/invoices/7%3Fa%3D1"]
    assert not reply.field("location")


@pytest.mark.parametrize("style", ["forwarded", "envoy"])
async def test_a_proxy_that_passes_answers_on_gets_the_redirect_with_the_whole_address(
    edge: Edge, style: Style
) -> None:
    serve(edge, style)
    reply = await check(edge, style, token="", fields=PAGE)
    assert reply.status == 302
    assert reply.field("location") == [b"http://127.0.0.1/.gateway/login?return_to=/invoices/7"]


@pytest.mark.parametrize("style", STYLES)
async def test_a_program_gets_401_and_no_redirect(edge: Edge, style: Style) -> None:
    serve(edge, style)
    reply = await check(edge, style, token="")
    assert reply.status == 401
    assert not reply.field("location")
    assert not reply.field("x-gateway-login")


@pytest.mark.parametrize("cookie", ["gw=", "gw=;;;=", "gw=\xff\xfe", "gw=tok; gw=tok", "gw", '"', "=;=;=" * 50])
async def test_a_malformed_cookie_never_says_yes_cve_2026_25748(edge: Edge, cookie: str) -> None:
    serve(edge, "forwarded")
    reply = await check(edge, "forwarded", token="", fields=f"Cookie: {cookie}\r\n")
    assert reply.status in {400, 401}


@pytest.mark.parametrize("agent", ["GoogleHC/1.0", "kube-probe/1.29", "ELB-HealthChecker/2.0", "Mozilla/5.0", ""])
@pytest.mark.parametrize("style", STYLES)
async def test_no_user_agent_passes_for_a_health_check_cve_2026_34457(edge: Edge, style: Style, agent: str) -> None:
    serve(edge, style)
    reply = await check(edge, style, "/invoices/7", token="", fields=f"User-Agent: {agent}\r\n")
    assert reply.status == 401


# questions that are none


@pytest.mark.parametrize(
    "said",
    [
        "",
        "X-Original-Method: GET\r\n",
        "X-Original-URI: /public/a\r\n",
        "X-Original-Method: GET\r\nX-Original-URI: public/a\r\n",
        "X-Original-Method: GET\r\nX-Original-URI: http://127.0.0.1/public/a\r\n",
        "X-Original-Method: GET\r\nX-Original-URI: \r\n",
        "X-Original-Method: GET\r\nX-Original-URI: /a b\r\n",
        "X-Original-Method: G T\r\nX-Original-URI: /public/a\r\n",
        "X-Original-Method: GET\r\nX-Original-URI: /public/a\r\nX-Original-URI: /public/b\r\n",
        "X-Original-Method: GET\r\nX-Original-Method: GET\r\nX-Original-URI: /public/a\r\n",
        "X-Original-Method: GET\r\nX-Original-URI: /public/a\r\nX-Original-URL: http://127.0.0.1/public/a\r\n",
        "X-Original-Method: GET\r\nX_Original_URI: /public/a\r\n",
        "X-Original-Method: GET\r\nX-Original-URI: /public/a\r\nX_Original_URI: /public/b\r\n",
        "X-Original-Method: GET\r\nX-Original-URI: /public/a\r\nHTTP-X-Original-URI: /public/b\r\n",
        "X-Original-Method: GET\r\nX-Original-URI: /public/a\r\nX-Original-URI: /public/a\r\nConnection: X-Original-URI\r\n",
        "X-Original-Method: GET\r\nX-Original-URL: https://127.0.0.1/public/a\r\n",
        "X-Original-Method: GET\r\nX-Original-URL: ftp://127.0.0.1/public/a\r\n",
        "X-Original-Method: GET\r\nX-Original-URL: http://a@127.0.0.1/public/a\r\n",
    ],
)
async def test_what_is_missing_malformed_or_said_twice_refuses(edge: Edge, said: str) -> None:
    serve(edge, "nginx")
    client = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\n"
    reply = await edge.get("/.gateway/check", fields=client + said)
    assert reply.status == 403
    assert reply.field("x-gateway-reason") == [b"invalid_check"]
    assert record(edge)["status_detail"] == "invalid_check"


@pytest.mark.parametrize(
    ("style", "field"),
    [
        ("nginx", "X-Forwarded-Uri"), ("nginx", "X-Forwarded-Method"), ("nginx", "X-Rewrite-URL"),
        ("nginx", "x_forwarded_uri"), ("forwarded", "X-Original-URI"), ("forwarded", "X-Original-URL"),
        ("forwarded", "X-Original-Method"), ("forwarded", "X-Rewrite-URL"), ("forwarded", "X-Envoy-Original-Path"),
        ("envoy", "X-Original-URI"), ("envoy", "X-Forwarded-Uri"), ("envoy", "X-Forwarded-Method"),
        ("envoy", "X-Envoy-Original-Path"), ("envoy", "X-HTTP-Method-Override"),
    ],
)  # fmt: skip
async def test_the_field_of_another_proxy_is_the_clients_and_refuses_cve_2026_40575(
    edge: Edge, style: Style, field: str
) -> None:
    serve(edge, style)
    reply = await check(edge, style, "/admin/users", fields=f"{field}: /public/a\r\n")
    assert reply.status == (403 if style == "nginx" else 400)
    assert record(edge)["status_detail"] == "invalid_check"


@pytest.mark.parametrize(
    "client",
    [
        "",
        "X-Forwarded-For: 203.0.113.9\r\n",
        "X-Forwarded-Proto: http\r\n",
        "X-Forwarded-Proto: http\r\nForwarded: for=203.0.113.9;proto=http\r\n",
        "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n",
        "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: gopher\r\n",
        "X-Forwarded-For: somebody\r\nX-Forwarded-Proto: http\r\n",
    ],
)
async def test_a_proxy_that_does_not_tell_its_client_is_refused(edge: Edge, client: str) -> None:
    serve(edge, "nginx")
    said = "X-Original-Method: GET\r\nX-Original-URI: /public/a\r\n"
    assert (await edge.get("/.gateway/check", fields=client + said)).status == 403
    assert record(edge)["status_detail"] == "invalid_check"


@pytest.mark.parametrize(("target", "method"), [("/.gateway/check/invoices/7", "GET"), ("/.gateway/check/", "GET"), ("/.gateway/check", "POST")])  # fmt: skip
async def test_a_question_stands_in_its_fields_alone(edge: Edge, target: str, method: str) -> None:
    serve(edge, "nginx")
    said = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\nX-Original-Method: GET\r\nX-Original-URI: /public/a\r\n"
    reply = await edge.get(target, method=method, fields=said)
    assert reply.status == 403
    assert record(edge)["status_detail"] == "invalid_check"


async def test_a_query_of_the_question_itself_says_nothing(edge: Edge) -> None:
    """Caddy keeps the query of the request when it rewrites the path."""
    serve(edge, "forwarded")
    said = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Host: 127.0.0.1\r\nX-Forwarded-Uri: /admin/users?b=2\r\n"
    reply = await edge.get("/.gateway/check?b=2&x=/public/a", token="admin", fields=said)
    assert reply.status == 200
    assert record(edge)["http_request"]["url"]["path"] == "/admin/users"


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
async def test_methods_that_the_gateway_never_forwards_are_not_allowed_by_others_either(
    edge: Edge, method: str
) -> None:
    serve(edge, "forwarded")
    assert (await check(edge, "forwarded", "/public/a", method=method)).status == 501


async def test_the_url_of_an_nginx_ingress_is_read_with_its_host_and_scheme(edge: Edge) -> None:
    serve(edge, "nginx")
    said = (
        "X-Forwarded-For: 203.0.113.9\r\nX-Original-Method: GET\r\nX-Original-URL: http://127.0.0.1/invoices/7?a=1\r\n"
    )
    reply = await edge.get("/.gateway/check", token="tok", fields=said)
    assert reply.status == 200
    assert reply.field("x-gateway-user") == [b"alice"]
    said = said.replace("http://127.0.0.1", "http://globex.example")
    assert (await edge.get("/.gateway/check", token="tok", fields=said)).status == 401, "a session of another host"


async def test_a_session_made_without_tls_is_none_for_a_request_over_tls(edge: Edge) -> None:
    serve(edge, "nginx")
    assert (await check(edge, "nginx", proto="https")).status == 401


async def test_a_host_that_the_gateway_does_not_know_is_refused(edge: Edge) -> None:
    serve(edge, "forwarded")
    client = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\n"
    said = "X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /public/a\r\nX-Forwarded-Host: evil.example\r\n"
    assert (await edge.get("/.gateway/check", fields=client + said)).status == 421


# the upstream sees the target as the client wrote it


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    "target",
    [
        "/public/../admin/users", "/public/%2e%2e/admin/users", "/public/%2E%2E/admin/users", "//admin/users", "/admin%2Fusers",
        "/public/..%2fadmin/users", "/public/..;/admin/users", "/public/%252e%252e/admin/users", "/./admin/users", "/admin/./users",
        "/%61dmin/users", "/public\\..\\admin/users", "/public/a/..", "/public/secret%23/../a", "/ADMIN/users", "/public/%00",
        "/public/%2e%2e%2fadmin/users", "/admin/users;a=b/../../public/a",
    ],
)  # fmt: skip
async def test_a_target_that_an_upstream_could_read_otherwise_is_refused(edge: Edge, style: Style, target: str) -> None:
    serve(edge, style)
    for token in ("", "tok"):
        assert (await check(edge, style, target, token=token)).status in {400, 401, 403, 404}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    "target",
    [
        "/admin/users%", "/admin/users%2", "/admin/%zz", "/public/%", "/public/%zz", "/public/%%32e", "/public/%u0041", "/public/a%f",
        "/public/\xff", "/public/a\tb", "/public/%c0%ae%c0%ae/admin/users", "/public/%ff/../../admin/users", "/%",
        "/public/a#/../../admin/users", "//[/public/a", "/public/a\x7f", "/admin/[%",
    ],
)  # fmt: skip
async def test_cve_2021_32637_an_address_that_cannot_be_read_is_never_a_yes(
    edge: Edge, style: Style, target: str
) -> None:
    """Authelia failed to parse what nginx had asked about, and the answer was 200."""
    serve(edge, style)
    for token in ("", "tok"):
        assert 400 <= (await check(edge, style, target, token=token)).status < 500


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("target", ["/public/secret%23/endpoint", "/admin/secret%23/bar", "/admin/x%23/../../public/a"])
async def test_an_encoded_fragment_hides_no_part_of_a_path_cve_2026_41059(
    edge: Edge, style: Style, target: str
) -> None:
    serve(edge, style)
    assert (await check(edge, style, target, token="")).status == (200 if target == "/public/secret%23/endpoint" else 401 if ".." not in target else 400 if style != "nginx" else 403)  # fmt: skip


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("target", ["/public/%C3%A9t%c3%a9?q=%zz&b[]=1", "/public/a[1]|b{c}", "/public/items;color=red", "/public/a//b"])  # fmt: skip
async def test_ordinary_targets_pass(edge: Edge, style: Style, target: str) -> None:
    serve(edge, style)
    assert (await check(edge, style, target)).status == 200


@pytest.mark.parametrize("style", STYLES)
async def test_our_own_pages_are_not_a_portals(edge: Edge, style: Style) -> None:
    serve(edge, style)
    for target in ("/.gateway/login", "/.gateway/account", "/.gateway/check", "/.gateway/jwks.json"):
        reply = await check(edge, style, target)
        assert reply.status == (403 if style == "nginx" else 404)
        assert edge.portal.heads == []


async def test_a_question_with_a_body_is_answered_and_its_connection_closed(edge: Edge) -> None:
    serve(edge, "envoy")
    head = b"POST /.gateway/check/ HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: gw=tok\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\n"
    answer = await edge.raw(head + b"Content-Length: 5\r\n\r\nhello")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer


async def test_questions_and_requests_share_a_connection(edge: Edge) -> None:
    serve(edge, "nginx")
    ask = (
        b"GET /.gateway/check HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: gw=tok\r\nX-Forwarded-For: 203.0.113.9\r\n"
        b"X-Forwarded-Proto: http\r\nX-Original-Method: %b\r\nX-Original-URI: %b\r\n%b\r\n"
    )
    plain = b"GET /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\n%b\r\n"
    answer = await edge.raw(
        ask % (b"HEAD", b"/admin/x", b"") + plain % b"" + ask % (b"GET", b"/invoices/1", b"Connection: close\r\n")
    )
    assert [line.split(b" ")[1] for line in answer.split(b"HTTP/1.1")[1:]] == [b"403", b"200", b"200"]


async def test_a_proxy_may_ask_over_http2(http2: Http2Edge) -> None:
    serve(http2.edge, "envoy")
    client = await http2.client()
    told = ((b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https"))
    answer = await client.ask("/.gateway/check/public/a?b=c", *told)
    assert answer.status == 200
    assert answer.field(b"x-gateway-user") == [b""]
    assert record(http2.edge)["http_request"]["url"]["path"] == "/public/a"
    assert record(http2.edge)["unmapped"]["gw"]["via"] == "forward_auth"
    answer = await client.ask("/.gateway/check/invoices/7", *told, (b"accept", b"text/html"))
    assert answer.status == 302
    assert answer.field(b"location") == [b"https://portal.test/.gateway/login?return_to=/invoices/7"]
    answer = await client.ask("/.gateway/check/public/a", *told, (b"x-original-uri", b"/public/b"))
    assert answer.status == 400
    assert (await client.ask("/public/x")).status == 200


# what policy sets


@pytest.mark.parametrize("style", STYLES)
async def test_fields_that_policy_sets_overwrite_a_clients_where_another_forwards(edge: Edge, style: Style) -> None:
    """attack: a client sends on one route the field that the portal believes because another route sets it."""
    text = """
version: 1
roles: {client: {}}
routes:
  - {name: plan, match: {path: /plan, methods: [GET]}, upstream: portal, headers: {request: {X-Plan: basic}}, allow: [{roles: [client]}]}
  - {name: plain, match: {path: /plain, methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}
"""
    table, _ = compile_policy({"p.yaml": text}, upstreams=["portal"], tenants=["acme"], hosts=["127.0.0.1"])
    edge.change(
        policy=table,
        resolver=Resolver(table),
        limits_of=dict.fromkeys(table.routes, ()),
        mapped_names=table.set_fields,
    )
    serve(edge, style)
    forged = "X-Plan: gold\r\n"
    assert (await check(edge, style, "/plan", fields=forged)).field("x-plan") == [b"basic"]
    assert (await check(edge, style, "/plain", fields=forged)).field("x-plan") == [b""]


@pytest.mark.parametrize("style", STYLES)
async def test_an_attack_in_the_head_of_the_request_is_not_allowed(edge: Edge, style: Style) -> None:
    serve(edge, style)
    inspect(edge, on="invoice")
    assert (await check(edge, style, "/invoices/7?q=honest")).status == 200
    hostile = await check(edge, style, f"/invoices/7?q={ATTACK}")
    assert hostile.status == 403
    assert record(edge)["unmapped"]["gw"]["event"] == "request.hostile"
    assert (await check(edge, style, fields=f"X-Filter: {PAYLOAD}\r\n")).status == 403
