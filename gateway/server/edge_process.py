"""One edge worker as a child process: builds snapshots, serves, swaps, drains."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from gateway.audit.access import Node
from gateway.edge.limits import LimitTable
from gateway.edge.occupancy import OCCUPANCY_BYTES, Occupancy
from gateway.edge.recorder import Recorder
from gateway.edge.snapshot import Snapshot
from gateway.edge.takings import Takings
from gateway.edge.tls import ListenerTLS, quiet_about_server_names
from gateway.edge.worker import Listener, Worker
from gateway.exchange.errors import ConfigurationError, GatewayError, StoreUnavailableError
from gateway.exchange.stream import STREAM_NUMBERS, STREAMS
from gateway.inspection.csp.tally import Tally
from gateway.quarantine.quarantine import LABEL
from gateway.server.allocator import keep_tls_buffers_apart
from gateway.server.bundle import Bundle
from gateway.server.control import LIMITS_BYTES, Boot, Dumped
from gateway.server.descriptors import allow_files, files_needed, room_for_clients
from gateway.server.escorts import build_escorts
from gateway.server.issuer_reader import IssuerReader
from gateway.server.messenger import Messenger
from gateway.server.relayed_tokens import RelayedTokens
from gateway.server.remote_state import RedisState
from gateway.server.run_directory import AUDIT_SOCKET_NAME
from gateway.server.settings import Settings
from gateway.server.snapshot import build_snapshot
from gateway.server.state import redis_options
from gateway.server.upload_keeper import UploadKeeper
from gateway.server.validate import Validated, validate
from gateway.store.api_key_cache import ApiKeyCache
from gateway.store.issuer_keys import IssuerKeyStore
from gateway.store.page_counts import PageCounts
from gateway.store.provider_tokens import ProviderTokens
from gateway.store.redis_rows import RedisRows, open_redis
from gateway.store.remote_sessions import Answers
from gateway.store.sessions import SessionCache
from gateway.store.sqlite_rows import SQLiteRows
from gateway.store.sqlite_sessions import SQLiteSessions
from gateway.store.state import Store
from gateway.store.strays import Strays
from gateway.store.subject_pool import SubjectPool
from gateway.store.worker_state import WorkerState

if TYPE_CHECKING:
    from gateway.server.second_engines import SecondEngines

AUDIT_WAIT_S: Final = 8.0
FLUSH_S: Final = 1.0
PRUNE_S: Final = 3600.0
_log = structlog.get_logger()


class EdgeProcess:
    """An edge worker: everything that only a process has (files, sockets, the loop)."""

    def __init__(self, boot: Boot) -> None:
        self._boot = boot
        self._run_dir = Path(boot.run_dir)
        self._prepared: tuple[Snapshot, Validated] | None = None
        self._worker: Worker | None = None
        self._store: Store | None = None
        self._strays: Strays | None = None
        self._subjects: SubjectPool | None = None
        self._issuers: IssuerReader | None = None
        self._page_counts: PageCounts | None = None
        self._redis: RedisState | None = None
        self._recorder: Recorder | None = None
        self._limits: LimitTable | None = None
        self._handshake_timeout_s = 0.0
        self._flusher: asyncio.Task[None] | None = None
        self._messenger: Messenger | None = None
        self._uploads: UploadKeeper | None = None
        self._pruner: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._store_problem = ""
        self._second_engines: SecondEngines | None = None

    async def start(self) -> None:
        """Begin to serve. Raises GatewayError with the reason when that is not possible."""
        boot = self._boot
        keep_tls_buffers_apart()
        validated = validate(boot.bundle, now=time.time())
        snapshot = await asyncio.to_thread(self._snapshot, validated)
        sys.unraisablehook = quiet_about_server_names(sys.unraisablehook)
        keyring = validated.keyring
        assert keyring is not None  # noqa: S101 - build_snapshot refuses without
        state_dir = Path(boot.state_dir)
        redis = redis_options(validated.settings, validated.bundle.secrets)
        rows = SQLiteRows(state_dir) if redis is None else open_redis(redis)
        store = self._store = Store(rows, keyring, is_known=redis is not None)
        strays = self._strays = Strays(rows, store.sealer)
        self._page_counts = PageCounts(rows, store.sealer)
        subjects = self._subjects = SubjectPool(
            store.subjects, recalls=redis is None, anonymous_s=validated.settings.audit.privacy.anonymous
        )
        with suppress(StoreUnavailableError):  # kept as soon as the store is there
            await asyncio.to_thread(subjects.flush, time.time())
        if isinstance(rows, RedisRows):
            self._redis = RedisState(rows, store.sealer, report=_report, strayed=strays.note)
            sessions: WorkerState | Answers = self._redis.sessions.unread()
            flush = self._redis.sessions.flush
        else:
            sessions = WorkerState(
                SessionCache(SQLiteSessions(rows, store), strayed=strays.note),
                ApiKeyCache(store.api_keys, rows.generations),
            )
            flush = sessions.flush
        limits = self._limits = LimitTable(
            boot.limits_fd, LIMITS_BYTES, shared=boot.shares_limits, secret=keyring.limits_key
        )
        loop = asyncio.get_running_loop()
        path = str(self._run_dir / AUDIT_SOCKET_NAME)
        recorder = self._recorder = Recorder(
            boot.slot,
            boot.badge,
            lambda factory: loop.create_unix_connection(factory, path),
            time.time,
            frozenset(
                STREAM_NUMBERS[stream]
                for stream in STREAMS
                if validated.settings.audit.streams.of(stream).when_full == "gap"
            ),
        )
        try:
            async with asyncio.timeout(AUDIT_WAIT_S):
                await recorder.start()
        except TimeoutError:
            raise GatewayError("the audit process does not answer") from None
        worker = self._worker = Worker(
            snapshot=snapshot,
            sessions=sessions,
            limits=limits,
            occupancy=Occupancy(boot.limits_fd, LIMITS_BYTES, secret=keyring.limits_key),
            recorder=recorder,
            node=Node(hostname=boot.node, boot_uid=boot.boot_id, version=boot.version),
            log=partial(_write, 1 if validated.settings.logging.output == "stdout" else 2),
            report=_report,
            subjects=subjects,
        )
        if self._second_engines is not None:
            self._second_engines.commit()
        issuers = self._issuers = IssuerReader(IssuerKeyStore(rows, store.sealer), worker.bearers)
        issuers.adopt(validated)
        with suppress(StoreUnavailableError):  # read again as soon as the store is there
            issuers.hand_over(await asyncio.to_thread(issuers.read))
        tokens = RelayedTokens(ProviderTokens(store.rows, store.sealer, keyring), lambda: boot.pages_socket)
        worker.escorts = build_escorts(store, keyring, tokens, loop=loop, report=_report)
        worker.takings = Takings(boot.limits_fd, LIMITS_BYTES + OCCUPANCY_BYTES, secret=keyring.limits_key)
        uploads = self._uploads = UploadKeeper(state_dir, keyring.derive(LABEL), report=_report)
        worker.upload_keeper = uploads
        self._pruner = worker.spawn(self._prune_quarantine(uploads), name="prune the quarantine")
        if self._redis is not None:
            self._redis.serve(worker)
        self._handshake_timeout_s = validated.settings.http.handshake_timeout
        messenger = self._messenger = Messenger(
            worker.evidence.lookout, worker.gate, rows, store.sealer, lambda: boot.pages_socket
        )
        await messenger.read(time.time())  # whoever is blocked finds no worker that does not know it yet
        if not boot.is_reserve:
            await self.serve()
        self._flusher = worker.spawn(self._flush_sessions(flush, issuers), name="flush sessions")
        self._telling = worker.spawn(messenger.run(), name="tell the detectors")
        gc.collect()
        gc.freeze()  # what is there now lives as long as the process
        gc.set_threshold(20_000, 50, 100)  # a request leaves no cycles behind: look for them rarely

    async def serve(self) -> None:
        """Accept on every listener."""
        assert self._worker is not None  # noqa: S101 - asked only after start
        listeners = [
            Listener(
                fd=item.fd,
                redirects=item.kind == "redirect",
                tls=item.kind == "tls",
                address=item.address,
                proxied=item.proxied,
            )
            for item in self._boot.listeners
        ]
        await self._worker.serve(listeners, self._handshake_timeout_s)
        for listener in listeners:
            os.close(listener.fd)  # the worker has its own; what stays open here would queue for ever

    def share_limits(self, *, is_shared: bool) -> None:
        """Count limits beside other processes, or alone."""
        if self._limits is not None:
            self._limits.share(is_shared=is_shared or self._boot.workers > 1)

    def last_requests(self) -> None:
        """Close each connection after its next answer: a drain follows."""
        if self._worker is not None:
            self._worker.last_requests()

    def prepare(self, bundle: Bundle) -> None:
        """Build everything the bundle says and keep it aside. Raises ConfigurationError."""
        self._prepared = None  # of a reload that another process refused
        gc.disable()
        try:
            validated = validate(bundle, now=time.time())
            running = self._worker.snapshot.tls if self._worker is not None else {}
            self._prepared = self._snapshot(validated, running), validated
            gc.freeze()  # as at the start: to look through a large policy would hold up every request meanwhile
        finally:
            gc.enable()

    def _snapshot(self, validated: Validated, running: Mapping[str, ListenerTLS] | None = None) -> Snapshot:
        """Build what the worker runs on; waits for the rules of second engines. Raises ConfigurationError."""
        if any(item.section.crs is not None for item in validated.inspections.values()) and not self._second_engines:
            from gateway.server.second_engines import SecondEngines  # noqa: PLC0415 - most gateways have none

            self._second_engines = SecondEngines()
        engines = self._second_engines
        if engines is not None:
            engines.prepare()
        built = build_snapshot(validated, self._boot.pages_socket, running, engines.find if engines else None)
        return _fit(built, validated.settings)

    def commit(self) -> None:
        """Serve by what was prepared. Raises ConfigurationError when nothing was."""
        if self._prepared is None or self._worker is None:
            raise ConfigurationError(("nothing was prepared",))
        snapshot, validated = self._prepared
        self._prepared = None
        if self._store is not None and validated.keyring is not None:
            self._store.adopt(validated.keyring)  # a key that others seal with from now on
        if self._issuers is not None:
            self._issuers.adopt(validated)
            self._issuers.hand_over_fixed()
        if self._subjects is not None:
            self._subjects.anonymous_s = validated.settings.audit.privacy.anonymous
        self._worker.swap(snapshot)
        if self._second_engines is not None:
            self._second_engines.commit()

    def dump(self) -> Dumped:
        """All counters, and what is wrong."""
        worker, recorder = self._worker, self._recorder
        assert worker is not None  # noqa: S101 - asked only after start
        health = {}
        if recorder is None or not recorder.available:
            health["audit"] = "the audit process does not take records"
        if problem := (self._redis.problem if self._redis is not None else "") or self._store_problem:
            health["store"] = problem
        if self._strays is not None:
            worker.metrics.sessions_elsewhere.values |= {(bond,): count for bond, count in self._strays.counts.items()}
        degraded = {f"upstream {name}": sentence for name, sentence in worker.degraded().items()}
        if self._second_engines is not None:
            worker.metrics.crs_replaced.values[()] = self._second_engines.replaced
            if self._second_engines.lacking:
                degraded["core rule set"] = "no process of the second engine runs"
        if self._uploads is not None:
            worker.metrics.uploads_waiting.values[()] = self._uploads.spool.rooms
            worker.metrics.upload_spool_bytes.values[()] = self._uploads.spool.on_disk
        worker.metrics.sightings_dropped.values[()] = worker.evidence.lookout.dropped
        if self._subjects is not None:
            worker.metrics.subject_keys_unstored.values[()] = self._subjects.unstored
        return Dumped(samples=worker.metrics.dump(), health=health, degraded=degraded)

    async def drain(self, seconds: float, *, keeps_idle: bool) -> None:
        """Finish what is open, and say what was not finished."""
        if self._worker is not None and (cut := await self._worker.drain(seconds, keeps_idle=keeps_idle)):
            _log.warning("requests.cut", count=cut, seconds=seconds)
        if self._flusher is not None:
            self._flusher.cancel()
        if self._pruner is not None:
            self._pruner.cancel()
        if self._messenger is not None and self._telling is not None:
            self._telling.cancel()
            await self._messenger.tell()
        if self._subjects is not None:
            with suppress(StoreUnavailableError):
                await asyncio.to_thread(self._subjects.flush, time.time())
        if self._redis is not None:
            await self._redis.close()
        if self._second_engines is not None:
            self._second_engines.close()

    def hurry(self, seconds: float) -> None:
        """End the drain under way after `seconds`."""
        if self._worker is not None:
            self._worker.hurry(seconds)

    async def _keep_tally(self) -> None:
        """Write what was told about pages since the last time; nothing is lost when that fails."""
        worker, counts = self._worker, self._page_counts
        if worker is None or counts is None or not worker.tally:
            return
        told, worker.tally = worker.tally, Tally()
        try:
            await asyncio.to_thread(counts.add, told, time.time())
        except StoreUnavailableError:
            for route in told.routes():
                worker.tally.take_over(route, told.of_route(route))
            raise

    async def _prune_quarantine(self, uploads: UploadKeeper) -> None:
        """Remove from the quarantine what was kept for long enough, off the loop."""
        while True:
            await asyncio.to_thread(uploads.prune, time.time())
            await asyncio.sleep(PRUNE_S)

    async def _flush_sessions(self, flush: Callable[[], int], issuers: IssuerReader) -> None:
        """Write last-seen times once a second, off the loop: a commit may wait for another process.

        Read the keys of issuers where tokens need them.
        """
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await asyncio.to_thread(flush)
                if issuers.is_needed:
                    issuers.hand_over(await asyncio.to_thread(issuers.read))
                if self._strays is not None:
                    await asyncio.to_thread(self._strays.flush, time.time())
                if self._subjects is not None:
                    await asyncio.to_thread(self._subjects.flush, time.time())
                await self._keep_tally()
            except StoreUnavailableError as error:
                if not self._store_problem:
                    _log.warning("store.degraded", reason=str(error))
                self._store_problem = str(error)
            else:
                if self._store_problem:
                    _log.info("store.recovered")
                self._store_problem = ""


def _fit(snapshot: Snapshot, settings: Settings) -> Snapshot:
    """Get the files that the configuration needs, or serve as many clients as there are files for. Raises GatewayError."""
    wanted = files_needed(settings)
    files = allow_files(wanted)
    room = room_for_clients(settings, files)
    if room == settings.http.max_connections:
        return snapshot
    _log.warning("connections.limited", max_connections=room, open_files_allowed=files, open_files_needed=wanted)
    return replace(snapshot, wire=replace(snapshot.wire, max_connections=room))


def _report(event: str, detail: str) -> None:
    """Log what the worker has to say; only what went wrong in it is an error."""
    if event in ("upstream.server_in", "upstream.up", "store.recovered"):
        _log.info(event, detail=detail)
    elif event.startswith(("upstream.", "store.")):
        _log.warning(event, detail=detail)
    else:
        _log.error(event, detail=detail)


def _write(descriptor: int, lines: bytes) -> None:
    """Write finished log lines; a log that cannot be written is lost, a request is not."""
    try:
        os.write(descriptor, lines)
    except OSError:
        return
