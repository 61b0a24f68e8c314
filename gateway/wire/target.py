"""Turn a request-target into one canonical path and the exact query, and list how else the path could be read.

Routing, policy, audit and the upstream see the canonical path and nothing else. `readings` answers
"what might some upstream make of this path?"; whoever routes compares the readings with the canonical
path and refuses when they would select different routes. This module decides nothing about routes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final, NamedTuple

from gateway.exchange.reason import Reason
from gateway.wire.authority import Authority, parse_authority

MAX_DECODES: Final = 3
READINGS_BYTES: Final = 12 * 1024
"""All readings of one path together; a path that has more is called ambiguous: telling them would cost milliseconds."""

# Lower-case, no escapes, no dots at an end of a segment, no empty segment: every reading is the path itself.
_SEGMENT: Final = r"[a-z0-9_~-](?:[a-z0-9_.~-]*[a-z0-9_~-])?"
_PLAIN: Final = re.compile(rf"/(?:(?:{_SEGMENT}/)*(?:{_SEGMENT})?)?").fullmatch
# pchar and "/" (RFC 3986 §3.3), and what browsers send raw although the grammar says otherwise.
_PATH: Final = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/|^\[\]{}`-]|%[0-9A-Fa-f]{2})*").fullmatch
_QUERY: Final = re.compile(rb"[!\$-~\"]*").fullmatch
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_RAW: Final = re.compile(r"[|^\[\]{}`]")
_SLASHES: Final = re.compile(r"/{2,}")
_PARAMETERS: Final = re.compile(r";[^/]*")
_SPACE: Final = re.compile(r"[\s\x00-\x20\x7f-\xa0\u200b-\u200f\u2028-\u202f\u2060\ufeff]+")
_TRAILING_DOTS: Final = re.compile(r"(?<=[^/.])[. ]+(?=/|$)")
_STREAM: Final = re.compile(r"::\$[^/]*")
_CUT: Final = re.compile(r"[?#\x00]")


class Target(NamedTuple):
    """A request-target in the one form that everybody sees."""

    path: str
    """Canonical: dot segments gone, escapes of unreserved characters undone, all other escapes in upper case."""
    query: bytes
    """Byte-exact, without the `?`; empty when there is none."""
    has_query: bool
    escapes_slash: bool
    """The path holds an encoded slash or backslash."""

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
    if not raw.startswith(b"/"):
        scheme, found, rest = raw.partition(b"://")
        if not found or scheme.lower() not in (b"http", b"https"):
            return Reason.INVALID_TARGET
        cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
        named = parse_authority(rest[:cut])
        if named is None or named.host != authority.host or (named.port or 0) != (authority.port or 0):
            return Reason.INVALID_TARGET
        raw = rest[cut:] if rest[cut : cut + 1] == b"/" else b"/" + rest[cut:]
    before, mark, query = raw.partition(b"?")
    try:
        path = before.decode("ascii")
    except UnicodeDecodeError:
        return Reason.INVALID_TARGET
    if _PLAIN(path) is None:
        canonical = _canonical(path)
        if canonical is None:
            return Reason.INVALID_TARGET
        path = canonical
    if _QUERY(query) is None:
        return Reason.INVALID_TARGET
    return Target(path, query, mark == b"?", "%2F" in path or "%5C" in path)


def _canonical(path: str) -> str | None:
    if _PATH(path) is None:
        return None
    path = _RAW.sub(lambda found: f"%{ord(found[0]):02X}", path)
    decoded = _ESCAPE.sub(_unescape_unreserved, path)
    for found in _ESCAPE.finditer(decoded):
        if int(found[1], 16) < 0x20 or found[1] == "7F":
            return None
    return remove_dot_segments(decoded)


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
    return _PLAIN(path) is not None


def readings(path: str) -> frozenset[str] | None:
    r"""Every plausible way to read a path that starts with `/`; None when there are too many to tell.

    Closed under: percent-decoding (up to three times, as bytes, as UTF-8, with overlong forms), cutting at
    `?`, `#` and NUL, dropping `;parameters`, `::$streams` and dots at the end of a segment, `\` as `/`, merging slashes, dropping white space and
    invisible characters, NFKC. Each ends without dot segments; lower-casing is the comparer's work.
    """
    budget = READINGS_BYTES
    seen: set[tuple[str, int]] = {(path, 0)}
    work = [(path, 0)]
    while work:
        text, depth = work.pop()
        made = {(transform(text), depth) for transform in _TRANSFORMS}
        if depth < MAX_DECODES and "%" in text:
            made.update((decoded, depth + 1) for decoded in _decodings(text))
        made -= seen
        budget -= sum(len(new) for new, _ in made)
        if budget < 0:
            return None
        seen |= made
        work.extend(made)
    return frozenset(remove_dot_segments(text if text.startswith("/") else "/" + text) for text, _ in seen)


def _decodings(text: str) -> set[str]:
    """One round of percent-decoding: escapes as Latin-1, as UTF-8 where valid, and with overlong sequences collapsed."""
    raw = _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)
    decoded = {raw}
    try:
        as_bytes = raw.encode("latin-1")
    except UnicodeEncodeError:
        return decoded
    if not as_bytes.isascii():
        decoded.add(as_bytes.decode("utf-8", "replace"))
        decoded.add(_overlong(as_bytes))
    return decoded


def _overlong(raw: bytes) -> str:
    """Decode as the careless decoders do that do not check for the shortest form (CVE-2008-2938)."""
    out: list[str] = []
    at = 0
    while at < len(raw):
        lead = raw[at]
        length = 2 if 0xC0 <= lead < 0xE0 else 3 if 0xE0 <= lead < 0xF0 else 4 if 0xF0 <= lead < 0xF8 else 1
        tail = raw[at + 1 : at + length]
        if length > 1 and len(tail) == length - 1 and all(0x80 <= byte < 0xC0 for byte in tail):
            point = lead & (0xFF >> (length + 1))
            for byte in tail:
                point = point << 6 | byte & 0x3F
            out.append(chr(point) if point < 0x110000 else "\ufffd")
            at += length
        else:
            out.append(chr(lead))
            at += 1
    return "".join(out)


_TRANSFORMS: Final[tuple[Callable[[str], str], ...]] = (
    lambda text: unicodedata.normalize("NFKC", text),
    lambda text: _SPACE.sub("", text),
    lambda text: _CUT.split(text, maxsplit=1)[0],
    lambda text: text.replace("\\", "/"),
    lambda text: _PARAMETERS.sub("", text),
    lambda text: _STREAM.sub("", text),
    lambda text: _TRAILING_DOTS.sub("", text),
    lambda text: _SLASHES.sub("/", text),
    remove_dot_segments,
)
