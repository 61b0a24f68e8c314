"""When a server is out, when an upstream is not asked, what may be sent twice. Time is a number here."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.edge.health import RETRY_RESERVE, Breaker, BreakerState, Health, RetryBudget, State
from gateway.edge.snapshot import BreakerRules, EjectionRules, HealthCheck

EJECTION = EjectionRules(failures=3, time_s=10.0, max_time_s=60.0, max_share=0.5)
CHECK = HealthCheck(
    path=b"/", host=b"", interval_s=5.0, timeout_s=1.0, healthy=2, unhealthy=3, statuses=frozenset((200,))
)
BREAKER = BreakerRules(ratio=0.5, requests=4, window_s=10.0, open_s=5.0)


def state(health: Health) -> State:
    return health.state


def failed(health: Health, times: int, now: float = 0.0, *, may_eject: bool = True) -> list[bool]:
    return [health.fail(now, EJECTION, may_eject=may_eject) for _ in range(times)]


def test_a_server_is_ejected_by_failures_in_a_row() -> None:
    health = Health()
    assert failed(health, 3) == [False, False, True]
    assert (health.state, health.until) == (State.EJECTED, 10.0)


def test_an_answer_between_failures_counts_them_from_the_beginning() -> None:
    health = Health()
    failed(health, 2)
    assert not health.succeed()
    assert failed(health, 2) == [False, False]


def test_without_rules_nothing_is_ejected() -> None:
    health = Health()
    assert not any(health.fail(0.0, None, may_eject=True) for _ in range(100))
    assert state(health) is State.IN


def test_a_server_that_may_not_be_ejected_stays_until_it_may() -> None:
    health = Health()
    assert failed(health, 5, may_eject=False) == [False] * 5
    assert failed(health, 1) == [True]


def test_an_ejection_ends_with_a_trial_that_one_answer_passes() -> None:
    health = Health()
    failed(health, 3)
    assert not health.elapse(9.9)
    assert health.elapse(10.0)
    assert state(health) is State.TRIAL
    assert health.succeed()
    assert state(health) is State.IN


def test_a_failed_trial_ejects_for_twice_as_long_up_to_a_limit_even_where_too_many_are_out() -> None:
    health, now, lengths = Health(), 0.0, []
    failed(health, 3)
    for _ in range(5):
        lengths.append(health.until - now)
        now = health.until
        health.elapse(now)
        assert failed(health, 1, now, may_eject=False) == [True]
    assert lengths == [10.0, 20.0, 40.0, 60.0, 60.0]


def test_a_server_that_was_in_for_long_is_ejected_for_the_shortest_time_again() -> None:
    health = Health()
    failed(health, 3)
    health.elapse(10.0)
    failed(health, 1, 10.0)
    health.elapse(30.0)
    health.succeed()
    failed(health, 3, 200.0)
    assert health.until == 210.0


def test_a_server_that_nobody_tries_is_in_again_and_out_by_its_first_failure() -> None:
    health = Health()
    failed(health, 3)
    health.elapse(10.0)
    assert not health.linger(19.9)
    assert health.linger(20.0)
    assert state(health) is State.IN
    assert failed(health, 1, 21.0) == [True]
    assert health.until == 41.0, "and for longer than before"


def test_an_answer_that_began_before_the_ejection_does_not_end_it() -> None:
    health = Health()
    failed(health, 3)
    assert not health.succeed()
    assert state(health) is State.EJECTED


def test_the_first_check_decides_alone() -> None:
    health = Health()
    assert health.check(CHECK, passed=False)
    assert state(health) is State.UNHEALTHY


def test_later_checks_decide_by_how_many_agree() -> None:
    health = Health()
    health.check(CHECK, passed=True)
    assert [health.check(CHECK, passed=False) for _ in range(3)] == [False, False, True]
    assert state(health) is State.UNHEALTHY
    assert [health.check(CHECK, passed=True) for _ in range(2)] == [False, True]
    assert state(health) is State.IN


def test_a_check_that_fails_in_between_counts_from_the_beginning() -> None:
    health = Health()
    health.check(CHECK, passed=True)
    for _ in range(10):
        assert not health.check(CHECK, passed=False)
        assert not health.check(CHECK, passed=False)
        assert not health.check(CHECK, passed=True)
    assert state(health) is State.IN


def test_checks_that_pass_bring_an_ejected_server_to_its_trial_early() -> None:
    health = Health()
    health.check(CHECK, passed=True)
    failed(health, 3)
    assert health.check(CHECK, passed=True)
    assert state(health) is State.TRIAL


def test_requests_do_not_bring_back_a_server_that_fails_its_checks() -> None:
    health = Health()
    health.check(CHECK, passed=False)
    assert not health.succeed()
    assert failed(health, 10) == [False] * 10
    assert not health.elapse(1e9)
    assert state(health) is State.UNHEALTHY


@given(st.lists(st.sampled_from(["fail", "succeed", "elapse", "pass", "miss"]), max_size=60))
def test_whatever_happens_a_server_can_always_come_back(events: list[str]) -> None:
    health, now = Health(), 0.0
    for event in events:
        now += 1.0
        match event:
            case "fail":
                health.fail(now, EJECTION, may_eject=True)
            case "succeed":
                health.succeed()
            case "elapse":
                health.elapse(now)
            case _:
                health.check(CHECK, passed=event == "pass")
        assert health.until <= now + EJECTION.max_time_s
    for _ in range(CHECK.healthy):
        health.check(CHECK, passed=True)
    health.elapse(now + EJECTION.max_time_s)
    health.succeed()
    assert state(health) is State.IN


def test_the_breaker_opens_when_too_many_of_enough_requests_fail() -> None:
    breaker = Breaker(BREAKER)
    for _ in range(3):
        assert breaker.admit(1.0) == 0.0
    assert not breaker.fail(1.0)
    assert not breaker.fail(1.0), "three requests say nothing yet"
    assert breaker.admit(1.0) == 0.0
    assert breaker.fail(1.0)
    assert breaker.state is BreakerState.OPEN
    assert breaker.admit(2.0) == 4.0


def test_the_breaker_stays_closed_below_its_ratio_and_forgets_an_old_window() -> None:
    breaker = Breaker(BREAKER)
    for _ in range(10):
        breaker.admit(1.0)
    assert not any(breaker.fail(1.0) for _ in range(4))
    breaker.admit(20.0)
    assert not breaker.fail(20.0)


def test_an_open_breaker_lets_one_request_at_a_time_try() -> None:
    breaker = opened()
    assert breaker.admit(6.0) == 0.0
    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.admit(7.0) == 4.0
    assert breaker.admit(11.0) == 0.0, "the first was never heard of again"


def test_a_trial_closes_the_breaker_or_opens_it_again() -> None:
    breaker = opened()
    breaker.admit(6.0)
    assert breaker.fail(6.5)
    assert breaker.admit(7.0) == 4.5
    breaker.admit(12.0)
    assert breaker.succeed(12.5)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.admit(12.6) == 0.0
    assert not breaker.fail(12.6), "what was counted before is over"


def test_an_answer_that_comes_late_does_not_close_an_open_breaker() -> None:
    breaker = opened()
    assert not breaker.succeed(2.0)
    assert breaker.state is BreakerState.OPEN


def opened() -> Breaker:
    breaker = Breaker(BREAKER)
    for _ in range(4):
        breaker.admit(1.0)
    assert [breaker.fail(1.0), breaker.fail(1.0)] == [False, True]
    return breaker


def test_a_quiet_upstream_may_send_its_reserve_twice_and_no_more() -> None:
    budget = RetryBudget(0.2)
    budget.roll(0, 100.0)
    assert sum(budget.take(0) for _ in range(1000)) == RETRY_RESERVE


def test_the_budget_grows_with_what_was_answered_in_two_windows() -> None:
    budget = RetryBudget(0.2)
    budget.roll(0, 100.0)
    budget.roll(1000, 110.0)
    assert sum(budget.take(2000) for _ in range(5000)) == RETRY_RESERVE + 400


def test_an_upstream_that_answers_nothing_gets_no_more_than_the_reserve_in_each_window() -> None:
    """attack: requests that make servers hang up must not multiply the load."""
    budget = RetryBudget(0.2)
    sent = 0
    for tick in range(400):
        budget.roll(0, 100.0 + tick * 0.25)
        sent += sum(budget.take(0) for _ in range(50))
    assert sent == 10 * RETRY_RESERVE
