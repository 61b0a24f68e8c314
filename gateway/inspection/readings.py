"""The ways in which an upstream may read a text: each decoding that some parser behind the gateway undoes.

Only what could change the text is tried, and what a decoding gives is decoded again, because attacks are wrapped more than
once. The number of readings is capped: a text that has more is one that nobody honest writes.
"""

from __future__ import annotations

import binascii
import html
import re
import unicodedata
from collections.abc import Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

MAX_READINGS: Final = 16
MAX_DEPTH: Final = 4
"""Decodings one upon another: three of percent-encoding, and one more."""
MAX_CHARACTERS: Final = 4 << 20
"""All readings of one text together."""
AS_SENT: Final = "as sent"
TOO_MANY: Final = "reading.too_many"
SIGNS: Final = {TOO_MANY: "The text is wrapped in more encodings than any program needs: it hides something."}
"""What the engine sees by itself, beside what mechanisms see."""

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_NO_BYTES: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Surrogates that stand for no byte: `"\\ud800"` is a string of JSON."""
_CHANGES: Final = re.compile(r"[%&\\+\0]|/\*").search
_ESCAPE: Final = re.compile(r"%(?:[0-9A-Fa-f]{2}|[uU][0-9A-Fa-f]{4})").search
_WIDE_ESCAPE: Final = re.compile(r"%[uU]([0-9A-Fa-f]{4})")
_ENTITY: Final = re.compile(r"&(?:#[0-9]|#[xX][0-9A-Fa-f]|[A-Za-z]{2})").search
_SCRIPT_ESCAPE: Final = re.compile(
    r"\\(?:u([0-9A-Fa-f]{4})|u\{0{0,6}([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{2})|([0-3]?[0-7]{2}))"
)
"""ECMA-262 section 12.9.4, with the octal escapes of its annex B; JSON knows the first form."""
_SIMPLE_ESCAPE: Final = re.compile(r"\\([\"'/\\nrt])")
_OF_SIMPLE: Final = {"n": "\n", "r": "\r", "t": "\t"}
_STYLE_ESCAPE: Final = re.compile(r"\\([0-9A-Fa-f]{2,6})\s?")
"""CSS Syntax Level 3 section 4.3.7; one digit alone is taken for a path of Windows."""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}").fullmatch
_BASE64_PREFIX: Final = "base64,"
_URL_SAFE: Final = str.maketrans("-_", "+/")
_JWT_PARTS: Final = 8
_SEVEN_BITS: Final = re.compile(r"\+[A-Za-z0-9/]{2,}-?")
"""RFC 2152 section 3."""
_INVISIBLE: Final = re.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
# Letters that a conversion to a narrower character set takes for these (Windows' "best fit").
_BEST_FIT: Final = str.maketrans(
    {
        "\u02b9": "'",
        "\u02bc": "'",
        "\u02c8": "'",
        "\u2032": "'",
        "\u02ba": '"',
        "\u2033": '"',
        "\u2039": "<",
        "\u203a": ">",
        "\u2329": "<",
        "\u232a": ">",
        "\u3008": "<",
        "\u3009": ">",
        "\u2215": "/",
        "\u2044": "/",
        "\u2216": "\\",
        "\u29f5": "\\",
    }
)


def _sequences(tail: str) -> re.Pattern[str]:
    """Multi-byte sequences, as Latin-1, whose continuations are `tail`; five and six bytes were UTF-8 once (RFC 2279)."""
    leads = ("\xc0-\xdf", "\xe0-\xef", "\xf0-\xf7", "\xf8-\xfb", "\xfc-\xff")
    return re.compile("|".join(f"[{lead}]{tail}{{{count}}}" for count, lead in enumerate(leads, 1)), re.DOTALL)


# What careless decoders take for a character that do not look for the shortest form (CVE-2008-2938), and those for
# which any byte is a continuation (CVE-2000-0884: `%c0%2f`).
_OVERLONG: Final = _sequences("[\x80-\xbf]")
_UNCHECKED: Final = _sequences(".")


class Reading(NamedTuple):
    """One way to read a text."""

    text: str
    how: str
    """`as sent`, or the decodings in their order: `url > html`."""


class Readings(NamedTuple):
    """All ways to read a text; the first is the text as sent."""

    found: list[Reading]
    is_complete: bool
    """False when there are more than anybody may have."""


def readings(text: str) -> Readings:
    """List how a text can be read. Bytes that were no UTF-8 stand as surrogates in `text`, and in no reading."""
    if text.isascii() and _CHANGES(text) is None and not _may_be_base64(text):
        return Readings([Reading(text, AS_SENT)], is_complete=True)
    found: list[Reading] = []
    text = _NO_BYTES.sub("\ufffd", text)
    seen = {text}
    work = [(text, "", 0)]
    budget = MAX_CHARACTERS
    for current, how, depth in work:  # grows as it is read
        budget -= len(current)
        if len(found) == MAX_READINGS or budget < 0:
            return Readings(found, is_complete=False)
        found.append(Reading(_SURROGATES.sub("\ufffd", current), how or AS_SENT))
        if depth == MAX_DEPTH:
            continue
        for step, decoded in _steps(current):
            made = decoded if decoded.isascii() else _NO_BYTES.sub("\ufffd", decoded)
            if made not in seen:
                seen.add(made)
                work.append((made, f"{how} > {step}" if how else step, depth + 1))
    return Readings(found, is_complete=True)


def _steps(text: str) -> Iterator[tuple[str, str]]:
    """Undo each encoding once that could be there."""
    if not text.isascii():
        yield from _of_wide_characters(text)
    if "%" in text and _ESCAPE(text) is not None:
        yield "url", percent_decoded(text)
        if "+" in text:
            yield "url", percent_decoded(text.replace("+", " "))
    elif "+" in text and " " not in text:
        yield "url", text.replace("+", " ")
    if "+A" in text:
        yield from _of_seven_bits(text)
    if "&" in text and _ENTITY(text) is not None:
        yield "html", html.unescape(text)
    if "\\" in text:
        if _SCRIPT_ESCAPE.search(text) is not None:
            yield "script", _SIMPLE_ESCAPE.sub(_simple, _SCRIPT_ESCAPE.sub(_scripted, text))
        if _STYLE_ESCAPE.search(text) is not None:
            yield "style", _STYLE_ESCAPE.sub(_styled, text)
    if "\0" in text:
        yield "without nul", text.replace("\0", "")
    if "/*" in text:
        yield "without comments", without_comments(text)
    yield from _of_base64(text)


def percent_decoded(text: str) -> str:
    """Undo percent-encoding once, `%u0061` of IIS with it."""
    if "%u" in text or "%U" in text:
        text = _WIDE_ESCAPE.sub(_wide, text)
    # What is decoded is bytes again: the surrogates of single bytes go back to bytes, those of `%ud800` to nothing.
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def _wide(found: re.Match[str]) -> str:
    point = int(found[1], 16)
    return chr(point) if not 0xD800 <= point <= 0xDFFF else "\ufffd"  # noqa: PLR2004 - surrogates


def without_comments(text: str) -> str:
    """Leave out `/* ... */`, as filters do that look for words and databases that look for gaps."""
    kept: list[str] = []
    at = 0
    while (begin := text.find("/*", at)) >= 0 and (end := text.find("*/", begin + 2)) >= 0:
        kept.append(text[at:begin])
        at = end + 2
    kept.append(text[at:])
    return "".join(kept)


def _of_wide_characters(text: str) -> Iterator[tuple[str, str]]:
    if _SURROGATES.search(text) is not None:
        raw = text.encode("utf-8", "surrogateescape").decode("latin-1")
        yield "latin-1", raw
        yield "overlong", _OVERLONG.sub(_collapsed, raw)
        yield "overlong", _UNCHECKED.sub(_collapsed, raw)
        return
    if not unicodedata.is_normalized("NFKC", text):
        yield "nfkc", unicodedata.normalize("NFKC", text)
    fitted = _INVISIBLE.sub("", text).translate(_BEST_FIT)
    if fitted != text:
        yield "best fit", fitted


def _collapsed(found: re.Match[str]) -> str:
    """The character of one sequence of bytes, which stand as Latin-1."""
    text = found[0]
    point = ord(text[0]) & (0xFF >> (len(text) + 1))
    for byte in text[1:]:
        point = point << 6 | ord(byte) & 0x3F
    return chr(point) if point < 0xD800 or 0xE000 <= point < 0x110000 else "\ufffd"  # noqa: PLR2004 - Unicode's range


def _scripted(found: re.Match[str]) -> str:
    digits = found[1] or found[2] or found[3]
    point = int(digits, 16) if digits else int(found[4], 8)
    return chr(point) if point < 0xD800 or 0xE000 <= point < 0x110000 else "\ufffd"  # noqa: PLR2004 - Unicode's range


def _simple(found: re.Match[str]) -> str:
    return _OF_SIMPLE.get(found[1], found[1])


def _styled(found: re.Match[str]) -> str:
    point = int(found[1], 16)
    return chr(point) if 0 < point < 0xD800 or 0xE000 <= point < 0x110000 else "\ufffd"  # noqa: PLR2004 - Unicode's range


def _of_seven_bits(text: str) -> Iterator[tuple[str, str]]:
    """Read UTF-7, which old browsers guess for a page that names no character set."""
    if _SEVEN_BITS.search(text) is None or not text.isascii():
        return
    try:
        yield "utf-7", text.encode("ascii").decode("utf-7")
    except UnicodeDecodeError:
        return


def _may_be_base64(text: str) -> bool:
    return _BASE64_PREFIX in text or (len(text) > 15 and " " not in text and "." in text) or _BASE64(text) is not None  # noqa: PLR2004 - as _BASE64


def _of_base64(text: str) -> Iterator[tuple[str, str]]:
    """Decode what stands whole in base64, behind `base64,`, or as a part of a token between dots; text only comes out."""
    at = text.find(_BASE64_PREFIX)
    if at >= 0:
        yield from _decoded(text[at + len(_BASE64_PREFIX) :].strip())
    elif "." in text:
        if " " not in text:
            for part in text.split(".", _JWT_PARTS)[:_JWT_PARTS]:
                yield from _decoded(part)
    else:
        yield from _decoded(text.strip())


def _decoded(text: str) -> Iterator[tuple[str, str]]:
    if _BASE64(text) is None:
        return
    # Most words of letters and digits are no text in base64: their first bytes tell.
    plain = text.translate(_URL_SAFE).rstrip("=")
    if not _is_text(binascii.a2b_base64(plain[:16])):
        return
    plain = plain[: len(plain) - 1] if len(plain) % 4 == 1 else plain
    raw = binascii.a2b_base64(plain + "=" * (-len(plain) % 4))
    decoded = raw.decode("utf-8", "replace")
    if _is_text(raw[:256]):
        yield "base64", decoded


_TEXT: Final = re.compile(rb"[\t\n\r\x20-\x7e\xc2-\xf4\x80-\xbf]*").fullmatch
_ASCII_TEXT: Final = re.compile(rb"[\t\n\r\x20-\x7e]").findall


def _is_text(raw: bytes) -> bool:
    """Three quarters of it are ASCII that people write, and nothing of it is a control character."""
    return _TEXT(raw) is not None and len(_ASCII_TEXT(raw)) * 4 >= len(raw) * 3
