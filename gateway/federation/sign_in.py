"""Signing in at a provider, from the way there to a session here, and out again.

`Providers.finish` reads top to bottom: nobody gets a session past one of its steps. It renders nothing and sets no
cookie; each result carries the events that the audit record must say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

import msgspec
import structlog

from gateway.authn.claims import ClaimTable, Mapped, MappingFault, Step, Unmapped, domain_of, map_claims
from gateway.authn.jose import Claims, InvalidTokenError
from gateway.authn.oidc import (
    ATTEMPT_S,
    LEEWAY_S,
    LOGOUT_TOKEN_S,
    AnswerFault,
    AnswerRefusedError,
    Attempt,
    auth_time_of,
    read_answer,
    require_own_answer,
    session_id_of,
)
from gateway.exchange.envelope import Event
from gateway.exchange.errors import GatewayError
from gateway.exchange.metrics import Counter
from gateway.exchange.reason import Reason
from gateway.exchange.session import Session
from gateway.federation.attempts import MAX_RETURN_TO, AttemptSeal
from gateway.federation.errors import ProviderUnavailableError
from gateway.federation.refresh import Freshness, Refresher
from gateway.federation.relying_party import RelyingParty
from gateway.federation.token_set import TokenSet

ID_BYTES: Final = 16
REVOKE_S: Final = 3.0
"""Whoever signs out waits no longer for a provider to forget tokens that nobody here has any more."""
_PROOF: Final = frozenset({"at_hash", "c_hash", "s_hash", "nonce", "jti", "sid", "rt_hash"})
"""Claims that only prove something, or name something secret: never kept for operators."""
_log = structlog.get_logger("gateway.federation")

ClientT = TypeVar("ClientT")
ClientT_contra = TypeVar("ClientT_contra", contravariant=True)
UserT = TypeVar("UserT")


class Opened(Protocol):
    """A session that was opened."""

    @property
    def token(self) -> bytes:
        """The cookie's value."""
        ...

    @property
    def device(self) -> bytes:
        """A new value for the device cookie; empty = it stays as it is."""
        ...

    @property
    def session(self) -> Session:
        """`owes` says what the next page is."""
        ...

    @property
    def events(self) -> tuple[Event, ...]:
        """What the record must say."""
        ...


class NotOpened(Protocol):
    """No session, and why."""

    @property
    def reason(self) -> Reason:
        """Safe to show."""
        ...

    @property
    def retry_after_s(self) -> int:
        """Seconds to wait; 0 = unsaid."""
        ...

    @property
    def problem(self) -> str:
        """A sentence for the person, or empty."""
        ...

    @property
    def events(self) -> tuple[Event, ...]:
        """What the record must say."""
        ...


class Kept(Protocol):
    """Tokens of a session as the store has them."""

    @property
    def provider(self) -> str:
        """Id of the provider that gave them."""
        ...

    @property
    def packed(self) -> bytes:
        """As they were put."""
        ...


class Open(Protocol[ClientT_contra]):
    """Opens the session of an account; decides about factors, concurrency and binding."""

    async def __call__(
        self,
        user: Any,
        *,
        amr: tuple[str, ...],
        client: ClientT_contra,
        now: float,
        replaces: bytes,
        provider: str,
        provider_session: str,
        acr: str,
        auth_time: float,
        second_factor_done: bool,
    ) -> Opened | NotOpened:
        """Open it, or refuse."""
        ...


