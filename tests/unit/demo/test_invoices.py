from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from gateway.demo.invoices import CUSTOMERS, INVOICES


def test_numbers_run_on_over_both_customers_so_that_they_can_be_guessed() -> None:
    assert sorted(INVOICES) == list(range(1001, 1001 + len(INVOICES)))
    assert {invoice.tenant for invoice in INVOICES.values()} == set(CUSTOMERS) == {"acme", "globex"}


def test_an_invoice_adds_up_to_the_cent() -> None:
    invoice = INVOICES[1001]
    assert (invoice.net, invoice.tax, invoice.gross) == (Decimal("913.40"), Decimal("173.55"), Decimal("1086.95"))


async def test_the_listing_shows_only_the_customers_own_numbers(client: TestClient[Any, Any]) -> None:
    text = await (await client.get("/customers/acme/invoices")).text()
    assert "1001" in text
    assert "1002" not in text


async def test_the_portal_itself_shows_the_other_customers_invoice(client: TestClient[Any, Any]) -> None:
    answer = await client.get("/customers/globex/invoices/1002")
    assert answer.status == 200
    assert "Globex Corporation" in await answer.text()


@pytest.mark.parametrize(
    "path",
    ["acme/invoices/1002", "acme/invoices/9999", "initech/invoices", "acme/invoices/x", "acme/invoices/1002/pdf"],
)
async def test_an_invoice_that_is_not_at_the_address_is_not_found(client: TestClient[Any, Any], path: str) -> None:
    assert (await client.get(f"/customers/{path}")).status == 404


async def test_an_invoice_downloads_as_pdf(client: TestClient[Any, Any]) -> None:
    answer = await client.get("/customers/acme/invoices/1001/pdf")
    assert answer.content_type == "application/pdf"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="invoice-1001.pdf"'
    assert b"1086.95" in await answer.read()
