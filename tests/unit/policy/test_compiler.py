from __future__ import annotations

import contextlib
import gc
import itertools
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.document.source import DocumentError
from gateway.exchange.errors import ConfigurationError
from gateway.exchange.session import Session
from gateway.policy import Facts, Match, PolicyTable, compile_policy

ROLES = "version: 1\nroles: {client: {}, billing: {includes: [client]}}\n"


def route(
    name: str, path: str = "/{x}", methods: str = "GET", verdict: str = "allow: [{roles: [client]}]", hosts: str = ""
) -> str:
    hosts = f", hosts: [{hosts}]" if hosts else ""
    return (
        f'  - {{name: {name}, match: {{path: "{path}", methods: [{methods}]{hosts}}}, upstream: portal, {verdict}}}\n'
    )


def place(text: str, marker: str) -> str:
    """Find where `marker` (or, as `marker#2`, its second occurrence) stands in the text of p.yaml."""
    word, _, number = marker.partition("#")
    at = -1
    for _ in range(int(number or 1)):
        at = text.index(word, at + 1)
    return f"p.yaml:{text.count(chr(10), 0, at) + 1}:{at - text.rfind(chr(10), 0, at)}"


def policy(*routes: str, roles: str = ROLES) -> str:
    return roles + "routes:\n" + "".join(routes)


def test_roles_and_routes_of_all_files_are_one_policy(compiled: Callable[..., PolicyTable]) -> None:
    table = compiled(
        {
            "policies/roles.yaml": ROLES,
            "policies/a.yaml": "version: 1\nroutes:\n" + route("a", "/a"),
            "policies/b.yaml": "version: 1\nroutes:\n" + route("b", "/b"),
        }
    )
    assert set(table.routes) == {"a", "b"}
    assert table.roles == {"client", "billing"}


def test_an_error_is_a_configuration_error_with_every_error_of_every_file(errors_of: Callable[..., list[str]]) -> None:
    found = errors_of(
        {
            "a.yaml": policy(route("one", verdict="allow: [{roles: [client]}]"), route("one", "/two", "FETCH")),
            "b.yaml": "version: 1\nroutes: &x []\n",
            "c.yaml": "version: 1\nroutes:\n" + route("three", "/t", verdict="deny: maybe"),
        }
    )
    assert [line.partition(" ")[0] for line in found] == ["a.yaml:5:12:", "a.yaml:5:49:", "b.yaml:2:9:", "c.yaml:3:80:"]
    assert issubclass(DocumentError, ConfigurationError)


def test_an_unknown_role_is_not_reported_while_a_file_that_may_declare_it_is_unreadable(
    errors_of: Callable[..., list[str]],
) -> None:
    found = errors_of(
        {
            "a.yaml": policy(route("one", verdict="allow: [{roles: [auditor]}]")),
            "b.yaml": "version: 1\nroles: {auditor: ",
        }
    )
    assert len(found) == 1
    assert found[0].startswith("b.yaml:")
    roles = "version: 1\nroles: {client: {includes: [auditor]}}\n"
    assert len(errors_of({"a.yaml": policy(route("one"), roles=roles), "b.yaml": "version: 1\nroles: {auditor: "})) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            policy(route("one", verdict="allow: [{roles: [bilings]}]")),
            "bilings: unknown role 'bilings'; did you mean 'billing'?",
        ),
        (
            policy(route("one").replace("upstream: portal", "upstream: protal")),
            "protal: unknown upstream 'protal'; did you mean 'portal'?",
        ),
        (
            policy(route("one", verdict="allow: [{roles: [client], tenants: [amce]}]")),
            "amce: unknown tenant 'amce'; did you mean 'acme'?",
        ),
        (
            policy(route("one", hosts="acme.exmaple.com")),
            "acme.exm: unknown host 'acme.exmaple.com'; did you mean 'acme.example.com'?",
        ),
        (
            policy(route("one", hosts="Acme.Example.com")),
            "Acme: unknown host 'Acme.Example.com'; write 'acme.example.com'",
        ),
        (
            policy(route("one"), route("one", "/b")),
            "one#2: the route 'one' is declared a second time; the first is at p.yaml:4:12",
        ),
        (
            policy(route("one"), roles="version: 1\nroles: {client: {includes: [clint]}}\n"),
            "clint]: unknown role 'clint'; did you mean 'client'?",
        ),
        (
            policy(route("one"), roles="version: 1\nroles: {client: {includes: [client]}}\n"),
            "client]: the role 'client' includes itself",
        ),
        (
            policy(
                route("one"),
                roles="version: 1\nroles: {client: {includes: [b]}, b: {includes: [c]}, c: {includes: [b]}}\n",
            ),
            "b:: the roles include each other in a circle: b -> c -> b",
        ),
        (
            policy(route("one", verdict='allow: [{roles: [client], when: "path.y == user.name"}]')),
            ".y: unknown name 'path.y'; the path parameters of this route are: path.x",
        ),
        (
            policy(route("one", verdict="allow: [{roles: [client], when: session.mfa_age}]")),
            "session.mfa: the condition must be true or false, but it is of type duration",
        ),
    ],
)
def test_what_only_shows_with_all_files_together_is_an_error_at_its_place(
    errors_of: Callable[..., list[str]], text: str, expected: str
) -> None:
    marker, _, sentence = expected.partition(": ")
    assert errors_of(text) == [f"{place(text, marker)}: {sentence}"]


