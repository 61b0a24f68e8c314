from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.document.diagnostic import DocumentError
from gateway.policy import Facts, PolicyTable
from gateway.policy.judgement import Person, judge
from gateway.policy.proof.cells import meet
from gateway.policy.proof.difference import Change, Difference, difference
from gateway.policy.proof.effect import NOBODY
from gateway.policy.proof.space import World

NOW = 1_800_000_000.0
TENANTS = ("acme", "zeta")
ROLES = "version: 1\nroles: {client: {}, billing: {includes: [client]}, auditor: {}, contractor: {}}\nroutes:\n"
HOME = '  - {name: home, match: {path: "/**", methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}\n'


@pytest.fixture
def compare(compiled: Callable[..., PolicyTable], hosts: dict[str, str]) -> Callable[[str, str], Difference]:
    """Compare two policies given as text; every witness has to flip."""

    def compare_texts(old: str, new: str) -> Difference:
        worlds = [World(compiled(text), hosts, TENANTS) for text in (old, new)]
        found = difference(worlds[0], worlds[1], now=NOW)
        for change in found.changes:
            for witness, answers in ((change.gain, (False, True)), (change.loss, (True, False))):
                if witness is not None:
                    person, facts, now = witness
                    assert answers == tuple(
                        judge(world.table, hosts, facts, person, now).decision.allowed for world in worlds
                    )
        return found

    return compare_texts


def summary(change: Change) -> tuple[str, tuple[tuple[str, ...], ...], tuple[str, ...], tuple[str, ...]]:
    return change.kind, change.who, change.tenants, tuple(where.template for where in change.places)


def test_names_order_and_other_words_are_no_difference(compare: Callable[[str, str], Difference]) -> None:
    old = (
        ROLES
        + HOME
        + (
            '  - {name: a, match: {path: "/a/{x}", methods: [GET]}, upstream: portal, rate_limit: {rate: 1/s, burst: 1, per: user},\n'
            "     allow: [{roles: [client], when: 'path.x != \"b\"'}, {roles: [auditor], tenants: [acme]}]}\n"
        )
    )
    new = (
        ROLES
        + (
            '  - {name: b, match: {path: "/a/{y}", methods: [GET]}, upstream: portal, rate_limit: {rate: 1/s, burst: 1, per: user},\n'
            "     allow: [{roles: [auditor], tenants: [acme]}, {roles: [client], when: '!(path.y == \"b\")'}]}\n"
        )
        + HOME.replace("name: home", "name: start")
    )
    assert compare(old, new).is_empty


def test_a_role_that_includes_another_gains_what_it_may(compare: Callable[[str, str], Difference]) -> None:
    found = compare(ROLES + HOME, ROLES.replace("auditor: {}", "auditor: {includes: [client]}") + HOME)
    assert [summary(change) for change in found.changes] == [("gains", (("auditor",),), (), ("/**",))]


def test_a_shorter_age_is_another_condition_with_a_person_in_between(compare: Callable[[str, str], Difference]) -> None:
    route = '  - {name: a, match: {path: "/a", methods: [GET]}, upstream: portal, mfa_age: %s, allow: [{roles: [billing]}]}\n'
    [change] = compare(ROLES + route % "1h", ROLES + route % "5m").changes
    assert summary(change) == ("conditions", (("billing",),), (), ("/a",))
    assert change.gain is None
    assert change.loss is not None
    assert change.loss.person is not None
    assert 300 < (change.loss.person.mfa_age or 0) <= 3600


def test_a_denial_is_told_of_those_who_hold_both_roles(compare: Callable[[str, str], Difference]) -> None:
    denied = HOME.replace("allow:", "deny: [{roles: [contractor]}], allow:")
    both = (("billing", "contractor"), ("client", "contractor"))
    assert [summary(change) for change in compare(ROLES + HOME, ROLES + denied).changes] == [
        ("loses", both, (), ("/**",))
    ]
    whole = HOME.replace("allow:", "deny: [{roles: [billing]}], allow:")
    [change] = compare(ROLES + HOME, ROLES + whole).changes
    assert change.who == (("billing",),)


