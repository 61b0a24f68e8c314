"""`gateway policy`: check the policies, run their cases, explain and compare their answers.

Reads gateway.yaml and the policy files and nothing else, so it works while the gateway is stopped
and without its keys; what more a verb reads, its module says.
"""

from __future__ import annotations

from typing import Final

import click

from gateway.cli.policy.check import check
from gateway.cli.policy.coverage import coverage
from gateway.cli.policy.explain import explain_verb
from gateway.cli.policy.fmt import fmt
from gateway.cli.policy.replay import replay
from gateway.cli.policy.schema import schema
from gateway.cli.policy.shadow import shadow
from gateway.cli.policy.suggest import suggest
from gateway.cli.policy.test import test
from gateway.cli.unbuilt import unbuilt

_NOT_BUILT: Final = {
    "who-can": "`policy who-can` is not built yet; `policy explain` answers for one person",
    "what-can": "`policy what-can` is not built yet; `policy explain` answers for one address",
    "diff": "`policy diff` is not built yet",
}


@click.group()
def policy() -> None:
    """Check, test and explain policies."""


for _verb in (check, test, explain_verb, replay, coverage, schema, fmt, shadow, suggest):
    policy.add_command(_verb)
for _name, _sentence in _NOT_BUILT.items():
    policy.add_command(unbuilt(_name, _sentence))
