"""Two tenants at one worker: for every kind of route and every way to name a tenant, whoever is of one reaches nothing of the other."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from gateway.authn.access_token import IssuerRules
from gateway.authn.api_key import make_key
from gateway.authn.claims import ClaimTable
from gateway.authn.jose import parse_jwks
from gateway.edge.bearer import IssuerKeySet
from gateway.edge.credential_rules import CredentialRules
from gateway.edge.resolve import INTERNAL_PAGES, Resolver
from gateway.edge.snapshot import ForwardAuthRules
from gateway.edge.worker import Listener
from gateway.exchange.route import LimitSpec
from gateway.policy import PolicyTable, compile_policy
from gateway.policy.judgement import Person, judge, parse_request
from gateway.ratelimit.gcra import Bucket
from gateway.server.tenancy import tenant_fields
from gateway.wire.forwarded import TrustedProxies
from tests.fakes.jose import ec_key, jwk, jwks, token
from tests.unit.edge.conftest import PATIENCE_S, Edge, Entry, Http2Edge, KeyEntry, Reply, session, until
from tests.unit.edge.test_forward_auth import LOOPBACK
from tests.unit.edge.test_tls import ADDRESS, TLSEdge, ask, reason
from tests.unit.edge.test_tunnel import HANDSHAKE, SWITCHED, Socket, text

TENANTS = ("acme", "globex")
HOSTS = {"shared.test": "", "acme.test": "acme", "globex.test": "globex", "127.0.0.1": ""}
BINDINGS = {
    "host": "",
    "name": "tenant: {tenant}",
    "path": "tenant: {{path: tenant}}",
    "header": "tenant: {{header: X-Tenant}}",
    "subdomain": "tenant: {{subdomain: test}}",
}
KINDS = {
    "public": "public: true",
    "allow": "allow: [{roles: [client]}]",
    "api-key": "credentials: [api_key]\n    allow: [{roles: [client]}]",
    "bearer": "credentials: [bearer]\n    allow: [{roles: [client]}]",
    "websocket": "allow: [{roles: [client]}]",
    "sse": "allow: [{roles: [client]}]",
    "vaulted": "cookies: {vault: all}\n    allow: [{roles: [client]}]",
    "limited": "rate_limit: {rate: 1000/s, burst: 1000, per: tenant}\n    allow: [{roles: [client]}]",
    "denying": "deny: [{roles: [banned]}]\n    allow: [{roles: [client]}]",
}
KEYS = {tenant: make_key(tenant[:1].encode() * 32) for tenant in TENANTS}
ISSUER = "https://issuer.example"


def path_of(kind: str, binding: str, tenant: str) -> str:
    return f"/{kind}/{binding}/{tenant}/x"


def policy() -> PolicyTable:
    routes = []
    for kind, said in KINDS.items():
        for binding, bound in BINDINGS.items():
            templates = (
                {"": f"/{kind}/{binding}/{{tenant}}/**"}
                if binding != "name"
                else {tenant: f"/{kind}/{binding}/{tenant}/**" for tenant in TENANTS}
            )
            for tenant, template in templates.items():
                routes.append(
                    f'  - name: {kind}-{binding}{tenant}\n    match: {{path: "{template}", methods: [GET, POST]}}\n'
                    f"    upstream: portal\n    {said}\n    {bound.format(tenant=tenant)}\n"
                )
    routes.append(
        '  - name: closed\n    match: {path: "/closed/**", methods: [GET]}\n    upstream: portal\n    deny: true\n'
    )
    written = "version: 1\nroles: {client: {}, banned: {}}\nroutes:\n" + "".join(routes)
    return compile_policy({"policies/t.yaml": written}, upstreams=["portal"], tenants=TENANTS, hosts=HOSTS)[0]


TABLE = policy()


def serve(edge: Edge, table: PolicyTable = TABLE, **changes: Any) -> None:
    edge.change(
        policy=table,
        resolver=Resolver(table),
        limits_of={name: (Bucket(route.limit),) if route.limit else () for name, route in table.routes.items()},
        hosts=HOSTS,
        mapped_names=tenant_fields(table),
        credentials=CredentialRules(issuers={ISSUER: _issuer()}, key_field=b"x-api-key"),
        **changes,
    )
    edge.worker.bearers.learn({"okta": IssuerKeySet(parse_jwks(jwks(jwk(ec_key(), kid="k0"))), float("inf"))})
    edge.sessions.entries = {
        f"{tenant}-{host}".encode(): Entry(
            session(handle=f"s-{tenant}-{host}", user_id=f"u-{tenant}", tenant=tenant, host=host)
        )
        for tenant in TENANTS
        for host in HOSTS
    }
    edge.sessions.keys = {
        KEYS[tenant]: KeyEntry(
            session(
                handle=f"k-{tenant}",
                tenant=tenant,
                credential="api_key",
                host="",
                mfa_time=0.0,
                user=f"service:{tenant}",
            )
        )
        for tenant in TENANTS
    }


def _issuer() -> IssuerRules:
    return IssuerRules(
        id="okta",
        issuer=ISSUER,
        audiences=frozenset({"portal"}),
        algorithms=frozenset({"ES256"}),
        types=frozenset({"at+jwt"}),
        table=ClaimTable(
            roles=("scope",),
            role_grants={"portal": ("client",)},
            tenant=("org",),
            tenant_grants={tenant: tenant for tenant in TENANTS},
            user=("sub",),
        ),
        leeway_s=0.0,
        max_life_s=86400.0,
    )


def bearer(tenant: str) -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": "portal",
        "sub": "robot",
        "iat": now,
        "exp": now + 300,
        "jti": "j",
        "org": tenant,
        "scope": "portal",
    }
    return token(ec_key(), "ES256", claims, kid="k0", typ="at+jwt")


async def attempt(edge: Edge, kind: str, binding: str, *, who: str, about: str, host: str = "") -> Reply:
    """Ask as somebody of the tenant `who` for what is `about` a tenant."""
    host = host or (f"{about}.test" if binding in {"host", "subdomain"} else "shared.test")
    fields = [f"Host: {host}"]
    if binding == "header":
        fields.append(f"X-Tenant: {about}")
    match kind:
        case "api-key":
            fields.append(f"X-API-Key: {KEYS[who].decode()}")
        case "bearer":
            fields.append(f"Authorization: Bearer {bearer(who)}")
        case _:
            fields.append(f"Cookie: gw={who}-{host}")
    fields += HANDSHAKE.strip().split("\r\n") if kind == "websocket" else ["Connection: close"]
    if kind == "sse":
        fields.append("Accept: text/event-stream")
    head = f"GET {path_of(kind, binding, about)} HTTP/1.1\r\n" + "".join(f"{line}\r\n" for line in fields) + "\r\n"
    if kind != "websocket":
        return Reply(await edge.raw(head.encode()))
    reader, writer = await edge.connect()
    writer.write(head.encode())
    raw = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return Reply(raw)


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("kind", KINDS)
async def test_crossing_reaches_nothing_on_any_kind_of_route(edge: Edge, kind: str, binding: str) -> None:
    serve(edge)
    own = path_of(kind, binding, "acme").encode()
    edge.portal.answers[own] = SWITCHED if kind == "websocket" else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    allowed = await attempt(edge, kind, binding, who="acme", about="acme")
    assert allowed.status == (101 if kind == "websocket" else 200), allowed.raw
    assert len(edge.portal.heads) == 1
    assert edge.portal.field(b"x-tenant") == ([b"acme"] if binding == "header" else [])
    refused = await attempt(edge, kind, binding, who="globex", about="acme")
    if kind == "public":  # whoever asks is nobody there; the route is about acme, and open
        assert refused.status == 200
        assert edge.portal.field(b"x-gateway-user") == []
        return
    assert refused.status == 403, refused.raw
    assert json.loads(refused.body or b"{}").get("reason", "tenant_mismatch") == "tenant_mismatch"
    assert len(edge.portal.heads) == 1, "the portal heard of it"


@pytest.mark.parametrize("binding", ["name", "path", "header"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_host_of_another_tenant_is_no_way_round(edge: Edge, kind: str, binding: str) -> None:
    """attack: acme's person on acme's host for what the route says is globex's, and the reverse."""
    serve(edge)
    for who, about, host in (
        ("acme", "globex", "acme.test"),
        ("acme", "acme", "globex.test"),
        ("globex", "acme", "globex.test"),
        ("globex", "globex", "acme.test"),
    ):
        answer = await attempt(edge, kind, binding, who=who, about=about, host=host)
        assert answer.status == 403, (who, about, host, answer.raw)
    assert edge.portal.heads == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_tenant_that_does_not_exist_is_refused_also_on_public_routes(edge: Edge, kind: str) -> None:
    serve(edge)
    for binding in ("path", "header"):
        answer = await attempt(edge, kind, binding, who="acme", about="nobody", host="shared.test")
        assert answer.status == 403, answer.raw
    assert edge.portal.heads == []