def test_a_closed_public_route_takes_from_nobody_and_from_people_without_the_role(
    compare: Callable[[str, str], Difference],
) -> None:
    public = '  - {name: a, match: {path: "/a", methods: [GET]}, upstream: portal, public: true}\n'
    closed = '  - {name: a, match: {path: "/a", methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}\n'
    losers = {
        who
        for change in compare(ROLES + public, ROLES + closed).changes
        if change.kind == "loses"
        for who in change.who
    }
    assert NOBODY in losers
    assert ("auditor",) in losers
    assert ("billing",) not in losers
    assert {change.kind for change in compare(ROLES + closed, ROLES + public).changes} == {"gains", "conditions"}


def test_a_tenant_is_named_where_not_everybody_changes(compare: Callable[[str, str], Difference]) -> None:
    some = HOME.replace("roles: [client]", "roles: [client], tenants: [acme]")
    [change] = compare(ROLES + HOME, ROLES + some).changes
    assert summary(change) == ("loses", (("billing",), ("client",)), ("zeta",), ("/**",))


def test_options_are_told_of_routes_that_let_somebody_in(compare: Callable[[str, str], Difference]) -> None:
    other = HOME.replace("upstream: portal", "upstream: files, max_body: 1MiB, cache: portal")
    found = compare(ROLES + HOME, ROLES + other)
    assert not found.changes
    assert {option.name for other in found.others for option in other.options} == {"upstream", "max_body", "cache"}
    closed = '  - {name: a, match: {path: "/a", methods: [GET]}, upstream: %s, deny: true}\n'
    assert compare(ROLES + HOME + closed % "portal", ROLES + HOME + closed % "files").is_empty


def test_a_condition_that_cannot_be_solved_is_not_called_the_same(compare: Callable[[str, str], Difference]) -> None:
    route = '  - {name: a, match: {path: "/a", methods: [GET]}, upstream: portal, allow: [{roles: [client], when: \'user.name.matches("%s")\'}]}\n'
    found = compare(ROLES + route % "^a+$", ROLES + route % "^(a|aa)+$")
    assert not found.changes
    assert found.undecided
    assert not found.is_empty
    assert compare(ROLES + route % "^a+$", ROLES + route % "^a+$").is_empty


def test_a_host_that_is_no_longer_served_loses_everything(
    compiled: Callable[..., PolicyTable], hosts: dict[str, str]
) -> None:
    table = compiled(ROLES + HOME)
    fewer = {host: owner for host, owner in hosts.items() if host != "zeta.example.com"}
    [change] = difference(World(table, hosts, TENANTS), World(table, fewer, TENANTS), now=NOW).changes
    assert (change.kind, change.tenants, change.places[0].hosts) == ("loses", (), ("zeta.example.com",))


ENTRIES = st.sampled_from(
    (
        "{roles: [client]}", "{roles: [billing]}", "{roles: [auditor], tenants: [acme]}",
        "{roles: [client], when: 'session.mfa_age < duration(\"1h\")'}", "{roles: [contractor], when: 'network.is_in(\"10.0.0.0/8\")'}",
        "{roles: [auditor], when: 'request.host.startsWith(tenant + \".\")'}", "{roles: [billing], when: 'path.x == user.name'}",
    )
)  # fmt: skip
DENIALS = st.sampled_from(
    (
        "{roles: [contractor]}", "{roles: [billing]}", "{tenants: [zeta]}", "{roles: [client], tenants: [acme]}",
        "{when: '!network.is_in(\"10.0.0.0/9\")'}", "{roles: [auditor], when: 'session.credential == \"cookie\"'}",
    )
)  # fmt: skip
MATCHES = (
    '{path: "/a/{x}", methods: [GET]}',
    '{path: "/a/b", methods: [GET, POST]}',
    '{path: "/{x}/**", methods: [GET]}',
)


