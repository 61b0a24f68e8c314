"""The first process of a gateway: starts the others, keeps them alive, reloads them and ends them.

It reads files, keeps the listening sockets and never sees a request. A reload is whole or not at
all: every process builds the new bundle before the first one swaps it in.
"""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import structlog

from gateway import __version__
from gateway.audit.protocol import DAEMON_SLOT, PAGES_SLOT
from gateway.exchange.errors import ConfigurationError, GatewayError
from gateway.exchange.metrics import Sample
from gateway.server.admin import AdminListener
from gateway.server.bundle import Kind
from gateway.server.control import LIMITS_BYTES, Boot, Channel, ControlError, Done, ListenerSocket, Reload
from gateway.server.lifecycle import LifecycleTrail
from gateway.server.listeners import Listeners, bind
from gateway.server.notify import notify
from gateway.server.process import ChildProcess
from gateway.server.run_directory import COMMANDS_NAME, PAGES_SOCKET_NAME, RunDirectory, is_trusted_peer
from gateway.server.settings import Settings
from gateway.server.telemetry import process_samples
from gateway.server.validate import Validated, read_and_validate
from gateway.store.sqlite import SQLiteStore

_WATCH_S: Final = 2.0
_STOP_S: Final = 9.3
"""When whatever still lives is killed: the whole tree ends within 10 s of SIGTERM."""
_PAGES_DRAIN_S: Final = 0.3
_AUDIT_CLOSE_S: Final = 3.0
"""For the last record, its sync and the last checkpoint; bounded by `_STOP_S` too."""
_MANY_FILES: Final = 1 << 20
_log = structlog.get_logger()


