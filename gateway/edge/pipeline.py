"""The pipeline, straight down: from the parsed head to permission to go upstream.

Read `receive`, then `admit`, to answer "can a request reach the upstream without passing X?". Each stage may
object; policy alone can allow; an exception refuses. The stages stand in the order in which they may object.
Nothing here waits. What must wait is the connection's work: between the two functions for what a store in the
network has to say, after them for the intent record and the upstream.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

from gateway.authn.certificate import AmbiguousCertificateError
from gateway.edge.activity import shows_activity
from gateway.edge.astray import is_astray
from gateway.edge.certified import certificate_entry, certificate_of
from gateway.edge.credential import prove
from gateway.edge.cross_origin import PREFLIGHT, judge_sender, preflight_of
from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.limits import subject_of
from gateway.edge.sessions import Sessions
from gateway.edge.tenancy import bound_at, settle_tenant
from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.reason import Reason
from gateway.exchange.session import Owed
from gateway.policy import NO_FACTS, Facts
from gateway.policy.obligations import stronger
from gateway.ratelimit.gcra import Bucket
from gateway.session.binding import is_bound
from gateway.wire.request import SAFE_METHODS

STORE_RETRY_S: Final = 2.0
DEBTS: Final = {
    Owed.MFA: Reason.MFA_REQUIRED,
    Owed.ENROLMENT: Reason.MFA_ENROLMENT_REQUIRED,
    Owed.DEVICE: Reason.DEVICE_UNCONFIRMED,
    Owed.ROOM: Reason.TOO_MANY_SESSIONS,
}
ANYWHERE: Final = frozenset((Owed.DEVICE, Owed.ROOM))
"""What is owed on routes without `mfa` as well: it is no second factor."""
REPORTS: Final = "csp-report"
UNCOUNTED_FORMS: Final = frozenset((REPORTS, "session", "oidc"))
"""What a page, or an identity provider, sends by itself and no person could send too often."""
PASSIVE_PAGES: Final = frozenset(("static", "jwks.json", REPORTS, "session", PREFLIGHT))
"""Pages of ours that are no use of a session."""


class Limits(Protocol):
    """What counts requests against their limits."""

    def take(self, bucket: Bucket, subject: str, now: float) -> float:
        """Take one request; 0.0 when it conforms, else the seconds after which one would."""


def receive(x: Exchange, limits: Limits, now: float) -> Refusal | None:
    """Settle from memory alone who sends `x` and where it leads; None means that `admit` has to decide about it.

    Framing and the grammar of the head (stage 1) were settled when the head was parsed.
    """
    s, fields, peer = x.snapshot, x.fields, x.peer
    authority = fields.authority
    assert authority is not None  # noqa: S101 - a head without a valid Host is no Exchange

    # 2 client identity: forwarding fields count only from trusted proxies
    x.counted = peer.limiter_key
    if peer.trusted:
        client = s.trusted_proxies.client(peer.ip, fields.forwarded_for, fields.forwarded_proto, fields.forwarded)
        if isinstance(client, Reason):
            return Refusal("client", client)
        x.client_ip, x.counted, x.chain = client.address, client.limiter_key, client.chain
        if client.scheme:
            x.secure = client.scheme == "https"

    # 3 shed: before any store is touched
    for bucket in s.limits:
        wait = limits.take(bucket, x.counted, now)
        if wait:
            return Refusal("shed", Reason.SHED, retry_after_s=wait)
    # what detectors of abuse answered to the network
    if s.gate is not None and (answer := s.gate.on_arrival(x, limits, now)) is not None:
        return answer

    # 4 route: host, then path, then method
    tenant = s.hosts.get(authority.host)
    if tenant is None or (authority.port is not None and authority.port not in s.ports and not peer.trusted):
        return Refusal("route", Reason.MISDIRECTED)
    # domain fronting: a connection that was opened for one host asks for another (RFC 9110 section 7.4)
    if peer.sni != authority.host and peer.sni and not peer.trusted and not peer.serves(authority.host):
        return Refusal("route", Reason.SNI_MISMATCH)
    x.tenant = tenant
    if peer.redirects and not x.secure:
        return Refusal("route", Reason.HTTPS_REQUIRED)
    resolution = s.resolver.resolve(authority, x.raw_target, x.method)
    if x.method == b"OPTIONS" and fields.origin:  # a preflight: answered here, where the route grants anything
        resolution = preflight_of(x, authority) or resolution
    x.resolution = resolution
    if resolution.refusal is not None:
        return Refusal("route", resolution.refusal)
    if resolution.demands_tls and not x.secure:  # RFC 9110 §7.4
        return Refusal("route", Reason.MISDIRECTED)
    route = x.route = resolution.route
    match = resolution.match
    if match is not None and match.rule.tenancy is not None:
        settle_tenant(x, match, match.rule.tenancy, authority.host)
    x.durability = route.durability or s.durability
    x.inspection = s.inspections.get(route.name)
    return None


def admit(x: Exchange, sessions: Sessions, limits: Limits, now: float) -> Refusal | None:
    """Decide whether `x`, which was received, may go upstream; None means yes, and `x.reason` then names who allowed it."""
    s, fields, peer, route, tenant, counted = x.snapshot, x.fields, x.peer, x.route, x.tenant, x.counted
    resolution, authority = x.resolution, fields.authority
    assert resolution is not None  # noqa: S101 - received
    assert authority is not None  # noqa: S101 - a head without a valid Host is no Exchange

    # 5 session or credential
    token = fields.secure_token if x.secure else fields.plain_token
    entry = None
    if token is not None:
        try:
            entry = sessions.lookup(token, now)
        except StoreUnavailableError:
            return Refusal("session", Reason.STORE_UNAVAILABLE, retry_after_s=STORE_RETRY_S)
        # bound to its host and to TLS: a session of another host is no session here
        if entry is not None and (entry.session.host != authority.host or entry.session.secure is not x.secure):
            entry = None
        # bound to more than its cookie: a stolen one is no session here
        if entry is not None and is_bound(entry.session) and is_astray(x, entry, sessions, now):
            entry = None
            if not route.public:
                return Refusal("session", Reason.SESSION_ELSEWHERE)
    x.entry = entry

    if resolution.match is None:  # our own pages: they ask for what they need themselves
        if entry is not None and s.policy.is_foreign(entry.session, tenant):  # the host is another tenant's by now
            x.entry = entry = None
        if s.gate is not None and (answer := s.gate.on_identity(x, entry, limits, now)) is not None:
            return answer
        # a sign-in at a provider begins without a form; its logout tokens come in a burst, from one address
        is_sign_in = resolution.internal == "oidc" and x.method != b"POST"  # attack: our pages take HEAD for GET
        if is_sign_in or (x.method == b"POST" and resolution.internal not in UNCOUNTED_FORMS):
            wait = limits.take(s.login_limit if resolution.internal == "login" else s.form_limit, counted, now)
            if not wait and resolution.internal == "login" and tenant in s.login_limits:
                wait = limits.take(s.login_limits[tenant], counted, now)
            if wait:
                return Refusal("limit", Reason.TOO_MANY_ATTEMPTS, retry_after_s=wait)
        if resolution.internal == REPORTS:  # a page sends them, and anybody can
            wait = limits.take(s.report_limit, counted, now)
            if wait:
                return Refusal("limit", Reason.RATE_LIMITED, retry_after_s=wait)
        if fields.length is not None and fields.length > (route.max_body_bytes or 0):
            return Refusal("inspection", Reason.BODY_TOO_LARGE)
        if entry is not None and resolution.internal not in PASSIVE_PAGES:
            sessions.touch(entry, now)
        x.stage, x.reason, x.allowed = "pages", Reason.PUBLIC, True
        return None

    # an API key or a bearer token, where the route takes them; never beside a session
    rule = resolution.match.rule
    proven = None
    if rule.takes_fields:
        shown = prove(x, sessions, limits, now, is_signed_in=entry is not None)
        if isinstance(shown, Refusal):
            return shown
        proven = shown
        if proven is not None:
            x.entry = entry = proven
    if not rule.takes_session and proven is None:
        x.entry = entry = None

    if route.client_certificate:
        if certificate_of(peer, s, now) is not None:
            try:
                certified = certificate_entry(peer, s, now)
                if certified is not None and sessions.is_disabled(certified.session.user, certified.session.tenant):
                    return Refusal("session", Reason.SESSION_REVOKED)
            except AmbiguousCertificateError:
                return Refusal("session", Reason.CREDENTIALS_CONFLICT)
            except StoreUnavailableError:
                return Refusal("session", Reason.STORE_UNAVAILABLE, retry_after_s=STORE_RETRY_S)
            if certified is not None:
                if entry is None:
                    x.entry = entry = certified
                elif (entry.session.tenant, entry.session.user) != (certified.session.tenant, certified.session.user):
                    return Refusal("session", Reason.CREDENTIALS_CONFLICT)
        elif route.client_certificate == "required":
            return Refusal("session", Reason.CERTIFICATE_REQUIRED)

    if route.authorization == "gateway" and fields.authorization and not rule.takes_fields:
        return Refusal("session", Reason.CREDENTIALS_CONFLICT if entry else Reason.SIGN_IN_REQUIRED)
    if s.gate is not None and (answer := s.gate.on_identity(x, entry, limits, now)) is not None:
        return answer
    # 6 assurance: from where, what is owed, by which browser, how lately and by what it was proven
    requirement = route.requirement
    if requirement is not None and requirement.refuses_address(x.client_ip):
        return Refusal("assurance", Reason.NETWORK_REFUSED)
    session = entry.session if entry is not None else None
    if session is not None and session.owes is not Owed.NOTHING:
        if not route.public and (route.mfa or session.owes in ANYWHERE or session.owes_next in ANYWHERE):
            return Refusal("assurance", DEBTS[session.owes])
        if route.public:
            x.entry = session = None
    if requirement is not None and session is not None:
        if requirement.refuses_device(session):
            return Refusal("assurance", Reason.DEVICE_UNKNOWN)
        if requirement.lack(session, now):
            return Refusal("assurance", Reason.STEP_UP_REQUIRED)
    # 7 tenant: crossing ends here, whatever policy would say
    if x.is_torn and (route.public or session is not None):
        return Refusal("tenant", Reason.TENANT_MISMATCH, bound_at(rule))
    if session is not None and s.policy.is_foreign(session, tenant):
        if not route.public:
            return Refusal("tenant", Reason.TENANT_MISMATCH, bound_at(rule))
        x.entry = session = None
    if session is None and not route.public:
        return Refusal("session", Reason.SIGN_IN_REQUIRED if rule.takes_session else Reason.CREDENTIAL_REQUIRED)

    # 8 policy: the only source of ALLOW
    decision = s.policy.decide(resolution.match, session, _facts(x) if rule.asks else NO_FACTS, now)
    x.rule = decision.rule
    if not decision.allowed:
        return Refusal("policy", decision.reason, decision.rule)

    obligation = decision.obligation
    if obligation is not None:
        x.durability = stronger(x.durability, obligation.durability)
    x.field_rules = (obligation.headers if obligation is not None else None) or route.headers

    # 9 limits by user, key, tenant, route and entry
    if proven is not None and proven.bucket is not None:
        wait = limits.take(proven.bucket, proven.session.handle, now)
        if wait:
            return Refusal("limit", Reason.RATE_LIMITED, retry_after_s=wait)
    of_tenant = session.tenant if session is not None else tenant
    own = s.limits_of_tenant.get(of_tenant) if s.limits_of_tenant else None
    buckets = s.limits_of[route.name]
    if obligation is not None and obligation.limit is not None:
        buckets = (*buckets, *s.limits_of.get(obligation.limit.name, ()))
    if own or buckets:
        user = session.user_id if session is not None else ""
        key = proven.session.handle if proven is not None else ""
        for bucket in (*buckets, *own) if own else buckets:
            subject = subject_of(bucket.spec, ip=counted, user=user, tenant=of_tenant, route=route.name, key=key)
            wait = limits.take(bucket, subject, now) if subject else 0.0
            if wait:
                return Refusal("limit", Reason.RATE_LIMITED, retry_after_s=wait)

    # 10 inspection of the head
    # cross-site request forgery: a browser sends a certificate along with whatever site asks, and no SameSite forbids it
    if (
        (fields.websocket or (entry is not None and entry is peer.entry and x.method not in SAFE_METHODS))
        and fields.origin
        and fields.origin != b"%b://%b" % (b"https" if x.secure else b"http", authority.text.encode("ascii"))
    ):
        return Refusal("inspection", Reason.CROSS_ORIGIN)
    refusal = judge_sender(x) if x.inspection is not None else None
    if refusal is not None:
        return refusal
    if fields.service_worker and not route.allow_service_worker:
        return Refusal("inspection", Reason.SERVICE_WORKER)
    if fields.length is not None and fields.length > (route.max_body_bytes or s.wire.max_body):
        return Refusal("inspection", Reason.BODY_TOO_LARGE)

    if entry is not None and entry.session.credential == "cookie" and shows_activity(x):
        sessions.touch(entry, now)
    x.stage, x.reason, x.allowed = "policy", decision.reason, True
    return None


def _facts(x: Exchange) -> Facts:
    """What conditions may ask about the request."""
    fields, resolution = x.fields, x.resolution
    assert resolution is not None  # noqa: S101 - asked for after routing
    assert resolution.target is not None  # noqa: S101 - a resolution with a match has a target
    return Facts(
        method=x.method.decode("ascii"),
        host=fields.authority.host if fields.authority is not None else "",
        path=resolution.target.path,
        query=resolution.target.query.decode("ascii"),
        client_ip=x.client_ip,
        tenant=x.tenant,
        secure=x.secure,
        user_agent=fields.user_agent.decode("latin-1"),
    )


def retry_after(seconds: float) -> int:
    """Whole seconds for Retry-After, at least one."""
    return max(1, math.ceil(seconds))
