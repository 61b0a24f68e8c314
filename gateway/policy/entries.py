"""The entries of `allow` and `deny`, as written: about whom they are, under which condition, and what they ask for.

Names of roles and tenants are looked up when all files are together; conditions are compiled then, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from gateway.document.place import Place
from gateway.exchange.field_rules import FieldRules
from gateway.exchange.route import Durability, LimitSpec
from gateway.policy.obligations import read_durability, read_headers, read_limit, stronger
from gateway.policy.reuse import Keys, Reuse, find_named, lend

SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")
"""RFC 6749 section 3.3: scope-token."""
SCOPE_SENTENCE: Final = "a scope is one word of printable ASCII without quotes and backslashes, 256 characters at most"
MODES: Final = ("enforce", "shadow")
GRANT_KEYS: Final = ("use", "roles", "tenants", "when", "scopes", "rate_limit", "headers", "audit", "mode")
DENIAL_KEYS: Final = ("use", "roles", "tenants", "when", "mode")
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
    limit: LimitSpec | None = None
    headers: FieldRules | None = None
    durability: Durability | None = None


@dataclass(slots=True)
class DenialDeclaration:
    """One entry of a `deny` list."""

    place: Place
    roles: dict[str, Place] | None
    """None = everybody."""
    tenants: dict[str, Place] | None
    when: Place | None
    shadow: bool = False
    is_default: bool = False
    """It is a default of the file: where it could only ask about people, and the route asks nobody, it is left out."""


class Owner(NamedTuple):
    """The route whose entries are read."""

    name: str
    title: str
    """`the route 'pay' at policies/p.yaml:12:5`, for findings about what is reused."""
    public: bool
    shadow: bool
    durability: Durability | None
    bound: str
    """The field that names its tenant, lower case; empty = none does."""
    all_files: bool


def read_mode(keys: Keys) -> Mode | None:
    """Read `mode: enforce | shadow`; None where it is not said."""
    word = keys["mode"].one_of(MODES) if "mode" in keys else None
    return "shadow" if word == "shadow" else "enforce" if word else None


def read_grants(place: Place, reuse: Reuse, owner: Owner) -> list[GrantDeclaration]:
    """Read an `allow` list; entries that are wrong are reported and left out."""
    grants = [_read_grant(item, index, reuse, owner) for index, item in enumerate(place.items() or [], 1)]
    return [grant for grant in grants if grant is not None]


def read_denials(place: Place, reuse: Reuse, owner: Owner, *, is_default: bool = False) -> list[DenialDeclaration]:
    """Read a `deny` list; on a public route nobody is asked who they are, so an entry has nothing but its condition."""
    denials = [_read_denial(item, reuse, owner, is_default=is_default) for item in place.items() or []]
    return [denial for denial in denials if denial is not None]


def _read_grant(place: Place, index: int, reuse: Reuse, owner: Owner) -> GrantDeclaration | None:
    keys = _keys(place, GRANT_KEYS, reuse, owner)
    if keys is None:
        return None
    if "roles" not in keys:
        if "use" not in keys or _is_named(keys["use"], reuse):
            place.fail("the key 'roles' is missing", name="missing-key")
        return None
    roles = keys["roles"].texts()
    tenants = keys["tenants"].texts() if "tenants" in keys else None
    _check_when(keys)
    grant = GrantDeclaration(
        place,
        roles or {},
        tenants,
        keys.get("when"),
        keys["scopes"].texts(_read_scope) if "scopes" in keys else None,
        _is_shadow(keys, owner),
        limit=read_limit(keys["rate_limit"], f"route:{owner.name}:{index}", public=False)
        if "rate_limit" in keys
        else None,
        headers=read_headers([keys["headers"]], bound=owner.bound) if "headers" in keys else None,
        durability=_read_stronger(keys["audit"], owner) if "audit" in keys else None,
    )
    return None if roles is None else grant


def _read_denial(place: Place, reuse: Reuse, owner: Owner, *, is_default: bool) -> DenialDeclaration | None:
    keys = _keys(place, DENIAL_KEYS, reuse, owner)
    if keys is None or ("use" in keys and not _is_named(keys["use"], reuse)):
        return None
    for key in keys.keys() - set(DENIAL_KEYS):
        place.fail(f"the entry it uses says {key}, which means nothing where an entry denies", name="no-effect")
    if not keys.keys() & {"roles", "tenants", "when"}:
        place.fail(
            "the entry says neither roles, nor tenants, nor when: it would refuse everybody; write deny: true instead",
            name="empty-entry",
        )
        return None
    for key in ("roles", "tenants"):
        if owner.public and key in keys:
            if is_default:
                return None
            keys[key].key().fail(
                f"a public route asks nobody who they are; an entry of its deny has no {key}", name="no-effect"
            )
    roles = keys["roles"].texts() if "roles" in keys else None
    tenants = keys["tenants"].texts() if "tenants" in keys else None
    _check_when(keys)
    if ("roles" in keys and roles is None) or ("tenants" in keys and tenants is None):
        return None
    return DenialDeclaration(place, roles, tenants, keys.get("when"), _is_shadow(keys, owner), is_default)


def read_entry(keys: Keys, owner: Owner) -> None:
    """Report what is wrong in an entry with a name that nothing uses."""
    for key, place in keys.items():
        match key:
            case "scopes":
                place.texts(_read_scope)
            case "rate_limit":
                read_limit(place, "", public=False)
            case "headers":
                read_headers([place])
            case "audit":
                _read_stronger(place, owner)
            case "when":
                place.text()
            case _:
                place.texts()


def _keys(place: Place, allowed: tuple[str, ...], reuse: Reuse, owner: Owner) -> Keys | None:
    """Read the keys of an entry, and those of the named one that it uses."""
    keys = place.fields((), allowed)
    if keys is None or "use" not in keys:
        return keys
    shadow = owner.shadow or (("mode" in keys) and keys["mode"].value == "shadow")
    named = find_named(keys["use"], "entry", reuse.entries, all_files=owner.all_files, shadow=shadow)
    if named is None:
        return keys
    for key in named.keys.keys() & keys.keys():
        keys[key].key().fail(
            f"the entry {keys['use'].value!r} says {key} already ({named.keys[key]})", name="contradiction"
        )
    return {**lend(named.keys, owner.title, reuse.told), **keys}


def _is_named(place: Place, reuse: Reuse) -> bool:
    return isinstance(place.value, str) and place.value in reuse.entries


def _is_shadow(keys: Keys, owner: Owner) -> bool:
    mode = read_mode(keys)
    if mode == "enforce" and owner.shadow:
        keys["mode"].fail("the route is in shadow, and every entry of it with it", name="no-effect")
    return mode == "shadow"


def _check_when(keys: Keys) -> None:
    if "when" in keys:
        keys["when"].text()


def _read_stronger(place: Place, owner: Owner) -> Durability | None:
    """Read how safe the record of whoever an entry lets in is: safer than what the route says."""
    durability = read_durability(place)
    if durability is None or owner.durability is None:
        return durability
    if durability is owner.durability or stronger(durability, owner.durability) is not durability:
        place.fail(
            f"the records of the route are as safe as {owner.durability} says; an entry can only ask for more",
            name="weaker-than-route",
        )
        return None
    return durability


def _read_scope(place: Place) -> str | None:
    return place.text(SCOPE, SCOPE_SENTENCE)
