"""`gateway policy fmt`: policy and case files in their canonical form, which says what they said.

Writes a file whole or not at all, and none of them while one cannot be read.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from gateway.cli.administration import NO, read_settings
from gateway.cli.invocation import current
from gateway.cli.policy.reading import count
from gateway.document.diagnostic import Diagnostic, DocumentError, illustrated
from gateway.document.layout import laid_out
from gateway.document.source import Loc, load
from gateway.exchange.errors import ConfigurationError
from gateway.policy.schema import key_order, kind_of, schema_of
from gateway.server.bundle import display_name, read_directory, read_text


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it is and as it should be."""

    path: Path
    shown: str
    text: str
    written: str

    @property
    def is_changed(self) -> bool:
        return self.text != self.written

    def diff(self) -> str:
        lines = difflib.unified_diff(
            self.text.splitlines(keepends=True),
            self.written.splitlines(keepends=True),
            self.shown,
            f"{self.shown} (formatted)",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; show what would change, and exit 1 when something would.")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
def fmt(*, check: bool, files: tuple[Path, ...]) -> None:
    """Write policy and case FILES (or directories of them) in their canonical form; without FILES all of them.

    Comments stay; no answer changes. The version of the policy does: it is a hash of the text.
    """
    found = _read(files)
    changed = [file for file in found if file.is_changed]
    if not check:
        for file in changed:
            _replace(file)
    value = {
        "ok": not (check and changed),
        "files": [
            {"path": file.shown, "changed": file.is_changed} | ({"diff": file.diff()} if check else {})
            for file in found
        ],
    }
    lines = [file.diff() if check else f"{file.shown}: formatted" for file in changed]
    verb = "would change" if check else "changed"
    lines.append(f"{count(len(found), 'file')}: {len(changed)} {verb}, {len(found) - len(changed)} fine.")
    current().answer(value, "\n".join(lines))
    if check and changed:
        raise click.exceptions.Exit(NO)


def _read(named: tuple[Path, ...]) -> list[_File]:
    """Read and lay out every file.

    Raises:
        ConfigurationError: with every error of every file.

    """
    errors: list[str] = []
    texts = _texts(named, errors)
    if errors:
        raise ConfigurationError(tuple(errors))
    findings: list[Diagnostic] = []
    files = []
    for shown, (path, text) in texts.items():
        try:
            files.append(_File(path, shown, text, formatted(text, shown)))
        except DocumentError as error:
            findings += illustrated(error.findings, {shown: text})
    if findings:
        raise DocumentError(tuple(sorted(findings)))
    return files


def _texts(named: tuple[Path, ...], errors: list[str]) -> dict[str, tuple[Path, str]]:
    """Read the files by the name that messages call them."""
    found: dict[str, tuple[Path, str]] = {}
    base, directories = Path.cwd(), [path for path in named if path.is_dir()]
    if not named:
        policies = read_settings().policies
        base = current().config.absolute().parent
        directories = [policies, *(path for path in (policies / "tests",) if path.is_dir())]
    for directory in directories:
        texts = read_directory(directory, base, errors)
        found |= {shown: (base / shown, text) for shown, text in texts.items()}
    for path in named:
        if not path.is_dir() and (text := read_text(path, str(path), errors)) is not None:
            found[display_name(path, base)] = path, text
    return found


def formatted(text: str, shown: str) -> str:
    """Lay out the text of a policy file or a case file; `shown` is its name in messages. Raises DocumentError."""
    document = load(text, shown)
    kind = kind_of(document.data)
    if kind is None:
        sentence = "this is neither a policy file nor a case file"
        raise DocumentError((document.finding((), sentence, name="nothing-declared"),))
    schema = schema_of(kind)

    def order(loc: Loc) -> tuple[str, ...]:
        return tuple(key_order(schema, loc))

    return laid_out(text, shown, order)


def _replace(file: _File) -> None:
    """Put the new text in the place of the old one at once, with the same owner and rights, or not at all."""
    path = file.path.resolve()  # a link goes on leading to the file
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".", suffix=".fmt", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as stream:
            before, own = path.stat(), os.fstat(stream.fileno())
            # attack: a file of the gateway's that root lays out is root's alone, and the next reload cannot read it.
            if (before.st_uid, before.st_gid) != (own.st_uid, own.st_gid):
                os.fchown(stream.fileno(), before.st_uid, before.st_gid)
            os.fchmod(stream.fileno(), stat.S_IMODE(before.st_mode))
            stream.write(file.written)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        sentence = (error.strerror or "unknown error").lower()
        raise ConfigurationError((f"{file.shown}: cannot be written: {sentence}",)) from error
