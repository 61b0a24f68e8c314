"""What a condition compares the parts of a request with: the constants, and in which way.

Cuts an expression into atoms (what `&&`, `||`, `!` and `?:` join) and reads from each what can change its answer.
Where an atom does more than compare one thing with constants, the thing is marked as loose: then no choice of values
is known to show every answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Final, NamedTuple

from gateway.exchange.step_up import Network
from gateway.policy.condition import Condition
from gateway.policy.syntax import Term

_SIGN_IN: Final = ("amr", "mfa_age", "credential")
DIMENSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "user.name": ("user",),
    "user.id": ("user_id",),
    "user.email": ("email",),
    "session.tenant": ("tenant",),
    "tenant": ("tenant",),
    "session.roles": ("roles",),
    "session.amr": _SIGN_IN,
    "session.acr": _SIGN_IN,
    "session.mfa_age": ("mfa_age", "credential"),
    "session.auth_age": ("auth_age", "mfa_age"),
    "session.credential": ("credential",),
    "session.scopes": ("scopes", "credential"),
    "session.provider": ("provider",),
    "session.country": ("country",),
    "session.known_device": ("known_device",),
    "request.method": ("method",),
    "request.action": ("method",),
    "request.resource.type": (),
    "request.host": ("host",),
    "request.path": ("path",),
    "request.query": ("query",),
    "request.scheme": ("secure",),
    "request.secure": ("secure",),
    "request.client_ip": ("client_ip",),
    "request.user_agent": ("user_agent",),
    "network": ("client_ip",),
    "network.ip": ("client_ip",),
    "now": ("now",),
}
"""What of a request, a person and the time each name depends on; what it is compared with concerns the first.

