"""Which stream the record of a request belongs to.

Decided once for a request, when its first record is made: its announcement and what came of it stand in one
log. It never decides whether something is recorded.
"""

from __future__ import annotations

from typing import Final

from gateway.audit.protocol import RESERVED
from gateway.exchange.reason import ANSWERS, Reason
from gateway.exchange.route import OWN_PAGES, Route
from gateway.exchange.stream import STREAM_NUMBERS, Stream

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
IDENTITY_REASONS: Final = frozenset(
    reason for reason in Reason if ANSWERS[reason].status in (_UNAUTHORIZED, _FORBIDDEN)
) | {Reason.STEP_UP_REQUIRED, Reason.SIGN_IN_REQUIRED, Reason.TOO_MANY_ATTEMPTS, Reason.TOO_MANY_SESSIONS}
"""Refusals that say something about somebody: want of identity or of permission, and guessing."""
_READING: Final = frozenset((b"GET", b"HEAD", b"OPTIONS"))
_UNATTENDED: Final = frozenset(("gateway.csp-report", "gateway.session", "gateway.static", "gateway.jwks.json"))
"""Pages of ours that browsers and programs ask for by themselves."""

_SECURITY: Final = STREAM_NUMBERS[Stream.SECURITY]
_ACCESS: Final = STREAM_NUMBERS[Stream.ACCESS]
_TRAFFIC: Final = STREAM_NUMBERS[Stream.TRAFFIC]


def place(route: Route, method: bytes, reason: Reason, *, allowed: bool, is_known: bool, has_events: bool) -> int:
    """Return the number of the stream for a request.

    `is_known`: somebody is signed in. `has_events`: our pages said something of a sign-in or an account.
    """
    if has_events:
        return _SECURITY
    if not allowed:
        return _SECURITY if reason in IDENTITY_REASONS and (is_known or not route.public) else _TRAFFIC
    if route.template.startswith(OWN_PAGES):  # what is sent to our own pages changes an account, or is about to
        return _SECURITY if method not in _READING and route.name not in _UNATTENDED else _TRAFFIC
    if route.stream is not None:
        return STREAM_NUMBERS[route.stream]
    return _TRAFFIC if route.public else _ACCESS


def lane(route: Route, stream: int) -> int:
    """Return `RESERVED` for who signs in or administers: with a full disk the gateway can still be put in order."""
    return RESERVED if stream == _SECURITY and route.template.startswith(OWN_PAGES) else 0
