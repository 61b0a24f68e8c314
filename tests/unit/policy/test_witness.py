from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.policy import Facts, PolicyTable
from gateway.policy.condition import Condition, ConditionCompiler
from gateway.policy.judgement import Person
from gateway.policy.proof.space import Effort, Side, Situation, World, holds
from gateway.policy.proof.witness import Finding, always_false, always_true, implies, same

POLICY = """
version: 1
roles: {client: {}, billing: {includes: [client]}, auditor: {}}
routes:
  - name: file
    match: {path: "/files/{owner}/{name}", methods: [GET]}
    upstream: portal
    allow: [{roles: [billing]}]
  - name: root
    match: {path: "/files/root/{name}", methods: [GET]}
    upstream: portal
    deny: true
"""
NOW = 1_800_000_000.0


@pytest.fixture
def world(compiled: Callable[..., PolicyTable], hosts: dict[str, str]) -> World:
    return World(compiled(POLICY), hosts, ("acme", "zeta"))


@pytest.fixture
def condition(world: World) -> Callable[[str], Condition]:
    compiler = ConditionCompiler()
    return lambda text: compiler.compile(text, world.table.rules["file"].template.names)


@pytest.fixture
def never(world: World, condition: Callable[[str], Condition]) -> Callable[[str], Finding]:
    return lambda text: always_false(world, world.table.rules["file"], condition(text), now=NOW)


@pytest.fixture
def ever(world: World, condition: Callable[[str], Condition]) -> Callable[[str], Finding]:
    return lambda text: always_true(world, world.table.rules["file"], condition(text), now=NOW)


@pytest.mark.parametrize(
    "text",
    [
        'session.mfa_age < duration("0s")',
        'session.mfa_age < duration("5m") && session.mfa_age > duration("12h")',
        'request.host == "typo.example.com"',
        'request.method == "POST"',
        'request.action == "delete"',
        'session.tenant == "nobody"',
        '"admin" in session.roles',
        '"billing" in session.roles && !("client" in session.roles)',
        'session.roles.exists(r, r == "billing") && !session.roles.exists(r, r == "client")',
        'network.is_in("10.0.0.0/8") && !network.is_in("10.0.0.0/7")',
        'network.is_in(["10.0.0.0/8", "192.0.2.0/24"]) && network.is_in("2001:db8::/32")',
        'path.owner == user.name && path.owner == "x" && user.name != "x"',
        'user.email.startsWith("x") && user.email == "y@example.com"',
        'user.email.endsWith("@example.com") && user.email.endsWith("@example.org")',
        "size(user.name) > 3 && size(user.name) < 4",
        'request.host.startsWith(session.tenant + ".") && session.tenant == "acme" && request.host == "zeta.example.com"',
        "now.getHours() < 6 && now.getHours() > 20",
        'session.acr == "aal1" && "hwk" in session.amr && "mfa" in session.amr',
        'session.credential == "cookie" ? session.mfa_age < duration("0s") : session.auth_age < duration("0s")',
    ],
)
def test_a_condition_that_nothing_meets_is_proven_never_to_be_true(never: Callable[[str], Finding], text: str) -> None:
    assert never(text) == Finding(holds=True)


@pytest.mark.parametrize(
    "text",
    [
        'session.mfa_age < duration("5m")',
        'session.mfa_age > duration("5m") && session.acr == "phr"',
        'request.host.startsWith(session.tenant + ".")',
        'network.is_in("10.0.0.0/8") && network.is_in("10.1.0.0/16") && !network.is_in("10.1.1.0/24")',
        'network.is_in("2001:db8::/32")',
        "path.owner == user.name",
        'path.name.startsWith("a-") && path.name.endsWith("-z") && path.name.contains("m")',
        'user.email.endsWith("@example.org") && user.name != "alice"',
        'now.getHours("Europe/Berlin") < 6 && now.getDayOfWeek("Europe/Berlin") == 0',
        'now > timestamp("2030-01-01T00:00:00Z") && now < timestamp("2030-01-01T00:00:10Z")',
        '"reports:read" in session.scopes && session.credential == "api_key"',
        '"auditor" in session.roles && "billing" in session.roles',
        'request.query == "" || request.user_agent.contains("curl")',
        "!session.known_device",
        'session.provider == "corporate" && session.country == "NL"',
        "!request.secure",
        "size(session.roles) == 0",
    ],
)
def test_a_witness_meets_its_condition(
    never: Callable[[str], Finding], condition: Callable[[str], Condition], world: World, text: str
) -> None:
    found = never(text)
    assert found.holds is False
    assert found.witness is not None
    assert holds(Side(world, world.table.rules["file"]), condition(text), found.witness) is True


