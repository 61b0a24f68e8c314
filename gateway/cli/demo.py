"""`gateway demo`: show the gateway in front of a demonstration portal until Ctrl-C, then leave nothing behind."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import click

from gateway.cli.invocation import current
from gateway.demo.announcement import announcement, as_json, people
from gateway.demo.configuration import CERTIFIED, Certificate, Ports
from gateway.demo.ports import PortTakenError, choose
from gateway.demo.run import Demo, DemoError
from gateway.server.certificate import self_signed

HTTPS, REDIRECT, ADMIN = 8443, 8080, 9090
_PORT = click.IntRange(1, 65535)


class _Steps:
    """A line for each step on standard error, with the time it took once the next one begins."""

    def __init__(self) -> None:
        self._begun = 0.0

    def __call__(self, step: str) -> None:
        """Begin `step`."""
        self.done()
        self._begun = time.monotonic()
        click.echo(f"  {step} ...", err=True, nl=False)

    def done(self) -> None:
        """End the step that runs, if one does."""
        if self._begun:
            click.echo(f" {time.monotonic() - self._begun:.1f} s", err=True)
            self._begun = 0.0


@click.command()
@click.option("--port", type=_PORT, help=f"HTTPS port on loopback.  [default: {HTTPS} or the next free one]")
@click.option(
    "--http-port", type=_PORT, help=f"Port that redirects to HTTPS.  [default: {REDIRECT} or the next free one]"
)
@click.option("--admin-port", type=_PORT, help=f"Port of probes and metrics.  [default: {ADMIN} or the next free one]")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="Work in this empty directory and keep it.")
def demo(port: int | None, http_port: int | None, admin_port: int | None, directory: Path | None) -> None:
    """Show the gateway in front of a demonstration portal.

    Makes keys, a certificate and three people, starts a portal and the gateway on loopback, and prints where they are
    and what to try. Ctrl-C stops everything and leaves nothing behind.
    """
    taken: set[int] = set()
    try:
        ports = Ports(
            https=choose(port, HTTPS, taken),
            redirect=choose(http_port, REDIRECT, taken),
            admin=choose(admin_port, ADMIN, taken),
        )
    except PortTakenError as error:
        raise click.UsageError(str(error)) from error
    certificate = Certificate(*self_signed(list(CERTIFIED), now=time.time()))
    if directory is None:
        place = Path(tempfile.mkdtemp(prefix="gateway-demo-"))
        try:
            sys.exit(asyncio.run(_show(Demo(place, ports, certificate))))
        finally:
            shutil.rmtree(place, ignore_errors=True)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise click.UsageError(f"{directory} is not an empty directory")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = asyncio.run(_show(Demo(directory, ports, certificate)))
    click.echo(f"Kept: {directory}", err=True)
    sys.exit(status)


async def _show(shown: Demo) -> int:
    """Run the demo until a signal or until one of its processes ends; return the exit status."""
    told_to_stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, told_to_stop.set)
    steps = _Steps()
    stopping = asyncio.create_task(told_to_stop.wait())
    running = asyncio.create_task(_run(shown, steps))
    try:
        await asyncio.wait({stopping, running}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            click.echo("\nStopping.", err=True)
            return 0
        click.echo(f"\ngateway demo: {running.result()}", err=True)
        return 1
    finally:
        stopping.cancel()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await shown.stop()


async def _run(shown: Demo, steps: _Steps) -> DemoError:
    try:
        await shown.start(steps)
        steps.done()
    except DemoError as error:
        return error
    invocation, now = current(), time.time()
    invocation.answer(as_json(shown, now), announcement(shown, now, coloured=sys.stdout.isatty()))
    sys.stdout.flush()
    if sys.stdin.isatty() and not invocation.json:
        click.echo("Press Enter for fresh codes (each is good for one sign-in), Ctrl-C to stop and remove everything.")
        asyncio.get_running_loop().add_reader(sys.stdin, _show_codes, shown)
    return await shown.ended()


def _show_codes(shown: Demo) -> None:
    if sys.stdin.readline():
        click.echo(people(shown.people, time.time()) + "\n")
    else:  # end of input
        asyncio.get_running_loop().remove_reader(sys.stdin)