class Supervisor:
    """A running gateway, from the lock on its state directory to the end of its last process."""

    def __init__(self, path: Path, validated: Validated, *, progress: Callable[[str], None]) -> None:
        """Take the state directory, the ports and everything else that only one gateway can have.

        Raises:
            AlreadyRunningError: another gateway runs on the state directory.
            ConfigurationError: a port is taken, or the state directory cannot be used.
            StoreUnavailableError: the state cannot be used.
            KeyringError: the state was written under another keyring.

        """
        settings = validated.settings
        if validated.keyring is None:
            raise ConfigurationError(("the keyring is missing",))
        self.validated = validated
        self.is_started = False
        self.is_draining = False
        self._path = path
        self._progress = progress
        self._node = socket.gethostname()
        self._boot_id = secrets.token_hex(16)
        self._started = time.time()
        self._reloads = {"success": 0, "failure": 0}
        self._workers = settings.worker_count
        self._changing = asyncio.Lock()
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        with ExitStack() as held:
            self._directory = RunDirectory(settings.state_dir)
            held.callback(self._directory.release)
            self._listeners = Listeners(settings.listen, self._workers)
            held.callback(self._listeners.close)
            self._admin = AdminListener(bind("admin.address", settings.admin.address), settings.admin, self)
            held.callback(self._admin.close)
            self._pages_socket = held.enter_context(_listen_for_pages(self._directory.path / PAGES_SOCKET_NAME))
            self._limits_fd = _shared_memory()
            held.callback(os.close, self._limits_fd)
            # Kept open: SQLite removes its -wal and -shm files with the last connection, and confined
            # processes may write those two but not make them.
            store = SQLiteStore(settings.state_dir, validated.keyring, create=True)
            held.callback(store.close)
            self._held = held.pop_all()
        self._trail = LifecycleTrail(self._directory.path, node=self._node, boot_id=self._boot_id)
        self._audit = self._child("audit", "audit", DAEMON_SLOT)
        self._pages = self._child("pages", "pages", PAGES_SLOT)
        self._edges = [self._child(f"edge-{slot}", "edge", slot) for slot in range(self._workers)]

    @property
    def settings(self) -> Settings:
        """What the gateway runs on."""
        return self.validated.settings

    @property
    def children(self) -> list[ChildProcess]:
        """Every child, in the order in which they start."""
        return [self._audit, self._pages, *self._edges]

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain and end every process.

        Raises:
            ConfigurationError: a process said why it cannot start.
            ControlError: a process ended at its start without a word.

        """
        _allow_many_files()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._on_hangup(), "reload"))
        try:
            await self._admin.start()
            await self._until_stopped(self._start())
            if not self._stop.is_set():
                self._log_started()
                notify("READY=1")
                commands = await asyncio.start_unix_server(self._on_command, self._directory.path / COMMANDS_NAME)
                self._spawn(self._watch(), "watch")
                await self._stop.wait()
                commands.close()
        finally:
            await self._end()

    async def reload(self) -> tuple[str, ...]:
        """Read the configuration again and swap it in everywhere, or change nothing; returns what is wrong with it."""
        notify("RELOADING=1")
        async with self._changing:
            try:
                validated = await asyncio.to_thread(read_and_validate, self._path)
                _refuse_fixed(self.validated, validated)
                await self._swap(validated)
            except ConfigurationError as error:
                diagnostics = error.diagnostics
            except GatewayError as error:
                diagnostics = (str(error),)
            else:
                diagnostics = ()
        notify("READY=1")
        if diagnostics:
            self._reloads["failure"] += 1
            _log.error("policy.rejected", errors=list(diagnostics))
            await self._trail.record("gateway.reload_rejected", success=False, detail=diagnostics[0])
        else:
            self._reloads["success"] += 1
            _log.info(
                "policy.reloaded", policy=self.validated.table.version, configuration=self.validated.bundle.digest[:16]
            )
            await self._trail.record("gateway.reloaded", more=self._facts())
        return diagnostics

    async def problems(self) -> dict[str, str]:
        """Ask every process, and say what keeps the gateway from being ready, by subject; nothing when it is."""
        if self.is_started and not self.is_draining:
            await asyncio.gather(*(child.dump() for child in self.children))
        return self._known_problems()

    def _known_problems(self) -> dict[str, str]:
        if self.is_draining:
            return {"gateway": "is stopping"}
        if not self.is_started:
            return {"gateway": "is starting"}
        found = {}
        for child in self.children:
            if not child.is_ready:
                found[child.name] = "is not running; it is being restarted"
            elif child.running != self.validated.bundle.digest:
                found[child.name] = "runs on an earlier configuration"
            found |= {subject: sentence for subject, sentence in child.health.items() if sentence}
        now = time.time()
        for certificate in self.validated.certificates:
            if certificate.not_after <= now:
                found[f"certificate of {certificate.listener}"] = "has ended; browsers refuse it"
        return found

    async def samples(self) -> list[Sample]:
        """Collect what all processes counted, and what the supervisor itself knows."""
        dumps = await asyncio.gather(*(child.dump() for child in self.children))
        processes = [("supervisor", os.getpid()), *((child.name, child.pid) for child in self.children if child.pid)]
        return [sample for dump in dumps for sample in dump] + process_samples(processes) + self._own_samples()

    def _child(self, name: str, kind: Kind, slot: int) -> ChildProcess:
        return ChildProcess(name, kind, lambda: self._boot(kind, slot))

    def _boot(self, kind: Kind, slot: int) -> Boot:
        listeners: tuple[ListenerSocket, ...] = ()
        if kind == "edge":
            listeners = self._listeners.of_worker(slot)
        elif kind == "pages":
            path = self._pages_socket.getsockname()
            listeners = (ListenerSocket(fd=self._pages_socket.fileno(), kind="pages", address=path),)
        return Boot(
            kind=kind,
            slot=slot,
            workers=self._workers,
            listeners=listeners,
            bundle=self.validated.bundle.narrow(kind),
            state_dir=str(self._directory.state_dir),
            run_dir=str(self._directory.path),
            limits_fd=self._limits_fd if kind == "edge" else -1,
            node=self._node,
            boot_id=self._boot_id,
            version=__version__,
        )

    async def _start(self) -> None:
        """Start everything: no edge before the audit trail, because nothing is answered without it."""
        self._progress("starting the audit trail and the pages")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._start_audit())
            group.create_task(self._start_child(self._pages))
        self._progress(f"starting {self._workers} edge processes")
        async with asyncio.TaskGroup() as group:
            for child in self._edges:
                group.create_task(self._start_child(child))
        self.is_started = True

    async def _start_audit(self) -> None:
        await self._start_child(self._audit)
        await self._trail.start()
        await self._trail.record("gateway.started", more=self._facts())

    async def _start_child(self, child: ChildProcess) -> None:
        await child.start()
        self._spawn(child.keep_alive(lambda: self.validated.bundle), f"keep {child.name}")

    async def _until_stopped(self, starting: Coroutine[None, None, None]) -> None:
        """Run the start, and give it up when a stop comes first."""
        start = asyncio.ensure_future(starting)
        stop = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not start.done():
            start.cancel()
        with suppress(asyncio.CancelledError):
            try:
                await start
            except* GatewayError as errors:
                raise _first(errors) from None

    async def _swap(self, validated: Validated) -> None:
        """Have every process prepare the bundle, then every process swap it in (two phases: a refusal changes nothing)."""
        bundle = validated.bundle
        ready = [child for child in self.children if child.is_ready]
        prepared = await asyncio.gather(*(child.prepare(bundle) for child in ready), return_exceptions=True)
        refusals = [error for error in prepared if isinstance(error, ConfigurationError)]
        if refusals:
            raise refusals[0]
        self.validated = validated
        committed = await asyncio.gather(*(child.commit(bundle) for child in ready), return_exceptions=True)
        for child, outcome in zip(ready, committed, strict=True):
            if isinstance(outcome, BaseException):
                _log.error("process.left_behind", name=child.name, reason=str(outcome))
                await child.kill()  # its successor starts on the new bundle

    async def _watch(self) -> None:
        """Ask every process how it is, for ever: counters of a process that crashes are at most this old."""
        while True:
            await asyncio.gather(*(child.dump() for child in self.children))
            await asyncio.sleep(_WATCH_S)

    async def _end(self) -> None:
        """Drain the edges, then the pages, then the audit trail; kill what is left."""
        self.is_draining = True
        notify("STOPPING=1")
        for task in self._tasks:
            task.cancel()
        self._listeners.close()  # workers hold their own: they take what is queued, and new connections are refused
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await asyncio.gather(*(edge.drain(self.settings.http.drain_timeout) for edge in self._edges))
                await self._pages.drain(_PAGES_DRAIN_S)
                if self._audit.is_ready:
                    await self._trail.record("gateway.stopped", more=self._facts())
                await self._trail.stop()
                await self._audit.drain(0, grace_s=_AUDIT_CLOSE_S)
        await asyncio.gather(*(child.kill() for child in self.children))
        await self._admin.stop()
        self._held.close()
        if self.is_started:
            _log.info("gateway.stopped")

    def _on_stop(self) -> None:
        if self._stop.is_set():  # asked twice: now
            for child in self.children:
                if child.pid:
                    os.kill(child.pid, signal.SIGKILL)
        self._stop.set()

    async def _on_hangup(self) -> None:
        await self.reload()

    async def _on_command(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer `gateway reload`."""
        channel = Channel(reader, writer)
        connection: socket.socket = writer.get_extra_info("socket")
        try:
            if is_trusted_peer(connection) and isinstance(await channel.next_request(), Reload):
                await channel.reply(Done(diagnostics=await self.reload()))
        except ControlError:
            pass  # the caller went away; the log has the outcome
        finally:
            channel.close()

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            _log.error("supervisor.task_failed", task=task.get_name(), exc_info=task.exception())

    def _facts(self) -> dict[str, object]:
        """List what an auditor wants to know about a start or a reload."""
        return {
            "configuration": self.validated.bundle.digest,
            "policy": self.validated.table.version,
            "profile": self.settings.profile,
            "unsafe": self.settings.warnings(),
            "workers": self._workers,
        }

    def _log_started(self) -> None:
        for warning in self.validated.warnings:
            _log.warning("configuration.weak", text=warning)
        _log.info(
            "gateway.started",
            version=__version__,
            public_url=str(self.settings.public_url),
            listen=[str(listener.address) for listener in self.settings.listen],
            admin=str(self.settings.admin.address),
            workers=self._workers,
            policy=self.validated.table.version,
            seconds=round(time.time() - self._started, 2),
        )
        self._progress("")

    def _own_samples(self) -> list[Sample]:
        ready = not self._known_problems()
        return [
            _gauge("gateway_build_info", "Version of the gateway.", ("version",), {(__version__,): 1}),
            _gauge(
                "gateway_policy_info",
                "Version of the policy in force.",
                ("policy",),
                {(self.validated.table.version,): 1},
            ),
            _gauge("gateway_ready", "1 while the gateway is ready.", (), {(): ready}),
            _gauge(
                "gateway_start_time_seconds", "When the gateway was started, unix seconds.", (), {(): self._started}
            ),
            _gauge(
                "gateway_process_up",
                "1 while a process serves.",
                ("process",),
                {(child.name,): child.is_ready for child in self.children},
            ),
            _gauge(
                "gateway_certificate_expiry_timestamp_seconds",
                "When the certificate of a listener ends, unix seconds.",
                ("listener",),
                {(certificate.listener,): certificate.not_after for certificate in self.validated.certificates},
            ),
            _gauge(
                "gateway_unsafe_switches",
                "Switches of gateway.yaml that weaken the gateway.",
                ("switch",),
                {(switch.partition(": ")[0],): 1 for switch in self.settings.warnings()},
            ),
            Sample(
                name="gateway_process_restarts_total",
                kind="counter",
                help="Times a process ended unasked.",
                labels=("process",),
                values=[((child.name,), float(child.restarts)) for child in self.children],
            ),
            Sample(
                name="gateway_policy_reloads_total",
                kind="counter",
                help="Reloads of the configuration.",
                labels=("result",),
                values=[((result,), float(count)) for result, count in self._reloads.items()],
            ),
        ]


