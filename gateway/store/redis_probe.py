"""Whether a Redis can hold the state, tried before it has to: its version, every command that is needed, how it keeps data.

What would refuse later is refused at start, with the command that the ACL forbids; what would only lose or
forget something is told as a warning.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from gateway.exchange.errors import StoreUnavailableError
from gateway.store.redis_command import Command
from gateway.store.redis_keys import FORGET_S, Keys
from gateway.store.redis_rows import RedisRows
from gateway.store.rows import Row, Table, Transaction

if TYPE_CHECKING:
    from gateway.store.redis_client import RedisPlace

OLDEST: Final = (7, 0)
"""Older ones do not know `PEXPIREAT … GT`."""
COMMANDS: Final = (
    "ping",
    "info",
    "role",
    "get",
    "mget",
    "set",
    "del",
    "exists",
    "pexpireat",
    "persist",
    "zadd",
    "zrem",
    "zrange",
    "zrangebyscore",
    "zremrangebyscore",
    "zcard",
    "sadd",
    "smembers",
    "hset",
    "hdel",
    "hexists",
    "hgetall",
    "pexpire",
    "hello",
    "time",
    "eval",
    "evalsha",
    "wait",
    "select",
    "client|setname",
)
"""Everything that state and limits need."""
_TABLE: Final = Table(name="probe", indexes=("probe",))
_LIFE_S: Final = 30.0
CLOCK_S: Final = 5.0
"""More between two clocks is worth a warning."""


def acl_rules(prefix: str) -> str:
    """Return the rules of the user of Redis that the gateway needs; `prefix` as in `state.prefix`."""
    return f"resetchannels ~{{{prefix}}}* -@all " + " ".join(f"+{command}" for command in COMMANDS)


def probe(place: RedisPlace, clock: Callable[[], float] = time.time) -> list[str]:
    """Use the place as the gateway will; returns what it should be warned of.

    Raises:
        StoreUnavailableError: the state cannot be kept there; the text says what to change.

    """
    (info,) = place.run(("INFO",), again=True)
    warnings = [*_judge(place, info), *_judge_clock(place, info, clock())]
    for command in _tries(Keys(place.options.prefix).tag + b"probe:" + os.urandom(8).hex().encode()):
        place.run(command)
    _use(RedisRows(place))
    return warnings


def _judge(place: RedisPlace, info: dict[str, Any]) -> list[str]:
    """Judge what the node says about itself."""
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
        raise StoreUnavailableError(
            f"{place.place}: is Redis {version}; the gateway needs {'.'.join(map(str, OLDEST))} or newer"
        )
    options = place.options
    if bool(int(info.get("cluster_enabled", 0))) is not (options.kind == "cluster"):
        raise StoreUnavailableError(
            f"{place.place}: is {'no' if options.kind == 'cluster' else 'a'} node of a Redis Cluster; "
            f"write {'redis' if options.kind == 'cluster' else 'redis+cluster'}:// in state"
        )
    if info.get("role", "master") != "master":
        raise StoreUnavailableError(f"{place.place}: is a replica; name its master, or the Sentinels that know it")
    warnings = []
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction":
        warnings.append(
            f"maxmemory-policy is {policy}: when memory is short Redis throws sessions and accounts away; set noeviction"
        )
    if not int(info.get("aof_enabled", 0)):
        warnings.append(
            "appendonly is off: a crash brings back what was changed since the last snapshot, ended sessions too; "
            "set appendonly yes"
        )
    replicas = int(info.get("connected_slaves", 0))
    if replicas < options.replicas:
        warnings.append(
            f"{replicas} replicas are connected, and state.replicas asks for {options.replicas}: "
            "every sign-out and every change of a password will be refused"
        )
    return warnings


def _judge_clock(place: RedisPlace, info: dict[str, Any], now: float) -> list[str]:
    """Compare the clocks: Redis forgets by its own, and counts of attempts must not be forgotten before their end."""
    ahead = int(info.get("server_time_usec", now * 1e6)) / 1e6 - now
    if ahead >= FORGET_S:
        raise StoreUnavailableError(
            f"{place.place}: its clock is {ahead:.0f} s ahead of this node's, so it would forget what is not over yet; "
            "set both by NTP"
        )
    if abs(ahead) > CLOCK_S:
        ahead_of = "ahead of" if ahead > 0 else "behind"
        return [f"its clock is {abs(ahead):.0f} s {ahead_of} this node's; set all nodes and Redis by NTP"]
    return []


def _tries(key: bytes) -> Sequence[Command]:
    """Every command on its own: of a script Redis does not say which command it refused."""
    ranked, forget = key + b":z", int((time.time() + _LIFE_S) * 1000)
    return (
        ("PING",),
        ("TIME",),
        ("ROLE",),
        ("SET", key, "1", "PX", int(_LIFE_S * 1000)),
        ("GET", key),
        ("MGET", key, key),
        ("EXISTS", key),
        ("PEXPIREAT", key, forget, "GT"),
        ("PERSIST", key),
        ("DEL", key),
        ("ZADD", ranked, "1.5", "a"),
        ("PEXPIREAT", ranked, forget),
        ("ZCARD", ranked),
        ("ZRANGE", ranked, 0, -1),
        ("ZRANGEBYSCORE", ranked, "-inf", "0"),
        ("ZREMRANGEBYSCORE", ranked, "-inf", "0"),
        ("ZREM", ranked, "a"),
        ("SADD", key, "a"),
        ("PEXPIREAT", key, forget),
        ("SMEMBERS", key),
        ("DEL", key),
        ("HSET", key, "a", "1"),
        ("PEXPIRE", key, int(_LIFE_S * 1000)),
        ("HEXISTS", key, "a"),
        ("HGETALL", key),
        ("HDEL", key, "a"),
        ("EVAL", "return 0", 1, key),
        ("WAIT", 0, 1),
    )


def _use(rows: RedisRows) -> None:
    """Write, read, compare and remove one row."""
    token, now = os.urandom(16), time.time()
    row = Row(id=os.urandom(16), value=b"probe", tokens={"probe": token}, expires=now + _LIFE_S)

    def work(tx: Transaction) -> None:
        if tx.find(_TABLE, "probe", token):
            raise StoreUnavailableError(f"{rows.place}: answers for rows that nobody wrote")
        tx.put(_TABLE, row)

    rows.transact(work, confirmed=True)
    is_there = rows.get(_TABLE, row.id) == row and rows.find(_TABLE, "probe", token) == [row]
    is_gone = rows.transact(lambda tx: tx.delete(_TABLE, row.id)) and rows.get(_TABLE, row.id) is None
    rows.redis.run(("DEL", rows.keys_of.versions(_TABLE)))
    if not (is_there and is_gone):
        raise StoreUnavailableError(
            f"{rows.place}: does not give back what was written; is a proxy or a replica in between?"
        )
