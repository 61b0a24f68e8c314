"""What was refused, kept for a while so that somebody can look at it: sealed, listed, given out whole, removed.

    file = magic | length of the envelope, u32 | nonce, 12 bytes | envelope | pieces
    envelope = AES-256-GCM under the quarantine's key of: what is known of the file, and the key of its pieces

The additional data is the file's own name, so that none passes for another. The quarantine's key is derived from the keyring and
outlives its rotation. One directory for all processes of a gateway: a file appears whole or not at all, whoever writes it.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.inspection.upload.source import Source
from gateway.quarantine.errors import QuarantineError
from gateway.quarantine.pieces import KEY_BYTES, PIECE_BYTES, SEALED_BYTES, BrokenPieceError, Sealing
from gateway.quarantine.spool import KEPT_FREE_BYTES

LABEL: Final = "quarantine"
"""Purpose of the key: `keyring.derive(LABEL)`."""
_MAGIC: Final = b"gateway quarantine 1\n"
_LENGTH: Final = struct.Struct(">I")
_NONCE_BYTES: Final = 12
_LONGEST_ENVELOPE: Final = 16 * 1024
_SUFFIX: Final = ".sealed"
_FILE: Final = re.compile(r"(q_[0-9a-f]{24})-([0-9a-f]{1,12})\.sealed")
_UNFINISHED: Final = ".unfinished"
_ID: Final = re.compile(r"q_[0-9a-f]{24}")
_ABANDONED_S: Final = 3600.0


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known of a file in quarantine. What the client chose (`name`, `field`, `declared`) is sealed with it."""

    id: str
    at: float
    """Unix time."""
    until: float
    """When it goes; whole seconds stand in the file's name, too."""
    request_id: str
    route: str
    tenant: str
    user: str
    client: str
    objection: str
    signature: str
    name: str
    field: str
    declared: str
    kind: str
    size: int
    digest: str
    """SHA-256, hexadecimal."""


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    item: Item
    key: bytes


class _Kept(NamedTuple):
    """One file of the directory."""

    id: str
    until: int
    size: int
    path: Path


def new_id(now: float, random: Callable[[int], bytes] = os.urandom) -> str:
    """Make an id; later ones sort later."""
    return f"q_{int(now):010x}{random(7).hex()}"


def is_id(text: str) -> bool:
    """Tell whether a text has the form of an id."""
    return _ID.fullmatch(text) is not None


