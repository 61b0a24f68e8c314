"""`gateway inspection rules`: the rules that ship, and what each counts."""

from __future__ import annotations

import click

from gateway.cli.invocation import current
from gateway.inspection.rules import CLASSES
from gateway.server.inspection import shipped_rules


@click.command(name="rules")
@click.option("--class", "attack", type=click.Choice(CLASSES), help="Only rules of this class.")
def rules_verb(attack: str | None) -> None:
    """List the rules: id, class, score and the paranoia from which each counts."""
    rules = [rule for rule in shipped_rules().by_id.values() if attack in {None, rule.attack}]
    rules.sort(key=lambda rule: (rule.attack, rule.paranoia, -rule.score, rule.id))
    current().answer(
        [
            {
                "id": rule.id,
                "class": rule.attack,
                "title": rule.title,
                "score": rule.score,
                "paranoia": rule.paranoia,
                "positions": sorted(position.value for position in rule.positions) or None,
            }
            for rule in rules
        ],
        "\n".join(
            f"{rule.attack:<16} {rule.score}  paranoia {rule.paranoia}  {rule.id:<32} {rule.title}" for rule in rules
        ),
    )
