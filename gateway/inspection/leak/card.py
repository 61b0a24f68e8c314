"""Card numbers in a text: by scheme, length and check digit, and by how they stand there.

Any number of sixteen digits passes for a card's in one case of fifty. So a number counts when it is grouped as it is printed on
cards, or when words near it, or a heading before it, speak of cards; and not when it is named as something else, or is part
of something longer.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.inspection.leak.reading import HOLD, LOOK_BACK, Found, Reading, Skip, Text
from gateway.inspection.leak.sighting import Kind
from gateway.inspection.leak.text_form import Markup
from gateway.wire.card_number import LONGEST, SHORTEST, scheme_of

_BLANK: Final = (
    rb"[ .+\xa0-]\x01{0,2}|\xc2\xa0|\xe2\x80[\x80-\x8b\x90-\x95\xaf]|%20|%2[Dd]|&nbsp;|&#(?:160|32|45|8209|8239);"
    rb"|&#[xX](?:20|2[dD]|[aA]0|202[fF]|2011);|\\u(?:00(?:[aA]0|20|2[dD])|20(?:0[0-9aAbB]|1[0-5]|2[fF]))"
)
"""What stands between two groups, in every way in which it can be written."""
_TAG: Final = (
    rb"</?(?:span|bdi|bdo|b|i|em|strong|small|wbr|code|tt|font|u|mark)(?:[ \t\r\n/][^<>]{0,64})?>|<!--[^<>]{0,16}-->"
)
_OPEN: Final = rb"\xc2|\xe2\x80?|%2?|&(?:n(?:b(?:s(?:p)?)?)?|#[0-9]{0,4}|#[xX][0-9a-fA-F]{0,4})?|\\(?:u[0-9a-fA-F]{0,3})?|<[^<>]{0,76}"
"""How one of these, cut in two, begins."""
_GAP: Final = rb"(?:" + _BLANK + rb"|" + _TAG + rb"){1,4}"
_OPEN_GAP: Final = rb"(?:" + _BLANK + rb"|" + _TAG + rb"){0,4}(?:" + _OPEN + rb")?"
_LONGEST_GAP: Final = 4 * 76

TRIGGER: Final = (
    rb"[2-68][0-9]{12}"
    rb"|[2-68][0-9]{3}" + _GAP + rb"[0-9]{4}" + _GAP + rb"[0-9]{4}" + _GAP + rb"[0-9]"
    rb"|3[0-9]{3}" + _GAP + rb"[0-9]{6}" + _GAP + rb"[0-9]{4}"
)
OPENING: Final = rb"[2-68][0-9]{0,11}|[2-68][0-9]{3}(?:" + _GAP + rb"[0-9]{1,6}){0,3}" + _OPEN_GAP

_RUN: Final = re.compile(rb"[0-9]*+")
_CHAIN: Final = re.compile(rb"[0-9]{1,20}(?:" + _GAP + rb"[0-9]{1,20}){0,5}")
_CHAIN_REACH: Final = 6 * (20 + _LONGEST_GAP)
_GROUP: Final = re.compile(rb"(" + _GAP + rb")?([0-9]{1,20})")
_AT_END: Final = re.compile(_OPEN_GAP + rb"\Z")
_FOURS: Final = re.compile(rb"[0-9]{4}(?:" + _GAP + rb"[0-9]{4}(?![0-9]))*+")
_FOUR_BEFORE: Final = re.compile(rb"(?:(?<![0-9])[0-9]{4}|[A-Z]{2}[0-9]{2})" + _GAP + rb"\Z")
"""A row of years, or the beginning of an IBAN."""

_SHAPES: Final = ((4, 4, 4, 4, 3), (4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 5))
"""As printed: of 19 digits, of 16, American Express, Diners Club, of 13."""
_SHOWN: Final = 4
"""Last digits that may be shown (PCI DSS 4.0.1, 3.4.1)."""
_PART_BEFORE: Final = re.compile(rb"(?:(?<!\\)[nrt]|[A-Za-mo-qsu-z0-9_$#]|\xe2\x82\xac|[A-Za-z0-9][-/]|[0-9]\.)\Z")
"""It is the rest of a word, a path, a fraction, a price; `\\n` before it is a new line that is written so."""
_PART_AFTER: Final = re.compile(rb"[A-Za-z0-9_]|\.[0-9]|-[A-Za-z0-9]")
_PART_BYTES_BEFORE: Final = 3
_PART_BYTES_AFTER: Final = 2
"""How much is looked at for that."""

_LOOK_AFTER: Final = 48
_WORDS_BEFORE: Final = 96
_WORDS_NEAR: Final = 24
_TAGS: Final = re.compile(rb"<[^<>]*>")
_NAMES: Final = re.compile(
    rb"(?:kunden|mitglieds|gesundheits|versicherten|bonus|treue|club|geschenk)-?kart[enu]"
    rb"|(?:loyalty|membership|bonus|library|health|insurance|gift).?card"
    rb"|(card(?!igan|inal|iff|io|iac|iol)|credit(?!or)|debit(?!or)|visa(?![a-z])|master|maestro|amex|american.express|diners|jcb"
    rb"|unionpay|kredit|kart[enu]|carte(?![a-z])|tarjeta|carta(?![a-z])|cart(?:\xc3\xa3|\xe3)o|kort(?![a-z])|primary.account"
    rb"|(?<![a-z])(?:pan|cc|ccn|ccnum|ccno)(?![a-z])|(?<![a-z])(?:pay(?![a-z])|paid|payment|bezahlt|zahlung)|cv[vc]2?(?![a-z])|valid.thru)"
    rb"|order|bestell|auftrag|track|trac[ei]|sendung|shipment|parcel|paket|invoice|rechnung|receipt|beleg|transa[ck]tion|txn"
    rb"|referen|(?<![a-z])(?:ref|id|ids|ean|upc|sn|ts)(?![a-z])|uuid|guid|serial|imei|iccid|imsi|phone|telefon|telnr|timestamp"
    rb"|barcode|gtin|isbn|issn|sku|ticket|voucher|gutschein|coupon|session|iban|version|checksum|license|licence|lizenz"
)
"""What says that a number is a payment card's, in the group, and what says that it is something else's: another card's, too."""
_NUMBER: Final = re.compile(rb"(?<![a-z_.-])(?:number|nummer)[\"']?[ \t]*[:=>][ \t]*[\"']?\Z")
"""`"number": …`, where nothing says of what: cards have numbers that are called so."""
_ID_SUFFIX: Final = re.compile(rb"[a-z]I[dD]\W{1,6}\Z")
_AFTERWARDS: Final = re.compile(
    rb"(?<![a-z])(?:exp(?!ort|er|la|ec|re)|cv[vc]2?(?![a-z])|valid.thru|g(?:\xc3\xbc|\xfc|ue)ltig|visa(?![a-z])|master|amex|maestro)"
    rb"|(?<![0-9/])(?:0[1-9]|1[0-2])/(?:20)?[2-4][0-9](?![0-9/])"
)
"""What follows card numbers: how long the card is valid, its check value, its scheme."""
HEADING: Final = (
    rb"(?i:card[ _-]?(?:number|num|no)|card[ _-]?nr|credit[ _-]?card|kreditkart|karten-?num|pan[ _-]?number|ccnum|cc_n)"
)
"""Where one stands, the numbers of a column below it need no words of their own."""
HEADING_BYTES: Final = 12
COLUMNS: Final = frozenset({Markup.HTML, Markup.PLAIN})
"""Where numbers stand in columns; elsewhere each has its name beside it."""