def test_a_condition_on_several_lines_is_wrong_where_it_is_wrong(errors_of: Callable[..., list[str]]) -> None:
    text = (
        policy()
        + """  - name: one
    match: {path: "/", methods: [GET]}
    upstream: portal
    allow:
      - roles: [client]
        when: |
          request.secure &&
            user.nmae == "x"
"""
    )
    assert errors_of(text) == ["p.yaml:11:17: unknown name 'user.nmae'; did you mean 'user.name'?"]


def test_a_role_that_is_declared_in_two_files_names_both_places(errors_of: Callable[..., list[str]]) -> None:
    found = errors_of({"a.yaml": policy(route("one")), "b.yaml": "version: 1\nroles: {client: {}}"})
    assert found == ["b.yaml:2:9: the role 'client' is declared a second time; the first is at a.yaml:2:9"]


def test_a_policy_without_a_route_is_an_error(errors_of: Callable[..., list[str]]) -> None:
    assert errors_of(ROLES) == ["p.yaml:1:1: no file declares a route; without one every request is refused"]
    assert errors_of({}) == ["policies:1:1: no file declares a route; without one every request is refused"]


@pytest.mark.parametrize(
    ("allow", "pointless"),
    [
        ("[{roles: [client]}, {roles: [billing], when: request.secure}]", "{roles: [billing]"),
        ("[{roles: [billing], when: request.secure}, {roles: [client]}]", "{roles: [billing]"),
        ("[{roles: [client]}, {roles: [client]}]", "{roles: [client]#2"),
        ("[{roles: [client]}, {roles: [billing], tenants: [acme]}]", "{roles: [billing]"),
        ("[{roles: [client], tenants: [acme, zeta]}, {roles: [billing], tenants: [acme]}]", "{roles: [billing]"),
    ],
)
def test_an_entry_that_another_one_makes_pointless_is_an_error(
    errors_of: Callable[..., list[str]], allow: str, pointless: str
) -> None:
    """The condition of `billing` restricts nobody while `client`, which it includes, is allowed without one."""
    text = policy(route("one", verdict=f"allow: {allow}"))
    found = errors_of(text)
    assert [line.partition(": ")[0] for line in found] == [place(text, pointless)]
    assert "unreachable: the entry at p.yaml:4:" in found[0]


def test_entries_that_add_something_are_not_pointless(compiled: Callable[..., PolicyTable]) -> None:
    allow = "[{roles: [billing]}, {roles: [client], when: request.secure}, {roles: [client], tenants: [acme]}]"
    assert len(compiled(policy(route("one", verdict=f"allow: {allow}"))).rules["one"].grants) == 3


