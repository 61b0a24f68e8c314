"""Receivers of audit records: real servers where there are any, each asked afterwards what it has stored.

rsyslog (Debian), Apache Kafka in KRaft mode (Maven Central), moto's S3 server, an aiohttp application, and a small
`_bulk` for Elasticsearch.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import boto3
import trustme
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from moto.server import ThreadedMotoServer

from tests.machine import cannot_run, free_ports

WAIT_S: Final = 60.0
KAFKA_PASSWORD: Final = "correct-horse-battery"
_SYSLOG_DATA: Final = re.compile(rb'\[audit@32473 origin="([^"]*)" index="([0-9]+)"\]\t(.*)')

Copy = tuple[str, int, bytes]
"""Origin, index and line of a record, as a receiver has it."""


def until(true: Callable[[], bool], what: str) -> None:
    """Wait until something is so, and fail when it does not become so."""
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.05)


def copy_of(line: bytes) -> Copy:
    """Read where a record says that it is from."""
    gw = json.loads(line)["unmapped"]["gw"]
    return gw["origin"], gw["log_index"], line


class Authority:
    """Certificates for 127.0.0.1, good and expired."""

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / "ca.pem"
        self._authority.cert_pem.write_to_path(self.path)
        self.pem = self._authority.cert_pem.bytes()
        self.server = self._authority.issue_cert("127.0.0.1", "localhost")
        self.client = self._authority.issue_cert("gateway@example.com")
        self.certificate, self.key = directory / "server.pem", directory / "server.key"
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in self.server.cert_chain_pems))
        self.server.private_key_pem.write_to_path(self.key)

    def server_context(self, *, expired: bool = False) -> ssl.SSLContext:
        """Return the server's side of TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if expired:
            import datetime as dt

            past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
            self._authority.issue_cert("127.0.0.1", not_after=past).configure_cert(context)
        else:
            self.server.configure_cert(context)
        return context

    def client_context(self, *, certificate: bool = False) -> ssl.SSLContext:
        """Return the client's side, which trusts this authority alone."""
        context = ssl.create_default_context(cafile=str(self.path))
        if certificate:
            self.client.configure_cert(context)
        return context


class WebReceiver:
    """An aiohttp application that stores bodies, and answers what it is told to."""

    def __init__(self, tls: ssl.SSLContext | None = None, *, port: int = 0) -> None:
        self._tls = tls
        self.port = port
        self.requests: list[tuple[dict[str, str], bytes]] = []
        """Fields and body of everything that was stored."""
        self.status = 200
        self.refuses: Callable[[bytes], bool] = lambda _line: False
        """Lines that it never takes: the answer is 400, and nothing of the body is stored."""
        self.headers: dict[str, str] = {}
        self.asked = 0
        self._runner: web.AppRunner | None = None
        self._lines: set[Any] = set()

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=64 << 20)
        application.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
        for line in self._lines:
            line.abort()  # to close is to wait for the client's end of TLS
        while any(not line.is_closing() for line in self._lines):
            await asyncio.sleep(0.01)
        self._lines.clear()
        await asyncio.sleep(0)

    def copies(self) -> list[Copy]:
        """Return every record it has, as often as it has it."""
        return [copy_of(line) for _, body in self.requests for line in body.splitlines()]

    async def _take(self, request: web.Request) -> web.Response:
        self._lines.add(request.transport)
        body = await request.read()
        if request.method != "POST":
            return self._show(request)
        self.asked += 1
        if self.status != 200:
            return web.Response(status=self.status, headers=self.headers)
        if any(self.refuses(line) for line in body.splitlines()):
            return web.Response(status=400)
        return self._store(request, body)

    def _show(self, request: web.Request) -> web.Response:
        return web.Response(status=405)

    def _store(self, request: web.Request, body: bytes) -> web.Response:
        self.requests.append((dict(request.headers), body))
        return web.Response(status=204)


class BulkReceiver(WebReceiver):
    """What Elasticsearch does with `_bulk` and `op_type=create`, and nothing else of it."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.documents: dict[str, bytes] = {}

    def copies(self) -> list[Copy]:
        """Return every document."""
        found = []
        for name, line in self.documents.items():
            origin, _, index = name.rpartition("#")
            found.append((origin, int(index), line))
        return found

    def _show(self, request: web.Request) -> web.Response:
        assert (request.method, request.path) == ("GET", "/")
        return web.json_response({"version": {"number": "8.17.0"}})

    def _store(self, request: web.Request, body: bytes) -> web.Response:
        assert request.path == "/_bulk"
        items = []
        lines = body.splitlines()
        for action, line in zip(lines[::2], lines[1::2], strict=True):
            name = json.loads(action)["create"]["_id"]
            if b'"refuse me"' in line:
                items.append({"create": {"_id": name, "status": 400, "error": {"type": "document_parsing_exception"}}})
            elif name in self.documents:
                items.append({"create": {"_id": name, "status": 409, "error": {"type": "version_conflict"}}})
            else:
                self.documents[name] = line
                items.append({"create": {"_id": name, "status": 201}})
        return web.json_response({"errors": any("error" in item["create"] for item in items), "items": items})


class Rsyslog:
    """A real rsyslogd: TLS, asks for a client certificate, writes one line a message."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.port = free_ports(1)[0]
        self._directory = directory
        self.output = directory / "received.log"
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self._conf = directory / "rsyslog.conf"
        self._conf.write_text(
            f"""
global(workDirectory="{directory}" maxMessageSize="128k" defaultNetstreamDriver="ossl"
  defaultNetstreamDriverCAFile="{authority.path}" defaultNetstreamDriverCertFile="{authority.certificate}"
  defaultNetstreamDriverKeyFile="{authority.key}")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
template(name="line" type="string" string="%structured-data%\\t%msg%\\n")
input(type="imtcp" address="127.0.0.1" port="{self.port}" ruleset="store")
ruleset(name="store") {{ action(type="omfile" file="{self.output}" template="line" asyncWriting="off") }}
"""
        )

    def start(self) -> None:
        """Start, and return when it listens."""
        program = shutil.which("rsyslogd", path=os.environ["PATH"] + ":/usr/sbin")
        if program is None or not Path("/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_ossl.so").exists():
            cannot_run("rsyslogd with its OpenSSL driver is not installed; run tests/install-packages")
        with (self._directory / "out").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-n", "-f", str(self._conf), "-i", str(self._directory / "pid")], stdout=log, stderr=log
            )
        until(lambda: _listens(self.port), f"rsyslogd listens: {(self._directory / 'out').read_text()[-800:]}")

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def copies(self) -> list[Copy]:
        """Return every message."""
        found = []
        content = self.output.read_bytes() if self.output.exists() else b""
        for line in content.splitlines():
            match = _SYSLOG_DATA.fullmatch(line)
            if match is not None:
                found.append((match[1].decode(), int(match[2]), match[3].removeprefix(b" ")))
        return found


