"""Why a request is answered as it is: every criterion, whether it is met, and the line that decides.

The decision itself is `judgement`'s; here it is only taken apart for a person to read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from gateway.exchange.decision import Decision
from gateway.exchange.reason import Reason
from gateway.exchange.route import DELEGATED
from gateway.exchange.session import Session
from gateway.exchange.step_up import Requirement, assurance_of, proven_by
from gateway.policy.condition import Circumstances, Condition, ConditionCompiler, ConditionError, Facts, conjuncts
from gateway.policy.judgement import Person, judge
from gateway.policy.table import Denial, Grant, Match, PolicyTable, is_own

Outcome = Literal["hit", "miss", "unknown"]


_CREDENTIAL_NAMES = {
    "cookie": "a session",
    "api_key": "an API key",
    "bearer": "a bearer token",
    "certificate": "a certificate",
}


class Criterion(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that had to hold."""

    name: str
    """`host`, `path`, `method`, `upstream`, `certificate`, `network`, `public`, `session`, `factor`, `device`, `step_up`,
    `tenant`, `deny`, `credential`, `role`, `scope` or `when`."""
    outcome: Outcome
    """`unknown`: it could not be found out, which refuses like a miss."""
    detail: str
    rule: str = ""
    """Place of the entry of `allow` or `deny` that the criterion belongs to; empty for those of the route.

    An entry of `deny` begins with a criterion of that name: a hit refuses, and so does unknown.
    """


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """An answer and its criteria in the order in which they are looked at."""

    decision: Decision
    route: str
    source: str
    """Place of the route; empty when no route was found."""
    criteria: tuple[Criterion, ...]


def explain(
    table: PolicyTable, hosts: Mapping[str, str], facts: Facts, person: Person | None, now: float
) -> Explanation:
    """Take the answer to one request apart; arguments as for `judge`."""
    verdict = judge(table, hosts, facts, person, now)
    session = person.session(facts, now) if person else None
    criteria = [*_place(table, hosts, facts, verdict.decision.reason)]
    if verdict.match is not None:
        criteria += _person(table, hosts, verdict.match, session, facts=facts, now=now)
    return Explanation(
        decision=verdict.decision,
        route=verdict.route,
        source=verdict.match.route.source if verdict.match else "",
        criteria=tuple(criteria),
    )


def _hit(hit: bool) -> Outcome:  # noqa: FBT001 - a conversion
    return "hit" if hit else "miss"


