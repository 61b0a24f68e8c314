"""What gateway.yaml says: every section, its defaults, and what must not stand together.

An absent section enforces nothing, except the secure headers and the sign-in limit. The module
reads text and returns values; whether the files it names exist is `bundle`'s to find out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Final, Literal, Self, Union, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    StrictBool,
    StrictStr,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails

from gateway.audit.receipt import FIELD, MAX_KEY_NUMBER
from gateway.document.quantity import written_duration
from gateway.document.source import Diagnostic, Document, DocumentError, did_you_mean, load
from gateway.exchange.route import LimitSpec
from gateway.server.fields import (
    Address,
    Allowance,
    Balance,
    Bind,
    CheckPath,
    Count,
    DistinguishedName,
    Duration,
    FieldValue,
    Fingerprint,
    Host,
    Location,
    Name,
    Network,
    Origin,
    Period,
    Prefix,
    Principal,
    PublicURL,
    RoleName,
    ServerURL,
    Share,
    Size,
    Statuses,
    UnixSocket,
    UpstreamHost,
    parse_server,
)
from gateway.server.sections.audit import Audit
from gateway.server.sections.branding import Branding
from gateway.server.sections.console import Console
from gateway.server.sections.identity import contradictions as identity_contradictions
from gateway.server.sections.inspection import Inspection
from gateway.server.sections.inspection.detectors import contradictions as detector_contradictions
from gateway.server.sections.limits import Limit
from gateway.server.sections.mail import Mail
from gateway.server.sections.mfa import MFA
from gateway.server.sections.mfa import contradictions as factor_contradictions
from gateway.server.sections.passwords import Passwords
from gateway.server.sections.portal import Portal
from gateway.server.sections.programs import Identity
from gateway.server.sections.programs import contradictions as program_contradictions
from gateway.server.sections.reload import ReloadRules
from gateway.server.sections.section import Section
from gateway.server.sections.sessions import SessionRules, TenantSessions
from gateway.server.sections.sinks import contradictions as sink_contradictions
from gateway.server.sections.sinks import weakened as weakened_sinks
from gateway.server.sections.state import State, read_state
from gateway.server.sections.tenants import Tenant
from gateway.server.sections.tenants import contradictions as tenant_contradictions
from gateway.server.sections.texts import TextRules
from gateway.server.sections.trace import Trace
from gateway.server.unbuilt import Place, find_unbuilt
from gateway.session.rules import NewDevice

LOGIN_LIMIT: Final = "login"
"""Name of the limit that counts attempts to sign in; it holds even when `limits` is absent."""
MAX_WORKERS: Final = 256
LARGEST_KEPT_FORM: Final = 64 * 1024
MAX_DRAIN_S: Final = 7.0
"""The whole tree of processes ends within 10 s of SIGTERM."""
MAX_DELAY_S: Final = 300.0
MAX_READY_S: Final = 300.0
MAX_LEAVING_S: Final = 24 * 3600.0
_UNMAPPABLE: Final = frozenset(
    {
        "connection", "content-encoding", "content-length", "content-type", "cookie", "date", "expect", "forwarded", "host",
        "keep-alive", "origin", "proxy-authorization", "proxy-connection", "range", "referer", "te", "trailer",
        "transfer-encoding", "upgrade", "via",
    }
)  # fmt: skip
"""Fields with a meaning of their own in HTTP: an identity under one of these names would break the message."""


def _profile(value: Any) -> str:
    profiles = value if isinstance(value, list) else [value]
    if not profiles:
        raise ValueError("name a profile")
    for profile in profiles:
        if profile in {"hipaa", "pci", "soc2", "gdpr"}:
            raise ValueError(f"the profile {profile} is not built yet; use baseline")
        if profile != "baseline":
            raise ValueError("the profile of this version is baseline")
    return "baseline"


def _workers(value: Any) -> int | None:
    if value == "auto":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_WORKERS:
        raise ValueError(f"write auto or a number from 1 to {MAX_WORKERS}")
    return value


class CertificateFiles(Section):
    """A certificate chain, the leaf first, and its key, PEM."""

    certificate: Location
    key: Location


class TLS(Section):
    """The certificates of a listener and how it speaks TLS."""

    certificate: Location | None = None
    key: Location | None = None
    certificates: tuple[CertificateFiles, ...] = ()
    """More certificates, chosen by the name the client asks for (SNI); the first of all answers any other client."""
    unknown_sni: Literal["default", "refuse"] = "default"
    """What a client gets that asks for a name no certificate has: the first certificate, or no connection."""
    min_version: Literal["1.2", "1.3"] = "1.2"
    http2: StrictBool = True
    """Offer HTTP/2 beside HTTP/1.1."""

    @model_validator(mode="after")
    def _has_a_certificate(self) -> Self:
        if self.certificate is None and (self.key is not None or not self.certificates):
            raise ValueError("the key certificate is missing")
        if self.certificate is not None and self.key is None:
            raise ValueError("the key key is missing")
        places = [pair.certificate for pair in self.pairs]
        if len(set(places)) < len(places):
            raise ValueError("a certificate is listed twice")
        return self

    @property
    def pairs(self) -> tuple[CertificateFiles, ...]:
        """Every certificate with its key; the first is the default."""
        if self.certificate is None or self.key is None:
            return self.certificates
        return CertificateFiles(certificate=self.certificate, key=self.key), *self.certificates


class CertificateMapping(Section):
    """Who a client certificate stands for: one property of it, and the principal it becomes."""

    subject: DistinguishedName | None = None
    """The whole subject, as RFC 4514 writes it: `CN=alice,O=Example`."""
    san_dns: Host | None = None
    san_uri: StrictStr | None = None
    san_email: StrictStr | None = None
    fingerprint: Fingerprint | None = None
    """SHA-256 of the certificate, hexadecimal, with or without colons."""
    user: Principal
    tenant: Name
    roles: Annotated[tuple[RoleName, ...], Field(min_length=1)]
    email: StrictStr = ""
    mfa: StrictBool = False
    """The certificate counts as two factors: its key is on a card or token that asks for a PIN."""

    @model_validator(mode="after")
    def _asks_one_thing(self) -> Self:
        if len(self.properties) != 1:
            raise ValueError("name exactly one of subject, san_dns, san_uri, san_email and fingerprint")
        if len(set(self.roles)) < len(self.roles):
            raise ValueError("a role is listed twice")
        return self

    @property
    def properties(self) -> dict[str, str]:
        """What the certificate must have; one entry in a valid mapping."""
        names = ("subject", "san_dns", "san_uri", "san_email", "fingerprint")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class ClientCertificates(Section):
    """Whether clients of a listener prove themselves by a certificate, whose certificates count, and for whom."""

    mode: Literal["off", "optional", "required"] = "required"
    ca: Location
    """PEM bundle of the authorities that issue the clients' certificates."""
    crl: Location | None = None
    """PEM file with a revocation list of every authority in `ca`."""
    map: tuple[CertificateMapping, ...] = ()

    @model_validator(mode="after")
    def _maps_nobody_twice(self) -> Self:
        seen: set[tuple[str, str]] = set()
        people: dict[tuple[str, str], tuple[frozenset[str], str, bool]] = {}
        for item in self.map:
            ((kind, value),) = item.properties.items()
            if (kind, value) in seen:
                raise ValueError(f"map lists the {kind} {value} twice")
            seen.add((kind, value))
            grants = frozenset(item.roles), item.email, item.mfa
            if people.setdefault((item.tenant, item.user), grants) != grants:
                raise ValueError(f"map gives {item.user} of {item.tenant} different roles, e-mail or factors")
        return self