class State(Protocol):
    """What is remembered. All methods raise `GatewayError` when they could not."""

    async def spend(self, kind: str, value: bytes, *, now: float, expires: float) -> bool:
        """Note that something was used; False when it was used before."""
        ...

    async def is_spent(self, kind: str, value: bytes, *, now: float) -> bool:
        """Tell whether something was used before."""
        ...

    async def vouch(self, provider: str, mapped: Mapped, *, now: float) -> Any:
        """Find or make the account; None when its name is another's."""
        ...

    async def put_tokens(self, token: bytes, handle: str, provider: str, packed: bytes, *, now: float) -> bool:
        """Keep tokens for a session."""
        ...

    async def carry(self, old: bytes, new: bytes, handle: str, *, now: float) -> None:
        """Seal tokens anew for another cookie."""
        ...

    async def tokens(self, token: bytes, handle: str, *, now: float) -> Kept | None:
        """Return the tokens of a session."""
        ...

    async def drop_tokens(self, handle: str) -> None:
        """Remove the tokens of a session."""
        ...

    async def end_provider_session(self, provider: str, session: str) -> list[tuple[str, str, str, str]]:
        """End sessions; handle, user id, name and tenant of each."""
        ...

    async def end_subject(
        self, provider: str, issuer: str, subject: str, *, now: float, unnamed: bool = False
    ) -> tuple[Any, int] | None:
        """End every session of a person; with `unnamed` those of which the provider did not say which of its own they are."""
        ...


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may ask about one sign-in."""

    provider: str
    at: float
    request_id: str
    outcome: str
    fault: str = ""
    error: str = ""
    user: str = ""
    user_id: str = ""
    tenant: str = ""
    roles: tuple[str, ...] = ()
    claims: Mapping[str, Any] = {}
    steps: tuple[Step, ...] = ()
    client_ip: str = ""
    user_agent: str = ""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A provider as the sign-in page shows it."""

    id: str
    title: str
    has_domains: bool = False


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request to our pages came from, as far as a provider's answer needs it."""

    origin: str
    """`scheme://authority` of our pages."""
    tenant: str
    """Of the host; empty = shared."""
    request_id: str
    client_ip: str
    user_agent: str


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A new session."""

    token: bytes
    device: bytes
    """A new value for the device cookie; empty = it stays as it is."""
    session: Session
    events: tuple[Event, ...]
    return_to: str
    """Where the person wanted to go; empty = the login state knows."""


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """No, and why."""

    reason: Reason
    fault: str = ""
    error: str = ""
    """Registered error code of the provider; empty = none."""
    retry_after_s: int = 0
    problem: str = ""
    events: tuple[Event, ...] = ()
    return_to: str = ""


class LoggedOut(msgspec.Struct, frozen=True, kw_only=True):
    """What a logout token did."""

    count: int
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One provider as the gateway knows it."""

    party: RelyingParty
    table: ClaimTable
    hosts: frozenset[str] = frozenset()
    """Empty = all."""
    tenants: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()
    back_channel_logout: bool = True
    signs_out_there: bool = True
    keeps_tokens: bool = False

    @property
    def id(self) -> str:
        """Its id in gateway.yaml."""
        return self.party.party.id


class _No(Exception):  # noqa: N818 - never leaves this module
    """A refusal on the way to a session."""

    def __init__(self, reason: Reason, fault: str, error: str = "") -> None:
        super().__init__(reason)
        self.reason, self.fault, self.error = reason, fault, error


class _Way:
    """One way back from a provider, and what became known of the person on it."""

    def __init__(self, provider: Provider, arrival: Arrival, browser: bytes, now: float) -> None:
        self.provider, self.arrival, self.browser, self.now = provider, arrival, browser, now
        self.claims: Mapping[str, Any] = {}
        self.steps: tuple[Step, ...] = ()
        self.mapped: Mapped | None = None
        self.return_to = ""


