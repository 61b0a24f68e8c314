"""Where in a document a tag stands, as far as parsers differ about what follows it.

Outside of SVG, MathML, `<select>` and frame sets the tokenizer alone says what is text and what is markup. Inside of them the
tree decides (WHATWG HTML §13.2.6.5), and with it the version of the browser. There nothing is put in, and what two readings
take for different things ends the rewriting of the page: after it nobody knows which reading a browser is in.
"""

from __future__ import annotations

from typing import Final

_ROOTS: Final = frozenset((b"svg", b"math"))
_INTEGRATION: Final = frozenset(
    (b"foreignobject", b"desc", b"title", b"annotation-xml", b"mi", b"mo", b"mn", b"ms", b"mtext")
)
"""In them HTML begins again."""
_VOID: Final = frozenset(
    (b"area", b"base", b"br", b"col", b"embed", b"hr", b"img", b"input", b"link", b"meta", b"param", b"source", b"track", b"wbr")
)  # fmt: skip
MAX_DEPTH: Final = 256
MARKERS: Final = _ROOTS | {b"template", b"select", b"frameset"}
"""Tags outside of foreign content that a zone has to know of."""
RAW: Final = frozenset((b"style", b"xmp", b"iframe", b"noembed", b"noframes", b"noscript", b"textarea", b"title"))
"""Elements whose content is text to the tokenizer; `script` and `plaintext` are apart."""


class Zone:
    """The place of the next token."""

    __slots__ = ("_foreign", "_in_select", "_is_lost", "_templates")

    def __init__(self) -> None:
        self._templates = 0
        self._foreign: list[bytes] = []
        """Open elements, from the `<svg>` or `<math>` on."""
        self._is_lost = False
        """Where the foreign content ends cannot be told any more."""
        self._in_select = False

    @property
    def is_disputed(self) -> bool:
        """Parsers differ about what is text here."""
        return bool(self._foreign) or self._is_lost or self._in_select

    @property
    def is_nested(self) -> bool:
        """Every tag counts: the end of foreign content is looked for."""
        return bool(self._foreign)

    @property
    def is_inert(self) -> bool:
        """It is in a template, to every reader."""
        return self._templates > 0 and not self.is_disputed

    @property
    def is_plain(self) -> bool:
        """Something may be put in: it is markup of the document itself, to every reader."""
        return not self._foreign and not self._is_lost and not self._in_select and not self._templates

    def opened(self, name: bytes, *, is_self_closing: bool) -> None:
        """Take note of a start tag that is no raw text element."""
        if self._foreign:
            self._nest(name, is_self_closing=is_self_closing)
        elif name in _ROOTS:
            if not is_self_closing:
                self._foreign.append(name)
        elif name == b"template":
            self._templates += 1
        elif name == b"select":
            self._in_select = True
        elif name == b"frameset":
            self._is_lost = True

    def _nest(self, name: bytes, *, is_self_closing: bool) -> None:
        if name in _VOID:
            return
        if is_self_closing:
            # `<path/>` is empty, while `<div/>` in a foreignObject stays open
            self._is_lost = self._is_lost or not _INTEGRATION.isdisjoint(self._foreign)
        elif len(self._foreign) >= MAX_DEPTH:
            self._is_lost = True
        else:
            self._foreign.append(name)

    def closed(self, name: bytes) -> None:
        """Take note of an end tag that does not end raw text."""
        if self._foreign:
            if self._foreign[-1] == name:
                self._foreign.pop()
            elif name not in _VOID:
                self._is_lost = True
        elif name == b"template":
            self._templates = max(0, self._templates - 1)
        elif name == b"select":
            self._in_select = False
