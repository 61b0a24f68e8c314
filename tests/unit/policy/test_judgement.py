from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from gateway.exchange.reason import Reason
from gateway.policy import PolicyTable
from gateway.policy.judgement import Person, judge, parse_request

POLICY = """
version: 1
roles: {client: {}}
routes:
  - name: assets
    match: {path: "/static/**", methods: [GET]}
    upstream: portal
    public: true
  - name: Admin
    match: {path: "/Admin/**", methods: [GET]}
    upstream: portal
    deny: true
  - name: files
    match: {path: "/files/{name}", methods: [GET]}
    upstream: files
    allow_encoded_slash: true
    allow: [{roles: [client]}]
  - name: rest
    match: {path: "/**", methods: [GET]}
    upstream: portal
    allow: [{roles: [client]}]
"""
ALICE = Person(user="alice", tenant="acme", roles=("client",))


@pytest.fixture
def outcome(
    compiled: Callable[..., PolicyTable], hosts: Mapping[str, str], now: float
) -> Callable[..., tuple[str, Reason]]:
    def judged(url: str, person: Person | None = ALICE, method: str = "GET") -> tuple[str, Reason]:
        verdict = judge(compiled(POLICY), hosts, parse_request(method, url), person, now)
        return verdict.route, verdict.decision.reason

    return judged


def test_the_stages_answer_in_the_order_of_the_pipeline(outcome: Callable[..., tuple[str, Reason]]) -> None:
    assert outcome("https://other.example.com/") == ("", Reason.MISDIRECTED)
    assert outcome("https://acme.example.com/x", method="POST") == ("", Reason.METHOD_NOT_ALLOWED)
    assert outcome("https://acme.example.com/x", None) == ("rest", Reason.SIGN_IN_REQUIRED)
    never = Person(user="alice", tenant="zeta", roles=("client",), mfa_age=None)
    assert outcome("https://acme.example.com/x", never) == ("rest", Reason.MFA_REQUIRED)
    assert outcome("https://acme.example.com/x") == ("rest", Reason.ALLOWED)


def test_a_session_of_another_tenant_is_refused_whatever_its_roles(outcome: Callable[..., tuple[str, Reason]]) -> None:
    assert outcome("https://zeta.example.com/x") == ("rest", Reason.TENANT_MISMATCH)
    assert outcome("https://portal.example.com/x") == ("rest", Reason.ALLOWED)
    assert outcome("https://zeta.example.com/static/x") == ("assets", Reason.PUBLIC)


def test_a_path_that_an_upstream_may_read_as_another_route_is_refused(
    outcome: Callable[..., tuple[str, Reason]],
) -> None:
    for path in (
        "/static/..%2fsecret",
        "/static%2F..%2Fsecret",
        "/static;x/a",
        "/admin/users",
        "/%41dmin%2fusers",
        "/x%5c..%5cstatic",
    ):
        assert outcome(f"https://acme.example.com{path}") == ("", Reason.AMBIGUOUS_PATH), path


def test_ordinary_paths_are_not_ambiguous(outcome: Callable[..., tuple[str, Reason]]) -> None:
    assert outcome("https://acme.example.com/Admin/users") == ("Admin", Reason.NO_RULE)
    assert outcome("https://acme.example.com/static/C%23.css") == ("assets", Reason.PUBLIC)
    assert outcome("https://acme.example.com/Items;color=red?q=[1]|{2}") == ("rest", Reason.ALLOWED)


def test_an_encoded_slash_needs_the_route_s_permission(outcome: Callable[..., tuple[str, Reason]]) -> None:
    assert outcome("https://acme.example.com/x/a%2Fb")[1] is Reason.AMBIGUOUS_PATH


def test_a_request_is_read_as_the_edge_reads_it() -> None:
    facts = parse_request("GET", "http://ACME.example.com:8080/a/../b%7e?x=%2f", client_ip="10.0.0.1", user_agent="u")
    assert (facts.host, facts.path, facts.query, facts.secure) == ("acme.example.com", "/b~", "x=%2f", False)
    assert (facts.client_ip, facts.user_agent) == ("10.0.0.1", "u")
    assert parse_request("GET", "https://acme.example.com").path == "/"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/path",
        "acme.example.com/x",
        "ftp://a/b",
        "https://",
        "https://a b/",
        "https://a/ b",
        "https://a/%00",
        "https://u@a/",
        "https://a/\u00fc",
    ],
)
def test_a_request_that_the_edge_would_refuse_is_an_error(url: str) -> None:
    with pytest.raises(ValueError, match=r"absolute URL|refuses this address"):
        parse_request("GET", url)


