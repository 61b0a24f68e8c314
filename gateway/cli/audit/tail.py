"""`gateway audit tail`: show the newest records, and follow them."""

from __future__ import annotations

import time
from typing import Final

import click

from gateway.cli.administration import read_settings
from gateway.cli.audit.showing import parse, show
from gateway.cli.audit.use import record_use
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.reader import Follower

FOLLOW_S: Final = 0.5


@click.command("tail", short_help="Show the newest records.")
@click.option("-n", "--lines", "count", type=click.IntRange(0), default=10, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--reason", "purpose", default="", help="Why you look; it is recorded.")
def tail_verb(count: int, follow: bool, purpose: str) -> None:  # noqa: FBT001 - click's signature
    """Show the newest records. The use of this verb is itself recorded before anything is shown."""
    settings = read_settings()
    keys = AuditKeys.load(settings.audit.keys)
    record_use(settings, "audit tail", {"follow": str(follow).lower()}, purpose)
    follower = Follower(Layout(settings.state_dir).directory, keys)
    for stored in follower.last(count):
        show(stored, parse(stored))
    try:
        while follow:
            time.sleep(FOLLOW_S)
            for stored in follower.poll():
                show(stored, parse(stored))
    except KeyboardInterrupt:
        click.echo(err=True)
