"""`gateway passwords`: the list of breached passwords that new passwords are looked up in."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gateway.authn.breached import BreachedListError
from gateway.cli.administration import administration, answer, refuse
from gateway.server.progress import Progress
from gateway.store.breached import import_published
from gateway.store.breached_import import import_list


@click.group()
def passwords() -> None:
    """Import the list of breached passwords."""


@passwords.command(name="import")
@click.argument("source", type=click.Path(exists=True, allow_dash=True, path_type=Path))
@click.option("--restart", is_flag=True, help="Begin anew instead of where an interrupted import stopped.")
def import_breached(*, source: Path, restart: bool) -> None:
    """Import breached passwords from SOURCE, a file or a directory as Have I Been Pwned publishes them, or - for standard input.

    A file holds a SHA-1, a colon and a count a line, ordered by hash. A directory holds all range files, 00000.txt to
    FFFFF.txt. An import that was interrupted goes on where it stopped; the list in use stays until the new one is
    whole, and is used beside the shipped one from the next password on.
    """
    is_stream = str(source) == "-"
    if is_stream and restart:
        raise click.UsageError("--restart has no effect on standard input, which is always read from its beginning")
    with administration() as act, Progress("importing") as progress:
        act.record_administration("passwords import", action="admin", resources=[("file", str(source))])
        try:
            if is_stream:
                count = import_published(
                    sys.stdin.buffer,
                    act.settings.state_dir,
                    progress=lambda read: progress(f"importing: {read / 1e6:,.0f} MB"),
                )
            else:
                count = import_list(
                    source,
                    act.settings.state_dir,
                    tell=lambda share: progress(f"importing: {share:.0%}"),
                    restart=restart,
                )
        except BreachedListError as error:
            refuse(str(error))
    answer({"ok": True, "entries": count}, [f"Imported {count:,} breached passwords."])
