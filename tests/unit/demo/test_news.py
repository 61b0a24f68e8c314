from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient

from gateway.demo import news
from gateway.demo.news import WAITING, WIRE, Wire


async def event(answer: ClientResponse) -> str:
    lines = []
    while (line := (await answer.content.readline()).decode()) not in {"\n", ""}:
        lines.append(line)
    return "".join(lines)


async def test_a_listener_hears_what_was_and_what_comes(client: TestClient[Any, Any]) -> None:
    assert client.app is not None
    async with client.get("/news/feed") as answer:
        assert answer.content_type == "text/event-stream"
        assert (await event(answer)).startswith("event: news\ndata: The warehouse is open")
        client.app[WIRE].announce("Closed on Monday")
        assert await event(answer) == "event: news\ndata: Closed on Monday\n"


async def test_between_announcements_the_stream_shows_it_is_alive(
    client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "HEARTBEAT_S", 0.001)
    async with client.get("/news/feed") as answer:
        await event(answer)
        assert await event(answer) == "event: queue\ndata: 1 parcels packed while you watch\n"


async def test_stopping_the_portal_ends_the_streams(client: TestClient[Any, Any]) -> None:
    assert client.app is not None
    async with client.get("/news/feed") as answer:
        await event(answer)
        client.app[WIRE].stop()
        assert await answer.content.read() == b""
    assert not client.app[WIRE].listeners


async def test_a_slow_listener_loses_the_oldest_and_costs_no_memory() -> None:
    wire, queue = Wire(), asyncio.Queue[str](WAITING)
    wire.listeners.add(queue)
    for number in range(WAITING + 3):
        wire.announce(str(number))
    assert queue.qsize() == WAITING
    assert queue.get_nowait() == "3"
