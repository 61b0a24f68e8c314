"""Style sheets that run, load or leak: after comments and escapes are read as CSS Syntax Level 3 section 4.3 reads them."""

from __future__ import annotations

import re
from typing import Final

_ESCAPE: Final = re.compile(r"\\(?:([0-9a-fA-F]{1,6})\s?|(.))", re.DOTALL)
_COMMENT: Final = re.compile(r"/\*[^*]*(?:\*(?!/)[^*]*)*(?:\*/|\Z)")
_RUNS: Final = re.compile(
    r"expression\s*\(|-moz-binding|behaviou?r\s*:\s*url|-o-link|"
    r"url\s*\(\s*[\"']?\s*(?:javascript|vbscript|data\s*:\s*text/html)|"
    r"@import\s*[\"']?\s*(?:javascript|data)\s*:",
    re.IGNORECASE,
)
_LOADS: Final = re.compile(r"@import|@font-face|url\s*\(\s*[\"']?\s*(?:https?:|//)|image-set\s*\(", re.IGNORECASE)
_BLANKS: Final = str.maketrans("", "", "\0\x0b\f\t\r\n")


def plain(style: str) -> str:
    """Return `style` as a browser's tokeniser would hand it on: without comments and escapes."""
    if "/*" in style:
        style = _COMMENT.sub("", style)
    if "\\" in style:
        style = _ESCAPE.sub(_unescaped, style)
    return style


def _unescaped(match: re.Match[str]) -> str:
    if match[1]:
        point = int(match[1], 16)
        return chr(point) if 0 < point <= 0x10FFFF else "\ufffd"
    return match[2] or ""


def runs(style: str) -> bool:
    """Tell whether some browser would run a program for this style."""
    return _RUNS.search(plain(style).translate(_BLANKS)) is not None


def loads(style: str) -> bool:
    """Tell whether the style fetches something from elsewhere: that is how CSS leaks what it matches."""
    return _LOADS.search(plain(style)) is not None
