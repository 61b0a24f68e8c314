"""The record of one request, encoded at the price of one `%`.

Everything that a route and a session fix is encoded once into a template; the rest are holes. The
result is canonical JSON (sorted keys, integers only, no white space: RFC 8785 for this value domain)
with OCSF names (API Activity 6003, Authentication 3002), schema in docs/audit.md. This module
chooses what a record says; it does not decide when one is written.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NamedTuple

import orjson

from gateway.exchange.route import DELEGATED, Action, Route
from gateway.exchange.session import Session
from gateway.exchange.stream import Stream

_ACTIVITY: Final = {  # OCSF 6003 activity_id
    Action.CREATE: 1,
    Action.VIEW: 2,
    Action.DOWNLOAD: 2,
    Action.EXPORT: 2,
    Action.EDIT: 3,
    Action.SHARE: 3,
    Action.ADMIN: 3,
    Action.DELETE: 4,
}
_API_ACTIVITY: Final = 6003
_AUTHENTICATION: Final = 3002
_SIGN_ON_ACTION: Final = {
    ("gateway.login", "POST"): "login",
    ("gateway.mfa", "POST"): "login",
    ("gateway.recovery", "POST"): "login",
    ("gateway.logout", "POST"): "logout",
}
_SIGN_ON: Final = {"gateway.login": 1, "gateway.mfa": 6, "gateway.recovery": 6, "gateway.logout": 2}
_ASKED_AS: Final = {"email": "user.email", "provider": "session.provider", "country": "session.country"}
"""What is recorded of a person only where a condition asks, and what conditions call it: the less is known, the better."""
_CONTROL: Final = re.compile(rb"[\x80-\xff]")

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


def encode_text(value: bytes, limit: int) -> bytes:
    """Bytes of a request as a JSON string: not more than `limit` of them, those outside ASCII percent-encoded.

    Total: every byte string has an encoding, so that an exotic byte never suppresses a record.
    """
    shown = value[:limit]
    if not shown.isascii():
        shown = _CONTROL.sub(lambda found: b"%%%02X" % found[0][0], shown)
    return orjson.dumps(shown.decode("ascii"))


def encode_resources(route: Route, identifier: str) -> bytes:
    """The `resources` member with its trailing comma, or nothing when the route names none."""
    if route.resource is None:
        return b""
    resource = (
        {"type": route.resource.type} if not identifier else {"type": route.resource.type, "uid": identifier[:256]}
    )
    return b'"resources":' + orjson.dumps([resource], option=orjson.OPT_SORT_KEYS) + b","


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
) -> bytes:
    """Build the template of all records of one route and method for one person in a stream; fill it with `fill`.

    `asked` names what the conditions of the policy ask about: some of it is recorded only where one asks for it.
    """
    session = who if isinstance(who, Session) else None
    action = route.action_of(method)
    if route.name in _SIGN_ON:
        class_uid, activity = _AUTHENTICATION, _SIGN_ON[route.name]
    else:
        class_uid, activity = _API_ACTIVITY, _ACTIVITY[action]
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
        inputs["certificate"] = place.certificate
    if isinstance(who, Subject):
        actor = b'"actor":' + _baked({"user": {"name": who.user, "type_id": 1, "uid": who.user_id}}) + b","
    if session is not None:
        actor = b'"actor":' + _baked(
            {
                "session": {
                    "created_time": int(session.created * 1000),
                    "is_mfa": session.mfa_time > 0,
                    "uid": session.handle,
                },
                "user": {"name": session.user, "type_id": 1, "uid": session.user_id},
            },
        )
        actor += b","
        inputs |= _of_session(session, asked)
    tls = b""
    candidate = b',"candidate":' + _baked(place.candidate_version) if place.candidate_version else b""
    via = b',"via":' + _baked(place.via) if place.via else b""
    if place.secure and not via:
        version, _, cipher = place.tls.partition(" ")
        tls = b'"tls":' + _baked({"cipher": cipher, "version": version}) + b","
    return b"".join(
        (
            b'{"action_id":%b,"activity_id":', str(activity).encode(), b",", actor,
            b'"api":{"operation":"%b ', _baked(route.template)[1:], b',"service":{"name":', _baked(route.upstream), b"}},",
            b'"category_uid":', str(class_uid // 1000).encode(), b',"class_uid":', str(class_uid).encode(),
            b',"device":{"hostname":', _baked(node.hostname), b"},",
            b'"dst_endpoint":{"hostname":', _baked(place.host), b',"svc_name":', _baked(route.upstream), b"},",
            b'"http_request":{"body_length":%b,"http_method":"%b","uid":"%b","url":{"path":%b},"user_agent":%b,"version":"%b"},',
            b'"http_response":{"code":%b,"latency":%b,"length":%b},',
            b'"metadata":{"correlation_uid":"%b","log_name":"', stream.value.encode(), b'","log_version":1,"product":', _baked({"name": "gateway", "vendor_name": "gateway", "version": node.version}),
            b',"profiles":["host","security_control"],"sequence":%b,"tenant_uid":', _baked(tenant), b',"uid":"%b","version":"1.8.0"},',
            b'"policy":{"uid":%b,"version":', _baked(place.policy_version), b"},%b",
            b'"severity_id":%b,"src_endpoint":{"ip":"%b","port":%b},',
            b'"status_code":"%b","status_detail":"%b","status_id":%b,"time":%b,', tls,
            b'"type_uid":', str(class_uid * 100 + activity).encode(),
            b',"unmapped":{"gw":{"action":', _baked(_SIGN_ON_ACTION.get((route.name, method), action.value)), b',"boot_uid":', _baked(node.boot_uid), candidate,
            b',"decision_inputs":', _baked(inputs), b',%b"mono_ns":%b,"outcome":"%b","phase":"%b","reason":"%b","redactions":0,"route":', _baked(route.name), b"%b", via, b"}}}",
        ),
    )  # fmt: skip


def _of_session(session: Session, asked: Collection[str]) -> dict[str, object]:
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
    own = (("email", session.email), ("provider", session.provider), ("country", session.country))
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


def fill(  # noqa: PLR0917 - naming twenty arguments would cost more than the formatting
    baked: bytes,
    allowed: bool,  # noqa: FBT001 - as above
    body_length: int,
    method: bytes,
    request_id: bytes,
    path: bytes,
    user_agent: bytes,
    version: bytes,
    status: int,
    latency_ms: int,
    length: int,
    sequence: int,
    uid: bytes,
    rule: bytes,
    resources: bytes,
    client_ip: bytes,
    client_port: int,
    reason: bytes,
    time_ms: int,
    events: bytes,
    mono_ns: int,
    outcome: bytes,
    phase: bytes,
    shadow: bytes = b"",
) -> bytes:
    """Build one record. `path`, `user_agent` and `rule` are JSON strings already.

    `events` is `"events":[…],`, `shadow` is `,"shadow":{…}`, or nothing.
    """
    # Formatting an integer into bytes costs as much as five pieces of bytes: small ones come from a table.
    digits = _DIGITS
    code = digits[status]
    return baked % (
        b"1" if allowed else b"2", method,
        digits[body_length] if body_length < SMALL else b"%d" % body_length, method, request_id, path, user_agent, version,
        code, digits[latency_ms] if latency_ms < SMALL else b"%d" % latency_ms, digits[length] if length < SMALL else b"%d" % length,
        request_id, str(sequence).encode("ascii"), uid,
        rule, resources,
        b"1" if allowed else b"3", client_ip, _PORTS[client_port],
        code, reason, b"1" if status < 400 else b"2", str(time_ms).encode("ascii"),
        events, str(mono_ns).encode("ascii"), outcome, phase, reason, shadow,
    )  # fmt: skip
