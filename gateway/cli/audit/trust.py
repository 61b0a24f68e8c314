"""`gateway audit trust`: write down whose signatures an auditor should ask for, from what the gateway runs with.

The files hold public keys alone. Whoever receives them should compare a key once over another way:
a policy that an attacker wrote trusts the attacker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from gateway.audit.checkpoint import CheckpointError, Vkey, verify_checkpoint
from gateway.audit.fleet import FleetError, parse_fleet
from gateway.audit.trust import NONE, TrustedLog, TrustError, TrustPolicy
from gateway.cli.administration import read_settings
from gateway.cli.invocation import current
from gateway.exchange.errors import ConfigurationError
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.server.settings import Settings

SUFFIX: Final = ".policy"


@click.command(name="trust", short_help="Write trust policies for auditors, and keys for witnesses.")
@click.option("--stream", type=click.Choice([str(stream) for stream in STREAMS]), help="Of this stream alone.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write STREAM.policy files into a directory.",
)
@click.option("--vkeys", "only_keys", is_flag=True, help="Print the verifier keys alone: for witness.yaml.")
@click.option(
    "--sign-fleet",
    "inventory",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Print a list of all logs, a line `log VKEY` for each, signed with this node's key, for verify --fleet.",
)
def trust_verb(stream: str | None, output: Path | None, only_keys: bool, inventory: Path | None) -> None:  # noqa: FBT001 - click's signature
    """Write, for each stream, a C2SP tlog-policy: the key of its log, the witnesses of gateway.yaml and their quorum.

    The streams of a node sign with one key, and a policy may name a key once: so each stream has a policy.
    """
    settings = read_settings()
    if inventory is not None:
        _sign_fleet(inventory, AuditKeys.load(settings.audit.keys))
        return
    keys = known_logs(settings, AuditKeys.load(settings.audit.keys))
    wanted = {name: vkey for name, vkey in keys.items() if stream is None or name == stream}
    if not wanted:
        raise ConfigurationError(("the log has not begun, so that there is no key yet; start the gateway once",))
    if only_keys:
        current().answer({str(name): str(vkey) for name, vkey in wanted.items()}, "\n".join(map(str, wanted.values())))
        return
    witnesses = running_policy(settings)
    policies = {name: policy_of(vkey, witnesses) for name, vkey in wanted.items()}
    if output is None:
        texts = {str(name): policy.dump().decode("utf-8", "replace") for name, policy in policies.items()}
        current().answer(texts, "\n".join(f"# {name}\n{text}" for name, text in texts.items()).rstrip("\n"))
        return
    written = []
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, policy in policies.items():
            path = output / f"{name}{SUFFIX}"
            path.write_bytes(policy.dump())
            written.append(str(path))
    except OSError as error:
        raise ConfigurationError(
            (f"{error.filename or output}: cannot be written: {(error.strerror or '').lower()}",)
        ) from error
    sentence = (
        "They ask for the quorum of witnesses of gateway.yaml."
        if witnesses is not None
        else "No witness is configured (audit.witness), so they ask for the signature of this node alone."
    )
    current().answer({"ok": True, "files": written}, "\n".join([*(f"Wrote {path}" for path in written), sentence]))


def _sign_fleet(path: Path, keys: AuditKeys) -> None:
    """Print a list of logs as a signed note, and who signed it. Raises `ConfigurationError`."""
    try:
        text = path.read_bytes()
        parse_fleet(text)
        note = keys.signer(keys.origin).note(text)
        vkey = keys.vkey(keys.origin)
        parse_fleet(note, vkey)  # as whoever receives it will
    except OSError as error:
        raise ConfigurationError((f"{path}: cannot be read: {(error.strerror or '').lower()}",)) from error
    except FleetError as error:
        raise ConfigurationError((f"{path}: {error}",)) from error
    current().answer({"fleet": note.decode(), "vkey": str(vkey)}, note.decode().rstrip("\n"))
    click.echo(f"signed by {vkey}", err=True)


def known_logs(settings: Settings, keys: AuditKeys) -> dict[Stream, Vkey]:
    """Return the verifier key of each stream that has begun. Raises `ConfigurationError` for a checkpoint that is not ours."""
    layout = Layout(settings.state_dir)
    found: dict[Stream, Vkey] = {}
    for stream in STREAMS:
        path = layout.checkpoint(stream)
        try:
            note = path.read_bytes()
            origin = note.partition(b"\n")[0].decode("utf-8", "replace")
            verify_checkpoint(note, keys.vkey(origin))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigurationError((f"{path}: cannot be read: {(error.strerror or '').lower()}",)) from error
        except CheckpointError as error:
            raise ConfigurationError((f"{path}: {error}; run gateway audit verify",)) from error
        found[stream] = keys.vkey(origin)
    return found


def running_policy(settings: Settings) -> TrustPolicy | None:
    """Return the policy by which the gateway asks its witnesses; None = it asks nobody. Raises `ConfigurationError`."""
    path = settings.audit.witness.policy
    return read_policy(path) if path is not None else None


def read_policy(path: Path) -> TrustPolicy:
    """Read a policy file. Raises `ConfigurationError`, naming the file and the line."""
    try:
        return TrustPolicy.parse(path.read_bytes())
    except OSError as error:
        raise ConfigurationError((f"{path}: cannot be read: {(error.strerror or '').lower()}",)) from error
    except TrustError as error:
        raise ConfigurationError((f"{path}: {error}",)) from error


def policy_of(vkey: Vkey, witnesses: TrustPolicy | None) -> TrustPolicy:
    """Return the policy for one log: its key, and the witnesses and quorum that the gateway itself asks for."""
    log = (TrustedLog(vkey),)
    if witnesses is None:
        return TrustPolicy(log, (), (), NONE)
    return TrustPolicy(log, witnesses.witnesses, witnesses.groups, witnesses.quorum)
