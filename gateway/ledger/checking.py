"""Reads the files of a log and has each checked, here or in processes of its own.

Only names, heads and results travel between the processes. A file that is being written is read until
its last frame is whole; one that was sealed or pruned meanwhile is looked for where it went.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

from gateway.audit.file_check import check_file
from gateway.audit.filehead import FileHead
from gateway.audit.passage import Passage, Position, Trust
from gateway.ledger.copy import CopyFile, VanishedError
from gateway.ledger.keys import AuditKeys
from gateway.ledger.reader import MAX_FILE_BYTES, UnreadableLogError, read_newest

Task = tuple[Path, Trust, Position, FileHead | None, bool]
"""Path, what it has to agree with, where the file before ended, the next file's head, whether it may be growing."""


class Checker(Protocol):
    """Checks files, in any order."""

    def submit(self, task: Task) -> None:
        """Begin with a file, if there is a process for it."""
        ...

    def result(self, task: Task) -> Passage:
        """Return what the check gave. Raises `UnreadableLogError`."""
        ...


class Alone:
    """Checks each file when its result is asked for."""

    def __init__(self, keys: AuditKeys | None) -> None:
        self._keys = keys

    def submit(self, task: Task) -> None:
        """Do nothing yet."""

    def result(self, task: Task) -> Passage:
        """Check a file. Raises `UnreadableLogError`."""
        return check(task, self._keys)


class Several:
    """Checks files in processes of its own."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool
        self._begun: dict[Path, Future[Passage]] = {}

    def submit(self, task: Task) -> None:
        """Have a file checked as soon as a process is free."""
        self._begun[task[0]] = self._pool.submit(_check_there, task)

    def result(self, task: Task) -> Passage:
        """Wait for a file. Raises `UnreadableLogError`."""
        begun = self._begun.pop(task[0], None)
        return (begun or self._pool.submit(_check_there, task)).result()


@contextmanager
def checker(keys: AuditKeys | None, jobs: int) -> Iterator[Checker]:
    """Give what checks files with so many processes."""
    if jobs <= 1:
        yield Alone(keys)
        return
    with ProcessPoolExecutor(
        jobs, get_context("spawn"), initializer=_begin, initargs=(keys.dump() if keys is not None else b"",)
    ) as pool:
        try:
            yield Several(pool)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Own:
    """What a process of the pool keeps between files."""

    keys: AuditKeys | None = None


def _begin(keys: bytes) -> None:
    _Own.keys = AuditKeys.parse(keys) if keys else None


def _check_there(task: Task) -> Passage:
    return check(task, _Own.keys)


def check(task: Task, keys: AuditKeys | None) -> Passage:
    """Read and check one file. Raises `UnreadableLogError`."""
    path, trust, before, next_head, is_newest = task
    try:
        data = read_newest(path) if is_newest else _read(path)
    except FileNotFoundError as exc:
        raise VanishedError(f"{path}: went away while the log was read") from exc
    except OSError as exc:
        raise UnreadableLogError(
            f"{exc.filename or path}: cannot be read: {os.strerror(exc.errno or 0).lower()}"
        ) from exc
    return check_file(path.name, data, trust, opener=keys, before=before, next_head=next_head)


def _read(path: Path) -> bytes:
    try:
        return _read_bounded(path)
    except FileNotFoundError:
        sealed = path.with_suffix(".seg")  # it was sealed while others were read
        if path.suffix != ".log" or not sealed.exists():
            raise
        return _read_bounded(sealed)


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
            raise UnreadableLogError(f"{path}: is larger than any file of a log")
        return file.read()


def tasks_of(files: Sequence[CopyFile], trust: Trust) -> list[tuple[CopyFile, Task]]:
    """Return what to do for all files of a log, in order."""
    numbers = sorted({file.number for file in files})
    heads = {file.number: file.head for file in files if file.head is not None}
    tasks: list[tuple[CopyFile, Task]] = []
    for file in files:
        is_newest = file.number == numbers[-1] and not file.is_sealed
        tasks.append((file, (file.path, trust, Position(), heads.get(file.number + 1), is_newest)))
    return tasks
