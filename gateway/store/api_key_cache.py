"""Whom an API key stands for, for the edge: a cache that can be asked on every request and is never stale.

The same discipline as for sessions: an entry serves while its generation is unchanged and for a second at most, then its row
is read again. A key that is revoked, replaced or whose owner changed is so on the next request of every worker.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from gateway.authn.api_key import is_key, row_of
from gateway.exchange.route import LimitSpec
from gateway.ratelimit.gcra import Bucket
from gateway.store.api_keys import ApiKey, ApiKeys
from gateway.store.generations import Generations, slot_of
from gateway.store.sessions import REREAD_S, UNUSED_S

USE_GRAIN_S: Final = 60.0
"""Last use is noted this often at most: it is for people who tidy up."""


class KeyEntry:
    """A key as a worker knows it."""

    __slots__ = (
        "bucket", "checked", "expires", "fresh_until", "generation", "networks", "row", "sealed", "seen", "session", "slot",
    )  # fmt: skip

    def __init__(self, key: ApiKey, row: bytes, sealed: bytes, seen: float) -> None:
        self.session = key.session()
        self.seen = seen
        """When it was used last, as far as it is noted."""
        self.row = row
        self.sealed = sealed
        self.slot = slot_of(row)
        self.expires = key.expires if key.is_live(key.created) else 0.0
        self.networks: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(block) for block in key.networks)
        self.bucket: Bucket | None = None
        """The key's own limit."""
        if key.rate_per_s and key.burst:
            spec = LimitSpec(name=f"key:{key.handle}", rate_per_s=key.rate_per_s, burst=key.burst, per="key")
            self.bucket = Bucket(spec)
        self.checked = 0.0
        self.fresh_until = 0.0
        self.generation = 0

    def is_from(self, address: str) -> bool:
        """Whether the key may be used from an address."""
        if not self.networks:
            return True
        ip = ip_address(address)
        return any(ip in network for network in self.networks)


class ApiKeyCache:
    """The API keys of one worker. `lookup` and `touch` belong to one thread, `flush` may run in another."""

    __slots__ = ("_capacity", "_entries", "_generations", "_keys", "_slots", "_touched")

    def __init__(self, keys: ApiKeys, generations: Generations, *, capacity: int = 8_192) -> None:
        self._keys = keys
        self._capacity = capacity
        self._entries: OrderedDict[bytes, KeyEntry] = OrderedDict()
        self._generations = generations
        self._slots = generations.slots
        self._touched: dict[bytes, KeyEntry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def known(self, key: bytes, now: float) -> KeyEntry | None:
        """Return the entry of a key if it can be had without a look at the store."""
        entry = self._entries.get(key)
        if (
            entry is not None
            and entry.checked <= now < entry.fresh_until
            and self._slots[entry.slot] == entry.generation
        ):
            return entry
        return None

    def lookup(self, key: bytes, now: float) -> KeyEntry | None:
        """Find whom a key stands for; None when there is no such key, it ended, or its owner may not use it.

        Raises:
            StoreUnavailableError: the store cannot say.

        """
        return self.known(key, now) or self._read(key, now)

    def touch(self, entry: KeyEntry, now: float) -> None:
        """Note that a key was used; `flush` writes it."""
        if now >= entry.seen + USE_GRAIN_S:
            entry.seen = now
            self._touched[entry.row] = entry

    def flush(self) -> int:
        """Write what was touched since the last flush; return how many keys. Call once a second.

        Raises:
            StoreUnavailableError: nothing is lost; the next flush tries again.

        """
        batch, self._touched = self._touched, {}
        entries = list(batch.values())
        if not entries:
            return 0
        try:
            self._keys.note_used([(entry.seen, entry.row, entry.expires) for entry in entries])
        except BaseException:
            for row, entry in batch.items():
                self._touched.setdefault(row, entry)
            raise
        return len(entries)

    def _read(self, key: bytes, now: float) -> KeyEntry | None:
        if not is_key(key):
            return None
        row = row_of(key)
        self._generations.refresh()
        slots = self._slots = self._generations.slots
        slot = slot_of(row)
        generation = slots[slot]  # before the row: a writer that commits after this changes it
        found = self._keys.read(row)
        known = self._entries.pop(key, None)
        if found is None:
            return None
        entry = known
        if entry is None or entry.sealed != found.value:
            opened = self._keys.open(row, found.value)
            entry = KeyEntry(opened, row, found.value, known.seen if known is not None else self._keys.used(row))
        if now >= entry.expires:
            return None
        if generation == 0 or slots[slot] != generation:
            return entry  # a writer is at work: the answer is right for this request, not for the next
        entry.generation = generation
        entry.checked = now
        entry.fresh_until = min(now + REREAD_S, entry.expires)
        self._keep(key, entry, now)
        return entry

    def _keep(self, key: bytes, entry: KeyEntry, now: float) -> None:
        entries = self._entries
        entries[key] = entry
        while len(entries) > self._capacity or next(iter(entries.values())).fresh_until < now - UNUSED_S:
            entries.popitem(last=False)
