from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.exchange.reason import Reason
from gateway.policy import Facts, PolicyTable, compile_policy
from gateway.policy.judgement import Person, judge
from gateway.policy.proof.access import Access, place_at, standing, what_can, who_can
from gateway.policy.proof.effect import NOBODY
from gateway.policy.proof.space import World

NOW = 1_800_000_000.0
POLICY = """
version: 1
roles: {client: {}, billing: {includes: [client]}, admin: {includes: [billing]}, auditor: {}, contractor: {}}
routes:
  - {name: assets, match: {path: "/static/**", methods: [GET]}, upstream: portal, public: true}
  - {name: home, match: {path: "/**", methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}
  - name: invoice
    match: {path: "/invoices/{id}", methods: [GET, POST]}
    upstream: portal
    credentials: [session, api_key]
    mfa_age: 1h
    deny: [{roles: [contractor]}, {when: 'network.is_in("192.0.2.0/24")'}]
    allow:
      - {roles: [billing], tenants: [acme]}
      - {roles: [auditor], when: 'path.id != "7" && session.mfa_age < duration("5m")'}
  - {name: closed, match: {path: "/closed", methods: [GET]}, upstream: portal, deny: true}
  - {name: never, match: {path: "/never", methods: [GET]}, upstream: portal, allow: [{roles: [client], when: 'session.mfa_age < duration("0s")'}]}
  - {name: vague, match: {path: "/vague", methods: [GET]}, upstream: portal, allow: [{roles: [auditor], when: 'user.name.matches("^a+$")'}]}
"""


@pytest.fixture
def world(compiled: Callable[..., PolicyTable], hosts: dict[str, str]) -> World:
    return World(compiled(POLICY), hosts, ("acme", "zeta"))


@pytest.fixture
def who(world: World) -> Callable[..., Access]:
    def ask(path: str, *, method: str = "GET", host: str = "portal.example.com") -> Access:
        found = who_can(world, Facts(method=method, host=host, path=path), now=NOW)
        assert isinstance(found, Access)
        return found

    return ask


def test_every_role_is_listed_with_the_includes_that_lead_to_it(who: Callable[..., Access]) -> None:
    found = who("/x")
    [grant] = found.grants
    assert grant.roles == (("client",), ("billing", "client"), ("admin", "billing", "client"))
    assert [(holders.roles, holders.tenants, holders.standing) for holders in found.holders] == [
        (("admin",), ("acme", "zeta"), "allowed"),
        (("billing",), ("acme", "zeta"), "allowed"),
        (("client",), ("acme", "zeta"), "allowed"),
    ]


def test_a_host_lets_only_its_own_tenant_through(who: Callable[..., Access]) -> None:
    assert {holders.tenants for holders in who("/x", host="zeta.example.com").holders} == {("zeta",)}


def test_conditions_denials_and_requirements_are_shown(who: Callable[..., Access]) -> None:
    found = who("/invoices/42", method="POST")
    assert [entry.roles for entry in found.denials] == [(("contractor",),), ()]
    assert found.denials[1].when == 'network.is_in("192.0.2.0/24")'
    assert [entry.tenants for entry in found.grants] == [("acme",), None]
    assert found.requirements == ("mfa_age: 1h",)
    assert found.credentials == ("session", "api_key")
    assert [(holders.roles, holders.tenants, holders.standing) for holders in found.holders] == [
        (("admin",), ("acme",), "depends"),
        (("auditor",), ("acme", "zeta"), "depends"),
        (("billing",), ("acme",), "depends"),
    ]


def test_a_path_for_which_a_condition_is_never_true_is_not_counted(who: Callable[..., Access]) -> None:
    assert {holders.roles for holders in who("/invoices/7").holders} == {("admin",), ("billing",)}


def test_a_public_route_is_open_to_everybody(who: Callable[..., Access]) -> None:
    assert [holders.roles for holders in who("/static/app.js").holders] == [NOBODY]


def test_nobody_can_is_proven(who: Callable[..., Access]) -> None:
    for path in ("/closed", "/never"):
        assert not who(path).is_open
        assert not who(path).holders


def test_what_cannot_be_decided_is_not_called_closed(who: Callable[..., Access]) -> None:
    found = who("/vague")
    assert not found.holders
    assert found.doubts
    assert found.is_open


def test_a_request_without_a_route_says_why(world: World) -> None:
    assert (
        who_can(world, Facts(method="DELETE", host="portal.example.com", path="/x"), now=NOW)
        is Reason.METHOD_NOT_ALLOWED
    )
    assert who_can(world, Facts(method="GET", host="other.example.com", path="/x"), now=NOW) is Reason.MISDIRECTED


