"""What is done about a sighting depends on the direction and on who asks."""

from __future__ import annotations

import pytest

from gateway.inspection.leak.rules import Choice, is_strict
from gateway.inspection.leak.sighting import Action, Report

CHOICE = Choice(
    general={"cards": Action.MASK, "secrets": Action.BLOCK, "iban": Action.ALLOW},
    of_roles={
        "billing": {"cards": Action.ALLOW},
        "support": {"cards": Action.ALERT, "secrets": Action.MASK},
        "guest": {"cards": Action.BLOCK, "iban": Action.MASK},
    },
)


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ((), {"cards": Action.MASK, "secrets": Action.BLOCK}),
        (("client",), {"cards": Action.MASK, "secrets": Action.BLOCK}),
        (("billing",), {"secrets": Action.BLOCK}),
        (("support",), {"cards": Action.ALERT, "secrets": Action.MASK}),
        (("billing", "support"), {"secrets": Action.MASK}),
        (("guest", "support"), {"cards": Action.ALERT, "secrets": Action.MASK, "iban": Action.MASK}),
        (("guest",), {"cards": Action.BLOCK, "secrets": Action.BLOCK, "iban": Action.MASK}),
    ],
)
def test_of_several_roles_the_one_that_lets_most_pass_counts(
    roles: tuple[str, ...], expected: dict[str, Action]
) -> None:
    assert CHOICE.actions_for(roles) == expected


def test_what_is_only_recorded_or_allowed_is_not_strict() -> None:
    assert is_strict({"cards": Action.ALERT, "secrets": Action.MASK})
    assert not is_strict({"cards": Action.ALERT})
    assert not Choice(general={"cards": Action.ALERT}).is_strict
    assert Choice(of_roles={"guest": {"cards": Action.BLOCK}}).is_strict
    assert Choice(general={"cards": Action.ALLOW}).is_empty
    assert not Choice(of_roles={"guest": {"cards": Action.ALERT}}).is_empty


def test_a_report_keeps_a_bounded_number_of_digests() -> None:
    report = Report()
    for n in range(50):
        report.note("cards", Action.MASK, f"{n:016x}")
    (told,) = report.as_record()
    assert told["count"] == 50
    assert told["digests"] == [f"{n:016x}" for n in range(8)]
    assert not report.is_blocked
