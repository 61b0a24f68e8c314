"""What is looked for, what is done about it, and what is said of it afterwards."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MAX_DIGESTS: Final = 8
"""Of one kind in one body: enough to see whether it is always the same value."""
_DIGEST_BYTES: Final = 8


class Kind(StrEnum):
    """What the gateway can recognise by itself; an operator's patterns have names of their own."""

    CARDS = "cards"
    """Numbers of payment cards."""
    SECRETS = "secrets"
    """Private keys, tokens of known services, addresses of databases with their passwords."""
    JWT = "jwt"
    """Signed or encrypted tokens of any issuer: many portals send them on purpose."""
    PASSWORDS = "passwords"
    """Whatever is assigned to a name such as `password`: a guess."""
    IBAN = "iban"
    SSN = "ssn"
    """Social Security Numbers of the United States."""


class Action(StrEnum):
    """What is done about a sighting; the later in this list, the less passes."""

    ALLOW = "allow"
    """It is not looked for."""
    ALERT = "alert"
    MASK = "mask"
    BLOCK = "block"


class Tally:
    """How often one kind was sighted in one body."""

    __slots__ = ("action", "count", "digests")

    def __init__(self, action: Action) -> None:
        self.action = action
        self.count = 0
        self.digests: list[str] = []


@dataclass(slots=True)
class Report:
    """What was sighted in one body, and nothing of what it was."""

    tallies: dict[str, Tally] = field(default_factory=dict)

    def note(self, kind: str, action: Action, digest: str) -> None:
        """Count a sighting."""
        tally = self.tallies.get(kind)
        if tally is None:
            tally = self.tallies[kind] = Tally(action)
        tally.count += 1
        if digest not in tally.digests and len(tally.digests) < MAX_DIGESTS:
            tally.digests.append(digest)

    @property
    def is_blocked(self) -> bool:
        """Whether something was sighted that must not pass."""
        return any(tally.action is Action.BLOCK for tally in self.tallies.values())

    def as_record(self) -> list[dict[str, object]]:
        """Write it for the audit record: kind, what was done, how often, and digests."""
        return [
            {"kind": kind, "action": tally.action.value, "count": tally.count, "digests": list(tally.digests)}
            for kind, tally in sorted(self.tallies.items())
        ]


def digest_of(key: bytes, kind: str, value: bytes) -> str:
    """Name a value so that the same one is known again, and cannot be guessed without the key.

    A card number has fewer than a thousand million million possibilities: without a key, a digest of one gives it away.
    """
    return hmac.digest(key, kind.encode() + b"\0" + value, "sha256")[:_DIGEST_BYTES].hex()
