"""Which HTTP is spoken on a connection: what the handshake agreed on by ALPN (RFC 7301), else HTTP/1.1."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final, cast

from gateway.edge.http1 import Http1Connection
from gateway.edge.http2 import Http2Connection

if TYPE_CHECKING:
    from gateway.edge.worker import Listener, Worker

HTTP_2: Final = "h2"


class Negotiated(asyncio.Protocol):
    """Stands on a connection with TLS until the handshake is over, and hands it on."""

    def __init__(self, worker: Worker, listener: Listener) -> None:
        self._worker = worker
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand the connection to the version that was agreed on."""
        session = transport.get_extra_info("ssl_object")
        chosen = session.selected_alpn_protocol() if isinstance(session, ssl.SSLObject) else None
        made = (Http2Connection if chosen == HTTP_2 else Http1Connection)(self._worker, self._listener)
        protocol = cast("asyncio.Protocol", made)
        cast("asyncio.Transport", transport).set_protocol(protocol)  # uvloop's transports do not derive from asyncio's
        protocol.connection_made(transport)
