"""A witness as a process of its own, and as a part of a node: its key, its state and its listener put together.

What it decides is `witness`'s; this module reads files, binds addresses and waits for the end.
"""

from __future__ import annotations

import asyncio
import signal
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from gateway.audit.cosignature import Cosigner
from gateway.exchange.errors import ConfigurationError
from gateway.exchange.metrics import Registry
from gateway.server.fields import Address
from gateway.server.listeners import bind
from gateway.server.sections.witness import WitnessServer
from gateway.server.telemetry import CONTENT_TYPE, render
from gateway.server.tls import memory_file
from gateway.server.witness_settings import WitnessSettings
from gateway.witness.keys import load
from gateway.witness.listener import WitnessListener
from gateway.witness.service import ServiceMetrics, Witness
from gateway.witness.store import WitnessStore

_LISTENER: Final = "listen"
_log = structlog.get_logger()


class WitnessService:
    """A witness with its listener: started, stopped, asked for its numbers."""

    def __init__(
        self,
        settings: WitnessServer,
        state_dir: Path,
        *,
        cosigner: Cosigner,
        tls: ssl.SSLContext | None,
        metrics: ServiceMetrics,
    ) -> None:
        self.settings = settings
        store = WitnessStore(state_dir, cosigner.key)
        self.witness = Witness(cosigner, settings.logs, store, time.time, metrics)
        self._tls = tls
        self._listener: WitnessListener | None = None

    async def start(self) -> None:
        """Take the state and begin to answer. Raises `GatewayError`: nothing was begun then."""
        settings = self.settings
        self.witness.start()
        try:
            sock = bind(_LISTENER, settings.listen)
        except ConfigurationError:
            self.witness.stop()
            raise
        sock.setblocking(False)  # noqa: FBT003 - a positional-only parameter
        self._listener = WitnessListener(
            self.witness, sock, self._tls, rate_per_s=settings.rate, burst=settings.burst, clock=time.time
        )
        await self._listener.start()
        _log.info("witness.started", key=str(self.witness.key), listen=str(settings.listen), logs=len(settings.logs))

    async def stop(self) -> None:
        """Answer nothing any more and let the state go."""
        if self._listener is not None:
            await self._listener.stop()
        self.witness.stop()


def server_context(settings: WitnessServer) -> ssl.SSLContext | None:
    """Build the TLS of the listener from its files; None = plain HTTP. Raises `ConfigurationError`, naming the files."""
    if settings.tls is None:
        return None
    try:
        return tls_context(settings.tls.certificate.read_bytes(), settings.tls.key.read_bytes())
    except OSError as error:
        raise ConfigurationError((f"{error.filename}: {(error.strerror or '').lower()}",)) from error
    except ValueError as error:
        raise ConfigurationError((f"{settings.tls.certificate}, {settings.tls.key}: {error}",)) from error


def tls_context(chain: bytes, key: bytes) -> ssl.SSLContext:
    """Build TLS from a chain and its key, PEM. Raises `ValueError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        with memory_file(chain) as chain_path, memory_file(key) as key_path:
            context.load_cert_chain(chain_path, key_path, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        raise ValueError("not a certificate with its key, PEM") from error
    return context


async def run_witness(settings: WitnessSettings, *, on_ready: Callable[[], None] = lambda: None) -> None:
    """Be a witness until SIGTERM or Ctrl-C. Raises `GatewayError` when it cannot begin."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    registry = Registry()
    service = WitnessService(
        settings,
        settings.state_dir,
        cosigner=load(settings.key),
        tls=server_context(settings),
        metrics=ServiceMetrics(registry),
    )
    await service.start()
    metrics = _Metrics(service.witness, registry, settings.metrics) if settings.metrics else None
    try:
        if metrics is not None:
            await metrics.start()
        on_ready()
        await ended.wait()
    finally:
        if metrics is not None:
            await metrics.stop()
        await service.stop()
    _log.info("witness.stopped")


class _Metrics:
    """`/metrics` of a witness that runs alone."""

    def __init__(self, witness: Witness, registry: Registry, address: Address) -> None:
        self._witness = witness
        self._registry = registry
        self._address = address
        application = web.Application(client_max_size=1024)
        application.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> None:
        sock = bind("metrics", self._address)
        sock.setblocking(False)  # noqa: FBT003 - a positional-only parameter
        await self._runner.setup()
        await web.SockSite(self._runner, sock).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, _request: web.Request) -> web.Response:
        self._witness.measure()
        return web.Response(body=render(self._registry.dump()), headers={"Content-Type": CONTENT_TYPE})
