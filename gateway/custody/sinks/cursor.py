"""How far a receiver has a stream: one small file, written after each acknowledgement, and the file before it.

A cursor that cannot be read falls back to the one before, and then to the beginning: duplicates, never
loss. Beside it stand the records that a receiver will never take, and what an operator wants sent again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from gateway.exchange.errors import GatewayError
from gateway.ledger.spare import replace_file

MOST_BURIED: Final = 10_000
"""Dead letters that are listed one by one; more are counted (attack: whatever a receiver refuses, in every request)."""


class CursorError(GatewayError):
    """A cursor's files cannot be written."""


class Cursor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first record of a log that was not acknowledged yet."""

    origin: str
    """Of which log; another origin is another log, which begins at its beginning."""
    next_index: int
    crc: int = 0

    def sealed(self) -> Cursor:
        """Return it with its check sum."""
        return msgspec.structs.replace(self, crc=crc32(f"{self.origin}\n{self.next_index}".encode()))


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record that a receiver refused for good."""

    origin: str
    index: int
    time: int
    """When it was refused, unix seconds."""
    detail: str


class Unlisted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Dead letters beyond those that are listed one by one."""

    origin: str
    first: int
    last: int
    count: int
    """Of the records from `first` to `last`."""


class Replay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An operator's wish: deliver everything from an index on, or the dead letters, once more."""

    start: int | None = None
    dead_letters: bool = False


class CursorFile:
    """The files of one sink and stream. Blocking."""

    def __init__(self, directory: Path, sink: str, stream: str) -> None:
        self.sink = sink
        self.stream = stream
        base = directory / f"{sink}-{stream}"
        self._directory = directory
        self.path = base.with_name(base.name + ".json")
        self.previous = base.with_name(base.name + ".json.previous")
        self.dead_path = base.with_name(base.name + ".dead")
        self.unlisted_path = base.with_name(base.name + ".dead-more")
        self.replay_path = base.with_name(base.name + ".replay")
        self.is_damaged = False
        """The newest cursor could not be read when it was last loaded."""

    def load(self) -> Cursor | None:
        """Return the newest cursor that can be read; None when there is none."""
        newest, is_there = _read(self.path)
        self.is_damaged = is_there and newest is None
        return newest or _read(self.previous)[0]

    def store(self, cursor: Cursor) -> None:
        """Replace the cursor and keep the one before; returns when both are on stable storage. Raises CursorError."""
        try:
            self._replace(self.path, msgspec.json.encode(cursor.sealed()) + b"\n", keep=True)
        except OSError as exc:
            raise CursorError(f"{self.path}: {os.strerror(exc.errno or 0).lower()}") from exc

    def bury(self, letters: list[DeadLetter]) -> None:
        """Add dead letters to their list, before the cursor passes them. Repeating it does no harm. Raises CursorError.

        Beyond `MOST_BURIED` they are counted, with the first and last of them: the log has them all the same.
        """
        known = {(letter.origin, letter.index) for letter in self.dead_letters()}
        fresh = [letter for letter in letters if (letter.origin, letter.index) not in known]
        room = max(0, MOST_BURIED - len(known))
        fresh, more = fresh[:room], fresh[room:]
        if more:
            self._count(more)
        try:
            descriptor = os.open(self.dead_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.writelines(
                    b"\n" + msgspec.json.encode(letter) for letter in fresh
                )  # a torn line spoils itself alone
                file.flush()
                os.fsync(file.fileno())
            self._sync_directory()
        except OSError as exc:
            raise CursorError(f"{self.dead_path}: {os.strerror(exc.errno or 0).lower()}") from exc

    def unlisted(self) -> Unlisted | None:
        """Return what is known of the dead letters that are not listed; None where all are."""
        try:
            return msgspec.json.decode(self.unlisted_path.read_bytes(), type=Unlisted)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def count_dead(self) -> int:
        """Return how many dead letters there are, listed or not."""
        unlisted = self.unlisted()
        return len(self.dead_letters()) + (unlisted.count if unlisted is not None else 0)

    def forget_unlisted(self, start: int) -> None:
        """Count them no more where all of them are delivered again, from `start` on. Raises CursorError."""
        unlisted = self.unlisted()
        if unlisted is None or unlisted.first < start:
            return
        try:
            self.unlisted_path.unlink()
            self._sync_directory()
        except OSError as exc:
            raise CursorError(f"{self.unlisted_path}: {os.strerror(exc.errno or 0).lower()}") from exc

    def _count(self, letters: list[DeadLetter]) -> None:
        known = self.unlisted()
        if known is None or known.origin != letters[0].origin:  # a log that was set aside is delivered no more
            known = Unlisted(origin=letters[0].origin, first=letters[0].index, last=letters[0].index - 1, count=0)
        now = Unlisted(
            origin=known.origin,
            first=min(known.first, letters[0].index),
            last=max(known.last, letters[-1].index),
            count=known.count + sum(letter.index > known.last for letter in letters),
        )
        try:
            self._replace(self.unlisted_path, msgspec.json.encode(now) + b"\n")
        except OSError as exc:
            raise CursorError(f"{self.unlisted_path}: {os.strerror(exc.errno or 0).lower()}") from exc

    def dead_letters(self) -> list[DeadLetter]:
        """Return the dead letters; a line that cannot be read is left out."""
        try:
            lines = self.dead_path.read_bytes().splitlines()
        except OSError:
            return []
        found = []
        for line in lines:
            try:
                found.append(msgspec.json.decode(line, type=DeadLetter))
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
        return found

    def keep_dead(self, letters: list[DeadLetter]) -> None:
        """Replace the list of dead letters. Raises CursorError."""
        try:
            self._replace(self.dead_path, b"".join(b"\n" + msgspec.json.encode(letter) for letter in letters))
        except OSError as exc:
            raise CursorError(f"{self.dead_path}: {os.strerror(exc.errno or 0).lower()}") from exc

    def ask(self, replay: Replay) -> None:
        """Leave an operator's wish for the custodian. Raises CursorError."""
        try:
            self._replace(self.replay_path, msgspec.json.encode(replay) + b"\n")
        except OSError as exc:
            raise CursorError(f"{self.replay_path}: {os.strerror(exc.errno or 0).lower()}") from exc

    def asked(self) -> Replay | None:
        """Return the operator's wish, if there is one that can be read."""
        try:
            return msgspec.json.decode(self.replay_path.read_bytes(), type=Replay)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def answered(self) -> None:
        """Forget the wish, after the cursor says so. Raises CursorError."""
        try:
            self.replay_path.unlink(missing_ok=True)
            self._sync_directory()
        except OSError as exc:
            raise CursorError(f"{self.replay_path}: {os.strerror(exc.errno or 0).lower()}") from exc

    def _replace(self, path: Path, content: bytes, *, keep: bool = False) -> None:
        is_good = keep and _read(path)[0] is not None  # a damaged one must not push out the one before
        replace_file(path, content, previous=self.previous if is_good else None)

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read(path: Path) -> tuple[Cursor | None, bool]:
    """Return the cursor in a file, and whether there is a file at all."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None, False
    except OSError:
        return None, True
    try:
        cursor = msgspec.json.decode(content, type=Cursor)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, True
    return (cursor if cursor == cursor.sealed() and cursor.next_index >= 0 else None), True
