"""What the edge tells the pages process about a request, and what it is told back.

Both travel as one header field over the pages' Unix socket, base64url of MessagePack:
`X-Gateway-Envelope` to the pages, `X-Gateway-Events` in their answers. The edge removes both
names from everything that comes from a client or an upstream.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Literal

import msgspec

from gateway.exchange.subject import SubjectKey

ENVELOPE_FIELD = "X-Gateway-Envelope"
FRESHEN = "/.gateway/oidc/freshen"
"""Path at which the edge, and nobody else, asks the pages for fresher tokens of a provider."""
SIGHTINGS = "/.gateway/sightings"
"""Path at which the edge, and nobody else, tells the pages what detectors of abuse count: a list of sightings as MessagePack."""
EVENTS_FIELD = "X-Gateway-Events"


NotKept = Literal["no_form", "too_large", "unreadable", "full", "unavailable"]
"""Why what a person sent is lost when they first had to sign in."""


class Interrupted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A form for the portal that came when its sender first had to sign in. Its body is the body of the request."""

    target: str
    """Where it was sent: canonical path and byte-exact query."""
    return_to: str
    """The page that it was sent from, where the browser says so; else the start page."""
    reason: str
    """`Reason` value: why it was not let through."""
    step_up: str = ""
    """With `step_up_required` the page that asks for what is missing, and its query."""
    upstream: str = ""
    """Where the route leads: the portal that the person must be signed on to, if that was it."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The edge's word about one request to our own pages."""

    request_id: str
    client_ip: str
    scheme: Literal["http", "https"]
    host: str
    """Host as validated by the edge, without port, lower case."""
    authority: str
    """Host and port as the browser wrote them: the origin is `scheme://authority`."""
    tenant: str
    """Tenant of the host; empty when the host is shared."""
    session: str
    """Handle of the live session the edge found for the cookie; empty when there is none."""
    cookie_name: str
    """`__Host-gw`, or `gw` over plain HTTP."""
    astray: bool = False
    """The cookie's session came from elsewhere than where it is bound to: it is none here."""
    certificate: str = ""
    """SHA-256 of the client certificate that the connection was made with, where it counts."""
    interrupted: Interrupted | None = None
    """Only where the edge asks the pages to keep a form: no client can ask for that."""
    freshens: bool = False
    """Only where the edge asks the pages to refresh a provider's tokens: no client can ask for that."""
    tells: bool = False
    """Only where the edge tells what detectors count: no client can do that."""


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that happened in the pages and that the audit record of this request must say."""

    name: str
    """`login.succeeded`, `login.failed`, `login.locked`, `factor.enrolled`, `factor.verified`, `factor.failed`,
    `factor.renamed`, `factor.removed`, `factor.copied`, `device.remembered`, `device.forgotten`,
    `session.created`, `session.rotated`, `session.revoked`, `password.changed`, `recovery.used`, `recovery.replaced`, `logout`,
    `session.bound_elsewhere`, `break_glass.used`, `device.added`, `device.confirmation_requested`, `device.confirmation_failed`, `device.confirmed`,
    `password.reset_requested`, `password.reset_proven`, `password.reset_failed`,
    `password.reset`, `admin`, `user.disabled`, `user.enabled`, `form.kept`, `form.offered`, `form.discarded`, `login.looped`, `claims.ignored`, `provider.logout`."""
    outcome: Literal["success", "failure"] = "success"
    reason: str = ""
    """A `Reason` value for failures."""
    user_id: str = ""
    user: str = ""
    """Canonical name; for a failed sign-in with an unknown name it stays empty (people type passwords there)."""
    tenant: str = ""
    session: str = ""
    amr: tuple[str, ...] = ()
    count: int = 0
    path: str = ""
    """Of a kept form: where it was sent, without the query."""
    size: int = 0
    """Of a kept form: bytes of its body."""
    provider: str = ""
    """Id of the identity provider that vouched, or was not believed."""
    fault: str = ""
    """What was wrong with its answer, or with a passkey: a value of `TokenFault`, `AnswerFault`, `MappingFault` or `Fault`."""
    upstream: str = ""
    """The portal that somebody was signed on to, or whose account was told."""
    factor: str = ""
    """Which kind of second factor: a `Method` value."""
    operation: str = ""
    """Of `admin`: what somebody looked at or tried in the console, `view people`, `try`."""
    account: str = ""
    """Of an attempt with a name that nobody has: a keyed digest of it, for detectors; it is no part of the record."""
    subject: SubjectKey | None = None
    """Under which `user_id` and `user` are sealed in the record; it is no part of the record itself."""


def pack_envelope(envelope: Envelope) -> bytes:
    """Encode for the wire."""
    return urlsafe_b64encode(msgspec.msgpack.encode(envelope))


def unpack_envelope(value: str | bytes) -> Envelope:
    """Decode; raises `msgspec.DecodeError` or `ValueError` on anything else than an envelope."""
    return msgspec.msgpack.decode(urlsafe_b64decode(value), type=Envelope)


def pack_events(events: list[Event]) -> bytes:
    """Encode for the wire."""
    return urlsafe_b64encode(msgspec.msgpack.encode(events))


def unpack_events(value: str | bytes) -> list[Event]:
    """Decode; raises `msgspec.DecodeError` or `ValueError` on anything else than events."""
    return msgspec.msgpack.decode(urlsafe_b64decode(value), type=list[Event])
