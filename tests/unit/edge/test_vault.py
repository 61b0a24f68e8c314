"""The cookie vault as a browser and a portal see it: on a worker, over a real store."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gateway.edge.escort import EscortRules
from gateway.edge.escorts import Escorts
from gateway.edge.resolve import Resolver
from gateway.edge.snapshot import Snapshot
from gateway.exchange.errors import StoreUnavailableError
from gateway.policy import compile_policy
from gateway.session.token import make_token, row_of
from gateway.session.vault import Mode, Owner, VaultRules
from gateway.store.keyring import Keyring
from gateway.store.portal_accounts import PortalAccounts
from gateway.store.state import Store, open_store
from gateway.store.vaults import VaultCache, Vaults
from gateway.wire.set_cookie import Cookie, folded_name
from tests.unit.edge.conftest import Edge, Entry, Http2Edge, session

TOKEN = make_token(b"v" * 32)
SET = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n%b\r\nok"


class Breakable(VaultCache):
    """A store that can be away."""

    broken = False
    delay_s = 0.0

    def load(self, owner: Owner, now: float) -> Any:
        self._may()
        return super().load(owner, now)

    def peek(self, owner: Owner, now: float) -> Any:
        return None if self.broken else super().peek(owner, now)

    def change(self, *arguments: Any) -> int:
        self._may()
        return super().change(*arguments)

    def _may(self) -> None:
        if self.broken:
            raise StoreUnavailableError("away")


@dataclass
class Site:
    edge: Edge
    store: Store
    vaults: Vaults
    cache: Breakable
    accounts: PortalAccounts

    def rules(self, mode: Mode = "http_only", **changes: Any) -> None:
        modes: tuple[Mode, ...] = ("none", "http_only", "all")
        made: dict[str, VaultRules] = {each: VaultRules(**{"mode": each, **changes}) for each in modes}
        self.edge.change_upstream(escort=EscortRules(vault=made[mode], modes=made))
        self.edge.change(escorts=True)

    def sets(self, *cookies: str, path: str = "/") -> None:
        lines = "".join(f"Set-Cookie: {cookie}\r\n" for cookie in cookies)
        self.edge.portal.answers[path.encode()] = SET % lines.encode()

    def kept(self) -> dict[bytes, bytes]:
        vault = self.vaults.read(Owner(TOKEN, self.session, "portal"), now=time.time())
        return {cookie.name: cookie.value for cookie in vault.cookies}

    @property
    def session(self) -> Any:
        return self.edge.sessions.entries[TOKEN].session

    async def get(self, target: str = "/", *, cookies: str = "", fields: str = "", **about: Any) -> Any:
        token = TOKEN.decode() + (f"; {cookies}" if cookies else "")
        return await self.edge.get(target, token=token, fields=fields, **about)

    def received(self) -> list[bytes]:
        return self.edge.portal.field(b"cookie")


@pytest.fixture
def keyring() -> Keyring:
    return Keyring.generate(os.urandom, time.time() - 3600)


@pytest.fixture
def store(tmp_path: Path, keyring: Keyring) -> Iterator[Store]:
    (tmp_path / "state").mkdir(mode=0o700)
    made = open_store(tmp_path / "state", keyring, create=True)
    yield made
    made.close()


@pytest.fixture
async def site(edge: Edge, store: Store, keyring: Keyring) -> Site:
    person = session(handle="s_" + "7" * 32)
    edge.sessions.entries[TOKEN] = Entry(person)
    store.rows.transact(lambda tx: store.live.put_in(tx, row_of(TOKEN), person, now=time.time()))
    vaults = Vaults(store.rows, store.sealer, keyring)
    cache = Breakable(vaults, store.rows.generations)  # type: ignore[attr-defined]  # SQLite has them
    accounts = PortalAccounts(store.rows, store.sealer)
    edge.worker.escorts = Escorts(
        cache,
        accounts,
        None,
        loop=asyncio.get_running_loop(),
        report=lambda event, detail: edge.reports.append((event, detail)),
    )
    made = Site(edge, store, vaults, cache, accounts)
    made.rules()
    return made


async def test_an_http_only_cookie_never_reaches_the_browser_and_goes_back_to_the_portal(site: Site) -> None:
    site.sets("SID=secret; HttpOnly; Path=/", "theme=dark; Path=/")
    reply = await site.get()
    assert reply.status == 200
    assert reply.field("set-cookie") == [b"theme=dark; Path=/; SameSite=Lax"]
    assert b"secret" not in reply.raw
    await site.get(cookies="theme=dark")
    assert site.received() == [b"SID=secret; theme=dark"]


async def test_the_cookie_is_stored_before_the_answer_leaves(site: Site) -> None:
    """kill -9 after the answer: what the person was told is what the store has."""
    site.sets("SID=1; HttpOnly")
    await site.get()
    assert site.kept() == {b"SID": b"1"}


async def test_an_answer_whose_cookie_cannot_be_stored_is_not_released(site: Site) -> None:
    site.sets("SID=secret; HttpOnly")
    assert (await site.get("/invoices/1")).status == 200  # the vault is known now
    site.cache.change = _away  # type: ignore[method-assign]  # the store is gone between reading and writing
    reply = await site.get()
    assert reply.status == 503
    assert b'"store_unavailable"' in reply.body
    assert b"secret" not in reply.raw
    assert reply.field("retry-after")


def _away(*_: Any) -> int:
    raise StoreUnavailableError("away")


async def test_nothing_goes_to_the_portal_without_its_cookies_while_the_store_is_away(site: Site) -> None:
    site.cache.broken = True
    reply = await site.get()
    assert reply.status == 503
    assert site.edge.portal.heads == []
    site.cache.broken = False
    assert (await site.get()).status == 200


async def test_a_browsers_copy_of_a_vaulted_cookie_does_not_pass(site: Site) -> None:
    """attack: session fixation at the portal, by whoever can set a cookie in the browser."""
    site.sets("SID=real; HttpOnly; Path=/")
    await site.get()
    site.sets()
    for cookies in ("SID=evil", "sid=evil; a=1", "%53ID=evil", 'a="; SID=evil; "'):
        await site.get(cookies=cookies)
        (value,) = site.received()
        assert value.startswith(b"SID=real")
        assert b"evil" not in value


async def test_named_cookies_do_not_pass_before_the_portal_ever_set_them(site: Site) -> None:
    site.rules(named=frozenset((folded_name(b"SID"),)))
    await site.get(cookies="SID=evil; other=1")
    assert site.received() == [b"other=1"]


async def test_a_removed_cookie_is_gone_from_the_vault(site: Site) -> None:
    site.sets("SID=1; HttpOnly; Path=/")
    await site.get()
    site.sets("SID=; Max-Age=0; Path=/")
    reply = await site.get()
    assert reply.field("set-cookie") == []
    assert site.kept() == {}
    await site.get()
    assert site.received() == []


async def test_all_cookies_stay_here_but_those_that_pass(site: Site) -> None:
    site.rules("all", passed=frozenset((b"csrftoken",)))
    site.sets("theme=dark; Path=/", "csrftoken=1; Path=/")
    reply = await site.get()
    assert reply.field("set-cookie") == [b"csrftoken=1; Path=/; SameSite=Lax"]
    await site.get(cookies="csrftoken=1; unknown=2")
    assert site.received() == [b"theme=dark; csrftoken=1"]


async def test_a_cookie_that_passes_does_so_although_it_is_http_only(site: Site) -> None:
    site.rules(passed=frozenset((b"SID",)))
    site.sets("SID=1; HttpOnly; Path=/")
    assert (await site.get()).field("set-cookie") == [b"SID=1; HttpOnly; Path=/; SameSite=Lax"]
    assert site.kept() == {}


async def test_who_is_not_signed_in_gets_cookies_as_ever(site: Site) -> None:
    site.sets("SID=1; HttpOnly; Path=/", path="/public/a")
    reply = await site.edge.get("/public/a", fields="Cookie: SID=0\r\n")
    assert reply.field("set-cookie") == [b"SID=1; HttpOnly; Path=/; SameSite=Lax"]
    assert site.received() == [b"SID=0"]


async def test_cookies_match_paths_as_in_a_browser(site: Site) -> None:
    site.sets("inner=1; HttpOnly; Path=/invoices", "outer=2; HttpOnly; Path=/")
    await site.get()
    site.sets()
    await site.get()
    assert site.received() == [b"outer=2"]
    await site.get("/invoices/7")
    assert site.received() == [b"inner=1; outer=2"]


async def test_a_route_says_for_itself_which_cookies_stay(site: Site) -> None:
    policy = """
