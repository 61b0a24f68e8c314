"""How many connections a worker has, in all and from one client, and which one gives way to a new one.

A full worker closes the connection whose client has owed a request longest, rather than refuse a new
one: whoever holds many connections and says nothing loses them first. It knows connections by what
they owe, and nothing of HTTP or TLS.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from heapq import nsmallest
from math import inf
from typing import Final, Protocol

from gateway.edge.metrics import EdgeMetrics
from gateway.edge.peer import Peer
from gateway.edge.snapshot import WireLimits

HANDSHAKES_SHARE: Final = 4
"""One connection in so many may be one whose handshake is not over, and of these one in so many of one client."""
LEAST_HANDSHAKES, LEAST_OF_CLIENT = 64, 16
"""However few connections are configured: a browser alone begins six at once."""
GRACE_S: Final = 1.0
"""So long nobody gives way: an honest client has shaken hands, or sent its request, by then."""
LOOK_AGAIN_S: Final = 0.05
"""Time between two searches of all connections, as each costs a millisecond in a full worker."""
FOUND: Final = 64
REPORT_S: Final = 60.0
EXEMPT: Final = ""
"""The key of the operator's proxies: many clients, not one."""


class Connection(Protocol):
    """What is asked of a connection before it has to give way."""

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""

    @property
    def owes_since(self) -> float:
        """Since when its client owes a request, or the rest of a head; infinity while the debt is ours."""

    def cut(self) -> None:
        """Break it off; from now on it owes nothing."""


class Admission:
    """The door of one worker."""

    def __init__(self, connections: Collection[Connection], metrics: EdgeMetrics) -> None:
        """Watch `connections`, which others open and lose."""
        self._connections = connections
        self._metrics = metrics
        self._open: dict[str, int] = {}
        self._shaking: dict[str, int] = {}
        self._handshakes: dict[Hashable, tuple[str, float, Callable[[], object]]] = {}
        self._idle = _Search(connections)
        self._idle_of_client = _Search(connections)
        self._refused: dict[str, int] = {}
        self._reported = 0.0

    # a connection that is not one yet: its PROXY header or its TLS handshake is under way

    def begin(self, token: Hashable, key: str, wire: WireLimits, now: float, abort: Callable[[], object]) -> bool:
        """Count a handshake, if there is room for what it may become. `abort` ends it when it has to give way."""
        most = max(LEAST_HANDSHAKES, wire.max_connections // HANDSHAKES_SHARE)
        if key and self._shaking.get(key, 0) >= max(LEAST_OF_CLIENT, most // HANDSHAKES_SHARE):
            return self.refuse("client_handshakes")
        if len(self._handshakes) >= most and not self._hurry(now):
            return self.refuse("handshakes")
        if not self._has_room(key, wire, now, self._shaking.get(key, 0), len(self._handshakes)):
            return False
        self._handshakes[token] = key, now, abort
        self._shaking[key] = self._shaking.get(key, 0) + 1
        return True

    def end(self, token: Hashable) -> None:
        """The handshake is over, one way or the other."""
        entry = self._handshakes.pop(token, None)
        if entry is not None:
            _less(self._shaking, entry[0])

    def _hurry(self, now: float) -> bool:
        """Abort the handshake that takes longest, if any takes long."""
        token = next(iter(self._handshakes))
        _, since, abort = self._handshakes[token]
        if now - since < GRACE_S:
            return False
        self.end(token)
        abort()
        self._metrics.connections_cut.inc(("handshakes",))
        return True

    # a connection

    def admit(self, peer: Peer, wire: WireLimits, now: float) -> bool:
        """Whether one more connection may be served."""
        return self._has_room(key_of(peer), wire, now, 0, 0)

    def add(self, peer: Peer) -> None:
        """Count a connection in."""
        key = key_of(peer)
        if key:
            self._open[key] = self._open.get(key, 0) + 1

    def remove(self, peer: Peer) -> None:
        """Count a connection out."""
        key = key_of(peer)
        if key:
            _less(self._open, key)

    def _has_room(self, key: str, wire: WireLimits, now: float, of_client: int, in_all: int) -> bool:
        if key and self._open.get(key, 0) + of_client >= wire.max_connections_per_client:
            # attack: one client that takes every connection; what is idle of its own goes first
            if not self._idle_of_client.cut(key, now):
                return self.refuse("client")
            self._metrics.connections_cut.inc(("client",))
            in_all -= 1  # it is lost in a moment
        if len(self._connections) + in_all >= wire.max_connections:
            if not self._idle.cut(EXEMPT, now):
                return self.refuse("full")
            self._metrics.connections_cut.inc(("full",))
        return True

    # what became of it

    def refuse(self, reason: str) -> bool:
        """Count a connection that is turned away. Returns False."""
        self._metrics.connections_refused.inc((reason,))
        self._refused[reason] = self._refused.get(reason, 0) + 1
        return False

    def summary(self, now: float) -> str:
        """What to log of the refusals: at once, then once a minute; else nothing."""
        if not self._refused or now - self._reported < REPORT_S:
            return ""
        self._reported = now
        counts = ", ".join(f"{reason}: {count}" for reason, count in sorted(self._refused.items()))
        self._refused = {}
        return counts


def key_of(peer: Peer) -> str:
    """What a connection counts on."""
    return EXEMPT if peer.trusted else peer.limiter_key


class _Search:
    """Finds whom to cut, a few at a time."""

    def __init__(self, connections: Collection[Connection]) -> None:
        self._connections = connections
        self._found: list[Connection] = []
        self._key = EXEMPT
        self._again = 0.0

    def cut(self, key: str, now: float) -> bool:
        """Cut the connection, of `key` alone unless that is empty, whose client owes something longest."""
        if key != self._key or not self._found:
            if now < self._again:
                return False  # attack: a flood would make each of its connections a search
            self._again = now + LOOK_AGAIN_S
            self._key = key
            longest = nsmallest(
                FOUND,
                (each for each in self._connections if not key or key_of(each.peer) == key),
                key=_debt,
            )
            self._found = longest[::-1]
        while self._found:
            since = self._found[-1].owes_since
            if since != inf and now - since < GRACE_S:
                return False
            connection = self._found.pop()
            if since != inf:  # it has not asked for anything meanwhile
                connection.cut()
                return True
        return False


def _debt(connection: Connection) -> float:
    return connection.owes_since


def _less(counts: dict[str, int], key: str) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]
