"""Applies the answers of detectors to one request: who is blocked, slowed down, or has to prove once more who they are.

Every answer was made elsewhere and stands in memory; a request is compared with it twice: when its network is known, and when
it is known who it is. While nothing stands, that costs one look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.edge.exchange import Exchange, Refusal
from gateway.exchange.reason import Reason
from gateway.exchange.route import DELEGATED
from gateway.exchange.session import Owed
from gateway.inspection.abuse.rule import Answer
from gateway.inspection.abuse.standing import Standing, Standings, limit_of
from gateway.ratelimit.gcra import Bucket

if TYPE_CHECKING:
    from gateway.edge.pipeline import Limits
    from gateway.edge.sessions import SessionEntry

CONSOLE: Final = "admin"
SIGN_IN: Final = "login"
SIGNING_IN: Final = frozenset((SIGN_IN, "reset", "oidc"))
"""Pages on which somebody becomes somebody else."""
PASSIVE: Final = frozenset(("static", "jwks.json", "csp-report", "session"))
"""What a page of ours asks for by itself."""


class Gate:
    """What stands, for one worker."""

    __slots__ = ("_buckets", "standings")

    def __init__(self) -> None:
        self.standings = Standings()
        self._buckets: dict[str, Bucket] = {}

    def adopt(self, standings: Standings) -> None:
        """Go by these from the next request on."""
        self.standings = standings
        self._buckets.clear()  # counts are kept by the limits, under the name of each standing

    def on_arrival(self, x: Exchange, limits: Limits, now: float) -> Refusal | None:
        """Judge the network of a request, whoever asks."""
        standings = self.standings
        if not standings.count:
            return None
        return self._given(standings.on_network(x.counted, now), x, None, limits, now)

    def on_identity(self, x: Exchange, entry: SessionEntry | None, limits: Limits, now: float) -> Refusal | None:
        """Judge whoever it turned out to be; on our own pages people can always sign out and prove who they are."""
        if not self.standings.count:
            return None
        own_page = x.resolution.internal if x.resolution is not None else ""
        if own_page in PASSIVE:
            return None
        standings = self._on_stranger(x, entry, own_page, now)
        if entry is not None and own_page in {"", CONSOLE}:
            standings += self._on_person(entry, now)
        return self._given(standings, x, entry, limits, now)

    def _on_stranger(self, x: Exchange, entry: SessionEntry | None, own_page: str, now: float) -> tuple[Standing, ...]:
        # attack: one stolen password of many, or an account of one's own, makes nobody signed in who tries others
        if entry is not None and entry.session.owes is Owed.NOTHING and own_page not in SIGNING_IN:
            return ()
        standings = self.standings.on_strangers(x.counted, now)
        if own_page == SIGN_IN and x.method == b"POST":
            standings += self.standings.on_sign_ins(x.tenant, now)
        return standings

    def _on_person(self, entry: SessionEntry, now: float) -> tuple[Standing, ...]:
        session = entry.session
        is_program, is_cookie = session.credential in DELEGATED, session.credential == "cookie"
        return self.standings.on_person(
            session.user_id, session.handle if is_cookie else "", session.handle if is_program else "", now
        )

    def _given(
        self,
        standings: tuple[Standing, ...],
        x: Exchange,
        entry: SessionEntry | None,
        limits: Limits,
        now: float,
    ) -> Refusal | None:
        """Give every answer to one request: what satisfies one says nothing about another."""
        for standing in standings:
            refusal = self._answer(standing, x, entry, limits, now)
            if refusal is not None:
                return refusal
        return None

    def _answer(
        self, standing: Standing, x: Exchange, entry: SessionEntry | None, limits: Limits, now: float
    ) -> Refusal | None:
        """Give one of them."""
        if standing.answer is Answer.SLOW_DOWN:
            bucket = self._buckets.get(standing.reference)
            if bucket is None:
                bucket = self._buckets[standing.reference] = Bucket(limit_of(standing))
            wait = limits.take(bucket, standing.subject, now)
            return Refusal("inspection", Reason.ABUSE_SLOWED, standing.reference, wait) if wait else None
        if standing.answer is Answer.STEP_UP and entry is not None and entry.session.credential == "cookie":
            if x.route.public or entry.session.mfa_time >= standing.since:
                return None
            return Refusal("assurance", Reason.STEP_UP_REQUIRED, standing.reference)
        return Refusal("inspection", Reason.ABUSE_BLOCKED, standing.reference)
