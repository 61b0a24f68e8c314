"""Answers that stand: to whom, which one, since when and until when; and what they mean for one request.

A standing is made by a finding, ends by itself and can be lifted before. Nobody is asked for it on the way of a request: `Standings` is
what a worker keeps in memory, made anew whenever one comes or goes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from gateway.exchange.route import LimitSpec
from gateway.inspection.abuse.rule import EVERYBODY, HARDNESS, Answer, Detector, Scope
from gateway.inspection.abuse.spared import Spared
from gateway.inspection.abuse.watch import Finding

MOST_STANDINGS: Final = 10_000
"""Beyond that none is added to a network, and others take the place of one to a network; every finding is still told."""
LONGEST_S: Final = 30 * 86_400.0


class Standing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer to somebody."""

    reference: str
    """Names it to people, `a_` and hexadecimal digits."""
    detector: str
    rule: str
    scope: Scope
    subject: str
    name: str = ""
    """Of the person, where there is one."""
    person: str = ""
    """Their stable id."""
    tenant: str = ""
    answer: Answer
    since: float
    until: float
    rate_per_s: float = 0.0
    burst: int = 0
    """With `rate_per_s`: how often whoever is slowed down may ask."""
    spares_signed_in: bool = False

    def holds(self, now: float) -> bool:
        """Tell whether it is not over yet; a clock that was set back makes none longer."""
        return self.since - LONGEST_S <= now < self.until


def answered(
    finding: Finding, detector: Detector, spared: Spared, *, reference: str, now: float
) -> tuple[Standing | None, str]:
    """Return the answer that a finding gets, and why it gets none: the reason of an exception, or nothing.

    `reference` names the standing, in the record of the finding too.
    """
    if finding.answer in {Answer.OFF, Answer.ALERT}:
        return None, ""
    because = spared.reason_for(finding)
    if because:
        return None, because
    standing = Standing(
        reference=reference,
        detector=finding.detector,
        rule=finding.rule,
        scope=finding.scope,
        subject=finding.subject,
        name=finding.name,
        person=finding.person,
        tenant=finding.tenant,
        answer=finding.answer,
        since=now,  # what was proven in the second of the finding may have been proven before it
        until=now + min(detector.answer_s, LONGEST_S),
        rate_per_s=detector.rate_per_s if finding.answer is Answer.SLOW_DOWN else 0.0,
        burst=detector.burst if finding.answer is Answer.SLOW_DOWN else 0,
        spares_signed_in=detector.spares_signed_in and finding.scope is Scope.NETWORK,
    )
    return standing, ""


class Standings:
    """Every answer that stands, found by whom it is about."""

    __slots__ = ("_found", "accounts", "count", "has_tenants")

    def __init__(self, standings: Iterable[Standing] = ()) -> None:
        self._found: dict[Scope, dict[str, tuple[Standing, ...]]] = {}
        self.count = 0
        for standing in standings:
            of_scope = self._found.setdefault(standing.scope, {})
            known = (*of_scope.get(standing.subject, ()), standing)
            of_scope[standing.subject] = tuple(sorted(known, key=_hardness, reverse=True))
            self.count += 1
        self.accounts = frozenset(self._found.get(Scope.ACCOUNT, ()))
        self.has_tenants = Scope.TENANT in self._found

    def __bool__(self) -> bool:
        return bool(self._found)

    def on_network(self, network: str, now: float) -> tuple[Standing, ...]:
        """Return the answers to a network that concern everybody there, the hardest first."""
        return self._holding(Scope.NETWORK, network, now, spares_signed_in=False)

    def on_strangers(self, network: str, now: float) -> tuple[Standing, ...]:
        """Return the answers to a network that concern only who is not signed in there, the hardest first."""
        return self._holding(Scope.NETWORK, network, now, spares_signed_in=True)

    def on_person(self, person: str, session: str, key: str, now: float) -> tuple[Standing, ...]:
        """Return the answers to whoever proved to be somebody, the hardest first; what is not there is empty."""
        found: tuple[Standing, ...] = ()
        for scope, subject in ((Scope.PERSON, person), (Scope.SESSION, session), (Scope.KEY, key)):
            if subject:
                found += self._holding(scope, subject, now)
        return tuple(sorted(found, key=_hardness, reverse=True)) if len(found) > 1 else found

    def on_account(self, account: str, now: float) -> tuple[Standing, ...]:
        """Return the answers to sign-ins with a name, written as sightings write it, the hardest first."""
        return self._holding(Scope.ACCOUNT, account, now) if account in self.accounts else ()

    def on_sign_ins(self, tenant: str, now: float) -> tuple[Standing, ...]:
        """Return the answers to everybody who signs in at an organisation, the hardest first."""
        return self._holding(Scope.TENANT, tenant or EVERYBODY, now) if self.has_tenants else ()

    def _holding(
        self, scope: Scope, subject: str, now: float, *, spares_signed_in: bool | None = None
    ) -> tuple[Standing, ...]:
        of_scope = self._found.get(scope)
        known = of_scope.get(subject, ()) if of_scope is not None else ()
        return tuple(
            standing
            for standing in known
            if standing.holds(now) and spares_signed_in in {None, standing.spares_signed_in}
        )


def limit_of(standing: Standing) -> LimitSpec:
    """Return the limit of whoever is slowed down; one for each standing, so that none begins with another's count."""
    return LimitSpec(name=f"abuse:{standing.reference}", rate_per_s=standing.rate_per_s, burst=standing.burst, per="ip")


def _hardness(standing: Standing) -> tuple[int, float]:
    return HARDNESS[standing.answer], standing.until
