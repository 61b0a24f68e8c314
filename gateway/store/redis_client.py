"""Connections to Redis: one node, a master that Sentinels name, or the node of a Cluster that has our slot.

All keys of a gateway are in one slot, so at every moment there is one node to ask; which one is found out again whenever it
refuses, moves or is gone. Nothing is asked of a replica: a session that ended must not be read. Every error becomes a
`StoreUnavailableError` without a secret in it. What is stored is not known here. Only who has its state in Redis imports this
module: the library takes a tenth of a second of each process that starts.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final, NoReturn

import redis
from redis.backoff import NoBackoff
from redis.connection import SSLConnection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.redis_command import Command, Script
from gateway.store.redis_options import Address, Credentials, RedisOptions, written

ATTEMPTS: Final = 4
"""Nodes that are tried for one question: after a failover the first is wrong, and perhaps the second."""
PATIENCE: Final = 2.0
"""Time-outs after which a question is not asked once more."""
_CLIENT_NAME: Final = "gateway"


class RedisPlace:
    """The one node that has our keys, asked from threads. Methods raise `StoreUnavailableError`."""

    def __init__(self, options: RedisOptions) -> None:
        self.options = options
        self.place = options.place
        self._route = _Route(options)
        self._arguments = _arguments(options, options.credentials)
        self._clients: dict[Address, redis.Redis] = {}
        self._lock = threading.Lock()

    def run(self, *commands: Command, again: bool = False) -> list[Any]:
        """Send commands in one go to one node, on one connection, and return their answers.

        `again` where they change nothing: then a connection that broke is no failure yet. Commands that
        change something are sent once, to a node that says it is the right one.
        """
        attempt = _Attempt(self._route, commands, changes=not again)
        while True:
            try:
                address = self._route.address or self._locate()
                pipe = self._client(address).pipeline(transaction=False)
                for command in attempt.rendered():
                    pipe.execute_command(*command)  # type: ignore[no-untyped-call]  # of the library
                return attempt.answers(pipe.execute(raise_on_error=False))
            except (RedisError, OSError) as exc:
                attempt.failed(exc)

    def close(self) -> None:
        """Let go of every connection."""
        with self._lock:
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()
            client.connection_pool.disconnect()

    def _client(self, address: Address) -> redis.Redis:
        with self._lock:
            client = self._clients.get(address)
            if client is None:
                pool = redis.ConnectionPool(host=address[0], port=address[1], **self._arguments)
                client = self._clients[address] = redis.Redis(connection_pool=pool)
            return client

    def _locate(self) -> Address:
        if self.options.kind != "sentinel":
            return self._route.begin()
        arguments = _arguments(self.options, self.options.sentinel, database=0)
        for sentinel in self._route.sentinels():
            asked = redis.Redis(connection_pool=redis.ConnectionPool(host=sentinel[0], port=sentinel[1], **arguments))
            try:
                named = asked.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.options.service)  # type: ignore[no-untyped-call]  # of the library
                if named:
                    master = (_text(named[0]), int(named[1]))
                    return self._route.found(master, self._client(master).execute_command("ROLE"))  # type: ignore[no-untyped-call]  # of the library
            except RedisError as exc:
                self._route.sentinel_failed(sentinel, exc)
            finally:
                asked.close()
                asked.connection_pool.disconnect()
        raise self._route.no_master()


class _Route:
    """Which node is asked, and what is known about why others were not."""

    __slots__ = ("_options", "_turn", "_why", "address")

    def __init__(self, options: RedisOptions) -> None:
        self._options = options
        self._turn = 0
        self._why = ""
        self.address: Address | None = None

    @property
    def place(self) -> str:
        return self._options.place

    @property
    def username(self) -> str:
        return self._options.credentials.username or "default"

    @property
    def follows(self) -> bool:
        """Whether a node may send us to another."""
        return self._options.kind == "cluster"

    @property
    def timeout_s(self) -> float:
        return self._options.timeout_s

    @property
    def seeds(self) -> int:
        return len(self._options.nodes)

    def begin(self) -> Address:
        """Choose the node, or the next of those that know the Cluster."""
        self.address = address = self._options.nodes[self._turn % len(self._options.nodes)]
        return address

    def sentinels(self) -> list[Address]:
        """List the Sentinels, the one that answered last first."""
        nodes = self._options.nodes
        start = self._turn % len(nodes)
        return [*nodes[start:], *nodes[:start]]

    def found(self, master: Address, role: Sequence[Any]) -> Address:
        """Ask this node from now on, if it agrees that it is the master: a Sentinel may not know yet that it was replaced."""
        if _text(role[0]) != "master":
            self._why = f"{written(master)} is not the master any more"
            raise ReadOnlyError(self._why)
        self.address = master
        return master

    def sentinel_failed(self, sentinel: Address, exc: Exception) -> None:
        self._why = f"{written(sentinel)}: {_reason(exc)}"

    def no_master(self) -> StoreUnavailableError:
        why = self._why or f"no Sentinel knows the service {self._options.service!r}"
        return StoreUnavailableError(f"{self.place}: no master was found: {why}")

    def moved(self, host: str, port: int) -> None:
        """Ask another node from now on."""
        known = self.address
        # A node that was never told its own address leaves the host out (MOVED slot :port).
        self.address = (host or (known[0] if known else self._options.nodes[0][0]), port)

    def lost(self, address: Address | None) -> None:
        """Look for the node again at the next question."""
        if self.address == address:
            self.address = None
            self._turn += 1


class _Attempt:
    """One question on its way: what is sent, and what a failure means."""

    __slots__ = ("_asked", "_changes", "_commands", "_evaluates", "_left", "_route", "_until")

    def __init__(self, route: _Route, commands: Sequence[Command], *, changes: bool) -> None:
        self._route = route
        self._commands = commands
        self._changes = changes
        self._evaluates = False
        self._left = ATTEMPTS + (route.seeds if route.follows else 0)
        self._until = monotonic() + PATIENCE * route.timeout_s
        self._asked: Address | None = None

    def rendered(self) -> list[tuple[bytes | str | int | float, ...]]:
        """Write the commands; scripts by their SHA-1 until the node said that it does not know them."""
        self._asked = self._route.address
        rendered: list[tuple[bytes | str | int | float, ...]] = []
        for name, *rest in self._commands:
            if isinstance(name, Script):
                head = ("EVAL", name.text) if self._evaluates else ("EVALSHA", name.sha)
                rendered.append((*head, *rest))  # type: ignore[arg-type]  # a script is only ever the name
            else:
                rendered.append((name, *rest))  # type: ignore[arg-type]
        return rendered

    def answers(self, answers: list[Any]) -> list[Any]:
        """Return the answers, or raise the first that is an error."""
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def failed(self, exc: Exception) -> None:
        """Return when the question may be asked once more, elsewhere or otherwise; else raise."""
        self._left -= 1
        route = self._route
        match exc:
            case StoreUnavailableError():
                raise exc
            case NoScriptError() if not self._evaluates:
                self._evaluates = True
            case MovedError() if route.follows and self._left > 0:
                route.moved(exc.host, exc.port)
            case AskError() | TryAgainError() | ClusterDownError() | BusyLoadingError() | ReadOnlyError():
                # The node refused it: nothing happened. Somebody else is the master now, or will be.
                route.lost(self._asked)
                if self._left <= 0 or isinstance(exc, AskError | TryAgainError):
                    self._refuse(exc)
            case AuthenticationError() | AuthenticationWrongNumberOfArgsError() | NoPermissionError():
                self._refuse(exc)
            case RedisConnectionError() | RedisTimeoutError() | OSError():
                route.lost(self._asked)
                if self._changes and self._asked is not None and not _never_left(exc):
                    raise StoreUnavailableError(
                        f"{route.place}: {_reason(exc)}; what was being written may have happened"
                    ) from exc
                if self._left <= 0 or monotonic() >= self._until:
                    self._refuse(exc)
                self._asked = None
            case _:
                self._refuse(exc)

    def _refuse(self, exc: Exception) -> NoReturn:
        raise StoreUnavailableError(f"{self._route.place}: {_reason(exc, self._route.username)}") from exc


def _never_left(exc: Exception) -> bool:
    """Whether no connection came about, so that nothing can have been sent."""
    return isinstance(exc, RedisConnectionError | RedisTimeoutError) and "onnecting to" in str(exc)


def _reason(exc: Exception, username: str = "default") -> str:
    """Say what is wrong and what to do, without the text of anything that was sent."""
    match exc:
        case NoPermissionError():
            return f"the ACL refuses: {exc}; see docs/state.md for the rules that user {username!r} needs"
        case AuthenticationError() | AuthenticationWrongNumberOfArgsError():
            return f"refuses user {username!r} or its password"
        case BusyLoadingError():
            return "is loading its data"
        case OutOfMemoryError():
            return "is full; raise maxmemory"
        case ReadOnlyError():
            return "is a replica, or its master is away"
        case ClusterDownError():
            return "the cluster is down: a slot is served by no node"
        case AskError() | TryAgainError():
            return "our slot is being moved to another node"
        case RedisTimeoutError() | TimeoutError():
            return "does not answer in time"
        case ssl.SSLError():
            return f"TLS failed: {exc.reason or 'no shared version'}"
        case RedisConnectionError() | OSError():
            return f"cannot be reached: {exc}"
        case ResponseError() if str(exc).startswith("MISCONF"):
            return "takes no writes, because it cannot save to its disk"
        case ResponseError() if str(exc).startswith("NOREPLICAS"):
            return "takes no writes, because too few replicas are there (min-replicas-to-write)"
        case ResponseError():
            return f"refused a command ({str(exc).split(' ', 1)[0]})"
        case _:
            return f"failed ({type(exc).__name__})"


def _arguments(options: RedisOptions, credentials: Credentials, *, database: int | None = None) -> dict[str, Any]:
    """Say what every connection of a pool is made with."""
    arguments: dict[str, Any] = {
        "db": options.database if database is None else database,
        "username": credentials.username or None,
        "password": credentials.password or None,
        "socket_timeout": options.timeout_s,
        "socket_connect_timeout": options.timeout_s,
        "socket_keepalive": True,
        "client_name": _CLIENT_NAME,
        "driver_info": None,  # one rule of the ACL less
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
    }
    if options.tls is not None:
        arguments |= {
            "connection_class": _TLSConnection,
            "context": options.tls.context(),
            "server_name": options.tls.server_name,
        }
    return arguments


class _TLSConnection(SSLConnection):
    """A connection in the context that was made once, checked against the name that the operator gave."""

    def __init__(self, *, context: ssl.SSLContext, server_name: str, **more: Any) -> None:
        super().__init__(**more)
        self._context = context
        self._server_name = server_name

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> ssl.SSLSocket:
        return self._context.wrap_socket(sock, server_hostname=self._server_name or self.host)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
