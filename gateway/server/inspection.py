"""What is inspected on each route: `inspection` of gateway.yaml, and that of the route laid over it key by key.

A key of a route replaces that of gateway.yaml; where both are mappings, the same holds for the keys in them; of
`exclusions` and `patches`, both lists count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from pydantic import ValidationError

from gateway.document.source import load
from gateway.edge.snapshot import RouteInspection
from gateway.exchange.route import Route
from gateway.policy import PolicyTable
from gateway.server.bundle import Bundle
from gateway.server.sections.inspection import Inspection
from gateway.server.settings import dotted, explain

ADDED: Final = frozenset(("exclusions", "patches"))
"""Lists of which both count."""


class InspectedRoutes(msgspec.Struct, frozen=True):
    """What came of reading the inspection of all routes."""

    sections: dict[str, Inspection]
    """By route: what is in force there."""
    errors: list[str]


def read_inspections(bundle: Bundle, table: PolicyTable, policies: Mapping[str, str]) -> InspectedRoutes:
    """Read what is in force on each route; what is wrong is told with its place in the policy file."""
    general = load(bundle.settings, bundle.path).data.get("inspection") or {}
    known: dict[str, Inspection] = {}
    sections: dict[str, Inspection] = {}
    errors: list[str] = []
    for name, route in table.routes.items():
        text = route.inspection.json if route.inspection is not None else ""
        section = known.get(text)
        if section is None:
            own = msgspec.json.decode(text) if text else {}
            try:
                section = known[text] = Inspection.model_validate(_laid_over(general, own))
            except ValidationError as error:
                errors += _errors(error, route, policies)
                continue
        sections[name] = section
    return InspectedRoutes(sections, list(dict.fromkeys(errors)))


def build_inspections(sections: Mapping[str, Inspection]) -> dict[str, RouteInspection]:
    """Build what the edge inspects by, for each route where something is on."""
    built: dict[int, RouteInspection | None] = {}
    found = {}
    for name, section in sections.items():
        if id(section) not in built:
            built[id(section)] = _build(section)
        inspection = built[id(section)]
        if inspection is not None:
            found[name] = inspection
    return found


def _build(section: Inspection) -> RouteInspection | None:
    """Build the parts of one section; None where all are off."""
    return None


def _laid_over(general: Any, own: Any) -> Any:
    if not isinstance(general, dict) or not isinstance(own, dict):
        return own
    merged = dict(general)
    for key, value in own.items():
        below = general.get(key)
        if key in ADDED and isinstance(value, list) and isinstance(below, list):
            merged[key] = [*below, *value]
        elif isinstance(value, dict) and isinstance(below, dict):
            merged[key] = _laid_over(below, value)
        else:
            merged[key] = value
    return merged


def _errors(error: ValidationError, route: Route, policies: Mapping[str, str]) -> list[str]:
    """Tell what is wrong where the route says it; what gateway.yaml says alone was told with gateway.yaml."""
    text = route.inspection
    if text is None:
        return []
    document = load(policies[text.path], text.path)
    found = []
    for item in error.errors():
        place, sentence = explain(item, Inspection)
        found.append(
            str(
                document.finding(
                    (*text.loc, *place),
                    f"{dotted(('inspection', *place))}: {sentence}",
                    key=sentence.startswith("unknown key"),
                )
            )
        )
    return found
