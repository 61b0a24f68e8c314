"""What the gateway would answer to one request of one person, without a running gateway.

Goes through the stages that depend on configuration alone, in the order of the pipeline: host,
route, session, factor, tenant, policy. Limits, bodies and upstreams are not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from gateway.exchange.decision import Decision
from gateway.exchange.reason import Reason
from gateway.exchange.session import Session
from gateway.policy.condition import Facts
from gateway.policy.table import Match, PolicyTable, is_own
from gateway.wire.address import canonical_address
from gateway.wire.authority import parse_authority
from gateway.wire.target import parse_target

_DAY_S = 86400.0
_FACTOR_REASONS = frozenset({Reason.SIGN_IN_REQUIRED, Reason.MFA_REQUIRED, Reason.MFA_ENROLMENT_REQUIRED})
_NOT_TAKEN = {
    "api_key": Decision(allowed=False, reason=Reason.API_KEY_REFUSED),
    "bearer": Decision(allowed=False, reason=Reason.TOKEN_REFUSED),
}
"""Where a route reads fields that prove who asks, one that it does not take is refused, not passed over."""
_STEP_UP = Decision(allowed=False, reason=Reason.STEP_UP_REQUIRED)
_ELSEWHERE = Decision(allowed=False, reason=Reason.NETWORK_REFUSED)
_UNKNOWN_DEVICE = Decision(allowed=False, reason=Reason.DEVICE_UNKNOWN)
_OTHER_HOST = Decision(allowed=False, reason=Reason.TENANT_MISMATCH)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who is signed in. Ages are seconds."""

    user: str
    tenant: str
    roles: tuple[str, ...]
    user_id: str = ""
    """Empty = the same as `user`."""
    email: str = ""
    amr: tuple[str, ...] = ("pwd", "otp", "mfa")
    auth_age: float = 0.0
    mfa_age: float | None = 0.0
    """None = the second factor was never proven."""
    credential: Literal["cookie", "api_key", "bearer"] = "cookie"
    """What proves who it is; a program's has no factor."""
    scopes: tuple[str, ...] = ()
    """Of a program; a person who is signed in has none."""
    known_device: bool = False
    """The browser is one that the person had signed in with before."""
    provider: str = "local"
    country: str = ""

    def session(self, facts: Facts, now: float) -> Session:
        """Make the session that this person would have."""
        auth_time = now - max(self.auth_age, self.mfa_age or 0.0)
        is_person = self.credential == "cookie"
        return Session(
            handle="example",
            user_id=self.user_id or self.user,
            user=self.user,
            tenant=self.tenant,
            roles=self.roles,
            email=self.email,
            amr=() if not is_person else self.amr if self.mfa_age is not None else ("pwd",),
            auth_time=auth_time,
            mfa_time=0.0 if self.mfa_age is None or not is_person else now - self.mfa_age,
            created=auth_time,
            expires=now + _DAY_S,
            idle_s=_DAY_S,
            host=facts.host,
            secure=facts.secure,
            client_ip=facts.client_ip,
            user_agent=facts.user_agent,
            credential=self.credential,
            scopes=() if is_person else self.scopes,
            known_device=self.known_device and is_person,
            provider=self.provider,
            country=self.country,
        )


class Verdict(NamedTuple):
    """The answer, and the route it was given for (None when no route was found)."""

    match: Match | None
    decision: Decision

    @property
    def route(self) -> str:
        """Name of the route; empty when there is none."""
        return self.match.route.name if self.match else ""


def parse_request(method: str, url: str, *, client_ip: str = "", user_agent: str = "") -> Facts:
    """Read a method and an absolute URL as the edge reads a request.

    Raises:
        ValueError: with a sentence, for what the edge would not accept either.

    """
    try:
        client_ip = client_ip and canonical_address(client_ip)
    except ValueError:
        raise ValueError(f"{client_ip!r} is no address of a client, such as 192.0.2.7 or 2001:db8::7") from None
    parts = urlsplit(url)
    authority = parse_authority(parts.netloc.encode("utf-8"))
    if parts.scheme not in {"http", "https"} or authority is None:
        raise ValueError(f"{url!r} is not an absolute URL such as https://portal.example.com/invoices/42")
    target = parse_target(url.partition("://")[2].removeprefix(parts.netloc).encode("utf-8") or b"/", authority)
    if isinstance(target, Reason):
        raise ValueError(f"{url!r}: the gateway refuses this address ({target})")  # noqa: TRY004 - a value, not a type
    return Facts(
        method=method,
        host=authority.host,
        path=target.path,
        query=target.query.decode("ascii"),
        client_ip=client_ip,
        secure=parts.scheme == "https",
        user_agent=user_agent,
    )