def _policy(routes: list[tuple[list[str], list[str]]]) -> str:
    text = ROLES
    for index, (allowed, denied) in enumerate(routes):
        usable = [entry for entry in allowed if "path.x" not in entry or "{x}" in MATCHES[index]]
        deny = f"deny: [{', '.join(denied)}], " if denied else ""
        verdict = f"{deny}allow: [{', '.join(usable)}]" if usable else "deny: true"
        text += f"  - {{name: r{index}, match: {MATCHES[index]}, upstream: portal, {verdict}}}\n"
    return text


def _lists(of: st.SearchStrategy[str], most: int) -> st.SearchStrategy[list[str]]:
    return st.lists(of, max_size=most, unique=True)


POLICIES = st.lists(st.tuples(_lists(ENTRIES, 3), _lists(DENIALS, 2)), min_size=3, max_size=3)
SETTINGS = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow],
    deadline=None,
)


def _sound(compiled: Callable[..., PolicyTable], routes: list[tuple[list[str], list[str]]]) -> World | None:
    """Compile a policy; None for one with entries that cannot matter, which is refused."""
    hosts = {"portal.example.com": "", "acme.example.com": "acme", "zeta.example.com": "zeta"}
    try:
        return World(compiled(_policy(routes)), hosts, TENANTS)
    except DocumentError:
        return None


@SETTINGS
@given(policy=POLICIES)
def test_a_policy_is_no_different_from_itself(
    compiled: Callable[..., PolicyTable], policy: list[tuple[list[str], list[str]]]
) -> None:
    world = _sound(compiled, policy)
    if world is not None:
        assert difference(world, world._replace(table=compiled(_policy(policy))), now=NOW).is_empty


@SETTINGS
@given(policy=POLICIES, at=st.integers(0, 2), denial=DENIALS)
def test_a_denial_that_is_added_only_takes(
    compiled: Callable[..., PolicyTable], policy: list[tuple[list[str], list[str]]], at: int, denial: str
) -> None:
    more = [(allowed, [*denied, denial] if index == at else denied) for index, (allowed, denied) in enumerate(policy)]
    old, new = _sound(compiled, policy), _sound(compiled, more)
    if old is not None and new is not None:
        found = difference(old, new, now=NOW)
        assert not found.undecided
        assert all(change.gain is None and change.loss is not None for change in found.changes)


@SETTINGS
@given(policy=POLICIES, at=st.integers(0, 2), entry=ENTRIES)
def test_an_entry_that_is_added_to_allow_only_gives(
    compiled: Callable[..., PolicyTable], policy: list[tuple[list[str], list[str]]], at: int, entry: str
) -> None:
    more = [([*allowed, entry] if index == at else allowed, denied) for index, (allowed, denied) in enumerate(policy)]
    old, new = _sound(compiled, policy), _sound(compiled, more)
    if old is not None and new is not None:
        found = difference(old, new, now=NOW)
        assert not found.undecided
        assert all(change.loss is None and change.gain is not None for change in found.changes)


@SETTINGS
@given(policy=POLICIES, other=POLICIES)
def test_every_witness_flips(
    compiled: Callable[..., PolicyTable],
    policy: list[tuple[list[str], list[str]]],
    other: list[tuple[list[str], list[str]]],
) -> None:
    old, new = _sound(compiled, policy), _sound(compiled, other)
    if old is None or new is None:
        return
    for change in difference(old, new, now=NOW).changes:
        for witness, expected in ((change.gain, (False, True)), (change.loss, (True, False))):
            if witness is not None:
                person, facts, now = witness
                answers = tuple(
                    judge(world.table, world.hosts, facts, person, now).decision.allowed for world in (old, new)
                )
                assert answers == expected


