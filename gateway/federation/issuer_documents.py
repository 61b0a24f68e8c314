"""Where the keys of an issuer of access tokens are, and how they are fetched: by its metadata, or at an address that is known.

The metadata of another issuer are not believed (RFC 8414 section 3.3), and no redirect is followed.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from gateway.authn.discovery import discovery_url, is_safe_address
from gateway.authn.jwk import MalformedJSONError, parse_object
from gateway.federation.conversation import Conversation
from gateway.federation.errors import ProviderUnavailableError
from gateway.federation.jwks import DocumentUnavailableError

MAX_METADATA_BYTES: Final = 128 * 1024
_OK: Final = 200
_AUTHORIZATION_SERVER: Final = "/.well-known/oauth-authorization-server"


class IssuerDocuments:
    """The documents of one issuer."""

    def __init__(self, issuer: str, *, conversation: Conversation, keys_at: str = "") -> None:
        self._issuer = issuer
        self._conversation = conversation
        self._keys_at = keys_at

    async def locate(self) -> str:
        """Say where the keys are. Raises DocumentUnavailableError."""
        if self._keys_at:
            return self._keys_at
        problem = ""
        for address in (discovery_url(self._issuer), authorization_server_url(self._issuer)):
            try:
                return self._keys_address(await self.get(address, max_bytes=MAX_METADATA_BYTES))
            except DocumentUnavailableError as error:
                problem = problem or str(error)
        raise DocumentUnavailableError(problem)

    async def get(self, url: str, *, max_bytes: int) -> bytes:
        """Return what is at an address. Raises DocumentUnavailableError."""
        try:
            reply = await self._conversation.get(url)
        except ProviderUnavailableError as error:
            raise DocumentUnavailableError(error.cause) from None
        if reply.status != _OK:
            raise DocumentUnavailableError(f"{url} answers {reply.status}")
        if len(reply.body) > max_bytes:
            raise DocumentUnavailableError(f"{url} answers with more than {max_bytes} bytes")
        return reply.body

    async def close(self) -> None:
        """End every connection."""
        await self._conversation.close()

    def _keys_address(self, document: bytes) -> str:
        try:
            members = parse_object(document)
        except MalformedJSONError:
            raise DocumentUnavailableError("its metadata are no JSON object") from None
        if members.get("issuer") != self._issuer:  # mix-up
            raise DocumentUnavailableError("its metadata name another issuer than gateway.yaml")
        address = members.get("jwks_uri")
        if not isinstance(address, str) or not is_safe_address(address):
            raise DocumentUnavailableError("its metadata have no jwks_uri that is https")
        return address


def authorization_server_url(issuer: str) -> str:
    """Say where the metadata of an authorization server are that speaks no OpenID Connect (RFC 8414 section 3.1)."""
    parts = urlsplit(issuer)
    return f"{parts.scheme}://{parts.netloc}{_AUTHORIZATION_SERVER}{parts.path.rstrip('/')}"
