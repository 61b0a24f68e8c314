"""`gateway inspection explain`: why one request was stopped, and what would let it pass."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import click

from gateway.audit.mapping import moment
from gateway.cli.administration import NO, read_settings
from gateway.cli.audit.showing import plain
from gateway.cli.audit.sight import Sight
from gateway.cli.audit.use import record_use
from gateway.cli.inspection.recorded import Inspected, findings_of, inspected
from gateway.cli.invocation import current
from gateway.exchange.reason import ANSWERS, Reason
from gateway.inspection.learning import Suspicion
from gateway.ledger.keys import AuditKeys
from gateway.ledger.search import Filters, Search
from gateway.server.inspection import shipped_rules

_PARTS: Final = {
    "crs": "the Core Rule Set",
    "uploads": "uploads",
    "leaks": "data loss",
    "csrf": "forms of other sites",
    "downloads": "downloads",
}


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
        found = list(inspected(search.find(Filters(request_id=request_id))))
    for damage in damages:
        click.echo(f"warning: {plain(damage)}; run gateway audit verify", err=True)
    if not found:
        current().answer(
            {"request_id": request_id, "inspection": None}, f"inspection said nothing of {plain(request_id)}"
        )
        raise click.exceptions.Exit(NO)
    request = found[-1]
    current().answer(_as_json(request), _as_text(request))


def _as_json(request: Inspected) -> dict[str, Any]:
    return {
        "request_id": request.request_id,
        "time": moment(request.time_ms),
        "route": request.route,
        "outcome": request.outcome,
        "reason": request.reason,
        "inspection": dict(request.told),
        "exclusions": [_exclusion(request, finding) for finding in findings_of(request.told)],
    }


def _as_text(request: Inspected) -> str:
    rules = shipped_rules().by_id
    who = f" by {request.person}" if request.person else ""
    lines = [f"{moment(request.time_ms)} on route {request.route}{who}: {request.outcome} ({request.reason})"]
    if request.reason in set(Reason):
        lines.append(f"  {ANSWERS[Reason(request.reason)].sentence}")
    exclusions = []
    for finding in findings_of(request.told):
        rule = rules.get(str(finding.get("rule")))
        name = f" {finding['name']}" if finding.get("name") else ""
        title = rule.title if rule is not None else "a rule that is no more"
        reading = finding.get("reading")
        how = f", read as {reading}" if reading and reading != "as sent" else ""
        lines += [
            "",
            f"  {finding.get('score')}  {finding.get('rule')}: {title}",
            f"     in {finding.get('position')}{name}{how}, at {finding.get('start')} to {finding.get('end')}, digest {finding.get('digest')}",
        ]
        exclusions.append(_exclusion(request, finding))
    for part, said in request.told.items():
        if part != "waf":
            lines += ["", f"  {_PARTS.get(part, part)}: {said}"]
    if exclusions:
        lines += ["", "To let this pass, where it is honest input, in `inspection.exclusions` of the route:", ""]
        lines += [line for text in dict.fromkeys(exclusions) for line in text.rstrip().splitlines()]
    return "\n".join(map(plain, lines))


def _exclusion(request: Inspected, finding: Any) -> str:
    suspicion = Suspicion(
        rule=str(finding.get("rule", "")),
        attack=str(finding.get("class", "")),
        position=str(finding.get("position", "")),
        name=str(finding.get("name", "")),
        route=request.route,
        count=1,
        people=1,
        values=1,
    )
    return suspicion.exclusion(datetime.now(UTC).date())
