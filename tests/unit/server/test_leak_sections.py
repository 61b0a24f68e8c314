"""`inspection.leaks`, `inspection.downloads` and `inspection.body` as they are written, and what is wrong with them, said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.inspection.leak.download import Allowance
from gateway.inspection.leak.sighting import Action
from gateway.server.sections.inspection import Inspection
from gateway.server.settings import explain
from gateway.server.validate import read_and_validate

KEY = b"k" * 32
USUAL = {"cards": Action.MASK, "secrets": Action.MASK}
PATTERN = {"name": "customer-number", "pattern": r"\bKD-[0-9]{8}\b"}


def read(**section: Any) -> Inspection:
    return Inspection.model_validate(section)


def refusal(**section: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        read(**section)
    place, sentence = explain(caught.value.errors()[0], Inspection)
    return f"{'.'.join(map(str, place))}: {sentence}"


def test_one_word_is_short_for_cards_and_secrets_in_answers() -> None:
    leaks = read(leaks="mask").leaks
    assert leaks is not None
    rules = leaks.rules(KEY)
    assert rules is not None
    assert rules.answers.actions_for(()) == {"cards": Action.MASK, "secrets": Action.MASK}
    assert rules.requests.is_empty
    assert rules.refuses_unreadable


@pytest.mark.parametrize(
    ("general", "own", "answers", "requests"),
    [
        ("mask", "{requests: {cards: alert}}", USUAL, {"cards": Action.ALERT}),
        ("mask", "{answers: {iban: mask}}", {**USUAL, "iban": Action.MASK}, {}),
        ("{answers: mask}", "{answers: {cards: allow}}", {**USUAL, "cards": Action.ALLOW}, {}),
        ("mask", "alert", dict.fromkeys(USUAL, Action.ALERT), {}),
    ],
)
def test_what_a_route_adds_does_not_end_what_one_word_says_for_all(
    directory: Path, general: str, own: str, answers: dict[str, Action], requests: dict[str, Action]
) -> None:
    settings = directory / "gateway.yaml"
    settings.write_text(settings.read_text() + f"inspection: {{leaks: {general}}}\n")
    policy = directory / "policies" / "portal.yaml"
    route, rest = policy.read_text().split("    allow:", 1)
    policy.write_text(f"{route}    inspection: {{leaks: {own}}}\n    allow:{rest}")
    leaks = next(iter(read_and_validate(settings).inspections.values())).section.leaks
    assert leaks is not None
    assert (leaks.answers, leaks.requests) == (answers, requests)


def test_kinds_roles_and_patterns_are_read() -> None:
    leaks = read(
        leaks={
            "answers": {"cards": "mask", "secrets": "block", "jwt": "allow", "customer-number": "alert"},
            "requests": "alert",
            "roles": {"billing": {"answers": {"cards": "allow"}}},
            "patterns": [PATTERN],
            "unreadable": "allow",
        }
    ).leaks
    assert leaks is not None
    rules = leaks.rules(KEY)
    assert rules is not None
    assert rules.answers.actions_for(("billing",)) == {"secrets": Action.BLOCK, "customer-number": Action.ALERT}
    assert rules.requests.actions_for(()) == {"cards": Action.ALERT, "secrets": Action.ALERT}
    assert [pattern.name for pattern in rules.patterns] == ["customer-number"]
    assert not rules.refuses_unreadable


@pytest.mark.parametrize("leaks", ["off", None, {}, {"answers": {"cards": "allow"}}])
def test_what_looks_for_nothing_is_off(leaks: Any) -> None:
    section = read(leaks=leaks).leaks
    assert section is None or section.rules(KEY) is None


@pytest.mark.parametrize(
    ("leaks", "said"),
    [
        ("maks", "did you mean 'mask'"),
        ({"answers": {"card": "mask"}}, "did you mean 'cards'"),
        ({"answers": {"cards": "maks"}}, "did you mean 'mask'"),
        ({"answers": 1}, "write kinds with what is done"),
        ({"roles": {"b": {"requests": {"pin": "mask"}}}}, "roles.b.requests: nothing is called 'pin'"),
        ({"patterns": [{"name": "x", "pattern": "("}], "answers": {"x": "mask"}}, "not a pattern of RE2"),
        ({"patterns": [{"name": "x", "pattern": "a*"}], "answers": {"x": "mask"}}, "empty text"),
        ({"patterns": [{"name": "cards", "pattern": "a"}]}, "no kind of the gateway's"),
        ({"patterns": [{"name": "x"}]}, "write a name and a pattern"),
        ({"patterns": [PATTERN]}, "nothing is done"),
        ({"patterns": [PATTERN, PATTERN], "answers": {"customer-number": "mask"}}, "a name stands twice"),
        ({"answer": "mask"}, "unknown key"),
    ],
)
def test_what_is_wrong_is_said(leaks: Any, said: str) -> None:
    assert said in refusal(leaks=leaks)


@pytest.mark.parametrize(
    ("text", "allowance"),
    [("200/h", Allowance(200, 3600.0)), ("50/10m", Allowance(50, 600.0)), ("1000/d", Allowance(1000, 86_400.0))],
)
def test_records_and_a_time_are_read(text: str, allowance: Allowance) -> None:
    downloads = read(downloads={"records": text, "roles": {"auditor": "none", "billing": "9/m"}}).downloads
    assert downloads is not None
    assert downloads.rules.general == allowance
    assert downloads.rules.answer == "alert"
    assert downloads.rules.of_roles == {"auditor": None, "billing": Allowance(9, 60.0)}


@pytest.mark.parametrize("text", ["200", "0/h", "200/s", "-1/h", "1.5/h", 200, "200 / h"])
def test_what_is_no_number_of_records_is_refused(text: Any) -> None:
    assert "such as 200/h" in refusal(downloads={"records": text})


def test_more_records_than_can_be_told_apart_are_refused() -> None:
    assert "take a shorter time" in refusal(downloads={"records": "20001/d"})


def test_bounds_of_bodies_are_read() -> None:
    body = read(
        body={
            "max": "64KiB",
            "json": {"depth": 5, "duplicates": "refuse"},
            "xml": {"doctype": "allow", "name": "64B"},
            "form": {"fields": 7},
            "multipart": {"parts": 2},
            "decompress": {"max": "1MiB", "ratio": 20},
        }
    ).body
    assert body is not None
    limits = body.limits()
    assert (limits.most_bytes, limits.json.depth, limits.json.refuse_duplicates) == (65_536, 5, True)
    assert (limits.xml.allow_doctype, limits.xml.name_bytes, limits.form.fields) == (True, 64, 7)
    assert (limits.multipart.parts, limits.decompress_most_bytes, limits.decompress_ratio) == (2, 1 << 20, 20)


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"depth": 0}},
        {"json": {"depth": 513}},
        {"xml": {"entities": "allow"}},
        {"max": 0},
        {"decompress": {"ratio": "x"}},
    ],
)
def test_what_is_no_bound_is_refused(body: Any) -> None:
    assert refusal(body=body)
