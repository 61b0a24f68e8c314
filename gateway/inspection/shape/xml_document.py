"""How an XML document is built: depth, counts, and that it declares no entities (XML 1.0, XML Signature's and SOAP's profile).

Read by expat with nothing expanded and nothing fetched: billion laughs, quadratic blow-up and external entities end at the
document type that would have to declare them.
"""

from __future__ import annotations

from typing import Final
from xml.parsers import expat

from gateway.inspection.shape.limits import Bound, ShapeError, XmlLimits

ENCODINGS: Final = frozenset(
    {
        *("utf-8", "utf-16", "utf-16le", "utf-16be", "us-ascii"),
        *(f"iso-8859-{part}" for part in range(1, 17) if part != 12),  # part 12 was never published
        *(f"windows-125{page}" for page in range(9)),
    }
)
"""What is read alike everywhere, one byte a character or Unicode: in UTF-7 and its like, `<` hides."""
_OTHER_NAMES: Final = {"utf8": "utf-8", "ascii": "us-ascii", "latin1": "iso-8859-1"}
"""What programs write in Content-Type for some of them."""


def check(body: bytes, limits: XmlLimits, charset: str | None = None) -> None:
    """Read a document as far as its limits allow; `charset` is what Content-Type says (RFC 7303 section 3).

    Raises:
        ShapeError: it declares a document type or an entity, is beyond a limit, or is not well-formed.

    """
    declared = _OTHER_NAMES.get(charset.lower(), charset.lower()) if charset else None
    if declared is not None and declared not in ENCODINGS:
        raise ShapeError(Bound.ENCODING, 0)
    reader = _Reader(limits, declared)
    reader.read(body)


class _Reader:
    def __init__(self, limits: XmlLimits, encoding: str | None) -> None:
        self._limits = limits
        self._depth = 0
        self._elements = 0
        self._parser = expat.ParserCreate(encoding)
        self._parser.ordered_attributes = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.XmlDeclHandler = self._declaration
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.EntityDeclHandler = self._entity
        self._parser.ExternalEntityRefHandler = self._external
        self._parser.SkippedEntityHandler = self._skipped
        self._parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)

    def read(self, body: bytes) -> None:
        """Read it whole."""
        try:
            self._parser.Parse(body, True)  # noqa: FBT003 - expat's own signature: this is the last piece
        except expat.ExpatError:
            raise ShapeError(Bound.MALFORMED, max(self._parser.ErrorByteIndex, 0)) from None
        except (LookupError, ValueError) as error:  # an encoding that Python knows otherwise, or not at all
            if isinstance(error, ShapeError):
                raise
            raise ShapeError(Bound.ENCODING, 0) from None

    def _refuse(self, bound: Bound) -> ShapeError:
        return ShapeError(bound, max(self._parser.CurrentByteIndex, 0))

    def _start(self, name: str, attributes: list[str]) -> None:
        self._depth += 1
        self._elements += 1
        limits = self._limits
        if self._depth > limits.depth:
            raise self._refuse(Bound.XML_DEPTH)
        if self._elements > limits.elements:
            raise self._refuse(Bound.XML_ELEMENTS)
        if len(attributes) > 2 * limits.attributes:  # names and values in turn
            raise self._refuse(Bound.XML_ATTRIBUTES)
        if len(name) > limits.name_bytes or max(map(len, attributes[::2]), default=0) > limits.name_bytes:
            raise self._refuse(Bound.XML_NAME)

    def _end(self, _name: str) -> None:
        self._depth -= 1

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in ENCODINGS:
            raise self._refuse(Bound.ENCODING)

    def _doctype(self, _name: str, _system: str | None, _public: str | None, has_subset: bool) -> None:  # noqa: FBT001 - expat calls it so
        if has_subset or not self._limits.allow_doctype:
            raise self._refuse(Bound.XML_DOCTYPE)

    def _entity(self, *_: object) -> None:
        raise self._refuse(Bound.XML_ENTITY)

    def _external(self, *_: object) -> int:
        raise self._refuse(Bound.XML_ENTITY)

    def _skipped(self, *_: object) -> None:
        """Refuse what would be found in a document type that is not fetched: one reader sees nothing, another something."""
        raise self._refuse(Bound.XML_ENTITY)
