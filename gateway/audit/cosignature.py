"""What a witness signs: that a tree head continues every one of the same log it saw before (C2SP tlog-cosignature).

Decides whether a cosignature is a witness's own and when it was made. Which witnesses count is
`trust`'s to say; whether to sign at all is `witness`'s.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from gateway.audit.checkpoint import CheckpointError, is_name, parse_checkpoint, split_note

ED25519_COSIGNATURE: Final = 4
"""Signature type of signed-note: timestamped, Ed25519, over the whole text of the note."""
ML_DSA_44_COSIGNATURE: Final = 6
"""Signature type of signed-note: timestamped, ML-DSA-44, over origin, size and root; bound to the witness's name."""
SEED_BYTES: Final = 32
"""Of both kinds of key (RFC 8032; FIPS 204)."""
LATEST_TIME_S: Final = (1 << 63) - 1
_PUBLIC_BYTES: Final = {ED25519_COSIGNATURE: 32, ML_DSA_44_COSIGNATURE: 1312}
_SIGNATURE_BYTES: Final = {ED25519_COSIGNATURE: 64, ML_DSA_44_COSIGNATURE: 2420}
_TIME_BYTES: Final = 8
_KEY_ID_BYTES: Final = 4
_LONGEST_OPAQUE: Final = 255
"""A name or an origin in the message that ML-DSA-44 signs has its length in one byte."""


class WitnessKey(msgspec.Struct, frozen=True):
    """The public key of a witness: `name+hex(key id)+base64(type || public key)`."""

    name: str
    kind: int
    """`ED25519_COSIGNATURE` or `ML_DSA_44_COSIGNATURE`."""
    public: bytes

    @property
    def key_id(self) -> bytes:
        """Four bytes that say which key made a signature; they prove nothing."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(bytes([self.kind]) + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> WitnessKey:
        """Read the textual form. Raises `CheckpointError`."""
        try:
            name, key_id, key = text.split("+", 2)
            raw = b64decode(key, validate=True)
        except (ValueError, binascii.Error) as exc:
            raise CheckpointError("a verifier key has the form name+hash+key") from exc
        if not is_name(name) or not raw or len(raw) - 1 != _PUBLIC_BYTES.get(raw[0]):
            raise CheckpointError("not a key of a witness: it begins with 0x04 (Ed25519) or 0x06 (ML-DSA-44)")
        found = cls(name, raw[0], raw[1:])
        if found.key_id.hex() != key_id:
            raise CheckpointError("the verifier key's hash does not belong to its name and key")
        return found


class Cosigned(msgspec.Struct, frozen=True):
    """A cosignature that was verified."""

    key: WitnessKey
    time_s: int
    """When the witness signed, by its clock (unix seconds)."""
    line: bytes
    """The signature line as it stands in the note, with its line end."""


class Cosigner:
    """Signs tree heads as a witness."""

    def __init__(self, name: str, kind: int, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"the seed of a witness is {SEED_BYTES} bytes long")
        if not is_name(name) or len(name.encode()) > _LONGEST_OPAQUE:
            raise ValueError("the name of a witness is printable, without spaces and plus signs, 255 bytes at most")
        self._key: Ed25519PrivateKey | MLDSA44PrivateKey
        match kind:
            case 4:
                self._key = Ed25519PrivateKey.from_private_bytes(seed)
            case 6:
                self._key = MLDSA44PrivateKey.from_seed_bytes(seed)
            case _:
                raise ValueError(f"no kind of cosignature has the number {kind}")
        self.key = WitnessKey(name, kind, self._key.public_key().public_bytes_raw())

    def cosign(self, text: bytes, time_s: int) -> bytes:
        """Return the signature line for the text of a checkpoint, `time_s` in unix seconds. Raises `CheckpointError`."""
        if not 0 < time_s <= LATEST_TIME_S:
            raise CheckpointError("the time of a cosignature is a positive number of seconds")
        raw = time_s.to_bytes(_TIME_BYTES, "big") + self._key.sign(_message(self.key, text, time_s))
        return f"— {self.key.name} ".encode() + b64encode(self.key.key_id + raw) + b"\n"


def cosignatures(note: bytes, keys: Sequence[WitnessKey]) -> list[Cosigned]:
    """Return the cosignatures of these witnesses, in the order of the note; the earlier of two by one key.

    Signatures of others are ignored. Raises `CheckpointError`: the note is malformed, or a signature
    that says it is of one of `keys` is not.
    """
    text, signatures = split_note(note)
    known = {(key.name, key.key_id): key for key in keys}
    found: dict[WitnessKey, Cosigned] = {}
    for name, key_id, raw in signatures:
        key = known.get((name, key_id))
        if key is None:
            continue
        time_s = verify_cosignature(key, text, raw)
        line = f"— {name} ".encode() + b64encode(key_id + raw) + b"\n"
        found.setdefault(key, Cosigned(key, time_s, line))
    return list(found.values())


def verify_cosignature(key: WitnessKey, text: bytes, raw: bytes) -> int:
    """Return when this witness signed the text of a checkpoint; `raw` is what follows the key id.

    Raises `CheckpointError`: not the witness's signature, not over this text, or without a time.
    """
    who = f"{key.name} {key.key_id.hex()}"
    if len(raw) != _TIME_BYTES + _SIGNATURE_BYTES[key.kind]:
        raise CheckpointError(f"the cosignature by {who} has a wrong length")
    time_s = int.from_bytes(raw[:_TIME_BYTES], "big")
    if not 0 < time_s <= LATEST_TIME_S:
        raise CheckpointError(f"the cosignature by {who} has no time")
    signature, message = raw[_TIME_BYTES:], _message(key, text, time_s)
    try:
        if key.kind == ED25519_COSIGNATURE:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
        else:
            MLDSA44PublicKey.from_public_bytes(key.public).verify(signature, message)
    except (InvalidSignature, ValueError) as exc:
        raise CheckpointError(f"the cosignature by {who} is wrong") from exc
    return time_s


def _message(key: WitnessKey, text: bytes, time_s: int) -> bytes:
    """Return what is signed. Raises `CheckpointError` when the text is no checkpoint."""
    checkpoint = parse_checkpoint(text)
    if key.kind == ED25519_COSIGNATURE:
        return b"cosignature/v1\ntime %d\n" % time_s + text
    return b"".join(
        (
            b"subtree/v1\n\0",
            _opaque(key.name),
            time_s.to_bytes(8, "big"),
            _opaque(checkpoint.origin),
            bytes(8),
            checkpoint.size.to_bytes(8, "big"),
            checkpoint.root,
        )
    )


def _opaque(text: str) -> bytes:
    """Return text with its length before it (RFC 8446 section 3.4)."""
    data = text.encode()
    if not 0 < len(data) <= _LONGEST_OPAQUE:
        raise CheckpointError("a name is too long for this kind of cosignature")
    return bytes([len(data)]) + data
