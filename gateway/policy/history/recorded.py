"""What a record of the audit log says about one request, as far as policy decided it.

Reads the records that `gateway.audit.access` writes, and knows which of them hold an answer of policy: a limit, a
store that is away and a portal that is down are none. It decides nothing again.
"""

from __future__ import annotations

import copy
from typing import Final, Literal, NamedTuple, cast

import msgspec

from gateway.exchange.reason import Reason
from gateway.exchange.session import Owed, Session
from gateway.exchange.subject import UNREADABLE
from gateway.wire.target import is_canonical

MAX_PATH_BYTES: Final = 2048
MAX_USER_AGENT_BYTES: Final = 256
"""Records hold no more of them."""
_WITNESSES: Final = 65_536
_FOR_EVER_S: Final = 1e12

ROUTING: Final = frozenset((Reason.NO_ROUTE, Reason.METHOD_NOT_ALLOWED, Reason.AMBIGUOUS_PATH))
"""Refused before anybody was asked who they are."""
REFUSALS: Final = ROUTING | {
    Reason.CERTIFICATE_REQUIRED,
    Reason.CONDITION_FAILED,
    Reason.CONDITION_FALSE,
    Reason.CREDENTIAL_REQUIRED,
    Reason.DENIED,
    Reason.DEVICE_UNCONFIRMED,
    Reason.DEVICE_UNKNOWN,
    Reason.MFA_ENROLMENT_REQUIRED,
    Reason.MFA_REQUIRED,
    Reason.NETWORK_REFUSED,
    Reason.NO_RULE,
    Reason.ROLE_MISSING,
    Reason.SCOPE_MISSING,
    Reason.SIGN_IN_REQUIRED,
    Reason.STEP_UP_REQUIRED,
    Reason.TENANT_MISMATCH,
    Reason.TOO_MANY_SESSIONS,
}
"""What another policy could answer otherwise."""
LATER: Final = frozenset(
    (
        Reason.ABUSE_SLOWED,
        Reason.BODY_TOO_COMPLEX,
        Reason.BODY_TOO_LARGE,
        Reason.BODY_UNREADABLE,
        Reason.CROSS_ORIGIN,
        Reason.DATA_REFUSED,
        Reason.DATA_WITHHELD,
        Reason.ENCODING_NOT_ACCEPTED,
        Reason.FORM_TOKEN_MISSING,
        Reason.HOSTILE_INPUT,
        Reason.IDENTITY_UNFIT,
        Reason.PORTAL_REFUSED,
        Reason.PORTAL_SIGN_ON,
        Reason.RATE_LIMITED,
        Reason.RESOURCE_UNNAMED,
        Reason.SERVICE_WORKER,
        Reason.TOO_MANY_OPEN,
        Reason.TOO_MANY_UPLOADS,
        Reason.TOO_MUCH_DATA,
        Reason.UPLOADS_UNAVAILABLE,
        Reason.UPLOAD_INFECTED,
        Reason.UPLOAD_REFUSED,
        Reason.UPSTREAM_DOWN,
        Reason.UPSTREAM_MALFORMED,
        Reason.UPSTREAM_TIMEOUT,
        Reason.UPSTREAM_UNREACHABLE,
        Reason.UPSTREAM_UNTRUSTED,
    )
)
"""Policy had allowed it, and something after policy refused."""
_ANSWERS: Final = ("single", "opening")
"""Of the records of one request, the first that says what it was answered."""


class _Unrecorded:
    """Stands for what a record does not say: whatever looks at it fails, and a condition that needs it is not answered."""

    def __bool__(self) -> bool:
        raise ValueError("not recorded")


UNRECORDED: Final = cast("str", _Unrecorded())
"""In the place of a text. Conditions that do not depend on it are answered all the same: `false && x` is false."""


class _User(msgspec.Struct):
    name: str = ""
    uid: str = ""


class _Login(msgspec.Struct):
    uid: str = ""
    created_time: int = 0


class _Actor(msgspec.Struct):
    user: _User
    session: _Login | None = None


class _Inputs(msgspec.Struct, frozen=True):
    host: str
    tenant: str = ""
    secure: bool | None = None
    roles: tuple[str, ...] = ()
    amr: tuple[str, ...] = ()
    auth_time: int = 0
    mfa_time: int = 0
    owes: Owed = Owed.NOTHING
    owes_next: Owed = Owed.NOTHING
    known_device: bool = False
    email: str | None = None
    provider: str | None = None
    issuer: str | None = None
    country: str | None = None
    request_tenant: str = ""
    tenant_field: str = ""
    certificate: str = ""
    credential: Literal["cookie", "api_key", "bearer", "certificate"] = "cookie"
    credentials: tuple[str, ...] = ("session",)
    scopes: tuple[str, ...] = ()


