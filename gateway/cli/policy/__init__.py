"""`gateway policy`: check the policies, run their cases, explain and compare their answers.

Reads gateway.yaml and the policy files and nothing else, so it works while the gateway is stopped
and without its keys; what more a verb reads, its module says.
"""

from __future__ import annotations

import click

from gateway.cli.policy.check import check
from gateway.cli.policy.coverage import coverage
from gateway.cli.policy.diff import diff
from gateway.cli.policy.explain import explain_verb
from gateway.cli.policy.fmt import fmt
from gateway.cli.policy.replay import replay
from gateway.cli.policy.schema import schema
from gateway.cli.policy.shadow import shadow
from gateway.cli.policy.suggest import suggest
from gateway.cli.policy.test import test
from gateway.cli.policy.what_can import what_can_verb
from gateway.cli.policy.who_can import who_can_verb


@click.group()
def policy() -> None:
    """Check, test, explain, prove, compare, replay and format policies."""


for _verb in (
    check,
    test,
    explain_verb,
    replay,
    coverage,
    schema,
    fmt,
    shadow,
    suggest,
    who_can_verb,
    what_can_verb,
    diff,
):
    policy.add_command(_verb)
