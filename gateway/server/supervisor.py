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
from typing import Any, Final

import structlog

from gateway import __version__
from gateway.audit.protocol import CUSTODIAN_SLOT, DAEMON_SLOT, PAGES_SLOT, SHIPPING_SLOT, SUPERVISOR_SLOT
from gateway.exchange.errors import ConfigurationError, GatewayError
from gateway.exchange.metrics import Sample
from gateway.exchange.stream import STREAMS
from gateway.server import commands
from gateway.server.admin import AdminListener
from gateway.server.bundle import Bundle, Kind
from gateway.server.control import (
    LIMITS_BYTES,
    LIMITS_LAYOUT,
    Boot,
    Channel,
    ControlError,
    Done,
    ListenerSocket,
    Reload,
    Upgrade,
)
from gateway.server.keeper import FORWARDED, become_keeper
from gateway.server.lifecycle import LifecycleTrail
from gateway.server.listeners import Listeners, bind
from gateway.server.notify import notify
from gateway.server.predecessor import Predecessor
from gateway.server.process import ChildProcess
from gateway.server.reload_note import drop_reload_note, write_reload_note
from gateway.server.reloading import AskedBy, Reloads, content, policy_facts, policy_samples, reload_facts
from gateway.server.run_directory import COMMANDS_NAME, PAGES_SOCKET_NAMES, RunDirectory, is_trusted_peer
from gateway.server.settings import MAX_WORKERS, Settings
from gateway.server.state import erase_again, open_state, redis_options, try_redis
from gateway.server.state_reserve import StateReserve
from gateway.server.successor import LOG_WAIT_S, Program, Successor
from gateway.server.takeover import Counted, Descriptors, Estate, Finish, Ready, TakeOverError
from gateway.server.telemetry import Outcomes, Retired, process_samples
from gateway.server.validate import Validated, read_and_validate
from gateway.server.watch import Watch

_WATCH_S: Final = 2.0
_STOP_S: Final = 9.3
"""When whatever still lives is killed: the whole tree ends within 10 s of SIGTERM."""
_PAGES_DRAIN_S: Final = 0.3
_LOOK_S: Final = 1.0
"""How often the files of the configuration are looked at; more often where they need not rest that long."""
_LEAST_LOOK_S: Final = 0.1
_HEALTH_WAIT_S: Final = 5.0
_HEALTH_POLL_S: Final = 0.01
_TURN_S: Final = 0.01
"""The loop has called every handler of a signal that was there before."""
_RESTART: Final = "this needs a restart of the gateway"
_UPGRADE: Final = "gateway upgrade applies it without dropping a request"
_AUDIT_CLOSE_S: Final = 3.0
"""For the last record, its sync and the last checkpoint; bounded by `_STOP_S` too."""
_MANY_FILES: Final = 1 << 20
_BUILDS_NOTHING: Final[frozenset[Kind]] = frozenset({"audit", "custodian"})
"""A bundle cannot end the first: its keys never change while it runs. Nobody waits for the second."""
_CUSTODY_DRAIN_S: Final = 0.3
_RELOAD: Final = "reload"
"""Name of every task that reloads or waits for it."""
_log = structlog.get_logger()


