"""Who is never answered, whatever is found of them: the operator's own monitors, a partner's crawler, an office.

Such an exception has a reason and an end. What is found is still told, with the reason why nothing was done about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

import msgspec

from gateway.inspection.abuse.rule import Scope
from gateway.inspection.abuse.watch import Finding

MOST_EXEMPTIONS: Final = 1000

Network = IPv4Network | IPv6Network


class Exemption(msgspec.Struct, frozen=True, kw_only=True):
    """One exception. Exactly one of `network`, `person` and `key` says whose."""

    network: Network | None = None
    person: str = ""
    """A name that somebody signs in with, or the stable id."""
    key: str = ""
    """Handle of an API key."""
    detectors: frozenset[str] = frozenset()
    """Of which alone; empty = of all."""
    reason: str
    until: float | None
    """Unix seconds; None = until somebody takes it out of the file."""


class Spared:
    """All exceptions."""

    __slots__ = ("_exceptions",)

    def __init__(self, exceptions: Iterable[Exemption] = ()) -> None:
        self._exceptions = tuple(exceptions)

    def reason_for(self, finding: Finding) -> str:
        """Return why whom a finding is about is not answered; empty = they are."""
        for each in self._exceptions:
            if each.until is not None and finding.at >= each.until:
                continue
            if each.detectors and finding.detector not in each.detectors:
                continue
            if _is_of(each, finding):
                return each.reason
        return ""


def _is_of(exception: Exemption, finding: Finding) -> bool:
    match finding.scope:
        case Scope.NETWORK:
            return exception.network is not None and _is_in(finding.subject, exception.network)
        case Scope.PERSON | Scope.SESSION:
            return bool(exception.person) and exception.person in {finding.subject, finding.name}
        case Scope.ACCOUNT:
            return bool(exception.person) and exception.person == finding.name
        case Scope.KEY:
            return bool(exception.key) and exception.key == finding.subject
        case Scope.TENANT:
            return False


def _is_in(subject: str, network: Network) -> bool:
    """Tell whether all of a client's network lies in another one."""
    try:
        own = ip_network(subject)
    except ValueError:
        return False
    if isinstance(own, IPv4Network):
        return isinstance(network, IPv4Network) and own.subnet_of(network)
    return isinstance(network, IPv6Network) and own.subnet_of(network)
