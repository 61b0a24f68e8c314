"""`gateway policy what-can`: everything that one user, or everybody with one role, can do.

Beside gateway.yaml and the policies it reads the gateway's state for a USER; for `role:ROLE` it needs none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from gateway.cli.administration import NO, table
from gateway.cli.invocation import current
from gateway.cli.policy.asked import look_up
from gateway.cli.policy.reading import Policies, count, load_policies, refuse
from gateway.cli.policy.who_can import fixed_of, tenants_as_text, world_of
from gateway.document.source import did_you_mean
from gateway.policy.proof.access import Reach, what_can

_STANDINGS: Final = {"allowed": "", "depends": "depends", "undecided": "not decided"}


@click.command(name="what-can")
@click.option("--tenant", help="As a member of this organisation.  [default: the user's own; of a role, each]")
@click.argument("who", metavar="USER|role:ROLE")
def what_can_verb(*, tenant: str | None, who: str) -> None:
    """List every host, method and path that USER, or who holds ROLE alone, can reach; exit 1 when there is none."""
    policies = load_policies()
    fixed, held = _asked(policies, who)
    if tenant is not None:
        if policies.settings.tenants and tenant not in policies.settings.tenants:
            refuse(f"unknown tenant {tenant!r}{did_you_mean(tenant, policies.settings.tenants)}")
        fixed = {**fixed, "tenant": (tenant,)}
    reaches, doubts = what_can(world_of(policies), fixed, held, now=float(int(time.time())))
    value = {
        "who": who,
        "roles": held,
        "count": len(reaches),
        "reach": [reach._asdict() for reach in reaches],
        "undecided": doubts,
        "version": policies.table.version,
    }
    current().answer(
        value, "\n".join([*_as_text(who, held, reaches, policies), *map("not decided: {}".format, doubts)])
    )
    if not reaches and not doubts:
        raise click.exceptions.Exit(NO)


def _asked(policies: Policies, who: str) -> tuple[Mapping[str, Sequence[Any]], tuple[str, ...]]:
    """Read USER or role:ROLE: what is known of them, and the roles they hold."""
    kind, colon, name = who.partition(":")
    if not colon:
        user = look_up(
            policies.settings,
            who,
            hint=f"ask about a role without it: role:{next(iter(sorted(policies.table.roles)), 'ROLE')}",
        )
        return fixed_of(user), user.roles
    if kind != "role" or not name:
        refuse("write a USER, or role:ROLE")
    if name not in policies.table.roles:
        refuse(f"unknown role {name!r}{did_you_mean(name, policies.table.roles)}")
    return {"roles": ((name,),)}, (name,)


def _as_text(who: str, held: Sequence[str], reaches: Sequence[Reach], policies: Policies) -> list[str]:
    name = who.removeprefix("role:") if who.startswith("role:") else f"{who} ({', '.join(held) or 'no role'})"
    if not reaches:
        return [f"{name} can reach nothing."]
    every = set(policies.hosts)
    rows = [
        (
            reach.template,
            " ".join(reach.methods),
            "every host" if set(reach.hosts) == every else " ".join(reach.hosts),
            reach.route,
            tenants_as_text(reach.tenants, policies.settings.tenants),
            "; ".join((_STANDINGS[reach.standing], *reach.conditions)).removeprefix("; "),
        )
        for reach in reaches
    ]
    columns = ("PATH", "METHODS", "HOSTS", "ROUTE", "TENANTS", "CONDITIONS")
    return [f"{name} can reach {count(len(reaches), 'place')}.", "", table(columns, rows)]
