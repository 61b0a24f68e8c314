"""`gateway abuse`: listing and lifting what detectors answered, and trying the detectors."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest

from gateway.inspection.abuse.rule import Answer, Scope
from gateway.inspection.abuse.standing import Standing
from gateway.store.standings import StandingStore


def standing(reference: str, **more: object) -> Standing:
    now = time.time()
    made = Standing(
        reference=reference,
        detector="D-03",
        rule="many_names",
        scope=Scope.NETWORK,
        subject="203.0.113.7",
        answer=Answer.BLOCK,
        since=now,
        until=now + 900,
    )
    return msgspec.structs.replace(made, **more)


def stand(house: Any, *standings: Standing) -> None:
    house.value("abuse", "list")  # makes the state
    store = house.store()
    kept = StandingStore(store.rows, store.sealer)
    for each in standings:
        assert kept.add(each, now=each.since)
    store.close()


def references(house: Any) -> set[str]:
    return {each["reference"] for each in house.value("abuse", "list")["answers"]}


def test_nobody_is_answered_at_first(house: Any) -> None:
    assert "Nobody is answered." in house.run("abuse", "list").stdout
    assert house.value("abuse", "lift", "--all", "--reason", "tidying up") == {"ok": True, "lifted": 0}


def test_what_stands_is_listed_newest_first_and_what_is_over_is_not(house: Any) -> None:
    now = time.time()
    stand(
        house,
        standing("a_1", since=now - 60),
        standing("a_2", detector="D-14", scope=Scope.PERSON, subject="u_1", person="u_1", name="alice"),
        standing("a_3", subject="203.0.113.8", since=now - 1000, until=now - 100),
    )
    first, second = house.value("abuse", "list")["answers"]
    assert (first["reference"], first["user"], first["scope"]) == ("a_2", "alice", "person")
    assert (second["subject"], second["answer"], second["detector"]) == ("203.0.113.7", "block", "D-03")
    shown = house.run("abuse", "list").stdout
    assert "alice" in shown
    assert "203.0.113.8" not in shown


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        (["a_1"], {"a_2", "a_3", "a_4"}),
        (["a_1", "a_2"], {"a_3", "a_4"}),
        (["--network", "203.0.113.0/24"], {"a_3", "a_4"}),
        (["--network", "203.0.113.7"], {"a_2", "a_3", "a_4"}),
        (["--network", "2001:db8::/32"], {"a_1", "a_2", "a_4"}),
        (["--user", "ALICE"], {"a_1", "a_2", "a_3"}),
        (["--all"], set()),
    ],
)
def test_what_is_chosen_is_lifted_and_nothing_else(house: Any, chosen: list[str], left: set[str]) -> None:
    house.add("alice")
    store = house.store()
    alice = store.user_named("alice")
    store.close()
    stand(
        house,
        standing("a_1"),
        standing("a_2", subject="203.0.113.8"),
        standing("a_3", subject="2001:db8:1:2::/64"),
        standing("a_4", scope=Scope.SESSION, subject="s_1", person=alice.id, name="alice"),
    )
    lifted = house.value("abuse", "lift", *chosen, "--reason", "the monitor of our own")
    assert lifted == {"ok": True, "lifted": 4 - len(left)}
    assert references(house) == left


def test_lifting_is_recorded_before_it_happens_with_its_reason(house: Any) -> None:
    stand(house, standing("a_1"))
    house.value("abuse", "lift", "a_1", "--reason", "a customer called")
    (record,) = [record for name, record in house.records() if name == "abuse lift"]
    assert record["unmapped"]["gw"]["abuse"] == {
        "lifted": [{"detector": "D-03", "reference": "a_1"}],
        "reason": "a customer called",
    }
    assert record["resources"] == [{"type": "answer", "uid": "a_1"}]
    assert "203.0.113.7" not in json.dumps(record)


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["a_9", "--reason", "x"], 1),
        (["--user", "nobody", "--reason", "x"], 1),
        (["--reason", "x"], 2),
        (["a_1"], 2),
        (["a_1", "--all", "--reason", "x"], 2),
        (["a_1", "--reason", "  "], 2),
        (["--network", "somewhere", "--reason", "x"], 2),
    ],
)
def test_what_is_not_there_or_not_clear_lifts_nothing(house: Any, arguments: list[str], status: int) -> None:
    stand(house, standing("a_1"))
    assert house.run("abuse", "lift", *arguments).exit_code == status
    assert references(house) == {"a_1"}


def tune(house: Any, detectors: str) -> None:
    path = house.directory / "gateway.yaml"
    path.write_text(f"{path.read_text()}\ninspection: {{detectors: {detectors}}}\n")


def test_detectors_are_listed_as_they_are_set(house: Any) -> None:
    tune(house, "{D-03: {action: block, for: 15m, rules: {many_names: {at_least: {events: 40}}}}, D-17: {action: off}}")
    found = {each["id"]: each for each in house.value("abuse", "detectors")["detectors"]}
    assert (found["D-03"]["action"], found["D-03"]["for_s"]) == ("block", 900)
    assert found["D-03"]["rules"]["many_names"] == "40 events and 15 accounts in 15m"
    assert found["D-01"]["action"] == "alert"
    assert found["D-17"]["action"] == "off"
    shown = house.run("abuse", "detectors").stdout
    assert "Credential stuffing from one network" in shown
    assert "10 events and 5 networks, with 2 countries or 8 networks or 3 agents in 30m" in shown
    assert "100 events in all" in shown


def test_the_shipped_numbers_hold_for_the_shipped_cases(house: Any) -> None:
    tried = house.value("abuse", "test")
    assert tried["ok"]
    assert tried["cases"] > 80
    assert tried["wrong"] == []


def test_other_numbers_are_tried_on_the_cases_and_the_difference_is_told(house: Any) -> None:
    tune(house, "{D-19: {rules: {refused: {at_least: {events: 3}}}}, D-01: {action: off}}")
    tried = house.run("abuse", "test")
    assert tried.exit_code == 1
    assert "D-19: somebody whose question about SQL is refused three times: finds refused, not nothing" in tried.stdout


@pytest.mark.parametrize(
    ("detectors", "said"),
    [
        ("{D-99: {action: block}}", ": inspection.detectors.D-99: there is no detector D-99"),
        ("{D-03: {action: step_up}}", ": inspection.detectors.D-03.action: D-03 answers with one of"),
        ("{D-03: {action: stop}}", ": inspection.detectors.D-03.action: write 'off', 'alert'"),
        ("{D-03: {for: 5m}}", ": inspection.detectors.D-03.for: nothing stands for a while where the action is alert"),
        ("{D-03: {action: block, for: 31d}}", "must be at most"),
        ("{D-03: {rules: {many: {within: 5m}}}}", "there is no rule many"),
        ("{D-03: {rules: {many_names: {at_least: {events: 0}}}}}", "must be at least 1"),
        ("{D-03: {treshold: 5}}", "unknown key"),
    ],
)
def test_what_a_detector_cannot_be_told_is_refused_with_its_place(house: Any, detectors: str, said: str) -> None:
    tune(house, detectors)
    refused = house.run("check")
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert refused.stderr.startswith("gateway.yaml:")


@pytest.mark.parametrize(
    ("spared", "said"),
    [
        ("{reason: r, expires: 2099-01-01}", "name exactly one of network, person and key"),
        ("{network: 10.0.0.0/8, person: alice, reason: r, expires: never}", "name exactly one of"),
        ("{network: 10.0.0.0/8, expires: never}", "the key reason is missing"),
        ("{network: 10.0.0.0/8, reason: r}", "the key expires is missing"),
        ("{network: 10.0.0.0/8, reason: r, expires: soon}", "write the last day, such as 2027-01-31, or never"),
        ("{network: 10.0.0.0/8, reason: r, expires: never, detectors: [D-98]}", "there is no detector D-98"),
        ("{key: k_1, reason: r, expires: never}", "is no handle of an API key"),
    ],
)
def test_an_exemption_has_somebody_a_reason_and_an_end(house: Any, spared: str, said: str) -> None:
    path = house.directory / "gateway.yaml"
    path.write_text(f"{path.read_text()}\ninspection: {{spared: [{spared}]}}\n")
    refused = house.run("check")
    assert refused.exit_code == 2
    assert said in refused.stderr


def test_exemptions_and_actions_are_read(house: Any) -> None:
    path = house.directory / "gateway.yaml"
    path.write_text(
        f"{path.read_text()}\n"
        "inspection:\n"
        "  detectors:\n"
        "    D-15: {action: step_up, for: 1h, watched: [patient-1]}\n"
        "    D-16: {action: slow_down, rate: 6/m, burst: 3}\n"
        "  spared:\n"
        "    - {network: 192.0.2.0/24, detectors: [D-17], reason: our scanner, expires: 2099-12-31}\n"
        "    - {person: alice, reason: runs the yearly export, expires: never}\n"
        "    - {key: k_0123456789abcdef, reason: the warehouse, expires: never}\n"
    )
    assert house.run("check").exit_code == 0, house.run("check").stderr


def test_no_route_can_say_what_detectors_do(house: Any) -> None:
    path = next((house.directory / "policies").glob("*.yaml"))
    text = path.read_text()
    place = text.index("    upstream: portal")
    path.write_text(f"{text[:place]}    inspection: {{detectors: {{D-03: {{action: block}}}}}}\n{text[place:]}")
    refused = house.run("check")
    assert refused.exit_code == 2
    assert "inspection.detectors: is said in gateway.yaml alone" in refused.stderr
