"""What every candidate can do: be prepared, started, asked, stopped."""

from __future__ import annotations

import abc
import contextlib
import http.client
import shutil
import subprocess
import urllib.parse
from pathlib import Path
from typing import ClassVar

from tests.bench import browser
from tests.bench.process import Program, StartError, wait_until
from tests.bench.site import BODY_BYTES, HOST, Site, free_port
from tests.bench.upstream import PAGE

START_S = 30.0
VERSION_S = 10.0


class MissingError(Exception):
    """A candidate cannot run on this machine; the text says what is missing and how to get it."""


class EvidenceError(Exception):
    """A candidate that keeps a log of proof has not kept it."""


class Candidate(abc.ABC):
    """One program under test, in one configuration."""

    name: str
    work: str
    """What it does for each request, for the table."""
    speaks_http2: ClassVar[bool] = False
    """Offers HTTP/2 on its TLS listener."""
    scales: ClassVar[bool] = False
    """Can be run with more workers than one."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.port = free_port()
        self.tls_port = free_port()
        self.cookie = ""
        """What the sign-in gave, for the Cookie field."""
        self.tls_cookie = ""
        """The same over TLS, where that is another session."""
        self.workers = 1
        self.answered = 0
        """Answers that load generators have counted."""
        self._program: Program | None = None

    # -- what each candidate says of itself

    @abc.abstractmethod
    def binary(self) -> str:
        """Return the path of the program. Raises MissingError."""

    @abc.abstractmethod
    def configure(self, room: Path) -> None:
        """Write its configuration into `room`. Raises MissingError."""

    @abc.abstractmethod
    def command(self, room: Path) -> list[str]:
        """Return what to execute in the foreground."""

    def version(self) -> str:
        """Return name and version as the program gives them."""
        return first_line([self.binary(), "-v"])

    def environment(self, room: Path) -> dict[str, str]:
        """Return additions to the environment."""
        del room
        return {}

    def sign_in(self) -> None:  # noqa: B027 - most candidates have no sessions
        """Obtain `self.cookie` in the way of a person. Nothing to do for a candidate without sessions."""

    def label(self, command_line: bytes) -> str:
        """Name one of the candidate's processes by its `/proc/PID/cmdline`; empty where they are all of one kind."""
        del command_line
        return ""

    def evidence(self) -> str:
        """Say, once stopped, what proves that the work was done; empty where nothing does. Raises EvidenceError."""
        return ""

    def close(self) -> None:  # noqa: B027 - most candidates have nothing beside them
        """End what runs beside the candidate (an identity provider)."""

    # -- the life of a candidate

    @property
    def url(self) -> str:
        """Return the origin of the plain listener."""
        return f"http://{HOST}:{self.port}"

    @property
    def tls_url(self) -> str:
        """Return the origin of the TLS listener."""
        return f"https://{HOST}:{self.tls_port}"

    @property
    def program(self) -> Program:
        """Return the running program. Raises StartError when it was not started."""
        if self._program is None:
            raise StartError(f"{self.name} is not running")
        return self._program

    def prepare(self) -> None:
        """Find the binary and write the configuration. Raises MissingError."""
        self.binary()
        self.configure(self.site.room(self.name))

    def start(self) -> float:
        """Start, wait for the first good answer, and return the seconds from exec to it. Raises StartError."""
        room = self.site.room(self.name)
        self._program = Program(
            self.command(room),
            cores=self.site.cores.proxy if self.workers == 1 else self.site.cores.all,
            output=room / "output",
            environment=self.environment(room),
            directory=room,
        )
        try:
            return wait_until(self.answers, self._program, seconds=START_S)
        except StartError:
            self.stop()
            raise

    def stop(self) -> None:
        """End the program, if it runs."""
        if self._program is not None:
            self._program.stop()
            self._program = None

    def fields(self, origin: str = "") -> list[tuple[str, str]]:
        """Return the request fields of a person's browser, signed in at `origin` (the plain one if none is given)."""
        portal = "PHPSESSID=0123456789abcdef0123456789; theme=light; _pk_id.1.1fff=5a3d0f6c9a3b2c1d.1732271000."
        own = (origin.startswith("https:") and self.tls_cookie) or self.cookie
        cookie = f"{portal}; {own}" if own else portal
        return [*browser.FIELDS, ("Cookie", cookie)]

    def ask(self, origin: str, path: str = PAGE, *, method: str = "GET") -> tuple[int, bytes]:
        """Make one request on a new connection. Raises OSError or http.client.HTTPException."""
        parts = urllib.parse.urlsplit(origin)
        connection = browser.connect(parts, timeout_s=5)
        try:
            connection.request(method, path, headers=dict(self.fields(origin)))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def serves(self, origin: str | None = None) -> bool:
        """Tell whether the upstream's page comes through."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, body = self.ask(origin or self.url)
            return status == http.HTTPStatus.OK and len(body) == BODY_BYTES
        return False

    def answers(self) -> bool:
        """Tell whether the candidate gives a good first answer: the page; with sessions and none yet, its sign-in."""
        return self.serves()

    def require_page(self, origin: str | None = None) -> None:
        """Make sure that the page comes through, signing in when it does not. Raises StartError."""
        if self.serves(origin):
            return
        self.sign_in()
        if not self.serves(origin):
            try:
                status, body = self.ask(origin or self.url)
            except (OSError, http.client.HTTPException) as exc:
                raise StartError(f"{self.name}: {exc}; {self.program.tail()}") from exc
            raise StartError(f"{self.name} answers {status} with {len(body)} bytes instead of the page: {body[:200]!r}")


def executable(name: str, *, hint: str, beside: Path | None = None) -> str:
    """Find a program beside the interpreter's, on the path or in the system's directories. Raises MissingError."""
    if beside is not None and (beside / name).is_file():
        return str(beside / name)
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if found is None:
        raise MissingError(f"no `{name}` on this machine ({hint})")
    return found


def first_line(command: list[str]) -> str:
    """Return the first line a program prints about itself, empty when it will not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=VERSION_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[0] if lines else ""
