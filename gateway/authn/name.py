"""Account names: the one canonical form under which a person is stored, found and throttled.

`Alice`, `ALICE ` and full-width spellings are one account, so attempts on any of them count together
(ASVS 6.3.1). Whether the account exists is not decided here.
"""

from __future__ import annotations

import unicodedata
from typing import Final

MAX_NAME: Final = 128
RESERVED: Final = "service:"
"""What the name of somebody who is no person begins with."""
_REFUSED: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Controls, invisible format characters, surrogates, private use, unassigned, line and paragraph separators."""


class InvalidNameError(ValueError):
    """Not a name an account can have. The text never quotes it: people type passwords into the wrong field."""


def canonical_name(raw: str) -> str:
    """Return the canonical form: trimmed, NFKC, case folded (UTS #39 skeletons are not applied: scripts stay apart).

    Idempotent. Raises `InvalidNameError` for an empty or too long name, inner white space, or invisible characters.
    """
    if len(raw) > MAX_NAME * 4:
        raise InvalidNameError(f"a name has at most {MAX_NAME} characters")
    # Folding can undo normal form and the reverse (UAX #15, RFC 8264's PRECIS): to a fixed point.
    name, before = raw.strip(), ""
    while name != before:
        before, name = name, unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()
    if name.startswith(RESERVED):
        raise InvalidNameError(f"names that begin with {RESERVED} are those of services with API keys")
    if not name:
        raise InvalidNameError("a name has at least one character")
    if len(name) > MAX_NAME:
        raise InvalidNameError(f"a name has at most {MAX_NAME} characters")
    if any(character.isspace() or unicodedata.category(character) in _REFUSED for character in name):
        raise InvalidNameError("a name holds no white space, controls or invisible characters")
    return name
