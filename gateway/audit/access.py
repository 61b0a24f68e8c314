"""The record of one request, encoded at the price of one `%`.

Everything that a route and a session fix is encoded once into a template; the rest are holes. The
result is canonical JSON (sorted keys, integers only, no white space: RFC 8785 for this value domain)
with OCSF names (API Activity 6003, Authentication 3002), schema in docs/audit.md. This module
chooses what a record says; it does not decide when one is written.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from gateway.audit.classes import ACCOUNT_CHANGE, AUTHENTICATION, authentication, kind_of
from gateway.audit.redact import may_hold_secret, redact
from gateway.audit.subject import CERTIFICATE, CHANGED_NAME, CHANGED_UID, DEVICE, EMAIL, USER_NAME, USER_UID, Sealing
from gateway.exchange.envelope import Event
from gateway.exchange.reason import ANSWERS, Reason
from gateway.exchange.route import DELEGATED, Route
from gateway.exchange.session import Session
from gateway.exchange.step_up import Assurance, assurance_of
from gateway.exchange.stream import Stream

_SIGN_ON_ACTION: Final = {
    ("gateway.login", "POST"): "login",
    ("gateway.mfa", "POST"): "login",
    ("gateway.recovery", "POST"): "login",
    ("gateway.logout", "POST"): "logout",
}
_ASKED_AS: Final = {"email": "user.email", "provider": "session.provider", "country": "session.country"}
"""What is recorded of a person only where a condition asks, and what conditions call it: the less is known, the better."""
_CONTROL: Final = re.compile(rb"[\x80-\xff]")
LONGEST_WORD: Final = 64
_OF_NUMBERS: Final = b"0123456789 +._/%-"
"""Where a text was cut, the word and the number that may go on are not shown either."""
_CHALLENGES: Final = frozenset(
    (
        Reason.SIGN_IN_REQUIRED,
        Reason.MFA_REQUIRED,
        Reason.MFA_ENROLMENT_REQUIRED,
        Reason.STEP_UP_REQUIRED,
        Reason.DEVICE_UNCONFIRMED,
        Reason.CREDENTIAL_REQUIRED,
        Reason.PORTAL_SIGN_ON,
    )
)
_REVOKED: Final = frozenset(
    (Reason.SESSION_EXPIRED, Reason.SESSION_REVOKED, Reason.SESSION_ELSEWHERE, Reason.IDENTITY_CHANGED)
)
_ENDS: Final = {"logout": "signed out", "session.revoked": "revoked", "provider.logout": "signed out by the provider"}
"""OCSF `actor.session.expiration_reason`, by what our pages said."""
_SERVICE: Final = 4
_PERSON: Final = 1
"""OCSF `user.type_id`."""
RECORD_VERSION: Final = 2

_PHASES: Final = ("single", "intent", "opening", "closing")
_OUTCOMES: Final = ("completed", "blocked", "aborted_client", "upstream_error")
COURSES: Final = {
    phase: {outcome: b'%b","phase":"%b' % (outcome.encode(), phase.encode()) for outcome in _OUTCOMES}
    for phase in _PHASES
} | {"intent": dict.fromkeys(_OUTCOMES, b'pending","phase":"intent')}
"""Outcome and phase of a record; what is announced has no outcome yet."""
SMALL: Final = 16_384
_DIGITS: Final = tuple(b"%d" % n for n in range(SMALL))
_PORTS: Final = tuple(b"%d" % n for n in range(65_536))
MAX_USER_AGENT_BYTES: Final = 256
MAX_PATH_BYTES: Final = 2048


class Node(NamedTuple):
    """The gateway node that observes."""

    hostname: str
    boot_uid: str
    version: str


class Place(NamedTuple):
    """Where a request came in and what it met: the parts of a record that repeat."""

    host: str
    tenant: str
    """About which the request was, by its host or its route; empty when neither says one."""
    secure: bool
    tls: str
    """`TLSv1.3 TLS_AES_256_GCM_SHA384`; empty over plain HTTP."""
    policy_version: str
    certificate: str = ""
    """SHA-256 of the client's certificate, hexadecimal; empty without one."""
    candidate_version: str = ""
    """Of the policy that is tried beside it; empty without one."""
    via: str = ""
    """`forward_auth` when another proxy asked about the request; nothing is known of its connection then."""
    is_https: bool = True
    """What the client used, as far as trusted proxies say: what conditions and sessions see."""
    port: int = 0
    """As the client named it; 0 = that of its scheme."""
    sni: str = ""
    """Host that the client asked for in the TLS handshake; empty without one."""


