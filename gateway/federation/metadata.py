"""What a provider says of itself, fetched when it is first needed and kept as the last good one.

The gateway starts, and whoever is signed in stays so, while a provider is down: nothing here is asked before somebody
signs in, and what was good once is used until something better comes, over restarts too. A document of another issuer
never replaces a good one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from gateway.authn.discovery import InvalidMetadataError, Metadata, discovery_url, parse_metadata
from gateway.federation.conversation import Conversation
from gateway.federation.errors import ProviderUnavailableError

FRESH_S: Final = 3600.0
"""Asked again at most this often while all is well."""
LAST_GOOD_S: Final = 30 * 86400.0
"""Older metadata is not relied upon."""
RETRY_S: Final = (2.0, 5.0, 15.0, 60.0)
"""Pauses after failures, the last one for ever."""
_OK: Final = 200
_log = structlog.get_logger("gateway.federation")


class LastGood(Protocol):
    """Where metadata outlives a restart. May fail with `GatewayError`: then it was not kept."""

    async def load(self, provider: str, *, now: float) -> bytes | None:
        """Return the document that was kept last."""
        ...

    async def keep(self, provider: str, document: bytes, *, now: float, expires: float) -> None:
        """Keep a document in place of the earlier one."""
        ...


class MetadataSource:
    """The metadata of one provider."""

    def __init__(
        self,
        provider: str,
        issuer: str,
        *,
        conversation: Conversation,
        last_good: LastGood,
        report: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        """`report` hears what is wrong with the provider whenever that changes; empty = nothing."""
        self._provider = provider
        self._issuer = issuer
        self._conversation = conversation
        self._last_good = last_good
        self._report = report
        self._clock = clock
        self._lock = asyncio.Lock()
        self._known: Metadata | None = None
        self._fetched = 0.0
        self._failures = 0
        self._next_try = 0.0
        self.problem = ""
        """What is wrong with the provider's own word at the moment; empty = nothing."""

    async def current(self) -> Metadata:
        """Return metadata to sign in by; one caller asks, the others wait for it.

        Raises:
            ProviderUnavailableError: there is none, and there never was.

        """
        if self._known is not None and self._is_settled(self._clock()):
            return self._known
        async with self._lock:
            now = self._clock()
            if self._known is None:
                self._known = await self._kept(now)
            if self._known is None or not self._is_settled(now):
                await self._renew(now)
            if self._known is None:
                raise ProviderUnavailableError(self._provider, self.problem or "its metadata is not known")
            return self._known

    def retire(self) -> None:
        """Report nothing as wrong any more: somebody else looks after the provider from now on."""
        self._report("")

    def _is_settled(self, now: float) -> bool:
        """Nothing is gained by asking now."""
        return 0 <= now - self._fetched < FRESH_S or now < self._next_try

    async def _kept(self, now: float) -> Metadata | None:
        document = await self._last_good.load(self._provider, now=now)
        if document is None:
            return None
        try:
            return parse_metadata(document, self._issuer)
        except InvalidMetadataError:  # gateway.yaml names another issuer by now
            return None

    async def _renew(self, now: float) -> None:
        if now < self._next_try:
            return
        try:
            document = await self._fetch()
            metadata = parse_metadata(document, self._issuer)
        except ProviderUnavailableError as error:
            self._note_failure(error.cause, now)
            return
        except InvalidMetadataError as error:
            self._note_failure(f"its metadata {error}", now)
            return
        if self.problem:
            _log.info("provider.recovered", provider=self._provider)
        self._known, self._fetched, self._failures, self._next_try, self.problem = metadata, now, 0, 0.0, ""
        self._report("")
        await self._last_good.keep(self._provider, document, now=now, expires=now + LAST_GOOD_S)

    async def _fetch(self) -> bytes:
        reply = await self._conversation.get(discovery_url(self._issuer))
        if reply.status != _OK or not reply.is_json:
            raise ProviderUnavailableError(
                self._provider, f"{discovery_url(self._issuer)} answers {reply.status} {reply.content_type}"
            )
        return reply.body

    def _note_failure(self, cause: str, now: float) -> None:
        self._next_try = now + RETRY_S[min(self._failures, len(RETRY_S) - 1)]
        self._failures += 1
        if cause != self.problem:
            _log.warning("provider.degraded", provider=self._provider, reason=cause, last_good=self._known is not None)
        self.problem = cause
        self._report(cause)
