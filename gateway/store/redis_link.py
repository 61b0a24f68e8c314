"""One connection of an edge worker to one Redis server: questions out, answers back in order, nobody waits for long.

It is made again when it breaks, at once and then with growing pauses; while it cannot be made, questions fail at once. Only
a server that says it is no replica is believed: what a replica knows of revocations may be old. Which server to ask is
decided elsewhere.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import random
from typing import Final, NoReturn, Protocol

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.redis_command import Script
from gateway.store.redis_options import Address, Credentials, RedisOptions, written
from gateway.wire.resp import ErrorReply, Reply, RespError, RespReader, command

MAX_ASKED: Final = 4096
"""Questions under way on one connection; each is that of a whole tick, so that more is a server that does not answer."""
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
KEEPALIVE_S: Final = 10
CONNECT_S: Final = 1.0
"""For the connection, TLS and the greeting together; more where the time-out of a question is longer."""
MAX_HOPS: Final = 5
"""Servers of a Cluster that may send us on, one after the other."""
WATCH_S: Final = 1.0
"""How often it is asked whether the server is still the right one, where somebody knows."""


KEPT: Final = frozenset(("OOM", "NOREPLICAS", "MISCONF", "NOPERM", "ERR", "WRONGTYPE"))
"""Errors that another connection would get too."""
AWAY: Final = ErrorReply("AWAY")
"""Stands for the answer that did not come."""


class Whereabouts(Protocol):
    """Knows where the server is."""

    watches: bool
    """Whether it may come to know of another one while a connection lasts."""

    async def find(self) -> Address:
        """Return where it is now; asked before each attempt. Raises `StoreUnavailableError` or `OSError`."""

    def probe(self) -> tuple[bytes, ...]:
        """Return a command that only the right server takes; empty where all servers do."""

    def told(self, reply: ErrorReply) -> None:
        """Take note of an error that says that another server is the right one."""

    def failed(self) -> None:
        """Take note that there was no getting in."""


Answered = Callable[[list[Reply] | None], None]
"""Hears the replies, or None: there are none, and there will be none."""


class _Question:
    """Commands that were sent together."""

    __slots__ = ("answered", "count", "deadline", "payload", "replies")

    def __init__(self, payload: bytes, count: int, deadline: float, answered: Answered) -> None:
        self.payload = payload
        self.count = count
        self.deadline = deadline
        self.answered = answered
        self.replies: list[Reply] = []


class Conversation(asyncio.Protocol):
    """The connection itself, once."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.asked: deque[_Question] = deque()
        self.lost = asyncio.Event()
        self._reader = RespReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; a connection that a firewall forgot is found out before somebody needs it."""
        self.transport = transport  # type: ignore[assignment]  # uvloop's transports do not derive from asyncio's
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Tell whoever waits that there is no answer."""
        self.lost.set()
        asked, self.asked = self.asked, deque()
        for question in asked:
            question.answered(None)

    def ask(self, question: _Question) -> None:
        """Send."""
        if self.transport is None or self.lost.is_set() or self.transport.is_closing():
            question.answered(None)
            return
        self.asked.append(question)
        self.transport.write(question.payload)

    def data_received(self, data: bytes) -> None:
        """Hand out replies, in the order of the questions."""
        try:
            replies = self._reader.feed(data)
        except RespError:
            self.abort()
            return
        for reply in replies:
            if not self.asked:  # nobody asked: from here on no reply can be trusted to be the right one
                self.abort()
                return
            question = self.asked[0]
            question.replies.append(reply)
            if len(question.replies) == question.count:
                self.asked.popleft()
                question.answered(question.replies)

    def abort(self) -> None:
        """Break it off."""
        if self.transport is not None:
            self.transport.abort()


