"""Whether an identity provider can be signed in at, found out by asking it for what it tells everybody.

It sends no secret and signs nobody in.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.authn.discovery import InvalidMetadataError, Metadata, discovery_url, parse_metadata
from gateway.authn.jose import InvalidKeySetError, parse_jwks
from gateway.federation.conversation import Conversation
from gateway.federation.errors import ProviderUnavailableError
from gateway.server.bundle import Bundle
from gateway.server.federation import conversation_with
from gateway.server.sections.identity import Provider

_OK = 200


async def ask_provider(rules: Provider, bundle: Bundle) -> tuple[list[str], list[str]]:
    """Ask one provider for its metadata and keys; returns what is wrong, and what is weak."""
    conversation = conversation_with(rules, bundle.provider_authorities.get(rules.id))
    try:
        metadata = await _metadata(rules, conversation)
        reply = await conversation.get(metadata.jwks_uri, accept="application/jwk-set+json, application/json")
        if reply.status != _OK:
            return [f"{metadata.jwks_uri} answers {reply.status}"], []
        keys = parse_jwks(reply.body)
        if not any(keys.candidates("", algorithm) for algorithm in metadata.algorithms):
            return [f"{metadata.jwks_uri} holds no key that can be used"], []
        return list(_wrong(rules, metadata)), list(_weak(rules, metadata))
    except ProviderUnavailableError as error:
        return [error.cause], []
    except InvalidMetadataError as error:
        return [f"{discovery_url(rules.issuer_url)} {error}"], []
    except InvalidKeySetError as error:
        return [f"its keys: {error}"], []
    finally:
        await conversation.close()


async def _metadata(rules: Provider, conversation: Conversation) -> Metadata:
    address = discovery_url(rules.issuer_url)
    reply = await conversation.get(address)
    if reply.status != _OK or not reply.is_json:
        raise ProviderUnavailableError(rules.id, f"{address} answers {reply.status} {reply.content_type}")
    return parse_metadata(reply.body, rules.issuer_url)


def _wrong(rules: Provider, metadata: Metadata) -> Iterator[str]:
    """Find what keeps everybody from signing in."""
    methods = set(metadata.token_auth_methods)
    if rules.private_key_jwt is not None and "private_key_jwt" not in methods:
        yield "takes no private_key_jwt"
    if rules.client_secret is not None and not methods & {"client_secret_basic", "client_secret_post"}:
        yield "takes no client secret; use private_key_jwt"
    offers_par = bool(metadata.pushed_authorization_request_endpoint)
    if rules.par == "required" and not offers_par:
        yield "offers no pushed authorization requests, and par is required"
    if rules.par == "off" and metadata.requires_par:
        yield "demands pushed authorization requests, and par is off"
    if rules.userinfo and not metadata.userinfo_endpoint:
        yield "has no UserInfo endpoint, and userinfo is true"


def _weak(rules: Provider, metadata: Metadata) -> Iterator[str]:
    """Find what works and could be safer, or will not do what gateway.yaml asks for."""
    if not metadata.names_issuer:
        yield "does not name itself in its answers (RFC 9207); its own callback address alone keeps providers apart"
    if rules.back_channel_logout and not metadata.signs_out:
        yield "does not offer back-channel logout: who is signed out there stays signed in here"
    if rules.sign_out == "at_provider" and not metadata.end_session_endpoint:
        yield "has no page to sign out at: who signs out here stays signed in there"
    if rules.tokens.keep and "offline_access" not in rules.asked_scopes and rules.preset != "google":
        yield "tokens are kept, and many providers give no refresh token without the scope offline_access"
