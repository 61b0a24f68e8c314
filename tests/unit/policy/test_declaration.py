"""What one file can be wrong about by itself, each with the place of its error."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.exchange.route import Action, Durability, LimitSpec, Resource
from gateway.policy import PolicyTable

ROUTE = """version: 1
roles: {client: {}}
routes:
  - name: page
    match: {path: "/pages/{id}", methods: [GET, POST], hosts: [acme.example.com]}
    upstream: portal
    %s
    allow: [{roles: [client]}]
"""


def test_every_option_of_a_route_arrives(compiled: Callable[..., PolicyTable]) -> None:
    options = """action: export
    resource: {type: page, id: "p-{id}"}
    rate_limit: {rate: 60/m, burst: 20, per: user}
    audit: {durability: strict}
    authorization: gateway
    cache: portal
    allow_encoded_slash: true
    allow_service_worker: true
    activity: false
    client_certificate: required
    max_body: 25MiB
    timeout: {response: 2m}
    unsafe_without_mfa: true"""
    route = compiled(ROUTE % options).routes["page"]
    assert (route.name, route.template, route.methods, route.hosts, route.upstream) == (
        "page",
        "/pages/{id}",
        ("GET", "POST"),
        ("acme.example.com",),
        "portal",
    )
    assert (route.action, route.resource) == (Action.EXPORT, Resource(type="page", id="p-{id}"))
    assert route.limit == LimitSpec(name="route:page", rate_per_s=1.0, burst=20, per="user")
    assert (route.durability, route.authorization, route.cache) == (Durability.STRICT, "gateway", "portal")
    assert (route.allow_encoded_slash, route.allow_service_worker, route.mfa, route.public) == (
        True,
        True,
        False,
        False,
    )
    assert (route.max_body_bytes, route.response_timeout_s) == (25 << 20, 120.0)
    assert route.client_certificate == "required"
    assert route.activity is False
    assert route.source == "policies/p.yaml:4:5"


def test_absent_options_are_the_safe_ones(compiled: Callable[..., PolicyTable]) -> None:
    route = compiled(ROUTE % "cache: no-store").routes["page"]
    assert (route.resource, route.limit, route.durability, route.max_body_bytes, route.response_timeout_s) == (
        None,
        None,
        None,
        None,
        None,
    )
    assert (route.authorization, route.cache, route.allow_encoded_slash, route.allow_service_worker, route.mfa) == (
        "portal",
        "no-store",
        False,
        False,
        True,
    )


def test_a_route_that_names_no_action_leaves_it_to_the_method(compiled: Callable[..., PolicyTable]) -> None:
    route = compiled(ROUTE % "cache: portal").routes["page"]
    assert route.action is None
    assert (route.action_of("GET"), route.action_of("POST")) == (Action.VIEW, Action.EDIT)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("acton: view", "7:5: unknown key 'acton'; did you mean 'action'?"),
        (
            "action: veiw",
            "7:13: 'veiw' is not one of view, download, create, edit, delete, share, export, admin; did you mean 'view'?",
        ),
        ("resource: {id: x}", "7:15: the key 'type' is missing"),
        (
            "resource: {type: 'a b'}",
            "7:22: 'a b': a type starts with a letter and has letters, digits, '.', '_' and '-', 64 at most",
        ),
        ('resource: {type: page, id: "x-{ident}"}', "7:35: the path has no parameter {ident}"),
        ('resource: {type: page, id: "x-{idd}"}', "7:35: the path has no parameter {idd}; did you mean 'id'?"),
        ('resource: {type: page, id: "{id} {"}', "7:38: a brace without its partner"),
        (
            "rate_limit: {rate: 60, burst: 1, per: ip}",
            "7:24: '60' is not a rate; write a number and a period, such as 50/s, 10/m or 60/h",
        ),
        ("rate_limit: {rate: 0/s, burst: 1, per: ip}", "7:24: must be more than 0"),
        (
            "rate_limit: {rate: 1/s, burst: 0, per: ip}",
            "7:36: expected a whole number from 1 to 1000000, found the number 0",
        ),
        (
            "rate_limit: {rate: 1/s, burst: 1, per: session}",
            "7:44: 'session' is not one of ip, user, tenant, route, key",
        ),
        ("rate_limit: {rate: 1/s, burst: 1}", "7:17: the key 'per' is missing"),
        ("audit: {durability: safe}", "7:25: 'safe' is not one of async, group, strict, strict+remote"),
        ("audit: {}", "7:12: nothing is said; name a key, or remove this one"),
        ("authorization: none", "7:20: 'none' is not one of gateway, portal, drop"),
        ("client_certificate: true", "7:25: expected text, found true; quote it"),
        ("client_certificate: off", "7:25: 'off' is not one of optional, required"),
        ("cache: public", "7:12: 'public' is not one of no-store, portal"),
        ("allow_encoded_slash: yes", "7:26: expected true or false, found 'yes'"),
        ("allow_service_worker: 1", "7:27: expected true or false, found the number 1"),
        ("activity: never", "7:15: expected true or false, found 'never'"),
        ("max_body: 25 MB", "7:15: '25 MB' is not a size; write a number and a unit, such as 64KiB, 25MiB or 1GiB"),
        ("max_body: 0", "7:15: must be more than 0"),
        ("timeout: 30s", "7:14: expected a mapping of keys to values, found '30s'"),
        (
            "timeout: {response: 30}",
            "7:25: '30' is not a length of time; write a number and a unit, such as 30s, 15m, 8h or 2y",
        ),
        ("timeout: {response: 0s}", "7:25: must be more than 0"),
        ("unsafe_without_mfa: maybe", "7:25: expected true or false, found 'maybe'"),
    ],
)
def test_each_wrong_option_is_an_error_at_its_place(
    errors_of: Callable[..., list[str]], option: str, expected: str
) -> None:
    assert errors_of(ROUTE % option) == [f"p.yaml:{expected}"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("version: 1\n", "", "1:1: the key 'version' is missing"),
        ("version: 1", "version: 2", "1:10: the version of this format is 1"),
        ("version: 1", "version: true", "1:10: the version of this format is 1"),
        ("version: 1", "version: '1'", "1:10: the version of this format is 1"),
        ("roles: {client: {}}", "roles: {client: {}}\nrules: []", "3:1: unknown key 'rules'; did you mean 'profiles'?"),
        ("client: {}", "client: {include: [x]}", "2:18: unknown key 'include'; did you mean 'includes'?"),
        ("client: {}", "client: {includes: []}", "2:28: the list is empty; name at least one item, or remove the key"),
        ("client: {}", "client: {}, 'a b': {}", "2:21: 'a b': a name starts with a letter or digit and has letters, digits, '.', '_' and '-', 64 at most"),
        ("client: {}", "client: [x]", "2:17: expected a mapping of keys to values, found a list"),
        ("name: page", "name: 'a,b'", "4:11: 'a,b': a name starts with a letter or digit and has letters, digits, '.', '_' and '-', 64 at most"),
        ("  - name: page\n    match", "  - match", "4:5: the key 'name' is missing"),
        ("/pages/{id}", "/pages/{id", "5:27: a wildcard or parameter takes a whole segment: *, {name} or, at the end, **"),
        ('"/pages/{id}"', "[/]", "5:19: expected text, found a list"),
        ("/pages/{id}", "/pages//{id}", "5:27: the template has an empty segment (//)"),
        ('path: "/pages/{id}", ', "", "5:12: the key 'path' is missing"),
        (", methods: [GET, POST]", "", "5:12: the key 'methods' is missing"),
        ("GET, POST", "GET, get", "5:49: unknown method 'get'; did you mean 'GET'?"),
        ("GET, POST", "GET, PSOT", "5:49: unknown method 'PSOT'; did you mean 'POST'?"),
        ("GET, POST", "GET, CONNECT", "5:49: unknown method 'CONNECT'"),
        ("GET, POST", "GET, GET", "5:49: 'GET' is listed twice"),
        ("[GET, POST]", "[]", "5:43: the list is empty; name at least one item, or remove the key"),
        ("[GET, POST]", "GET", "5:43: expected a list, found 'GET'; write [GET]"),
        ("hosts: [acme.example.com]", "host: acme", "5:56: unknown key 'host'; did you mean 'hosts'?"),
        ("hosts: [acme.example.com]", "hosts: []", "5:63: the list is empty; name at least one item, or remove the key"),
        ("    allow: [{roles: [client]}]\n", "", "4:5: the route says neither allow, nor public: true, nor deny: true; without one nobody could use it"),
        ("allow: [{roles: [client]}]", "allow: []", "8:12: the list is empty; name at least one item, or remove the key"),
        ("allow: [{roles: [client]}]", "allow: [{}]", "8:13: the key 'roles' is missing"),
        ("allow: [{roles: [client]}]", "allow: [{roles: []}]", "8:21: the list is empty; name at least one item, or remove the key"),
        ("allow: [{roles: [client]}]", "allow: [{roles: client}]", "8:21: expected a list, found 'client'; write [client]"),
        ("allow: [{roles: [client]}]", "allow: [{role: [client], roles: [client]}]", "8:14: unknown key 'role'"),
        ("allow: [{roles: [client]}]", "allow: [{roles: [client, client]}]", "8:30: 'client' is listed twice"),
        ("allow: [{roles: [client]}]", "allow: [{roles: [client], when: true}]", "8:37: expected text, found true; quote it"),
        ("allow: [{roles: [client]}]", "allow: [{roles: [client], tenants: []}]", "8:40: the list is empty; name at least one item, or remove the key"),
        ("allow: [{roles: [client]}]", "public: true\n    allow: [{roles: [client]}]", "9:5: a route has only one of public, allow and deny; this one already says public"),
        ("allow: [{roles: [client]}]", "allow: [{roles: [client]}]\n    deny: true", "9:5: a route has only one of public, allow and deny; this one already says allow"),
        ("allow: [{roles: [client]}]", "public: false", "8:13: public: false changes nothing; remove it"),
        ("allow: [{roles: [client]}]", "public: 'true'", "8:13: expected true or false, found 'true'"),
        ("allow: [{roles: [client]}]", "public: true\n    rate_limit: {rate: 1/s, burst: 1, per: user}", "9:44: a public route knows no user; count per ip, tenant or route"),
        ("allow: [{roles: [client]}]", "deny: true\n    unsafe_without_mfa: true", "9:5: unsafe_without_mfa has no effect on a route that asks for no session"),
    ],
)  # fmt: skip
def test_each_wrong_word_is_an_error_at_its_place(
    errors_of: Callable[..., list[str]], old: str, new: str, expected: str
) -> None:
    text = ROUTE % "cache: portal"
    assert old in text
    assert f"p.yaml:{expected}" in errors_of(text.replace(old, new))


def test_a_file_that_declares_nothing_is_an_error(errors_of: Callable[..., list[str]]) -> None:
    assert errors_of("version: 1") == ["p.yaml:1:1: the file declares neither roles nor routes"]
    assert errors_of({"q.yaml": ROUTE % "cache: portal", "p.yaml": "version: 1\nroles: {}"}) == [
        "p.yaml:2:8: no role is declared; name one, or remove the key"
    ]
    assert errors_of("version: 1\nroutes: []") == [
        "p.yaml:2:9: the list is empty; name at least one item, or remove the key"
    ]


def test_a_route_that_is_no_mapping_is_an_error_and_the_others_are_still_read(
    errors_of: Callable[..., list[str]],
) -> None:
    found = errors_of("version: 1\nroutes:\n  - page\n  - {name: x, match: [], upstream: 5}\n")
    assert "p.yaml:3:5: expected a mapping of keys to values, found 'page'" in found
    assert "p.yaml:4:22: expected a mapping of keys to values, found a list" in found
    assert "p.yaml:4:36: expected text, found the number 5; quote it" in found
