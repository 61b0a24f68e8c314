"""What the audit log says of inspection, as the verbs about it read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from gateway.inspection.learning import Observation
from gateway.ledger.search import Found


class Inspected(NamedTuple):
    """One request that inspection said something about."""

    request_id: str
    time_ms: int
    route: str
    person: str
    """Empty where nobody was signed in."""
    outcome: str
    """`allowed` or `refused`, and of the record why."""
    reason: str
    rule: str
    """What decided: of an answer of a detector, its reference."""
    told: Mapping[str, Any]
    """`unmapped.gw.inspection`; empty where inspection said nothing."""


def inspected(found: Iterable[Found]) -> Iterator[Inspected]:
    """Yield the requests that inspection said something about, each once: not their announcements."""
    return (request for request in requested(found) if request.told)


def requested(found: Iterable[Found]) -> Iterator[Inspected]:
    """Yield all requests, each once, whether or not inspection said anything."""
    for each in found:
        gw = _mapping(_mapping(each.record.get("unmapped")).get("gw"))
        if gw.get("phase") not in {"single", "opening"}:
            continue
        user = _mapping(_mapping(each.record.get("actor")).get("user"))
        metadata = _mapping(each.record.get("metadata"))
        yield Inspected(
            request_id=str(metadata.get("correlation_uid", "")),
            time_ms=int(each.record.get("time", 0)),
            route=str(gw.get("route", "")),
            person=str(user.get("uid") or user.get("name") or ""),
            outcome="allowed" if each.record.get("action_id") == 1 else "refused",
            reason=str(gw.get("reason", "")),
            rule=str(_mapping(each.record.get("policy")).get("uid", "")),
            told=_mapping(gw.get("inspection")),
        )


def findings_of(told: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the findings of our own engine."""
    for verdict in told.get("waf", ()):
        yield from _mapping(verdict).get("findings", ())


def observations_of(requests: Iterable[Inspected]) -> Iterator[Observation]:
    """Yield what `gateway.inspection.learning` learns from."""
    for request in requests:
        for finding in findings_of(request.told):
            yield Observation(
                rule=str(finding.get("rule", "")),
                attack=str(finding.get("class", "")),
                position=str(finding.get("position", "")),
                name=str(finding.get("name", "")),
                route=request.route,
                person=request.person,
                digest=str(finding.get("digest", "")),
            )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
