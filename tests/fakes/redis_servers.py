"""Real Redis servers for tests: one node with a password, an ACL or TLS; a master with Sentinels; a Cluster.

Started once per run and worker; every test has a prefix of its own in them.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import redis
import trustme

WAIT_S: Final = 20.0
PASSWORD: Final = "correct-horse-battery"


def free_ports(count: int) -> list[int]:
    """Return ports that nobody has at the moment."""
    with ExitStack() as held:
        ports = []
        for _ in range(count):
            probe = held.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
        return ports


def until(true: Callable[[], bool], what: str) -> None:
    """Wait until something is so, and fail when it does not become so."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            if true():
                return
        except redis.RedisError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"never: {what}")


class Server:
    """One `redis-server` (or Sentinel) in a directory of its own."""

    def __init__(self, directory: Path, port: int, lines: tuple[str, ...], *, sentinel: bool = False) -> None:
        self.directory = directory
        self.port = port
        self._sentinel = sentinel
        directory.mkdir(parents=True, exist_ok=True)
        base = [f"port {port}", "bind 127.0.0.1", f"dir {directory}", "daemonize no", "protected-mode no"]
        if not sentinel:
            base += ['save ""', "appendonly yes", "appendfsync no", "repl-diskless-sync-delay 0"]
        self._conf = directory / "redis.conf"
        self._conf.write_text("\n".join([*base, *lines]) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return when it answers or refuses by its ACL."""
        program = shutil.which("redis-server")
        assert program, "redis-server is not installed"
        command = [program, str(self._conf), *(["--sentinel"] if self._sentinel else [])]
        log = (self.directory / "log").open("ab")
        with log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._listens, f"redis-server on {self.port}: {(self.directory / 'log').read_text()[-500:]}")

    def stop(self) -> None:
        """Kill it, as a machine that loses its power would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def pause(self) -> None:
        """Have it answer nothing, without closing anything."""
        assert self._process is not None
        self._process.send_signal(19)

    def resume(self) -> None:
        """Have it answer again."""
        assert self._process is not None
        self._process.send_signal(18)

    def ask(self, *command: Any, **more: Any) -> Any:
        """Send one command."""
        with redis.Redis(host="127.0.0.1", port=self.port, protocol=2, **more) as client:
            return client.execute_command(*command)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "log").read_text()[-1000:]
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


@contextmanager
def servers(*made: Server) -> Iterator[None]:
    """Run servers for a while."""
    try:
        for server in made:
            server.start()
        yield
    finally:
        for server in made:
            server.stop()


