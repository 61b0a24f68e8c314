"""Routes that get in each other's way: ambiguous, unreachable, or open below something closed.

Looks at templates and hosts only. Methods matter for ambiguity alone, because the path alone picks
the template: a broader template never sees a request that a narrower one matches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from gateway.policy.declaration import RouteDeclaration

Shape = tuple[tuple[str | None, ...], bool]


def report_conflicts(routes: list[RouteDeclaration], hosts: Collection[str]) -> None:
    """Report every conflict among `routes` at the place of the later route; `hosts` are all the gateway answers for."""
    by_shape: dict[Shape, list[RouteDeclaration]] = {}
    by_folded: dict[Shape, dict[Shape, list[RouteDeclaration]]] = {}
    for route in routes:
        by_shape.setdefault(route.template.shape, []).append(route)
        by_folded.setdefault(route.template.folded, {}).setdefault(route.template.shape, []).append(route)
    for group in by_shape.values():
        _report_ambiguous(group)
    for shapes in by_folded.values():
        _report_case_twins([group[0] for group in shapes.values()])
    tree = _Tree(by_shape)
    for route in routes:
        if route.template.rest:
            _report_covered(route, tree, hosts)
        if route.route.public:
            _warn_under_protected(route, tree)


def _report_ambiguous(group: list[RouteDeclaration]) -> None:
    """Within one shape no two routes may take the same method on the same host."""
    taken: dict[tuple[str, str], RouteDeclaration] = {}
    anywhere: dict[str, RouteDeclaration] = {}
    somewhere: dict[str, RouteDeclaration] = {}
    for route in group:
        for host, method in route.slots:
            other = taken.get((host, method)) or (somewhere.get(method) if host == "*" else anywhere.get(method))
            if other is not None and other is not route:
                route.template_place.fail(
                    f"ambiguous: the route {other.name!r} ({other.template_place}) matches the same paths, {method} among its methods",
                    name="ambiguous-route",
                )
                break
        for host, method in route.slots:
            taken.setdefault((host, method), route)
            (anywhere if host == "*" else somewhere).setdefault(method, route)


def _report_case_twins(firsts: list[RouteDeclaration]) -> None:
    """Report templates that are one path to an upstream that ignores case, or decodes before it routes."""
    for route in firsts[1:]:
        route.template_place.fail(
            f"ambiguous: {route.template.text!r} differs from {firsts[0].template.text!r} "
            f"({firsts[0].template_place}) in case or escapes only",
            name="twin-template",
        )


class _Branch:
    """A prefix of templates: what ends here and what goes on."""

    __slots__ = ("end", "literals", "rest", "single")

    def __init__(self) -> None:
        self.literals: dict[str, _Branch] = {}
        self.single: _Branch | None = None
        self.end: list[RouteDeclaration] = []
        self.rest: list[RouteDeclaration] = []


class _Tree:
    """All templates by their segments."""

    def __init__(self, by_shape: dict[Shape, list[RouteDeclaration]]) -> None:
        self.root = _Branch()
        for (segments, rest), group in by_shape.items():
            branch = self.branch(segments)
            if rest:
                branch.rest = group
            else:
                branch.end = group

    def branch(self, segments: Iterable[str | None]) -> _Branch:
        """Find the branch of exactly these segments, and grow it where it is missing."""
        here = self.root
        for segment in segments:
            if segment is None:
                here.single = here.single or _Branch()
                here = here.single
            else:
                here = here.literals.setdefault(segment, _Branch())
        return here

    def covering(self, route: RouteDeclaration) -> Iterator[list[RouteDeclaration]]:
        """Yield the routes of each template that matches every path of `route`, the broadest first."""
        segments = route.template.segments
        here = [self.root]
        for segment in segments:
            yield from (branch.rest for branch in here)
            here = [
                following
                for branch in here
                for following in (
                    branch.single if segment != "" else None,
                    branch.literals.get(segment) if segment is not None else None,
                )
                if following is not None
            ]
        yield from (branch.rest for branch in here)
        if not route.template.rest:
            yield from (branch.end for branch in here)


def _hosts_of(routes: list[RouteDeclaration], hosts: frozenset[str]) -> frozenset[str]:
    if any(not route.hosts for route in routes):
        return hosts
    return frozenset(host for route in routes for host in route.hosts)


def _report_covered(route: RouteDeclaration, tree: _Tree, hosts: Collection[str]) -> None:
    """Report a rest that nothing is left for: `/a/**` where `/a`, `/a/` and `/a/*/**` have routes of their own."""
    every = frozenset(hosts) | route.hosts.keys()
    own = frozenset(route.hosts) or every
    branch = tree.branch(route.template.segments)
    if own and own <= _complete(branch, every):
        names = ", ".join(sorted(repr(other.name) for other in _narrower(branch)))
        route.template_place.fail(
            f"unreachable: narrower templates take every path of this one ({names})", name="unreachable-route"
        )


def _complete(branch: _Branch, hosts: frozenset[str]) -> frozenset[str]:
    """List the hosts on which everything at and below a branch is matched without its own rest."""
    slash = branch.literals.get("")
    if branch.single is None or slash is None or not branch.end:
        return frozenset()
    here = _hosts_of(branch.end, hosts) & _hosts_of(slash.end, hosts)
    return here & (_hosts_of(branch.single.rest, hosts) | _complete(branch.single, hosts)) if here else here


def _narrower(branch: _Branch) -> Iterator[RouteDeclaration]:
    yield from (*branch.end, *branch.literals[""].end)
    single = branch.single
    yield from (single.rest or _narrower(single)) if single else ()


def _warn_under_protected(route: RouteDeclaration, tree: _Tree) -> None:
    protected: RouteDeclaration | None = None
    for group in tree.covering(route):
        for other in group:
            meet = not other.hosts or not route.hosts or other.hosts.keys() & route.hosts.keys()
            if meet and not other.route.public and set(other.route.methods) & set(route.route.methods):
                protected = other
    if protected is not None:
        route.verdict.warn(
            f"the public route {route.name!r} lies under the protected route {protected.name!r} ({protected.template.text}, {protected.place})",
            name="public-under-protected",
        )