class Quarantine:
    """The files of one gateway that are kept."""

    __slots__ = ("_cipher", "_directory", "_kept_free", "_max_bytes", "_random")

    def __init__(
        self,
        directory: Path,
        key: bytes,
        *,
        max_bytes: int = 0,
        kept_free: int = KEPT_FREE_BYTES,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._directory, self._cipher = directory, AESGCM(key)
        self._max_bytes, self._kept_free, self._random = max_bytes, kept_free, random

    def add(self, item: Item, content: Source) -> bool:
        """Keep a file; the oldest go where there is no room. False = it alone is more than may be kept.

        Raises:
            QuarantineError: the disk is full or broken; nothing is kept.

        """
        length = _sealed_length(item.size)
        if length > self._max_bytes:
            return False
        beside = self._directory / f"{item.id}{_UNFINISHED}"
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_room(item.at, length)
            try:
                with _new_file(beside) as file:
                    self._write(file, item, content)
                beside.rename(self._directory / f"{item.id}-{int(item.until):x}{_SUFFIX}")
            finally:
                beside.unlink(missing_ok=True)
        except OSError as error:
            raise QuarantineError(f"{self._directory}: a file cannot be kept: {error.strerror}") from error
        return True

    def items(self) -> list[Item]:
        """List what is kept, oldest first; what cannot be opened is left out. Raises `QuarantineError`."""
        found = []
        for kept in self._files():
            with suppress(QuarantineError):
                found.append(self.item(kept.id))
        return found

    def item(self, name: str) -> Item:
        """Return what is known of one file. Raises `QuarantineError`."""
        with self._opened(name) as file:
            return self._envelope(name, file).item

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield a file as it was uploaded, byte for byte. Raises `QuarantineError` before a byte that is not its own."""
        with self._opened(name) as file:
            envelope = self._envelope(name, file)
            sealing, left = Sealing(envelope.key), envelope.item.size
            last = left // PIECE_BYTES
            for number in range(last + 1):
                try:
                    piece = sealing.open(number, file.read(SEALED_BYTES), is_last=number == last)
                except BrokenPieceError:
                    raise QuarantineError(f"{name}: was changed or cut; nothing more of it is given out") from None
                left -= len(piece)
                if piece:
                    yield piece
            if left or file.read(1):
                raise QuarantineError(f"{name}: was changed; it is not the file that was kept")

    def delete(self, name: str) -> bool:
        """Remove a file; False = there is none. Raises `QuarantineError`."""
        _require_id(name)
        found = [kept.path for kept in self._files() if kept.id == name]
        return bool(found) and all(self._remove(path) for path in found)

    def _remove(self, path: Path) -> bool:
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise QuarantineError(f"{path}: cannot be removed: {error.strerror}") from error
        return True

    def prune(self, now: float) -> int:
        """Remove what was kept for long enough, and what a crash left; return how many. Raises `QuarantineError`."""
        removed = 0
        for kept in self._files():
            if kept.until <= now:
                removed += self._remove(kept.path)
        for left in self._directory.glob(f"*{_UNFINISHED}"):
            with suppress(OSError):
                if left.stat().st_mtime + _ABANDONED_S < now:
                    left.unlink()
        return removed

    def _make_room(self, now: float, length: int) -> None:
        self.prune(now)
        files = self._files()
        total = sum(kept.size for kept in files)
        for kept in files:
            if total + length <= self._max_bytes:
                break
            self._remove(kept.path)
            total -= kept.size
        found = os.statvfs(self._directory)
        if found.f_bavail * found.f_frsize < self._kept_free + length:
            raise QuarantineError(f"{self._directory}: the disk is nearly full; a file was not kept")

    def _write(self, file: BinaryIO, item: Item, content: Source) -> None:
        key, nonce = self._random(KEY_BYTES), self._random(_NONCE_BYTES)
        envelope = self._cipher.encrypt(nonce, msgspec.json.encode(_Envelope(item=item, key=key)), item.id.encode())
        file.write(_MAGIC + _LENGTH.pack(len(envelope)) + nonce + envelope)
        sealing, last = Sealing(key), item.size // PIECE_BYTES
        for number in range(last + 1):
            piece = content.read(number * PIECE_BYTES, PIECE_BYTES)
            file.write(sealing.seal(number, piece, is_last=number == last))
        file.flush()
        os.fsync(file.fileno())

    def _envelope(self, name: str, file: BinaryIO) -> _Envelope:
        head = file.read(len(_MAGIC) + _LENGTH.size + _NONCE_BYTES)
        length = (
            _LENGTH.unpack_from(head, len(_MAGIC))[0] if len(head) == len(_MAGIC) + _LENGTH.size + _NONCE_BYTES else 0
        )
        if not head.startswith(_MAGIC) or not 0 < length <= _LONGEST_ENVELOPE:
            raise QuarantineError(f"{name}: is not a file of the quarantine")
        try:
            opened = self._cipher.decrypt(head[-_NONCE_BYTES:], file.read(length), name.encode())
            return msgspec.json.decode(opened, type=_Envelope)
        except (InvalidTag, ValueError, msgspec.DecodeError):
            raise QuarantineError(f"{name}: does not open: it was changed, or kept under another keyring") from None

    def _opened(self, name: str) -> BinaryIO:
        _require_id(name)
        path = next((kept.path for kept in self._files() if kept.id == name), None)
        if path is None:
            raise QuarantineError(f"there is no {name} in the quarantine")
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise QuarantineError(f"{name}: cannot be read: {error.strerror}") from error
        return os.fdopen(descriptor, "rb")

    def _files(self) -> list[_Kept]:
        """List the files, oldest first."""
        kept = []
        try:
            for path in self._directory.iterdir():
                found = _FILE.fullmatch(path.name)
                if found is not None:
                    with suppress(FileNotFoundError):  # another process was faster
                        kept.append(_Kept(found[1], int(found[2], 16), path.stat().st_size, path))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise QuarantineError(f"{self._directory}: cannot be read: {error.strerror}") from error
        return sorted(kept)


def _require_id(name: str) -> None:
    if not is_id(name):
        raise QuarantineError("that is no id of the quarantine: q_ and 24 hexadecimal digits")


def _sealed_length(size: int) -> int:
    return len(_MAGIC) + _LONGEST_ENVELOPE + size + (size // PIECE_BYTES + 1) * (SEALED_BYTES - PIECE_BYTES)


def _new_file(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    return os.fdopen(descriptor, "wb")
