"""API keys and bearer tokens at the edge: what passes, what each refusal says, and that nobody else sees them."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest

from gateway.authn.access_token import IssuerRules
from gateway.authn.api_key import make_key
from gateway.authn.claims import ClaimTable
from gateway.authn.jose import parse_jwks
from gateway.edge.bearer import FRESH_KEYS_S, IssuerKeySet
from gateway.edge.credential_rules import CredentialRules
from gateway.edge.resolve import Resolver
from gateway.exchange.route import LimitSpec
from gateway.policy import compile_policy
from gateway.ratelimit.gcra import Bucket
from tests.fakes.jose import ec_key, jwk, jwks, token
from tests.unit.edge.conftest import Edge, KeyEntry, Reply, session, until

ISSUER = "https://issuer.example"
KEY = make_key(b"k" * 32)
OTHER_KEY = make_key(b"o" * 32)
POLICY = """
version: 1
roles: {client: {}, admin: {}}
routes:
  - name: api
    match: {path: "/api/**", methods: [GET, POST]}
    upstream: portal
    credentials: [api_key, bearer]
    allow: [{roles: [client]}]
  - name: scoped
    match: {path: /scoped, methods: [GET]}
    upstream: portal
    credentials: [api_key, bearer]
    allow: [{roles: [client], scopes: [invoices.write, invoices.read]}]
  - name: both
    match: {path: /both, methods: [GET]}
    upstream: portal
    credentials: [session, api_key, bearer]
    allow: [{roles: [client]}]
  - name: keys
    match: {path: /keys, methods: [GET]}
    upstream: portal
    credentials: [api_key]
    allow: [{roles: [client]}]
  - name: portals-own
    match: {path: /portals-own, methods: [GET]}
    upstream: portal
    credentials: [session, api_key]
    authorization: portal
    allow: [{roles: [client]}]
  - name: pages
    match: {path: /pages, methods: [GET]}
    upstream: portal
    allow: [{roles: [client]}]
  - name: open
    match: {path: /open, methods: [GET]}
    upstream: portal
    public: true
  - name: limited
    match: {path: /limited, methods: [GET]}
    upstream: portal
    credentials: [session, api_key]
    rate_limit: {rate: 1/m, burst: 2, per: key}
    allow: [{roles: [client]}]
  - name: fresh
    match: {path: /fresh, methods: [GET]}
    upstream: portal
    credentials: [api_key]
    mfa_age: 5m
    allow: [{roles: [client]}]
  - name: recent
    match: {path: /recent, methods: [GET]}
    upstream: portal
    credentials: [api_key, bearer]
    auth_age: 5m
    allow: [{roles: [client]}]
  - name: stream
    match: {path: /stream, methods: [GET]}
    upstream: portal
    credentials: [api_key, bearer]
    allow: [{roles: [client]}]
