"""`gateway audit`: prove the audit log, search it, watch it.

`verify` needs nothing but the files and tells how much that proves. `query` and `tail` show people's
data, so each use of them is itself in the log before anything is shown.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections import deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import orjson

from gateway.audit import record
from gateway.audit.checkpoint import CheckpointError, Vkey
from gateway.audit.verify import Finding, Kind, Verdict
from gateway.cli.administration import read_settings
from gateway.cli.invocation import DEFAULT_CONFIG, current
from gateway.cli.unbuilt import unbuilt
from gateway.document.quantity import duration
from gateway.exchange.route import Action
from gateway.ledger import producer
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.reader import Follower, Stored, entries, verify_directory
from gateway.server.progress import Progress
from gateway.server.settings import Settings

FOLLOW_S: Final = 0.5
MAX_SHOWN_INTENTS: Final = 20
_NOT_BUILT: Final = {
    "export": "`audit export` is not built yet; use gateway audit query --json",
    "prove": "`audit prove` is not built yet; use gateway audit verify",
}


@click.group(short_help="Verify and query the audit trail.")
def audit() -> None:
    """Prove the audit trail, search it, watch it."""


for _name, _sentence in _NOT_BUILT.items():
    audit.add_command(unbuilt(_name, _sentence))


# verify


@audit.command(short_help="Prove that the log is what was written.")
@click.argument("directory", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--trusted-checkpoint",
    "trusted",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A checkpoint that was kept elsewhere; the log must continue it.",
)
@click.option("--vkey", "vkey_text", help="The verifier key that must have signed the log.")
def verify(directory: Path | None, trusted: tuple[Path, ...], vkey_text: str | None) -> None:
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


# query and tail


def when(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """Read a moment: ISO 8601 (UTC where it names no zone), or a length of time before now."""
    if value is None:
        return None
    try:
        return time.time() - duration(value)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as exc:
        raise click.BadParameter("write a time such as 2026-11-22T14:00:00Z, a date, or a length such as 15m") from exc
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@audit.command(short_help="Search the log.")
@click.option("--user", help="Name or id of a person.")
@click.option("--tenant")
@click.option("--route", help="Name of a route.")
@click.option("--action", type=click.Choice([*(action.value for action in Action), "login", "logout"]))
@click.option("--decision", type=click.Choice(["allow", "deny"]))
@click.option("--status", type=click.IntRange(100, 599), help="HTTP status of the answer.")
@click.option("--since", callback=when, help="A time, or a length of time before now: 15m, 2d.")
@click.option("--until", callback=when)
@click.option("--resource", help="TYPE or TYPE/ID of what was accessed.")
@click.option("--request-id", "request_id")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Show the newest so many.")
@click.option("--reason", "purpose", default="", help="Why you look; it is recorded.")
def query(limit: int, purpose: str, **asked: Any) -> None:
    """Show records, oldest first. The query itself is recorded before anything is shown."""
    filters = {name: value for name, value in asked.items() if value is not None}
    settings = read_settings()
    keys = AuditKeys.load(settings.audit.keys)
    record_use(settings, "audit query", {name: str(value) for name, value in filters.items()}, purpose)
    damages: list[str] = []
    since_ns = int(filters.get("since", 0) * 1e9)
    found: deque[tuple[Stored, dict[str, Any]]] = deque(maxlen=limit)
    with Progress("searching the audit log"):
        for stored in entries(Layout(settings.state_dir).directory, keys, since_ns=since_ns, on_damage=damages.append):
            read = parse(stored)
            if matches(read, filters):
                found.append((stored, read))
    for stored, read in found:
        _show(stored, read)
    for damage in damages:
        click.echo(f"warning: {damage}; run gateway audit verify", err=True)


@audit.command(short_help="Show the newest records.")
@click.option("-n", "--lines", "count", type=click.IntRange(0), default=10, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option("--reason", "purpose", default="", help="Why you look; it is recorded.")
def tail(count: int, follow: bool, purpose: str) -> None:  # noqa: FBT001 - click's signature
    """Show the newest records. The use of this verb is itself recorded before anything is shown."""
    settings = read_settings()
    keys = AuditKeys.load(settings.audit.keys)
    record_use(settings, "audit tail", {"follow": str(follow).lower()}, purpose)
    follower = Follower(Layout(settings.state_dir).directory, keys)
    for stored in follower.last(count):
        _show(stored, parse(stored))
    try:
        while follow:
            time.sleep(FOLLOW_S)
            for stored in follower.poll():
                _show(stored, parse(stored))
    except KeyboardInterrupt:
        click.echo(err=True)


def record_use(settings: Settings, operation: str, filters: Mapping[str, str], purpose: str) -> None:
    """Record that somebody looks at the log, before anything is shown. Raises `AuditUnavailableError`: then nothing may be."""
    build = partial(
        record.administration,
        operation=operation,
        actor=producer.operator(),
        action="view",
        resources=[("audit_log", record.LOG_NAME)],
        detail=purpose,
        more={"query": dict(filters)},
    )
    producer.append(settings.state_dir, settings.audit.keys, [build])


def parse(stored: Stored) -> dict[str, Any]:
    """Return the record of an entry; one that is no JSON object is shown as what it is, never left out."""
    try:
        read = orjson.loads(stored.entry.payload)
    except orjson.JSONDecodeError:
        read = None
    return read if isinstance(read, dict) else {"raw": stored.entry.payload.decode("utf-8", "backslashreplace")}


def _at(read: Mapping[str, Any], *path: str) -> Any:
    value: Any = read
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _people(read: Mapping[str, Any]) -> set[Any]:
    return {
        _at(read, *path)
        for path in (("actor", "user", "uid"), ("actor", "user", "name"), ("user", "uid"), ("user", "name"))
    } | {event.get(name) for event in _list(_at(read, "unmapped", "gw", "events")) for name in ("user", "user_id")}


def _list(value: Any) -> list[dict[str, Any]]:
    return [member for member in value if isinstance(member, dict)] if isinstance(value, list) else []


def matches(read: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    """Tell whether a record is asked for; every filter must fit."""
    for name, wanted in filters.items():
        match name:
            case "user":
                fits = wanted in _people(read)
            case "tenant":
                fits = _at(read, "metadata", "tenant_uid") == wanted
            case "route":
                fits = _at(read, "unmapped", "gw", "route") == wanted
            case "action":
                fits = _at(read, "unmapped", "gw", "action") == wanted
            case "decision":
                fits = _at(read, "action_id") == (1 if wanted == "allow" else 2)
            case "status":
                fits = _at(read, "http_response", "code") == wanted
            case "since":
                fits = _time_ms(read) >= wanted * 1000
            case "until":
                fits = _time_ms(read) < wanted * 1000
            case "resource":
                kind, _, uid = wanted.partition("/")
                fits = any(
                    member.get("type") == kind and (not uid or member.get("uid") == uid)
                    for member in _list(read.get("resources"))
                )
            case _:
                fits = wanted in (_at(read, "metadata", "correlation_uid"), _at(read, "http_request", "uid"))
        if not fits:
            return False
    return True


def _time_ms(read: Mapping[str, Any]) -> int:
    value = read.get("time")
    return value if isinstance(value, int) else 0


def _show(stored: Stored, read: Mapping[str, Any]) -> None:
    if current().json:
        place = {"index": stored.index, "ingest_time_ns": stored.entry.time_ns, "slot": stored.entry.slot}
        click.echo(json.dumps({"log": place, "record": read}, ensure_ascii=True))
    else:
        click.echo(plain(line(stored, read)))


def line(stored: Stored, read: Mapping[str, Any]) -> str:
    """Return a record as one line for people: when, who, what, from where, and what came of it."""
    moment = datetime.fromtimestamp((_time_ms(read) or stored.entry.time_ns // 1_000_000) / 1000, UTC)
    gw = _at(read, "unmapped", "gw") or {}
    who = _at(read, "actor", "user", "name") or _at(read, "user", "name") or "-"
    tenant = _at(read, "metadata", "tenant_uid")
    words = [
        str(stored.index),
        moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z",
        f"{who}@{tenant}" if tenant else str(who),
    ]
    if "http_request" in read:
        decision = {1: "allow", 2: "deny"}.get(read.get("action_id", 0), "-")
        words += [
            str(_at(read, "http_request", "http_method")),
            str(_at(read, "http_request", "url", "path")),
            str(_at(read, "http_response", "code") or "-"),
            decision,
            f"route={gw.get('route', '-')}",
            f"reason={gw.get('reason', '-')}",
            f"phase={gw.get('phase', '-')}",
            f"from={_at(read, 'src_endpoint', 'ip') or '-'}",
            f"request={_at(read, 'metadata', 'correlation_uid')}",
        ]
    elif "raw" in read:
        words.append(str(read["raw"]))
    else:
        words.append(str(_at(read, "api", "operation") or gw.get("event", "-")))
        words += [f"{name}={gw[name]}" for name in ("reason", "outcome") if gw.get(name) not in (None, "completed")]
        detail = read.get("status_detail")
        words += [f"detail={detail}"] if detail else []
    return " ".join(words)


def plain(text: str) -> str:
    """Return text that cannot move the cursor or colour the terminal (attack: escape sequences in a user agent)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