async def test_a_route_that_refuses_everybody_refuses_both(edge: Edge) -> None:
    serve(edge)
    for tenant in TENANTS:
        head = f"GET /closed/x HTTP/1.1\r\nHost: {tenant}.test\r\nCookie: gw={tenant}-{tenant}.test\r\nConnection: close\r\n\r\n"
        assert Reply(await edge.raw(head.encode())).status == 403
    assert edge.portal.heads == []


@pytest.mark.parametrize("host", ["globex.test", "GLOBEX.test", "globex.test:443", "shared.test", "127.0.0.1"])
async def test_a_session_cookie_of_another_host_is_no_session(edge: Edge, host: str) -> None:
    """attack: the cookie of acme's host, sent to another one by hand."""
    serve(edge)
    head = f"GET /allow/host/x/y HTTP/1.1\r\nHost: {host}\r\nCookie: gw=acme-acme.test\r\nConnection: close\r\n\r\n"
    assert Reply(await edge.raw(head.encode())).status == 401
    assert edge.portal.heads == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ("Host: acme.test\r\nHost: globex.test\r\n", 400),
        ("Host: acme.test, globex.test\r\n", 400),
        ("Host: acme.test@globex.test\r\n", 400),
        ("Host: globex.test.\r\n", 401),
        ("Host: globex.test:8444\r\n", 421),
        ("Host: gl\u00f6bex.test\r\n", 400),
        ("Host: shared.test\r\nX-Forwarded-Host: acme.test\r\n", 401),
        ("Host: shared.test\r\nForwarded: host=acme.test\r\n", 401),
        ("Host: globex.test\r\nX-Forwarded-Host: acme.test\r\nX-Original-Host: acme.test\r\n", 401),
    ],
)
async def test_games_with_the_host_lead_to_no_other_tenant(edge: Edge, fields: str, status: int) -> None:
    serve(edge)
    head = f"GET /allow/host/x/y HTTP/1.1\r\n{fields}Cookie: gw=acme-acme.test\r\nConnection: close\r\n\r\n"
    assert Reply(await edge.raw(head.encode("latin-1"))).status == status
    assert edge.portal.heads == []


