"""`gateway run` and `gateway reload`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from gateway.cli.invocation import current
from gateway.document.source import load
from gateway.exchange.errors import ConfigurationError
from gateway.server import logs
from gateway.server.commands import ask_reload
from gateway.server.confine import harden
from gateway.server.progress import Progress
from gateway.server.supervisor import Supervisor
from gateway.server.validate import Validated, read_and_validate


@click.command(short_help="Run the gateway in the foreground.")
def run() -> None:
    """Run the gateway until SIGTERM or Ctrl-C; everything it starts descends from this process.

    SIGHUP, or `gateway reload`, reads the configuration again. A second SIGTERM does not wait for open requests.
    """
    path = current().config
    harden()
    with Progress("reading the configuration") as progress:
        validated = read_and_validate(path)
        logs.configure(validated.settings.logging, "supervisor")
        asyncio.run(_supervise(path.absolute(), validated, progress))


async def _supervise(path: Path, validated: Validated, progress: Progress) -> None:
    await Supervisor(path, validated, progress=progress).run()


@click.command(short_help="Have the running gateway read its configuration again.")
def reload() -> None:
    """Have the gateway of this configuration read it again, whole or not at all.

    Exit 0 when every process runs on it; 2 when something is wrong with it: nothing changed then.
    """
    invocation = current()
    with Progress("reloading"):
        diagnostics = ask_reload(_state_directory(invocation.config))
    if diagnostics:
        raise ConfigurationError(diagnostics)
    invocation.answer({"ok": True}, "reloaded")


def _state_directory(path: Path) -> Path:
    """Find the running gateway even when the rest of gateway.yaml is wrong: it must say so itself, and record it."""
    try:
        data = load(path.read_text(encoding="utf-8"), path.name).data
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError((f"{path}: cannot be read",)) from None
    named = data.get("state_dir", "/var/lib/gateway") if isinstance(data, dict) else None
    if not isinstance(named, str):
        raise ConfigurationError((f"{path}: state_dir is not a path",))
    return Path(path.absolute().parent, named)