def _length(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _place(table: PolicyTable, hosts: Mapping[str, str], facts: Facts, reason: Reason) -> Iterator[Criterion]:
    """Explain host, path and method."""
    known = facts.host in hosts
    owner = f"belongs to the tenant {hosts[facts.host]}" if hosts.get(facts.host) else "is shared by all tenants"
    yield Criterion(name="host", outcome=_hit(known), detail=f"{facts.host} {owner if known else 'is not served here'}")
    if not known:
        return
    node = table.match(facts.host, facts.path)
    if reason is Reason.AMBIGUOUS_PATH:
        yield Criterion(
            name="path", outcome="miss", detail=f"{facts.path} can be read as another path; the gateway refuses it"
        )
    elif is_own(facts.path):
        detail = f"{facts.path} is one of the gateway's own pages; no route answers it"
        yield Criterion(name="path", outcome="miss", detail=detail)
    elif node is None:
        yield Criterion(name="path", outcome="miss", detail=f"no template matches {facts.path}")
    else:
        yield Criterion(name="path", outcome="hit", detail=f"{facts.path} is {node.template}")
        found = facts.method in node.rules
        detail = (
            f"{facts.method} is the route {node.rules[facts.method].route.name}"
            if found
            else f"{facts.method} is not one of {', '.join(node.methods)}"
        )
        yield Criterion(name="method", outcome=_hit(found), detail=detail)
        mapping = node.rules[facts.method].mapping if found else None
        if mapping is not None:
            rewritten = table.rewrite(facts.host, facts.path, mapping)
            known = not isinstance(rewritten, Reason)
            detail = f"is {rewritten} there" if known else f"is not under {mapping.strip}, which is stripped"
            yield Criterion(name="upstream", outcome=_hit(known), detail=f"{facts.path} {detail}")


def _person(
    table: PolicyTable, hosts: Mapping[str, str], match: Match, session: Session | None, *, facts: Facts, now: float
) -> Iterator[Criterion]:
    """Explain who asks and what the route says about them."""
    route, rule = match.route, match.rule
    if route.client_certificate == "required":
        yield Criterion(
            name="certificate",
            outcome="hit",
            detail="the connection needs a certificate, which is taken for shown here",
        )
    requirement = route.requirement
    if requirement is not None and requirement.networks:
        allowed = ", ".join(map(str, requirement.networks))
        detail = f"needs an address in {allowed}; it is {facts.client_ip or 'not known'}"
        yield Criterion(name="network", outcome=_hit(not requirement.refuses_address(facts.client_ip)), detail=detail)
    if route.public:
        yield from _tenancy(match, hosts[facts.host], facts)
        yield Criterion(name="public", outcome="hit", detail="the route is public: nobody is asked who they are")
        circumstances = table.circumstances(match, None, facts, now)
        for denial in rule.denials:
            yield from _denial(table, denial, None, circumstances, rule.template.names)
        return
    if session is None:
        yield Criterion(name="session", outcome="miss", detail="nobody is signed in")
        return
    if not rule.takes(session):
        taken = " or ".join(route.credentials)
        detail = f"the route takes {taken}; this is {_CREDENTIAL_NAMES[session.credential]}"
        yield Criterion(name="credential", outcome="miss", detail=detail)
        return
    yield Criterion(name="session", outcome="hit", detail=f"{session.user} of the tenant {session.tenant or '(none)'}")
    if not rule.needs_mfa or session.credential in DELEGATED:
        yield Criterion(name="factor", outcome="hit", detail="the route asks for no second factor")
    elif session.mfa_time:
        yield Criterion(name="factor", outcome="hit", detail=f"proven {_length(now - session.mfa_time)} ago")
    else:
        yield Criterion(name="factor", outcome="miss", detail="the second factor was not proven")
    if requirement is not None:
        yield from _step_up(requirement, session, now)
    yield from _tenancy(match, hosts[facts.host], facts)
    tenant = match.tenant(hosts[facts.host], facts.host, facts.fields)
    if tenant:
        about = f"the host belongs to {tenant}" if rule.tenancy is None else f"the request belongs to {tenant}"
        detail = f"{about}, the session to {session.tenant or 'no tenant'}"
        yield Criterion(name="tenant", outcome=_hit(session.tenant == tenant), detail=detail)
    elif table.is_foreign(session, ""):
        detail = f"there is no tenant {session.tenant} in gateway.yaml any more"
        if not session.tenant:
            detail = "no tenant of the person is named, and none follows from the host"
        yield Criterion(name="tenant", outcome="miss", detail=detail)
    if tenant and facts.tenant != tenant:
        facts = msgspec.structs.replace(facts, tenant=tenant)
    if not rule.grants:
        yield Criterion(name="deny", outcome="miss", detail="the route is closed to everybody", rule=rule.refused.rule)
    circumstances = table.circumstances(match, session, facts, now)
    for denial in rule.denials:
        yield from _denial(table, denial, session, circumstances, rule.template.names)
    for grant in rule.grants:
        yield from _grant(table, grant, circumstances, rule.template.names)


_SAYS: Final = {
    "name": "the route is about the tenant {}",
    "path": "the tenant stands in the path, as {{{}}}",
    "header": "the tenant stands in the field {}",
    "subdomain": "the tenant is the name of the host below {}",
}


def _tenancy(match: Match, owner: str, facts: Facts) -> Iterator[Criterion]:
    """Explain about which tenant the request is, where its route says more than its host."""
    tenancy = match.rule.tenancy
    if tenancy is None:
        return
    named = tenancy.named(host=facts.host, parameters=match.parameters, fields=facts.fields)
    found = match.tenant(owner, facts.host, facts.fields)
    about = f"the request names {named}" if named else "the request names no tenant that exists"
    if named and found is None:
        about += f", and the host belongs to {owner}"
    yield Criterion(
        name="tenant",
        outcome=_hit(found is not None),
        detail=f"{_SAYS[tenancy.binding.by].format(tenancy.binding.value)}; {about}",
    )


def _step_up(step_up: Requirement, session: Session, now: float) -> Iterator[Criterion]:
    """Explain by which browser, how lately and how strongly the person has to have signed in."""
    if step_up.known_device:
        known = "is" if session.known_device else "is not"
        detail = f"needs a browser that the person had signed in with before; it {known} one"
        yield Criterion(name="device", outcome=_hit(session.known_device), detail=detail)
    if session.credential == "api_key" and step_up.asks_proof:
        detail = "needs a proof by a person; an API key is none, however new it is"
        yield Criterion(name="step_up", outcome="miss", detail=detail)
        return
    for key, limit, since in (
        ("auth_age", step_up.auth_age_s, session.auth_time),
        ("mfa_age", step_up.mfa_age_s, session.mfa_time),
    ):
        if limit is not None:
            age = f"it is {_length(now - since)}" if since else "there was none"
            hit = _hit(now - since <= limit)
            yield Criterion(name="step_up", outcome=hit, detail=f"{key} at most {_length(limit)}; {age}")
    if step_up.acr is not None:
        rung = assurance_of(session)
        hit = _hit(Requirement(acr=step_up.acr).lack(session, now) is None)
        yield Criterion(name="step_up", outcome=hit, detail=f"acr {step_up.acr}; the session has {rung}")
    if step_up.factor is not None:
        methods = "+".join(session.amr) or "nothing"
        detail = f"a second factor of the kind {step_up.factor}; the session was proven by {methods}"
        yield Criterion(name="step_up", outcome=_hit(proven_by(session, step_up.factor)), detail=detail)


def _denial(
    table: PolicyTable,
    denial: Denial,
    session: Session | None,
    circumstances: Circumstances,
    parameters: frozenset[str],
) -> Iterator[Criterion]:
    """Explain whether an entry of `deny` refuses: first what comes of it, then each of its criteria."""
    about = denial.concerns(session)
    answer = about if denial.condition is None or not about else denial.condition.evaluate(circumstances)
    outcome: Outcome = "unknown" if answer is None else _hit(answer)
    said = {
        "hit": "all of it holds: it refuses",
        "miss": "not all of it holds: it refuses nothing here",
        "unknown": "it could not be found out, which refuses",
    }
    yield Criterion(name="deny", outcome=outcome, detail=said[outcome], rule=denial.source)
    if denial.accepts is not None and session is not None:
        fitting = sorted(denial.accepts.intersection(session.roles))
        wanted = " or ".join(denial.roles)
        detail = f"is about {wanted}; holds {', '.join(session.roles) or 'no role'}"
        if fitting:
            direct = sorted(set(fitting) & set(denial.roles))
            detail = f"holds {direct[0]}" if direct else f"holds {fitting[0]}, which includes {wanted}"
        yield Criterion(name="role", outcome=_hit(bool(fitting)), detail=detail, rule=denial.source)
    if denial.tenants is not None and session is not None:
        detail = (
            f"is about the tenant {' or '.join(sorted(denial.tenants))}; the session's is {session.tenant or '(none)'}"
        )
        yield Criterion(
            name="tenant", outcome=_hit(session.tenant in denial.tenants), detail=detail, rule=denial.source
        )
    if denial.condition is not None:
        yield from _when(table, denial.condition, circumstances, parameters, denial.source)


def _when(
    table: PolicyTable, condition: Condition, circumstances: Circumstances, parameters: frozenset[str], source: str
) -> Iterator[Criterion]:
    """Explain each part of a condition."""
    for part in _parts(condition, parameters, table):
        answer = part.evaluate(circumstances)
        cause = f"  ({part.diagnose(circumstances)})" if answer is None else ""
        outcome: Outcome = "unknown" if answer is None else _hit(answer)
        yield Criterion(name="when", outcome=outcome, detail=part.text + cause, rule=source)


def _grant(
    table: PolicyTable, grant: Grant, circumstances: Circumstances, parameters: frozenset[str]
) -> Iterator[Criterion]:
    session = circumstances.session
    fitting = sorted(grant.accepts.intersection(session.roles))
    wanted = " or ".join(grant.roles)
    if fitting:
        direct = sorted(set(fitting) & set(grant.roles))
        detail = f"holds {direct[0]}" if direct else f"holds {fitting[0]}, which includes {wanted}"
    else:
        held = ", ".join(session.roles) or "no role"
        unknown = sorted(set(session.roles) - table.roles)
        detail = f"needs {wanted}; holds {held}" + (
            f" (unknown to the policy: {', '.join(unknown)})" if unknown else ""
        )
    yield Criterion(name="role", outcome=_hit(bool(fitting)), detail=detail, rule=grant.source)
    if grant.scopes and session.credential in DELEGATED:
        missing = sorted(grant.scopes.difference(session.scopes))
        detail = (
            f"lacks the scope {', '.join(missing)}" if missing else f"has the scope {', '.join(sorted(grant.scopes))}"
        )
        yield Criterion(name="scope", outcome=_hit(not missing), detail=detail, rule=grant.source)
    if grant.tenants is not None:
        detail = f"needs the tenant {' or '.join(sorted(grant.tenants))}; the session's is {session.tenant or '(none)'}"
        yield Criterion(name="tenant", outcome=_hit(session.tenant in grant.tenants), detail=detail, rule=grant.source)
    if grant.condition is not None:
        yield from _when(table, grant.condition, circumstances, parameters, grant.source)


def _parts(whole: Condition, parameters: frozenset[str], table: PolicyTable) -> list[Condition]:
    """Split `a && b && c`, so that each part is answered by itself; the whole where a part does not stand alone."""
    compiler = ConditionCompiler(table.networks)
    try:
        return [compiler.compile(part, parameters) for part in conjuncts(whole.text)]
    except ConditionError:  # a part that does not depend on the request
        return [whole]
