"""People signed on to a portal by the pages' own desk: a real store, a real portal, and nothing tried twice."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.exchange.session import Session
from gateway.pages.portal_form import Client
from gateway.pages.portal_seams import Attempted, Standing
from gateway.server.bundle import Bundle
from gateway.server.portals import PortalDesk
from gateway.server.settings import load_settings
from gateway.session.token import make_token, row_of
from gateway.session.vault import Owner, Vault
from gateway.store.executor import BoundedExecutor, store_executor
from gateway.store.keyring import Keyring
from gateway.store.state import Store, open_store
from gateway.store.vaults import Vaults

TOKEN = make_token(b"p" * 32)
CLIENT = Client("https", "portal.example", "portal.example", "192.0.2.7", "Firefox", "")
FORM = '<form action="/app/login" method="post"><input name="u"><input type="password" name="p"></form>'
SETTINGS = """\
version: 1
public_url: https://portal.example
listen: [{{address: "127.0.0.1:8443", tls: {{certificate: a.pem, key: a.key}}}}]
upstreams:
  wiki:
    servers: ["http://127.0.0.1:{port}"]
    {more}
    cookies: {{vault: http_only}}
    sign_on: {{type: form, page: /app/login, fields: {{u: username, p: password}}, sign_out: /app/bye{account}}}
  shop:
    servers: ["http://127.0.0.1:{port}"]
    sign_on: {{type: basic, username: "{{user}}"}}
  plain: {{servers: ["http://127.0.0.1:{port}"]}}
