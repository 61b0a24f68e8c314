"""Watching: windows that slide, subjects apart, silence after a finding, memory that is bounded."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.abuse.rule import (
    Answer,
    By,
    Detector,
    Each,
    OwnHabit,
    PeerHabit,
    RouteHabit,
    Rule,
    Scope,
    subject_of,
)
from gateway.inspection.abuse.sighting import Sighting, What
from gateway.inspection.abuse.spread import Different, Spread, counter
from gateway.inspection.abuse.watch import Finding, Watch

NOW = 1_700_006_400.0
DAY_S = 86_400.0


def detector(*rules: Rule, **more: object) -> Detector:
    made = Detector(
        id="D-77",
        name="seventy_seven",
        title="Something",
        counts="What.",
        technique="",
        severity="low",
        answers=frozenset(Answer),
        rules=rules,
    )
    return msgspec.structs.replace(made, **more)


def rule(**more: object) -> Rule:
    made = Rule(name="r", of=frozenset({What.SIGN_IN_FAILED}), by=By.NETWORK, within_s=60.0, at_least={"events": 3})
    return msgspec.structs.replace(made, **more)


def failed(at: float, network: str = "203.0.113.7", **more: object) -> Sighting:
    return msgspec.structs.replace(Sighting(what=What.SIGN_IN_FAILED, at=NOW + at, network=network), **more)


def taken(at: float, person: str, **more: object) -> Sighting:
    return msgspec.structs.replace(Sighting(what=What.TAKEN, at=NOW + at, person=person), **more)


def shown(watch: Watch, *sightings: Sighting) -> list[Finding]:
    return [finding for each in sightings for finding in watch.see(each)]


def test_the_third_within_the_window_is_found_and_says_what_was_counted() -> None:
    watch = Watch((detector(rule()),))
    (finding,) = shown(watch, *(failed(at, tenant="acme", name="alice") for at in (0, 20, 40)))
    assert finding.subject == "203.0.113.7"
    assert finding.scope is Scope.NETWORK
    assert finding.numbers == {"events": 3}
    assert (finding.detector, finding.rule, finding.severity, finding.tenant) == ("D-77", "r", "low", "acme")


def test_what_left_the_window_does_not_count() -> None:
    watch = Watch((detector(rule()),))
    assert shown(watch, failed(0), failed(40), failed(60)) == []
    assert len(shown(watch, failed(61))) == 1


def test_subjects_are_counted_apart() -> None:
    watch = Watch((detector(rule()),))
    assert shown(watch, *(failed(at, f"203.0.113.{at % 2}") for at in range(4))) == []


def test_what_names_nobody_is_not_counted() -> None:
    watch = Watch((detector(rule()),))
    assert shown(watch, *(failed(at, "") for at in range(9))) == []


def test_a_finding_is_told_once_and_again_after_a_while_if_it_goes_on() -> None:
    watch = Watch((detector(rule()),))
    found = shown(watch, *(failed(at) for at in range(0, 200, 10)))
    assert [finding.at - NOW for finding in found] == [20, 80, 140]


def test_an_answer_is_renewed_as_soon_as_it_is_over_and_not_before() -> None:
    watch = Watch((detector(rule(), answer=Answer.BLOCK, answer_s=600.0),))
    found = shown(watch, *(failed(at) for at in range(0, 1300, 10)))
    assert [finding.at - NOW for finding in found] == [20, 620, 1220]


def test_who_was_let_go_is_judged_by_what_they_do_from_then_on() -> None:
    watch = Watch((detector(rule(), answer=Answer.BLOCK, answer_s=600.0),))
    assert shown(watch, *(failed(at) for at in range(3)))
    watch.forget("D-77", "203.0.113.7")
    assert shown(watch, failed(10), failed(11)) == []
    assert len(shown(watch, failed(12))) == 1


def test_a_detector_that_is_off_sees_nothing() -> None:
    watch = Watch((detector(rule(), answer=Answer.OFF),))
    assert shown(watch, *(failed(at) for at in range(9))) == []


def test_sightings_that_were_told_together_count_one_by_one() -> None:
    watch = Watch((detector(rule()),))
    assert len(shown(watch, failed(0, count=3))) == 1


def test_a_success_begins_a_new_count() -> None:
    watch = Watch((detector(rule(until=frozenset({What.SIGN_IN_SUCCEEDED}))),))
    success = msgspec.structs.replace(failed(2), what=What.SIGN_IN_SUCCEEDED)
    assert shown(watch, failed(0), failed(1), success, failed(3), failed(4)) == []
    assert shown(watch, failed(5))


def test_a_rule_that_waits_for_something_speaks_when_it_happens() -> None:
    watch = Watch((detector(rule(when=frozenset({What.SIGN_IN_SUCCEEDED}))),))
    assert shown(watch, *(failed(at) for at in range(5))) == []
    success = msgspec.structs.replace(failed(6), what=What.SIGN_IN_SUCCEEDED)
    assert len(shown(watch, success)) == 1
    assert shown(Watch(watch.detectors), success) == []


def test_a_rule_that_waits_counts_nothing_that_is_over() -> None:
    watch = Watch((detector(rule(when=frozenset({What.SIGN_IN_SUCCEEDED}))),))
    success = msgspec.structs.replace(failed(100), what=What.SIGN_IN_SUCCEEDED)
    assert shown(watch, *(failed(at) for at in range(5)), success) == []


def test_of_alternatives_one_is_enough() -> None:
    either = detector(rule(any_of={"agents": 2, "countries": 2}))
    assert shown(Watch((either,)), *(failed(at, agent="a", country="CH") for at in range(5))) == []
    assert shown(Watch((either,)), *(failed(at, agent="a", country=f"C{at}") for at in range(5)))


def test_what_lasts_too_shortly_is_no_spray() -> None:
    watch = Watch((detector(rule(lasting_s=30.0)),))
    assert shown(watch, *(failed(at) for at in range(9))) == []
    assert shown(watch, failed(30))


def test_how_the_events_spread_is_asked_for() -> None:
    spread = rule(at_least={"events": 4}, each=Each(of="accounts", least=1, most=1, share=0.5))
    watch = Watch((detector(spread),))
    assert shown(watch, *(failed(at, account=name) for at, name in enumerate("aabb"))) == []
    assert shown(watch, failed(5, account="c")) == []
    assert shown(watch, failed(6, account="d"))


def test_what_is_not_known_is_no_different_one() -> None:
    watch = Watch((detector(rule(at_least={"countries": 2})),))
    assert shown(watch, failed(0, country=""), failed(1, country="CH"), failed(2, country="")) == []
    assert shown(watch, failed(3, country="FR"))


def test_only_what_is_classified_counts_where_that_is_asked() -> None:
    of = {"of": frozenset({What.TAKEN}), "by": By.PERSON}
    watch = Watch((detector(rule(classified=True, at_least={"items": 2}, **of)),))
    assert shown(watch, taken(0, "u", item="a"), taken(1, "u", item="b")) == []
    assert shown(watch, *(taken(at, "u", item=f"i{at}", classified=True) for at in (2, 3)))


def test_watched_data_is_told_at_the_first_look_and_that_of_others_never() -> None:
    watched = rule(of=frozenset({What.TAKEN}), by=By.PERSON, at_least={"events": 1}, watched=True)
    watch = Watch((detector(watched, watched=frozenset({"o_famous"})),))
    assert shown(watch, taken(0, "u", owner="o_other"), taken(0, "u")) == []
    assert shown(watch, taken(1, "u", owner="o_famous"))


def test_sightings_come_a_little_out_of_order_from_several_workers() -> None:
    watch = Watch((detector(rule()),))
    assert len(shown(watch, failed(10), failed(9.5), failed(10.2), failed(9.9))) == 1


def test_a_clock_that_was_set_back_makes_nothing_deaf() -> None:
    watch = Watch((detector(rule()),))
    assert shown(watch, *(failed(at + DAY_S) for at in range(3)))
    assert shown(watch, *(failed(at) for at in range(3)))


def test_memory_is_bounded_and_what_is_forgotten_is_counted() -> None:
    """Attack: as many addresses as an IPv6 network has."""
    watch = Watch((detector(rule()),), budget=100)
    shown(watch, *(failed(number / 1000, f"2001:db8:0:{number:x}::/64") for number in range(1000)))
    assert watch.evicted == {"D-77": 900}
    assert shown(watch, *(failed(2, "203.0.113.7") for _ in range(3))), "who is active now is counted all the same"


def test_what_is_over_makes_room_before_anybody_is_forgotten() -> None:
    watch = Watch((detector(rule()),), budget=100)
    shown(watch, *(failed(number * 2.0, f"2001:db8:0:{number:x}::/64") for number in range(1000)))
    assert watch.evicted == {"D-77": 0}


def test_a_flood_from_one_subject_costs_no_more_memory_than_its_threshold() -> None:
    one = Spread(rule())
    for number in range(5000):
        one.add(failed(number / 1000, account=f"a{number}"))
    assert len(one) == 64
    many = Different(rule(at_least={"items": 10}))
    for number in range(5000):
        many.add(failed(number / 1000, item=f"i{number}"))
    assert len(many) == 10


def test_repeating_one_address_does_not_push_out_the_others() -> None:
    """Attack: a scanner that fetches the start page between two probes."""
    watch = Watch((detector(rule(at_least={"items": 20})),))
    noise = [failed(number / 100, item=f"p{number // 100}" if number % 100 == 0 else "start") for number in range(2000)]
    assert shown(watch, *noise)


def test_what_was_counted_goes_on_after_a_restart() -> None:
    kinds = (
        rule(name="a"),
        rule(name="b", at_least={"accounts": 3}),
        rule(name="c", within_s=float("inf"), at_least={"events": 4}),
    )
    before = Watch((detector(*kinds),))
    shown(before, failed(0, account="x"), failed(1, account="y"))
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(before.dump()))
    after = Watch((detector(*kinds),))
    after.load(kept, NOW + 2)
    assert [finding.rule for finding in shown(after, failed(3, account="z"))] == ["a", "b"]
    assert [finding.rule for finding in shown(after, failed(4, account="z"))] == ["c"]


def test_what_was_told_before_a_restart_is_not_told_again_after_it() -> None:
    before = Watch((detector(rule()),))
    assert shown(before, *(failed(at) for at in range(3)))
    after = Watch(before.detectors)
    after.load(before.dump(), NOW + 3)
    assert shown(after, failed(4)) == []


def test_what_was_counted_by_other_conditions_is_left_out() -> None:
    before = Watch((detector(rule()),))
    shown(before, failed(0), failed(1))
    after = Watch((detector(rule(within_s=120.0)),))
    after.load(before.dump(), NOW + 2)
    assert shown(after, failed(3)) == []


@pytest.mark.parametrize(
    "junk", [None, 1, "x", [], {"entries": None}, {"entries": [["a"]]}, {"entries": [[1, 2, [[3]]]]}]
)
def test_a_memory_that_cannot_be_read_is_left_out(junk: object) -> None:
    watch = Watch((detector(rule()),))
    (key,) = watch.dump()
    watch.load({key: junk}, NOW)
    assert len(shown(watch, *(failed(at, "198.51.100.1") for at in range(3)))) == 1


def test_a_memory_holds_pseudonyms_and_a_finding_names_whoever_it_is() -> None:
    """Whoever is erased must be in no memory: not by id, not by address, not by session."""
    rules = (
        rule(name="a", by=By.PERSON, at_least={"networks": 2}),
        rule(name="b", at_least={"sessions": 2, "events": 2}),
        rule(name="c", by=By.WHO, at_least={"events": 2}),
    )
    watch = Watch((detector(*rules),), pseudonym=lambda text: f"#{hash(text)}")
    seen = [
        failed(at, f"203.0.113.{at % 2}", person="u_alice", session=f"s_{at}", key="k_1", name="alice")
        for at in range(3)
    ]
    found = shown(watch, *seen)
    assert {(each.rule, each.subject, each.name) for each in found} == {
        ("a", "u_alice", "alice"),
        ("b", "203.0.113.0", ""),
        ("c", "k_1", "alice"),
    }
    kept = str(watch.dump())
    assert not any(word in kept for word in ("alice", "203.0", "s_1", "k_1"))


def test_what_is_kept_over_a_restart_is_bounded() -> None:
    watch = Watch((detector(rule()),))
    shown(watch, *(failed(number / 10_000, f"n{number}") for number in range(5000)))
    (kept,) = watch.dump().values()
    assert len(kept["entries"]) == 2048
    assert kept["entries"][-1][0] == "n4999", "who was seen last is kept"


# Habits


def own(**more: object) -> Detector:
    habit = OwnHabit(times=2.0, days=3, known=2, least=3)
    changed = msgspec.structs.replace(habit, **more)
    return detector(
        rule(of=frozenset({What.TAKEN}), by=By.PERSON, within_s=DAY_S, at_least={"items": 3}, habit=changed)
    )


def days_of(person: str, *numbers: int) -> list[Sighting]:
    return [
        taken(day * DAY_S + each, person, item=f"{person}-{day}-{each}", owner=f"o{day}-{each}", group="clerk")
        for day, number in enumerate(numbers)
        for each in range(number)
    ]


def test_more_than_twice_ones_own_most_is_unusual() -> None:
    assert shown(Watch((own(),)), *days_of("u", 2, 3, 6)) == []
    (finding,) = shown(Watch((own(),)), *days_of("u", 2, 3, 7))
    assert finding.numbers == {"items": 7}


def test_nobody_has_a_habit_on_their_first_days() -> None:
    assert shown(Watch((own(),)), *days_of("u", 100)) == []
    assert shown(Watch((own(),)), *days_of("u", 3, 100)) == []


def test_a_clock_that_was_far_ahead_for_a_moment_makes_no_rule_of_days_deaf() -> None:
    ahead = taken(400 * DAY_S, "v", item="x", owner="o", group="clerk")
    (finding,) = shown(Watch((own(),)), ahead, *days_of("u", 2, 3, 7))
    assert finding.numbers == {"items": 7}


def test_what_is_long_ago_is_no_habit() -> None:
    assert shown(Watch((own(),)), *days_of("u", 50, 2, 2, 2, 0, 9)) != []


def test_a_day_of_others_is_the_measure_of_peers() -> None:
    habit = PeerHabit(times=3.0, days=7, known=4, least=3)
    peers = rule(of=frozenset({What.TAKEN}), by=By.PERSON, within_s=DAY_S, at_least={"owners": 3}, habit=habit)
    usual = sorted((each for person in "abcde" for each in days_of(person, 2, 2, 0)), key=lambda seen: seen.at)
    one = [taken(2 * DAY_S + each, "a", owner=f"x{each}", group="clerk") for each in range(7)]
    other = [taken(2 * DAY_S + each, "z", owner=f"x{each}", group="chief") for each in range(7)]
    (finding,) = shown(Watch((detector(peers),)), *usual, *one, *other)
    assert (finding.subject, finding.numbers) == ("a", {"owners": 7})


def test_ones_own_days_are_no_peers() -> None:
    """Attack: whoever looks at much every day sets the measure."""
    habit = PeerHabit(times=3.0, days=7, known=4, least=3)
    peers = rule(of=frozenset({What.TAKEN}), by=By.PERSON, within_s=DAY_S, at_least={"owners": 3}, habit=habit)
    usual = sorted(
        [*days_of("thief", 40, 40, 40), *(each for person in "abcd" for each in days_of(person, 2, 2, 0))],
        key=lambda seen: seen.at,
    )
    assert {finding.subject for finding in shown(Watch((detector(peers),)), *usual)} == {"thief"}


def test_a_route_is_compared_with_its_own_windows() -> None:
    habit = RouteHabit(sigmas=3.0, windows=10, known=3)
    spike = rule(of=frozenset({What.FAILED}), by=By.SOURCE, at_least={"events": 3}, habit=habit)
    noisy = [
        Sighting(what=What.FAILED, at=NOW + minute * 60 + second, network=f"n{second}", route="search")
        for minute in range(5)
        for second in range(minute % 2, 10)
    ]
    watch = Watch((detector(spike),))
    assert shown(watch, *noisy) == []
    worse = [Sighting(what=What.FAILED, at=NOW + 300 + each, network="bad", route="search") for each in range(20)]
    (finding,) = shown(watch, *worse)
    assert (finding.subject, finding.route) == ("bad", "search")


def test_habits_go_on_after_a_restart() -> None:
    before = Watch((own(),))
    shown(before, *days_of("u", 2, 3, 2))
    after = Watch(before.detectors)
    after.load(msgspec.msgpack.decode(msgspec.msgpack.encode(before.dump())), NOW + 2 * DAY_S + 10)
    more = [taken(2 * DAY_S + 20 + each, "u", item=f"n{each}") for each in range(5)]
    assert [finding.numbers for finding in shown(after, *more)] == [{"items": 7}]


def test_windows_of_routes_go_on_after_a_restart() -> None:
    habit = RouteHabit(sigmas=3.0, windows=10, known=3)
    spike = rule(of=frozenset({What.FAILED}), by=By.SOURCE, at_least={"events": 3}, habit=habit)
    before = Watch((detector(spike),))
    shown(before, Sighting(what=What.FAILED, at=NOW, network="n", route="search"))
    after = Watch(before.detectors)
    after.load(before.dump(), NOW + 1)
    worse = [Sighting(what=What.FAILED, at=NOW + 200 + each, network="bad", route="search") for each in range(5)]
    assert shown(after, *worse)
    assert shown(Watch(before.detectors), *worse) == [], "nobody knows what is usual there"


def test_days_of_many_people_are_bounded() -> None:
    watch = Watch((own(),), budget=50)
    shown(watch, *(taken(number / 1000, f"u{number}", item="i") for number in range(500)))
    assert watch.evicted == {"D-77": 450}


@pytest.mark.parametrize(
    ("seen", "scope", "subject"),
    [
        ({"key": "k_1", "person": "u", "network": "n"}, Scope.KEY, "k_1"),
        ({"person": "u", "network": "n"}, Scope.PERSON, "u"),
        ({"network": "n"}, Scope.NETWORK, "n"),
    ],
)
def test_who_it_is_is_said_as_exactly_as_is_known(seen: dict[str, str], scope: Scope, subject: str) -> None:
    assert subject_of(By.WHO, Sighting(what=What.TAKEN, at=NOW, **seen)) == (scope, subject)  # type: ignore[arg-type]


def test_a_gateway_without_organisations_is_one() -> None:
    assert subject_of(By.TENANT, Sighting(what=What.TAKEN, at=NOW)) == (Scope.TENANT, "*")


_EVENTS = st.lists(
    st.tuples(st.floats(0, 300), st.sampled_from("abcd"), st.sampled_from(["x", "y", "z", ""])), max_size=60
)


@given(_EVENTS)
def test_sliding_counts_are_those_of_the_window(events: list[tuple[float, str, str]]) -> None:
    """Every feature of `Spread` against a look at the whole list."""
    asked = rule(at_least={"events": 1, "accounts": 1}, each=Each(of="accounts", least=2, most=3, share=0.0))
    spread = Spread(asked)
    past: list[Sighting] = []
    for at, account, country in sorted(events):
        seen = failed(at, account=account, country=country)
        past.append(seen)
        spread.add(seen)
        inside = [each for each in past if each.at > seen.at - 60.0]
        numbers = spread.reached()
        assert numbers == {"events": len(inside), "accounts": len({each.account for each in inside})}


@given(_EVENTS)
def test_different_values_are_those_of_the_window(events: list[tuple[float, str, str]]) -> None:
    different = counter(rule(at_least={"accounts": 3}))
    past: list[Sighting] = []
    for at, account, _ in sorted(events):
        seen = failed(at, account=account)
        past.append(seen)
        different.add(seen)
        inside = {each.account for each in past if each.at > seen.at - 60.0}
        assert (different.reached() is not None) is (len(inside) >= 3)


@given(_EVENTS)
def test_the_same_sightings_make_the_same_findings(events: list[tuple[float, str, str]]) -> None:
    sightings = [failed(at, account, country=country) for at, account, country in sorted(events)]
    made = detector(rule(), rule(name="s", at_least={"countries": 2}))
    assert shown(Watch((made,)), *sightings) == shown(Watch((made,)), *sightings)


@given(_EVENTS, st.integers(0, 60))
def test_a_restart_in_between_changes_nothing(events: list[tuple[float, str, str]], cut: int) -> None:
    sightings = [failed(at, account, country=country) for at, account, country in sorted(events)]
    made = detector(rule(), rule(name="s", at_least={"countries": 2}))
    first = Watch((made,))
    found = shown(first, *sightings[:cut])
    second = Watch((made,))
    second.load(first.dump(), sightings[cut - 1].at if 0 < cut <= len(sightings) else NOW + 301)
    assert found + shown(second, *sightings[cut:]) == shown(Watch((made,)), *sightings)
