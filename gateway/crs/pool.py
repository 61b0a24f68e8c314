"""The processes of the second engine, as the edge has them: asked one request each at a time, replaced when they fail.

A question that has no answer within the time-out, waiting for a free process included, is answered `None`: whoever asked
decides what that means. A process that takes longer than that for one question is killed and another one started.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.crs.process import Rules
from gateway.crs.rules import RulesError
from gateway.crs.talk import LARGEST, LENGTH, NotLoaded, framed, unpack_first, unpack_opinion
from gateway.exchange.opinion import Opinion, Question

LOAD_TIMEOUT_S: Final = 20.0
RETRY_S: Final = 1.0
"""Between two attempts to start a process again."""
MAX_WAITING: Final = 256
_KEPT: Final = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH", "TZ")
"""What a process needs of the environment. Our secrets may stand in the rest."""

Answered = Callable[[Opinion | None], None]


@dataclass(slots=True, eq=False)
class _Pending:
    asked: bytes
    answered: Answered | None
    """None once it was answered."""
    timer: asyncio.TimerHandle | None = None

    def answer(self, judged: Opinion | None) -> None:
        answered, self.answered = self.answered, None
        if self.timer is not None:
            self.timer.cancel()
        if answered is not None:
            answered(judged)


class _Process(asyncio.Protocol):
    """One process, idle or with one question."""

    def __init__(self, pool: Pool, child: subprocess.Popen[bytes]) -> None:
        self._pool = pool
        self._child = child
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.question: _Pending | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports do not derive from asyncio's

    def ask(self, question: _Pending) -> None:
        self.question = question
        # its own time: a process that got its question late is not to blame for that
        self._timer = asyncio.get_running_loop().call_later(self._pool.timeout_s, self.end)
        if self._transport is not None:
            self._transport.write(question.asked)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) < LENGTH.size:
            return
        (size,) = LENGTH.unpack_from(self._buffer)
        if size > LARGEST:
            self.end()
            return
        if len(self._buffer) < LENGTH.size + size:
            return
        if self.question is None or len(self._buffer) > LENGTH.size + size:
            self.end()  # it says more than it was asked: what it says next would be taken for an answer
            return
        message = bytes(self._buffer[LENGTH.size : LENGTH.size + size])
        self._buffer.clear()
        question, self.question = self.question, None
        self._rest()
        try:
            judged = unpack_opinion(message)
        except msgspec.DecodeError:
            judged = None
        question.answer(judged)
        if judged is None:
            self.end()
        else:
            self._pool.is_free(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it ended, it is gone
        self._transport = None
        self._rest()
        question, self.question = self.question, None
        self._child.kill()
        self._child.wait()
        if question is not None:
            question.answer(None)
        self._pool.is_lost(self)

    def _rest(self) -> None:
        """Measure no time any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        """Kill it; `connection_lost` follows."""
        self._child.kill()
        if self._transport is not None:
            self._transport.abort()


