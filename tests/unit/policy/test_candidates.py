from __future__ import annotations

from datetime import datetime
from ipaddress import IPv6Address, ip_address, ip_network
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.step_up import Network
from gateway.policy.proof import candidates
from gateway.policy.proof.comparison import Wanted

TEXTS = st.text("ab", max_size=3)
NETWORKS = st.sampled_from(
    [ip_network(text) for text in ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "0.0.0.0/0", "2001:db8::/32", "::/0")]
)


@given(
    equals=st.sets(TEXTS, max_size=2),
    prefixes=st.sets(TEXTS, max_size=2),
    suffixes=st.sets(TEXTS, max_size=2),
    parts=st.sets(TEXTS, max_size=2),
    text=st.text("abc", max_size=7),
)
def test_every_text_is_answered_like_one_that_is_tried(
    equals: set[str], prefixes: set[str], suffixes: set[str], parts: set[str], text: str
) -> None:
    wanted = Wanted(equals=equals, prefixes=prefixes, suffixes=suffixes, parts=parts)

    def answers(of: str) -> tuple[tuple[bool, ...], ...]:
        return (
            tuple(of == other for other in sorted(equals)),
            tuple(map(of.startswith, sorted(prefixes))),
            tuple(map(of.endswith, sorted(suffixes))),
            tuple(part in of for part in sorted(parts)),
        )

    found = candidates.texts(wanted, "somebody")
    assert found.is_whole
    assert answers(text) in {answers(tried) for tried in found.found}


@given(bounds=st.sets(st.integers(0, 20), max_size=4), age=st.floats(0, 30))
def test_every_age_is_answered_like_one_that_is_tried(bounds: set[int], age: float) -> None:
    def answers(of: float) -> tuple[tuple[bool, bool], ...]:
        return tuple((of < bound, of <= bound) for bound in sorted(bounds))

    found = candidates.ages(set(map(float, bounds)))
    assert found.is_whole
    assert answers(age) in {answers(tried) for tried in found.found}


@given(networks=st.sets(NETWORKS), number=st.integers(0, 2**32 - 1), other=st.integers(0, 2**128 - 1))
def test_every_address_is_answered_like_one_that_is_tried(networks: set[Network], number: int, other: int) -> None:
    def answers(of: str) -> tuple[bool, ...]:
        return tuple(ip_address(of) in network for network in sorted(networks, key=str))

    found = candidates.addresses(Wanted(networks=networks))
    assert found.is_whole
    for address in (ip_address(number), ip_address(0x0A010000 + number % 70000), IPv6Address(other)):
        seen = {answers(tried) for tried in found.found}
        assert answers(str(address)) in seen or not networks


def test_the_ordinary_value_stands_in_front() -> None:
    assert candidates.texts(Wanted(), "somebody").found[0] == "somebody"
    assert candidates.ages(()).found[0] == 0
    assert candidates.addresses(Wanted()).found == ("203.0.113.7",)
    assert candidates.moments(Wanted(bounds={5.0}), 100.0).found[0] == 100.0


def test_what_is_not_whole_says_so() -> None:
    assert not candidates.texts(Wanted(loose=True), "x").is_whole
    assert not candidates.texts(Wanted(sizes={3}, equals={"x"}), "x").is_whole
    assert not candidates.texts(Wanted(parts=set("abcde")), "x").is_whole
    assert not candidates.texts(Wanted(prefixes={candidates._MARKS}), "x").is_whole
    assert not candidates.ages({0.5}).is_whole
    assert not candidates.moments(Wanted(clocks={"getMonth"}, zones={"UTC"}), 0.0).is_whole
    assert not candidates.moments(Wanted(clocks={"getHours"}, zones={"UTC", "Asia/Tokyo"}), 0.0).is_whole
    assert not candidates.moments(Wanted(clocks={"getHours"}, zones={"UTC"}, bounds={5.0}), 0.0).is_whole
    assert not candidates.addresses(Wanted(prefixes={"10."})).is_whole
    assert not candidates.subsets("abcdefg").is_whole


def test_sets_are_joined_to_each_base() -> None:
    assert set(candidates.subsets("ab", [("x",)]).found) == {("x",), ("x", "a"), ("x", "b"), ("x", "a", "b")}


@given(
    zone=st.sampled_from(("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")), moment=st.floats(1.7e9, 2.2e9)
)
def test_every_hour_of_the_week_is_tried(zone: str, moment: float) -> None:
    def hour(of: float) -> tuple[int, int]:
        there = datetime.fromtimestamp(of, ZoneInfo(zone))
        return there.weekday(), there.hour

    found = candidates.moments(Wanted(clocks={"getHours", "getDayOfWeek"}, zones={zone}), 1_800_000_000.0)
    assert found.is_whole
    assert hour(moment) in set(map(hour, found.found))


@given(bounds=st.sets(st.integers(0, 20), max_size=4), moment=st.floats(-10, 30))
def test_every_moment_is_answered_like_one_that_is_tried(bounds: set[int], moment: float) -> None:
    def answers(of: float) -> tuple[tuple[bool, bool], ...]:
        return tuple((of < bound, of <= bound) for bound in sorted(bounds))

    found = candidates.moments(Wanted(bounds=set(map(float, bounds))), 1_800_000_000.0)
    assert found.is_whole
    assert answers(moment) in {answers(tried) for tried in found.found}
