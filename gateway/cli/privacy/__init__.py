"""`gateway privacy`: what people may ask for about their data: to be told, to be erased, to be left alone.

Articles are those of Regulation (EU) 2016/679 (GDPR). Every verb is in the audit trail before it shows or does anything.
"""

from __future__ import annotations

import click

from gateway.cli.privacy.erase import erase
from gateway.cli.privacy.export import export
from gateway.cli.privacy.restrict import lift, restrict
from gateway.cli.privacy.status import status


@click.group()
def privacy() -> None:
    """Tell people what is recorded about them, restrict it, erase it."""


for verb in (status, export, restrict, lift, erase):
    privacy.add_command(verb)
