"""`gateway audit verify`: prove that the log is what was written, and say how much of it that shows."""

from __future__ import annotations

import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from gateway.audit.finding import Finding, Kind
from gateway.audit.trust import TrustError, TrustPolicy
from gateway.audit.verdict import Verdict, moment
from gateway.cli.administration import read_settings
from gateway.cli.audit.cases import judge_cases
from gateway.cli.audit.pinned import read_fleets, read_vkey, read_vkeys
from gateway.cli.audit.showing import plain
from gateway.cli.audit.sink_copies import Outcome, compare_copies, find_copies
from gateway.cli.audit.verified import write_verified
from gateway.cli.audit.witnessed import ask_witnesses
from gateway.cli.invocation import DEFAULT_CONFIG, current
from gateway.exchange.errors import ConfigurationError
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.case_file import is_case
from gateway.ledger.copy import opened
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.verification import Question, Report, origin_of, published, verify_own, verify_trees
from gateway.server.progress import Progress
from gateway.server.settings import Settings

MAX_SHOWN_INTENTS: Final = 20
_OF_COPIES: Final = ("trusted", "streams", "first", "structural", "metrics")
_File = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("verify", short_help="Prove that the log is what was written.")
@click.argument("copies", metavar="[COPY]...", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--trusted-checkpoint",
    "trusted",
    multiple=True,
    type=_File,
    help="A checkpoint that was kept elsewhere; the log must continue it.",
)
@click.option(
    "--vkey",
    "vkeys",
    multiple=True,
    help="The verifier key that must have signed the log, or a file with one on each line.",
)
@click.option("--policy", "policies", multiple=True, type=_File, help="Logs, witnesses and quorum that are believed.")
@click.option("--against-witness", is_flag=True, help="Ask the witnesses of the policy what they saw last.")
@click.option(
    "--against-sink",
    "sinks",
    multiple=True,
    metavar="NAME|PATH",
    help="Compare with what a sink of type file wrote, or with records that a sink kept.",
)
@click.option(
    "--fleet",
    "fleets",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="Logs that there must be: a line `log VKEY` for each, in a file or in those of a directory.",
)
@click.option("--fleet-key", help="The verifier key that must have signed each list of --fleet.")
@click.option(
    "--stream",
    "streams",
    multiple=True,
    type=click.Choice([stream.value for stream in STREAMS]),
    help="Only this log of each node.",
)
@click.option("--from", "first", type=click.IntRange(0), default=0, help="First entry to prove.")
@click.option("--to", "last", type=click.IntRange(0), help="Last entry to prove.")
@click.option("--structural", is_flag=True, help="Decrypt nothing: frames, chains, signatures and trees only.")
@click.option("--jobs", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes to work with.")
@click.option(
    "--metrics",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write when the log was intact last into FILE.prom, for Prometheus's textfile collector.",
)
def verify_verb(
    copies: tuple[Path, ...],
    fleets: tuple[Path, ...],
    fleet_key: str | None,
    *,
    against_witness: bool,
    sinks: tuple[str, ...],
    metrics: Path | None,
    **given: Any,
) -> None:
    """Prove that the log of the gateway of -c, or in each COPY, is what was written.

    A COPY is a directory, a tarball (.tar, .tar.gz, .tar.zst), records that a sink kept (.ndjson), or a case that
    `gateway audit export --sign` made. With -c
    the keys decrypt every record and the last published checkpoint says how long the log is; a bare COPY is
    checked without keys. Exit 0 intact, also while the gateway writes; 1 a finding; 3 nothing wrong, but the end
    or the contents cannot be proven with what was given; 4 intact, but not vouched for as --policy asks.
    """
    if given["last"] is not None and given["last"] < given["first"]:
        raise click.BadParameter("the last entry comes before the first", param_hint="--to")
    if metrics is not None and (given["streams"] or given["first"] or given["last"] is not None):
        raise click.UsageError("--metrics is about the whole log; leave out --stream, --from and --to")
    if sinks and (copies or given["structural"] or given["first"] or given["last"] is not None):
        raise click.UsageError(
            "--against-sink compares the whole log of -c; leave out COPY, --structural, --from and --to"
        )
    if fleet_key is not None and not fleets:
        raise click.UsageError("--fleet-key says who signed the list of --fleet; give both")
    question = Question(
        vkeys=tuple(vkey for text in given["vkeys"] for vkey in read_vkeys(text)),
        trusted=tuple((path.name, path.read_bytes()) for path in given["trusted"]),
        policies=tuple(map(_policy, given["policies"])),
        fleet=read_fleets(fleets, None if fleet_key is None else read_vkey(fleet_key, "--fleet-key")),
        streams=tuple(map(Stream, given["streams"])) or STREAMS,
        first=given["first"],
        last=given["last"],
        structural=given["structural"],
        jobs=given["jobs"],
    )
    ca: bytes | None = None
    settings: Settings | None = None
    layout: Layout | None = None
    if not copies or current().config is not DEFAULT_CONFIG:
        settings = read_settings()
        layout = Layout(settings.state_dir)
        question = msgspec.structs.replace(
            question,
            keys=AuditKeys.load(settings.audit.keys),
            published=tuple(published(layout)),
            own_policies=_own_policies(settings),
            is_live=not copies,
        )
        ca = settings.audit.witness.ca.read_bytes() if settings.audit.witness.ca else None
        copies = copies or (layout.directory,)
        find_copies(sinks, settings, question.streams)  # a wrong name is said before everything is verified
    if cases := [copy for copy in copies if is_case(copy)]:
        if len(cases) < len(copies):
            raise click.UsageError("a case proves itself; verify it apart from copies of the log")
        # attack: a case where a copy of the log was asked for; what it cannot answer must not count as answered
        unanswered = [name for name in _OF_COPIES if {**given, "metrics": metrics}.get(name)] + ["fleet"] * bool(fleets)
        if unanswered or against_witness or given["last"] is not None:
            raise click.UsageError(
                f"{cases[0]} is a case, a collection of records; it cannot show what was asked about whole logs "
                "(of a case, give --vkey and --policy alone)"
            )
        own = () if question.keys is None else (question.keys.vkey(question.keys.origin),)
        code = judge_cases(cases, vkeys=(*question.vkeys, *own), policies=question.policies)
        click.get_current_context().exit(code)
    silent: tuple[str, ...] = ()
    if against_witness:
        named = [*question.vkeys, *question.fleet]
        origins = {*(vkey.name for vkey in named), *(origin_of(note) for _, _, note in question.published)} - {""}
        notes, silent = ask_witnesses(question.policies or question.own_policies, origins, ca=ca)
        question = msgspec.structs.replace(question, trusted=(*question.trusted, *notes))
    with ExitStack() as stack:
        progress = stack.enter_context(Progress("reading the audit log"))
        roots = [copy if question.is_live else stack.enter_context(opened(copy)) for copy in copies]
        told = _watch(progress)
        if layout is not None and question.is_live:
            report = verify_own(layout, question, told)
        else:
            report = verify_trees(roots, question, told)
        outcome = Outcome()
        if settings is not None and question.keys is not None:
            beside = find_copies(sinks, settings, question.streams)  # again: files were rotated meanwhile
            outcome = compare_copies(
                beside, Layout(settings.state_dir), question.keys, _watch(progress, "comparing with the sink")
            )
    report = msgspec.structs.replace(report, silent=silent)
    code = outcome.exit_code(report.exit_code)
    if metrics is not None:
        write_verified(metrics, code, time.time())
    _answer(report, outcome, code)
    click.get_current_context().exit(code)


def _watch(progress: Progress, what: str = "verifying the audit log") -> Callable[[str, int, int], None]:
    def told(name: str, done: int, total: int) -> None:
        progress(f"{what}: {100 * done // max(total, 1)} % ({name})")

    return told


def _own_policies(settings: Settings) -> tuple[TrustPolicy, ...]:
    """Return the policy that the gateway itself asks witnesses by: it says who cosigned, and demands nothing."""
    path = settings.audit.witness.policy
    return () if path is None else (_policy(path),)


def _policy(path: Path) -> TrustPolicy:
    try:
        return TrustPolicy.parse(path.read_bytes())
    except TrustError as exc:
        raise ConfigurationError((f"{path}: {exc}",)) from exc


def _answer(report: Report, outcome: Outcome, code: int) -> None:
    """Show what is proven of each log."""
    lines = [plain(str(finding)) for finding in report.findings]
    for place, verdict in report.verdicts:
        lines += [*_lines(verdict.findings), plain(f"{_shown_place(place)}{verdict.sentence()}")]
    lines += [plain(sentence) for sentence in report.silent]
    lines += outcome.lines()
    value = {
        "ok": code == 0,
        "exit_code": code,
        "size": sum(verdict.size for _, verdict in report.verdicts),
        "findings": [_finding(finding) for finding in report.findings],
        "not_heard": list(report.silent),
        "sinks": outcome.value(),
        "not_compared": list(outcome.silent),
        "streams": dict(zip(_names(report.verdicts), map(_value, report.verdicts), strict=True)),
    }
    current().answer(value, "\n".join(lines))


def _shown_place(place: str) -> str:
    return "" if place in {"", ".", "audit"} else f"{place}: "


def _names(verdicts: Sequence[tuple[str, Verdict]]) -> list[str]:
    """Return the stream of each log; where several nodes have it, the origin, and the place where that is there twice."""
    streams = [verdict.stream or verdict.origin or place for place, verdict in verdicts]
    origins = [verdict.origin or place for place, verdict in verdicts]
    of_streams, of_origins = Counter(streams), Counter(origins)
    return [
        stream if of_streams[stream] == 1 else origin if of_origins[origin] == 1 else f"{place}/{stream}"
        for stream, origin, (place, _) in zip(streams, origins, verdicts, strict=True)
    ]


def _value(found: tuple[str, Verdict]) -> dict[str, Any]:
    place, verdict = found
    return {
        "exit_code": verdict.exit_code,
        "verdict": verdict.sentence(),
        "place": place,
        "origin": verdict.origin,
        "vkey": verdict.vkey,
        "first": verdict.first,
        "size": verdict.size,
        "proven": verdict.proven,
        "root": b64encode(verdict.root).decode(),
        "files": verdict.files,
        "segments": verdict.segments,
        "first_time": moment(verdict.first_ns),
        "last_time": moment(verdict.last_ns),
        "vouched": [
            {
                "size": one.size,
                "name": one.name,
                "witnesses": list(one.witnesses),
                "time": moment(one.time_s * 1_000_000_000),
            }
            for one in verdict.vouched
        ],
        "policy_lacks": verdict.lacks,
        "findings": [_finding(finding) for finding in verdict.findings if finding.is_failure],
        "declared": [_finding(finding) for finding in verdict.findings if not finding.is_failure],
    }


def _lines(findings: Iterable[Finding]) -> list[str]:
    """Return one line for each finding; open intents, which a busy log always has, are summed up past a number."""
    lines: list[str] = []
    intents = 0
    for finding in findings:
        if finding.kind is Kind.OPEN_INTENT:
            intents += 1
            if intents > MAX_SHOWN_INTENTS:
                continue
        lines.append(plain(str(finding)))
    if intents > MAX_SHOWN_INTENTS:
        lines.append(f"{Kind.OPEN_INTENT.value} and {intents - MAX_SHOWN_INTENTS} more")
    return lines


def _finding(finding: Finding) -> dict[str, Any]:
    place: dict[str, Any] = {"kind": finding.kind.value, "message": finding.message}
    if finding.file:
        place["file"] = finding.file
    if finding.offset >= 0:
        place["offset"] = finding.offset
    if finding.first_index >= 0:
        place["first_index"] = finding.first_index
        place["last_index"] = max(finding.first_index, finding.last_index)
    return place
