"""About which tenant a request is, on routes that say more than their host."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.reason import Reason
from gateway.exchange.tenancy import TenantBinding
from gateway.policy import PolicyTable, compile_policy
from gateway.policy.explanation import explain
from gateway.policy.judgement import Person, judge, parse_request, tenant_asked
from gateway.policy.template import parse_template
from gateway.policy.tenancy import Tenancy

HOSTS = {"portal.example.com": "", "acme.example.com": "acme", "zeta.example.com": "zeta"}
POLICY = """
version: 1
roles: {client: {}}
routes:
  - name: by-path
    match: {path: "/t/{tenant}/**", methods: [GET]}
    upstream: portal
    tenant: {path: tenant}
    allow: [{roles: [client]}]
  - name: open-by-path
    match: {path: "/open/{tenant}/**", methods: [GET]}
    upstream: portal
    tenant: {path: tenant}
    public: true
  - name: by-name
    match: {path: "/zetas", methods: [GET]}
    upstream: portal
    tenant: zeta
    allow: [{roles: [client]}]
  - name: by-header
    match: {path: "/api", methods: [GET]}
    upstream: portal
    tenant: {header: X-Tenant}
    allow: [{roles: [client], when: 'request.tenant == session.tenant'}]
  - name: by-subdomain
    match: {path: "/home", methods: [GET]}
    upstream: portal
    tenant: {subdomain: example.com}
    allow: [{roles: [client]}]
  - name: conditional
    match: {path: "/c/{tenant}/**", methods: [GET]}
    upstream: portal
    allow: [{roles: [client], when: path.tenant == session.tenant}]