class Providers(Generic[ClientT]):
    """Every provider of one gateway. Belongs to one event loop."""

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        state: State,
        open_session: Open[ClientT],
        note: Callable[[Note], Awaitable[None]],
        seal: AttemptSeal,
        clock: Callable[[], float],
        random: Callable[[int], bytes],
        refresher: Refresher,
        sign_ins: Counter,
        logouts: Counter,
    ) -> None:
        self._providers = {provider.id: provider for provider in providers}
        self._state = state
        self._open = open_session
        self._note = note
        self._seal = seal
        self._clock = clock
        self._random = random
        self._refresher = refresher
        self._sign_ins = sign_ins
        self._logouts = logouts

    async def close(self) -> None:
        """End every connection to every provider."""
        for provider in self._providers.values():
            await provider.party.close()

    def offered(self, host: str, tenant: str) -> tuple[Offer, ...]:
        """List the providers for a host, in the order of the file."""
        return tuple(
            Offer(id=provider.id, title=provider.party.party.title, has_domains=bool(provider.domains))
            for provider in self._providers.values()
            if self._is_offered(provider, host, tenant)
        )

    def of_address(self, address: str, host: str, tenant: str) -> str:
        """Name the provider of an e-mail address; empty when none is known for its domain."""
        domain = domain_of(address)
        for provider in self._providers.values():
            if domain and domain in provider.domains and self._is_offered(provider, host, tenant):
                return provider.id
        return ""

    async def begin(
        self,
        provider_id: str,
        *,
        browser: bytes,
        origin: str,
        host: str,
        tenant: str,
        return_to: str,
        now: float,
        fresh: bool = False,
        other: bool = False,
        login_hint: str = "",
    ) -> str | None:
        """Return where the browser goes to sign in; None when there is no such provider for this host.

        `fresh`: the provider must ask the person again, whoever is signed in there; `other`: it lets them choose who they are.
        Raises `ProviderUnavailableError`.
        """
        provider = self._providers.get(provider_id)
        if provider is None or not self._is_offered(provider, host, tenant):
            return None
        party = provider.party.party
        attempt = Attempt(
            id=self._random(ID_BYTES),
            provider=provider_id,
            started=now,
            return_to=return_to if len(return_to) <= MAX_RETURN_TO else "",
            # attack: a provider that ignores prompt=login shows it by auth_time, which max_age demands
            max_age=0.0 if fresh else party.max_age,
            acr=party.acr_values,
            prompt="login" if fresh else "select_account" if other else party.prompt,
        )
        try:
            return await provider.party.authorization_url(
                attempt,
                browser=browser,
                state=self._seal.close(attempt, origin=origin, browser=browser),
                redirect_uri=self.redirect_uri(origin, provider_id),
                login_hint=login_hint,
            )
        except ProviderUnavailableError:
            self._sign_ins.inc((provider_id, "failure", Reason.PROVIDER_UNAVAILABLE))
            raise

    @staticmethod
    def redirect_uri(origin: str, provider_id: str) -> str:
        """Say where a provider sends the browser back: an address of its own (RFC 9700 §4.4.2)."""
        return f"{origin}/.gateway/oidc/{provider_id}/callback"

    async def finish(
        self,
        provider_id: str,
        query: list[tuple[str, str]],
        *,
        browser: bytes,
        origin: str,
        tenant: str,
        request_id: str,
        client_ip: str,
        user_agent: str,
        client: ClientT,
        now: float,
        replaces: bytes,
    ) -> SignedIn | Refused | None:
        """Take a provider's answer from the browser, and open a session if all of it holds.

        None when there is no such provider for this host. Raises `GatewayError` when it could not be decided.
        """
        provider = self._providers.get(provider_id)
        if provider is None or not self._is_offered(provider, urlsplit(origin).hostname or "", tenant):
            return None  # attack: whose host answers otherwise tells which providers the others have
        arrival = Arrival(
            origin=origin, tenant=tenant, request_id=request_id, client_ip=client_ip, user_agent=user_agent
        )
        way = _Way(provider, arrival, browser, now)
        try:
            signed_in = await self._sign_in(way, query, client, replaces)
        except ProviderUnavailableError as error:
            await self._remember(way, Reason.PROVIDER_UNAVAILABLE, error.cause)
            self._sign_ins.inc((provider_id, "failure", Reason.PROVIDER_UNAVAILABLE))
            raise
        except _No as no:
            await self._remember(way, no.reason, no.fault, no.error)
            self._sign_ins.inc((provider_id, "failure", no.reason))
            return self._refusal(way, no)
        if isinstance(signed_in, Refused):
            await self._remember(way, signed_in.reason, "")
            self._sign_ins.inc((provider_id, "failure", signed_in.reason))
            return signed_in
        await self._remember(way, "signed_in", "", user_id=signed_in.session.user_id)
        self._sign_ins.inc((provider_id, "success", signed_in.session.owes or "complete"))
        return signed_in

    async def _sign_in(
        self, way: _Way, query: list[tuple[str, str]], client: ClientT, replaces: bytes
    ) -> SignedIn | Refused:
        provider, now = way.provider, way.now
        try:
            # (1) to (5)
            tokens, claims = await self._believe(way, query)
            way.claims = await provider.party.person(claims, tokens)
            auth_time = auth_time_of(claims)
        except AnswerRefusedError as error:
            raise _No(_reason_of(error.fault), error.fault, error.error) from None
        except InvalidTokenError as error:
            raise _No(Reason.PROVIDER_ANSWER_REFUSED, error.fault) from None
        # (6) what they are worth here
        mapped = map_claims(way.claims, provider.table)
        way.steps = mapped.steps
        if isinstance(mapped, Unmapped):
            incomplete = mapped.fault is MappingFault.OVERAGE
            raise _No(Reason.GROUPS_INCOMPLETE if incomplete else Reason.IDENTITY_REFUSED, mapped.fault)
        way.mapped = mapped
        if way.arrival.tenant not in {"", mapped.tenant}:
            raise _No(Reason.TENANT_MISMATCH, "")
        # (7) whose account it is; accounts are never joined by name or address
        user = await self._state.vouch(provider.id, mapped, now=now)
        if user is None:
            raise _No(Reason.NAME_TAKEN, "")
        # (8) the session
        opened = await self._open(
            user,
            amr=mapped.amr,
            client=client,
            now=now,
            replaces=replaces,
            provider=provider.id,
            provider_session=session_id_of(claims),
            acr=mapped.acr,
            auth_time=min(auth_time, now),
            second_factor_done=mapped.second_factor,
        )
        token = getattr(opened, "token", None)
        if not isinstance(token, bytes):
            refusal: Any = opened
            unknown = refusal.reason is Reason.CREDENTIALS_REFUSED  # disabled, or changed meanwhile
            return Refused(
                reason=Reason.IDENTITY_REFUSED if unknown else refusal.reason,
                retry_after_s=refusal.retry_after_s,
                problem=refusal.problem,
                events=tuple(refusal.events),
                return_to=way.return_to,
            )
        session: Session = opened.session  # type: ignore[union-attr]  # it has a token
        await self._keep(provider, token, session, tokens, now)
        ignored = Event(
            name="claims.ignored",
            user_id=session.user_id,
            user=session.user,
            tenant=session.tenant,
            session=session.handle,
            provider=provider.id,
            count=mapped.ignored,
        )
        events = tuple(msgspec.structs.replace(event, provider=provider.id) for event in opened.events)
        return SignedIn(
            token=token,
            device=opened.device,  # type: ignore[union-attr]  # it has a token
            session=session,
            events=(*events, *((ignored,) if mapped.ignored else ())),
            return_to=way.return_to,
        )

    async def _believe(self, way: _Way, query: list[tuple[str, str]]) -> tuple[TokenSet, Claims]:
        """Return what a provider's answer leads to, if every proof holds.

        Raises: AnswerRefusedError, InvalidTokenError, GatewayError.
        """
        provider, party = way.provider, way.provider.party
        # (1) the answer is one, and belongs to an attempt of this browser
        answer = read_answer(query)
        attempt = self._seal.open(answer.state, origin=way.arrival.origin, browser=way.browser)
        if attempt is None:
            raise AnswerRefusedError(AnswerFault.STATE)
        way.return_to = attempt.return_to
        # (2) it is this provider's, in time, and no error
        metadata = await party.metadata.current()
        require_own_answer(
            answer,
            attempt,
            provider=provider.id,
            issuer=party.party.issuer,
            names_issuer=metadata.names_issuer,
            now=way.now,
        )
        # (3) replay: an attempt ends with its first answer
        expires = attempt.started + ATTEMPT_S + LEEWAY_S
        if not await self._state.spend("attempt", attempt.id, now=way.now, expires=expires):
            raise AnswerRefusedError(AnswerFault.REPLAYED)
        # (4) the code for tokens, with what only this browser knows
        tokens = await party.redeem(
            answer.code,
            verifier=attempt.verifier(way.browser),
            redirect_uri=self.redirect_uri(way.arrival.origin, provider.id),
        )
        # (5) the ID token
        return tokens, await party.verify(tokens, attempt=attempt, browser=way.browser)

    async def freshen(self, token: bytes, handle: str) -> bool:
        """Refresh the tokens of a session where they are about to end; False when there are no fresh ones now."""
        return await self._refresher.freshen(token, handle) is Freshness.FRESH

    async def carry(self, old: bytes, new: bytes, handle: str, *, now: float) -> None:
        """Seal what belongs to a session anew: its cookie changed."""
        await self._state.carry(old, new, handle, now=now)

    async def sign_out(self, token: bytes, session: Session, *, now: float) -> Farewell | None:
        """Read what signing out at the provider needs; the session is deleted next, and only then is the provider asked."""
        provider = self._providers.get(session.provider)
        if provider is None:
            return None
        kept = await self._state.tokens(token, session.handle, now=now)
        tokens = TokenSet() if kept is None else msgspec.msgpack.decode(kept.packed, type=TokenSet)
        await self._state.drop_tokens(session.handle)
        return Farewell(provider, tokens)

    async def logged_out(self, provider_id: str, logout_token: str, *, now: float) -> LoggedOut | Refused | None:
        """End the sessions that a logout token names (OpenID Connect Back-Channel Logout 1.0 §2.7).

        None when there is no such provider, or it may not log people out. Raises `GatewayError` when it could not be decided.
        """
        provider = self._providers.get(provider_id)
        if provider is None or not provider.back_channel_logout:
            return None
        try:
            claims = await provider.party.verify_logout(logout_token)
        except InvalidTokenError as error:
            return self._logout_refusal(provider_id, error.fault)
        expires = now + LOGOUT_TOKEN_S + 2 * LEEWAY_S
        kind, value = f"logout {provider_id}", claims.token_id.encode()
        if await self._state.is_spent(kind, value, now=now):
            return self._logout_refusal(provider_id, AnswerFault.REPLAYED)
        # In this order: a provider that is told to come again brings the same token, and somebody has to go.
        count, events = await self._end(provider, claims, now)
        await self._state.spend(kind, value, now=now, expires=expires)
        self._logouts.inc((provider_id, "success", "done"))
        done = Event(name="provider.logout", provider=provider_id, count=count)
        return LoggedOut(count=count, events=(done, *events))

    async def _end(self, provider: Provider, claims: Claims, now: float) -> tuple[int, list[Event]]:
        """End one session of the provider, or every session of the person where the token names none.

        Sessions that began without a word on which one of the provider's they are may be the one that is meant.
        """
        session_id = session_id_of(claims)
        events: list[Event] = []
        count = 0
        if session_id:
            ended = await self._state.end_provider_session(provider.id, session_id)
            events = [
                Event(
                    name="session.revoked",
                    user_id=user_id,
                    user=user,
                    tenant=tenant,
                    session=handle,
                    count=1,
                    provider=provider.id,
                )
                for handle, user_id, user, tenant in ended
            ]
            count = len(ended)
        found = None
        if claims.subject:
            found = await self._state.end_subject(
                provider.id, claims.issuer, claims.subject, now=now, unnamed=bool(session_id)
            )
        if found is None or not found[1]:
            return count, events
        person, others = found
        event = Event(
            name="session.revoked",
            user_id=person.id,
            user=person.name,
            tenant=person.tenant,
            count=others,
            provider=provider.id,
        )
        return count + others, [*events, event]

    def _logout_refusal(self, provider_id: str, fault: str) -> Refused:
        self._logouts.inc((provider_id, "failure", fault))
        event = Event(
            name="provider.logout",
            outcome="failure",
            reason=Reason.LOGOUT_REFUSED,
            provider=provider_id,
            fault=str(fault),
        )
        return Refused(reason=Reason.LOGOUT_REFUSED, fault=str(fault), events=(event,))

    async def _keep(self, provider: Provider, token: bytes, session: Session, tokens: TokenSet, now: float) -> None:
        """Keep what is needed later: the ID token to sign out there, the others where somebody uses them."""
        kept = TokenSet(id_token=tokens.id_token if provider.signs_out_there else "")
        if provider.keeps_tokens:
            kept = tokens
        if kept == TokenSet():
            return
        packed = msgspec.msgpack.encode(kept)
        if not await self._state.put_tokens(token, session.handle, provider.id, packed, now=now):
            _log.warning("tokens.not_kept", provider=provider.id, size=len(packed))

    def _refusal(self, way: _Way, no: _No) -> Refused:
        mapped = way.mapped
        event = Event(
            name="login.failed",
            outcome="failure",
            reason=no.reason,
            provider=way.provider.id,
            fault=str(no.fault),
            user="" if mapped is None else mapped.user,
            tenant="" if mapped is None else mapped.tenant,
        )
        return Refused(reason=no.reason, fault=str(no.fault), error=no.error, events=(event,), return_to=way.return_to)

    async def _remember(self, way: _Way, outcome: str, fault: str, error: str = "", *, user_id: str = "") -> None:
        """Note the sign-in for operators. What cannot be noted keeps nobody out."""
        if fault == AnswerFault.STATE:  # anybody can send those: they would push out the others
            return
        mapped = way.mapped
        note = Note(
            provider=way.provider.id,
            at=way.now,
            request_id=way.arrival.request_id,
            outcome=str(outcome),
            fault=str(fault),
            error=error,
            user="" if mapped is None else mapped.user,
            user_id=user_id,
            tenant="" if mapped is None else mapped.tenant,
            roles=() if mapped is None else mapped.roles,
            claims={name: value for name, value in way.claims.items() if name not in _PROOF},
            steps=way.steps,
            client_ip=way.arrival.client_ip,
            user_agent=way.arrival.user_agent,
        )
        try:
            await self._note(note)
        except GatewayError as failure:
            _log.warning("provider.not_noted", provider=way.provider.id, reason=str(failure))

    @staticmethod
    def _is_offered(provider: Provider, host: str, tenant: str) -> bool:
        if provider.hosts and host not in provider.hosts:
            return False
        return not tenant or tenant in provider.tenants