@contextmanager
def directory() -> Iterator[Path]:
    """A directory in memory where there is one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="gateway-redis-") as made:
        yield Path(made)


@contextmanager
def standalone(*lines: str) -> Iterator[Server]:
    """One node."""
    with directory() as made:
        server = Server(made, free_ports(1)[0], lines)
        with servers(server):
            yield server


class TLSServer:
    """One node that speaks nothing but TLS and asks for a certificate."""

    def __init__(self, server: Server, port: int, authority: trustme.CA, paths: dict[str, Path]) -> None:
        self.server = server
        self.port = port
        self.authority = authority
        self.paths = paths


@contextmanager
def tls_standalone(name: str, *lines: str) -> Iterator[TLSServer]:
    """One node with a certificate for `name`."""
    with directory() as made:
        authority = trustme.CA()
        paths = {"ca": made / "ca.pem", "certificate": made / "client.pem", "key": made / "client.key"}
        authority.cert_pem.write_to_path(str(paths["ca"]))
        client, server = authority.issue_cert("gateway.test"), authority.issue_cert(name)
        client.cert_chain_pems[0].write_to_path(str(paths["certificate"]))
        client.private_key_pem.write_to_path(str(paths["key"]))
        server.cert_chain_pems[0].write_to_path(str(made / "server.pem"))
        server.private_key_pem.write_to_path(str(made / "server.key"))
        plain, port = free_ports(2)
        node = Server(
            made,
            plain,
            (
                f"tls-port {port}",
                f"tls-cert-file {made / 'server.pem'}",
                f"tls-key-file {made / 'server.key'}",
                f"tls-ca-cert-file {paths['ca']}",
                *lines,
            ),
        )
        with servers(node):
            yield TLSServer(node, port, authority, paths)


class Watched:
    """A master, its replica, and a Sentinel that may make the replica the master."""

    def __init__(self, nodes: list[Server], sentinel: Server, service: str) -> None:
        self.nodes = nodes
        self.sentinel = sentinel
        self.service = service

    def master(self) -> Server:
        """Return the node that the Sentinel calls master."""
        _, port = self.sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return next(node for node in self.nodes if node.port == int(port))

    def replicated(self) -> bool:
        """Whether the replica is in step with its master."""
        states = [node.ask("ROLE")[0] for node in self.nodes]
        return states.count(b"master") == 1 and any(
            b"master_link_status:up" in _raw(node.ask("INFO", "replication")) for node in self.nodes
        )

    def knows_replica(self) -> bool:
        """Whether the Sentinel could fail over."""
        return len(self.sentinel.ask("SENTINEL", "REPLICAS", self.service)) == 1


@contextmanager
def watched(service: str = "portal") -> Iterator[Watched]:
    """A master with one replica and one Sentinel."""
    with directory() as made:
        first, second, third = free_ports(3)
        nodes = [
            Server(made / "first", first, ()),
            Server(made / "second", second, (f"replicaof 127.0.0.1 {first}",)),
        ]
        sentinel = Server(
            made / "sentinel",
            third,
            (
                f"sentinel monitor {service} 127.0.0.1 {first} 1",
                f"sentinel down-after-milliseconds {service} 500",
                f"sentinel failover-timeout {service} 2000",
            ),
            sentinel=True,
        )
        with servers(*nodes, sentinel):
            group = Watched(nodes, sentinel, service)
            until(group.replicated, "the replica is in step")
            until(group.knows_replica, "the Sentinel knows the replica")
            yield group


@contextmanager
def cluster(masters: int = 3, replicas: int = 0) -> Iterator[list[Server]]:
    """A Cluster of some masters; the last `replicas` nodes follow the first masters."""
    with directory() as made:
        count = masters + replicas
        ports = free_ports(2 * count)
        nodes = [
            Server(
                made / str(number),
                ports[number],
                (
                    "cluster-enabled yes",
                    f"cluster-port {ports[count + number]}",
                    "cluster-node-timeout 1000",
                    "cluster-replica-validity-factor 0",
                ),
            )
            for number in range(count)
        ]
        with servers(*nodes):
            for number, node in enumerate(nodes):
                node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                if number < masters:
                    low, high = number * 16384 // masters, (number + 1) * 16384 // masters - 1
                    node.ask("CLUSTER", "ADDSLOTSRANGE", low, high)
                if number:
                    node.ask("CLUSTER", "MEET", "127.0.0.1", ports[0], ports[count])
            until(lambda: all(_knows(node, count) for node in nodes), "every node knows every other")
            for number in range(masters, count):
                nodes[number].ask("CLUSTER", "REPLICATE", nodes[number - masters].ask("CLUSTER", "MYID"))
            until(lambda: all(b"cluster_state:ok" in _raw(node.ask("CLUSTER", "INFO")) for node in nodes), "it is up")
            yield nodes


def _knows(node: Server, count: int) -> bool:
    return b"cluster_known_nodes:%d\r" % count in _raw(node.ask("CLUSTER", "INFO"))


def _raw(answer: Any) -> bytes:
    """Undo what the library made of an answer."""
    if isinstance(answer, dict):
        return b"".join(f"{key}:{value}\r\n".encode() for key, value in answer.items())
    return answer if isinstance(answer, bytes) else str(answer).encode()