@pytest.mark.parametrize("binding", ["{path: x}", "{header: X-Tenant}", "{subdomain: example.com}", "acme"])
def test_a_route_that_is_bound_to_a_tenant_takes_what_crosses(
    compare: Callable[[str, str], Difference], binding: str
) -> None:
    route = '  - {name: a, match: {path: "/a/{x}", methods: [GET]}, upstream: portal, %sallow: [{roles: [client]}]}\n'
    found = compare(ROLES + route % "", ROLES + route % f"tenant: {binding}, ")
    assert found.changes
    assert {change.kind for change in found.changes} <= {"conditions", "loses"}
    assert all(change.gain is None for change in found.changes)
    assert compare(ROLES + route % f"tenant: {binding}, ", ROLES + route % f"tenant: {binding}, ").is_empty


@pytest.mark.parametrize(
    ("requirement", "lacks"),
    [
        ("{device: known}", "known_device=False"),
        ("{network: [10.0.0.0/8]}", "client_ip='203.0.113.7'"),
        ("{factor: webauthn}", "amr=('pwd', 'otp', 'mfa')"),
        ("{acr: phr}", "amr=('pwd', 'otp', 'mfa')"),
        ("{auth_age: 1h}", "auth_age="),
    ],
)
def test_what_a_route_requires_is_shown_by_somebody_who_lacks_it(
    compare: Callable[[str, str], Difference], requirement: str, lacks: str
) -> None:
    [change] = compare(ROLES + HOME, ROLES + HOME.replace("allow:", f"require: {requirement}, allow:")).changes
    assert (change.kind, change.gain) == ("conditions", None)
    assert lacks in str(change.loss)


PEOPLE = st.builds(
    Person,
    user=st.sampled_from(("anna", "c")),
    tenant=st.sampled_from(TENANTS),
    roles=st.lists(st.sampled_from(("client", "billing", "auditor", "contractor")), max_size=3, unique=True).map(tuple),
    mfa_age=st.sampled_from((None, 0.0, 3599.0, 3600.0, 9000.0)),
)
REQUESTS = st.builds(
    Facts,
    method=st.sampled_from(("GET", "HEAD", "POST")),
    host=st.sampled_from(("portal.example.com", "acme.example.com", "zeta.example.com")),
    path=st.sampled_from(("/a/c", "/a/anna", "/a/b", "/a", "/x/y", "/")),
    client_ip=st.sampled_from(("10.0.0.1", "10.200.0.1", "192.0.2.1")),
)


@settings(SETTINGS, max_examples=30)
@given(
    policy=POLICIES,
    other=POLICIES,
    asked=st.lists(st.tuples(PEOPLE, REQUESTS), min_size=40, max_size=40, unique_by=str),
)
def test_no_answer_that_differs_is_missing(
    compiled: Callable[..., PolicyTable],
    policy: list[tuple[list[str], list[str]]],
    other: list[tuple[list[str], list[str]]],
    asked: list[tuple[Person, Facts]],
) -> None:
    old, new = _sound(compiled, policy), _sound(compiled, other)
    if old is None or new is None:
        return
    changes = difference(old, new, now=NOW).changes
    for person, facts in asked:
        before, after = (judge(world.table, world.hosts, facts, person, NOW).decision.allowed for world in (old, new))
        if before == after:
            continue
        nodes = [world.table.match(facts.host, facts.path) for world in (old, new)]
        templates = [node.template for node in nodes if node is not None]
        assert any(
            (change.gain if after else change.loss) is not None
            and any(set(roles) <= set(person.roles) for roles in change.who)
            and (not change.tenants or person.tenant in change.tenants)
            and any(
                facts.host in where.hosts
                and facts.method in where.methods
                and where.template == meet(*templates[:1], *templates[-1:])
                for where in change.places
            )
            for change in changes
        ), (person, facts, before, after)
