"""What one worker tells the detectors of abuse: of each finished request what they count, and nothing of the others.

Runs once for each request, so what says nothing costs two look-ups. Sightings that are alike are told as one. It counts nothing
itself, knows no thresholds and answers nobody; what cannot be told in time is counted and forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from gateway.exchange.reason import Reason
from gateway.exchange.route import DELEGATED, SELF, Action, Classification, Route
from gateway.inspection.abuse.sighting import MAX_COUNT, MAX_VALUE, Sighting, What, digest

if TYPE_CHECKING:
    from gateway.edge.exchange import Exchange
    from gateway.exchange.envelope import Event

MAX_PENDING: Final = 4096
"""Different sightings that wait to be told."""
REMEMBERED: Final = 8192
USED_AGAIN_S: Final = 300.0
"""A session is told again after that while it is used, and so is a resource that somebody looks at after `TAKEN_AGAIN_S`."""
TAKEN_AGAIN_S: Final = 60.0
_MAX_TARGET_BYTES: Final = 2048
_MAX_AGENT_BYTES: Final = 512
_MAX_KEPT_BYTES: Final = 256
"""Of an address that is remembered as it is; of a longer one its digest is."""
_EVENTS: Final[Mapping[str, What]] = {
    "login.failed": What.SIGN_IN_FAILED,
    "login.locked": What.SIGN_IN_LOCKED,
    "login.succeeded": What.SIGN_IN_SUCCEEDED,
    "factor.failed": What.FACTOR_FAILED,
    "device.confirmation_failed": What.FACTOR_FAILED,
    "factor.verified": What.FACTOR_SUCCEEDED,
    "device.confirmed": What.FACTOR_SUCCEEDED,
    "device.confirmation_requested": What.FACTOR_ASKED,
    "password.reset_requested": What.RESET_ASKED,
    "session.bound_elsewhere": What.SESSION_ELSEWHERE,
}
_OF_SIGN_IN: Final = frozenset((What.SIGN_IN_FAILED, What.SIGN_IN_LOCKED, What.SIGN_IN_SUCCEEDED))
_CREDENTIALS: Final = frozenset((Reason.API_KEY_REFUSED, Reason.TOKEN_REFUSED))
_HOSTILE: Final = frozenset((Reason.HOSTILE_INPUT, Reason.UPLOAD_INFECTED))
_JUDGED: Final = frozenset(("route", "tenant", "policy"))
"""Stages whose refusal says that something is not there, or not for whoever asked."""
_CLASSIFIED: Final = frozenset((Classification.PII, Classification.PHI, Classification.CHD))
_READING: Final = frozenset((Action.VIEW, Action.DOWNLOAD, Action.EXPORT))
_LEAVING: Final = frozenset((Action.DOWNLOAD, Action.EXPORT))
_MISSED: Final = frozenset((403, 404, 410))


class WatchRules(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker sees, as the configuration says."""

    key: bytes
    """Of the digests: `sighting.digest`."""
    country: Callable[[str], str] | None = None
    """Names the country of an address, where the operator has a database of places."""