def judge(table: PolicyTable, hosts: Mapping[str, str], facts: Facts, person: Person | None, now: float) -> Verdict:
    """Answer one request; `hosts` maps each host of the gateway to its tenant (empty = shared by all)."""
    match = route(table, hosts, facts)
    if isinstance(match, Reason):
        return Verdict(None, Decision(allowed=False, reason=match))
    return answer(table, hosts, match, facts, session=person.session(facts, now) if person else None, now=now)


def route(table: PolicyTable, hosts: Mapping[str, str], facts: Facts) -> Match | Reason:
    """Find the route of a request, or why it has none: the part of the answer that depends on host, method and path alone."""
    if facts.host not in hosts:
        return Reason.MISDIRECTED
    if table.is_ambiguous(facts.host, facts.path):
        return Reason.AMBIGUOUS_PATH
    if is_own(facts.path):  # a page of the gateway answers, and asks for what it needs itself
        return Reason.NO_ROUTE
    match = table.resolve(facts.host, facts.path, facts.method)
    if isinstance(match, Reason):
        return match
    if not match.route.allow_encoded_slash and ("%2F" in facts.path or "%5C" in facts.path):
        return Reason.AMBIGUOUS_PATH
    if not match.is_clear(facts.path) or table.is_disguised(facts.host, facts.path, facts.method, match):
        return Reason.AMBIGUOUS_PATH
    if match.rule.mapping is not None:
        rewritten = table.rewrite(facts.host, facts.path, match.rule.mapping)
        if isinstance(rewritten, Reason):
            return rewritten
    return match


def answer(
    table: PolicyTable, hosts: Mapping[str, str], match: Match, facts: Facts, *, session: Session | None, now: float
) -> Verdict:
    """Answer a request whose route was found, for the session of whoever sends it."""
    is_taken = session is not None and match.rule.takes(session)
    if session is not None and match.rule.takes_fields and not is_taken and session.credential in _NOT_TAKEN:
        return Verdict(match, _NOT_TAKEN[session.credential])
    requirement = match.route.requirement
    if requirement is not None and requirement.refuses_address(facts.client_ip):
        return Verdict(match, _ELSEWHERE)
    if not match.route.public and not is_taken:
        needed = Reason.SIGN_IN_REQUIRED if match.rule.takes_session else Reason.CREDENTIAL_REQUIRED
        return Verdict(match, Decision(allowed=False, reason=needed))
    tenant = match.tenant(hosts[facts.host], facts.host, facts.fields)
    if tenant:
        facts = msgspec.structs.replace(facts, tenant=tenant)
    decision = table.decide(match, session, facts, now)
    if match.route.public:
        return Verdict(match, decision if tenant is not None else _crossing(match))
    if session is None or decision.reason in _FACTOR_REASONS:
        return Verdict(match, decision)
    if requirement is not None:
        if requirement.refuses_device(session):
            return Verdict(match, _UNKNOWN_DEVICE)
        if requirement.lack(session, now):
            return Verdict(match, _STEP_UP)
    if tenant is None or table.is_foreign(session, tenant):
        return Verdict(match, _crossing(match))
    return Verdict(match, decision)


def tenant_asked(table: PolicyTable, hosts: Mapping[str, str], facts: Facts) -> str:
    """Return about which tenant a request is; empty where neither its route nor its host says one."""
    match = table.resolve(facts.host, facts.path, facts.method)
    owner = hosts.get(facts.host, "")
    return owner if isinstance(match, Reason) else match.tenant(owner, facts.host, facts.fields) or ""


def _crossing(match: Match) -> Decision:
    tenancy = match.rule.tenancy
    return tenancy.mismatch if tenancy is not None else _OTHER_HOST