class _Url(msgspec.Struct):
    path: str


class _Request(msgspec.Struct):
    http_method: str
    url: _Url
    user_agent: str = ""


class _Endpoint(msgspec.Struct):
    ip: str = ""


class _Policy(msgspec.Struct):
    uid: str = ""
    version: str = ""


class _Metadata(msgspec.Struct):
    correlation_uid: str = ""
    is_truncated: bool = False


class Otherwise(msgspec.Struct, frozen=True):
    """What a candidate policy would have answered at the time, where that was something else or is not known."""

    decision: Literal["allow", "deny", "unknown"]
    reason: str
    route: str
    rule: str
    version: str


class _Gateway(msgspec.Struct):
    candidate: str = ""
    decision_inputs: msgspec.Raw = msgspec.Raw(b"")
    phase: str = ""
    reason: str = ""
    redactions: int = 0
    route: str = ""
    shadow: Otherwise | None = None


class _Unmapped(msgspec.Struct):
    gw: _Gateway


class _Record(msgspec.Struct):
    unmapped: _Unmapped
    action_id: int = 0
    time: int = 0
    actor: msgspec.Raw = msgspec.Raw(b"")
    http_request: _Request | None = None
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    policy: _Policy = msgspec.field(default_factory=_Policy)
    src_endpoint: _Endpoint = msgspec.field(default_factory=_Endpoint)


class Witness:
    """Who asked, as far as a record says; one object for all records that say the same. Compare by identity."""

    __slots__ = (
        "certificate",
        "credentials",
        "host",
        "kind",
        "lacking",
        "name",
        "secure",
        "session",
        "tenant",
        "tenant_field",
    )

    def __init__(self, inputs: _Inputs, actor: _Actor | None, kinds: dict[_Inputs, int]) -> None:
        self.host = inputs.host
        self.secure = inputs.secure
        """None = the record does not say."""
        self.tenant = inputs.request_tenant
        """About which the request was."""
        self.tenant_field = inputs.tenant_field
        """The header field that named it; empty where none did."""
        self.certificate = inputs.certificate
        """SHA-256 of the connection's; empty without one."""
        self.credentials = frozenset(inputs.credentials)
        """What the route asked for."""
        provider = inputs.issuer if inputs.credential == "bearer" else inputs.provider
        email = None if inputs.email in UNREADABLE else inputs.email
        unsaid = (("user.email", email), ("session.provider", provider), ("session.country", inputs.country))
        self.lacking = frozenset(name for name, value in unsaid if value is None)
        """Names of conditions that the record does not answer."""
        self.name = ""
        """The person, `alice@acme`; empty for nobody."""
        self.session: Session | None = None
        """None = nobody was signed in. Its times are whole seconds, cut off."""
        nameless = msgspec.structs.replace(
            inputs,
            auth_time=int(inputs.auth_time > 0),
            mfa_time=int(inputs.mfa_time > 0),
            certificate=inputs.certificate and "any",
            email=None,
            provider=None,
            issuer=None,
            country=None,
        )
        is_signed_in = actor is not None and actor.session is not None
        self.kind = 2 * kinds.setdefault(nameless, len(kinds)) + is_signed_in
        """The same number for all who differ in what names them and in times alone."""
        if actor is not None and actor.session is not None:
            is_erased = actor.user.uid in UNREADABLE or actor.user.name in UNREADABLE
            if is_erased:
                self.lacking |= {"user.id", "user.name"}
            self.name = f"{actor.user.name}@{inputs.tenant}" if inputs.tenant else actor.user.name
            self.session = Session(
                handle=actor.session.uid,
                user_id=UNRECORDED if is_erased else actor.user.uid,
                user=UNRECORDED if is_erased else actor.user.name,
                tenant=inputs.tenant,
                roles=inputs.roles,
                email=UNRECORDED if email is None else email,
                provider=UNRECORDED if provider is None else provider,
                country=UNRECORDED if inputs.country is None else inputs.country,
                amr=inputs.amr,
                owes=inputs.owes,
                owes_next=inputs.owes_next,
                auth_time=float(inputs.auth_time),
                mfa_time=float(inputs.mfa_time),
                created=actor.session.created_time / 1000,
                expires=_FOR_EVER_S,
                idle_s=_FOR_EVER_S,
                host=inputs.host,
                secure=inputs.secure is not False,
                credential=inputs.credential,
                scopes=inputs.scopes,
                known_device=inputs.known_device,
            )

    def holding(self, roles: tuple[str, ...], kind: int) -> Witness:
        """Return the same witness with other roles; `kind` is that of all who differ in what names them alone."""
        other = copy.copy(self)
        if self.session is not None:
            other.session = msgspec.structs.replace(self.session, roles=roles)
        other.kind = kind
        return other

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of the person, without what they include."""
        return self.session.roles if self.session is not None else ()


class Recorded(NamedTuple):
    """One request of the past and how it was answered."""

    request_id: str
    time_s: float
    """Unix seconds, cut off at a millisecond."""
    method: str
    host: str
    path: str
    client_ip: str
    """`UNRECORDED` where it cannot be read any more."""
    user_agent: str
    """`UNRECORDED` where the record may hold a part of it only."""
    witness: Witness
    allowed: bool
    """Policy's answer; what came after it does not count."""
    reason: Reason
    rule: str
    """Place of the deciding line in the files of that time; empty where none decided, or something later refused."""
    route: str
    """`none` where there was none."""
    version: str
    """Of the policy of that time."""
    is_later: bool
    """Something after policy refused it."""
    is_whole: bool
    """The path is the one that was judged."""
    candidate: str = ""
    """Version of the policy that was tried beside it; empty where there was none."""
    otherwise: Otherwise | None = None


