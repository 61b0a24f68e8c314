"""Where the text of a `<script>` ends (WHATWG HTML §13.2.5.15 to §13.2.5.31).

`</script>` ends it, except behind `<!--` and another `<script`: pages of the nineties hid their scripts in comments, and
every browser still reads them so. A reader that does not know it takes text for markup.
"""

from __future__ import annotations

import re
from typing import Final

_TEXT: Final = re.compile(rb"<!--|</script(?=[\t\n\f\r />])", re.IGNORECASE).search
_ESCAPED: Final = re.compile(rb"-->|</script(?=[\t\n\f\r />])|<script(?=[\t\n\f\r />])", re.IGNORECASE).search
_DOUBLE: Final = re.compile(rb"-->|</script(?=[\t\n\f\r />])", re.IGNORECASE).search
_LONGEST: Final = 8
"""`</script` without the byte behind it may stand at the end of what is here."""


class ScriptText:
    """Looks for the end of one script, in pieces of any size."""

    __slots__ = ("_find",)

    def __init__(self) -> None:
        self._find = _TEXT

    def end(self, data: bytes | bytearray, at: int) -> tuple[int, bool]:
        """Look on from `at`: the offset of the `</script` and True, or where to look on when more is here and False."""
        while True:
            found = self._find(data, at)
            if found is None:
                return max(at, len(data) - _LONGEST), False
            token = found[0]
            if token == b"<!--":
                self._find = _ESCAPED
                at = found.start() + 2  # its own dashes may be those of `-->`
            elif token == b"-->":
                self._find = _TEXT
                at = found.end()
            elif self._find is _DOUBLE:
                self._find = _ESCAPED
                at = found.end()
            elif token[1:2] == b"/":
                return found.start(), True
            else:
                self._find = _DOUBLE
                at = found.end()
