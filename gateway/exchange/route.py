"""What policy says about a place: routes, limits and the words they use."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

import msgspec

from gateway.exchange.field_rules import FieldRules
from gateway.exchange.step_up import Requirement
from gateway.exchange.stream import Stream
from gateway.exchange.tenancy import TenantBinding

OWN_PAGES: Final = "/.gateway"
"""Everything at and under this path is the gateway's own, whatever policy says."""


class Action(StrEnum):
    """What a person does to a resource on a route (`action:` in policy, `unmapped.gw.action` in audit)."""

    VIEW = "view"
    DOWNLOAD = "download"
    CREATE = "create"
    EDIT = "edit"
    DELETE = "delete"
    SHARE = "share"
    EXPORT = "export"
    ADMIN = "admin"


class Durability(StrEnum):
    """How safe a record must be before the answer is released."""

    ASYNC = "async"
    GROUP = "group"
    STRICT = "strict"
    REMOTE = "strict+remote"
    """As `strict`, and a sink that is required has it."""


class Classification(StrEnum):
    """What kind of data a route gives access to (`audit: {classification: …}`)."""

    PUBLIC = "public"
    INTERNAL = "internal"
    PII = "pii"
    """Personal data (GDPR Art. 4(1))."""
    PHI = "phi"
    """Protected health information (45 CFR 160.103)."""
    CHD = "chd"
    """Cardholder data (PCI DSS v4.0.1, glossary)."""


class LegalBasis(StrEnum):
    """On which ground personal data are processed: GDPR Art. 6(1)(a) to (f), in that order."""

    CONSENT = "consent"
    CONTRACT = "contract"
    LEGAL_OBLIGATION = "legal_obligation"
    VITAL_INTERESTS = "vital_interests"
    PUBLIC_TASK = "public_task"
    LEGITIMATE_INTERESTS = "legitimate_interests"


SELF: Final = "self"
"""The owner of a resource that belongs to whoever asks."""

Credential = Literal["session", "api_key", "bearer"]
"""What may prove who asks on a route; certificates are `client_certificate`'s."""
DELEGATED: Final = frozenset(("api_key", "bearer"))
"""Credentials of programs: they come in a field, have scopes, and nobody is there to give a second factor."""


class LimitSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One rate limit: `burst` requests at once, refilled at `rate_per_s`."""

    name: str
    """Unique over the configuration: `client`, `login`, `route:invoice`."""
    rate_per_s: float
    burst: int
    per: Literal["ip", "user", "tenant", "route", "key"]


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """What data a route gives access to; `id` and `owner` may hold `{name}` of the path template."""

    type: str
    id: str = ""
    owner: str = ""
    """The person whom the data are about: `self` for whoever asks; empty = nobody says."""
    is_person: bool = False
    """`id` is a person's: it is sealed like one."""


class InspectionText(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy says about the inspection of a route, as it is written: `server/inspection` reads it."""

    json: str
    """The mapping, as JSON."""
    path: str
    """The policy file, and in it the keys that lead to the mapping."""
    loc: tuple[str | int, ...]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One route of the compiled policy, without its rules (those are the policy table's)."""

    name: str
    template: str
    """Path template as written: `/invoices/{invoice_id}`."""
    methods: tuple[str, ...]
    """Upper case; HEAD is implied by GET; empty never occurs."""
    tenant: TenantBinding | None = None
    """What says about which tenant a request is; None = the host alone."""
    hosts: tuple[str, ...] = ()
    """Hosts the route is limited to, lower case; empty = every host of the gateway."""
    upstream: str
    """Name of a configured upstream."""
    public: bool = False
    mfa: bool = True
    """False only by `unsafe_without_mfa: true` on the route."""
    requirement: Requirement | None = None
    """What the route wants beyond a session that owes nothing; None = nothing."""
    action: Action | None = None
    """As declared; None = the method says it."""
    resource: Resource | None = None
    limit: LimitSpec | None = None
    headers: FieldRules | None = None
    """Fields that the gateway sets on either side; None = none."""
    durability: Durability | None = None
    """None = the configured default."""
    purpose: str = ""
    """Why the data are processed, in the words of the operator; empty = unsaid."""
    legal_basis: LegalBasis | None = None
    classification: Classification | None = None
    require_resource: bool = False
    """An answer of the portal that names no resource is not released."""
    stream: Stream | None = None
    """Where records of allowed requests go; None = `traffic` for a public route, else `access`."""
    authorization: Literal["gateway", "portal", "drop"] = "portal"
    """What happens to the client's `Authorization` field: ours to check, the portal's own, or removed."""
    credentials: tuple[Credential, ...] = ("session",)
    """What may prove here who asks."""
    vault: Literal["", "none", "http_only", "all"] = ""
    """Which of the portal's cookies stay with the gateway; empty = the upstream says it."""
    cache: Literal["no-store", "portal"] = "no-store"
    """`portal` leaves the portal's Cache-Control on authenticated answers."""
    allow_encoded_slash: bool = False
    allow_suffix: bool = False
    """`/admin.json` here is a resource of its own, although `/admin` is a narrower route."""
    allow_service_worker: bool = False
    activity: bool = True
    """False: a page asks for it by itself, so that using it does not keep a session alive."""
    client_certificate: Literal["", "optional", "required"] = ""
    """Whether the certificate of the client's connection counts here: as who it stands for, or at all."""
    max_body_bytes: int | None = None
    inspection: InspectionText | None = None
    """Laid over `inspection` of gateway.yaml; None = that alone counts."""
    response_timeout_s: float | None = None
    idle_timeout_s: float | None = None
    strip_prefix: str | None = None
    """Taken off the path for the upstream; None here and below = the upstream says it."""
    add_prefix: str | None = None
    source: str = ""
    """`policies/portal.yaml:12:5`, for explain and error texts."""

    def action_of(self, method: str) -> Action:
        """What a request with this method does: what the policy declares, else what the method means (RFC 9110 §9.3)."""
        return self.action or _ACTIONS.get(method, Action.EDIT)


_ACTIONS = {"GET": Action.VIEW, "HEAD": Action.VIEW, "OPTIONS": Action.VIEW, "DELETE": Action.DELETE}
