"""What pages of other origins make browsers send here: preflights, forged requests, and forms of which nobody says whose they are.

The pure rules are `inspection.cors`, `inspection.origin` and `inspection.form_token`; here stands what they are told about one
request, and what follows. A preflight is answered by the gateway wherever it grants anything, and never reaches the portal.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gateway.edge.browser import origin_of, said
from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.resolve import Resolution
from gateway.edge.snapshot import BrowserRules, RouteInspection
from gateway.exchange.reason import Reason
from gateway.exchange.route import DELEGATED
from gateway.inspection.cors import Field, Refused, answer_fields, preflight
from gateway.inspection.form_token import FormTokenError, find_in_parts, take_from_form, verify_token
from gateway.inspection.origin import OriginRules, Said, Sender, is_forgeable, sender_of
from gateway.inspection.web_origin import read_origin
from gateway.wire.authority import Authority

PREFLIGHT: Final = "preflight"
"""The internal page that only a preflight leads to."""
FORGED_EVENT: Final = "request.forged"
_ASKED_METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE"))
_URLENCODED: Final = b"application/x-www-form-urlencoded"
_MULTIPART: Final = b"multipart/form-data"
_FORMS: Final = (_URLENCODED, _MULTIPART, b"text/plain")
"""What a form can be sent as (WHATWG HTML §4.10.21.6); the last one cannot bring a field that anybody could read."""
_FORGED: Final = Refusal("inspection", Reason.CROSS_ORIGIN)
_TOKENLESS: Final = Refusal("inspection", Reason.FORM_TOKEN_MISSING)


def browser_rules(x: Exchange) -> BrowserRules | None:
    """Return what holds for browsers on the request's route; None = nothing does."""
    return x.inspection.browser if x.inspection is not None else None


# preflights


def preflight_of(x: Exchange, authority: Authority) -> Resolution | None:
    """Return where a preflight leads that the gateway answers; None for everything else.

    The method that it asks for picks the route, as it will when the request itself comes (Fetch §4.8).
    """
    asked_method = said(x.fields, b"access-control-request-method")
    if asked_method not in _ASKED_METHODS or x.peer.via:  # another proxy that asks would let it through to the portal
        return None
    asked = x.snapshot.resolver.resolve(authority, x.raw_target, asked_method)
    inspection = x.snapshot.inspections.get(asked.route.name)
    if asked.match is None or inspection is None or inspection.browser is None or inspection.browser.sharing is None:
        return None
    return replace(asked, match=None, internal=PREFLIGHT)


def granted(x: Exchange) -> tuple[Field, ...] | Refusal:
    """Return the fields that answer a preflight, or its refusal."""
    rules = browser_rules(x)
    assert rules is not None  # noqa: S101 - its route was chosen by them
    assert rules.sharing is not None  # noqa: S101
    found = preflight(
        rules.sharing,
        origin=x.fields.origin,
        method=said(x.fields, b"access-control-request-method"),
        names=said(x.fields, b"access-control-request-headers"),
    )
    is_refused = isinstance(found, Refused)
    x.client.metrics.preflights.inc((x.route.name, "refused" if is_refused else "granted"))
    if isinstance(found, Refused):
        x.noticed["cors"] = {"outcome": "refused", "because": found.value, **_asker(x)}
        return Refusal("inspection", Reason.CORS_REFUSED)
    return found


def sharing_of(x: Exchange) -> tuple[Field, ...]:
    """Return the fields about sharing that stand on an answer of the route; none where the portal writes them."""
    rules = browser_rules(x)
    return answer_fields(rules.sharing, x.fields.origin) if rules is not None and rules.sharing is not None else ()


# forged requests


def judge_sender(x: Exchange) -> Refusal | None:
    """Refuse a request that changes something and that a page of another site made a browser send."""
    rules = browser_rules(x)
    senders = rules.senders if rules is not None else None
    if senders is None or not senders.is_subject(x.method) or not _has_authority(x):
        return None
    sender = _sender(x, senders)
    if sender is Sender.UNSAID and _owes_token(x, senders):
        may_bring = not x.body_done and (_is_form(x, _URLENCODED) or _is_form(x, _MULTIPART))
        return None if may_bring else _object(x, senders, "tokenless", _TOKENLESS)  # a body is held, and speaks for it
    if sender is Sender.UNSAID and senders.missing == "allow":
        return None
    if sender in {Sender.OWN, Sender.TRUSTED}:
        return None
    return _object(x, senders, sender.value, _FORGED)


