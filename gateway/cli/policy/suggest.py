"""`gateway policy suggest`: what the policy allows and nobody used, from the audit log.

Reads the log twice: once to see what was used, once to prove that with every suggestion applied no request of it would be
answered otherwise. What fails that is not suggested. Policy files are not changed.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import click
import yaml

from gateway.cli.administration import moment as day
from gateway.cli.audit.showing import plain
from gateway.cli.invocation import current
from gateway.cli.policy.history import Span, Tally, moment, sift, span_of, span_options, told, warn_of
from gateway.cli.policy.reading import Policies, Source, count, load_policies
from gateway.document.source import DocumentError
from gateway.policy import PolicyTable
from gateway.policy.history.amendment import Files
from gateway.policy.history.recorded import Recorded, Witness
from gateway.policy.history.replaying import Replayer
from gateway.policy.history.suggestion import Narrower, Suggestion, people, suggestions
from gateway.policy.history.usage import Observer, PersonKey, Usage
from gateway.wire.target import aliases

ROUNDS: Final = 4
SHOWN_PEOPLE: Final = 20
WITNESSES: Final = 65_536


class Observation:
    """Counts what the policy of now lets through."""

    def __init__(self, source: Source) -> None:
        compiled, _ = source.compile()
        self._replayer = Replayer(compiled, source.hosts)
        self._observer = Observer(compiled)

    def take(self, recorded: Recorded) -> None:
        """Decide one request again and count it; what is unknown counts nowhere."""
        verdict = self._replayer.decide(recorded).verdict
        if verdict is not None:
            self._observer.take(recorded, verdict)

    def drain(self) -> Usage:
        """Return the counts since the last time."""
        found, self._observer.usage = self._observer.usage, Usage()
        return found


@dataclass(frozen=True, slots=True)
class Observe:
    """What of a policy was used."""

    source: Source

    def begin(self) -> Observation:
        """Compile the policy in this process."""
        return Observation(self.source)

    def join(self, whole: Usage, part: Usage) -> Usage:
        """Add up."""
        whole.add(part)
        return whole

    def summary(self, found: Usage) -> str:
        """Say how much was seen."""
        return f"{len(found.routes):,} routes, methods and hosts"


@dataclass(slots=True)
class Difference:
    """Of which routes and people a request would be answered otherwise."""

    routes: set[str] = field(default_factory=set)
    people: set[PersonKey] = field(default_factory=set)


class Comparison:
    """Answers by the policy of now and by the narrower one."""

    def __init__(self, proof: Prove) -> None:
        live, _ = proof.live.compile()
        narrower, _ = proof.narrower.compile()
        self._table = live
        self._live = Replayer(live, proof.live.hosts)
        self._narrower = Replayer(narrower, proof.live.hosts)
        self._people = proof.people
        self._kinds: dict[tuple[int, tuple[str, ...]], int] = {}
        self._witnesses: dict[Witness, Witness] = {}
        self._found = Difference()

    def take(self, recorded: Recorded) -> None:
        """Compare one request."""
        before = self._live.decide(recorded).verdict
        if before is None:
            return
        changed = recorded
        session = recorded.witness.session
        person = (session.user, session.tenant, session.roles) if session is not None else None
        if person in self._people:
            changed = recorded._replace(witness=self._with(recorded.witness, self._people[person]))
        after = self._narrower.decide(changed).verdict
        if after is not None and after.decision.allowed == before.decision.allowed:
            return
        if changed is not recorded and person is not None:
            self._found.people.add(person)
            after = self._narrower.decide(recorded).verdict
            if after is not None and after.decision.allowed == before.decision.allowed:
                return
        self._found.routes |= {before.route, *([after.route] if after is not None else [])} - {""}
        for alias in aliases(recorded.path):
            node = self._table.match_folded(recorded.host, alias)
            if node is not None:
                self._found.routes |= {rule.route.name for rule in node.rules.values()}

    def _with(self, witness: Witness, roles: tuple[str, ...]) -> Witness:
        known = self._witnesses.get(witness)
        if known is None:
            if len(self._witnesses) >= WITNESSES:
                self._witnesses.clear()
            kind = self._kinds.setdefault((witness.kind, roles), -1 - len(self._kinds))
            known = self._witnesses[witness] = witness.holding(roles, kind)
        return known

    def drain(self) -> Difference:
        """Return what was found since the last time."""
        found, self._found = self._found, Difference()
        return found


@dataclass(frozen=True, slots=True)
class Prove:
    """Whether a narrower policy, and narrower people, answer as before."""

    live: Source
    narrower: Source
    people: dict[PersonKey, tuple[str, ...]]

    def begin(self) -> Comparison:
        """Compile both policies in this process."""
        return Comparison(self)

    def join(self, whole: Difference, part: Difference) -> Difference:
        """Add up."""
        whole.routes |= part.routes
        whole.people |= part.people
        return whole

    def summary(self, found: Difference) -> str:
        """Say of how many routes suggestions are dropped."""
        return f"{len(found.routes):,} routes and {len(found.people):,} people that need what they have"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is suggested, and what it is based on."""

    suggestions: list[Suggestion]
    people: list[Narrower]
    usage: Usage
    tally: Tally


@click.command()
@span_options("30d")
def suggest(*, since: float, until: float | None, directory: Path | None, purpose: str) -> None:
    """Suggest what could be narrower: routes, entries, roles, methods, hosts, templates and people, by what was used."""
    policies = load_policies()
    span = span_of(policies.settings, "policy suggest", since=since, until=until, directory=directory, purpose=purpose)
    proposal = propose(policies, span)
    warn_of(proposal.tally)
    current().answer(_as_json(proposal), "\n".join(map(plain, _as_text(proposal))))


