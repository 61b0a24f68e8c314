"""`gateway audit check-proof`: believe a record, or not, from a proof and a policy alone.

Needs no gateway.yaml, no key and no network: an auditor runs it on a machine of their own.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import orjson

from gateway.audit.checkpoint import CheckpointError
from gateway.audit.entry import EntryError, parse_entry
from gateway.audit.merkle import ProofError
from gateway.audit.tlog_proof import MAX_PROOF_BYTES, TlogProof, origin_of, verify_proof
from gateway.audit.trust import Judged, choose
from gateway.cli.administration import refuse
from gateway.cli.audit.showing import plain
from gateway.cli.audit.trust import read_policy
from gateway.cli.invocation import current
from gateway.exchange.errors import ConfigurationError

EXIT_POLICY: Final = 4
"""Nothing is wrong, but the witnesses that the policy asks for did not sign."""


@click.command(name="check-proof", short_help="Check the proof of one record, offline.")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--policy",
    "policies",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A trust policy; of several the one that names the log counts.",
)
@click.option("--show", is_flag=True, help="Print the record too.")
def check_proof_verb(file: Path, policies: tuple[Path, ...], show: bool) -> None:  # noqa: FBT001 - click's signature
    """Check FILE against what a trust policy says: exit 0 proven, 1 not proven, 4 the quorum of witnesses is not there."""
    read = [read_policy(path) for path in policies]
    try:
        with file.open("rb") as opened:
            proof = TlogProof.parse(opened.read(MAX_PROOF_BYTES + 1))
        policy = choose(read, origin_of(proof))
        if policy is None:
            refuse(f"NOT PROVEN: no policy names the log {plain(origin_of(proof))}")
        proven = verify_proof(proof, policy)
    except OSError as error:
        raise ConfigurationError((f"{file}: cannot be read: {(error.strerror or '').lower()}",)) from error
    except (ProofError, CheckpointError) as error:
        refuse(f"NOT PROVEN: {plain(str(error))}")
    judged = proven.judged
    sentence = proven_by(proof.index, judged, proven.entry)
    value = {
        "ok": judged.is_met,
        "verdict": sentence,
        "index": proof.index,
        "origin": judged.checkpoint.origin,
        "size": judged.checkpoint.size,
        "log": str(judged.log),
        "cosigned": [{"witness": name, "time": _moment(found.time_s)} for name, found in judged.cosigned],
        "quorum_met": judged.is_met,
        **about(proven.entry),
        **({"record": _record(proven.entry)} if show else {}),
    }
    lines = [sentence]
    if show:
        lines.append(json.dumps(_record(proven.entry), ensure_ascii=True, indent=2))
    current().answer(value, "\n".join(lines))
    if not judged.is_met:
        click.get_current_context().exit(EXIT_POLICY)


def proven_by(index: int, judged: Judged, raw: bytes) -> str:
    """Say in one sentence what is proven, and by whom."""
    said = about(raw)
    what = f"record {said['uid']}" if said["uid"] else "the record"
    when = f" (taken in {said['taken_in']} by the node's clock)" if said["taken_in"] else ""
    head = (
        f"{what}{when} is entry {index} of the log {judged.checkpoint.origin} in the state it had with "
        f"{judged.checkpoint.size} entries, signed by the node's key {judged.log.key_id.hex()}"
    )
    names = " and ".join(f"{name} at {_moment(found.time_s)}" for name, found in judged.cosigned)
    if names and judged.is_met:
        return plain(
            f"PROVEN: {head} and cosigned by {names}: any change to it since would be found, also one by whoever holds the node's key."
        )
    if judged.is_met:
        return plain(
            f"PROVEN by the node alone: {head}. No witness vouches for it: whoever holds the node's key could have made another history."
        )
    seen = f" It is cosigned by {names}." if names else ""
    return plain(f"NOT ENOUGH: {head}.{seen} The policy asks for more: {judged.missing}.")


def about(raw: bytes) -> dict[str, str]:
    """Return what identifies an entry: uid and time of its record."""
    try:
        entry = parse_entry(raw)
    except EntryError:
        return {"uid": "", "taken_in": ""}
    record = _record(raw)
    metadata = record.get("metadata")
    uid = metadata.get("uid") if isinstance(metadata, dict) else None
    return {"uid": uid if isinstance(uid, str) else "", "taken_in": _moment(entry.time_ns // 1_000_000_000)}


def _record(raw: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(parse_entry(raw).payload)
    except (EntryError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _moment(time_s: int) -> str:
    try:
        return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"second {time_s}"
