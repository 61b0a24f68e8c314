"""`gateway inspection explain`: why one request was stopped, and what would let it pass."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import click

from gateway.audit.mapping import moment
from gateway.cli.administration import NO, read_settings
from gateway.cli.audit.showing import plain
from gateway.cli.audit.sight import Sight
from gateway.cli.audit.use import record_use
from gateway.cli.inspection.recorded import requested
from gateway.cli.inspection.stopped import as_text, exclusions_of
from gateway.cli.invocation import current
from gateway.exchange.reason import Reason
from gateway.ledger.keys import AuditKeys
from gateway.ledger.search import Filters, Search

_OF_INSPECTION: Final = frozenset((Reason.ABUSE_BLOCKED, Reason.ABUSE_SLOWED))
"""Refusals of inspection whose record has no more to say than their reason."""


@click.command(name="explain")
@click.option("--reason", "purpose", default="", help="Why you look; it is recorded.")
@click.argument("request_id")
def explain_verb(*, purpose: str, request_id: str) -> None:
    """Say what inspection found in the request with this reference number, and the exclusion that would let it pass.

    The log has no payloads: rule, place and a digest only. Exit 1 when inspection said nothing of the request.
    """
    settings = read_settings()
    keys = AuditKeys.load(settings.audit.keys)
    record_use(settings, "inspection explain", {"request_id": request_id}, purpose)
    damages: list[str] = []
    with Sight(settings) as sight:
        search = Search(settings.state_dir, keys, subject_keys=sight.keys, on_damage=damages.append)
        found = list(requested(search.find(Filters(request_id=request_id))))
    for damage in damages:
        click.echo(f"warning: {plain(damage)}; run gateway audit verify", err=True)
    if not found:
        current().answer(
            {"request_id": request_id, "inspection": None},
            f"no request with the reference {plain(request_id)} is in the log; a reference is given whole: 36 characters",
        )
        raise click.exceptions.Exit(NO)
    request = next((one for one in reversed(found) if one.told), found[-1])
    today = datetime.now(UTC).date()
    said = {
        "request_id": request.request_id,
        "time": moment(request.time_ms),
        "route": request.route,
        "outcome": request.outcome,
        "reason": request.reason,
        "rule": request.rule or None,
        "inspection": dict(request.told) or None,
        "exclusions": exclusions_of(request, today),
    }
    current().answer(said, as_text(request, today))
    if not request.told and request.reason not in _OF_INSPECTION:
        raise click.exceptions.Exit(NO)