"""
BEARER = 'Bearer realm="gateway"'


def rules(**changes: Any) -> IssuerRules:
    values: dict[str, Any] = {
        "id": "okta", "issuer": ISSUER, "audiences": frozenset({"portal"}), "algorithms": frozenset({"ES256"}), "types": frozenset({"at+jwt"}),
        "table": ClaimTable(roles=("scope",), role_grants={"portal": ("client",)}, tenant=("org",), tenant_grants={"acme-inc": "acme"}, user=("sub",)),
        "leeway_s": 0.0, "max_life_s": 86400.0,
    }  # fmt: skip
    return IssuerRules(**(values | changes))


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "aud": "portal",
        "sub": "robot",
        "iat": now - 5,
        "exp": now + 300,
        "jti": "j-1",
        "org": "acme-inc",
        "scope": "portal x",
        "client_id": "c",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def a_token(which: int = 0, header: dict[str, Any] | None = None, **changes: Any) -> str:
    members = {"kid": f"k{which}", "typ": "at+jwt"} | (header or {})
    return token(ec_key(which=which), "ES256", claims(**changes), **members)


def bearer(text: str | bytes) -> str:
    return f"Authorization: Bearer {text if isinstance(text, str) else text.decode()}\r\n"


def api_key(key: bytes = KEY) -> str:
    return f"X-API-Key: {key.decode()}\r\n"


def told(reply: Reply) -> dict[str, Any]:
    assert b"application/problem+json" in reply.head
    found: dict[str, Any] = json.loads(reply.body)
    return found


def learn(edge: Edge, which: int = 0, fetched: float = math.inf) -> None:
    keys = parse_jwks(jwks(jwk(ec_key(which=which), kid=f"k{which}")))
    edge.worker.bearers.learn({"okta": IssuerKeySet(keys, fetched)})


def serve(edge: Edge, *issuers: IssuerRules) -> None:
    table, _ = compile_policy(
        {"policies/api.yaml": POLICY},
        upstreams=["portal"],
        tenants=["acme", "globex"],
        hosts=["127.0.0.1", "globex.example"],
        mfa_required=True,
    )
    edge.change(
        version="v2", policy=table, resolver=Resolver(table),
        credentials=CredentialRules(issuers={issuer.issuer: issuer for issuer in issuers or (rules(),)}, key_field=b"x-api-key"),
        limits_of={name: (Bucket(route.limit),) if route.limit else () for name, route in table.routes.items()},
    )  # fmt: skip


def program(**changes: Any) -> Any:
    return session(
        handle="k_1",
        user="service:export",
        user_id="service:acme:export",
        mfa_time=0.0,
        amr=(),
        credential="api_key",
        **changes,
    )


@pytest.fixture
def api(edge: Edge) -> Edge:
    serve(edge)
    learn(edge)
    edge.sessions.keys[KEY] = KeyEntry(program())
    return edge


# What passes


@pytest.mark.parametrize(
    "fields", [api_key(), bearer(KEY), f"authorization: bEARER   {KEY.decode()}\r\n", f"x-api-key:{KEY.decode()}\r\n"]
)
async def test_an_api_key_passes_and_the_portal_never_sees_it(api: Edge, fields: str) -> None:
    reply = await api.get("/api/x", fields=fields)
    assert reply.status == 200
    assert api.portal.field(b"X-Gateway-User") == [b"service:export"]
    assert api.portal.field(b"X-Gateway-Tenant") == [b"acme"]
    assert b"gwk_" not in api.portal.head
    assert b"authorization" not in api.portal.head.lower()


async def test_a_bearer_token_passes_and_the_portal_never_sees_it(api: Edge) -> None:
    text = a_token()
    reply = await api.get("/api/x", fields=bearer(text))
    assert reply.status == 200
    assert api.portal.field(b"X-Gateway-User") == [b"robot"]
    assert api.portal.field(b"X-Gateway-Roles") == [b"client"]
    assert b"authorization" not in api.portal.head.lower()
    assert text.encode() not in b"".join(map(bytes, api.portal.wire))


async def test_a_token_is_verified_once_and_then_recalled(api: Edge) -> None:
    text = a_token()
    for _ in range(3):
        assert (await api.get("/api/x", fields=bearer(text))).status == 200
    assert len(api.worker.bearers) == 1
    assert api.worker.metrics.credentials.values == {("bearer", "accepted"): 3}


async def test_programs_change_things_without_an_origin(api: Edge) -> None:
    assert (await api.get("/api/x", method="POST", fields=api_key(), body=b"{}")).status == 200


async def test_people_and_programs_may_share_a_route(api: Edge) -> None:
    assert (await api.get("/both", token="tok")).status == 200
    assert (await api.get("/both", fields=api_key())).status == 200
    assert (await api.get("/both", fields=bearer(a_token()))).status == 200


async def test_all_scopes_of_the_rule_pass(api: Edge) -> None:
    scopes = "portal invoices.read invoices.write"
    assert (await api.get("/scoped", fields=bearer(a_token(scope=scopes)))).status == 200
    assert (await api.get("/scoped", fields=bearer(a_token(scope=None, scp=scopes.split())))).status == 200
    assert (
        await api.get("/scoped", fields=bearer(a_token(scope=["portal"], scp="invoices.read invoices.write")))
    ).status == 200


# What is refused, and in which words (RFC 6750 section 3)


async def test_nothing_shown_is_challenged_without_an_error(api: Edge) -> None:
    reply = await api.get("/api/x")
    assert reply.status == 401
    assert reply.field("www-authenticate") == [BEARER.encode()]
    assert told(reply)["reason"] == "credential_required"
    assert "login_url" not in told(reply)


async def test_programs_are_never_sent_to_a_sign_in_page(api: Edge) -> None:
    page = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
    for fields in ("", bearer("a.b.c"), bearer(OTHER_KEY), "Authorization: Basic eDp5\r\n"):
        reply = await api.get("/api/x", fields=page + fields)
        assert reply.status == 401
        assert reply.field("location") == []
        told(reply)
    assert (await api.get("/both", fields=page)).status == 302
    assert (await api.get("/both", fields=page + bearer("a.b.c"))).status == 401


async def test_where_both_count_both_are_offered(api: Edge) -> None:
    reply = await api.get("/both")
    assert reply.field("www-authenticate") == [b'Session realm="gateway"', BEARER.encode()]


async def test_a_session_alone_is_none_on_a_route_for_programs(api: Edge) -> None:
    reply = await api.get("/api/x", token="tok")
    assert (reply.status, told(reply)["reason"]) == (401, "credential_required")


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer ", "Bearer a b", "Bearer a,b", "Bearer \u00e9", 'Bearer "x"', "bearer a;b"]
)
async def test_a_malformed_bearer_field_is_an_invalid_request(api: Edge, value: str) -> None:
    reply = await api.get("/api/x", fields=f"Authorization: {value}\r\n")
    assert reply.status == 400
    assert b'error="invalid_request"' in reply.field("www-authenticate")[0]
    assert told(reply)["reason"] == "credential_malformed"


@pytest.mark.parametrize(
    "value", ["Basic eDp5", "Digest x=y", "Negotiate AAAA", "BearerX a", "eyJhbGciOiJub25lIn0.e30."]
)
async def test_another_scheme_is_no_credential(api: Edge, value: str) -> None:
    reply = await api.get("/api/x", fields=f"Authorization: {value}\r\n")
    assert (reply.status, told(reply)["reason"]) == (401, "credential_required")


@pytest.mark.parametrize(
    "fields",
    [
        api_key() + bearer(KEY), api_key() + api_key(), api_key() + api_key(OTHER_KEY), bearer(KEY) + bearer(KEY), api_key() + "Authorization: Basic eDp5\r\n",
        api_key() + bearer("a.b.c"),
    ],
)  # fmt: skip
async def test_two_credentials_at_once_are_refused(api: Edge, fields: str) -> None:
    reply = await api.get("/api/x", fields=fields)
    assert (reply.status, told(reply)["reason"]) == (400, "credentials_conflict")
    assert api.portal.heads == []


@pytest.mark.parametrize("path", ["/both", "/api/x"])
async def test_a_live_session_beside_a_credential_is_refused(api: Edge, path: str) -> None:
    for fields in (api_key(), bearer(KEY), bearer(a_token())):
        reply = await api.get(path, token="tok", fields=fields)
        assert (reply.status, told(reply)["reason"]) == (400, "credentials_conflict")
        assert b'error="invalid_request"' in reply.field("www-authenticate")[0]
    assert api.portal.heads == []


async def test_a_cookie_that_is_no_session_is_no_credential(api: Edge) -> None:
    assert (await api.get("/both", token="gone", fields=api_key())).status == 200


async def test_an_unknown_key_is_an_invalid_token(api: Edge) -> None:
    for key in (OTHER_KEY, b"gwk_x", KEY[:-1] + b"x"):
        reply = await api.get("/api/x", fields=api_key(key))
        assert (reply.status, told(reply)["reason"]) == (401, "api_key_refused")
        assert reply.field("www-authenticate") == [
            b'Bearer realm="gateway", error="invalid_token", error_description="The API key is not valid here."'
        ]


async def test_a_revoked_key_is_refused_on_the_next_request(api: Edge) -> None:
    assert (await api.get("/api/x", fields=api_key())).status == 200
    del api.sessions.keys[KEY]
    assert (await api.get("/api/x", fields=api_key())).status == 401


async def test_a_key_is_used_from_its_networks_alone(api: Edge) -> None:
    api.sessions.keys[KEY] = KeyEntry(program(), networks=("10.0.0.0/8",))
    reply = await api.get("/api/x", fields=api_key())
    assert (reply.status, told(reply)["reason"]) == (403, "api_key_network")
    api.sessions.keys[KEY] = KeyEntry(program(), networks=("127.0.0.0/8",))
    assert (await api.get("/api/x", fields=api_key())).status == 200


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"exp": int(time.time()) - 1}, "issuer okta: expired (exp)"),
        ({"aud": "somebody"}, "issuer okta: audience (aud)"),
        ({"iss": "https://other.example"}, "issuer (iss)"),
        ({"iat": None}, "issuer okta: claim_missing (iat)"),
        ({"sub": None}, "issuer okta: claim_missing (sub)"),
        ({"exp": int(time.time()) + 90_000}, "issuer okta: lifetime (exp)"),
        ({"scope": "nothing"}, "issuer okta: unmapped (no_role)"),
        ({"org": "other"}, "issuer okta: unmapped (no_tenant)"),
        ({"cnf": {"jkt": "x" * 43}}, "issuer okta: confirmation (cnf)"),
        ({"cnf": {"x5t#S256": "A" * 43}}, "issuer okta: confirmation (cnf)"),
        ({"cnf": None, "nbf": int(time.time()) + 86_400}, "issuer okta: not_yet_valid (nbf)"),
        ({"scope": 5}, "issuer okta: claim_malformed (scope)"),
    ],
)
async def test_a_token_that_does_not_count_is_refused_with_its_fault(
    api: Edge, changes: dict[str, Any], said: str
) -> None:
    reply = await api.get("/api/x", fields=bearer(a_token(**changes)))
    assert (reply.status, told(reply)["reason"], told(reply)["rule"]) == (401, "token_refused", said)
    assert b'error="invalid_token"' in reply.field("www-authenticate")[0]
    assert api.portal.heads == []


@pytest.mark.parametrize("kind", ["JWT", None, "logout+jwt", "dpop+jwt"])
async def test_a_token_of_another_type_is_refused(api: Edge, kind: str | None) -> None:
    """RFC 9068 section 4: an ID token is no access token."""
    header = {"typ": kind} if kind else {}
    text = token(ec_key(), "ES256", claims(), kid="k0", **header)
    assert told(await api.get("/api/x", fields=bearer(text)))["rule"] == "issuer okta: type"


@pytest.mark.parametrize("claim", ["nonce", "at_hash", "events"])
async def test_where_the_type_is_loose_an_id_or_logout_token_is_still_none(api: Edge, claim: str) -> None:
    serve(api, rules(types=frozenset({"jwt", "at+jwt", ""})))
    assert (await api.get("/api/x", fields=bearer(a_token(header={"typ": "JWT"})))).status == 200
    assert (await api.get("/api/x", fields=bearer(a_token(0, {"typ": "JWT"}, **{claim: "x"})))).status == 401
    assert (await api.get("/api/x", fields=bearer(a_token(header={"typ": "JWT"}, typ="Refresh")))).status == 401


@pytest.mark.parametrize("alg", ["none", "HS256", "RS256"])
async def test_an_algorithm_that_the_issuer_has_not_is_refused(api: Edge, alg: str) -> None:
    start, _, end = a_token(header={"alg": alg}).rpartition(".")
    assert told(await api.get("/api/x", fields=bearer(f"{start}.{end}")))["rule"] == "issuer okta: algorithm"


async def test_our_own_assertion_is_no_credential(api: Edge) -> None:
    """DESIGN section 4: what we tell an upstream proves nothing to us."""
    text = a_token(iss="http://127.0.0.1", typ="JWT")
    assert told(await api.get("/api/x", fields=bearer(text)))["rule"] == "issuer (iss)"


async def test_a_scope_that_is_missing_is_named(api: Edge) -> None:
    for fields in (bearer(a_token(scope="portal invoices.read")), api_key()):
        reply = await api.get("/scoped", fields=fields)
        assert (reply.status, told(reply)["reason"]) == (403, "scope_missing")
        (challenge,) = reply.field("www-authenticate")
        assert b'error="insufficient_scope"' in challenge
        assert challenge.endswith(b'scope="invoices.read invoices.write"')


async def test_a_second_factor_is_not_a_programs_to_give(api: Edge) -> None:
    reply = await api.get("/fresh", fields=api_key() + "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n")
    assert (reply.status, told(reply)["reason"]) == (401, "step_up_required")
    assert reply.field("location") == []


async def test_a_token_of_a_minute_ago_is_no_sign_in_of_a_minute_ago(api: Edge) -> None:
    """attack: one that was refreshed, by whoever has a stolen refresh token (RFC 9470 section 6.2); or a key, made for it."""
    now = int(time.time())
    assert (await api.get("/recent", fields=bearer(a_token(auth_time=now - 60)))).status == 200
    for fields in (
        api_key(),
        bearer(a_token()),
        bearer(a_token(auth_time="now")),
        bearer(a_token(auth_time=-1)),
        bearer(a_token(auth_time=now - 900)),
    ):
        reply = await api.get("/recent", fields=fields)
        assert (reply.status, told(reply)["reason"]) == (401, "step_up_required")
        assert b'error="insufficient_user_authentication"' in reply.field("www-authenticate")[0]


async def test_a_route_for_keys_takes_no_token_and_the_reverse(api: Edge) -> None:
    assert told(await api.get("/keys", fields=bearer(a_token())))["reason"] == "token_refused"
    assert (await api.get("/keys", fields=bearer(KEY))).status == 200


async def test_a_program_of_another_tenant_is_refused_on_a_tenants_host(api: Edge) -> None:
    raw = await api.raw(f"GET /api/x HTTP/1.1\r\nHost: globex.example\r\nConnection: close\r\n{api_key()}\r\n".encode())
    assert told(Reply(raw))["reason"] == "tenant_mismatch"


async def test_a_token_counts_on_the_hosts_of_its_issuer_alone(api: Edge) -> None:
    serve(api, rules(hosts=frozenset({"api.example"})))
    assert told(await api.get("/api/x", fields=bearer(a_token())))["rule"] == "issuer okta: not on this host"
    serve(api, rules(hosts=frozenset({"127.0.0.1"})))
    assert (await api.get("/api/x", fields=bearer(a_token()))).status == 200


async def test_a_token_in_a_query_or_a_form_is_not_looked_at(api: Edge) -> None:
    """RFC 6750 sections 2.2 and 2.3."""
    assert (await api.get(f"/api/x?access_token={a_token()}")).status == 401
    form = "Content-Type: application/x-www-form-urlencoded\r\n"
    assert (
        await api.get("/api/x", method="POST", fields=form, body=f"access_token={a_token()}".encode())
    ).status == 401


async def test_the_account_of_a_tokens_user_may_be_disabled_here(api: Edge) -> None:
    text = a_token()
    assert (await api.get("/api/x", fields=bearer(text))).status == 200
    api.sessions.disabled.add(("robot", "acme"))
    assert told(await api.get("/api/x", fields=bearer(text)))["reason"] == "token_refused"


# Routes that take none


async def test_a_key_of_ours_never_reaches_a_portal_in_whatever_field(api: Edge) -> None:
    for fields in (api_key(), f"X-Other: {KEY.decode()}\r\n", bearer(KEY), f"Authorization: Token {KEY.decode()}\r\n"):
        assert (await api.get("/open", fields=fields)).status == 200
        assert b"gwk_" not in api.portal.head


async def test_a_portals_own_credentials_pass_where_they_are_its_own(api: Edge) -> None:
    assert (await api.get("/open", fields="X-API-Key: the-portals\r\nAuthorization: Bearer abc\r\n")).status == 200
    assert api.portal.field(b"x-api-key") == [b"the-portals"]
    assert api.portal.field(b"authorization") == [b"Bearer abc"]
    assert (await api.get("/portals-own", fields=api_key() + "Authorization: Bearer abc\r\n")).status == 200
    assert api.portal.field(b"authorization") == [b"Bearer abc"]


async def test_a_credential_opens_no_route_that_does_not_take_it(api: Edge) -> None:
    for fields in (api_key(), bearer(KEY), bearer(a_token())):
        reply = await api.get("/pages", fields=fields)
        assert (reply.status, told(reply)["reason"]) == (401, "sign_in_required")


# Dependencies


async def test_a_store_that_is_down_is_no_verdict_about_a_key(api: Edge) -> None:
    api.sessions.unavailable = True
    reply = await api.get("/api/x", fields=api_key())
    assert (reply.status, told(reply)["reason"]) == (503, "store_unavailable")
    assert reply.field("retry-after")


async def test_tokens_under_known_keys_pass_while_their_issuer_is_down_and_others_wait(api: Edge) -> None:
    learn(api, fetched=time.time() - 10 * FRESH_KEYS_S)
    assert (await api.get("/api/x", fields=bearer(a_token()))).status == 200
    reply = await api.get("/api/x", fields=bearer(a_token(1)))
    assert (reply.status, told(reply)["reason"]) == (503, "issuer_unavailable")
    assert reply.field("retry-after") == [b"5"]
    assert api.worker.bearers.wanted == {"okta"}


async def test_an_unknown_key_is_final_when_the_keys_are_fresh(api: Edge) -> None:
    learn(api, fetched=time.time())
    assert told(await api.get("/api/x", fields=bearer(a_token(1))))["rule"] == "issuer okta: unknown_key"


async def test_without_any_keys_no_token_can_be_judged(api: Edge) -> None:
    api.worker.bearers.learn({})
    assert told(await api.get("/api/x", fields=bearer(a_token())))["reason"] == "issuer_unavailable"
    learn(api)
    assert (await api.get("/api/x", fields=bearer(a_token()))).status == 200


async def test_a_withdrawn_key_ends_what_it_had_signed(api: Edge) -> None:
    text = a_token()
    assert (await api.get("/api/x", fields=bearer(text))).status == 200
    learn(api, which=1)
    assert (await api.get("/api/x", fields=bearer(text))).status == 401
    assert len(api.worker.bearers) == 0


async def test_rules_that_changed_are_applied_to_tokens_that_were_verified(api: Edge) -> None:
    text = a_token()
    assert (await api.get("/api/x", fields=bearer(text))).status == 200
    serve(api, rules(audiences=frozenset({"other"})))
    assert (await api.get("/api/x", fields=bearer(text))).status == 401


async def test_cve_2026_33496_cve_2021_32701_one_token_meets_the_rules_of_each_route(api: Edge) -> None:
    """What is remembered of a token is who it stands for, never what a route made of it."""
    text = a_token()
    for _ in range(2):
        assert (await api.get("/api/x", fields=bearer(text))).status == 200
        assert (await api.get("/scoped", fields=bearer(text))).status == 403
        assert (await api.get("/keys", fields=bearer(text))).status == 401
        assert (await api.get("/pages", fields=bearer(text))).status == 401


async def test_cve_2026_71326_no_two_credentials_share_what_is_remembered(api: Edge) -> None:
    texts = [a_token(sub=f"robot{number}") for number in range(20)]
    for _ in range(2):
        for number, text in enumerate(texts):
            assert (await api.get("/api/x", fields=bearer(text))).status == 200
            assert api.portal.field(b"X-Gateway-User") == [f"robot{number}".encode()]


# Limits


async def test_verifying_is_bounded_for_each_client(api: Edge) -> None:
    replies = [(await api.get("/api/x", fields=bearer(f"a.{number}.c"))).status for number in range(120)]
    assert replies.count(429) >= 10
    assert (await api.get("/api/x", fields=api_key())).status == 200


async def test_a_limit_per_key_counts_each_key_alone_and_no_people(api: Edge) -> None:
    api.sessions.keys[OTHER_KEY] = KeyEntry(program(email="other"))
    api.sessions.keys[OTHER_KEY].session = session(handle="k_2", credential="api_key", mfa_time=0.0)
    assert [(await api.get("/limited", fields=api_key())).status for _ in range(3)] == [200, 200, 429]
    assert (await api.get("/limited", fields=api_key(OTHER_KEY))).status == 200
    assert [(await api.get("/limited", token="tok")).status for _ in range(4)] == [200] * 4


async def test_a_key_with_a_limit_of_its_own_is_held_to_it_on_every_route(api: Edge) -> None:
    bucket = Bucket(LimitSpec(name="key:k_1", rate_per_s=1 / 60, burst=2, per="key"))
    api.sessions.keys[KEY] = KeyEntry(program(), bucket=bucket)
    statuses = [(await api.get(path, fields=api_key())).status for path in ("/api/x", "/both", "/keys")]
    assert statuses == [200, 200, 429]


# Evidence


async def test_the_record_names_the_credential_and_never_holds_it(api: Edge) -> None:
    text = a_token()
    await api.get("/api/x", fields=bearer(text))
    await api.get("/api/x", fields=api_key())
    await api.get("/api/x", fields=bearer(a_token(aud="x")))
    await until(lambda: len(api.audit.records) >= 3)
    by_token, by_key, refused = api.audit.records[-3:]
    inputs = by_token["unmapped"]["gw"]["decision_inputs"]
    assert (inputs["credential"], inputs["credential_id"], inputs["issuer"], inputs["scopes"]) == (
        "bearer",
        "j-1",
        "okta",
        ["portal", "x"],
    )
    assert by_token["actor"]["user"]["name"] == "robot"
    inputs = by_key["unmapped"]["gw"]["decision_inputs"]
    assert (inputs["credential"], by_key["actor"]["session"]["uid"]) == ("api_key", "k_1")
    assert refused["policy"]["uid"] == "issuer okta: audience (aud)"
    everything = (
        json.dumps(api.audit.records)
        + b"".join(api.lines).decode()
        + repr(api.reports)
        + repr(api.worker.metrics.dump())
    )
    for secret in (text, KEY.decode(), text.rpartition(".")[2]):
        assert secret not in everything


async def test_an_error_answer_holds_no_word_of_the_credential(api: Edge) -> None:
    for fields in (
        bearer("hunter2.hunter2.hunter2"),
        "X-API-Key: gwk_hunter2\r\n",
        "Authorization: Bearer hunter2 x\r\n",
        bearer(a_token(sub="hunter2\n")),
    ):
        reply = await api.get("/api/x", fields=fields)
        assert b"hunter2" not in reply.raw


async def test_outcomes_are_counted_by_kind(api: Edge) -> None:
    await api.get("/api/x", fields=api_key())
    await api.get("/api/x", fields=api_key(OTHER_KEY))
    await api.get("/api/x", fields=bearer(a_token(aud="x")))
    await api.get("/api/x", fields="Authorization: Bearer\r\n")
    await api.get("/api/x")
    assert api.worker.metrics.credentials.values == {
        ("api_key", "accepted"): 1, ("api_key", "api_key_refused"): 1, ("bearer", "token_refused"): 1, ("unread", "credential_malformed"): 1,
    }  # fmt: skip
