"""One place of a document and what may stand there.

A place checks the kind of its value and reports what is wrong; it returns None instead of a
value it has reported, so that a reader goes on and one run finds every error of a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any, Literal, TypeVar

from gateway.document.source import Diagnostic, Document, Loc, did_you_mean

T = TypeVar("T")


class Place:
    """A value of a document, where it stands, and the list that collects findings about it."""

    __slots__ = ("document", "findings", "loc", "value")

    def __init__(self, document: Document, findings: list[Diagnostic], loc: Loc = (), value: Any = None) -> None:
        self.document = document
        self.findings = findings
        self.loc = loc
        self.value = value if loc else document.data

    def __str__(self) -> str:
        """Write `policies/portal.yaml:12:5`."""
        line, column = self._position()
        return f"{self.document.path}:{line}:{column}"

    def key(self) -> Place:
        """Return the place of the key that leads here: findings about a name belong there."""
        return _Key(self.document, self.findings, self.loc, self.value)

    def fail(self, message: str, *, name: str) -> None:
        """Report an error here; `name` is what docs/diagnostics.md explains."""
        self._report(*self._position(), message, "error", name)

    def fail_inside(self, line: int, column: int, message: str, *, name: str) -> None:
        """Report an error at a line and column (from 1) of the text that stands here."""
        self._report(*self.document.inside(self.loc, line, column), message, "error", name)

    def warn(self, message: str, *, name: str) -> None:
        """Report a warning here."""
        self._report(*self._position(), message, "warning", name)

    def _report(self, line: int, column: int, message: str, severity: Literal["error", "warning"], name: str) -> None:
        self.findings.append(
            Diagnostic(path=self.document.path, line=line, column=column, message=message, severity=severity, name=name)
        )

    def fields(self, required: Collection[str], optional: Collection[str] = ()) -> dict[str, Place] | None:
        """Read a mapping with these keys only. None when it is no mapping or a required key is missing."""
        entries = self.entries()
        if entries is None:
            return None
        known = {*required, *optional}
        for name, place in entries.items():
            if name not in known:
                place.key().fail(
                    f"unknown key {name!r}{did_you_mean(name, known - entries.keys())}", name="unknown-key"
                )
        missing = [name for name in required if name not in entries]
        for name in missing:
            self.fail(f"the key {name!r} is missing", name="missing-key")
        return None if missing else {name: place for name, place in entries.items() if name in known}

    def entries(self) -> dict[str, Place] | None:
        """Read a mapping with any keys."""
        if not isinstance(self.value, dict):
            self.fail(f"expected a mapping of keys to values, found {_kind(self.value)}", name="wrong-kind")
            return None
        return {name: self._child(name, value) for name, value in self.value.items()}

    def items(self) -> list[Place] | None:
        """Read a list with at least one item."""
        if not isinstance(self.value, list):
            hint = f"; write [{self.value}]" if isinstance(self.value, str) and self.value.isalnum() else ""
            self.fail(f"expected a list, found {_kind(self.value)}{hint}", name="wrong-kind")
            return None
        if not self.value:
            self.fail("the list is empty; name at least one item, or remove the key", name="empty-list")
            return None
        return [self._child(index, value) for index, value in enumerate(self.value)]

    def texts(self, check: Callable[[Place], str | None] | None = None) -> dict[str, Place] | None:
        """Read a list of different texts, each read by `check`. None when nothing in it is right."""
        items = self.items()
        if items is None:
            return None
        found: dict[str, Place] = {}
        for item in items:
            text = check(item) if check else item.text()
            if text is None:
                continue
            if text in found:
                item.fail(f"{text!r} is listed twice", name="listed-twice")
            found.setdefault(text, item)
        return found or None

    def text(
        self, pattern: re.Pattern[str] | None = None, sentence: str = "", *, name: str = "malformed-value"
    ) -> str | None:
        """Read a text that is not empty and matches `pattern`; `sentence` says what is expected, `name` what is found."""
        if not isinstance(self.value, str):
            self.fail(
                f"expected text, found {_kind(self.value)}"
                + ("; quote it" if not isinstance(self.value, (dict, list)) else ""),
                name="wrong-kind",
            )
            return None
        if not self.value.strip():
            self.fail("empty value; write one, or remove the key", name="empty-value")
            return None
        if pattern is not None and not pattern.fullmatch(self.value):
            self.fail(f"{self.value!r}: {sentence}", name=name)
            return None
        return self.value

    def flag(self) -> bool | None:
        """Read true or false."""
        if isinstance(self.value, bool):
            return self.value
        self.fail(f"expected true or false, found {_kind(self.value)}", name="wrong-kind")
        return None

    def count(self, *, maximum: int) -> int | None:
        """Read a whole number from 1 to `maximum`."""
        if isinstance(self.value, int) and not isinstance(self.value, bool) and 1 <= self.value <= maximum:
            return self.value
        self.fail(f"expected a whole number from 1 to {maximum}, found {_kind(self.value)}", name="wrong-kind")
        return None

    def one_of(self, choices: Collection[str]) -> str | None:
        """Read one of a few words."""
        text = self.text()
        if text is None or text in choices:
            return text
        self.fail(f"{text!r} is not one of {', '.join(choices)}{did_you_mean(text, choices)}", name="unknown-word")
        return None

    def quantity(self, parse: Callable[[str], T]) -> T | None:
        """Read a value with a unit by `parse`, which raises ValueError with a sentence."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            self.fail(f"expected a number with a unit, found {_kind(value)}", name="wrong-kind")
            return None
        try:
            return parse(str(value))
        except ValueError as error:
            self.fail(str(error), name="malformed-quantity")
            return None

    def _position(self) -> tuple[int, int]:
        return self.document.position(self.loc)

    def _child(self, name: str | int, value: Any) -> Place:
        return Place(self.document, self.findings, (*self.loc, name), value)


class _Key(Place):
    """The key of a mapping instead of the value behind it."""

    __slots__ = ()

    def _position(self) -> tuple[int, int]:
        return self.document.position(self.loc, key=True)


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return repr(value) if value else "an empty text"
        case list():
            return "a list"
        case _:
            return "a mapping"
