"""Attacks in requests: what the engine is asked about one request, and what follows from its verdict.

What it found stands in the record as rules, places and digests. The answer says none of it: whoever attacks would learn
from it, and whoever does not has a reference number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.edge.browser import said
from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.snapshot import CrsRules, RouteInspection, WafRules
from gateway.exchange.opinion import Opinion, Question
from gateway.exchange.reason import Reason
from gateway.inspection.body import BodyTooComplexError, BodyUnreadableError
from gateway.inspection.engine import RequestLine
from gateway.inspection.tuning import Mode
from gateway.inspection.verdict import Verdict

HOSTILE: Final = Refusal("inspection", Reason.HOSTILE_INPUT)
HOSTILE_EVENT: Final = "request.hostile"
MAX_KNOWN: Final = 1024
MAX_KNOWN_BYTES: Final = 4096
"""Field blocks that are remembered as harmless: how many, and how long one may be."""


def judge_by_waf(x: Exchange, rules: WafRules) -> Refusal | None:
    """Judge the head of a request. A field block in which nothing was found is not read again."""
    block, known = x.fields.forward, rules.harmless
    is_known = block in known and not x.fields.authorization
    try:
        verdict = rules.engine.judge_head(_line(x), () if is_known else fields_of(x), rules.tuning, now=x.started)
    except BodyTooComplexError:
        # a patch may be about what was not reached
        is_refused = rules.tuning.mode is Mode.BLOCK or bool(rules.tuning.patches)
        return _unread(x, Reason.HEAD_TOO_LARGE, is_refused=is_refused)
    if is_known:
        return _follow(x, verdict)
    # an exclusion or a patch may have its last day, and a patch is about whole requests
    if (
        not verdict.findings
        and len(block) <= MAX_KNOWN_BYTES
        and not rules.tuning.patches
        and not rules.tuning.exclusions
    ):
        if len(known) >= MAX_KNOWN:
            known.clear()
        known.add(block)
    return _follow(x, verdict)


def judge_body(x: Exchange, body: bytes) -> Refusal | None:
    """Judge the whole body of a request."""
    inspection = x.inspection
    assert inspection is not None  # noqa: S101 - it is held because of it
    rules = inspection.waf
    if rules is None or not body:
        return None
    try:
        verdict = rules.engine.judge_body(
            _line(x),
            said(x.fields, b"content-type"),
            body,
            rules.tuning,
            limits=inspection.limits,
            now=x.started,
        )
    except BodyUnreadableError:
        return _unread(x, Reason.BODY_UNREADABLE, is_refused=_stops(x, rules))
    except BodyTooComplexError:
        return _unread(x, Reason.BODY_TOO_COMPLEX, is_refused=_stops(x, rules))
    return _follow(x, verdict)


def ask_second(
    x: Exchange, rules: CrsRules, body: bytes, done: Callable[[Refusal | None], None], *, is_unpacked: bool = False
) -> None:
    """Have the second engine judge a request that ours let pass; an unpacked body has no coding any more."""
    line = _line(x)
    authority = x.fields.authority
    fields = [(b"host", authority.text.encode("ascii") if authority is not None else b"")]
    fields += [field for field in fields_of(x) if not is_unpacked or field[0] != b"content-encoding"]
    if body:
        fields.append((b"content-length", b"%d" % len(body)))

    def answered(opinion: Opinion | None) -> None:
        done(_opined(x, rules, opinion))

    question = Question(line.method, line.target, x.version.decode("ascii"), x.client_ip, fields, body)
    rules.engine.ask(question, answered)


def _opined(x: Exchange, rules: CrsRules, opinion: Opinion | None) -> Refusal | None:
    metrics = x.client.metrics
    if opinion is None:
        metrics.crs.inc((x.route.name, "failed"))
        note(x, "crs", {"outcome": "failed"})
        return None if rules.may_fail else Refusal("inspection", Reason.OVERLOADED, retry_after_s=1.0)
    outcome = ("blocked" if rules.blocks else "detected") if opinion.is_hostile else "passed"
    metrics.crs.inc((x.route.name, outcome))
    if opinion.matches:
        told = [{"rule": match.rule, "place": match.place, "severity": match.severity} for match in opinion.matches]
        note(x, "crs", {"outcome": outcome, "rules": told})
    if not opinion.is_hostile:
        return None
    _alarm(x)
    return HOSTILE if rules.blocks else None


def is_lenient(x: Exchange, rules: RouteInspection) -> bool:
    """Whether what cannot be read may go on, since hostile requests would."""
    return (rules.waf is None or not _stops(x, rules.waf)) and (rules.crs is None or rules.crs.may_fail)


def refuses_unread(x: Exchange, rules: RouteInspection) -> bool:
    """Whether a body that cannot be read must not pass: it may hold what would be stopped, by a patch of this request too."""
    return rules.refuses_unread or (rules.waf is not None and _stops(x, rules.waf))


def _stops(x: Exchange, rules: WafRules) -> bool:
    """Whether anything is stopped: by rules, or by a patch about this request's body, which counts whatever the mode is."""
    return rules.tuning.mode is Mode.BLOCK or (
        bool(rules.tuning.patches) and rules.tuning.has_patched_body(x.method.decode("ascii"), _line(x).path, x.started)
    )


