"""Whom a bearer token (RFC 6750) stands for, for one worker: verified once, then recalled by its digest.

A token is recalled until it ends to the second, and no longer than the keys and the rules under which it was verified are those
of now. It is never kept itself. Which keys an issuer has is told from outside; nothing is fetched here, and what cannot be
decided without newer keys is refused as such.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, NamedTuple

from gateway.authn.access_token import IssuerRules, session_of
from gateway.authn.jose import InvalidTokenError, KeySet, TokenFault, UnknownKeyError, unverified_issuer
from gateway.exchange.session import Session

RECALLED: Final = 8_192
FRESH_KEYS_S: Final = 60.0
"""A token whose key is unknown is refused for good when the keys were fetched so lately; before, it cannot be decided."""


class IssuerKeySet(NamedTuple):
    """The keys of one issuer."""

    keys: KeySet
    fetched: float
    """Unix seconds; infinity for keys that stand in a file."""


class Doubt(NamedTuple):
    """Why a token is not believed: issuer and fault, and no word of the token."""

    cause: str
    is_open: bool = False
    """It cannot be decided, for want of keys."""


class BearerEntry:
    """A token as a worker knows it."""

    __slots__ = ("bucket", "keys", "rules", "seen", "session")

    def __init__(self, session: Session, rules: IssuerRules, keys: KeySet) -> None:
        self.session = session
        self.rules = rules
        self.keys = keys
        self.seen = session.created
        self.bucket = None
        """Tokens have no limit of their own."""


class Bearers:
    """The bearer tokens of one worker."""

    __slots__ = ("_entries", "_keys", "wanted")

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, BearerEntry] = OrderedDict()
        self._keys: dict[str, IssuerKeySet] = {}
        self.wanted: set[str] = set()
        """Ids of issuers whose keys did not know a token's; whoever fetches takes them out."""

    def __len__(self) -> int:
        return len(self._entries)

    def learn(self, keys: Mapping[str, IssuerKeySet]) -> None:
        """Take the keys of all issuers, by id; what was verified by others is verified again."""
        learnt = {}
        for id_, found in keys.items():
            known = self._keys.get(id_)
            same = known is not None and known.keys.digest == found.keys.digest
            learnt[id_] = found._replace(keys=known.keys) if known is not None and same else found
        self._keys = learnt

    def recall(self, token: bytes, issuers: Mapping[str, IssuerRules], now: float) -> BearerEntry | None:
        """Return what is known of a token, if that still holds."""
        digest = hashlib.sha256(token).digest()
        entry = self._entries.get(digest)
        if entry is None:
            return None
        keys = self._keys.get(entry.rules.id)
        if (
            now >= entry.session.expires
            or issuers.get(entry.rules.issuer) is not entry.rules
            or keys is None
            or keys.keys is not entry.keys
        ):
            del self._entries[digest]
            return None
        self._entries.move_to_end(digest)
        return entry

    def verify(self, token: bytes, issuers: Mapping[str, IssuerRules], now: float) -> BearerEntry | Doubt:
        """Verify a token: a tenth of a millisecond of work."""
        text = token.decode("ascii", "replace")
        try:
            rules = issuers.get(unverified_issuer(text))
        except InvalidTokenError as error:
            return Doubt(str(error))
        if rules is None:
            return Doubt(str(InvalidTokenError(TokenFault.ISSUER, "iss")))
        known = self._keys.get(rules.id)
        if known is None:
            return self._want(rules)
        try:
            session = session_of(text, keys=known.keys, rules=rules, now=now)
        except InvalidTokenError as error:
            if isinstance(error, UnknownKeyError) and now >= known.fetched + FRESH_KEYS_S:
                return self._want(rules)
            return Doubt(f"issuer {rules.id}: {error}")
        entry = BearerEntry(session, rules, known.keys)
        if now < session.expires:
            self._entries[hashlib.sha256(token).digest()] = entry
            while len(self._entries) > RECALLED:
                self._entries.popitem(last=False)
        return entry

    def _want(self, rules: IssuerRules) -> Doubt:
        self.wanted.add(rules.id)
        return Doubt(f"issuer {rules.id}", is_open=True)
