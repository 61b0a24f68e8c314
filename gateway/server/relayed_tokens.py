"""Tokens of identity providers for the edge: read from the state, and freshened by the pages when they are about to end.

The edge holds no secret of a provider, so it never speaks to one. A token that cannot be had, or cannot be freshened now,
is not sent: a portal that needs it answers as it does to nobody's request.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from time import monotonic
from typing import Final

import msgspec
import structlog

from gateway.exchange.envelope import ENVELOPE_FIELD, FRESHEN, Envelope, pack_envelope
from gateway.exchange.session import Session
from gateway.federation.token_set import TokenSet, is_fresh
from gateway.store.provider_tokens import ProviderTokens

PATIENCE_S: Final = 1.5
"""How long a request waits for fresher tokens: less than until it is refused. The pages go on with it."""
REST_S: Final = 10.0
"""How long a provider that was waited for in vain is not asked for anybody."""
_DONE: Final = 204
_log = structlog.get_logger()


class RelayedTokens:
    """The `Tokens` of the edge's escorts. Usable from any thread."""

    def __init__(self, tokens: ProviderTokens, pages: Callable[[], str], *, patience_s: float = PATIENCE_S) -> None:
        """`pages` names the socket of the pages at the moment; `patience_s` bounds each wait for them."""
        self._tokens = tokens
        self._pages = pages
        self._patience_s = patience_s
        self._rests: dict[str, float] = {}
        """Until when, by provider, monotonic."""

    def token(self, kind: str, token: bytes, session: Session, now: float) -> str:
        """Return the `access` or `id` token of the session whose cookie's value is `token`; empty when there is none.

        Raises `StoreUnavailableError`.
        """
        found = self._read(token, session, now)
        if found is None:
            return ""
        if kind == "id":
            return found.id_token
        if (
            not is_fresh(found, now)
            and found.refresh_token
            and monotonic() >= self._rests.get(session.provider, 0.0)
            and self._freshen(token, session)
        ):
            found = self._read(token, session, now) or TokenSet()
        return found.access_token if found.expires is None or now < found.expires else ""

    def _read(self, token: bytes, session: Session, now: float) -> TokenSet | None:
        kept = self._tokens.get(token, session.handle, now=now)
        return None if kept is None else msgspec.msgpack.decode(kept.packed, type=TokenSet)

    def _freshen(self, token: bytes, session: Session) -> bool:
        """Have the pages refresh the tokens; False when they could not."""
        scheme, name = ("https", "__Host-gw") if session.secure else ("http", "gw")
        envelope = Envelope(
            request_id=session.handle,
            client_ip=session.client_ip,
            scheme="https" if scheme == "https" else "http",
            host=session.host,
            authority=session.host,
            tenant=session.tenant,
            session=session.handle,
            cookie_name=name,
            freshens=True,
        )
        fields = {
            ENVELOPE_FIELD: pack_envelope(envelope).decode("ascii"),
            "Cookie": f"{name}={token.decode('ascii')}",
            "Content-Length": "0",
        }
        connection = PagesConnection(self._pages(), self._patience_s)
        try:
            connection.request("POST", FRESHEN, headers=fields)
            return connection.getresponse().status == _DONE
        except (OSError, HTTPException) as error:
            if isinstance(error, TimeoutError):  # attack: a provider that keeps silent holds up every request in turn
                self._rests[session.provider] = monotonic() + REST_S
            _log.warning("tokens.not_refreshed", session=session.handle, reason=type(error).__name__)
            return False
        finally:
            connection.close()


class PagesConnection(HTTPConnection):
    """HTTP over the socket of the pages."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("pages", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Open the socket. Raises `OSError`."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
