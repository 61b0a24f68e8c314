"""The pages about the audit log: a search, one record, what can be proven, and the same as a file to take along.

Nothing of the log is known here: who may see what, and that looking is recorded, is decided behind `desk.Evidence`. Texts of
records were written by anybody: they are shown with every character that could deceive as its escape.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, Literal
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import web

from gateway.audit import mapping
from gateway.audit.flat import AND, COLUMNS, NAMES, flatten, visible
from gateway.exchange.inquiry import MAX_ROWS, MAX_START
from gateway.exchange.stream import STREAMS, Stream
from gateway.exchange.subject import UNREADABLE
from gateway.inspection.learning import Suspicion
from gateway.pages.console.desk import Findings, Found, Sought
from gateway.pages.console.door import Inside
from gateway.pages.console.paging import SIZE, Paging, page_number, words_of
from gateway.pages.texts import marked
from gateway.pages.visit import Problem

FIELDS: Final = ("person", "resource", "request", "since", "until", "stream", "decision")
EVIDENCE: Final = "/.gateway/admin/evidence"
_TOO_MUCH: Final = 400
_AWAY: Final = 503
_MILLISECONDS: Final = 1000.0
_EXPORTS: Final = {"csv": "text/csv", "jsonl": "application/jsonl"}
_NOTICES: Final = {
    "away": marked(
        "The audit log cannot be read right now: the process that keeps it does not answer. Requests and their records are not affected. Please try again in a moment."
    ),
    "unrecorded": marked("Nothing is shown, because looking at the audit log could not be recorded. Please try again."),
    "busy": marked("The audit log is being searched already. Please try again in a moment."),
    "slow": marked("The search took too long and was ended. Narrow it, for example by time."),
    "many": marked("That is too much at once. Narrow the search, for example by time."),
    "failed": marked("The audit log could not be read. The gateway's journal says why."),
}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A record in the list."""

    found: Found
    at: float
    """Unix seconds."""
    columns: dict[str, str]
    """What `audit.flat` says, by name of the column."""
    actor: str
    """Name, or id, or nothing."""
    person: str
    """What to follow the person by; empty = nothing is known that would find them."""
    resource: str
    """`type/id`; empty = none that can be followed."""


