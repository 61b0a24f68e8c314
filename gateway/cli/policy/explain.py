"""`gateway policy explain`: one answer, taken apart."""

from __future__ import annotations

import time
from typing import Any

import click
import msgspec

from gateway.cli.administration import NO
from gateway.cli.invocation import current
from gateway.cli.policy.asked import person_of
from gateway.cli.policy.reading import load_policies, refuse
from gateway.document.quantity import duration
from gateway.document.source import did_you_mean
from gateway.exchange.reason import ANSWERS
from gateway.policy import PolicyTable
from gateway.policy.declaration import METHODS
from gateway.policy.explanation import Criterion, Explanation, explain
from gateway.policy.judgement import Person, parse_request, tenant_asked
from gateway.policy.tenancy import FIELD_NAME


@click.command(name="explain")
@click.option(
    "--as",
    "who",
    metavar="USER[:ROLES]",
    help="Who asks; roles after the colon, separated by commas, count instead of the user's own. Nobody when absent.",
)
@click.option("--tenant", help="Tenant of the person.  [default: that of the request]")
@click.option("--email", default="", help="E-mail address of the person.")
@click.option(
    "--mfa-age",
    default="0s",
    show_default=True,
    help="How long ago the second factor was proven, such as 90m; never = not at all.",
)
@click.option("--auth-age", default="0s", show_default=True, help="How long ago the person signed in.")
@click.option("--known-device", is_flag=True, help="The person had signed in with this browser before.")
@click.option("--ip", "client_ip", default="", help="Address the request comes from.")
@click.option("--user-agent", default="", help="User-Agent of the request.")
@click.option(
    "--header",
    "headers",
    multiple=True,
    metavar="NAME:VALUE",
    help="A header field that names the tenant on its route.",
)
@click.argument("method")
@click.argument("url")
def explain_verb(
    *,
    who: str | None,
    tenant: str | None,
    email: str,
    mfa_age: str,
    auth_age: str,
    known_device: bool,
    client_ip: str,
    user_agent: str,
    headers: tuple[str, ...],
    method: str,
    url: str,
) -> None:
    """Show each criterion of the answer to METHOD URL and the line that decides; exit 1 when it is refused."""
    policies = load_policies()
    method = method.upper()
    if method not in METHODS:
        refuse(f"unknown method {method!r}{did_you_mean(method, METHODS)}")
    try:
        facts = parse_request(method, url, client_ip=client_ip, user_agent=user_agent)
        facts = msgspec.structs.replace(facts, fields=tuple(_field(header) for header in headers))
        ages = duration(auth_age), None if mfa_age == "never" else duration(mfa_age)
    except ValueError as error:
        refuse(str(error))
    person = None
    if who is not None:
        asked = tenant_asked(policies.table, policies.hosts, facts)
        person = person_of(policies, who, tenant, asked, email=email, ages=ages)
        person = msgspec.structs.replace(person, known_device=known_device)
    explanation = explain(policies.table, policies.hosts, facts, person, time.time())
    current().answer(
        _explanation_as_json(explanation, policies.table), _explanation_as_text(explanation, f"{method} {url}", person)
    )
    if not explanation.decision.allowed:
        raise click.exceptions.Exit(NO)


def _field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not FIELD_NAME.fullmatch(name):
        raise ValueError(f"{text!r} is not a header field such as X-Tenant: acme")
    return name.lower(), value.strip(" \t")


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
