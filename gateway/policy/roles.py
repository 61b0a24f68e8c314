"""Which roles contain which: the closure of `includes`.

Decides what holding a role amounts to. A role that no file declares amounts to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Roles:
    """All declared roles and, for each, everything it includes, itself among it."""

    __slots__ = ("_direct", "_holders", "_included", "_sets")

    def __init__(self, includes: Mapping[str, Iterable[str]]) -> None:
        """Close `includes`, which must be free of cycles and of undeclared roles."""
        self._direct = {role: tuple(others) for role, others in includes.items()}
        self._included: dict[str, frozenset[str]] = {}
        for role in includes:
            self._included[role] = frozenset(_reach(role, includes))
        self._holders: dict[str, set[str]] = {role: set() for role in includes}
        for role, included in self._included.items():
            for other in included:
                self._holders[other].add(role)
        self._sets: dict[tuple[str, ...], frozenset[str]] = {}

    @property
    def names(self) -> frozenset[str]:
        """Every declared role."""
        return frozenset(self._included)

    def holders(self, granted: Iterable[str]) -> frozenset[str]:
        """List every role that satisfies a grant to one of `granted`: those roles and all that include them."""
        key = tuple(granted)
        known = self._sets.get(key)
        if known is None:  # few sets for many routes
            known = self._sets[key] = frozenset(other for role in key for other in self._holders.get(role, ()))
        return known

    def chain(self, role: str, granted: Iterable[str]) -> tuple[str, ...]:
        """Tell by which includes a role satisfies a grant to one of `granted`, from the role on; empty when it does not."""
        wanted = frozenset(granted)
        reached: dict[str, tuple[str, ...]] = {role: (role,)} if role in self._direct else {}
        pending = list(reached)
        while pending:
            here = pending.pop(0)
            if here in wanted:
                return reached[here]
            for other in self._direct[here]:
                if other not in reached:
                    reached[other] = (*reached[here], other)
                    pending.append(other)
        return ()

    def held(self, roles: Iterable[str]) -> frozenset[str]:
        """List everything that a person with `roles` holds; undeclared roles are nothing."""
        found: set[str] = set()
        for role in roles:
            found |= self._included.get(role, frozenset())
        return frozenset(found)


def find_cycles(includes: Mapping[str, Iterable[str]]) -> list[tuple[str, ...]]:
    """Find the cycles of `includes`, each once, from its first role in the order of the mapping."""
    cycles: list[tuple[str, ...]] = []
    done: set[str] = set()
    for start in includes:
        trail: list[str] = []
        pending = [(start, iter(includes[start]))] if start not in done else []
        while pending:
            role, rest = pending[-1]
            if len(trail) < len(pending):
                trail.append(role)
            following = next((other for other in rest if other in includes and other not in done), None)
            if following is None:
                done.add(role)
                pending.pop()
                trail.pop()
            elif following in trail:
                cycles.append(tuple(trail[trail.index(following) :]))
            else:
                pending.append((following, iter(includes[following])))
    return cycles


def _reach(role: str, includes: Mapping[str, Iterable[str]]) -> set[str]:
    seen = {role}
    pending = [role]
    while pending:
        for other in includes[pending.pop()]:
            if other not in seen:
                seen.add(other)
                pending.append(other)
    return seen
