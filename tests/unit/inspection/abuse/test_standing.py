"""Answers that stand: whom they concern, which of several counts, when they are over, and who gets none."""

from __future__ import annotations

from ipaddress import ip_network

import msgspec
import pytest

from gateway.inspection.abuse.rule import Answer, By, Detector, Rule, Scope
from gateway.inspection.abuse.sighting import What
from gateway.inspection.abuse.spared import Exemption, Spared
from gateway.inspection.abuse.standing import Standing, Standings, answered, limit_of
from gateway.inspection.abuse.watch import Finding

NOW = 1_700_006_400.0


def standing(**more: object) -> Standing:
    made = Standing(
        reference="a_1",
        detector="D-03",
        rule="many_names",
        scope=Scope.NETWORK,
        subject="203.0.113.7",
        answer=Answer.BLOCK,
        since=NOW,
        until=NOW + 900,
    )
    return msgspec.structs.replace(made, **more)


def finding(**more: object) -> Finding:
    made = Finding(
        detector="D-03",
        rule="many_names",
        severity="high",
        scope=Scope.NETWORK,
        subject="203.0.113.7",
        name="",
        person="",
        tenant="acme",
        route="",
        at=NOW,
        within_s=900.0,
        numbers={"events": 25},
        answer=Answer.BLOCK,
    )
    return msgspec.structs.replace(made, **more)


def detector(**more: object) -> Detector:
    rule = Rule(name="r", of=frozenset({What.SIGN_IN_FAILED}), by=By.NETWORK, within_s=900.0, at_least={"events": 25})
    made = Detector(
        id="D-03",
        name="credential_stuffing",
        title="Credential stuffing",
        counts="What.",
        technique="T1110.004",
        severity="high",
        answers=frozenset({Answer.ALERT, Answer.SLOW_DOWN, Answer.BLOCK}),
        rules=(rule,),
        answer=Answer.BLOCK,
        answer_s=600.0,
    )
    return msgspec.structs.replace(made, **more)


def test_a_blocked_network_is_found_and_another_is_not() -> None:
    standings = Standings([standing()])
    assert standings.on_network("203.0.113.7", NOW + 1)[0] == standing()
    assert standings.on_network("203.0.113.8", NOW + 1) == ()


def test_it_is_over_at_its_end() -> None:
    standings = Standings([standing()])
    assert standings.on_network("203.0.113.7", NOW + 899.9)
    assert standings.on_network("203.0.113.7", NOW + 900) == ()


def test_a_clock_that_was_set_back_by_a_year_blocks_nobody_for_a_year() -> None:
    assert Standings([standing()]).on_network("203.0.113.7", NOW - 365 * 86_400) == ()


def test_what_spares_those_who_are_signed_in_concerns_strangers_alone() -> None:
    standings = Standings([standing(spares_signed_in=True)])
    assert standings.on_network("203.0.113.7", NOW) == ()
    assert standings.on_strangers("203.0.113.7", NOW)


def test_of_several_answers_the_hardest_counts() -> None:
    slow = standing(reference="a_2", answer=Answer.SLOW_DOWN, rate_per_s=0.1, burst=5, until=NOW + 9000)
    standings = Standings([slow, standing()])
    assert standings.on_network("203.0.113.7", NOW)[0] == standing()
    assert standings.on_network("203.0.113.7", NOW + 1000)[0] == slow
    assert standings.count == 2


def test_a_person_is_found_by_their_id_their_session_and_their_key() -> None:
    of_person = standing(scope=Scope.PERSON, subject="u_1", answer=Answer.STEP_UP)
    of_session = standing(scope=Scope.SESSION, subject="s_1")
    of_key = standing(scope=Scope.KEY, subject="k_1", answer=Answer.SLOW_DOWN)
    standings = Standings([of_person, of_session, of_key])
    assert standings.on_person("u_1", "s_9", "", NOW)[0] == of_person
    assert standings.on_person("u_1", "s_1", "", NOW)[0] == of_session
    assert standings.on_person("u_2", "", "k_1", NOW)[0] == of_key
    assert standings.on_person("u_2", "s_2", "k_2", NOW) == ()


def test_an_account_and_an_organisation_are_found_for_sign_ins() -> None:
    standings = Standings([standing(scope=Scope.ACCOUNT, subject="9f"), standing(scope=Scope.TENANT, subject="*")])
    assert standings.on_account("9f", NOW)
    assert standings.on_account("8e", NOW) == ()
    assert standings.on_sign_ins("", NOW)
    assert standings.on_sign_ins("acme", NOW) == ()


