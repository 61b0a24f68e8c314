"""Idle WebSockets: opens many, proves each alive, keeps them open."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Sequence

PAYLOAD = b"are you there?"
FIN_TEXT = 0x81
MASKED = 0x80


class TunnelError(Exception):
    """A WebSocket did not open, or did not echo."""


def open_one(host: str, port: int, path: str, fields: Sequence[tuple[str, str]]) -> socket.socket:
    """Open one WebSocket (RFC 6455 section 4.1). Raises TunnelError or OSError."""
    kept = [
        f"{name}: {value}" for name, value in fields if not name.startswith(("Sec-Fetch", "Accept", "Upgrade", "Cache"))
    ]
    key = base64.b64encode(os.urandom(16)).decode("ascii")
    head = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}:{port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        f"Origin: http://{host}:{port}",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        *kept,
    ]
    tunnel = socket.create_connection((host, port), timeout=10)
    tunnel.sendall(("\r\n".join(head) + "\r\n\r\n").encode("latin-1"))
    answer = b""
    while b"\r\n\r\n" not in answer:
        more = tunnel.recv(4096)
        if not more:
            break
        answer += more
    if not answer.startswith(b"HTTP/1.1 101 "):
        tunnel.close()
        raise TunnelError(f"a WebSocket was answered {answer[:200]!r}")
    return tunnel


def echo(tunnel: socket.socket) -> None:
    """Send one masked text frame and take it back. Raises TunnelError or OSError."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(PAYLOAD))
    tunnel.sendall(bytes((FIN_TEXT, MASKED | len(PAYLOAD))) + mask + masked)
    wanted = bytes((FIN_TEXT, len(PAYLOAD))) + PAYLOAD
    answer = b""
    while len(answer) < len(wanted):
        more = tunnel.recv(len(wanted) - len(answer))
        if not more:
            raise TunnelError("a WebSocket was closed instead of echoing")
        answer += more
    if answer != wanted:
        raise TunnelError(f"a WebSocket echoed {answer!r}")