"""
TABLE = compile_policy({"p.yaml": POLICY}, upstreams=["portal"], tenants=["acme", "zeta"], hosts=HOSTS)[0]
CROSSING = Reason.TENANT_MISMATCH


def reason_of(url: str, tenant: str | None, *fields: tuple[str, str]) -> Reason:
    person = None if tenant is None else Person(user="alice", tenant=tenant, roles=("client",))
    facts = msgspec.structs.replace(parse_request("GET", url), fields=fields)
    return judge(TABLE, HOSTS, facts, person, 1e9).decision.reason


@pytest.mark.parametrize(
    ("url", "tenant", "expected"),
    [
        ("https://portal.example.com/t/acme/x", "acme", Reason.ALLOWED),
        ("https://portal.example.com/t/acme/x", "zeta", CROSSING),
        ("https://acme.example.com/t/acme/x", "acme", Reason.ALLOWED),
        ("https://acme.example.com/t/zeta/x", "acme", CROSSING),
        ("https://zeta.example.com/t/acme/x", "zeta", CROSSING),
        ("https://zeta.example.com/t/acme/x", "acme", CROSSING),
        ("https://portal.example.com/t/nobody/x", "acme", CROSSING),
        ("https://portal.example.com/t/a%63me/x", "acme", Reason.ALLOWED),
        ("https://portal.example.com/t/ACME/x", "acme", CROSSING),
        ("https://portal.example.com/open/acme/x", None, Reason.PUBLIC),
        ("https://portal.example.com/open/nobody/x", None, CROSSING),
        ("https://zeta.example.com/open/acme/x", None, CROSSING),
        ("https://portal.example.com/zetas", "zeta", Reason.ALLOWED),
        ("https://portal.example.com/zetas", "acme", CROSSING),
        ("https://acme.example.com/zetas", "zeta", CROSSING),
        ("https://acme.example.com/home", "acme", Reason.ALLOWED),
        ("https://acme.example.com/home", "zeta", CROSSING),
        ("https://portal.example.com/home", "acme", CROSSING),
    ],
)
def test_host_and_route_name_one_tenant_and_it_is_the_persons(url: str, tenant: str | None, expected: Reason) -> None:
    assert reason_of(url, tenant) is expected


@pytest.mark.parametrize("url", ["/t/acme/x", "/t/zeta/x", "/t/nobody/x", "/zetas", "/api"])
def test_whoever_is_not_signed_in_learns_no_names_of_tenants(url: str) -> None:
    assert reason_of(f"https://portal.example.com{url}", None) is Reason.SIGN_IN_REQUIRED


@pytest.mark.parametrize("route", ["t", "open", "c"])
@pytest.mark.parametrize(
    "path",
    [
        "/acme/..;/zeta/x", "/acme/..;a=b/zeta/x", "/acme/%2e%2e;/zeta/x", "/acme/%252e%252e/zeta/x", "/acme/..%20/zeta/x",
        "/acme;/x", "/acme%20/x", "//zeta/x", "/acme/%252e%252e;/zeta/x", "/acme/..::$DATA/zeta",
    ],
)  # fmt: skip
def test_a_path_that_some_upstream_reads_as_another_tenants_is_refused(route: str, path: str) -> None:
    """attack: the gateway sees acme, Tomcat cuts `;` off and walks up to zeta."""
    try:
        parsed = parse_request("GET", f"https://portal.example.com/{route}{path}")
    except ValueError:
        return
    verdict = judge(TABLE, HOSTS, parsed, Person(user="alice", tenant="acme", roles=("client",)), 1e9)
    assert verdict.decision.reason in {Reason.AMBIGUOUS_PATH, CROSSING, Reason.CONDITION_FALSE}


@pytest.mark.parametrize("path", ["/acme/x;v=1", "/acme/x;/y", "/acme/a%3Fb", "/acme/ü", "/acme/a.b/..c/x"])
def test_what_is_odd_only_below_the_tenant_still_passes(path: str) -> None:
    assert reason_of(f"https://portal.example.com/t{path.replace('ü', '%C3%BC')}", "acme") is Reason.ALLOWED


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([("x-tenant", "acme")], Reason.ALLOWED),
        ([("x-tenant", "zeta")], CROSSING),
        ([("x-tenant", "ACME")], CROSSING),
        ([("x-tenant", "acme, zeta")], CROSSING),
        ([("x-tenant", "")], CROSSING),
        ([], CROSSING),
        ([("x-tenant", "acme"), ("x-tenant", "acme")], CROSSING),
        ([("x-tenant", "acme"), ("x-tenant", "zeta")], CROSSING),
        ([("x_tenant", "acme")], CROSSING),
        ([("x-tenant", "acme"), ("x_tenant", "zeta")], CROSSING),
        ([("x-tenant", "acme"), ("x--tenant", "zeta")], CROSSING),
        ([("x-tenant", "acme"), ("http-x-tenant", "zeta")], CROSSING),
        ([("x-tenant", "acme"), ("x.tenant", "zeta")], CROSSING),
        ([("x-tenant", "acme"), ("x-other", "zeta")], Reason.ALLOWED),
    ],
)
def test_a_field_counts_once_and_in_one_spelling(fields: list[tuple[str, str]], expected: Reason) -> None:
    assert reason_of("https://portal.example.com/api", "acme", *fields) is expected


def test_host_and_field_must_agree() -> None:
    assert reason_of("https://acme.example.com/api", "acme", ("x-tenant", "acme")) is Reason.ALLOWED
    assert reason_of("https://acme.example.com/api", "acme", ("x-tenant", "zeta")) is CROSSING
    assert reason_of("https://acme.example.com/api", "zeta", ("x-tenant", "zeta")) is CROSSING


def test_the_refusal_names_the_line_that_binds() -> None:
    facts = parse_request("GET", "https://portal.example.com/t/zeta/x")
    verdict = judge(TABLE, HOSTS, facts, Person(user="alice", tenant="acme", roles=("client",)), 1e9)
    assert verdict.decision.rule == "p.yaml:8:13"


def test_the_question_which_tenant_a_request_is_about_has_one_answer() -> None:
    for url, tenant in (
        ("portal.example.com/t/acme/x", "acme"),
        ("acme.example.com/none", "acme"),
        ("portal.example.com/t/x/y", ""),
    ):
        assert tenant_asked(TABLE, HOSTS, parse_request("GET", f"https://{url}")) == tenant


names = st.one_of(
    st.sampled_from(["acme", "zeta", "ACME", "", "acme ", "\uff41cme", "acm\u0435"]), st.text(max_size=12)
)


@given(
    kind=st.sampled_from(["path", "header", "subdomain", "name"]),
    value=names,
    owner=st.sampled_from(["", "acme", "zeta"]),
)
def test_nothing_but_the_exact_name_of_a_tenant_of_the_host_is_one(kind: str, value: str, owner: str) -> None:
    bound = {"path": "tenant", "header": "x-tenant", "subdomain": "example.com", "name": value}[kind]
    tenancy = Tenancy(
        TenantBinding(by=kind, value=bound),  # type: ignore[arg-type]  # one of the words
        template=parse_template("/t/{tenant}"),
        tenants=["acme", "zeta"],
        source="p.yaml:1:1",
    )
    found = tenancy.settle(
        owner, host=f"{value}.example.com", parameters={"tenant": value}, fields=[("x-tenant", value)]
    )
    assert found == (value if value in {"acme", "zeta"} and owner in {"", value} else None)


@given(
    extra=st.lists(
        st.tuples(st.sampled_from(["x-tenant", "x_tenant", "x--tenant", "X-Tenant".lower()]), names), min_size=1
    )
)
def test_one_more_field_that_could_be_meant_never_helps(extra: list[tuple[str, str]]) -> None:
    tenancy = Tenancy(
        TenantBinding(by="header", value="x-tenant"), template=parse_template("/t"), tenants=["acme", "zeta"], source=""
    )
    assert tenancy.settle("", host="", parameters={}, fields=[("x-tenant", "acme"), *extra]) is None


# what is written


ROUTE = """
version: 1
roles: {client: {}}
routes:
  - name: r
    match: {path: "/t/{tenant}/**", methods: [GET]}
    upstream: portal
    allow: [{roles: [client]}]
    tenant: """


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("acmee", "p.yaml:9:13: unknown tenant 'acmee'; did you mean 'acme'?"),
        ("{path: tenan}", "p.yaml:9:20: the path /t/{tenant}/** has no parameter {tenan}; did you mean 'tenant'?"),
        ("{header: Host}", "p.yaml:9:22: Host means something else already; name a field that only says the tenant"),
        ("{header: X-Gateway-Tenant}", "p.yaml:9:22: X-Gateway-Tenant means something else already; name a field that only says the tenant"),
        ("{header: Accept}", "p.yaml:9:22: Accept means something else already; name a field that only says the tenant"),
        ("{header: X_Tenant}", "p.yaml:9:22: 'X_Tenant': a header name is made of letters, digits and -"),
        ("{subdomain: other.example}", "p.yaml:9:13: no host of the route is directly below other.example"),
        ("{subdomain: Example.com}", "p.yaml:9:25: 'Example.com': write the domain above the hosts of the tenants, such as portal.example.com"),
        ("{path: tenant, header: X-Tenant}", "p.yaml:9:13: write the name of a tenant, or one of path, header and subdomain"),
        ("{}", "p.yaml:9:13: write the name of a tenant, or one of path, header and subdomain"),
        ("{claim: org}", "p.yaml:9:14: unknown key 'claim'"),
        ("[acme]", "p.yaml:9:13: expected a mapping of keys to values, found a list"),
        ("{path: 3}", "p.yaml:9:20: expected text, found the number 3; quote it"),
    ],
)  # fmt: skip
def test_each_mistake_is_an_error_at_its_place(
    errors_of: Callable[..., list[str]], written: str, sentence: str
) -> None:
    assert sentence in errors_of(ROUTE + written + "\n")


def test_a_route_of_another_tenants_host_could_never_be_used(errors_of: Callable[..., list[str]]) -> None:
    text = ROUTE.replace("methods: [GET]", "methods: [GET], hosts: [zeta.example.com]") + "acme\n"
    assert errors_of(text) == ["p.yaml:9:13: every host of the route belongs to another tenant than acme"]


def test_an_entry_for_another_tenant_than_the_routes_is_an_error(errors_of: Callable[..., list[str]]) -> None:
    text = ROUTE.replace("roles: [client]}", "roles: [client], tenants: [zeta]}") + "acme\n"
    assert errors_of(text) == ["p.yaml:8:41: no request of this route is about another tenant than acme"]


def test_a_host_whose_name_says_another_tenant_than_its_owner_is_an_error() -> None:
    hosts = {"acme.example.com": "zeta"}
    with pytest.raises(Exception, match=r"acme\.example\.com belongs to the tenant zeta, and its name says acme"):
        compile_policy(
            {"p.yaml": ROUTE + "{subdomain: example.com}\n"},
            upstreams=["portal"],
            tenants=["acme", "zeta"],
            hosts=hosts,
        )


def test_a_route_that_refuses_everybody_is_about_no_tenant(errors_of: Callable[..., list[str]]) -> None:
    text = ROUTE.replace("allow: [{roles: [client]}]", "deny: true") + "acme\n"
    assert any("tenant has no effect on a route that refuses everybody" in error for error in errors_of(text))


def test_without_tenants_nothing_can_name_one() -> None:
    with pytest.raises(Exception, match=r"gateway\.yaml has no tenants"):
        compile_policy({"p.yaml": ROUTE + "{path: tenant}\n"}, upstreams=["portal"], tenants=[], hosts=HOSTS)


# what is told


def criteria(url: str, tenant: str, *fields: tuple[str, str]) -> list[tuple[str, str]]:
    facts = msgspec.structs.replace(parse_request("GET", url), fields=fields)
    found = explain(TABLE, HOSTS, facts, Person(user="alice", tenant=tenant, roles=("client",)), 1e9)
    return [(item.outcome, item.detail) for item in found.criteria if item.name == "tenant"]


def test_explain_says_what_names_the_tenant_and_what_is_wrong_with_it() -> None:
    assert criteria("https://portal.example.com/t/acme/x", "acme") == [
        ("hit", "the tenant stands in the path, as {tenant}; the request names acme"),
        ("hit", "the request belongs to acme, the session to acme"),
    ]
    assert criteria("https://zeta.example.com/t/acme/x", "zeta") == [
        ("miss", "the tenant stands in the path, as {tenant}; the request names acme, and the host belongs to zeta")
    ]
    assert criteria("https://portal.example.com/api", "acme") == [
        ("miss", "the tenant stands in the field x-tenant; the request names no tenant that exists")
    ]
    assert criteria("https://portal.example.com/zetas", "acme") == [
        ("hit", "the route is about the tenant zeta; the request names zeta"),
        ("miss", "the request belongs to zeta, the session to acme"),
    ]


def test_a_broader_route_of_another_tenant_is_no_disguise_of_a_narrower_one(
    compiled: Callable[..., PolicyTable],
) -> None:
    """attack: `/admin.json` is `/admin` to some frameworks; the broad route is everybody's, the narrow one zeta's."""
    table = compiled(
        """
