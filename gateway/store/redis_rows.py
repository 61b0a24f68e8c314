"""Rows in Redis: read freely, changed by one script that first compares everything the transaction read.

A transaction collects what it read and what it would change. The script compares and changes in one step; where somebody
was faster nothing is changed, and the transaction runs again. Rows and indexes are in one hash slot (`redis_keys`).
No row is kept here, so a session that ended is read as ended at once.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.redis_command import Command, Script
from gateway.store.redis_keys import FORGET_S, Keys, forget_at, read_row, score, write_row
from gateway.store.redis_options import RedisOptions
from gateway.store.rows import Result, Row, Table, Transaction

if TYPE_CHECKING:
    from gateway.store.redis_client import RedisPlace

TRIES: Final = 200
"""Of so many writers at once, each is the fastest once."""
PATIENCE_S: Final = 2.0
_PAUSE_S: Final = 0.002
_CHUNK: Final = 500
"""Rows that are read or removed in one go."""

# KEYS[i] belongs to the i-th step. Every comparison stands before the first change. What Redis forgot by itself
# is taken out of a set when the set is next added to.
COMMIT: Final = Script(
    """
local at = 1
local function take() local value = ARGV[at]; at = at + 1; return value end
for step, key in ipairs(KEYS) do
  local what = take()
  if what == 'same' then
    if redis.call('GET', key) ~= take() then return step end
  elseif what == 'absent' then
    if redis.call('EXISTS', key) == 1 then return step end
  elseif what == 'count' then
    if redis.call('ZCARD', key) ~= tonumber(take()) then return step end
  elseif what == 'members' then
    local count = tonumber(take())
    local found = redis.call('ZRANGE', key, 0, -1)
    local differs = #found ~= count
    for place = 1, count do
      if take() ~= found[place] then differs = true end
    end
    if differs then return step end
  elseif what == 'put' then
    local value, forget = take(), take()
    if forget == '' then redis.call('SET', key, value)
    else redis.call('SET', key, value, 'PXAT', forget) end
  elseif what == 'delete' then
    redis.call('DEL', key)
  elseif what == 'link' then
    local score, member, forget = take(), take(), take()
    redis.call('ZREMRANGEBYSCORE', key, '-inf', '(' .. (redis.call('TIME')[1] - FORGET_S))
    local is_new = redis.call('EXISTS', key) == 0
    redis.call('ZADD', key, score, member)
    if forget == '' then redis.call('PERSIST', key)
    elseif is_new then redis.call('PEXPIREAT', key, forget)
    else redis.call('PEXPIREAT', key, forget, 'GT') end
  elseif what == 'unlink' then
    redis.call('ZREM', key, take())
  elseif what == 'note' then
    redis.call('SADD', key, take())
  end