def test_somebody_known_is_let_in_depends_or_is_refused(world: World, who: Callable[..., Access]) -> None:
    facts = Facts(method="GET", host="acme.example.com", path="/invoices/42")
    place = place_at(who("/invoices/42").rule, facts)

    def ask(*roles: str, tenant: str = "acme", credential: str = "cookie") -> str:
        known = {
            "user": ("anna",),
            "tenant": (tenant,),
            "roles": (roles,),
            "credential": (credential,),
            "scopes": ((),),
        }
        return standing(world, place, known, now=NOW)

    assert ask("billing") == "depends"
    assert ask("billing", tenant="zeta") == "refused"
    assert ask("billing", "contractor") == "refused"
    assert ask("client") == "refused"
    assert ask("billing", credential="api_key") == "refused"  # the requirement asks for a second factor
    assert ask("billing", credential="bearer") == "refused"
    place = place_at(who("/x").rule, Facts(method="GET", host="acme.example.com", path="/x"))
    assert ask("billing") == "allowed"


def test_everything_that_a_role_can_reach_is_listed(world: World) -> None:
    reaches, doubts = what_can(world, {"roles": (("billing",),)}, ("billing",), now=NOW)
    listed = {(reach.template, reach.methods): reach for reach in reaches}
    assert set(listed) == {
        ("/**", ("GET", "HEAD")),
        ("/invoices/{id}", ("GET", "HEAD", "POST")),
        ("/static/**", ("GET", "HEAD")),
    }
    assert not doubts
    invoice = listed["/invoices/{id}", ("GET", "HEAD", "POST")]
    assert invoice.tenants == ("acme",)
    assert invoice.hosts == ("acme.example.com", "portal.example.com")
    assert invoice.conditions == ('unless network.is_in("192.0.2.0/24")', "mfa_age: 1h")
    assert listed["/**", ("GET", "HEAD")].standing == "allowed"


def test_what_is_reached_as_a_member_of_one_tenant_is_on_its_hosts(world: World) -> None:
    reaches, _ = what_can(world, {"roles": (("billing",),), "tenant": ("zeta",)}, ("billing",), now=NOW)
    assert {(reach.template, reach.hosts) for reach in reaches if reach.tenants} == {
        ("/**", ("portal.example.com", "zeta.example.com"))
    }


def test_what_could_not_be_decided_for_a_role_is_listed(world: World) -> None:
    reaches, doubts = what_can(world, {"roles": (("auditor",),)}, ("auditor",), now=NOW)
    assert "/vague" not in {reach.template for reach in reaches}
    assert [doubt.partition(" (")[0] for doubt in doubts] == ["GET /vague", "HEAD /vague"]


