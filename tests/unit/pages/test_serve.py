from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web

from gateway.pages.serve import accept, make_runner, verify_peer


def test_the_kernel_names_the_peer() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert verify_peer(ours, os.geteuid()) == os.geteuid()


@pytest.mark.skipif(os.geteuid() == 0, reason="root is always allowed")
def test_another_user_is_refused() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs, pytest.raises(PermissionError):
        verify_peer(ours, os.geteuid() + 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_process_of_another_user_is_refused(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        listener.bind(str(tmp_path / "s"))
        for place in (tmp_path / "s", tmp_path, *tmp_path.parents):
            if place.stat().st_uid == 0 and len(place.parts) > 2:
                place.chmod(0o777)
        listener.listen()
        child = os.fork()
        if child == 0:
            os.setuid(65534)
            other = socket.socket(socket.AF_UNIX)
            other.connect(str(tmp_path / "s"))
            other.recv(1)
            os._exit(0)
        peer, _ = listener.accept()
        with peer, pytest.raises(PermissionError, match="uid 65534"):
            verify_peer(peer, 1000)
        os.waitpid(child, 0)


async def _ask(path: Path) -> bytes:
    """What comes back; nothing when the door is shut."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: pages\r\nConnection: close\r\n\r\n")
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def _app(word: str) -> web.Application:
    async def say(_: web.Request) -> web.Response:
        return web.Response(text=word)

    app = web.Application()
    app.router.add_get("/", say)
    return app


async def test_new_connections_go_to_the_application_of_the_moment(tmp_path: Path) -> None:
    first, second = make_runner(_app("first")), make_runner(_app("second"))
    await first.setup()
    await second.setup()
    now: list[web.Server | None] = [first.server]
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    listener.setblocking(False)
    accepting = asyncio.create_task(accept(listener, lambda: now[0]))
    assert (await _ask(tmp_path / "s")).endswith(b"first")
    now[0] = second.server
    assert (await _ask(tmp_path / "s")).endswith(b"second")
    now[0] = None
    assert await _ask(tmp_path / "s") == b""
    accepting.cancel()
    await asyncio.wait({accepting})
    listener.close()
    await first.cleanup()
    await second.cleanup()


async def test_a_refused_peer_does_not_end_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = make_runner(_app("served"))
    await runner.setup()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    listener.setblocking(False)
    refuse = [True]

    def verify(peer: socket.socket, own_uid: int) -> int:
        if refuse.pop() if refuse else False:
            raise PermissionError("uid 65534 may not speak to the pages")
        return verify_peer(peer, own_uid)

    monkeypatch.setattr("gateway.pages.serve.verify_peer", verify)
    accepting = asyncio.create_task(accept(listener, lambda: runner.server))
    assert await _ask(tmp_path / "s") == b""
    assert (await _ask(tmp_path / "s")).endswith(b"served")
    accepting.cancel()
    await asyncio.wait({accepting})
    listener.close()
    await runner.cleanup()