class Supervisor:
    """A running gateway, from the lock on its state directory to the end of its last process, or to its successor."""

    def __init__(
        self,
        path: Path,
        validated: Validated,
        *,
        progress: Callable[[str], None],
        predecessor: Predecessor | None = None,
    ) -> None:
        """Take the state directory, the ports and everything else that only one gateway can have.

        What a predecessor has is shared with it until it lets go.

        Raises:
            AlreadyRunningError: another gateway runs on the state directory.
            ConfigurationError: a port is taken, or the state directory cannot be used.
            StoreUnavailableError: the state cannot be used.
            KeyringError: the state was written under another keyring.

        """
        settings = validated.settings
        if validated.keyring is None:
            raise ConfigurationError(("the keyring is missing",))
        if validated.audit_keys is None:
            raise ConfigurationError(("the audit keys are missing",))
        self.validated = validated
        self._badge = validated.audit_keys.badge
        self._inquiry_badge = validated.audit_keys.inquiry_badge()
        self.is_started = False
        self.is_draining = False
        self._path = path
        self._program = Program(path)
        self._progress = progress
        self._predecessor = predecessor
        estate = predecessor.estate if predecessor else None
        if estate and estate.state_dir != str(settings.state_dir):
            raise ConfigurationError(
                (
                    f"state_dir: changed; an upgrade goes on with {estate.state_dir}: stop the gateway and start it again",
                )
            )
        self._generation = estate.generation if estate else 0
        self._node = socket.gethostname()
        self._boot_id = estate.boot_id if estate else secrets.token_hex(16)
        self._started = time.time()
        self._reloads = Reloads(estate.reloads if estate else {})
        self._next_reload: asyncio.Task[tuple[str, ...]] | None = None
        """Asked for, and waits for the one that is under way."""
        self._upgrades = Outcomes(estate.upgrades if estate else {})
        self._workers = settings.worker_count
        self._changing = asyncio.Lock()
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._commands: asyncio.Server | None = None
        self._candidate: Successor | None = None
        self._successor: Successor | None = None
        self._retired = Retired()
        self._has_log = predecessor is None
        self._is_serving = predecessor is None
        self._keeper: tuple[int, int] | None = None
        """Both ends of the pipe to the keeper that this process will be, once it has handed over."""
        with ExitStack() as held:
            self._directory = RunDirectory(settings.state_dir, lock=predecessor.lock if predecessor else -1)
            held.callback(self._directory.release)
            if predecessor is None:
                drop_reload_note(self._directory.path)
            self._listeners = Listeners(
                settings.listen, self._workers, predecessor.listeners() if predecessor else None
            )
            held.callback(self._listeners.close)
            address = settings.admin.address
            inherited = predecessor.admin(str(address)) if predecessor else None
            self._admin_socket = inherited or bind("admin.address", address)
            self._admin = AdminListener(self._admin_socket, settings.admin, self)
            held.callback(self._admin.close)
            name = PAGES_SOCKET_NAMES[self._generation % len(PAGES_SOCKET_NAMES)]
            self._pages_socket = held.enter_context(_listen_for_pages(self._directory.path / name))
            self._limits_fd = predecessor.limits(LIMITS_LAYOUT) if predecessor else -1
            if self._limits_fd < 0:
                self._limits_fd = _shared_memory()
            held.callback(os.close, self._limits_fd)
            # Kept open: SQLite removes its -wal and -shm files with the last connection, and confined
            # processes may write those two but not make them.
            redis = redis_options(settings, validated.bundle.secrets)
            self._state_warnings = [f"state: {warning}" for warning in try_redis(redis)] if redis else []
            store = open_state(settings, validated.keyring, redis, create=True)
            held.callback(store.close)
            erase_again(settings, validated.keyring, store)
            self._state_reserve = StateReserve(store)
            self._held = held.pop_all()
        self._trail = LifecycleTrail(
            self._directory.path, badge=self._badge(SUPERVISOR_SLOT), node=self._node, boot_id=self._boot_id
        )
        self._audit = self._child("audit", "audit", DAEMON_SLOT)
        self._custodian = self._child("custodian", "custodian", CUSTODIAN_SLOT)
        self._pages = self._child("pages", "pages", PAGES_SLOT)
        first = self._generation % 2 * MAX_WORKERS  # those of the predecessor still write with theirs
        self._edges = [self._child(f"edge-{worker}", "edge", first + worker, worker) for worker in range(self._workers)]

    @property
    def settings(self) -> Settings:
        """What the gateway runs on."""
        return self.validated.settings

    @property
    def children(self) -> list[ChildProcess]:
        """Every child, in the order in which they start."""
        return [self._audit, self._custodian, self._pages, *self._edges]

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, or until a successor serves; then drain and end every process.

        Raises:
            ConfigurationError: a process said why it cannot start.
            ControlError: a process ended at its start without a word.
            TakeOverError: the predecessor went away.

        """
        _allow_many_files()
        loop = asyncio.get_running_loop()
        for number in FORWARDED:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            await self._until_stopped(self._take_over(self._predecessor) if self._predecessor else self._start())
            if not self._stop.is_set():
                self._log_started()
                notify("READY=1")
                self._spawn(self._watch(), "watch")
                self._spawn(self._watch_files(), "watch the files")
                self._spawn(self._state_reserve.keep(), "keep the reserve of the state")
                await self._stop.wait()
        finally:
            if self._successor:
                await self._leave(self._successor)
            else:
                await self._end()

    async def reload(self, asked_by: AskedBy) -> tuple[str, ...]:
        """Read the configuration again and swap it in everywhere, or change nothing; returns what is wrong with it.

        Whoever asks while a reload waits for another one to end gets the answer of the one that waits: it reads the files later.
        """
        if self._next_reload is None:
            self._next_reload = asyncio.get_running_loop().create_task(self._reload(asked_by), name=_RELOAD)
            self._keep(self._next_reload)
        return await asyncio.shield(self._next_reload)

    async def _reload(self, asked_by: AskedBy) -> tuple[str, ...]:
        began = time.monotonic()
        async with self._changing:
            self._next_reload = None
            notify("RELOADING=1")
            before = self.validated
            try:
                validated = await asyncio.to_thread(read_and_validate, self._path)
                _refuse_fixed(self.validated, validated)
                await self._swap(validated)
            except ConfigurationError as error:
                diagnostics = error.diagnostics
            except GatewayError as error:
                diagnostics = (str(error),)
            except Exception as error:  # noqa: BLE001 - whatever goes wrong while files are judged refuses them
                _log.exception("reload.failed")
                diagnostics = (f"{type(error).__name__} while the files were read; the log says where",)
            else:
                diagnostics = ()
        notify("READY=1")
        self._reloads.count(success=not diagnostics, seconds=time.monotonic() - began)
        write_reload_note(self._directory.path, diagnostics, now=time.time())
        if diagnostics:
            _log.error(
                "policy.rejected", asked_by=asked_by, errors=list(diagnostics), policy=self.validated.table.version
            )
            more = {"asked_by": asked_by, "errors": len(diagnostics), "policy": self.validated.table.version}
            await self._trail.record("gateway.reload_rejected", success=False, detail=diagnostics[0], more=more)
        else:
            if self._predecessor and not self._predecessor.is_gone:
                await self._predecessor.finish()  # what it still has runs on rules that hold no more
            facts = reload_facts(before, self.validated, asked_by, began)
            _log.info(
                "policy.reloaded",
                asked_by=asked_by,
                policy_before=before.table.version,
                configuration=self.validated.bundle.digest[:16],
                seconds=round(time.monotonic() - began, 2),
                **policy_facts(self.validated),
            )
            await self._trail.record("gateway.reloaded", more={**self._facts(), **facts})
        return diagnostics

    async def _watch_files(self) -> None:
        """Reload when the files have changed and come to rest, for ever; what was refused is not tried again unchanged."""
        watch = Watch(self._path)
        refused: tuple[str, ...] = ()
        while True:
            rules = self.settings.reload
            await asyncio.sleep(min(_LOOK_S, max(_LEAST_LOOK_S, rules.settle / 2)))
            try:
                if not rules.watch or not await asyncio.to_thread(watch.look, time.monotonic(), rules.settle):
                    continue
                found = await asyncio.to_thread(content, self._path)
                is_running = found == (self.validated.bundle.digest,) and self._reloads.has_succeeded
                if not is_running and found != refused:
                    refused = found if await self.reload("watch") else ()
            except Exception:  # noqa: BLE001 - a file that cannot be read today is watched tomorrow
                _log.exception("watch.failed")

    async def upgrade(self, program: str = "") -> tuple[str, ...]:
        """Hand over to the program at path `program`, or to the one where this one was started from.

        Returns what prevents it; then nothing changed and this one goes on.
        """
        if self._changing.locked():
            return ("a reload or an upgrade is under way; try again when it is over",)
        if self._predecessor and not self._predecessor.is_gone:
            return ("the program before this one still finishes its requests; try again when it has ended",)
        if not self.is_started or self._stop.is_set():
            return ("the gateway is starting or stopping",)
        _log.info("upgrade.began", program=program or self._program.path)
        diagnostics: tuple[str, ...] = ()
        async with self._changing:
            try:
                self._successor = await self._hand_over(program)
            except ConfigurationError as error:
                diagnostics = error.diagnostics
            except (GatewayError, OSError) as error:
                diagnostics = (str(error),)
        if self._successor:
            version = self._successor.ready.version if self._successor.ready else ""
            _log.info("upgrade.handed_over", version=version, pid=self._successor.pid)
            self._stop.set()
        else:
            await self._upgrade_failed(diagnostics)
        return diagnostics

    async def _refuse_upgrade(self) -> tuple[str, ...]:
        keys = self.settings.audit.keys
        diagnostics = (f"whoever asked did not prove to be able to read {keys}; ask as the user of the gateway",)
        await self._upgrade_failed(diagnostics)
        return diagnostics

    async def _upgrade_failed(self, diagnostics: tuple[str, ...]) -> None:
        self._upgrades.count(success=False)
        _log.error("upgrade.failed", errors=list(diagnostics))
        await self._trail.record("gateway.upgrade_failed", success=False, detail=diagnostics[0])

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
            if child is self._custodian:
                continue  # no request waits for it
            if not child.is_ready:
                found[child.name] = "is not running; it is being restarted"
            elif child.running != self.validated.bundle.digest:
                found[child.name] = "runs on an earlier configuration"
            found |= {subject: sentence for subject, sentence in child.health.items() if sentence}
        now = time.time()
        for certificate in self.validated.certificates:
            if certificate.is_default and certificate.not_after <= now:  # another one ends for its own hosts alone
                found[f"certificate of {certificate.listener}"] = f"{certificate.file} has ended; browsers refuse it"
        return found

    def degraded(self) -> dict[str, str]:
        """Say what is out and keeps the gateway from nothing but that, by subject, as each process sees it."""
        found: dict[str, list[str]] = {}
        if self.is_started and not self._custodian.is_ready:
            found["custody"] = ["the custodian is not running; it is being started"]
        for subject, sentence in self._state_reserve.degraded().items():
            found.setdefault(subject, []).append(sentence)
        for child in self.children:
            for subject, sentence in child.degraded.items():
                found.setdefault(subject, []).append(f"{child.name}: {sentence}")
        return {subject: " | ".join(sentences) for subject, sentences in sorted(found.items())}

    def console(self) -> str:
        """Return where the console is; empty = there is none."""
        rules = self.settings.admin.console
        return f"{self.settings.public_url}/.gateway/admin/" if rules is not None and rules.enabled else ""

    async def samples(self) -> list[Sample]:
        """Collect what all processes counted, and what the supervisor itself knows."""
        dumps = await asyncio.gather(*(child.dump() for child in self.children))
        processes = [("supervisor", os.getpid()), *((child.name, child.pid) for child in self.children if child.pid)]
        counted = [sample for dump in dumps for sample in dump] + self._inherited_samples()
        return counted + process_samples(processes) + self._own_samples()

    def _inherited_samples(self) -> list[Sample]:
        """What programs before this one counted, the one that still finishes its requests too."""
        if self._predecessor and not self._predecessor.is_gone:
            return self._predecessor.samples
        return self._retired.samples()

    def _child(self, name: str, kind: Kind, slot: int, worker: int = 0) -> ChildProcess:
        return ChildProcess(name, kind, lambda: self._boot(kind, slot, worker), interpreter=self._program.interpreter)

    def _boot(self, kind: Kind, slot: int, worker: int) -> Boot:
        listeners: tuple[ListenerSocket, ...] = ()
        if kind == "edge":
            listeners = self._listeners.of_worker(worker)
        elif kind == "pages":
            path = self._pages_socket.getsockname()
            listeners = (ListenerSocket(fd=self._pages_socket.fileno(), kind="pages", address=path),)
        return Boot(
            kind=kind,
            slot=slot,
            badge=b"" if kind == "audit" else self._badge(slot),
            shipping_badge=self._badge(SHIPPING_SLOT) if kind == "custodian" else b"",
            inquiry_badge=self._inquiry_badge if kind in {"pages", "custodian"} else b"",
            worker=worker,
            workers=self._workers,
            is_reserve=not (self._has_log if kind == "audit" else self._is_serving),
            shares_limits=self._workers > 1 or (self._predecessor is not None and not self._predecessor.is_gone),
            listeners=listeners,
            bundle=self.validated.bundle.narrow(kind),
            state_dir=str(self._directory.state_dir),
            run_dir=str(self._directory.path),
            pages_socket=self._pages_socket.getsockname(),
            limits_fd=self._limits_fd if kind == "edge" else -1,
            node=self._node,
            boot_id=self._boot_id,
            version=__version__,
        )

    async def _start(self) -> None:
        """Start everything: no edge before the audit trail, because nothing is answered without it."""
        await self._admin.start()
        self._progress("starting the audit trail and the pages")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._start_audit())
            group.create_task(self._start_child(self._pages))
        self._progress(f"starting {self._workers} edge processes")
        async with asyncio.TaskGroup() as group:
            for child in self._edges:
                group.create_task(self._start_child(child))
        await self._listen_for_commands()
        self.is_started = True
        self._spawn(self._keep_custodian(), "keep custodian")

    async def _take_over(self, predecessor: Predecessor) -> None:
        """Start everything beside the predecessor, then take its place: first the audit log, then the connections."""
        await predecessor.open()
        self._progress("starting beside the gateway that runs")
        async with asyncio.TaskGroup() as group:
            for child in self.children:
                if child is not self._custodian:
                    group.create_task(self._start_child(child))
        await predecessor.await_log()
        self._has_log = True
        await self._audit.serve()
        await self._require_health()
        await predecessor.await_turn(Ready(version=__version__, interpreter=self._program.interpreter))
        await self._trail.start()
        await self._trail.record("gateway.upgraded", more={"from": predecessor.estate.version, **self._facts()})
        self._is_serving = True
        await asyncio.gather(*(edge.serve() for edge in self._edges))
        await self._admin.start()
        await self._listen_for_commands()
        self._directory.sign()
        self._upgrades.count(success=True)
        await predecessor.take()
        self.is_started = True
        self._spawn(self._keep_custodian(), "keep custodian")
        self._spawn(self._follow(predecessor), "follow the predecessor")

    async def _require_health(self) -> None:
        """Wait until every process says it is well. Raises ConfigurationError with what is not."""
        until = time.monotonic() + _HEALTH_WAIT_S
        while True:
            await asyncio.gather(*(child.dump() for child in self.children))
            needed = [child for child in self.children if child is not self._custodian]
            ill = {child.name: "is not running" for child in needed if not child.is_ready}
            for child in needed:
                ill |= {subject: sentence for subject, sentence in child.health.items() if sentence}
            if not ill:
                return
            if time.monotonic() >= until:
                raise ConfigurationError(tuple(f"{subject}: {sentence}" for subject, sentence in ill.items()))
            await asyncio.sleep(_HEALTH_POLL_S)

    async def _follow(self, predecessor: Predecessor) -> None:
        """Take over what the predecessor counts until it has ended."""
        is_known = await predecessor.follow()
        self._retired.add(predecessor.samples)
        _log.info("upgrade.finished", seconds=round(time.time() - self._started, 2))
        for edge in self._edges:
            with suppress(GatewayError):
                await edge.share_limits(is_shared=False)
        if not is_known:
            _log.error("upgrade.keeper_lost")
            self._stop.set()

    async def _hand_over(self, program: str) -> Successor:
        """Start a successor and give it everything. Raises GatewayError, and then everything is ours again."""
        if self._predecessor is None and self._keeper is None:
            self._keeper = os.pipe2(os.O_CLOEXEC)
        public = self._listeners.by_address
        descriptors = Descriptors(
            lock=self._directory.lock,
            limits=self._limits_fd,
            keeper=self._keeper[1] if self._keeper else self._predecessor.keeper if self._predecessor else -1,
            admin=self._admin_socket.fileno(),
            listeners=tuple(sock.fileno() for sockets in public.values() for sock in sockets),
        )
        estate = Estate(
            version=__version__,
            generation=self._generation + 1,
            boot_id=self._boot_id,
            state_dir=str(self._directory.state_dir),
            supervisor=os.getpid(),
            keeper=self._predecessor.estate.keeper if self._predecessor else os.getpid(),
            admin=str(self.settings.admin.address),
            listeners=tuple((address, len(sockets)) for address, sockets in public.items()),
            limits_layout=LIMITS_LAYOUT,
            reloads=self._reloads.counts,
            upgrades=self._upgrades.counts,
        )
        successor = self._candidate = await Successor.start(self._program, program, estate, descriptors)
        try:
            await successor.prepare(self.settings.upgrade.ready_timeout)
            await successor.take_log()  # it waits for the lock already when ours lets it go
            await self._audit.hand_over(LOG_WAIT_S)
            await successor.show()
            await asyncio.gather(*(edge.share_limits(is_shared=True) for edge in self._edges))
            samples = await self._counted()
            await self._trail.stop()
            await successor.take_all(samples)
        except BaseException:
            await successor.give_up()
            if not self._stop.is_set():
                await self._go_on()
            raise
        finally:
            self._candidate = None
        return successor

    async def _go_on(self) -> None:
        """Take back what a successor that failed had taken."""
        self._directory.sign()
        await self._listen_for_commands()
        if not self._audit.is_ready:
            try:
                await self._audit.start()
            except (GatewayError, OSError) as error:
                _log.error("process.failed", name=self._audit.name, reason=str(error))
            self._spawn(self._audit.keep_alive(lambda: self.validated.bundle), "keep audit")
        try:
            await self._trail.stop()
            await self._trail.start()
            await asyncio.gather(*(edge.share_limits(is_shared=False) for edge in self._edges))
        except GatewayError as error:
            _log.error("process.failed", name="supervisor", reason=str(error))

    async def _counted(self) -> list[Sample]:
        """What we and those before us counted: no gauges, which the successor has of its own."""
        counted = Retired()
        for dump in await asyncio.gather(*(child.dump() for child in self.children)):
            counted.add(dump)
        counted.add(self._inherited_samples())
        return counted.samples()

    async def _listen_for_commands(self) -> None:
        """Listen under a name that a successor, or we again, can take over in one step."""
        path = self._directory.path / COMMANDS_NAME
        unready = path.with_name(path.name + ".new")
        unready.unlink(missing_ok=True)
        if self._commands:
            self._commands.close()
        self._commands = await asyncio.start_unix_server(self._on_command, unready)
        unready.rename(path)

    async def _start_audit(self) -> None:
        await self._start_child(self._audit)
        await self._trail.start()
        await self._trail.record("gateway.started", more=self._facts())

    async def _start_child(self, child: ChildProcess) -> None:
        await child.start()
        self._spawn(child.keep_alive(lambda: self.validated.bundle), f"keep {child.name}")

    async def _keep_custodian(self) -> None:
        """Start the custodian when everything else serves, and again whenever it ends: nobody waits for it."""
        try:
            await self._custodian.start()
            await self._custodian.follow(self.validated.bundle)  # a reload may have passed it by
        except (GatewayError, OSError) as error:
            _log.error("process.failed", name=self._custodian.name, reason=str(error))
            await self._custodian.kill()
        await self._custodian.keep_alive(lambda: self.validated.bundle)

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
        """Have every process prepare the bundle, then every process swap it in (two phases: a refusal changes nothing).

        Raises:
            ConfigurationError: a process refused it, or none of a kind could prepare it: what ends one of them ends all.

        """
        bundle = validated.bundle
        asked = [child for child in self.children if child.is_ready]
        answers = await asyncio.gather(*(child.prepare(bundle) for child in asked), return_exceptions=True)
        refusals = [error for error in answers if isinstance(error, ConfigurationError)]
        if refusals:
            raise refusals[0]
        prepared = [child for child, answer in zip(asked, answers, strict=True) if answer is None]
        lost = {child.kind for child in asked} - {child.kind for child in prepared} - _BUILDS_NOTHING
        if lost:
            sentences = [
                f"{child.name}: {answer}; nothing was reloaded"
                for child, answer in zip(asked, answers, strict=True)
                if child.kind in lost
            ]
            raise ConfigurationError(tuple(sentences))
        self.validated = validated
        await asyncio.gather(*(self._commit(child, bundle) for child in prepared))
        # whoever ended meanwhile may have come back on the bundle before
        await asyncio.gather(*(self._commit(child, bundle) for child in self.children if child.is_ready))

    async def _commit(self, child: ChildProcess, bundle: Bundle) -> None:
        """Have a process run on what all the others run on, or end it: its successor starts on that."""
        try:
            await child.follow(bundle)
        except (GatewayError, OSError) as error:
            _log.error("process.left_behind", name=child.name, reason=str(error))
            await child.kill()

    async def _watch(self) -> None:
        """Ask every process how it is, for ever: counters of a process that crashes are at most this old."""
        while True:
            await asyncio.gather(*(child.dump() for child in self.children))
            await asyncio.sleep(_WATCH_S)

    async def _leave(self, successor: Successor) -> None:
        """Finish what is open while the successor serves everything new; then stand in for it, or end."""
        self.is_draining = True
        self._directory.give_up()
        is_asked = any(task.get_name() == _RELOAD for task in self._tasks)
        if is_asked:  # it waited, and the successor had read the files before
            successor.signal(signal.SIGHUP)
        for task in self._tasks:
            task.cancel()
        if self._commands:
            self._commands.close()
        self._listeners.close()
        await self._admin.stop()
        await self._custodian.drain(_CUSTODY_DRAIN_S)  # the successor's waits for its place
        drains = asyncio.ensure_future(self._drain_edges(self.settings.upgrade.drain_timeout, keeps_idle=True))
        heeding = asyncio.ensure_future(self._heed(successor))
        hurry = asyncio.ensure_future(self._hurry.wait())
        while not drains.done():
            await successor.tell(Counted(samples=await self._counted()))
            await asyncio.wait([drains, hurry], timeout=_WATCH_S, return_when=asyncio.FIRST_COMPLETED)
            if hurry.done():
                await asyncio.gather(*(edge.hurry(self.settings.http.drain_timeout) for edge in self._edges))
        await self._pages.drain(_PAGES_DRAIN_S)
        await successor.tell(Counted(samples=await self._counted()))
        for waiting in (heeding, hurry):
            waiting.cancel()
        successor.hang_up()
        self._held.close()
        _log.info("upgrade.left")
        if self._keeper and successor.ready:
            await _hold_signals()
            become_keeper(successor.ready.interpreter, self._keeper[0], successor.pid)

    async def _drain_edges(self, seconds: float, *, keeps_idle: bool) -> None:
        await asyncio.gather(*(edge.drain(seconds, keeps_idle=keeps_idle) for edge in self._edges))

    async def _heed(self, successor: Successor) -> None:
        """Hurry when the successor says so, or when it is gone and nobody is left to serve."""
        with suppress(TakeOverError):
            while not isinstance(await successor.receive(), Finish):
                pass
        self._hurry.set()

    async def _end(self) -> None:
        """Say that we are not ready, drain the edges, then the pages, then the audit trail; kill what is left."""
        self.is_draining = True
        notify("STOPPING=1")
        if self._candidate:
            await self._candidate.give_up()
        if self.is_started:
            await self._stay_a_while()
        for task in self._tasks:
            task.cancel()
        if self._commands:
            self._commands.close()
        self._listeners.close()  # workers hold their own: they take what is queued, and new connections are refused
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await self._drain_edges(self.settings.http.drain_timeout, keeps_idle=False)
                await self._pages.drain(_PAGES_DRAIN_S)
                await self._custodian.drain(_CUSTODY_DRAIN_S)
                if self._audit.is_ready and self._is_serving:
                    await self._trail.record("gateway.stopped", more=self._facts())
                await self._trail.stop()
                await self._audit.drain(0, grace_s=_AUDIT_CLOSE_S)
        await asyncio.gather(*(child.kill() for child in self.children))
        await self._admin.stop()
        self._held.close()
        if self.is_started:
            _log.info("gateway.stopped")

    async def _stay_a_while(self) -> None:
        """Go on serving for `shutdown.delay`, each connection for one more answer: a load balancer sees /readyz first."""
        if not self.settings.shutdown.delay:
            return
        await asyncio.gather(*(edge.last_requests() for edge in self._edges), return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.settings.shutdown.delay):
                await self._hurry.wait()

    def _on_signal(self, number: int) -> None:
        if self._successor:
            self._successor.signal(number)
            if number in {signal.SIGTERM, signal.SIGINT}:
                self._hurry.set()
        elif number == signal.SIGHUP:
            self._spawn(self._on_hangup(), _RELOAD)
        elif number == signal.SIGUSR2:
            self._spawn(self._on_upgrade(), "upgrade")
        elif self._stop.is_set():  # asked twice: now
            self._hurry.set()
            for child in self.children:
                if child.pid:
                    os.kill(child.pid, signal.SIGKILL)
        else:
            self._stop.set()

    async def _on_hangup(self) -> None:
        await self.reload("signal")

    async def _on_upgrade(self) -> None:
        await self.upgrade()

    async def _on_command(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer `gateway reload` and `gateway upgrade`."""
        channel = Channel(reader, writer)
        connection: socket.socket = writer.get_extra_info("socket")
        try:
            if not is_trusted_peer(connection):
                return
            match await channel.next_request():
                case Reload():
                    await channel.reply(Done(diagnostics=await self.reload("command")))
                case Upgrade() as request:
                    # attack: code in a worker, which has our user but not the audit's keys, has us start its program
                    is_proven = commands.is_proven(request, self.settings.audit.keys)
                    diagnostics = await (self.upgrade(request.program) if is_proven else self._refuse_upgrade())
                    await channel.reply(Done(diagnostics=diagnostics))
                case _:
                    return  # a request for a child
        except ControlError:
            pass  # the caller went away; the log has the outcome
        finally:
            channel.close()

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        self._keep(asyncio.get_running_loop().create_task(work, name=name))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception():
            _log.error("supervisor.task_failed", task=task.get_name(), exc_info=task.exception())

    def _facts(self) -> dict[str, object]:
        """List what an auditor wants to know about a start or a reload."""
        return {
            "configuration": self.validated.bundle.digest,
            **policy_facts(self.validated),
            "profile": self.settings.profile,
            "unsafe": self.settings.warnings(),
            "workers": self._workers,
        }

    def _log_started(self) -> None:
        for warning in (*self.validated.warnings, *self._state_warnings):
            _log.warning("configuration.weak", text=warning)
        _log.info(
            "gateway.started",
            version=__version__,
            public_url=str(self.settings.public_url),
            listen=[str(listener.address) for listener in self.settings.listen],
            admin=str(self.settings.admin.address),
            workers=self._workers,
            **policy_facts(self.validated),
            seconds=round(time.time() - self._started, 2),
        )
        self._progress("")

    def _own_samples(self) -> list[Sample]:
        ready = not self._known_problems()
        return [
            _gauge("gateway_build_info", "Version of the gateway.", ("version",), {(__version__,): 1}),
            *policy_samples(self.validated),
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
                "When a certificate of a listener ends, unix seconds.",
                ("listener", "certificate"),
                {
                    (certificate.listener, certificate.file): certificate.not_after
                    for certificate in self.validated.certificates
                },
            ),
            _gauge(
                "gateway_client_crl_expiry_timestamp_seconds",
                "When a revocation list of a listener's client certificates ends, unix seconds.",
                ("listener",),
                {(listener,): ends for listener, ends in self.validated.crl_ends.items()},
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
            *self._reloads.samples(),
            *self._state_reserve.samples(),
            Sample(
                name="gateway_upgrades_total",
                kind="counter",
                help="Upgrades of the running program.",
                labels=("result",),
                values=self._upgrades.totals(),
            ),
            Sample(
                name="gateway_upgrade_timestamp_seconds",
                kind="gauge",
                help="When the program was last upgraded, or could not be, unix seconds.",
                labels=("result",),
                values=self._upgrades.times(),
            ),
            _gauge(
                "gateway_upgrade_draining",
                "1 while the program before this one still finishes its requests.",
                (),
                {(): self._predecessor is not None and not self._predecessor.is_gone},
            ),
        ]


