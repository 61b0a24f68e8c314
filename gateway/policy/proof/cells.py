"""The space of requests, cut into cells: sets of requests that one table, or each of several, decides by the same routes.

Walks the tries of the tables together, as `table.find` walks one of them, but along every path at once:
each literal that some template has, the empty segment, and one fresh segment that stands for all others.
Whether anybody is let in is not looked at here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final, NamedTuple
from urllib.parse import unquote

from gateway.exchange.errors import GatewayError
from gateway.policy.table import Leaf, Node, PolicyTable, Rule, Step

MAX_STEPS: Final = 4_000_000
"""Steps of one walk. Templates that multiply (`/{a}/x1` … beside `/y1/{b}` …, thousands of each) need more."""

_Threads = tuple[Step | Leaf, ...]
"""Where `find` may stand after some segments, what it tries first in front: branches to follow, and rests to fall back on."""
_State = tuple[_Threads, ...]
"""The threads of each table."""


class TooManyCellsError(GatewayError):
    """The templates multiply to more places than can be looked at."""


class Cell(NamedTuple):
    """Requests that differ in nothing any table looks at when it picks a template."""

    hosts: tuple[str, ...]
    """Sorted."""
    path: str
    """One path of the cell, the shortest; a fresh segment stands where any would do."""
    nodes: tuple[Node | None, ...]
    """What each table finds; None = no template matches."""

    @property
    def template(self) -> str:
        """Which paths the cell has, as a template: what the templates of all tables have in common."""
        found = ""
        for node in self.nodes:
            if node is not None:
                found = meet(found, node.template) if found else node.template
        return found

    @property
    def methods(self) -> tuple[str, ...]:
        """Every method that some table has a route for; all others are refused by all of them."""
        return tuple(sorted({method for node in self.nodes if node is not None for method in node.methods}))

    def rules(self, method: str) -> tuple[Rule | None, ...]:
        """Name the rule by which each table decides about a method; None = it refuses for want of one."""
        return tuple(None if node is None else node.rules.get(method) for node in self.nodes)


def cut(tables: Sequence[PolicyTable], hosts: Sequence[Collection[str]]) -> list[Cell]:
    """Cut all requests to `hosts` (those that each table is in force for) into cells that do not overlap.

    For every host and canonical path exactly one cell has the host and the nodes that the tables find for the path.

    Raises:
        TooManyCellsError: when the templates multiply.

    """
    walk = _Walk(tables, [frozenset(served) for served in hosts])
    walk.run()
    return walk.cells()


def meet(one: str, other: str) -> str:
    """Write what two templates that share a path have in common: the narrower segment in each place."""
    mine, theirs = one.split("/"), other.split("/")
    joined: list[str] = []
    for index in range(max(len(mine), len(theirs))):
        left = mine[index] if index < len(mine) else ""
        right = theirs[index] if index < len(theirs) else ""
        if left == "**":
            return "/".join([*joined, *theirs[index:]]) or "/"
        if right == "**":
            return "/".join([*joined, *mine[index:]]) or "/"
        if index >= len(mine) or index >= len(theirs):
            break  # `/a` and `/a/` are one place
        joined.append(right if _is_wild(left) and (left == "*" or not _is_wild(right)) else left)
    return "/".join(joined) or "/"


def _is_wild(segment: str) -> bool:
    return segment == "*" or segment.startswith("{")


class _Walk:
    """One walk over the tries of some tables."""

    def __init__(self, tables: Sequence[PolicyTable], served: Sequence[frozenset[str]]) -> None:
        self._served = served
        self._alike = _alike(tables, served)
        self._every = frozenset(self._alike)
        self._fresh = _fresh_segment(tables)
        self._outcomes: set[tuple[tuple[Leaf, ...], ...]] = set()
        self._taken: dict[tuple[Node | None, ...], set[str]] = {}
        self._start: _State = tuple((table.root,) for table in tables)
        self._found: dict[tuple[tuple[Node | None, ...], str], set[str]] = {}

    def cells(self) -> list[Cell]:
        """List what was found."""
        return [
            Cell(tuple(sorted(host for some in group for host in self._alike[some])), path, nodes)
            for (nodes, path), group in self._found.items()
        ]

    def run(self) -> None:
        """Follow every path until nothing new can be found."""
        seen = {self._start}
        pending = [(self._start, "")]
        steps = 0
        while pending:
            following: list[tuple[_State, str]] = []
            for state, path in pending:
                for segment in self._segments(state, seen):
                    steps += 1
                    reached = tuple(_advance(threads, segment) for threads in state)
                    if reached in seen:
                        continue
                    seen.add(reached)
                    further = f"{path}/{self._fresh if segment is None else segment}"
                    self._note(reached, further)
                    following.append((reached, further))
                if steps > MAX_STEPS:
                    raise TooManyCellsError("the templates of these policies multiply to too many places to look at")
            pending = following

    @staticmethod
    def _segments(state: _State, seen: set[_State]) -> Iterator[str | None]:
        """Yield each segment that may lead somewhere of its own; None stands for all that no template writes."""
        branches = [thread for threads in state for thread in threads if isinstance(thread, Step)]
        if not branches:
            return
        # A branch of literals alone dies without a trace on any other segment: what follows then is found where
        # the walk goes on without it, which keeps `/{a}/x1 …` beside `/y1/z`, `/y2/z` … from being multiplied.
        mortal = [branch for branch in branches if branch.single is None and branch.rest is None]
        mortal.sort(key=_width)
        for number in range(1, len(mortal) + 1):
            dying = mortal[:number]
            if tuple(tuple(thread for thread in threads if thread not in dying) for threads in state) in seen:
                yield from {segment: None for branch in dying for segment in branch.literals}
                return
        yield None
        yield ""
        yield from {segment: None for branch in branches for segment in branch.literals if segment}

    def _note(self, state: _State, path: str) -> None:
        """Enter what is found when the path ends here, on every host."""
        outcome = tuple(_ends(threads) for threads in state)
        if outcome in self._outcomes:
            return
        self._outcomes.add(outcome)
        named = {host for leaves in outcome for leaf in leaves for host in leaf.hosts} & self._every
        for host in named:
            self._enter(tuple(self._node(index, leaves, host) for index, leaves in enumerate(outcome)), path, {host})
        others: dict[tuple[Node | None, ...], set[str]] = {}
        for host in self._every - named if named else self._every:
            nodes = tuple(self._node(index, leaves, host) for index, leaves in enumerate(outcome))
            others.setdefault(nodes, set()).add(host)
        for nodes, group in others.items():
            self._enter(nodes, path, group)

    def _node(self, index: int, leaves: tuple[Leaf, ...], host: str) -> Node | None:
        if host not in self._served[index]:
            return None
        for leaf in leaves:
            node = leaf.hosts.get(host, leaf.anywhere)
            if node is not None:
                return node
        return None

    def _enter(self, nodes: tuple[Node | None, ...], path: str, hosts: set[str]) -> None:
        taken = self._taken.setdefault(nodes, set())
        new = hosts - taken
        if new:
            taken |= new
            self._found.setdefault((nodes, path), set()).update(new)


def _alike(tables: Sequence[PolicyTable], served: Sequence[frozenset[str]]) -> dict[str, list[str]]:
    """Group the hosts: one that stands for all which no route names and the same tables are in force for."""
    named = {host for table in tables for route in table.routes.values() for host in route.hosts}
    groups: dict[tuple[str | bool, ...], list[str]] = {}
    for host in sorted(frozenset[str]().union(*served)):
        groups.setdefault((host in named and host, *(host in each for each in served)), []).append(host)
    return {group[0]: group for group in groups.values()}


def _width(branch: Step) -> int:
    return len(branch.literals)


def _covers(leaf: Leaf | None) -> bool:
    """Tell whether nothing behind this leaf is ever reached, whatever the host."""
    return leaf is not None and leaf.anywhere is not None


def _advance(threads: _Threads, segment: str | None) -> _Threads:
    """Go one segment on, in the order in which `find` tries: the literal, one segment, the rest."""
    reached: list[Step | Leaf] = []
    for thread in threads:
        if isinstance(thread, Leaf):
            following: tuple[Step | Leaf | None, ...] = (thread,)
        else:
            literal = None if segment is None else thread.literals.get(segment)
            following = (literal, None if segment == "" else thread.single, thread.rest)
        for candidate in following:
            if candidate is None or (isinstance(candidate, Leaf) and candidate in reached):
                continue
            reached.append(candidate)
            if _covers(candidate if isinstance(candidate, Leaf) else candidate.rest):
                return tuple(reached)
    return tuple(reached)


def _ends(threads: _Threads) -> tuple[Leaf, ...]:
    """List what a path that ends here may be, what is tried first in front."""
    found: list[Leaf] = []
    for thread in threads:
        for leaf in (thread,) if isinstance(thread, Leaf) else (thread.end, thread.rest):
            if leaf is None or leaf in found:
                continue
            found.append(leaf)
            if _covers(leaf):
                return tuple(found)
    return tuple(found)


def _fresh_segment(tables: Sequence[PolicyTable]) -> str:
    """Find a segment that no template has, not even in another case or in an escape."""
    text = "\n".join(
        unquote(segment).lower()
        for table in tables
        for rule in table.rules.values()
        for segment in rule.template.segments
        if segment
    )
    word, number = "any", 0
    while word in text:
        number += 1
        word = f"any{number}"
    return word
