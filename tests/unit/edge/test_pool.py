"""Connections to one server: by TCP, by TLS, by a socket, and who waits for one."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from gateway.edge.pool import Pool
from gateway.edge.resolve import Resolver
from gateway.edge.snapshot import HealthCheck
from gateway.policy import compile_policy
from tests.fakes.portal import OK, Portal
from tests.unit.edge.conftest import POLICY, Edge

CHECK = HealthCheck(
    path=b"/healthz", host=b"", interval_s=0.05, timeout_s=5.0, healthy=2, unhealthy=2, statuses=frozenset((200,))
)


def pool_of(edge: Edge) -> Pool:
    found = edge.worker._pools["portal"]
    assert isinstance(found, Pool)
    return found


async def test_an_upstream_of_one_server_has_a_pool_without_a_group(edge: Edge) -> None:
    assert (await edge.get("/public/a")).status == 200
    pool = pool_of(edge)
    assert (pool.group, pool.is_watched, pool.degraded()) == (None, False, "")


async def test_a_waiting_request_gets_the_connection_that_is_given_back(edge: Edge) -> None:
    edge.change_upstream(max_connections=1)
    held = asyncio.Event()

    async def slow(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()
        writer.write(OK)

    edge.portal.answers[b"/public/slow"] = slow
    replies = [asyncio.create_task(edge.get("/public/slow")) for _ in range(3)]
    async with asyncio.timeout(10):
        while "portal" not in edge.worker._pools or len(pool_of(edge).queue.waiting) < 2:
            await asyncio.sleep(0.01)
    held.set()
    assert [(await reply).status for reply in replies] == [200] * 3
    assert edge.portal.connections == 1
    (sample,) = [item for item in edge.worker.metrics.dump() if item.name == "gateway_upstream_queue_wait_seconds"]
    assert sum(sample.counts[0][1]) == 2


async def test_who_waits_while_the_only_connection_breaks_gets_a_new_one(edge: Edge) -> None:
    edge.change_upstream(max_connections=1)
    held = asyncio.Event()

    async def breaks(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await held.wait()
        writer.close()

    edge.portal.answers[b"/public/slow"] = breaks
    broken = asyncio.create_task(edge.get("/public/slow"))
    async with asyncio.timeout(10):
        while not edge.portal.heads:
            await asyncio.sleep(0.01)
        waiting = asyncio.create_task(edge.get("/public/a"))
        while not pool_of(edge).queue.waiting:
            await asyncio.sleep(0.01)
    held.set()
    assert ((await broken).status, (await waiting).status) == (502, 200)
    assert edge.portal.connections == 2


async def test_everybody_who_waits_is_told_when_the_server_is_gone(edge: Edge) -> None:
    server = edge.worker.snapshot.upstreams["portal"].servers[0]
    edge.change_upstream(servers=(replace(server, port=1),), max_connections=1)
    replies = await asyncio.gather(*(edge.get("/public/a") for _ in range(4)))
    assert [reply.status for reply in replies] == [502] * 4


# TLS


@pytest.fixture
async def behind_tls(edge: Edge) -> AsyncIterator[trustme.CA]:
    """The portal answers by TLS, as `portal.internal`."""
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("portal.internal").configure_cert(context)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # refused handshakes are the point
    portal = Portal()
    portal._server = await asyncio.start_server(portal._accept, "127.0.0.1", 0, ssl=context)
    server = edge.worker.snapshot.upstreams["portal"].servers[0]
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    port = portal._server.sockets[0].getsockname()[1]
    edge.change_upstream(servers=(replace(server, port=port, tls=trusting, server_name="portal.internal"),))
    yield ca
    await portal.stop()


async def test_a_server_that_proves_its_name_is_asked(edge: Edge, behind_tls: trustme.CA) -> None:
    assert [(await edge.get("/public/a")).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("fault", ["another name", "another authority"])
async def test_a_server_that_proves_nothing_gets_no_byte_of_a_request(
    edge: Edge, behind_tls: trustme.CA, fault: str
) -> None:
    server = edge.worker.snapshot.upstreams["portal"].servers[0]
    if fault == "another name":
        edge.change_upstream(servers=(replace(server, server_name="else.internal"),))
    else:
        edge.change_upstream(servers=(replace(server, tls=ssl.create_default_context()),))
    reply = await edge.get("/public/a", token="tok")
    assert (reply.status, b"upstream_untrusted" in reply.body) == (502, True)
    (sample,) = [item for item in edge.worker.metrics.dump() if item.name == "gateway_upstream_connect_failures_total"]
    assert [labels[2] for labels, _ in sample.values] == ["upstream_untrusted"]


# time-outs of a route


async def test_a_route_waits_as_long_as_it_says_for_silence_in_a_body(edge: Edge) -> None:
    public = "OPTIONS]}, upstream: portal, public: true"
    text = POLICY.replace(public, public + ", timeout: {idle: 300ms}")
    table, _ = compile_policy(
        {"policies/test.yaml": text}, upstreams=["portal"], tenants=["acme", "globex"], hosts=["127.0.0.1", "globex.example"]
    )  # fmt: skip
    edge.change(policy=table, resolver=Resolver(table))
    edge.change_upstream(idle_timeout_s=60.0)

    async def stalls(portal: Portal, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await reader.read()

    edge.portal.answers[b"/public/a"] = stalls
    reader, writer = await edge.connect()
    writer.write(b"GET /public/a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        async with asyncio.timeout(10):
            await reader.readexactly(100_000)
    writer.close()


# sockets


class SocketPortal(Portal):
    async def listen(self, path: Path) -> None:
        self._server = await asyncio.start_unix_server(self._accept, path, limit=1 << 20)


@pytest.fixture
async def behind_socket(edge: Edge, tmp_path: Path) -> AsyncIterator[tuple[SocketPortal, Path]]:
    portal, path = SocketPortal(), tmp_path / "portal.sock"
    await portal.listen(path)
    yield portal, path
    await portal.stop()


def at(edge: Edge, path: Path, own: Path) -> None:
    server = edge.worker.snapshot.upstreams["portal"].servers[0]
    edge.change_upstream(servers=(replace(server, host="", port=0, path=str(path), own_sockets=os.path.realpath(own)),))


async def test_a_server_may_be_behind_a_socket(
    edge: Edge, behind_socket: tuple[SocketPortal, Path], tmp_path: Path
) -> None:
    at(edge, behind_socket[1], tmp_path / "run")
    assert (await edge.get("/public/a")).status == 200
    assert len(behind_socket[0].heads) == 1


@pytest.mark.parametrize("kind", ["itself", "symlink", "hard link"])
async def test_no_upstream_reaches_a_socket_of_the_gateways_own(edge: Edge, tmp_path: Path, kind: str) -> None:
    own = tmp_path / "run"
    own.mkdir()
    pages = SocketPortal()
    await pages.listen(own / "pages.sock")
    path = own / "pages.sock" if kind == "itself" else tmp_path / "innocent.sock"
    if kind == "symlink":
        path.symlink_to(own / "pages.sock")
    elif kind == "hard link":
        os.link(own / "pages.sock", path)
    at(edge, path, own)
    assert (await edge.get("/public/a")).status == 502
    assert pages.heads == []
    edge.change_upstream(health=CHECK)
    async with asyncio.timeout(10):
        while "gateway's own" not in edge.worker.degraded().get("portal", ""):
            await asyncio.sleep(0.01)
    assert pages.heads == []
    await pages.stop()


async def test_a_server_that_listens_and_takes_no_connection_is_a_timeout(edge: Edge) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        server = edge.worker.snapshot.upstreams["portal"].servers[0]
        edge.change_upstream(servers=(replace(server, port=full.getsockname()[1]),), connect_timeout_s=0.2)
        reply = await edge.get("/public/a")

        assert (reply.status, b"upstream_timeout" in reply.body) == (504, True)
        for filler in fillers:
            filler.close()
