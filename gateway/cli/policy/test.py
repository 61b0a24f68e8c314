"""`gateway policy test`: run the case files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from gateway.cli.administration import NO
from gateway.cli.invocation import current
from gateway.cli.policy.reading import case_files, count, load_policies, refuse
from gateway.policy.cases import Result, load_cases, run_cases
from gateway.server.bundle import display_name


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
def test(files: tuple[Path, ...]) -> None:
    """Run case FILES (or directories of them) against the policy; without FILES those in policies/tests/."""
    policies = load_policies()
    cases = load_cases(
        case_files(policies, files),
        table=policies.table,
        hosts=policies.hosts,
        tenants=frozenset(policies.settings.tenants),
    )
    if not cases:
        refuse(
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
    lines.append(f"{count(len(results), 'case')}: {len(results) - len(failed)} passed, {len(failed)} failed.")
    current().answer(value, "\n".join(lines))
    if failed:
        raise click.exceptions.Exit(NO)


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