async def test_an_absolute_target_and_host_must_agree_about_the_tenant(edge: Edge) -> None:
    serve(edge)
    head = "GET http://globex.test/allow/host/x/y HTTP/1.1\r\nHost: acme.test\r\nCookie: gw=acme-acme.test\r\nConnection: close\r\n\r\n"
    assert Reply(await edge.raw(head.encode())).status == 400
    assert edge.portal.heads == []


# the field that names the tenant


@pytest.mark.parametrize(
    "fields",
    [
        "",
        "X-Tenant: globex\r\n",
        "X-Tenant: acme\r\nX-Tenant: acme\r\n",
        "X-Tenant: acme\r\nx-tenant: globex\r\n",
        "X-Tenant: acme\r\nX_Tenant: globex\r\n",
        "X-Tenant: acme\r\nHTTP-X-Tenant: globex\r\n",
        "X-Tenant: acme\r\nX--Tenant: globex\r\n",
        "X-Tenant: acme,globex\r\n",
        "X-Tenant: Acme\r\n",
        "X_Tenant: acme\r\n",
        "X-Tenant: acme\r\nConnection: x-tenant\r\n",
        "X-Tenant: \xe1cme\r\n",
    ],
)
async def test_a_field_that_is_not_exactly_one_tenant_is_refused(edge: Edge, fields: str) -> None:
    serve(edge)
    head = f"GET /allow/header/x/y HTTP/1.1\r\nHost: shared.test\r\nCookie: gw=acme-shared.test\r\n{fields}"
    reply = Reply(await edge.raw(f"{head}Connection: close\r\n\r\n".encode("latin-1")))
    assert (reply.status, json.loads(reply.body)["reason"]) == (403, "tenant_mismatch")
    assert edge.portal.heads == []


