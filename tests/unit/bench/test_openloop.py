"""The open-loop client, against a real server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.bench.openloop import Connection, Latency, Plan, moments, run

ANSWER = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhello"


def plan(port: int, *, rate: float = 200.0, seconds: float = 0.3) -> Plan:
    return Plan("127.0.0.1", port, "/x", [("Accept", "*/*")], rate, seconds, connections=4, seed=3)


def answer_all(connection: socket.socket, answer: bytes) -> None:
    with connection:
        while connection.recv(65536):
            connection.sendall(answer)


@pytest.fixture(params=[ANSWER, ANSWER.replace(b"200 OK", b"503 Busy")])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[int, bytes]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threads: list[threading.Thread] = []

        def accept() -> None:
            for _ in range(4):
                connection, _ = listening.accept()
                threads.append(threading.Thread(target=answer_all, args=(connection, request.param)))
                threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        yield listening.getsockname()[1], request.param
        accepting.join()
        for thread in threads:
            thread.join()


def test_every_planned_request_is_sent_and_counted(server: tuple[int, bytes]) -> None:
    port, answer = server
    seen = run(plan(port))
    assert seen.answered == seen.planned == len(moments(plan(port))) > 0
    assert seen.bad_statuses == (0 if answer is ANSWER else seen.answered)
    assert (seen.fault() is None) == (answer is ANSWER)
    assert 0 < seen.p50_us <= seen.p90_us <= seen.p99_us <= seen.most_us


def test_moments_are_the_same_for_one_seed_and_come_at_the_rate() -> None:
    wanted = plan(1, rate=1000, seconds=10)
    first = moments(wanted)
    assert first == moments(wanted) == sorted(first)
    assert len(first) == pytest.approx(10_000, rel=0.05)
    assert first[-1] < 10e9


def test_unanswered_requests_are_a_fault() -> None:
    assert "3 of 10" in (Latency(10, 7, 0, 1, 1, 1, 1, 1).fault() or "")


def test_an_answer_is_complete_with_its_last_byte_however_it_is_cut() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection(ours)
        for byte in ANSWER[:-1]:
            theirs.send(bytes([byte]))
            assert connection.take() is None
        theirs.send(ANSWER[-1:])
        assert connection.take() == 200
        assert connection.buffer == b""


def test_a_closed_connection_is_an_error() -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with ours, pytest.raises(ConnectionError):
        Connection(ours).take()
