"""Invoices with guessable numbers. Anyone who can reach the address is shown the invoice: the portal never asks whose it is."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from aiohttp import web

from gateway.demo.pdf import one_page
from gateway.demo.screen import screen

SALES_TAX = Decimal("0.19")
CENT = Decimal("0.01")


class Line(msgspec.Struct, frozen=True):
    """One position of an invoice."""

    quantity: int
    article: str
    price: Decimal

    @property
    def total(self) -> Decimal:
        """Price of all pieces."""
        return self.quantity * self.price


class Invoice(msgspec.Struct, frozen=True):
    """What one customer owes for one delivery."""

    number: int
    tenant: str
    date: str
    lines: tuple[Line, ...]

    @property
    def net(self) -> Decimal:
        """Sum of the lines."""
        return sum((line.total for line in self.lines), Decimal(0))

    @property
    def tax(self) -> Decimal:
        """Sales tax, to the cent."""
        return (self.net * SALES_TAX).quantize(CENT)

    @property
    def gross(self) -> Decimal:
        """What has to be paid."""
        return self.net + self.tax


CUSTOMERS = {"acme": "Acme Corporation", "globex": "Globex Corporation"}


def _line(quantity: int, article: str, price: str) -> Line:
    return Line(quantity, article, Decimal(price))


INVOICES = {
    invoice.number: invoice
    for invoice in (
        Invoice(
            1001,
            "acme",
            "2003-02-03",
            (_line(40, "Fanfold paper, 2000 sheets", "21.50"), _line(6, "Ink ribbon, black", "8.90")),
        ),
        Invoice(
            1002,
            "globex",
            "2003-02-04",
            (_line(3, "Overhead projector, 2200 lumen", "389.00"), _line(10, "Transparencies, box of 50", "17.20")),
        ),
        Invoice(
            1003,
            "acme",
            "2003-02-17",
            (_line(250, "Floppy disk 3.5 in., box of 10", "4.95"), _line(2, "Disk cabinet, lockable", "64.00")),
        ),
        Invoice(
            1004,
            "globex",
            "2003-02-28",
            (_line(1, "Laser printer, 12 pages a minute", "899.00"), _line(4, "Toner cartridge", "79.50")),
        ),
        Invoice(
            1005,
            "acme",
            "2003-03-06",
            (_line(12, "Mouse mat, company logo", "3.10"), _line(12, "Trackball mouse, PS/2", "24.90")),
        ),
        Invoice(
            1006,
            "globex",
            "2003-03-11",
            (_line(5, "Fax paper roll, 30 m", "2.75"), _line(1, "Shredder, strip cut", "119.00")),
        ),
    )
}


def _asked_for(request: web.Request) -> Invoice:
    invoice = INVOICES.get(int(request.match_info["number"]))
    if invoice is None or invoice.tenant != request.match_info["tenant"]:
        raise web.HTTPNotFound
    return invoice


async def listing(request: web.Request) -> web.Response:
    """List the invoices of the customer named in the address."""
    tenant = request.match_info["tenant"]
    if tenant not in CUSTOMERS:
        raise web.HTTPNotFound
    own = [invoice for invoice in INVOICES.values() if invoice.tenant == tenant]
    return screen(request, "invoices.html", tenant=tenant, customer=CUSTOMERS[tenant], invoices=own)


async def show(request: web.Request) -> web.Response:
    """Show one invoice."""
    invoice = _asked_for(request)
    return screen(request, "invoice.html", invoice=invoice, customer=CUSTOMERS[invoice.tenant])


async def download(request: web.Request) -> web.Response:
    """Hand out one invoice as a PDF."""
    invoice = _asked_for(request)
    lines = [
        "HALLORAN & PIKE, STATIONERS",
        f"Invoice No. {invoice.number} of {invoice.date}",
        CUSTOMERS[invoice.tenant],
        "",
    ]
    lines += [f"{line.quantity:>5}  {line.article:<36} {line.total:>10.2f}" for line in invoice.lines]
    lines += [
        "",
        *(
            f"{'':>7}{title:<36} {amount:>10.2f}"
            for title, amount in (("Net", invoice.net), ("Sales tax 19 %", invoice.tax), ("Total", invoice.gross))
        ),
    ]
    disposition = f'attachment; filename="invoice-{invoice.number}.pdf"'
    return web.Response(
        body=one_page(lines), content_type="application/pdf", headers={"Content-Disposition": disposition}
    )


ROUTES = (
    web.get("/customers/{tenant}/invoices", listing),
    web.get(r"/customers/{tenant}/invoices/{number:\d{1,9}}", show),
    web.get(r"/customers/{tenant}/invoices/{number:\d{1,9}}/pdf", download),
)
