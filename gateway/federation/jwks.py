"""The keys of one issuer: fetched when first needed, fetched again with reason, and kept while the issuer is away.

Decides when the issuer is asked, so that neither its outage nor a flood of tokens with invented key ids makes the gateway ask
in vain or forget what it knew. How a document is fetched is its `Documents`' business, what a key may do `authn.jwk`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from gateway.authn.jwk import MAX_SET_BYTES, InvalidKeySetError, KeySet, parse_jwks
from gateway.exchange.errors import GatewayError

REFRESH_S: Final = 3600.0
"""Age at which keys are fetched anew, as long as that succeeds: what an issuer withdrew is believed no longer than this."""
MIN_INTERVAL_S: Final = 60.0
"""Pause after a success, whatever tokens ask for."""
RETRY_S: Final = (2.0, 5.0, 15.0, 60.0)
"""Pauses after failures, the last one for ever."""
MAX_STALE_S: Final = 7 * 86_400.0
"""Longest time for which keys hold that could not be fetched anew."""


class DocumentUnavailableError(GatewayError):
    """A document could not be fetched. The text says why, for operators; it holds no secret and no word of the answer."""


class IssuerKeysUnavailableError(GatewayError):
    """No keys of the issuer are known, and none can be had now."""


class Documents(Protocol):
    """What fetches a public document of an issuer."""

    async def get(self, url: str, *, max_bytes: int) -> bytes:
        """Return the body of a 200 answer; follows no redirect to another host, takes bounded time.

        Raises:
            DocumentUnavailableError: whatever else came.

        """


class IssuerKeys:
    """The last good keys of one issuer. Belongs to one event loop; safe to ask from many tasks."""

    def __init__(
        self,
        locate: Callable[[], Awaitable[str]],
        documents: Documents,
        *,
        clock: Callable[[], float] = time.time,
        known: bytes = b"",
        fetched: float = 0.0,
    ) -> None:
        """`locate` says where the keys are (`jwks_uri`), and may have to fetch metadata for that, raising DocumentUnavailableError.

        `known` and `fetched` are a document that was kept from an earlier run and its time.
        """
        self._locate = locate
        self._documents = documents
        self._clock = clock
        self._turn = asyncio.Lock()
        self._keys: KeySet | None = None
        self._tried = 0.0
        self._failures = 0
        self.document = b""
        """As it was fetched, for whoever hands it on; empty = never."""
        self.fetched = 0.0
        """When that was, unix seconds."""
        self.problem = ""
        """Why the last attempt failed, for operators; empty = it did not."""
        if known:
            try:
                self._keys, self.document, self.fetched = parse_jwks(known), known, fetched
            except InvalidKeySetError:
                self.fetched = 0.0

    async def get(self) -> KeySet:
        """Return the keys, no older than an hour where the issuer answers.

        Raises:
            IssuerKeysUnavailableError: there are none, or the last ones are a week old, and the issuer does not answer.

        """
        if not self._is_fresh():
            async with self._turn:
                if not self._is_fresh():
                    await self._try()
        return self._best()

    async def newer_than(self, keys: KeySet) -> KeySet:
        """Return the keys after another look at the issuer: a token names a key that `keys` lack.

        The issuer is not asked twice within a minute while it answers: the caller gets what is there, and refuses the token.

        Raises:
            IssuerKeysUnavailableError: as `get`.

        """
        async with self._turn:
            if self._keys is keys or self._keys is None:
                await self._try()
        return self._best()

    def _is_fresh(self) -> bool:
        return self._keys is not None and self.fetched <= self._clock() < self.fetched + REFRESH_S

    def _best(self) -> KeySet:
        if self._keys is None or self._clock() >= self.fetched + MAX_STALE_S:
            raise IssuerKeysUnavailableError(self.problem or "the keys of the issuer are not known yet")
        return self._keys

    async def _try(self) -> None:
        """Fetch, unless that was tried just now. Whatever goes wrong leaves what is known as it is."""
        now = self._clock()
        pause = RETRY_S[min(self._failures, len(RETRY_S)) - 1] if self._failures else MIN_INTERVAL_S
        if self._tried <= now < self._tried + pause:
            return
        self._tried = now
        try:
            document = await self._documents.get(await self._locate(), max_bytes=MAX_SET_BYTES)
            keys = parse_jwks(document)
        except (DocumentUnavailableError, InvalidKeySetError) as error:
            self.problem = str(error)
            self._failures += 1
            return
        self.problem, self._failures = "", 0
        self.document, self.fetched = document, now
        if self._keys is None or self._keys.digest != keys.digest:
            self._keys = keys
