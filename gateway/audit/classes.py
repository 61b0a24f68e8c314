"""Which OCSF class and activity the record of a request has.

API Activity (6003) for routes that ask for somebody, HTTP Activity (4002) for what is open to everybody or leads nowhere,
Authentication (3002) and Account Change (3001) where our own pages did that. What is said in words (`action`) and why
something is recorded is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from gateway.exchange.envelope import Event
from gateway.exchange.route import OWN_PAGES, Action, Route

ACCOUNT_CHANGE: Final = 3001
AUTHENTICATION: Final = 3002
HTTP_ACTIVITY: Final = 4002
API_ACTIVITY: Final = 6003
OTHER: Final = 99

_API: Final = {
    Action.CREATE: 1,
    Action.VIEW: 2,
    Action.DOWNLOAD: 2,
    Action.EXPORT: 2,
    Action.EDIT: 3,
    Action.SHARE: 3,
    Action.ADMIN: 3,
    Action.DELETE: 4,
}
_HTTP: Final = {
    "CONNECT": 1, "DELETE": 2, "GET": 3, "HEAD": 4, "OPTIONS": 5, "POST": 6, "PUT": 7, "TRACE": 8, "PATCH": 9,
}  # fmt: skip
_SIGN_ON: Final = {
    "gateway.login": 1,
    "gateway.mfa": 6,
    "gateway.device": 6,
    "gateway.recovery": 6,
    "gateway.oidc": 1,
    "gateway.logout": 2,
}
"""Pages of ours where people sign in and out; 6 is Preauth: one factor of several."""
_EVENTS: Final = {
    "logout": (AUTHENTICATION, 2),
    "provider.logout": (AUTHENTICATION, 2),
    "session.revoked": (AUTHENTICATION, 2),
    "login.succeeded": (AUTHENTICATION, 1),
    "login.failed": (AUTHENTICATION, 1),
    "login.locked": (AUTHENTICATION, 1),
    "login.looped": (AUTHENTICATION, 1),
    "session.created": (AUTHENTICATION, 1),
    "factor.verified": (AUTHENTICATION, 6),
    "factor.failed": (AUTHENTICATION, 6),
    "recovery.used": (AUTHENTICATION, 6),
    "session.bound_elsewhere": (AUTHENTICATION, OTHER),
    "password.changed": (ACCOUNT_CHANGE, 3),
    "password.reset": (ACCOUNT_CHANGE, 4),
    "password.reset_requested": (ACCOUNT_CHANGE, 4),
    "password.reset_proven": (ACCOUNT_CHANGE, 4),
    "password.reset_failed": (ACCOUNT_CHANGE, 4),
    "user.enabled": (ACCOUNT_CHANGE, 2),
    "user.disabled": (ACCOUNT_CHANGE, 5),
    "factor.enrolled": (ACCOUNT_CHANGE, 10),
    "factor.removed": (ACCOUNT_CHANGE, 11),
    "factor.renamed": (ACCOUNT_CHANGE, OTHER),
    "recovery.replaced": (ACCOUNT_CHANGE, OTHER),
    "portal.account_told": (ACCOUNT_CHANGE, OTHER),
    "portal.account_forgotten": (ACCOUNT_CHANGE, OTHER),
}
"""Class and activity by what our pages said; the first that is known decides."""
_FACTORS: Final = {"totp": 7, "webauthn": 10, "email": 8, "recovery": OTHER}
"""OCSF `auth_factors[].factor_type_id`: OTP, WebAuthn, Email."""
_METHODS: Final = {"pwd": 11, "otp": 7, "hwk": 10, "swk": 10}
"""The same by the names of RFC 8176; 11 is a password."""
OPENID: Final = 4
"""OCSF `auth_protocol_id`."""
NETWORK_LOGON: Final = 3
"""OCSF `logon_type_id`: by a network, as all are here."""


class Kind(NamedTuple):
    """What a record is called."""

    class_uid: int
    activity: int


def kind_of(route: Route, method: str, events: Sequence[Event]) -> Kind:
    """Tell class and activity of the record of a request."""
    is_own = route.template.startswith(OWN_PAGES)
    if is_own and route.name in _SIGN_ON and (method == "POST" or events):
        return Kind(AUTHENTICATION, _SIGN_ON[route.name])
    for event in events:
        if event.name in _EVENTS:
            return Kind(*_EVENTS[event.name])
    if route.public and not (is_own and (events or method not in {"GET", "HEAD", "OPTIONS"})):
        return Kind(HTTP_ACTIVITY, _HTTP.get(method, OTHER))
    return Kind(API_ACTIVITY, _API[route.action_of(method)])


def authentication(route: Route, events: Sequence[Event]) -> dict[str, Any]:
    """Return the members that a record of Authentication has beside those of every record: how, and whether it is new."""
    found: dict[str, Any] = {"logon_type_id": NETWORK_LOGON}
    factors = {_FACTORS[event.factor] for event in events if event.factor in _FACTORS}
    for event in events:
        factors |= {_METHODS[word] for word in event.amr if word in _METHODS}
    if not factors and route.name == "gateway.login":
        factors.add(_METHODS["pwd"])
    if factors:
        found["auth_factors"] = [{"factor_type_id": factor} for factor in sorted(factors)]
    if route.name == "gateway.oidc":
        found |= {"auth_protocol": "OpenID Connect", "auth_protocol_id": OPENID}
    else:
        found |= {"auth_protocol": "form", "auth_protocol_id": OTHER}
    found["is_mfa"] = any("mfa" in event.amr or event.name == "factor.verified" for event in events)
    found["is_new_logon"] = any(event.name == "session.created" for event in events)
    return found
