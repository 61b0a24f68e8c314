"""`gateway audit recover --dry-run`: what the next start makes of what the last run left. It changes nothing."""

from __future__ import annotations

import os
from typing import Any

import click

from gateway.cli.administration import read_settings, refuse
from gateway.cli.audit.showing import plain
from gateway.cli.invocation import current
from gateway.exchange.errors import ConfigurationError
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.disk import LocalDisk
from gateway.ledger.errors import LogBusyError, LogTamperedError
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.lock import lock_log
from gateway.ledger.recovery import End, find_end


@click.command("recover", short_help="Show what the next start would do about a crash.")
@click.option(
    "--dry-run", is_flag=True, help="Needed: every start recovers by itself; this only shows what it would do."
)
def recover_verb(*, dry_run: bool) -> None:
    """Show, with the gateway stopped, where each log would be continued and what a crash left that would be discarded.

    Exit 0 when every log would be continued; 1 when one is not what was written, and the gateway would refuse to start.
    """
    if not dry_run:
        raise click.UsageError("each start of the gateway recovers; --dry-run shows what it would do")
    settings = read_settings()
    layout, keys = Layout(settings.state_dir), AuditKeys.load(settings.audit.keys)
    found = [_look(layout, keys, stream) for stream in STREAMS] if layout.directory.exists() else []
    lines = [plain(each["sentence"]) for each in found] or ["there is no log yet: the first start begins one"]
    is_well = all(each["continues"] for each in found)
    current().answer({"ok": is_well, "streams": found}, "\n".join(lines))
    if not is_well:
        raise click.exceptions.Exit(1)


def _look(layout: Layout, keys: AuditKeys, stream: Stream) -> dict[str, Any]:
    try:
        lock = lock_log(layout, stream)
    except LogBusyError:
        refuse("the gateway runs, so nothing waits to be recovered; gateway audit verify judges what it writes")
    except OSError as error:
        raise ConfigurationError((f"{layout.lock(stream)}: {os.strerror(error.errno or 0).lower()}",)) from error
    try:
        end = find_end(layout, keys, stream, disk=LocalDisk(), random=os.urandom, is_trial=True)
    except LogTamperedError as error:
        return {"stream": stream.value, "continues": False, "sentence": f"{stream}: {error}"}
    except OSError as error:
        path = error.filename or layout.directory
        raise ConfigurationError((f"{path}: {os.strerror(error.errno or 0).lower()}",)) from error
    finally:
        os.close(lock)
    recovery = end.recovery
    return {
        "stream": stream.value,
        "continues": True,
        "size": recovery.size,
        "file": recovery.file,
        "discarded_bytes": recovery.discarded_bytes,
        "discarded_sha256": recovery.discarded_sha256,
        "was_interrupted": recovery.was_interrupted,
        "missing_files": list(recovery.missing_files),
        "open_intents": _intents(end),
        "sentence": f"{stream}: {_sentence(end)}",
    }


def _intents(end: End) -> int:
    return len(end.verifier.intents) if end.verifier is not None else 0


def _sentence(end: End) -> str:
    recovery, intents = end.recovery, _intents(end)
    if recovery.is_new:
        return "a new log begins"
    said = [f"goes on at entry {recovery.size}, in a file after {recovery.file}"]
    if recovery.discarded_bytes:
        what = "a write that was interrupted" if recovery.was_interrupted else "no write of ours: look at it first"
        said.append(
            f"{recovery.discarded_bytes} bytes behind it are discarded ({what}; SHA-256 {recovery.discarded_sha256})"
        )
    else:
        said.append("nothing is discarded")
    if recovery.missing_files:
        said.append(f"files before it are missing: {', '.join(map(str, recovery.missing_files))}")
    if intents:
        many = "1 intent is" if intents == 1 else f"{intents} intents are"
        said.append(f"{many} closed with the outcome unknown")
    return "; ".join(said)
