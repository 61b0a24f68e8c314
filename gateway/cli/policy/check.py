"""`gateway policy check`: every error and warning of every policy and case file."""

from __future__ import annotations

import time
from pathlib import Path

import click

from gateway.cli.invocation import current
from gateway.cli.policy.reading import Policies, case_files, count, load_policies
from gateway.document.diagnostic import as_json
from gateway.policy.cases import load_cases
from gateway.policy.proof.idle import find_idle
from gateway.policy.proof.space import World
from gateway.server.progress import Progress


@click.command()
def check() -> None:
    """Compile every policy file and read every case file, the candidate's too; print all errors and warnings."""
    policies = load_policies()
    cases = load_cases(
        case_files(policies, ()),
        table=policies.table,
        hosts=policies.hosts,
        tenants=frozenset(policies.settings.tenants),
    )
    warnings = list(policies.warnings)
    if policies.settings.candidate is not None:
        candidate = load_policies(policies.settings.candidate)
        _read_cases(candidate, policies.settings.candidate / "tests")
        warnings += candidate.warnings
    table = policies.table
    world = World(table, policies.hosts, tuple(policies.settings.tenants))
    with Progress("looking for what decides nothing"):
        idle = find_idle(world, policies.source.files, now=time.time())
    warnings = sorted({*warnings, *idle})
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


def _read_cases(candidate: Policies, directory: Path) -> None:
    """Read the candidate's cases. Raises DocumentError with every error of every file."""
    if directory.is_dir():
        load_cases(
            case_files(candidate, (directory,)),
            table=candidate.table,
            hosts=candidate.hosts,
            tenants=frozenset(candidate.settings.tenants),
        )
