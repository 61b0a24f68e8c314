"""Trying a request: the answer that the policy would give, taken apart as `gateway policy explain` does. Nothing happens by it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

import msgspec
from aiohttp import web

from gateway.document.quantity import duration
from gateway.exchange.reason import ANSWERS, Reason
from gateway.pages.console.door import Inside
from gateway.pages.console.policy import sight_of
from gateway.pages.console.sight import Sight
from gateway.pages.texts import marked
from gateway.pages.visit import Problem
from gateway.policy import PolicyTable
from gateway.policy.condition import Facts
from gateway.policy.declaration import METHODS, NAME
from gateway.policy.explanation import Criterion, Explanation, explain
from gateway.policy.judgement import Person, judge, parse_request, tenant_asked
from gateway.policy.tenancy import FIELD_NAME

TRIAL_FIELDS: Final = frozenset(
    {"method", "url", "who", "roles", "tenant", "mfa_age", "auth_age", "ip", "header", "known_device"}
)
_MAX_CHARACTERS: Final = 2048
_MAX_ROLES: Final = 32
_NEVER: Final = "never"
_MAX_PATH: Final = 256
_TOLD: Final = frozenset(
    {
        "host", "path", "method", "upstream", "certificate", "network", "public", "session", "credential", "factor", "device",
        "step_up", "role", "scope",
    }
)  # fmt: skip
"""Criteria whose words name nobody else's organisation."""


class TrialError(ValueError):
    """The question is wrong; says which field."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows of an answer."""

    allowed: bool
    reason: str
    sentence: str
    route: str
    source: str
    rule: str
    criteria: tuple[Criterion, ...]
    candidate: str
    """What the candidate would answer; empty = there is none, or the same."""


async def show_trial(inside: Inside, problem: Problem | None = None) -> web.Response:
    """Show the form; a route's page fills in its address."""
    query = inside.visit.request.query
    typed = {"method": "GET", "mfa_age": "0s", "auth_age": "0s"}
    typed |= {name: query[name][:_MAX_CHARACTERS] for name in TRIAL_FIELDS if name in query}
    if problem is None:
        inside.note("view try")
    return _page(inside, typed, problem=problem)


async def try_request(inside: Inside, form: dict[str, str]) -> web.Response:
    """Answer one request of one person, without asking anything but the policy."""
    typed = {name: value.strip()[:_MAX_CHARACTERS] for name, value in form.items()}
    try:
        facts = _facts(typed)
        person = await _person(inside, typed, facts)
    except TrialError as error:
        inside.note("try")
        problem = Problem(
            reason=Reason.MALFORMED_BODY,
            title=marked("That request cannot be tried"),
            sentence=str(error),
            fields=(error.field,),
        )
        return _page(inside, typed, problem=problem)
    # The path alone: a query may hold what nobody may keep. Nobody who does not exist: what is typed there may be anything,
    # a password, 16 kB, or the name of somebody whom the question was not about.
    known = person if person is not None and person.user_id else None
    user_id, user, tenant = (known.user_id, known.user, known.tenant) if known is not None else ("", "", "")
    inside.note("try", path=facts.path[:_MAX_PATH], user_id=user_id, user=user, tenant=tenant)
    return _page(inside, typed, answered=_answered(inside, facts, person), person=person)


def _page(
    inside: Inside,
    typed: dict[str, str],
    *,
    problem: Problem | None = None,
    answered: Answered | None = None,
    person: Person | None = None,
) -> web.Response:
    sight = sight_of(inside)
    return inside.page(
        "console_try.html",
        problem=problem,
        here="try",
        typed={name: typed.get(name, "") for name in TRIAL_FIELDS},
        methods=METHODS,
        answered=answered,
        person=person,
        example=f"{inside.visit.envelope.scheme}://{next(iter(sorted(sight.hosts)), inside.visit.envelope.host)}/",
    )


def _facts(typed: dict[str, str]) -> Facts:
    method = typed["method"].upper()
    if method not in METHODS:
        raise TrialError("method", marked("That is no method the gateway knows."))
    if typed["ip"]:
        try:
            ip_address(typed["ip"])
        except ValueError:
            raise TrialError("ip", marked("Write an IP address such as 203.0.113.7.")) from None
    fields = _field(typed["header"])
    try:
        facts = parse_request(method, typed["url"], client_ip=typed["ip"])
    except ValueError:
        raise TrialError(
            "url", marked("Write a whole address, as a browser would send it: https://portal.example.com/invoices/42")
        ) from None
    return msgspec.structs.replace(facts, fields=fields)


