"""A suffix, an index file or a front controller does not lead around a narrower route."""

from __future__ import annotations

import pytest

from gateway.exchange.reason import Reason
from gateway.policy import PolicyTable, compile_policy

POLICY = """
version: 1
roles: {client: {}, admin: {}}
routes:
  - {name: everything, match: {path: "/**", methods: [GET, POST]}, upstream: portal, allow: [{roles: [client]}]}
  - {name: admin, match: {path: /admin, methods: [GET]}, upstream: portal, allow: [{roles: [admin]}]}
  - {name: same, match: {path: /same, methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}
  - {name: open, match: {path: /open, methods: [GET]}, upstream: portal, public: true}
  - {name: closed, match: {path: "/closed/**", methods: [GET, POST]}, upstream: portal, deny: true}
  - {name: style, match: {path: /closed.css, methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}
  - {name: wiki, match: {path: "/wiki.php/**", methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}
  - {name: item, match: {path: "/items/{id}", methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}
  - name: owned
    match: {path: "/owned/{owner}", methods: [GET]}
    upstream: portal
    allow: [{roles: [client], when: path.owner != "root"}]
"""


def compiled(text: str = POLICY) -> PolicyTable:
    return compile_policy({"a.yaml": text}, upstreams=["portal"], tenants=[], hosts=["a"])[0]


def passes(table: PolicyTable, path: str, method: str = "GET") -> bool:
    match = table.resolve("a", path, method)
    assert not isinstance(match, Reason)
    return match.is_clear(path) and not table.is_disguised("a", path, method, match)


@pytest.mark.parametrize(
    "path",
    [
        "/admin.json", "/Admin.JSON", "/admin.css", "/admin.en.html", "/admin.a.b.c", "/admin.json/", "/admin%252Ejson", "/admin.json;x", "/%EF%BD%81dmin.xml", "/admin/index.php",
        "/closed.json", "/index.php/admin", "/index.php/admin.json", "/app/index.php/admin", "/index.php/closed/x", "/x.aspx/admin", "/INDEX.PHP/ADMIN",
    ],
)  # fmt: skip
def test_another_name_of_a_narrower_route_is_refused(path: str) -> None:
    assert not passes(compiled(), path)


@pytest.mark.parametrize(
    "path",
    [
        "/admins.json", "/administrator", "/admin-guide.html", "/same.json", "/open.html", "/index.html", "/a/b.tar.gz", "/closed.css", "/wiki.php/admin", "/items/4.json",
        "/lib/exe/fetch.php", "/lib/exe/fetch.php/x.png", "/.well-known/security.txt", "/.admin", "/x/admin.json",
    ],
)  # fmt: skip
def test_an_ordinary_file_passes(path: str) -> None:
    assert passes(compiled(), path)


def test_a_method_that_the_narrower_route_does_not_know_is_refused() -> None:
    assert not passes(compiled(), "/same.json", "POST")


def test_the_broad_route_may_say_that_suffixes_are_names() -> None:
    text = POLICY.replace(
        "upstream: portal, allow: [{roles: [client]}]}",
        "upstream: portal, allow_suffix: true, allow: [{roles: [client]}]}",
        1,
    )
    assert passes(compiled(text), "/admin.json")


@pytest.mark.parametrize(
    "path",
    [
        "/owned/root;x",
        "/owned/root%2520",
        "/owned/root%20",
        "/owned/root.",
        "/owned/%EF%BD%92oot",
        "/owned/ro%E2%80%8Bot",
        "/owned/root::$DATA",
    ],
)
def test_a_condition_sees_the_parameter_that_the_upstream_sees(path: str) -> None:
    assert not passes(compiled(), path)


@pytest.mark.parametrize(
    "path",
    ["/owned/alice", "/owned/alice%20b", "/owned/Andr%C3%A9", "/owned/a+b", "/owned/a@b.example", "/items/root;x"],
)
def test_an_ordinary_parameter_passes(path: str) -> None:
    assert passes(compiled(), path)


WHOLE = """
version: 1
roles: {client: {}}
routes:
  - name: docs
    match: {path: "/docs/**", methods: [GET]}
    upstream: portal
    allow: [{roles: [client]}]
    deny: [{when: 'request.path.startsWith("/docs/secret/")'}]
"""


@pytest.mark.parametrize(
    "path",
    [
        "/docs/x/..;/secret/a",
        "/docs/secret;x/a",
        "/docs//secret/a",
        "/docs/x%5C..%5Csecret/a",
        "/docs/%2573ecret/a",
        "/docs/secret./a",
        "/docs/secret%20/a",
        "/docs/(S(x))/secret/a",
        "/docs/secret::$DATA/a",
        "/docs/%EF%BD%93ecret/a",
        "/docs/%C0%AE%C0%AE/docs/secret/a",
    ],
)
def test_a_path_that_some_upstream_reads_otherwise_does_not_get_past_a_condition_about_the_path(path: str) -> None:
    """attack: `/docs/x/..;/secret/a` does not begin with `/docs/secret/` here, and does at Tomcat."""
    assert not passes(compiled(WHOLE), path)


@pytest.mark.parametrize(
    "path",
    ["/docs/a", "/docs/A%20b/Andr%C3%A9.html", "/docs/.well-known/x", "/docs/a+b@c:1/", "/docs/v1.2/index.html"],
)
def test_an_ordinary_path_passes_a_condition_about_the_path(path: str) -> None:
    assert passes(compiled(WHOLE), path)


@pytest.mark.parametrize("verdict", ["allow: [{roles: [client]}]", "public: true"])
def test_a_suffix_leads_around_no_route_that_wants_a_certificate(verdict: str) -> None:
    text = f"""
version: 1
roles: {{client: {{}}}}
routes:
  - {{name: everything, match: {{path: "/**", methods: [GET]}}, upstream: portal, {verdict}}}
  - {{name: bank, match: {{path: /bank, methods: [GET]}}, upstream: portal, client_certificate: required, {verdict}}}
"""
    assert not passes(compiled(text), "/bank.json")
    assert passes(compiled(text.replace("client_certificate: required, ", "")), "/bank.json")