class Listener(Section):
    """One public socket: TLS, a redirect to it, or, only by an unsafe switch, plain HTTP."""

    address: Bind
    tls: TLS | None = None
    client_certificates: ClientCertificates | None = None
    redirect_to_https: StrictBool = False
    unsafe_plaintext: StrictBool = False
    proxy_protocol: StrictBool = False
    """Each connection begins with a PROXY header, from one of `trusted_proxies`."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if [self.tls is not None, self.redirect_to_https, self.unsafe_plaintext].count(True) != 1:
            raise ValueError("a listener has exactly one of tls, redirect_to_https: true and unsafe_plaintext: true")
        if self.client_certificates is not None and self.tls is None:
            raise ValueError("client_certificates needs tls")
        return self

    @property
    def kind(self) -> Literal["tls", "redirect", "plaintext"]:
        """What the edge speaks on this socket."""
        if self.tls is not None:
            return "tls"
        return "redirect" if self.redirect_to_https else "plaintext"

    @property
    def asks_clients(self) -> ClientCertificates | None:
        """What clients are asked for, unless that is switched off."""
        asked = self.client_certificates
        return asked if asked is not None and asked.mode != "off" else None


class Admin(Section):
    """The listener of probes and metrics: plain HTTP, loopback only."""

    address: Bind = Address("127.0.0.1", 9090)
    hosts: tuple[Host, ...] = ()
    """Names accepted in `Host` beside the address itself and localhost (DNS rebinding)."""
    unsafe_remote: StrictBool = False
    """Allow an address beyond loopback without TLS and authentication."""
    console: Console | None = None
    """Pages for administrators on the public listener; absent = there are none."""

    @model_validator(mode="after")
    def _stays_on_loopback(self) -> Self:
        if not ip_address(self.address.host).is_loopback and not self.unsafe_remote:
            raise ValueError(
                "beyond loopback the admin listener needs TLS and authentication, which are not built yet; "
                "use 127.0.0.1, or unsafe_remote: true where the network in front of it is closed"
            )
        return self


class UpstreamTimeout(Section):
    """How long the gateway waits for an upstream, seconds."""

    connect: Period = 2.0
    response: Period = 30.0
    """From the last byte of the request to the head of the answer."""
    idle: Period = 300.0
    """Longest silence inside a body, a stream or a tunnel."""
    queue: Period = 3.0
    """How long a request waits for a connection while all are busy."""


class UpstreamTLS(Section):
    """How https:// servers of an upstream are verified."""

    ca: Location | None = None
    """PEM bundle; absent = the system's."""
    server_name: Host | None = None
    """Name to ask for and verify; absent = the host of the server."""
    certificate: Location | None = None
    """What the gateway shows to servers that ask who it is, PEM; with `key`."""
    key: Location | None = None
    unsafe_skip_verify: StrictBool = False

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.certificate is None) is not (self.key is None):
            raise ValueError("certificate and key belong together")
        if self.unsafe_skip_verify and (self.ca or self.server_name):
            raise ValueError("with unsafe_skip_verify nothing is verified: ca and server_name have no effect")
        return self


