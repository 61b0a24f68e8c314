"""The gateway's own answers: HTML for people, `application/problem+json` (RFC 9457) for programs.

Says what the closed list of reasons says, with the request id; never a word of the request. A person who
must sign in first is sent there, and only a person: whoever fetches, prefetches or shows a picture would
take the sign-in page for what it asked for, so it gets 401 and the address of the sign-in (`login_url`).
"""

from __future__ import annotations

from email.utils import formatdate
from typing import Final
from urllib.parse import quote

import orjson

from gateway.edge.browser import is_framed, page_of, said, waits_for_page
from gateway.edge.challenge import challenge, is_of_program
from gateway.edge.cross_origin import sharing_of
from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.hardening import field_lines, status_line
from gateway.edge.interrupted import obstacle
from gateway.edge.pipeline import retry_after
from gateway.edge.step_up import step_up_page
from gateway.exchange.reason import ANSWERS, Reason
from gateway.inspection.upload.bound import exceeded
from gateway.wire.request import SAFE_METHODS

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_SIGN_IN: Final = {
    Reason.SIGN_IN_REQUIRED: b"/.gateway/login",
    Reason.SESSION_EXPIRED: b"/.gateway/login",
    Reason.SESSION_REVOKED: b"/.gateway/login",
    Reason.SESSION_ELSEWHERE: b"/.gateway/login",
    Reason.TOO_MANY_SESSIONS: b"/.gateway/sessions",
    Reason.DEVICE_UNCONFIRMED: b"/.gateway/device",
    Reason.MFA_REQUIRED: b"/.gateway/mfa",
    Reason.MFA_ENROLMENT_REQUIRED: b"/.gateway/enrol",
    Reason.STEP_UP_REQUIRED: b"/.gateway/mfa",
}
"""Where the person does what is missing."""
_AT_THE_PORTAL: Final = frozenset((Reason.PORTAL_SIGN_ON, Reason.PORTAL_REFUSED))
"""What is missing is missing at the portal: a page for each."""
_OURS: Final = (
    b"cache-control: no-store\r\nx-frame-options: %b\r\nreferrer-policy: same-origin\r\n"
    b"vary: accept, accept-language, cookie, sec-fetch-dest, sec-fetch-mode, sec-purpose, x-requested-with\r\n"
)


def refusal_answer(x: Exchange, refusal: Refusal, now: float) -> tuple[int, list[bytes]]:
    """Status, and the head (without Connection and the final CRLF) with the body."""
    reason = refusal.reason
    status = ANSWERS[reason].status
    if reason is Reason.HTTPS_REQUIRED:
        return _redirect(308, _https_location(x), _common(x, now))
    page = _SIGN_IN.get(reason)
    if reason is Reason.STEP_UP_REQUIRED:
        page = step_up_page(x, now)
    if reason in _AT_THE_PORTAL:
        page = b"/.gateway/sign-on/" + x.route.upstream.encode("ascii")
    is_page = waits_for_page(x.fields)
    if is_of_program(x, reason):
        page, is_page = None, False
    framed = page is not None and is_page and is_framed(x.fields)
    sign_in = b""
    if page is not None:
        reads = x.method in (b"GET", b"HEAD")
        return_to = _own_target(x) if is_page and reads and not framed else page_of(x)
        sign_in = page + (b"&" if b"?" in page else b"?") + b"return_to=" + quote(return_to, safe="/").encode("ascii")
        if is_page and reads and not framed:
            return _redirect(302, sign_in, _common(x, now))
    extra = b""
    seconds = 0
    if status in (429, 503):
        seconds = retry_after(refusal.retry_after_s)
        extra = b"retry-after: %d\r\n" % seconds
    if status == 405 and x.resolution is not None:
        extra = b"allow: %b\r\n" % ", ".join(x.resolution.methods).encode("ascii")
    if status == 426:  # RFC 9110 §15.5.22, RFC 6455 §4.4
        extra = b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n"
    if status in (400, 401, 403):
        extra = challenge(x, refusal)
    if is_page:
        s = x.snapshot
        error_page = s.error_pages.get(x.tenant, s.error_page)
        body = error_page(
            reason,
            request_id=x.request_id.decode("ascii"),
            accepted=said(x.fields, b"accept-language").decode("latin-1"),
            route=x.route.name,
            rule=refusal.rule,
            bound=_bound(x, refusal),
            retry_after=seconds,
            sign_in=sign_in.decode("ascii"),
            not_kept=(obstacle(x, reason) or "unavailable") if page and x.method not in SAFE_METHODS else None,
            framed=framed,
        )
        csp = error_page.framed_csp if framed else error_page.csp
        kind = b"text/html; charset=utf-8\r\ncontent-security-policy: " + csp
    else:
        body = problem(reason, x.request_id.decode("ascii"), refusal.rule, sign_in)
        kind = b"application/problem+json"
    head = b"%bcontent-type: %b\r\n%b%bcontent-length: %d\r\n" % (
        status_line(status),
        kind,
        _common(x, now, framed=framed),
        extra,
        len(body),
    )
    return status, [head, b"" if x.method == b"HEAD" else body]


def _bound(x: Exchange, refusal: Refusal) -> str:
    """Say what the route takes, where an upload went beyond it."""
    uploads = x.inspection.uploads if x.inspection is not None else None
    return exceeded(uploads, refusal.rule) if uploads is not None else ""


def problem(reason: Reason, request_id: str, rule: str = "", login_url: bytes = b"") -> bytes:
    """An RFC 9457 problem document.

    `login_url`: where a person signs in, and what follows then is the page that asked, never what it asked for.
    """
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
    if login_url:
        document["login_url"] = login_url.decode("ascii")
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


def _common(x: Exchange, now: float, *, framed: bool = False) -> bytes:
    """Fields that every refusal carries."""
    return b"date: %b\r\nx-request-id: %b\r\n%b%b%b" % (
        formatdate(now, usegmt=True).encode(),
        x.request_id,
        _OURS % (b"SAMEORIGIN" if framed else b"DENY"),
        x.snapshot.headers.always(secure=x.secure),
        field_lines(sharing_of(x)),  # a script that may read answers may read why there is none
    )


def _redirect(status: int, location: bytes, common: bytes) -> tuple[int, list[bytes]]:
    return status, [b"%blocation: %b\r\n%bcontent-length: 0\r\n" % (status_line(status), location, common), b""]


def _own_target(x: Exchange) -> bytes:
    return x.resolution.text if x.resolution is not None else b"/"


def _https_location(x: Exchange) -> bytes:
    authority = x.fields.authority
    assert authority is not None  # noqa: S101 - a head without a valid Host is no Exchange
    port = x.snapshot.public_port
    host = f"[{authority.host}]" if ":" in authority.host else authority.host
    origin = f"https://{host}" if port == 443 else f"https://{host}:{port}"
    return origin.encode("ascii") + (x.raw_target if x.raw_target.startswith(b"/") else b"/")