async def test_upstream_gets_the_field_as_it_was_judged_and_none_where_it_means_nothing(edge: Edge) -> None:
    serve(edge)
    said = "X-Tenant:   acme  \r\n"
    head = f"GET /allow/header/x/y HTTP/1.1\r\nHost: shared.test\r\nCookie: gw=acme-shared.test\r\n{said}Connection: close\r\n\r\n"
    assert Reply(await edge.raw(head.encode())).status == 200
    assert edge.portal.field(b"x-tenant") == [b"acme"]
    assert edge.portal.field(b"x-gateway-tenant") == [b"acme"]
    head = (
        head.replace("/header/", "/path/")
        .replace("/x/y", "/acme/y")
        .replace(said, "X-Tenant: globex\r\nX_Tenant: globex\r\n")
    )
    assert Reply(await edge.raw(head.encode())).status == 200
    assert b"globex" not in edge.portal.head


@pytest.mark.parametrize("style", ["nginx", "forwarded", "envoy"])
async def test_another_proxy_is_told_no_for_another_tenant(edge: Edge, style: Any) -> None:
    serve(
        edge,
        forward_auth=ForwardAuthRules(
            style=style, askers=TrustedProxies([LOOPBACK]), proxies=TrustedProxies([LOOPBACK])
        ),
    )

    async def asked(path: str, who: str, fields: str = "") -> Reply:
        said = {
            "nginx": f"X-Original-Method: GET\r\nX-Original-URI: {path}\r\n",
            "forwarded": f"X-Forwarded-Method: GET\r\nX-Forwarded-Uri: {path}\r\nX-Forwarded-Host: shared.test\r\n",
            "envoy": "",
        }[style]
        target = f"/.gateway/check{path}" if style == "envoy" else "/.gateway/check"
        head = (
            f"GET {target} HTTP/1.1\r\nHost: shared.test\r\nCookie: gw={who}-shared.test\r\nConnection: close\r\n"
            f"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\n{said}{fields}\r\n"
        )
        return Reply(await edge.raw(head.encode()))

    assert (await asked("/allow/path/acme/x", "acme")).status == 200
    assert (await asked("/allow/path/acme/x", "globex")).status == 403
    assert (await asked("/public/path/nobody/x", "acme")).status == 403
    allowed = await asked("/allow/header/x/y", "acme", "X-Tenant: acme\r\n")
    assert allowed.status == 200
    assert allowed.field("x-tenant") == [b"acme"]
    elsewhere = await asked("/allow/path/acme/x", "acme", "X-Tenant: globex\r\n")
    assert (elsewhere.status, elsewhere.field("x-tenant")) == (200, [b""]), "attack: nobody has judged it there"
    assert (await asked("/allow/header/x/y", "acme", "X-Tenant: acme\r\nX_Tenant: globex\r\n")).status == 403
    assert (await asked("/allow/header/x/y", "acme", "X-Tenant: globex\r\n")).status == 403


