"""The gateway's own answers: HTML for people, `application/problem+json` (RFC 9457) for programs.

Says what the closed list of reasons says, with the request id; never a word of the request.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import Final
from urllib.parse import quote

import orjson

from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.hardening import status_line
from gateway.edge.pipeline import retry_after
from gateway.exchange.reason import ANSWERS, Reason

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_TO_LOGIN: Final = frozenset((Reason.SIGN_IN_REQUIRED, Reason.SESSION_EXPIRED, Reason.SESSION_REVOKED))
_TO_MFA: Final = {Reason.MFA_REQUIRED: b"/.gateway/mfa", Reason.MFA_ENROLMENT_REQUIRED: b"/.gateway/enrol"}
_SIGN_IN: Final = _TO_LOGIN | _TO_MFA.keys()
_OURS: Final = b"cache-control: no-store\r\nx-frame-options: DENY\r\nreferrer-policy: same-origin\r\nvary: accept, sec-fetch-mode\r\n"


def refusal_answer(x: Exchange, refusal: Refusal, now: float) -> tuple[int, list[bytes]]:
    """Status, and the head (without Connection and the final CRLF) with the body."""
    reason = refusal.reason
    status = ANSWERS[reason].status
    s = x.snapshot
    common = b"date: %b\r\nx-request-id: %b\r\n%b%b" % (
        formatdate(now, usegmt=True).encode(),
        x.request_id,
        _OURS,
        s.headers.always(secure=x.secure),
    )
    if reason is Reason.HTTPS_REQUIRED:
        return _redirect(308, _https_location(x), common)
    navigates = x.fields.navigates
    if navigates and x.method in (b"GET", b"HEAD"):
        if reason in _TO_LOGIN:
            return _redirect(302, b"/.gateway/login?return_to=" + _return_to(x), common)
        if reason in _TO_MFA:
            return _redirect(302, _TO_MFA[reason] + b"?return_to=" + _return_to(x), common)
    extra = b""
    seconds = 0
    if status in (429, 503):
        seconds = retry_after(refusal.retry_after_s)
        extra = b"retry-after: %d\r\n" % seconds
    if status == 405 and x.resolution is not None:
        extra = b"allow: %b\r\n" % ", ".join(x.resolution.methods).encode("ascii")
    if status == 426:  # RFC 9110 §15.5.22, RFC 6455 §4.4
        extra = b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    if status == 401:
        extra = b'www-authenticate: Session realm="gateway"\r\n'
    if navigates:
        body = s.error_page(
            reason,
            request_id=x.request_id.decode("ascii"),
            detail=f"The rule of “{x.route.name}” says so ({refusal.rule})." if refusal.rule else "",
            retry_after=seconds,
            sign_in=reason in _SIGN_IN,
        )
        kind = b"text/html; charset=utf-8\r\ncontent-security-policy: " + s.error_page_csp
    else:
        body = problem(reason, x.request_id.decode("ascii"), refusal.rule)
        kind = b"application/problem+json"
    head = b"%bcontent-type: %b\r\n%b%bcontent-length: %d\r\n" % (status_line(status), kind, common, extra, len(body))
    return status, [head, b"" if x.method == b"HEAD" else body]


def problem(reason: Reason, request_id: str, rule: str = "") -> bytes:
    """An RFC 9457 problem document."""
    answer = ANSWERS[reason]
    document = {
        "type": "about:blank",
        "title": answer.title,
        "status": answer.status,
        "detail": answer.sentence,
        "reason": reason.value,
        "request_id": request_id,
    }
    if rule:
        document["rule"] = rule
    return orjson.dumps(document)


def plain_answer(x: Exchange, status: int, kind: bytes, body: bytes, *, now: float, extra: bytes = b"") -> list[bytes]:
    """A small fixed answer: the key set, a report taken."""
    head = b"%bdate: %b\r\nx-request-id: %b\r\n%b%b" % (
        status_line(status),
        formatdate(now, usegmt=True).encode(),
        x.request_id,
        x.snapshot.headers.always(secure=x.secure),
        extra,
    )
    if status != 204:
        head += b"content-type: %b\r\ncontent-length: %d\r\n" % (kind, len(body))
    return [head, b"" if x.method == b"HEAD" else body]


def _redirect(status: int, location: bytes, common: bytes) -> tuple[int, list[bytes]]:
    return status, [b"%blocation: %b\r\n%bcontent-length: 0\r\n" % (status_line(status), location, common), b""]


def _return_to(x: Exchange) -> bytes:
    text = x.resolution.text if x.resolution is not None else b"/"
    return quote(text, safe="/").encode("ascii")


def _https_location(x: Exchange) -> bytes:
    authority = x.fields.authority
    assert authority is not None  # noqa: S101 - a head without a valid Host is no Exchange
    port = x.snapshot.public_port
    host = f"[{authority.host}]" if ":" in authority.host else authority.host
    origin = f"https://{host}" if port == 443 else f"https://{host}:{port}"
    return origin.encode("ascii") + (x.raw_target if x.raw_target.startswith(b"/") else b"/")
