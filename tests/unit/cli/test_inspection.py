"""What `gateway inspection` tells an operator who has nothing but a reference number, or a request to try."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from gateway.cli.inspection.recorded import Inspected
from gateway.cli.inspection.stopped import as_text, exclusions_of
from gateway.inspection.upload.objection import Objection

TODAY = date(2027, 1, 1)
SECRET = {
    "rule": "path-traversal-to-secret", "class": "path_traversal", "score": 5, "position": "form", "name": "text",
    "digest": "aa", "start": 1, "end": 9, "reading": "as sent",
}  # fmt: skip
FAINT = SECRET | {"rule": "sqli-statement", "class": "sqli", "score": 2}


def request(reason: str = "hostile_input", *, rule: str = "", **told: Any) -> Inspected:
    return Inspected("01a2", 1_800_000_000_000, "tickets", "u_1", "refused", reason, rule, told)


def waf(*findings: dict[str, Any], outcome: str = "blocked", score: int = 5) -> list[dict[str, Any]]:
    return [{"outcome": outcome, "score": score, "findings": list(findings)}]


def test_no_more_is_excluded_than_what_stopped_the_request() -> None:
    (only,) = exclusions_of(request(waf=waf(FAINT, SECRET, score=7)), TODAY)
    assert "rule: path-traversal-to-secret" in only
    assert "by reference 01a2" in only


def test_faint_signs_that_stop_only_together_are_excluded_one_by_one_until_they_do_not() -> None:
    signs = [SECRET | {"rule": f"r{score}", "score": score} for score in (2, 3, 4)]
    assert [text.splitlines()[0] for text in exclusions_of(request(waf=waf(*signs, score=9)), TODAY)] == [
        "- rule: r4",
        "- rule: r3",
    ]


def test_where_a_route_stops_from_a_lower_score_on_the_exclusion_is_told_all_the_same() -> None:
    (only,) = exclusions_of(request(waf=waf(FAINT, score=2)), TODAY)
    assert "rule: sqli-statement" in only


def test_what_only_was_noted_needs_no_exclusion() -> None:
    assert exclusions_of(request(waf=waf(FAINT, outcome="noted", score=2)), TODAY) == []


def test_a_virtual_patch_is_told_as_one_and_never_offered_for_exclusion() -> None:
    stopped = request(waf=waf(SECRET | {"rule": "search-sort", "class": "patch"}))
    assert exclusions_of(stopped, TODAY) == []
    text = as_text(stopped, TODAY)
    assert "search-sort: a virtual patch" in text
    assert "change or remove search-sort in `inspection.patches`" in text
    assert "no more" not in text


@pytest.mark.parametrize("objection", sorted(set(Objection) - {Objection.INFECTED, Objection.UNSCANNED}))
def test_a_refused_file_is_told_in_words(objection: str) -> None:
    file = {"objection": objection, "part": 1, "kind": "", "size": 6, "sha256": "00", "quarantine": "q_1"}
    text = as_text(request("upload_refused", uploads=[{"outcome": "refused", "files": [file]}]), TODAY)
    assert f"part 2 of the form: {objection} (size 6, sha256 00, quarantine q_1)" in text
    assert "gateway quarantine show q_1" in text
    assert "{" not in text.replace("{encrypted", "")


def test_a_file_of_another_type_is_let_pass_by_the_key_that_is_named() -> None:
    files = [{"objection": "type_not_allowed", "part": 0}]
    text = as_text(request("upload_refused", uploads=[{"outcome": "refused", "files": files}]), TODAY)
    assert "add its type to `types` in `inspection.uploads`" in text


def test_whoever_a_detector_blocked_is_led_to_its_answer() -> None:
    text = as_text(request("abuse_blocked", rule="a_d284a462d926"), TODAY)
    assert "gateway abuse lift a_d284a462d926" in text


def test_what_another_stage_refused_is_said_to_be_none_of_ours() -> None:
    assert "Inspection said nothing of it" in as_text(request("role_missing"), TODAY)


def test_findings_about_answers_are_told_without_brackets_of_a_program() -> None:
    sighting = {"kind": "secrets", "action": "block", "count": 1, "digests": ["1c"]}
    text = as_text(request("data_withheld", leaks=[{"in": "answer", "sightings": [sighting]}]), TODAY)
    assert "data loss: in answer, sightings (kind secrets, action block, count 1, digests 1c)" in text


PATCHED = """inspection:
  waf: block
  patches:
    - {id: search-sort, title: Sorts by anything, action: block, match: {path: /search, name: sort, pattern: '[^a-z]'}}
"""


def test_a_request_that_a_patch_stops_names_it(house: Any) -> None:
    settings = house.directory / "gateway.yaml"
    text = settings.read_text()
    settings.write_text(
        "\n".join(line for line in text.splitlines() if not line.startswith("inspection:")) + "\n" + PATCHED
    )
    tried = house.run("inspection", "test", "GET", "/search?sort=a;b", "--route", "portal")
    assert tried.exit_code == 1, tried.stderr
    assert "patch search-sort: Sorts by anything" in tried.stdout
    assert "STOPPED by a patch" in tried.stdout
    assert "PASSES" in house.run("inspection", "test", "GET", "/search?sort=name").stdout


def test_a_body_that_cannot_be_read_is_stopped_for_that(house: Any) -> None:
    settings = house.directory / "gateway.yaml"
    settings.write_text(settings.read_text() + "inspection: {waf: block}\n")
    tried = house.run("inspection", "test", "PUT", "/", "--data", '{"a":"b', "--content-type", "application/json")
    assert tried.exit_code == 1, tried.stderr
    assert "STOPPED: what cannot be read" in tried.stdout