# what else is told


async def test_the_record_says_about_which_tenant_the_request_was(edge: Edge) -> None:
    serve(edge)
    await attempt(edge, "allow", "path", who="acme", about="globex")
    record = edge.audit.records[-1]
    assert record["status_code"] == "tenant_mismatch" or record["unmapped"]["gw"]["reason"] == "tenant_mismatch"
    assert record["metadata"]["tenant_uid"] == "acme"
    assert record["unmapped"]["gw"]["decision_inputs"]["request_tenant"] == "globex"
    assert record["policy"]["uid"].startswith("policies/t.yaml:")
    await attempt(edge, "public", "path", who="nobody", about="globex")
    assert edge.audit.records[-1]["metadata"]["tenant_uid"] == "globex"


async def test_limits_of_a_tenant_count_for_its_requests_alone(edge: Edge) -> None:
    own = Bucket(LimitSpec(name="tenant:acme:all", rate_per_s=0.001, burst=2, per="tenant"))
    serve(edge, limits_of_tenant={"acme": (own,)})
    statuses = [(await attempt(edge, "allow", "path", who="acme", about="acme")).status for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert (await attempt(edge, "allow", "path", who="globex", about="globex")).status == 200
    public = [(await attempt(edge, "public", "path", who="nobody", about=tenant)).status for tenant in TENANTS]
    assert public == [429, 200]


async def test_passwords_are_counted_for_a_tenants_hosts_too(edge: Edge) -> None:
    own = Bucket(LimitSpec(name="tenant:acme:login", rate_per_s=0.001, burst=1, per="ip"), is_sign_in=True)
    serve(edge, login_limits={"acme": own})

    async def post(host: str) -> int:
        head = f"POST /.gateway/login HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        return Reply(await edge.raw(head.encode())).status

    assert await post("acme.test") != 429
    assert await post("acme.test") == 429
    assert await post("globex.test") != 429


# what changes while somebody is there


async def test_a_session_dies_with_its_host_when_that_is_given_to_another_tenant(edge: Edge) -> None:
    serve(edge)
    assert (await attempt(edge, "allow", "host", who="acme", about="acme")).status == 200
    edge.change(hosts=HOSTS | {"acme.test": "globex"})
    assert (await attempt(edge, "allow", "host", who="acme", about="acme")).status == 403
    head = "GET /.gateway/session HTTP/1.1\r\nHost: acme.test\r\nCookie: gw=acme-acme.test\r\nConnection: close\r\n\r\n"
    assert json.loads(Reply(await edge.raw(head.encode())).body) == {"signed_in": False}


async def test_a_tenant_that_is_removed_takes_its_routes_and_hosts_along(edge: Edge) -> None:
    serve(edge)
    left = {host: owner for host, owner in HOSTS.items() if owner != "acme"}
    table, _ = compile_policy(
        {
            "p.yaml": 'version: 1\nroles: {client: {}}\nroutes:\n  - name: t\n    match: {path: "/allow/path/{tenant}/**", methods: [GET]}\n'
            "    upstream: portal\n    tenant: {path: tenant}\n    allow: [{roles: [client]}]\n"
        },
        upstreams=["portal"],
        tenants=["globex"],
        hosts=left,
    )
    edge.change(policy=table, resolver=Resolver(table), limits_of={"t": ()}, hosts=left)
    assert (await attempt(edge, "allow", "path", who="acme", about="acme")).status == 403
    assert (await attempt(edge, "allow", "path", who="globex", about="globex")).status == 200
    head = (
        "GET /allow/path/acme/x HTTP/1.1\r\nHost: acme.test\r\nCookie: gw=acme-acme.test\r\nConnection: close\r\n\r\n"
    )
    assert Reply(await edge.raw(head.encode())).status == 421


@pytest.mark.parametrize("page", [*INTERNAL_PAGES, "other"])
async def test_our_pages_get_no_session_of_another_tenant(edge: Edge, page: str) -> None:
    """Whatever a page does with a session: it is not told of one whose tenant is not the host's."""
    serve(edge)
    edge.change(hosts=HOSTS | {"acme.test": "globex"})
    head = f"GET /.gateway/{page} HTTP/1.1\r\nHost: acme.test\r\nCookie: gw=acme-acme.test\r\nConnection: close\r\n\r\n"
    await edge.raw(head.encode())
    record = edge.audit.records[-1]
    assert "actor" not in record
    assert record["metadata"]["tenant_uid"] == "globex"


# certificates

POLICY_OF_CERTIFICATES = """
version: 1
roles: {client: {}}
routes:
  - name: certified
    match: {path: "/t/{tenant}", methods: [GET]}
    upstream: portal
    tenant: {path: tenant}
    client_certificate: required
    unsafe_without_mfa: true
    allow: [{roles: [client]}]
"""


@pytest.fixture
async def certified(edge: Edge) -> AsyncIterator[TLSEdge]:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(64)
    listening.setblocking(False)
    made = TLSEdge(edge, listening.getsockname()[1])
    hosts = {"portal.test": "", "acme.test": "acme", "globex.test": "globex"}
    table, _ = compile_policy({"p.yaml": POLICY_OF_CERTIFICATES}, upstreams=["portal"], tenants=TENANTS, hosts=hosts)
    edge.change(hosts=hosts, policy=table, resolver=Resolver(table), limits_of={"certified": ()})
    people = "{san_email: alice@acme.example, user: alice, tenant: acme, roles: [client]}"
    made.use(
        made.rules(
            *(made.ca.issue_cert(name) for name in hosts),
            more=f"client_certificates: {{mode: optional, ca: ca.pem, map: [{people}]}}",
        )
    )
    await edge.worker.listen(Listener(listening.fileno(), redirects=False, tls=True, address=ADDRESS), 1.0)
    yield made
    listening.close()


async def test_a_certificate_of_one_tenant_opens_nothing_of_the_other(certified: TLSEdge) -> None:
    alice = certified.client(certified.client_ca.issue_cert("alice@acme.example"))
    assert (await certified.ask(alice, "/t/acme"))[0] == 200
    assert reason(await certified.ask(alice, "/t/globex")) == (403, "tenant_mismatch")
    assert (await certified.ask(alice, "/t/acme", name="acme.test"))[0] == 200
    assert reason(await certified.ask(alice, "/t/acme", name="globex.test")) == (403, "tenant_mismatch")
    assert len(certified.edge.portal.heads) == 2


async def test_the_name_of_a_handshake_opens_no_other_tenants_host(certified: TLSEdge) -> None:
    """attack: domain fronting: the handshake names acme's host, the request globex's."""
    alice = certified.client(certified.client_ca.issue_cert("alice@acme.example"))
    reader, writer = await certified.connect(alice, "acme.test")
    answer = await ask(reader, writer, "/t/globex", host="globex.test")
    writer.close()
    assert answer[0] in {403, 421}
    assert certified.edge.portal.heads == []


# open streams


async def open_socket(edge: Edge, path: str, host: str, who: str) -> Socket:
    edge.portal.answers[path.encode()] = SWITCHED
    reader, writer = await edge.connect()
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: gw={who}-{host}\r\n{HANDSHAKE}\r\n".encode())
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    return Socket(reader, writer, head)


@pytest.mark.parametrize("kind", ["allow", "public"])
@pytest.mark.parametrize(
    "hosts",
    [
        {host: owner for host, owner in HOSTS.items() if owner != "acme"},
        HOSTS | {"acme.test": "globex"},
    ],
    ids=["removed", "given away"],
)
async def test_what_is_open_ends_when_the_tenant_or_its_host_goes(edge: Edge, kind: str, hosts: dict[str, str]) -> None:
    serve(edge)
    browser = await open_socket(edge, f"/{kind}/host/acme/x", "acme.test", "acme" if kind == "allow" else "nobody")
    other = await open_socket(edge, f"/{kind}/host/globex/x", "globex.test", "globex")
    edge.change(version="v2", hosts=hosts)
    assert await browser.code() == 1008
    await until(lambda: edge.audit.records[-1]["unmapped"]["gw"]["phase"] == "closing")
    assert edge.audit.records[-1]["status_detail"] in {"tenant_mismatch", "misdirected"}
    said = text(b"still here", masked=True)
    other.say(said)
    await until(lambda: any(said in wire for wire in edge.portal.wire))
    for socket_ in (browser, other):
        socket_.writer.transport.abort()


async def test_a_person_who_is_moved_to_another_tenant_loses_what_is_open(edge: Edge) -> None:
    serve(edge)
    browser = await open_socket(edge, "/allow/host/acme/x", "acme.test", "acme")
    edge.sessions.entries[b"acme-acme.test"] = Entry(
        session(handle="s-acme-acme.test", user_id="u-acme", tenant="globex", host="acme.test")
    )
    edge.change(version="v2")
    assert await browser.code() == 1008
    browser.writer.transport.abort()


# the same as is explained


@pytest.mark.parametrize("kind", ["allow", "public"])
@pytest.mark.parametrize("binding", BINDINGS)
async def test_what_is_served_is_what_is_judged(edge: Edge, kind: str, binding: str) -> None:
    serve(edge)
    for host in ("shared.test", "acme.test", "globex.test"):
        for who in (*TENANTS, "nobody"):
            for about in (*TENANTS, "nobody"):
                if binding == "name" and about == "nobody":
                    continue
                await attempt(edge, kind, binding, who=who, about=about, host=host)
                served = edge.audit.records[-1]["unmapped"]["gw"]["reason"]
                facts = parse_request("GET", f"http://{host}{path_of(kind, binding, about)}")
                facts = msgspec.structs.replace(facts, fields=(("x-tenant", about),))
                person = None if who == "nobody" else Person(user="alice", tenant=who, roles=("client",))
                judged = judge(TABLE, HOSTS, facts, person, time.time()).decision.reason
                assert served == judged, (host, who, about)


async def test_a_field_names_the_tenant_over_http2_too(http2: Http2Edge) -> None:
    edge = http2.edge
    hosts = {"portal.test": "", "127.0.0.1": ""}
    text_ = (
        "version: 1\nroles: {client: {}}\nroutes:\n  - name: h\n    match: {path: /h, methods: [GET]}\n"
        "    upstream: portal\n    tenant: {header: X-Org}\n    allow: [{roles: [client]}]\n"
    )
    table, _ = compile_policy({"p.yaml": text_}, upstreams=["portal"], tenants=TENANTS, hosts=hosts)
    edge.change(policy=table, resolver=Resolver(table), limits_of={"h": ()}, mapped_names=tenant_fields(table))
    client = await http2.client()
    cookie = (b"cookie", b"__Host-gw=secure")
    assert (await client.ask("/h", cookie, (b"x-org", b"acme"))).status == 200
    assert edge.portal.field(b"x-org") == [b"acme"]
    for fields in (
        [],
        [(b"x-org", b"globex")],
        [(b"x-org", b"acme"), (b"x-org", b"acme")],
        [(b"x-org", b"acme"), (b"x_org", b"globex")],
    ):
        assert (await client.ask("/h", cookie, *fields)).status == 403, fields
    assert len(edge.portal.heads) == 1
