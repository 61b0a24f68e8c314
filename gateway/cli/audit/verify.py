"""`gateway audit verify`: prove that the log is what was written, and say how much of it that shows."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from gateway.audit.checkpoint import CheckpointError, Vkey
from gateway.audit.verify import Finding, Kind, Verdict
from gateway.cli.administration import read_settings
from gateway.cli.audit.showing import plain
from gateway.cli.invocation import DEFAULT_CONFIG, current
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.reader import list_files, verify_directory
from gateway.server.progress import Progress

MAX_SHOWN_INTENTS: Final = 20
SEVERITY: Final = (0, 3, 1)
"""Exit codes, the worst last."""


@click.command("verify", short_help="Prove that the log is what was written.")
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--trusted-checkpoint",
    "trusted",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A checkpoint that was kept elsewhere; the log must continue it.",
)
@click.option("--vkey", "vkey_text", help="The verifier key that must have signed the log.")
def verify_verb(directory: Path | None, trusted: tuple[Path, ...], vkey_text: str | None) -> None:
    """Prove that the log in DIRECTORY, or of the gateway of -c, is what was written.

    With -c the keys decrypt every record and the last published checkpoint says how long the log is; a bare
    DIRECTORY is checked without keys. Exit 0 intact, also while the gateway writes; 1 a finding; 3 nothing
    wrong, but the end or the contents cannot be proven with what was given.
    """
    vkey = _vkey(vkey_text)
    checkpoints: dict[Stream, list[tuple[str, bytes]]] = {stream: [] for stream in STREAMS}
    keys = None
    if directory is None or current().config is not DEFAULT_CONFIG:
        settings = read_settings()
        keys = AuditKeys.load(settings.audit.keys)
        layout = Layout(settings.state_dir)
        directory = directory or layout.directory
        for stream in STREAMS:
            if layout.checkpoint(stream).exists():
                checkpoints[stream].append(("checkpoint", layout.checkpoint(stream).read_bytes()))
    for path in trusted:
        note = path.read_bytes()
        checkpoints[_stream_of(note.partition(b"\n")[0].decode("utf-8", "replace"))].append((path.name, note))
    chosen = (
        [_stream_of(vkey.name)] if vkey is not None else [s for s in STREAMS if checkpoints[s] or _has(directory, s)]
    )
    verdicts: dict[Stream, Verdict] = {}
    with Progress("reading the audit log") as progress:
        for stream in chosen or STREAMS[:1]:
            watch = partial(_watch, progress, stream)
            verdicts[stream] = verify_directory(
                directory, stream, keys=keys, vkey=vkey, checkpoints=checkpoints[stream], progress=watch
            )
    click.get_current_context().exit(_answer(verdicts))


def _watch(progress: Progress, stream: Stream, done: int, total: int) -> None:
    progress(f"verifying the {stream} log: {100 * done // max(total, 1)} %")


def _stream_of(origin: str) -> Stream:
    """Return the stream that the origin of a log names; what names none is judged with the first."""
    return next((stream for stream in STREAMS if origin.endswith(f"/{stream}")), STREAMS[0])


def _has(directory: Path, stream: Stream) -> bool:
    """Tell whether there is anything of a stream, or to be explained by it."""
    return directory.exists() and any(list_files(directory, stream))


def _vkey(text: str | None) -> Vkey | None:
    try:
        return Vkey.parse(text) if text else None
    except CheckpointError as exc:
        raise click.BadParameter(str(exc), param_hint="--vkey") from exc


def _answer(verdicts: Mapping[Stream, Verdict]) -> int:
    """Show what is proven of each stream; return the exit code of the worst."""
    worst = max((verdict.exit_code for verdict in verdicts.values()), key=SEVERITY.index)
    lines: list[str] = []
    for stream, verdict in verdicts.items():
        lines += [*_lines(verdict.findings), f"{stream}: {judge(verdict)}"]
    value = {
        "ok": worst == 0,
        "exit_code": worst,
        "streams": {stream.value: _value(verdict) for stream, verdict in verdicts.items()},
    }
    current().answer(value, "\n".join(lines))
    return worst


def _value(verdict: Verdict) -> dict[str, Any]:
    return {
        "exit_code": verdict.exit_code,
        "verdict": judge(verdict),
        "origin": verdict.origin,
        "vkey": verdict.vkey,
        "size": verdict.size,
        "proven": verdict.proven,
        "root": b64encode(verdict.root).decode(),
        "files": verdict.files,
        "first_time": _moment(verdict.first_ns),
        "last_time": _moment(verdict.last_ns),
        "findings": [_finding(finding) for finding in verdict.findings if finding.is_failure],
        "declared": [_finding(finding) for finding in verdict.findings if not finding.is_failure],
    }


def _lines(findings: Iterable[Finding]) -> list[str]:
    """Return one line for each finding; open intents, which a busy log always has, are summed up past a number."""
    lines: list[str] = []
    intents = 0
    for finding in findings:
        if finding.kind is Kind.OPEN_INTENT:
            intents += 1
            if intents > MAX_SHOWN_INTENTS:
                continue
        lines.append(plain(str(finding)))
    if intents > MAX_SHOWN_INTENTS:
        lines.append(f"{Kind.OPEN_INTENT.value} and {intents - MAX_SHOWN_INTENTS} more")
    return lines


def _finding(finding: Finding) -> dict[str, Any]:
    place: dict[str, Any] = {"kind": finding.kind.value, "message": finding.message}
    if finding.file:
        place["file"] = finding.file
    if finding.offset >= 0:
        place["offset"] = finding.offset
    if finding.first_index >= 0:
        place["first_index"] = finding.first_index
        place["last_index"] = max(finding.first_index, finding.last_index)
    return place


def judge(verdict: Verdict) -> str:
    """Return the sentence that says what is proven, and by whom."""
    proven = f"entries 0 to {verdict.proven - 1}" if verdict.proven else "no entry"
    if verdict.exit_code == 1:
        count = len(verdict.failures)
        return f"NOT INTACT: {count} finding{'s' * (count > 1)}; {proven} before the first of them proven"
    span = f", taken in from {_moment(verdict.first_ns)} to {_moment(verdict.last_ns)}" if verdict.first_ns else ""
    if verdict.exit_code == 0:
        return (
            f"intact: {proven} of {verdict.origin} are what the log's key signed{span}; the end is proven by the "
            f"{verdict.tail}; signed by this node alone, no witness"
        )
    if not verdict.files:
        return "there is no log yet, and nothing says that there should be one: nothing is proven"
    lacking = []
    if not verdict.has_contents:
        lacking.append("the records could not be decrypted and hashed (give -c gateway.yaml)")
    if not verdict.tail:
        lacking.append(
            "nothing says how long the log should be, so its end may have been cut off (give -c or --trusted-checkpoint)"
        )
    return f"nothing wrong in {verdict.size} entries of {verdict.origin or 'no log'}{span}, but: " + "; ".join(lacking)


def _moment(time_ns: int) -> str:
    if not time_ns:
        return ""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
