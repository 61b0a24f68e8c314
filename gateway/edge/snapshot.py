"""Everything a worker needs to decide, built whole and swapped whole. Never changed after it is built."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol

from gateway.edge.assertion import Signer
from gateway.edge.credential_rules import CredentialRules
from gateway.edge.escort import EscortRules
from gateway.edge.hardening import HeaderRules
from gateway.edge.identity import PLAIN_IDENTITY, IdentityRules
from gateway.edge.resolve import Resolver
from gateway.edge.tls import ListenerTLS
from gateway.exchange.envelope import NotKept
from gateway.exchange.opinion import Opinion, Question
from gateway.exchange.reason import Reason
from gateway.exchange.route import Durability, LimitSpec
from gateway.inspection.body import Limits
from gateway.inspection.cors import CorsRules
from gateway.inspection.csp.policy import Policy
from gateway.inspection.csp.scripts import Approved
from gateway.inspection.engine import Inspection
from gateway.inspection.leak.download import DownloadRules
from gateway.inspection.leak.rules import LeakRules
from gateway.inspection.origin import OriginRules
from gateway.inspection.same_site import Floor
from gateway.inspection.shape.limits import BodyLimits
from gateway.inspection.tuning import Tuning
from gateway.inspection.upload.policy import UploadPolicy
from gateway.policy import PolicyTable
from gateway.ratelimit.gcra import Bucket
from gateway.wire.forwarded import TrustedProxies

if TYPE_CHECKING:
    from gateway.edge.gate import Gate
    from gateway.edge.lookout import WatchRules


class ErrorPage(Protocol):
    """Renders a refusal for a person."""

    @property
    def csp(self) -> bytes:
        """`Content-Security-Policy` of the document."""

    @property
    def framed_csp(self) -> bytes:
        """The same for the one page that may stand in a frame of the portal: that the frame needs a sign-in."""

    def __call__(
        self,
        reason: Reason,
        *,
        request_id: str,
        accepted: str = "",
        route: str = "",
        rule: str = "",
        bound: str = "",
        retry_after: int = 0,
        sign_in: str = "",
        not_kept: NotKept | None = None,
        framed: bool = False,
    ) -> bytes:
        """Return a complete HTML document."""


@dataclass(frozen=True, slots=True)
class Server:
    """One server of an upstream."""

    host: str
    port: int
    path: str
    """Unix socket instead of host and port; empty for TCP."""
    tls: ssl.SSLContext | None
    server_name: str
    authority: bytes
    """What `Host` says where the browser's is not preserved."""
    weight: int = 1
    max_connections: int = 0
    """Of one worker; 0 = as many as the upstream may have."""
    own_sockets: str = ""
    """Real path of the directory of the gateway's own sockets, where this one must not be; empty = it is one of ours."""
    fingerprint: str = ""
    """Changes with whatever makes it another server: its certificates, how they are verified."""

    @property
    def name(self) -> str:
        """As metrics and the log call it."""
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def identity(self) -> tuple[str, str, str]:
        """What is known of a server holds for another one with the same identity."""
        return self.name, self.server_name, self.fingerprint


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How servers are asked whether they are well."""

    path: bytes
    host: bytes
    """`Host` of a check; empty = the server's own authority."""
    interval_s: float
    timeout_s: float
    healthy: int
    """Checks in a row after which a server is in again."""
    unhealthy: int
    statuses: frozenset[int]


@dataclass(frozen=True, slots=True)
class EjectionRules:
    """When a server is left out because requests to it failed."""

    failures: int
    time_s: float
    max_time_s: float
    max_share: float
    """Of the servers, 0 to 1: more are never out by ejection."""


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """When an upstream is not asked for a while."""

    ratio: float
    requests: int
    window_s: float
    open_s: float


