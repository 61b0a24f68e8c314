"""`gateway run`, `gateway reload` and `gateway upgrade`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from gateway.cli.invocation import current
from gateway.document.source import load
from gateway.exchange.errors import ConfigurationError, GatewayError
from gateway.server import logs
from gateway.server.commands import ask_reload, ask_upgrade
from gateway.server.confine import harden
from gateway.server.predecessor import Predecessor
from gateway.server.progress import Progress
from gateway.server.sections.audit import AUDIT_KEYS
from gateway.server.supervisor import Supervisor
from gateway.server.validate import Validated, read_and_validate


@click.command(short_help="Run the gateway in the foreground.")
@click.option("--take-over", type=int, hidden=True, help="Descriptor on which a running gateway hands over.")
def run(take_over: int | None) -> None:
    """Run the gateway until SIGTERM or Ctrl-C; everything it starts descends from this process.

    SIGHUP, or `gateway reload`, reads the configuration again. SIGUSR2, or `gateway upgrade`, hands over to a new
    program. A second SIGTERM does not wait for open requests.
    """
    path = current().config
    harden()
    predecessor = Predecessor(take_over) if take_over is not None else None
    try:
        with Progress("reading the configuration") as progress:
            validated = read_and_validate(path)
            logs.configure(validated.settings.logging, "supervisor")
            asyncio.run(_supervise(path.absolute(), validated, progress, predecessor))
    except GatewayError as error:
        if predecessor:
            predecessor.fail(error.diagnostics if isinstance(error, ConfigurationError) else (str(error),))
        raise


async def _supervise(path: Path, validated: Validated, progress: Progress, predecessor: Predecessor | None) -> None:
    await Supervisor(path, validated, progress=progress, predecessor=predecessor).run()


@click.command(short_help="Have the running gateway read its configuration again.")
def reload() -> None:
    """Have the gateway of this configuration read it again, whole or not at all.

    Exit 0 when every process runs on it; 2 when something is wrong with it: nothing changed then.
    """
    invocation = current()
    with Progress("reloading"):
        diagnostics = ask_reload(_running(invocation.config)[0])
    if diagnostics:
        raise ConfigurationError(diagnostics)
    invocation.answer({"ok": True}, "reloaded")


@click.command(short_help="Have the running gateway hand over to a new program.")
@click.option(
    "--program",
    type=click.Path(exists=True, dir_okay=False, executable=True, path_type=Path),
    help="The gateway to run from now on.  [default: the path from which it was started]",
)
def upgrade(program: Path | None) -> None:
    """Have the gateway of this configuration start a new program and hand everything over, without dropping a request.

    The configuration is read again, listeners and workers included. Exit 0 when the new program serves; 2 when it
    cannot, with its reasons: the old one goes on then.
    """
    invocation = current()
    with Progress("starting the new program"):
        diagnostics = ask_upgrade(*_running(invocation.config), str(program.absolute()) if program else "")
    if diagnostics:
        raise ConfigurationError(diagnostics)
    invocation.answer({"ok": True}, "the new program serves")


def _running(path: Path) -> tuple[Path, Path]:
    """Find state_dir and audit.keys even when the rest of gateway.yaml is wrong: the gateway must say so itself, and record it."""
    try:
        data = load(path.read_text(encoding="utf-8"), path.name).data
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError((f"{path}: cannot be read",)) from None
    named = data.get("state_dir", "/var/lib/gateway") if isinstance(data, dict) else None
    if not isinstance(named, str):
        raise ConfigurationError((f"{path}: state_dir is not a path",))
    audit = data.get("audit") if isinstance(data, dict) else None
    keys = audit.get("keys", AUDIT_KEYS) if isinstance(audit, dict) else AUDIT_KEYS
    if not isinstance(keys, str):
        raise ConfigurationError((f"{path}: audit.keys is not a path",))
    directory = path.absolute().parent
    return Path(directory, named), Path(directory, keys)
