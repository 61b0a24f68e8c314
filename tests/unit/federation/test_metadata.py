"""Metadata comes when it is needed, and what was good stays until something better comes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from gateway.authn.discovery import Metadata
from gateway.federation.conversation import Conversation
from gateway.federation.errors import ProviderUnavailableError
from gateway.federation.metadata import FRESH_S, MetadataSource
from tests.fakes.identity_provider import IdentityProvider, identity_provider

DISCOVERY = "/.well-known/openid-configuration"


class Shelf:
    """Keeps documents in memory."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}

    async def load(self, provider: str, *, now: float) -> bytes | None:
        return self.documents.get(provider)

    async def keep(self, provider: str, document: bytes, *, now: float, expires: float) -> None:
        assert expires > now
        self.documents[provider] = document


class Bench:
    def __init__(self, provider: IdentityProvider) -> None:
        self.now = 1_800_000_000.0
        self.shelf = Shelf()
        self.reported: list[str] = []
        self.provider = provider
        self.conversation = Conversation("okta", context=ssl.create_default_context(), timeout_s=0.5)
        self.source = self.again()

    def again(self) -> MetadataSource:
        """As after a restart."""
        return MetadataSource(
            "okta",
            self.provider.issuer,
            conversation=self.conversation,
            last_good=self.shelf,
            report=self.reported.append,
            clock=lambda: self.now,
        )


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with identity_provider(lambda: 0.0) as provider:
        bench = Bench(provider)
        yield bench
        await bench.conversation.close()


async def down(_request: web.Request) -> web.Response:
    return web.Response(status=503)


async def test_nothing_is_asked_before_it_is_needed_and_then_once(bench: Bench) -> None:
    assert bench.provider.asked == []
    found: list[Metadata] = await asyncio.gather(*(bench.source.current() for _ in range(20)))
    assert {metadata.issuer for metadata in found} == {bench.provider.issuer}
    assert bench.provider.count(DISCOVERY) == 1
    bench.now += FRESH_S
    await bench.source.current()
    assert bench.provider.count(DISCOVERY) == 2


async def test_last_good_serves_while_the_provider_is_down_over_a_restart_too(bench: Bench) -> None:
    await bench.source.current()
    bench.provider.instead[DISCOVERY] = down
    bench.now += FRESH_S
    assert (await bench.source.current()).issuer == bench.provider.issuer
    assert "answers 503" in bench.source.problem
    assert (await bench.again().current()).issuer == bench.provider.issuer
    bench.provider.instead.clear()
    bench.now += 60
    await bench.source.current()
    assert bench.source.problem == ""
    assert bench.reported[-1] == ""


async def test_provider_that_is_down_is_not_asked_by_everybody(bench: Bench) -> None:
    bench.provider.instead[DISCOVERY] = down
    for _ in range(5):
        with pytest.raises(ProviderUnavailableError):
            await bench.source.current()
    assert bench.provider.count(DISCOVERY) == 1
    bench.now += 3
    with pytest.raises(ProviderUnavailableError, match="answers 503"):
        await bench.source.current()
    assert bench.provider.count(DISCOVERY) == 2


async def test_document_of_another_issuer_replaces_nothing(bench: Bench) -> None:
    await bench.source.current()
    kept = dict(bench.shelf.documents)
    bench.provider.metadata["issuer"] = "https://evil.example"
    bench.now += FRESH_S
    assert (await bench.source.current()).issuer == bench.provider.issuer
    assert "names another issuer" in bench.source.problem
    assert bench.shelf.documents == kept


async def test_kept_document_of_an_earlier_issuer_is_not_used(bench: Bench) -> None:
    bench.shelf.documents["okta"] = b'{"issuer": "https://before.example"}'
    bench.provider.instead[DISCOVERY] = down
    with pytest.raises(ProviderUnavailableError):
        await bench.source.current()
