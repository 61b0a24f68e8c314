"""The demo portal, a customer extranet as they were built around 2003: it does its job and protects nothing.

It decides nobody's access: it greets whoever `X-Gateway-User` names and shows what the address asks for. Its cookie
has no flags, its redirects are absolute and plain HTTP, its headers tell too much and allow too much. All that is
there for the gateway to mend; nothing here is a pattern to copy.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from pathlib import Path

import click
from aiohttp import web

from gateway.demo import administration, chat, documents, invoices, news, suggestions
from gateway.demo.invoices import CUSTOMERS
from gateway.demo.screen import HERE, HITS, screen
from gateway.demo.visitor import visitor_of

COOKIE = "EXTRASESSID"
REMEMBERED = 1000
"""Browsers whose visits are counted; beyond that the oldest is forgotten."""

VISITS = web.AppKey("visits", OrderedDict[str, int])

OLD_HEADERS = {
    "Server": "Apache/1.3.27 (Unix) mod_ssl/2.8.12",
    "X-Powered-By": "PHP/4.3.1",
    "X-Frame-Options": "ALLOWALL",
    "X-XSS-Protection": "0",
    "Access-Control-Allow-Origin": "*",
    "Cache-Control": "public, max-age=300",
    "P3P": 'CP="NOI ADM DEV COM NAV OUR STP"',
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def _home(request: web.Request) -> web.Response:
    visitor = visitor_of(request.headers)
    return screen(request, "home.html", customer=CUSTOMERS.get(visitor.tenant, ""))


async def _about(request: web.Request) -> web.Response:
    return screen(request, "about.html")


@web.middleware
async def _count_visits(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path.startswith("/static/"):
        return await handler(request)
    visits, known = request.app[VISITS], request.cookies.get(COOKIE, "")
    identifier = known if known in visits else secrets.token_hex(16)
    visits[identifier] = request[HITS] = visits.get(identifier, 0) + 1
    visits.move_to_end(identifier)
    if len(visits) > REMEMBERED:
        visits.popitem(last=False)
    try:
        response = await handler(request)
    except web.HTTPNotFound:
        response = screen(request, "missing.html", status=404)
    if identifier != known and not response.prepared:
        response.headers.add("Set-Cookie", f"{COOKIE}={identifier}; path=/")
    return response


async def _age(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(OLD_HEADERS)


def portal(folder: Path) -> web.Application:
    """Make the portal; uploads go below `folder`."""
    app = web.Application(middlewares=[_count_visits], client_max_size=documents.MAX_UPLOAD_BYTES)
    app[VISITS] = OrderedDict()
    app[documents.FOLDER] = folder
    app[suggestions.BOX] = deque(maxlen=suggestions.KEPT)
    app[chat.ROOMS] = {}
    app[news.WIRE] = news.Wire()
    app.router.add_get("/", _home)
    app.router.add_get("/about", _about)
    app.router.add_static("/static", HERE / "static")
    for noun in (invoices, documents, suggestions, chat, news, administration):
        app.router.add_routes(noun.ROUTES)
    app.on_response_prepare.append(_age)
    app.on_shutdown.append(chat.hang_up)
    app.on_shutdown.append(news.hang_up)
    return app


async def serve(folder: Path, port: int) -> None:
    """Serve on loopback until SIGTERM or SIGINT; the first line of standard output is the port in use."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(portal(folder), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        sys.stdout.write(f"{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        await stop.wait()
    finally:
        await runner.cleanup()


@click.command(help=__doc__)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Loopback port; 0 takes a free one.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(port: int, folder: Path) -> None:
    """Run the portal alone."""
    asyncio.run(serve(folder, port))


if __name__ == "__main__":
    main()
