"""The listener of probes and metrics: `/livez`, `/readyz`, `/metrics`, plain HTTP for the machine itself; `/admin/` says where the console is.

It tells numbers and the names of processes, never who uses the gateway. A request whose `Host` is
not ours is refused: a web page must not read it through the operator's browser (DNS rebinding).
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from aiohttp import web

from gateway.exchange.metrics import Sample
from gateway.server.settings import Admin
from gateway.server.telemetry import CONTENT_TYPE, render
from gateway.wire.authority import parse_authority

_LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_SHUTDOWN_S: Final = 0.2
_LARGEST_BODY: Final = 1024


class Subject(Protocol):
    """What the listener tells about."""

    async def problems(self) -> dict[str, str]:
        """Say what keeps the gateway from being ready, by subject."""

    def degraded(self) -> dict[str, str]:
        """Say what is out without keeping the gateway from being ready, by subject; as of the last `problems`."""

    def console(self) -> str:
        """Return the address of the console, which is on the public listener; empty = there is none."""

    async def samples(self) -> list[Sample]:
        """Collect every number of the node."""


class AdminListener:
    """The listener, on a socket that is bound already."""

    def __init__(self, sock: socket.socket, settings: Admin, subject: Subject) -> None:
        self._socket = sock
        self._subject = subject
        self._names = _LOCAL_NAMES | {settings.address.host, *settings.hosts}
        application = web.Application(middlewares=[self._admit], client_max_size=_LARGEST_BODY)
        application.router.add_get("/livez", self._live)
        application.router.add_get("/readyz", self._ready)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/admin", self._console)
        application.router.add_get("/admin/", self._console)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN_S)

    async def start(self) -> None:
        """Begin to answer."""
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()

    async def stop(self) -> None:
        """Answer nothing any more."""
        await self._runner.cleanup()

    def close(self) -> None:
        """Free the address."""
        self._socket.close()

    @web.middleware
    async def _admit(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        authority = parse_authority(request.headers.get("Host", "").encode("latin-1", "replace"))
        if authority is None or authority.host not in self._names:
            return web.Response(
                status=421, text="this is not a name of the gateway's admin listener\n", headers=_HEADERS
            )
        try:
            response = await handler(request)
        except web.HTTPException as answer:
            response = web.Response(status=answer.status, text=f"{answer.reason}\n")
        response.headers.update(_HEADERS)
        return response

    async def _live(self, _request: web.Request) -> web.Response:
        """Answer as long as the supervisor does anything at all."""
        return web.json_response({"live": True})

    async def _ready(self, _request: web.Request) -> web.Response:
        problems = await self._subject.problems()
        body = {"ready": not problems, "problems": problems, "degraded": self._subject.degraded()}
        return web.json_response(body, status=503 if problems else 200)

    async def _console(self, _request: web.Request) -> web.Response:
        """Say where the console is: this listener knows no people, so it cannot be here."""
        address = self._subject.console()
        if not address:
            return web.Response(
                status=404,
                text="there is no console; admin.console in gateway.yaml opens one on the public listener (docs/console.md)\n",
            )
        return web.Response(text=f"the console is on the public listener: {address}\n")

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=render(await self._subject.samples()), headers={"Content-Type": CONTENT_TYPE})
