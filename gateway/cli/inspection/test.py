"""`gateway inspection test`: what would become of a request, and why. Nothing is sent anywhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from gateway.cli.administration import NO
from gateway.cli.audit.showing import plain
from gateway.cli.inspection.reading import Inspected, described, read_inspected
from gateway.cli.invocation import current
from gateway.cli.policy.reading import refuse
from gateway.inspection.bodies import of_body
from gateway.inspection.body import BodyTooComplexError, BodyUnreadableError, Limits
from gateway.inspection.engine import PATCH_CLASS, Explained, RequestLine
from gateway.inspection.finding import Finding, Value
from gateway.inspection.patch import Patch
from gateway.inspection.tuning import Mode, Tuning
from gateway.inspection.values import is_quiet, of_cookies, of_field, of_target
from gateway.inspection.verdict import CLEAN, Verdict
from gateway.policy.declaration import METHODS
from gateway.wire.authority import parse_authority

SHOWN: Final = 160
"""Characters of a text that are shown."""


@click.command(name="test")
@click.option("-H", "--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header field.")
@click.option("--data", help="The body; @FILE reads it from a file, @- from standard input.")
@click.option(
    "--content-type", default="application/x-www-form-urlencoded", show_default=True, help="What the body says it is."
)
@click.option("--route", "route_name", help="Inspect as on this route.  [default: the one the request leads to]")
@click.argument("method")
@click.argument("target")
def test_verb(
    *,
    headers: tuple[str, ...],
    data: str | None,
    content_type: str,
    route_name: str | None,
    method: str,
    target: str,
) -> None:
    """Judge METHOD TARGET (a path with its query, or a URL) as the gateway would; exit 1 when it would be stopped.

    Shows what was seen in which reading of which value. The texts shown are those you gave. Files, the bounds of
    inspection.body and the Core Rule Set are not tried.
    """
    if method.upper() not in METHODS:
        refuse(f"unknown method {method!r}")
    inspected = read_inspected()
    fields = [_field(header) for header in headers]
    body = _body(data)
    line, route = _asked(inspected, method.upper(), target, route_name)
    found = inspected.of(route)
    if found is None or not found.tuning.is_on:
        current().answer(
            {"decision": "pass", "route": route, "inspected": False, "findings": []},
            f"route {route}: attacks are not looked for (waf: off)",
        )
        return
    tuning = found.tuning
    problem, verdict = "", CLEAN
    values = _values_of_head(line, fields)
    try:
        verdict = inspected.engine.judge_head(line, fields, tuning, now=inspected.now)
    except BodyTooComplexError as error:
        problem = f"the head: {error}"
    if body and not problem:
        try:
            values += of_body(content_type.encode("latin-1"), body, Limits(), with_plain=True)
            verdict = verdict.merge(
                inspected.engine.judge_body(
                    line, content_type.encode("latin-1"), body, tuning, limits=Limits(), now=inspected.now
                )
            )
        except (BodyUnreadableError, BodyTooComplexError) as error:
            problem = f"the body: {error}"
    seen = list(inspected.engine.explain(values, tuning, inspected.now))
    needs_reading = tuning.mode is Mode.BLOCK or tuning.has_patched_body(line.method, line.path, inspected.now)
    stops = verdict.is_blocked or (bool(problem) and needs_reading)
    current().answer(
        _as_json(route, tuning, verdict, seen, problem, stops=stops),
        _as_text(route, tuning, verdict, seen, problem, stops=stops),
    )
    if stops:
        raise click.exceptions.Exit(NO)


def _asked(inspected: Inspected, method: str, target: str, route_name: str | None) -> tuple[RequestLine, str]:
    parts = urlsplit(target)
    authority = inspected.authority
    raw = target.encode("utf-8")
    if parts.scheme:
        named = parse_authority(parts.netloc.encode("ascii", "replace"))
        if named is None:
            refuse(f"{target}: names no host")
        authority = named
        raw = ((parts.path or "/") + (f"?{parts.query}" if parts.query else "")).encode("utf-8")
    resolution = inspected.resolver.resolve(authority, raw, method.encode("ascii"))
    if resolution.target is None or resolution.refusal is not None:
        reason = resolution.refusal.value if resolution.refusal is not None else "no_route"
        refuse(f"{target}: ends before it is inspected ({reason})")
    if resolution.internal:
        refuse(f"{target}: is a page of the gateway itself, which no portal sees")
    route = resolution.route.name
    if route_name is not None:
        if route_name not in inspected.validated.table.routes:
            refuse(f"there is no route {route_name!r}")
        route = route_name
    return RequestLine(method, resolution.forwarded or resolution.text, resolution.target.path), route


def _field(text: str) -> tuple[bytes, bytes]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        refuse(f"{text!r} is not a header field such as Referer: https://example.com/")
    return name.strip().lower().encode("latin-1", "replace"), value.strip(" \t").encode("utf-8")


def _body(data: str | None) -> bytes:
    if data is None or not data.startswith("@"):
        return (data or "").encode("utf-8")
    try:
        return sys.stdin.buffer.read() if data == "@-" else Path(data[1:]).read_bytes()
    except OSError as error:
        refuse(f"{data[1:]}: {error.strerror}")


def _values_of_head(line: RequestLine, fields: list[tuple[bytes, bytes]]) -> list[Value]:
    values = of_target(line.target, line.path, with_plain=True)
    for name, value in fields:
        if name == b"cookie":
            values += of_cookies(value, with_plain=True)
        elif not is_quiet(name):
            values += of_field(name, value)
    return values


def _patches(tuning: Tuning, verdict: Verdict) -> list[tuple[Patch, Finding]]:
    """List the virtual patches that apply, with where they do."""
    by_id = {patch.id: patch for patch in tuning.patches}
    return [(by_id[found.rule], found) for found in verdict.findings if found.attack == PATCH_CLASS]


def _as_json(
    route: str, tuning: Tuning, verdict: Verdict, seen: list[Explained], problem: str, *, stops: bool
) -> dict[str, Any]:
    return {
        "decision": "block" if stops else "detect" if verdict.is_detected else "pass",
        "route": route,
        "inspected": True,
        "score": verdict.score,
        "unreadable": problem or None,
        "patches": [
            {
                "id": patch.id,
                "title": patch.title,
                "action": patch.action,
                "position": found.position.value,
                "name": found.name,
                "reading": found.reading,
            }
            for patch, found in _patches(tuning, verdict)
        ],
        "findings": [
            {
                "rule": item.rule.id if item.rule is not None else None,
                "title": item.rule.title if item.rule is not None else None,
                "sign": item.hit.key,
                "score": item.score,
                "position": item.value.position.value,
                "name": item.value.name,
                "reading": item.hit.how,
                "excluded": item.excluded_because or None,
            }
            for item in seen
        ],
    }


def _as_text(route: str, tuning: Tuning, verdict: Verdict, seen: list[Explained], problem: str, *, stops: bool) -> str:
    lines = [f"route {route}: {described(tuning)}"]
    place = None
    for item in seen:
        here = item.value.position, item.value.name, item.hit.how
        if here != place:
            place = here
            name = f" {item.value.name}" if item.value.name else ""
            how = "" if item.hit.how == "as sent" else f", read as {item.hit.how}"
            lines += ["", plain(f"  {item.value.position.value}{name}{how}: {item.reading[:SHOWN]}")]
        if item.rule is None:
            lines.append(f"     -  {item.hit.key}: no rule of this paranoia counts it")
        elif item.excluded_because:
            lines.append(plain(f"     0  {item.rule.id}: {item.rule.title} (excluded: {item.excluded_because})"))
        else:
            lines.append(f"    {item.score:>2}  {item.rule.id}: {item.rule.title}")
    patches = _patches(tuning, verdict)
    for patch, found in patches:
        where = found.position.value + (f" {found.name}" if found.name else "")
        how = "" if found.reading == "as sent" else f", read as {found.reading}"
        lines += ["", plain(f"  {where}{how}"), plain(f"    patch {patch.id}: {patch.title} (action: {patch.action})")]
    if problem:
        lines += ["", f"  {problem}"]
    by_patch = verdict.is_blocked and (tuning.mode is not Mode.BLOCK or verdict.score < tuning.threshold)
    if by_patch:
        return "\n".join([*lines, "", "STOPPED by a patch, whatever its score"])
    if problem and not verdict.is_blocked and tuning.mode is Mode.BLOCK:
        return "\n".join([*lines, "", "STOPPED: what cannot be read the one way that its type says does not go on"])
    word = "STOPPED" if stops else "PASSES"
    if word == "PASSES" and verdict.is_detected:
        word = "PASSES (recorded as an attack)"
    return "\n".join([*lines, "", f"{word} with a score of {verdict.score}; {tuning.threshold} stops"])