async def show_evidence(inside: Inside, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """Show the search, and what it found once something was asked for."""
    inside.note("search evidence")
    query = inside.visit.request.query
    asked, sought, wrong = sought_of(query)
    if not any(name in query for name in FIELDS) or sought is None:
        return _list(inside, asked, wrong)
    number = min(page_number(query), MAX_START // SIZE)
    findings = await inside.console.evidence.search(
        inside.who, inside.visit.envelope.request_id, sought, start=(number - 1) * SIZE, size=SIZE
    )
    return _list(inside, asked, wrong, findings, number)


async def show_record(inside: Inside, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """Show one record in full."""
    inside.note("view record")
    matched = inside.visit.request.match_info
    findings = await inside.console.evidence.record(
        inside.who, inside.visit.envelope.request_id, Stream(matched["stream"]), int(matched["index"])
    )
    if findings.status == "none":
        raise web.HTTPNotFound
    line = line_of(findings.found[0]) if findings.found else None
    return inside.page(
        "console_record.html",
        status=_status(findings),
        here="evidence",
        notice=_NOTICES.get(findings.status, ""),
        line=line,
        fields=[] if line is None else fields_of(line),
        taken=0.0 if line is None else line.found.taken_in_ns / 1e9,
        written=""
        if line is None
        else "\n".join(map(visible, json.dumps(line.found.record, indent=2, ensure_ascii=False).split("\n"))),
        follow=follow,
        findings=() if line is None else stopped_of(line.found.record),
        exclusions="" if line is None else "".join(dict.fromkeys(exclusions_of(line.found.record, inside.now))),
    )


async def show_proof(inside: Inside, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """Show what can be proven of each stream, and by whom."""
    inside.note("view proof")
    findings = await inside.console.evidence.proof(inside.who, inside.visit.envelope.request_id)
    if findings.status == "none":
        raise web.HTTPNotFound
    return inside.page(
        "console_proof.html",
        status=_status(findings),
        here="evidence",
        notice=_NOTICES.get(findings.status, ""),
        standings=findings.standings,
        is_witnessed=findings.is_witnessed,
    )


async def export_evidence(inside: Inside, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """Hand out everything that was found, as CSV (RFC 4180) or JSON Lines; nothing where it is too much."""
    inside.note("export evidence")
    query = inside.visit.request.query
    asked, sought, wrong = sought_of(query)
    form = query.get("format", "csv")
    if sought is None or form not in _EXPORTS:
        return _list(inside, asked, wrong or frozenset({"format"}))
    findings = await inside.console.evidence.export(inside.who, inside.visit.envelope.request_id, sought)
    if findings.status != "ok":
        return _list(inside, asked, wrong, findings)
    lines = csv_lines(findings) if form == "csv" else json_lines(findings)
    body = await asyncio.to_thread(lambda: "".join(lines).encode())  # half a second, in which others want to sign in
    response = web.Response(body=body, content_type=_EXPORTS[form], charset="utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="evidence.{form}"'
    response.headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'; sandbox"
    return response


def sought_of(query: Mapping[str, str]) -> tuple[dict[str, str], Sought | None, frozenset[str]]:
    """Return what was typed, what it asks for, and which fields make no sense: then nothing is asked for."""
    asked = {name: words_of(query, name) for name in FIELDS}
    wrong = {name for name in ("since", "until") if asked[name] and moment_of(asked[name]) is None}
    if asked["stream"] not in {"", *STREAMS}:
        wrong.add("stream")
    if asked["decision"] not in {"", "allow", "deny"}:
        wrong.add("decision")
    if asked["resource"].startswith("/"):
        wrong.add("resource")
    if any(not value.isprintable() for value in asked.values()):
        wrong |= {name for name, value in asked.items() if not value.isprintable()}
    if wrong:
        return asked, None, frozenset(wrong)
    decisions: dict[str, Literal["", "allow", "deny"]] = {"allow": "allow", "deny": "deny"}
    sought = Sought(
        since=moment_of(asked["since"]) or 0.0,
        until=moment_of(asked["until"]) or 0.0,
        streams=(Stream(asked["stream"]),) if asked["stream"] else STREAMS,
        person=asked["person"],
        resource=asked["resource"],
        request_id=asked["request"],
        decision=decisions.get(asked["decision"], ""),
    )
    return asked, sought, frozenset()


def moment_of(text: str) -> float | None:
    """Read a time in UTC as a browser's field writes it (HTML, local date and time), in unix seconds; None when it is none."""
    for form in ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"):
        try:
            found = datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
        return found if found > 0 else None
    return None


def line_of(found: Found) -> Line:
    """Return a record as the list shows it."""
    row = flatten(found.record)
    columns = dict(zip(NAMES, row, strict=True))
    who = columns["actor"] or columns["actor_id"] or columns["account"] or columns["account_id"]
    kind, uid = columns["resource_type"], columns["resource_id"]
    followed = next(
        (
            columns[name]
            for name in ("actor", "actor_id", "account", "account_id")
            if columns[name] and columns[name] not in UNREADABLE
        ),
        "",
    )
    return Line(
        found=found,
        at=int(columns["time"]) / _MILLISECONDS if columns["time"].isdecimal() else found.taken_in_ns / 1e9,
        columns=columns,
        actor=who,
        person=followed,
        resource=f"{kind}/{uid}" if kind and uid and uid not in UNREADABLE else "",
    )


def fields_of(line: Line) -> list[tuple[str, str]]:
    """List what the record says, column by column, but for times and what is empty."""
    return [
        (column.name, line.columns[column.name].replace(AND, ", "))
        for column in COLUMNS
        if column.is_shown and column.name != "time" and line.columns[column.name]
    ]


def stopped_of(record: Mapping[str, object]) -> list[dict[str, str]]:
    """List what rules of the inspection found in the request of a record: rule, place, reading, score."""
    return [
        {
            name: visible(str(finding.get(name, "")))
            for name in ("rule", "position", "name", "reading", "score", "class")
        }
        for finding in findings_of(record)
    ]


def exclusions_of(record: Mapping[str, object], now: float) -> Iterator[str]:
    """Write for each finding the exclusion that would let it pass."""
    gw = _member(_member(record, "unmapped"), "gw")
    for finding in stopped_of(record):
        suspicion = Suspicion(
            rule=finding["rule"],
            attack=finding["class"],
            position=finding["position"],
            name=finding["name"],
            route=visible(str(gw.get("route", ""))),
            count=1,
            people=1,
            values=1,
        )
        yield suspicion.exclusion(datetime.fromtimestamp(now, UTC).date())


def findings_of(record: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Yield the findings of our own rules in a record."""
    told = _member(_member(_member(record, "unmapped"), "gw"), "inspection").get("waf")
    for verdict in told if isinstance(told, list) else ():
        found = verdict.get("findings") if isinstance(verdict, dict) else None
        yield from (finding for finding in (found if isinstance(found, list) else ()) if isinstance(finding, dict))


def _member(value: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def follow(name: str, value: str) -> str:
    """Write the address of everything that has one thing in common."""
    return f"{EVIDENCE}?{urlencode({name: value}, quote_via=quote)}"


def csv_lines(findings: Findings) -> Iterator[str]:
    """Yield the header and a line for each record."""
    yield mapping.csv_header()
    for found in findings.found:
        position = mapping.Position(found.origin, found.index, found.taken_in_ns)
        yield mapping.csv_line(mapping.to_row(found.record, position))


def json_lines(findings: Findings) -> Iterator[str]:
    """Yield a line for each record, as `gateway audit query --json` writes it, and its log; ASCII alone."""
    for found in findings.found:
        place = {
            "origin": found.origin,
            "stream": found.stream.value,
            "index": found.index,
            "ingest_time_ns": found.taken_in_ns,
        }
        yield json.dumps({"log": place, "record": found.record}) + "\n"


def _status(findings: Findings) -> int:
    if findings.status in {"ok", "none"}:
        return 200
    return _TOO_MUCH if findings.status == "many" else _AWAY


def _list(
    inside: Inside, asked: dict[str, str], wrong: frozenset[str], findings: Findings | None = None, number: int = 1
) -> web.Response:
    kept = {name: value for name, value in asked.items() if value}
    lines = [] if findings is None else [line_of(found) for found in findings.found]
    status = 200 if findings is None else _status(findings)
    return inside.page(
        "console_evidence.html",
        status=_TOO_MUCH if wrong else status,
        here="evidence",
        asked=asked,
        wrong=wrong,
        streams=[stream.value for stream in STREAMS],
        notice="" if findings is None else _NOTICES.get(findings.status, ""),
        is_searched=findings is not None and findings.status == "ok",
        is_damaged=findings is not None and findings.is_damaged,
        lines=lines,
        paging=_paging(number, kept, is_last=findings is None or not findings.more),
        is_cut=findings is not None and findings.more and number >= MAX_START // SIZE,
        exports=[
            (form, f"{EVIDENCE}/export?{urlencode({**kept, 'format': form}, quote_via=quote)}") for form in _EXPORTS
        ],
        most=MAX_ROWS,
        follow=follow,
    )


def _paging(number: int, kept: Mapping[str, str], *, is_last: bool) -> Paging:
    """Say what stands around a page of a list whose length nobody counted."""
    has_next = not is_last and number < MAX_START // SIZE
    kept = kept or {"stream": ""}
    return Paging(
        number=number,
        last=number + 1 if has_next else number,
        total=0,
        previous="?" + urlencode({**kept, "page": number - 1}) if number > 1 else "",
        next="?" + urlencode({**kept, "page": number + 1}) if has_next else "",
    )
