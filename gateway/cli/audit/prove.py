"""`gateway audit prove`: take one record out of the log together with what proves that it is in it.

The file holds the record itself, as it is stored: what is sealed for a person stays sealed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import orjson

from gateway.audit.checkpoint import Checkpoint, CheckpointError, parse_checkpoint, split_note, verify_checkpoint
from gateway.audit.entry import EntryError, parse_entry
from gateway.audit.merkle import ProofError, hash_leaf, verify_inclusion
from gateway.audit.proof import prove_inclusion
from gateway.audit.tlog_proof import SUFFIX, TlogProof, verify_proof
from gateway.audit.trust import Judged, TrustPolicy
from gateway.cli.administration import read_settings, refuse
from gateway.cli.audit.check_proof import about, proven_by
from gateway.cli.audit.trust import policy_of, running_policy
from gateway.cli.audit.use import record_use
from gateway.cli.invocation import current
from gateway.exchange.errors import ConfigurationError
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.hashes import leaf_hashes, proven_hashes
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.spool import PrunedError, SpoolReader
from gateway.server.progress import Progress

_BATCH: Final = 2048


class _Found(NamedTuple):
    """The record that is asked for."""

    stream: Stream
    at: int
    raw: bytes


@click.command(name="prove", short_help="Prove one record to somebody who has nothing but the proof.")
@click.option("--index", type=click.IntRange(0), help="Index of the record in its stream, as query shows it.")
@click.option("--stream", type=click.Choice([str(stream) for stream in STREAMS]), help="Stream of the record.")
@click.option("--uid", help="metadata.uid of the record, instead of its index.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help=f"FILE{SUFFIX}")
@click.option("--reason", "purpose", default="", help="Why; it is recorded.")
def prove_verb(index: int | None, stream: str | None, uid: str | None, output: Path, purpose: str) -> None:
    """Write a C2SP tlog-proof of one record: the record, its path in the tree, the tree head and who signed it.

    The head is the last one that the quorum of witnesses cosigned where it covers the record, else the node's own.
    The use of this verb is itself recorded before anything is read.
    """
    if (index is None) == (uid is None):
        raise click.UsageError("say which record: --index I --stream S, or --uid E")
    if index is not None and stream is None:
        raise click.UsageError("--index needs --stream: each stream counts its own records")
    settings = read_settings()
    keys, layout = AuditKeys.load(settings.audit.keys), Layout(settings.state_dir)
    asked = {"uid": uid or "", "stream": stream or "", "index": "" if index is None else str(index)}
    record_use(settings, "audit prove", {name: value for name, value in asked.items() if value}, purpose)
    with Progress("looking for the record") as progress:
        found = _find(layout, keys, stream, index, uid)
        if found is None:
            refuse(f"there is no record {index if uid is None else uid}" + (f" in {stream}" if stream else ""))
        where, at, raw = found
        head = _head(layout, keys, where, at)
        if head is None:
            refuse(f"record {at} of {where} is not covered by a checkpoint yet; try again in a second")
        note, checkpoint = head
        try:
            proof = TlogProof(at, _path(layout, keys, found, checkpoint, progress), note, raw)
        except ProofError as error:
            refuse(f"cannot be proven: {error}")
    policy = policy_of(keys.vkey(checkpoint.origin), running_policy(settings))
    judged = _check(proof, policy)
    try:
        output.touch(mode=0o600)  # it holds the record
        output.write_bytes(proof.dump())
    except OSError as error:
        raise ConfigurationError((f"{output}: cannot be written: {(error.strerror or '').lower()}",)) from error
    value = {
        "ok": True, "file": str(output), "stream": str(where), "index": at, "origin": checkpoint.origin,
        "size": checkpoint.size, "quorum_met": judged.is_met, **about(raw),
    }  # fmt: skip
    current().answer(value, f"Wrote {output}: {proven_by(at, judged, raw)}")


def _path(
    layout: Layout,
    keys: AuditKeys,
    found: _Found,
    checkpoint: Checkpoint,
    progress: Callable[[str], None],
) -> tuple[bytes, ...]:
    """Return the hashes from the record to the root: by the tiles, or by every entry where the tiles are damaged. Raises `ProofError`."""

    def tell(done: int, total: int) -> None:
        progress(_share("hashing", done, total))

    path = tuple(
        prove_inclusion(proven_hashes(layout, keys, found.stream, checkpoint, progress=tell), found.at, checkpoint.size)
    )
    try:
        verify_inclusion(found.at, checkpoint.size, hash_leaf(found.raw), path, checkpoint.root)
    except ProofError:
        leaves = leaf_hashes(layout, keys, found.stream, checkpoint.size, progress=tell)
        path = tuple(prove_inclusion(leaves, found.at, checkpoint.size))
        verify_inclusion(found.at, checkpoint.size, hash_leaf(found.raw), path, checkpoint.root)
    return path


def _check(proof: TlogProof, policy: TrustPolicy) -> Judged:
    """Check what was made as whoever receives it will."""
    return verify_proof(TlogProof.parse(proof.dump()), policy).judged


def _find(layout: Layout, keys: AuditKeys, stream: str | None, index: int | None, uid: str | None) -> _Found | None:
    """Return stream, index and bytes of the record that is asked for. Raises `SpoolError`."""
    for where in [Stream(stream)] if stream is not None else STREAMS:
        if index is not None:
            raw = _at(layout, keys, where, index)
            if raw is not None:
                return _Found(where, index, raw)
        elif uid is not None and (found := _named(layout, keys, where, uid)) is not None:
            return _Found(where, *found)
    return None


def _at(layout: Layout, keys: AuditKeys, stream: Stream, index: int) -> bytes | None:
    """Return the bytes of the record at an index. Raises `SpoolError`."""
    if index >= _size(layout, keys, stream):
        return None
    reader = SpoolReader(layout.directory, keys, stream, index)
    try:
        found = reader.read(1, index + 1)
    except PrunedError as error:
        refuse(str(error))
    finally:
        reader.close()
    return found[0] if found else None


def _named(layout: Layout, keys: AuditKeys, stream: Stream, uid: str) -> tuple[int, bytes] | None:
    """Return index and bytes of the record with this uid. Raises `SpoolError`."""
    end, start = _size(layout, keys, stream), 0
    reader = SpoolReader(layout.directory, keys, stream, start)
    try:
        while True:
            try:
                batch = reader.read(_BATCH, end)
            except PrunedError as error:
                start = error.first
                reader.close()
                reader = SpoolReader(layout.directory, keys, stream, start)
                continue
            if not batch:
                return None
            for i, raw in enumerate(batch):
                if _has_uid(raw, uid):
                    return start + i, raw
            start += len(batch)
    finally:
        reader.close()


def _has_uid(raw: bytes, uid: str) -> bool:
    if uid.encode() not in raw:
        return False
    try:
        record: Any = orjson.loads(parse_entry(raw).payload)
    except (EntryError, orjson.JSONDecodeError):
        return False
    metadata = record.get("metadata") if isinstance(record, dict) else None
    return isinstance(metadata, dict) and metadata.get("uid") == uid


def _size(layout: Layout, keys: AuditKeys, stream: Stream) -> int:
    head = _verified(layout.checkpoint(stream), keys)
    return head[1].size if head is not None else 0


def _head(layout: Layout, keys: AuditKeys, stream: Stream, index: int) -> tuple[bytes, Checkpoint] | None:
    """Return the head to prove against: cosigned where it covers the record, else the newest of the node's own."""
    heads = (_verified(path, keys) for path in (layout.cosigned(stream), layout.checkpoint(stream)))
    return next((head for head in heads if head is not None and head[1].size > index), None)


def _verified(path: Path, keys: AuditKeys) -> tuple[bytes, Checkpoint] | None:
    with suppress(FileNotFoundError):
        note = path.read_bytes()
        try:
            origin = parse_checkpoint(split_note(note)[0]).origin
            return note, verify_checkpoint(note, keys.vkey(origin))
        except CheckpointError as error:
            raise ConfigurationError((f"{path}: {error}; run gateway audit verify",)) from error
    return None


def _share(what: str, done: int, total: int) -> str:
    return f"{what}: {100 * done // max(total, 1)} %"