@dataclass(frozen=True, slots=True)
class Upstream:
    """A configured upstream, or our own pages."""

    name: str
    servers: tuple[Server, ...]
    preserve_host: bool
    connect_timeout_s: float
    response_timeout_s: float
    idle_timeout_s: float
    field_names: dict[str, bytes]
    authorities: frozenset[bytes]
    max_connections: int
    identity: IdentityRules = PLAIN_IDENTITY
    escort: EscortRules | None = None
    """What goes along for people; None = nothing."""
    internal: bool = False
    queue_timeout_s: float = 1.0
    max_waiting: int = 1024
    max_uploads_per_client: int = 0
    """Requests of one client whose bodies are unfinished, in one worker; 0 = any number."""
    balance: Literal["round_robin", "least_connections", "user", "ip"] = "round_robin"
    """`user` and `ip` are what is hashed."""
    retries: int = 2
    """Other servers that are tried for one request."""
    retry_share: float = 0.2
    health: HealthCheck | None = None
    ejection: EjectionRules | None = EjectionRules(failures=3, time_s=10.0, max_time_s=300.0, max_share=0.5)
    breaker: BreakerRules | None = None
    receipt_key: int = 0
    """Number of the key of the audit receipts that go along; 0 = none do."""
    patience_s: float = field(init=False)
    """How long a request may be without a connection."""

    def __post_init__(self) -> None:
        tries = 1 + min(self.retries, len(self.servers) - 1)
        object.__setattr__(self, "patience_s", self.connect_timeout_s * tries + self.queue_timeout_s)

    @property
    def is_group(self) -> bool:
        """True if there is anything to choose or to watch: an upstream of one server and no rules pays for nothing."""
        return len(self.servers) > 1 or self.health is not None or self.breaker is not None


@dataclass(frozen=True, slots=True)
class WireLimits:
    """Bounds on what a client may send and how slowly; bytes, counts, seconds."""

    max_head: int
    max_fields: int
    max_target: int
    max_body: int
    max_connections: int
    """Of clients, of one worker."""
    max_connections_per_client: int
    head_timeout_s: float
    body_timeout_s: float
    idle_timeout_s: float
    write_timeout_s: float
    kept_form: int = 0
    """Largest form that is kept while its sender signs in; 0 = none is."""
    open_per_user: int = 0
    """Tunnels and event streams that a person may hold open; 0 = any number."""
    open_per_tenant: int = 0
    max_streams: int = 100
    """Requests that one connection of HTTP/2 may have open."""


@dataclass(frozen=True, slots=True)
class TraceRules:
    """Whose distributed traces count, and whether new ones begin."""

    accept: Literal["any", "trusted", "never"] = "any"
    """From every client, from the trusted proxies, or from nobody."""
    flags: bytes = b""
    """Of a trace that begins here: `00` or `01` (sampled); empty = no upstream is told of one."""


PASSING: Final = TraceRules()


@dataclass(frozen=True, slots=True)
class ForwardAuthRules:
    """Who may ask at `/.gateway/check`, and how."""

    style: Literal["nginx", "forwarded", "envoy"]
    askers: TrustedProxies
    proxies: TrustedProxies
    """The askers, and whoever stands between them and the client."""


@dataclass(frozen=True, slots=True)
class WafRules:
    """Attacks in requests: who judges, and by which tuning."""

    engine: Inspection
    tuning: Tuning
    harmless: set[bytes] = field(default_factory=set, compare=False)
    """Field blocks in which nothing was found: a browser repeats its own."""


class SecondEngine(Protocol):
    """What judges a request beside our own engine, in processes of its own."""

    def ask(self, question: Question, answered: Callable[[Opinion | None], None]) -> None:
        """Have a request judged; `answered` is called once, later, with None where nobody could judge it."""


@dataclass(frozen=True, slots=True)
class CrsRules:
    """The Core Rule Set on a route."""

    engine: SecondEngine
    blocks: bool
    """False: what it finds is only recorded."""
    may_fail: bool
    """True: a request that it could not judge goes on."""


@dataclass(frozen=True, slots=True)
class BrowserRules:
    """What pages of other sites may do on a route, and what scripts of its own pages may."""

    senders: OriginRules | None = None
    """Who may send what changes something; None = anybody."""
    cookies: Floor = "portal"
    """The least SameSite of the portal's cookies."""
    form_key: bytes = field(default=b"", repr=False)
    """Under which the tokens of forms are made; empty = forms get none."""
    sharing: CorsRules | None = None
    """Who may read answers from elsewhere; None = the portal says it."""
    is_strict: bool = False
    """What the portal says of that is taken out where it gives too much away."""
    policy: Policy | None = None
    """What its pages may run; None = the gateway says nothing."""
    approved: Approved = field(default_factory=Approved)
    """Scripts that get the nonce of their page."""


