"""`gateway audit open-intents`: which requests began to change something and never said what came of it."""

from __future__ import annotations

from typing import Any

import click

from gateway.audit.intent import follows
from gateway.audit.mapping import moment
from gateway.cli.administration import read_settings
from gateway.cli.audit.showing import plain
from gateway.cli.audit.sight import Sight
from gateway.cli.audit.use import record_use
from gateway.cli.invocation import current
from gateway.exchange.stream import Stream
from gateway.ledger.intents import open_intents
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.search import Filters, Found, Search
from gateway.server.progress import Progress


@click.command("open-intents", short_help="Show requests whose outcome is not known.")
@click.option("--reason", "purpose", default="", help="Why you look; it is recorded.")
def open_intents_verb(purpose: str) -> None:
    """Show the intents without an outcome. A gateway under load always has some: those of this moment.

    The next start of the gateway closes what a crash left open, with the outcome `unknown`; these are shown with
    `gateway audit query --event audit.intent_closed`. Only the process that announced a request, or the log itself,
    closes its intent: what another says of the same request id closes nothing. The use of this verb is recorded.
    """
    settings = read_settings()
    keys = AuditKeys.load(settings.audit.keys)
    record_use(settings, "audit open-intents", {}, purpose)
    damages: list[str] = []
    with Sight(settings) as sight, Progress("searching the audit log"):
        search = Search(settings.state_dir, keys, subject_keys=sight.keys, on_damage=damages.append)
        followed = open_intents(Layout(settings.state_dir).directory, keys, on_damage=damages.append)
        found = [
            announcement
            for stream, intents in followed.items()
            for request_id, slot in intents.items()
            for announcement in _announced(search, stream, request_id, slot)
        ]
    values = [_value(each) for each in found]
    lines = [
        plain("{time} {stream}/{index} {who} {operation} request={request_id}".format_map(value)) for value in values
    ]
    lines += [plain(f"warning: {damage}; run gateway audit verify") for damage in damages]
    lines.append(f"{len(values)} open intents" if values else "no open intent: every request says what came of it")
    current().answer({"ok": True, "open_intents": values, "unreadable": damages}, "\n".join(lines))


def _announced(search: Search, stream: Stream, request_id: str, slot: int) -> list[Found]:
    """Return the last announcement of a request by the producer that the log follows; nothing where it was pruned."""
    filters = Filters(request_id=request_id, streams=(stream,))
    return [
        found
        for found in search.find(filters)
        if found.stored.entry.slot == slot and follows(found.stored.entry.payload, request_id)
    ][-1:]


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
