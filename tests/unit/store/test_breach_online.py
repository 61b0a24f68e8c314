from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha1

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway.store.breach_online import BreachServiceError, OnlineBreachedPasswords

PASSWORD = "a rare passphrase"
DIGEST = sha1(PASSWORD.encode()).hexdigest().upper()


@asynccontextmanager
async def range_api(answer: Callable[[web.Request], web.StreamResponse]) -> AsyncIterator[OnlineBreachedPasswords]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return answer(request)

    app = web.Application()
    app.router.add_get("/range/{prefix}", handle)
    async with TestServer(app) as server:
        yield OnlineBreachedPasswords(str(server.make_url("/range/")))


def lines(*pairs: tuple[str, int]) -> Callable[[web.Request], web.StreamResponse]:
    return lambda _request: web.Response(text="\r\n".join(f"{suffix}:{count}" for suffix, count in pairs))


async def test_only_five_characters_of_the_hash_leave_and_padding_is_asked_for() -> None:
    asked: list[web.Request] = []

    def answer(request: web.Request) -> web.Response:
        asked.append(request)
        return web.Response(text=f"{DIGEST[5:]}:7\r\n{'0' * 35}:0")

    async with range_api(answer) as online:
        assert await online.holds(PASSWORD)
    assert [request.match_info["prefix"] for request in asked] == [DIGEST[:5]]
    assert asked[0].headers["Add-Padding"] == "true"
    assert DIGEST[5:15] not in str(asked[0].headers)


async def test_another_suffix_and_a_padding_entry_do_not_count() -> None:
    async with range_api(lines(("F" * 35, 9), (DIGEST[5:], 0))) as online:
        assert not await online.holds(PASSWORD)


async def test_suffixes_are_compared_without_regard_to_case() -> None:
    async with range_api(lines((DIGEST[5:].lower(), 1))) as online:
        assert await online.holds(PASSWORD)


@pytest.mark.parametrize("status", [301, 429, 500, 204])
async def test_any_other_status_is_no_answer(status: int) -> None:
    async with range_api(lambda _request: web.Response(status=status)) as online:
        with pytest.raises(BreachServiceError):
            await online.holds(PASSWORD)


@pytest.mark.parametrize("body", ["<html>captive portal</html>", "A" * 35, f"{'0' * 35}:x", "0" * (1024 * 1024)])
async def test_a_body_of_another_form_is_no_answer(body: str) -> None:
    async with range_api(lambda _request: web.Response(text=body)) as online:
        with pytest.raises(BreachServiceError):
            await online.holds(PASSWORD)


async def test_a_service_that_is_not_there_is_no_answer_and_no_password_is_told(unused_tcp_port: int) -> None:
    with pytest.raises(BreachServiceError) as failed:
        await OnlineBreachedPasswords(f"http://127.0.0.1:{unused_tcp_port}/range/").holds(PASSWORD)
    assert PASSWORD not in str(failed.value)
    assert DIGEST[:5] not in str(failed.value)