def _refuse_fixed(old: Validated, new: Validated) -> None:
    """Refuse what a running gateway cannot change, rather than accept it without effect."""
    before, after = old.settings, new.settings
    fixed = [
        (
            "listen",
            [(item.address, item.kind) for item in before.listen],
            [(item.address, item.kind) for item in after.listen],
        ),
        ("admin", before.admin, after.admin),
        ("workers", before.workers, after.workers),
        ("state_dir", before.state_dir, after.state_dir),
        ("logging", before.logging, after.logging),
        ("http.handshake_timeout", before.http.handshake_timeout, after.http.handshake_timeout),
        ("audit.keys", old.bundle.audit_keys, new.bundle.audit_keys),
    ]
    changed = [name for name, was, is_now in fixed if was != is_now]
    if changed:
        raise ConfigurationError(
            tuple(f"{name}: changed; this needs a restart of the gateway, nothing was reloaded" for name in changed)
        )


def _first(errors: BaseExceptionGroup[GatewayError]) -> GatewayError:
    for error in errors.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise ValueError("an exception group is never empty")


def _gauge(name: str, text: str, labels: tuple[str, ...], values: dict[tuple[str, ...], float]) -> Sample:
    pairs = [(key, float(value)) for key, value in values.items()]
    return Sample(name=name, kind="gauge", help=text, labels=labels, values=pairs)


def _allow_many_files() -> None:
    """Raise the limit on open files as far as the system allows; every process inherits it, every connection needs two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY_FILES if hard == resource.RLIM_INFINITY else min(hard, _MANY_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _shared_memory() -> int:
    """Make the zeroed memory in which all edges count limits."""
    descriptor = os.memfd_create("gateway-limits", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, LIMITS_BYTES)
    return descriptor


def _listen_for_pages(path: Path) -> socket.socket:
    """Bind the socket of the pages; the supervisor keeps it over their restarts, in a directory that is ours alone."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.bind(str(path))
    sock.listen(1024)
    sock.settimeout(0)
    return sock
