"""`gateway abuse`: whom detectors answered, letting them go, and what the detectors would find.

A lifted answer is over from the next look of each worker on, within a second or two, whether the gateway runs or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

import click

from gateway.audit.redact import redact
from gateway.cli.administration import Administration, administration, answer, moment, read_settings, refuse, table
from gateway.document.quantity import written_duration
from gateway.inspection.abuse.rule import Answer, Detector, Rule, Scope
from gateway.inspection.abuse.scenario import findings_of, read_cases
from gateway.inspection.abuse.standing import Standing
from gateway.server.sections.inspection.detectors import tuned_detectors
from gateway.server.shipped import shipped
from gateway.store.standings import StandingStore

CASES: Final = "inspection/detector-cases.yaml"
_COLUMNS: Final = ("REFERENCE", "DETECTOR", "ANSWER", "TO", "WHO", "SINCE", "UNTIL")
_MOST_REASON: Final = 256


def _network(value: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not an IP address or a network such as 203.0.113.0/24") from None


@click.group()
def abuse() -> None:
    """List and lift the answers of detectors of abuse, and try the detectors."""


@abuse.command(name="list")
def list_standings() -> None:
    """List what stands, newest first."""
    with administration() as act:
        act.record_administration("abuse list", action="view", resources=[("answers", "all")])
        found = StandingStore(act.store.rows, act.store.sealer).all(act.now)
    lines = [table(_COLUMNS, [_row(each) for each in found]) if found else "Nobody is answered."]
    answer({"answers": [_as_json(each) for each in found]}, lines)


@abuse.command()
@click.argument("references", nargs=-1, metavar="[REFERENCE]...")
@click.option("--network", type=_network, metavar="CIDR", help="Every answer to an address in this network.")
@click.option("--user", "name", help="Every answer to this person, their sessions, keys and account.")
@click.option("--all", "everybody", is_flag=True, help="Every answer that stands.")
@click.option("--reason", required=True, help="Why; it stands in the record.")
def lift(
    references: tuple[str, ...],
    network: IPv4Network | IPv6Network | None,
    name: str | None,
    everybody: bool,  # noqa: FBT001 - click passes options by name
    reason: str,
) -> None:
    """End answers now. Whom they were about is judged by what they do from then on."""
    if [bool(references), network is not None, name is not None, everybody].count(True) != 1:
        raise click.UsageError("name references as `abuse list` prints them, or --network, or --user, or --all")
    if not reason.strip() or len(reason) > _MOST_REASON:
        raise click.UsageError(f"--reason takes a sentence of {_MOST_REASON} characters at most")
    with administration() as act:
        kept = StandingStore(act.store.rows, act.store.sealer)
        standing = kept.all(act.now)
        found = [each for each in standing if everybody or _is_meant(each, references, network, name, act)]
        known = {each.reference for each in found}
        missing = [each for each in references if each not in known]
        if missing:
            refuse(f"nothing stands under {' and '.join(missing)}")
        act.record_administration(
            "abuse lift",
            action="admin",
            resources=[("answer", each.reference) for each in found],
            more={
                "abuse": {
                    "lifted": [{"detector": each.detector, "reference": each.reference} for each in found],
                    "reason": redact(reason)[0],
                }
            },
        )
        ended = kept.lift(found)
    answer({"ok": True, "lifted": ended}, [f"{ended} {'answer' if ended == 1 else 'answers'} lifted."])


@abuse.command()
def detectors() -> None:
    """List the detectors as gateway.yaml sets them."""
    found = _detectors()
    rows = [
        (each.id, each.answer.value, _time(each), each.title, "; ".join(_numbers(rule) for rule in each.rules))
        for each in found
    ]
    told = [
        {
            "id": each.id,
            "name": each.name,
            "title": each.title,
            "counts": each.counts,
            "action": each.answer.value,
            "for_s": None if each.answer in {Answer.OFF, Answer.ALERT} else each.answer_s,
            "answers": sorted(each.answers),
            "rules": {rule.name: _numbers(rule) for rule in each.rules},
        }
        for each in found
    ]
    answer({"detectors": told}, [table(("ID", "ACTION", "FOR", "WHAT", "SPEAKS AT"), rows)])


@abuse.command()
def test() -> None:
    """Try the detectors, with the numbers of gateway.yaml, on the cases that ship with them.

    Exit 1 where one finds what it should not, or misses what it should find: with other numbers that may be meant.
    """
    known = {each.id: each for each in _detectors()}
    path = shipped(CASES)
    cases = read_cases(path.read_text("utf-8"), path.name, tuple(known.values()))
    wrong = []
    for case in cases:
        if known[case.detector].answer is Answer.OFF:
            continue
        found = {finding.rule for finding in findings_of(case, known[case.detector])}
        if found != case.finds:
            wrong.append((case, found))
    lines = [
        f"{case.detector}: {case.name}: finds {_rules(found)}, not {_rules(case.finds)} ({case.place})"
        for case, found in wrong
    ]
    told = [
        {"detector": case.detector, "name": case.name, "finds": sorted(found), "expected": sorted(case.finds)}
        for case, found in wrong
    ]
    answer({"ok": not wrong, "cases": len(cases), "wrong": told}, [*lines, f"{len(cases)} cases, {len(wrong)} wrong."])
    if wrong:
        raise click.exceptions.Exit(1)


def _detectors() -> tuple[Detector, ...]:
    asked = read_settings().inspection.detectors
    return tuned_detectors(asked, {each: rules.watched for each, rules in asked.items()})


def _rules(names: Sequence[str] | set[str] | frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _is_meant(
    standing: Standing,
    references: Sequence[str],
    network: IPv4Network | IPv6Network | None,
    name: str | None,
    act: Administration,
) -> bool:
    if references:
        return standing.reference in references
    if network is not None:
        return standing.scope is Scope.NETWORK and _lies_in(standing.subject, network)
    user = act.require_user(name or "")
    return user.id in {standing.subject, standing.person} or user.name == standing.name


def _lies_in(subject: str, network: IPv4Network | IPv6Network) -> bool:
    try:
        own = ip_network(subject)
    except ValueError:
        return False
    if isinstance(own, IPv4Network):
        return isinstance(network, IPv4Network) and own.overlaps(network)
    return isinstance(network, IPv6Network) and own.overlaps(network)


def _row(standing: Standing) -> tuple[str, ...]:
    return (
        standing.reference,
        standing.detector,
        standing.answer.value,
        standing.scope.value,
        standing.name or standing.subject,
        moment(standing.since),
        moment(standing.until),
    )


def _as_json(standing: Standing) -> dict[str, Any]:
    return {
        "reference": standing.reference,
        "detector": standing.detector,
        "rule": standing.rule,
        "answer": standing.answer.value,
        "scope": standing.scope.value,
        "subject": standing.subject,
        "user": standing.name,
        "user_id": standing.person,
        "tenant": standing.tenant,
        "since": standing.since,
        "until": standing.until,
        "spares_signed_in": standing.spares_signed_in,
    }


def _time(detector: Detector) -> str:
    return "-" if detector.answer in {Answer.OFF, Answer.ALERT} else written_duration(detector.answer_s)


def _numbers(rule: Rule) -> str:
    """Write the conditions of a rule: `25 events and 15 accounts in 15m`."""
    wanted = " and ".join(f"{number} {word}" for word, number in rule.at_least.items())
    if rule.any_of:
        wanted += f", with {' or '.join(f'{number} {word}' for word, number in rule.any_of.items())}"
    if rule.habit is not None:
        wanted += " and more than usual"
    return f"{wanted} {'in all' if rule.within_s == float('inf') else f'in {written_duration(rule.within_s)}'}"