async def _hold_signals() -> None:
    """Have signals wait for the program that comes in this place, after those that came before were passed on."""
    await asyncio.get_running_loop().shutdown_default_executor()  # the kernel would give them to any other thread
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    await asyncio.sleep(_TURN_S)


def _refuse_fixed(old: Validated, new: Validated) -> None:
    """Refuse what running processes cannot change, rather than accept it without effect."""
    before, after = old.settings, new.settings
    fixed = [
        (
            "listen",
            [(item.address, item.kind, item.proxy_protocol) for item in before.listen],
            [(item.address, item.kind, item.proxy_protocol) for item in after.listen],
            _UPGRADE,
        ),
        ("admin", *(item.admin.model_copy(update={"console": None}) for item in (before, after)), _UPGRADE),
        ("workers", before.workers, after.workers, _UPGRADE),
        ("state_dir", before.state_dir, after.state_dir, _RESTART),
        ("state", before.state, after.state, _RESTART),
        ("logging", before.logging, after.logging, _UPGRADE),
        ("http.handshake_timeout", before.http.handshake_timeout, after.http.handshake_timeout, _UPGRADE),
        ("audit.keys", old.bundle.audit_keys, new.bundle.audit_keys, _RESTART),
        ("audit.disk", before.audit.disk, after.audit.disk, _UPGRADE),
        ("audit.segment_age", before.audit.segment_age, after.audit.segment_age, _UPGRADE),
        *(
            (
                f"audit.streams.{stream}.when_full",
                *(s.audit.streams.of(stream).when_full for s in (before, after)),
                _UPGRADE,
            )
            for stream in STREAMS
        ),
    ]
    changed = tuple(
        f"{name}: changed; nothing was reloaded: {remedy}" for name, was, is_now, remedy in fixed if was != is_now
    )
    if changed:
        raise ConfigurationError(changed)


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
    path.unlink(missing_ok=True)  # of the program before the one that is being replaced
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.bind(str(path))
    sock.listen(1024)
    sock.settimeout(0)
    return sock