version: 1
roles: {client: {}}
routes:
  - {name: narrow, match: {path: /admin, methods: [GET]}, upstream: portal, tenant: zeta, allow: [{roles: [client]}]}
  - {name: broad, match: {path: "/**", methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}
"""
    )
    facts = parse_request("GET", "https://portal.example.com/admin.json")
    hosts: Mapping[str, str] = HOSTS
    verdict = judge(table, hosts, facts, Person(user="alice", tenant="acme", roles=("client",)), 1e9)
    assert verdict.decision.reason is Reason.AMBIGUOUS_PATH


def test_people_of_a_tenant_that_is_gone_are_refused_where_no_tenant_is_asked_for(
    compiled: Callable[..., PolicyTable],
) -> None:
    table = compiled(
        """
version: 1
roles: {client: {}}
routes:
  - {name: all, match: {path: "/**", methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}
"""
    )
    facts = parse_request("GET", "https://portal.example.com/x")
    for tenant, expected in (("acme", Reason.ALLOWED), ("gone", CROSSING)):
        person = Person(user="alice", tenant=tenant, roles=("client",))
        assert judge(table, HOSTS, facts, person, 1e9).decision.reason is expected
        told = [item.detail for item in explain(table, HOSTS, facts, person, 1e9).criteria if item.name == "tenant"]
        assert told == ([] if tenant == "acme" else ["there is no tenant gone in gateway.yaml any more"])
    unnamed = explain(table, HOSTS, facts, Person(user="alice", tenant="", roles=("client",)), 1e9)
    assert [item.detail for item in unnamed.criteria if item.outcome == "miss"] == [
        "no tenant of the person is named, and none follows from the host"
    ]
