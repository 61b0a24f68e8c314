"""The pages' socket: who may connect to it, and how it starts and ends.

Only processes of the same user, or root, are served: the kernel names the peer (SO_PEERCRED),
the file mode alone is not trusted.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from contextlib import suppress
from pathlib import Path

import structlog
from aiohttp import web

from gateway.exchange.errors import ConfigurationError
from gateway.pages.form import MAX_FORM_BYTES

_log = structlog.get_logger("gateway.pages")

BACKLOG = 256
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid; unix(7)
_MAX_FIELD_BYTES = MAX_FORM_BYTES
_KEEP_ALIVE_S = 300.0
_ACCEPT_PAUSE_S = 0.1


async def serve(socket_path: Path, app: web.Application, *, stop: asyncio.Event, grace_s: float = 5.0) -> None:
    """Serve `app` on a Unix socket until `stop` is set; then finish what is under way, at most `grace_s`.

    The socket's directory must be ours alone (0700, our uid); a socket left behind is replaced,
    anything else in its place refuses. Raises `ConfigurationError` naming the place.
    """
    listener = _bind(socket_path)
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=_KEEP_ALIVE_S,
        shutdown_timeout=grace_s,
        max_line_size=_MAX_FIELD_BYTES,
        max_field_size=_MAX_FIELD_BYTES,
        max_headers=1024,
        auto_decompress=False,
    )
    await runner.setup()
    accepting = asyncio.create_task(_accept(listener, runner), name="pages.accept")
    stopping = asyncio.create_task(stop.wait(), name="pages.stop")
    try:
        await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        accepting.cancel()
        stopping.cancel()
        listener.close()
        _remove(socket_path)
        await runner.cleanup()
    with suppress(asyncio.CancelledError):
        await accepting


def verify_peer(peer: socket.socket, own_uid: int) -> int:
    """Return the uid at the other end of a Unix socket; raises `PermissionError` unless it is `own_uid` or root."""
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid: int = _CREDENTIALS.unpack(raw)[1]
    if uid not in {own_uid, 0}:
        raise PermissionError(f"uid {uid} may not speak to the pages")
    return uid


def _bind(socket_path: Path) -> socket.socket:
    """Open the listening socket in a directory that is ours alone."""
    directory = socket_path.parent.stat()
    if directory.st_uid != os.geteuid() or stat.S_IMODE(directory.st_mode) & 0o077:
        raise ConfigurationError((f"{socket_path.parent}: must belong to this user with mode 0700",))
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(socket_path.lstat().st_mode):
            raise ConfigurationError((f"{socket_path}: is in the way and not a socket",))
        socket_path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(socket_path))
        socket_path.chmod(0o600)
        listener.listen(BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - the socket module's own signature
    except BaseException:
        listener.close()
        raise
    return listener


def _remove(socket_path: Path) -> None:
    """Take the socket's name away; connections that are open stay."""
    socket_path.unlink(missing_ok=True)


async def _accept(listener: socket.socket, runner: web.AppRunner) -> None:
    """Hand each connection of an allowed peer to the application."""
    loop = asyncio.get_running_loop()
    own_uid = os.geteuid()
    server = runner.server
    if server is None:
        raise RuntimeError("the application is not set up")
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
            peer.setblocking(False)  # noqa: FBT003 - the socket module's own signature
            await loop.connect_accepted_socket(server, peer)
        except OSError as error:
            _log.warning("pages.peer_refused", error=error.strerror or str(error))
            peer.close()