def test_a_person_has_the_session_that_the_ages_say(now: float) -> None:
    facts = parse_request("GET", "https://acme.example.com/")
    session = Person(user="a", tenant="t", roles=("r",), mfa_age=60, auth_age=90, email="e").session(facts, now)
    assert (session.user, session.user_id, session.tenant, session.roles, session.email) == ("a", "a", "t", ("r",), "e")
    assert (now - session.mfa_time, now - session.auth_time, session.host, session.secure) == (
        60,
        90,
        "acme.example.com",
        True,
    )
    assert not session.is_expired(now, now)


def test_nobody_signed_in_after_proving_the_second_factor(now: float) -> None:
    session = Person(user="a", tenant="t", roles=(), mfa_age=600).session(parse_request("GET", "https://a/"), now)
    assert session.auth_time == session.mfa_time


def test_a_person_without_the_factor_used_a_password_only(now: float) -> None:
    session = Person(user="a", tenant="t", roles=(), mfa_age=None).session(parse_request("GET", "https://a/"), now)
    assert (session.mfa_time, session.amr) == (0.0, ("pwd",))


def test_no_route_answers_for_the_gateways_own_pages(outcome: Callable[..., tuple[str, Reason]]) -> None:
    for path in ("/.gateway", "/.gateway/", "/.gateway/login", "/.gateway/nowhere"):
        assert outcome(f"https://acme.example.com{path}") == ("", Reason.NO_ROUTE), path
    assert outcome("https://acme.example.com/.gateway-notes") == ("rest", Reason.ALLOWED)
    for path in ("/.GATEWAY/login", "/x/..%2f.gateway/login", "/.gateway%2flogin", "/.gateway;x", "/.gateway./x"):
        assert outcome(f"https://acme.example.com{path}") == ("", Reason.AMBIGUOUS_PATH), path


def test_a_path_that_begins_like_our_pages_is_judged_like_any_other(
    compiled: Callable[..., PolicyTable], hosts: Mapping[str, str], now: float
) -> None:
    """attack: only that all its readings began alike was looked at, and `/.gateway-notes/ADMIN` took another route than `/admin`."""
    table = compiled("""
version: 1
roles: {client: {}}
routes:
  - name: notes
    match: {path: "/.gateway-notes/**", methods: [GET]}
    upstream: portal
    public: true
  - name: admin
    match: {path: "/.gateway-notes/admin", methods: [GET]}
    upstream: portal
    deny: true
""")
    for path in ("/.gateway-notes/ADMIN", "/.gateway-notes/a;x/..;/admin", "/.gateway-notes//admin"):
        request = parse_request("GET", f"https://acme.example.com{path}")
        assert judge(table, hosts, request, None, now).decision.reason is Reason.AMBIGUOUS_PATH, path
    request = parse_request("GET", "https://acme.example.com/.gateway-notes/a")
    assert judge(table, hosts, request, None, now).decision.reason is Reason.PUBLIC


@pytest.mark.parametrize(
    ("taken", "credential", "reason"),
    [
        ("[session, bearer]", "api_key", Reason.API_KEY_REFUSED),
        ("[api_key]", "bearer", Reason.TOKEN_REFUSED),
        ("[api_key]", "cookie", Reason.CREDENTIAL_REQUIRED),
        ("[session]", "api_key", Reason.SIGN_IN_REQUIRED),
    ],
)
def test_a_proof_that_a_route_reads_and_does_not_take_is_refused_as_the_edge_does(  # noqa: PLR0917 - fixtures and cases
    compiled: Callable[..., PolicyTable],
    hosts: Mapping[str, str],
    now: float,
    taken: str,
    credential: Any,
    reason: Reason,
) -> None:
    table = compiled(f"""
version: 1
roles: {{client: {{}}}}
routes:
  - name: api
    match: {{path: /api, methods: [GET]}}
    upstream: portal
    credentials: {taken}
    require: {{network: [10.0.0.0/8]}}
    allow: [{{roles: [client]}}]
""")
    request = parse_request("GET", "https://acme.example.com/api", client_ip="10.0.0.1")
    person = Person(user="robot", tenant="acme", roles=("client",), credential=credential)
    assert judge(table, hosts, request, person, now).decision.reason is reason
