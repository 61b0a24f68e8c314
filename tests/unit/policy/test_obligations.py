"""What routes and entries ask for beside letting in: what they may ask for, and what is refused."""

from __future__ import annotations

import pytest

from gateway.document.source import DocumentError
from gateway.exchange.field_rules import FieldRules
from gateway.exchange.obligation import Obligation
from gateway.exchange.reason import Reason
from gateway.exchange.route import Durability, LimitSpec
from gateway.policy import PolicyTable, compile_policy
from gateway.policy.judgement import Person, judge, parse_request
from gateway.policy.obligations import merged, stronger

HOSTS = {"portal.example.com": ""}
NOW = 1_790_000_000.0
ROUTE = """\
version: 1
roles: {{client: {{}}, staff: {{}}}}
routes:
  - name: plan
    match: {{path: /plan, methods: [GET]}}
    upstream: portal
    {lines}
"""


def table_of(lines: str) -> PolicyTable:
    table, _ = compile_policy(
        {"p.yaml": ROUTE.format(lines=lines)}, upstreams=["portal"], tenants=["acme"], hosts=HOSTS
    )
    return table


def errors_of(lines: str) -> str:
    with pytest.raises(DocumentError) as caught:
        table_of(lines)
    return "\n".join(caught.value.diagnostics)


def obligation_of(table: PolicyTable, *roles: str) -> Obligation | None:
    facts = parse_request("GET", "https://portal.example.com/plan")
    decision = judge(table, HOSTS, facts, Person(user="alice", tenant="acme", roles=roles), NOW).decision
    assert decision.reason is Reason.ALLOWED
    return decision.obligation


def test_an_entry_asks_for_what_its_route_does_not() -> None:
    table = table_of(
        "audit: {durability: group}\n    headers: {request: {X-Plan: basic}, response: {X-Robots-Tag: none}}\n"
        "    allow:\n      - roles: [staff]\n        rate_limit: {rate: 60/m, burst: 5, per: user}\n"
        "        headers: {request: {x-plan: staff}}\n        audit: {durability: strict}\n      - roles: [client]"
    )
    assert obligation_of(table, "client") is None
    assert table.routes["plan"].headers == FieldRules(
        request=((b"x-plan", b"basic"),), response=((b"x-robots-tag", b"none"),)
    )
    assert obligation_of(table, "staff") == Obligation(
        limit=LimitSpec(name="route:plan:1", rate_per_s=1.0, burst=5, per="user"),
        headers=FieldRules(request=((b"x-plan", b"staff"),), response=((b"x-robots-tag", b"none"),)),
        durability=Durability.STRICT,
    )
    assert [limit.name for limit in table.entry_limits] == ["route:plan:1"]
    assert table.set_fields == frozenset({b"x-plan"})


def test_a_plain_route_asks_for_nothing() -> None:
    table = table_of("allow: [{roles: [client]}]")
    assert obligation_of(table, "client") is None
    assert (table.routes["plan"].headers, table.entry_limits, table.set_fields) == (None, (), frozenset())


@pytest.mark.parametrize(
    "name",
    [
        "X-Gateway-User", "x-gateway-anything", "X-Audit-Id", "X-Forwarded-For", "X-Real-IP", "Forwarded", "Remote-User", "X-Original-URL",
        "X-HTTP-Method-Override", "Proxy", "Host", "Cookie", "Authorization", "Connection", "Keep-Alive", "TE", "Transfer-Encoding",
        "Upgrade", "Content-Length", "Content-Type", "Expect", "Via", "X-Request-Id", "X-User", "X-Tenant", "Range", "If-Match",
        "Origin", "Sec-Fetch-Site", "Sec-WebSocket-Key", "User-Agent", "HTTP-X-Plan", "X--Plan", "X_Plan", "-X", "X Plan", "X:Plan",
        "X-Plän", "Max-Forwards", "Accept-Encoding", "Proxy-Authorization",
    ],
)  # fmt: skip
def test_a_field_that_upstreams_believe_cannot_be_set(name: str) -> None:
    """attack: a policy file that says who somebody is, or where a message ends."""
    assert "p.yaml:7:25: " in errors_of(f"headers: {{request: {{{name!r}: x}}}}\n    allow: [{{roles: [client]}}]")


