"""Verbs that later versions will have and this one does not: they exist, and say so with exit 2."""

from __future__ import annotations

import click

from gateway.exchange.errors import ConfigurationError


def unbuilt(name: str, sentence: str) -> click.Command:
    """Make a hidden verb that takes whatever it is given and refuses with `sentence`."""

    def refuse(**_ignored: object) -> None:
        raise ConfigurationError((sentence,))

    return click.Command(
        name,
        callback=refuse,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        help=sentence,
        hidden=True,
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
    )
