"""What a route requires beyond roles, as policies say it: read, decided, explained, tried by cases."""

from __future__ import annotations

import pytest

from gateway.document.source import DocumentError
from gateway.exchange.reason import Reason
from gateway.exchange.step_up import Assurance, Factor
from gateway.policy import PolicyTable, compile_policy
from gateway.policy.cases import load_cases, run_cases
from gateway.policy.explanation import explain
from gateway.policy.judgement import Person, judge, parse_request

HOSTS = {"portal.example.com": ""}
NOW = 1_790_000_000.0
ROUTE = """\
version: 1
roles: {{client: {{}}}}
networks: {{office: [10.0.0.0/8, "2001:db8::/32"]}}
routes:
  - name: pay
    match: {{path: /pay, methods: [POST]}}
    upstream: portal
    {lines}
    {verdict}
"""


def table_of(lines: str, verdict: str = "allow: [{roles: [client]}]") -> PolicyTable:
    text = ROUTE.format(lines=lines, verdict=verdict)
    return compile_policy({"p.yaml": text}, upstreams=["portal"], tenants=[], hosts=HOSTS)[0]


def reason_of(table: PolicyTable, who: Person | None, ip: str = "10.0.0.1") -> Reason:
    facts = parse_request("POST", "https://portal.example.com/pay", client_ip=ip)
    return judge(table, HOSTS, facts, who, NOW).decision.reason


def person(*, amr: tuple[str, ...] = ("pwd", "otp", "mfa"), mfa_age: float | None = 0, known: bool = False) -> Person:
    return Person(user="alice", tenant="", roles=("client",), amr=amr, mfa_age=mfa_age, known_device=known)


def test_a_route_requires_what_it_lists() -> None:
    table = table_of(
        "require: {factor: webauthn, mfa_age: 5m, auth_age: 1h, acr: phr, device: known, network: [office, 192.0.2.7]}"
    )
    requirement = table.routes["pay"].requirement
    assert requirement is not None
    assert (requirement.factor, requirement.mfa_age_s, requirement.auth_age_s) == (Factor.WEBAUTHN, 300, 3600)
    assert (requirement.acr, requirement.known_device) == (Assurance.PHISHING_RESISTANT, True)
    assert list(map(str, requirement.networks)) == ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"]


@pytest.mark.parametrize(
    ("lines", "who", "ip", "expected"),
    [
        ("require: {factor: any}", person(), "", Reason.ALLOWED),
        ("require: {factor: any}", person(amr=("pwd",)), "", Reason.STEP_UP_REQUIRED),
        ("require: {factor: totp}", person(), "", Reason.ALLOWED),
        ("require: {factor: totp}", person(amr=("pwd", "hwk", "mfa")), "", Reason.STEP_UP_REQUIRED),
        ("require: {factor: webauthn}", person(), "", Reason.STEP_UP_REQUIRED),
        ("require: {factor: webauthn}", person(amr=("pwd", "swk", "mfa")), "", Reason.ALLOWED),
        ("require: {factor: webauthn}", person(mfa_age=None), "", Reason.MFA_REQUIRED),
        ("require: {mfa_age: 5m}", person(mfa_age=301), "", Reason.STEP_UP_REQUIRED),
        ("require: {device: known}", person(), "", Reason.DEVICE_UNKNOWN),
        ("require: {device: known}", person(known=True), "", Reason.ALLOWED),
        ("require: {network: [office]}", person(), "10.9.9.9", Reason.ALLOWED),
        ("require: {network: [office]}", person(), "2001:db8::5", Reason.ALLOWED),
        ("require: {network: [office]}", person(), "::ffff:10.9.9.9", Reason.ALLOWED),
        ("require: {network: [office]}", person(), "192.0.2.1", Reason.NETWORK_REFUSED),
        ("require: {network: [office]}", person(), "", Reason.NETWORK_REFUSED),
        ("require: {network: [192.0.2.1]}", person(), "192.0.2.1", Reason.ALLOWED),
        ("require: {network: [office], device: known, mfa_age: 1m}", None, "192.0.2.1", Reason.NETWORK_REFUSED),
        ("require: {network: [office], device: known, mfa_age: 1m}", None, "10.0.0.1", Reason.SIGN_IN_REQUIRED),
        ("require: {device: known, mfa_age: 1m}", person(mfa_age=99), "", Reason.DEVICE_UNKNOWN),
    ],
)  # fmt: skip
def test_who_meets_it_passes_and_who_does_not_is_told_what_is_missing(
    lines: str, who: Person | None, ip: str, expected: Reason
) -> None:
    assert reason_of(table_of(lines), who, ip) is expected


