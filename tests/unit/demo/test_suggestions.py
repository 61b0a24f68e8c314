from __future__ import annotations

from typing import Any

from aiohttp.test_utils import TestClient

from gateway.demo.suggestions import KEPT, MAX_TEXT


async def test_a_note_is_shown_after_an_absolute_redirect_over_plain_http(client: TestClient[Any, Any]) -> None:
    answer = await client.post(
        "/suggestions", data={"text": "Longer opening hours"}, headers={"Host": "portal.example"}, allow_redirects=False
    )
    assert (answer.status, answer.headers["Location"]) == (302, "http://portal.example/suggestions")
    text = await (await client.get("/suggestions")).text()
    assert "Longer opening hours" in text
    assert "billing (acme)" in text


async def test_markup_in_a_note_stays_text(client: TestClient[Any, Any]) -> None:
    await client.post("/suggestions", data={"text": "<script>alert(1)</script>"})
    text = await (await client.get("/suggestions")).text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text


async def test_an_empty_note_is_not_kept(client: TestClient[Any, Any]) -> None:
    await client.post("/suggestions", data={"text": "  "})
    assert "The box is empty" in await (await client.get("/suggestions")).text()


async def test_the_box_keeps_the_last_notes_and_cuts_long_ones(client: TestClient[Any, Any]) -> None:
    for number in range(KEPT + 1):
        await client.post("/suggestions", data={"text": f"note {number:03d} " + "x" * MAX_TEXT})
    text = await (await client.get("/suggestions")).text()
    assert "note 000" not in text
    assert f"note {KEPT:03d}" in text
    assert "x" * MAX_TEXT not in text
