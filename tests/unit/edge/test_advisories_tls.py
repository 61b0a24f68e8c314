"""Advisories about the handshake: what decides who may connect sees the whole of it. docs/advisories.md lists them all."""

from __future__ import annotations

import asyncio
import re
import ssl

import pytest

from tests.unit.edge import test_tls
from tests.unit.edge.test_tls import REQUIRED, TLSEdge

tls = test_tls.tls
certified = test_tls.certified


async def converse(certified: TLSEdge, context: ssl.SSLContext, pieces: int) -> bytes:
    """Shake hands with a ClientHello of so many TLS records, ask, and return what came back before the end."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname="portal.test")
    reader, writer = await asyncio.open_connection("127.0.0.1", certified.port)
    first = True
    answer = b""

    async def flush() -> None:
        nonlocal first
        data = outgoing.read()
        if first and data:
            data, first = in_records(data, pieces), False
        for at in range(0, len(data), 7):
            if writer.transport.is_closing():
                raise ConnectionResetError
            writer.write(data[at : at + 7])
            await asyncio.sleep(0)

    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    session.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await flush()
                    if not (data := await reader.read(4096)):
                        return answer
                    incoming.write(data)
            session.write(b"GET /public/x HTTP/1.1\r\nHost: portal.test\r\nConnection: close\r\n\r\n")
            while True:
                await flush()
                try:
                    if not (data := session.read(65536)):
                        return answer
                    answer += data
                except ssl.SSLWantReadError:
                    if not (data := await reader.read(4096)):
                        return answer
                    incoming.write(data)
                except ssl.SSLError:
                    return answer
    except (ssl.SSLError, ConnectionError):
        return answer
    finally:
        writer.transport.abort()


def in_records(hello: bytes, pieces: int) -> bytes:
    """Cut one handshake message into several records (RFC 8446 §5.1)."""
    kind, body = hello[:3], hello[5:]
    size = -(-len(body) // pieces)
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(kind + len(part).to_bytes(2, "big") + part for part in parts)


@pytest.mark.parametrize("pieces", [1, 2, 5, 40])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_cve_2026_32305_a_fragmented_hello_skips_no_client_certificate(
    certified: TLSEdge, version: ssl.TLSVersion, pieces: int
) -> None:
    certified.use(certified.rules(certified.ca.issue_cert("portal.test"), more=REQUIRED))
    stranger = certified.client()
    stranger.minimum_version = stranger.maximum_version = version
    assert b"HTTP/1.1" not in await converse(certified, stranger, pieces)
    assert certified.edge.portal.heads == []
    known = certified.client(certified.client_ca.issue_cert("alice@acme.example"))
    known.minimum_version = known.maximum_version = version
    assert (await converse(certified, known, pieces)).startswith(b"HTTP/1.1 200 ")


async def test_cve_2024_39321_no_request_travels_in_early_data(certified: TLSEdge) -> None:
    """A ticket of TLS 1.3 that allowed early data would say how much (RFC 8446 §4.6.1); none does."""
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-connect", f"127.0.0.1:{certified.port}", "-servername", "portal.test", "-tls1_3", "-ign_eof",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    async with asyncio.timeout(20):
        printed, _ = await process.communicate(
            b"GET /public/x HTTP/1.1\r\nHost: portal.test\r\nConnection: close\r\n\r\n"
        )
    assert b"HTTP/1.1 200 OK" in printed
    tickets = re.findall(rb"Max Early Data: ([0-9]+)", printed)
    assert set(tickets) <= {b"0"}
    assert b"Early data was not sent" in printed