def claims(trigger: bytes) -> bool:
    """Tell whether a trigger is one of this module's."""
    return trigger[:4].isdigit()


def read(text: Text, at: int, _trigger: bytes) -> Reading:
    """Read on from the first digit of a trigger."""
    data = text.data
    if at and data[at - 1 : at].isdigit():
        return Skip(_end_of_run(data, at))
    first_end = min(_end_of_run(data, at), at + LONGEST + 1)
    if first_end - at > LONGEST:
        return Skip(_end_of_run(data, at))
    if first_end - at >= SHORTEST and (first_end < len(data) or text.is_whole) and not _has_scheme(data, at, first_end):
        return Skip(first_end)
    chain = _CHAIN.match(data, at)
    if chain is None:
        return Skip(at + 1)
    if not text.is_whole:
        is_open = len(data) - at <= _CHAIN_REACH and _AT_END.match(data, chain.end())
        if is_open or len(data) - chain.end() < _PART_BYTES_AFTER:
            return HOLD
    if first_end - at >= SHORTEST:
        return _read_unbroken(text, at, first_end)
    return _read_grouped(text, at, first_end, chain.end())


def _end_of_run(data: bytes, at: int) -> int:
    found = _RUN.match(data, at)
    return at + 1 if found is None else found.end()


def _has_scheme(data: bytes, at: int, end: int) -> bool:
    return scheme_of(data[at:end].decode("ascii")) is not None


