"""The pages' end of the Unix socket: who may connect, and under which limits requests are read.

Only processes of the same user, or root, are served: the kernel names the peer (SO_PEERCRED), the
file mode alone is not trusted. Opening and keeping the socket is the supervisor's part.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable

import structlog
from aiohttp import web

from gateway.pages.form import MAX_FORM_BYTES

_log = structlog.get_logger("gateway.pages")

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid; unix(7)
_MAX_FIELD_BYTES = MAX_FORM_BYTES
_MAX_FIELDS = 1024
_KEEP_ALIVE_S = 300.0
_ACCEPT_PAUSE_S = 0.1


def make_runner(app: web.Application, *, grace_s: float = 5.0) -> web.AppRunner:
    """Put an application behind the limits of the pages; `grace_s` is what `cleanup` leaves to requests under way.

    The edge has bounded the head already: the limits here only keep a mistake from growing.
    """
    return web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=_KEEP_ALIVE_S,
        shutdown_timeout=grace_s,
        max_line_size=_MAX_FIELD_BYTES,
        max_field_size=_MAX_FIELD_BYTES,
        max_headers=_MAX_FIELDS,
        auto_decompress=False,
    )


def verify_peer(peer: socket.socket, own_uid: int) -> int:
    """Return the uid at the other end of a Unix socket; raises `PermissionError` unless it is `own_uid` or root."""
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(raw)[1]
    if uid not in {own_uid, 0}:
        raise PermissionError(f"uid {uid} may not speak to the pages")
    return uid


async def accept(listener: socket.socket, server: Callable[[], web.Server | None]) -> None:
    """Hand each connection of an allowed peer to what `server` names at that moment, until cancelled.

    `server` is asked anew each time, so that a reload moves new connections only. `listener` must
    be listening and non-blocking; it stays the caller's to close.
    """
    loop = asyncio.get_running_loop()
    own_uid = os.geteuid()
    while True:
        try:
            peer, _ = await loop.sock_accept(listener)
        except OSError as error:
            # Out of descriptors, or the peer is gone already: neither ends the pages.
            _log.warning("pages.accept_failed", error=error.strerror)
            await asyncio.sleep(_ACCEPT_PAUSE_S)
            continue
        try:
            verify_peer(peer, own_uid)
            peer.settimeout(0)
            protocols = server()
            if protocols is None:
                peer.close()
            else:
                await loop.connect_accepted_socket(protocols, peer)
        except OSError as error:
            _log.warning("pages.peer_refused", error=error.strerror or str(error))
            peer.close()
