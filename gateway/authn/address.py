"""E-mail addresses: which text is one plain mailbox, and the one form under which it is compared.

Exactly one `@` with a host behind it, in ASCII: nothing that a header, a server or a suffix match could read
otherwise. `alice+shop@example.com` is a mailbox of its own: only the receiving host knows what a local part
means (RFC 5321 §2.3.11). Whether mail arrives, and whose it is, is not decided here.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 254
"""RFC 5321 section 4.5.3.1.3, less the brackets."""
LONGEST_LOCAL_PART: Final = 64  # RFC 5321 section 4.5.3.1.1
# RFC 5321 section 4.1.2: Dot-string "@" Domain; no quoted local part, no address literal, at least two labels or one name.
_ADDRESS: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+){0,31}"
    r"@[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?){0,16}"
)


def is_address(text: str) -> bool:
    """Tell whether `text` is one plain address."""
    return len(text) <= LONGEST and text.find("@") <= LONGEST_LOCAL_PART and _ADDRESS.fullmatch(text) is not None


def masked(address: str) -> str:
    """Return an address so that its owner knows it again and nobody else learns it: `a…@example.com`."""
    local, _, host = address.partition("@")
    return f"{local[:1]}…@{host}"


def canonical_address(text: str) -> str:
    """Return the form in which addresses are compared: trimmed, lower case; empty when it is no address.

    Hosts differ in whether they mind the case of a local part; two people whose addresses differ in nothing else
    are not told apart, and so neither is served by an address alone.
    """
    trimmed = text.strip()
    return trimmed.lower() if is_address(trimmed) else ""
