"""The entries of `allow` and `deny`, as written: about whom they are, under which condition, and what they ask for.

Names of roles and tenants are looked up when all files are together; conditions are compiled then, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from gateway.document.place import Place

SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")
"""RFC 6749 section 3.3: scope-token."""
SCOPE_SENTENCE: Final = "a scope is one word of printable ASCII without quotes and backslashes, 256 characters at most"
MODES: Final = ("enforce", "shadow")
Mode = Literal["enforce", "shadow"]


@dataclass(slots=True)
class GrantDeclaration:
    """One entry of an `allow` list."""

    place: Place
    roles: dict[str, Place]
    tenants: dict[str, Place] | None
    when: Place | None
    scopes: dict[str, Place] | None = None
    shadow: bool = False


@dataclass(slots=True)
class DenialDeclaration:
    """One entry of a `deny` list."""

    place: Place
    roles: dict[str, Place] | None
    """None = everybody."""
    tenants: dict[str, Place] | None
    when: Place | None
    shadow: bool = False


def read_mode(entries: dict[str, Place]) -> Mode | None:
    """Read `mode: enforce | shadow`; None where it is not said."""
    word = entries["mode"].one_of(MODES) if "mode" in entries else None
    return "shadow" if word == "shadow" else "enforce" if word else None


def read_grants(place: Place) -> list[GrantDeclaration]:
    """Read an `allow` list; entries that are wrong are reported and left out."""
    grants = [_read_grant(item) for item in place.items() or []]
    return [grant for grant in grants if grant is not None]


def read_denials(place: Place, *, public: bool) -> list[DenialDeclaration]:
    """Read a `deny` list; on a public route nobody is asked who they are, so an entry has nothing but its condition."""
    denials = [_read_denial(item, public=public) for item in place.items() or []]
    return [denial for denial in denials if denial is not None]


def _read_grant(place: Place) -> GrantDeclaration | None:
    entries = place.fields(("roles",), ("tenants", "when", "scopes", "mode"))
    if entries is None:
        return None
    roles = entries["roles"].texts()
    tenants = entries["tenants"].texts() if "tenants" in entries else None
    when = entries.get("when")
    if when is not None:
        when.text()
    scopes = entries["scopes"].texts(_read_scope) if "scopes" in entries else None
    shadow = read_mode(entries) == "shadow"
    return None if roles is None else GrantDeclaration(place, roles, tenants, when, scopes, shadow)


def _read_denial(place: Place, *, public: bool) -> DenialDeclaration | None:
    entries = place.fields((), ("roles", "tenants", "when", "mode"))
    if entries is None:
        return None
    if not entries.keys() & {"roles", "tenants", "when"}:
        place.fail(
            "the entry says neither roles, nor tenants, nor when: it would refuse everybody; write deny: true instead",
            name="empty-entry",
        )
        return None
    for key in ("roles", "tenants"):
        if public and key in entries:
            entries[key].key().fail(
                f"a public route asks nobody who they are; an entry of its deny has no {key}", name="no-effect"
            )
    roles = entries["roles"].texts() if "roles" in entries else None
    tenants = entries["tenants"].texts() if "tenants" in entries else None
    when = entries.get("when")
    if when is not None:
        when.text()
    if ("roles" in entries and roles is None) or ("tenants" in entries and tenants is None):
        return None
    return DenialDeclaration(place, roles, tenants, when, read_mode(entries) == "shadow")


def _read_scope(place: Place) -> str | None:
    return place.text(SCOPE, SCOPE_SENTENCE)
