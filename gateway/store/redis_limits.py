"""Limits that all nodes share: GCRA with leases in one script of Redis, for all that asked in one tick.

The time is that of Redis: nodes whose clocks differ would admit by different times, and the one that is ahead would
admit too much. Which limits are shared, and what is done with an answer, is the edge's to say. The proof that leases never
admit more than the limit is in ADR 0020.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from gateway.ratelimit.lease import LEASE_S
from gateway.store.redis_command import Script
from gateway.store.redis_keys import Keys
from gateway.store.redis_link import RedisLink
from gateway.store.sealing import Sealer
from gateway.wire.resp import ErrorReply, Reply

# A key is a hash: `t` is the theoretical arrival time; every other field is a worker's lease, `requests:end`.
CHARGE: Final = Script("""
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local holder, length = ARGV[1], tonumber(ARGV[2])
local answers = {}
for place, key in ipairs(KEYS) do
  local at = place * 5 - 2
  local interval, burst, wanted = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local reserve, used = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local tat, held, last = 0, 0, now
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    if fields[i] == 't' then tat = tonumber(fields[i + 1]) end
  end
  -- a clock that stepped back must not lock anybody out for longer than the full burst
  if tat > now + burst * interval then tat = now + burst * interval end
  for i = 1, #fields, 2 do
    if fields[i] ~= 't' then
      local requests, ends = string.match(fields[i + 1], '^(%d+):(.+)$')
      requests, ends = tonumber(requests), tonumber(ends)
      if fields[i] == holder and used >= 0 then
        tat = math.max(tat, now) + used * interval
        redis.call('HDEL', key, holder)
      elseif ends <= now or ends > now + length then
        tat = math.max(tat, math.min(ends, now)) + requests * interval
        redis.call('HDEL', key, fields[i])
      else
        held = held + requests
        last = math.max(last, ends)
      end
    end
  end
  local base = math.max(tat, now)
  local room = math.max(0, math.floor((now - base) / interval + burst + 0.000001) - held)
  local admitted = math.min(wanted, room)
  local reserved = 0
  if admitted == wanted and reserve > 0 and redis.call('HEXISTS', key, holder) == 0 then
    -- of the upper half nobody reserves: who comes while there is little left is counted one by one
    reserved = math.max(0, math.min(reserve, room - admitted - math.floor(burst / 2)))
  end
  if admitted > 0 then tat = base + admitted * interval end
  redis.call('HSET', key, 't', string.format('%.17g', tat))
  if reserved > 0 then
    redis.call('HSET', key, holder, string.format('%d:%.17g', reserved, now + length))
    last = now + length
  end
  redis.call('PEXPIRE', key, math.ceil((math.max(tat - now, 0) + last - now + burst * interval) * 1000) + 1000)
  local wait = 0
  if admitted < wanted then wait = math.ceil(math.max(interval, base + (held + 1 - burst) * interval - now) * 1000) end
  answers[#answers + 1] = admitted
  answers[#answers + 1] = reserved
  answers[#answers + 1] = wait
end
return answers
""")
_ANSWERS: Final = 3
"""Numbers for each key: admitted, reserved, milliseconds to wait."""
MAX_CHARGES: Final = 256
"""Keys of one call: Redis does nothing else meanwhile."""


class Charge(Protocol):
    """What one worker wants of one limit for one subject; `edge.remote_limits.Charge` is one."""

    @property
    def limit(self) -> str:
        """Name of the limit."""

    @property
    def subject(self) -> str:
        """Who is counted."""

    @property
    def interval_s(self) -> float:
        """Seconds that one request costs."""

    @property
    def burst(self) -> int:
        """Requests at once."""

    @property
    def wanted(self) -> int:
        """Requests that wait."""

    @property
    def reserve(self) -> int:
        """Requests to reserve beyond them."""

    @property
    def used(self) -> int:
        """Of the lease before; -1 = there was none."""


Granted = tuple[int, int, float]
"""Admitted, reserved, and seconds until another request would conform."""


class RedisLimits:
    """The counts of all limits, for one worker."""

    def __init__(self, link: RedisLink, keys: Keys, sealer: Sealer, *, holder: bytes) -> None:
        """Count over `link`; `holder` is this worker's and nobody else's, ever."""
        self._link = link
        self._prefix = keys.tag + b"limit:"
        self._sealer = sealer
        self._holder = holder

    def charge(self, charges: Sequence[Charge], answered: Callable[[Sequence[Granted] | None], None]) -> None:
        """Count all of them, and call `answered` once, in their order; None = Redis cannot say."""
        if len(charges) <= MAX_CHARGES:
            self._call(charges, answered)
            return
        whole = _Portions(charges, answered)
        for start in range(0, len(charges), MAX_CHARGES):
            self._call(charges[start : start + MAX_CHARGES], whole.portion(start))

    def _call(self, charges: Sequence[Charge], answered: Callable[[Sequence[Granted] | None], None]) -> None:
        keys = [self._key(charge) for charge in charges]
        arguments = [self._holder, repr(LEASE_S).encode()]
        for charge in charges:
            arguments += (
                repr(charge.interval_s).encode(),
                b"%d" % charge.burst,
                b"%d" % charge.wanted,
                b"%d" % charge.reserve,
                b"%d" % charge.used,
            )
        self._link.call(CHARGE, keys, arguments, lambda reply: answered(_granted(reply, len(charges))))

    def _key(self, charge: Charge) -> bytes:
        """Name the key so that nobody can read from it, or aim, who is counted."""
        return self._prefix + self._sealer.token("limit", f"{charge.limit}\0{charge.subject}").hex().encode()


class _Portions:
    """One answer of several calls."""

    def __init__(self, charges: Sequence[Charge], answered: Callable[[Sequence[Granted] | None], None]) -> None:
        self._answered = answered
        self._found: list[Granted | None] = [None] * len(charges)
        self._left = -(-len(charges) // MAX_CHARGES)

    def portion(self, start: int) -> Callable[[Sequence[Granted] | None], None]:
        """Return what hears the answer of the call that begins there."""

        def heard(granted: Sequence[Granted] | None) -> None:
            if granted is not None:
                self._found[start : start + len(granted)] = granted
            self._left -= 1
            if not self._left:
                found = [each for each in self._found if each is not None]
                self._answered(found if len(found) == len(self._found) else None)

        return heard


def _granted(reply: Reply, charges: int) -> list[Granted] | None:
    if isinstance(reply, ErrorReply) or not isinstance(reply, list) or len(reply) != charges * _ANSWERS:
        return None
    numbers = [each if isinstance(each, int) else 0 for each in reply]
    return [(numbers[at], numbers[at + 1], numbers[at + 2] / 1000) for at in range(0, charges * _ANSWERS, _ANSWERS)]
