"""Numbers of payment cards: the check digit, the ranges of the issuers and the lengths they use.

Decides what a run of digits could be. Whether it is one in the text it stands in, its surroundings say, which are not read
here.
"""

from __future__ import annotations

from typing import Final

SHORTEST: Final = 13
LONGEST: Final = 19
"""ISO/IEC 7812-1; the twelve digits of some old Maestro cards are left out."""
_ISSUERS: Final = ("2", "3", "4", "5", "6")
"""First digits of payment cards (ISO/IEC 7812)."""
_DOUBLED: Final = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
_PLAIN: Final = bytes.maketrans(b"0123456789", bytes(range(10)))

_SCHEMES: Final = (
    ("visa", 4, 4, (13, 16, 19)),
    ("mastercard", 51, 55, (16,)),
    ("mastercard", 2221, 2720, (16,)),
    ("amex", 34, 34, (15,)),
    ("amex", 37, 37, (15,)),
    ("discover", 6011, 6011, (16, 19)),
    ("discover", 644, 649, (16, 19)),
    ("discover", 65, 65, (16, 19)),
    ("diners", 300, 305, (14, 16, 19)),
    ("diners", 309, 309, (14, 16, 19)),
    ("diners", 36, 36, (14, 16, 19)),
    ("diners", 38, 39, (14, 16, 19)),
    ("jcb", 3528, 3589, (16, 19)),
    ("mir", 2200, 2204, (16, 19)),
    ("unionpay", 62, 62, (16, 17, 18, 19)),
    ("unionpay", 81, 81, (16, 17, 18, 19)),
    ("maestro", 5018, 5018, (13, 15, 16, 18, 19)),
    ("maestro", 5020, 5020, (13, 15, 16, 18, 19)),
    ("maestro", 5038, 5038, (13, 15, 16, 18, 19)),
    ("maestro", 5893, 5893, (13, 15, 16, 18, 19)),
    ("maestro", 6304, 6304, (13, 15, 16, 18, 19)),
    ("maestro", 6759, 6763, (13, 15, 16, 18, 19)),
    ("rupay", 60, 60, (16,)),
    ("rupay", 508, 508, (16,)),
)
"""Scheme, first and last issuer prefix, lengths of the number: as the schemes publish them."""
_BY_FIRST: Final = {
    digit: tuple(
        (name, len(str(low)), low, high, frozenset(lengths))
        for name, low, high, lengths in _SCHEMES
        if str(low)[0] <= digit <= str(high)[0]
    )
    for digit in "0123456789"
}


def passes_luhn(digits: bytes) -> bool:
    """Tell whether the last of these ASCII digits is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    doubled = digits[-2::-2].translate(_DOUBLED)
    return (sum(digits[::-2].translate(_PLAIN)) + sum(doubled)) % 10 == 0


def is_card_number(digits: str) -> bool:
    """Tell whether digits could be a payment card's: an issuer's first digit and a Luhn check digit (ISO/IEC 7812-1).

    This is the wide reading: for what is better taken out of a log once too often.
    """
    if not SHORTEST <= len(digits) <= LONGEST or digits[0] not in _ISSUERS:
        return False
    return digits.isascii() and digits.isdigit() and passes_luhn(digits.encode())


def scheme_of(digits: str) -> str | None:
    """Name the scheme whose numbers look like these ASCII digits: prefix, length and check digit; None where none does."""
    if not SHORTEST <= len(digits) <= LONGEST:
        return None
    for name, width, low, high, lengths in _BY_FIRST[digits[0]]:
        if len(digits) in lengths and low <= int(digits[:width]) <= high:
            return name if passes_luhn(digits.encode()) else None
    return None
