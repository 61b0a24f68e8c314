from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient

from gateway.demo import portal
from gateway.demo.portal import COOKIE, OLD_HEADERS, VISITS


async def test_the_portal_greets_whoever_the_gateway_names(client: TestClient[Any, Any]) -> None:
    text = await (await client.get("/")).text()
    assert "Good day, <b>billing</b> of <b>acme</b>" in text
    assert "Acme Corporation" in text


async def test_without_the_gateway_everyone_is_a_guest(client: TestClient[Any, Any]) -> None:
    async with ClientSession() as stranger, stranger.get(client.make_url("/")) as answer:
        assert "Welcome, guest" in await answer.text()


async def test_its_cookie_has_no_flags_at_all(client: TestClient[Any, Any]) -> None:
    cookie = (await client.get("/")).headers["Set-Cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert not {"secure", "httponly", "samesite"} & set(cookie.lower().replace(" ", "").replace("=", ";").split(";"))


async def test_a_browser_is_known_again_and_its_pages_counted(client: TestClient[Any, Any]) -> None:
    await client.get("/")
    await client.get("/static/portal.css")
    answer = await client.get("/about")
    assert "Set-Cookie" not in answer.headers
    assert "000002" in await answer.text()


async def test_an_invented_cookie_is_replaced(client: TestClient[Any, Any]) -> None:
    answer = await client.get("/", headers={"Cookie": f"{COOKIE}=admin"})
    assert "Set-Cookie" in answer.headers


async def test_only_so_many_browsers_are_remembered(
    client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal, "REMEMBERED", 2)
    for _ in range(5):
        async with ClientSession() as stranger, stranger.get(client.make_url("/about")) as answer:
            assert answer.status == 200
    assert client.app is not None
    assert len(client.app[VISITS]) == 2


@pytest.mark.parametrize("path", ["/", "/static/portal.css", "/nowhere", "/customers/acme/invoices/1001/pdf"])
async def test_every_answer_carries_the_headers_of_its_time(client: TestClient[Any, Any], path: str) -> None:
    answer = await client.get(path)
    assert {name: answer.headers[name] for name in OLD_HEADERS} == OLD_HEADERS


async def test_an_unknown_page_is_a_page_of_the_portal(client: TestClient[Any, Any]) -> None:
    answer = await client.get("/nowhere")
    assert answer.status == 404
    assert "mislaid" in await answer.text()


async def test_the_program_says_its_port_and_ends_on_sigterm(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.demo.portal", str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    async with ClientSession() as browser, browser.get(f"http://127.0.0.1:{port}/news/feed") as stream:
        assert stream.status == 200
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
