"""`gateway audit export`: give records to others, in their words or as a case that proves itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import msgspec
import orjson

from gateway import __version__
from gateway.audit import case, mapping
from gateway.audit.merkle import ProofError
from gateway.audit.subject import may_be_sealed
from gateway.cli.administration import read_settings, refuse
from gateway.cli.audit.answering import Answering
from gateway.cli.audit.asked import discreet, filters_of, search_options, told, watch
from gateway.cli.audit.query import EVERYTHING, csv_lines
from gateway.cli.audit.showing import plain
from gateway.cli.audit.sight import Sight
from gateway.cli.audit.tiles import export_tiles
from gateway.cli.audit.trust import policy_of, running_policy
from gateway.cli.audit.use import record_use
from gateway.cli.invocation import current
from gateway.exchange.stream import Stream
from gateway.ledger import producer
from gateway.ledger.case_file import MAX_RECORDS, collected, head_covering, prove, write_case
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.search import Filters, Found, Search
from gateway.ledger.sql import Sql
from gateway.server.progress import Progress
from gateway.server.settings import Settings

_FORMATS: Final = ("ocsf-jsonl", "ecs", "cef", "csv", "parquet", "tlog-tiles")


@click.command("export", short_help="Give records to others, with what proves them.")
@search_options
@click.option("--format", "form", type=click.Choice(_FORMATS), help="[default: ocsf-jsonl]")
@click.option("--sign", is_flag=True, help="Make a case: one archive with proofs, keys and a page that explains it.")
@click.option("--sealed", is_flag=True, help="Leave what is sealed under people's keys sealed.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A new file to write to.")
def export_verb(*, form: str | None, sign: bool, sealed: bool, output: Path | None, purpose: str, **asked: Any) -> None:
    """Write all records that are asked for, oldest first. The export is recorded before anything is written.

    With --sign, one archive that a lawyer can read and an expert can check without this gateway:
    `gateway audit verify FILE.tar`.
    """
    if sign and (form is not None or output is None or output.suffix != ".tar" or not asked["case"]):
        raise click.UsageError("--sign makes a case: give --case NAME and -o FILE.tar, and no --format")
    if form == "parquet" and output is None:
        raise click.UsageError("--format parquet needs -o FILE")
    settings = read_settings()
    keys = AuditKeys.load(settings.audit.keys)
    if form == "tlog-tiles":
        export_tiles(settings, keys, asked, output, purpose)
        return
    sql = Sql(EVERYTHING) if form == "parquet" else None  # what is not installed is told before
    with Answering(output, is_written_by_us=not sign and sql is None) as answering, Sight(settings) as sight:
        more = {"format": "case" if sign else form or "ocsf-jsonl"} | ({"output": str(output)} if output else {})
        record_use(settings, "audit export", {**discreet(asked, sight), **more}, purpose, action="export")
        damages: list[str] = []
        search = Search(settings.state_dir, keys, subject_keys=None if sealed else sight.keys, on_damage=damages.append)
        filters = filters_of(asked, sight)
        with Progress("reading the audit log") as progress:
            show = watch(progress, "reading the audit log")
            if sign and output is not None:
                _sign(settings, keys, search, filters, asked, purpose, damages, output, show)
            elif sql is not None and output is not None:
                with sql:
                    sql.load(
                        search.tables(filters, sql.names, progress=show),
                        keys=None if sealed else sight.keys,
                        output=output,
                    )
                    sql.write_parquet(output)
            else:
                found = search.find(filters, progress=show)
                for text in _LINES[form or "ocsf-jsonl"](search, found):
                    answering.write(text)
    for damage in damages:
        click.echo(f"warning: {plain(damage)}; run gateway audit verify", err=True)


def _ocsf(search: Search, found: Iterator[Found]) -> Iterator[str]:
    for position, each in _placed(search, found):
        yield _json(mapping.to_ocsf(each.record, position))


def _ecs(search: Search, found: Iterator[Found]) -> Iterator[str]:
    for position, each in _placed(search, found):
        yield _json(mapping.to_ecs(each.record, position))


def _cef(search: Search, found: Iterator[Found]) -> Iterator[str]:
    for position, each in _placed(search, found):
        yield mapping.to_cef(each.record, position) + "\n"


def _placed(search: Search, found: Iterator[Found]) -> Iterator[tuple[mapping.Position, Found]]:
    origins = search.origins()
    for each in found:
        yield mapping.Position(origins.get(each.stream, ""), each.index, each.stored.entry.time_ns), each


def _json(value: Mapping[str, Any]) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode() + "\n"


_LINES: Final[Mapping[str, Callable[[Search, Iterator[Found]], Iterable[str]]]] = {
    "ocsf-jsonl": _ocsf,
    "ecs": _ecs,
    "cef": _cef,
    "csv": csv_lines,
}


def _sign(  # noqa: PLR0917 - what one verb was asked for
    settings: Settings,
    keys: AuditKeys,
    search: Search,
    filters: Filters,
    asked: Mapping[str, Any],
    purpose: str,
    damages: list[str],
    output: Path,
    show: Callable[[int, int], None],
) -> None:
    found = list(search.find(filters, limit=MAX_RECORDS + 1, progress=show))
    if not found:
        refuse("no record was found: there is nothing to prove")
    if len(found) > MAX_RECORDS:
        raise click.UsageError(f"a case holds {MAX_RECORDS:,} records at most; narrow it, or make several")
    layout = Layout(settings.state_dir)
    witnesses = running_policy(settings)
    origins = search.origins()
    files: dict[str, bytes] = {}
    streams: list[case.Collected] = []
    try:
        for stream in Stream:
            indexes = [each.index for each in found if each.stream is stream]
            if not indexes:
                continue
            head = head_covering(layout, keys, stream, max(indexes))
            files |= prove(layout, keys, stream, sorted(indexes), head, progress=show)
            files[case.checkpoint_name(stream)] = head.note
            files[case.vkey_name(stream)] = f"{head.vkey}\n".encode()
            files[case.policy_name(stream)] = policy_of(head.vkey, witnesses).dump()
            streams.append(collected(stream, head, len(indexes)))
    except ProofError as error:
        refuse(f"cannot be proven: {error}")
    was_opened = any(
        may_be_sealed(each.stored.entry.payload) and each.record != case.stored_record(each.stored.entry.payload)
        for each in found
    )
    files[case.RECORDS] = b"".join(
        _line(each, origins, case.stored_record(each.stored.entry.payload)) for each in found
    )
    if was_opened:
        files[case.OPENED] = b"".join(_line(each, origins, each.record) for each in found)
    files[case.TABLE] = "".join(csv_lines(search, found)).encode()  # `case_judge` makes it again
    made_at = int(time.time())
    manifest = case.Manifest(
        case=plain(asked["case"]),
        made_at=datetime.fromtimestamp(made_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        made_by=plain(str(producer.operator()["user"]["name"])),
        reason=plain(purpose),
        gateway=__version__,
        asked={name: plain(value) for name, value in told(asked).items() if name != "case"},
        opened=was_opened,
        unreadable=tuple(map(plain, damages)),
        streams=tuple(streams),
    )
    files[case.MANIFEST] = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
    write_case(output, manifest, files, keys, made_at=made_at)
    value = {
        "ok": True,
        "file": str(output),
        "records": len(found),
        "streams": {each.stream: each.records for each in streams},
    }
    current().answer(
        value,
        f"Wrote {output}: {len(found):,} records, each with its proof. Check it with gateway audit verify {output}",
    )


def _line(each: Found, origins: Mapping[Stream, str], record: Mapping[str, Any]) -> bytes:
    return case.record_line(each.stream, origins.get(each.stream, ""), each.index, each.stored.entry.time_ns, record)