def test_where_nothing_stands_there_is_nothing_to_ask() -> None:
    assert not Standings()
    assert Standings().on_network("203.0.113.7", NOW) == ()
    assert Standings().on_sign_ins("", NOW) == ()


def test_whoever_is_slowed_down_has_a_limit_of_their_own() -> None:
    spec = limit_of(standing(answer=Answer.SLOW_DOWN, rate_per_s=0.5, burst=3))
    assert (spec.name, spec.rate_per_s, spec.burst) == ("abuse:a_1", 0.5, 3)


def test_a_finding_gets_the_answer_of_its_detector_for_as_long_as_that_says() -> None:
    made, because = answered(finding(), detector(), Spared(), reference="a_1", now=NOW + 1)
    assert because == ""
    assert made is not None
    assert (made.answer, made.since, made.until) == (Answer.BLOCK, NOW + 1, NOW + 601)
    assert made.burst == 0


def test_an_alert_is_no_answer() -> None:
    assert answered(finding(answer=Answer.ALERT), detector(), Spared(), reference="a", now=NOW) == (None, "")


def test_who_is_slowed_down_may_still_ask_now_and_then() -> None:
    slow = detector(answer=Answer.SLOW_DOWN, rate_per_s=0.2, burst=3)
    made, _ = answered(finding(answer=Answer.SLOW_DOWN), slow, Spared(), reference="a_1", now=NOW + 1)
    assert made is not None
    assert (made.rate_per_s, made.burst) == (0.2, 3)


@pytest.mark.parametrize(
    ("exemption", "found"),
    [
        ({"network": ip_network("203.0.113.0/24")}, finding()),
        ({"network": ip_network("2001:db8::/32")}, finding(subject="2001:db8:1:2::/64")),
        ({"person": "alice"}, finding(scope=Scope.PERSON, subject="u_1", name="alice")),
        ({"person": "u_1"}, finding(scope=Scope.PERSON, subject="u_1", name="alice")),
        ({"person": "alice"}, finding(scope=Scope.SESSION, subject="s_1", name="alice")),
        ({"person": "alice"}, finding(scope=Scope.ACCOUNT, subject="9f", name="alice")),
        ({"key": "k_1"}, finding(scope=Scope.KEY, subject="k_1", name="alice")),
        ({"network": ip_network("203.0.113.7"), "detectors": frozenset({"D-03"})}, finding()),
        ({"network": ip_network("203.0.113.7"), "until": NOW + 1}, finding()),
    ],
)
def test_who_is_exempt_is_not_answered_and_the_reason_is_told(exemption: dict[str, object], found: Finding) -> None:
    spared = Spared([Exemption(reason="our monitor", **({"until": None} | exemption))])  # type: ignore[arg-type]
    assert answered(found, detector(), spared, reference="a", now=NOW) == (None, "our monitor")


@pytest.mark.parametrize(
    ("exemption", "found"),
    [
        ({"network": ip_network("203.0.114.0/24")}, finding()),
        ({"network": ip_network("2001:db8:1:2:3::/80")}, finding(subject="2001:db8:1:2::/64")),
        ({"network": ip_network("203.0.113.7"), "until": NOW}, finding()),
        ({"network": ip_network("203.0.113.7"), "detectors": frozenset({"D-04"})}, finding()),
        ({"network": ip_network("203.0.113.7")}, finding(scope=Scope.PERSON, subject="203.0.113.7")),
        ({"person": "alice"}, finding(scope=Scope.ACCOUNT, subject="alice")),
        ({"person": "alice"}, finding(scope=Scope.TENANT, subject="alice")),
        ({"key": "k_1"}, finding(scope=Scope.PERSON, subject="k_1")),
    ],
)
def test_nobody_else_is_exempt(exemption: dict[str, object], found: Finding) -> None:
    spared = Spared([Exemption(reason="our monitor", **({"until": None} | exemption))])  # type: ignore[arg-type]
    assert spared.reason_for(found) == ""


def test_a_subject_that_is_no_address_is_in_no_network() -> None:
    """An unknown client has no address."""
    spared = Spared([Exemption(network=ip_network("0.0.0.0/0"), reason="x", until=None)])
    assert spared.reason_for(finding(subject="unix:")) == ""
