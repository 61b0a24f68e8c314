"""The gateway's own secrets: one file, versioned, readable by its owner alone.

It decides which key seals, which keys open, and which sign the assertion at a given time. A new
key is known to every process before it is used, so rotation needs no moment at which all processes
change together. It seals and signs nothing itself.
"""

from __future__ import annotations

import os
import stat
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.exchange.errors import KeyringError
from gateway.store.ownership import hand_over, make_directory

VERSION: Final = 1
KEY_BYTES: Final = 32
SEAL_LEAD_S: Final = 60.0
"""A new sealing key is opened by everybody for a minute before anybody seals with it: time for a reload."""
ASSERTION_LEAD_S: Final = 600.0
"""Upstreams keep a JWKS for minutes; a new key is published that long before it signs."""
ASSERTION_KEPT_S: Final = 3600.0
"""An assertion lives 60 s; its key stays published for an hour after the next one took over."""
_P256_ORDER: Final = (
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # FIPS 186-5, SP 800-186 section 3.2.1.3
)
_MAX_FILE_BYTES: Final = 1024 * 1024


class _SealKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A key that seals stored values from `use_from` on; `version` stands in each envelope."""

    version: int
    secret: str
    created: float
    use_from: float


class _AssertionKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An Ed25519 key that signs the assertion to the upstream; `seed` is its private half, RFC 8032 section 5.1.5."""

    kid: str
    seed: str
    created: float
    use_from: float


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """keyring.json, byte strings in base64."""

    version: int
    root: str
    seal: tuple[_SealKey, ...]
    assertion: tuple[_AssertionKey, ...]


class KeyInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What may be told about a key: never the key."""

    kind: Literal["seal", "assertion"]
    id: str
    created: float
    use_from: float
    state: Literal["next", "active", "previous"]


class AssertionKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that signs the assertion, in both its forms, each with its name in the JWKS."""

    kid: str
    private: Ed25519PrivateKey

    @property
    def kid_es256(self) -> str:
        """Name of the other form."""
        return f"{self.kid}-es256"

    @property
    def private_es256(self) -> EllipticCurvePrivateKey:
        """The same secret as a key on P-256 (RFC 7518 section 3.4), for upstreams that verify nothing newer.

        Derived, so that every keyring has one and rotation needs to know only one key (FIPS 186-5 section A.2.1:
        64 bits more than the order has, so the remainder is not biased).
        """
        seed = self.private.private_bytes_raw()
        wide = HKDF(algorithm=SHA256(), length=40, salt=None, info=b"gateway/1/assertion/ES256").derive(seed)
        return derive_private_key(int.from_bytes(wide) % (_P256_ORDER - 1) + 1, SECP256R1())


