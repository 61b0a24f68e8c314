"""What a page may know of the session that it is shown in: how long it lasts (`/.gateway/session`).

Asking is no activity; only a POST of this origin's own is. It tells times and nothing about the person,
and nothing at all to other origins.
"""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Final

import orjson

from gateway.edge.browser import origin_of, said
from gateway.exchange.session import Owed
from gateway.session.life import left

if TYPE_CHECKING:
    from gateway.edge.exchange import Exchange

PAGE: Final = "session"
_OWN_SITES: Final = frozenset((b"", b"same-origin", b"none"))
_NOBODY: Final = b'{"signed_in":false}'


def is_own(x: Exchange) -> bool:
    """Tell whether this origin asks; to extend a session it has to be proven, by Fetch Metadata or Origin."""
    site, origin = said(x.fields, b"sec-fetch-site"), x.fields.origin
    if site not in _OWN_SITES or (origin and origin != origin_of(x)):
        return False
    return x.method != b"POST" or site == b"same-origin" or bool(origin)


def session_state(x: Exchange, now: float) -> bytes:
    """Write whole seconds until the session ends, rounded down, as JSON."""
    entry = x.entry
    if entry is None:
        return _NOBODY
    idle_s, absolute_s = left(entry.session, seen=entry.seen, now=now)
    return orjson.dumps(
        {
            "signed_in": entry.session.owes is Owed.NOTHING,
            "idle_s": floor(min(idle_s, absolute_s)),
            "absolute_s": floor(absolute_s),
            "warn_s": floor(x.snapshot.idle_warning_s),
        }
    )
