"""A proof for one record that anybody can check offline (C2SP tlog-proof).

Decides whether a record is in a tree whose head a policy accepts. The entry itself travels in the
`extra` line; nothing of it is believed before its hash has led to the signed root.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from typing import Final

import msgspec

from gateway.audit.checkpoint import Vkey, parse_checkpoint, split_note
from gateway.audit.merkle import HASH_BYTES, ProofError, hash_leaf, verify_inclusion
from gateway.audit.trust import Judged, TrustPolicy

SUFFIX: Final = ".tlog-proof"
MAX_PROOF_HASHES: Final = 63
MAX_PROOF_BYTES: Final = 256 * 1024
MAX_ENTRY_BYTES: Final = 65_535
"""C2SP tlog-tiles: the length of an entry has two bytes."""
_HEAD: Final = "c2sp.org/tlog-proof@v1"
_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,18})")


class TlogProof(msgspec.Struct, frozen=True):
    """One record's place in a tree, and the tree's signed head."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    """The signed note as it was published, cosignatures included."""
    extra: bytes = b""
    """The entry; not authenticated by itself."""

    def dump(self) -> bytes:
        """Return the file."""
        lines = [_HEAD]
        if self.extra:
            lines.append(f"extra {b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines += [b64encode(node).decode() for node in self.hashes]
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> TlogProof:
        """Read a file. Raises `ProofError`."""
        if len(data) > MAX_PROOF_BYTES:
            raise ProofError("the proof is too long")
        head, separator, checkpoint = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as exc:
            raise ProofError("the lines of a proof are ASCII") from exc
        if not separator or not checkpoint or lines.pop(0) != _HEAD:
            raise ProofError(f"not a proof: it begins with {_HEAD} and ends with a checkpoint after an empty line")
        extra = b""
        if lines and lines[0].startswith("extra "):
            extra = _base64(lines.pop(0).removeprefix("extra "), "the extra data")
        index = _INDEX.fullmatch(lines.pop(0)) if lines else None
        if index is None:
            raise ProofError("the proof has no index, or one that is not a decimal number")
        if len(lines) > MAX_PROOF_HASHES:
            raise ProofError("the proof has too many hashes")
        hashes = tuple(_base64(line, "a hash of the proof") for line in lines)
        if any(len(node) != HASH_BYTES for node in hashes):
            raise ProofError("a hash of the proof is not 32 bytes long")
        return cls(int(index[1]), hashes, checkpoint, extra)


class Proven(msgspec.Struct, frozen=True):
    """What a proof shows."""

    entry: bytes
    judged: Judged


def verify_proof(proof: TlogProof, policy: TrustPolicy, *, log: Vkey | None = None) -> Proven:
    """Check a proof whose entry stands in its extra line, in the order of the specification.

    `log` says whose head it must be where the policy names no logs. A quorum that is not met is said in what is returned. Raises `CheckpointError` for a head that no
    log of the policy signed, `ProofError` for a record that is not in its tree.
    """
    # (1) the leaf
    if not proof.extra:
        raise ProofError("the proof holds no entry: there is nothing that it could be about")
    if len(proof.extra) > MAX_ENTRY_BYTES:
        raise ProofError("the entry of the proof is longer than an entry can be")
    # (2) the log's signature, (3) the witnesses'
    judged = policy.judge(proof.checkpoint, log=log)
    # (4) the record is in that tree
    verify_inclusion(proof.index, judged.checkpoint.size, hash_leaf(proof.extra), proof.hashes, judged.checkpoint.root)
    return Proven(proof.extra, judged)


def origin_of(proof: TlogProof) -> str:
    """Return which log the proof says it is about, before anything is checked. Raises `CheckpointError`."""
    return parse_checkpoint(split_note(proof.checkpoint)[0]).origin


def _base64(text: str, what: str) -> bytes:
    try:
        raw = b64decode(text, validate=True)
    except (ValueError, binascii.Error) as exc:
        raise ProofError(f"{what} is not base64") from exc
    if not raw or b64encode(raw).decode() != text:
        raise ProofError(f"{what} is empty, or not canonical base64")
    return raw
