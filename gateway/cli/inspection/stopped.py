"""One request in words: what inspection found, what the person was told, and what an operator may write to let it pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from itertools import groupby
from typing import Any, Final

from gateway.audit.mapping import moment
from gateway.cli.audit.showing import plain
from gateway.cli.inspection.recorded import Inspected, findings_of
from gateway.exchange.reason import ANSWERS, Reason
from gateway.inspection.engine import PATCH_CLASS
from gateway.inspection.learning import written_exclusion
from gateway.inspection.tuning import DEFAULT_THRESHOLD
from gateway.inspection.upload.objection import Objection
from gateway.pages.texts import SOURCE, load_texts
from gateway.pages.upload_words import told_of_upload
from gateway.server.inspection import shipped_rules

_PARTS: Final = {
    "waf": "attacks",
    "crs": "the Core Rule Set",
    "body": "the body",
    "uploads": "uploads",
    "leaks": "data loss",
    "csrf": "forms of other sites",
    "downloads": "downloads",
}
_KEYS: Final[Mapping[str, str]] = {
    Objection.TYPE_NOT_ALLOWED: "add its type to `types`",
    Objection.FILE_TOO_LARGE: "raise `max_size`",
    Objection.TOO_MANY_FILES: "raise `max_files`",
    Objection.ACTIVE_CONTENT: "write `active_content: allow`",
    Objection.ENCRYPTED: "write `archives: {encrypted: allow}`",
    Objection.ARCHIVE_DEPTH: "raise `archives.depth`",
    Objection.ARCHIVE_ENTRIES: "raise `archives.entries`",
    Objection.ARCHIVE_RATIO: "raise `archives.ratio`",
    Objection.ARCHIVE_SIZE: "raise `archives.unpacked`",
}
"""What of `inspection.uploads` an objection goes by. The others are of no route that takes files."""
_OF_DETECTORS: Final = frozenset((Reason.ABUSE_BLOCKED, Reason.ABUSE_SLOWED))
_REACHED: Final = frozenset(("blocked", "detected"))
_LONGEST: Final = 80
"""Characters of a list that are shown in one line."""


def as_text(request: Inspected, today: date) -> str:
    """Tell the request line by line, for a terminal."""
    who = f" by {request.person}" if request.person else ""
    lines = [f"{moment(request.time_ms)} on route {request.route}{who}: {request.outcome} ({request.reason})"]
    if request.reason in set(Reason):
        lines.append(f"  {ANSWERS[Reason(request.reason)].sentence}")
    if request.reason in _OF_DETECTORS:
        lines += [
            "",
            f"  It met the answer {request.rule} of a detector. `gateway abuse list` says which and until when;",
            f"  `gateway abuse lift {request.rule} --reason …` ends it.",
        ]
    elif not request.told:
        lines += ["", "  Inspection said nothing of it; docs/reasons.md says what the word means."]
    for finding in findings_of(request.told):
        lines += ["", *_finding(finding)]
    for part, said in request.told.items():
        if part == "uploads":
            lines += _uploads(said)
            continue
        told = [{key: value for key, value in one.items() if key != "findings"} for one in _entries(said)]
        if part != "waf" or any("because" in one for one in told):
            lines += ["", *(f"  {_PARTS.get(part, part)}: {_flat(one)}" for one in told)]
    patches = {str(finding.get("rule")) for finding in findings_of(request.told) if finding.get("class") == PATCH_CLASS}
    for patch in sorted(patches):
        lines += [
            "",
            f"A virtual patch is not left out by exclusions: change or remove {patch} in `inspection.patches`.",
        ]
    if exclusions := exclusions_of(request, today):
        lines += ["", "To let this pass, where it is honest input, in `inspection.exclusions` of the route:", ""]
        lines += [line for text in exclusions for line in text.rstrip().splitlines()]
    return "\n".join(map(plain, lines))


def exclusions_of(request: Inspected, today: date) -> list[str]:
    """Write the exclusions with which the request would have stayed below the threshold; no more than these."""
    needed: dict[str, None] = {}
    threshold = _threshold(request)
    for _, group in groupby(sorted(_rules(request), key=_place), key=_place):
        here = sorted(group, key=_score, reverse=True)
        left = sum(map(_score, here))
        for finding in here:
            if left < threshold:
                break
            left -= _score(finding)
            needed[
                written_exclusion(
                    str(finding.get("rule", "")),
                    str(finding.get("position", "")),
                    str(finding.get("name", "")),
                    f"honest input, by reference {request.request_id}; say here what people write there",
                    today,
                )
            ] = None
    return list(needed)


def _threshold(request: Inspected) -> int:
    """Say from which score on the request was one too much: the record has no threshold, but what reached it."""
    reached = [int(one.get("score", 0)) for one in _entries(request.told.get("waf")) if one.get("outcome") in _REACHED]
    return min([DEFAULT_THRESHOLD, *reached])


def _rules(request: Inspected) -> Iterator[Mapping[str, Any]]:
    """Yield what rules found: of patches there is nothing to exclude."""
    return (finding for finding in findings_of(request.told) if finding.get("class") != PATCH_CLASS)


def _place(finding: Mapping[str, Any]) -> tuple[str, str, str]:
    """Name the value that a finding is about: scores add up within one."""
    return str(finding.get("position", "")), str(finding.get("name", "")), str(finding.get("digest", ""))


def _score(finding: Mapping[str, Any]) -> int:
    return int(finding.get("score", 0))


def _finding(finding: Mapping[str, Any]) -> list[str]:
    rule = shipped_rules().by_id.get(str(finding.get("rule")))
    if finding.get("class") == PATCH_CLASS:
        title = "a virtual patch"
    else:
        title = rule.title if rule is not None else "a rule that is no more"
    name = f" {finding['name']}" if finding.get("name") else ""
    reading = finding.get("reading")
    how = f", read as {reading}" if reading and reading != "as sent" else ""
    return [
        f"  {finding.get('score')}  {finding.get('rule')}: {title}",
        f"     in {finding.get('position')}{name}{how}, at {finding.get('start')} to {finding.get('end')}, digest {finding.get('digest')}",
    ]


def _uploads(said: Any) -> list[str]:
    """Tell what is wrong with files, and what of `inspection.uploads` it goes by."""
    english = load_texts()[SOURCE]
    lines = []
    for one in _entries(said):
        files = list(_entries(one.get("files")))
        if not files:
            lines += ["", f"  uploads: {_flat(one)}"]
        for file in files:
            objection = str(file.get("objection", ""))
            number = file.get("part", -1)
            what = f"part {number + 1} of the form" if isinstance(number, int) and number >= 0 else "the body"
            more = {key: value for key, value in file.items() if key not in {"objection", "part"} and value != ""}
            lines += ["", f"  {what}: {objection or 'taken'}" + (f" ({_flat(more)})" if more else "")]
            if words := told_of_upload(objection, "", english):
                lines.append(f"     {words}")
            if kept := file.get("quarantine"):
                lines.append(f"     The file is kept: gateway quarantine show {kept}")
            if objection in _KEYS:
                lines.append(
                    f"     To let it pass, {_KEYS[objection]} in `inspection.uploads` of the route (docs/uploads.md)."
                )
    return lines


def _entries(said: Any) -> Iterable[Mapping[str, Any]]:
    """Read what a part said, as one mapping or as a list of them."""
    some = said if isinstance(said, list) else [said]
    return [one for one in some if isinstance(one, dict)]


def _flat(told: Mapping[str, Any]) -> str:
    """Write a mapping in words: `outcome block, records 21`."""
    return ", ".join(f"{key.replace('_', ' ')} {_value(value)}" for key, value in told.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"({_flat(value)})"
    if isinstance(value, list):
        text = " ".join(map(_value, value))
        return text if len(text) <= _LONGEST or any(isinstance(one, dict) for one in value) else f"{text[:_LONGEST]}…"
    return f"{value:g}" if isinstance(value, float) else str(value)
