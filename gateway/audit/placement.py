"""Which stream the record of a request belongs to.

Decided once for a request, when its first record is made: its announcement and what came of it stand in one
log. It never decides whether something is recorded.
"""

from __future__ import annotations

from typing import Final

from gateway.exchange.reason import ANSWERS, Reason
from gateway.exchange.route import OWN_PAGES, Route
from gateway.exchange.stream import STREAM_NUMBERS, Stream

_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403
IDENTITY_REASONS: Final = frozenset(
    reason for reason in Reason if ANSWERS[reason].status in (_UNAUTHORIZED, _FORBIDDEN)
) | {Reason.STEP_UP_REQUIRED, Reason.SIGN_IN_REQUIRED, Reason.TOO_MANY_ATTEMPTS, Reason.TOO_MANY_SESSIONS}
"""Refusals that say something about somebody: want of identity or of permission, and guessing."""
SIGN_ON_PAGES: Final = frozenset(("gateway.login", "gateway.mfa", "gateway.recovery", "gateway.logout"))

_SECURITY: Final = STREAM_NUMBERS[Stream.SECURITY]
_ACCESS: Final = STREAM_NUMBERS[Stream.ACCESS]
_TRAFFIC: Final = STREAM_NUMBERS[Stream.TRAFFIC]


def place(route: Route, method: bytes, reason: Reason, *, allowed: bool, is_known: bool, has_events: bool) -> int:
    """Return the number of the stream for a request.

    `is_known`: somebody is signed in. `has_events`: our pages said something of a sign-in or an account.
    """
    if has_events:
        return _SECURITY
    if route.name in SIGN_ON_PAGES and method == b"POST":
        return _SECURITY
    if not allowed:
        return _SECURITY if reason in IDENTITY_REASONS and (is_known or not route.public) else _TRAFFIC
    if route.stream is not None:
        return STREAM_NUMBERS[route.stream]
    if route.public:
        return _TRAFFIC
    return _SECURITY if route.template.startswith(OWN_PAGES) else _ACCESS
