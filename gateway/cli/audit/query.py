"""`gateway audit query`: search the log, by filters or by a SELECT."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from gateway.audit import mapping
from gateway.cli.administration import read_settings
from gateway.cli.audit.answering import Answering, as_cell, as_json
from gateway.cli.audit.asked import MAX_SQL, discreet, discreet_sql, filters_of, search_options, watch
from gateway.cli.audit.proof_files import make_place, write_proofs
from gateway.cli.audit.showing import entry_json, line, plain
from gateway.cli.audit.sight import Sight
from gateway.cli.audit.use import record_use
from gateway.cli.invocation import current
from gateway.document.quantity import size
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.search import Filters, Found, Search
from gateway.ledger.sql import MEMORY_BYTES, Sql
from gateway.server.progress import Progress

LIMIT: Final = 100
EVERYTHING: Final = "SELECT * EXCLUDE (record) FROM records ORDER BY time"


def _bytes(_context: click.Context, _parameter: click.Parameter, value: str) -> int:
    try:
        return size(value)
    except ValueError as exc:
        raise click.BadParameter("write a size such as 2GiB") from exc


@click.command("query", short_help="Search the log.")
@search_options
@click.option("--sql", "question", help="One SELECT about the view `records`; needs DuckDB.")
@click.option(
    "--memory",
    callback=_bytes,
    default=f"{MEMORY_BYTES >> 20}MiB",
    show_default=True,
    help="At most so much for --sql.",
)
@click.option("--format", "form", type=click.Choice(["table", "json", "csv", "parquet"]), help="[default: table]")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="A new file to write to.")
@click.option(
    "--limit", type=click.IntRange(1), help=f"Show the newest so many, of --sql the first.  [default: {LIMIT}]"
)
@click.option(
    "--with-proofs",
    "proofs",
    type=click.Path(path_type=Path, file_okay=False),
    help="A new directory for a tlog-proof of each record that is shown.",
)
def query_verb(
    *,
    question: str | None,
    memory: int,
    form: str | None,
    output: Path | None,
    limit: int | None,
    proofs: Path | None,
    purpose: str,
    **asked: Any,
) -> None:
    """Show records, oldest first. The query itself is recorded before anything is shown.

    With --sql, the filters choose which records the view holds. docs/audit.md lists its columns.
    """
    form = form or ("json" if current().json else "table")
    if form == "parquet" and output is None:
        raise click.UsageError("--format parquet needs -o FILE")
    if form == "parquet" and limit is not None:
        raise click.UsageError("--format parquet takes no --limit; write LIMIT into --sql")
    if proofs is not None and (question is not None or form == "parquet"):
        raise click.UsageError("--with-proofs proves records; the rows of --sql and of parquet are none")
    if form == "parquet" and question is None:
        question = EVERYTHING
    if question is not None and len(question) > MAX_SQL:  # attack: spaces, until the rest would not be recorded
        raise click.UsageError(f"--sql takes {MAX_SQL:,} characters at most, because all of it is recorded")
    settings = read_settings()
    keys = AuditKeys.load(settings.audit.keys)
    sql = Sql(question, memory_bytes=memory) if question is not None else None  # what makes no sense is told before
    with Answering(output, is_written_by_us=form != "parquet") as answering, Sight(settings) as sight:
        more = discreet_sql(question, sight) if question is not None else {}
        more |= {"output": str(output), "format": form} if output is not None else {}
        if proofs is not None:
            make_place(proofs)
            more |= {"proofs": str(proofs)}
        record_use(settings, "audit query", {**discreet(asked, sight), **more}, purpose)
        damages: list[str] = []
        search = Search(settings.state_dir, keys, subject_keys=sight.keys, on_damage=damages.append)
        filters = filters_of(asked, sight)
        if sql is not None:
            _ask(sql, search, filters, sight, answering, form, limit, output)
        else:
            found = _show(search, filters, answering, form, limit or LIMIT)
            if proofs is not None:
                with Progress("proving what was found") as progress:
                    count = write_proofs(
                        proofs, Layout(settings.state_dir), keys, found, watch(progress, "proving what was found")
                    )
                click.echo(f"wrote {count:,} proofs to {proofs}; check one with gateway audit check-proof", err=True)
    for damage in damages:
        click.echo(f"warning: {plain(damage)}; run gateway audit verify", err=True)


def _show(search: Search, filters: Filters, answering: Answering, form: str, limit: int) -> list[Found]:
    with Progress("searching the audit log") as progress:
        found = list(
            search.find(
                filters, limit=limit + 1, newest_first=True, progress=watch(progress, "searching the audit log")
            )
        )
    is_more = len(found) > limit
    found = found[:limit]
    found.reverse()
    for text in _lines(search, found, form):
        answering.write(text)
    if is_more:
        click.echo(
            f"these are the newest {limit:,}, and there are older ones: --limit shows more, audit export all", err=True
        )
    elif not found:
        click.echo("no record was found", err=True)
    return found


def _lines(search: Search, found: Iterable[Found], form: str) -> Iterable[str]:
    if form == "json":
        return (entry_json(each.stored, each.record) + "\n" for each in found)
    if form == "csv":
        return csv_lines(search, found)
    return (plain(line(each.stored, each.record)) + "\n" for each in found)


def csv_lines(search: Search, found: Iterable[Found]) -> Iterable[str]:
    """Yield the header and a line for each record."""
    origins = search.origins()
    yield mapping.csv_header()
    for each in found:
        position = mapping.Position(origins.get(each.stream, ""), each.index, each.stored.entry.time_ns)
        yield mapping.csv_line(mapping.to_row(each.record, position))


def _ask(  # noqa: PLR0917 - what one verb was asked for
    sql: Sql,
    search: Search,
    filters: Filters,
    sight: Sight,
    answering: Answering,
    form: str,
    limit: int | None,
    output: Path | None,
) -> None:
    with sql:
        with Progress("reading the audit log") as progress:
            tables = search.tables(filters, sql.names, progress=watch(progress, "reading the audit log"))
            sql.load(tables, keys=sight.keys, output=output if form == "parquet" else None)
            progress("asking")
            if form == "parquet" and output is not None:
                sql.write_parquet(output)
                return
            names, rows = sql.rows()
        if form == "table":
            _table(names, rows, answering, limit or LIMIT)
            return
        if form == "csv":
            answering.write(mapping.csv_line(tuple(map(as_cell, names))))
        for count, row in enumerate(rows):
            if limit is not None and count >= limit:
                break
            if form == "csv":
                answering.write(mapping.csv_line(tuple(map(as_cell, row))))
            else:
                answering.write(as_json(names, row) + "\n")


def _table(names: Sequence[str], rows: Iterable[Sequence[Any]], answering: Answering, limit: int) -> None:
    shown: list[list[str]] = [[plain(name) for name in names]]
    more = 0
    for row in rows:
        if len(shown) > limit:
            more += 1
        else:
            shown.append([plain(as_cell(value)) for value in row])
    widths = [max(len(row[column]) for row in shown) for column in range(len(names))]
    for row in shown:
        answering.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")
    if more:
        click.echo(f"{more:,} more rows; see them with --limit, or --format csv", err=True)
