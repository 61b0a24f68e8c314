"""`gateway audit export --format tlog-tiles`: whole streams as directories that any C2SP monitor reads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from gateway.cli.administration import refuse
from gateway.cli.audit.asked import told
from gateway.cli.audit.use import record_use
from gateway.cli.invocation import current
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.tlog_tiles import TilesWritten, write_tlog_tiles
from gateway.server.progress import Progress
from gateway.server.settings import Settings

_KEPT = frozenset({"streams", "case"})
"""A tree is whole or it proves nothing: only streams can be chosen, and why."""


def export_tiles(
    settings: Settings, keys: AuditKeys, asked: Mapping[str, Any], output: Path | None, purpose: str
) -> None:
    """Write one directory a stream below `output`; the export is recorded before anything is written."""
    if output is None:
        raise click.UsageError("--format tlog-tiles needs -o DIRECTORY")
    narrowing = sorted(name for name in told(asked) if name not in _KEPT)
    if narrowing:
        raise click.UsageError(
            f"--format tlog-tiles writes whole streams, so that their proofs hold; leave away: {', '.join(narrowing)}"
        )
    if output.exists():
        refuse(f"{output}: exists already")
    record_use(
        settings,
        "audit export",
        {**told(asked), "format": "tlog-tiles", "output": str(output)},
        purpose,
        action="export",
    )
    streams = [Stream(name) for name in asked.get("streams") or STREAMS]
    written: list[TilesWritten] = []
    with Progress("writing tiles") as progress:

        def tell(stream: Stream, done: int, total: int) -> None:
            progress(f"writing {stream}: {100 * done // max(total, 1)} %")

        for stream in streams:
            found = write_tlog_tiles(
                Layout(settings.state_dir), keys, stream, output / stream, progress=partial(tell, stream)
            )
            if found is not None:
                written.append(found)
    if not written:
        refuse("the log has not begun: there is nothing to export")
    value = {
        "ok": True,
        "directory": str(output),
        "streams": {
            str(found.stream): {
                "origin": found.origin,
                "vkey": str(keys.vkey(found.origin)),
                "size": found.size,
                "first": found.first,
                "cosigned": found.cosigned,
            }
            for found in written
        },
    }
    current().answer(value, "\n".join(_sentence(found, output) for found in written))


def _sentence(found: TilesWritten, output: Path) -> str:
    kept = f", the first {found.first} of them pruned" if found.first else ""
    vouched = f"witnesses cosigned {found.cosigned}" if found.cosigned else "no witness cosigned any"
    return f"Wrote {output / found.stream}: {found.size} entries of {found.origin}{kept}; {vouched}"
