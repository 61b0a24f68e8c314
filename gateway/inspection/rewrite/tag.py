"""One tag of HTML, read as the tokenizer of browsers reads it (WHATWG HTML §13.2.5.6 to §13.2.5.40), whole or in pieces.

A tag that is here whole is matched by one expression; one that comes in pieces is read by a machine that looks at each byte
once, however it is cut. Both read the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

MAX_ATTRIBUTES: Final = 128
MAX_VALUE_BYTES: Final = 8 * 1024
MAX_NAME_BYTES: Final = 64

_ATTRIBUTE: Final = (
    rb"[^\t\n\f\r />][^\t\n\f\r />=]*+"
    rb"(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"[^\"]*+\"|'[^']*+'|[^\t\n\f\r >\"'][^\t\n\f\r >]*+|(?=>))|[\t\n\f\r ]*+(?!=))"
)
_ATTRIBUTES: Final = rb"(?:[\t\n\f\r /]*+" + _ATTRIBUTE + rb")*+"
WHOLE: Final = re.compile(rb"</?([A-Za-z][^\t\n\f\r />]*+)" + _ATTRIBUTES + rb"([\t\n\f\r /]*+)>").match
"""A whole tag: its name, and what stands before its `>`."""
_NAME_END: Final = re.compile(rb"[\t\n\f\r />]").search
_ATTRIBUTE_START: Final = re.compile(rb"[^\t\n\f\r /]").search
_ATTRIBUTE_END: Final = re.compile(rb"[\t\n\f\r />=]").search
_NOT_WHITE: Final = re.compile(rb"[^\t\n\f\r ]").search
_UNQUOTED_END: Final = re.compile(rb"[\t\n\f\r >]").search

_NAME, _BETWEEN, _ATTRIBUTE_NAME, _AFTER_NAME, _BEFORE_VALUE, _QUOTED, _UNQUOTED = range(7)
_GT, _SLASH, _EQUALS, _DOUBLE, _SINGLE = b">/=\"'"


def passing_over(names: frozenset[bytes]) -> Callable[[bytearray, int], re.Match[bytes] | None]:
    """Return what matches a run of text and of whole tags that are none of these."""
    none_of = rb"(?!(?:" + b"|".join(sorted(names)) + rb")[\t\n\f\r />])"
    tag = rb"</?" + none_of + rb"[A-Za-z][^\t\n\f\r />]*+" + _ATTRIBUTES + rb"[\t\n\f\r /]*+>"
    return re.compile(rb"(?:[^<]++|" + tag + rb")*+", re.IGNORECASE).match


class Tag:
    """A tag that is being read, or that was."""

    __slots__ = (
        "_last",
        "_piece",
        "_quote",
        "_state",
        "attributes",
        "is_end",
        "is_self_closing",
        "is_unfit",
        "is_whole",
        "keeps",
        "name",
    )

    def __init__(self, *, is_end: bool) -> None:
        self.is_end = is_end
        self.name = b""
        """Lower case; what exceeds `MAX_NAME_BYTES` is cut."""
        self.attributes: dict[bytes, bytes] = {}
        """Names in lower case, values as they stand; of repeated ones the first."""
        self.is_self_closing = False
        self.is_unfit = False
        """A name stands twice, or there is too much to keep: nothing may rely on `attributes`."""
        self.is_whole = False
        self.keeps = True
        """Attributes are wanted. False spares keeping them."""
        self._state = _NAME
        self._piece = bytearray()
        """Of the name or value that is being read."""
        self._last = b""
        """The attribute whose value comes; empty for one that does not count."""
        self._quote = 0

    def read(self, data: bytes | bytearray, at: int) -> int:
        """Read on from `at`; the offset behind the last byte taken. `is_whole` afterwards if the `>` was among them.

        The first call begins behind `<` or `</`, at the first letter of the name.
        """
        end = len(data)
        while at < end and not self.is_whole:
            state = self._state
            if state == _NAME:
                at = self._take_until(_NAME_END(data, at), data, at, MAX_NAME_BYTES, cut=True)
                if at < end:
                    self.name = bytes(self._piece).lower()
                    self._piece.clear()
                    self._state = _BETWEEN
            elif state == _BETWEEN:
                at = self._between(data, at, end)
            elif state == _ATTRIBUTE_NAME:
                at = self._take_until(_ATTRIBUTE_END(data, at), data, at, MAX_VALUE_BYTES)
                if at < end:
                    self._state = _AFTER_NAME
            elif state == _AFTER_NAME:
                at = self._after_name(data, at, end)
            elif state == _BEFORE_VALUE:
                at = self._before_value(data, at, end)
            elif state == _QUOTED:
                found = data.find(self._quote, at)
                at = self._take(data, at, found if found >= 0 else end, MAX_VALUE_BYTES)
                if found >= 0:
                    self._close_attribute()
                    at += 1
            else:
                at = self._take_until(_UNQUOTED_END(data, at), data, at, MAX_VALUE_BYTES)
                if at < end:
                    self._close_attribute()
        return at

    def _take_until(
        self, found: re.Match[bytes] | None, data: bytes | bytearray, at: int, most: int, *, cut: bool = False
    ) -> int:
        return self._take(data, at, found.start() if found is not None else len(data), most, cut=cut)

    def _take(self, data: bytes | bytearray, at: int, end: int, most: int, *, cut: bool = False) -> int:
        if self.keeps:
            room = most - len(self._piece)
            self._piece += data[at : min(end, at + room)]
            if end - at > room and not cut:
                self.is_unfit = True
        return end

    def _between(self, data: bytes | bytearray, at: int, end: int) -> int:
        found = _ATTRIBUTE_START(data, at)
        if found is None:
            self.is_self_closing = data[end - 1] == _SLASH
            return end
        if found.start() > at:
            self.is_self_closing = data[found.start() - 1] == _SLASH
        at = found.start()
        if data[at] == _GT:
            self.is_whole = True
            return at + 1
        self.is_self_closing = False
        self._piece = bytearray(data[at : at + 1])  # `=` too may begin a name
        self._state = _ATTRIBUTE_NAME
        return at + 1

    def _after_name(self, data: bytes | bytearray, at: int, end: int) -> int:
        found = _NOT_WHITE(data, at)
        if found is None:
            return end
        at = found.start()
        if data[at] == _EQUALS:
            self._name_attribute()
            self._state = _BEFORE_VALUE
            return at + 1
        self._name_attribute()
        self._close_attribute()
        return at

    def _before_value(self, data: bytes | bytearray, at: int, end: int) -> int:
        found = _NOT_WHITE(data, at)
        if found is None:
            return end
        at = found.start()
        if data[at] in {_DOUBLE, _SINGLE}:
            self._quote = data[at]
            self._state = _QUOTED
            return at + 1
        if data[at] == _GT:
            self._close_attribute()
            return at
        self._state = _UNQUOTED
        return at

    def _name_attribute(self) -> None:
        name = bytes(self._piece).lower()
        self._piece.clear()
        if not self.keeps:
            return
        if name in self.attributes or len(self.attributes) >= MAX_ATTRIBUTES:
            self.is_unfit = True
            self._last = b""
        else:
            self.attributes[name] = b""
            self._last = name

    def _close_attribute(self) -> None:
        if self.keeps and self._last:
            self.attributes[self._last] = bytes(self._piece)
        self._piece.clear()
        self.is_self_closing = False
        self._state = _BETWEEN
