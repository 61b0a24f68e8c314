"""The HTTP interface of a witness: `POST /add-checkpoint`, `GET /<hash of the origin>/checkpoint`, `GET /livez`.

Takes from each client (an address, or a /64 of IPv6) no more than its share, reads no body past the longest request, and waits for
none for ever: a connection on which no request comes is closed. It knows nothing of what a checkpoint is.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from gateway.audit.witness import MAX_REQUEST_BYTES
from gateway.exchange.route import LimitSpec
from gateway.ratelimit.gcra import Bucket
from gateway.wire.address import canonical_address, limiter_key
from gateway.witness.service import Answer, Witness

_READ_S: Final = 10.0
_KEEP_ALIVE_S: Final = 60.0
_SHUTDOWN_S: Final = 2.0
_SUBJECTS: Final = 10_000
"""Clients that are counted at one time; the one not seen for longest is forgotten first."""


class WitnessListener:
    """The listener, on a socket that is bound already."""

    def __init__(
        self,
        witness: Witness,
        sock: socket.socket,
        tls: ssl.SSLContext | None,
        *,
        rate_per_s: float,
        burst: int,
        clock: Callable[[], float],
    ) -> None:
        self._witness = witness
        self._socket = sock
        self._tls = tls
        self._bucket = Bucket(LimitSpec(name="witness", rate_per_s=rate_per_s, burst=burst, per="ip"))
        self._arrivals: OrderedDict[str, float] = OrderedDict()
        self._clock = clock
        self._silent: dict[web.RequestHandler, asyncio.TimerHandle] = {}
        self._server: asyncio.Server | None = None
        application = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[self._hear])
        application.router.add_post("/add-checkpoint", self._add)
        application.router.add_get("/{hash:[0-9a-f]{64}}/checkpoint", self._checkpoint)
        application.router.add_get("/livez", self._live)
        self._runner = web.AppRunner(
            application, access_log=None, shutdown_timeout=_SHUTDOWN_S, keepalive_timeout=_KEEP_ALIVE_S
        )

    async def start(self) -> None:
        """Begin to answer."""
        await self._runner.setup()
        self._server = await asyncio.get_running_loop().create_server(
            self._accept,
            sock=self._socket,
            ssl=self._tls,
            ssl_handshake_timeout=None if self._tls is None else _READ_S,
            backlog=128,
        )

    async def stop(self) -> None:
        """Answer nothing any more."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()
        for timer in self._silent.values():
            timer.cancel()
        self._silent.clear()
        self._socket.close()

    def _accept(self) -> asyncio.Protocol:
        """Take a connection, for as long as a request may take to come (attack: many that say nothing)."""
        server = self._runner.server
        if server is None:
            raise ConnectionAbortedError
        protocol = server()
        self._silent[protocol] = asyncio.get_running_loop().call_later(_READ_S, self._give_up, protocol)
        return protocol

    def _give_up(self, protocol: web.RequestHandler) -> None:
        del self._silent[protocol]
        if protocol.transport is not None:
            protocol.transport.abort()

    @web.middleware
    async def _hear(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        timer = self._silent.pop(request.protocol, None)
        if timer is not None:
            timer.cancel()
        return await handler(request)

    def _too_many(self, request: web.Request) -> web.Response | None:
        """Count a request of a client; the answer where it has had its share."""
        wait_s = self._wait_s(_client(request.remote))
        if not wait_s:
            return None
        self._witness.count(429)
        return _respond(Answer(429, b"too many requests\n", retry_after_s=int(wait_s) + 1))

    async def _add(self, request: web.Request) -> web.Response:
        refusal = self._too_many(request)
        if refusal is not None:
            return refusal
        try:
            async with asyncio.timeout(_READ_S):
                body = await request.read()
        except TimeoutError:
            self._witness.count(408)
            return _respond(Answer(408, b"the request took too long\n"))
        except web.HTTPRequestEntityTooLarge:
            self._witness.count(413)
            return _respond(Answer(413, b"the request is too long\n"))
        return _respond(await asyncio.to_thread(self._witness.add, body))

    async def _checkpoint(self, request: web.Request) -> web.Response:
        refusal = self._too_many(request)
        return refusal if refusal is not None else _respond(self._witness.checkpoint(request.match_info["hash"]))

    async def _live(self, _request: web.Request) -> web.Response:
        return _respond(Answer(200, b"live\n"))

    def _wait_s(self, client: str) -> float:
        """Count a request of a client; seconds until it may ask again, 0 when it may now."""
        now = self._clock()
        tat = self._arrivals.pop(client, 0.0)
        admitted = self._bucket.admit(tat, now)
        self._arrivals[client] = admitted or tat
        if len(self._arrivals) > _SUBJECTS:
            self._arrivals.popitem(last=False)
        return 0.0 if admitted else self._bucket.retry_after(tat, now)


def _client(address: str | None) -> str:
    """Return what a request counts against: its address, a whole /64 of IPv6 (attack: a customer has as many as they like)."""
    return limiter_key(canonical_address(address)) if address else ""


def _respond(answer: Answer) -> web.Response:
    headers = {"Content-Type": answer.content_type, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if answer.retry_after_s:
        headers["Retry-After"] = str(answer.retry_after_s)
    return web.Response(status=answer.status, body=answer.body, headers=headers)
