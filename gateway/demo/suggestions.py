"""The suggestion box: a form, a list of the last notes, and an absolute redirect after each."""

from __future__ import annotations

from collections import deque

import msgspec
from aiohttp import web

from gateway.demo.screen import screen, see_other
from gateway.demo.visitor import visitor_of

KEPT = 20
MAX_TEXT = 500


class Suggestion(msgspec.Struct, frozen=True):
    """One note from a customer."""

    author: str
    text: str


BOX = web.AppKey("suggestions", deque[Suggestion])


async def show(request: web.Request) -> web.Response:
    """Show the form and the last notes, newest first."""
    box = request.app[BOX]
    return screen(request, "suggestions.html", suggestions=list(reversed(box)), max_text=MAX_TEXT)


async def drop(request: web.Request) -> web.Response:
    """Take one note from the form."""
    text = str((await request.post()).get("text", "")).strip()[:MAX_TEXT]
    if text:
        visitor = visitor_of(request.headers)
        request.app[BOX].append(
            Suggestion(f"{visitor.name} ({visitor.tenant})" if visitor.tenant else visitor.name, text)
        )
    return see_other(request, "/suggestions")


ROUTES = (web.get("/suggestions", show), web.post("/suggestions", drop))
