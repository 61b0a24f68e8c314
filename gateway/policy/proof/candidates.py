"""Values to try: for each thing that conditions compare, a finite set in which every answer shows.

Of a text that is compared with constants it is enough to try the constants, and texts put together from prefixes, parts
and suffixes with a letter between that no constant has; of a number the constants and one value in each gap between
them; of an address the borders of the networks. Where that does not hold, `is_whole` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address, ip_network
from itertools import combinations, pairwise
from typing import Any, Final, NamedTuple

from gateway.policy.proof.comparison import Wanted

_HOUR_S: Final = 3600.0
_DAY_S: Final = 86400.0
_WEEKLY: Final = frozenset({"getHours", "getDayOfWeek"})
"""What repeats every week in one time zone, but for the hours that daylight saving skips."""
_WEEKS_S: Final = 15 * _DAY_S
"""Long enough to see every hour of the week twice: one of them may be skipped."""
_MOST_PARTS: Final = 4
_MOST_MEMBERS: Final = 6
_MARKS: Final = "qzjxkvw7035ybhg249861fpumoldcnrsaite~_-QZJXKVW"
ORDINARY_ADDRESS: Final = "203.0.113.7"
"""RFC 5737: for documentation."""
_OTHER_FAMILY: Final = "2001:db8::7"
"""RFC 3849: for documentation. It is in no network of IPv4."""


class Values(NamedTuple):
    """Values of one thing, the most ordinary in front."""

    found: tuple[Any, ...]
    is_whole: bool
    """Every answer of every atom that asks about this thing alone shows for one of them."""


def texts(wanted: Wanted, ordinary: str, shared: Iterable[str] = (), *, peers: int = 0) -> Values:
    """List texts; `ordinary` where nothing is wanted of it. `shared` are the texts of `peers` others that it may equal."""
    known = wanted.texts() | set(shared)
    mark = _mark(known)
    if mark is None:
        return Values(tuple(dict.fromkeys((ordinary, *sorted(known)))), is_whole=False)
    plain = ordinary if all(letter not in text for text in known for letter in ordinary) else mark
    found = {plain: None}
    found |= dict.fromkeys(sorted(wanted.equals | set(shared)))
    found |= dict.fromkeys(mark * (number + 2) for number in range(peers))
    parts = sorted(wanted.parts)
    few = len(parts) <= _MOST_PARTS
    chosen = (
        [subset for size in range(len(parts) + 1) for subset in combinations(parts, size)]
        if few
        else [(), *((part,) for part in parts)]
    )
    for prefix in ("", *sorted(wanted.prefixes)):
        for suffix in ("", *sorted(wanted.suffixes)):
            for subset in chosen:
                found[prefix + mark + "".join(part + mark for part in subset) + suffix] = None
    found |= dict.fromkeys(
        mark * length for size in sorted(wanted.sizes) for length in (size - 1, size, size + 1) if length >= 0
    )
    patterned = bool(wanted.prefixes or wanted.suffixes or wanted.parts)
    mixed = (patterned and bool(wanted.sizes or peers)) or bool(wanted.sizes and (wanted.equals or peers))
    return Values(tuple(found), is_whole=few and not mixed and not wanted.loose)


def _mark(known: set[str]) -> str | None:
    """Find a letter that no text has; None when there is none left."""
    used = frozenset("".join(known))
    return next((letter for letter in _MARKS if letter not in used), None)


def ages(bounds: Iterable[float]) -> Values:
    """List ages in seconds: none at all, the bounds, and one in each gap."""
    known = sorted(bound for bound in bounds if bound >= 0)
    points = [0.0, *known]
    found = dict.fromkeys([0.0, *(0.5 * (low + high) for low, high in pairwise(points)), *known])
    found[points[-1] + _HOUR_S] = None
    # The clock and the age meet in floating point: a bound of whole seconds is met exactly, another one nearly.
    return Values(tuple(found), is_whole=all(bound == int(bound) for bound in known))


def moments(wanted: Wanted, now: float) -> Values:
    """List moments in unix seconds, `now` in front, then those after it."""
    bounds = sorted(wanted.bounds)
    found = {now: None}
    starts = [now]
    if bounds:
        starts = [bounds[0] - _WEEKS_S - _DAY_S, *bounds]
        found |= dict.fromkeys(bounds)
        found |= dict.fromkeys(0.5 * (low + high) for low, high in pairwise(bounds))
        found |= dict.fromkeys((bounds[0] - _DAY_S, bounds[-1] + _DAY_S))
    if wanted.clocks:
        ends = [*starts[1:], float("inf")]
        for start, end in zip(starts, ends, strict=True):
            found |= dict.fromkeys(_hours(start, end))
    if wanted.clocks - _WEEKLY:
        found |= dict.fromkeys(now - now % _DAY_S + day * _DAY_S + _DAY_S / 2 for day in range(366))
        found |= dict.fromkeys(now - now % _HOUR_S + tick for tick in _ticks(wanted.ticks))
    is_whole = not wanted.loose and wanted.clocks <= _WEEKLY and len(wanted.zones) <= 1
    # Between two bounds that are near each other not every hour is there, and which ones is not looked at.
    is_whole = is_whole and not (bounds and wanted.clocks) and all(bound == int(bound) for bound in bounds)
    return Values(tuple(sorted(found, key=lambda moment: (moment < now, abs(moment - now)))), is_whole)


def _hours(start: float, end: float) -> Iterator[float]:
    first = start - start % _HOUR_S + _HOUR_S / 2
    for hour in range(int(_WEEKS_S // _HOUR_S)):
        moment = first + hour * _HOUR_S
        if start < moment < end:
            yield moment


def _ticks(ticks: set[int]) -> Iterator[float]:
    """Yield offsets into an hour at which minutes and seconds take the values that they are compared with."""
    near = sorted({tick + step for tick in ticks for step in (-1, 0, 1) if 0 <= tick + step < 60})  # noqa: PLR2004 - minutes
    for minute in near:
        yield minute * 60.0
        yield float(minute)
        yield from (minute * 60.0 + second for second in near)


def addresses(wanted: Wanted) -> Values:
    """List addresses: the first of each network and the one behind its last, which are in every part that networks cut."""
    found = {ORDINARY_ADDRESS: None}
    # An address that is compared is a network of one: what surrounds it is told apart from it.
    single = {ip_network(text) for text in wanted.equals if _is_address(text)}
    if wanted.networks | single:
        found[_OTHER_FAMILY] = None
    for network in sorted(wanted.networks | single, key=str):
        kind = type(network.network_address)
        found[str(network.network_address)] = None
        behind = int(network.broadcast_address) + 1
        if behind < 2**network.max_prefixlen:
            found[str(kind(behind))] = None
        found[str(kind(0))] = None
        found[str(kind(min(behind, 2**network.max_prefixlen - 1)))] = None
    found |= dict.fromkeys(text for text in sorted(wanted.equals) if _is_address(text))
    return Values(
        tuple(found), is_whole=not (wanted.loose or wanted.prefixes or wanted.suffixes or wanted.parts or wanted.sizes)
    )


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def subsets(members: Iterable[str], base: Sequence[tuple[str, ...]] = ((),), *, loose: bool = False) -> Values:
    """List sets of `members` joined to each of `base`; of many members only none, each, all, and all but each."""
    listed = sorted(set(members))
    few = len(listed) <= _MOST_MEMBERS
    if few:
        chosen = [subset for size in range(len(listed) + 1) for subset in combinations(listed, size)]
    else:
        chosen = [(), *((member,) for member in listed), tuple(listed)]
        chosen += [tuple(other for other in listed if other != member) for member in listed]
    found = dict.fromkeys(tuple(dict.fromkeys((*held, *subset))) for subset in chosen for held in base)
    return Values(tuple(found), is_whole=few and not loose)
