"""A Content-Type as every parser reads it, or not at all (RFC 9110 §8.3.1, RFC 2046 §5.1.1).

Parsers disagree on repeated parameters, on blanks around `=`, on junk behind the last one: whoever can choose between two
boundaries chooses what is inspected. What is not exactly the grammar is refused.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gateway.inspection.body import hidden_parameter

_WORD: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TYPE: Final = re.compile(rf"({_WORD}/{_WORD})[ \t]*")
_PARAMETER: Final = re.compile(rf';[ \t]*(?:({_WORD})=({_WORD}|"[\t !#-\[\]-~\x80-\xff]*"))?[ \t]*')
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_\-./:=?]{1,70}")
"""RFC 2046 section 5.1.1, without what ends a boundary to some: PHP cuts it at a comma, others at a space."""
_MAX_BYTES: Final = 1024
_MAX_PARAMETERS: Final = 16
_ASCII_COMPATIBLE: Final = frozenset(("", "utf-8", "utf8", "us-ascii", "ascii"))


class MediaTypeError(ValueError):
    """Not the grammar, or two readings."""


class MediaType(NamedTuple):
    """`type/subtype` in lower case, and the parameters, names in lower case."""

    name: str
    parameters: dict[str, str]

    @property
    def boundary(self) -> bytes:
        """The boundary of a form. Raises `MediaTypeError`."""
        found = self.parameters.get("boundary", "")
        if not _BOUNDARY.fullmatch(found):
            raise MediaTypeError
        return found.encode("ascii")

    @property
    def is_utf8(self) -> bool:
        """No other charset is declared than one of which ASCII and UTF-8 are all."""
        return self.parameters.get("charset", "").lower() in _ASCII_COMPATIBLE


def parse_media_type(value: str) -> MediaType:
    """Read one; an empty text is no type and no parameters. Raises `MediaTypeError`."""
    if not value:
        return MediaType("", {})
    found = _TYPE.match(value) if len(value) <= _MAX_BYTES else None
    if found is None:
        raise MediaTypeError
    parameters: dict[str, str] = {}
    starts: dict[str, int] = {}
    at = found.end()
    for _ in range(_MAX_PARAMETERS):
        if at == len(value):
            break
        parameter = _PARAMETER.match(value, at)
        if parameter is None:
            break
        if parameter[1] is not None:
            name = parameter[1].lower()
            if name in parameters or "*" in name:
                raise MediaTypeError
            starts[name] = parameter.start(1)
            parameters[name] = parameter[2][1:-1] if parameter[2][0] == '"' else parameter[2]
        at = parameter.end()
    if at < len(value) or hidden_parameter(value, starts) is not None:
        raise MediaTypeError
    return MediaType(found[1].lower(), parameters)
