"""Account numbers that carry their own proof, or nearly: IBAN (ISO 13616) and Social Security Numbers (SSA, RM 10201).

Both are looked for only where an operator asks for it: bills and forms are full of them on purpose.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.inspection.leak.reading import HOLD, Found, Reading, Skip, Text
from gateway.inspection.leak.sighting import Kind

_LENGTHS: Final = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28, "CH": 21,
    "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27,
    "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MD": 24,
    "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29,
    "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24,
    "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
"""Characters of an IBAN by country, as the registry of SWIFT lists them."""

_SEPARATOR: Final = rb"[ +-]\x01{0,2}|\xc2?\xa0|%20|&nbsp;"
_LETTER: Final = rb"(?:" + _SEPARATOR + rb")?[A-Z0-9]"
_OPEN: Final = rb"(?:[ +-]\x01{0,2}|\xc2?\xa0?|%2?0?|&(?:n(?:b(?:s(?:p;?)?)?)?)?)?"
IBAN_TRIGGER: Final = rb"(?:" + "|".join(_LENGTHS).encode() + rb")[0-9]{2}(?:" + _LETTER + rb"){11}"
IBAN_OPENING: Final = rb"[A-Z]|[A-Z]{2}[0-9]{0,2}|[A-Z]{2}[0-9]{2}(?:" + _LETTER + rb"){0,10}" + _OPEN
_COUNTED: Final = {ord(letter): str(int(letter, 36)) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
_SPACED: Final = re.compile(rb"[A-Z0-9]{4}(?:" + _LETTER + rb"){0,30}")
_SPACED_REACH: Final = 4 + 30 * 7
_SEPARATORS: Final = re.compile(_SEPARATOR)
_AT_END: Final = re.compile(_OPEN + rb"\Z")
_IN_WORD: Final = re.compile(rb"[A-Za-z0-9_]")
_SHOWN: Final = 4

SSN_TRIGGER: Final = rb"[0-9]{3}-[0-9]{2}-[0-9]{4}"
SSN_OPENING: Final = rb"[0-9]{1,3}|[0-9]{3}-[0-9]{0,2}|[0-9]{3}-[0-9]{2}-[0-9]{0,3}"
_SSN_BYTES: Final = 11
_SSN: Final = re.compile(rb"(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![0-9A-Za-z_]|-[0-9A-Za-z])")
_BEFORE_SSN: Final = re.compile(rb"(?:[A-Za-z0-9_]|[A-Za-z0-9]-)\Z")


def claims_iban(trigger: bytes) -> bool:
    """Tell whether a trigger is that of an IBAN."""
    return trigger[:2].isupper() and trigger[2:4].isdigit()


def read_iban(text: Text, at: int, _trigger: bytes) -> Reading:
    """Read on from the country of an IBAN."""
    data = text.data
    if at and _IN_WORD.match(data, at - 1):
        return Skip(at + 4)
    found = _SPACED.match(data, at)
    if found is None:
        return Skip(at + 4)
    if not text.is_whole and len(data) - at <= _SPACED_REACH and _AT_END.match(data, found.end()):
        return HOLD
    length = _LENGTHS[data[at : at + 2].decode("ascii")]
    letters = _SEPARATORS.sub(b"", found[0])[:length]
    if len(letters) != length or not _has_check_digits(letters.decode("ascii")):
        return Skip(at + 4)
    end = _end_of(data, at, found.end(), length)
    if _IN_WORD.match(data, end):
        return Skip(at + 4)
    shown = _start_of_last(data, end, _SHOWN)
    return Found(Kind.IBAN, at, end, letters, ((at + 2, shown),))


def _end_of(data: bytes, at: int, end: int, length: int) -> int:
    """Find where this many letters and digits end, without what stands between them."""
    while at < end:
        separator = _SEPARATORS.match(data, at)
        if separator is not None:
            at = separator.end()
            continue
        at += 1
        length -= 1
        if not length:
            break
    return at


def _start_of_last(data: bytes, end: int, count: int) -> int:
    while count:
        end -= 1
        count -= data[end : end + 1].isalnum()
    return end


def _has_check_digits(letters: str) -> bool:
    """ISO 7064, MOD 97-10: letters count from 10."""
    return int((letters[4:] + letters[:4]).translate(_COUNTED)) % 97 == 1


def claims_ssn(trigger: bytes) -> bool:
    """Tell whether a trigger is that of a Social Security Number."""
    return len(trigger) == _SSN_BYTES and trigger[:3].isdigit()


def read_ssn(text: Text, at: int, _trigger: bytes) -> Reading:
    """Read a number whose digits and hyphens are known, as far as the area, the group and the serial can be issued."""
    data = text.data
    if not text.is_whole and len(data) < at + _SSN_BYTES + 2:
        return HOLD
    found = _SSN.match(data, at)
    if found is None or _BEFORE_SSN.search(data, max(0, at - 2), at):
        return Skip(at + 4)
    return Found(Kind.SSN, at, found.end(), found[0], ((at, at + 3), (at + 4, at + 6)))
