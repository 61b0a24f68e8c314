"""The tree of a checked CEL expression, read from its serialized form (cel.expr.CheckedExpr, checked.proto and syntax.proto).

Reads what `Expression.serialize()` writes, and nothing from outside. It evaluates nothing: `condition` does.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Final, Literal, NamedTuple

Kind = Literal["constant", "name", "call", "list", "fold", "other"]

_EXPRESSION: Final = 4
"""Field of cel.expr.CheckedExpr that holds the tree; 2 and 3 hold what names and calls mean."""
_KINDS: Final[dict[int, Kind]] = {3: "constant", 4: "name", 6: "call", 7: "list", 9: "fold"}
"""Fields of cel.expr.Expr; a selection (5) and a structure (8) are of no kind that matters."""
_BYTES: Final = 2
"""Wire type of a field with a length."""


class Term(NamedTuple):
    """One node of the tree."""

    kind: Kind
    name: str
    """Of a name, or of the function that is called: `_&&_`, `startsWith`; of other nodes what they have beside their terms."""
    terms: tuple[Term, ...]
    """What it is made of; the target of a call first. Of a fold (`exists`, `all`, …) its five parts, the range in front."""
    checked: bytes
    """The node as an expression of its own."""

    def shape(self) -> Hashable:
        """Return what the node says, however it was written."""
        return self.kind, self.name, tuple(term.shape() for term in self.terms)

    def names(self) -> Iterator[str]:
        """Yield every name in it, those that a fold binds among them."""
        if self.kind == "name":
            yield self.name
        for term in self.terms:
            yield from term.names()

    def constants(self) -> Iterator[Term]:
        """Yield every constant in it."""
        if self.kind == "constant":
            yield self
        for term in self.terms:
            yield from term.constants()


def read_term(serialized: bytes) -> Term:
    """Read the tree of a serialized expression.

    Raises:
        ValueError: for bytes that are none.

    """
    kind, checked = (content for _, content in list(_fields(serialized))[:2])  # google.protobuf.Any
    meaning = b""
    root = b""
    for number, content in _fields(checked):
        if number == _EXPRESSION:
            root = content
        elif number in {2, 3}:
            meaning += _field(number, content)
    return _Reader(kind, meaning).term(root)


class _Reader:
    """Reads the nodes of one expression."""

    def __init__(self, kind: bytes, meaning: bytes) -> None:
        self._kind = kind
        self._meaning = meaning

    def term(self, expression: bytes) -> Term:
        kind: Kind = "other"
        name = ""
        terms: tuple[Term, ...] = ()
        for number, content in _fields(expression):
            kind = _KINDS.get(number, "other")
            match kind:
                case "name":
                    name = b"".join(part for _, part in _fields(content)).decode()
                case "call":
                    name, terms = self._call(content)
                case "list":
                    terms = tuple(self.term(part) for field, part in _fields(content) if field == 1)
                case "fold":
                    name = " ".join(part.decode() for field, part in _fields(content) if field in {1, 3, 8})
                    terms = tuple(self.term(part) for field, part in _fields(content) if field in {2, 4, 5, 6, 7})
                case "constant":
                    name = content.hex()
                case "other":
                    name = b" ".join(part for field, part in _fields(content) if field != 1).hex()
                    terms = tuple(self.term(part) for field, part in _fields(content) if field == 1)
        body = self._meaning + _field(_EXPRESSION, expression)
        return Term(kind, name, terms, _field(1, self._kind) + _field(2, body))

    def _call(self, content: bytes) -> tuple[str, tuple[Term, ...]]:
        """Read cel.expr.Expr.Call: the target (1), the function (2), the arguments (3)."""
        parts = list(_fields(content))
        name = b"".join(part for number, part in parts if number == 2).decode()  # noqa: PLR2004 - a field number
        return name, tuple(self.term(part) for number, part in parts if number in {1, 3})


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of each field that holds bytes; numbers are passed over."""
    at = 0
    while at < len(message):
        tag, at = _number(message, at)
        match tag & 7:
            case 0:
                _, at = _number(message, at)
            case 1:
                at += 8
            case 2:
                length, at = _number(message, at)
                yield tag >> 3, message[at : at + length]
                at += length
            case 5:
                at += 4
            case _:
                raise ValueError("not a serialized expression")


def _number(message: bytes, at: int) -> tuple[int, int]:
    """Read a varint: seven bits a byte, the lowest first."""
    value = shift = 0
    while True:
        value |= (message[at] & 0x7F) << shift
        at += 1
        if message[at - 1] < 0x80:  # noqa: PLR2004 - the bit that says more follows
            return value, at
        shift += 7


def _field(number: int, content: bytes) -> bytes:
    """Write a field that holds bytes."""
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - as in _number
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
