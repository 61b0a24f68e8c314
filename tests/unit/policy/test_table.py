from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.exchange.reason import Reason
from gateway.exchange.route import Route
from gateway.exchange.session import Owed, Session
from gateway.policy import Facts, Match, PolicyTable
from gateway.policy.condition import Condition
from gateway.policy.roles import Roles
from gateway.policy.table import Rule
from gateway.policy.template import Template, parse_template

HOST = "acme.example.com"
POLICY = """
version: 1
roles: {client: {}, billing: {includes: [client]}, auditor: {}}
routes:
  - name: assets
    match: {path: "/static/**", methods: [GET]}
    upstream: portal
    public: true
  - name: home
    match: {path: "/", methods: [GET]}
    upstream: portal
    allow: [{roles: [client]}]
  - name: invoice
    match: {path: "/invoices/{invoice_id}", methods: [GET]}
    upstream: portal
    resource: {type: invoice, id: "acme-{invoice_id}-x"}
    allow:
      - {roles: [billing], when: 'session.mfa_age < duration("12h")'}
      - {roles: [auditor], tenants: [zeta]}
      - {roles: [auditor], when: 'network.is_in("10.0.0.0/8")'}
  - name: new-invoice
    match: {path: "/invoices/{number}", methods: [PUT]}
    upstream: portal
    allow: [{roles: [billing]}]
  - name: open
    match: {path: "/open", methods: [GET]}
    upstream: portal
    unsafe_without_mfa: true
    allow: [{roles: [client]}]
  - name: closed
    match: {path: "/closed/**", methods: [GET]}
    upstream: portal
    deny: true
"""


def rule(name: str, template: str, *, methods: tuple[str, ...] = ("GET",), hosts: tuple[str, ...] = ()) -> Rule:
    parsed = parse_template(template)
    route = Route(name=name, template=template, methods=methods, hosts=hosts, upstream="portal", public=True)
    return Rule(route=route, template=parsed, grants=(), source="p:1:1", mfa_required=True)


def table(*templates: str) -> PolicyTable:
    return PolicyTable([rule(template, template) for template in templates], Roles({}), "v")


def matched(found: Match | Reason) -> Match:
    assert isinstance(found, Match)
    return found


@pytest.fixture
def policy(compiled: Callable[..., PolicyTable]) -> PolicyTable:
    return compiled(POLICY)


@pytest.fixture
def answer(policy: PolicyTable, facts: Callable[..., Facts], now: float) -> Callable[..., tuple[bool, Reason, str]]:
    """Decide GET `path` for a session; the place of the rule is shortened to its line."""

    def decide(path: str, session: Session | None, at: float = now, **changes: object) -> tuple[bool, Reason, str]:
        asked = facts(path=path, **changes)
        decision = policy.decide(matched(policy.resolve(HOST, path, "GET")), session, asked, at)
        return decision.allowed, decision.reason, decision.rule.removeprefix("policies/p.yaml:").partition(":")[0]

    return decide


# Which template


@pytest.mark.parametrize(
    ("templates", "path", "wanted"),
    [
        (["/a/{x}/c", "/a/b/**"], "/a/b/c", "/a/b/**"),
        (["/a/{x}/c", "/a/b/d"], "/a/b/c", "/a/{x}/c"),
        (["/a/{x}", "/a/b"], "/a/b", "/a/b"),
        (["/a/{x}", "/a/**"], "/a/b", "/a/{x}"),
        (["/a/{x}", "/a/**"], "/a/b/c", "/a/**"),
        (["/a/**"], "/a", "/a/**"),
        (["/a/**"], "/a/", "/a/**"),
        (["/a/**", "/a"], "/a", "/a"),
        (["/a/**", "/a/"], "/a/", "/a/"),
        (["/a/**"], "/ab", None),
        (["/a/{x}"], "/a/", None),
        (["/a/{x}"], "/a", None),
        (["/a/*/**"], "/a//b", None),
        (["/**"], "/", "/**"),
        (["/**", "/"], "/", "/"),
        (["/"], "/a", None),
        (["/**"], "/a/b/c/d", "/**"),
        (["/a/{x}/{y}/d", "/a/b/{y}/e", "/a/b/c/f", "/**"], "/a/b/c/d", "/a/{x}/{y}/d"),
        (["/a/{x}/{y}/d", "/a/b/{y}/e", "/a/b/c/f", "/**"], "/a/b/c/e", "/a/b/{y}/e"),
        (["/a/{x}/{y}/d", "/a/b/{y}/e", "/a/b/c/f", "/**"], "/a/b/c/g", "/**"),
        (["/a/{x}/**", "/a/b/c/f"], "/a/b/c/g", "/a/{x}/**"),
        (["/a"], "*", None),
        (["/a"], "", None),
        (["/a"], "a", None),
        (["/a"], "/A", None),
    ],
)
def test_the_most_specific_template_wins_segment_by_segment(
    templates: list[str], path: str, wanted: str | None
) -> None:
    for order in (templates, templates[::-1]):
        node = table(*order).match(HOST, path)
        assert (node and node.template) == wanted


