"""Have I Been Pwned's range API: is a password breached, told by five characters of its SHA-1.

The service learns the first 20 bits of the hash and, with padding, not even how many answers fit
(https://haveibeenpwned.com/API/v3#PwnedPasswords). What follows when it cannot be asked is the caller's.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

import aiohttp

from gateway.authn.breached import digest_of
from gateway.exchange.errors import GatewayError

RANGE_URL: Final = "https://api.pwnedpasswords.com/range/"
TIMEOUT_S: Final = 3.0
PREFIX: Final = 5
MAX_ANSWER_BYTES: Final = 512 * 1024
_LINE: Final = re.compile(rb"([0-9A-Fa-f]{35}):([0-9]{1,12})")
_OK: Final = 200


class BreachServiceError(GatewayError):
    """The range API did not answer, or not as agreed."""


class OnlineBreachedPasswords:
    """The range API at `url`. Proxies come from the environment (`HTTPS_PROXY`)."""

    def __init__(self, url: str = RANGE_URL, *, timeout_s: float = TIMEOUT_S, user_agent: str = "gateway") -> None:
        """Take an address that a prefix is put behind, and how long an answer may take."""
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._headers = {"Add-Padding": "true", "User-Agent": user_agent}

    async def holds(self, password: str) -> bool:
        """Ask whether exactly this password is known from a breach.

        Raises:
            BreachServiceError: no answer in time, or not the agreed one.

        """
        digest = digest_of(password).hex().upper()
        body = await self._range(digest[:PREFIX])
        wanted = digest[PREFIX:].encode()
        found = False
        for line in body.split(b"\n"):
            text = line.strip()
            match = _LINE.fullmatch(text)
            if match is None:
                if text:
                    raise BreachServiceError("the range API sent a line that is not a hash and a count")
                continue
            found |= match[1].upper() == wanted and int(match[2]) > 0  # padding has the count 0
        return found

    async def _range(self, prefix: str) -> bytes:
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout, headers=self._headers, trust_env=True) as session,
                session.get(self._url + prefix, allow_redirects=False) as answer,
            ):
                if answer.status != _OK:
                    raise BreachServiceError(f"the range API answered {answer.status}")
                body = await answer.content.read(MAX_ANSWER_BYTES)
                while not answer.content.at_eof():
                    more = await answer.content.read(MAX_ANSWER_BYTES)
                    body += more
                    if len(body) > MAX_ANSWER_BYTES:
                        raise BreachServiceError("the range API sent too much")
                return body
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as exc:  # noqa: UP041 - one name for every Python we support
            raise BreachServiceError(f"the range API cannot be reached: {type(exc).__name__}") from exc