def _field(text: str) -> tuple[tuple[str, str], ...]:
    """Read the header field that names the tenant on its route, if one is given."""
    if not text:
        return ()
    name, colon, value = text.partition(":")
    if not colon or not FIELD_NAME.fullmatch(name):
        raise TrialError("header", marked("Write a header field such as X-Tenant: acme."))
    return ((name.lower(), value.strip(" \t")),)


async def _person(inside: Inside, typed: dict[str, str], facts: Facts) -> Person | None:
    """Read who asks: nobody, a person whom the gateway knows, or anybody with the roles that are named."""
    auth_age, mfa_age = _age(typed, "auth_age"), None if typed["mfa_age"] == _NEVER else _age(typed, "mfa_age")
    roles = tuple(dict.fromkeys(role.strip() for role in typed["roles"].split(",") if role.strip()))
    if roles:
        if len(roles) > _MAX_ROLES or not all(NAME.fullmatch(role) for role in roles):
            raise TrialError("roles", marked("Write the names of roles with commas between them."))
        return Person(
            user=typed["who"] or "somebody",
            tenant=_tenant(inside, typed["tenant"], facts),
            roles=roles,
            auth_age=auth_age,
            mfa_age=mfa_age,
            known_device=bool(typed["known_device"]),
        )
    if not typed["who"]:
        return None
    known = await inside.console.people.named(inside.who, typed["who"])
    if known is None:
        raise TrialError(
            "who", marked("There is no such person. Name roles to try it for somebody who does not exist.")
        )
    return Person(
        user=known.name,
        user_id=known.id,
        tenant=known.tenant,
        roles=known.roles,
        email=known.email,
        auth_age=auth_age,
        mfa_age=mfa_age,
        known_device=bool(typed["known_device"]),
        provider=known.provider,
    )


def _tenant(inside: Inside, said: str, facts: Facts) -> str:
    """Say to which organisation somebody who does not exist belongs: as said, else to that of the request or the asker."""
    who, console = inside.who, inside.console
    if said and not who.sees(said):
        raise TrialError("tenant", marked("There is no such organisation."))
    if said or not who.is_operator:
        return said or who.tenant
    return tenant_asked(console.table, console.hosts, facts)


def _age(typed: dict[str, str], field: str) -> float:
    try:
        return duration(typed[field] or "0s")
    except ValueError:
        raise TrialError(field, marked("Write a length of time such as 90m or 12h, or never.")) from None


def _answered(inside: Inside, facts: Facts, person: Person | None) -> Answered:
    console, sight, now = inside.console, sight_of(inside), inside.now
    explanation = explain(console.table, sight.hosts, facts, person, now)
    decision = explanation.decision
    rule = console.table.rules.get(explanation.route)
    is_seen = sight.shows(rule) if rule is not None else _shows_path(console.table, sight, facts)
    candidate = ""
    if console.candidate is not None and inside.who.is_operator:
        other = judge(console.candidate, console.hosts, facts, person, now)
        if other.decision.allowed is not decision.allowed or other.route != explanation.route:
            candidate = f"{'allow' if other.decision.allowed else 'deny'} ({other.decision.reason}) {other.decision.rule or other.route}"
    return Answered(
        allowed=decision.allowed,
        reason=decision.reason.value,
        sentence=ANSWERS[decision.reason].sentence,
        route=explanation.route if is_seen else "",
        source=explanation.source if is_seen else "",
        rule=decision.rule if is_seen else "",
        criteria=_told(explanation, sight) if is_seen else (),
        candidate=candidate.strip(),
    )


def _shows_path(table: PolicyTable, sight: Sight, facts: Facts) -> bool:
    """Tell whether the asker may read how a path is read that led to no route.

    attack: a method that the routes of others do not take has their template explained.
    """
    node = table.match(facts.host, facts.path)
    return node is None or any(sight.shows(rule) for rule in node.rules.values())


def _told(explanation: Explanation, sight: Sight) -> tuple[Criterion, ...]:
    """Return the criteria that the asker may read; entries that are about others alone are left out."""
    rule = sight.rule(explanation.route)
    if sight.who.is_operator or rule is None:
        return explanation.criteria
    entries = {entry.source for entry in (*sight.allows(rule), *sight.denies(rule))}
    return tuple(
        item if item.name in _TOLD else msgspec.structs.replace(item, detail="")
        for item in explanation.criteria
        # attack: whether a request could be about a tenant tells which organisations there are
        if (not item.rule and item.name != "tenant")
        or item.rule in entries
        or (not rule.grants and item.name == "deny")
    )