def _sender(x: Exchange, rules: OriginRules) -> Sender:
    fields = x.fields
    told = Said(site=said(fields, b"sec-fetch-site"), origin=fields.origin, referer=said(fields, b"referer"))
    return sender_of(told, rules, origin_of(x))


def _has_authority(x: Exchange) -> bool:
    """Tell whether the request has somebody's authority that a browser sends along by itself."""
    fields, entry = x.fields, x.entry
    if entry is not None and entry.session.credential in DELEGATED:
        return False
    return is_forgeable(
        cookies=bool(fields.own_cookies) or b"\r\ncookie: " in b"\r\n" + fields.forward,
        certificate=entry is not None and entry is x.peer.entry,
        authorization=fields.authorization if x.route.authorization == "portal" else b"",
    )


def _object(x: Exchange, rules: OriginRules, why: str, refusal: Refusal) -> Refusal | None:
    """Record an objection, and follow it where the operator wants it to be followed."""
    outcome = "blocked" if rules.mode == "block" else "detected"
    if x.client.exchange is x:  # else it is judged once more, for a candidate policy or a stream that is open
        x.client.metrics.forged.inc((x.route.name, why, outcome))
    x.noticed["csrf"] = {"outcome": outcome, "sender": why, **_asker(x)}
    if FORGED_EVENT not in x.detections:
        x.detections.append(FORGED_EVENT)
    return refusal if rules.mode == "block" else None


def _asker(x: Exchange) -> dict[str, str]:
    """Name the origin that asked, for whoever may want to trust it: a scheme and a host, or nothing."""
    origin = read_origin(x.fields.origin)
    return {"origin": origin.decode("ascii")} if origin is not None else {}


# tokens of forms


def reads_forms(x: Exchange, rules: RouteInspection) -> bool:
    """Tell whether the body must be here whole for its token: to take it out of a form, or to find it at all."""
    browser = rules.browser
    senders = browser.senders if browser is not None else None
    if senders is None or not senders.token or not senders.is_subject(x.method) or _handle(x) == "":
        return False
    return _is_form(x, _URLENCODED) or (_is_form(x, _MULTIPART) and _sender(x, senders) is Sender.UNSAID)


def is_strict_about_forms(rules: RouteInspection) -> bool:
    """Tell whether a form that is too large to be read must not pass."""
    browser = rules.browser
    return browser is not None and browser.senders is not None and browser.senders.mode == "block"


def judge_form(x: Exchange, body: bytes) -> Refusal | bytes | None:
    """Take the token out of a form; refuse one that must bring it and does not."""
    rules = browser_rules(x)
    assert rules is not None  # noqa: S101 - it is held because of them
    senders = rules.senders
    assert senders is not None  # noqa: S101
    token, rest = take_from_form(body) if _is_form(x, _URLENCODED) else (find_in_parts(body), body)
    if _has_authority(x) and _sender(x, senders) is Sender.UNSAID:
        try:
            verify_token(rules.form_key, _handle(x), token, x.started)
        except FormTokenError:
            refusal = _object(x, senders, "tokenless", _TOKENLESS)
            if refusal is not None:
                return refusal
    return rest if len(rest) < len(body) else None


def _owes_token(x: Exchange, rules: OriginRules) -> bool:
    """Tell whether the body must speak for its sender: a form of any encoding, of a session whose pages have tokens."""
    return rules.token and _handle(x) != "" and any(_is_form(x, kind) for kind in _FORMS)


def _is_form(x: Exchange, kind: bytes) -> bool:
    return said(x.fields, b"content-type").lower().startswith(kind)


def _handle(x: Exchange) -> str:
    """Return the session that tokens are bound to; empty where there is none."""
    entry = x.entry
    return entry.session.handle if entry is not None and entry.session.credential == "cookie" else ""
