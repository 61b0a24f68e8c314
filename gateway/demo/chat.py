"""The service desk chat: one room for each customer over a WebSocket, nothing written down but the last lines."""

from __future__ import annotations

from collections import deque

from aiohttp import WSMsgType, web

from gateway.demo.invoices import CUSTOMERS
from gateway.demo.screen import screen
from gateway.demo.visitor import Visitor, visitor_of

KEPT = 20
MAX_MESSAGE_BYTES = 4096


class Room:
    """Everyone of one customer who has the chat open."""

    def __init__(self) -> None:
        self.sockets: set[web.WebSocketResponse] = set()
        self.lines: deque[str] = deque(maxlen=KEPT)

    async def say(self, line: str) -> None:
        """Show `line` to everyone in the room; whoever has gone meanwhile misses it."""
        self.lines.append(line)
        for socket in list(self.sockets):
            try:
                await socket.send_str(line)
            except ConnectionError:
                self.sockets.discard(socket)


ROOMS = web.AppKey("rooms", dict[str, Room])


async def page(request: web.Request) -> web.Response:
    """Show the chat window."""
    return screen(request, "chat.html")


async def talk(request: web.Request) -> web.WebSocketResponse:
    """Join the room of the visitor's tenant until either side leaves."""
    visitor = visitor_of(request.headers)
    socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES)
    await socket.prepare(request)
    room = request.app[ROOMS].setdefault(visitor.tenant if visitor.tenant in CUSTOMERS else "", Room())
    for line in list(room.lines):
        await socket.send_str(line)
    room.sockets.add(socket)
    try:
        await room.say(f"* {visitor.name} has joined")
        await _relay(socket, room, visitor)
    finally:
        room.sockets.discard(socket)
    await room.say(f"* {visitor.name} has left")
    return socket


async def _relay(socket: web.WebSocketResponse, room: Room, visitor: Visitor) -> None:
    async for message in socket:
        if message.type is WSMsgType.TEXT and message.data.strip():
            await room.say(f"<{visitor.name}> {message.data.strip()}")


async def hang_up(app: web.Application) -> None:
    """End every conversation, so that the portal can stop."""
    for room in app[ROOMS].values():
        for socket in list(room.sockets):
            await socket.close(code=1001, message=b"the portal stops")


ROUTES = (web.get("/chat", page), web.get("/chat/socket", talk))
