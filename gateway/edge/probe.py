"""One active check of one server: a connection, one GET, the status of the answer. Says what was wrong, decides nothing."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final

from gateway.edge.own_socket import OwnSocketError, refuse_own_path, refuse_own_socket
from gateway.edge.snapshot import HealthCheck, Server
from gateway.wire.response import ResponseHead, parse_response_head

MAX_HEAD_BYTES: Final = 64 * 1024
_USER_AGENT: Final = b"gateway-health-check"


async def check_server(server: Server, check: HealthCheck) -> str:
    """Ask once, on a connection of its own. Returns what is wrong, empty when nothing is."""
    try:
        async with asyncio.timeout(check.timeout_s):
            head = await _ask(server, check)
    except TimeoutError:
        return "no answer in time"
    except ssl.SSLError:
        return "its certificate cannot be verified, or it refused ours"
    except OwnSocketError:
        return "is a socket of the gateway's own"
    except (OSError, EOFError):
        return "cannot be reached"
    if head is None:
        return "its answer is not HTTP"
    return "" if head.status in check.statuses else f"answered {head.status}"


async def _ask(server: Server, check: HealthCheck) -> ResponseHead | None:
    if server.path:
        refuse_own_path(server)
        reader, writer = await asyncio.open_unix_connection(server.path, limit=MAX_HEAD_BYTES)
    else:
        reader, writer = await asyncio.open_connection(
            server.host,
            server.port,
            limit=MAX_HEAD_BYTES,
            ssl=server.tls,
            server_hostname=server.server_name if server.tls is not None else None,
        )
    try:
        if server.path:
            refuse_own_socket(server, writer.get_extra_info("socket"))
        writer.write(
            b"GET %b HTTP/1.1\r\nhost: %b\r\nuser-agent: %b\r\naccept: */*\r\nconnection: close\r\n\r\n"
            % (check.path, check.host or server.authority, _USER_AGENT)
        )
        while True:
            try:
                block = await reader.readuntil(b"\r\n\r\n")
            except asyncio.LimitOverrunError:
                return None
            head = parse_response_head(block[:-2])
            if head is None or head.status >= 200 or head.status == 101:
                return head
    finally:
        writer.transport.abort()
