from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trustme
from aiohttp import web

from gateway.audit.checkpoint import MAX_NOTE_BYTES
from gateway.custody.witness_client import WitnessClient, WitnessUnreachableError, client_context, is_protected
from gateway.server.fields import Address
from gateway.server.listeners import bind
from gateway.server.witness_process import tls_context
from tests.machine import free_port

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve one handler on a port of its own; TLS where the handler has a context."""
    runners: list[web.AppRunner] = []

    async def begin(handler: Handler, tls: ssl.SSLContext | None = None) -> str:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        port = free_port()
        sock = bind("test", Address("127.0.0.1", port))
        sock.setblocking(False)
        await web.SockSite(runner, sock, ssl_context=tls).start()
        runners.append(runner)
        return f"{'https' if tls else 'http'}://127.0.0.1:{port}/prefix/"

    yield begin
    for runner in runners:
        await runner.cleanup()


def answering(status: int, body: bytes = b"", content_type: str = "text/plain") -> Handler:
    async def handler(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=status, body=body, headers={"Content-Type": content_type})

    return handler


async def test_the_prefix_of_a_witness_is_kept(serve: Serve) -> None:
    seen: list[tuple[str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.method, request.path))
        return web.Response(body=b"x")

    url = await serve(handler)
    async with WitnessClient(timeout_s=5, ca=None) as client:
        await client.add_checkpoint(url, b"old 0\n")
        assert await client.checkpoint(url.rstrip("/"), "example.com/log") == b"x"
    assert seen[0] == ("POST", "/prefix/add-checkpoint")
    assert seen[1][0] == "GET"
    assert seen[1][1].endswith("/checkpoint")


async def test_a_size_is_read_from_409_alone(serve: Serve) -> None:
    async with WitnessClient(timeout_s=5, ca=None) as client:
        url = await serve(answering(409, b"17\n", "text/x.tlog.size"))
        assert (await client.add_checkpoint(url, b"x")).size == 17
        url = await serve(answering(422, b"17\n", "text/x.tlog.size"))
        assert (await client.add_checkpoint(url, b"x")).size == -1


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"17\n", "text/plain"),
        (b"017\n", "text/x.tlog.size"),
        (b"-1\n", "text/x.tlog.size"),
        (b"\n", "text/x.tlog.size"),
        (b"9" * 30, "text/x.tlog.size"),
        ("\N{ARABIC-INDIC DIGIT ONE}\n".encode(), "text/x.tlog.size"),
    ],
)
async def test_409_without_a_size_is_no_answer_of_a_witness(serve: Serve, body: bytes, content_type: str) -> None:
    url = await serve(answering(409, body, content_type))
    async with WitnessClient(timeout_s=5, ca=None) as client:
        with pytest.raises(WitnessUnreachableError, match="without the size"):
            await client.add_checkpoint(url, b"x")


async def test_an_answer_without_end_is_not_read_to_its_end(serve: Serve) -> None:
    url = await serve(answering(200, b"x" * (MAX_NOTE_BYTES + 1)))
    async with WitnessClient(timeout_s=5, ca=None) as client:
        with pytest.raises(WitnessUnreachableError, match="too long"):
            await client.add_checkpoint(url, b"x")


async def test_a_redirection_is_not_followed(serve: Serve) -> None:
    """Attack: a witness that was taken over sends the client to a service of this machine."""
    url = await serve(answering(200, b"secret"))

    async def handler(_request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": url})

    other = await serve(handler)
    async with WitnessClient(timeout_s=5, ca=None) as client:
        assert (await client.add_checkpoint(other, b"x")).status == 307
        with pytest.raises(WitnessUnreachableError, match="307"):
            await client.checkpoint(other, "example.com/log")


async def test_a_log_that_was_never_cosigned_is_nothing(serve: Serve) -> None:
    url = await serve(answering(404))
    async with WitnessClient(timeout_s=5, ca=None) as client:
        assert await client.checkpoint(url, "example.com/log") == b""


async def test_a_witness_that_is_not_there_is_said_to_be_unreachable() -> None:
    async with WitnessClient(timeout_s=5, ca=None) as client:
        with pytest.raises(WitnessUnreachableError, match="cannot be reached"):
            await client.add_checkpoint(f"http://127.0.0.1:{free_port()}/", b"x")
        with pytest.raises(WitnessUnreachableError, match="cannot be reached"):
            await client.add_checkpoint("http://[::1:bad/", b"x")


async def test_a_witness_that_does_not_answer_is_not_waited_for(serve: Serve) -> None:
    release = asyncio.Event()

    async def handler(_request: web.Request) -> web.Response:
        await release.wait()
        return web.Response()

    url = await serve(handler)
    async with WitnessClient(timeout_s=0.1, ca=None) as client:
        with pytest.raises(WitnessUnreachableError, match="in time"):
            await client.add_checkpoint(url, b"x")
    release.set()


async def test_a_witness_is_believed_under_its_own_authority_alone(serve: Callable[..., Awaitable[str]]) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    tls = tls_context(b"".join(blob.bytes() for blob in leaf.cert_chain_pems), leaf.private_key_pem.bytes())
    url = await serve(answering(200, b"x"), tls)
    async with WitnessClient(timeout_s=5, ca=authority.cert_pem.bytes()) as client:
        assert (await client.add_checkpoint(url, b"x")).body == b"x"
    async with WitnessClient(timeout_s=5, ca=trustme.CA().cert_pem.bytes()) as client:
        with pytest.raises(WitnessUnreachableError, match="Certificate"):
            await client.add_checkpoint(url, b"x")


@pytest.mark.parametrize("ca", [b"", b"no certificate", b"\xff"])
def test_what_is_no_authority_is_refused(ca: bytes) -> None:
    with pytest.raises(ValueError, match="holds no certificate"):
        client_context(ca)


@pytest.mark.parametrize(
    ("url", "protected"),
    [
        ("https://w.example/", True),
        ("http://127.0.0.1:7380/", True),
        ("http://[::1]:7380/", True),
        ("http://localhost/", True),
        ("http://w.example/", False),
        ("http://127.0.0.1.evil.example/", False),
        ("ftp://127.0.0.1/", False),
        ("w.example", False),
        ("", False),
    ],
)
def test_an_address_without_tls_is_fine_on_this_machine_alone(url: str, protected: bool) -> None:
    assert is_protected(url) is protected
