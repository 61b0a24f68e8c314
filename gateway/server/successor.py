"""A new program seen from the supervisor that hands over to it: found, started, asked, given up.

What it says is `takeover`'s; when to hand over, and what becomes of the old one, is `supervisor`'s.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.exchange.errors import ConfigurationError
from gateway.exchange.metrics import Sample
from gateway.server.takeover import (
    Descriptors,
    Estate,
    Line,
    LogIsFree,
    M,
    Message,
    Prepared,
    Ready,
    Take,
    Taken,
    TakeOverError,
    send_estate,
)

TAKE_OVER_OPTION: Final = "--take-over"
LOG_WAIT_S: Final = 10.0
"""For the new audit process to open the log; edges keep their records meanwhile."""
_TAKE_WAIT_S: Final = 15.0
_KILL_WAIT_S: Final = 2.0


class Program:
    """Where this program was started from, so that what stands there later can be started the same way."""

    def __init__(self, config: Path) -> None:
        started = Path(sys.argv[0]).absolute()
        self._config = config
        self.path = str(started)
        # A link to the installation may point to another one later; our own children stay with this one.
        executable = Path(sys.executable)
        self.interpreter = str(executable.parent.resolve() / executable.name)

    def command(self, program: str, descriptor: int) -> list[str]:
        """Return the arguments with which a successor starts. Raises ConfigurationError when there is no such program."""
        path = program or self.path
        if not os.access(path, os.X_OK) or Path(path).is_dir():
            raise ConfigurationError(
                (f"{path}: is not a program that can be run; name the new gateway with --program",)
            )
        return [path, "run", "-c", str(self._config), TAKE_OVER_OPTION, str(descriptor)]


class Successor:
    """A new program from its start to the moment when everything is its own."""

    def __init__(self, pid: int, line: Line) -> None:
        self.pid = pid
        """Process id; nobody else's before we asked for its status, or passed that on to the keeper by ending."""
        self._line = line
        self._status: int | None = None
        self.ready: Ready | None = None
        """What it said of itself when it was ready."""

    @classmethod
    async def start(cls, program: Program, path: str, estate: Estate, descriptors: Descriptors) -> Successor:
        """Start the program at `path` and give it everything.

        Raises:
            ConfigurationError: there is no such program.
            TakeOverError: it cannot be run, or ended at once.

        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                pid = _spawn(program.command(path, theirs.fileno()), theirs)
            except OSError as error:
                ours.close()
                raise TakeOverError(f"{path or 'the program'}: cannot be run: {error.strerror}") from error
            except ConfigurationError:
                ours.close()
                raise
        ours.settimeout(_TAKE_WAIT_S)
        with suppress(TakeOverError):  # it ended: the next question says with what status
            await asyncio.to_thread(send_estate, ours, estate, descriptors)
        return cls(pid, await Line.open(ours))

    async def prepare(self, timeout_s: float) -> None:
        """Wait until it stands ready beside us. Raises ConfigurationError with what it says, TakeOverError."""
        await self._expect(Prepared, timeout_s, "was not ready")

    async def take_log(self) -> None:
        """Have it wait for the lock of the audit log. Raises like `prepare`."""
        await self._say(LogIsFree())

    async def show(self) -> None:
        """Wait until it serves in all but name. Raises like `prepare`."""
        self.ready = await self._expect(Ready, LOG_WAIT_S, "could not open the audit log and show that it works")

    async def take_all(self, samples: list[Sample]) -> None:
        """Have it serve, and go on counting from `samples`. Raises like `prepare`."""
        await self._say(Take(samples=samples))
        await self._expect(Taken, _TAKE_WAIT_S, "did not begin to serve")

    async def tell(self, message: Message) -> None:
        """Say something that nobody waits for; a successor that is gone needs it no more."""
        with suppress(TakeOverError):
            await self._line.send(message)

    async def receive(self) -> Message:
        """Wait for what it says by itself. Raises TakeOverError when it is gone."""
        return await self._line.receive()

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def hang_up(self) -> None:
        """Say nothing more; the process goes on."""
        self._line.close()

    async def give_up(self) -> None:
        """End it with everything it started."""
        self._line.close()
        if self._status is None:
            self.signal(signal.SIGKILL)
            with suppress(TimeoutError):
                async with asyncio.timeout(_KILL_WAIT_S):
                    await self._wait()

    async def _wait(self) -> int:
        """Wait for its end; returns its exit status, negative when a signal ended it.

        Only for one that failed: what becomes of one that serves is the keeper's to see, and the kernel tells it once.
        """
        if self._status is None:
            has_ended = asyncio.Event()
            descriptor = os.pidfd_open(self.pid)
            loop = asyncio.get_running_loop()
            loop.add_reader(descriptor, has_ended.set)
            try:
                await has_ended.wait()
            finally:
                loop.remove_reader(descriptor)
                os.close(descriptor)
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])  # noqa: ASYNC222 - it has ended
        return self._status

    async def _say(self, message: Message) -> None:
        try:
            await self._line.send(message)
        except TakeOverError as error:
            raise await self._explain(error) from error

    async def _expect(self, kind: type[M], timeout_s: float, what: str) -> M:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._line.expect(kind)
        except TimeoutError as error:
            raise TakeOverError(f"the new program {what} within {timeout_s:g} s") from error
        except TakeOverError as error:
            raise await self._explain(error) from error

    async def _explain(self, error: TakeOverError) -> TakeOverError:
        """Say with what status it ended, when that is what happened."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_KILL_WAIT_S):
                status = await self._wait()
                how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
                return TakeOverError(f"the new program {how} before it served; the log has what it said")
        return error


def _spawn(command: list[str], inherited: socket.socket) -> int:
    """Start a program that has `inherited` and no other descriptor; returns its process id. Raises OSError."""
    process = subprocess.Popen(  # noqa: S603 - whoever asks proved to be the gateway's user
        command,
        stdin=subprocess.DEVNULL,
        pass_fds=(inherited.fileno(),),
        start_new_session=True,  # Ctrl-C reaches it through us
    )
    process.returncode = 0  # else it would take its status from the kernel when it is forgotten
    return process.pid
