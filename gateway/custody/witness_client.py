"""Speaks to witnesses over HTTP (C2SP tlog-witness): one request, one answer, nothing of it believed yet.

Decides nothing about a log. It follows no redirection and reads no more than an answer can be.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec

from gateway.audit.checkpoint import MAX_NOTE_BYTES
from gateway.audit.witness import SIZE_TYPE, origin_hash
from gateway.exchange.errors import GatewayError

_LONGEST_SIZE: Final = 20
_CONFLICT: Final = 409
_OK: Final = 200


class WitnessUnreachableError(GatewayError):
    """A witness did not answer, or not as one."""


class WitnessAnswer(msgspec.Struct, frozen=True):
    """What a witness answered."""

    status: int
    body: bytes
    size: int = -1
    """With 409: what it has cosigned last."""


class WitnessClient:
    """A session with all witnesses; `async with` it."""

    def __init__(self, *, timeout_s: float, ca: bytes | None) -> None:
        self._timeout_s = timeout_s
        self._tls = client_context(ca)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls),
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            raise_for_status=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def add_checkpoint(self, prefix: str, body: bytes) -> WitnessAnswer:
        """Put a checkpoint before a witness. Raises `WitnessUnreachableError`."""
        answer = await self._ask("POST", f"{prefix.rstrip('/')}/add-checkpoint", body)
        if answer.status != _CONFLICT:
            return answer
        text = answer.body.removesuffix(b"\n")
        if not text.isdigit() or len(text) > _LONGEST_SIZE or (text[:1] == b"0" and text != b"0"):
            raise WitnessUnreachableError("it answered 409 without the size it has seen")
        return msgspec.structs.replace(answer, size=int(text))

    async def checkpoint(self, prefix: str, origin: str) -> bytes:
        """Return the last checkpoint that a witness cosigned of a log; empty when it has none. Raises `WitnessUnreachableError`."""
        answer = await self._ask("GET", f"{prefix.rstrip('/')}/{origin_hash(origin)}/checkpoint", b"")
        if answer.status == 404:  # noqa: PLR2004 - never cosigned
            return b""
        if answer.status != _OK:
            raise WitnessUnreachableError(f"it answered {answer.status}")
        return answer.body

    async def _ask(self, method: str, url: str, body: bytes) -> WitnessAnswer:
        if self._session is None:
            raise WitnessUnreachableError("the session is not open")
        try:
            async with self._session.request(method, url, data=body or None, allow_redirects=False) as response:
                data = await response.content.read(MAX_NOTE_BYTES + 1)
                while len(data) <= MAX_NOTE_BYTES and (more := await response.content.read(MAX_NOTE_BYTES)):
                    data += more
                if len(data) > MAX_NOTE_BYTES:
                    raise WitnessUnreachableError("its answer is too long")
                if response.status == _CONFLICT and response.content_type != SIZE_TYPE:
                    raise WitnessUnreachableError("it answered 409 without the size it has seen")
                return WitnessAnswer(response.status, data)
        except TimeoutError as exc:
            raise WitnessUnreachableError("it did not answer in time") from exc
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError, ValueError) as exc:
            raise WitnessUnreachableError(f"it cannot be reached: {type(exc).__name__}") from exc


def client_context(ca: bytes | None) -> ssl.SSLContext:
    """Build the TLS towards witnesses; `ca` are the certificates that vouch for theirs, PEM. Raises `ValueError`."""
    if ca is not None and not ca.strip():  # ssl takes an empty text for none at all, and trusts the whole system
        raise ValueError("holds no certificate in PEM, or a broken one")
    try:
        return ssl.create_default_context(cadata=ca.decode("ascii") if ca is not None else None)
    except (OSError, ssl.SSLError, UnicodeDecodeError) as exc:
        raise ValueError("holds no certificate in PEM, or a broken one") from exc


def is_protected(url: str) -> bool:
    """Tell whether an address is https, or http on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"})
