"""The ways in which an upstream may read a text: each decoding that some parser behind the gateway undoes.

Only what could change the text is tried, and what a decoding gives is decoded again, because attacks are wrapped more than
once. The number of readings is capped. A text in which many encodings stand side by side, as in code that handles them, has
more: it is then read with all of them undone at once, again and again, which undoes each nest in it. One that is wrapped
deeper than that is one that nobody honest writes.
"""

from __future__ import annotations

import binascii
import html
import re
import unicodedata
from collections.abc import Iterator
from itertools import chain
from typing import Final, NamedTuple

from gateway.inspection.values import unquoted

MAX_READINGS: Final = 16
MAX_DEPTH: Final = 4
"""Decodings one upon another: three of percent-encoding, and one more."""
FREE_CHARACTERS: Final = 65_536
MOST_TIMES: Final = 4
"""The readings one by one have that many times the length of a text at most, beyond what is free: work stays linear."""
MOST_AT_ONCE: Final = MAX_DEPTH + 3
"""Readings with all undone at once, which come on top."""
AS_SENT: Final = "as sent"
TOO_MANY: Final = "reading.too_many"
SIGNS: Final = {TOO_MANY: "The text is wrapped in itself more often than any program needs: it hides something."}
"""What the engine sees by itself, beside what mechanisms see."""

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_NO_BYTES: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Surrogates that stand for no byte: `"\\ud800"` is a string of JSON."""
_CHANGES: Final = re.compile(r"[\\+\0]|%[0-9A-Fa-fuU]|&[#A-Za-z]|/\*").search
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
_BLANK: Final = re.compile(r"\s").search
_HEAD: Final = 64
"""Characters of which sixteen must be letters of base64."""
_BASE64_PREFIX: Final = "base64,"
_URL_SAFE: Final = str.maketrans("-_", "+/")
_JWT_PARTS: Final = 8
_SEVEN_BITS: Final = re.compile(r"\+[A-Za-z0-9/]{2,}-?")
"""RFC 2152 section 3."""
# Letters that a conversion to a narrower character set takes for these (Windows' "best fit"), and what is not shown.
_BEST_FIT: Final = {
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
    "\xad": "",
    "\u200b": "",
    "\u200c": "",
    "\u2060": "",
    "\ufeff": "",
}
_COMPATIBLE: Final = (
    (0x17F, 0x180),
    (0x2B0, 0x386),
    (0x2000, 0x2500),
    (0x3000, 0x3400),
    (0xFB00, 0xFB2A),
    (0xFE10, 0xFE70),
    (0xFF00, 0xFFF0),
    (0x1D400, 0x1D800),
    (0x1F100, 0x1F200),
)
"""Blocks with characters whose compatible form (Unicode Standard Annex 15, NFKC) is ASCII."""
_HARMLESS: Final = frozenset(
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u2026\u2116\u2122"
)
"""Of these, what people write: spaces of other widths, an ellipsis, numero and trade mark."""


def _narrow_forms() -> dict[str, str]:
    """List the characters that some reader takes for ASCII."""
    found = dict(_BEST_FIT)
    for first, end in _COMPATIBLE:
        for wide in map(chr, range(first, end)):
            narrow = unicodedata.normalize("NFKC", wide)
            if narrow != wide and any(map(str.isascii, narrow)):
                found.setdefault(wide, narrow)
    return {wide: narrow for wide, narrow in found.items() if wide not in _HARMLESS}


_NARROW: Final = _narrow_forms()
_BEYOND_BMP: Final = "\U0001d400-\U0001d7ff\U0001f100-\U0001f1ff"
"""As ranges: a class of single characters beyond the Basic Multilingual Plane is searched one by one."""
_WIDE: Final = re.compile(f"[{''.join(re.escape(wide) for wide in _NARROW if wide < _BEYOND_BMP)}{_BEYOND_BMP}]")
_UNUSUAL: Final = re.compile(f"[\ud800-\udfff{_WIDE.pattern[1:]}").search
"""Surrogates, and what has a narrow form: a text of other languages has neither, mostly."""


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
    """False when what is wrapped deepest was not reached."""


def readings(text: str) -> Readings:
    """List how a text can be read. Bytes that were no UTF-8 stand as surrogates in `text`, and in no reading."""
    if text.isascii() and _CHANGES(text) is None and not _may_be_base64(text):
        return Readings([Reading(text, AS_SENT)], is_complete=True)
    found: list[Reading] = []
    seen = {text}
    work = [(text, "", 0)]
    budget = FREE_CHARACTERS + MOST_TIMES * len(text)
    for current, how, depth in work:  # grows as it is read
        budget -= len(current)
        if len(found) == MAX_READINGS or budget < 0:
            return _at_once(_NO_BYTES.sub("\ufffd", text), found)
        unusual = None if current.isascii() else _UNUSUAL(current)
        if unusual is None:
            found.append(Reading(current, how or AS_SENT))
            steps = _steps(current)
        else:
            cleaned = _NO_BYTES.sub("\ufffd", current)
            seen.add(cleaned)
            has_bytes = _SURROGATES.search(cleaned) is not None
            found.append(Reading(_SURROGATES.sub("\ufffd", cleaned), how or AS_SENT))
            steps = chain(_of_bytes(cleaned) if has_bytes else _of_wide(cleaned), _steps(cleaned))
        if depth == MAX_DEPTH:
            continue
        for step, made in steps:
            if made not in seen:
                seen.add(made)
                work.append((made, f"{how} > {step}" if how else step, depth + 1))
    return Readings(found, is_complete=True)


def _at_once(text: str, found: list[Reading]) -> Readings:
    """Add readings with every encoding undone that leaves the rest as it is; at last those that take more away."""
    known = {reading.text for reading in found}
    how = ""

    def add(made: str, step: str) -> None:
        shown = _SURROGATES.sub("\ufffd", made)
        if shown not in known:
            known.add(shown)
            found.append(Reading(shown, step))

    for _ in range(MAX_DEPTH):
        made = _unwrapped(text)
        if made == text:
            break
        text, how = made, f"{how} > all" if how else "all"
        add(text, how)
    is_complete = _unwrapped(text) == text
    if "+" in text:
        add(text.replace("+", " "), f"{how} > url" if how else "url")
    if "/*" in text:
        add(without_comments(text), f"{how} > without comments" if how else "without comments")
    for _, made in _of_seven_bits(text):
        add(made, f"{how} > utf-7" if how else "utf-7")
    return Readings(found, is_complete)


def _unwrapped(text: str) -> str:
    """Undo each encoding once, one after the other, that leaves alone what is not encoded."""
    if not text.isascii() and _UNUSUAL(text) is not None:
        if _SURROGATES.search(text) is not None:
            raw = text.encode("utf-8", "surrogateescape").decode("latin-1")
            text = _UNCHECKED.sub(_collapsed, _OVERLONG.sub(_collapsed, raw))
        else:
            text = _WIDE.sub(_narrowed, text)
    if "%" in text and _ESCAPE(text) is not None:
        text = percent_decoded(text)
    if "&" in text and _ENTITY(text) is not None:
        text = html.unescape(text)
    if "\\" in text:
        if _SCRIPT_ESCAPE.search(text) is not None:
            text = _SIMPLE_ESCAPE.sub(_simple, _SCRIPT_ESCAPE.sub(_scripted, text))
        text = _STYLE_ESCAPE.sub(_styled, text)
    return text.replace("\0", "")


def _steps(text: str) -> Iterator[tuple[str, str]]:
    """Undo each encoding once that could be there."""
    if "%" in text and _ESCAPE(text) is not None:
        yield "url", percent_decoded(text)
        if "+" in text:
            yield "url", percent_decoded(text.replace("+", " "))
    elif "+" in text and " " not in text and _BASE64(text) is None:
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
    return unquoted(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def _wide(found: re.Match[str]) -> str:
    point = int(found[1], 16)
    return chr(point) if not 0xD800 <= point <= 0xDFFF else "\ufffd"


def without_comments(text: str) -> str:
    """Leave out `/* ... */`, as filters do that look for words and databases that look for gaps."""
    kept: list[str] = []
    at = 0
    while (begin := text.find("/*", at)) >= 0 and (end := text.find("*/", begin + 2)) >= 0:
        kept.append(text[at:begin])
        at = end + 2
    kept.append(text[at:])
    return "".join(kept)


def _of_bytes(text: str) -> Iterator[tuple[str, str]]:
    raw = text.encode("utf-8", "surrogateescape").decode("latin-1")
    yield "latin-1", raw
    yield "overlong", _OVERLONG.sub(_collapsed, raw)
    yield "overlong", _UNCHECKED.sub(_collapsed, raw)


def _of_wide(text: str) -> Iterator[tuple[str, str]]:
    yield "nfkc", _WIDE.sub(_narrowed, text)


def _narrowed(found: re.Match[str]) -> str:
    return _NARROW.get(found[0], found[0])


def _collapsed(found: re.Match[str]) -> str:
    """The character of one sequence of bytes, which stand as Latin-1, where it is ASCII: no other is worth hiding so."""
    text = found[0]
    point = ord(text[0]) & (0xFF >> (len(text) + 1))
    for byte in text[1:]:
        point = point << 6 | ord(byte) & 0x3F
    return chr(point) if point < 0x80 else text


def _scripted(found: re.Match[str]) -> str:
    digits = found[1] or found[2] or found[3]
    point = int(digits, 16) if digits else int(found[4], 8)
    return chr(point) if point < 0xD800 or 0xE000 <= point < 0x110000 else "\ufffd"


def _simple(found: re.Match[str]) -> str:
    return _OF_SIMPLE.get(found[1], found[1])


def _styled(found: re.Match[str]) -> str:
    point = int(found[1], 16)
    return chr(point) if 0 < point < 0xD800 or 0xE000 <= point < 0x110000 else "\ufffd"


def _of_seven_bits(text: str) -> Iterator[tuple[str, str]]:
    """Read UTF-7, which old browsers guess for a page that names no character set."""
    if _SEVEN_BITS.search(text) is None or not text.isascii():
        return
    try:
        yield "utf-7", text.encode("ascii").decode("utf-7")
    except UnicodeDecodeError:
        return


def _may_be_base64(text: str) -> bool:
    if _BASE64_PREFIX in text or (len(text) > 15 and "." in text and " " not in text):
        return True
    text = _without_breaks(text)
    return _BASE64(text) is not None and _begins_as_text(text)


def _without_breaks(text: str) -> str:
    """Leave out blanks and line ends where a text in base64 may stand: most decoders skip them (RFC 2045 section 6.8)."""
    if _BLANK(text) is None:
        return text
    head = "".join(text[:_HEAD].split())[:16]
    return "".join(text.split()) if _BASE64(head) is not None and _begins_as_text(head) else text


def _begins_as_text(text: str) -> bool:
    """Most words of letters and digits are no text in base64: their first bytes tell."""
    return _is_text(binascii.a2b_base64(text[:16].translate(_URL_SAFE)))  # a candidate has 16 before any padding


def _of_base64(text: str) -> Iterator[tuple[str, str]]:
    """Decode what stands whole in base64, behind `base64,`, or as a part of a token between dots; text only comes out."""
    at = text.find(_BASE64_PREFIX)
    if at >= 0:
        yield from _decoded(_without_breaks(text[at + len(_BASE64_PREFIX) :].strip()))
    elif "." in text:
        if " " not in text:
            for part in text.split(".", _JWT_PARTS)[:_JWT_PARTS]:
                yield from _decoded(part)
    else:
        yield from _decoded(_without_breaks(text.strip()))


def _decoded(text: str) -> Iterator[tuple[str, str]]:
    if _BASE64(text) is None:
        return
    if not _begins_as_text(text):
        return
    plain = text.translate(_URL_SAFE).rstrip("=")
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
