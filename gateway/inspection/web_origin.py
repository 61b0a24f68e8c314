"""Origins as browsers write them (RFC 6454 §6, WHATWG HTML §7.1.1): read, compared, never guessed.

A browser writes an origin in one way: scheme and host in lower case, no default port, no path. Whoever writes it
otherwise is no browser, so that comparing bytes is enough once a text has been read here. `null` is no origin.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.wire.authority import parse_authority

MAX_ORIGIN_BYTES: Final = 280
"""Scheme, a host of 253 and a port."""
_ORIGIN: Final = re.compile(rb"(https?)://([A-Za-z0-9._:\[\]-]{1,264})").fullmatch
_URL: Final = re.compile(
    rb"(https?)://([^/?#\\\x00-\x20\x7f-\xff]{1,264})(?:[/?#][^\x00-\x20\x7f]*)?", re.IGNORECASE
).fullmatch
_DEFAULT_PORTS: Final = {b"http": 80, b"https": 443}


def read_origin(text: bytes) -> bytes | None:
    """Return a serialised origin as browsers write it; None for `null` and for everything that is no origin of the web.

    >>> read_origin(b"https://Shop.example:443")
    b'https://shop.example'
    """
    found = _ORIGIN(text) if len(text) <= MAX_ORIGIN_BYTES else None
    return None if found is None else _written(found[1], found[2])


def origin_of_url(url: bytes) -> bytes | None:
    """Return the origin of an absolute URL, as Referer has it (RFC 9110 §10.1.3); None when it has none.

    A URL with user information has none either: `https://portal.example@evil.example/` names two hosts.
    """
    found = _URL(url)
    return None if found is None else _written(found[1].lower(), found[2])


def _written(scheme: bytes, authority: bytes) -> bytes | None:
    read = parse_authority(authority)
    if read is None:
        return None
    host = f"[{read.host}]" if ":" in read.host else read.host
    if read.port is None or read.port == _DEFAULT_PORTS[scheme]:
        return b"%b://%b" % (scheme, host.encode("ascii"))
    return b"%b://%b:%d" % (scheme, host.encode("ascii"), read.port)
