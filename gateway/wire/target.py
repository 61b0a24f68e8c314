"""Turn a request-target into one canonical path and the exact query, and list how else the path could be read.

Routing, policy, audit and the upstream see the canonical path and nothing else. `readings` answers
"what might some upstream make of this path?"; whoever routes compares the readings with the canonical
path and refuses when they would select different routes. This module decides nothing about routes.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final, NamedTuple

from gateway.exchange.reason import Reason
from gateway.wire.authority import Authority, parse_authority

MAX_DECODES: Final = 3
READINGS_BYTES: Final = 12 * 1024
"""All readings of one path together; a path that has more is called ambiguous: telling them would cost milliseconds."""

READINGS_KEPT: Final = 64
"""A path is asked about more than once while it is resolved."""

# Lower-case, no escapes: with no dots at an end of a segment and no empty segment every reading is the path itself.
_PLAIN_LETTERS: Final = re.compile(r"/[a-z0-9_.~/-]*").fullmatch
# pchar and "/" (RFC 3986 §3.3), and what browsers send raw although the grammar says otherwise.
_PATH: Final = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/|^\[\]{}`-]|%[0-9A-Fa-f]{2})*").fullmatch
_DEFAULT_PORTS: Final = {b"http": 80, b"https": 443}  # RFC 9110 §4.2
_QUERY: Final = re.compile(rb"[!\$-~\"]*").fullmatch
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_RAW: Final = re.compile(r"[|^\[\]{}`]")
_SLASHES: Final = re.compile(r"/{2,}")
_PARAMETERS: Final = re.compile(r";[^/]*")
# White space, controls, and what is shown as nothing (Unicode's default ignorables, the replacement character).
_SPACE: Final = re.compile(
    r"[\s\x00-\x20\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f\u2060-\u206f"
    r"\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffd]+"
)
_TRAILING_DOTS: Final = re.compile(r"(?<=[^/.])[. ]+(?=/|$)")
_STREAM: Final = re.compile(r":[^/:]*:\$[^/]*")
_CUT: Final = re.compile(r"[?#\x00]")
_WIDE_ESCAPE: Final = re.compile(r"%[uU]([0-9A-Fa-f]{4})")
# ASP.NET takes a session out of the path: `/(S(token))/admin` (CVE-2023-36899).
_COOKIELESS: Final = re.compile(r"/\((?:[ASF]\([^/()]*\))+\)(?=/|$)", re.IGNORECASE)
# Letters that a conversion to an older character set, or a comparison without case, takes for these.
_BEST_FIT: Final = str.maketrans(
    {
        "\u2215": "/",
        "\u2044": "/",
        "\u2216": "\\",
        "\u29f5": "\\",
        "\u29f9": "\\",
        "\xa5": "\\",
        "\u20a9": "\\",
        "\u0131": "i",
    }
)
_ACCENTS: Final = re.compile(r"[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")
# A script that takes the rest of the path as its argument, as front controllers of PHP do.
_SCRIPT: Final = re.compile(
    r"((?:/[^/]+)*?)/[^/]+\.(?:php[0-9]?|phtml|cgi|fcgi|pl|py|rb|jsp|jspx|asp|aspx|ashx|cfm|dll)(?=/)", re.IGNORECASE
)
_INDEX: Final = re.compile(r"(?:index|default|home|welcome)\.[a-z0-9.]{1,12}", re.IGNORECASE)
_CLEAR: Final = re.compile(r"[^;%/\\\x00-\x1f\x7f]*").fullmatch


class Target(NamedTuple):
    """A request-target in the one form that everybody sees."""

    path: str
    """Canonical: dot segments gone, escapes of unreserved characters undone, all other escapes in upper case."""
    query: bytes
    """Byte-exact, without the `?`; empty when there is none."""
    has_query: bool
    escapes_slash: bool
    """The path holds an encoded slash or backslash."""
    demands_tls: bool = False
    """The target itself says `https:`."""

    @property
    def text(self) -> bytes:
        """As forwarded to the upstream."""
        path = self.path.encode("ascii")
        return b"%b?%b" % (path, self.query) if self.has_query else path


def parse_target(raw: bytes, authority: Authority) -> Target | Reason:
    """Read origin-form or absolute-form (RFC 9112 §3.2); absolute-form must agree with the Host field.

    Refuses what no browser sends and what two readers could take differently: a fragment, a raw
    backslash, bytes outside ASCII, escapes of control characters, an incomplete escape.
    """
    demands_tls = False
    if not raw.startswith(b"/"):
        scheme, found, rest = raw.partition(b"://")
        default = _DEFAULT_PORTS.get(scheme.lower())
        if not found or default is None:
            return Reason.INVALID_TARGET
        demands_tls = default == _DEFAULT_PORTS[b"https"]
        cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        named = parse_authority(rest[:cut])
        if named is None or named.host != authority.host or (named.port or default) != (authority.port or default):
            return Reason.INVALID_TARGET
        raw = rest[cut:] if rest[cut : cut + 1] == b"/" else b"/" + rest[cut:]
    before, mark, query = raw.partition(b"?")
    try:
        path = before.decode("ascii")
    except UnicodeDecodeError:
        return Reason.INVALID_TARGET
    if not is_plain(path):
        canonical = _canonical(path)
        if canonical is None:
            return Reason.INVALID_TARGET
        path = canonical
    if _QUERY(query) is None:
        return Reason.INVALID_TARGET
    return Target(path, query, mark == b"?", "%2F" in path or "%5C" in path, demands_tls)


def _canonical(path: str) -> str | None:
    if _PATH(path) is None:
        return None
    path = _RAW.sub(lambda found: f"%{ord(found[0]):02X}", path)
    decoded = _ESCAPE.sub(_unescape_unreserved, path)
    for found in _ESCAPE.finditer(decoded):
        if int(found[1], 16) < 0x20 or found[1] == "7F":
            return None
    return remove_dot_segments(decoded)


def is_canonical(path: str) -> bool:
    """True if `parse_target` would leave the path as it is."""
    return is_plain(path) or _canonical(path) == path


def _unescape_unreserved(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return character if character in _UNRESERVED else found[0].upper()


def remove_dot_segments(path: str) -> str:
    """RFC 3986 §5.2.4 for a path that starts with `/`. Idempotent.

    >>> remove_dot_segments("/a/./b/../c/..")
    '/a/'
    """
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def is_plain(path: str) -> bool:
    """True if `readings(path)` could only be the path itself; spares the work for ordinary paths."""
    if _PLAIN_LETTERS(path) is None or "//" in path:
        return False
    return "." not in path or not ("/." in path or "./" in path or path.endswith("."))


@lru_cache(maxsize=READINGS_KEPT)
def readings(path: str) -> frozenset[str] | None:
    r"""Every plausible way to read a path that starts with `/`; None when there are too many to tell.

    Closed under: percent-decoding (up to three times, as bytes, as UTF-8, with overlong forms, `%u0061`), cutting at
    `?`, `#` and NUL, dropping `;parameters`, `::$streams`, cookieless sessions and dots at the end of a segment, `\` as `/`,
    merging slashes, dropping white space and invisible characters, `+` as a space, NFKC, best-fit conversion
    (`a` for `\u00e0`, `/` for `\u2215`). Each ends without dot segments; lower-casing is the comparer's work.
    """
    budget = READINGS_BYTES
    seen: set[tuple[str, int]] = {(path, 0)}
    work = [(path, 0)]
    while work:
        text, depth = work.pop()
        made = {(variant, depth) for variant in _variants(text)}
        if depth < MAX_DECODES and "%" in text:
            made.update((decoded, depth + 1) for decoded in _decodings(text))
        made -= seen
        budget -= sum(len(new) for new, _ in made)
        if budget < 0:
            return None
        seen |= made
        work.extend(made)
    return frozenset(remove_dot_segments(text if text.startswith("/") else "/" + text) for text, _ in seen)


def _variants(text: str) -> list[str]:
    """One step of every transformation that could change the text. Runs for every unusual path: looks before it works."""
    made = [_SPACE.sub("", text)]
    if not text.isascii():
        made.append(unicodedata.normalize("NFKC", text))
        made.append(_best_fit(text))
    if "." in text:
        made.append(_TRAILING_DOTS.sub("", text))
        made.append(remove_dot_segments(text))
    if "//" in text:
        made.append(_SLASHES.sub("/", text))
    if "\\" in text:
        made.append(text.replace("\\", "/"))
    if ";" in text:
        made.append(_PARAMETERS.sub("", text))
    if ":" in text:
        made.append(_STREAM.sub("", text))
    if "+" in text:
        made.append(text.replace("+", " "))
    if "(" in text:
        made.append(_COOKIELESS.sub("", text) or "/")
    if "?" in text or "#" in text or "\0" in text:
        made.append(_CUT.split(text, maxsplit=1)[0])
    return made


def _decodings(text: str) -> set[str]:
    """One round of percent-decoding: escapes as Latin-1, as UTF-8 where valid, and with overlong sequences collapsed."""
    raw = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    decoded = {raw}
    if "%u" in text or "%U" in text:
        decoded.add(_WIDE_ESCAPE.sub(lambda found: chr(int(found[1], 16)), text))
    try:
        as_bytes = raw.encode("latin-1")
    except UnicodeEncodeError:
        return decoded
    if not as_bytes.isascii():
        decoded.add(as_bytes.decode("utf-8", "replace"))
        decoded.add(_OVERLONG(_collapse, raw))
        decoded.add(_UNCHECKED(_collapse, raw))
    return decoded


def _sequences(tail: str) -> re.Pattern[str]:
    """Multi-byte sequences whose continuations are `tail`; five and six bytes were UTF-8 once (RFC 2279)."""
    leads = ("\xc0-\xdf", "\xe0-\xef", "\xf0-\xf7", "\xf8-\xfb", "\xfc-\xff")
    return re.compile("|".join(f"[{lead}]{tail}{{{count}}}" for count, lead in enumerate(leads, 1)), re.DOTALL)


# What careless decoders take for a character that do not look for the shortest form (CVE-2008-2938) ...
_OVERLONG: Final = _sequences("[\x80-\xbf]").sub
# ... and those for which any byte is a continuation (CVE-2000-0884: `%c0%2f`).
_UNCHECKED: Final = _sequences(".").sub


def _collapse(found: re.Match[str]) -> str:
    """The character of one sequence of bytes, which stand as Latin-1."""
    text = found[0]
    point = ord(text[0]) & (0xFF >> (len(text) + 1))
    for byte in text[1:]:
        point = point << 6 | ord(byte) & 0x3F
    return chr(point) if point < 0x110000 else "\ufffd"


def _best_fit(text: str) -> str:
    """Without accents, and with the nearest ASCII character where a narrower character set has no other."""
    return _ACCENTS.sub("", unicodedata.normalize("NFKD", text.translate(_BEST_FIT)))


def aliases(path: str) -> set[str]:
    """Addresses that some frameworks answer as if they were this one, although most take them for another resource.

    Without its suffix (`/admin.json`: Rails, Spring, content negotiation), without the name of an index file,
    and with what follows a script as the path (`/index.php/admin`). Unlike `readings` these are
    ordinary in themselves: only a narrower route hiding behind one of them makes it ambiguous.
    """
    script = _SCRIPT.match(path)
    found = set() if script is None else {path[script.end() :], script[1] + path[script.end() :]}
    for text in (path, *found):
        before, _, name = text.rstrip("/").rpartition("/")
        if "." in name[1:]:
            found.add(f"{before}/{name[: name.rindex('.')]}")
            found.add(f"{before}/{name[: name.index('.', 1)]}")
            if _INDEX.fullmatch(name) is not None:
                found.add(before + "/")
    return found


def is_clear(value: str) -> bool:
    """True if a decoded path segment means one thing: `root;x` and `root%20` may be `root` to an upstream."""
    return (
        _CLEAR(value) is not None
        and (":" not in value or _STREAM.search(value) is None)
        and value.strip(". ") == value
        and (value.isascii() or (unicodedata.is_normalized("NFKC", value) and _SPACE.sub(" ", value) == value))
    )