def test_a_template_without_a_route_for_the_host_is_not_there() -> None:
    policy = PolicyTable(
        [rule("narrow", "/a/{x}", hosts=("one",)), rule("wide", "/a/**"), rule("exact", "/a/b", hosts=("two",))],
        Roles({}),
        "v",
    )
    found = {host: policy.match(host, "/a/b") for host in ("one", "two", "three")}
    assert {host: node and node.template for host, node in found.items()} == {
        "one": "/a/{x}",
        "two": "/a/b",
        "three": "/a/**",
    }


def test_a_rest_of_another_host_gives_way_to_a_broader_one() -> None:
    policy = PolicyTable([rule("one", "/a/**", hosts=("one",)), rule("all", "/**")], Roles({}), "v")
    found = [policy.match(host, "/a/b") for host in ("one", "two")]
    assert [node and node.template for node in found] == ["/a/**", "/**"]


def test_routes_of_one_template_share_it_by_method_and_host() -> None:
    policy = PolicyTable(
        [
            rule("read", "/a/{x}"),
            rule("write", "/a/{y}", methods=("POST",), hosts=("one",)),
            rule("other", "/a/*", methods=("POST",), hosts=("two",)),
        ],
        Roles({}),
        "v",
    )
    names = {
        (host, method): policy.resolve(host, "/a/1", method)
        for host in ("one", "two", "three")
        for method in ("GET", "POST")
    }
    shown = {key: found if isinstance(found, Reason) else found.route.name for key, found in names.items()}
    assert shown == {
        ("one", "GET"): "read", ("one", "POST"): "write", ("two", "GET"): "read", ("two", "POST"): "other",
        ("three", "GET"): "read", ("three", "POST"): Reason.METHOD_NOT_ALLOWED,
    }  # fmt: skip


def test_the_same_template_is_the_same_node_whatever_the_path() -> None:
    policy = table("/a/{x}", "/**")
    assert policy.match(HOST, "/a/1") is policy.match(HOST, "/a/2")
    assert policy.match(HOST, "/a/1") is not policy.match(HOST, "/b")


def test_a_method_that_is_not_listed_is_405_and_never_a_broader_template() -> None:
    policy = PolicyTable([rule("all", "/**", methods=("GET", "POST", "DELETE")), rule("one", "/a/{x}")], Roles({}), "v")
    assert policy.resolve(HOST, "/a/1", "DELETE") is Reason.METHOD_NOT_ALLOWED
    node = policy.match(HOST, "/a/1")
    assert node is not None
    assert node.methods == ("GET", "HEAD")


def test_head_follows_get_and_only_get() -> None:
    policy = PolicyTable([rule("read", "/a"), rule("write", "/b", methods=("POST",))], Roles({}), "v")
    assert matched(policy.resolve(HOST, "/a", "HEAD")).route.name == "read"
    assert policy.resolve(HOST, "/b", "HEAD") is Reason.METHOD_NOT_ALLOWED


@pytest.mark.parametrize("path", ["/nothing/here", "*", ""])
def test_a_path_without_a_template_has_no_route(policy: PolicyTable, path: str) -> None:
    assert policy.resolve(HOST, path, "GET") is Reason.NO_ROUTE


def test_path_parameters_are_bound_by_the_names_of_the_route(policy: PolicyTable) -> None:
    assert matched(policy.resolve(HOST, "/invoices/42", "GET")).parameters == {"invoice_id": "42"}
    assert matched(policy.resolve(HOST, "/invoices/42", "PUT")).parameters == {"number": "42"}
    assert matched(policy.resolve(HOST, "/", "GET")).parameters == {}