@pytest.mark.parametrize(
    "name",
    [
        "Set-Cookie", "CDN-Cache-Control", "Surrogate-Control", "Timing-Allow-Origin", "Strict-Transport-Security", "Content-Security-Policy", "Content-Security-Policy-Report-Only", "X-Frame-Options",
        "X-Content-Type-Options", "Referrer-Policy", "Permissions-Policy", "Cross-Origin-Opener-Policy", "Clear-Site-Data",
        "Service-Worker-Allowed", "Cache-Control", "Access-Control-Allow-Origin", "Content-Length", "Transfer-Encoding", "Connection",
        "Trailer", "Location", "Refresh", "Link", "WWW-Authenticate", "X-Gateway-Events", "X-Request-Id", "Content-Type", "Date", "Via",
        "Alt-Svc", "Vary", "X_Robots",
    ],
)  # fmt: skip
def test_a_field_that_protects_the_browser_cannot_be_set(name: str) -> None:
    assert "p.yaml:7:26: " in errors_of(f"headers: {{response: {{{name!r}: x}}}}\n    allow: [{{roles: [client]}}]")


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ('"a\\r\\nX-Gateway-User: root"', "p.yaml:7:33: "),
        ('"a\\nb"', "p.yaml:7:33: "),
        ('"a\\0b"', "p.yaml:7:33: "),
        ('"a\\tb"', "p.yaml:7:33: "),
        ('" a"', "p.yaml:7:33: "),
        ('"caf\u00e9"', "p.yaml:7:33: "),
        ('""', "p.yaml:7:33: empty value"),
        ("5", "p.yaml:7:33: expected text, found the number 5; quote it"),
        (f'"{"a" * 1025}"', "p.yaml:7:33: "),
    ],
)
def test_a_value_cannot_begin_another_line(value: str, complaint: str) -> None:
    assert complaint in errors_of(f"headers: {{request: {{X-Plan: {value}}}}}\n    allow: [{{roles: [client]}}]")


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("headers: {}\n    allow: [{roles: [client]}]", "p.yaml:7:14: write request, response or both"),
        ("headers: {request: {}}\n    allow: [{roles: [client]}]", "p.yaml:7:24: no field is named"),
        ("headers: {upstream: {X-A: b}}\n    allow: [{roles: [client]}]", "p.yaml:7:15: unknown key 'upstream'"),
        ("headers: {request: {X-A: b, x-a: c}}\n    allow: [{roles: [client]}]", "p.yaml:7:33: 'x-a' is named a second time"),
        ("headers: {request: {X-A: b}}\n    deny: true", "p.yaml:7:5: headers has no effect on a route that refuses everybody"),
        ("allow: [{roles: [client], rate_limit: {rate: 1/s, burst: 0, per: user}}]", "p.yaml:7:62: "),
        ("allow: [{roles: [client], rate_limit: {rate: 1/s, burst: 1, per: moon}}]", "'moon' is not one of"),
        ("audit: {durability: strict+remote}\n    allow: [{roles: [client], audit: {durability: strict}}]", "p.yaml:8:38: the records of the route are as safe as strict+remote says"),
        ("audit: {durability: strict}\n    allow: [{roles: [client], audit: {durability: group}}]", "p.yaml:8:38: the records of the route are as safe as strict says"),
        ("audit: {durability: strict}\n    allow: [{roles: [client], audit: {durability: strict}}]", "an entry can only ask for more"),
        ("allow: [{roles: [client], inspection: strict}]", "unknown key 'inspection'"),
        ("inspection: strict\n    allow: [{roles: [client]}]", "expected a mapping of keys to values"),
        ("tenant: {header: X-Org}\n    headers: {request: {x-org: acme}}\n    allow: [{roles: [client]}]", "it names the tenant of the route"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_an_error_with_its_place(lines: str, complaint: str) -> None:
    assert complaint in errors_of(lines)


def test_more_fields_than_a_head_should_carry_are_refused() -> None:
    fields = ", ".join(f"X-F-{number}: x" for number in range(33))
    assert "more than 32 fields" in errors_of(f"headers: {{request: {{{fields}}}}}\n    allow: [{{roles: [client]}}]")


def test_the_safer_record_wins() -> None:
    assert stronger(Durability.GROUP, None) is Durability.GROUP
    assert stronger(Durability.GROUP, Durability.STRICT) is Durability.STRICT
    assert stronger(Durability.STRICT, Durability.ASYNC) is Durability.STRICT


def test_fields_of_an_entry_stand_in_place_of_the_routes() -> None:
    one = FieldRules(request=((b"a", b"1"), (b"b", b"2")))
    assert merged(one, FieldRules(request=((b"b", b"3"),))) == FieldRules(request=((b"a", b"1"), (b"b", b"3")))
    assert (merged(one, None), merged(None, one), merged(None, None)) == (one, one, None)