Nothing = it is the same for every request of the route.
"""
UNKNOWN: Final = "unknown"
"""Stands for everything a name may depend on that is not in `DIMENSIONS`."""

_JOINTS: Final = frozenset({"_&&_", "_||_", "!_", "_?_:_"})
_ORDERS: Final = frozenset({"_<_", "_<=_", "_>_", "_>=_"})
_EQUALS: Final = frozenset({"_==_", "_!=_"})
_TEXTS: Final = frozenset({"user", "user_id", "email", "tenant", "provider", "country", "query", "user_agent", "host"})
"""What may hold any text, or is tried with all it may hold, so that two of them are tried as equals; segments of the path are, too."""
_LISTS: Final = frozenset({"roles", "amr", "scopes"})
_AGES: Final = frozenset({"mfa_age", "auth_age"})
_UNITS_S: Final = {"getHours": 3600, "getMinutes": 60, "getSeconds": 1}
"""What takes a duration apart: all of it in whole units, cut off."""
_STEADY: Final = frozenset({*_EQUALS, "@in", "_&&_", "_||_", "!_", "@not_strictly_false"})
"""What a fold over a list may do so that the answers for its members decide its own."""
_SAFE: Final = frozenset({*_STEADY, *_ORDERS, "startsWith", "endsWith", "contains", "matches", "size", "is_in"})
"""What cannot fail, given constants that were tried when the policy was loaded."""


@dataclass(slots=True)
class Wanted:
    """What one dimension is compared with."""

    equals: set[str] = field(default_factory=set)
    prefixes: set[str] = field(default_factory=set)
    suffixes: set[str] = field(default_factory=set)
    parts: set[str] = field(default_factory=set)
    sizes: set[int] = field(default_factory=set)
    bounds: set[float] = field(default_factory=set)
    """Seconds: of ages, or unix time."""
    networks: set[Network] = field(default_factory=set)
    members: set[str] = field(default_factory=set)
    """What a list is asked for."""
    strangers: bool = False
    """It is asked about each member, so that one which nothing names may change the answer."""
    clocks: set[str] = field(default_factory=set)
    """`getHours` and its like."""
    zones: set[str] = field(default_factory=set)
    ticks: set[int] = field(default_factory=set)
    """What they are compared with."""
    peers: set[str] = field(default_factory=set)
    """Other dimensions that it is compared with for equality."""
    loose: bool = False
    """It is used in a way for which these values may not show every answer."""

    def texts(self) -> set[str]:
        """List every text."""
        return self.equals | self.prefixes | self.suffixes | self.parts


class Atom(NamedTuple):
    """A part of a condition that holds or does not by itself."""

    condition: Condition
    dimensions: frozenset[str]
    is_steady: bool
    """It is always true or false: nothing in it can fail."""


class Comparisons:
    """What some conditions compare with what."""

    def __init__(self) -> None:
        self.wanted: dict[str, Wanted] = {}

    def of(self, dimension: str) -> Wanted:
        """Return what a dimension is compared with."""
        return self.wanted.setdefault(dimension, Wanted())

    def read(self, condition: Condition, places: Mapping[str, tuple[str, ...]]) -> list[Atom]:
        """Cut a condition into its atoms; `places` says what the names of its route depend on (`path.NAME`)."""
        reader = _Reader(condition, self, {**DIMENSIONS, **places})
        return [reader.atom(term) for term in _cut(condition.tree())]


def _cut(term: Term) -> Iterator[Term]:
    if term.kind == "call" and term.name in _JOINTS:
        for part in term.terms:
            yield from _cut(part)
    else:
        yield term


class _Reader:
    """Reads the atoms of one condition."""

    def __init__(self, condition: Condition, into: Comparisons, dimensions: Mapping[str, tuple[str, ...]]) -> None:
        self._condition = condition
        self._into = into
        self._dimensions = dimensions
        self._names = condition.names

    def atom(self, term: Term) -> Atom:
        if not self._note(term):
            self._loosen(term)
        found = {
            dimension
            for name in set(term.names()) & self._names
            for dimension in self._dimensions.get(name, (UNKNOWN,))
        }
        steady = all(name in _SAFE for name in _functions(term))
        return Atom(self._condition.part(term), frozenset(found), steady)

    def _of(self, name: str) -> Wanted:
        found = self._dimensions.get(name, (UNKNOWN,))
        return self._into.of(found[0]) if found else Wanted()

    def _dimension(self, name: str) -> str:
        return next(iter(self._dimensions.get(name, (UNKNOWN,))), "")

    def _is_named(self, term: Term) -> bool:
        return term.kind == "name" and term.name in self._names

    def _constant(self, term: Term) -> object:
        """Evaluate a term that asks about nothing; None where it asks."""
        return None if any(True for _ in term.names()) else self._condition.constant(term)

    def _loosen(self, term: Term) -> None:
        """Keep every text as something to try, and give up the claim that trying is enough."""
        texts = {text for text in map(self._constant, term.constants()) if isinstance(text, str)}
        for name in set(term.names()) & self._names:
            for dimension in self._dimensions.get(name, (UNKNOWN,)):
                wanted = self._into.of(dimension)
                wanted.loose = True
                wanted.equals |= texts
                wanted.prefixes |= texts
                wanted.suffixes |= texts
                wanted.members |= texts

    def _note(self, term: Term) -> bool:
        """Note what an atom compares; False where that is not all it does."""
        if term.kind == "name":
            return True  # a bool
        if term.kind == "fold":
            return self._note_fold(term)
        if term.kind != "call":
            return False
        match term.name, term.terms:
            case (("_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_"), (left, right)):
                order = term.name in _ORDERS
                return self._compare(left, right, order=order) or self._compare(right, left, order=order)
            case "@in", (member, container):
                return self._note_member(member, container)
            case (("startsWith" | "endsWith" | "contains"), (target, argument)):
                return self._note_part(term.name, target, argument)
            case "is_in", (target, argument):
                return self._note_networks(target, argument)
            case _:
                return False

    def _compare(self, left: Term, right: Term, *, order: bool) -> bool:
        """Note a comparison of what is on the left with a constant, or for equality with another name."""
        value = self._constant(right)
        if self._is_named(left):
            wanted = self._of(left.name)
            match value:
                case bool():
                    return not order
                case str():
                    wanted.equals.add(value)
                    return not order
                case timedelta():
                    wanted.bounds.add(value.total_seconds())
                    return True
                case datetime():
                    wanted.bounds.add(value.timestamp())
                    return True
                case _:
                    return self._is_named(right) and not order and self._pair(left.name, right.name)
        if left.kind != "call" or not left.terms or not self._is_named(left.terms[0]) or not isinstance(value, int):
            return False
        wanted = self._of(left.terms[0].name)
        dimension = self._dimension(left.terms[0].name)
        if left.name == "size":
            wanted.sizes.add(value)
            return dimension not in _LISTS  # attack: how many there are shows for none of the sets that are tried
        if dimension in _AGES:
            unit = _UNITS_S.get(left.name)
            if unit is not None and len(left.terms) == 1:
                wanted.bounds |= {float(value * unit), float((value + 1) * unit)}
                return True
            return False
        if left.name.startswith("get"):
            zones = [zone for zone in map(self._constant, left.terms[1:]) if isinstance(zone, str)]
            wanted.clocks.add(left.name)
            wanted.zones.update(zones or ["UTC"])
            wanted.ticks.add(value)
            return len(zones) == len(left.terms) - 1
        return False

    def _pair(self, left: str, right: str) -> bool:
        mine, theirs = (self._dimensions.get(name, (UNKNOWN,)) for name in (left, right))
        if len(mine) != 1 or len(theirs) != 1 or not all(map(_is_text, (mine[0], theirs[0]))):
            return False
        self._into.of(mine[0]).peers.add(theirs[0])
        self._into.of(theirs[0]).peers.add(mine[0])
        return True

    def _note_member(self, member: Term, container: Term) -> bool:
        value = self._constant(member)
        if self._is_named(container):
            if isinstance(value, str):
                self._of(container.name).members.add(value)
                return True
            return False
        return (
            container.kind == "list"
            and self._is_named(member)
            and all([self._compare(member, item, order=False) for item in container.terms])  # noqa: C419 - each is noted
        )

    def _note_part(self, function: str, target: Term, argument: Term) -> bool:
        value = self._constant(argument)
        if not self._is_named(target) or not isinstance(value, str):
            return False
        wanted = self._of(target.name)
        {"startsWith": wanted.prefixes, "endsWith": wanted.suffixes, "contains": wanted.parts}[function].add(value)
        return True

    def _note_networks(self, target: Term, argument: Term) -> bool:
        if not self._is_named(target):
            return False
        texts = list(map(self._constant, argument.terms if argument.kind == "list" else (argument,)))
        try:
            self._of(target.name).networks.update(ip_network(text) for text in texts if isinstance(text, str))
        except ValueError:
            return False
        return all(isinstance(text, str) for text in texts)

    def _note_fold(self, term: Term) -> bool:
        """Note `list.exists(x, …)` and `all`: they follow from their answers for single members."""
        over, *rest = term.terms
        if not self._is_named(over) or any(name in self._names for part in rest for name in part.names()):
            return False
        wanted = self._of(over.name)
        wanted.strangers = True
        wanted.members |= {
            text for part in rest for text in map(self._constant, part.constants()) if isinstance(text, str)
        }
        return all(name in _STEADY for part in rest for name in _functions(part))


def _is_text(dimension: str) -> bool:
    return dimension in _TEXTS or dimension.startswith("segment ")


def _functions(term: Term) -> Iterator[str]:
    """Yield what is called, but for what makes constants and takes times apart."""
    if not any(True for _ in term.names()):
        return
    if term.kind not in {"name", "list"} and not term.name.startswith("get"):
        yield term.name
    for part in term.terms:
        yield from _functions(part)
