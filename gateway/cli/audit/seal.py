"""`gateway audit seal`: have closed log files become segments now."""

from __future__ import annotations

import time
from typing import Final

import click

from gateway.cli.administration import read_settings, refuse
from gateway.cli.audit.custody import custody, record_act
from gateway.cli.invocation import current
from gateway.custody.custodian import CustodyBusyError
from gateway.custody.sealing import SealError, Sealing, closed_files
from gateway.exchange.stream import STREAMS
from gateway.ledger.errors import LogBusyError
from gateway.ledger.layout import Layout, segment_name
from gateway.server.progress import Progress
from gateway.server.settings import Settings

_WAIT_S: Final = 60.0
_POLL_S: Final = 0.2


@click.command("seal", short_help="Seal closed log files into segments.")
def seal_verb() -> None:
    """Seal every log file that is followed by another one.

    A running gateway does so by itself; then this waits until nothing is left. With the gateway stopped, this seals.
    """
    settings = read_settings()
    record_act(settings, "audit.seal_asked")
    try:
        sealed, problems = _seal(settings)
    except (CustodyBusyError, LogBusyError):
        sealed, problems = [], _wait(Layout(settings.state_dir))
    lines = [f"sealed {name}" for name in sealed] + problems
    current().answer(
        {"ok": not problems, "sealed": sealed, "errors": problems},
        "\n".join(lines or ["nothing waits to be sealed"]),
    )
    if problems:
        raise click.exceptions.Exit(1)


def _seal(settings: Settings) -> tuple[list[str], list[str]]:
    sealed: list[str] = []
    problems: list[str] = []
    with custody(settings) as station, Progress("sealing the audit log"):
        waiting = [(stream, number) for stream in STREAMS for number in closed_files(station.layout, stream)]
        for stream, number in waiting:
            try:
                for _ in Sealing(station.layout, station.keys, stream, number, trail=station.trail).steps():
                    pass
            except SealError as error:
                problems.append(f"{error}; run gateway audit verify")
            else:
                sealed.append(segment_name(stream, number))
    return sealed, problems


def _wait(layout: Layout) -> list[str]:
    deadline = time.monotonic() + _WAIT_S
    with Progress("the gateway is sealing"):
        while waiting := [(stream, number) for stream in STREAMS for number in closed_files(layout, stream)]:
            if time.monotonic() >= deadline:
                if not layout.socket.exists():
                    refuse("another process has the custody of the audit log; try again when it has ended")
                return [f"{len(waiting)} closed files are not sealed; the log of the gateway says why"]
            time.sleep(_POLL_S)
    return []
