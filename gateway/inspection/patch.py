"""Virtual patches: one hole of one portal closed at the gateway until the portal is mended.

A patch names requests by method and path, and in them a value by its place, its name and a pattern. It counts whatever the
rules say, and also where they are off.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

from gateway.document.place import Place
from gateway.inspection.finding import Position
from gateway.inspection.patterns import Pattern, read_pattern
from gateway.inspection.rules import ID, read_positions
from gateway.wire.target import aliases, readings

_METHOD: Final = re.compile(r"[A-Z]{1,20}")
_TEMPLATE: Final = re.compile(r"/\S{0,511}")
_SEGMENT: Final = re.compile(r"\*|\{[a-z_][a-z0-9_]*\}")
_IN_BODIES: Final = frozenset(Position) - {
    Position.PATH,
    Position.QUERY_NAME,
    Position.QUERY,
    Position.COOKIE_NAME,
    Position.COOKIE,
    Position.HEADER,
}
_WORD: Final = re.compile(r"[a-z0-9_-]*").fullmatch
_MANGLED: Final = re.compile(r"[ .\[]")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")

Action = Literal["block", "detect"]


@dataclass(frozen=True, slots=True)
class Patch:
    """One hole and how a request that reaches it is told."""

    id: str
    title: str
    action: Action
    methods: frozenset[str]
    """Empty = every method."""
    path: re.Pattern[str] | None
    """Takes a path in lower case; None = every path of the route."""
    positions: frozenset[Position]
    """Empty = every place."""
    name: str
    """Of the parameter, in lower case; empty = any."""
    pattern: Pattern | None
    """None = the value is there at all."""
    expires_at: float
    """Unix seconds; infinite when it says nothing."""

    @property
    def reads_bodies(self) -> bool:
        """True if what it looks for may stand in a body."""
        return not self.positions or not self.positions.isdisjoint(_IN_BODIES)

    def is_about(self, method: str, path: str, now: float) -> bool:
        """True if it is about a request with this method and canonical path, in any way in which the path can be read.

        A portal does for HEAD what it does for GET, and `/export.json` may be its `/export`.
        """
        if now >= self.expires_at:
            return False
        if self.methods and method not in self.methods and not (method == "HEAD" and "GET" in self.methods):
            return False
        if self.path is None:
            return True
        ways = readings(path)
        return ways is None or any(
            self.path.fullmatch(name.lower()) is not None for way in ways for name in (way, *aliases(way))
        )

    def find(self, position: Position, name: str, text: str) -> tuple[int, int] | None:
        """Say where in a value it applies, None when nowhere."""
        if (self.positions and position not in self.positions) or (self.name and self.name not in _names(name)):
            return None
        if self.pattern is None:
            return 0, len(text)
        found = self.pattern.search(text)
        return None if found is None else found.span()


def _names(name: str) -> tuple[str, ...]:
    """List what upstreams call a parameter, in lower case: some read `file[]` and `file[a]` as `file`.

    PHP ends a name at a NUL, leaves out blanks before it, and writes `_` for a space, a dot and a bracket that is not closed.
    """
    lowered = name.lower()
    if _WORD(lowered) is not None:
        return (lowered,)
    cut = lowered.lstrip(" ").partition("\0")[0]
    return lowered, cut, cut.partition("[")[0], _MANGLED.sub("_", cut), _MANGLED.sub("_", cut.partition("[")[0])


def template(text: str) -> re.Pattern[str]:
    """Compile a path template: literal segments, `{name}` or `*` for one, `**` at the end for any rest."""
    segments = text.lower().split("/")[1:]
    rest = segments[-1] == "**"
    parts = [
        "[^/]+" if _SEGMENT.fullmatch(segment) else re.escape(segment) for segment in segments[: -1 if rest else None]
    ]
    return re.compile("".join("/" + part for part in parts) + ("(?:/.*)?" if rest else "/?"), re.DOTALL)


def read_expiry(place: Place) -> float | None:
    """Read the last day on which something counts; returns when it ends, in Unix seconds, None when it was reported."""
    text = place.text(_DATE, "expected a day such as 2027-03-31; quote it")
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        place.fail(f"{text} is no day", name="malformed-value")
        return None
    return (datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)).timestamp()


def read_patches(place: Place, now: float) -> list[Patch]:
    """Read the patches of a section; one that has expired is reported and left out."""
    found: dict[str, Patch] = {}
    for item in place.items() or ():
        patch = _read_patch(item, now)
        if patch is None:
            continue
        if patch.id in found:
            item.fail(f"the patch {patch.id!r} stands here a second time", name="duplicate-patch")
        found[patch.id] = patch
    return list(found.values())


def _read_patch(place: Place, now: float) -> Patch | None:
    fields = place.fields(("id", "title", "match"), ("action", "expires"))
    if fields is None:
        return None
    known = len(place.findings)
    name, title = fields["id"].text(ID, "expected a name such as cve-2026-1234"), fields["title"].text()
    action = fields["action"].one_of(("block", "detect")) if "action" in fields else "block"
    expires_at = read_expiry(fields["expires"]) if "expires" in fields else float("inf")
    match = fields["match"].fields((), ("methods", "path", "positions", "name", "pattern"))
    if match is None:
        return None
    if not match:
        fields["match"].fail(
            "a patch that matches everything closes the portal; say what it matches", name="empty-mapping"
        )
    path = match["path"].text(_TEMPLATE, "expected a path such as /api/**") if "path" in match else None
    if path is not None and "**" in path.removesuffix("/**"):
        match["path"].fail("** stands at the end only", name="malformed-value")
    methods = match["methods"].texts(_method) if "methods" in match else {}
    positions = read_positions(match["positions"]) if "positions" in match else frozenset()
    parameter = match["name"].text() if "name" in match else ""
    pattern = read_pattern(match["pattern"]) if "pattern" in match else None
    if len(place.findings) > known or name is None or title is None or expires_at is None:
        return None
    if now >= expires_at:
        fields["expires"].warn(f"the patch {name!r} has expired and has no effect; remove it", name="expired-patch")
        return None
    return Patch(
        id=name,
        title=title,
        action="detect" if action == "detect" else "block",
        methods=frozenset(methods or ()),
        path=template(path) if path else None,
        positions=positions,
        name=(parameter or "").lower(),
        pattern=pattern,
        expires_at=expires_at,
    )


def _method(place: Place) -> str | None:
    return place.text(_METHOD, "expected a method in capitals")
