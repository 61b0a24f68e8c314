"""The state of one edge worker that is in Redis: its connection, what asks over it, and what waits for the answers."""

from __future__ import annotations

import os
from collections.abc import Callable

from gateway.edge.remote import RemoteState
from gateway.edge.remote_limits import RemoteLimits
from gateway.edge.worker import Worker
from gateway.session.binding import Bond
from gateway.store.redis_limits import RedisLimits
from gateway.store.redis_link import RedisLink
from gateway.store.redis_rows import RedisRows
from gateway.store.redis_whereabouts import whereabouts
from gateway.store.remote_sessions import RemoteSessions
from gateway.store.sealing import Sealer
from gateway.store.sessions import Entry


class RedisState:
    """Begin to connect; a Redis that is away is no reason not to serve what needs none."""

    def __init__(
        self,
        rows: RedisRows,
        sealer: Sealer,
        *,
        report: Callable[[str, str], None],
        strayed: Callable[[Entry, Bond, str, float], None],
    ) -> None:
        self._rows = rows
        self._sealer = sealer
        options = rows.redis.options
        self._link = RedisLink(whereabouts(options), options, report=report)
        self.sessions = RemoteSessions(self._link, rows, sealer, report=report, strayed=strayed)

    @property
    def problem(self) -> str:
        """Why requests that need the state are refused; empty while all is well."""
        return self.sessions.problem

    def serve(self, worker: Worker) -> None:
        """Have the worker's requests wait for what this Redis says, and count their limits in it."""
        counter = RedisLimits(self._link, self._rows.keys_of, self._sealer, holder=os.urandom(8).hex().encode())
        limits = RemoteLimits(worker.limits, counter, soon=worker.soon, metrics=worker.metrics)
        worker.remote = RemoteState(self.sessions, limits, soon=worker.soon, metrics=worker.metrics)

    async def close(self) -> None:
        """Hang up."""
        self.sessions.close()
        await self._link.close()
        self._rows.close()
