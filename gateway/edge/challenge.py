"""What `WWW-Authenticate` says with a refusal: by what somebody could prove who they are, and what was wrong with the proof.

As RFC 6750 section 3 has it for programs: without an error where nothing was shown, `invalid_request`, `invalid_token` or
`insufficient_scope` otherwise. Everything in it is a word of ours or of the policy's, never of the request's.
"""

from __future__ import annotations

from typing import Final

from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.step_up import step_up_challenge
from gateway.exchange.reason import ANSWERS, Reason
from gateway.exchange.route import DELEGATED

_SESSION: Final = b'www-authenticate: Session realm="gateway"\r\n'
_BEARER: Final = b'www-authenticate: Bearer realm="gateway"'
_ERRORS: Final = {
    Reason.CREDENTIAL_MALFORMED: b"invalid_request",
    Reason.CREDENTIALS_CONFLICT: b"invalid_request",
    Reason.API_KEY_REFUSED: b"invalid_token",
    Reason.TOKEN_REFUSED: b"invalid_token",
    Reason.SCOPE_MISSING: b"insufficient_scope",
}


def is_of_program(x: Exchange, reason: Reason) -> bool:
    """Whether a program is refused that shows a credential, or should: it is told so, and never sent to a sign-in page."""
    if x.entry is not None and x.entry.session.credential in DELEGATED:
        return True
    return reason is Reason.CREDENTIAL_REQUIRED or (reason in _ERRORS and _takes_fields(x))


def challenge(x: Exchange, refusal: Refusal) -> bytes:
    """Write the field lines for a refusal; none where proving more would change nothing."""
    reason = refusal.reason
    status = ANSWERS[reason].status
    if reason is Reason.STEP_UP_REQUIRED:
        return b"www-authenticate: %b\r\n" % step_up_challenge(x)
    if not _takes_fields(x):
        return _SESSION if status == 401 else b""
    error = _ERRORS.get(reason)
    if error is not None:
        words = b'%b, error="%b", error_description="%b"' % (_BEARER, error, ANSWERS[reason].sentence.encode("ascii"))
        scopes = _scopes(x, refusal.rule) if reason is Reason.SCOPE_MISSING else b""
        return words + (b', scope="%b"' % scopes if scopes else b"") + b"\r\n"
    if status != 401:
        return b""
    return (_SESSION if reason is not Reason.CREDENTIAL_REQUIRED else b"") + _BEARER + b"\r\n"


def _takes_fields(x: Exchange) -> bool:
    match = x.resolution.match if x.resolution is not None else None
    return match is not None and match.rule.takes_fields


def _scopes(x: Exchange, rule: str) -> bytes:
    """List what the entry that came nearest asks for (RFC 6750 section 3)."""
    match = x.resolution.match if x.resolution is not None else None
    for grant in match.rule.grants if match is not None else ():
        if grant.source == rule:
            return " ".join(sorted(grant.scopes)).encode("ascii")
    return b""
