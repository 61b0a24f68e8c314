"""A request decided about once more: by another policy, or by the session and the time of another moment.

The same function decides, about the same request, and nothing comes of it here: no limit is counted, no use of a
session is noted. What follows from the answer is the caller's.
"""

from __future__ import annotations

from typing import Final

from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.pipeline import Limits, admit, receive
from gateway.edge.resolve import NO_ROUTE
from gateway.edge.sessions import KeyEntry, SessionEntry, Sessions
from gateway.edge.snapshot import Snapshot
from gateway.ratelimit.gcra import Bucket
from gateway.session.binding import Bond


def decide_again(
    x: Exchange, current: Snapshot, sessions: Sessions, now: float, limits: Limits
) -> tuple[Exchange, Refusal | None]:
    """Decide about the request of `x` by `current`; `x` stays as it is, and what was decided stands in the exchange returned."""
    again = Exchange(
        client=x.client,
        peer=x.peer,
        snapshot=current,
        request_id=x.request_id,
        method=x.method,
        raw_target=x.raw_target,
        version=x.version,
        fields=x.fields,
        started=now,
        started_mono=x.started_mono,
        secure=x.peer.secure,
        client_ip=x.peer.ip,
        route=NO_ROUTE,
        close=False,
    )
    return again, receive(again, limits, now) or admit(again, _Untouched(sessions), limits, now)


class _Unlimited:
    """Counts nothing."""

    def take(self, bucket: Bucket, subject: str, now: float) -> float:  # noqa: ARG002 - the signature of a table
        """Let everything pass."""
        return 0.0


class _Untouched:
    """Sessions that do not notice that they are looked at."""

    __slots__ = ("_sessions",)

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def lookup(self, token: bytes, now: float) -> SessionEntry | None:
        """As the store says."""
        return self._sessions.lookup(token, now)

    def api_key(self, key: bytes, now: float) -> KeyEntry | None:
        """As the store says."""
        return self._sessions.api_key(key, now)

    def touch_key(self, entry: KeyEntry, now: float) -> None:
        """Note nothing."""

    def is_disabled(self, user: str, tenant: str) -> bool:
        """As the store says."""
        return self._sessions.is_disabled(user, tenant)

    def astray(self, entry: SessionEntry, bond: Bond, address: str, now: float) -> None:
        """Note nothing: where the connection comes from was judged when it began."""

    def touch(self, entry: SessionEntry, now: float) -> None:
        """Note nothing."""


UNLIMITED: Final = _Unlimited()
