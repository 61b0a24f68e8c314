"""Whose keys an auditor brought: on the command line, in files, or in directories of files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click

from gateway.audit.checkpoint import CheckpointError, Vkey
from gateway.audit.fleet import FleetError, parse_fleet
from gateway.exchange.errors import ConfigurationError

_MOST_BYTES: Final = 1 << 20
_MOST_FILES: Final = 10_000


def read_vkeys(given: str, option: str = "--vkey") -> tuple[Vkey, ...]:
    """Read verifier keys: one, several lines of them, or a file of such lines, as `gateway audit trust --vkeys` prints them.

    A line may begin with the word `log`, as in a list of logs. Raises `click.BadParameter`, naming file and line.
    """
    path = _file(given)
    try:
        text = given if path is None else _read(path).decode()
    except UnicodeDecodeError:
        raise click.BadParameter(f"{given}: is not UTF-8", param_hint=option) from None
    found: dict[Vkey, None] = {}
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{path}:{number}: " if path is not None else f"line {number}: " if len(lines) > 1 else ""
        if words[0] == "log":
            del words[0]
        if len(words) != 1:
            raise click.BadParameter(f"{where}write one verifier key on a line", param_hint=option)
        try:
            found[Vkey.parse(words[0])] = None
        except CheckpointError as exc:
            hint = "" if path is not None or "+" in given else f"; there is no file {given} either"
            raise click.BadParameter(f"{where}{exc}{hint}", param_hint=option) from exc
    if not found:
        raise click.BadParameter(f"{given or 'the text'}: holds no verifier key", param_hint=option)
    return tuple(found)


def read_vkey(given: str, option: str) -> Vkey:
    """Read one verifier key, or a file that holds one. Raises `click.BadParameter`."""
    found = read_vkeys(given, option)
    if len(found) > 1:
        raise click.BadParameter(f"{given}: holds {len(found)} verifier keys; give one", param_hint=option)
    return found[0]


def read_fleets(places: Iterable[Path], signer: Vkey | None) -> tuple[Vkey, ...]:
    """Read lists of logs: files, and directories with nothing else in them, such as trust policies of every node.

    A log may stand in several lists, with the same key. Raises `ConfigurationError`, naming file and line.
    """
    found: dict[str, tuple[Vkey, Path]] = {}
    for place in places:
        for path in _files(place):
            try:
                listed = parse_fleet(_read(path), signer)
            except FleetError as exc:
                raise ConfigurationError((f"{path}: {exc}",)) from exc
            for vkey in listed:
                known, where = found.setdefault(vkey.name, (vkey, path))
                if known != vkey:
                    raise ConfigurationError((f"{path}: the log {vkey.name} has another key in {where}",))
    return tuple(vkey for vkey, _ in found.values())


def _files(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        yield place
        return
    found = sorted(path for path in place.rglob("*") if path.is_file())
    if not found:
        raise ConfigurationError((f"{place}: holds no file",))
    if len(found) > _MOST_FILES:
        raise ConfigurationError((f"{place}: holds more than {_MOST_FILES:,} files; name the lists",))
    yield from found


def _file(given: str) -> Path | None:
    """Return the file that is meant; a verifier key is none, whatever it looks like."""
    try:
        return Path(given) if Path(given).is_file() else None
    except (OSError, ValueError):  # longer than a name may be
        return None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as exc:
        raise ConfigurationError((f"{path}: cannot be read: {os.strerror(exc.errno or 0).lower()}",)) from exc
    if len(data) > _MOST_BYTES:
        raise ConfigurationError((f"{path}: is larger than 1 MiB",))
    return data
