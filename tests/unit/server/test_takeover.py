from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from gateway.exchange.errors import ConfigurationError
from gateway.exchange.metrics import Sample
from gateway.server.takeover import (
    Counted,
    Descriptors,
    Estate,
    Failed,
    Finish,
    Line,
    LogIsFree,
    Message,
    Prepared,
    Ready,
    Take,
    Taken,
    TakeOverError,
    receive_estate,
    send_estate,
)

SAMPLE = Sample(name="a_total", kind="counter", help="h", labels=("x",), values=[(("1",), 2.0)])
MESSAGES: list[Message] = [
    Prepared(), LogIsFree(), Ready(version="2", interpreter="/p"), Take(samples=[SAMPLE]), Taken(),
    Counted(samples=[SAMPLE]), Finish(),
]  # fmt: skip


def estate(sockets: int, **changes: object) -> Estate:
    values = {
        "version": "1", "generation": 1, "boot_id": "b", "state_dir": "/s", "supervisor": 1, "keeper": 1, "admin": "127.0.0.1:1",
        "listeners": (("0.0.0.0:8443", sockets),), "limits_layout": 1, "reloads": {"success": 2}, "upgrades": {},
    }  # fmt: skip
    return Estate(**{**values, **changes})  # type: ignore[arg-type]  # a test's own spelling


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def given(sockets: int) -> tuple[Descriptors, list[int]]:
    fds = [os.memfd_create(str(number)) for number in range(4 + sockets)]
    return Descriptors(lock=fds[0], limits=fds[1], keeper=fds[2], admin=fds[3], listeners=tuple(fds[4:])), fds


@pytest.mark.parametrize("sockets", [1, 700], ids=["few", "more than one message carries"])
def test_every_descriptor_arrives_in_its_place(pair: tuple[socket.socket, socket.socket], sockets: int) -> None:
    descriptors, fds = given(sockets)
    sent = threading.Thread(target=send_estate, args=(pair[0], estate(sockets), descriptors))
    sent.start()
    taken, received = receive_estate(pair[1])
    sent.join()
    assert taken == estate(sockets)
    same = [os.path.sameopenfile(a, b) for a, b in zip(fds, received.in_order(), strict=True)]
    assert all(same)
    assert len(same) == 4 + sockets
    assert not any(os.get_inheritable(fd) for fd in received.in_order())
    for fd in (*fds, *received.in_order()):
        os.close(fd)


def test_other_sockets_than_it_says_are_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    descriptors, fds = given(2)
    send_estate(pair[0], estate(3), descriptors)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(TakeOverError, match="other sockets"):
        receive_estate(pair[1])
    assert len(os.listdir("/proc/self/fd")) == before, "nothing that came stays open"
    for fd in fds:
        os.close(fd)


def test_a_form_of_another_time_is_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    descriptors, fds = given(1)
    send_estate(pair[0], estate(1, format=9), descriptors)
    with pytest.raises(TakeOverError, match="stop and start it"):
        receive_estate(pair[1])
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("data", [b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{}"], ids=["nothing", "too much", "no message"])
def test_what_makes_no_sense_is_refused(pair: tuple[socket.socket, socket.socket], data: bytes) -> None:
    pair[0].sendall(data)
    pair[0].shutdown(socket.SHUT_WR)
    with pytest.raises(TakeOverError):
        receive_estate(pair[1])


async def test_words_arrive_in_order(pair: tuple[socket.socket, socket.socket]) -> None:
    old, new = await Line.open(pair[0].dup()), await Line.open(pair[1].dup())
    for message in MESSAGES:
        await old.send(message)
    for message in MESSAGES:
        assert await new.expect(type(message)) == message
    old.close()
    new.close()


async def test_a_failure_is_what_it_says(pair: tuple[socket.socket, socket.socket]) -> None:
    old, new = await Line.open(pair[0].dup()), await Line.open(pair[1].dup())
    await new.send(Failed(diagnostics=("gateway.yaml:1:1: no",)))
    with pytest.raises(ConfigurationError) as caught:
        await old.expect(Prepared)
    assert caught.value.diagnostics == ("gateway.yaml:1:1: no",)
    old.close()
    new.close()


async def test_a_word_out_of_turn_and_an_end_are_failures(pair: tuple[socket.socket, socket.socket]) -> None:
    old, new = await Line.open(pair[0].dup()), await Line.open(pair[1].dup())
    await new.send(Taken())
    with pytest.raises(TakeOverError, match="Taken instead of Prepared"):
        await old.expect(Prepared)
    new.close()
    pair[1].close()
    with pytest.raises(TakeOverError, match="gone"):
        async with asyncio.timeout(5):
            await old.expect(Prepared)
    old.close()
