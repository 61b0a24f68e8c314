"""What is written once and used by many routes: which layer wins, and where a finding about it stands."""

from __future__ import annotations

from itertools import permutations

import pytest

from gateway.document.source import Diagnostic, DocumentError
from gateway.exchange.reason import Reason
from gateway.exchange.route import Durability
from gateway.exchange.step_up import Assurance, Factor
from gateway.policy import PolicyTable, compile_policy
from gateway.policy.judgement import Person, judge, parse_request

HOSTS = {"portal.example.com": ""}
NOW = 1_790_000_000.0
PASSKEY = ("pwd", "hwk", "mfa")

SHARED = """\
version: 1
roles: {client: {}, staff: {}, contractor: {}}
networks:
  office: [10.0.0.0/8, "2001:db8::/32"]
profiles:
  sensitive:
    require: {acr: phr, mfa_age: 5m}
    audit: {durability: strict}
    headers: {response: {X-Robots-Tag: none}}
    deny: [{roles: [contractor]}]
entries:
  staff: {roles: [staff], when: network.is_in("office")}
"""
ROUTES = """\
version: 1
defaults:
  upstream: portal
  authorization: drop
  require: {mfa_age: 1h, network: [office]}
routes:
  - name: pay
    match: {path: /pay, methods: [POST]}
    profile: sensitive
    require: {mfa_age: 1m}
    allow: [{use: staff}, {roles: [client]}]
  - name: read
    match: {path: /read, methods: [GET]}
    allow: [{roles: [client]}]
  - name: assets
    match: {path: "/static/**", methods: [GET]}
    public: true
  - name: closed
    match: {path: /closed, methods: [GET]}
    deny: true
"""


def compiled(*texts: str, candidate: bool = False) -> tuple[PolicyTable, list[Diagnostic]]:
    files = {f"{name}.yaml": text for name, text in zip("abcd", texts, strict=False)}
    return compile_policy(files, upstreams=["portal"], tenants=["acme"], hosts=HOSTS, candidate=candidate)


