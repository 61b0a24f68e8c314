"""A reverse proxy as one writes it with aiohttp, on uvloop: `python -m tests.bench.reference_proxy ROOM PORT TLS_PORT UPSTREAM ECHO CERT KEY`.

It only proxies, tunnels WebSockets and writes a JSON line; it stands for "the gateway's data plane had it been an aiohttp application".
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from pathlib import Path

import aiohttp
import msgspec
import uvloop
from aiohttp import web
from multidict import CIMultiDict

from tests.bench.upstream import CHAT

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-authorization", "host"}
)
CHUNK_BYTES = 65_536


class ReferenceProxy:
    """One handler for everything."""

    def __init__(self, session: aiohttp.ClientSession, upstream: str, echo: str, log: Path) -> None:
        self._session = session
        self._upstream = upstream
        self._echo = echo
        self._log = log.open("ab", buffering=0)
        self._encode = msgspec.json.Encoder().encode

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Forward one request and write its line."""
        if request.path.startswith(CHAT):
            return await self._tunnel(request)
        started = time.time()
        fields = CIMultiDict((name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP)
        fields["X-Forwarded-For"] = request.remote or ""
        body = request.content if request.can_read_body else None
        async with self._session.request(
            request.method, self._upstream + request.raw_path, headers=fields, data=body, allow_redirects=False
        ) as answer:
            kept = CIMultiDict(
                (name, value) for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP
            )
            size = answer.content_length
            response: web.StreamResponse
            if size is not None and size <= CHUNK_BYTES:
                response = web.Response(status=answer.status, headers=kept, body=await answer.read())
            else:
                response = web.StreamResponse(status=answer.status, headers=kept)
                await response.prepare(request)
                async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                    await response.write(chunk)
                await response.write_eof()
        line = {
            "t": started,
            "m": request.method,
            "u": request.raw_path,
            "s": answer.status,
            "b": size,
            "d": time.time() - started,
            "ip": request.remote,
            "ua": request.headers.get("User-Agent"),
        }
        self._log.write(self._encode(line) + b"\n")
        return response

    async def _tunnel(self, request: web.Request) -> web.StreamResponse:
        client = web.WebSocketResponse()
        await client.prepare(request)
        async with self._session.ws_connect(self._echo + request.raw_path) as upstream:

            async def back() -> None:
                async for message in upstream:
                    await client.send_bytes(message.data) if isinstance(message.data, bytes) else await client.send_str(
                        message.data
                    )

            returning = asyncio.create_task(back())
            try:
                async for message in client:
                    await upstream.send_bytes(message.data) if isinstance(
                        message.data, bytes
                    ) else await upstream.send_str(message.data)
            finally:
                returning.cancel()
        return client


async def serve(room: Path, ports: tuple[int, int, int, int], certificate: str, key: str) -> None:
    """Serve both listeners until killed."""
    port, tls_port, upstream, echo = ports
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3600)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        connector=connector, auto_decompress=False, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        proxy = ReferenceProxy(session, f"http://127.0.0.1:{upstream}", f"http://127.0.0.1:{echo}", room / "access.log")
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", proxy.handle)
        runner = web.AppRunner(application, access_log=None, keepalive_timeout=3600)
        await runner.setup()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
        await web.TCPSite(runner, "127.0.0.1", tls_port, ssl_context=context, backlog=4096).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    _, where, *numbers, own_certificate, own_key = sys.argv
    plain, tls, portal, chat = (int(number) for number in numbers)
    uvloop.run(serve(Path(where), (plain, tls, portal, chat), own_certificate, own_key))