class Farewell:
    """What is left to do at a provider after a session ended here."""

    def __init__(self, provider: Provider, tokens: TokenSet) -> None:
        self._provider = provider
        self._tokens = tokens

    async def revoke(self) -> None:
        """Have the provider forget the tokens. What fails is logged: the session here is gone already."""
        try:
            async with asyncio.timeout(REVOKE_S):
                await self._provider.party.revoke(self._tokens)
        except ProviderUnavailableError as error:
            _log.warning("tokens.not_revoked", provider=self._provider.id, reason=error.cause)
        except TimeoutError:
            _log.warning("tokens.not_revoked", provider=self._provider.id, reason=f"no answer within {REVOKE_S:g} s")

    async def address(self, *, origin: str) -> str:
        """Return where the browser signs out there; empty where that is not wanted, not offered, or not known now."""
        if not self._provider.signs_out_there:
            return ""
        try:
            return_to = f"{origin}/.gateway/oidc/{self._provider.id}/signed-out"
            return await self._provider.party.sign_out_url(self._tokens.id_token, return_to=return_to)
        except ProviderUnavailableError as error:
            _log.warning("provider.not_signed_out", provider=self._provider.id, reason=error.cause)
            return ""


def _reason_of(fault: Any) -> Reason:
    match fault:
        case AnswerFault.STATE | AnswerFault.REPLAYED:
            return Reason.SIGN_IN_EXPIRED
        case AnswerFault.PROVIDER_ERROR:
            return Reason.PROVIDER_REFUSED
        case _:
            return Reason.PROVIDER_ANSWER_REFUSED