class Server(Section):
    """One server of an upstream."""

    url: ServerURL
    weight: Annotated[int, Field(strict=True, ge=1, le=100)] = 1
    """Its share of the requests beside the others'."""
    max_connections: Count | None = None
    """Connections of one worker to this server; None = as many as the upstream may have."""

    def __str__(self) -> str:
        return str(self.url)


def _server(value: Any, info: ValidationInfo) -> Any:
    """Take a server that is nothing but its address."""
    return Server.model_construct(url=parse_server(value, info)) if not isinstance(value, (dict, Server)) else value


class Health(Section):
    """How each worker asks each server whether it is well. Without the section nobody asks."""

    path: CheckPath
    host: UpstreamHost | None = None
    """`Host` of a check; None = what requests say, and the public one where they preserve the browser's."""
    interval: Period = 10.0
    timeout: Period = 2.0
    healthy: Count = 2
    """Checks in a row after which a server that was out is in again."""
    unhealthy: Count = 3
    """Failed checks in a row after which it is out."""
    status: Statuses = frozenset(range(200, 400))

    @model_validator(mode="after")
    def _timeout_fits(self) -> Self:
        if self.timeout > self.interval:
            raise ValueError("timeout is longer than interval")
        return self


class Ejection(Section):
    """When a server is left out because requests to it fail."""

    failures: Count = 3
    """In a row."""
    time: Period = 10.0
    """The first time; twice as long each time after it."""
    max_time: Period = 300.0
    max_share: Share = 0.5
    """Of the servers; one of several may always be out."""

    @model_validator(mode="after")
    def _times_fit(self) -> Self:
        if self.time > self.max_time:
            raise ValueError("time is longer than max_time")
        return self


class Breaker(Section):
    """When an upstream is not asked for a while because too many requests to it fail."""

    ratio: Share
    requests: Count = 20
    """Fewer in a window say nothing."""
    window: Period = 10.0
    open: Period = 5.0
    """How long nobody is asked before one request tries again."""

    @model_validator(mode="after")
    def _ratio_is_positive(self) -> Self:
        if not self.ratio:
            raise ValueError("ratio must be more than 0%")
        return self


class Retry(Section):
    """What happens to a request whose server cannot be reached, or hung up while it was being sent."""

    attempts: Annotated[int, Field(strict=True, ge=0, le=10)] = 2
    """Other servers that are tried; 0 = none, and nothing is sent again."""
    budget: Share = 0.2
    """Of the answered requests: how many may be sent a second time."""


class PathRewrite(Section):
    """How the path for the upstream differs from the public one."""

    strip_prefix: Prefix | None = None
    add_prefix: Prefix | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.strip_prefix == self.add_prefix:
            raise ValueError("write strip_prefix, add_prefix or both, and not the same one twice")
        return self


def _unless_off(value: Any) -> Any:
    return None if value == "off" else value


