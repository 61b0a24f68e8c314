"""`gateway policy`: check the policies, run their cases, explain one answer.

Reads gateway.yaml and the policy files and nothing else, so it works while the gateway is stopped
and without its keys; only `explain --as USER` without roles looks into the state.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from gateway.authn.name import InvalidNameError, canonical_name
from gateway.cli.administration import NO, read_settings
from gateway.cli.invocation import current
from gateway.cli.unbuilt import unbuilt
from gateway.document.quantity import duration
from gateway.document.source import Diagnostic, did_you_mean
from gateway.exchange.errors import ConfigurationError, GatewayError
from gateway.exchange.reason import ANSWERS
from gateway.policy import PolicyTable, compile_policy
from gateway.policy.cases import Result, load_cases, run_cases
from gateway.policy.declaration import METHODS
from gateway.policy.explanation import Criterion, Explanation, explain
from gateway.policy.judgement import Person, parse_request
from gateway.server.bundle import display_name, read_directory, read_text
from gateway.server.settings import Settings
from gateway.server.state import open_state, read_redis_options
from gateway.server.upstream import path_mappings
from gateway.store.keyring import Keyring
from gateway.store.records import User

_NOT_BUILT: Final = {
    "who-can": "`policy who-can` is not built yet; `policy explain` answers for one person",
    "what-can": "`policy what-can` is not built yet; `policy explain` answers for one address",
    "diff": "`policy diff` is not built yet",
    "replay": "`policy replay` is not built yet",
    "suggest": "`policy suggest` is not built yet",
    "coverage": "`policy coverage` is not built yet",
    "fmt": "`policy fmt` is not built yet",
}


@dataclass(frozen=True, slots=True)
class _Policies:
    """The compiled policy and what the verbs need beside it."""

    settings: Settings
    base: Path
    table: PolicyTable
    warnings: list[Diagnostic]

    @property
    def hosts(self) -> Mapping[str, str]:
        return self.settings.hosts


@click.group()
def policy() -> None:
    """Check, test and explain policies."""


@policy.command()
def check() -> None:
    """Compile every policy file and read every case file; print all errors and warnings."""
    policies = _load()
    cases = load_cases(
        _case_files(policies, ()),
        table=policies.table,
        hosts=policies.hosts,
        tenants=frozenset(policies.settings.tenants),
    )
    table, warnings = policies.table, policies.warnings
    summary = f"{_count(len(table.routes), 'route')}, {_count(len(table.roles), 'role')}, {_count(len(cases), 'case')}"
    value = {
        "ok": True,
        "version": table.version,
        "routes": len(table.routes),
        "roles": len(table.roles),
        "cases": len(cases),
        "warnings": [_as_json(warning) for warning in warnings],
    }
    current().answer(
        value, "\n".join([*map(str, warnings), f"The policy is sound: {summary} (version {table.version})."])
    )


@policy.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
def test(files: tuple[Path, ...]) -> None:
    """Run case FILES (or directories of them) against the policy; without FILES those in policies/tests/."""
    policies = _load()
    cases = load_cases(
        _case_files(policies, files),
        table=policies.table,
        hosts=policies.hosts,
        tenants=frozenset(policies.settings.tenants),
    )
    if not cases:
        _refuse(
            f"there is no case in {display_name(policies.settings.policies / 'tests', policies.base)}; write one, or name a file"
        )
    results = run_cases(cases, table=policies.table, hosts=policies.hosts, now=time.time())
    failed = [result for result in results if not result.passed]
    value = {
        "ok": not failed,
        "version": policies.table.version,
        "passed": len(results) - len(failed),
        "failed": len(failed),
        "results": [_result_as_json(result) for result in results],
    }
    lines = [
        f"{result.case.source}: {result.case.name}\n    expected  {result.expected}\n    actual    {result.actual}"
        for result in failed
    ]
    lines.append(f"{_count(len(results), 'case')}: {len(results) - len(failed)} passed, {len(failed)} failed.")
    current().answer(value, "\n".join(lines))
    if failed:
        raise click.exceptions.Exit(NO)


@policy.command(name="explain")
@click.option(
    "--as",
    "who",
    metavar="USER[:ROLES]",
    help="Who asks; roles after the colon, separated by commas, count instead of the user's own. Nobody when absent.",
)
@click.option("--tenant", help="Tenant of the person.  [default: that of the host]")
@click.option("--email", default="", help="E-mail address of the person.")
@click.option(
    "--mfa-age",
    default="0s",
    show_default=True,
    help="How long ago the second factor was proven, such as 90m; never = not at all.",
)
@click.option("--auth-age", default="0s", show_default=True, help="How long ago the person signed in.")
@click.option("--ip", "client_ip", default="", help="Address the request comes from.")
@click.option("--user-agent", default="", help="User-Agent of the request.")
@click.argument("method")
@click.argument("url")
def explain_verb(
    *,
    who: str | None,
    tenant: str | None,
    email: str,
    mfa_age: str,
    auth_age: str,
    client_ip: str,
    user_agent: str,
    method: str,
    url: str,
) -> None:
    """Show each criterion of the answer to METHOD URL and the line that decides; exit 1 when it is refused."""
    policies = _load()
    method = method.upper()
    if method not in METHODS:
        _refuse(f"unknown method {method!r}{did_you_mean(method, METHODS)}")
    try:
        facts = parse_request(method, url, client_ip=client_ip, user_agent=user_agent)
        ages = duration(auth_age), None if mfa_age == "never" else duration(mfa_age)
    except ValueError as error:
        _refuse(str(error))
    person = None
    if who is not None:
        person = _person(policies, who, tenant, policies.hosts.get(facts.host, ""), email=email, ages=ages)
    explanation = explain(policies.table, policies.hosts, facts, person, time.time())
    current().answer(
        _explanation_as_json(explanation, policies.table), _explanation_as_text(explanation, f"{method} {url}", person)
    )
    if not explanation.decision.allowed:
        raise click.exceptions.Exit(NO)


for _name, _sentence in _NOT_BUILT.items():
    policy.add_command(unbuilt(_name, _sentence))


def _refuse(sentence: str) -> NoReturn:
    raise ConfigurationError((sentence,))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _load() -> _Policies:
    """Read gateway.yaml and compile its policies. Raises ConfigurationError with every error."""
    settings = read_settings()
    base = current().config.absolute().parent
    errors: list[str] = []
    files = read_directory(settings.policies, base, errors)
    if errors:
        raise ConfigurationError(tuple(errors))
    table, warnings = compile_policy(
        files,
        upstreams=settings.upstreams.keys(),
        tenants=settings.tenants.keys(),
        hosts=settings.hosts.keys(),
        mfa_required=settings.mfa.required == "always",
        paths=path_mappings(settings.upstreams),
    )
    return _Policies(settings, base, table, warnings)


def _case_files(policies: _Policies, named: tuple[Path, ...]) -> dict[str, str]:
    errors: list[str] = []
    files: dict[str, str] = {}
    directory = policies.settings.policies / "tests"
    if not named and directory.is_dir():
        files = read_directory(directory, policies.base, errors)
    for path in named:
        if path.is_dir():
            files |= read_directory(path, Path.cwd(), errors)
        elif (text := read_text(path, str(path), errors)) is not None:
            files[str(path)] = text
    if errors:
        raise ConfigurationError(tuple(errors))
    return files


def _person(
    policies: _Policies, who: str, tenant: str | None, host_tenant: str, *, email: str, ages: tuple[float, float | None]
) -> Person:
    """Read USER[:ROLES]. Roles after the colon count; without a colon the user of the gateway is looked up."""
    name, colon, listed = who.partition(":")
    if not name:
        _refuse("--as needs a name: USER, or USER:ROLE,ROLE")
    if tenant is not None and policies.settings.tenants and tenant not in policies.settings.tenants:
        _refuse(f"unknown tenant {tenant!r}{did_you_mean(tenant, policies.settings.tenants)}")
    if colon:
        roles = tuple(dict.fromkeys(role.strip() for role in listed.split(",") if role.strip()))
        return Person(
            user=name,
            tenant=host_tenant if tenant is None else tenant,
            roles=roles,
            email=email,
            auth_age=ages[0],
            mfa_age=ages[1],
        )
    user = _look_up(policies.settings, name)
    return Person(
        user=user.name,
        user_id=user.id,
        tenant=user.tenant if tenant is None else tenant,
        roles=user.roles,
        email=email or user.email,
        auth_age=ages[0],
        mfa_age=ages[1],
    )


def _look_up(settings: Settings, name: str) -> User:
    """Find a user of the gateway in its state, which is not changed."""
    hint = f"give the roles to explain without it: --as {name}:ROLE"
    try:
        store = open_state(settings, Keyring.load(settings.keyring), read_redis_options(settings))
    except GatewayError as error:
        _refuse(f"the user {name!r} cannot be looked up ({error}); {hint}")
    with closing(store):
        try:
            user = store.user_named(canonical_name(name))
        except InvalidNameError as error:
            _refuse(f"--as: {error}")
    if user is None:
        _refuse(f"there is no user {name!r}; {hint}")
    if user.disabled:
        _refuse(f"the user {name!r} is disabled and can have no session; {hint}")
    return user


def _as_json(finding: Diagnostic) -> dict[str, Any]:
    return {"path": finding.path, "line": finding.line, "column": finding.column, "message": finding.message}


def _result_as_json(result: Result) -> dict[str, Any]:
    return {
        "name": result.case.name,
        "source": result.case.source,
        "passed": result.passed,
        "expected": {"decision": result.case.decision, "route": result.case.route, "reason": result.case.reason},
        "actual": {
            "decision": "allow" if result.allowed else "deny",
            "route": result.route or None,
            "reason": result.reason,
            "rule": result.rule or None,
        },
    }


def _explanation_as_json(explanation: Explanation, table: PolicyTable) -> dict[str, Any]:
    decision = explanation.decision
    return {
        "decision": "allow" if decision.allowed else "deny",
        "reason": decision.reason,
        "rule": decision.rule or None,
        "route": explanation.route or None,
        "route_source": explanation.source or None,
        "version": table.version,
        "criteria": [
            {"name": item.name, "outcome": item.outcome, "detail": item.detail, "rule": item.rule or None}
            for item in explanation.criteria
        ],
    }


def _explanation_as_text(explanation: Explanation, request: str, person: Person | None) -> str:
    decision = explanation.decision
    who = f"{person.user} ({', '.join(person.roles) or 'no role'})" if person else "nobody signed in"
    lines = [f"{request} as {who}", ""]
    rule = ""
    for item in explanation.criteria:
        if item.rule and item.rule != rule:
            lines.append(f"  the rule at {item.rule}")
        rule = item.rule
        lines.append(_criterion_as_text(item))
    verdict = "ALLOWED" if decision.allowed else "REFUSED"
    place = decision.rule or explanation.source
    lines += [
        "",
        f"{verdict} ({decision.reason})" + (f" by {place}" if place else "") + f": {ANSWERS[decision.reason].sentence}",
    ]
    return "\n".join(lines)


def _criterion_as_text(item: Criterion) -> str:
    return f"{'    ' if item.rule else '  '}{item.outcome:<8}{item.name:<8} {item.detail}"