def fields_of(x: Exchange) -> list[tuple[bytes, bytes]]:
    """List the fields of a request that go upstream, in lower case, as they are there."""
    fields = []
    for line in x.fields.forward.split(b"\r\n"):
        if line:
            name, _, value = line.partition(b": ")
            fields.append((name, value))
    if x.fields.authorization and x.route.authorization == "portal":
        fields.append((b"authorization", x.fields.authorization))
    return fields


def note(x: Exchange, part: str, told: dict[str, object]) -> None:
    """Say something for the record; a later word of the same part stands beside the earlier one."""
    before = x.noticed.get(part)
    if before is None:
        x.noticed[part] = [told]
    elif isinstance(before, list):
        before.append(told)


def _line(x: Exchange) -> RequestLine:
    resolution = x.resolution
    assert resolution is not None  # noqa: S101 - admitted
    assert resolution.target is not None  # noqa: S101 - a portal's route
    return RequestLine(x.method.decode("ascii"), resolution.forwarded or resolution.text, resolution.target.path)


def _follow(x: Exchange, verdict: Verdict) -> Refusal | None:
    if not verdict.findings:
        return None
    outcome = "blocked" if verdict.is_blocked else "detected" if verdict.is_detected else "noted"
    counted = x.client.metrics.inspection_findings
    for finding in verdict.findings:
        counted.inc((x.route.name, finding.attack, outcome))
    told: dict[str, object] = {
        "outcome": outcome,
        "score": verdict.score,
        "findings": [
            {
                "rule": finding.rule,
                "class": finding.attack,
                "score": finding.score,
                "position": finding.position.value,
                "name": finding.name,
                "digest": finding.digest,
                "start": finding.start,
                "end": finding.end,
                "reading": finding.reading,
            }
            for finding in verdict.findings
        ],
    }
    if verdict.is_truncated:
        told["more"] = True
    note(x, "waf", told)
    if outcome == "noted":
        return None
    _alarm(x)
    return HOSTILE if verdict.is_blocked else None


def _alarm(x: Exchange) -> None:
    if HOSTILE_EVENT not in x.detections:
        x.detections.append(HOSTILE_EVENT)


def _unread(x: Exchange, reason: Reason, *, is_refused: bool) -> Refusal | None:
    """Refuse what nobody can read as the portal would; where attacks are only recorded, record this too."""
    x.client.metrics.inspection_unread.inc((x.route.name, reason.value))
    note(x, "waf", {"outcome": "unread", "because": reason.value})
    return Refusal("inspection", reason) if is_refused else None
