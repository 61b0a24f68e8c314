"""The audit log's own key file: the seed that signs it and the key that wraps its data keys.

Only the audit daemon, the supervisor that hands it over, and `gateway audit` read it. It is not
part of the keyring, so that a process that opens sessions cannot sign history.
"""

from __future__ import annotations

import binascii
import os
import stat
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from struct import Struct

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.audit.checkpoint import Signer, Vkey, is_name
from gateway.audit.filehead import FileHead, FileHeadError, unwrap_key
from gateway.audit.protocol import BADGE_BYTES
from gateway.exchange.errors import KeyringError

VERSION = 1
_KEY_BYTES = 32
_SLOT = Struct("<H")
_OTHERS = 0o077
_LARGEST_FILE = 64 * 1024


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file as JSON."""

    version: int
    origin: str
    created: str
    log_seed: str
    key_encryption_key: str


class _Reading(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the custodian is given: everything but the seed."""

    origin: str
    created: str
    public: str
    key_encryption_key: str


class _Version(msgspec.Struct, frozen=True):
    version: int


class AuditKeys:
    """Signs heads and tree heads, wraps and unwraps data keys."""

    def __init__(self, *, origin: str, created: str, seed: bytes, kek: bytes, public: bytes = b"") -> None:
        """`public` is for keys without a seed, which open the log and cannot sign."""
        self.origin = origin
        """Every log under these keys is called `origin/` and a random name of its own."""
        self.created = created
        self._seed = seed
        self._kek = kek
        self.public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw() if seed else public
        self.kek_id = sha256(b"gateway audit key-encryption key id\n" + kek).digest()[:8]
        self.kek = AESGCM(kek)

    def __repr__(self) -> str:
        return f"AuditKeys({self.origin!r})"

    def signer(self, origin: str) -> Signer:
        """Return what signs tree heads of the log of this name. Raises `KeyringError` without a seed."""
        if not self._seed:
            raise KeyringError("these keys open the audit log and cannot sign it")
        return Signer(origin, self._seed)

    def vkey(self, origin: str) -> Vkey:
        """Return the public key that an auditor needs for the log of this name."""
        return Vkey(origin, self.public)

    def open(self, head: FileHead) -> AESGCM:
        """Return the cipher of a log file. Raises `FileHeadError` when it was not wrapped by this key."""
        if head.kek_id != self.kek_id:
            raise FileHeadError(f"its data key is wrapped by another key, {head.kek_id.hex()}")
        return AESGCM(unwrap_key(self.kek, head))

    def open_index(self, salt: bytes) -> AESGCM:
        """Return the cipher of one file of the search index, derived (RFC 5869) from the key-encryption key."""
        return AESGCM(HKDF(SHA256(), _KEY_BYTES, salt, b"gateway audit search index v1").derive(self._kek))

    def badge(self, slot: int) -> bytes:
        """Return what a producer shows to the audit daemon to speak as this slot, derived (RFC 5869) from the seed.

        Who has one cannot make another. Raises `KeyringError` without a seed.
        """
        if not self._seed:
            raise KeyringError("these keys open the audit log and give nobody a place in it")
        info = b"gateway audit producer badge v1" + _SLOT.pack(slot)
        return HKDF(SHA256(), BADGE_BYTES, None, info).derive(self._seed)

    def receipt_key(self, upstream: str, number: int) -> bytes:
        """Return the key of an upstream's receipts (`gateway.audit.receipt`), derived (RFC 5869) from the seed.

        Another number is another key, and who has one cannot make another. Raises `KeyringError` without a seed.
        """
        if not self._seed:
            raise KeyringError("these keys open the audit log and give no receipts")
        info = b"gateway audit receipt key v1" + _SLOT.pack(number) + upstream.encode()
        return HKDF(SHA256(), _KEY_BYTES, None, info).derive(self._seed)

    def inquiry_badge(self) -> bytes:
        """Return what the pages show to ask the custodian about the log; it opens no slot of the daemon's socket.

        Raises `KeyringError` without a seed.
        """
        if not self._seed:
            raise KeyringError("these keys open the audit log and let nobody ask about it")
        return HKDF(SHA256(), BADGE_BYTES, None, b"gateway audit inquiry badge v1").derive(self._seed)

    @classmethod
    def generate(cls, *, origin: str, created: str, random: Callable[[int], bytes]) -> AuditKeys:
        """Make new keys. `origin` names the node in every checkpoint: no spaces, no plus sign.

        Raises `ValueError` for an impossible origin.
        """
        if not is_name(origin):
            raise ValueError("the origin of an audit log must be printable, without spaces and plus signs")
        return cls(origin=origin, created=created, seed=random(_KEY_BYTES), kek=random(_KEY_BYTES))

    def dump(self) -> bytes:
        """Encode for the key file."""
        file = _File(
            version=VERSION,
            origin=self.origin,
            created=self.created,
            log_seed=b64encode(self._seed).decode(),
            key_encryption_key=b64encode(self._kek).decode(),
        )
        return msgspec.json.format(msgspec.json.encode(file)) + b"\n"

    def dump_for_reading(self) -> bytes:
        """Encode without the seed, for a process that opens the log and must not sign it."""
        return msgspec.json.encode(
            _Reading(
                origin=self.origin,
                created=self.created,
                public=b64encode(self.public).decode(),
                key_encryption_key=b64encode(self._kek).decode(),
            )
        )

    @classmethod
    def parse_for_reading(cls, data: bytes) -> AuditKeys:
        """Read what `dump_for_reading` wrote. Raises `KeyringError`."""
        try:
            file = msgspec.json.decode(data, type=_Reading)
            public = b64decode(file.public, validate=True)
            kek = b64decode(file.key_encryption_key, validate=True)
        except (msgspec.MsgspecError, binascii.Error, ValueError) as exc:
            raise KeyringError("the keys that open the audit log are damaged") from exc
        return cls(origin=file.origin, created=file.created, seed=b"", kek=kek, public=public)

    def create(self, path: Path) -> None:
        """Write the key file, 0600, and never over another one. Raises `KeyringError`."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise KeyringError(f"{path}: cannot be made: {os.strerror(exc.errno or 0).lower()}") from exc
        with os.fdopen(descriptor, "wb") as file:
            file.write(self.dump())
            file.flush()
            os.fsync(descriptor)

    @classmethod
    def load(cls, path: Path) -> AuditKeys:
        """Read the key file. Raises `KeyringError`, naming the file and the mend."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hang the reader
        except FileNotFoundError as exc:
            raise KeyringError(
                f"{path}: the audit keys do not exist; restore them from the backup, or run gateway init"
            ) from exc
        except OSError as exc:
            raise KeyringError(f"{path}: cannot be read: {os.strerror(exc.errno or 0).lower()}") from exc
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise KeyringError(f"{path}: is not a file")
            if status.st_mode & _OTHERS:
                mode = stat.S_IMODE(status.st_mode)
                raise KeyringError(f"{path}: is readable by others (mode {mode:04o}); run: chmod 600 {path}")
            return cls.parse(file.read(_LARGEST_FILE), str(path))

    @classmethod
    def parse(cls, data: bytes, place: str = "audit keys") -> AuditKeys:
        """Read the contents of a key file. Raises `KeyringError`, naming `place`, never a value."""
        try:
            version = msgspec.json.decode(data, type=_Version).version
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            raise KeyringError(f"{place}: is not a file of audit keys; restore it from the backup") from exc
        if version != VERSION:
            raise KeyringError(
                f"{place}: has version {version}, this gateway reads {VERSION}; use the gateway that wrote it"
            )
        try:
            file = msgspec.json.decode(data, type=_File)
            seed = b64decode(file.log_seed, validate=True)
            kek = b64decode(file.key_encryption_key, validate=True)
        except (msgspec.MsgspecError, binascii.Error, ValueError) as exc:
            raise KeyringError(f"{place}: is damaged; restore it from the backup") from exc
        if len(seed) != _KEY_BYTES or len(kek) != _KEY_BYTES or not is_name(file.origin):
            raise KeyringError(f"{place}: is damaged; restore it from the backup")
        return cls(origin=file.origin, created=file.created, seed=seed, kek=kek)