class Upstream(Portal):
    """A portal behind the gateway: its servers and how they are spoken to."""

    servers: Annotated[tuple[Annotated[Server, BeforeValidator(_server)], ...], Field(min_length=1)]
    balance: Balance = "round_robin"
    """`round_robin`, `least_connections`, or what is hashed: `user`, `ip`."""
    host: UpstreamHost = "preserve"
    """`preserve` sends the browser's Host, `rewrite` the server's own, anything else itself."""
    path: PathRewrite | None = None
    health: Health | None = None
    ejection: Annotated[Ejection | None, BeforeValidator(_unless_off)] = Ejection()
    breaker: Breaker | None = None
    retry: Retry = Retry()
    timeout: UpstreamTimeout = UpstreamTimeout()
    tls: UpstreamTLS = UpstreamTLS()
    max_connections: Count = 512
    """Connections of one worker to this upstream."""
    max_waiting: Annotated[int, Field(strict=True, ge=0)] = 1024
    """Requests of one worker that wait for a connection; more are refused."""
    max_uploads_per_client: Count | None = None
    """Requests of one client, in one worker, whose bodies are unfinished; None = an eighth of the connections."""
    receipt_key: Annotated[int, Field(strict=True, ge=1, le=MAX_KEY_NUMBER)] | None = None
    """Number of the key of the audit receipts that go along with requests; None = none do. Another number is another key."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.receipt_key is not None and self.sign_on is not None and self.sign_on.type == "form":
            raise ValueError("receipt_key does not go with sign_on by a form: the gateway's own sign-on has no receipt")
        if len({server.url.scheme for server in self.servers}) > 1:
            raise ValueError("the servers of an upstream are either all http or all https")
        if len({server.url for server in self.servers}) < len(self.servers):
            raise ValueError("a server is listed twice")
        if self.servers[0].url.scheme == "http" and self.tls != UpstreamTLS():
            raise ValueError("tls has no effect on http:// servers")
        names = [name.lower() for name in (*self.headers.values(), *self.token_fields.values())]
        if len(set(names)) < len(names):
            raise ValueError("two identity headers have the same name")
        if self.receipt_key is not None and FIELD.decode("ascii") in names:
            raise ValueError("x-audit-receipt carries the receipts of receipt_key and cannot carry an identity")
        if taken := _UNMAPPABLE.intersection(names):
            raise ValueError(f"{min(taken)} has a meaning of its own in HTTP and cannot carry an identity")
        return self


class Headers(Section):
    """Fields that every answer carries; on by default."""

    hsts: Duration = 2 * 365 * 86400.0
    """max-age of Strict-Transport-Security on TLS listeners; 0s withdraws it (RFC 6797 section 6.1.1)."""
    hsts_include_subdomains: StrictBool = False
    csp: FieldValue = "object-src 'none'; base-uri 'self'; frame-ancestors 'self'"
    """Enforced on portal answers, beside the portal's own policy."""
    csp_report_only: FieldValue | None = None
    referrer_policy: FieldValue = "same-origin"
    permissions_policy: FieldValue = (
        "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), "
        "microphone=(), midi=(), payment=(), usb=()"
    )
    cross_origin_opener_policy: Literal["same-origin", "same-origin-allow-popups", "unsafe-none"] = "same-origin"
    cross_origin_resource_policy: Literal["same-origin", "same-site", "cross-origin"] = "same-origin"


class Tunnels(Section):
    """How many WebSockets and event streams may be open at a time, over all workers; None = any number."""

    per_user: Count | None = None
    """Of one person; who is not signed in counts by address."""
    per_tenant: Count | None = None


class HTTP(Section):
    """Limits of the public listeners: bytes, counts and seconds."""

    max_head: Size = 32 * 1024
    max_fields: Count = 100
    max_target: Size = 8192
    max_body: Size = 1024 * 1024 * 1024
    max_connections: Count = 8192
    """Client connections of one worker."""
    max_connections_per_client: Count | None = None
    """Of these, from one address (one /64 of IPv6); None = three quarters. Trusted proxies are no client."""
    max_streams: Annotated[int, Field(strict=True, ge=1, le=1000)] = 100
    """Requests that one connection of HTTP/2 may have open (SETTINGS_MAX_CONCURRENT_STREAMS)."""
    head_timeout: Period = 10.0
    """From the first byte of a request to the end of its head."""
    body_timeout: Period = 30.0
    """Longest silence inside a request body."""
    idle_timeout: Period = 75.0
    """Longest silence between two requests of a connection."""
    kept_form: Annotated[Allowance, Field(le=LARGEST_KEPT_FORM)] = LARGEST_KEPT_FORM
    """A form that is kept while its sender signs in; 0 = none is."""
    write_timeout: Period = 60.0
    """Longest time in which a client takes no byte of an answer."""
    tunnels: Tunnels = Tunnels()
    handshake_timeout: Period = 10.0
    """From the connection to the end of the TLS handshake."""
    drain_timeout: Annotated[Period, Field(le=MAX_DRAIN_S)] = MAX_DRAIN_S
    """Time that open requests have to finish when the gateway stops."""


class Shutdown(Section):
    """How the gateway stops, before `http.drain_timeout` begins."""

    delay: Annotated[Duration, Field(le=MAX_DELAY_S)] = 0.0
    """Time in which it still serves but says that it is not ready, for a load balancer to notice; the stop takes longer by it."""


class Upgrade(Section):
    """How a running gateway hands over to a new program."""

    ready_timeout: Annotated[Period, Field(le=MAX_READY_S)] = 60.0
    """Time that the new program has to get ready; after it the old one goes on."""
    drain_timeout: Annotated[Period, Field(le=MAX_LEAVING_S)] = 60.0
    """Time that requests and tunnels of the old program have to finish, while the new one serves."""


