"""Case files: what a policy must allow and refuse, written down beside it and run against it.

A case says who asks for what and what must come out. Reading is as strict as for policies: a case
with a mistyped role would pass for the wrong reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal

import msgspec

from gateway.document.diagnostic import illustrated
from gateway.document.place import Place
from gateway.document.quantity import duration
from gateway.document.source import Diagnostic, DocumentError, did_you_mean, load
from gateway.exchange.reason import Reason
from gateway.policy.condition import Facts
from gateway.policy.declaration import METHODS
from gateway.policy.judgement import Person, judge, parse_request
from gateway.policy.table import PolicyTable
from gateway.policy.tenancy import FIELD_NAME

REQUIRED: Final = ("name", "request", "expect")
OPTIONAL: Final = ("as", "from", "at")
PERSON_REQUIRED: Final = ("user", "tenant", "roles")
PERSON_OPTIONAL: Final = (
    "id", "email", "amr", "mfa_age", "auth_age", "credential", "scopes", "device", "provider", "country",
)  # fmt: skip
SENDER_KEYS: Final = ("ip", "user_agent", "headers")
EXPECTATION_OPTIONAL: Final = ("route", "reason")

_CREDENTIALS: Final[Mapping[str, Literal["cookie", "api_key", "bearer"]]] = {
    "session": "cookie",
    "api_key": "api_key",
    "bearer": "bearer",
}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One request and what is expected of it."""

    name: str
    source: str
    """`policies/tests/portal.yaml:3:5`"""
    person: Person | None
    facts: Facts
    at: float | None
    """Unix seconds of the request; None = when the cases run."""
    decision: Literal["allow", "deny"]
    route: str | None
    """Expected route; None = any."""
    reason: Reason | None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came out."""

    case: Case
    passed: bool
    allowed: bool
    reason: Reason
    route: str
    """Empty when no route was found."""
    rule: str
    """Place of the deciding rule; empty when there is none."""

    @property
    def expected(self) -> str:
        """Write what the case says: `allow by invoice`."""
        case = self.case
        return " ".join(
            word
            for word in (
                case.decision,
                f"({case.reason})" if case.reason else "",
                f"by {case.route}" if case.route else "",
            )
            if word
        )

    @property
    def actual(self) -> str:
        """Write what came out: `deny (role_missing) by invoice at policies/portal.yaml:21:5`."""
        words = ["allow" if self.allowed else "deny", f"({self.reason})"]
        words += [f"by {self.route}"] if self.route else []
        words += [f"at {self.rule}"] if self.rule else []
        return " ".join(words)


def load_cases(
    files: Mapping[str, str], *, table: PolicyTable, hosts: Mapping[str, str], tenants: frozenset[str]
) -> list[Case]:
    """Read case files (name for messages -> text); `hosts` maps each host of the gateway to its tenant.

    Raises:
        DocumentError: with every error of every file.

    """
    findings: list[Diagnostic] = []
    cases: list[Case] = []
    for path in sorted(files):
        try:
            document = load(files[path], path)
        except DocumentError as error:
            findings.extend(error.findings)
            continue
        reader = _Reader(table, hosts, tenants)
        cases += reader.read(Place(document, findings))
    if findings:
        raise DocumentError(tuple(sorted(illustrated(findings, files))))
    return cases


def run_cases(cases: list[Case], *, table: PolicyTable, hosts: Mapping[str, str], now: float) -> list[Result]:
    """Judge each case; a case without a time of its own happens at `now` (unix seconds)."""
    return [_run(case, table, hosts, now if case.at is None else case.at) for case in cases]


def _run(case: Case, table: PolicyTable, hosts: Mapping[str, str], now: float) -> Result:
    verdict = judge(table, hosts, case.facts, case.person, now)
    decision = verdict.decision
    passed = (
        decision.allowed == (case.decision == "allow")
        and (case.route is None or case.route == verdict.route)
        and (case.reason is None or case.reason == decision.reason)
    )
    return Result(
        case=case,
        passed=passed,
        allowed=decision.allowed,
        reason=decision.reason,
        route=verdict.route,
        rule=decision.rule,
    )


class _Reader:
    """Reads the cases of one file."""

    def __init__(self, table: PolicyTable, hosts: Mapping[str, str], tenants: frozenset[str]) -> None:
        self._table = table
        self._hosts = hosts
        self._tenants = tenants
        self._names: dict[str, Place] = {}

    def read(self, root: Place) -> list[Case]:
        entries = root.fields(("cases",), ("version",))
        if entries is None:
            return []
        if "version" in entries and entries["version"].value != 1:
            entries["version"].fail("the version of this format is 1", name="unknown-version")
        cases = [self._case(item) for item in entries["cases"].items() or []]
        return [case for case in cases if case is not None]

    def _case(self, place: Place) -> Case | None:
        entries = place.fields(REQUIRED, OPTIONAL)
        if entries is None:
            return None
        name = entries["name"].text()
        if name is not None and name in self._names:
            entries["name"].fail(f"a case of this name stands at {self._names[name]}", name="declared-twice")
        self._names.setdefault(name or "", entries["name"])
        person = self._person(entries["as"]) if "as" in entries else None
        facts = self._request(entries["request"], entries.get("from"))
        at = _moment(entries["at"]) if "at" in entries else None
        expected = self._expectation(entries["expect"])
        if name is None or facts is None or expected is None:
            return None
        decision, route, reason = expected
        return Case(
            name=name,
            source=str(place),
            person=person,
            facts=facts,
            at=at,
            decision=decision,
            route=route,
            reason=reason,
        )

    def _known(self, place: Place, what: str, known: frozenset[str], name: str) -> str | None:
        text = place.text()
        if text is not None and text not in known:
            place.fail(f"unknown {what} {text!r}{did_you_mean(text, known)}", name=name)
            return None
        return text

    def _person(self, place: Place) -> Person | None:
        entries = place.fields(PERSON_REQUIRED, PERSON_OPTIONAL)
        if entries is None:
            return None
        user = entries["user"].text()
        named = entries["tenant"]
        tenant = self._known(named, "tenant", self._tenants, name="unknown-tenant") if self._tenants else named.text()
        if entries["roles"].value == []:  # a person without a role is worth a case
            roles: dict[str, Place] | None = {}
        else:
            roles = entries["roles"].texts(
                lambda item: self._known(item, "role", self._table.roles, name="unknown-role")
            )
        amr = entries["amr"].texts() if "amr" in entries else None
        email = entries["email"].text() if "email" in entries else ""
        user_id = entries["id"].text() if "id" in entries else ""
        mfa_age: float | None = 0.0
        if "mfa_age" in entries:
            mfa_age = None if entries["mfa_age"].value == "never" else entries["mfa_age"].quantity(duration)
        auth_age = entries["auth_age"].quantity(duration) if "auth_age" in entries else 0.0
        credential = entries["credential"].one_of(("session", "api_key", "bearer")) if "credential" in entries else None
        scopes = entries["scopes"].texts() if "scopes" in entries else None
        if scopes and credential in {None, "session"}:
            entries["scopes"].key().fail(
                "scopes are those of an API key or a bearer token; say which: credential", name="no-effect"
            )
        device = entries["device"].one_of(("known", "unknown")) if "device" in entries else None
        provider = entries["provider"].text() if "provider" in entries else "local"
        country = entries["country"].text() if "country" in entries else ""
        if user is None or tenant is None or roles is None:
            return None
        person = Person(
            user=user,
            tenant=tenant,
            roles=tuple(roles),
            user_id=user_id or "",
            email=email or "",
            auth_age=auth_age or 0.0,
            mfa_age=mfa_age,
            credential=_CREDENTIALS[credential or "session"],
            scopes=tuple(scopes or ()),
            known_device=device == "known",
            provider=provider or "local",
            country=country or "",
        )
        return msgspec.structs.replace(person, amr=tuple(amr)) if amr else person

    def _request(self, place: Place, origin: Place | None) -> Facts | None:
        text = place.text()
        client_ip = user_agent = ""
        sender = origin.fields((), SENDER_KEYS) if origin else None
        if sender:
            client_ip = (sender["ip"].text() or "") if "ip" in sender else ""
            user_agent = (sender["user_agent"].text() or "") if "user_agent" in sender else ""
        if text is None:
            return None
        method, _, url = text.partition(" ")
        if method not in METHODS:
            place.fail(
                f"{text!r} does not start with a method, as in GET https://host/path{did_you_mean(method, METHODS)}",
                name="malformed-request",
            )
            return None
        try:
            facts = parse_request(method, url, client_ip=client_ip, user_agent=user_agent)
        except ValueError as error:
            place.fail(str(error), name="malformed-request")
            return None
        if sender and "headers" in sender:
            facts = msgspec.structs.replace(facts, fields=_fields(sender["headers"]))
        if facts.host not in self._hosts:
            place.fail(f"unknown host {facts.host!r}{did_you_mean(facts.host, self._hosts)}", name="unknown-host")
            return None
        return facts

    def _expectation(self, place: Place) -> tuple[Literal["allow", "deny"], str | None, Reason | None] | None:
        entries = place.fields(("decision",), EXPECTATION_OPTIONAL)
        if entries is None:
            return None
        decision = entries["decision"].one_of(("allow", "deny"))
        routes = frozenset(self._table.routes)
        route = self._known(entries["route"], "route", routes, name="unknown-route") if "route" in entries else None
        reason = entries["reason"].one_of([reason.value for reason in Reason]) if "reason" in entries else None
        if decision is None:
            return None
        return "allow" if decision == "allow" else "deny", route, Reason(reason) if reason else None


def _fields(place: Place) -> tuple[tuple[str, str], ...]:
    """Read header fields; only those that name the tenant on some route change an answer."""
    found = [(name.lower(), item.text(), item) for name, item in (place.entries() or {}).items()]
    for name, _, item in found:
        if not FIELD_NAME.fullmatch(name):
            item.key().fail("a header name is made of letters, digits and -", name="malformed-value")
    return tuple((name, text) for name, text, _ in found if text is not None)


def _moment(place: Place) -> float | None:
    text = place.text()
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        place.fail(f"{text!r} is not a time with its zone, such as 2026-03-01T09:30:00Z", name="malformed-quantity")
        return None
    return moment.timestamp()