class Keyring:
    """All keys of one gateway. Immutable: `rotate` and `retire` make another one."""

    __slots__ = ("_file", "_root", "_seals")

    def __init__(self, file: _File) -> None:
        self._file = file
        self._root = _secret(file.root, "root")
        self._seals = {key.version: _secret(key.secret, f"seal key {key.version}") for key in file.seal}
        if not file.seal or not file.assertion:
            raise KeyringError(
                "keyring: needs at least one seal key and one assertion key; restore the file from its backup"
            )
        if len(self._seals) != len(file.seal) or len({key.kid for key in file.assertion}) != len(file.assertion):
            raise KeyringError("keyring: two keys have the same name; restore the file from its backup")
        if any(not 0 < version < 1 << 32 for version in self._seals):
            raise KeyringError("keyring: a seal key's version is out of range; restore the file from its backup")
        for key in file.assertion:
            _secret(key.seed, f"assertion key {key.kid}")

    def __repr__(self) -> str:
        return f"Keyring(seal={sorted(self._seals)}, assertion={[key.kid for key in self._file.assertion]})"

    @classmethod
    def generate(cls, random: Callable[[int], bytes], now: float) -> Self:
        """Make a keyring with one key of each kind, in use at once."""
        return cls(
            _File(
                version=VERSION,
                root=_text(random(KEY_BYTES)),
                seal=(_SealKey(version=1, secret=_text(random(KEY_BYTES)), created=now, use_from=now),),
                assertion=(_new_assertion_key(random, now, now),),
            )
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the bytes of a keyring file. Raises `KeyringError`, which holds no key material."""
        try:
            version = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).get("version", msgspec.Raw(b"null"))
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise KeyringError("keyring: is not a keyring file; restore it from its backup") from None
        if bytes(version).strip() != str(VERSION).encode():
            found = bytes(version)[:16].decode("ascii", "replace").strip()
            raise KeyringError(
                f"keyring: has version {found}, this gateway reads version {VERSION}; use the gateway that wrote it"
            )
        try:
            return cls(msgspec.json.decode(data, type=_File))
        except (msgspec.DecodeError, UnicodeDecodeError):
            # The decoder's own text is dropped: it may quote the file.
            raise KeyringError("keyring: is damaged or has unknown fields; restore it from its backup") from None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a keyring file: regular, owned by us or root, mode 0600 or stricter.

        Raises:
            KeyringError: names the file and how to mend it.

        """
        return cls.parse(read_keyring_bytes(path))

    def serialise(self) -> bytes:
        """Return the bytes of the file: secret."""
        return msgspec.json.format(msgspec.json.encode(self._file), indent=2) + b"\n"

    def create(self, path: Path) -> None:
        """Write a new keyring file, mode 0600; never over an existing one. Raises `KeyringError`."""
        try:
            make_directory(path.parent)
            _write(path, self.serialise(), owner=path.parent)
        except FileExistsError:
            raise KeyringError(f"{path}: exists already; a keyring is never overwritten") from None
        except OSError as exc:
            raise KeyringError(f"{path}: cannot be written: {exc.strerror}") from exc

    def replace(self, path: Path) -> None:
        """Write this keyring in place of an older one, all or nothing. Raises `KeyringError`."""
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            try:
                _write(beside, self.serialise(), owner=path)
                beside.replace(path)
            finally:
                beside.unlink(missing_ok=True)
            _sync_directory(path.parent)
        except OSError as exc:
            raise KeyringError(f"{path}: cannot be replaced: {exc.strerror}") from exc

    def derive(self, label: str) -> bytes:
        """Return the 32-byte subkey for one purpose (HKDF-SHA-256, RFC 5869). Rotation does not change it."""
        return _derive(self._root, f"gateway/1/{label}")

    @property
    def lookup_key(self) -> bytes:
        """Key of the HMAC tokens by which sealed rows are found."""
        return self.derive("lookup")

    @property
    def limits_key(self) -> bytes:
        """Key of the HMAC tokens under which limits and attempts are counted."""
        return self.derive("limits")

    def seal_version(self, now: float) -> int:
        """Say which key seals at `now`: the newest one in use."""
        ready = [key.version for key in self._file.seal if key.use_from <= now]
        return max(ready, default=min(self._seals))

    def seal_key(self, version: int) -> bytes | None:
        """Return the AES-256 key of that version; None when this keyring does not hold it."""
        secret = self._seals.get(version)
        return None if secret is None else _derive(secret, f"gateway/1/seal/{version}")

    @property
    def seal_versions(self) -> tuple[int, ...]:
        """Every version that can be opened, oldest first."""
        return tuple(sorted(self._seals))

    def assertion_key(self, now: float) -> AssertionKey:
        """Return the key that signs at `now`."""
        key = self._active_assertion(now)
        return AssertionKey(kid=key.kid, private=_private(key))

    def assertion_keys(self, now: float) -> tuple[AssertionKey, ...]:
        """Return every key that the JWKS publishes at `now`: active, next, and those that signed within the last hour."""
        keys = sorted(self._file.assertion, key=lambda key: key.use_from)
        successors = [*(key.use_from for key in keys[1:]), float("inf")]
        return tuple(
            AssertionKey(kid=key.kid, private=_private(key))
            for key, ends in zip(keys, successors, strict=True)
            if now < ends + ASSERTION_KEPT_S
        )

    def rotate(self, random: Callable[[int], bytes], now: float) -> Keyring:
        """Add a key of each kind; the old ones stay, so nothing sealed or signed before becomes unreadable.

        Assertion keys that no JWKS publishes any more are dropped.
        """
        published = {key.kid for key in self.assertion_keys(now)}
        version = max(self._seals) + 1
        seal = _SealKey(version=version, secret=_text(random(KEY_BYTES)), created=now, use_from=now + SEAL_LEAD_S)
        return Keyring(
            msgspec.structs.replace(
                self._file,
                seal=(*self._file.seal, seal),
                assertion=(
                    *(key for key in self._file.assertion if key.kid in published),
                    _new_assertion_key(random, now, now + ASSERTION_LEAD_S),
                ),
            )
        )

    def retire(self, versions: frozenset[int], now: float) -> Keyring:
        """Drop seal keys that no stored value needs any more; the one in use and newer ones always stay."""
        active = self.seal_version(now)
        kept = tuple(key for key in self._file.seal if key.version not in versions or key.version >= active)
        return Keyring(msgspec.structs.replace(self._file, seal=kept))

    def describe(self, now: float) -> list[KeyInfo]:
        """List the keys, oldest first, without any secret."""
        seal, signer = self.seal_version(now), self._active_assertion(now)
        return [
            *(
                KeyInfo(
                    kind="seal",
                    id=str(key.version),
                    created=key.created,
                    use_from=key.use_from,
                    state="active" if key.version == seal else "next" if key.version > seal else "previous",
                )
                for key in sorted(self._file.seal, key=lambda key: key.version)
            ),
            *(
                KeyInfo(
                    kind="assertion",
                    id=key.kid,
                    created=key.created,
                    use_from=key.use_from,
                    state="active" if key is signer else "next" if key.use_from > signer.use_from else "previous",
                )
                for key in sorted(self._file.assertion, key=lambda key: key.use_from)
            ),
        ]

    def _active_assertion(self, now: float) -> _AssertionKey:
        ready = [key for key in self._file.assertion if key.use_from <= now]
        if ready:
            return max(ready, key=lambda key: key.use_from)
        return min(
            self._file.assertion, key=lambda key: key.use_from
        )  # a clock set back must not leave us without a key


def read_keyring_bytes(path: Path) -> bytes:
    """Read a keyring file after checking that nobody else could: what the supervisor hands to its processes.

    Raises:
        KeyringError: missing, not a regular file, another owner, or readable by others; names the mend.

    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hang the start
    except FileNotFoundError:
        raise KeyringError(
            f"{path}: does not exist; restore it from its backup, or make a gateway with `gateway init`"
        ) from None
    except OSError as exc:
        raise KeyringError(f"{path}: cannot be read: {exc.strerror}") from exc
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise KeyringError(f"{path}: is not a regular file")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise KeyringError(f"{path}: is open to other users (mode {mode:04o}); run: chmod 600 {path}")
        if status.st_uid not in {0, os.geteuid()}:
            raise KeyringError(f"{path}: belongs to user {status.st_uid}; run: chown {os.geteuid()} {path}")
        if status.st_size > _MAX_FILE_BYTES:
            raise KeyringError(f"{path}: is too large for a keyring")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(_MAX_FILE_BYTES)
    except OSError as exc:
        raise KeyringError(f"{path}: cannot be read: {exc.strerror}") from exc
    finally:
        os.close(descriptor)


def _write(path: Path, data: bytes, *, owner: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        hand_over(descriptor, owner)
        os.fchmod(descriptor, 0o600)  # whatever the umask says
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _new_assertion_key(random: Callable[[int], bytes], now: float, use_from: float) -> _AssertionKey:
    return _AssertionKey(kid=f"a{random(8).hex()}", seed=_text(random(KEY_BYTES)), created=now, use_from=use_from)


def _private(key: _AssertionKey) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(b64decode(key.seed))


def _derive(secret: bytes, label: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=label.encode()).derive(secret)


def _text(secret: bytes) -> str:
    return b64encode(secret).decode("ascii")


def _secret(text: str, name: str) -> bytes:
    try:
        secret = b64decode(text, validate=True)
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise KeyringError(f"keyring: {name} is not {KEY_BYTES} bytes of base64; restore the file from its backup")
    return secret
