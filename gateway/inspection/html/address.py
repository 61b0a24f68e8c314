"""What a browser does when it follows an address: the scheme it sees, and whether it would run what follows.

Source: WHATWG URL section 4.4 (leading C0 control or space stripped; tab and newline removed anywhere).
"""

from __future__ import annotations

import re
from typing import Final

_LEADING: Final = "".join(map(chr, range(0x21))) + "\x7f\xa0\xad\u200b\u200c\u200d\u2028\u2029\u2060\ufeff"
_REMOVED: Final = str.maketrans("", "", "\t\n\r\0")
_SCHEME: Final = re.compile(
    r"(?:view-source:|feed:|jar:|about:)?([a-z][a-z0-9+.\-]{1,24})[ \x0b\f]{0,8}:", re.IGNORECASE
)
_RUNNING_TYPES: Final = re.compile(
    r"\s*(?:text/(?:html|xml|xsl|javascript|ecmascript|vbscript)|image/svg\+xml|application/(?:x-)?"
    r"(?:xhtml\+xml|xml|javascript|ecmascript))",
    re.IGNORECASE,
)
_HEAD: Final = 512
"""A scheme stands in the first characters of an address, whatever padding stands before it."""


def scheme(address: str) -> tuple[str, str]:
    """Split off the scheme as a browser reads it, in lower case, and what follows; `("", address)` without one."""
    stripped = address.lstrip(_LEADING)
    head = stripped[:_HEAD]
    if not head.isprintable():  # translating costs more than to find out that nothing has to be
        head = head.translate(_REMOVED)
    match = _SCHEME.match(head)
    if match is None:
        return "", address
    return match[1].lower(), head[match.end() :] + stripped[_HEAD:]


def runs(address: str) -> bool:
    """Tell whether following `address` runs a program in the page's origin or in a document of its own."""
    name, rest = scheme(address)
    if name in {"javascript", "vbscript", "livescript", "mocha", "jscript"}:
        return True
    return name == "data" and _RUNNING_TYPES.match(rest) is not None
