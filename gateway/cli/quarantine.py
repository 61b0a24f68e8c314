"""`gateway quarantine`: refused files, listed, shown, given out whole and removed. Works with the gateway running or stopped."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

import click
import msgspec

from gateway.cli.administration import Administration, administration, answer, moment, refuse, table
from gateway.exchange.errors import ConfigurationError
from gateway.quarantine.errors import QuarantineError
from gateway.quarantine.quarantine import LABEL, Item, Quarantine
from gateway.server.upload_places import quarantine_directory

_LONGEST_NAME = 40


def _quarantine(act: Administration) -> Quarantine:
    return Quarantine(quarantine_directory(act.settings.state_dir), act.keyring.derive(LABEL))


def _find(kept: Quarantine, name: str) -> Item:
    try:
        return kept.item(name)
    except QuarantineError as error:
        refuse(str(error))


@click.group()
def quarantine() -> None:
    """List, show, release and delete refused files."""


@quarantine.command(name="list")
def list_files() -> None:
    """List the files that are kept, oldest first."""
    with administration() as act:
        act.record_administration("quarantine list", action="view", resources=[("quarantine", "all")])
        found = _quarantine(act).items()
    rows = [
        (
            item.id,
            moment(item.at),
            item.route,
            item.user or "-",
            item.signature or item.objection,
            str(item.size),
            _shown(item.name),
        )
        for item in found
    ]
    columns = ("ID", "AT", "ROUTE", "USER", "WHY", "BYTES", "NAME")
    lines = [table(columns, rows) if rows else "Nothing is in quarantine."]
    answer({"files": [msgspec.to_builtins(item) for item in found]}, lines)


@quarantine.command()
@click.argument("name", metavar="ID")
def show(name: str) -> None:
    """Say everything that is known of a file."""
    with administration() as act:
        item = _find(_quarantine(act), name)
        act.record_administration(
            "quarantine show", action="view", resources=[("quarantine", item.id)], tenant=item.tenant
        )
    told: dict[str, Any] = msgspec.to_builtins(item)
    lines = [
        f"{key:<12}{moment(value) if key in {'at', 'until'} else _shown(str(value), 256) or '-'}"
        for key, value in told.items()
    ]
    answer(told, lines)


@quarantine.command()
@click.argument("name", metavar="ID")
@click.option("--to", type=click.Path(path_type=Path), required=True, help="The file to write; - is standard output.")
def release(name: str, to: Path) -> None:
    """Write a file as it was uploaded, byte for byte. It stays in quarantine until it is deleted or its time is over."""
    with administration() as act:
        kept = _quarantine(act)
        item = _find(kept, name)
        act.record_administration(
            "quarantine release",
            action="download",
            resources=[("quarantine", item.id)],
            tenant=item.tenant,
            more={"sha256": item.digest},
        )
        if str(to) == "-":
            _write(kept, item, sys.stdout.buffer)
            return
        try:
            descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ConfigurationError((f"{to}: cannot be written: {error.strerror}",)) from None
        try:
            with os.fdopen(descriptor, "wb") as file:
                _write(kept, item, file)
        except BaseException:
            to.unlink()
            raise
    answer(
        {"ok": True, "file": str(to), "bytes": item.size, "sha256": item.digest}, [f"Wrote {item.size} bytes to {to}."]
    )


@quarantine.command()
@click.argument("names", metavar="ID...", nargs=-1, required=True)
def delete(names: tuple[str, ...]) -> None:
    """Remove files."""
    with administration() as act:
        kept = _quarantine(act)
        items = [_find(kept, name) for name in names]
        act.record_administration(
            "quarantine delete", action="delete", resources=[("quarantine", item.id) for item in items]
        )
        for item in items:
            kept.delete(item.id)
    answer({"ok": True, "deleted": list(names)}, [f"Deleted {len(names)} file{'s' if len(names) != 1 else ''}."])


def _write(kept: Quarantine, item: Item, file: BinaryIO) -> None:
    try:
        file.writelines(kept.pieces(item.id))
    except OSError as error:
        raise ConfigurationError((f"the file cannot be written: {error.strerror}",)) from None


def _shown(text: str, most: int = _LONGEST_NAME) -> str:
    """Write what a client chose so that it does nothing to a terminal."""
    plain = "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"
