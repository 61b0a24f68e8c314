from __future__ import annotations

from typing import Any

from aiohttp.test_utils import TestClient

from gateway.demo.news import WIRE


async def test_the_office_is_open_to_whoever_finds_it(client: TestClient[Any, Any]) -> None:
    text = await (await client.get("/office")).text()
    assert "Acme Corporation" in text
    assert "Globex Corporation" in text


async def test_a_notice_goes_on_the_wire_as_one_line(client: TestClient[Any, Any]) -> None:
    await client.post("/office", data={"notice": "Stocktaking\r\ndata: on Friday"})
    assert client.app is not None
    assert client.app[WIRE].announcements[-1] == "Stocktaking data: on Friday"


async def test_an_empty_notice_is_not_announced(client: TestClient[Any, Any]) -> None:
    assert client.app is not None
    before = list(client.app[WIRE].announcements)
    await client.post("/office", data={"notice": " "})
    assert list(client.app[WIRE].announcements) == before