def readable(value: bytes, limit: int) -> tuple[str, int]:
    """Return bytes of a request as text, and how many secrets were taken out of it.

    Not more than `limit` bytes are shown, those outside ASCII percent-encoded. Total: every byte string has a
    text, so that an exotic byte never suppresses a record.
    """
    shown = value
    if len(value) > limit:
        # attack: a secret that is cut in two is none that anybody would recognise
        beginning = value[:limit]
        shown = beginning[: max(beginning.rfind(b" "), limit - LONGEST_WORD)].rstrip(_OF_NUMBERS)
    if not shown.isascii():
        shown = _CONTROL.sub(lambda found: b"%%%02X" % found[0][0], shown)
    text = shown.decode("ascii")
    return redact(text) if may_hold_secret(shown) else (text, 0)


def encode_text(value: bytes, limit: int) -> bytes:
    """Return the `readable` text of bytes as a JSON string."""
    return orjson.dumps(readable(value, limit)[0])


def remark(
    payload: bytes, *, redactions: int = 0, size: int = 0, more: Mapping[str, Any] | None = None, ended: str = ""
) -> bytes:
    """Return a record that says what is rarely to be said of one: secrets were taken out, text was cut, the portal told more.

    `size` is how many bytes the record would have had; 0 = nothing was cut. `more` are members of `unmapped.gw`,
    `ended` says why the session is over.
    """
    record = orjson.loads(payload)
    gw = record["unmapped"]["gw"]
    gw["redactions"] += redactions
    if more:
        gw |= more
    if size:
        record["metadata"] |= {"is_truncated": True, "untruncated_size": size}
    if ended and "actor" in record:
        record["actor"]["session"]["expiration_reason"] = ended
    return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)


def disposition_of(reason: Reason) -> int:
    """Tell OCSF's `disposition_id` of a refusal."""
    if reason in _CHALLENGES:
        return 23  # Challenge
    if reason in _REVOKED:
        return 24  # Access Revoked
    status = ANSWERS[reason].status
    if status >= 500:
        return 27  # Error
    return 2 if status in {401, 403, 429} else 25  # Blocked, or Rejected: not a request that could be let in


class Blemish(NamedTuple):
    """What a record has to say about its own text."""

    redactions: int = 0
    """Secrets that were taken out."""
    cut: int = 0
    """Bytes that are not shown."""


class Subject(NamedTuple):
    """Somebody who is named by an event before there is a session: a person who signs in."""

    user_id: str
    user: str
    tenant: str