"""


@dataclass
class Portal:
    port: int = 0
    posts: list[dict[str, str]] = field(default_factory=list)
    gets: list[tuple[str, str]] = field(default_factory=list)
    delay_s: float = 0.0

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            self.gets.append((request.path, request.headers.get("Cookie", "")))
            return web.Response(text=FORM, content_type="text/html")
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.posts.append(form)
        await asyncio.sleep(self.delay_s)
        if form["p"] != "right":
            return web.Response(text="no")
        response = web.Response(status=302, headers={"Location": "/app/home"})
        response.headers.add("Set-Cookie", "SID=1; HttpOnly; Path=/app")
        response.headers.add("Set-Cookie", "readable=2; Path=/")
        return response


@dataclass
class House:
    portal: Portal
    store: Store
    keyring: Keyring
    executor: Any

    def desk(self, more: str = "", account: str = "", secrets: dict[str, bytes] | None = None) -> PortalDesk:
        text = SETTINGS.format(port=self.portal.port, more=more, account=account)
        bundle = Bundle(path="/gateway.yaml", settings=text, policies={}, secrets=secrets or {}, digest="")
        return PortalDesk(load_settings(text, Path("/gateway.yaml")), bundle, self.store, self.keyring, self.executor)

    def vault(self) -> Vault:
        vaults = Vaults(self.store.rows, self.store.sealer, self.keyring)
        return vaults.read(Owner(TOKEN, person(), "wiki"), now=time.time())


def person() -> Session:
    return Session(
        handle="s_" + "3" * 32, user_id="u1", user="alice", tenant="acme", roles=("client",), auth_time=0.0, created=0.0,
        expires=time.time() + 3600, idle_s=900.0, host="portal.example", secure=True,
    )  # fmt: skip


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    portal = Portal()
    runner = web.ServerRunner(web.Server(portal.serve))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    portal.port = runner.addresses[0][1]
    keyring = Keyring.generate(os.urandom, time.time() - 3600)
    (tmp_path / "state").mkdir(mode=0o700)
    store = open_store(tmp_path / "state", keyring, create=True)
    store.rows.transact(lambda tx: store.live.put_in(tx, row_of(TOKEN), person(), now=time.time()))
    executor = store_executor()
    yield House(portal, store, keyring, executor)
    await runner.cleanup()
    executor.close()
    store.close()


async def sign_on(desk: PortalDesk, name: str = "wiki", *, now: float = 0.0) -> Attempted:
    return await desk.sign_on(name, TOKEN, person(), CLIENT, now=now or time.time())


async def tell(desk: PortalDesk, password: str, name: str = "wiki") -> None:
    await desk.tell(name, person(), username="al", password=password, now=time.time())


async def test_a_person_is_asked_then_signed_on_and_not_asked_again(house: House) -> None:
    desk = house.desk()
    assert await sign_on(desk) == (Standing.UNTOLD, False)
    await tell(desk, "right")
    assert await sign_on(desk) == (Standing.KNOWN, True)
    assert house.portal.posts == [{"u": "al", "p": "right"}]
    assert {cookie.name for cookie in house.vault().cookies} == {b"SID", b"readable"}
    assert await sign_on(desk) == (Standing.KNOWN, False)
    assert len(house.portal.posts) == 1


async def test_many_tabs_sign_a_person_on_once(house: House) -> None:
    desk = house.desk()
    house.portal.delay_s = 0.1
    await tell(desk, "right")
    stood = await asyncio.gather(*(sign_on(desk) for _ in range(8)))
    assert {attempted.standing for attempted in stood} == {Standing.KNOWN}
    assert len(house.portal.posts) == 1


async def test_many_tabs_and_processes_try_a_wrong_password_once(house: House) -> None:
    """attack: an account that is locked at the portal, because the gateway knocks for everybody."""
    first, second = house.desk(), house.desk()  # as on two nodes
    house.portal.delay_s = 0.1
    await tell(first, "wrong")
    stood = await asyncio.gather(*(sign_on(desk) for desk in (first, second) for _ in range(4)))
    assert {attempted.standing for attempted in stood} == {Standing.REFUSED}
    assert len(house.portal.posts) == 1
    assert house.vault().signed_on == 0.0
    await tell(first, "right")
    assert (await sign_on(second)).standing is Standing.KNOWN


async def test_a_lost_session_replaces_all_of_the_one_before(house: House) -> None:
    desk = house.desk()
    await tell(desk, "right")
    await sign_on(desk)
    before = house.vault().signed_on
    later = time.time() + 61
    assert await sign_on(desk, now=later) == (Standing.KNOWN, True)
    assert house.vault().signed_on > before
    assert len(house.portal.posts) == 2


async def test_a_secret_for_everybody_goes_with_the_persons_name(house: House) -> None:
    desk = house.desk(
        account=', username: "{user}@{tenant}", password: {file: secret}',
        secrets={"upstreams.wiki.sign_on.password": b"right"},
    )
    portal = desk.portal("wiki")
    assert portal is not None
    assert (portal.asks_username, portal.asks_password) == (False, False)
    assert (await sign_on(desk)).standing is Standing.KNOWN
    assert house.portal.posts == [{"u": "alice@acme", "p": "right"}]


async def test_cookies_are_kept_by_the_names_that_the_browser_knows(house: House) -> None:
    desk = house.desk(more="path: {add_prefix: /app}")
    await tell(desk, "right")
    await sign_on(desk)
    assert {cookie.name: cookie.path for cookie in house.vault().cookies} == {b"SID": b"/", b"readable": b"/"}


async def test_a_portal_that_is_away_is_neither_a_refusal_nor_a_sign_on(house: House) -> None:
    desk = house.desk()
    await tell(desk, "right")
    gone = house.portal.port
    house.portal.port = 1
    assert await sign_on(house.desk()) == (Standing.UNAVAILABLE, True)
    house.portal.port = gone
    assert await sign_on(desk) == (Standing.KNOWN, True)


async def test_basic_authentication_needs_no_sign_on_but_an_account(house: House) -> None:
    desk = house.desk()
    assert (await sign_on(desk, "shop")).standing is Standing.UNTOLD
    await tell(desk, "right", "shop")
    assert await sign_on(desk, "shop") == (Standing.KNOWN, False)
    assert house.portal.posts == []
    assert desk.portal("plain") is None


async def test_signing_out_tells_the_portal_and_survives_its_silence(house: House) -> None:
    desk = house.desk()
    await desk.sign_out(TOKEN, person(), CLIENT, now=time.time())
    assert house.portal.gets == []  # nobody was signed on
    await tell(desk, "right")
    await sign_on(desk)
    await desk.sign_out(TOKEN, person(), CLIENT, now=time.time())
    assert house.portal.gets[-1] == ("/app/bye", "SID=1; readable=2")
    house.portal.port = 1
    await house.desk().sign_out(TOKEN, person(), CLIENT, now=time.time())


async def test_signing_out_here_does_not_depend_on_what_is_kept_for_portals(house: House) -> None:
    """attack: keep the threads busy, and nobody gets out of a session."""
    house.executor.close()
    house.executor = BoundedExecutor("busy", threads=1, waiting=-1)
    await house.desk().sign_out(TOKEN, person(), CLIENT, now=time.time())


async def test_what_was_told_can_be_forgotten(house: House) -> None:
    desk = house.desk()
    await tell(desk, "right")
    assert await desk.forget("wiki", person())
    assert not await desk.forget("wiki", person())
    assert (await sign_on(desk)).standing is Standing.UNTOLD


async def test_the_vault_follows_a_new_cookie_value(house: House) -> None:
    desk = house.desk()
    await tell(desk, "right")
    await sign_on(desk)
    new = make_token(b"n" * 32)
    live = house.store.live
    house.store.rows.transact(
        lambda tx: live.rotate_in(tx, row_of(TOKEN), row_of(new), person(), keep=None, now=time.time())
    )
    await desk.carry(TOKEN, new, now=time.time())
    vaults = Vaults(house.store.rows, house.store.sealer, house.keyring)
    assert vaults.read(Owner(new, person(), "wiki"), now=time.time()).signed_on > 0
