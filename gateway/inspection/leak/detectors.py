"""Everything that is looked for in a text of one form, compiled: one pattern for what begins, and one for what may begin at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final, NamedTuple

import re2

from gateway.inspection.leak import account, address, assignment, card, private_key, signed_token, token
from gateway.inspection.leak.reading import Reading, Text
from gateway.inspection.leak.sighting import Kind

_MAX_MEMORY: Final = 32 << 20


class _Detector(NamedTuple):
    kind: Kind
    trigger: bytes
    opening: bytes
    claims: Callable[[bytes], bool]
    read: Callable[[Text, int, bytes], Reading]


_DETECTORS: Final = (
    _Detector(Kind.CARDS, card.TRIGGER, card.OPENING, card.claims, card.read),
    _Detector(Kind.SSN, account.SSN_TRIGGER, account.SSN_OPENING, account.claims_ssn, account.read_ssn),
    _Detector(Kind.IBAN, account.IBAN_TRIGGER, account.IBAN_OPENING, account.claims_iban, account.read_iban),
    _Detector(Kind.SECRETS, private_key.TRIGGER, private_key.OPENING, private_key.claims, private_key.read),
    _Detector(Kind.SECRETS, token.TRIGGER, token.OPENING, token.claims, token.read),
    _Detector(Kind.SECRETS, address.TRIGGER, address.OPENING, address.claims, address.read),
    _Detector(Kind.SECRETS, assignment.AWS_TRIGGER, assignment.AWS_OPENING, assignment.claims_aws, assignment.read_aws),
    _Detector(Kind.JWT, signed_token.TRIGGER, signed_token.OPENING, signed_token.claims, signed_token.read),
    _Detector(Kind.PASSWORDS, assignment.TRIGGER, assignment.OPENING, assignment.claims, assignment.read),
)


def _compiled(pattern: bytes) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MAX_MEMORY
    options.encoding = re2.Options.Encoding.LATIN1
    return re2.compile(pattern, options)


class Detectors:
    """What is looked for together."""

    def __init__(self, kinds: frozenset[Kind]) -> None:
        self.kinds = kinds
        self._chosen = tuple(detector for detector in _DETECTORS if detector.kind in kinds)
        if self._chosen:
            self.trigger = _compiled(b"|".join(b"(?:" + detector.trigger + b")" for detector in self._chosen))
            self.opening = _compiled(
                rb"(?:" + b"|".join(b"(?:" + detector.opening + b")" for detector in self._chosen) + rb")\z"
            )
        self.heading = _compiled(card.HEADING) if Kind.CARDS in kinds else None

    def read(self, text: Text, at: int, trigger: bytes) -> Reading:
        """Ask whoever the trigger belongs to."""
        for detector in self._chosen:
            if detector.claims(trigger):
                return detector.read(text, at, trigger)
        raise AssertionError("a trigger that nobody claims")

    def __bool__(self) -> bool:
        return bool(self._chosen)


@lru_cache(maxsize=64)
def detectors_for(kinds: frozenset[Kind]) -> Detectors:
    """Return the detectors of these kinds; compiling them takes milliseconds, so each choice is compiled once."""
    return Detectors(kinds)


def kinds_of(names: Iterable[str]) -> frozenset[Kind]:
    """Pick the names that the gateway recognises by itself."""
    return frozenset(Kind(name) for name in names if name in Kind.__members__.values())