def test_a_program_has_no_known_device_and_no_factor() -> None:
    key = Person(user="bot", tenant="", roles=("client",), credential="api_key", known_device=True)
    lines = "credentials: [session, api_key]\n    require: "
    assert reason_of(table_of(lines + "{device: known}"), key) is Reason.DEVICE_UNKNOWN
    assert reason_of(table_of(lines + "{factor: any}"), key) is Reason.STEP_UP_REQUIRED


def test_a_public_route_may_require_a_network() -> None:
    table = table_of("require: {network: [office]}", "public: true")
    assert reason_of(table, None) is Reason.PUBLIC
    assert reason_of(table, None, "192.0.2.1") is Reason.NETWORK_REFUSED


@pytest.mark.parametrize(
    ("lines", "verdict", "complaint"),
    [
        ("require: {}", "", "p.yaml:8:14: write what is required"),
        ("require: {factors: any}", "", "p.yaml:8:15: unknown key 'factors'; did you mean 'factor'?"),
        ("require: {factor: sms}", "", "p.yaml:8:23: 'sms' is not one of any, totp, webauthn"),
        ("require: {device: new}", "", "p.yaml:8:23: 'new' is not one of known"),
        ("require: {device: true}", "", "p.yaml:8:23: expected text"),
        ("require: {network: office}", "", "p.yaml:8:24: expected a list"),
        ("require: {network: [10.0.0.0/33]}", "", "p.yaml:8:25: '10.0.0.0/33' is not a network"),
        ("require: {network: ['::ffff:10.0.0.0/104']}", "", "::ffff:a00:0 is known as 10.0.0.0 here; write the network so"),
        ("require: {network: ['fe80::%eth0/64']}", "", "fe80::%eth0 is known as fe80:: here"),
        ("require: {network: [moon]}", "", "p.yaml:8:25: unknown network 'moon'"),
        ("require: {mfa_age: 0s}", "", "p.yaml:8:24: must be more than 0"),
        ("require: {mfa_age: 9s}", "", "p.yaml:8:24: nobody is back from the proof so soon; 10s at least"),
        ("auth_age: 1s", "", "p.yaml:8:15: nobody is back from the proof so soon"),
        ("require: {acr: aal1}", "", "p.yaml:8:20: 'aal1' is not one of aal2, phr"),
        ("require: {factor: any}", "public: true", "p.yaml:8:15: factor has no effect on a route that asks for no session"),
        ("require: {device: known}", "public: true", "p.yaml:8:15: device has no effect"),
        ("require: {network: [office]}", "deny: true", "p.yaml:8:15: network has no effect"),
        ("require: {factor: any}\n    unsafe_without_mfa: true", "", "p.yaml:8:15: factor asks for a second factor"),
        ("require: {acr: phr}\n    acr: aal2", "", "p.yaml:9:5: require says acr already (p.yaml:8:20)"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_an_error_with_its_place(lines: str, verdict: str, complaint: str) -> None:
    with pytest.raises(DocumentError) as caught:
        table_of(lines, verdict or "allow: [{roles: [client]}]")
    assert complaint in "\n".join(caught.value.diagnostics)


def test_explain_shows_each_requirement() -> None:
    table = table_of("require: {factor: webauthn, device: known, network: [office]}")
    facts = parse_request("POST", "https://portal.example.com/pay", client_ip="192.0.2.1")
    told = explain(table, HOSTS, facts, person(known=True), NOW)
    assert [(item.name, item.outcome) for item in told.criteria if item.name in {"network", "device", "step_up"}] == [
        ("network", "miss"),
        ("device", "hit"),
        ("step_up", "miss"),
    ]
    assert told.decision.reason is Reason.NETWORK_REFUSED


def test_cases_say_by_which_browser_somebody_comes() -> None:
    cases = """
cases:
  - name: a browser that is known
    as: {user: alice, tenant: acme, roles: [client], device: known}
    from: {ip: 10.0.0.1}
    request: POST https://portal.example.com/pay
    expect: {decision: allow}
  - name: one that is not
    as: {user: alice, tenant: acme, roles: [client], device: unknown}
    request: POST https://portal.example.com/pay
    expect: {decision: deny, reason: device_unknown}
  - name: one of which nothing is said
    as: {user: alice, tenant: acme, roles: [client]}
    request: POST https://portal.example.com/pay
    expect: {decision: deny, reason: device_unknown}
"""
    table = table_of("require: {device: known}")
    read = load_cases({"c.yaml": cases}, table=table, hosts=HOSTS, tenants=frozenset())
    assert all(result.passed for result in run_cases(read, table=table, hosts=HOSTS, now=NOW))
    with pytest.raises(DocumentError, match="'new' is not one of known, unknown"):
        load_cases(
            {"c.yaml": cases.replace("device: unknown", "device: new")},
            table=table,
            hosts=HOSTS,
            tenants=frozenset(),
        )


def test_a_narrower_route_that_requires_more_does_not_open_like_the_broader_one() -> None:
    text = """
version: 1
roles: {client: {}}
routes:
  - {name: all, match: {path: "/x/**", methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}
  - {name: one, match: {path: /x/report, methods: [GET]}, upstream: portal, require: {network: [10.0.0.0/8]}, allow: [{roles: [client]}]}
"""
    table, _ = compile_policy({"p.yaml": text}, upstreams=["portal"], tenants=[], hosts=HOSTS)
    facts = parse_request("GET", "https://portal.example.com/x/report.json", client_ip="192.0.2.1")
    assert judge(table, HOSTS, facts, person(), NOW).decision.reason is Reason.AMBIGUOUS_PATH


def test_an_api_key_is_no_sign_in_however_new_it_is() -> None:
    """attack: a key that somebody with a stolen session made a minute ago."""
    key = Person(user="bot", tenant="", roles=("client",), credential="api_key")
    table = table_of("credentials: [session, api_key]\n    require: {auth_age: 5m}")
    assert reason_of(table, key) is Reason.STEP_UP_REQUIRED
    facts = parse_request("POST", "https://portal.example.com/pay", client_ip="10.0.0.1")
    assert ("step_up", "miss") in [
        (item.name, item.outcome) for item in explain(table, HOSTS, facts, key, NOW).criteria
    ]


@pytest.mark.parametrize(
    "lines",
    [
        "rate_limit: {rate: 1/s, burst: 1, per: ip}", "max_body: 1MiB", "timeout: {idle: 1s}", "cache: portal",
        "cookies: {vault: all}", "allow_service_worker: true", "activity: false",
    ],
)  # fmt: skip
def test_what_is_looked_at_after_policy_cannot_stand_on_a_route_that_refuses_everybody(lines: str) -> None:
    with pytest.raises(DocumentError, match="has no effect on a route that refuses everybody"):
        table_of(lines, "deny: true")


@pytest.mark.parametrize("word", ["no-store", "portal"])
def test_a_public_route_does_not_say_how_its_answers_are_cached(word: str) -> None:
    with pytest.raises(DocumentError, match="cache has no effect on a public route"):
        table_of(f"cache: {word}", "public: true")


def test_a_switch_that_is_off_is_an_error() -> None:
    with pytest.raises(DocumentError, match="unsafe_without_mfa: false changes nothing"):
        table_of("unsafe_without_mfa: false")


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        ("rate_limit: {rate: 1/s, burst: 1, per: key}", "allow: [{roles: [client]}]"),
        ("action: view", "allow: [{roles: [client], rate_limit: {rate: 1/s, burst: 1, per: key}}]"),
    ],
)
def test_a_limit_of_keys_where_no_key_is_taken_is_an_error(lines: str, verdict: str) -> None:
    with pytest.raises(DocumentError, match="per: key counts API keys and bearer tokens"):
        table_of(lines, verdict)


def test_an_address_that_no_client_has_is_no_question() -> None:
    with pytest.raises(ValueError, match=r"'10\.0\.0' is no address of a client"):
        parse_request("GET", "https://portal.example.com/", client_ip="10.0.0")