class KafkaBroker:
    """A real Apache Kafka of one node, without ZooKeeper. Clients come through `public_port`, over TLS with a password."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.port, self.public_port, self.plain_port, controller = free_ports(4)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        keystore = directory / "keystore.pem"
        key = load_pem_private_key(authority.key.read_bytes(), password=None)
        keystore.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + authority.certificate.read_bytes()
        )
        lines = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAIN",
            "listeners": f"PUBLIC://127.0.0.1:{self.port},PLAIN://127.0.0.1:{self.plain_port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PUBLIC://127.0.0.1:{self.public_port},PLAIN://127.0.0.1:{self.plain_port}",
            "listener.security.protocol.map": "PUBLIC:SASL_SSL,PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "listener.name.public.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.public.plain.sasl.jaas.config": (
                f'org.apache.kafka.common.security.plain.PlainLoginModule required user_gateway="{KAFKA_PASSWORD}";'
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(keystore),
            "log.dirs": str(directory / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "num.network.threads": "1",
            "num.io.threads": "2",
            "group.initial.rebalance.delay.ms": "0",
        }
        self._conf = directory / "server.properties"
        self._conf.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))

    def start(self) -> None:
        """Start, and return when it listens."""
        jars = kafka_jars()
        java = shutil.which("java")
        if java is None or jars is None:
            cannot_run("Apache Kafka or a Java to run it is not there; run tests/install-packages")
        command = [java, "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{jars}/*"]
        with (self._directory / "out").open("ab") as log:
            if not (self._directory / "data").exists():
                subprocess.run(
                    [
                        *command,
                        "kafka.tools.StorageTool",
                        "format",
                        "-t",
                        "4L6g3nShT-eMCtK--X86sw",
                        "-c",
                        str(self._conf),
                    ],
                    check=True,
                    stdout=log,
                    stderr=log,
                )
            self._process = subprocess.Popen([*command, "kafka.Kafka", str(self._conf)], stdout=log, stderr=log)
        until(
            lambda: _listens(self.port) and _listens(self.plain_port),
            f"Kafka listens; {self._directory / 'out'} says why not",
        )

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(20)
            self._process = None

    async def messages(self, topic: str) -> list[Any]:
        """Return every message of a topic, in order of its partitions."""
        from aiokafka import AIOKafkaConsumer, TopicPartition

        consumer = AIOKafkaConsumer(
            bootstrap_servers=f"127.0.0.1:{self.plain_port}", auto_offset_reset="earliest", enable_auto_commit=False
        )
        await consumer.start()
        found: list[Any] = []
        try:
            partitions = [TopicPartition(topic, number) for number in await _partitions(consumer, topic)]
            if not partitions:
                return []
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
                for messages in (await consumer.getmany(timeout_ms=500)).values():
                    found += messages
        finally:
            await consumer.stop()
        return found


async def _partitions(consumer: Any, topic: str) -> list[int]:
    await consumer._client._wait_on_metadata(topic)
    return sorted(consumer.partitions_for_topic(topic) or ())


def kafka_jars() -> Path | None:
    """Return where tests/install-packages put the broker."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gateway-tests" / "kafka"
    return cache if any(cache.glob("kafka_2.13-*.jar")) else None


class S3Store:
    """moto's S3 server, with one bucket that locks objects. Its buckets are those of the process: each has its own."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]
        self.bucket = f"evidence-{self.port}"
        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            region_name="eu-central-1",
        )
        self.client.create_bucket(
            Bucket=self.bucket,
            ObjectLockEnabledForBucket=True,
            CreateBucketConfiguration={"LocationConstraint": "eu-central-1"},
        )

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of all objects."""
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix)
        return [entry["Key"] for entry in found.get("Contents", ())]

    def body(self, name: str) -> bytes:
        """Return an object."""
        content: bytes = self.client.get_object(Bucket=self.bucket, Key=name)["Body"].read()
        return content

    def copies(self, prefix: str = "") -> list[Copy]:
        """Return every record in every object."""
        names = [name for name in self.names(prefix) if "records/" in name]
        return [copy_of(line) for name in names for line in self.body(name).splitlines()]

    def stop(self) -> None:
        """End it."""
        self.client.close()
        self._server.stop()


@contextmanager
def started(server: Rsyslog | KafkaBroker) -> Iterator[Any]:
    """Start a server, and end it."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


async def eventually(found: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until something is so, and fail when it does not become so."""
    deadline = time.monotonic() + WAIT_S
    while not await found():
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.05)


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
