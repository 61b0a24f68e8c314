"""Take the gateway's own cookies out of a Cookie field, and harden what a portal sets (RFC 6265bis).

Decides what travels on; it does not know sessions.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_OWN_NAMES: Final = (b"gw", b"gw-flow", b"gw-device", b"gw-provider")
OWN_COOKIES: Final = frozenset((*_OWN_NAMES, *(b"__Host-" + name for name in _OWN_NAMES)))
_OWN_FOLDED: Final = frozenset(name.lower() for name in OWN_COOKIES)
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch


def is_own_name(name: bytes) -> bool:
    """Tell whether a cookie of that name would be the gateway's own, however it is capitalised."""
    return name.lower() in _OWN_FOLDED


class Cookies(NamedTuple):
    """A client's Cookie fields, split between us and the portal."""

    secure_token: bytes | None
    """Value of `__Host-gw`; None when absent or sent more than once."""
    plain_token: bytes | None
    """Value of `gw`; None when absent or sent more than once."""
    portal: bytes
    """What the portal gets; empty = no field."""
    own: bytes
    """Our own cookies, for our own pages."""
    secure_device: bytes | None = None
    """Value of `__Host-gw-device`; None as above."""
    plain_device: bytes | None = None
    """Value of `gw-device`; None as above."""


def split_cookies(value: bytes) -> Cookies:
    """Split a Cookie field value. A session cookie sent twice is no session cookie (fixation by a sibling host)."""
    tokens: dict[bytes, bytes | None] = {}
    portal: list[bytes] = []
    own: list[bytes] = []
    for pair in value.split(b";"):
        stripped = pair.strip(b" \t")
        if not stripped:
            continue
        name, _, content = stripped.partition(b"=")
        name = name.rstrip(b" \t")
        # A cookie without a name (`=gw=x`) reads as `gw=x` to some servers.
        if not name:
            continue
        if name in OWN_COOKIES:
            tokens[name] = None if name in tokens else content.strip(b" \t")
            own.append(stripped)
        elif name.lower() not in _OWN_FOLDED:
            portal.append(stripped)
    return Cookies(
        tokens.get(b"__Host-gw"),
        tokens.get(b"gw"),
        b"; ".join(portal),
        b"; ".join(own),
        tokens.get(b"__Host-gw-device"),
        tokens.get(b"gw-device"),
    )


def harden_set_cookie(value: bytes, *, secure: bool) -> bytes | None:
    """Rewrite one Set-Cookie value of a portal; None when it must not pass.

    Adds Secure (over TLS) and SameSite=Lax where missing. HttpOnly is left alone: old portals read
    their own cookies from scripts. The portal can never set a cookie of the gateway's names.
    """
    pair, *attributes = value.split(b";")
    name, equals, _ = pair.partition(b"=")
    name = name.strip(b" \t")
    if not equals or not name or _TOKEN(name) is None or name.lower() in _OWN_FOLDED:
        return None
    kept = [pair.strip(b" \t")]
    seen = set()
    for attribute in attributes:
        text = attribute.strip(b" \t")
        if text:
            seen.add(text.partition(b"=")[0].rstrip(b" \t").lower())
            kept.append(text)
    if secure and b"secure" not in seen:
        kept.append(b"Secure")
    if b"samesite" not in seen:
        kept.append(b"SameSite=Lax")
    return b"; ".join(kept)
