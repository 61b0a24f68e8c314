"""Signed tree heads as C2SP writes them: signed-note with a tlog-checkpoint as its text.

Decides whether a note is signed by the key it should be signed by; whether its root is the
right one is the verifier's question.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from hashlib import sha256

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.audit.merkle import HASH_BYTES
from gateway.exchange.errors import GatewayError

ED25519 = 1
"""Signature type of signed-note: Ed25519 over the text."""
MAX_SIGNATURES = 100
"""signed-note: verifiers may limit the number, and accept at least 16."""
MAX_NOTE_BYTES = 65_535
_DASH = "— "
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")
_SPACE = re.compile(r"\s")
_KEY_ID_BYTES = 4
_PUBLIC_BYTES = 32
_LINES = 3


class CheckpointError(GatewayError):
    """A note that is malformed, or not signed by the key it should be signed by."""


class Vkey(msgspec.Struct, frozen=True):
    """A verifier key: `name+hex(key id)+base64(0x01 || public key)` (C2SP signed-note)."""

    name: str
    public: bytes
    """32 bytes, RFC 8032."""

    @property
    def key_id(self) -> bytes:
        """Four bytes that say which key made a signature; they prove nothing."""
        return sha256(self.name.encode() + b"\n" + bytes([ED25519]) + self.public).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(bytes([ED25519]) + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> Vkey:
        """Read the textual form. Raises `CheckpointError`."""
        try:
            name, key_id, key = text.split("+", 2)
            raw = b64decode(key, validate=True)
        except (ValueError, binascii.Error) as exc:
            raise CheckpointError("a verifier key has the form name+hash+key") from exc
        if not is_name(name) or len(raw) != _PUBLIC_BYTES + 1 or raw[0] != ED25519:
            raise CheckpointError("not an Ed25519 verifier key")
        vkey = cls(name, raw[1:])
        if vkey.key_id.hex() != key_id:
            raise CheckpointError("the verifier key's hash does not belong to its name and key")
        return vkey


class Checkpoint(msgspec.Struct, frozen=True):
    """A tree head: whose log, how many entries, which root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the text that is signed, without extension lines (C2SP tlog-checkpoint)."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


class Signer:
    """Signs tree heads of one origin."""

    def __init__(self, origin: str, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.vkey = Vkey(origin, self._key.public_key().public_bytes_raw())
        self._line = f"\n{_DASH}{origin} ".encode()
        self._head = f"{origin}\n"
        self._key_id = self.vkey.key_id

    def checkpoint(self, size: int, root: bytes) -> bytes:
        """Return the signed note of a tree head of this origin."""
        return self.note(f"{self._head}{size}\n{b64encode(root).decode()}\n".encode())

    def note(self, text: bytes) -> bytes:
        """Return text, which ends with a line end, as a signed note (C2SP signed-note)."""
        return text + self._line + b64encode(self._key_id + self._key.sign(text)) + b"\n"

    def sign(self, context: bytes, message: bytes) -> bytes:
        """Return a bare signature; `context` must not be the beginning of any note."""
        return self._key.sign(context + message)


def is_name(name: str) -> bool:
    """Tell whether a key may have this name: not empty, no spaces, no plus, printable."""
    return bool(name) and name.isprintable() and "+" not in name and not _SPACE.search(name)


def split_note(data: bytes) -> tuple[bytes, list[tuple[str, bytes, bytes]]]:
    """Return the text of a note, and name, key id and signature of each of its signature lines.

    Raises `CheckpointError` for anything that signed-note does not allow.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise CheckpointError("the note is too long")
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise CheckpointError("the note is not UTF-8") from exc
    if _CONTROL.search(note):
        raise CheckpointError("the note holds control characters")
    text, separator, tail = note.rpartition("\n\n")
    if not separator or not tail.endswith("\n"):
        raise CheckpointError("the note has no signatures")
    signatures = [_signature(line) for line in tail[:-1].split("\n")]
    if len(signatures) > MAX_SIGNATURES:
        raise CheckpointError("the note has too many signatures")
    return (text + "\n").encode(), signatures


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not is_name(name):
        raise CheckpointError("a signature line is malformed")
    try:
        raw = b64decode(encoded, validate=True)
    except (ValueError, binascii.Error) as exc:
        raise CheckpointError("a signature is not base64") from exc
    if len(raw) <= _KEY_ID_BYTES or b64encode(raw).decode() != encoded:
        raise CheckpointError("a signature is too short, or not canonical base64")
    return name, raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:]


def verify_note(data: bytes, vkey: Vkey) -> bytes:
    """Return the text of a note that this key has signed. Signatures of other keys are ignored.

    Raises `CheckpointError`: malformed, not signed by the key, or the key's signature is wrong.
    """
    text, signatures = split_note(data)
    key_id = vkey.key_id
    known = [signature for name, kid, signature in signatures if name == vkey.name and kid == key_id]
    if not known:
        raise CheckpointError(f"the note is not signed by {vkey.name} {key_id.hex()}")
    public = Ed25519PublicKey.from_public_bytes(vkey.public)
    for signature in known:
        try:
            public.verify(signature, text)
        except InvalidSignature as exc:
            raise CheckpointError(f"the signature by {vkey.name} {key_id.hex()} is wrong") from exc
    return text


def verify_signature(public: bytes, signature: bytes, context: bytes, message: bytes) -> None:
    """Check what `Signer.sign` made. Raises `CheckpointError`."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, context + message)
    except (InvalidSignature, ValueError) as exc:
        raise CheckpointError("the signature is wrong") from exc


def parse_checkpoint(text: bytes) -> Checkpoint:
    """Read a tree head from the text of a note; extension lines are ignored. Raises `CheckpointError`."""
    try:
        lines = text.decode("utf-8").split("\n")
    except UnicodeDecodeError as exc:
        raise CheckpointError("the checkpoint is not UTF-8") from exc
    if len(lines) < _LINES + 1 or lines.pop() != "" or not all(lines) or any("\r" in line for line in lines):
        raise CheckpointError("a checkpoint has three or more lines, none of them empty, each ended by LF")
    origin, size, root = lines[:_LINES]
    if not size.isascii() or not size.isdigit() or (size[0] == "0" and size != "0") or len(size) > len(str(1 << 63)):
        raise CheckpointError("the size of a checkpoint is a decimal number without leading zeros")
    try:
        raw = b64decode(root, validate=True)
    except (ValueError, binascii.Error) as exc:
        raise CheckpointError("the root of a checkpoint is not base64") from exc
    if len(raw) != HASH_BYTES or b64encode(raw).decode() != root:
        raise CheckpointError("the root of a checkpoint is not 32 bytes of canonical base64")
    return Checkpoint(origin, int(size), raw)


def verify_checkpoint(data: bytes, vkey: Vkey) -> Checkpoint:
    """Return the tree head of a note that this key signed for its own origin. Raises `CheckpointError`."""
    checkpoint = parse_checkpoint(verify_note(data, vkey))
    if checkpoint.origin != vkey.name:
        raise CheckpointError(f"the checkpoint is of the log {checkpoint.origin}, not of {vkey.name}")
    return checkpoint
