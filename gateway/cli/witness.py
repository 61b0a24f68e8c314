"""`gateway witness`: vouch for the logs of others, on a machine that their operator does not control.

Reads witness.yaml, never gateway.yaml: the machine needs no gateway and knows nobody's data.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, get_args

import click

from gateway.audit.cosignature import WitnessKey
from gateway.cli.invocation import DEFAULT_CONFIG, current, share_options
from gateway.exchange.errors import ConfigurationError
from gateway.server import logs
from gateway.server.confine import harden
from gateway.server.sections.witness import WITNESS_KEY
from gateway.server.witness_process import run_witness
from gateway.server.witness_settings import WITNESS_FILE, WitnessSettings, load_witness_settings
from gateway.witness.keys import Algorithm, generate, load
from gateway.witness.service import describe
from gateway.witness.store import WitnessStore

_STARTER: Final = """\
# A witness: it cosigns the checkpoints of the logs below while each continues what it saw before.
# docs/witness.md says what that proves, and what must never be restored from a backup.
version: 1
listen: 127.0.0.1:7380          # beyond loopback: add tls: {certificate: cert.pem, key: key.pem}
# metrics: 127.0.0.1:9091
state_dir: state
key: witness-key.json
logs: []                        # verifier keys; the operator of a log prints them: gateway audit trust --vkeys
"""


@click.group(short_help="Vouch for the audit logs of other gateways.")
def witness() -> None:
    """Vouch for the logs of others: make a key, run the witness, show what it saw. -c names witness.yaml."""


@witness.command(name="init", short_help="Make a key and a witness.yaml.")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--name", required=True, help="What others call this witness: witness.example.org/east. No spaces, no plus."
)
@click.option(
    "--algorithm",
    type=click.Choice(get_args(Algorithm)),
    default="ed25519",
    show_default=True,
    help="ml-dsa-44 withstands quantum computers and takes 3 KB a signature.",
)
def init_verb(directory: Path, name: str, algorithm: Algorithm) -> None:
    """Make DIRECTORY with a fresh key and a witness.yaml, and print the key for the policies of others."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = directory / WITNESS_FILE
        if config.exists():
            raise ConfigurationError((f"{config}: exists already",))
        cosigner = generate(directory / WITNESS_KEY, name, algorithm, os.urandom)
        config.write_text(_STARTER, encoding="utf-8")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--name") from error
    except OSError as error:
        raise ConfigurationError((f"{directory}: cannot be written: {(error.strerror or '').lower()}",)) from error
    lines = [
        f"Wrote {config} and {directory / WITNESS_KEY}.",
        "",
        "For the policies of those whose logs you witness, with the address under which they reach you:",
        f"  {policy_line(cosigner.key, 'https://ADDRESS/')}",
        "",
        f"Next: add their logs to {config}, then gateway witness run -c {config}",
    ]
    current().answer({"ok": True, "vkey": str(cosigner.key), "config": str(config)}, "\n".join(lines))


@witness.command(name="run", short_help="Be a witness until SIGTERM or Ctrl-C.")
def run_verb() -> None:
    """Answer those who put checkpoints before this witness, until SIGTERM or Ctrl-C."""
    harden()
    settings = read_witness_settings()
    logs.configure(settings.logging, "witness")
    asyncio.run(run_witness(settings))


@witness.command(name="show", short_help="Show the key, and how long each log was when it was cosigned last.")
def show_verb() -> None:
    """Show the key and what was cosigned last of each log; also while the witness runs."""
    settings = read_witness_settings()
    key = load(settings.key).key
    found = describe(WitnessStore(settings.state_dir, key).read(), settings.logs)
    rows: list[dict[str, Any]] = []
    lines = [f"key   {key}", f"line  {policy_line(key, 'https://ADDRESS/')}"]
    known = {vkey.name for vkey in settings.logs}
    for origin, kept in found:
        moment = datetime.fromtimestamp(kept.time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if kept else ""
        rows.append(
            {
                "log": origin,
                "known": origin in known,
                "size": kept.checkpoint.size if kept else 0,
                "cosigned": moment,
                "checkpoint": kept.note.decode() if kept else "",
            }
        )
        state = f"{kept.checkpoint.size} entries, cosigned {moment}" if kept else "nothing cosigned yet"
        lines.append(f"log   {origin}: {state}" + ("" if origin in known else ", no longer in witness.yaml"))
    current().answer({"vkey": str(key), "logs": rows}, "\n".join(lines))


def policy_line(key: WitnessKey, address: str) -> str:
    """Return the line of a trust policy that names this witness."""
    short = key.name.rpartition("/")[2] or key.name
    return f"witness {short} {key} {address}"


def read_witness_settings() -> WitnessSettings:
    """Read the witness.yaml that the command line names. Raises `ConfigurationError`."""
    path = current().config
    if path is DEFAULT_CONFIG:
        path = Path(WITNESS_FILE)
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError((f"{path}:1:1: the file is not UTF-8",)) from None
    except FileNotFoundError:
        raise ConfigurationError(
            (f"{path}: does not exist; name the file with -c, or make one with gateway witness init",)
        ) from None
    except OSError as error:
        raise ConfigurationError((f"{path}: cannot be read: {(error.strerror or '').lower()}",)) from None
    return load_witness_settings(text, path)


share_options(witness, file=WITNESS_FILE)
