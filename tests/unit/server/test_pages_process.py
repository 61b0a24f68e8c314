from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.exchange.errors import ConfigurationError, StoreUnavailableError
from gateway.policy.roles import Roles
from gateway.server import pages_process
from gateway.server.control import Boot, ListenerSocket
from gateway.server.emergencies import EmergencyKeeper
from gateway.server.pages_process import PagesProcess, account_options
from gateway.server.settings import Settings, load_settings
from gateway.server.state import open_state
from gateway.server.validate import read_and_validate
from gateway.store.executor import OverloadedError
from gateway.store.state import Store, open_store

BASE = """\
version: 1
public_url: https://portal.example.com
listen: [{address: "0.0.0.0:8443", tls: {certificate: c, key: k}}]
upstreams: {portal: {servers: ["http://127.0.0.1:3000"]}}
"""


def read(more: str = "") -> Settings:
    return load_settings(BASE + more, "gateway.yaml")


def test_what_the_file_says_about_accounts_reaches_the_store() -> None:
    options = account_options(
        read(
            "mfa: {required: always, methods: [totp]}\n"
            "sessions: {idle: 20m, absolute: 4h, concurrent: 2}\n"
            "tenants: {acme: {hosts: [acme.example.com], sessions: {idle: 5m}}}\n"
            "passwords: {min_length: 16, breach_check: online}\n"
        ),
        Roles({}),
    )
    assert options.issuer == "portal.example.com"
    assert options.mfa_always
    assert not options.recovery_codes
    assert (options.passwords.min_length, options.passwords.min_length_alone) == (16, 16)
    assert options.passwords.place == ("", "portal.example.com", "acme.example.com")
    general = options.rules_of("other", ["client"]).lifetimes
    assert (general.idle_s, general.absolute_s, general.concurrent) == (1200.0, 14400.0, 2)
    own = options.rules_of("acme", ["client"]).lifetimes
    assert (own.idle_s, own.absolute_s, own.concurrent) == (300.0, 14400.0, 2)


def test_absent_sections_enforce_neither_a_factor_nor_a_number_of_sessions() -> None:
    options = account_options(read(), Roles({}))
    assert not options.mfa_always
    assert options.rules_of("", []).lifetimes.concurrent is None


@pytest.fixture
async def pages(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PagesProcess]:
    """The pages of a gateway, whose caretaker looks after the store a hundred times a second."""
    monkeypatch.setattr(pages_process, "_PROBE_S", 0.01)
    validated = read_and_validate(directory / "gateway.yaml")
    assert validated.keyring is not None
    open_store(validated.settings.state_dir, validated.keyring, create=True).close()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "pages.sock"))
    listener.listen()
    listener.setblocking(False)
    boot = Boot(
        kind="pages",
        slot=1000,
        workers=1,
        shares_limits=False,
        listeners=(ListenerSocket(fd=listener.detach(), address="", kind="pages"),),
        bundle=validated.bundle,
        state_dir=str(validated.settings.state_dir),
        run_dir=str(directory),
        pages_socket="pages.sock",
        node="node",
        boot_id="boot",
        version="1",
    )
    process = PagesProcess(boot)
    await process.start()
    yield process
    await process.drain(1.0, keeps_idle=False)


@pytest.mark.parametrize(
    "error",
    [OverloadedError("state store: too much is waiting"), ValueError("the file of generations is closed")],
    ids=["a flood of sign-ins fills the queue", "a reload closed the store meanwhile"],
)
async def test_nothing_that_happens_once_ends_the_care_for_the_store_for_good(
    pages: PagesProcess, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """attack: whoever stops the upkeep has rows pile up until the disk is full, and hides that the store is away."""
    run, asked = pages._storing.run, 0

    async def refuse_once(work: Callable[[], Any]) -> Any:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise error
        return await run(work)

    monkeypatch.setattr(pages._storing, "run", refuse_once)
    async with asyncio.timeout(10):
        while asked < 4:
            await asyncio.sleep(0.01)
    assert pages.dump().health == {"store": ""}


async def test_an_emergency_that_cannot_be_ended_is_not_recorded_with_every_probe(
    pages: PagesProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: a full disk takes the record and not the change, and the log gets a record every two seconds."""
    tried: list[float] = []

    async def fail(*_: Any, now: float, **__: Any) -> int:
        tried.append(now)
        raise StoreUnavailableError("armed")

    monkeypatch.setattr(EmergencyKeeper, "end_those_over", fail)
    monkeypatch.setattr(pages, "_next_upkeep", 0.0)
    async with asyncio.timeout(10):
        while not tried:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert len(tried) == 1


async def test_a_reload_declares_no_metric_a_second_time(pages: PagesProcess) -> None:
    before = [sample.name for sample in pages.dump().samples]
    for _ in range(2):
        await asyncio.to_thread(pages.prepare, pages._boot.bundle)
        pages.commit()
    assert [sample.name for sample in pages.dump().samples] == before
    assert len(set(before)) == len(before)


async def test_a_reload_that_is_refused_leaves_no_connection_to_the_store_behind(
    pages: PagesProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConfigurationError(("identity: no",))

    closed: list[Store] = []
    opened: list[Store] = []

    def open_and_note(*given: Any, **more: Any) -> Store:
        store = open_state(*given, **more)
        monkeypatch.setattr(store, "close", lambda: closed.append(store))
        opened.append(store)
        return store

    monkeypatch.setattr(pages_process, "open_state", open_and_note)
    monkeypatch.setattr(pages_process, "build_providers", refuse)
    with pytest.raises(ConfigurationError):
        await asyncio.to_thread(pages.prepare, pages._boot.bundle)
    assert closed == opened
    assert len(opened) == 1
