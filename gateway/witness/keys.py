"""The key file of a witness: its name, the kind of its signatures and the seed they come from.

A witness has a key of its own, never a log's: a key that signs a log and its cosignatures would
prove nothing to anybody.
"""

from __future__ import annotations

import binascii
import os
import stat
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import msgspec

from gateway.audit.cosignature import ED25519_COSIGNATURE, ML_DSA_44_COSIGNATURE, SEED_BYTES, Cosigner
from gateway.exchange.errors import KeyringError

VERSION: Final = 1
Algorithm = Literal["ed25519", "ml-dsa-44"]
KINDS: Final[dict[Algorithm, int]] = {"ed25519": ED25519_COSIGNATURE, "ml-dsa-44": ML_DSA_44_COSIGNATURE}
_OTHERS: Final = 0o077
_LARGEST_FILE: Final = 64 * 1024


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file as JSON."""

    version: int
    name: str
    algorithm: Algorithm
    seed: str


def generate(path: Path, name: str, algorithm: Algorithm, random: Callable[[int], bytes]) -> Cosigner:
    """Make a key file, 0600, and never over another one.

    Raises `KeyringError`, and `ValueError` for a name that no key may have.
    """
    seed = random(SEED_BYTES)
    cosigner = Cosigner(name, KINDS[algorithm], seed)
    file = _File(version=VERSION, name=name, algorithm=algorithm, seed=b64encode(seed).decode())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise KeyringError(f"{path}: cannot be made: {os.strerror(exc.errno or 0).lower()}") from exc
    with os.fdopen(descriptor, "wb") as opened:
        opened.write(msgspec.json.format(msgspec.json.encode(file)) + b"\n")
        opened.flush()
        os.fsync(descriptor)
    return cosigner


def load(path: Path) -> Cosigner:
    """Read a key file. Raises `KeyringError`, naming the file and the mend, never a value."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hang the reader
    except FileNotFoundError as exc:
        raise KeyringError(f"{path}: the key of the witness does not exist; run gateway witness init") from exc
    except OSError as exc:
        raise KeyringError(f"{path}: cannot be read: {os.strerror(exc.errno or 0).lower()}") from exc
    with os.fdopen(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise KeyringError(f"{path}: is not a file")
        if status.st_mode & _OTHERS:
            mode = stat.S_IMODE(status.st_mode)
            raise KeyringError(f"{path}: is readable by others (mode {mode:04o}); run: chmod 600 {path}")
        return parse(opened.read(_LARGEST_FILE), str(path))


def parse(data: bytes, place: str) -> Cosigner:
    """Read the contents of a key file. Raises `KeyringError`, naming `place`, never a value."""
    try:
        file = msgspec.json.decode(data, type=_File)
        if file.version != VERSION:
            raise KeyringError(f"{place}: has version {file.version}, this gateway reads {VERSION}")
        return Cosigner(file.name, KINDS[file.algorithm], b64decode(file.seed, validate=True))
    except (msgspec.MsgspecError, UnicodeDecodeError, binascii.Error, ValueError) as exc:
        raise KeyringError(f"{place}: is not the key of a witness, or is damaged") from exc