@dataclass(frozen=True, slots=True)
class RouteInspection:
    """What is inspected on a route: gateway.yaml's `inspection` with that of the route laid over it.

    Each part is built by `server/inspection`; None = that part is off.
    """

    waf: WafRules | None = None
    crs: CrsRules | None = None
    max_body: int = 0
    """Bytes of a body that is held to be read."""
    limits: Limits = field(default_factory=Limits)
    """How complex such a body may be."""
    body: BodyLimits = field(default_factory=BodyLimits)
    """How such a body is built, by its type, and what it may grow to when it is decoded."""
    is_bounded: bool = False
    """What is beyond a bound is refused; else it is only recorded."""
    leaks: LeakRules | None = None
    downloads: DownloadRules | None = None
    browser: BrowserRules | None = None
    uploads: UploadPolicy | None = None
    """What files may be; None = they go upstream as they come."""

    @property
    def refuses_unread(self) -> bool:
        """Whether a body that cannot be read must not pass: it may hold what would be stopped."""
        leaks, crs = self.leaks, self.crs
        return (
            self.is_bounded
            or (crs is not None and crs.blocks and not crs.may_fail)
            or (leaks is not None and leaks.refuses_unreadable and leaks.requests.is_strict)
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One validated configuration, ready to serve."""

    version: str
    """Digest of the whole bundle."""
    policy: PolicyTable
    resolver: Resolver
    hosts: Mapping[str, str]
    """Hosts the gateway answers for, with their tenants; empty = shared by all tenants."""
    issuer: str
    public_port: int
    upstreams: Mapping[str, Upstream]
    """By name; every route's upstream is among them."""
    pages: Upstream
    limits: tuple[Bucket, ...]
    """Limits that count before any store is touched: per address."""
    limits_of: Mapping[str, tuple[Bucket, ...]]
    """Limits of each route that need to know who it is: the general ones, then the route's own."""
    login_limit: Bucket
    """Passwords tried, per address."""
    form_limit: Bucket
    """Every other form of our own pages, per address: a sign-in sends one more, an account page several."""
    ports: frozenset[int]
    """Ports that Host may name: those we serve. A link that the portal builds from another would lead elsewhere."""
    trusted_proxies: TrustedProxies
    mapped_names: frozenset[bytes]
    headers: HeaderRules
    durability: Durability
    wire: WireLimits
    error_page: ErrorPage
    sign: Signer
    jwks: bytes
    log_requests: bool
    tls: Mapping[str, ListenerTLS] = field(default_factory=dict)
    """Address of a TLS listener -> its rules."""
    limits_of_tenant: Mapping[str, tuple[Bucket, ...]] = field(default_factory=dict)
    """Limits of tenants that have their own, for requests about them."""
    login_limits: Mapping[str, Bucket] = field(default_factory=dict)
    """Passwords tried on the hosts of tenants that say how many, beside `login_limit`."""
    seals_subjects: bool = False
    """What names a person in a record is sealed under the person's key."""
    escorts: bool = False
    """Some upstream has an escort."""
    receipts: bool = False
    """Some upstream wants audit receipts."""
    trace: TraceRules = PASSING
    forward_auth: ForwardAuthRules | None = None
    """None = nobody may ask."""
    credentials: CredentialRules = field(default_factory=lambda: CredentialRules(issuers={}, key_field=b"x-api-key"))
    """How programs prove who they are."""
    error_pages: Mapping[str, ErrorPage] = field(default_factory=dict)
    """Of tenants that have a look of their own."""
    background: tuple[bytes, ...] = ()
    """Beginnings of header lines by which a page says that it asks by itself: `x-poll:`."""
    idle_warning_s: float = 0.0
    """How long before the idle end a page should warn; 0 = it need not."""
    candidate: PolicyTable | None = None
    """A policy that is tried beside `policy` without effect (`shadow`); None = there is none."""
    country: Callable[[str], str] | None = None
    """Names the country of an address, where a session may be bound to one."""
    watch: WatchRules | None = None
    """What detectors of abuse are told of; None = every one of them is off."""
    gate: Gate | None = None
    """What they answered, as the worker knows it."""
    report_limit: Bucket = field(
        default_factory=lambda: Bucket(LimitSpec(name="csp-report", rate_per_s=5.0, burst=50, per="ip"))
    )
    """How often browsers of one client may report about policies."""
    inspections: Mapping[str, RouteInspection] = field(default_factory=dict)
    """By route; a route that is not here is not inspected."""