class Pool:
    """Some processes with the same rules."""

    def __init__(self, rules: Rules, *, processes: int, timeout_s: float) -> None:
        self.rules = rules
        self._size = processes
        self.timeout_s = timeout_s
        self._processes: set[_Process] = set()
        self._free: deque[_Process] = deque()
        self._waiting: deque[_Pending] = deque()
        self._started: list[tuple[subprocess.Popen[bytes], socket.socket]] = []
        self._starting: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self.replaced = 0
        """Processes that ended or were killed and had to be replaced."""

    def start(self) -> None:
        """Start the processes and wait until all have their rules; blocks, so it is called from a thread.

        Raises:
            RulesError: one of them has not.

        """
        try:
            for _ in range(self._size):
                self._started.append(_start(self.rules))
        except RulesError:
            self._drop_started()
            raise

    def open(self) -> None:
        """Take the started processes into use, on the running loop; what is asked meanwhile waits."""
        started, self._started = self._started, []
        for child, ours in started:
            self._spawn(self._adopt(child, ours))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="crs")
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    @property
    def available(self) -> int:
        """Processes that live."""
        return len(self._processes)

    def ask(self, asked: Question, answered: Answered) -> None:
        """Have a request judged; `answered` is called once, on the loop, later."""
        loop = asyncio.get_running_loop()
        question = _Pending(framed(asked), answered)
        is_too_large = len(question.asked) > LENGTH.size + LARGEST  # a process would hang up on it
        if is_too_large or self._is_closed or len(self._waiting) >= MAX_WAITING:
            loop.call_soon(question.answer, None)
            return
        question.timer = loop.call_later(self.timeout_s, self._overdue, question)
        if self._free:
            self._free.popleft().ask(question)
        else:
            self._waiting.append(question)

    def is_free(self, process: _Process) -> None:
        """Give `process` what waits the longest, or let it wait."""
        if self._waiting:
            process.ask(self._waiting.popleft())
            return
        if self._is_closed:
            process.end()
        else:
            self._free.append(process)

    def is_lost(self, process: _Process) -> None:
        """Replace a process that ended."""
        self._processes.discard(process)
        if process in self._free:
            self._free.remove(process)
        if not self._is_closed:
            self.replaced += 1
            self._spawn(self._replace())

    def close(self) -> None:
        """End all processes as soon as they have answered what they were asked; one that is just starting, as soon as it has."""
        self._is_closed = True
        self._drop_started()
        while self._free:
            self._free.popleft().end()
        if not self._waiting:
            return
        while self._waiting and not self._processes:
            self._waiting.popleft().answer(None)

    def _overdue(self, question: _Pending) -> None:
        question.answer(None)
        if question in self._waiting:  # its body is kept for nobody
            self._waiting.remove(question)

    async def _replace(self) -> None:
        while not self._is_closed:
            try:
                child, ours = await asyncio.to_thread(_start, self.rules)
            except RulesError:
                await asyncio.sleep(RETRY_S)
                continue
            await self._adopt(child, ours)
            return

    async def _adopt(self, child: subprocess.Popen[bytes], ours: socket.socket) -> None:
        ours.setblocking(False)  # noqa: FBT003 - the socket's own signature
        _, process = await asyncio.get_running_loop().create_connection(lambda: _Process(self, child), sock=ours)
        self._processes.add(process)
        self.is_free(process)

    def _drop_started(self) -> None:
        started, self._started = self._started, []
        for child, ours in started:
            ours.close()
            child.kill()
            child.wait()


def try_rules(rules: Rules) -> int:
    """Load rules in a process of their own and return how many there are. Raises RulesError."""
    child, ours, loaded = _load(rules)
    ours.close()
    child.kill()
    child.wait()
    return loaded


def _start(rules: Rules) -> tuple[subprocess.Popen[bytes], socket.socket]:
    child, ours, _ = _load(rules)
    return child, ours


def _load(rules: Rules) -> tuple[subprocess.Popen[bytes], socket.socket, int]:
    ours, theirs = socket.socketpair()
    with theirs:
        child = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "gateway.crs.process", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # the library writes what it could not parse, and where payloads are
        )
    ours.settimeout(LOAD_TIMEOUT_S)
    try:
        data = msgspec.msgpack.encode(rules)
        ours.sendall(LENGTH.pack(len(data)) + data)
        first = unpack_first(_received(ours))
    except (OSError, msgspec.DecodeError, EOFError):
        first = NotLoaded("the process ended, or took too long, before its rules were loaded")
    if isinstance(first, NotLoaded):
        ours.close()
        child.kill()
        child.wait()
        raise RulesError(first.sentence)
    return child, ours, first.rules


def _received(ours: socket.socket) -> bytes:
    data = bytearray()
    while len(data) < LENGTH.size or len(data) < LENGTH.size + LENGTH.unpack_from(data)[0]:
        more = ours.recv(65536)
        if not more:
            raise EOFError
        data += more
    return bytes(data[LENGTH.size :])