def template(
    route: Route,
    method: str,
    who: Session | Subject | None,
    place: Place,
    node: Node,
    *,
    stream: Stream,
    asked: Collection[str] = (),
    sealing: Sealing | None = None,
    events: Sequence[Event] = (),
    allowed: bool = True,
    reason: Reason = Reason.ALLOWED,
    rule: bytes = b'""',
    status: int = 200,
    version: bytes = b"1.1",
) -> bytes:
    """Build the template of all records of one route and method for one person, decision and status; fill it with `fill`.

    `rule` is JSON already, `version` that of HTTP.

    `asked` names what the conditions of the policy ask about: some of it is recorded only where one asks for it.
    What names the person is sealed by `sealing`, once for all records of the template; without one it stands in clear.
    """
    session = who if isinstance(who, Session) else None
    action = route.action_of(method)
    class_uid, activity = kind_of(route, method, events)
    tenant = who.tenant if who is not None else place.tenant
    actor = b""
    inputs: dict[str, object] = {"host": place.host, "secure": place.is_https, "tenant": tenant}
    looked_at = (*route.credentials, "certificate") if route.client_certificate else route.credentials
    if not route.public and looked_at != ("session",):  # whom nobody asked for a session may have had one
        inputs["credentials"] = list(looked_at)
    if place.tenant:
        inputs["request_tenant"] = place.tenant
    if route.tenant is not None and route.tenant.by == "header":
        inputs["tenant_field"] = route.tenant.value
    if place.certificate:
        inputs["certificate"] = _named(sealing, CERTIFICATE, place.certificate)
    if isinstance(who, Subject):
        actor = b'"actor":' + _baked({"user": _user(who.user_id, who.user, sealing)}) + b","
    if session is not None:
        actor = b'"actor":' + _baked(_actor(session, events, sealing)) + b","
        inputs |= _of_session(session, asked, sealing)
    tls = b""
    candidate = b',"candidate":' + _baked(place.candidate_version) if place.candidate_version else b""
    via = b',"via":' + _baked(place.via) if place.via else b""
    if place.secure and not via:
        tls_version, _, cipher = place.tls.partition(" ")
        said = {"cipher": cipher, "version": tls_version}
        tls = b'"tls":' + _baked({**said, "sni": place.sni} if place.sni else said) + b","
    method_text = _baked(method)[1:-1]
    code = b"%d" % status
    before = after = user = b""
    if class_uid == AUTHENTICATION:
        how = authentication(route, events)
        before = _members({name: value for name, value in how.items() if name.startswith("auth")})
        after = _members({name: value for name, value in how.items() if not name.startswith("auth")})
    if class_uid in {AUTHENTICATION, ACCOUNT_CHANGE} and who is not None:
        user = b',"user":' + _baked(_user(who.user_id, who.user, sealing, CHANGED_UID, CHANGED_NAME))
    return b"".join(
        (
            b'{"action_id":', b"1" if allowed else b"2", b',"activity_id":', str(activity).encode(), b",", actor,
            b'"api":{"operation":"', method_text, b" ", _baked(route.template)[1:], b',"service":{"name":', _baked(_service(route)), b"}},", before,
            b'"category_uid":', str(class_uid // 1000).encode(), b',"class_uid":', str(class_uid).encode(),
            b',"device":{"hostname":', _baked(node.hostname), b',"uid":', _baked(node.hostname), b'},"disposition_id":', b"1" if allowed else str(disposition_of(reason)).encode(), b",",
            b'"dst_endpoint":{"hostname":', _baked(place.host), b',"port":', str(place.port or (443 if place.is_https else 80)).encode(), b',"svc_name":', _baked(route.upstream), b"},",
            b'"http_request":{"body_length":%b,"http_method":"', method_text, b'","uid":"%b","url":{"path":%b},"user_agent":%b,"version":"', version.replace(b"%", b"%%"), b'"},',
            b'"http_response":{"code":', code, b',%b"latency":%b,"length":%b},', after,
            b'"metadata":{"correlation_uid":"%b","log_name":"', stream.value.encode(), b'","log_version":', str(RECORD_VERSION).encode(), b',"product":', _baked({"name": "gateway", "vendor_name": "gateway", "version": node.version}),
            b',"profiles":["host","security_control","trace"],"sequence":%b,"tenant_uid":', _baked(tenant), b',"uid":"%b","version":"1.8.0"},',
            b'"policy":{"uid":', rule.replace(b"%", b"%%"), b',"version":', _baked(place.policy_version), b"},%b",
            b'"severity_id":', b"1" if allowed else b"3", b',"src_endpoint":{%b,"port":%b', _device(session, sealing), b"},",
            b'"status_code":"', code, b'","status_detail":"', reason.value.encode(), b'","status_id":', b"1" if status < 400 else b"2", b',"time":%b,', tls,
            b'"trace":{"span":{"uid":"%b"},"uid":"%b"},"type_uid":', str(class_uid * 100 + activity).encode(),
            b',"unmapped":{"gw":{"action":', _baked(_SIGN_ON_ACTION.get((route.name, method), action.value)), _assurance(session, route),
            b',"boot_uid":', _baked(node.boot_uid), _emergency(session), candidate, _said("classification", route.classification),
            b',"decision_inputs":', _baked(inputs), b",%b", _said("legal_basis", route.legal_basis)[1:], b"," if route.legal_basis else b"",
            b'"mono_ns":%b,"outcome":"%b"', _said("purpose", route.purpose),
            b',"reason":"', reason.value.encode(), b'","redactions":0,"route":', _baked(route.name), b"%b", via, b"}}", user, b"}",
        ),
    )  # fmt: skip


def _service(route: Route) -> str:
    """Name what was asked; the console and its pages are the administration, wherever they are reached."""
    return "gateway.admin" if route.name == "gateway.admin" else route.upstream


def _said(name: str, value: str | None) -> bytes:
    """Write a member after a comma, or nothing."""
    return b',"%b":%b' % (name.encode("ascii"), _baked(value)) if value else b""


def _members(members: Mapping[str, object]) -> bytes:
    """Write members before a comma, in order."""
    return _baked(members)[1:-1] + b"," if members else b""


def _device(session: Session | None, sealing: Sealing | None) -> bytes:
    """The browser that a session is bound to: the digest of its device cookie.

    Attack: it outlives an erasure, and says who somebody was once they sign in again.
    """
    return (
        b',"uid":' + _baked(_named(sealing, DEVICE, session.device)) if session is not None and session.device else b""
    )


def _assurance(session: Session | None, route: Route) -> bytes:
    """How sure the session is of its person, and whether the route asked for more than being signed in."""
    if session is None:
        return b""
    rung = assurance_of(session)
    requirement = route.requirement
    return b',"auth":' + _baked(
        {
            "aal": 1 if rung is Assurance.AAL1 else 2,
            "acr": session.acr or rung.value,
            "auth_time": int(session.auth_time),
            "step_up": requirement is not None and requirement.asks_proof,
        }
    )


def _emergency(session: Session | None) -> bytes:
    """Say that the session is that of an account which was opened for an emergency, and when it ends."""
    if session is None or not session.until:
        return b""
    return b',"break_glass":{"until":%d}' % int(session.until * 1000)


def _actor(session: Session, events: Sequence[Event], sealing: Sealing | None) -> dict[str, object]:
    """Who asks: by their session, by whom it was vouched for, and what it is to the gateway."""
    own: dict[str, object] = {
        "created_time": int(session.created * 1000),
        "is_mfa": session.mfa_time > 0,
        "issuer": session.provider if session.credential == "bearer" else "gateway",
        "uid": session.handle,
    }
    ended = next((_ENDS[event.name] for event in events if event.name in _ENDS), "")
    if ended:
        own["expiration_reason"] = ended
    user = _user(session.user_id, session.user, sealing)
    if session.credential in DELEGATED:
        user["type_id"] = _SERVICE
    return {"idp": {"name": session.provider}, "session": own, "user": user}


def _user(
    user_id: str, name: str, sealing: Sealing | None, uid_field: str = USER_UID, name_field: str = USER_NAME
) -> dict[str, object]:
    return {"name": _named(sealing, name_field, name), "type_id": _PERSON, "uid": _named(sealing, uid_field, user_id)}


def _named(sealing: Sealing | None, field: str, text: str) -> object:
    return text if sealing is None or not text else sealing.value(field, text)


def _of_session(session: Session, asked: Collection[str], sealing: Sealing | None) -> dict[str, object]:
    """What policy decided from: enough to decide again, and nothing that proves who it was."""
    found: dict[str, object] = {
        "amr": list(session.amr),
        "auth_time": int(session.auth_time),
        "mfa_time": int(session.mfa_time),
        "roles": list(session.roles),
    }
    if session.owes:
        found["owes"] = session.owes.value
        if session.owes_next:
            found["owes_next"] = session.owes_next.value
    if session.known_device:
        found["known_device"] = True
    own = (
        ("email", _named(sealing, EMAIL, session.email)),
        ("provider", session.provider),
        ("country", session.country),
    )
    found |= {name: value for name, value in own if _ASKED_AS[name] in asked}
    if session.credential != "cookie":  # what proved it, by its name, never itself
        found["credential"] = session.credential
    if session.credential in DELEGATED:
        found["scopes"] = list(session.scopes)
        if session.credential == "bearer":
            found["credential_id"], found["issuer"] = session.provider_session, session.provider
    return found


def _baked(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).replace(b"%", b"%%")


def fill(  # noqa: PLR0917 - naming so many arguments would cost more than the formatting
    baked: bytes,
    body_length: int,
    request_id: bytes,
    path: bytes,
    user_agent: bytes,
    content_type: bytes,
    latency_ms: int,
    length: int,
    sequence: int,
    uid: bytes,
    resources: bytes,
    client: bytes,
    client_port: int,
    time_ms: int,
    span: bytes,
    trace: bytes,
    events: bytes,
    mono_ns: int,
    course: bytes,
    shadow: bytes = b"",
) -> bytes:
    """Build one record. `path` and `user_agent` are JSON already, the latter sealed perhaps.

    `client` is `"ip":…`, `content_type` is `"content_type":…,` or nothing, `resources` the same, `events` is
    `"events":[…],`, `course` is one of `COURSES`, `shadow` is `,"shadow":{…}`, or nothing; so may `,"sent":{…}` be before it.
    """
    # Formatting an integer into bytes costs as much as five pieces of bytes: small ones come from a table.
    digits = _DIGITS
    return baked % (
        digits[body_length] if body_length < SMALL else b"%d" % body_length, request_id, path, user_agent,
        content_type, digits[latency_ms] if latency_ms < SMALL else b"%d" % latency_ms, digits[length] if length < SMALL else b"%d" % length,
        request_id, str(sequence).encode("ascii"), uid,
        resources, client, _PORTS[client_port],
        str(time_ms).encode("ascii"), span, trace,
        events, str(mono_ns).encode("ascii"), course, shadow,
    )  # fmt: skip
