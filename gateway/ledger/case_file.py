"""Puts a case together from the log, and reads one back: an uncompressed tar archive that is never unpacked to a disk.

What a case proves is `audit.case`'s to say; this module finds the entries, hashes and tree heads for it.
"""

from __future__ import annotations

import io
import os
import re
import stat
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.audit import case
from gateway.audit.case import CaseError, Collected, Manifest
from gateway.audit.case_readme import readme
from gateway.audit.checkpoint import Checkpoint, CheckpointError, Vkey, parse_checkpoint, split_note, verify_checkpoint
from gateway.audit.merkle import ProofError
from gateway.audit.proof import prove_inclusion
from gateway.audit.tlog_proof import TlogProof
from gateway.exchange.stream import Stream
from gateway.ledger.hashes import proven_hashes
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.spool import SpoolReader

MAX_RECORDS: Final = 50_000
"""A case is put together in memory: about 5 KiB for each."""
MAX_CASE_BYTES: Final = 2 << 30
MAX_MEMBERS: Final = 2 * MAX_RECORDS + 100
_TOP: Final = re.compile(r"case-[A-Za-z0-9][A-Za-z0-9._-]{0,60}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}(/[A-Za-z0-9][A-Za-z0-9._-]{0,80}){0,3}")
_WAIT_S: Final = 5.0
_PAUSE_S: Final = 0.1
_NEAR: Final = 4096
"""Entries that are read past rather than looked for anew."""


class TreeHead(NamedTuple):
    """A signed state of a stream's log."""

    note: bytes
    checkpoint: Checkpoint
    vkey: Vkey


def head_covering(
    layout: Layout, keys: AuditKeys, stream: Stream, index: int, *, pause: Callable[[float], None] = time.sleep
) -> TreeHead:
    """Return a tree head that covers an entry: one that witnesses cosigned, else the node's own, which is a second old at most.

    Raises `ProofError`: there is none.
    """
    for _ in range(round(_WAIT_S / _PAUSE_S)):
        for path in (layout.cosigned(stream), layout.checkpoint(stream)):
            head = _read_head(path, keys)
            if head is not None and head.checkpoint.size > index:
                return head
        pause(_PAUSE_S)
    raise ProofError(f"entry {index} of {stream} is not covered by a checkpoint; is the gateway running?")


def _read_head(path: Path, keys: AuditKeys) -> TreeHead | None:
    try:
        note = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        vkey = keys.vkey(parse_checkpoint(split_note(note)[0]).origin)
        return TreeHead(note, verify_checkpoint(note, vkey), vkey)
    except CheckpointError as exc:
        raise ProofError(f"{path}: {exc}; run gateway audit verify") from exc


def prove(
    layout: Layout,
    keys: AuditKeys,
    stream: Stream,
    indexes: Sequence[int],
    head: TreeHead,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, bytes]:
    """Return the proof of each entry by the name that it has in a case. `indexes` ascend. Raises `ProofError`, `SpoolError`."""
    hashes = proven_hashes(layout, keys, stream, head.checkpoint, progress=progress)
    files: dict[str, bytes] = {}
    reader = SpoolReader(layout.directory, keys, stream, indexes[0])
    try:
        for index in indexes:
            if index - reader.next_index > _NEAR:
                reader.close()
                reader = SpoolReader(layout.directory, keys, stream, index)
            found = reader.read(index - reader.next_index + 1, index + 1)
            if not found:
                raise ProofError(f"entry {index} of {stream} is not there")
            path = tuple(prove_inclusion(hashes, index, head.checkpoint.size))
            files[case.proof_name(stream, index)] = TlogProof(index, path, head.note, found[-1]).dump()
    finally:
        reader.close()
    return files


def collected(stream: Stream, head: TreeHead, records: int) -> Collected:
    """Return what the manifest says of a stream."""
    return Collected(
        stream=stream.value,
        origin=head.checkpoint.origin,
        vkey=str(head.vkey),
        size=head.checkpoint.size,
        records=records,
    )


def write_case(path: Path, manifest: Manifest, files: Mapping[str, bytes], keys: AuditKeys, *, made_at: int) -> None:
    """Add page, key, list and signature, and write the archive as a new file. `made_at` is unix seconds. Raises `OSError`."""
    public = Ed25519PublicKey.from_public_bytes(keys.public)
    listed = {
        case.README: readme(manifest).encode(),
        case.KEY: public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        **files,
    }
    sums = case.list_sums(listed)
    signature = keys.signer(manifest.streams[0].origin).sign(case.SIGNATURE_CONTEXT, sums)
    whole = {**listed, case.SUMS: sums, case.SIGNATURE: signature}
    order = [
        case.MANIFEST,
        case.README,
        *sorted(whole.keys() - {case.MANIFEST, case.README}),
    ]  # the first says what it is
    top = case.directory_name(manifest.case)
    with tarfile.open(path, "x", format=tarfile.PAX_FORMAT) as archive:
        for name in order:
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size, member.mtime, member.mode = len(whole[name]), made_at, 0o600
            archive.addfile(member, io.BytesIO(whole[name]))


def is_case(path: Path) -> bool:
    """Tell whether this is meant to be a case: an archive that begins with a manifest, or the directory it was unpacked into."""
    if path.is_dir():
        return all((path / name).is_file() for name in (case.MANIFEST, case.README, case.SUMS))
    if not path.is_file():
        return False
    try:
        with tarfile.open(path, "r:") as archive:
            first = archive.next()
            return first is not None and first.name.partition("/")[2] == case.MANIFEST
    except (tarfile.TarError, OSError):
        return False


def read_case(path: Path) -> dict[str, bytes]:
    """Return the files of a case, archive or unpacked. Raises `CaseError`: it holds what no case holds, or more; `OSError`."""
    if path.is_dir():
        return _read_directory(path)
    files: dict[str, bytes] = {}
    total = 0
    tops: set[str] = set()
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                total += member.size
                top, _, name = member.name.partition("/")
                tops.add(top)
                if not member.isreg() or not _TOP.fullmatch(top) or not _NAME.fullmatch(name) or name in files:
                    raise CaseError(f"{member.name!r} has no place in a case, or stands there twice")
                if total > MAX_CASE_BYTES or len(files) >= MAX_MEMBERS:
                    raise CaseError("it is larger than a case can be")
                data = archive.extractfile(member)
                files[name] = data.read() if data is not None else b""
    except tarfile.TarError as exc:
        raise CaseError(f"the archive is damaged: {exc}") from exc
    if len(tops) > 1:  # attack: files beside the case, that are unpacked with it and nobody judged
        raise CaseError(f"it unpacks into {len(tops)} directories; a case has one")
    return files


def _read_directory(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    total = 0
    for folder, below, names in os.walk(path):
        for name in (*names, *(each for each in below if Path(folder, each).is_symlink())):
            file = Path(folder, name)
            relative = str(file.relative_to(path))
            if not stat.S_ISREG(file.lstat().st_mode) or not _NAME.fullmatch(relative):
                raise CaseError(f"{relative!r} has no place in a case")
            total += file.stat().st_size
            if total > MAX_CASE_BYTES or len(files) >= MAX_MEMBERS:
                raise CaseError("it is larger than a case can be")
            files[relative] = file.read_bytes()
    return files