def _read_unbroken(text: Text, at: int, end: int) -> Reading:
    if _is_part(text.data, at, end):
        return Skip(end)
    named = _named(text, at)
    if not named:
        followed = _is_followed(text, end)
        if followed is None:
            return HOLD
        if not followed and (named is False or not (text.has_heading and text.markup in COLUMNS)):
            return Skip(end)
    return Found(Kind.CARDS, at, end, text.data[at:end], ((at, end - _SHOWN),), is_number=True)


def _read_grouped(text: Text, at: int, first_end: int, chain_end: int) -> Reading:
    data = text.data
    groups: list[tuple[int, int]] = []
    gaps: list[bytes] = []
    for found in _GROUP.finditer(data, at, chain_end):
        groups.append(found.span(2))
        gaps.append(found[1] or b"")
    sizes = tuple(end - start for start, end in groups)
    for shape in _SHAPES:
        if sizes[: len(shape)] != shape:
            continue
        taken = groups[: len(shape)]
        digits = b"".join(data[start:end] for start, end in taken)
        if scheme_of(digits.decode("ascii")) is None or not _is_alike(gaps[1 : len(shape)]):
            continue
        end = taken[-1][1]
        if _is_part(data, at, end) or _FOUR_BEFORE.search(data, max(0, at - LOOK_BACK), at):
            break
        is_row = sizes[len(shape) : len(shape) + 1] == (4,)
        named = _named(text, at)
        if named is False or (is_row and not named):
            followed = _is_followed(text, end)
            if followed is None:
                return HOLD
            if not followed:
                break
        return Found(Kind.CARDS, at, end, digits, _covered(taken))
    if first_end - at == 4:  # a row of years is passed over at once
        row = _FOURS.match(data, at)
        if row is not None:
            return Skip(row.end())
    return Skip(first_end)


def _is_alike(gaps: list[bytes]) -> bool:
    """Tell whether groups are set apart in one way, as one person or program does it; markup may differ."""
    return len(set(gaps)) == 1 or any(b"<" in gap for gap in gaps)


def _covered(groups: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """List what is covered of the groups: everything but the last digits."""
    left = _SHOWN
    covered: list[tuple[int, int]] = []
    for start, end in reversed(groups):
        shown = min(left, end - start)
        left -= shown
        if start < end - shown:
            covered.append((start, end - shown))
    return tuple(reversed(covered))


def _is_part(data: bytes, at: int, end: int) -> bool:
    """Tell whether a number goes on as something else."""
    return bool(_PART_BEFORE.search(data, max(0, at - _PART_BYTES_BEFORE), at) or _PART_AFTER.match(data, end))


def _named(text: Text, at: int) -> bool | None:
    """Tell what the last name before a number says: a card's, something else, or nothing."""
    before = text.data[max(0, at - LOOK_BACK) : at]
    if b">" in before and text.markup is not Markup.XML:  # where the tags are the names
        inside, mark, rest = before.partition(b">")
        before = _TAGS.sub(b" ", rest if mark and b"<" not in inside else before)
    before = before[-_WORDS_BEFORE:]
    if _ID_SUFFIX.search(before):
        return False
    before = before.lower()
    for reach in (_WORDS_NEAR, _WORDS_BEFORE):  # the last name counts: mostly it is close
        names = [found[1] for found in _NAMES.finditer(before, max(0, len(before) - reach))]
        if names:
            return names[-1] is not None
    return True if _NUMBER.search(before) else None


def _is_followed(text: Text, end: int) -> bool | None:
    """Tell whether what follows speaks of a card; None while too little is known of it."""
    if not text.is_whole and len(text.data) < end + _LOOK_AFTER:
        return None
    return _AFTERWARDS.search(text.data[end : end + _LOOK_AFTER].lower()) is not None
