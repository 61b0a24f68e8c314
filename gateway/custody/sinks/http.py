"""What webhook and Elasticsearch share: one POST over TLS, and what its answer means.

It follows no redirect and keeps no cookie: records go where gateway.yaml says and nowhere else.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import Final

import aiohttp
import msgspec

from gateway import __version__
from gateway.custody.sinks.sink import Fault, NotDeliveredError, RefusedRecordsError

_RECORD_FAULTS: Final = frozenset({400, 413, 422})
"""RFC 9110 section 15.5: bad, too large, not processable. Every other 4xx is about who asks, where, and how often."""
_CREDENTIAL_FAULTS: Final = frozenset({401, 403, 407})
_PATIENCE: Final = frozenset({408, 425, 429, 503})
_SUCCESS: Final = range(200, 300)
_BROKEN: Final = 500
_SECONDS: Final = re.compile(r"[0-9]{1,6}")
_LARGEST_ANSWER: Final = 16 << 20


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where to post, and what proves who we are. Not to be printed."""

    url: str
    tls: ssl.SSLContext | None
    """None: plain HTTP, which has an unsafe switch."""
    authorization: str = ""
    timeout_s: float = 30.0

    def __repr__(self) -> str:  # secrets: the generated one would print the credential
        return f"Endpoint(url={self.url!r})"


class Poster:
    """Posts to one endpoint over connections that are kept."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._session: aiohttp.ClientSession | None = None

    async def post(self, body: bytes, fields: Mapping[str, str], *, path: str = "") -> bytes:
        """Post, and return the body of an answer of success.

        Raises:
            NotDeliveredError: no answer, or one that says nothing about the records.
            RefusedRecordsError: an answer that says that the body is at fault.

        """
        headers = {"User-Agent": f"gateway/{__version__}", **fields}
        if self._endpoint.authorization:
            headers["Authorization"] = self._endpoint.authorization
        return await self._ask("POST", self._endpoint.url + path, headers, body)

    async def get(self, path: str) -> bytes:
        """Ask for something, and return it. Raises as `post`."""
        headers = {"Authorization": self._endpoint.authorization} if self._endpoint.authorization else {}
        return await self._ask("GET", self._endpoint.url + path, headers, None)

    async def connect(self) -> None:
        """Send a request that delivers nothing, to see that there is a receiver (an answer of any status). Raises NotDeliveredError."""
        try:
            await self._ask("OPTIONS", self._endpoint.url, {}, None)
        except RefusedRecordsError:
            return
        except NotDeliveredError as error:
            if error.fault in {Fault.UNREACHABLE, Fault.TLS, Fault.TIMED_OUT}:
                raise

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        session = self._session
        if session is None:
            session = self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._endpoint.timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        try:
            async with session.request(
                method,
                url,
                data=body,
                headers={**headers, "Accept-Encoding": "identity"},
                ssl=self._endpoint.tls or True,
                allow_redirects=False,
            ) as answer:
                content = await _read(answer)
                status = answer.status
                retry_after = answer.headers.get("Retry-After", "")
        except TimeoutError:
            raise NotDeliveredError(Fault.TIMED_OUT, f"after {self._endpoint.timeout_s:g} s") from None
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as exc:
            raise NotDeliveredError(Fault.TLS, _tls_reason(exc)) from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise NotDeliveredError(Fault.UNREACHABLE, type(exc).__name__) from exc
        if status in _SUCCESS:
            return content
        raise _refusal(status, retry_after)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    content = await answer.content.read(_LARGEST_ANSWER)
    while chunk := await answer.content.read(_LARGEST_ANSWER - len(content)) if len(content) < _LARGEST_ANSWER else b"":
        content += chunk
    return content


def _refusal(status: int, retry_after: str) -> NotDeliveredError | RefusedRecordsError:
    detail = f"it answered {status}"
    if status in _RECORD_FAULTS:
        return RefusedRecordsError(detail)
    wait_s = float(retry_after) if _SECONDS.fullmatch(retry_after) else 0.0
    if status in _PATIENCE:
        return NotDeliveredError(Fault.BUSY, detail, retry_after_s=wait_s)
    if status in _CREDENTIAL_FAULTS:
        return NotDeliveredError(Fault.UNAUTHORIZED, detail)
    return NotDeliveredError(Fault.BROKEN if status >= _BROKEN else Fault.MISCONFIGURED, detail)


def _tls_reason(error: Exception) -> str:
    """Say why TLS failed, in OpenSSL's words for it: `certificate has expired`."""
    inner = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error.__cause__
    if isinstance(inner, ssl.SSLCertVerificationError):
        return inner.verify_message
    return inner.reason or "" if isinstance(inner, ssl.SSLError) else ""