end
return 0
""".replace("FORGET_S", str(int(FORGET_S)))
)


def open_redis(options: RedisOptions) -> RedisRows:
    """Return the rows there; nothing is asked yet. Raises `ConfigurationError` for certificates that cannot be used."""
    from gateway.store.redis_client import RedisPlace  # noqa: PLC0415 - a tenth of a second of each process that starts

    return RedisRows(RedisPlace(options))


class RedisRows:
    """A `Backend` in Redis. One per process; its connections are shared by threads."""

    def __init__(self, place: RedisPlace) -> None:
        self.redis = place
        self.keys_of = Keys(place.options.prefix)

    @property
    def place(self) -> str:
        """The address, without secrets."""
        return f"{self.redis.place} (prefix {self.redis.options.prefix})"

    def get(self, table: Table, row_id: bytes) -> Row | None:
        """Return a row as it is now."""
        (stored,) = self._read(("GET", self.keys_of.row(table, row_id)))
        return None if stored is None else read_row(row_id, stored)

    def get_many(self, table: Table, row_ids: Sequence[bytes]) -> dict[bytes, Row]:
        """Return those of the rows that there are."""
        stored = self._stored(table, row_ids)
        return {row_id: read_row(row_id, found) for row_id, found in stored.items() if found is not None}

    def find(self, table: Table, index: str, token: bytes) -> list[Row]:
        """Return the rows with that look-up token."""
        (ids,) = self._read(("ZRANGE", self.keys_of.index(table, index, token), 0, -1))
        return [row for row in self.get_many(table, ids).values() if row.tokens.get(index) == token]

    def all(self, table: Table) -> list[Row]:
        """Return every row of a table."""
        return [row for ids in self._ids(table) for row in self.get_many(table, ids).values()]

    def transact(
        self, work: Callable[[Transaction], Result], *, durable: bool = True, confirmed: bool = False
    ) -> Result:
        """Run `work` until nobody was faster, for two seconds at most."""
        until = time.monotonic() + PATIENCE_S
        for attempt in range(TRIES):
            transaction = _RedisTransaction(self, durable=durable)
            result = work(transaction)
            if self._commit(transaction.steps(), confirmed=confirmed):
                return result
            if time.monotonic() >= until:
                break
            time.sleep(random.uniform(0, _PAUSE_S * min(attempt, 10)))
        raise StoreUnavailableError(f"{self.place}: too many changed the same rows at once; nothing was changed")

    def clear(self, table: Table, index: str = "", token: bytes = b"") -> int:
        """Remove every row with that look-up token, or all of the table, in portions until none is left."""
        if index:
            return self._clear(table, self.keys_of.index(table, index, token))
        return sum(self._clear(table, self.keys_of.ids(table, version)) for version in self._versions(table))

    def _clear(self, table: Table, key: bytes) -> int:
        """Remove every row that a set lists, and what it lists although Redis forgot it."""
        cleared = 0
        while True:
            (ids,) = self._read(("ZRANGE", key, 0, _CHUNK - 1))
            if not ids:
                return cleared
            stored = self._stored(table, ids)
            # Whatever became of them meanwhile: a session that moved is listed anew, and is found in the next portion.
            steps = [*self._removal(table, stored), *(("unlink", key, (row_id,)) for row_id in ids)]
            self._commit(steps, confirmed=True)
            cleared += sum(found is not None for found in stored.values())

    def sweep(self, table: Table, now: float) -> list[bytes]:
        """Remove the rows whose time is over."""
        swept: list[bytes] = []
        for version in self._versions(table):
            key = self.keys_of.ids(table, version)
            while True:
                (ids,) = self._read(("ZRANGEBYSCORE", key, "-inf", repr(now), "LIMIT", 0, _CHUNK))
                if not ids:
                    break
                # One that got a later end since it was listed stays; it is not listed any more.
                over = {row_id: found for row_id, found in self._stored(table, ids).items() if _is_over(found, now)}
                if not over:
                    break
                checks: list[_Step] = [
                    ("absent", self.keys_of.row(table, row_id), ())
                    if found is None
                    else ("same", self.keys_of.row(table, row_id), (found,))
                    for row_id, found in over.items()
                ]
                steps = [*checks, *self._removal(table, over), *(("unlink", key, (row_id,)) for row_id in over)]
                if self._commit(steps, confirmed=False):
                    swept += over
        return swept

    def outdated(self, table: Table, newest: int, limit: int) -> list[Row]:
        """Return some rows that are sealed under an older key."""
        found: list[Row] = []
        for version in sorted(self._versions(table)):
            if 0 < version < newest and len(found) < limit:
                (ids,) = self._read(("ZRANGE", self.keys_of.ids(table, version), 0, limit - len(found) - 1))
                found += self.get_many(table, ids).values()
        return found

    def keys(self, table: Table) -> dict[int, int]:
        """Count the rows under each key version."""
        versions = sorted(self._versions(table))
        counts = self._read(*(("ZCARD", self.keys_of.ids(table, version)) for version in versions)) if versions else []
        return {version: count for version, count in zip(versions, counts, strict=True) if count}

    def heal(self) -> int:
        """Do nothing: a script is never half done."""
        return 0

    def scrub(self) -> str:
        """Have Redis write its files anew, which still hold what was removed; where it may not be asked that, say so."""
        refused = []
        for command in (("BGREWRITEAOF",), ("BGSAVE", "SCHEDULE")):
            try:
                self.redis.run(command)
            except StoreUnavailableError:
                refused.append(command[0])
        if not refused:
            return ""
        return f"{self.place}: {' and '.join(refused)} refused: its files hold what was removed until they are written anew"

    def close(self) -> None:
        """Let go of the connections."""
        self.redis.close()

    def _read(self, *commands: Command) -> list[Any]:
        return self.redis.run(*commands, again=True)

    def _stored(self, table: Table, row_ids: Sequence[bytes]) -> dict[bytes, bytes | None]:
        """Return rows as they are written, by id; None where there is none."""
        stored: dict[bytes, bytes | None] = {}
        for start in range(0, len(row_ids), _CHUNK):
            ids = row_ids[start : start + _CHUNK]
            (found,) = self._read(("MGET", *(self.keys_of.row(table, row_id) for row_id in ids)))
            stored.update(zip(ids, found, strict=True))
        return stored

    def _versions(self, table: Table) -> list[int]:
        (versions,) = self._read(("SMEMBERS", self.keys_of.versions(table)))
        return [int(version) for version in versions]

    def _ids(self, table: Table) -> Iterator[list[bytes]]:
        """List the ids of a table, in portions."""
        for version in self._versions(table):
            (ids,) = self._read(("ZRANGE", self.keys_of.ids(table, version), 0, -1))
            for start in range(0, len(ids), _CHUNK):
                yield ids[start : start + _CHUNK]

    def _removal(self, table: Table, stored: dict[bytes, bytes | None]) -> list[_Step]:
        steps: list[_Step] = []
        for row_id, found in stored.items():
            if found is not None:
                steps += _unlinked(self.keys_of, table, read_row(row_id, found))
                steps.append(("delete", self.keys_of.row(table, row_id), ()))
        return steps

    def _commit(self, steps: Sequence[_Step], *, confirmed: bool) -> bool:
        """Run the script; False when a comparison failed, and nothing was changed."""
        if not steps:
            return True
        arguments: list[bytes | str | int | float] = []
        for what, _, more in steps:
            arguments += (what, *more)
        commands = [COMMIT.call([key for _, key, _ in steps], arguments)]
        replicas = self.redis.options.replicas
        is_confirmed = confirmed and replicas > 0
        if is_confirmed:  # on the same connection: it waits for what this connection wrote
            commands.append(("WAIT", replicas, max(1, int(self.redis.options.timeout_s * 500))))
        answers = self.redis.run(*commands)
        if answers[0] != 0:
            return False
        if is_confirmed and answers[1] < replicas:
            raise StoreUnavailableError(
                f"{self.place}: {answers[1]} of {replicas} replicas confirmed a change; it may have happened"
            )
        return True


_Step = tuple[str, bytes, tuple[bytes | str | int | float, ...]]
"""What is compared or changed, the key, and what belongs to it."""


class _RedisTransaction:
    """A `Transaction` that is only thought of, until its steps are committed."""

    __slots__ = ("_changed", "_counted", "_is_durable", "_listed", "_place", "_read")

    def __init__(self, place: RedisRows, *, durable: bool) -> None:
        self._place = place
        self._is_durable = durable
        self._read: dict[tuple[Table, bytes], bytes | None] = {}
        """Rows as they were read: what is compared."""
        self._listed: dict[tuple[Table, str, bytes], list[bytes]] = {}
        self._counted: dict[tuple[Table, str, bytes], int] = {}
        self._changed: dict[tuple[Table, bytes], Row | None] = {}
        """What each changed row will be; None = gone."""

    def get(self, table: Table, row_id: bytes) -> Row | None:
        return self.get_many(table, [row_id]).get(row_id)

    def get_many(self, table: Table, row_ids: Sequence[bytes]) -> dict[bytes, Row]:
        unread = [
            row_id for row_id in row_ids if (table, row_id) not in self._changed and (table, row_id) not in self._read
        ]
        if unread:
            for row_id, stored in self._place._stored(table, unread).items():  # noqa: SLF001 - its other half
                self._read[table, row_id] = stored
        found = {}
        for row_id in row_ids:
            row = self._now(table, row_id)
            if row is not None:
                found[row_id] = row
        return found

    def find(self, table: Table, index: str, token: bytes) -> list[Row]:
        key = (table, index, token)
        ids = self._listed.get(key)
        if ids is None:
            (ids,) = self._place._read(("ZRANGE", self._place.keys_of.index(*key), 0, -1))  # noqa: SLF001 - the transaction of this place
            self._listed[key] = ids
        rows = self.get_many(table, ids)
        rows |= {row_id: row for (of, row_id), row in self._changed.items() if of == table and row is not None}
        return [row for row in rows.values() if row.tokens.get(index) == token]

    def count(self, table: Table, index: str, token: bytes) -> int:
        key = (table, index, token)
        counted = self._counted.get(key)
        if counted is None:
            (counted,) = self._place._read(("ZCARD", self._place.keys_of.index(*key)))  # noqa: SLF001 - the transaction of this place
            self._counted[key] = counted
        for (of, row_id), row in self._changed.items():
            if of == table:
                before = self._before(table, row_id)
                counted += (row is not None and row.tokens.get(index) == token) - (
                    before is not None and before.tokens.get(index) == token
                )
        return counted

    def put(self, table: Table, row: Row) -> None:
        self._require_durable(table)
        self.get(table, row.id)  # what it was: its indexes are left behind
        self._changed[table, row.id] = row

    def delete(self, table: Table, row_id: bytes) -> bool:
        self._require_durable(table)
        was = self.get(table, row_id) is not None
        if was:
            self._changed[table, row_id] = None
        return was

    def steps(self) -> list[_Step]:
        """Return what has to be true, and then what has to be done."""
        keys = self._place.keys_of
        steps: list[_Step] = []
        for (table, row_id), stored in self._read.items():
            key = keys.row(table, row_id)
            steps.append(("absent", key, ()) if stored is None else ("same", key, (stored,)))
        for listed, ids in self._listed.items():
            steps.append(("members", keys.index(*listed), (len(ids), *ids)))
        for counted, count in self._counted.items():
            steps.append(("count", keys.index(*counted), (count,)))
        if not self._changed:
            return steps if len(steps) > 1 else []  # what one command read was true at one moment
        for (table, row_id), row in self._changed.items():
            before = self._before(table, row_id)
            if before is not None:
                steps += _unlinked(keys, table, before)
            if row is None:
                steps.append(("delete", keys.row(table, row_id), ()))
                continue
            end, forget = score(row.expires), forget_at(row.expires)
            steps.append(("put", keys.row(table, row_id), (write_row(row), forget)))
            steps.append(("note", keys.versions(table), (row.key,)))
            linked = [keys.ids(table, row.key), *(keys.index(table, *token) for token in row.tokens.items())]
            steps += (("link", key, (end, row_id, forget)) for key in linked)
        return steps

    def _now(self, table: Table, row_id: bytes) -> Row | None:
        if (table, row_id) in self._changed:
            return self._changed[table, row_id]
        return self._before(table, row_id)

    def _before(self, table: Table, row_id: bytes) -> Row | None:
        stored = self._read[table, row_id]
        return None if stored is None else read_row(row_id, stored)

    def _require_durable(self, table: Table) -> None:
        if table.durable and not self._is_durable:
            raise ValueError(f"a power cut would undo a change of {table.name}")


def _is_over(stored: bytes | None, now: float) -> bool:
    if stored is None:
        return True
    expires = read_row(b"", stored).expires
    return expires is not None and expires <= now


def _unlinked(keys: Keys, table: Table, row: Row) -> Iterable[_Step]:
    """Take a row out of every set that lists it."""
    yield "unlink", keys.ids(table, row.key), (row.id,)
    for index, token in row.tokens.items():
        yield "unlink", keys.index(table, index, token), (row.id,)
