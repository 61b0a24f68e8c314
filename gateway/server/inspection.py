"""What is inspected on each route: `inspection` of gateway.yaml, and that of the route laid over it key by key.

A key of a route replaces that of gateway.yaml; where both are mappings, the same holds for the keys in them; of
`exclusions` and `patches`, both lists count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from pydantic import ValidationError

from gateway.document.place import Place
from gateway.document.source import Diagnostic, Document, load
from gateway.edge.snapshot import BrowserRules, CrsRules, RouteInspection, SecondEngine, WafRules
from gateway.exchange.errors import ConfigurationError
from gateway.exchange.route import InspectionText
from gateway.inspection.body import Limits
from gateway.inspection.csp.scripts import Approved
from gateway.inspection.engine import Inspection as Engine
from gateway.inspection.mechanisms import MECHANISMS
from gateway.inspection.readings import SIGNS
from gateway.inspection.rules import Rules, known_signs, read_rules
from gateway.inspection.tuning import Mode, Tuning, read_settings, tuned
from gateway.inspection.tuning import Settings as Weights
from gateway.policy import PolicyTable
from gateway.server.bundle import Bundle
from gateway.server.sections.inspection import Inspection
from gateway.server.sections.inspection.body import BodyRules
from gateway.server.sections.inspection.crs import Crs
from gateway.server.sections.inspection.leaks import spelled_out
from gateway.server.settings import dotted, explain
from gateway.server.shipped import shipped

ADDED: Final = frozenset(("exclusions", "patches"))
"""Lists of which both count."""
GLOBAL: Final = frozenset(("detectors", "spared"))
"""What counts over all routes, so that none can say it."""
_KEY: Final = "inspection"

FindEngine = Callable[[Crs], SecondEngine]
"""Returns what judges by the Core Rule Set as a section says."""


class InspectedRoute(msgspec.Struct, frozen=True):
    """What is in force on a route; one for all routes that say the same."""

    section: Inspection
    tuning: Tuning


class InspectedRoutes(msgspec.Struct, frozen=True):
    """What came of reading the inspection of all routes."""

    routes: dict[str, InspectedRoute]
    errors: list[str]
    warnings: list[str]


@cache
def shipped_rules() -> Rules:
    """Read the rules that ship with this program: they change with it alone. Raises DocumentError."""
    directory = shipped("inspection/rules")
    files = {f"{path.name}": path.read_text("utf-8") for path in sorted(directory.glob("*.yaml"))}
    if not files:
        raise ConfigurationError(
            (f"{directory}: the rules of the inspection are not there; install the gateway again",)
        )
    return read_rules(files, known_signs(MECHANISMS) | SIGNS)


def read_inspections(bundle: Bundle, table: PolicyTable, policies: Mapping[str, str], now: float) -> InspectedRoutes:
    """Read what is in force on each route; what is wrong is told with its place."""
    document = load(bundle.settings, Path(bundle.path).name)
    general = document.data.get(_KEY) or {}
    if not general and all(route.inspection is None for route in table.routes.values()):
        return InspectedRoutes({}, [], [])
    rules = shipped_rules()
    findings: list[Diagnostic] = []
    weights = Weights()
    if general:
        weights = read_settings(Place(document, findings, (_KEY,), general), rules, now) or weights
    known: dict[str, InspectedRoute] = {}
    routes: dict[str, InspectedRoute] = {}
    documents: dict[str, Document] = {}
    kept = 0
    for name, route in table.routes.items():
        said = route.inspection
        text = said.json if said is not None else ""
        if text not in known:
            own, here = {}, weights
            if said is not None:
                own = msgspec.json.decode(text)
                if said.path not in documents:
                    documents[said.path] = load(policies[said.path], said.path)
                place = Place(documents[said.path], findings, said.loc, own)
                here = weights.under(read_settings(place, rules, now) or Weights())
                findings += [
                    documents[said.path].finding(
                        (*said.loc, key), f"inspection.{key}: is said in gateway.yaml alone", key=True
                    )
                    for key in sorted(GLOBAL & own.keys())
                ]
            try:
                section = Inspection.model_validate(
                    _laid_over(general, own), context={"base": Path(bundle.path).resolve().parent}
                )
            except ValidationError as error:
                if said is not None:  # what gateway.yaml says alone was told with gateway.yaml
                    findings += _errors(error, said, documents[said.path])
                continue
            known[text] = InspectedRoute(section, tuned(here, rules))
            most = section.uploads.quarantine.max if section.uploads is not None else 0
            if kept and most and most != kept:  # attack: one file to the route with the least room empties the rest
                sentence = "inspection.uploads.quarantine.max: is of all that is kept, so it is one number, or 0 to keep nothing of a route"
                is_own = said is not None and "uploads" in own
                of, loc = (documents[said.path], said.loc) if said is not None and is_own else (document, (_KEY,))
                findings.append(of.finding((*loc, "uploads"), sentence, key=True))
            kept = kept or most
        routes[name] = known[text]
    told = list(dict.fromkeys(findings))
    return InspectedRoutes(
        routes,
        [str(finding) for finding in told if finding.severity == "error"],
        [str(finding) for finding in told if finding.severity != "error"],
    )


def build_inspections(
    routes: Mapping[str, InspectedRoute], *, digest_key: bytes, form_key: bytes, find_engine: FindEngine | None
) -> dict[str, RouteInspection]:
    """Build what the edge inspects by, for each route where something is on.

    `find_engine` is None where nothing is served: a second engine is left out then. `form_key` makes the tokens of forms.
    """
    if not routes:
        return {}
    engine = Engine(shipped_rules(), digest_key=digest_key)
    built: dict[int, RouteInspection] = {}
    found = {}
    for name, inspected in routes.items():
        key = id(inspected)
        if key not in built:
            built[key] = _build(inspected, engine, find_engine, form_key=form_key, digest_key=digest_key)
        if built[key] != NOTHING:
            found[name] = built[key]
    return found


NOTHING: Final = RouteInspection()


def _build(
    inspected: InspectedRoute, engine: Engine, find_engine: FindEngine | None, *, form_key: bytes, digest_key: bytes
) -> RouteInspection:
    """Build the parts that are on; all parts off is `NOTHING`."""
    section, tuning = inspected.section, inspected.tuning
    waf = WafRules(engine, tuning) if tuning.is_on else None
    crs = None
    if section.crs is not None and find_engine is not None:
        crs = CrsRules(
            find_engine(section.crs),
            blocks=section.crs.mode == "block",
            may_fail=section.crs.on_failure == "allow",
        )
    browser = _browser(section, form_key)
    uploads = section.uploads.policy if section.uploads is not None else None
    leaks = section.leaks.rules(digest_key) if section.leaks is not None else None
    downloads = section.downloads.rules if section.downloads is not None else None
    parts = (waf, crs, browser, uploads, leaks, downloads, section.body)
    if all(part is None for part in parts):
        return NOTHING
    body = (section.body or BodyRules()).limits()
    return RouteInspection(
        waf=waf,
        crs=crs,
        max_body=body.most_bytes,
        limits=replace(Limits(), parts=body.multipart.parts),
        body=body,
        is_bounded=section.body is not None or (waf is not None and tuning.mode is Mode.BLOCK),
        leaks=leaks,
        downloads=downloads,
        browser=browser,
        uploads=uploads,
    )


def _browser(section: Inspection, form_key: bytes) -> BrowserRules | None:
    """Build what browsers are told and held to; scripts of an origin that may act with cookies may send forms, too."""
    csrf, cors, csp = section.csrf, section.cors, section.csp
    senders = csrf.rules if csrf is not None else None
    sharing = cors.rules if cors is not None else None
    if senders is not None and sharing is not None and sharing.credentials:
        senders = replace(senders, trusted_origins=senders.trusted_origins | sharing.origins)
    found = BrowserRules(
        senders=senders,
        cookies=csrf.floor if csrf is not None else "portal",
        form_key=form_key if senders is not None and senders.token else b"",
        sharing=sharing,
        is_strict=cors is not None and cors.mode == "strict",
        policy=csp.rules if csp is not None else None,
        approved=csp.approved if csp is not None else Approved(),
    )
    return found if found != BrowserRules() else None


def _laid_over(general: Any, own: Any) -> Any:
    if not isinstance(general, dict) or not isinstance(own, dict):
        return own
    merged = dict(general)
    for key, value in own.items():
        below = general.get(key)
        if isinstance(value, dict) and isinstance(below, str):  # else `leaks: mask` would end where a route adds a kind
            below = spelled_out(key, below)
        if key in ADDED and isinstance(value, list) and isinstance(below, list):
            merged[key] = [*below, *value]
        elif isinstance(value, dict) and isinstance(below, dict):
            merged[key] = _laid_over(below, value)
        else:
            merged[key] = value
    return merged


def _errors(error: ValidationError, said: InspectionText, document: Document) -> list[Diagnostic]:
    """Tell what is wrong where the route says it."""
    found = []
    for item in error.errors():
        place, sentence = explain(item, Inspection)
        found.append(
            document.finding(
                (*said.loc, *place),
                f"{dotted((_KEY, *place))}: {sentence}",
                key=sentence.startswith("unknown key"),
            )
        )
    return found