class Geo(Section):
    """Where addresses are, for the account page. The operator brings the database."""

    database: Location | None = None
    """MaxMind DB file (city or country); absent = no place is shown."""


class Logging(Section):
    """What the processes write for people, apart from the audit trail."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"
    output: Literal["stderr", "stdout"] = "stderr"
    requests: StrictBool = True
    """One line for each request."""


class ForwardAuth(Section):
    """Other proxies that ask the gateway before they pass a request on (`/.gateway/check`)."""

    style: Literal["nginx", "forwarded", "envoy"]
    """How they say what they ask about: X-Original-* (`nginx`), X-Forwarded-* (Traefik, Caddy), or as it is (`envoy`)."""
    proxies: tuple[Network, ...] = ()
    """Those that may ask; empty = `trusted_proxies`."""


class Settings(Section):
    """All of gateway.yaml."""

    version: Literal[1]
    profile: Annotated[str, BeforeValidator(_profile)] = "baseline"
    public_url: PublicURL
    listen: Annotated[tuple[Listener, ...], Field(min_length=1)]
    admin: Admin = Admin()
    workers: Annotated[int | None, PlainValidator(_workers)] = None
    """Edge processes; None = one for each CPU the gateway may run on."""
    state_dir: Location = Path("/var/lib/gateway")
    state: Annotated[State, BeforeValidator(read_state)] = State()
    keyring: Annotated[Location, Field(validate_default=True)] = Path("config/keyring.json")
    trusted_proxies: tuple[Network, ...] = ()
    forward_auth: ForwardAuth | None = None
    forwarded_from: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"
    """The one field in which the trusted proxies name the client; the other is never read."""
    upstreams: Annotated[dict[Name, Upstream], Field(min_length=1)]
    tenants: dict[Name, Tenant] = Field(default_factory=dict)
    identity: Identity = Identity()
    mfa: MFA = MFA(required="enrolled")
    sessions: SessionRules = SessionRules()
    passwords: Passwords = Passwords()
    mail: Mail | None = None
    policies: Annotated[Location, Field(validate_default=True)] = Path("policies")
    candidate: Location | None = None
    """Directory of a policy that is tried beside the live one without effect; None = what the live files say in shadow."""
    limits: dict[Name, Limit] = Field(default_factory=dict)
    headers: Headers = Headers()
    audit: Audit
    http: HTTP = HTTP()
    reload: ReloadRules = ReloadRules()
    shutdown: Shutdown = Shutdown()
    upgrade: Upgrade = Upgrade()
    branding: Branding = Branding()
    texts: TextRules = TextRules()
    geo: Geo = Geo()
    logging: Logging = Logging()
    trace: Trace = Trace()
    inspection: Inspection = Inspection()

    @property
    def hosts(self) -> Mapping[str, str]:
        """Every host the gateway answers for, with its tenant; empty = shared by all tenants."""
        hosts = {self.public_url.host: ""}
        for name, tenant in self.tenants.items():
            hosts.update(dict.fromkeys(tenant.hosts, name))
        return MappingProxyType(hosts)

    @property
    def limit_specs(self) -> Mapping[str, LimitSpec]:
        """The named limits; `login` is always among them."""
        limits = {LOGIN_LIMIT: Limit(rate="10/m", burst=10, per="ip"), **self.limits}  # type: ignore[arg-type]  # as in the file
        return MappingProxyType({name: item.spec(name) for name, item in limits.items()})

    @property
    def worker_count(self) -> int:
        """Number of edge processes on this machine."""
        return self.workers or len(os.sched_getaffinity(0))

    @property
    def resets_by_mail(self) -> bool:
        """A forgotten password is replaced by a code in a mail."""
        return self.mail is not None and self.passwords.reset != "operator"

    def branding_of(self, tenant: str) -> Branding:
        """Return the look of our pages on the hosts of a tenant."""
        own = self.tenants[tenant].branding if tenant in self.tenants else None
        return self.branding if own is None else own.over(self.branding)

    def session_rules(self, tenant: str) -> SessionRules:
        """Merge what a tenant says about sessions over the general rules; an unknown tenant changes nothing."""
        return self.tenants[tenant].sessions.over(self.sessions) if tenant in self.tenants else self.sessions

    def warnings(self) -> list[str]:
        """Say, for each switch that weakens the gateway, which one it is and what it opens."""
        return [f"{dotted(place)}: {sentence}" for place, sentence in _weakened(self)]


def load_settings(text: str, path: str | Path) -> Settings:
    """Read the text of a gateway.yaml that stands at `path`; relative paths in it start at its directory.

    Raises:
        ConfigurationError: with every error, each as `gateway.yaml:12:5: sentence`.

    """
    document = load(text, Path(path).name)
    if not isinstance(document.data, dict):
        raise DocumentError((document.finding((), "the file is not a mapping of keys to values"),))
    errors = find_unbuilt(document.data)
    try:
        settings = Settings.model_validate(
            {"audit": {}, **document.data}, context={"base": Path(path).resolve().parent}
        )
    except ValidationError as error:
        refused = {place for place, _ in errors}
        found = [explain(item) for item in error.errors() if not (item["type"] == "too_short" and item["input"])]
        errors += [(place, sentence) for place, sentence in found if place not in refused]
    else:
        errors += _contradictions(settings)
        if not errors:
            return settings
    findings = sorted({finding_at(document, place, sentence) for place, sentence in errors})
    raise DocumentError(tuple(findings))


def dotted(place: Place) -> str:
    """Write a place of the file as people do: `upstreams.portal.servers[0]`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def finding_at(document: Document, place: Place, sentence: str) -> Diagnostic:
    """Point at the key where the key is at fault, at the value otherwise."""
    name = dotted(place)
    return document.finding(place, f"{name}: {sentence}" if name else sentence, key=sentence.startswith("unknown key"))


