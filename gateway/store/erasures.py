"""Who was erased: kept in the state and in a file beside it, so that neither restored alone brings a person back.

An entry says which keys were destroyed, and finds the person by a look-up token; it holds no key, no name and no id. Both copies
are made one at every start, before anything is served, and a state that does not say that it went through all of
them is erased again (`subject_data`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.ownership import hand_over
from gateway.store.rows import Backend, Row, Transaction
from gateway.store.sealing import Sealer
from gateway.store.shelf import Shelf
from gateway.store.tables import ERASURES, MARKS

JOURNAL_NAME: Final = "erasures.jsonl"
_MARK: Final = b"erasures"


class Erasure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, order=True):
    """One person who was erased. A format on disk."""

    at: float
    """Unix seconds: what was made of the person later is not meant."""
    person: str
    """Look-up token, hexadecimal."""
    tokens: tuple[str, ...]
    """Of the keys that were destroyed."""
    damaged: tuple[str, ...] = ()
    """Those of them that did not open: perhaps of somebody of the same name at another tenant."""

    @property
    def row(self) -> bytes:
        """Under which it stands in the state."""
        return hashlib.sha256(b"erasure\0" + msgspec.json.encode(self)).digest()[:16]


class Erasures:
    """The journal of one gateway. Methods raise `StoreUnavailableError`."""

    def __init__(self, rows: Backend, sealer: Sealer, state_dir: Path) -> None:
        self._rows = rows
        self._shelf = Shelf(ERASURES, Erasure, rows, sealer)
        self._path = state_dir / JOURNAL_NAME

    def note(self, erasure: Erasure) -> None:
        """Write an entry to the file, safely: before anything is destroyed."""
        self._append((erasure,))

    def note_in(self, tx: Transaction, erasure: Erasure, *, now: float) -> None:
        """Write an entry to the state, in the transaction that destroys."""
        self._shelf.put_in(tx, erasure.row, erasure, now=now)

    def all(self) -> list[Erasure]:
        """Make both copies one, and return every entry, oldest first."""
        written, kept = self._read(), self._shelf.all()
        self._append(sorted(set(kept) - set(written)))
        missing = sorted(set(written) - set(kept))
        if missing:

            def work(tx: Transaction) -> None:
                for erasure in missing:
                    self.note_in(tx, erasure, now=erasure.at)

            self._rows.transact(work)
        return sorted({*written, *kept})

    def are_applied(self, erasures: Sequence[Erasure]) -> bool:
        """Tell whether this state went through all of them."""
        if not erasures:
            return True
        found = self._rows.get(MARKS, _MARK)
        return found is not None and found.value == _digest(erasures)

    def mark_in(self, tx: Transaction, erasures: Iterable[Erasure]) -> None:
        """Have the state say that it went through these."""
        tx.put(MARKS, Row(id=_MARK, value=_digest(erasures)))

    def _read(self) -> list[Erasure]:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise StoreUnavailableError(f"{self._path}: cannot be read: {exc.strerror}") from exc
        found, lines = [], data.splitlines()
        for number, line in enumerate(lines, 1):
            try:
                found.append(msgspec.json.decode(line, type=Erasure))
            except (msgspec.DecodeError, UnicodeDecodeError):
                if number == len(lines) and not data.endswith(b"\n"):
                    continue  # a crash cut it off
                raise StoreUnavailableError(
                    f"{self._path}:{number}: is damaged; restore it from a backup, or from another node"
                ) from None
        return found

    def _append(self, erasures: Sequence[Erasure]) -> None:
        if not erasures:
            return
        data = b"".join(msgspec.json.encode(erasure) + b"\n" for erasure in erasures)
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "r+b", buffering=0) as file:
                hand_over(descriptor, self._path.parent)
                written = file.read()
                if not written.endswith(b"\n"):  # a line that a crash cut off: what it was about had not begun
                    file.truncate(written.rfind(b"\n") + 1)
                file.write(data)
                os.fsync(descriptor)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as exc:
            raise StoreUnavailableError(f"{self._path}: cannot be written: {exc.strerror}") from exc


def _digest(erasures: Iterable[Erasure]) -> bytes:
    digest = hashlib.sha256()
    for erasure in sorted(set(erasures)):
        digest.update(erasure.row)
    return digest.digest()
