"""The demo as a whole: a directory, a portal and a gateway in front of it as child processes, three people.

It uses the gateway as anyone does, through its program: `init`, `run`, `user add`. It owns its children and its
directory; `stop` ends and removes both.
"""

from __future__ import annotations

import asyncio
import os
import sys
import sysconfig
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from pathlib import Path

import aiohttp

from gateway.demo.configuration import Certificate, Ports, configure
from gateway.demo.people import Person, three_people
from gateway.demo.ports import LOOPBACK

PORTAL_START_S = 10.0
GATEWAY_START_S = 75.0
"""Longer than the supervisor waits for its own children, so that its reason is the one that is told."""
VERB_S = 60.0
STOP_S = 12.0
"""The gateway ends within 10 s of SIGTERM."""
POLL_S = 0.05
LINES_SHOWN = 15

PROGRAM = Path(sysconfig.get_path("scripts")) / "gateway"


class DemoError(Exception):
    """The demo cannot go on; the text says why, for the person at the terminal."""


class Demo:
    """One run of the demo. `start` once, then wait for `ended`, and `stop` in any case."""

    def __init__(self, directory: Path, ports: Ports, certificate: Certificate) -> None:
        self.directory = directory.resolve()
        self.ports = ports
        self.people: tuple[Person, ...] = ()
        self.certificate = certificate
        self.portal_port = 0
        self._portal: Process | None = None
        self._gateway: Process | None = None

    @property
    def config(self) -> Path:
        """The demo's gateway.yaml."""
        return self.directory / "gateway.yaml"

    @property
    def log(self) -> Path:
        """What the gateway wrote to its standard output and error."""
        return self.directory / "gateway.log"

    @property
    def url(self) -> str:
        """Where the portal is to be found, behind the gateway."""
        return f"https://{LOOPBACK}:{self.ports.https}"

    async def start(self, progress: Callable[[str], None]) -> None:
        """Bring everything up; `progress` is called with a line before each step.

        Raises:
            DemoError: a step failed or took too long.

        """
        progress("Making keys")
        await self._verb("init", str(self.directory))
        progress("Starting the portal")
        self.portal_port = await self._start_portal()
        configure(self.directory, self.ports, self.portal_port, self.certificate)
        progress("Starting the gateway")
        await self._start_gateway()
        people = three_people()
        for person in people:
            progress(f"Adding {person.name} of {person.tenant}")
            await self._add(person)
        self.people = people

    async def ended(self) -> DemoError:
        """Wait until the gateway or the portal ends by itself, and say which and why."""
        if self._gateway is None or self._portal is None:
            raise DemoError("the demo was not started")
        waits = {asyncio.ensure_future(process.wait()) for process in (self._gateway, self._portal)}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if self._gateway.returncode is not None:
            return self._gateway_died()
        return DemoError(f"the portal ended with status {self._portal.returncode}")

    async def stop(self) -> None:
        """End the gateway, then the portal; whatever does not end in time is killed."""
        for process in (self._gateway, self._portal):
            if process is not None and process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), STOP_S)
                except TimeoutError:
                    process.kill()
                    await process.wait()

    async def _start_portal(self) -> int:
        folder = self.directory / "portal"
        folder.mkdir()
        with (self.directory / "portal.log").open("wb") as log:
            self._portal = await asyncio.create_subprocess_exec(
                *self._tethered(sys.executable, "-m", "gateway.demo.portal", str(folder)),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=log,
                process_group=0,
            )
        if self._portal.stdout is None:
            raise DemoError("the portal has no standard output")
        try:
            line = await asyncio.wait_for(self._portal.stdout.readline(), PORTAL_START_S)
        except TimeoutError:
            line = b""
        if not line.strip().isdigit():
            raise DemoError(f"the portal did not start{_last_lines(self.directory / 'portal.log')}")
        return int(line)

    async def _start_gateway(self) -> None:
        with self.log.open("wb") as log:
            self._gateway = await asyncio.create_subprocess_exec(
                *self._tethered(str(PROGRAM), "run", "-c", str(self.config)),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C reaches the demo alone, which then stops its children in order
            )
        deadline = time.monotonic() + GATEWAY_START_S
        while not await self._is_ready():
            if self._gateway.returncode is not None:
                raise self._gateway_died()
            if time.monotonic() > deadline:
                raise DemoError(f"the gateway is not ready after {GATEWAY_START_S:.0f} s{_last_lines(self.log)}")
            await asyncio.sleep(POLL_S)

    async def _is_ready(self) -> bool:
        probe = f"http://{LOOPBACK}:{self.ports.admin}/readyz"
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as session,
                session.get(probe) as answer,
            ):
                return answer.status == 200  # noqa: PLR2004 - OK
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _add(self, person: Person) -> None:
        roles = [word for role in person.roles for word in ("--role", role)]
        await self._verb(
            "user", "add", person.name, "--tenant", person.tenant, *roles,
            "--password-stdin", "--totp-secret", person.secret, "-c", str(self.config),
            stdin=person.password + "\n",
        )  # fmt: skip

    async def _verb(self, *arguments: str, stdin: str = "") -> None:
        process = await asyncio.create_subprocess_exec(
            str(PROGRAM), *arguments, stdin=PIPE, stdout=DEVNULL, stderr=PIPE, process_group=0
        )
        try:
            _, complaint = await asyncio.wait_for(process.communicate(stdin.encode()), VERB_S)
        except BaseException as error:
            if process.returncode is None:
                process.kill()
                await process.wait()
            if isinstance(error, TimeoutError):
                raise DemoError(f"`gateway {arguments[0]}` took more than {VERB_S:.0f} s") from error
            raise
        if process.returncode != 0:
            said = complaint.decode(errors="replace").strip()
            raise DemoError(f"`gateway {arguments[0]}` failed with status {process.returncode}: {said}")

    def _tethered(self, *command: str) -> list[str]:
        return [sys.executable, "-m", "gateway.demo.tether", str(os.getpid()), *command]

    def _gateway_died(self) -> DemoError:
        status = self._gateway.returncode if self._gateway else None
        return DemoError(f"the gateway ended with status {status}{_last_lines(self.log)}")


def _last_lines(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "; it said last:\n" + "\n".join(lines[-LINES_SHOWN:]) if lines else ", without a word"
