"""Brings the keys of issuers from the state, or from files, to the edge that verifies tokens with them."""

from __future__ import annotations

import time

from gateway.authn.jose import InvalidKeySetError, parse_jwks
from gateway.edge.bearer import Bearers, IssuerKeySet
from gateway.federation.jwks import MAX_STALE_S
from gateway.server.issuers import fixed_keys
from gateway.server.validate import Validated
from gateway.store.issuer_keys import IssuerKeyStore, KeptKeys


class IssuerReader:
    """The issuers of one worker. `read` may run in a thread; `hand_over` belongs to the loop."""

    def __init__(self, store: IssuerKeyStore, bearers: Bearers) -> None:
        self._store = store
        self._bearers = bearers
        self._fixed: dict[str, IssuerKeySet] = {}
        self._fetched: dict[str, str] = {}
        self._known: dict[str, tuple[KeptKeys, IssuerKeySet]] = {}

    def adopt(self, validated: Validated) -> None:
        """Read for another configuration from now on."""
        self._fixed = fixed_keys(validated.settings, validated.bundle)
        self._fetched = {
            issuer.id: issuer.issuer for issuer in validated.settings.identity.issuers if issuer.id not in self._fixed
        }

    @property
    def is_needed(self) -> bool:
        """Some keys come from the state."""
        return bool(self._fetched)

    def read(self) -> dict[str, IssuerKeySet]:
        """Read all keys, and note which are wanted newer.

        Raises:
            StoreUnavailableError: what is known serves on.

        """
        now = time.time()
        wanted, fetched = set(self._bearers.wanted), dict(self._fetched)
        for id_ in wanted & fetched.keys():
            self._store.wish(fetched[id_], now=now)
        self._bearers.wanted -= wanted
        found = dict(self._fixed)
        for id_, issuer in fetched.items():
            kept = self._store.load(issuer)
            if kept is not None and now < kept.fetched + MAX_STALE_S:
                keys = self._parsed(id_, kept)
                if keys is not None:
                    found[id_] = keys
        return found

    def hand_over_fixed(self) -> None:
        """Have the edge verify by the keys of this configuration's files and, of the others, by those that were read last."""
        kept = {id_: keys for id_, (_, keys) in self._known.items() if id_ in self._fetched}
        self._bearers.learn({**self._fixed, **kept})

    def hand_over(self, keys: dict[str, IssuerKeySet]) -> None:
        """Have the edge verify by these keys."""
        self._bearers.learn(keys)

    def _parsed(self, id_: str, kept: KeptKeys) -> IssuerKeySet | None:
        known = self._known.get(id_)
        if known is not None and known[0] == kept:
            return known[1]
        try:
            keys = IssuerKeySet(parse_jwks(kept.document), kept.fetched)
        except InvalidKeySetError:  # of another version, with other ideas of what a good key is
            return None
        self._known[id_] = kept, keys
        return keys