version: 1
roles: {client: {}}
routes:
  - {name: all, match: {path: /all, methods: [GET]}, upstream: portal, cookies: {vault: all}, allow: [{roles: [client]}]}
  - {name: none, match: {path: /none, methods: [GET]}, upstream: portal, cookies: {vault: none}, allow: [{roles: [client]}]}
  - {name: rest, match: {path: /rest, methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}
"""
    table, _ = compile_policy(
        {"policies/test.yaml": policy}, upstreams=["portal"], tenants=["acme", "globex"], hosts=["127.0.0.1"]
    )
    site.edge.change(policy=table, resolver=Resolver(table), limits_of=dict.fromkeys(table.routes, ()))
    for path, seen in (
        ("/rest", {b"theme-rest"}),
        ("/all", set()),
        ("/none", {b"theme-none", b"sid-none"}),
    ):
        name = path[1:]
        site.sets(f"sid-{name}=1; HttpOnly; Path=/", f"theme-{name}=2; Path=/", path=path)
        lines = (await site.get(path)).field("set-cookie")
        assert {line.partition(b"=")[0] for line in lines} == seen, path
    assert set(site.kept()) == {b"sid-rest", b"sid-all", b"theme-all"}


async def test_a_strict_cookie_is_not_sent_for_another_site(site: Site) -> None:
    site.sets("lax=1; HttpOnly; Path=/", "strict=2; HttpOnly; SameSite=Strict; Path=/")
    await site.get()
    site.sets()
    await site.get(fields="Sec-Fetch-Site: cross-site\r\n")
    assert site.received() == [b"lax=1"]
    await site.get(fields="Origin: https://evil.example\r\n")
    assert site.received() == [b"lax=1"]
    await site.get(fields="Sec-Fetch-Site: same-origin\r\n")
    assert site.received() == [b"lax=1; strict=2"]


async def test_cookies_beyond_the_limits_go_nowhere_and_are_counted(site: Site) -> None:
    site.rules(max_count=2, max_bytes=20)
    site.sets("big=" + "x" * 30 + "; HttpOnly", "a=1; HttpOnly", "b=1; HttpOnly", "c=1; HttpOnly", "; HttpOnly")
    reply = await site.get()
    assert reply.field("set-cookie") == []
    assert site.kept().keys() == {b"b", b"c"}
    counted = site.edge.worker.metrics.cookies_dropped.values
    assert counted == {("portal", "too_large"): 1, ("portal", "malformed"): 1, ("portal", "too_many"): 1}


async def test_our_own_cookies_cannot_be_set_through_the_vault(site: Site) -> None:
    site.sets("gw=evil; HttpOnly; Path=/", "GW=evil; HttpOnly; Path=/")
    reply = await site.get()
    assert reply.field("set-cookie") == []
    assert site.kept() == {}


async def test_a_websocket_is_opened_with_the_vaults_cookies(site: Site) -> None:
    site.sets("SID=1; HttpOnly; Path=/")
    await site.get()
    await site.get(
        "/ws",
        cookies="SID=evil",
        fields="Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    )
    assert site.received() == [b"SID=1"]


async def test_http2_has_the_same_vault(site: Site, http2: Http2Edge) -> None:
    person = session(handle=site.session.handle, host="portal.test", secure=True)
    site.edge.sessions.entries[TOKEN] = Entry(person)
    site.sets("SID=secret; HttpOnly; Path=/", "theme=dark; Path=/")
    client = await http2.client()
    first = await client.ask("/", (b"cookie", b"__Host-gw=" + TOKEN))
    assert first.status == 200
    assert first.field(b"set-cookie") == [b"theme=dark; Path=/; Secure; SameSite=Lax"]
    await client.ask("/", (b"cookie", b"SID=evil"), (b"cookie", b"__Host-gw=" + TOKEN))
    assert site.received() == [b"SID=secret"]


async def test_a_change_of_another_worker_holds_from_the_next_request_on(site: Site) -> None:
    await site.get()
    owner = Owner(TOKEN, site.session, "portal")
    theirs = Cookie(name=b"SID", value=b"theirs", created=time.time())
    site.vaults.change(owner, [theirs], VaultRules(mode="http_only"), now=time.time())
    await site.get()
    assert site.received() == [b"SID=theirs"]


async def test_cookies_of_many_answers_at_once_are_all_kept(site: Site) -> None:
    for number in range(8):
        site.sets(f"c{number}=1; HttpOnly; Path=/", path=f"/invoices/{number}")
    replies = await asyncio.gather(*(site.get(f"/invoices/{number}") for number in range(8)))
    assert {reply.status for reply in replies} == {200}
    assert site.kept().keys() == {b"c%d" % number for number in range(8)}


async def test_an_answer_in_pieces_waits_for_its_cookie_too(site: Site) -> None:
    async def answer(_portal: Any, _head: bytes, _reader: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: SID=1; HttpOnly\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"3\r\none\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    site.edge.portal.answers[b"/"] = answer
    reply = await site.get()
    assert reply.status == 200
    assert reply.body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    assert reply.field("set-cookie") == []
    assert site.kept() == {b"SID": b"1"}


async def test_a_portal_that_breaks_off_after_its_head_is_an_error_and_no_hang(site: Site) -> None:
    async def answer(_portal: Any, _head: bytes, _reader: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: SID=1; HttpOnly\r\nContent-Length: 100\r\n\r\n")
        await writer.drain()
        writer.close()

    site.edge.portal.answers[b"/"] = answer
    reply = await site.get()
    assert reply.status in (0, 200, 502)
    assert b"SID" not in reply.raw


async def test_the_record_of_an_answer_holds_no_cookie(site: Site) -> None:
    site.sets("SID=verysecret; HttpOnly; Path=/")
    await site.get()
    await site.get()
    assert b"verysecret" not in b"".join(site.edge.lines)
    assert b"verysecret" not in repr(site.edge.audit.__dict__).encode()


async def test_an_upstream_without_a_vault_is_as_it_was(site: Site) -> None:
    site.edge.change_upstream(escort=None)
    site.sets("SID=1; HttpOnly; Path=/")
    assert (await site.get()).field("set-cookie") == [b"SID=1; HttpOnly; Path=/; SameSite=Lax"]
    assert isinstance(site.edge.worker.snapshot, Snapshot)
    assert replace(site.edge.worker.snapshot, escorts=False).escorts is False
