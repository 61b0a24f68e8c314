from __future__ import annotations

import json
from typing import Any

import pytest

from tools import audit_dependencies
from tools.audit_dependencies import Verdict, judge, main


def answer(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(dependencies), "fixes": []})


CLEAN = {"name": "click", "version": "8.5.1", "vulns": []}
SKIPPED = {"name": "segno", "skip_reason": "Dependency not found on PyPI and could not be audited: segno (1.6.6)"}
VULNERABLE = {
    "name": "jinja2",
    "version": "3.1.5",
    "vulns": [
        {"id": "GHSA-cpwx-vrp4-4pq7", "fix_versions": ["3.1.6"], "aliases": [], "description": "sandbox breakout"}
    ],
}


def test_dependencies_that_were_checked_without_finding_are_clean() -> None:
    report = judge(answer(CLEAN, CLEAN))
    assert (report.verdict, report.checked, report.findings) == (Verdict.CLEAN, 2, ())


def test_a_vulnerability_fails_and_names_the_fixed_release() -> None:
    report = judge(answer(CLEAN, VULNERABLE))
    assert report.verdict is Verdict.FAILED
    assert report.findings == (("jinja2 3.1.5", "GHSA-cpwx-vrp4-4pq7, fixed in 3.1.6"),)


def test_a_vulnerability_without_a_fix_still_fails() -> None:
    unfixed = VULNERABLE | {"vulns": [{"id": "PYSEC-1", "fix_versions": []}]}
    assert judge(answer(unfixed)).findings[0].text == "PYSEC-1, fixed in no release"


def test_a_vulnerability_among_skipped_dependencies_fails() -> None:
    assert judge(answer(SKIPPED, VULNERABLE)).verdict is Verdict.FAILED


def test_all_skipped_is_not_checked_and_not_clean() -> None:
    assert judge(answer(SKIPPED, SKIPPED)).verdict is Verdict.NOT_CHECKED


def test_some_skipped_fails_as_strict_demands() -> None:
    report = judge(answer(CLEAN, SKIPPED))
    assert (report.verdict, report.checked, len(report.findings)) == (Verdict.FAILED, 1, 1)


@pytest.mark.parametrize(
    "text",
    ["", "No known vulnerabilities found", "[]", "{}", '{"dependencies": null}', '{"dependencies": [{}]}', answer()],
)
def test_an_answer_that_says_nothing_is_not_checked(text: str) -> None:
    assert judge(text).verdict is Verdict.NOT_CHECKED


def test_silence_of_every_service_is_loud_and_not_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit_dependencies, "ask", lambda *_: "")
    assert main(["requirements/run.txt"]) == 3
    assert "NOT CHECKED: advisory service unreachable" in capsys.readouterr().out


def test_the_second_service_is_asked_when_the_first_is_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {"pypi": "", "osv": answer(VULNERABLE)}
    monkeypatch.setattr(audit_dependencies, "ask", lambda service, _: answers[service])
    assert main(["requirements/run.txt"]) == 1
    assert "GHSA-cpwx-vrp4-4pq7" in capsys.readouterr().out
