"""Verdicts about the parts of one request."""

from gateway.inspection.finding import Finding, Position
from gateway.inspection.verdict import CLEAN, MAX_FINDINGS, Verdict


def finding(score: int) -> Finding:
    return Finding("sql-quote", "sqli", score, Position.QUERY, "q", "0" * 16, 0, 1, "as sent")


def test_joined_verdicts_keep_the_worse_of_each() -> None:
    head = Verdict(5, (finding(5),), is_blocked=True)
    body = Verdict(3, (finding(3),), is_detected=True, is_truncated=True)
    for joined in (head.merge(body), body.merge(head)):
        assert (joined.score, joined.is_blocked, joined.is_detected, joined.is_truncated) == (5, True, True, True)
        assert [found.score for found in joined.findings] == [5, 3]


def test_a_clean_part_changes_nothing() -> None:
    verdict = Verdict(5, (finding(5),), is_blocked=True)
    assert verdict.merge(CLEAN) is verdict
    assert CLEAN.merge(verdict) is verdict


def test_joined_findings_are_capped_and_the_gravest_stay() -> None:
    many = Verdict(3, (finding(3),) * MAX_FINDINGS)
    joined = many.merge(Verdict(5, (finding(5),)))
    assert (len(joined.findings), joined.findings[0].score, joined.is_truncated) == (MAX_FINDINGS, 5, True)
