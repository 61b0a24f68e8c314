"""Where what is found goes: standard output, or a new file that only its owner reads."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime, time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import click

from gateway.audit.mapping import cell

_OTHERS = 0o077


class Answering:
    """Takes text. A context manager: a file that could not be finished is not left behind."""

    def __init__(self, path: Path | None, *, is_written_by_us: bool = True) -> None:
        """`path` must not exist yet: nothing is ever written over. Raises `click.UsageError`."""
        self._path = path
        self._is_ours = is_written_by_us
        self._file: IO[str] | None = None
        if path is not None and path.exists():
            raise click.UsageError(f"{path} exists; name a new file")

    def __enter__(self) -> Self:
        self._mask = os.umask(_OTHERS)  # also for what DuckDB writes
        if self._path is not None and self._is_ours:
            try:
                self._file = self._path.open("x", encoding="utf-8", newline="")
            except OSError as exc:
                os.umask(self._mask)
                raise click.UsageError(f"{self._path}: {os.strerror(exc.errno or 0).lower()}") from exc
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.umask(self._mask)
        if self._file is not None:
            self._file.close()
        if kind is not None and self._path is not None:
            with suppress(OSError):
                self._path.unlink()

    def write(self, text: str) -> None:
        """Write text that has its own line end."""
        if self._file is not None:
            self._file.write(text)
        else:
            click.echo(text, nl=False)


def as_cell(value: Any) -> str:
    """Write a value of an answer as the text of a cell: no formula, no line break, times in UTC."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return cell(value if isinstance(value, str) else _plain(value))


def as_json(names: Sequence[str], row: Sequence[Any]) -> str:
    """Write a row of an answer as an object; of two columns with one name the last counts."""
    return json.dumps(dict(zip(names, row, strict=True)), default=_plain, ensure_ascii=True)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds") + ("" if value.tzinfo else "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=_plain, ensure_ascii=False)
    return str(value)
