"""Reports of browsers about policies, as they come in at `/.gateway/csp-report`: from anybody, about anything.

Nobody is told what became of a report. What is counted is of routes that have a policy, and names origins and directives alone.
"""

from __future__ import annotations

from typing import Final

from gateway.edge.browser import origin_of, said
from gateway.edge.exchange import Exchange
from gateway.inspection.csp.report import KINDS, ReportError, read_reports

PAGE: Final = "csp-report"
GENERAL: Final = "-"
"""Stands for `headers.csp_report_only`, which is no route's."""
_ROUTE: Final = b"route="


def take_reports(x: Exchange) -> None:
    """Count what a body of reports says."""
    metrics = x.client.metrics
    kind = said(x.fields, b"content-type").partition(b";")[0].strip(b" \t").lower().decode("latin-1")
    route = _route(x)
    if route is None or kind not in KINDS:
        metrics.csp_reports.inc((GENERAL, "unread"))
        return
    try:
        found = read_reports(kind, bytes(x.form), origin_of(x))
    except ReportError:
        metrics.csp_reports.inc((GENERAL, "unread"))
        return
    for violation in found:
        metrics.csp_reports.inc((route, violation.directive))
        if route != GENERAL:
            x.client.tally.add(
                route, "reported", violation.directive, violation.blocked, enforced=violation.enforced, now=x.started
            )


def _route(x: Exchange) -> str | None:
    """Return the route that the reports are about, which its policy has named; None when there is no such route."""
    target = x.resolution.target if x.resolution is not None else None
    if target is None or not target.query.startswith(_ROUTE):
        return GENERAL
    name = target.query[len(_ROUTE) :].decode("latin-1")
    inspection = x.snapshot.inspections.get(name)
    return name if inspection is not None and inspection.browser is not None and inspection.browser.policy else None
