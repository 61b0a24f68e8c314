"""The subject keys of one worker, for records of people whose sessions bring none, and of strangers.

A record never waits for a key: one that is stored already, and nobody's yet, is taken from the pool, used at once and made the
person's or the day's in the store within a second. A worker that dies before that leaves a key that ends with the strangers'.
With the store away the pool runs dry: what is made then is stored when the store is back, and refusals of strangers are
recorded all the while. Requests of people are refused then, before any of this.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.subject import SubjectKey
from gateway.store.subjects import DAY_S, Kept, SubjectKeys

SPARES: Final = 16
REMEMBERED: Final = 8_192
MOST_TENANTS: Final = 64
"""Of one day that have a key of their own for strangers; a tenant may be whatever a field of a request says."""
LOOKED_AGAIN_S: Final = 30.0
"""How long a worker may go on with a key that was destroyed."""


class SubjectPool:
    """What records are sealed under. `person` and `stranger` belong to the loop's thread; `flush` may run in another."""

    def __init__(self, keys: SubjectKeys, *, recalls: bool, anonymous_s: float) -> None:
        """Use the store behind `keys`.

        Args:
            keys: the store's.
            recalls: a look into the store is so quick that the loop may wait for it: a file of this node.
            anonymous_s: how long after its day the key of strangers is kept.

        """
        self._keys = keys
        self._recalls = recalls
        self.anonymous_s = anonymous_s
        self._spares: deque[SubjectKey] = deque()
        self._used: deque[Kept] = deque()
        self._people: OrderedDict[tuple[str, str], SubjectKey] = OrderedDict()
        self._strangers: dict[str, SubjectKey] = {}
        self._day = 0
        self._looked = 0.0
        self.unstored = 0
        """Keys that are in use and not in the store yet."""

    def person(self, user_id: str, tenant: str) -> SubjectKey:
        """Return the key of somebody who is known."""
        known = self._people.get((user_id, tenant))
        if known is None:
            known = self._recalled(user_id, tenant)
            if known is None:
                known = self._take()
                self._use(Kept(subject=known, user_id=user_id, tenant=tenant))
            self._people[user_id, tenant] = known
            if len(self._people) > REMEMBERED:
                self._people.popitem(last=False)
        return known

    def stranger(self, tenant: str, day: int) -> SubjectKey:
        """Return the key of strangers at a tenant; `day` is the number of the day since 1970."""
        if day != self._day:
            self._day = day
            self._strangers.clear()
        known = self._strangers.get(tenant)
        if known is None:
            if len(self._strangers) >= MOST_TENANTS:
                tenant = ""
                known = self._strangers.get(tenant)
            if known is None:
                known = self._strangers[tenant] = self._take()
                self._use(Kept(subject=known, tenant=tenant, expires=(day + 1) * DAY_S + self.anonymous_s))
        return known

    def flush(self, now: float) -> None:
        """Store whose the used keys are, forget those that were destroyed, and have spare ones ready. Call once a second.

        Raises:
            StoreUnavailableError: nothing is lost; the next flush tries again.

        """
        batch = [self._used.popleft() for _ in range(len(self._used))]
        try:
            if batch:
                self._keep(batch, now)
        except BaseException:
            self._used.extendleft(reversed(batch))
            raise
        self.unstored = len(self._used)
        if now >= self._looked + LOOKED_AGAIN_S:
            self._forget_destroyed(now)
            self._looked = now
        missing = SPARES - len(self._spares)
        if missing > 0:
            made = [self._keys.make() for _ in range(missing)]
            end = now + 2 * DAY_S + self.anonymous_s
            self._keys.keep([Kept(subject=key, expires=end) for key in made], now=now)
            self._spares.extend(made)

    def _keep(self, batch: list[Kept], now: float) -> None:
        """Store keys; where the loop could not look before, go on with the key that a person had already."""
        older = {
            (kept.user_id, kept.tenant): known
            for kept in batch
            if kept.user_id
            and not self._recalls
            and (known := self._keys.recall(kept.user_id, kept.tenant)) is not None
        }
        self._keys.keep(batch, now=now)
        for who, known in older.items():
            if who in self._people:
                self._people[who] = known

    def _recalled(self, user_id: str, tenant: str) -> SubjectKey | None:
        if not self._recalls:
            return None
        try:
            return self._keys.recall(user_id, tenant)
        except StoreUnavailableError:
            return None

    def _take(self) -> SubjectKey:
        try:
            return self._spares.popleft()
        except IndexError:
            return self._keys.make()

    def _use(self, kept: Kept) -> None:
        self._used.append(kept)
        self.unstored = len(self._used)

    def _forget_destroyed(self, now: float) -> None:
        known = list(self._people.items())
        if not known:
            return
        waiting = {kept.subject.token for kept in list(self._used)}
        live = self._keys.of_tokens([key.token for _, key in known], now=now)
        for who, key in known:
            if key.token not in live and key.token not in waiting and self._people.get(who) is key:
                self._people.pop(who, None)