def explain(error: ErrorDetails, root: type[Section] | None = None) -> tuple[Place, str]:
    """Turn one finding of pydantic into a place and a sentence for an operator; `root` is the file's own section."""
    place: Place = tuple(part for part in error["loc"] if part != "[key]")
    match error["type"]:
        case "extra_forbidden":
            section = _section_at(place[:-1], root or Settings)
            fields = section.model_fields.items() if section else ()
            return place, "unknown key" + did_you_mean(str(place[-1]), [item.alias or name for name, item in fields])
        case "missing":
            return place[:-1], f"the key {place[-1]} is missing"
        case "model_type" | "model_attributes_type" | "dict_type":
            return place, "write a mapping of keys to values"
        case "tuple_type":
            return place, "write a list"
        case "too_short" | "string_too_short":
            return place, "must not be empty"
        case "bool_type":
            return place, "write true or false"
        case "string_type":
            return place, "write text"
        case "int_type":
            return place, "write a whole number"
        case "literal_error" | "enum":
            return place, f"write {error.get('ctx', {}).get('expected', 'another value')}"
        case "greater_than_equal":
            return place, f"must be at least {error['ctx']['ge']}"
        case "less_than_equal":
            most = error["ctx"]["le"]
            return place, f"must be at most {written_duration(most) if isinstance(most, float) else most}"
        case "value_error":
            return place, str(error["ctx"]["error"])
        case _:
            return place, error["msg"][:1].lower() + error["msg"][1:]


def _section_at(place: Place, root: type[Section]) -> type[Section] | None:
    """Find the section that stands at `place` below `root`, to know its keys."""
    here: Any = root
    for part in place:
        if isinstance(here, type) and issubclass(here, Section):
            field = here.model_fields.get(str(part))
            here = field.annotation if field else None
        else:  # tuple[X, ...] by index, dict[Name, X] by key
            arguments = get_args(here)
            here = arguments[-1] if get_origin(here) is dict else arguments[0] if arguments else None
        if get_origin(here) is Annotated:
            here = get_args(here)[0]
        if get_origin(here) in {Union, UnionType}:
            here = next(option for option in get_args(here) if option is not type(None))
    return here if isinstance(here, type) and issubclass(here, Section) else None


def _weakened(settings: Settings) -> Iterator[tuple[Place, str]]:
    for index, listener in enumerate(settings.listen):
        if listener.unsafe_plaintext:
            yield ("listen", index, "unsafe_plaintext"), f"{listener.address} sends passwords and sessions in the clear"
    if settings.admin.unsafe_remote:
        yield ("admin", "unsafe_remote"), f"everybody who reaches {settings.admin.address} reads metrics and probes"
    yield from weakened_sinks(settings.audit.sinks)
    if settings.audit.witness.unsafe_plaintext:
        yield (
            ("audit", "witness", "unsafe_plaintext"),
            "checkpoints on the way to witnesses can be watched and held back",
        )
    if settings.audit.witness.serve is not None and settings.audit.witness.serve.unsafe_plaintext:
        yield (
            ("audit", "witness", "serve", "unsafe_plaintext"),
            "checkpoints on the way here can be watched and held back",
        )
    for name, upstream in settings.upstreams.items():
        if upstream.tls.unsafe_skip_verify:
            yield ("upstreams", name, "tls", "unsafe_skip_verify"), "anybody on the way can pose as this upstream"
    for index, provider in enumerate(settings.identity.providers):
        if not provider.email.require_verified:
            place: Place = ("identity", "providers", index, "email", "require_verified")
            yield place, f"addresses count that nobody checked, if {provider.id} lets people choose theirs"
    for index, issuer in enumerate(settings.identity.issuers):
        if not issuer.email.require_verified:
            place = ("identity", "issuers", index, "email", "require_verified")
            yield place, f"portals are told addresses that nobody checked, if {issuer.id} lets people choose theirs"
    if settings.mfa.passkeys.copied == "record":
        yield ("mfa", "passkeys", "copied"), "a copy of a passkey signs in, and only the audit trail says so"
    if settings.passwords.breach_check == "off":
        yield ("passwords", "breach_check"), "passwords known from breaches are accepted"
    if settings.mail and settings.mail.smtp.security == "unsafe_plaintext":
        yield ("mail", "smtp", "security"), "codes for new passwords travel to the mail server in the clear"


