"""The office: who our customers are, and the form that announces news. Open to whoever finds the address."""

from __future__ import annotations

from aiohttp import web

from gateway.demo.invoices import CUSTOMERS, INVOICES
from gateway.demo.news import WIRE
from gateway.demo.screen import screen, see_other

MAX_NOTICE = 200


async def show(request: web.Request) -> web.Response:
    """Show all customers with what they owe, and the last announcements."""
    owed = {
        tenant: sum(invoice.gross for invoice in INVOICES.values() if invoice.tenant == tenant) for tenant in CUSTOMERS
    }
    announcements = list(request.app[WIRE].announcements)[::-1]
    return screen(
        request, "office.html", customers=CUSTOMERS, owed=owed, announcements=announcements, max_notice=MAX_NOTICE
    )


async def announce(request: web.Request) -> web.Response:
    """Put one announcement on the wire."""
    text = " ".join(str((await request.post()).get("notice", "")).split())[:MAX_NOTICE]
    if text:
        request.app[WIRE].announce(text)
    return see_other(request, "/office")


ROUTES = (web.get("/office", show), web.post("/office", announce))