class RedisLink:
    """The way to one server, for as long as a worker lives."""

    def __init__(self, whereabouts: Whereabouts, options: RedisOptions, *, report: Callable[[str, str], None]) -> None:
        """Begin to connect; `report` hears `store.degraded` and `store.recovered`, with a sentence."""
        self._whereabouts = whereabouts
        self._options = options
        self._entry = Entry.of(options)
        self._report = report
        self._conversation: Conversation | None = None
        self._waiting: deque[_Question] = deque()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._address: Address | None = None
        self.problem = ""
        """Why there is no connection, once an attempt has failed; empty while all is well."""
        self._tasks = [self._loop.create_task(self._keep(), name="redis link")]
        if whereabouts.watches:
            self._tasks.append(self._loop.create_task(self._watch(), name="redis watch"))

    @property
    def is_up(self) -> bool:
        """Whether there is a connection."""
        return self._conversation is not None

    def ask(self, payload: bytes, count: int, answered: Answered) -> None:
        """Send commands that get `count` replies; `answered` is called exactly once, within the time-out."""
        question = _Question(payload, count, self._loop.time() + self._options.timeout_s, answered)
        conversation = self._conversation
        if conversation is not None:
            if len(conversation.asked) >= MAX_ASKED:
                answered(None)
                return
            conversation.ask(question)
        elif self.problem or len(self._waiting) >= MAX_ASKED:
            answered(None)
            return
        else:
            self._waiting.append(question)  # the first attempt is under way
        if self._timer is None:
            self._timer = self._loop.call_at(question.deadline, self._look)

    def call(
        self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes], answered: Callable[[Reply], None]
    ) -> None:
        """Run a script; `answered` hears its result, or an `ErrorReply`: `AWAY` when there was no answer."""
        words = (b"%d" % len(keys), *keys, *arguments)

        def heard(replies: list[Reply] | None) -> None:
            reply = replies[0] if replies is not None else AWAY
            if isinstance(reply, ErrorReply):
                if reply.code == "NOSCRIPT":  # it did nothing; from now on the server knows it
                    self.ask(command(b"EVAL", script.text.encode(), *words), 1, heard)
                    return
                if replies is not None:
                    self.distrust(reply)
            answered(reply)

        self.ask(command(b"EVALSHA", script.sha.encode(), *words), 1, heard)

    def distrust(self, reply: ErrorReply) -> None:
        """Take an error as what it says of the server: where it leads to the wrong one, the connection is made again."""
        if reply.code not in KEPT:
            self._whereabouts.told(reply)
            if self._conversation is not None:
                self._conversation.abort()

    async def close(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        if self._timer is not None:
            self._timer.cancel()
        self._fail_waiting()

    def _look(self) -> None:
        """Hold the server to the time-out of the oldest question."""
        self._timer = None
        now = self._loop.time()
        while self._waiting and self._waiting[0].deadline <= now:
            self._waiting.popleft().answered(None)
        conversation = self._conversation
        if conversation is not None and conversation.asked and conversation.asked[0].deadline <= now:
            conversation.abort()  # what it says later would be taken for the answer to another question
            return
        pending = self._waiting or (conversation.asked if conversation is not None else None)
        if pending and self._timer is None:
            self._timer = self._loop.call_at(pending[0].deadline, self._look)

    def _fail_waiting(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for question in waiting:
            question.answered(None)

    async def _keep(self) -> None:
        pause, hops = 0.0, 0
        while True:
            if pause:
                await asyncio.sleep(pause * (0.5 + random() / 2))  # not all workers at once
            try:
                async with asyncio.timeout(max(CONNECT_S, self._options.timeout_s)):
                    conversation = await self._connect()
            except (OSError, StoreUnavailableError) as error:  # a time-out is an OSError
                hops += 1
                if isinstance(error, _ElsewhereError) and hops < MAX_HOPS:
                    continue
                pause = min(max(FIRST_PAUSE_S, pause * 2), LONGEST_PAUSE_S)
                if isinstance(error, OSError):
                    self._whereabouts.failed()
                self._trouble(error)
                continue
            hops = 0
            if self.problem:
                self.problem = ""
                self._report("store.recovered", self.place)
            self._conversation = conversation
            began = self._loop.time()
            waiting, self._waiting = self._waiting, deque()
            for question in waiting:
                conversation.ask(question)
            try:
                await conversation.lost.wait()
            finally:
                self._conversation = None
                conversation.abort()
            # a server that lets in and hangs up is not asked without end
            pause = 0.0 if self._loop.time() - began > LONGEST_PAUSE_S else FIRST_PAUSE_S

    async def _watch(self) -> None:
        """Leave a server that is not the right one any more, even if it has not noticed itself."""
        while True:
            await asyncio.sleep(WATCH_S)
            conversation, address = self._conversation, self._address
            if conversation is None:
                continue
            try:
                async with asyncio.timeout(max(CONNECT_S, self._options.timeout_s)):
                    found = await self._whereabouts.find()
            except (OSError, StoreUnavailableError):
                continue  # nobody knows better
            if found != address:
                conversation.abort()

    @property
    def place(self) -> str:
        """The server, for a person."""
        return f"Redis at {written(self._address)}" if self._address is not None else "Redis"

    def _trouble(self, error: OSError | StoreUnavailableError) -> None:
        sentence = str(error) if isinstance(error, StoreUnavailableError) else f"{self.place} {plainly(error)}"
        if not self.problem:
            self._report("store.degraded", sentence)
        self.problem = sentence
        self._fail_waiting()

    async def _connect(self) -> Conversation:
        self._address = None
        address = self._address = await self._whereabouts.find()
        conversation = await self._entry.converse(address)
        try:
            replies = await say(conversation, self._entry.greeting, self._whereabouts.probe())
            for reply in replies:
                if isinstance(reply, ErrorReply):
                    self._refused(reply)
            if _role(replies[0]) != b"master":
                self._refused(ErrorReply("READONLY it is a replica"))
        except BaseException:
            conversation.abort()
            raise
        return conversation

    def _refused(self, reply: ErrorReply) -> NoReturn:
        self._whereabouts.told(reply)
        if reply.code == "MOVED":
            raise _ElsewhereError(reply.text)
        raise StoreUnavailableError(f"{self.place} {meaning(reply)}")


class _ElsewhereError(StoreUnavailableError):
    """Another server is the right one, and it is known which."""


class Entry:
    """How to get into a server: TLS, a user and a password."""

    __slots__ = ("_server_name", "_tls", "greeting")

    def __init__(self, options: RedisOptions, credentials: Credentials, greeting: tuple[bytes, ...]) -> None:
        self._tls = options.tls.context() if options.tls is not None else None
        self._server_name = options.tls.server_name if options.tls is not None else ""
        self.greeting = greeting
        """Commands that are said first."""
        if credentials.password and not greeting:
            user = (credentials.username or "default").encode()
            self.greeting = (command(b"AUTH", user, credentials.password.encode()),)

    @classmethod
    def of(cls, options: RedisOptions) -> Entry:
        """Return the way into a server that has our keys: it says whether it is a replica."""
        credentials = options.credentials
        hello = [b"HELLO", b"2"]
        if credentials.password:
            hello += [b"AUTH", (credentials.username or "default").encode(), credentials.password.encode()]
        greeting = [command(*hello, b"SETNAME", b"gateway-edge")]
        if options.database:
            greeting.append(command(b"SELECT", b"%d" % options.database))
        return cls(options, credentials, tuple(greeting))

    @classmethod
    def of_sentinel(cls, options: RedisOptions) -> Entry:
        """Return the way into a Sentinel."""
        return cls(options, options.sentinel, ())

    async def converse(self, address: Address) -> Conversation:
        """Open a connection. Raises OSError."""
        name = (self._server_name or address[0]) if self._tls is not None else None
        _, conversation = await asyncio.get_running_loop().create_connection(
            Conversation, *address, ssl=self._tls, server_hostname=name
        )
        return conversation


async def say(conversation: Conversation, *several: tuple[bytes, ...]) -> list[Reply]:
    """Send groups of commands at once, and wait for all replies. Raises ConnectionError."""
    heard: asyncio.Future[list[Reply] | None] = asyncio.get_running_loop().create_future()

    def answered(replies: list[Reply] | None) -> None:
        if not heard.done():
            heard.set_result(replies)

    said = [each for group in several for each in group]
    if not said:
        return []
    conversation.ask(_Question(b"".join(said), len(said), 0.0, answered))
    replies = await heard
    if replies is None:
        raise ConnectionResetError("hung up")
    return replies


def _role(hello: Reply) -> Reply:
    """What the server calls itself in its reply to HELLO: a list of names and values."""
    if isinstance(hello, list) and b"role" in hello[::2]:
        return hello[hello.index(b"role") + 1]
    return None


def meaning(reply: ErrorReply) -> str:
    """Say what a server's error means, without the text of anything that was sent."""
    sentences = {
        "WRONGPASS": "refuses the user or its password",
        "NOAUTH": "asks for a password",
        "NOPERM": "refuses the gateway a command; docs/state.md has the rules that its user needs",
        "READONLY": "is a replica",
        "LOADING": "is loading its data",
        "CLUSTERDOWN": "is of a cluster that is down",
        "MOVED": "does not have our keys",
        "AWAY": "does not answer",
        "OOM": "is full; raise maxmemory",
        "NOREPLICAS": "takes no writes, because too few replicas are there",
    }
    return sentences.get(reply.code, f"refused a command ({reply.code})")


def plainly(error: OSError) -> str:
    """Say why there is no connection."""
    if isinstance(error, TimeoutError):
        return "does not answer"
    if isinstance(error, ssl.SSLError):
        return f"cannot be reached: TLS failed: {error.reason or type(error).__name__}"
    return f"cannot be reached: {error.strerror or type(error).__name__}"
