"""`gateway keys`: the gateway's keys, listed without their secrets, and rotated without logging anybody out.

A new key is known to every process before it is used, old ones open what they sealed until nothing
needs them. The audit trail's signing key is not one of these: it belongs to the audit process alone.
"""

from __future__ import annotations

import os

import click

from gateway.cli.administration import Administration, administration, answer, moment, table
from gateway.cli.invocation import current
from gateway.exchange.errors import ConfigurationError
from gateway.server.commands import NotRunningError, ask_reload
from gateway.server.progress import Progress
from gateway.store.keyring import ASSERTION_LEAD_S, SEAL_LEAD_S


@click.group()
def keys() -> None:
    """List and rotate keys."""


@keys.command(name="list")
def list_keys() -> None:
    """List keys: what for, since when, in use or not, and how many stored values need each."""
    with administration() as act:
        act.record_administration("keys list", action="view", resources=[("keys", "all")])
        use = act.store.key_use()
        found = act.keyring.describe(act.now)
    listed = [
        {
            "kind": key.kind,
            "id": key.id,
            "state": key.state,
            "created": key.created,
            "use_from": key.use_from,
            **({"values": use.get(int(key.id), 0)} if key.kind == "seal" else {}),
        }
        for key in found
    ]
    rows = [
        (key.kind, key.id, key.state, moment(key.use_from), str(use.get(int(key.id), 0)) if key.kind == "seal" else "-")
        for key in found
    ]
    answer({"keys": listed}, [table(("KIND", "KEY", "STATE", "IN USE FROM", "VALUES"), rows)])


@keys.command()
@click.option("--retire", is_flag=True, help="Make no new key; drop the old sealing keys that no stored value needs.")
def rotate(*, retire: bool) -> None:
    """Add a sealing key and a signing key; a running gateway takes them over. Nobody is signed out.

    The new sealing key is used after a minute, the new signing key after ten, when upstreams have seen it in the JWKS.
    Values sealed under older keys are moved in the background; `--retire` then drops the older keys.
    """
    with administration() as act, Progress("rotating keys"):
        if retire:
            idle = frozenset(act.keyring.seal_versions) - frozenset(act.store.key_use())
            rotated = act.keyring.retire(idle, act.now)
            dropped = [version for version in act.keyring.seal_versions if version not in rotated.seal_versions]
            sentence = (
                f"Dropped sealing keys {', '.join(map(str, dropped))}." if dropped else "No key can be dropped yet."
            )
            resources = [("seal_key", str(version)) for version in dropped]
        else:
            rotated = act.keyring.rotate(os.urandom, act.now)
            version = rotated.seal_versions[-1]
            kid = rotated.describe(act.now)[-1].id
            resources = [("seal_key", str(version)), ("assertion_key", kid)]
            sentence = (
                f"Added sealing key {version} (in use in {SEAL_LEAD_S:.0f} s) "
                f"and signing key {kid} (in use in {ASSERTION_LEAD_S:.0f} s)."
            )
        if resources:
            act.record_administration(
                "keys rotate --retire" if retire else "keys rotate", action="admin", resources=resources
            )
            rotated.replace(act.settings.keyring)
        running = bool(resources) and _reload(act)
    told = " The running gateway has taken it over." if running else ""
    value = {"ok": True, "changed": [f"{kind}:{uid}" for kind, uid in resources], "reloaded": running}
    current().answer(value, sentence + told)


def _reload(act: Administration) -> bool:
    """Have a running gateway read the new keyring; when it refuses, the old file comes back: nobody uses a new key yet."""
    try:
        diagnostics = ask_reload(act.settings.state_dir)
    except NotRunningError:
        return False
    if diagnostics:
        act.keyring.replace(act.settings.keyring)
        raise ConfigurationError(("the keys were not rotated, because the gateway refuses to reload:", *diagnostics))
    return True
