"""Changes to policy files, as values: what is taken out, replaced or added, and the files that come of it.

The files that come of it mean what was asked for and nothing else, but are written anew: without comments, in one line.
They are for compiling, not for people; nothing here decides which change is wise.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from gateway.document.place import Place
from gateway.document.source import load

Loc = tuple[str | int, ...]
REMOVE: Final = None


class Amendment(msgspec.Struct, frozen=True, kw_only=True):
    """One change to one file."""

    path: str
    loc: Loc
    """Keys and indexes that lead to the value."""
    value: Any = REMOVE
    """What stands there after it; None takes it out."""
    more: tuple[Any, ...] = ()
    """What is added to the list that stands there, which stays; `value` means nothing then."""


class Files:
    """The policy files as data, and where in them each place of the compiled policy stands."""

    def __init__(self, files: Mapping[str, str]) -> None:
        """Read `files`, which must compile."""
        self._data: dict[str, Any] = {}
        self._routes: dict[str, tuple[str, Loc]] = {}
        self._entries: dict[tuple[str, str], tuple[str, Loc]] = {}
        for path, text in files.items():
            document = load(text, path)
            self._data[path] = document.data
            root = Place(document, [])
            routes = (root.entries() or {}).get("routes")
            for index, place in enumerate(routes.items() or [] if routes is not None else []):
                self._note(path, index, place)

    def _note(self, path: str, index: int, place: Place) -> None:
        self._routes[str(place)] = path, ("routes", index)
        keys = place.entries() or {}
        for key in ("allow", "deny"):
            if key in keys and isinstance(keys[key].value, list):
                for number, item in enumerate(keys[key].items() or []):
                    self._entries[str(place), str(item)] = path, ("routes", index, key, number)

    def route(self, source: str) -> tuple[str, Loc] | None:
        """Find a route by its place."""
        return self._routes.get(source)

    def entry(self, route: str, source: str) -> tuple[str, Loc] | None:
        """Find an entry by the places of its route and of itself; None for one that the route does not write itself."""
        return self._entries.get((route, source))

    def at(self, path: str, loc: Loc) -> Any:
        """Return a copy of what stands at a place."""
        value = self._data[path]
        for part in loc:
            value = value[part]
        return copy.deepcopy(value)

    def amended(self, amendments: Iterable[Amendment]) -> dict[str, str]:
        """Write the files with the changes made. Of two changes, neither may lie inside the other."""
        data = copy.deepcopy(self._data)
        # From the end of each list to its beginning, so that no change moves the place of another.
        for amendment in sorted(amendments, key=lambda one: (one.path, _order(one.loc)), reverse=True):
            parent = data[amendment.path]
            for part in amendment.loc[:-1]:
                parent = parent[part]
            last = amendment.loc[-1]
            if amendment.more:
                parent[last].extend(copy.deepcopy(list(amendment.more)))
            elif amendment.value is REMOVE:
                del parent[last]
            else:
                parent[last] = copy.deepcopy(amendment.value)
        return {path: json.dumps(document, ensure_ascii=False) for path, document in data.items()}


def _order(loc: Loc) -> list[tuple[str, int]]:
    return [(part, 0) if isinstance(part, str) else ("", part) for part in loc]
