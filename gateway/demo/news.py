"""The warehouse news: a page that listens to a stream of server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
from collections import deque

from aiohttp import web

from gateway.demo.screen import screen

HEARTBEAT_S = 2.0
WAITING = 50
"""Events kept for one slow listener; it loses the oldest beyond that."""

STOP = ""


class Wire:
    """Everyone who listens, and the last announcement."""

    def __init__(self) -> None:
        self.listeners: set[asyncio.Queue[str]] = set()
        self.announcements: deque[str] = deque(["The warehouse is open. Orders before 4 p.m. leave today."], maxlen=5)

    def announce(self, text: str) -> None:
        """Tell everyone, and keep it for who comes later."""
        self.announcements.append(text)
        self._send(text)

    def stop(self) -> None:
        """End all streams."""
        self._send(STOP)

    def _send(self, text: str) -> None:
        for queue in self.listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(text)


WIRE = web.AppKey("wire", Wire)


async def page(request: web.Request) -> web.Response:
    """Show the news window."""
    return screen(request, "news.html")


async def feed(request: web.Request) -> web.StreamResponse:
    """Stream announcements as they are made, with a `queue` event every two seconds: parcels packed so far."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    wire = request.app[WIRE]
    queue: asyncio.Queue[str] = asyncio.Queue(WAITING)
    wire.listeners.add(queue)
    try:
        for text in wire.announcements:
            await response.write(_event("news", text))
        await _pass_on(queue, response)
    except ConnectionError:
        pass  # the listener went away
    finally:
        wire.listeners.discard(queue)
    return response


async def _pass_on(queue: asyncio.Queue[str], response: web.StreamResponse) -> None:
    packed = 0
    while True:
        try:
            text = await asyncio.wait_for(queue.get(), HEARTBEAT_S)
        except TimeoutError:
            packed += 1
            await response.write(_event("queue", f"{packed} parcels packed while you watch"))
            continue
        if text is STOP:
            return
        await response.write(_event("news", text))


def _event(kind: str, text: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in text.splitlines() or [""])
    return f"event: {kind}\n{lines}\n".encode()


async def hang_up(app: web.Application) -> None:
    """End every stream, so that the portal can stop."""
    app[WIRE].stop()


ROUTES = (web.get("/news", page), web.get("/news/feed", feed))
