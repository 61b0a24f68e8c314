"""The policies that ship: they compile without an error, their cases pass, and every rule has both kinds of case."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.policy import PolicyTable, compile_policy
from gateway.policy.cases import Result, load_cases, run_cases
from gateway.policy.condition import NAMES
from gateway.policy.declaration import OPTIONAL, REQUIRED

ROOT = Path(__file__).parents[3]
HOSTS = {"portal.example.com": "", "acme.portal.example.com": "acme"}


@pytest.fixture(scope="module")
def table() -> PolicyTable:
    files = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in (ROOT / "policies").glob("*.yaml")}
    return compile_policy(files, upstreams={"portal"}, tenants={"acme"}, hosts=HOSTS)[0]


@pytest.fixture(scope="module")
def results(table: PolicyTable) -> list[Result]:
    files = {
        str(path.relative_to(ROOT)): path.read_text("utf-8") for path in (ROOT / "policies" / "tests").glob("*.yaml")
    }
    cases = load_cases(files, table=table, hosts=HOSTS, tenants=frozenset({"acme"}))
    return run_cases(cases, table=table, hosts=HOSTS, now=1_800_000_000.0)


def test_every_shipped_case_passes(results: list[Result]) -> None:
    assert [f"{result.case.source}: {result.actual}" for result in results if not result.passed] == []


def test_every_shipped_rule_has_an_allowed_and_a_refused_case(table: PolicyTable, results: list[Result]) -> None:
    allowed = {result.rule for result in results if result.allowed}
    places = {grant.source for rule in table.rules.values() for grant in rule.grants}
    places |= {rule.public.rule for rule in table.rules.values() if rule.public}
    assert places <= allowed
    refused = {result.route for result in results if not result.allowed}
    unreached = {result.case.facts.path for result in results if not result.allowed and not result.route}
    public = {name for name, rule in table.rules.items() if rule.public}
    assert set(table.routes) - public <= refused
    for name in public:
        prefix = table.routes[name].template.removesuffix("**")
        assert any(path.startswith(prefix) for path in unreached)


def test_the_examples_of_the_manual_work() -> None:
    manual = (ROOT / "docs" / "policies.md").read_text("utf-8")
    policies = re.findall(r"```yaml\n(version: 1\n.*?)```", manual, re.DOTALL)
    cases = re.findall(r"```yaml\n(cases:\n.*?)```", manual, re.DOTALL)
    assert (len(policies), len(cases)) == (2, 1)
    tables = [
        compile_policy({"manual.yaml": text}, upstreams={"portal"}, tenants={"acme"}, hosts=HOSTS) for text in policies
    ]
    table = tables[0][0]
    read = load_cases({"cases.yaml": cases[0]}, table=table, hosts=HOSTS, tenants=frozenset({"acme"}))
    assert all(result.passed for result in run_cases(read, table=table, hosts=HOSTS, now=1_800_000_000.0))


def test_the_manual_names_every_option_and_every_name_of_a_condition() -> None:
    manual = (ROOT / "docs" / "policies.md").read_text("utf-8")
    assert [name for name in (*NAMES, *REQUIRED, *OPTIONAL) if f"`{name}`" not in manual] == []