def _contradictions(settings: Settings) -> Iterator[tuple[Place, str]]:
    """Find what is right in each place and wrong together."""
    yield from _tenant_conflicts(settings)
    if settings.candidate is not None and settings.candidate == settings.policies:
        yield ("candidate",), "is the directory of the live policies; name another one, or write mode: shadow in them"
    yield from sink_contradictions(settings.audit.sinks, settings.state_dir)
    yield from tenant_contradictions(settings.tenants, mfa_required=settings.mfa.required)
    yield from _session_conflicts(settings)
    yield from factor_contradictions(settings.mfa, host=settings.public_url.host)
    yield from _unknown_tenants_of_certificates(settings)
    yield from identity_contradictions(
        settings.identity, tenants=settings.tenants, hosts=settings.hosts, secure=settings.public_url.scheme == "https"
    )
    yield from program_contradictions(settings.identity, tenants=settings.tenants, hosts=settings.hosts)
    for index, issuer in enumerate(settings.identity.issuers):
        if (
            urlsplit(issuer.issuer).hostname in settings.hosts
        ):  # attack: a portal comes back with the assertion it was told
            yield ("identity", "issuers", index, "issuer"), "is the gateway itself, whose assertions open nothing here"
    for below, sentence in detector_contradictions(settings.inspection.detectors, settings.inspection.spared):
        yield ("inspection", *below), sentence
    yield from _address_conflicts(settings)
    kinds = {listener.kind for listener in settings.listen}
    if "redirect" in kinds and "tls" not in kinds and not settings.trusted_proxies:
        yield ("listen",), "redirect_to_https needs a listener with tls to lead to"
    if kinds == {"redirect"}:
        yield ("listen",), "no listener serves requests"
    if settings.public_url.scheme == "http" and "plaintext" not in kinds:
        yield ("public_url",), "is http, but no listener says unsafe_plaintext: true"
    for index, listener in enumerate(settings.listen):
        if listener.proxy_protocol and not settings.trusted_proxies:
            yield ("listen", index, "proxy_protocol"), "needs trusted_proxies: only they may send a PROXY header"
    if "forwarded_from" in settings.model_fields_set and not settings.trusted_proxies:
        yield ("forwarded_from",), "has no effect without trusted_proxies"
    of_client = settings.http.max_connections_per_client
    if of_client is not None and of_client > settings.http.max_connections:
        yield ("http", "max_connections_per_client"), "is more than http.max_connections"
    for name, upstream in settings.upstreams.items():
        if upstream.max_uploads_per_client is not None and upstream.max_uploads_per_client > upstream.max_connections:
            yield ("upstreams", name, "max_uploads_per_client"), "is more than max_connections of the upstream"
        if upstream.receipt_key is not None and settings.forward_auth:
            yield ("upstreams", name, "receipt_key"), "does not go with forward_auth: another proxy forwards no receipt"
    if settings.forward_auth and not (settings.forward_auth.proxies or settings.trusted_proxies):
        yield ("forward_auth",), "name the proxies that may ask, here or in trusted_proxies"
    if settings.forward_auth:
        place: Place = ("forward_auth", "proxies") if settings.forward_auth.proxies else ("trusted_proxies",)
        for index, network in enumerate(settings.forward_auth.proxies or settings.trusted_proxies):
            if not network.prefixlen:  # attack: a client that asks for itself is told an assertion
                yield (*place, index), f"with {network} everybody could ask at /.gateway/check; name the proxies"
    yield from _branding_errors(("branding",), settings.branding)
    for name, tenant in settings.tenants.items():
        if tenant.branding is not None:
            yield from _branding_errors(("tenants", name, "branding"), tenant.branding)
    if settings.passwords.reset == "mail" and settings.mail is None:
        yield ("passwords", "reset"), "needs the section mail: the code goes by mail"
    login = settings.limits.get(LOGIN_LIMIT)
    if login and login.per != "ip":
        yield ("limits", LOGIN_LIMIT, "per"), "attempts to sign in are counted per ip: nobody is signed in yet"


