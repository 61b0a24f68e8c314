"""The frame of every child process: `python -m gateway.server.child KIND FD`.

It takes its powers away, waits for its boot message on the inherited socket FD, starts the worker
of its kind and then does what the supervisor asks, until it is told to drain or the supervisor is
gone. What a worker does is its own module's business.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from pathlib import Path
from typing import Final, Protocol

import structlog
import uvloop

from gateway import __version__
from gateway.custody.places import writable_places
from gateway.exchange.errors import ConfigurationError, GatewayError
from gateway.server import logs
from gateway.server.bundle import Bundle
from gateway.server.confine import confine, die_with_parent, harden, separation
from gateway.server.control import (
    Boot,
    Channel,
    Commit,
    ControlError,
    Done,
    Drain,
    Dump,
    Dumped,
    LastRequests,
    Prepare,
    Reply,
    Request,
    Serve,
    ShareLimits,
    pack,
    receive,
)
from gateway.server.settings import Settings, load_settings
from gateway.server.upload_places import make_upload_places

EXIT_FAILED: Final = 1
_log = structlog.get_logger()


class Worker(Protocol):
    """What a child of any kind can do. Every method may raise `GatewayError`, and then nothing changed."""

    async def start(self) -> None:
        """Begin to serve; everything that can fail at start fails here."""

    def prepare(self, bundle: Bundle) -> None:
        """Build everything the bundle says and keep it aside. Runs in a thread, beside a serving loop."""

    def commit(self) -> None:
        """Swap in what was prepared last."""

    def dump(self) -> Dumped:
        """Tell all counters, and what is wrong by subject."""

    async def serve(self) -> None:
        """Accept; called once on a worker that was started as a reserve."""

    def share_limits(self, *, is_shared: bool) -> None:
        """Count limits beside other processes, or alone."""

    def last_requests(self) -> None:
        """Close each connection after its next answer: a drain follows."""

    async def drain(self, seconds: float, *, keeps_idle: bool) -> None:
        """Accept nothing new and return when everything open is finished, after `seconds` at the latest."""

    def hurry(self, seconds: float) -> None:
        """End the drain under way after `seconds`."""


def main() -> int:
    """Run one child; the exit status is 0 after a drain and 1 otherwise."""
    kind, descriptor = sys.argv[1], int(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C and systemd reach the whole group; the supervisor says when
    die_with_parent()
    harden()
    connection = socket.socket(fileno=descriptor)
    try:
        boot = receive(connection)
    except ControlError:
        return EXIT_FAILED
    if not isinstance(boot, Boot) or boot.kind != kind:
        return EXIT_FAILED
    if boot.version != __version__:
        sentence = (
            f"{name_of(boot)}: the program on disk is version {__version__}, the gateway that runs is {boot.version}; "
            "finish the upgrade with gateway upgrade"
        )
        connection.sendall(pack(Done(diagnostics=(sentence,))))
        return EXIT_FAILED
    settings = load_settings(boot.bundle.settings, boot.bundle.path)
    logs.configure(settings.logging, name_of(boot))
    if kind == "audit":
        from gateway.server.audit_process import AuditProcess  # noqa: PLC0415 - a child loads only its own kind

        return AuditProcess(boot, connection).run()
    separated = _confine(boot, settings)
    return uvloop.run(_serve(boot, connection, separated=separated))


def name_of(boot: Boot) -> str:
    """Name a process as the operator sees it: `edge-0`, `pages`, `audit`."""
    return f"{boot.kind}-{boot.worker}" if boot.kind == "edge" else boot.kind


def _worker(boot: Boot) -> Worker:
    if boot.kind == "edge":
        from gateway.server.edge_process import EdgeProcess  # noqa: PLC0415 - a child loads only its own kind

        return EdgeProcess(boot)
    if boot.kind == "custodian":
        from gateway.server.custody_process import CustodyProcess  # noqa: PLC0415 - a child loads only its own kind

        return CustodyProcess(boot)
    from gateway.server.pages_process import PagesProcess  # noqa: PLC0415 - a child loads only its own kind

    return PagesProcess(boot)


async def _serve(boot: Boot, connection: socket.socket, *, separated: bool) -> int:
    channel = await Channel.open(connection)
    worker = _worker(boot)
    try:
        await worker.start()
    except GatewayError as error:
        await channel.reply(Done(diagnostics=_diagnostics(error)))
        return EXIT_FAILED
    except Exception:  # noqa: BLE001 - the root of the process: logged, told, ended
        _log.exception("process.failed")
        await channel.reply(Done(diagnostics=(f"{name_of(boot)}: could not start; its log says why",)))
        return EXIT_FAILED
    await channel.reply(Done())
    drain: asyncio.Task[None] | None = None
    asked = asyncio.ensure_future(channel.next_request())
    while True:
        await asyncio.wait({asked, drain} if drain else {asked}, return_when=asyncio.FIRST_COMPLETED)
        if drain is not None and drain.done():
            asked.cancel()
            return _status(drain)
        try:
            request = asked.result()
            if isinstance(request, Drain):
                if drain is None:
                    drain = asyncio.create_task(
                        worker.drain(request.seconds, keeps_idle=request.keeps_idle), name="drain"
                    )
                else:
                    worker.hurry(request.seconds)
                reply: Reply = Done()
            else:
                reply = await _answer(worker, request)
            if isinstance(reply, Dumped):
                reply.samples.append(separation(name_of(boot), separated=separated))
            await channel.reply(reply)
        except ControlError:
            return EXIT_FAILED  # the supervisor is gone, and nobody would tell us of a reload or a stop
        asked = asyncio.ensure_future(channel.next_request())


def _status(drain: asyncio.Task[None]) -> int:
    if error := drain.exception():
        _log.error("process.failed", exc_info=error)
        return EXIT_FAILED
    return 0


async def _answer(worker: Worker, request: Request) -> Reply:
    try:
        match request:
            case Prepare(bundle=bundle):
                await asyncio.to_thread(worker.prepare, bundle)
            case Commit():
                worker.commit()
            case Dump():
                return worker.dump()
            case Serve():
                await worker.serve()
            case ShareLimits(is_shared=is_shared):
                worker.share_limits(is_shared=is_shared)
            case LastRequests():
                worker.last_requests()
            case _:
                return Done(diagnostics=("the request makes no sense to a child",))
    except GatewayError as error:
        return Done(diagnostics=_diagnostics(error))
    except Exception:  # noqa: BLE001 - a failed request must not end a serving process
        _log.exception("request.failed", request=type(request).__name__)
        return Done(diagnostics=("an error in the process; its log says which",))
    return Done()


def _diagnostics(error: GatewayError) -> tuple[str, ...]:
    return error.diagnostics if isinstance(error, ConfigurationError) else (str(error),)


def _confine(boot: Boot, settings: Settings) -> bool:
    """Keep a process that parses hostile bytes away from the audit trail: its files and its signing key.

    The custodian changes the files, and has no key but the one that opens them. Before the first thread starts: Landlock binds the calling thread and those it makes.
    """
    state_dir = Path(boot.state_dir)
    writable, unreadable = [*state_dir.glob("state.sqlite3*"), state_dir / "generations"], [settings.audit.keys]
    if boot.kind == "edge":
        writable += make_upload_places(state_dir)
    if boot.kind == "custodian":
        files = [sink.path.parent for sink in settings.audit.sinks if sink.path is not None]
        writable, unreadable = [*writable_places(state_dir), *files], [settings.audit.keys, settings.keyring]
    try:
        separated = confine(writable=writable, unreadable=unreadable)
    except OSError as error:
        _log.warning("process.not_separated", reason=error.strerror)
        return False
    if not separated:
        _log.warning("process.not_separated", reason="the kernel has no Landlock")
    return separated


if __name__ == "__main__":
    sys.exit(main())
