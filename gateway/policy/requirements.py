"""What a route requires of a session and of a client's address beyond roles, as written (`require`, and its short form).

What a person can still prove leads to a step-up, the rest refuses; which of the two is `exchange.step_up`'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.document.place import Place
from gateway.document.source import did_you_mean
from gateway.exchange.step_up import Assurance, Factor, Network, Requirement
from gateway.policy.obligations import read_age
from gateway.wire.address import parse_network

SHORT_FORM: Final = ("mfa_age", "auth_age", "acr")
"""Keys of `require` that may stand on the route itself."""
KEYS: Final = ("factor", *SHORT_FORM, "device", "network")
_OF_FACTOR: Final = frozenset(("factor", "mfa_age", "acr"))
RUNGS: Final = (Assurance.AAL2, Assurance.PHISHING_RESISTANT)
"""Every session stands on the first."""


def read_requirement(
    entries: Mapping[str, Place],
    networks: Mapping[str, tuple[Network, ...]],
    *,
    public: bool,
    closed: bool,
    without_mfa: bool,
    all_files: bool,
) -> Requirement | None:
    """Read what a route requires from the keys of `require` that are in force; None when it is nothing.

    Args:
        entries: the keys and where they stand.
        networks: the named ones.
        public: the route asks for no session, so that nothing but the network can be required.
        closed: the route refuses everybody.
        without_mfa: the route says `unsafe_without_mfa`.
        all_files: every file could be read, so that a name nobody declares is an error.

    """
    found: dict[str, Any] = {}
    for key, place in entries.items():
        if closed or (public and key != "network"):
            place.key().fail(f"{key} has no effect on a route that asks for no session", name="no-effect")
        elif key in _OF_FACTOR and without_mfa:
            place.key().fail(
                f"{key} asks for a second factor, and unsafe_without_mfa for none; keep one of them",
                name="contradiction",
            )
        match key:
            case "mfa_age" | "auth_age":
                found[f"{key}_s"] = read_age(place)
            case "acr":
                word = place.one_of([rung.value for rung in RUNGS])
                found["acr"] = None if word is None else Assurance(word)
            case "factor":
                word = place.one_of([factor.value for factor in Factor])
                found["factor"] = None if word is None else Factor(word)
            case "device":
                found["known_device"] = place.one_of(("known",)) is not None
            case _:
                found["networks"] = read_networks(place, networks, all_files=all_files)
    return Requirement(**found) if found else None


def read_network(place: Place) -> Network | None:
    """Read one network in CIDR notation, or an address, which is a network of its own."""
    text = place.text()
    if text is None:
        return None
    try:
        return parse_network(text)
    except ValueError as error:
        place.fail(f"{text!r} is not a network such as 10.0.0.0/8 or 2001:db8::/32: {error}", name="malformed-network")
        return None


def read_networks(
    place: Place, named: Mapping[str, tuple[Network, ...]], *, all_files: bool = True
) -> tuple[Network, ...]:
    """Read a list of networks, each in CIDR notation or by its name."""
    found: list[Network] = []
    for text, item in (place.texts() or {}).items():
        if text in named:
            found += named[text]
        elif text[:1].isalpha() and ":" not in text:
            if all_files:
                item.fail(f"unknown network {text!r}{did_you_mean(text, named)}", name="unknown-network")
        else:
            network = read_network(item)
            found += () if network is None else (network,)
    return tuple(found)
