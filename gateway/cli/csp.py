"""`gateway csp`: what browsers reported about the pages of each route, and the policy that follows from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from gateway.cli.administration import Administration, administration, answer, moment, refuse, table
from gateway.cli.invocation import current
from gateway.inspection.csp.policy import STRICT
from gateway.inspection.csp.scripts import Approved, hash_of
from gateway.inspection.csp.suggestion import Suggestion, suggest, write_yaml
from gateway.inspection.csp.tally import Count, Tally
from gateway.inspection.rewrite.charset import Charset, decode
from gateway.inspection.rewrite.insertion import Insertion
from gateway.inspection.rewrite.page import Page
from gateway.server.sections.inspection.browser import Csp
from gateway.server.validate import read_and_validate
from gateway.store.page_counts import PageCounts

_MOST_PAGE_BYTES: Final = 16 * 1024 * 1024
_SHOWN_CHARS: Final = 60
_BEGIN: Final = re.compile(r"<script\b[^>]{0,8192}>", re.IGNORECASE).search
_END: Final = re.compile(r"</script", re.IGNORECASE).search


@click.group(short_help="Turn reports of browsers into the next content security policy.")
def csp() -> None:
    """Show what browsers reported about pages, and write the policy that follows from it."""


@csp.command()
@click.argument("route", required=False)
def reports(*, route: str | None) -> None:
    """List what was reported and which scripts are not approved: of one route, or of all.

    Anybody may send a report: it is a hint, and no proof. Pages, people and addresses are not kept.
    """
    with administration() as act:
        act.record_administration("csp reports", action="view", resources=[("route", route or "*")])
        tally = _counts(act).read(act.now)
    routes = tally.routes() if route is None else [route]
    found = {name: tally.of(name) for name in routes}
    rows = [
        (name, _kind(count), count.directive or "-", count.what, str(count.times), moment(count.last))
        for name, counts in found.items()
        for count in counts
    ]
    lines = [table(("ROUTE", "KIND", "DIRECTIVE", "WHAT", "TIMES", "LAST"), rows) if rows else "Nothing was reported."]
    lines.extend(_left_out(tally, name) for name in routes if tally.left_out_of(name))
    answer({"routes": {name: [_as_json(count) for count in counts] for name, counts in found.items()}}, lines)


@csp.command(name="suggest")
@click.argument("route")
def suggest_verb(*, route: str) -> None:
    """Write the `csp:` of a route with what was reported and seen, to paste and to look at; exit 1 for a route without one."""
    section = _section(route)
    with administration() as act:
        act.record_administration("csp suggest", action="view", resources=[("route", route)])
        tally = _counts(act).read(act.now)
    found = suggest(section.policy or STRICT, section.scripts, tally.of(route))
    lines = [
        f"# in the route {route}, or in gateway.yaml:",
        "    inspection:",
        write_yaml(found, mode=section.mode).rstrip(),
    ]
    if not tally.of(route):
        lines.insert(0, "# nothing was reported of this route yet: this is what is in force")
    answer({"route": route, **_suggested(found)}, lines)


@csp.command()
@click.argument("route")
def forget(*, route: str) -> None:
    """Begin to count a route anew, once its policy has changed; exit 1 when nothing was counted."""
    with administration() as act:
        act.record_administration("csp forget", action="delete", resources=[("route", route)])
        if not _counts(act).forget(route):
            refuse(f"nothing was reported of the route {route}")
    answer({"ok": True, "route": route}, [f"What was reported of {route} is forgotten."])


@csp.command(name="hash")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def hash_verb(*, file: Path) -> None:
    """List the scripts of a saved page, each as `scripts:` would approve it, with how an inline one begins."""
    page = file.read_bytes()
    if len(page) > _MOST_PAGE_BYTES:
        refuse(f"{file} is larger than {_MOST_PAGE_BYTES >> 20} MiB")
    own = "https://page.invalid"
    rewriting = Page(Insertion(url=f"{own}/", own=own, charset=Charset.UTF_8, nonce="x", approved=Approved()))
    rewriting.feed(page)
    text = decode(Charset.UTF_8, page) or ""
    begins = {hash_of(script): " ".join(script[: 8 * _SHOWN_CHARS].split())[:_SHOWN_CHARS] for script in _texts(text)}
    rows = [(script, begins.get(script, "")) for script in rewriting.seen]
    answer(
        {"scripts": rewriting.seen},
        [table(("SCRIPT", "BEGINS WITH"), rows) if rows else "The page has no scripts that could be approved."],
    )


def _texts(page: str) -> Iterator[str]:
    """Yield what stands in the scripts of a page, up to one that does not end."""
    begin = _BEGIN(page)
    while begin is not None:
        end = _END(page, begin.end())
        if end is None:
            return
        yield page[begin.end() : end.start()]
        begin = _BEGIN(page, end.end())


def _section(route: str) -> Csp:
    found = read_and_validate(current().config).inspections.get(route)
    section = found.section.csp if found is not None else None
    if section is None:
        refuse(f"the route {route} has no inspection.csp")
    return section


def _counts(act: Administration) -> PageCounts:
    return PageCounts(act.store.rows, act.store.sealer)


def _kind(count: Count) -> str:
    if count.kind == "script":
        return "script"
    return "stopped" if count.enforced else "would stop"


def _left_out(tally: Tally, route: str) -> str:
    return f"{route}: {tally.left_out_of(route)} more, of too many different ones"


def _as_json(count: Count) -> dict[str, Any]:
    return {
        "kind": count.kind,
        "directive": count.directive,
        "what": count.what,
        "enforced": count.enforced,
        "times": count.times,
        "first": count.first,
        "last": count.last,
    }


def _suggested(found: Suggestion) -> dict[str, Any]:
    return {
        "policy": {name: list(sources) for name, sources in found.directives},
        "scripts": list(found.scripts),
        "not_granted": [{"what": task, "times": times} for task, times in found.work],
    }
