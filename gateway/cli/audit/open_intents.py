"""`gateway audit open-intents`: which requests began to change something and never said what came of it."""

from __future__ import annotations

from typing import Any

import click

from gateway.audit.mapping import moment
from gateway.cli.administration import read_settings
from gateway.cli.audit.showing import plain
from gateway.cli.audit.sight import Sight
from gateway.cli.audit.use import record_use
from gateway.cli.invocation import current
from gateway.ledger.keys import AuditKeys
from gateway.ledger.search import Filters, Found, Search, Table
from gateway.server.progress import Progress


@click.command("open-intents", short_help="Show requests whose outcome is not known.")
@click.option("--reason", "purpose", default="", help="Why you look; it is recorded.")
def open_intents_verb(purpose: str) -> None:
    """Show the intents without an outcome. A gateway under load always has some: those of this moment.

    The next start of the gateway closes what a crash left open, with the outcome `unknown`; these are shown with
    `gateway audit query --event audit.intent_closed`. The use of this verb is recorded.
    """
    settings = read_settings()
    keys = AuditKeys.load(settings.audit.keys)
    record_use(settings, "audit open-intents", {}, purpose)
    damages: list[str] = []
    with Sight(settings) as sight, Progress("searching the audit log"):
        search = Search(settings.state_dir, keys, subject_keys=sight.keys, on_damage=damages.append)
        intents: dict[str, tuple[str, int]] = {}
        for table in search.tables(Filters(), ("phase", "request_id")):
            _follow(intents, table)
        found = [
            each
            for request_id in intents
            for each in search.find(Filters(request_id=request_id))
            if (each.stream.value, each.index) == intents[request_id]
        ]
    values = [_value(each) for each in found]
    lines = [
        plain("{time} {stream}/{index} {who} {operation} request={request_id}".format_map(value)) for value in values
    ]
    lines += [plain(f"warning: {damage}; run gateway audit verify") for damage in damages]
    lines.append(f"{len(values)} open intents" if values else "no open intent: every request says what came of it")
    current().answer({"ok": True, "open_intents": values, "unreadable": damages}, "\n".join(lines))


def _follow(intents: dict[str, tuple[str, int]], table: Table) -> None:
    """Follow the records of one file: an intent is open until another record of its request says more."""
    phases, requests = table.columns.values("phase"), table.columns.values("request_id")
    for row in table.rows:
        if phases[row] == "intent":
            intents[requests[row]] = table.stream.value, table.columns.first_index + row
        elif intents:
            intents.pop(requests[row], None)


def _value(found: Found) -> dict[str, Any]:
    record = found.record
    actor = record.get("actor") if isinstance(record.get("actor"), dict) else {}
    user = actor.get("user") if isinstance(actor, dict) and isinstance(actor.get("user"), dict) else {}
    api, metadata = record.get("api"), record.get("metadata")
    return {
        "time": moment(record.get("time")),
        "stream": found.stream.value,
        "index": found.index,
        "who": str(user.get("name", "-")) if isinstance(user, dict) else "-",
        "operation": str(api.get("operation", "-")) if isinstance(api, dict) else "-",
        "request_id": str(metadata.get("correlation_uid", "")) if isinstance(metadata, dict) else "",
    }
