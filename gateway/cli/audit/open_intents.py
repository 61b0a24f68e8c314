"""`gateway audit open-intents`: which requests began to change something and never said what came of it."""

from __future__ import annotations

from typing import Any, Final

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

_FOUND: Final = "{time} {stream}/{index} {who} {operation} request={request_id}"
_NOT_FOUND: Final = "{stream}: request={request_id} of producer {slot}: its announcement is not found"
"""It was pruned or cannot be read, or whoever made it wrote its request id so that no search finds it."""


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
        values = [
            _value(_announced(search, stream, request_id, slot), stream, request_id, slot)
            for stream, intents in followed.items()
            for request_id, slot in intents.items()
        ]
    lines = [plain((_FOUND if value["index"] is not None else _NOT_FOUND).format_map(value)) for value in values]
    lines += [plain(f"warning: {damage}; run gateway audit verify") for damage in damages]
    lines.append(f"{len(values)} open intents" if values else "no open intent: every request says what came of it")
    current().answer({"ok": True, "open_intents": values, "unreadable": damages}, "\n".join(lines))


def _announced(search: Search, stream: Stream, request_id: str, slot: int) -> Found | None:
    """Return the last announcement of a request by the producer that the log follows; None where it was pruned."""
    announced = None
    for found in search.find(Filters(request_id=request_id, streams=(stream,))):
        if found.stored.entry.slot == slot and follows(found.stored.entry.payload, request_id):
            announced = found
    return announced


def _value(found: Found | None, stream: Stream, request_id: str, slot: int) -> dict[str, Any]:
    record = {} if found is None else found.record
    actor = record.get("actor") if isinstance(record.get("actor"), dict) else {}
    user = actor.get("user") if isinstance(actor, dict) and isinstance(actor.get("user"), dict) else {}
    api = record.get("api")
    return {
        "time": moment(record.get("time")),
        "stream": stream.value,
        "slot": slot,
        "index": None if found is None else found.index,
        "who": str(user.get("name", "-")) if isinstance(user, dict) else "-",
        "operation": str(api.get("operation", "-")) if isinstance(api, dict) else "-",
        "request_id": request_id,
    }