PEOPLE = st.builds(
    Person,
    user=st.sampled_from(("anna", "x")),
    tenant=st.sampled_from(("acme", "zeta")),
    roles=st.lists(
        st.sampled_from(("client", "billing", "admin", "auditor", "contractor")), max_size=3, unique=True
    ).map(tuple),
    mfa_age=st.sampled_from((None, 0.0, 299.0, 3000.0, 4000.0)),
    credential=st.sampled_from(("cookie", "api_key")),
)
REQUESTS = st.builds(
    Facts,
    method=st.sampled_from(("GET", "HEAD", "POST", "PUT")),
    host=st.sampled_from(("portal.example.com", "acme.example.com", "zeta.example.com")),
    path=st.sampled_from(
        ("/", "/x", "/static/app.js", "/invoices/42", "/invoices/7", "/invoices", "/closed", "/never")
    ),
    client_ip=st.sampled_from(("10.0.0.1", "192.0.2.1", "2001:db8::1")),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(person=PEOPLE, facts=REQUESTS)
def test_who_can_and_what_can_agree_with_the_judge(world: World, person: Person, facts: Facts) -> None:
    allowed = judge(world.table, world.hosts, facts, person, NOW).decision.allowed
    found = who_can(world, facts, now=NOW)
    known = {
        "user": (person.user,),
        "tenant": (person.tenant,),
        "roles": (person.roles,),
        "credential": (person.credential,),
    }
    if isinstance(found, Reason):
        assert not allowed
        return
    if allowed:
        assert any(
            holders.roles == NOBODY or (set(holders.roles) <= set(person.roles) and person.tenant in holders.tenants)
            for holders in found.holders
        )
        assert found.rule.public or standing(world, place_at(found.rule, facts), known, now=NOW) in {
            "allowed",
            "depends",
        }
    elif not found.rule.public and person.mfa_age == 0.0 and found.rule.route.name == "home":
        assert standing(world, place_at(found.rule, facts), known, now=NOW) == "refused"
    reaches, _ = what_can(world, known, person.roles, now=NOW)
    listed = any(
        reach.route == found.rule.route.name and facts.method in reach.methods and facts.host in reach.hosts
        for reach in reaches
    )
    assert listed or not allowed


def test_of_many_tenants_each_is_answered_for(compiled: Callable[..., PolicyTable]) -> None:
    """Beyond 64 some stand for the rest; they must not be taken for all of them."""
    tenants = tuple(f"t{number}" for number in range(90))
    hosts = {"portal.example.com": "", **{f"{tenant}.example.com": tenant for tenant in tenants}}
    head = "version: 1\nroles: {client: {}}\nroutes:\n"
    route = '  - {name: a, match: {path: "/**", methods: [GET]}, upstream: portal, allow: [{roles: [client]%s}]}\n'

    def reached(more: str) -> tuple[set[str], set[str]]:
        files = {"p.yaml": head + route % more}
        table, _ = compile_policy(files, upstreams={"portal"}, tenants=tenants, hosts=hosts)
        [reach] = what_can(World(table, hosts, tenants), {"roles": (("client",),)}, ("client",), now=NOW)[0]
        asked = Facts(method="GET", host="portal.example.com", path="/x")
        found = who_can(World(table, hosts, tenants), asked, now=NOW)
        assert isinstance(found, Access)
        assert {tenant for holders in found.holders for tenant in holders.tenants} == set(reach.tenants)
        return set(reach.hosts), set(reach.tenants)

    assert reached("") == (set(hosts), set(tenants))
    assert reached(", tenants: [t70]") == ({"portal.example.com", "t70.example.com"}, {"t70"})


def test_where_there_are_no_tenants_none_is_made_up(compiled: Callable[..., PolicyTable]) -> None:
    hosts = {"portal.example.com": ""}
    head = "version: 1\nroles: {client: {}}\nroutes:\n"
    route = '  - {name: a, match: {path: "/**", methods: [GET]}, upstream: portal, allow: [{roles: [client]%s}]}\n'

    def reached(more: str) -> tuple[str, ...]:
        table, _ = compile_policy({"p.yaml": head + route % more}, upstreams={"portal"}, tenants=(), hosts=hosts)
        world = World(table, hosts)
        [reach] = what_can(world, {"roles": (("client",),)}, ("client",), now=NOW)[0]
        found = who_can(world, Facts(method="GET", host="portal.example.com", path="/x"), now=NOW)
        assert isinstance(found, Access)
        [holders] = found.holders
        assert holders.tenants == reach.tenants
        return reach.tenants

    assert reached("") == ()
    assert reached(", tenants: [acme]") == ("acme",)
    assert reached(", when: 'session.tenant != \"acme\"'") != ()


@pytest.mark.parametrize("more", ["require: {acr: phr, factor: totp}", "credentials: [bearer], require: {acr: aal2}"])
def test_nobody_is_never_said_of_a_route_that_a_step_up_or_the_word_of_an_issuer_opens(
    compiled: Callable[..., PolicyTable], hosts: dict[str, str], more: str
) -> None:
    """A passkey that is proven after a code leaves both in the session; a token counts with the factor of its issuer."""
    route = f"  - {{name: api, match: {{path: /api, methods: [GET]}}, upstream: portal, {more}, allow: [{{roles: [client]}}]}}\n"
    world = World(compiled(POLICY + route), hosts, ("acme", "zeta"))
    found = who_can(world, Facts(method="GET", host="acme.example.com", path="/api"), now=NOW)
    assert isinstance(found, Access)
    assert found.is_open


@pytest.mark.parametrize("taken", ["session", "api_key", "session, api_key", "session, bearer", "api_key, bearer"])
def test_a_credential_that_a_route_does_not_take_is_no_condition(
    compiled: Callable[..., PolicyTable], taken: str
) -> None:
    route = '  - {name: a, match: {path: "/x", methods: [GET]}, upstream: portal, credentials: [%s], allow: [{roles: [client]}]}\n'
    text = "version: 1\nroles: {client: {}}\nroutes:\n" + route % taken
    table, _ = compile_policy({"p.yaml": text}, upstreams={"portal"}, tenants=("acme",), hosts={"a.example.com": ""})
    world = World(table, {"a.example.com": ""}, ("acme",))
    found = who_can(world, Facts(method="GET", host="a.example.com", path="/x"), now=NOW)
    assert isinstance(found, Access)
    assert [holders.standing for holders in found.holders] == ["allowed"]
    [reach] = what_can(world, {"roles": (("client",),)}, ("client",), now=NOW)[0]
    assert reach.standing == "allowed"


def test_two_roles_that_only_together_are_let_in_stand_beside_one_that_includes_both(
    compiled: Callable[..., PolicyTable], hosts: dict[str, str]
) -> None:
    """Whoever held just the two could send the request, and `who-can` named the one alone."""
    text = (
        "version: 1\nroles: {client: {}, auditor: {}, guest: {}, admin: {includes: [client, auditor]}}\nroutes:\n"
        "  - {name: a, match: {path: /a, methods: [GET]}, upstream: portal,\n"
        "     allow: [{roles: [client], when: '\"auditor\" in session.roles'}]}\n"
    )
    world = World(compiled(text), hosts, ("acme", "zeta"))
    found = who_can(world, Facts(method="GET", host="acme.example.com", path="/a"), now=NOW)
    assert isinstance(found, Access)
    assert [(holders.roles, holders.tenants) for holders in found.holders] == [
        (("admin",), ("acme",)),
        (("auditor", "client"), ("acme",)),
    ]
