"""Which routes two versions of a policy do not share, by name: what stands in the record of a reload.

A summary that costs nothing. Who gains and who loses by the change is another question, and takes solving.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from gateway.policy.table import PolicyTable, Rule


class Changes(NamedTuple):
    """Names of routes, sorted."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    """They let other people in, or do so in another way; a place that merely moved in its file is no change."""


def changes(before: PolicyTable, after: PolicyTable) -> Changes:
    """Compare route by route; a route that was renamed is one that was removed and one that was added."""
    old, new = before.rules, after.rules
    return Changes(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(name for name in old.keys() & new.keys() if not _is_alike(old[name], new[name]))),
    )


def _is_alike(old: Rule, new: Rule) -> bool:
    return (
        msgspec.structs.replace(old.route, source="") == msgspec.structs.replace(new.route, source="")
        and old.opens_like(new)
        and new.opens_like(old)
    )