class Lookout:
    """What one worker has seen and not told yet."""

    __slots__ = ("_agents", "_pending", "_taken", "_taken_until", "_used", "_used_until", "dropped", "told")

    def __init__(self) -> None:
        self._pending: dict[Sighting, int] = {}
        """Without its count and its time to the second -> how many."""
        self._used: set[tuple[str, str, bytes]] = set()
        self._used_until = 0.0
        self._taken: set[tuple[str, bytes]] = set()
        self._taken_until = 0.0
        self._agents: dict[bytes, str] = {}
        self.dropped = 0
        """Sightings for which there was no room."""
        self.told = 0

    def note(self, x: Exchange) -> None:
        """See a finished request."""
        rules = x.snapshot.watch
        if rules is None:
            return
        if x.events:
            for event in x.events:
                what = _EVENTS.get(event.name)
                if what is not None:
                    self._tell_event(x, rules, what, event)
        session = x.entry.session if x.entry is not None else None
        if session is not None and session.credential == "cookie":
            place = (session.handle, x.counted, x.fields.user_agent[:_MAX_AGENT_BYTES])
            if place not in self._used:
                self._use(x, rules, place)
        status = x.status
        if x.allowed:
            if status < 300:
                if status >= 200 and x.resolution is not None and x.resolution.match is not None:
                    self._take(x, rules)
            elif status in _MISSED:
                self._miss(x, rules)
            elif status >= 500:
                self._put(x, rules, What.FAILED)
        elif x.reason in _HOSTILE:
            self._put(x, rules, What.HOSTILE)
        elif x.reason in _CREDENTIALS:
            self._put(x, rules, What.CREDENTIAL_REFUSED)
        elif status in _MISSED and x.stage in _JUDGED:
            self._miss(x, rules)
        elif x.outcome == "upstream_error":
            self._put(x, rules, What.FAILED)

    def take(self, most: int = MAX_PENDING) -> list[Sighting]:
        """Return what waits to be told, and forget it."""
        pending, self._pending = self._pending, {}
        batch = [
            seen if count == 1 else msgspec.structs.replace(seen, count=min(count, MAX_COUNT))
            for seen, count in pending.items()
        ]
        self.dropped += max(0, len(batch) - most)
        return batch[:most]

    def put_back(self, batch: list[Sighting]) -> None:
        """Take back what could not be told now."""
        newer, self._pending = self._pending, {}
        for seen in batch:
            self._add(msgspec.structs.replace(seen, count=1), seen.count)
        for seen, count in newer.items():
            self._add(seen, count)

    def _tell_event(self, x: Exchange, rules: WatchRules, what: What, event: Event) -> None:
        country = ""
        if what in _OF_SIGN_IN and rules.country is not None:
            country = rules.country(x.client_ip)
        self._add(
            Sighting(
                what=what,
                at=float(int(x.started)),
                tenant=event.tenant or x.tenant,
                network=x.counted,
                person=event.user_id,
                name=event.user,
                account=digest(rules.key, "account", event.user) if event.user else event.account,
                session=event.session,
                agent=self._agent(rules, x.fields.user_agent),
                country=country,
                route=x.route.name,
            )
        )

    def _use(self, x: Exchange, rules: WatchRules, place: tuple[str, str, bytes]) -> None:
        if x.started >= self._used_until or len(self._used) >= REMEMBERED:
            self._used.clear()
            self._used_until = x.started + USED_AGAIN_S
        self._used.add(place)
        self._put(x, rules, What.SESSION_USED)

    def _take(self, x: Exchange, rules: WatchRules) -> None:
        """Note which data somebody was shown: a resource of the policy or of the portal's word, else a page."""
        resolution, route = x.resolution, x.route
        if resolution is None or resolution.match is None:
            return
        is_declared = route.resource is not None or x.told is not None
        if not is_declared and route.classification is None and not x.content_type.startswith(b"text/html"):
            return
        action = route.action_of(x.method.decode("ascii"))
        if action not in _READING:
            return
        session = x.entry.session if x.entry is not None else None
        text = resolution.text
        if len(text) > _MAX_KEPT_BYTES:  # attack: addresses of 8 KiB, each another one
            text = digest(rules.key, "text", text).encode("ascii")
        seen = (session.handle if session is not None else x.counted, text)
        if seen in self._taken and x.started < self._taken_until:
            return
        if x.started >= self._taken_until or len(self._taken) >= REMEMBERED:
            self._taken.clear()
            self._taken_until = x.started + TAKEN_AGAIN_S
        self._taken.add(seen)
        kind, uid, owner = _resource_of(x, route)
        item = digest(rules.key, "item", f"{kind}\0{uid}" if uid else resolution.text[:_MAX_TARGET_BYTES])
        if session is not None and owner in {session.user_id, session.user}:
            owner = ""  # one's own data
        self._put(
            x,
            rules,
            What.TAKEN,
            item=item,
            owner=digest(rules.key, "owner", owner) if owner else "",
            classified=route.classification in _CLASSIFIED or action in _LEAVING,
        )

    def _miss(self, x: Exchange, rules: WatchRules) -> None:
        resolution = x.resolution
        path = x.raw_target.partition(b"?")[0]
        if resolution is not None and resolution.match is not None:
            kind, uid, _ = _resource_of(x, x.route)
            if uid:
                self._put(x, rules, What.MISSED, item=digest(rules.key, "item", f"{kind}\0{uid}"))
        self._put(x, rules, What.STRAYED, item=digest(rules.key, "path", path[:_MAX_TARGET_BYTES]))

    def _put(
        self, x: Exchange, rules: WatchRules, what: What, *, item: str = "", owner: str = "", classified: bool = False
    ) -> None:
        session = x.entry.session if x.entry is not None else None
        person = name = key = handle = group = ""
        if session is not None:
            person, name = session.user_id, session.user
            group = f"{session.tenant}|{','.join(session.roles)}"[:MAX_VALUE]
            if session.credential in DELEGATED:
                key = session.handle
            elif session.credential == "cookie":
                handle = session.handle
        self._add(
            Sighting(
                what=what,
                at=float(int(x.started)),
                tenant=session.tenant if session is not None else x.tenant,
                network=x.counted,
                person=person,
                name=name,
                key=key,
                session=handle,
                agent=self._agent(rules, x.fields.user_agent),
                route=x.route.name,
                item=item,
                owner=owner,
                group=group,
                classified=classified,
            )
        )

    def _add(self, seen: Sighting, count: int = 1) -> None:
        pending = self._pending
        known = pending.get(seen)
        if known is None and len(pending) >= MAX_PENDING:  # attack: more addresses than anybody could count
            self.dropped += count
            return
        pending[seen] = (known or 0) + count

    def _agent(self, rules: WatchRules, value: bytes) -> str:
        value = value[:_MAX_AGENT_BYTES]
        known = self._agents.get(value)
        if known is None:
            if len(self._agents) >= REMEMBERED:
                self._agents.clear()
            known = self._agents[value] = digest(rules.key, "agent", value) if value else ""
        return known


def _resource_of(x: Exchange, route: Route) -> tuple[str, str, str]:
    """Return type, id and owner of what a request is about: by the policy, else the one that the portal named."""
    match = x.resolution.match if x.resolution is not None else None
    kind = uid = owner = ""
    if route.resource is not None and match is not None:
        kind, uid = route.resource.type, match.resource_id()
        owner = "" if route.resource.owner == SELF else match.owner_id()
    if x.told is not None and len(x.told.resources) == 1:  # a list names many, and is no look at each of them
        named = x.told.resources[0]
        kind, uid, owner = (kind, uid, owner or named.owner) if uid else (named.type, named.uid, named.owner)
    return kind, uid, owner