def test_path_parameters_are_decoded_as_the_upstream_will() -> None:
    """`path.owner != "a@b"` must not be passed by writing the address with an escape."""
    policy = table("/{owner}/{other}")
    assert matched(policy.resolve(HOST, "/a%40b/c%2520d", "GET")).parameters == {"owner": "a@b", "other": "c%20d"}
    assert matched(policy.resolve(HOST, "/%FF/x", "GET")).parameters["owner"] == "\ufffd"


def test_the_id_of_the_resource_is_filled_from_the_path(policy: PolicyTable) -> None:
    assert matched(policy.resolve(HOST, "/invoices/42", "GET")).resource_id() == "acme-42-x"
    assert matched(policy.resolve(HOST, "/invoices/{0.__class__}", "GET")).resource_id() == "acme-{0.__class__}-x"
    assert matched(policy.resolve(HOST, "/", "GET")).resource_id() == ""


def test_an_upstream_that_ignores_case_would_reach_the_folded_match() -> None:
    policy = table("/Admin/**", "/caf%C3%A9/{x}", "/**")
    assert policy.has_capitals
    admin = policy.match(HOST, "/Admin/x")
    assert policy.match(HOST, "/admin/x") is not admin
    assert policy.match_folded(HOST, "/aDMIN/X") is admin
    cafe = policy.match(HOST, "/caf%C3%A9/1")
    for reading in ("/caf%C3%A9/1", "/caf%c3%a9/1", "/café/1", "/CAFÉ/1", "/cafã©/1"):
        assert policy.match_folded(HOST, reading) is cafe
    assert policy.match_folded(HOST, "x") is None
    assert not table("/a/{X}", "/caf%C3%A9").has_capitals


