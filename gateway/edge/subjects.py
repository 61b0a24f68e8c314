"""Under whose key the personal fields of a request's record are sealed, and what they are then: for one worker.

A record that names somebody is sealed under that person's key; one that names nobody under the key of the strangers of its tenant
and day. What is sealed once for a session, an address and a browser serves all their requests. Keys come with sessions, or from
whoever keeps them; none is made, stored or destroyed here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import msgspec
import orjson

from gateway.audit.access import MAX_USER_AGENT_BYTES, Blemish, readable
from gateway.audit.subject import ADDRESS, CHANGED_NAME, CHANGED_UID, EVENT_USER, EVENT_USER_ID, USER_AGENT, Sealing
from gateway.exchange.envelope import Event

if TYPE_CHECKING:
    from gateway.edge.exchange import Exchange
    from gateway.exchange.session import Session
    from gateway.exchange.subject import SubjectKey

REMEMBERED: Final = 4096
DAY_S: Final = 86_400
_NO_USER_AGENT: Final = b'""'


class SubjectKeys(Protocol):
    """Who keeps keys of people that no session brings along; `store.subject_pool` does. Never waits, never fails."""

    def person(self, user_id: str, tenant: str) -> SubjectKey:
        """Return the key of somebody who is known."""

    def stranger(self, tenant: str, day: int) -> SubjectKey:
        """Return the key of strangers at a tenant on a day, counted from 1970."""


class SubjectSeals:
    """What is sealed for one worker."""

    __slots__ = ("_clients", "_keys", "_random", "_sealings", "agents")

    def __init__(self, keys: SubjectKeys | None, random: Callable[[int], bytes] = os.urandom) -> None:
        """Seal under what `keys` keeps; None = nothing is sealed."""
        self._keys = keys
        self._random = random
        self._sealings: dict[bytes, Sealing] = {}
        self._clients: dict[tuple[str, str, bytes], tuple[bytes, bytes, Blemish | None]] = {}
        self.agents: dict[bytes, tuple[bytes, Blemish | None]] = {}
        """User agents as JSON, in clear, of which `agent` was asked before."""

    def of(self, x: Exchange) -> Sealing | None:
        """Return what seals the record of a request; None where records name people in clear."""
        keys = self._keys
        if keys is None or not x.snapshot.seals_subjects:
            return None
        if x.entry is not None:
            return self.of_session(x.entry.session)
        for event in x.events:
            if event.user_id:
                return self._of_event(event)
        return self._sealing(keys.stranger(x.tenant, int(x.started) // DAY_S))

    def of_session(self, session: Session) -> Sealing | None:
        """Return what seals the person of a session."""
        keys = self._keys
        if keys is None:
            return None
        return self._sealing(session.subject or keys.person(session.user_id, session.tenant))

    def of_person(self, user_id: str, tenant: str) -> Sealing | None:
        """Return what seals a person whom a record names beside its actor: whose data they are."""
        return None if self._keys is None else self._sealing(self._keys.person(user_id, tenant))

    def client(self, sealing: Sealing | None, address: str, user_agent: bytes) -> tuple[bytes, bytes, Blemish | None]:
        """Return address (`"ip":…`) and user agent of a client as JSON; a blemish where the latter has one."""
        if sealing is None:
            return b'"ip":"%b"' % address.encode("ascii"), *self.agent(user_agent)
        key = (sealing.token, address, user_agent)
        found = self._clients.get(key)
        if found is None:
            shown, blemish = self.agent(user_agent)  # to look for secrets in it costs more than to seal it
            found = (
                b'"ip":' + sealing.encoded(ADDRESS, address),
                shown if shown == _NO_USER_AGENT else sealing.encoded(USER_AGENT, orjson.loads(shown)),
                blemish,
            )
            if len(user_agent) <= MAX_USER_AGENT_BYTES:  # attack: kilobytes, different ones each time
                if len(self._clients) >= REMEMBERED:
                    self._clients.clear()
                self._clients[key] = found
        return found

    def agent(self, value: bytes) -> tuple[bytes, Blemish | None]:
        """Return a user agent as JSON, in clear."""
        known = self.agents.get(value)
        if known is not None:
            return known
        text, blemish = _readable(value)
        known = orjson.dumps(text), blemish
        if len(value) <= MAX_USER_AGENT_BYTES:
            if len(self.agents) >= REMEMBERED:
                self.agents.clear()
            self.agents[value] = known
        return known

    def events(self, events: Sequence[Event], sealing: Sealing | None) -> bytes:
        """Return the member `events` of a record with its trailing comma; `sealing` is the record's own."""
        told = [self._event(event, sealing) for event in events]
        return b'"events":' + orjson.dumps(told, option=orjson.OPT_SORT_KEYS) + b","

    def changed(self, event: Event, *, is_sealed: bool) -> dict[str, object] | None:
        """Return the person of an event as the `user` of a record of its own; None where it names nobody."""
        if not event.user_id:
            return None
        sealing = self._of_event(event) if is_sealed else None
        names = (("name", CHANGED_NAME, event.user), ("uid", CHANGED_UID, event.user_id))
        return {"type_id": 1} | {
            member: text if sealing is None else sealing.value(field, text) for member, field, text in names if text
        }

    def _event(self, event: Event, sealing: Sealing | None) -> dict[str, object]:
        told: dict[str, object] = msgspec.to_builtins(event, builtin_types=(bytes,))
        told.pop("subject", None)
        told.pop("account", None)
        if sealing is not None:
            if event.user_id:
                sealing = self._of_event(event) or sealing
                told["user_id"] = sealing.value(EVENT_USER_ID, event.user_id)
            if event.user:
                told["user"] = sealing.value(EVENT_USER, event.user)
        return told

    def _of_event(self, event: Event) -> Sealing | None:
        keys = self._keys
        return None if keys is None else self._sealing(event.subject or keys.person(event.user_id, event.tenant))

    def _sealing(self, subject: SubjectKey) -> Sealing:
        known = self._sealings.get(subject.token)
        if known is None:
            if len(self._sealings) >= REMEMBERED:
                self._sealings.clear()
            known = self._sealings[subject.token] = Sealing(subject, self._random)
        return known


def _readable(user_agent: bytes) -> tuple[str, Blemish | None]:
    text, redactions = readable(user_agent, MAX_USER_AGENT_BYTES)
    cut = max(0, len(user_agent) - MAX_USER_AGENT_BYTES)
    return text, Blemish(redactions, cut) if redactions or cut else None
