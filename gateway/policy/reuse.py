"""What is written once and used by many routes: defaults of a file, profiles, entries with a name, networks with a name.

Everything that is read for a route out of one of them keeps its own place, and a finding about it says for which route
it was read. Nothing here decides what a key means; which layer of them wins is decided here alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from gateway.document.place import Place
from gateway.document.source import Diagnostic, did_you_mean
from gateway.exchange.step_up import Network
from gateway.policy.requirements import KEYS, SHORT_FORM, read_network

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
NAME_SENTENCE: Final = "a name starts with a letter and has letters, digits, '.', '_' and '-', 64 at most"
ENTRY_KEYS: Final = ("roles", "tenants", "when", "scopes", "rate_limit", "headers", "audit")
"""What an entry with a name may say."""
_OF_SESSIONS: Final = frozenset(("credentials", "cache", *SHORT_FORM))
OF_ADMITTED: Final = (
    "activity", "tenant", "rate_limit", "max_body", "timeout", "cache", "cookies", "allow_service_worker",
    "inspection",
)  # fmt: skip
"""What is looked at, beside header fields, only after policy has allowed a request."""
_OF_OPEN_ROUTES: Final = frozenset((*_OF_SESSIONS, *OF_ADMITTED, "require", "headers", "deny", "client_certificate"))

Key = tuple[str, int, int, str]
Keys = dict[str, Place]


@dataclass(slots=True)
class Named:
    """A profile or an entry: what it says, and where."""

    place: Place
    """Of the name."""
    keys: Keys
    shadow: bool
    used: bool = False


@dataclass(slots=True)
class Reuse:
    """Everything of all files that has a name."""

    profiles: dict[str, Named] = field(default_factory=dict)
    entries: dict[str, Named] = field(default_factory=dict)
    networks: dict[str, tuple[Network, ...]] = field(default_factory=dict)
    network_places: dict[str, Place] = field(default_factory=dict)
    network_shadows: set[str] = field(default_factory=set)
    networks_used: set[str] = field(default_factory=set)
    told: set[Key] = field(default_factory=set)

    def enforced_networks(self) -> dict[str, tuple[Network, ...]]:
        """Return the networks that are not in shadow."""
        return {name: networks for name, networks in self.networks.items() if name not in self.network_shadows}


class Gathered(NamedTuple):
    """What is in force for one route, of itself, its profile and the defaults of its file."""

    keys: Keys
    """The nearest of each key that replaces what is further away."""
    requirement: Keys
    """The nearest of each key of `require`, its short form among them."""
    headers: list[Place]
    """Nearest first."""
    denials: list[tuple[Place, bool]]
    """Lists of entries, which add up; whether the list is the default of the file."""


class _Lent(list[Diagnostic]):
    """Takes findings about something that is used by many: each is told once, with the first route it was read for."""

    def __init__(self, findings: list[Diagnostic], told: set[Key], user: str) -> None:
        super().__init__()
        self._findings = findings
        self._told = told
        self._user = user

    def append(self, finding: Diagnostic) -> None:
        """Pass a finding on, unless it was told."""
        key = finding.path, finding.line, finding.column, finding.message
        if key not in self._told:
            self._told.add(key)
            self._findings.append(
                msgspec.structs.replace(finding, message=f"{finding.message} (read for {self._user})")
            )


def lend(keys: Keys, user: str, told: set[Key]) -> Keys:
    """Return the same places, whose findings say for whom they were read: `the route 'pay' at p.yaml:12:5`."""
    if not keys:
        return {}
    findings = next(iter(keys.values())).findings
    lent = _Lent(findings, told, user)
    return {key: Place(place.document, lent, place.loc, place.value) for key, place in keys.items()}


def read_named(place: Place, kind: str, allowed: Collection[str], into: dict[str, Named], *, shadow: bool) -> None:
    """Read `profiles:` or `entries:`; `kind` is what one of them is called."""
    for name, item in _names(place, kind):
        keys = item.fields((), allowed)
        if keys == {}:
            item.fail(f"the {kind} {name!r} says nothing; remove it", name="empty-value")
        refuse_closing(keys or {})
        if keys and _is_new(name, item, kind, {known: named.place for known, named in into.items()}):
            into[name] = Named(item.key(), keys, shadow)


def refuse_closing(keys: Keys) -> None:
    """Refuse `deny: true` in a profile or in defaults: whoever wrote it expects closed routes, and would get open ones."""
    if "deny" in keys and not isinstance(keys["deny"].value, list):
        keys["deny"].fail(
            "here deny is a list of entries; a route that refuses everybody says deny: true itself", name="wrong-kind"
        )


def read_named_networks(place: Place, into: Reuse, *, shadow: bool) -> None:
    """Read `networks:`: lists of networks in CIDR notation, by name."""
    for name, item in _names(place, "network"):
        listed = [read_network(entry) for entry in (item.texts() or {}).values()]
        if _is_new(name, item, "network", into.network_places):
            into.networks[name] = tuple(network for network in listed if network is not None)
            into.network_places[name] = item.key()
            if shadow:
                into.network_shadows.add(name)


def gather(own: Keys, profile: Keys, defaults: Keys, *, public: bool, closed: bool) -> Gathered:
    """Put the keys of a route before those of its profile, and these before the defaults of its file.

    A default that has no effect on a route which asks for no session is left out there; in a profile, which somebody
    chose for the route, it is an error like in the route itself.
    """
    gathered = Gathered({}, {}, [], [])
    for layer, is_default in ((own, False), (profile, False), (defaults, True)):
        idle: Iterable[str] = ()
        if is_default and (public or closed):
            idle = _OF_OPEN_ROUTES if closed else _OF_SESSIONS
        kept = {key: place for key, place in layer.items() if key not in idle}
        for key, place in _required(kept).items():
            if not (is_default and public and key != "network"):
                gathered.requirement.setdefault(key, place)
        for key, place in kept.items():
            if key == "headers":
                gathered.headers.append(place)
            elif key == "deny" and isinstance(place.value, list):
                gathered.denials.append((place, is_default))
            elif key != "require" and key not in SHORT_FORM:
                gathered.keys.setdefault(key, place)
    return gathered


def find_named(place: Place, kind: str, among: Mapping[str, Named], *, all_files: bool, shadow: bool) -> Named | None:
    """Find the profile or entry that a place names; `shadow` says whether what uses it is in shadow itself."""
    name = place.text()
    if name is None:
        return None
    named = among.get(name)
    if named is None:
        if all_files:
            place.fail(f"unknown {kind} {name!r}{did_you_mean(name, among)}", name=f"unknown-{kind}")
        return None
    named.used = True
    if named.shadow and not shadow:
        place.fail(
            f"the {kind} {name!r} stands in a file in shadow ({named.place}); what is in force cannot use it",
            name="in-shadow-only",
        )
    return named


def warn_about_idle(named: Mapping[str, Named], kind: str) -> None:
    """Report what nothing uses."""
    for name, one in named.items():
        if not one.used:
            one.place.warn(f"nothing uses the {kind} {name!r}", name=f"unused-{kind}")


def warn_about_idle_networks(reuse: Reuse) -> None:
    """Report networks that no route requires and no condition calls."""
    for name, place in reuse.network_places.items():
        if name not in reuse.networks_used:
            place.warn(f"nothing uses the network {name!r}", name="unused-network")


def _names(place: Place, kind: str) -> Iterable[tuple[str, Place]]:
    entries = place.entries()
    if entries is not None and not entries:
        place.fail(f"no {kind} is declared; name one, or remove the key", name="nothing-declared")
    for name, item in (entries or {}).items():
        if NAME.fullmatch(name):
            yield name, item
        else:
            item.key().fail(f"{name!r}: {NAME_SENTENCE}", name="malformed-name")


def _is_new(name: str, item: Place, kind: str, known: Mapping[str, Place]) -> bool:
    if name in known:
        item.key().fail(
            f"the {kind} {name!r} is declared a second time; the first is at {known[name]}", name="declared-twice"
        )
    return name not in known


def _required(layer: Keys) -> Keys:
    """Join `require` and its short form."""
    found: Keys = {}
    if "require" in layer:
        found = layer["require"].fields((), KEYS) or {}
        if layer["require"].value == {}:
            layer["require"].fail("write what is required, or remove the key", name="empty-value")
    for key in SHORT_FORM:
        if key in layer and key in found:
            layer[key].key().fail(f"require says {key} already ({found[key]})", name="contradiction")
        elif key in layer:
            found[key] = layer[key]
    return found
