"""`gateway policy check`: every error and warning of every policy and case file."""

from __future__ import annotations

import click

from gateway.cli.invocation import current
from gateway.cli.policy.reading import case_files, count, load_policies
from gateway.document.diagnostic import as_json
from gateway.policy.cases import load_cases


@click.command()
def check() -> None:
    """Compile every policy file and read every case file; print all errors and warnings."""
    policies = load_policies()
    cases = load_cases(
        case_files(policies, ()),
        table=policies.table,
        hosts=policies.hosts,
        tenants=frozenset(policies.settings.tenants),
    )
    table, warnings = policies.table, policies.warnings
    summary = f"{count(len(table.routes), 'route')}, {count(len(table.roles), 'role')}, {count(len(cases), 'case')}"
    value = {
        "ok": True,
        "version": table.version,
        "routes": len(table.routes),
        "roles": len(table.roles),
        "cases": len(cases),
        "warnings": [as_json(warning) for warning in warnings],
    }
    current().answer(
        value,
        "\n".join(
            [*(warning.drawn() for warning in warnings), f"The policy is sound: {summary} (version {table.version})."]
        ),
    )
