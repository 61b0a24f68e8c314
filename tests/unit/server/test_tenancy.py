"""Tenants of gateway.yaml, and the routes that are bound to them: from the file to what the edge serves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.exchange.errors import ConfigurationError
from gateway.server.snapshot import build_snapshot
from gateway.server.validate import read_and_validate

TENANTS = """tenants:
  acme:
    hosts: [acme.example]
    mfa: {required: by_role, roles: [client]}
    limits:
      api: {rate: 10/s, burst: 20, per: tenant}
      login: {rate: 1/m, burst: 2, per: ip}
  globex: {}
"""
ROUTE = """  - name: bound
    match: {path: "/bound", methods: [GET]}
    upstream: portal
    tenant: {header: X-Org}
    allow: [{roles: [client]}]
"""


@pytest.fixture
def write(directory: Path) -> Callable[..., Path]:
    """Write tenants beside what the directory has, in the place of a general second factor, and a bound route."""

    def made(tenants: str = TENANTS, *, more: str = "", route: str = ROUTE) -> Path:
        path = directory / "gateway.yaml"
        kept = [line for line in path.read_text().splitlines() if not line.startswith(("tenants:", "mfa:", "  main:"))]
        path.write_text("\n".join([*kept, "mfa: {required: enrolled}", tenants + more]))
        for cases in (directory / "policies" / "tests").glob("*.yaml"):
            cases.unlink()
        (policy,) = (directory / "policies").glob("*.yaml")
        policy.write_text(policy.read_text().rstrip("\n") + "\n" + route)
        return path

    return made


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read_and_validate(path)
    return list(caught.value.diagnostics)


def test_what_a_tenant_says_reaches_the_edge(write: Callable[..., Path]) -> None:
    snapshot = build_snapshot(read_and_validate(write()), "pages.sock")
    assert snapshot.hosts["acme.example"] == "acme"
    assert [bucket.spec.name for bucket in snapshot.limits_of_tenant["acme"]] == ["tenant:acme:api"]
    assert snapshot.login_limits["acme"].spec.burst == 2
    assert "globex" not in snapshot.limits_of_tenant
    assert snapshot.policy.tenants == {"acme", "globex"}


def test_no_clients_copy_of_a_field_that_names_a_tenant_goes_on(write: Callable[..., Path]) -> None:
    assert b"x-org" in build_snapshot(read_and_validate(write()), "pages.sock").mapped_names


@pytest.mark.parametrize(
    ("more", "route", "sentence"),
    [
        ("identity: {api_keys: {header: X-Org}}\n", ROUTE, "x-org is taken: identity.api_keys.header: x-org"),
        (
            "",
            ROUTE
            + ROUTE.replace("bound", "other").replace("tenant: {header: X-Org}", "headers: {request: {X-Org: acme}}"),
            "it names the tenant on some route",
        ),
    ],
)
def test_a_field_that_names_the_tenant_means_nothing_else(
    write: Callable[..., Path], more: str, route: str, sentence: str
) -> None:
    assert any(sentence in problem for problem in problems(write(more=more, route=route)))


@pytest.mark.parametrize(
    ("tenants", "sentence"),
    [
        ("tenants: {acme: {mfa: {required: by_role}}}\n", "required: by_role and roles need each other"),
        ("tenants: {acme: {mfa: {required: by_role, roles: [cleint]}}}\n", "no policy declares the role 'cleint'; did you mean 'client'?"),
        ("tenants: {acme: {mfa: {required: offered}}}\n", "tenants.acme.mfa.required"),
        ("tenants: {acme: {hosts: []}}\n", "tenants.acme.hosts"),
        ("tenants: {acme: {hosts: [a.example], limits: {login: {rate: 1/m, burst: 1, per: user}}}}\n", "counted per ip"),
        ("tenants: {acme: {limits: {login: {rate: 1/m, burst: 1, per: ip}}}}\n", "people of this tenant sign in on a shared host"),
        ("tenants: {acme: {limit: {}}}\n", "tenants.acme.limit: unknown key; did you mean 'limits'?"),
    ],
)  # fmt: skip
def test_each_mistake_about_a_tenant_is_named_with_its_place(
    write: Callable[..., Path], tenants: str, sentence: str
) -> None:
    found = problems(write(tenants, route=""))
    assert any(sentence in problem and problem.startswith("gateway.yaml:") for problem in found), found


def test_a_tenant_asks_nothing_beside_a_rule_for_everybody(write: Callable[..., Path]) -> None:
    path = write(route="")
    path.write_text(path.read_text().replace("required: enrolled", "required: always"))
    assert any("tenants.acme.mfa: has no effect: mfa.required is always" in problem for problem in problems(path))
