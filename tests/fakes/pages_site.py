"""The pages over a real Unix socket, a real SQLite store and a clock that tests move; and a browser without scripts."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from shutil import copytree
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
import pyotp
from argon2.profiles import CHEAPEST

from gateway.authn.password import SALT_BYTES, Hasher
from gateway.exchange.envelope import (
    ENVELOPE_FIELD,
    EVENTS_FIELD,
    Envelope,
    Event,
    Interrupted,
    pack_envelope,
    unpack_events,
)
from gateway.exchange.letter import Letter
from gateway.exchange.metrics import Registry
from gateway.exchange.notice import NOWHERE, Circumstances, Notice
from gateway.pages.app import Dependencies, create_app
from gateway.pages.look import Look
from gateway.pages.serve import accept, make_runner
from gateway.session.rules import RuleBook
from gateway.store.account_options import AccountOptions
from gateway.store.accounts import Accounts
from gateway.store.confirmations import Confirmations
from gateway.store.executor import hashing_executor, store_executor
from gateway.store.kept import KeptForms
from gateway.store.keyring import Keyring
from gateway.store.new_passwords import PasswordRules
from gateway.store.openings import Client
from gateway.store.outbox import Outbox
from gateway.store.records import Factor, User
from gateway.store.redis_options import RedisOptions
from gateway.store.redis_rows import RedisRows
from gateway.store.resets import Resets
from gateway.store.second_factors import PasskeyOptions, SecondFactors
from gateway.store.state import Store, open_store

HOST = "portal.example.com"
PASSWORD = "correct horse battery staple"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0"


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Any
    text: str
    events: list[Event]

    @property
    def location(self) -> str:
        return str(self.headers.get("Location", ""))

    @property
    def cookies(self) -> dict[str, str]:
        """`Set-Cookie` lines by name."""
        lines = self.headers.getall("Set-Cookie", [])
        return {line.partition("=")[0]: line for line in lines}

    def hidden(self, action: str = "") -> dict[str, str]:
        """Hidden inputs of the first form, or of the one with this action; those that its script adds, too."""
        for form in re.findall(r"<form.*?</form>", self.text, re.DOTALL):
            if not action or f'action="{action}"' in form:
                inputs = re.findall(r"<input[^>]*>", form)
                added: dict[str, str] = json.loads(unescape(_attribute(form, "data-fields")) or "{}")
                return added | {
                    unescape(_attribute(tag, "name")): unescape(_attribute(tag, "value"))
                    for tag in inputs
                    if _attribute(tag, "type") == "hidden"
                }
        raise AssertionError(f"no form for {action or 'anything'}")

    def names(self) -> list[str]:
        return [event.name for event in self.events]


def _attribute(tag: str, name: str) -> str:
    found = re.search(rf'\s{name}="([^"]*)"', tag)
    return found[1] if found else ""


@dataclass
class RecordedNotices:
    """Whom somebody was told what about."""

    told: list[tuple[str, Notice, str]] = field(default_factory=list)

    async def notify(self, user_id: str, notice: Notice, *, circumstances: Circumstances = NOWHERE) -> None:
        self.tell(user_id, notice, circumstances)

    def tell(self, user_id: str, notice: Notice, circumstances: Circumstances) -> None:
        self.told.append((user_id, notice, circumstances.subject))


@dataclass
class Site:
    """The whole of it."""

    path: Path
    store: Store
    keyring: Keyring
    registry: Registry
    accounts: Accounts
    hasher: Hasher
    now: float = 1_800_000_000.0
    capacity: int = 100
    """Letters that the queue takes."""
    notices: RecordedNotices = field(default_factory=RecordedNotices)
    places: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.store.rows, self.store.sealer, capacity=self.capacity)
        self.others: list[tuple[Path, Registry]] = []
        """Other nodes on the same state."""
        self._turn = 0

    def next_path(self) -> Path:
        """Return the socket of the node whose turn it is."""
        paths = [self.path, *(path for path, _ in self.others)]
        self._turn += 1
        return paths[self._turn % len(paths)]

    def letters(self) -> list[Letter]:
        """What was queued for somebody, and forget it; letters to nobody go the same way, unseen."""
        found = self.outbox.due(now=self.now, limit=100)
        for letter in found:
            self.outbox.remove(letter)
        return [letter for letter in found if letter.to]

    def add_user(
        self,
        name: str,
        *,
        totp: bool = True,
        tenant: str = "acme",
        roles: tuple[str, ...] = ("client",),
        gateway_roles: tuple[str, ...] = (),
    ) -> None:
        user = User(
            id="u_" + name.encode().hex().ljust(32, "0")[:32],
            stamp=os.urandom(8).hex(),
            name=name,
            tenant=tenant,
            roles=roles,
            gateway_roles=gateway_roles,
            administers=tenant if gateway_roles else "",
            email=f"{name}@acme.example",
            password=self.hasher.hash(PASSWORD, salt=bytes(SALT_BYTES)),
            password_changed=self.now,
            created=self.now,
        )
        self.secrets[name] = SECRET
        factor = Factor(secret=SECRET, created=self.now) if totp else None
        assert self.store.add_user(user, now=self.now, factor=factor)

    def code(self, name: str = "alice") -> str:
        """A code that was not used before: time moves to the next step first."""
        self.now += 30
        return pyotp.TOTP(self.secrets[name]).at(int(self.now))

    def counted(self, metric: str) -> dict[tuple[str, ...], float]:
        counted: dict[tuple[str, ...], float] = {}
        for registry in (self.registry, *(registry for _, registry in self.others)):
            for labels, value in (
                each for sample in registry.dump() if sample.name == metric for each in sample.values
            ):
                counted[labels] = counted.get(labels, 0) + value
        return counted

    def browser(self, **values: Any) -> Browser:
        return Browser(self, **values)


@dataclass
class Browser:
    """Keeps cookies, sends forms, follows nothing."""

    site: Site
    scheme: Literal["http", "https"] = "https"
    host: str = HOST
    tenant: str = "acme"
    user_agent: str = FIREFOX
    ip: str = "203.0.113.7"
    astray: bool = False
    jar: dict[str, str] = field(default_factory=dict)

    @property
    def cookie_name(self) -> str:
        return "__Host-gw" if self.scheme == "https" else "gw"

    def envelope(self, interrupted: Interrupted | None = None) -> str:
        return pack_envelope(
            Envelope(
                request_id="01REQUEST",
                client_ip=self.ip,
                scheme=self.scheme,
                host=self.host,
                authority=self.host,
                tenant=self.tenant,
                session="",
                cookie_name=self.cookie_name,
                astray=self.astray,
                interrupted=interrupted,
            )
        ).decode()

    async def send(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: list[tuple[str, str]] | None = None,
        interrupted: Interrupted | None = None,
    ) -> Answer:
        fields = [(ENVELOPE_FIELD, self.envelope(interrupted)), ("User-Agent", self.user_agent), *(headers or [])]
        if self.jar and not any(name == "Cookie" for name, _ in fields):
            fields.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self.jar.items())))
        if body is not None and not any(name == "Content-Type" for name, _ in fields):
            fields.append(("Content-Type", "application/x-www-form-urlencoded"))
        connector = aiohttp.UnixConnector(str(self.site.next_path()))
        async with (
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(
                method, f"http://pages{target}", data=body, headers=_multi(fields), allow_redirects=False
            ) as response,
        ):
            text = await response.text()
            events = response.headers.get(EVENTS_FIELD)
            answer = Answer(response.status, response.headers, text, unpack_events(events) if events else [])
        for name, line in answer.cookies.items():
            value = line.partition("=")[2].partition(";")[0]
            if value and "Max-Age=0" not in line:
                self.jar[name] = value
            else:
                self.jar.pop(name, None)
        return answer

    async def get(self, target: str, **headers: str) -> Answer:
        return await self.send(
            "GET", target, headers=[(name.replace("_", "-"), value) for name, value in headers.items()]
        )

    async def post(self, target: str, fields: dict[str, str], **headers: str) -> Answer:
        body = aiohttp.FormData(fields)()
        assert isinstance(body, aiohttp.BytesPayload)
        return await self.send(
            "POST", target, body._value, [(name.replace("_", "-"), value) for name, value in headers.items()]
        )

    async def submit(self, page: Answer, target: str, **fields: str) -> Answer:
        """Fill in the form of a page that goes to `target`."""
        return await self.post(target, page.hidden(urlsplit(target).path) | fields)

    async def give_password(self, name: str = "alice", password: str = PASSWORD, query: str = "") -> Answer:
        page = await self.get("/.gateway/login" + query)
        return await self.submit(page, "/.gateway/login", username=name, password=password)

    async def give_code(self, name: str = "alice", code: str = "") -> Answer:
        page = await self.get("/.gateway/mfa")
        return await self.submit(page, "/.gateway/mfa", code=code or self.site.code(name))

    async def sign_in(self, name: str = "alice") -> Answer:
        answer = await self.give_password(name)
        assert (answer.status, answer.location) == (303, "/.gateway/mfa")
        answer = await self.give_code(name)
        assert answer.status == 303
        return answer


def _multi(fields: list[tuple[str, str]]) -> Any:
    from multidict import CIMultiDict

    return CIMultiDict(fields)


LOOK = Look()
"""Compiled once: a tenth of a second."""


def make_state(directory: Path) -> Keyring:
    """Make an empty state directory: the slow part, done once for all tests."""
    keyring = Keyring.generate(os.urandom, 1_800_000_000.0)
    open_store(directory, keyring, create=True).close()
    return keyring


@asynccontextmanager
async def open_site(
    directory: Path, state: Path, keyring: Keyring, *, redis: RedisOptions | None = None, **options: Any
) -> AsyncIterator[Site]:
    """Serve the pages in `directory`, beginning with a copy of `state`, until the block ends.

    With `redis` two nodes serve them over one empty Redis, and each request of a browser goes to the other one.
    """
    directory.chmod(0o700)
    if redis is None:
        copytree(state, directory, dirs_exist_ok=True)
        directory.chmod(0o700)
        async with _node(directory / "pages.sock", open_store(directory, keyring), keyring, None, options) as site:
            yield site
        return
    async with AsyncExitStack() as stack:
        first: Site | None = None
        for name in ("first.sock", "second.sock"):
            store = open_store(directory, keyring, redis=redis)
            first = await stack.enter_async_context(_node(directory / name, store, keyring, first, dict(options)))
        assert first is not None
        yield first


@asynccontextmanager
async def _node(
    path: Path, store: Store, keyring: Keyring, first: Site | None, options: dict[str, Any]
) -> AsyncIterator[Site]:
    """Serve the pages from one more process, as it were; what belongs to the test is that of the `first`."""
    storing, hashing = store_executor(), hashing_executor()
    hasher = Hasher(CHEAPEST)
    recovery_codes = options.pop("recovery_codes", True)
    mfa_always = options.pop("mfa_always", True)
    factor_rule = options.pop("factor_rule", None)
    if factor_rule is not None:
        options.setdefault("remember_device_s", factor_rule.remember_s)
        options.setdefault("never_remembered", factor_rule.never_remembered)
    notices = first.notices if first is not None else RecordedNotices()
    accounts = Accounts(
        store,
        options=AccountOptions(
            issuer=HOST,
            mfa_always=mfa_always,
            recovery_codes=recovery_codes,
            factor_rule=factor_rule,
            tenant_rules=options.pop("tenant_rules", {}),
            rules=options.pop("rules", RuleBook()),
            passwords=PasswordRules(place=(HOST,), min_score=2),
        ),
        keyring=keyring,
        hasher=hasher,
        breached=None,
        tell=notices.tell,
        store_executor=storing,
        hashing_executor=hashing,
    )
    registry = Registry()
    capacity = options.pop("mail_capacity", 100)
    site = first or Site(path, store, keyring, registry, accounts, hasher, capacity=capacity, notices=notices)
    if first is not None:
        first.others.append((path, registry))
    elif isinstance(store.rows, RedisRows):
        site.now = max(site.now, float(int(time.time())))  # Redis forgets by its own clock
    resets = Resets(
        store,
        options=accounts.options,
        keyring=keyring,
        outbox=site.outbox,
        passwords=accounts.passwords,
        tell=site.notices.tell,
        store_executor=storing,
    )
    confirmations = Confirmations(store, accounts.openings, keyring=keyring, outbox=site.outbox, store_executor=storing)
    factors = None
    if options.pop("passkeys", True):
        factors = SecondFactors(
            store,
            accounts.openings,
            options=accounts.options,
            passkeys=options.pop("passkey_options", PasskeyOptions(name="Portal", bound_to=HOST)),
            keyring=keyring,
            tell=notices.tell,
            store_executor=storing,
        )
    make_providers = options.pop("make_providers", None)
    providers = None
    if make_providers is not None:
        providers = make_providers(
            store=store,
            keyring=keyring,
            executor=storing,
            openings=accounts.openings,
            registry=registry,
            clock=lambda: site.now,
        )
    make_console = options.pop("make_console", None)
    has_mail = options.pop("mail", True)
    app = create_app(
        Dependencies(
            providers=providers,
            console=None if make_console is None else make_console(store, keyring, storing, notices.tell),
            factors=factors,
            resets=resets if has_mail else None,
            confirmations=confirmations if has_mail else None,
            accounts=options.pop("accounts", accounts),
            kept=KeptForms(store, keyring=keyring, executor=storing),
            client=Client,
            flow_key=keyring.derive("flow"),
            registry=registry,
            look=LOOK,
            clock=lambda: site.now,
            place=lambda address: site.places.get(address, ""),
            recovery_codes=recovery_codes,
            **options,
        )
    )
    runner = make_runner(app, grace_s=1.0)
    await runner.setup()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(16)
    listener.setblocking(False)
    accepting = asyncio.create_task(accept(listener, lambda: runner.server))
    try:
        yield site
    finally:
        accepting.cancel()
        await asyncio.wait({accepting})
        listener.close()
        await runner.cleanup()
        if providers is not None:
            await providers.close()
        storing.close()
        hashing.close()
        store.close()
