"""The gateway as the client of one OpenID provider: what is asked of it, in order, and what of its answers is believed.

Each method is one step of the flow and takes everything it needs. Which person the claims are here, and what the
session of that person is, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from gateway.authn.discovery import Metadata
from gateway.authn.jose import Claims, KeySet, UnknownKeyError
from gateway.authn.jwk import MalformedJSONError, parse_object
from gateway.authn.oidc import (
    AnswerFault,
    AnswerRefusedError,
    Attempt,
    authorization_parameters,
    registered,
    verify_id_token,
    verify_logout_token,
    with_query,
)
from gateway.federation.client_identity import Proof
from gateway.federation.conversation import Conversation, Reply
from gateway.federation.errors import ProviderUnavailableError
from gateway.federation.jwks import DocumentUnavailableError, IssuerKeys, IssuerKeysUnavailableError
from gateway.federation.metadata import MetadataSource
from gateway.federation.token_set import TokenSet

MAX_TOKEN: Final = 16 * 1024
_OK: Final = 200
_CREATED: Final = 201
_SERVER_ERROR: Final = 500
_TOO_MANY: Final = 429
_MAX_REQUEST_URI: Final = 1024


class ClientIdentity(Protocol):
    """Proves to a provider who asks."""

    def prove(self, metadata: Metadata, *, now: float) -> Proof:
        """Return what goes with one request."""
        ...


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """What gateway.yaml says about how a provider is asked."""

    id: str
    title: str
    issuer: str
    client_id: str
    scopes: tuple[str, ...]
    par: str = "auto"
    """`auto`: where the provider offers it; `required`: or not at all; `off`."""
    acr_values: tuple[str, ...] = ()
    prompt: str = ""
    max_age: float | None = None
    userinfo: bool = False


class RelyingParty:
    """One provider, from the gateway's side. Belongs to one event loop."""

    def __init__(
        self,
        party: Party,
        *,
        identity: ClientIdentity,
        conversation: Conversation,
        metadata: MetadataSource,
        clock: Callable[[], float],
    ) -> None:
        self.party = party
        self.metadata = metadata
        self._identity = identity
        self._conversation = conversation
        self._clock = clock
        self._keys = IssuerKeys(self._locate_keys, _PublicDocuments(conversation), clock=clock)

    async def close(self) -> None:
        """End every connection to the provider."""
        self.metadata.retire()
        await self._conversation.close()

    async def authorization_url(
        self, attempt: Attempt, *, browser: bytes, state: str, redirect_uri: str, login_hint: str = ""
    ) -> str:
        """Return where the browser goes to sign in; the request itself goes ahead where the provider takes it (RFC 9126).

        Raises:
            ProviderUnavailableError: the provider cannot be asked, or will not take the request.

        """
        metadata = await self.metadata.current()
        parameters = authorization_parameters(
            attempt,
            browser=browser,
            state=state,
            client_id=self.party.client_id,
            redirect_uri=redirect_uri,
            scopes=self.party.scopes,
            login_hint=login_hint,
        )
        endpoint = metadata.pushed_authorization_request_endpoint
        if self.party.par == "off" and metadata.requires_par:
            raise self._unavailable("demands pushed authorization requests, and par is off")
        if self.party.par == "required" and not endpoint:
            raise self._unavailable("offers no pushed authorization requests, and par is required")
        if not endpoint or self.party.par == "off":
            return with_query(metadata.authorization_endpoint, parameters)
        reply = await self._prove_and_post(metadata, endpoint, parameters)
        members = _members(reply)
        request_uri = members.get("request_uri")
        if reply.status not in {_OK, _CREATED} or not isinstance(request_uri, str) or not request_uri:
            said = registered(members.get("error")) or f"status {reply.status}"
            raise self._unavailable(f"did not take the pushed authorization request ({said})")
        if len(request_uri) > _MAX_REQUEST_URI:
            raise self._unavailable("answers the pushed authorization request with no usable request_uri")
        return with_query(
            metadata.authorization_endpoint, {"client_id": self.party.client_id, "request_uri": request_uri}
        )

    async def redeem(self, code: str, *, verifier: str, redirect_uri: str) -> TokenSet:
        """Change a code for tokens (OpenID Connect Core §3.1.3).

        Raises:
            AnswerRefusedError: CODE_REFUSED, UNREADABLE, NO_ID_TOKEN.
            ProviderUnavailableError: nobody knows what became of the code.

        """
        tokens = await self._token(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect_uri,
                "code_verifier": verifier,
                "client_id": self.party.client_id,
            }
        )
        if not tokens.id_token:
            raise AnswerRefusedError(AnswerFault.NO_ID_TOKEN)
        return tokens

    async def refresh(self, refresh_token: str) -> TokenSet:
        """Change a refresh token for new tokens (OpenID Connect Core §12). The caller sees to it that nobody else does at once.

        Raises:
            AnswerRefusedError: CODE_REFUSED with `invalid_grant`: the person is no longer welcome there; UNREADABLE.
            ProviderUnavailableError: nobody knows; the old token may still be good.

        """
        return await self._token(
            {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": self.party.client_id}
        )

    async def verify(self, tokens: TokenSet, *, attempt: Attempt | None, browser: bytes = b"") -> Claims:
        """Return the claims of the ID token; `attempt` None = it came by refresh.

        Raises:
            InvalidTokenError, AnswerRefusedError: it is not to be believed.
            ProviderUnavailableError: the keys cannot be had.

        """
        metadata = await self.metadata.current()
        return await self._with_keys(
            lambda keys: verify_id_token(
                tokens.id_token,
                keys=keys,
                metadata=metadata,
                client_id=self.party.client_id,
                nonce=None if attempt is None else attempt.nonce(browser),
                access_token=tokens.access_token,
                now=self._clock(),
                max_age=None if attempt is None else attempt.max_age,
                acr=() if attempt is None else attempt.acr,
            )
        )

    async def verify_logout(self, token: str) -> Claims:
        """Return the claims of a logout token. Raises as `verify`."""
        metadata = await self.metadata.current()
        return await self._with_keys(
            lambda keys: verify_logout_token(
                token, keys=keys, metadata=metadata, client_id=self.party.client_id, now=self._clock()
            )
        )

    async def person(self, claims: Claims, tokens: TokenSet) -> Mapping[str, Any]:
        """Return every claim about the person: of the ID token and, where asked for, of UserInfo; the ID token's count first.

        Raises:
            AnswerRefusedError: SUBJECT, where UserInfo speaks of somebody else (OpenID Connect Core §5.3.2); UNREADABLE.
            ProviderUnavailableError: it cannot be asked.

        """
        if not self.party.userinfo:
            return claims.members
        endpoint = (await self.metadata.current()).userinfo_endpoint
        if not endpoint:
            raise self._unavailable("has no UserInfo endpoint, and userinfo is true")
        reply = await self._conversation.get(endpoint, bearer=tokens.access_token)
        if reply.status != _OK:
            raise self._unavailable(f"its UserInfo endpoint answers {reply.status}")
        if reply.content_type != "application/json":
            raise AnswerRefusedError(AnswerFault.UNREADABLE)
        members = _members(reply)
        if members.get("sub") != claims.subject:
            raise AnswerRefusedError(AnswerFault.SUBJECT)
        return {**members, **claims.members}

    async def revoke(self, tokens: TokenSet) -> None:
        """Have the provider forget tokens (RFC 7009), where it can. Raises `ProviderUnavailableError`."""
        metadata = await self.metadata.current()
        if not metadata.revocation_endpoint:
            return
        for kind, token in (("refresh_token", tokens.refresh_token), ("access_token", tokens.access_token)):
            if token:
                await self._prove_and_post(
                    metadata, metadata.revocation_endpoint, {"token": token, "token_type_hint": kind}
                )

    async def sign_out_url(self, id_token: str, *, return_to: str) -> str:
        """Return where the browser ends its session at the provider; empty where that has no such page.

        OpenID Connect RP-Initiated Logout 1.0 §2. Raises `ProviderUnavailableError`.
        """
        endpoint = (await self.metadata.current()).end_session_endpoint
        if not endpoint:
            return ""
        parameters = {"client_id": self.party.client_id, "post_logout_redirect_uri": return_to}
        if id_token:
            parameters["id_token_hint"] = id_token
        return with_query(endpoint, parameters)

    async def _token(self, form: Mapping[str, str]) -> TokenSet:
        metadata = await self.metadata.current()
        asked = self._clock()
        reply = await self._prove_and_post(metadata, metadata.token_endpoint, form)
        if reply.status >= _SERVER_ERROR or reply.status == _TOO_MANY:
            raise self._unavailable(f"its token endpoint answers {reply.status}")
        members = _members(reply)
        if reply.status != _OK:
            raise AnswerRefusedError(AnswerFault.CODE_REFUSED, registered(members.get("error")))
        return _read_tokens(members, reply, asked)

    async def _prove_and_post(self, metadata: Metadata, endpoint: str, form: Mapping[str, str]) -> Reply:
        proof = self._identity.prove(metadata, now=self._clock())
        return await self._conversation.post(endpoint, {**form, **proof.form}, fields=proof.fields)

    async def _with_keys(self, verify: Callable[[KeySet], Claims]) -> Claims:
        """Verify, once more with newer keys where the provider may have some."""
        try:
            keys = await self._keys.get()
            try:
                return verify(keys)
            except UnknownKeyError:
                return verify(await self._keys.newer_than(keys))
        except IssuerKeysUnavailableError as error:
            raise self._unavailable(f"its keys: {error}") from None

    async def _locate_keys(self) -> str:
        try:
            return (await self.metadata.current()).jwks_uri
        except ProviderUnavailableError as error:
            raise DocumentUnavailableError(error.cause) from None

    def _unavailable(self, cause: str) -> ProviderUnavailableError:
        return ProviderUnavailableError(self.party.id, cause)


class _PublicDocuments:
    """Fetches a provider's keys in the same conversation as everything else."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    async def get(self, url: str, *, max_bytes: int) -> bytes:
        """Return the body of a 200 answer. Raises `DocumentUnavailableError`."""
        try:
            reply = await self._conversation.get(url, accept="application/jwk-set+json, application/json")
        except ProviderUnavailableError as error:
            raise DocumentUnavailableError(error.cause) from None
        if reply.status != _OK or len(reply.body) > max_bytes:
            raise DocumentUnavailableError(f"answers {reply.status} with {len(reply.body)} bytes")
        return reply.body


def _members(reply: Reply) -> dict[str, Any]:
    """Read a JSON object; anything else is one without members."""
    if not reply.is_json:
        return {}
    try:
        return parse_object(reply.body)
    except MalformedJSONError:
        return {}


def _read_tokens(members: Mapping[str, Any], reply: Reply, asked: float) -> TokenSet:
    """Read a token response (RFC 6749 §5.1). Raises `AnswerRefusedError` UNREADABLE."""
    found = {name: members.get(name, "") for name in ("id_token", "access_token", "refresh_token", "scope")}
    usable = all(isinstance(value, str) and len(value) <= MAX_TOKEN and value.isascii() for value in found.values())
    kind = members.get("token_type", "")
    if (
        not usable
        or not found["access_token"]
        or not isinstance(kind, str)
        or kind.lower() != "bearer"
        or not reply.is_json
    ):
        raise AnswerRefusedError(AnswerFault.UNREADABLE)
    lives = members.get("expires_in")
    if isinstance(lives, str) and lives.isdecimal():  # Entra's v1 endpoints quote the number
        lives = int(lives[:9])
    is_number = isinstance(lives, int) and not isinstance(lives, bool) and 0 < lives < 10**9
    return TokenSet(**found, expires=asked + lives if is_number and isinstance(lives, int) else None)
