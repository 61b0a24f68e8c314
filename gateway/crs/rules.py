"""Read a rule set from its directory, as one text for the library.

What makes a load fail, or reach out of the process, is taken out or refused here, with its place: the library itself
goes on without a word when it could not read its rules, and then stops nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

_ID: Final = re.compile(r"\bid:'?([0-9]+)")
_FROM_FILE: Final = re.compile(r"@(pmFromFile|pmf|ipMatchFromFile|ipMatchF)\s+(?!https?:)([^\s\"/][^\s\"]*)")
_REFUSED: Final = re.compile(
    r"^\s*(SecRemoteRules\w*|SecRuleScript|SecAuditLog\b|SecDebugLog\b|Include)\b", re.IGNORECASE
)
_OUTWARD: Final = re.compile(r"(@\w*FromFile|@ipMatchF|@pmf)\s+https?:|\bexec:|@inspectFile|@fuzzyHash", re.IGNORECASE)
_CHAIN: Final = re.compile(r"[\",\s]chain[\",\s]|\bchain\"?$")
_DEFAULT: Final = re.compile(r"\s*SecDefaultAction\b", re.IGNORECASE)
"""There may be one for each phase: the engine's, which scores and lets the sum decide."""
_ASKS_OTHERS: Final = re.compile(r"@(?:geoLookup|rbl)\b", re.IGNORECASE)
SETUP_NAMES: Final = ("crs-setup.conf", "crs-setup.conf.example")


class RulesError(ValueError):
    """A rule set that cannot be used; the message names the file and the line."""


class Directive:
    """One directive, which may go over several lines."""

    __slots__ = ("line", "text")

    def __init__(self, line: int, text: str) -> None:
        self.line = line
        self.text = text


def read_rules(directory: Path, *, setup: Path | None = None, levels: str = "", without: Collection[int] = ()) -> str:
    """Read the rules of `directory` (or its `rules`), after its set-up.

    Args:
        directory: holds `rules/*.conf` or `*.conf`.
        setup: a `crs-setup.conf` elsewhere; None = the one beside the rules.
        levels: directives that stand after the set-up, and so win over it.
        without: ids of rules that are left out, with the whole chain they begin.

    Raises:
        RulesError: nothing is there, a file cannot be read, or a rule would run a program, reach into the network or
            write files; an id of `without` is in no file.

    """
    rules = directory / "rules" if (directory / "rules").is_dir() else directory
    try:
        files = sorted(path for path in rules.glob("*.conf") if path.name not in SETUP_NAMES)
    except OSError as error:
        raise RulesError(f"{rules}: {error.strerror}") from None
    if not files:
        raise RulesError(f"{rules}: holds no rules (*.conf)")
    begins = setup if setup is not None else _setup_of(directory)
    left = set(without)
    texts = [_read(begins, left) if begins is not None else "", levels, *(_read(path, left) for path in files)]
    if left:
        raise RulesError(f"{rules}: no rule has the id {min(left)}, which is to be left out")
    return "\n".join(texts)


def files_of(directory: Path, setup: Path | None = None) -> tuple[tuple[str, int, int], ...]:
    """List what a rule set is read from, with size and time of change (ns): another list is another rule set.

    Raises:
        RulesError: a file cannot be looked at.

    """
    rules = directory / "rules" if (directory / "rules").is_dir() else directory
    begins = setup if setup is not None else _setup_of(directory)
    try:
        paths = [*sorted(rules.iterdir()), *([begins] if begins is not None else [])]
        known = [(path, path.stat()) for path in paths]
    except OSError as error:
        raise RulesError(f"{error.filename}: {error.strerror}") from None
    return tuple((str(path), found.st_size, found.st_mtime_ns) for path, found in known)


def _setup_of(directory: Path) -> Path | None:
    for place in (directory, directory.parent):
        for name in SETUP_NAMES:
            if (place / name).is_file():
                return place / name
    return None


def _read(path: Path, left: set[int]) -> str:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise RulesError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RulesError(f"{path}: is no text in UTF-8") from None
    kept = []
    drops_chain = False
    for directive in directives(text):
        said = directive.text
        refused = _REFUSED.search(said)
        if refused is not None:
            raise RulesError(f"{path}:{directive.line}: {refused[1]} is not used here")
        if _OUTWARD.search(said):
            raise RulesError(f"{path}:{directive.line}: a rule that reaches out of its process is not used here")
        if _DEFAULT.match(said):
            continue
        found = _ID.search(said)
        is_chained = _CHAIN.search(said) is not None
        if drops_chain:
            drops_chain = is_chained
            continue
        if found is not None and int(found[1]) in left:
            left.discard(int(found[1]))
            drops_chain = is_chained
            continue
        kept.append(_FROM_FILE.sub(lambda match: f"@{match[1]} {path.parent / match[2]}", said))
    return (
        "\n\n".join(_without_questions(kept)) + "\n"
    )  # without an empty line, a rule without actions takes the next one for them


def _without_questions(said: list[str]) -> Iterator[str]:
    """Leave out chains that ask somebody else about an address: a database of places, which this build of the library cannot read, or a list in the DNS."""
    chain: list[str] = []
    for text in said:
        chain.append(text)
        if _CHAIN.search(text) and text.lstrip().startswith("SecRule"):
            continue
        if not any(_ASKS_OTHERS.search(part) for part in chain):
            yield from chain
        chain = []
    yield from chain


def directives(text: str) -> Iterator[Directive]:
    """Split a file into its directives, which go on after a line that ends in a backslash; without comments."""
    begun = 0
    parts: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not parts and (not line.strip() or line.lstrip().startswith("#")):
            continue
        begun = begun or number
        if line.endswith("\\"):
            parts.append(line[:-1])
            continue
        yield Directive(begun, "\\\n".join((*parts, line)))
        begun, parts = 0, []
    if parts:
        yield Directive(begun, "\\\n".join(parts))