Passed = Literal["no request", "part of another", "own page", "not policy", "unreadable"]
"""Why a record is not decided again."""


class Recall:
    """Reads records; remembers the people in them."""

    def __init__(self, *, is_of_candidates: bool = False) -> None:
        """Read what policy decided; `is_of_candidates`: what a candidate answered otherwise too, whatever refused it."""
        self._is_of_candidates = is_of_candidates
        self._record = msgspec.json.Decoder(_Record)
        self._inputs = msgspec.json.Decoder(_Inputs)
        self._actor = msgspec.json.Decoder(_Actor)
        self._witnesses: dict[tuple[bytes, bytes], Witness] = {}
        self._kinds: dict[_Inputs, int] = {}
        self._reasons: dict[str, Reason] = {reason.value: reason for reason in Reason}

    def read(self, payload: bytes, since_ms: int, until_ms: int) -> Recorded | Passed | None:
        """Read one record; None for one from before `since_ms` or from `until_ms` on (unix milliseconds)."""
        try:
            record = self._record.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return _without_request(payload)
        if not since_ms <= record.time < until_ms:
            return None
        request, gw = record.http_request, record.unmapped.gw
        if request is None:
            return "no request"
        if gw.phase not in _ANSWERS:
            return "part of another"
        path = request.url.path
        reason = self._reasons.get(gw.reason)
        if gw.route.startswith("gateway.") and (path.startswith("/.gateway") or path == "*"):
            return "own page"
        is_later = reason in LATER
        allowed = record.action_id == 1 or is_later
        is_tried = self._is_of_candidates and gw.shadow is not None
        is_decided = gw.route != "none" if allowed else reason in REFUSALS
        if reason in ROUTING and gw.route != "none":
            is_decided = False
        if reason is None or not (is_decided or is_tried):
            return "not policy"
        try:
            witness = self._witness(bytes(record.actor), bytes(gw.decision_inputs))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return "unreadable"
        agent, address = request.user_agent, record.src_endpoint.ip
        is_whole = not (record.metadata.is_truncated or gw.redactions)
        return Recorded(
            record.metadata.correlation_uid,
            record.time / 1000,
            request.http_method,
            witness.host,
            path,
            UNRECORDED if address in UNREADABLE else address,
            UNRECORDED
            if not is_whole or agent in UNREADABLE or len(agent) >= MAX_USER_AGENT_BYTES or "%" in agent
            else agent,
            witness,
            allowed,
            reason,
            record.policy.uid,
            gw.route,
            record.policy.version,
            is_later,
            is_whole and len(path) < MAX_PATH_BYTES and (gw.route != "none" or is_canonical(path)),
            gw.candidate,
            gw.shadow,
        )

    def _witness(self, actor: bytes, inputs: bytes) -> Witness:
        key = actor, inputs
        known = self._witnesses.get(key)
        if known is None:
            if len(self._witnesses) >= _WITNESSES:
                self._witnesses.clear()
            known = Witness(self._inputs.decode(inputs), self._actor.decode(actor) if actor else None, self._kinds)
            self._witnesses[key] = known
        return known


def _without_request(payload: bytes) -> Passed:
    """Tell a record of something else, which has other members, from one that cannot be read."""
    return "unreadable" if b'"http_request":' in payload or not payload.startswith(b"{") else "no request"
