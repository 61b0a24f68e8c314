"""Whether a form that came without a sufficient session is handed to our pages, which keep it until after the sign-in.

Only a form of this origin's own that a person sent by hand: what another site made a browser send is
never kept, else signing in would send it (CSRF). What is kept, and for whom, is the pages' to decide.
"""

from __future__ import annotations

from typing import Final

from gateway.edge.browser import origin_of, said, waits_for_page
from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.limits import LimitTable
from gateway.edge.resolve import Resolution
from gateway.edge.step_up import step_up_page
from gateway.exchange.envelope import Interrupted, NotKept
from gateway.exchange.reason import Reason
from gateway.wire.address import limiter_key

KEEP: Final = "keep"
"""The internal page that only `interrupt` leads to: asked for by a client it does not exist."""
_TARGET: Final = b"/.gateway/keep"
_REASONS: Final = frozenset(
    (
        Reason.SIGN_IN_REQUIRED,
        Reason.SESSION_EXPIRED,
        Reason.SESSION_ELSEWHERE,
        Reason.PORTAL_SIGN_ON,
        Reason.MFA_REQUIRED,
        Reason.DEVICE_UNCONFIRMED,
        Reason.STEP_UP_REQUIRED,
    )
)
_FORMS: Final = (b"application/x-www-form-urlencoded", b"multipart/form-data")


def interrupt(x: Exchange, refusal: Refusal, limits: LimitTable) -> bool:
    """Turn a refused exchange into one that our pages answer, with its body; False where that must not be.

    The record says what was refused: route, path, reason. Only the way it is answered changes.
    """
    if x.method != b"POST" or obstacle(x, refusal.reason):
        return False
    bucket = x.snapshot.form_limit
    if limits.take(bucket, limiter_key(x.client_ip), x.started):  # attack: a flood of forms that fills the store
        return False
    x.stage, x.reason, x.rule, x.allowed = refusal.stage, refusal.reason, refusal.rule, False
    x.outcome = "blocked"
    asked = x.resolution
    assert asked is not None  # noqa: S101 - refused after routing
    x.resolution = Resolution(asked.target, asked.route, None, None, KEEP, _TARGET, asked.path_json, asked.resources)
    return True


def obstacle(x: Exchange, reason: Reason) -> NotKept | None:
    """Say why the body of a refused request cannot be kept; None when it can."""
    fields = x.fields
    if reason not in _REASONS or x.resolution is None or x.resolution.target is None or not _is_own_form(x):
        return "no_form"
    if not said(fields, b"content-type").lower().startswith(_FORMS) or said(fields, b"content-encoding"):
        return "unreadable"
    if fields.length is None:
        return "unreadable"  # no browser sends a form in chunks
    largest = x.snapshot.wire.kept_form
    # What the route would refuse after the sign-in is not kept for it.
    return "too_large" if fields.length > min(largest, x.route.max_body_bytes or largest) else None


def _is_own_form(x: Exchange) -> bool:
    """Tell whether a page of this origin, and no script, sent the request, for an answer in a window of its own."""
    fields = x.fields
    if not x.snapshot.wire.kept_form or not fields.length or not waits_for_page(fields):
        return False
    if x.peer.via:  # another proxy asks about it, and has the body
        return False
    origin, ours = fields.origin, origin_of(x)
    site = said(fields, b"sec-fetch-site")
    if site or x.secure:  # every browser of today says it over TLS; without TLS it may not
        return (
            site == b"same-origin"
            and said(fields, b"sec-fetch-mode") == b"navigate"
            and said(fields, b"sec-fetch-dest") == b"document"
            and origin in (b"", b"null", ours)  # a page may hide its origin, not change it
        )
    return origin == ours


def interrupted(x: Exchange, page: bytes) -> Interrupted:
    """Say for the envelope what was interrupted; `page` is where it was sent from."""
    assert x.resolution is not None  # noqa: S101 - as `interrupt` left it
    assert x.resolution.target is not None  # noqa: S101
    return Interrupted(
        target=x.resolution.target.text.decode("ascii"),
        return_to=page.decode("latin-1"),
        reason=x.reason.value,
        upstream=x.route.upstream,
        step_up=step_up_page(x, x.started).decode("ascii") if x.reason is Reason.STEP_UP_REQUIRED else "",
    )
