"""Keep a portal's cookies from going along with requests of other sites (SameSite, RFC 6265bis §4.1.2.7).

The last attribute counts (§5.6), and a word that is none of the three is read as `None` by some browsers and as `Lax` by
others: so exactly one attribute is left, with a word that all of them know.
"""

from __future__ import annotations

from typing import Final, Literal

Floor = Literal["portal", "lax", "strict"]
_RANKS: Final = {b"none": 0, b"lax": 1, b"strict": 2}
_WORDS: Final = (b"SameSite=None", b"SameSite=Lax", b"SameSite=Strict")


def enforce_same_site(value: bytes, floor: Floor) -> bytes:
    """Return a Set-Cookie value that is at least as strict as `floor`; `portal` leaves what the portal said."""
    if floor == "portal":
        return value
    kept: list[bytes] = []
    rank = -1
    for index, attribute in enumerate(value.split(b";")):
        name, _, word = attribute.partition(b"=")
        if index and name.strip(b" \t").lower() == b"samesite":
            rank = _RANKS.get(word.strip(b" \t").lower(), -1)
        else:
            kept.append(attribute.strip(b" \t"))
    least = 2 if floor == "strict" else 1
    return b"; ".join((*(part for part in kept if part), _WORDS[max(rank, least)]))
