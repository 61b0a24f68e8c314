"""What another policy would have answered to a request of the past.

The same judgement as everywhere, over what the record says. What the record does not say and the answer depends on makes
it unknown, never a guess. Whose answer it was is not asked here: `recorded` knows which records hold one of policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import msgspec

from gateway.exchange.decision import Decision
from gateway.exchange.reason import Reason
from gateway.exchange.route import DELEGATED
from gateway.exchange.session import Owed, Session
from gateway.policy.condition import Facts
from gateway.policy.history.recorded import ROUTING, UNRECORDED, Recorded, Witness
from gateway.policy.judgement import Verdict, answer, route
from gateway.policy.table import Match, PolicyTable, Rule

_PLACES: Final = 65_536
_ANSWERS: Final = 262_144
_TIMED: Final = frozenset(("session.mfa_age", "session.auth_age", "now"))
_OF_PERSON: Final = ("user.", "session.")
_OF_KIND: Final = frozenset(
    (
        "session.tenant",
        "session.roles",
        "session.amr",
        "session.acr",
        "session.credential",
        "session.scopes",
        "request.tenant",
        "tenant",
    )
)
"""What is the same for all witnesses of a kind on one route."""
UNSAID: Final = frozenset(("request.query",))
"""Names that no record answers: a query may hold anything, and is not logged."""
_MILLISECOND: Final = 0.001
_SECOND: Final = 1.0
_DEBTS: Final = {
    Owed.MFA: Reason.MFA_REQUIRED,
    Owed.ENROLMENT: Reason.MFA_ENROLMENT_REQUIRED,
    Owed.DEVICE: Reason.DEVICE_UNCONFIRMED,
    Owed.ROOM: Reason.TOO_MANY_SESSIONS,
}
_ANYWHERE: Final = frozenset((Owed.DEVICE, Owed.ROOM))

Outcome = Literal["same", "would allow", "would refuse", "unknown"]


class Redecision(NamedTuple):
    """What a policy answers to a recorded request."""

    verdict: Verdict | None
    """None = it depends on what was not recorded."""
    why: str = ""
    """What was not recorded, where that decides."""

    def beside(self, recorded: Recorded) -> Outcome:
        """Compare with what was answered."""
        if self.verdict is None:
            return "unknown"
        allowed = self.verdict.decision.allowed
        if allowed == recorded.allowed:
            return "same"
        return "would allow" if allowed else "would refuse"


class _Asked:
    """What the answer of a rule depends on."""

    __slots__ = ("is_timed", "names", "of_person", "of_request")

    def __init__(self, rule: Rule) -> None:
        self.names = frozenset(name for condition in rule.conditions for name in condition.names)
        requirement = rule.route.requirement
        aged = requirement is not None and not (requirement.mfa_age_s is None and requirement.auth_age_s is None)
        self.is_timed = aged or not self.names.isdisjoint(_TIMED)
        """The answer changes with time alone."""
        more = self.names - _OF_KIND
        tenancy = rule.tenancy
        self.of_request = (
            self.is_timed
            or (requirement is not None and bool(requirement.networks))
            or (tenancy is not None and tenancy.binding.by in ("path", "header"))
            or not all(name.startswith(_OF_PERSON) for name in more)
        )
        """Two requests of one person to one route may be answered differently."""
        self.of_person = bool(more)
        """Two people who differ in name alone may be answered differently."""


class Replayer:
    """Answers recorded requests by one policy, and remembers answers that cannot differ."""

    def __init__(self, table: PolicyTable, hosts: Mapping[str, str]) -> None:
        """Answer by `table`; `hosts` maps each host of the gateway to its tenant."""
        self._table = table
        self._hosts = hosts
        self._places: dict[tuple[str, str, str], Match | Reason] = {}
        self._asked: dict[Rule, _Asked] = {}
        self._answers: dict[tuple[Rule, Witness | int, Reason | None], Redecision] = {}

    def decide(self, recorded: Recorded) -> Redecision:
        """Answer one request again."""
        if not recorded.is_whole:
            return Redecision(None, "the record does not hold the whole address")
        place = recorded.host, recorded.method, recorded.path
        found = self._places.get(place)
        if found is None:
            if len(self._places) >= _PLACES:
                self._places.clear()
            found = self._places[place] = route(self._table, self._hosts, self._facts(recorded))
        if isinstance(found, Reason):
            return Redecision(Verdict(None, Decision(allowed=False, reason=found)))
        rule = found.rule
        asked = self._asked.get(rule)
        if asked is None:
            asked = self._asked[rule] = _Asked(rule)
        if asked.of_request:
            return self._answer(found, asked, recorded)
        witness = recorded.witness
        key = rule, witness if asked.of_person else witness.kind, _step(recorded.reason)
        known = self._answers.get(key)
        if known is None:
            if len(self._answers) >= _ANSWERS:
                self._answers.clear()
            known = self._answers[key] = self._answer(found, asked, recorded)
        return known

    def _facts(self, recorded: Recorded) -> Facts:
        secure = recorded.witness.secure
        return Facts(
            method=recorded.method,
            host=recorded.host,
            path=recorded.path,
            query=UNRECORDED,
            client_ip=recorded.client_ip,
            secure=UNRECORDED if secure is None else secure,  # type: ignore[arg-type]  # whatever looks at it fails
            user_agent=recorded.user_agent,
            fields=_fields(recorded),
        )

    def _answer(self, match: Match, asked: _Asked, recorded: Recorded) -> Redecision:
        witness = recorded.witness
        session = witness.session
        tenancy = match.rule.tenancy
        if tenancy is not None and tenancy.field not in ("", witness.tenant_field):
            return Redecision(None, f"the header {tenancy.field} was not looked at then")
        if match.route.client_certificate == "required" and not _had_certificate(recorded):
            return Redecision(Verdict(match, Decision(allowed=False, reason=Reason.CERTIFICATE_REQUIRED)))
        requirement = match.route.requirement
        if recorded.client_ip is UNRECORDED and requirement is not None and requirement.networks:
            return Redecision(None, "the address cannot be read any more")
        if not match.route.public:
            why = _unasked(match.rule, recorded)
            if why:
                return Redecision(None, why)
            owed = self._debt(match, session, recorded.client_ip)
            if owed is not None:
                return Redecision(Verdict(match, Decision(allowed=False, reason=owed)))
        if asked.is_timed:
            # Recorded times are cut off: the oldest and the youngest that a sign-in can have been.
            verdict = self._judge(match, recorded, session, recorded.time_s + _MILLISECOND)
            younger = _later(session, _SECOND) if session is not None else None
            other = self._judge(match, recorded, younger, recorded.time_s)
            if other.decision.allowed != verdict.decision.allowed:
                return Redecision(None, "it was within a second of a limit")
        else:
            verdict = self._judge(match, recorded, session, recorded.time_s)
        if verdict.decision.reason is Reason.CONDITION_FAILED:
            unsaid = self._unsaid(asked, recorded)
            if unsaid:
                return Redecision(None, f"a condition asks about {', '.join(unsaid)}, which the record does not say")
        return Redecision(verdict)

    def _judge(self, match: Match, recorded: Recorded, session: Session | None, now: float) -> Verdict:
        return answer(self._table, self._hosts, match, self._facts(recorded), session=session, now=now)

    @staticmethod
    def _debt(match: Match, session: Session | None, address: str) -> Reason | None:
        """Say what the session still owes on this route, as the pipeline does where it may be used from this address."""
        if session is None or not session.owes or not match.rule.takes(session):
            return None
        requirement = match.route.requirement
        if requirement is not None and requirement.refuses_address(address):
            return None
        if match.route.mfa or session.owes in _ANYWHERE or session.owes_next in _ANYWHERE:
            return _DEBTS[session.owes]
        return None

    @staticmethod
    def _unsaid(asked: _Asked, recorded: Recorded) -> list[str]:
        """Name what conditions ask and this record does not answer."""
        lacking = UNSAID | recorded.witness.lacking
        if recorded.witness.secure is None:
            lacking |= {"request.secure", "request.scheme"}
        if recorded.client_ip is UNRECORDED:
            lacking |= {"request.client_ip"}
        if recorded.user_agent is UNRECORDED:
            lacking |= {"request.user_agent"}
        return sorted(asked.names & lacking)


def _step(reason: Reason) -> Reason | None:
    """Return the recorded reason where it says how far a request came: on that depends what is known of its sender."""
    return reason if reason in ROUTING or reason in (Reason.PUBLIC, Reason.CERTIFICATE_REQUIRED) else None


def _fields(recorded: Recorded) -> tuple[tuple[str, str], ...]:
    """Return the field that named the tenant then; none where it named none, or not the one of host and person."""
    witness = recorded.witness
    if not witness.tenant_field or not witness.tenant or recorded.reason is Reason.TENANT_MISMATCH:
        return ()
    return ((witness.tenant_field, witness.tenant),)


def _had_certificate(recorded: Recorded) -> bool:
    return bool(recorded.witness.certificate) and recorded.reason is not Reason.CERTIFICATE_REQUIRED


def _unasked(rule: Rule, recorded: Recorded) -> str:
    """Say what the sender may have shown that nobody looked at then; empty when everything of concern was looked at."""
    witness = recorded.witness
    if not rule.grants:  # closed to everybody
        return ""
    if recorded.reason in ROUTING:
        return "there was no route then, so nobody was asked who they are"
    if witness.session is not None and rule.takes(witness.session):
        return ""
    looked_at = frozenset(("session",)) if recorded.reason is Reason.PUBLIC else witness.credentials
    unseen = frozenset(rule.route.credentials) - looked_at
    if "session" in unseen:
        return "the route asked for no session then"
    if unseen & DELEGATED:
        return "the route did not look at API keys and tokens then"
    is_unread = "certificate" not in looked_at and bool(witness.certificate)
    if rule.route.client_certificate and is_unread and witness.session is None:
        return "the route did not ask whom the certificate stands for"
    return ""


def _later(session: Session, by_s: float) -> Session:
    """Return the session as if it had been proven that much later, where it was proven."""
    return msgspec.structs.replace(
        session,
        auth_time=session.auth_time + by_s if session.auth_time else 0.0,
        mfa_time=session.mfa_time + by_s if session.mfa_time else 0.0,
    )
