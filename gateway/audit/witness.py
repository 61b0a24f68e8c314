"""What a witness answers to a checkpoint that is put before it (C2SP tlog-witness, add-checkpoint).

Decides from the request, the keys of the logs it knows and the last tree head it cosigned; the order
of its checks is the specification's. It neither signs nor stores: whoever asks does both, atomically.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

import msgspec

from gateway.audit.checkpoint import (
    MAX_NOTE_BYTES,
    Checkpoint,
    CheckpointError,
    Vkey,
    parse_checkpoint,
    split_note,
    verify_checkpoint,
)
from gateway.audit.merkle import EMPTY_ROOT, HASH_BYTES, ProofError, verify_consistency
from gateway.exchange.errors import GatewayError

MAX_PROOF_LINES: Final = 63
MAX_REQUEST_BYTES: Final = MAX_NOTE_BYTES + 4096
"""A note, the old size and 63 hashes of 45 bytes each."""
SIZE_TYPE: Final = "text/x.tlog.size"
"""Content type of 409: the body is the size that the witness cosigned last."""
_OLD: Final = re.compile(rb"old (0|[1-9][0-9]{0,18})")


class SubmissionError(GatewayError):
    """A body that is no request to cosign."""


class Submission(msgspec.Struct, frozen=True):
    """A request to cosign."""

    old_size: int
    """What the log believes the witness to have seen last."""
    proof: tuple[bytes, ...]
    note: bytes

    def dump(self) -> bytes:
        """Return the body of the request."""
        lines = [f"old {self.old_size}", *(b64encode(node).decode() for node in self.proof)]
        return "\n".join(lines).encode() + b"\n\n" + self.note

    @classmethod
    def parse(cls, body: bytes) -> Submission:
        """Read the body of a request. Raises `SubmissionError`."""
        if len(body) > MAX_REQUEST_BYTES:
            raise SubmissionError("the request is too long")
        head, separator, note = body.partition(b"\n\n")
        lines = head.split(b"\n")
        old = _OLD.fullmatch(lines[0])
        if not separator or old is None:
            raise SubmissionError(
                "a request begins with the line 'old SIZE', then a proof, an empty line, a checkpoint"
            )
        if len(lines) - 1 > MAX_PROOF_LINES:
            raise SubmissionError(f"the proof has more than {MAX_PROOF_LINES} lines")
        return cls(int(old[1]), tuple(_hash(line) for line in lines[1:]), note)


class Seen(msgspec.Struct, frozen=True):
    """The tree head of a log that the witness cosigned last."""

    size: int
    root: bytes


UNSEEN: Final = Seen(0, EMPTY_ROOT)
"""Of a log of which nothing was cosigned yet."""


class Refusal(msgspec.Struct, frozen=True):
    """An answer that is no cosignature."""

    status: int
    sentence: str
    size: int = -1
    """With 409: what the witness has cosigned last."""
    is_conflict: bool = False
    """The log is not the one that was cosigned before: it may have been rewritten or shortened."""


class Sound(msgspec.Struct, frozen=True):
    """A tree head that continues the last one, with the log's signatures and nobody else's."""

    checkpoint: Checkpoint
    text: bytes
    signatures: bytes
    """Lines of the note."""


def origin_hash(origin: str) -> str:
    """Return the name of a log in the address of its last checkpoint: SHA-256 of the origin, hexadecimal."""
    return sha256(origin.encode()).hexdigest()


def judge_submission(
    submission: Submission, logs: Mapping[str, Sequence[Vkey]], seen: Mapping[str, Seen]
) -> Sound | Refusal:
    """Say whether a tree head may be cosigned; `logs` are the keys by origin, `seen` what was cosigned last."""
    # (1) whose it is: 404, and whether the log signed it: 403
    text = submission.note.rpartition(b"\n\n")[0] + b"\n"
    try:
        checkpoint = parse_checkpoint(text)
    except CheckpointError as error:
        return Refusal(400, str(error))
    keys = logs.get(checkpoint.origin)
    if not keys:
        return Refusal(404, "this witness does not know the log")
    try:
        signatures = split_note(submission.note)[1]
    except CheckpointError as error:
        return Refusal(403, str(error))
    known = {(key.name, key.key_id): key for key in keys}
    signing = {known[name, key_id] for name, key_id, _ in signatures if (name, key_id) in known}
    if not signing:
        return Refusal(403, "the checkpoint is not signed by a key of the log")
    try:
        for key in signing:
            verify_checkpoint(submission.note, key)
    except CheckpointError as error:
        return Refusal(403, str(error))
    # (2) the sizes: 400, 409
    if submission.old_size > checkpoint.size:
        return Refusal(400, "the old size is larger than the checkpoint")
    last = seen.get(checkpoint.origin, UNSEEN)
    if submission.old_size != last.size:
        return Refusal(409, "the old size is not what this witness cosigned last", last.size)
    # (3) the roots and the proof: 422
    if sentence := _contradiction(checkpoint, last, submission.proof):
        # attack: anybody can send what was cosigned last with a proof that it needs none of, and cry wolf
        is_same = checkpoint.root == last.root if checkpoint.size == last.size else last.size == 0
        return Refusal(422, sentence, is_conflict=not is_same)
    lines = b"".join(
        f"— {name} ".encode() + b64encode(key_id + raw) + b"\n"
        for name, key_id, raw in signatures
        if (name, key_id) in known
    )
    return Sound(checkpoint, text, lines)


def _contradiction(checkpoint: Checkpoint, last: Seen, proof: Sequence[bytes]) -> str:
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        return "an empty tree has another root"
    if last.size == 0:
        return "nothing is to be proven of an empty tree" if proof else ""
    if (checkpoint.size, checkpoint.root) == (last.size, last.root):
        return "nothing is to be proven of a tree that was cosigned" if proof else ""
    try:
        verify_consistency(last.size, checkpoint.size, last.root, checkpoint.root, proof)
    except ProofError as error:
        return str(error)
    return ""


def _hash(line: bytes) -> bytes:
    try:
        raw = b64decode(line, validate=True)
    except (ValueError, binascii.Error) as exc:
        raise SubmissionError("a line of the proof is not base64") from exc
    if len(raw) != HASH_BYTES or b64encode(raw) != line:
        raise SubmissionError("a line of the proof is not 32 bytes of canonical base64")
    return raw
