"""Sessions in Redis as the edge asks for them: read in batches by row id, last-seen times written in batches.

Nothing read here is kept beyond the request that asked (docs/decisions/0017). The commands are made here and
sent by whoever has a connection, with threads or with a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from gateway.exchange.session import Session
from gateway.store.live_sessions import SEEN_TIME, silent_at
from gateway.store.redis_command import Command, Script
from gateway.store.redis_keys import Keys, forget_at, read_row, score, write_row
from gateway.store.rows import Row
from gateway.store.tables import SEEN, SESSIONS

if TYPE_CHECKING:
    from gateway.store.redis_client import RedisPlace

# KEYS[1] lists all last-seen rows by their end, which moves with the time: it tells whether a time is a later one.
# A row that ended meanwhile does not come back.
_SEEN: Final = Script("""
local at = 1
for place = 2, #KEYS do
  local member, score, value, forget = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  at = at + 4
  if redis.call('ZADD', KEYS[1], 'XX', 'GT', 'CH', score, member) == 1 then
    redis.call('SET', KEYS[place], value, 'XX', 'PXAT', forget)
    redis.call('PEXPIREAT', KEYS[1], forget, 'GT')
  end
end
return 0
""")


def read_command(keys: Keys, rows: Sequence[bytes]) -> Command:
    """Return the command that reads sessions by their rows; `sessions_of` understands its answer."""
    wanted = [key for row in rows for key in (keys.row(SESSIONS, row), keys.row(SEEN, row))]
    return ("MGET", *wanted)


def sessions_of(rows: Sequence[bytes], answer: Sequence[bytes | None]) -> list[tuple[bytes, float] | None]:
    """Return envelope and last seen of each row, None where there is no such session; not opened, not judged.

    Raises:
        StoreUnavailableError: something else than this version of the gateway wrote a row.

    """
    found: list[tuple[bytes, float] | None] = []
    for place, row in enumerate(rows):
        session, seen = answer[2 * place], answer[2 * place + 1]
        if session is None or seen is None:
            found.append(None)
        else:
            found.append((read_row(row, session).value, SEEN_TIME.unpack(read_row(row, seen).value)[0]))
    return found


def seen_command(keys: Keys, batch: Sequence[tuple[float, bytes, Session]]) -> Command:
    """Return the command that writes last-seen times `(seen, row, session)`; none of them goes back."""
    arguments: list[bytes | str | int | float] = []
    for seen, row, session in batch:
        end = silent_at(session, seen)
        value = write_row(Row(id=row, value=SEEN_TIME.pack(seen), expires=end))
        arguments += (row, score(end), value, forget_at(end))
    return _SEEN.call([keys.ids(SEEN, 0), *(keys.row(SEEN, row) for _, row, _ in batch)], arguments)


def seen_writer(place: RedisPlace) -> Callable[[Sequence[tuple[float, bytes, Session]]], Any]:
    """Return the writer of last-seen batches, for threads."""
    keys = Keys(place.options.prefix)
    return lambda batch: place.run(seen_command(keys, batch))
