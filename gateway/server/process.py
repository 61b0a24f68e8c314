"""One child process seen from the supervisor: started, asked, restarted when it ends unasked.

Keeps the counters of every life it had. When to start, to stop and what to ask is `supervisor`'s.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from gateway.exchange.errors import ConfigurationError
from gateway.exchange.metrics import Sample
from gateway.server.bundle import Bundle, Kind
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
    LastRequests,
    Prepare,
    Request,
    Serve,
    ShareLimits,
)
from gateway.server.telemetry import Retired

OPENSSL_RULES: Final = Path(__file__).with_name("openssl.cnf")
FIPS_SWITCH: Final = Path("/proc/sys/crypto/fips_enabled")
BOOT_TIMEOUT_S: Final = 60.0
"""A start takes a second or two; a machine that is far too busy must not make it a failure."""
PREPARE_TIMEOUT_S: Final = BOOT_TIMEOUT_S
"""Tens of thousands of routes take seconds to compile, and all processes do it at once, beside what they serve."""
_ASK_TIMEOUT_S: Final = 10.0
_DUMP_TIMEOUT_S: Final = 2.0
_KILL_WAIT_S: Final = 2.0
_GRACE_S: Final = 0.4
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0
_STABLE_S: Final = 30.0
"""A process that lived this long restarts at once again."""
_log = structlog.get_logger()


class ChildProcess:
    """A child and its successors. `keep_alive` restarts it until `drain`."""

    def __init__(self, name: str, kind: Kind, boot: Callable[[], Boot], *, interpreter: str = sys.executable) -> None:
        self._interpreter = interpreter
        self.name = name
        self.kind = kind
        self.restarts = 0
        self.is_ready = False
        self.health: dict[str, str] = {}
        """What the process said was wrong when it was last asked."""
        self.degraded: dict[str, str] = {}
        """What it said was out and does not keep it from serving."""
        self.running: str = ""
        """Digest of the bundle it runs on."""
        self._prepared: str = ""
        """Digest of the bundle that it built and does not run on yet."""
        self._is_preparing = False
        self._following = asyncio.Lock()
        self._boot = boot
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel | None = None
        self._stopping = False
        self._retired = Retired()
        self._last: list[Sample] = []

    @property
    def pid(self) -> int | None:
        """Process id while it lives."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start it and wait until it serves.

        Raises:
            ConfigurationError: it said why it cannot.
            ControlError: it ended or did not answer in time.

        """
        self._stopping = False
        boot = self._boot()
        inherited = [listener.fd for listener in boot.listeners] + ([boot.limits_fd] if boot.limits_fd >= 0 else [])
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                self._interpreter, "-I", "-m", "gateway.server.child", self.kind, str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL, pass_fds=(theirs.fileno(), *inherited), env=_environment(self.kind),
            )  # fmt: skip
        self._channel = await Channel.open(ours)
        try:
            reply = await self._channel.ask(boot, BOOT_TIMEOUT_S)
        except ControlError as error:
            await self.kill()
            raise ControlError(f"{self.name}: could not start: {error}") from error
        if isinstance(reply, Done) and reply.diagnostics:
            await self.kill()
            raise ConfigurationError(reply.diagnostics)
        self.running, self._prepared = boot.bundle.digest, ""
        self.is_ready = True

    async def keep_alive(self, bundle: Callable[[], Bundle]) -> None:
        """Wait for the end of the process, start its successor, for ever; returns after `drain` alone."""
        pause = 0.0
        while self._process:
            born = asyncio.get_running_loop().time()
            status = await self._process.wait()
            self._bury()
            if self._stopping:
                return
            self.restarts += 1
            _log.error("process.ended", name=self.name, status=status, restarts=self.restarts)
            lived = asyncio.get_running_loop().time() - born
            pause = _FIRST_PAUSE_S if lived > _STABLE_S else min(max(2 * pause, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            await asyncio.sleep(pause)
            try:
                await self.start()
                await self.follow(bundle())  # a reload may have passed it by
            except (ControlError, ConfigurationError, OSError) as error:
                _log.error("process.failed", name=self.name, reason=str(error))
                await self.kill()
            else:
                _log.info("process.restarted", name=self.name, pid=self.pid)

    async def prepare(self, bundle: Bundle) -> None:
        """Have it build a new bundle. Raises ConfigurationError with what it says, ControlError when it is gone."""
        self._is_preparing = True
        try:
            await self._ask(Prepare(bundle=bundle.narrow(self.kind)), PREPARE_TIMEOUT_S)
        finally:
            self._is_preparing = False
        self._prepared = bundle.digest

    async def follow(self, bundle: Bundle) -> None:
        """Have it swap in `bundle` if it has prepared it, and bring it there if it runs on another. Raises like `prepare`."""
        async with self._following:
            if self._prepared != bundle.digest:
                if self.running == bundle.digest:
                    return
                await self.prepare(bundle)  # it started meanwhile: what its predecessor had prepared is gone
            self._prepared = ""
            await self._ask(Commit())
            self.running = bundle.digest

    async def dump(self) -> list[Sample]:
        """Collect what it counted, earlier lives included; a process that does not answer gives its last numbers."""
        if self._is_preparing:  # it answers one after the other, and probes cannot wait for a large policy
            return self._retired.samples() + self._last
        if self._channel and (self.is_ready or (self._stopping and self.pid)):
            try:
                reply = await self._channel.ask(Dump(), _DUMP_TIMEOUT_S)
            except ControlError:
                self.health = {self.name: "does not answer"}
                if not self._stopping:
                    await self.kill()  # its channel is lost; its successor will answer
            else:
                if isinstance(reply, Dumped):
                    self._last, self.health, self.degraded = reply.samples, reply.health, reply.degraded
        return self._retired.samples() + self._last

    async def serve(self) -> None:
        """Have a reserve take the place of its predecessor. Raises like `prepare`."""
        await self._ask(Serve())

    async def share_limits(self, *, is_shared: bool) -> None:
        """Tell it whether others count limits in the same memory. Raises like `prepare`."""
        await self._ask(ShareLimits(is_shared=is_shared))

    async def last_requests(self) -> None:
        """Have it close each connection after the next answer. Raises like `prepare`."""
        await self._ask(LastRequests())

    async def hand_over(self, seconds: float) -> None:
        """End it so that another, told of by others, can go on within `seconds`; returns when it let everything go.

        Raises:
            ControlError: it did not say so; it is ended all the same.

        """
        self._stopping = True
        try:
            await self._ask(HandOver(seconds=seconds))
        finally:
            self.is_ready = False
            await self.kill(wait_s=_GRACE_S)

    async def drain(self, seconds: float, *, grace_s: float = _GRACE_S, keeps_idle: bool = False) -> None:
        """Have it finish what is open within `seconds` and then end; it is killed when it lives `grace_s` longer."""
        self._stopping = True
        self.is_ready = False
        await self._say(Drain(seconds=seconds, keeps_idle=keeps_idle))
        await self.kill(wait_s=seconds + grace_s)

    async def hurry(self, seconds: float) -> None:
        """Have the drain under way end after `seconds`, and see to it that it does."""
        await self._say(Drain(seconds=seconds))
        await self.kill(wait_s=seconds + _GRACE_S)

    async def _say(self, request: Request) -> None:
        if self._channel and self.pid:
            with suppress(ControlError):
                await self._channel.ask(request, _ASK_TIMEOUT_S)

    async def kill(self, *, wait_s: float = 0.0) -> None:
        """End it: after `wait_s` by SIGKILL. Unless it was drained, its successor comes."""
        process = self._process
        if process is None:
            return
        if wait_s:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await process.wait()
        if self._channel:
            self._channel.close()
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            with suppress(TimeoutError):
                async with asyncio.timeout(_KILL_WAIT_S):
                    await process.wait()

    async def _ask(self, request: Request, timeout_s: float = _ASK_TIMEOUT_S) -> None:
        if not self.is_ready or not self._channel:
            raise ControlError(f"{self.name} is not running")
        reply = await self._channel.ask(request, timeout_s)
        if isinstance(reply, Done) and reply.diagnostics:
            raise ConfigurationError(reply.diagnostics)

    def _bury(self) -> None:
        self.is_ready = False
        self.health = {}
        self.degraded = {}
        self._retired.add(self._last)
        self._last = []
        if self._channel:
            self._channel.close()


def _environment(kind: Kind) -> dict[str, str]:
    """Return the environment of a child: an edge has rules for OpenSSL that Python has no words for.

    The operator's own stay, and so do the system's on a machine in FIPS mode, which stand in the same file.
    """
    if kind != "edge" or _is_in_fips_mode():
        return dict(os.environ)
    return {"OPENSSL_CONF": str(OPENSSL_RULES)} | os.environ


def _is_in_fips_mode() -> bool:
    try:
        return FIPS_SWITCH.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False