def propose(policies: Policies, span: Span) -> Proposal:
    """Look at what was used, and keep the suggestions that change no answer."""
    source, files = policies.source, Files(policies.source.files)
    usage, tally = sift(span, Observe(source), "looking at what was used")
    if not usage.all.requests:
        return Proposal([], [], usage, tally)
    kept = suggestions(policies.table, files, usage)
    wrong = Difference()
    for _ in range(ROUNDS):
        kept, narrower, compiled = _compilable(kept, source, files)
        people_kept = [
            one for one in people(compiled, _indexed(usage, policies.table, compiled)) if one.person not in wrong.people
        ]
        proof = Prove(source, narrower, {one.person: one.roles for one in people_kept})
        found, _ = sift(span, proof, "proving the suggestions")
        if not found.routes and not found.people:
            return Proposal(kept, people_kept, usage, tally)
        wrong.people |= found.people
        kept = [one for one in kept if not one.amendments or one.route not in found.routes]
    return Proposal([one for one in kept if not one.amendments], [], usage, tally)


def _indexed(usage: Usage, live: PolicyTable, narrower: PolicyTable) -> Usage:
    """Count the entries of people by the narrower policy, where entries that let nobody through are gone."""
    moved: dict[tuple[str, int], tuple[str, int]] = {}
    unused = {key for key, _ in usage.entries}
    for name, rule in live.rules.items():
        now = narrower.rules.get(name)
        kept = range(len(rule.grants))
        if now is not None and len(now.grants) < len(rule.grants):
            kept = [index for index in kept if (name, index) in unused]  # type: ignore[assignment]  # indexes, too
        moved |= {(name, index): (name, place) for place, index in enumerate(kept)}
    others = {
        person: {moved[key]: extent for key, extent in entries.items()} for person, entries in usage.people.items()
    }
    return replace(usage, people=others)


def _compilable(kept: list[Suggestion], source: Source, files: Files) -> tuple[list[Suggestion], Source, PolicyTable]:
    """Drop suggestions with which the policy would not compile; usually none is."""
    try:
        narrower, table = _applied(kept, source, files)
    except DocumentError:
        sound: list[Suggestion] = []
        for suggestion in kept:
            try:
                _applied([*sound, suggestion], source, files)
            except DocumentError:
                continue
            sound.append(suggestion)
        kept = sound
        narrower, table = _applied(kept, source, files)
    return kept, narrower, table


def _applied(kept: Iterable[Suggestion], source: Source, files: Files) -> tuple[Source, PolicyTable]:
    amendments = [amendment for suggestion in kept for amendment in suggestion.amendments]
    narrower = replace(source, files=files.amended(amendments)) if amendments else source
    return narrower, narrower.compile()[0]


def _as_json(proposal: Proposal) -> dict[str, Any]:
    return {
        "read": proposal.tally.value(),
        "suggestions": [
            {
                "kind": one.kind,
                "source": one.source,
                "route": one.route,
                "text": one.text,
                "evidence": one.evidence,
                "requests": one.requests,
                "yaml": _yaml(one.snippet) if one.snippet is not None else None,
                "is_proven": bool(one.amendments),
            }
            for one in proposal.suggestions
        ],
        "people": [
            {
                "user": one.person[0],
                "tenant": one.person[1],
                "roles": list(one.person[2]),
                "enough": list(one.roles),
                "requests": one.requests,
                "first_time": moment(one.first),
                "last_time": moment(one.last),
                "command": _command(one),
            }
            for one in proposal.people
        ],
    }


def _as_text(proposal: Proposal) -> list[str]:
    tally = proposal.tally
    lines = [f"Seen: {told(tally)}."]
    if not proposal.usage.all.requests:
        return [*lines, "Nothing can be suggested from that."]
    lines += [
        f"Whatever happens less often than once in {_length(tally.last - tally.first)} may be missing: a yearly report, a deputy, an emergency.",
        "With everything below applied, no request of the log would be answered otherwise.",
    ]
    for one in proposal.suggestions:
        lines += ["", f"{one.source}: {one.route}: {one.text} [{one.kind}]", f"    {one.evidence}"]
        if one.snippet is not None:
            lines += [f"    | {line}" for line in _yaml(one.snippet).splitlines()]
    if proposal.people:
        lines += ["", f"{count(len(proposal.people), 'person')} could have less:"]
        for person in proposal.people[:SHOWN_PEOPLE]:
            user, tenant, roles = person.person
            enough = ", ".join(person.roles) or "no role"
            span = f"{person.requests:,} request{'' if person.requests == 1 else 's'}, {day(person.first)} to {day(person.last)}"
            lines.append(f"  {user}@{tenant} holds {', '.join(roles)}; {enough} would have been enough ({span})")
            lines.append(f"    {_command(person)}")
        if len(proposal.people) > SHOWN_PEOPLE:
            lines.append(f"  and {len(proposal.people) - SHOWN_PEOPLE} more; --json shows all")
        lines.append("  People of an identity provider get their roles there, or from the table of the provider.")
    total = len(proposal.suggestions) + len(proposal.people)
    return [*lines, "", f"{count(total, 'suggestion')}." if total else "Everything that is allowed was used."]


def _command(one: Narrower) -> str:
    name, _, roles = one.person
    added = [f"--add {role}" for role in one.roles if role not in roles]
    removed = [f"--remove {role}" for role in roles if role not in one.roles]
    return " ".join(["gateway user role", shlex.quote(name), *added, *removed])


def _yaml(snippet: Any) -> str:
    text: str = yaml.safe_dump(snippet, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    return text


def _length(seconds: float) -> str:
    days = seconds / 86_400
    return f"{days:.0f} days" if days >= 2 else count(max(1, round(seconds / 3600)), "hour")  # noqa: PLR2004 - days