@pytest.mark.parametrize(
    "text",
    [
        'user.name.matches("^[a-z]+$") && user.name == "A"',
        "int(path.name) > 5 && int(path.name) < 5",
        'request.path.endsWith("/x") && request.path.endsWith("/y")',
        'session.handle == "s_1"',
        "timestamp(request.query) < now && timestamp(request.query) > now",
        'user.name < "a" && user.name > "b"',
        'now.getMonth() == 3 && now.getFullYear() == 1999 && now.getHours("Europe/Berlin") == now.getHours()',
        "session.roles.exists_one(r, r == 'auditor') && size(session.roles) > 17",
    ],
)
def test_what_is_beyond_the_fragment_is_not_decided_unless_it_is_found(
    never: Callable[[str], Finding], text: str
) -> None:
    found = never(text)
    assert found.holds is None
    assert found.doubt


@pytest.mark.parametrize(
    "text",
    [
        "size(session.roles) == 3",
        "size(session.scopes) == 2",
        "size(session.amr) == 5",
        'session.scopes.exists(scope, scope != "read")',
        '!session.scopes.all(scope, scope == "read")',
        "request.client_ip == request.query",
        "path.owner == request.host",
        "path.owner == request.action",
        "path.owner == request.method",
        "user.name == session.credential",
        "path.owner == request.client_ip",
        "session.mfa_age.getHours() >= 5 && session.mfa_age.getHours() < 10",
        "session.auth_age.getMinutes() > 10 && session.auth_age.getMinutes() < 30",
        'network.is_in("10.0.0.4/31") && network.ip != "10.0.0.4"',
        '"otp" in session.amr && "hwk" in session.amr',
        '"otp" in session.amr && !("mfa" in session.amr)',
        'session.amr.exists(method, method != "pwd" && method != "otp" && method != "mfa")',
    ],
)
def test_a_condition_that_somebody_meets_is_never_called_always_false(
    never: Callable[[str], Finding], text: str
) -> None:
    """Each of them was: the values that show it were not among those tried."""
    assert never(text).holds is not True


@pytest.mark.parametrize("text", ['request.path == "/flat/"', 'request.path.endsWith("/")', 'request.path != "/flat"'])
def test_the_slash_that_a_template_of_literals_takes_at_its_end_is_tried(
    compiled: Callable[..., PolicyTable], hosts: dict[str, str], text: str
) -> None:
    flat = "  - {name: flat, match: {path: /flat, methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}\n"
    table = compiled(POLICY + flat)
    world = World(table, hosts, ("acme", "zeta"))
    found = always_false(world, table.rules["flat"], ConditionCompiler().compile(text, frozenset()), now=NOW)
    assert found.holds is False


def test_hours_of_an_age_are_told_apart(world: World, condition: Callable[[str], Condition]) -> None:
    rule = world.table.rules["file"]
    half, whole = condition("session.mfa_age.getHours() < 12"), condition("session.mfa_age.getHours() < 24")
    assert same(world, rule, half, whole, now=NOW).holds is False
    assert same(world, rule, half, condition('session.mfa_age < duration("12h")'), now=NOW).holds is True


def test_a_condition_of_very_many_parts_is_given_up_after_a_bounded_effort(
    world: World, condition: Callable[[str], Condition]
) -> None:
    text = " && ".join(
        f'session.mfa_age != duration("{number}s") && session.auth_age != duration("{number + 3}s")'
        for number in range(7, 280, 7)
    )
    effort = Effort(50_000)
    found = always_false(world, world.table.rules["file"], condition(f"!({text}) && 1 > 2"), now=NOW, effort=effort)
    assert found.holds is None
    assert "too many" in found.doubt
    assert effort.left > -1_000


