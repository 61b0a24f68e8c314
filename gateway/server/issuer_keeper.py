"""Keeps the keys of issuers fresh, in the pages process: fetches them, and hands them to every edge through the state.

The edges fetch nothing: they read what stands here, and note when a token names a key that is not there. The gateway starts, and
tokens under keys that are known pass, while an issuer is down.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple

import structlog

from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.metrics import Registry
from gateway.federation.conversation import Conversation
from gateway.federation.issuer_documents import IssuerDocuments
from gateway.federation.jwks import IssuerKeys, IssuerKeysUnavailableError
from gateway.server.bundle import Bundle
from gateway.server.issuers import trust_of
from gateway.server.sections.programs import Issuer
from gateway.server.settings import Settings
from gateway.store.executor import BoundedExecutor, OverloadedError
from gateway.store.issuer_keys import IssuerKeyStore, KeptKeys

LOOK_S: Final = 2.0
_log = structlog.get_logger("gateway.issuers")


class _Kept(NamedTuple):
    """One issuer."""

    id: str
    name: str
    documents: IssuerDocuments
    keys: IssuerKeys


class IssuerMetrics:
    """What is told of issuers; declared once a process."""

    def __init__(self, registry: Registry) -> None:
        self.ages = registry.gauge(
            "gateway_issuer_keys_age_seconds", "Since the keys of an issuer of access tokens were fetched.", ("issuer",)
        )
        self.degraded = registry.gauge(
            "gateway_issuer_degraded", "1 while the keys of an issuer cannot be fetched.", ("issuer",)
        )


class IssuerKeeper:
    """Every issuer of one configuration whose keys are fetched."""

    def __init__(
        self,
        settings: Settings,
        bundle: Bundle,
        *,
        store: IssuerKeyStore,
        executor: BoundedExecutor,
        metrics: IssuerMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._run = executor.run
        self._clock = clock
        self._wanted = [issuer for issuer in settings.identity.issuers if not (issuer.keys and issuer.keys.file)]
        self._authorities = bundle.issuer_authorities
        self._kept: list[_Kept] = []
        self._problems: dict[str, str] = {}
        self._metrics = metrics

    @property
    def is_needed(self) -> bool:
        """There are keys to fetch."""
        return bool(self._wanted)

    async def keep(self) -> None:
        """Look after the keys for ever; every two seconds at what somebody wants."""
        try:
            while True:
                with suppress(StoreUnavailableError, OverloadedError):  # its caretaker says so; known keys serve on
                    await self.look()
                await asyncio.sleep(LOOK_S)
        finally:
            for kept in self._kept:  # whoever keeps them from now on measures anew, or nobody does
                self._metrics.ages.values.pop((kept.id,), None)
                self._metrics.degraded.values.pop((kept.id,), None)
            for kept in self._kept:
                await kept.documents.close()

    async def look(self) -> None:
        """Fetch what is due or wanted, and hand on what came of it."""
        if not self._kept:
            self._kept = [await self._open(issuer) for issuer in self._wanted]
        await asyncio.gather(*(self._look_at(kept) for kept in self._kept))

    async def _look_at(self, kept: _Kept) -> None:
        keys, before = kept.keys, kept.keys.fetched
        wished = await self._run(partial(self._store.wished, kept.name))
        with suppress(IssuerKeysUnavailableError):  # its `problem` says why
            current = await keys.get()
            if wished > keys.fetched:
                await keys.newer_than(current)
        self._tell(kept)
        now = self._clock()
        if keys.fetched != before:
            await self._run(
                partial(self._store.keep, kept.name, KeptKeys(document=keys.document, fetched=keys.fetched), now=now)
            )
        if keys.fetched:
            self._metrics.ages.set(max(0.0, now - keys.fetched), (kept.id,))

    def _tell(self, kept: _Kept) -> None:
        problem = kept.keys.problem
        if problem == self._problems.get(kept.id, ""):
            return
        self._problems[kept.id] = problem
        self._metrics.degraded.set(float(bool(problem)), (kept.id,))
        if problem:
            _log.warning("issuer.degraded", issuer=kept.id, reason=problem, has_keys=bool(kept.keys.fetched))
        else:
            _log.info("issuer.recovered", issuer=kept.id)

    async def _open(self, issuer: Issuer) -> _Kept:
        known = await self._run(partial(self._store.load, issuer.issuer))
        conversation = Conversation(
            issuer.id,
            context=trust_of(self._authorities.get(issuer.id)),
            proxy=str(issuer.proxy) if issuer.proxy else None,
            timeout_s=issuer.timeout,
        )
        keys_at = issuer.keys.url if issuer.keys is not None and issuer.keys.url else ""
        documents = IssuerDocuments(issuer.issuer, conversation=conversation, keys_at=keys_at)
        keys = IssuerKeys(
            documents.locate,
            documents,
            clock=self._clock,
            known=known.document if known is not None else b"",
            fetched=known.fetched if known is not None else 0.0,
        )
        return _Kept(issuer.id, issuer.issuer, documents, keys)
