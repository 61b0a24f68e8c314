from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.exchange.metrics import Sample
from gateway.server.bundle import Bundle
from gateway.server.control import (
    Boot,
    Channel,
    Commit,
    ControlError,
    Done,
    Drain,
    Dump,
    Dumped,
    HandOver,
    Inbox,
    LastRequests,
    ListenerSocket,
    Prepare,
    Reload,
    Request,
    Serve,
    ShareLimits,
    Upgrade,
    pack,
    receive,
    receive_reply,
)

BUNDLE = Bundle(
    path="/g/gateway.yaml", settings="version: 1\n", policies={"p.yaml": "x"}, keyring=b"\x00\xff", digest="d"
)
BOOT = Boot(
    kind="edge",
    slot=3,
    workers=4,
    listeners=(ListenerSocket(fd=7, kind="tls", address="0.0.0.0:8443"),),
    bundle=BUNDLE,
    state_dir="/s",
    run_dir="/s/run",
    shares_limits=True,
    pages_socket="/s/run/pages.sock",
    limits_fd=9,
    node="n",
    boot_id="b",
    version="0",
)
REQUESTS: list[Request] = [
    BOOT,
    Prepare(bundle=BUNDLE),
    Commit(),
    Dump(),
    Drain(seconds=1.5),
    Reload(),
    Upgrade(program="/p"),
    Serve(),
    ShareLimits(is_shared=True),
    HandOver(seconds=2.0),
    LastRequests(),
    Drain(seconds=9.0, keeps_idle=True),
]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
def test_every_request_arrives_as_it_was_sent(request_: Request, pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].sendall(pack(request_))
    assert receive(pair[1]) == request_


def test_every_reply_arrives_as_it_was_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    sample = Sample(name="a_total", kind="counter", help="h", labels=("x",), values=[(("1",), 2.0)])
    for reply in (Done(), Done(diagnostics=("a:1:1: no",)), Dumped(samples=[sample], health={"store": ""})):
        pair[0].sendall(pack(reply))
        assert receive_reply(pair[1]) == reply


@given(cuts=st.lists(st.integers(1, 400), max_size=30))
@settings(max_examples=40)
def test_requests_are_put_together_however_they_are_cut(cuts: list[int]) -> None:
    stream = b"".join(map(pack, REQUESTS))
    inbox = Inbox()
    found: list[Request] = []
    at = 0
    for cut in (*cuts, len(stream)):
        found += inbox.feed(stream[at : at + cut])
        at += cut
    assert found == REQUESTS


def test_a_message_of_absurd_length_is_refused_before_it_is_read() -> None:
    with pytest.raises(ControlError, match="too long"):
        Inbox().feed(b"\xff\xff\xff\xff")


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x80", b"\x81\xa4type\xa7unknown"])
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(ControlError, match="cannot be read"):
        Inbox().feed(len(body).to_bytes(4, "little") + body)


def test_a_child_whose_supervisor_is_gone_hears_so(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].sendall(pack(BOOT)[:20])
    pair[0].close()
    with pytest.raises(ControlError, match="gone"):
        receive(pair[1])


async def test_a_question_gets_its_answer(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = await Channel.open(pair[0].dup()), await Channel.open(pair[1].dup())
    asking = asyncio.create_task(ours.ask(Dump(), 5))
    assert await theirs.next_request() == Dump()
    await theirs.reply(Dumped(samples=[], health={}))
    assert await asking == Dumped(samples=[], health={})
    ours.close()
    theirs.close()


async def test_a_child_that_does_not_answer_in_time_loses_its_channel(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours = await Channel.open(pair[0].dup())
    with pytest.raises(ControlError, match="in time"):
        await ours.ask(Dump(), 0.01)
    with pytest.raises(ControlError, match="gone"):  # a late reply must not answer the next question
        await ours.ask(Dump(), 1)


async def test_a_channel_whose_other_end_closed_says_so(pair: tuple[socket.socket, socket.socket]) -> None:
    ours = await Channel.open(pair[0].dup())
    pair[0].close()
    pair[1].close()
    with pytest.raises(ControlError):
        await ours.ask(Dump(), 1)
    with pytest.raises(ControlError):
        await ours.next_request()
    ours.close()
