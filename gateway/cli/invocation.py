"""How `gateway` was called: which gateway.yaml, and whether answers are JSON.

`-c/--config` and `--json` mean the same on every verb and may stand before or after it; this
module gives them to each command, so that no verb can forget one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import click

DEFAULT_CONFIG: Final = Path("gateway.yaml")


class Invocation:
    """The options that all verbs share; one object for each run of the program."""

    def __init__(self) -> None:
        self.config = DEFAULT_CONFIG
        self.json = False

    def answer(self, value: Any, text: str) -> None:
        """Print the answer of a verb: `value` as one line of JSON when --json was given, `text` otherwise."""
        click.echo(json.dumps(value, ensure_ascii=False) if self.json else text)


def current() -> Invocation:
    """Return how the running verb was called."""
    root = click.get_current_context().find_root()
    if not isinstance(root.obj, Invocation):
        root.obj = Invocation()
    return root.obj


def share_options(command: click.Command, *, file: str = str(DEFAULT_CONFIG)) -> click.Command:
    """Add `-c/--config` and `--json` to a command and, for a group, to each command in it; those that have them keep theirs.

    `file` is what the command reads where nothing is named.
    """
    names = {name for parameter in command.params for name in parameter.opts}
    if "--config" not in names:
        command.params.append(
            click.Option(
                ["-c", "--config"],
                type=click.Path(path_type=Path),
                expose_value=False,
                callback=_take_config,
                help=f"The {file} to use.  [default: {file}]",
            )
        )
    if "--json" not in names:
        command.params.append(
            click.Option(["--json"], is_flag=True, expose_value=False, callback=_take_json, help="Answer in JSON.")
        )
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            share_options(inner, file=file)
    return command


def _take_config(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        current().config = value


def _take_json(_context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value:
        current().json = True
