"""Fresh tokens for a session: refreshed once, however many requests ask, on however many nodes.

Providers that rotate refresh tokens void a whole family when one is used twice, so a second use must not happen: in one
process the callers share one refresh, over processes and nodes a lease in the store keeps the others waiting for its result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, Protocol

import msgspec
import structlog

from gateway.authn.jose import InvalidTokenError
from gateway.authn.jwk import MalformedJSONError, decode_base64url, parse_object
from gateway.authn.oidc import AnswerFault, AnswerRefusedError
from gateway.exchange.metrics import Counter
from gateway.federation.errors import ProviderUnavailableError
from gateway.federation.relying_party import RelyingParty
from gateway.federation.token_set import TokenSet, is_fresh

LEASE_S: Final = 60.0
"""Longer than any conversation with a provider may take."""
_POLL_S: Final = 0.1
_HOLDER_BYTES: Final = 16
_log = structlog.get_logger("gateway.federation")


class Freshness(StrEnum):
    """What came of asking for fresh tokens."""

    FRESH = "fresh"
    """They are fresh now, whoever did it."""
    NONE = "none"
    """There are none, or none that can be refreshed."""
    REFUSED = "refused"
    """The provider gives none any more."""
    UNAVAILABLE = "unavailable"
    """Nobody knows."""


class Kept(Protocol):
    """Tokens as the store has them."""

    @property
    def version(self) -> int:
        """Grows with each refresh."""
        ...

    @property
    def packed(self) -> bytes:
        """As they were put."""
        ...

    @property
    def busy(self) -> bool:
        """Somebody refreshes them at the moment."""
        ...

    @property
    def provider(self) -> str:
        """Id of the provider that gave them."""
        ...


class Leases(Protocol):
    """Tokens in the store, and the right to refresh them. Methods raise `StoreUnavailableError`."""

    async def tokens(self, token: bytes, handle: str, *, now: float) -> Kept | None:
        """Return the tokens of a session."""
        ...

    async def lease(self, handle: str, *, version: int, holder: str, now: float, until: float) -> bool:
        """Take the right to refresh them; False when another has it or was faster."""
        ...

    async def renew_tokens(self, token: bytes, handle: str, packed: bytes, *, holder: str, now: float) -> bool:
        """Store refreshed tokens and give the right back; `packed` empty = as they were."""
        ...


class Refresher:
    """Refreshes the tokens of every provider of one process. Belongs to one event loop."""

    def __init__(
        self,
        parties: Mapping[str, RelyingParty],
        leases: Leases,
        *,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        refreshes: Counter,
    ) -> None:
        self._parties = parties
        self._leases = leases
        self._clock = clock
        self._random = random
        self._refreshes = refreshes
        self._under_way: dict[str, asyncio.Task[Freshness]] = {}

    async def freshen(self, token: bytes, handle: str) -> Freshness:
        """See to it that the access token of a session is good for a while. Raises `StoreUnavailableError`."""
        task = self._under_way.get(handle)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._freshen(token, handle), name="tokens.refresh")
            self._under_way[handle] = task
            task.add_done_callback(lambda _done: self._under_way.pop(handle, None))
        return await asyncio.shield(task)  # whoever leaves does not stop it for the others

    async def _freshen(self, token: bytes, handle: str) -> Freshness:
        deadline = self._clock() + LEASE_S
        while True:
            now = self._clock()
            kept = await self._leases.tokens(token, handle, now=now)
            if kept is None:
                return Freshness.NONE
            tokens = msgspec.msgpack.decode(kept.packed, type=TokenSet)
            if is_fresh(tokens, now):
                return Freshness.FRESH
            party = self._parties.get(kept.provider)
            if party is None or not tokens.refresh_token:
                return Freshness.NONE
            holder = self._random(_HOLDER_BYTES).hex()
            if await self._leases.lease(handle, version=kept.version, holder=holder, now=now, until=now + LEASE_S):
                return await self._refresh(party, tokens, token, handle, holder)
            if now >= deadline:
                return Freshness.UNAVAILABLE
            await asyncio.sleep(_POLL_S)  # another node is at it: its result is ours

    async def _refresh(
        self, party: RelyingParty, tokens: TokenSet, token: bytes, handle: str, holder: str
    ) -> Freshness:
        provider, packed = party.party.id, b""
        try:
            renewed = await self._renewed(party, tokens)
            packed, outcome = msgspec.msgpack.encode(renewed), Freshness.FRESH
        except ProviderUnavailableError as error:
            _log.warning("tokens.not_refreshed", provider=provider, session=handle, reason=error.cause)
            outcome = Freshness.UNAVAILABLE
        except (AnswerRefusedError, InvalidTokenError) as error:
            _log.warning("tokens.not_refreshed", provider=provider, session=handle, reason=str(error.fault))
            # Asked once is enough: the next request must not try the same token again.
            packed = msgspec.msgpack.encode(msgspec.structs.replace(tokens, refresh_token=""))
            outcome = Freshness.REFUSED
        if not await self._leases.renew_tokens(token, handle, packed, holder=holder, now=self._clock()):
            outcome = Freshness.UNAVAILABLE
        self._refreshes.inc((provider, outcome))
        return outcome

    @staticmethod
    async def _renewed(party: RelyingParty, tokens: TokenSet) -> TokenSet:
        """Ask for new tokens; what the provider leaves out stays as it was (RFC 6749 §6)."""
        given = await party.refresh(tokens.refresh_token)
        if given.id_token:
            claims = await party.verify(given, attempt=None)
            if claims.subject != _subject_of(tokens.id_token):  # OpenID Connect Core §12.2
                raise AnswerRefusedError(AnswerFault.SUBJECT)
        return msgspec.structs.replace(
            given,
            id_token=given.id_token or tokens.id_token,
            refresh_token=given.refresh_token or tokens.refresh_token,
        )


def _subject_of(id_token: str) -> str:
    """Read `sub` of a token that was verified when it came."""
    try:
        return str(parse_object(decode_base64url(id_token.split(".")[1])).get("sub", ""))
    except (IndexError, ValueError, MalformedJSONError):
        return ""
