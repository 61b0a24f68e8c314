"""How the gateway asks an identity provider something: bounded in time and size, and never sent elsewhere.

Redirects are answers like any other and are not followed: a provider that sends us on could send us inside. It keeps
no cookie and obeys no proxy of the environment. What an answer means is for the caller to say.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import aiohttp
import msgspec

from gateway import __version__
from gateway.authn.discovery import is_safe_address
from gateway.federation.errors import ProviderUnavailableError

MAX_ANSWER_BYTES: Final = 256 * 1024
_CHUNK_BYTES: Final = 16 * 1024
_MAX_FIELD_BYTES: Final = 16 * 1024
_NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})
_MOST_CONNECTIONS: Final = 16


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    status: int
    content_type: str
    """Media type alone, lower case."""
    body: bytes
    max_age_s: float | None = None
    """How long the provider lets it be kept; None = unsaid."""

    @property
    def is_json(self) -> bool:
        """It says that it is JSON (RFC 8259 §11, RFC 6839 §3.1)."""
        return self.content_type == "application/json" or self.content_type.endswith("+json")


class Conversation:
    """Everything that is asked of one provider. Opens connections when it first asks; `close` ends them."""

    def __init__(
        self, provider: str, *, context: ssl.SSLContext, proxy: str | None = None, timeout_s: float = 10.0
    ) -> None:
        self._provider = provider
        self._context = context
        self._proxy = proxy
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def get(self, address: str, *, accept: str = "application/json", bearer: str = "") -> Reply:
        """Read what is at an address. Raises `ProviderUnavailableError`."""
        fields = {"Accept": accept, **({"Authorization": f"Bearer {bearer}"} if bearer else {})}
        return await self._ask("GET", address, fields, None)

    async def post(self, address: str, form: Mapping[str, str], *, fields: Mapping[str, str] = _NO_FIELDS) -> Reply:
        """Send a form. Raises `ProviderUnavailableError`."""
        return await self._ask("POST", address, {"Accept": "application/json", **fields}, form)

    async def close(self) -> None:
        """End every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, method: str, address: str, fields: Mapping[str, str], form: Mapping[str, str] | None) -> Reply:
        if not is_safe_address(address):  # stored metadata of another version, or a mistake of ours
            raise ProviderUnavailableError(self._provider, "an address of it is not https")
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._open().request(
                    method,
                    address,
                    headers=fields,
                    data=form,
                    proxy=self._proxy,
                    allow_redirects=False,
                ) as response,
            ):
                body = await self._read(response)
                return Reply(
                    status=response.status,
                    content_type=response.content_type.lower(),
                    body=body,
                    max_age_s=_max_age(response.headers.get("Cache-Control", "")),
                )
        except TimeoutError:
            raise ProviderUnavailableError(self._provider, f"no answer within {self._timeout_s:g} s") from None
        except aiohttp.ClientConnectorCertificateError:
            raise ProviderUnavailableError(self._provider, "its certificate is not trusted") from None
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            # Its text is dropped: it may hold the address, and an address may hold a code.
            raise ProviderUnavailableError(self._provider, f"cannot be reached ({type(error).__name__})") from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for part in response.content.iter_chunked(_CHUNK_BYTES):
            body += part
            if len(body) > MAX_ANSWER_BYTES:  # attack: a provider that never ends, or a small body that inflates
                response.close()
                raise ProviderUnavailableError(self._provider, f"answers with more than {MAX_ANSWER_BYTES} bytes")
        return bytes(body)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._context, limit=_MOST_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"gateway/{__version__}"},
                trust_env=False,
                max_field_size=_MAX_FIELD_BYTES,
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session


def _max_age(value: str) -> float | None:
    """Read `max-age` of a Cache-Control field (RFC 9111 §5.2.2.1); `no-store` and `no-cache` are 0."""
    directives = [part.strip().lower() for part in value.split(",")]
    if "no-store" in directives or "no-cache" in directives:
        return 0.0
    for directive in directives:
        name, _, number = directive.partition("=")
        if name == "max-age" and number.strip('"').isdecimal() and len(number) <= 12:  # noqa: PLR2004 - what fits
            return float(number.strip('"'))
    return None