def test_a_condition_that_is_true_always_is_proven_so(ever: Callable[[str], Finding]) -> None:
    assert ever('session.mfa_age >= duration("0s")').holds is True
    assert ever('user.name == "x" || user.name != "x"').holds is True
    assert ever('network.is_in(["0.0.0.0/0", "::/0"])').holds is True
    assert ever('session.mfa_age < duration("5m")').holds is False


def test_a_value_of_a_path_that_another_route_takes_is_no_witness(ever: Callable[[str], Finding]) -> None:
    """`/files/root/…` is another route, which takes every path that could refute."""
    found = ever('path.owner != "root"')
    assert found.holds is True


def test_an_entry_narrows_who_is_asked_about(world: World, condition: Callable[[str], Condition]) -> None:
    rule = world.table.rules["file"]
    whole = condition('"client" in session.roles')
    assert always_true(world, rule, whole, now=NOW).holds is False
    assert always_true(world, rule, whole, now=NOW, within=rule.grants[0]).holds is True


def test_a_shorter_age_implies_a_longer_one_but_not_the_reverse(
    world: World, condition: Callable[[str], Condition]
) -> None:
    rule = world.table.rules["file"]
    short, long = condition('session.mfa_age < duration("5m")'), condition('session.mfa_age < duration("12h")')
    assert implies(world, rule, short, long, now=NOW).holds is True
    refuted = implies(world, rule, long, short, now=NOW)
    assert refuted.holds is False
    assert refuted.witness is not None
    assert refuted.witness.person is not None
    assert 300 <= (refuted.witness.person.mfa_age or 0) < 43200


def test_two_ways_to_write_a_condition_are_the_same(world: World, condition: Callable[[str], Condition]) -> None:
    rule = world.table.rules["file"]
    one = condition('!(user.name == "x" || user.name == "y")')
    assert same(world, rule, one, condition('!(user.name in ["y", "x"])'), now=NOW).holds is True
    assert same(world, rule, one, condition('!(user.name in ["y", "z"])'), now=NOW).holds is False


def test_too_many_combinations_are_not_decided(never: Callable[[str], Finding]) -> None:
    names = ("user.name", "user.id", "user.email", "path.owner", "path.name", "request.query", "request.user_agent")
    text = " && ".join(
        f'{name}.startsWith("{index}") && {name}.endsWith("z") && {name} != "" && !{name}.contains("k")'
        for index, name in enumerate(names)
    )
    found = never(text + ' && request.query.startsWith("no")')
    assert found.holds is None
    assert "too many" in found.doubt


ATOMS = (
    'session.mfa_age < duration("5m")', 'session.mfa_age >= duration("12h")', 'session.auth_age < duration("1h")',
    'session.acr == "phr"', 'session.acr != "aal1"', '"hwk" in session.amr', 'session.credential == "api_key"',
    '"billing" in session.roles', '"client" in session.roles', 'session.tenant == "acme"', 'user.name == "root"',
    'user.name.startsWith("ro")', "path.owner == user.name", 'path.owner in ["x", "root", "zz"]', 'path.name.contains("o")',
    'network.is_in("10.0.0.0/8")', 'network.is_in("10.0.0.0/9")', 'request.host == "acme.example.com"',
    'request.host.startsWith(tenant + ".")', '"a" in session.scopes', "session.known_device", "now.getHours() < 8",
)  # fmt: skip


def _joined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(parts, st.sampled_from(("&&", "||")), parts).map(lambda of: f"({of[0]} {of[1]} {of[2]})"),
        parts.map(lambda of: f"!({of})"),
        st.tuples(parts, parts, parts).map(lambda of: f"(({of[0]}) ? ({of[1]}) : ({of[2]}))"),
    )


