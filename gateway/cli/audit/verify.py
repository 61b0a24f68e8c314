"""`gateway audit verify`: prove that the log is what was written, and say how much of it that shows."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from gateway.audit.checkpoint import CheckpointError, Vkey
from gateway.audit.verify import Finding, Kind, Verdict
from gateway.cli.administration import read_settings
from gateway.cli.audit.showing import plain
from gateway.cli.invocation import DEFAULT_CONFIG, current
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.reader import verify_directory
from gateway.server.progress import Progress

MAX_SHOWN_INTENTS: Final = 20


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
    checkpoints = [(path.name, path.read_bytes()) for path in trusted]
    keys = None
    if directory is None or current().config is not DEFAULT_CONFIG:
        settings = read_settings()
        keys = AuditKeys.load(settings.audit.keys)
        layout = Layout(settings.state_dir)
        directory = directory or layout.directory
        if layout.checkpoint.exists():
            checkpoints.insert(0, ("checkpoint", layout.checkpoint.read_bytes()))
    with Progress("reading the audit log") as progress:
        verdict = verify_directory(
            directory,
            keys=keys,
            vkey=vkey,
            checkpoints=checkpoints,
            progress=lambda done, total: progress(f"verifying the audit log: {100 * done // max(total, 1)} %"),
        )
    _answer(verdict)
    click.get_current_context().exit(verdict.exit_code)


def _vkey(text: str | None) -> Vkey | None:
    try:
        return Vkey.parse(text) if text else None
    except CheckpointError as exc:
        raise click.BadParameter(str(exc), param_hint="--vkey") from exc


def _answer(verdict: Verdict) -> None:
    sentence = judge(verdict)
    value = {
        "ok": verdict.exit_code == 0,
        "exit_code": verdict.exit_code,
        "verdict": sentence,
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
    current().answer(value, "\n".join([*_lines(verdict.findings), sentence]))


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