def test_a_role_that_opens_nothing_is_a_warning(warnings_of: Callable[[str], list[str]]) -> None:
    roles = (
        "version: 1\nroles: {client: {}, billing: {includes: [client]}, idle: {}, base: {}, user: {includes: [base]}}\n"
    )
    text = policy(route("one", verdict="allow: [{roles: [client, user]}]"), roles=roles)
    assert warnings_of(text) == [
        "p.yaml:2:52: warning: the role 'idle' is never granted anything: no route allows it or a role it includes",
        "p.yaml:2:62: warning: the role 'base' is never granted anything: no route allows it or a role it includes",
    ]


def test_a_switch_that_weakens_is_a_warning(warnings_of: Callable[[str], list[str]]) -> None:
    text = policy(route("one", verdict="unsafe_without_mfa: true, allow: [{roles: [client]}]"))
    assert warnings_of(text) == [
        "p.yaml:4:5: warning: the route 'one' is open without a second factor (unsafe_without_mfa)"
    ]


def test_the_version_follows_names_and_texts_and_not_directories() -> None:
    def version(files: dict[str, str]) -> str:
        return compile_policy(files, upstreams=["portal"], tenants=[], hosts=["h"])[0].version

    text = policy(route("one"))
    first = version({"policies/p.yaml": text})
    assert first == version({"/etc/gateway/policies/p.yaml": text})
    assert first != version({"policies/p.yaml": text + "#"})
    assert first != version({"policies/q.yaml": text})
    assert len(first) == 16
    assert int(first, 16) >= 0


_VERDICTS = [
    "public: true",
    "deny: true",
    "allow: [{roles: [client]}]",
    "allow: [{roles: [billing], when: request.secure}]",
    "allow: [{roles: [billing]}]",
]
_ROUTES = st.lists(
    st.tuples(st.sampled_from(["/", "/a", "/{x}", "/a/{x}", "/{x}/b", "/a/**", "/**"]), st.sampled_from(_VERDICTS)),
    min_size=1, max_size=5, unique_by=lambda item: item[0],
)  # fmt: skip


@given(_ROUTES, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_files_and_routes_changes_no_decision(  # noqa: PLR0917 - fixtures and drawn values
    compiled: Callable[..., PolicyTable],
    session: Callable[..., Session],
    facts: Callable[..., Facts],
    now: float,
    routes: list[tuple[str, str]],
    random: object,
) -> None:
    texts = [route(f"r{number}", path, verdict=verdict) for number, (path, verdict) in enumerate(routes)]
    one = compiled({"policies/roles.yaml": ROLES, "policies/p.yaml": "version: 1\nroutes:\n" + "".join(texts)})
    random.shuffle(texts)  # type: ignore[attr-defined]  # hypothesis hides the class
    files = {f"policies/p{number}.yaml": "version: 1\nroutes:\n" + text for number, text in enumerate(texts)}
    other = compiled({**dict(reversed(files.items())), "policies/z.yaml": ROLES})
    people = [None, session("client"), session("billing"), session()]
    for path, person in itertools.product(("/", "/a", "/b", "/a/b", "/a/b/c", "/c/b"), people):
        asked = facts(path=path)
        answers = []
        for table in (one, other):
            found = table.resolve(asked.host, path, "GET")
            if isinstance(found, Match):
                decision = table.decide(found, person, asked, now)
                answers.append((found.route.name, decision.allowed, decision.reason))
            else:
                answers.append(("", False, found))
        assert answers[0] == answers[1]


@pytest.mark.parametrize("collects", [True, False])
def test_the_search_for_circles_goes_on_after_compiling_as_before(collects: bool) -> None:
    """It stands still meanwhile: half the time of a large policy."""
    before = gc.isenabled()
    (gc.enable if collects else gc.disable)()
    try:
        for text in (
            "version: 1\nroutes: []\n",
            "version: 1\nroutes: [{name: a, match: {path: /, methods: [GET]}, upstream: portal, public: true}]\n",
        ):
            with contextlib.suppress(DocumentError):
                compile_policy({"p.yaml": text}, upstreams={"portal"}, tenants=(), hosts=())
            assert gc.isenabled() is collects
    finally:
        (gc.enable if before else gc.disable)()