def errors_of(*texts: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        compiled(*texts)
    return list(caught.value.diagnostics)


def reason_of(
    table: PolicyTable, request: str, *roles: str, ip: str = "10.0.0.1", amr: tuple[str, ...] = ("pwd", "otp", "mfa")
) -> Reason:
    method, _, path = request.partition(" ")
    facts = parse_request(method, f"https://portal.example.com{path}", client_ip=ip)
    who = Person(user="alice", tenant="acme", roles=roles, amr=amr) if roles else None
    return judge(table, HOSTS, facts, who, NOW).decision.reason


def test_the_route_comes_before_its_profile_and_the_profile_before_the_defaults() -> None:
    pay = compiled(SHARED, ROUTES)[0].routes["pay"]
    assert pay.requirement is not None
    assert (pay.requirement.mfa_age_s, pay.requirement.acr) == (60, Assurance.PHISHING_RESISTANT)
    assert list(map(str, pay.requirement.networks)) == ["10.0.0.0/8", "2001:db8::/32"]
    assert (pay.upstream, pay.authorization, pay.durability) == ("portal", "drop", Durability.STRICT)
    assert pay.headers is not None
    assert pay.headers.response == ((b"x-robots-tag", b"none"),)


def test_defaults_are_for_the_routes_of_their_file_alone() -> None:
    other = "version: 1\nroutes:\n  - {name: x, match: {path: /x, methods: [GET]}, upstream: portal, allow: [{roles: [staff]}]}\n"
    table, _ = compiled(SHARED, ROUTES, other)
    assert table.routes["x"].requirement is None
    assert table.routes["x"].authorization == "portal"


def test_a_default_has_effect_where_it_can_have_one() -> None:
    """Nobody's second factor is old; the network of who asks for an asset counts."""
    table, _ = compiled(SHARED, ROUTES)
    assets = table.routes["assets"].requirement
    assert assets is not None
    assert assets.mfa_age_s is None
    assert reason_of(table, "GET /static/x") is Reason.PUBLIC
    assert reason_of(table, "GET /static/x", ip="192.0.2.1") is Reason.NETWORK_REFUSED
    assert table.routes["closed"].requirement is None


def test_entries_of_deny_add_up() -> None:
    routes = ROUTES.replace(
        "    profile: sensitive\n", "    profile: sensitive\n    deny: [{roles: [client], when: user.name == 'bob'}]\n"
    )
    routes = routes.replace("  authorization: drop\n", "  authorization: drop\n  deny: [{when: now.getHours('UTC') > 23}, {tenants: [acme], when: user.name == 'eve'}]\n")  # fmt: skip
    table, _ = compiled(SHARED, routes)
    assert [denial.source for denial in table.rules["pay"].denials] == [
        "b.yaml:11:12", "a.yaml:10:12", "b.yaml:5:10", "b.yaml:5:44",
    ]  # fmt: skip
    assert reason_of(table, "POST /pay", "client", amr=PASSKEY) is Reason.ALLOWED
    assert reason_of(table, "POST /pay", "client", "contractor", amr=PASSKEY) is Reason.DENIED
    assert len(table.rules["assets"].denials) == 1, "a public route asks nobody who they are"
    assert table.rules["closed"].denials == ()


def test_a_default_that_asks_about_people_is_left_out_of_a_public_route_alone() -> None:
    routes = ROUTES.replace("  authorization: drop\n", "  authorization: drop\n  deny: [{when: user.name == 'eve'}]\n")
    table, _ = compiled(SHARED, routes)
    assert (len(table.rules["assets"].denials), len(table.rules["read"].denials)) == (0, 1)


def test_an_entry_with_a_name_is_an_entry_where_it_is_used() -> None:
    table, _ = compiled(SHARED, ROUTES)
    grant = table.rules["pay"].grants[0]
    assert (grant.roles, grant.source) == (("staff",), "b.yaml:11:13")
    assert reason_of(table, "POST /pay", "staff", amr=PASSKEY) is Reason.ALLOWED
    assert reason_of(table, "POST /pay", "contractor", "staff", amr=PASSKEY) is Reason.DENIED


def test_where_an_entry_is_used_it_may_say_more_and_nothing_twice() -> None:
    table, _ = compiled(SHARED, ROUTES.replace("{use: staff}", "{use: staff, tenants: [acme]}"))
    assert table.rules["pay"].grants[0].tenants == frozenset({"acme"})
    errors = errors_of(SHARED, ROUTES.replace("{use: staff}", "{use: staff, roles: [client]}"))
    assert "b.yaml:11:26: the entry 'staff' says roles already (a.yaml:12:18) [contradiction]" in errors


def test_a_named_entry_may_deny() -> None:
    routes = ROUTES.replace(
        "allow: [{use: staff}, {roles: [client]}]", "allow: [{roles: [client]}]\n    deny: [{use: staff}]"
    )
    table, _ = compiled(SHARED, routes)
    assert reason_of(table, "POST /pay", "client", "staff", amr=PASSKEY) is Reason.DENIED
    shared = SHARED.replace(
        "staff: {roles: [staff],", "staff: {roles: [staff], rate_limit: {rate: 1/s, burst: 1, per: user},"
    )
    assert errors_of(shared, routes) == [
        "b.yaml:12:12: the entry it uses says rate_limit, which means nothing where an entry denies [no-effect]"
    ]


def test_the_order_of_the_files_changes_nothing() -> None:
    tables = [compiled(*texts)[0] for texts in permutations((SHARED, ROUTES))]
    assert tables[0].routes["pay"].requirement == tables[1].routes["pay"].requirement
    assert len(tables[0].rules["pay"].denials) == len(tables[1].rules["pay"].denials)


# Findings


def test_an_error_in_a_profile_names_its_line_and_the_first_route_that_uses_it() -> None:
    shared = SHARED.replace("mfa_age: 5m", "mfa_age: 5")
    routes = ROUTES.replace("    allow: [{roles: [client]}]\n  - name: assets", "    profile: sensitive\n    allow: [{roles: [client]}]\n  - name: assets")  # fmt: skip
    (error,) = [line for line in errors_of(shared, routes) if line.startswith("a.yaml")]
    assert error.startswith("a.yaml:7:34: '5' is not a length of time")
    assert "(read for the route 'read' at b.yaml:12:5)" in error


def test_an_error_in_a_condition_of_an_entry_names_its_line_and_the_route() -> None:
    (error,) = errors_of(SHARED.replace('network.is_in("office")', "path.id == user.name"), ROUTES)
    assert error.startswith("a.yaml:12:37: unknown name 'path.id'")
    assert "(read for the route 'pay' at b.yaml:7:5)" in error


def test_an_error_in_a_default_names_its_line_and_a_route() -> None:
    (error,) = errors_of(SHARED, ROUTES.replace("authorization: drop", "authorization: dropp"))
    assert error.startswith("b.yaml:4:18: 'dropp' is not one of gateway, portal, drop; did you mean 'drop'?")
    assert "(read for the route 'pay' at b.yaml:7:5)" in error


def test_a_profile_that_cannot_be_met_on_a_public_route_is_an_error() -> None:
    errors = errors_of(SHARED, ROUTES.replace("    public: true\n", "    public: true\n    profile: sensitive\n"))
    assert any("acr has no effect on a route that asks for no session" in error for error in errors)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("profile: sensitive", "profile: sensitiv", "b.yaml:9:14: unknown profile 'sensitiv'; did you mean 'sensitive'?"),
        ("{use: staff}", "{use: staf}", "b.yaml:11:19: unknown entry 'staf'; did you mean 'staff'?"),
        ("network: [office]", "network: [ofice]", "b.yaml:5:36: unknown network 'ofice'; did you mean 'office'?"),
        ("network: [office]", "network: [10.0.0.1/8]", "b.yaml:5:36: '10.0.0.1/8' is not a network"),
        ("network: [office]", "network: []", "b.yaml:5:35: the list is empty"),
        ("  upstream: portal\n", "", "b.yaml:6:5: the key 'upstream' is missing"),
        ("  authorization: drop\n", "  allow: [{roles: [client]}]\n", "b.yaml:4:3: unknown key 'allow'"),
        ("  authorization: drop\n", "  unsafe_without_mfa: true\n", "b.yaml:4:3: unknown key 'unsafe_without_mfa'"),
        ("require: {mfa_age: 1m}", "require: {}", "b.yaml:10:14: write what is required, or remove the key"),
        ("require: {mfa_age: 1m}", "require: {mfa_age: 1m}\n    mfa_age: 2m", "b.yaml:11:5: require says mfa_age already"),
        ("version: 1\n", "version: 1\nprofiles: {}\n", "b.yaml:2:11: no profile is declared"),
        ("version: 1\n", "version: 1\nprofiles: {p: {}}\n", "b.yaml:2:15: the profile 'p' says nothing"),
        ("version: 1\n", "version: 1\nprofiles: {9: {cache: portal}}\n", "b.yaml:2:12"),
        ("version: 1\n", "version: 1\nnetworks: {office: [10.0.0.0/8]}\n", "the network 'office' is declared a second time; the first is at a.yaml:4:3"),
        ("version: 1\n", "version: 1\nentries: {staff: {roles: [client]}}\n", "the entry 'staff' is declared a second time; the first is at a.yaml:12:3"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_an_error_with_its_place(old: str, new: str, complaint: str) -> None:
    assert complaint in "\n".join(errors_of(SHARED, ROUTES.replace(old, new, 1)))


def test_defaults_without_routes_change_nothing() -> None:
    errors = errors_of(SHARED + "defaults: {cache: portal}\n", ROUTES)
    assert errors == [
        "a.yaml:13:1: defaults are for the routes of the same file; without a key, or without routes, they change nothing [no-effect]"
    ]


def test_what_nobody_uses_is_a_warning_and_is_read_all_the_same() -> None:
    _, warnings = compiled(
        SHARED.replace("entries:\n", "  idle: {cache: portal}\nentries:\n  spare: {roles: [staff]}\n"), ROUTES
    )
    assert [str(found) for found in warnings if found.name.startswith("unused-")] == [
        "a.yaml:11:3: warning: nothing uses the profile 'idle' [unused-profile]",
        "a.yaml:13:3: warning: nothing uses the entry 'spare' [unused-entry]",
    ]
    _, warnings = compiled(SHARED.replace("networks:\n", "networks:\n  attic: [192.0.2.0/24]\n"), ROUTES)
    assert "a.yaml:4:3: warning: nothing uses the network 'attic' [unused-network]" in list(map(str, warnings))
    errors = errors_of(
        SHARED.replace("entries:\n", "  idle: {cache: portl}\nentries:\n  spare: {scopes: ['']}\n"), ROUTES
    )
    assert [error.partition(": ")[0] for error in errors] == ["a.yaml:11:17", "a.yaml:13:20"]


def test_while_a_file_cannot_be_read_unknown_names_are_not_reported() -> None:
    assert [error.partition(":")[0] for error in errors_of("version: [", ROUTES)] == ["a.yaml"]


# Shadow


def test_what_is_in_force_uses_nothing_that_is_in_shadow() -> None:
    shadow = SHARED.replace("version: 1\n", "version: 1\nmode: shadow\n").replace(
        "roles: {client: {}, staff: {}, contractor: {}}\n", ""
    )
    roles = "version: 1\nroles: {client: {}, staff: {}, contractor: {}}\n"
    errors = "\n".join(errors_of(shadow, ROUTES, roles))
    assert "the profile 'sensitive' stands in a file in shadow (a.yaml:6:3)" in errors
    assert "the entry 'staff' stands in a file in shadow" in errors
    assert "unknown network 'office'" in errors
    live, _ = compiled(shadow, ROUTES.replace("version: 1\n", "version: 1\nmode: shadow\n"), roles)
    candidate, _ = compiled(shadow, ROUTES.replace("version: 1\n", "version: 1\nmode: shadow\n"), roles, candidate=True)
    assert (set(live.routes), set(candidate.routes)) == (set(), {"pay", "read", "assets", "closed"})
    assert (dict(live.networks), set(candidate.networks)) == ({}, {"office"})


def test_a_kind_of_factor_may_be_required_by_a_profile() -> None:
    table, _ = compiled(SHARED.replace("acr: phr", "factor: webauthn"), ROUTES)
    requirement = table.routes["pay"].requirement
    assert requirement is not None
    assert requirement.factor is Factor.WEBAUTHN


@pytest.mark.parametrize("value", ["true", "false", "contractor"])
@pytest.mark.parametrize("layer", ["profiles: {shut: {deny: %s}}\n", "defaults: {upstream: portal, deny: %s}\n"])
def test_a_profile_that_is_meant_to_close_its_routes_does_not_leave_them_open(layer: str, value: str) -> None:
    """attack: `deny: true` that was read, and forgotten."""
    text = "version: 1\n" + layer % value
    text += "routes: [{name: x, match: {path: /x, methods: [GET]}, upstream: portal, allow: [{roles: [staff]}]}]\n"
    assert any("here deny is a list of entries" in error for error in errors_of(SHARED, ROUTES, text))


def test_a_profile_that_denies_some_is_an_error_on_a_route_that_refuses_everybody() -> None:
    shared = SHARED.replace("profiles:\n", "profiles:\n  some: {deny: [{roles: [contractor]}]}\n")
    routes = ROUTES.rstrip("\n") + (
        "\n  - {name: shut, match: {path: /shut, methods: [GET]}, upstream: portal, profile: some, deny: true}\n"
    )
    assert any("deny has no effect on a route that refuses everybody" in error for error in errors_of(shared, routes))
