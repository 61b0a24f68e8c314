"""One request that shows an answer, as a line of text that `policy explain` can be asked about, or as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from gateway.policy.judgement import Person
from gateway.policy.proof.space import Situation

_ORDINARY: Final = Person(user="", tenant="", roles=())
_DAY_S: Final = 86400


def as_text(situation: Situation, *, asked: float) -> str:
    """Write a request, who sends it, and whatever is not ordinary about it; `asked` is when the search began."""
    person, facts, now = situation
    query = f"?{facts.query}" if facts.query else ""
    line = f"{facts.method} {'https' if facts.secure else 'http'}://{facts.host}{facts.path}{query}"
    if person is None:
        who = "nobody signed in"
    else:
        who = f"{person.user}:{','.join(person.roles)} of {person.tenant or 'no tenant'}"
    beside = [*_about_request(situation), *(_about_person(person) if person is not None else ())]
    if now != asked:
        beside.append(f"at {datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}")
    return f"{line} as {who}" + "".join(f", {words}" for words in beside)


def _about_request(situation: Situation) -> Iterator[str]:
    facts = situation.facts
    yield f"from {facts.client_ip}"
    if facts.user_agent:
        yield f"User-Agent {facts.user_agent!r}"
    yield from (f"{name}: {value}" for name, value in facts.fields)


def _about_person(person: Person) -> Iterator[str]:
    if person.credential != "cookie":
        yield f"by {person.credential}" + (f" with {' '.join(person.scopes)}" if person.scopes else "")
    elif person.mfa_age is None:
        yield "second factor never proven"
    elif person.mfa_age:
        yield f"second factor proven {length(person.mfa_age)} ago"
    if person.auth_age > (person.mfa_age or 0.0):
        yield f"signed in {length(person.auth_age)} ago"
    if person.amr != _ORDINARY.amr and person.mfa_age is not None and person.credential == "cookie":
        yield f"by {'+'.join(person.amr)}"
    for name in ("email", "user_id", "country"):
        if getattr(person, name):
            yield f"{name} {getattr(person, name)}"
    if person.provider != _ORDINARY.provider:
        yield f"provider {person.provider}"
    if person.known_device:
        yield "on a known device"


def length(seconds: float) -> str:
    """Write a time as the policy files do: `6h15m`, `90s`."""
    whole = int(seconds)
    if whole != seconds or not whole:
        return f"{seconds:g}s"
    parts = ((whole // _DAY_S, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number)


def as_json(situation: Situation | None) -> dict[str, Any] | None:
    """Write everything that is known of it."""
    if situation is None:
        return None
    person, facts, now = situation
    known = msgspec.to_builtins(facts, builtin_types=())
    return {
        "person": None if person is None else msgspec.to_builtins(person),
        "request": {name: value for name, value in known.items() if name != "tenant"},
        "at": now,
    }