def _lines_of(call: Callable[[], object]) -> int:
    """Count the executed lines of a call."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    gc.disable()  # what is collected meanwhile would be counted, too
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        gc.enable()
    return count


def test_the_work_of_a_match_does_not_grow_with_the_number_of_routes() -> None:
    def steps(number: int) -> list[int]:
        templates = [f"/app{n}/items/{{id}}" for n in range(number)] + [f"/app{n}/**" for n in range(number)]
        policy = table(*templates)
        paths = ("/app7/items/42", "/app7/other/x/y", "/nothing/items/1", f"/app{number - 1}/items/1")
        return [_lines_of(lambda path=path: policy.resolve(HOST, path, "GET")) for path in paths]  # type: ignore[misc]  # the default binds early

    few = steps(10)
    assert few == steps(5_000)
    assert all(lines < 100 for lines in few)


_SEGMENTS = st.lists(st.sampled_from(["a", "b", "{x}", "*"]), max_size=4)
_TEMPLATES = st.lists(st.tuples(_SEGMENTS, st.booleans()), min_size=1, max_size=8)
_PATHS = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=5)


def _texts(templates: list[tuple[list[str], bool]]) -> list[Template]:
    """Make valid templates, one for each shape."""
    found: dict[object, Template] = {}
    for segments, rest in templates:
        named = [f"{{x{index}}}" if segment == "{x}" else segment for index, segment in enumerate(segments)]
        template = parse_template("/" + "/".join([*named, *(["**"] if rest else [])]))
        found.setdefault(template.shape, template)
    return list(found.values())


def _reference(templates: list[Template], path: str) -> str | None:
    """Try every template and compare all that match, as the documentation says."""
    segments = path.split("/")[1:]
    best: tuple[list[int], str] | None = None
    declared = {template.shape for template in templates}
    candidates = [(template.segments, template) for template in templates]
    for template in templates:
        shape = template.shape[0]
        twin = shape[:-1] if shape[-1:] == ("",) else (*shape, "")
        if twin and not template.rest and (twin, False) not in declared:
            candidates.append((twin, template))
    for wanted, template in candidates:
        if len(segments) < len(wanted) or (len(segments) > len(wanted) and not template.rest):
            continue
        if not all(have != "" if want is None else want == have for want, have in zip(wanted, segments, strict=False)):
            continue
        rank = [1 if want is None else 2 for want in wanted] + ([0] if template.rest else [3])
        if best is None or rank > best[0]:
            best = rank, template.text
    return best[1] if best else None


@given(_TEMPLATES, _PATHS)
@settings(max_examples=100, deadline=None)
def test_the_trie_agrees_with_trying_every_template(templates: list[tuple[list[str], bool]], path: list[str]) -> None:
    parsed = _texts(templates)
    text = "/" + "/".join(path)
    node = table(*(template.text for template in parsed)).match(HOST, text)
    assert (node and node.template) == _reference(parsed, text)


# Who


def test_a_public_route_asks_nobody(answer: Callable[..., Any]) -> None:
    assert answer("/static/x.css", None) == (True, Reason.PUBLIC, "8")


def test_without_a_session_sign_in_is_required(answer: Callable[..., Any]) -> None:
    assert answer("/", None) == (False, Reason.SIGN_IN_REQUIRED, "")


def test_a_granted_role_is_allowed_by_its_line(answer: Callable[..., Any], session: Callable[..., Session]) -> None:
    assert answer("/", session("client")) == (True, Reason.ALLOWED, "12")


def test_a_role_that_includes_a_granted_one_is_allowed(
    answer: Callable[..., Any], session: Callable[..., Session]
) -> None:
    assert answer("/", session("billing")) == (True, Reason.ALLOWED, "12")


@pytest.mark.parametrize(
    "roles", [(), ("auditor",), ("root",), ("*",), ("Client",), ("client ",), ("client,billing",), ("",)]
)
def test_no_other_role_is_allowed(
    answer: Callable[..., Any], session: Callable[..., Session], roles: tuple[str, ...]
) -> None:
    assert answer("/", session(*roles)) == (False, Reason.ROLE_MISSING, "12")


def test_a_condition_decides(answer: Callable[..., Any], session: Callable[..., Session], now: float) -> None:
    assert answer("/invoices/1", session("billing")) == (True, Reason.ALLOWED, "18")
    assert answer("/invoices/1", session("billing", mfa_time=now - 13 * 3600)) == (False, Reason.CONDITION_FALSE, "18")


def test_a_condition_that_fails_refuses_and_says_so(
    answer: Callable[..., Any], session: Callable[..., Session]
) -> None:
    assert answer("/invoices/1", session("auditor"), client_ip="") == (False, Reason.CONDITION_FAILED, "20")


def test_another_tenant_is_refused_and_a_later_entry_may_still_allow(
    answer: Callable[..., Any], session: Callable[..., Session]
) -> None:
    assert answer("/invoices/1", session("auditor"), client_ip="192.0.2.1") == (False, Reason.CONDITION_FALSE, "20")
    assert answer("/invoices/1", session("auditor")) == (True, Reason.ALLOWED, "20")
    assert answer("/invoices/1", session("auditor", tenant="zeta")) == (True, Reason.ALLOWED, "19")


def test_an_entry_for_another_tenant_is_named_when_nothing_is_nearer(
    compiled: Callable[..., PolicyTable], session: Callable[..., Session], facts: Callable[..., Facts], now: float
) -> None:
    policy = compiled(POLICY.replace("      - {roles: [auditor], when: 'network.is_in(\"10.0.0.0/8\")'}\n", ""))
    found = matched(policy.resolve(HOST, "/invoices/1", "GET"))
    assert policy.decide(found, session("auditor"), facts(), now).reason is Reason.TENANT_MISMATCH


def test_of_several_refusals_the_nearest_to_allowing_is_named(
    compiled: Callable[..., PolicyTable], session: Callable[..., Session], facts: Callable[..., Facts], now: float
) -> None:
    """A condition that failed, then one that was false, then another tenant, then the list; the first of its kind."""
    entries = [
        "tenants: [zeta]",
        "when: 'network.is_in(\"10.0.0.0/8\")'",
        'when: user.name == "bob"',
        'when: request.method == "PUT"',
    ]
    for order, line in ((entries, "10"), (entries[::-1], "11"), (entries[2:], "9"), (entries[:1], "9")):
        allow = "".join(f"      - {{roles: [client], {entry}}}\n" for entry in order)
        head = 'version: 1\nroles: {client: {}}\nroutes:\n  - name: x\n    match: {path: "/x", methods: [GET]}\n'
        policy = compiled(head + "    upstream: portal\n    cache: portal\n    allow:\n" + allow)
        found = matched(policy.resolve(HOST, "/x", "GET"))
        decision = policy.decide(found, session("client"), facts(client_ip=""), now)
        assert decision.rule.split(":")[1] == line
        assert not decision.allowed


def test_nobody_is_allowed_on_a_closed_route(answer: Callable[..., Any], session: Callable[..., Session]) -> None:
    assert answer("/closed/x", session("client", "billing", "auditor")) == (False, Reason.NO_RULE, "33")


def test_a_session_without_its_second_factor_is_refused(
    answer: Callable[..., Any], session: Callable[..., Session]
) -> None:
    assert answer("/", session("client", mfa_time=0.0)) == (False, Reason.MFA_REQUIRED, "")
    assert answer("/", session("client", mfa_time=0.0, owes=Owed.MFA)) == (False, Reason.MFA_REQUIRED, "")
    assert answer("/", session("client", mfa_time=0.0, owes=Owed.ENROLMENT)) == (
        False,
        Reason.MFA_ENROLMENT_REQUIRED,
        "",
    )


def test_a_session_that_owes_a_factor_is_refused_even_with_an_old_proof(
    answer: Callable[..., Any], session: Callable[..., Session]
) -> None:
    assert answer("/", session("client", owes=Owed.MFA)) == (False, Reason.MFA_REQUIRED, "")


def test_a_route_may_be_open_without_the_factor(answer: Callable[..., Any], session: Callable[..., Session]) -> None:
    assert answer("/open", session("client", mfa_time=0.0, owes=Owed.MFA)) == (True, Reason.ALLOWED, "29")


def test_where_the_factor_is_optional_a_debt_still_counts(
    compiled: Callable[..., PolicyTable], session: Callable[..., Session], facts: Callable[..., Facts], now: float
) -> None:
    policy = compiled(POLICY, mfa_required=False)
    found = matched(policy.resolve(HOST, "/", "GET"))
    assert policy.decide(found, session("client", mfa_time=0.0), facts(), now).allowed
    assert (
        policy.decide(found, session("client", mfa_time=0.0, owes=Owed.MFA), facts(), now).reason is Reason.MFA_REQUIRED
    )


def test_a_condition_that_answers_anything_but_true_refuses(
    policy: PolicyTable, session: Callable[..., Session], facts: Callable[..., Facts], now: float
) -> None:
    """`r.value()` of a failed evaluation is a text, and texts are truthy."""

    class Answer:
        def __init__(self, value: object) -> None:
            self._value = value

        def eval(self, *_: object) -> Answer:
            if isinstance(self._value, Exception):
                raise self._value
            return self

        def value(self) -> object:
            return self._value

    grant = policy.rules["invoice"].grants[0]
    for value in ("ERROR", 1, "true", [True], RuntimeError("gone"), None):
        grant.condition = Condition("x", Answer(value), ())
        found = matched(policy.resolve(HOST, "/invoices/1", "GET"))
        assert policy.decide(found, session("billing"), facts(), now).reason is Reason.CONDITION_FAILED


@given(st.lists(st.text(max_size=8), max_size=4), st.sampled_from(["/", "/invoices/1", "/open", "/closed/x"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_unknown_role_never_allows(  # noqa: PLR0917 - fixtures and drawn values
    policy: PolicyTable,
    session: Callable[..., Session],
    facts: Callable[..., Facts],
    now: float,
    roles: list[str],
    path: str,
) -> None:
    unknown = [role for role in roles if role not in policy.roles]
    found = matched(policy.resolve(HOST, path, "GET"))
    assert not policy.decide(found, session(*unknown), facts(path=path), now).allowed
    both = policy.decide(found, session("client", *unknown), facts(path=path), now)
    assert both == policy.decide(found, session("client"), facts(path=path), now)


def test_a_policy_that_was_replaced_is_gone_without_a_search_for_cycles(compiled: Callable[..., PolicyTable]) -> None:
    """The edge does not look for garbage among what it began with, and rarely elsewhere: each reload would leave one table behind."""

    def rules() -> list[Rule]:
        return [found for found in gc.get_objects() if isinstance(found, Rule) and found.route.name == "only-once"]

    gc.disable()
    try:
        old = compiled(POLICY.replace("name: home", "name: only-once"))
        found = matched(old.resolve(HOST, "/", "GET"))
        assert len(rules()) == 1
        del old, found
        assert rules() == []
    finally:
        gc.enable()