def _session_conflicts(settings: Settings) -> Iterator[tuple[Place, str]]:
    """Find what rules of sessions ask for that nothing else in the file provides."""
    asks = any(listener.asks_clients for listener in settings.listen)
    places: list[tuple[Place, SessionRules | TenantSessions]] = [(("sessions",), settings.sessions)]
    places += [(("tenants", name, "sessions"), tenant.sessions) for name, tenant in settings.tenants.items()]
    if not any(rules.concurrent or any(role.concurrent for role in rules.roles.values()) for _, rules in places):
        for place, rules in places:
            if "when_full" in rules.model_fields_set:
                yield (*place, "when_full"), "has no effect without concurrent"
    for place, rules in places:
        if rules.new_device is NewDevice.NOTIFY and settings.mail is None:
            yield (*place, "new_device"), "needs mail, by which people are told"
        if rules.new_device is NewDevice.CONFIRM and settings.mail is None:
            yield (*place, "new_device"), "needs the section mail: the code goes by mail"
        bindings = [((*place, "bind"), rules.bind)]
        bindings += [((*place, "roles", name, "bind"), role.bind) for name, role in rules.roles.items()]
        for where, binding in bindings:
            if binding is not None and binding.network.country and not settings.geo.database:
                yield (*where, "network"), "needs geo.database, which tells in which country an address is"
            if binding is not None and binding.certificate and not asks:
                yield (*where, "certificate"), "no listener has client_certificates, so nobody could show one"


def _unknown_tenants_of_certificates(settings: Settings) -> Iterator[tuple[Place, str]]:
    for index, listener in enumerate(settings.listen):
        for number, item in enumerate(listener.client_certificates.map if listener.client_certificates else ()):
            if settings.tenants and item.tenant not in settings.tenants:
                yield (
                    ("listen", index, "client_certificates", "map", number, "tenant"),
                    f"the tenant {item.tenant} does not exist" + did_you_mean(item.tenant, settings.tenants),
                )


def _branding_errors(place: Place, branding: Branding) -> Iterator[tuple[Place, str]]:
    """Find what the pages would not show; what is in the file of the logo is `validate`'s to find out."""
    try:
        branding.values(b"")
    except ValueError as error:
        key, _, sentence = str(error).partition(" ")
        yield (*place, key), sentence
    if branding.logo and not branding.name:
        yield (*place, "logo"), "a logo needs a name: screen readers say it"


def _tenant_conflicts(settings: Settings) -> Iterator[tuple[Place, str]]:
    owners: dict[str, str] = {}
    for name, tenant in settings.tenants.items():
        for index, host in enumerate(tenant.hosts):
            owner = owners.setdefault(host, name)
            if owner != name:
                yield ("tenants", name, "hosts", index), f"{host} already belongs to the tenant {owner}"
            elif host in tenant.hosts[:index]:
                yield ("tenants", name, "hosts", index), f"{host} is listed twice"
        rules = settings.session_rules(name)
        if rules.idle > rules.absolute:
            yield ("tenants", name, "sessions"), "idle is longer than absolute"


def _address_conflicts(settings: Settings) -> Iterator[tuple[Place, str]]:
    taken: list[tuple[str, Address]] = [("admin.address", settings.admin.address)]
    for index, listener in enumerate(settings.listen):
        place: Place = ("listen", index, "address")
        for name, other in taken:
            if _overlap(listener.address, other):
                yield place, f"{listener.address} is taken by {name}"
        taken.append((dotted(place), listener.address))
    own_sockets = os.path.realpath(settings.state_dir / "run")
    for name, upstream in settings.upstreams.items():
        for index, server in enumerate(upstream.servers):
            where: Place = ("upstreams", name, "servers", index)
            url = server.url
            if isinstance(url, UnixSocket):
                if os.path.realpath(url.path).startswith(own_sockets + "/"):  # attack: past policy, to our pages
                    yield where, f"{server} is a socket of the gateway's own"
                continue
            for owner, address in taken:
                if _reaches(url, address, settings.hosts):  # a request would pass the gateway again, or reach /metrics
                    yield where, f"{server} is the gateway's own {owner}"


def _overlap(one: Address, other: Address) -> bool:
    if one.port != other.port:
        return False
    first, second = ip_address(one.host), ip_address(other.host)
    return first == second or (first.version == second.version and (first.is_unspecified or second.is_unspecified))


def _reaches(server: Origin, address: Address, hosts: Mapping[str, str]) -> bool:
    """Tell whether `server` is `address`, as far as names alone show it."""
    if server.port != address.port:
        return False
    bound = ip_address(address.host)
    try:
        target = ip_address(server.host)
    except ValueError:
        if server.host == "localhost" or server.host.endswith(".localhost"):  # RFC 6761 section 6.3
            return bound.is_loopback or bound.is_unspecified
        return server.host in hosts and not bound.is_loopback
    return target == bound or target.is_unspecified or (target.is_loopback and bound.is_unspecified)