TEXTS = st.recursive(st.sampled_from(ATOMS), _joined, max_leaves=5)
SITUATIONS = st.builds(
    Situation,
    person=st.builds(
        Person,
        user=st.sampled_from(("root", "ro", "x", "anna", "zz")),
        tenant=st.sampled_from(("acme", "zeta")),
        roles=st.sampled_from(((), ("client",), ("billing",), ("auditor", "client"))),
        amr=st.sampled_from((("pwd", "otp", "mfa"), ("hwk", "user", "mfa"), ("pwd",))),
        mfa_age=st.sampled_from((None, 0.0, 299.0, 300.0, 3600.0, 43200.0, 50000.0)),
        auth_age=st.sampled_from((0.0, 3599.0, 3600.0, 99999.0)),
        credential=st.sampled_from(("cookie", "api_key", "bearer")),
        scopes=st.sampled_from(((), ("a",), ("a", "b"))),
        known_device=st.booleans(),
    ),
    facts=st.builds(
        Facts,
        method=st.just("GET"),
        host=st.sampled_from(("portal.example.com", "acme.example.com", "zeta.example.com")),
        path=st.builds(
            "/files/{}/{}".format, st.sampled_from(("x", "zz", "anna", "ro")), st.sampled_from(("o", "x", "foo", "1"))
        ),
        client_ip=st.sampled_from(("10.0.0.1", "10.200.0.1", "192.0.2.1", "2001:db8::1")),
    ),
    now=st.sampled_from((NOW, NOW + 3600 * 7, NOW + 3600 * 15)),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=TEXTS, situations=st.lists(SITUATIONS, min_size=15, max_size=15))
def test_no_situation_contradicts_a_proof(
    world: World, condition: Callable[[str], Condition], text: str, situations: list[Situation]
) -> None:
    rule = world.table.rules["file"]
    asked = condition(text)
    answers = [holds(Side(world, rule), asked, situation) for situation in situations]
    never = always_false(world, rule, asked, now=NOW)
    ever = always_true(world, rule, asked, now=NOW)
    assert never.holds is not None, never.doubt
    assert ever.holds is not None, ever.doubt
    assert not (never.holds and True in answers)
    assert not (ever.holds and False in answers)
    for found, expected in ((never, True), (ever, False)):
        if found.witness is not None:
            assert holds(Side(world, rule), asked, found.witness) is expected


def test_a_sign_in_between_two_bounds_is_found_beside_a_factor_between_two_others(
    never: Callable[[str], Finding],
) -> None:
    found = never(
        'session.mfa_age > duration("5m") && session.mfa_age < duration("12h")'
        ' && session.auth_age > duration("6m") && session.auth_age < duration("1h")'
    )
    assert found.holds is False


def test_moments_between_two_near_bounds_are_found(never: Callable[[str], Finding]) -> None:
    assert never('now > timestamp("2030-01-01T00:00:00Z") && now < timestamp("2030-01-01T00:00:01Z")').holds is False


def test_people_who_are_signed_in_have_no_scopes(never: Callable[[str], Finding]) -> None:
    assert never('session.credential == "cookie" && "reports:read" in session.scopes').holds is True


def test_an_address_of_the_other_family_is_in_no_network(ever: Callable[[str], Finding]) -> None:
    found = ever('network.is_in("0.0.0.0/0")')
    assert found.witness is not None
    assert found.witness.facts.client_ip == "2001:db8::7"


@pytest.mark.parametrize("binding", ["{header: X-Tenant}", "{path: t}", "{subdomain: example.com}", "zeta"])
def test_the_tenant_that_a_request_names_is_among_what_is_tried(
    compiled: Callable[..., PolicyTable], hosts: dict[str, str], binding: str
) -> None:
    table = compiled(
        "version: 1\nroles: {client: {}}\nroutes:\n"
        f"  - {{name: a, match: {{path: '/t/{{t}}', methods: [GET]}}, upstream: portal, tenant: {binding}, allow: [{{roles: [client]}}]}}\n"
    )
    rule = table.rules["a"]
    asked = ConditionCompiler().compile('request.tenant == "zeta"', rule.template.names)
    found = always_false(World(table, hosts, ("acme", "zeta")), rule, asked, now=NOW)
    assert found.holds is False
