"""`gateway inspection`: why a request was stopped, what would be, and what looks like honest people."""

from __future__ import annotations

import click

from gateway.cli.inspection.explain import explain_verb
from gateway.cli.inspection.report import report_verb
from gateway.cli.inspection.rules import rules_verb
from gateway.cli.inspection.test import test_verb


@click.group(short_help="Show why requests are stopped, and what to allow.")
def inspection() -> None:
    """Show why requests are stopped as attacks, try requests, and find rules that stop honest people."""


for _verb in (test_verb, explain_verb, report_verb, rules_verb):
    inspection.add_command(_verb)
