"""`gateway audit tail`: show the newest records of all streams, and follow them."""

from __future__ import annotations

import time
from typing import Final

import click

from gateway.audit.subject import may_be_sealed, reveal
from gateway.cli.administration import read_settings
from gateway.cli.audit.showing import parse, show
from gateway.cli.audit.sight import Sight
from gateway.cli.audit.use import record_use
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.reader import Follower, Stored

FOLLOW_S: Final = 0.5


@click.command("tail", short_help="Show the newest records.")
@click.option("-n", "--lines", "count", type=click.IntRange(0), default=10, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--stream", "streams", multiple=True, type=click.Choice([stream.value for stream in STREAMS]))
@click.option("--reason", "purpose", default="", help="Why you look; it is recorded.")
def tail_verb(*, count: int, follow: bool, streams: tuple[str, ...], purpose: str) -> None:
    """Show the newest records. The use of this verb is itself recorded before anything is shown."""
    settings = read_settings()
    keys = AuditKeys.load(settings.audit.keys)
    asked = {"follow": str(follow).lower()} | ({"streams": ",".join(streams)} if streams else {})
    record_use(settings, "audit tail", asked, purpose)
    follower = Follower(Layout(settings.state_dir).directory, keys, tuple(map(Stream, streams)) or STREAMS)
    with Sight(settings) as sight:
        for stored in follower.last(count):
            _show(stored, sight)
        try:
            while follow:
                time.sleep(FOLLOW_S)
                for stored in follower.poll():
                    _show(stored, sight)
        except KeyboardInterrupt:
            click.echo(err=True)


def _show(stored: Stored, sight: Sight) -> None:
    read = parse(stored)
    show(stored, reveal(read, sight.keys) if may_be_sealed(stored.entry.payload) else read)
