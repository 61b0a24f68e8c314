"""A witness as a process of its own, and as a part of a node: its key, its state and its listener put together.

What it decides is `witness`'s; this module reads files, binds addresses and waits for the end.
"""

from __future__ import annotations

import asyncio
import signal
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from gateway.exchange.errors import ConfigurationError
from gateway.exchange.metrics import Sample
from gateway.server.listeners import bind
from gateway.server.sections.witness import WitnessServer
from gateway.server.telemetry import CONTENT_TYPE, render
from gateway.server.witness_settings import WitnessSettings
from gateway.witness.keys import load
from gateway.witness.listener import WitnessListener
from gateway.witness.service import Witness
from gateway.witness.store import WitnessStore

_LISTENER: Final = "listen"
_log = structlog.get_logger()


class WitnessService:
    """A witness with its listener: started, stopped, asked for its numbers."""

    def __init__(self, settings: WitnessServer, state_dir: Path) -> None:
        self.settings = settings
        cosigner = load(settings.key)
        self.witness = Witness(cosigner, settings.logs, WitnessStore(state_dir, cosigner.key), time.time)
        self._listener: WitnessListener | None = None

    async def start(self) -> None:
        """Take the state and begin to answer. Raises `GatewayError`: nothing was begun then."""
        settings = self.settings
        tls = server_context(settings)
        self.witness.start()
        try:
            sock = bind(_LISTENER, settings.listen)
        except ConfigurationError:
            self.witness.stop()
            raise
        sock.setblocking(False)  # noqa: FBT003 - a positional-only parameter
        self._listener = WitnessListener(
            self.witness, sock, tls, rate_per_s=settings.rate, burst=settings.burst, clock=time.time
        )
        await self._listener.start()
        _log.info("witness.started", key=str(self.witness.key), listen=str(settings.listen), logs=len(settings.logs))

    async def stop(self) -> None:
        """Answer nothing any more and let the state go."""
        if self._listener is not None:
            await self._listener.stop()
        self.witness.stop()

    def samples(self) -> list[Sample]:
        """Return everything counted so far."""
        return self.witness.samples()


def server_context(settings: WitnessServer) -> ssl.SSLContext | None:
    """Build the TLS of the listener; None = plain HTTP. Raises `ConfigurationError`, naming the files."""
    if settings.tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls.certificate, settings.tls.key, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or "not a certificate with its key, PEM"
        raise ConfigurationError((f"{settings.tls.certificate}, {settings.tls.key}: {reason.lower()}",)) from error
    return context


async def run_witness(settings: WitnessSettings, *, on_ready: Callable[[], None] = lambda: None) -> None:
    """Be a witness until SIGTERM or Ctrl-C. Raises `GatewayError` when it cannot begin."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    service = WitnessService(settings, settings.state_dir)
    await service.start()
    metrics = _Metrics(service.samples, settings) if settings.metrics else None
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

    def __init__(self, samples: Callable[[], Sequence[Sample]], settings: WitnessSettings) -> None:
        self._samples = samples
        self._settings = settings
        application = web.Application(client_max_size=1024)
        application.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(application, access_log=None)

    async def start(self) -> None:
        if self._settings.metrics is None:
            return
        sock = bind("metrics", self._settings.metrics)
        sock.setblocking(False)  # noqa: FBT003 - a positional-only parameter
        await self._runner.setup()
        await web.SockSite(self._runner, sock).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, _request: web.Request) -> web.Response:
        return web.Response(body=render(self._samples()), headers={"Content-Type": CONTENT_TYPE})
