"""What an XML document says: its texts, attributes, comments and instructions, read without any entity of its own."""

from __future__ import annotations

from typing import Final
from xml.parsers import expat

from gateway.inspection.body import BodyTooComplexError, BodyUnreadableError, Limits
from gateway.inspection.finding import Position, Value
from gateway.inspection.values import is_plain

DECLARATION_CHARACTERS: Final = 65_536
"""How much of a document from its DOCTYPE on is shown to the mechanisms as it stands."""


class _DeclaresEntitiesError(Exception):
    """Ends the reading: what follows may mean anything."""


class _Reader:
    def __init__(self, limits: Limits, *, with_plain: bool) -> None:
        self.found: list[Value] = []
        self.declared_at: int | None = None
        self._limits = limits
        self._with_plain = with_plain
        self._names: list[str] = []
        self._left = limits.values
        self._seen: set[str] = set()
        self._run: list[str] = []
        """Pieces of the text that is being read: expat gives out a long one in several."""
        self._texts: list[list[str]] = []
        """Of each element that is open, the texts right below it."""

    def keep(self, name: str, text: str) -> None:
        self._left -= 1
        if self._left < 0:
            raise BodyTooComplexError(f"XML holds more than {self._limits.values} values")
        if self._with_plain or is_plain(text) is None:
            self.found.append(Value(Position.XML, name, text))

    def start(self, name: str, attributes: list[str]) -> None:
        self._end_text()
        self._names.append(name)
        self._texts.append([])
        if len(self._names) > self._limits.depth:
            raise BodyTooComplexError(f"XML is nested more than {self._limits.depth} deep")
        if name not in self._seen:
            self._seen.add(name)
            self.keep(name, name)
        for at in range(0, len(attributes), 2):
            self.keep(f"{name}@{attributes[at]}", attributes[at + 1])

    def end(self, name: str) -> None:
        self._end_text()
        texts = self._texts.pop()
        if len(texts) > 1:  # attack: a comment in the middle of a word, which readers of a whole element never see
            self.keep(name, "".join(texts))
        self._names.pop()

    def text(self, data: str) -> None:
        self._run.append(data)

    def comment(self, data: str) -> None:
        self._end_text()
        self.keep("", data)

    def instruction(self, target: str, data: str) -> None:
        self._end_text()
        self.keep("", f"<?{target} {data}?>")

    def _end_text(self) -> None:
        if not self._run:
            return
        text = "".join(self._run)
        self._run.clear()
        if not text.isspace():
            self.keep(self._names[-1], text)
            self._texts[-1].append(text)


def of_xml(body: bytes, text: str, limits: Limits, *, with_plain: bool = False) -> list[Value]:
    """List the values of a document; a value's name is its element, with `@attribute`.

    `text` is the body as text. A document that has a DOCTYPE is one value of its own from there on, and is not read on
    once it declares an entity: the mechanism for external entities judges it.

    Raises:
        BodyUnreadableError: it is not well-formed.
        BodyTooComplexError: it is nested too deep, or holds too much.

    """
    reader = _Reader(limits, with_plain=with_plain)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.ordered_attributes = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.CommentHandler = reader.comment
    parser.ProcessingInstructionHandler = reader.instruction

    def entity(
        name: str,
        is_parameter: int,
        value: str | None,
        _base: str | None,
        system: str | None,
        _public: str | None,
        _notation: str | None,
    ) -> None:
        # attack: declarations without end before it, of which no more than the beginning is shown
        said = f'"{value}"' if system is None else f'SYSTEM "{system}"'
        text = f"<!DOCTYPE x [<!ENTITY {'% ' if is_parameter else ''}{name} {said}>]>"
        reader.found.append(Value(Position.XML, "", text[:DECLARATION_CHARACTERS]))
        raise _DeclaresEntitiesError

    def doctype(*_about: object) -> None:
        at = max(text.find("<!DOCTYPE"), 0)
        reader.found.append(Value(Position.XML, "", text[at : at + DECLARATION_CHARACTERS]))

    parser.EntityDeclHandler = entity
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(body, True)  # noqa: FBT003 - expat takes no keywords
    except _DeclaresEntitiesError:
        pass
    except expat.ExpatError as error:
        raise BodyUnreadableError(f"no XML at line {error.lineno}, column {error.offset + 1}") from None
    except (LookupError, ValueError) as error:
        if isinstance(error, BodyTooComplexError):
            raise
        raise BodyUnreadableError("the XML declares a character set that is not read here") from None
    return reader.found
