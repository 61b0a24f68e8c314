from __future__ import annotations

from typing import Any

from aiohttp import WSMsgType
from aiohttp.test_utils import TestClient

GLOBEX = {"X-Gateway-User": "admin", "X-Gateway-Tenant": "globex", "X-Gateway-Roles": "admin"}


async def test_what_one_says_the_others_of_the_tenant_hear(client: TestClient[Any, Any]) -> None:
    async with (
        client.ws_connect("/chat/socket") as first,
        client.ws_connect("/chat/socket", headers={"X-Gateway-User": "carol"}) as second,
    ):
        assert await first.receive_str() == "* billing has joined"
        assert await second.receive_str() == "* billing has joined"
        assert await second.receive_str() == "* carol has joined"
        await second.send_str(" hello ")
        assert await first.receive_str() == "* carol has joined"
        assert await first.receive_str() == "<carol> hello"


async def test_another_tenant_has_a_room_of_its_own(client: TestClient[Any, Any]) -> None:
    async with client.ws_connect("/chat/socket") as acme, client.ws_connect("/chat/socket", headers=GLOBEX) as globex:
        await acme.send_str("just between us")
        assert await acme.receive_str() == "* billing has joined"
        assert await acme.receive_str() == "<billing> just between us"
        await globex.send_str("anyone?")
        assert await globex.receive_str() == "* admin has joined"
        assert await globex.receive_str() == "<admin> anyone?"


async def test_an_invented_tenant_opens_no_room(client: TestClient[Any, Any]) -> None:
    from gateway.demo.chat import ROOMS

    async with client.ws_connect("/chat/socket", headers={"X-Gateway-Tenant": "initech"}) as socket:
        await socket.receive_str()
    assert client.app is not None
    assert set(client.app[ROOMS]) == {""}


async def test_an_oversized_message_ends_the_conversation(client: TestClient[Any, Any]) -> None:
    async with client.ws_connect("/chat/socket") as socket:
        await socket.receive_str()
        await socket.send_str("x" * 5000)
        assert (await socket.receive()).type is WSMsgType.CLOSE
        assert socket.close_code == 1009


async def test_the_page_loads_its_script_from_a_file(client: TestClient[Any, Any]) -> None:
    text = await (await client.get("/chat")).text()
    assert '<script src="/static/chat.js"></script>' in text
    assert (await client.get("/static/chat.js")).status == 200
