import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.session import Owed, Session
from gateway.exchange.step_up import Assurance, Lack, Requirement
from gateway.session.life import PENDING_S, Lifetimes, elevate, is_bound_to, left, start, surplus

LIVES = Lifetimes(idle_s=900, absolute_s=8 * 3600)


def begin(owes: Owed = Owed.MFA, *, now: float = 1000.0, lifetimes: Lifetimes = LIVES) -> Session:
    return start(
        handle="s_1",
        user_id="u_1",
        user="alice",
        tenant="acme",
        roles=["client", "billing"],
        email="alice@example.com",
        owes=owes,
        lifetimes=lifetimes,
        host="portal.example.com",
        secure=True,
        client_ip="192.0.2.1",
        user_agent="x" * 1000,
        now=now,
    )


def test_a_session_that_owes_a_factor_lives_ten_minutes() -> None:
    session = begin(Owed.MFA)
    assert session.expires == 1000 + PENDING_S
    assert (session.amr, session.mfa_time, len(session.user_agent)) == (("pwd",), 0, 256)


def test_a_pending_session_never_outlives_a_short_absolute_limit() -> None:
    assert begin(Owed.ENROLMENT, lifetimes=Lifetimes(absolute_s=60)).expires == 1060


def test_a_session_that_owes_nothing_lives_its_absolute_time() -> None:
    assert begin(Owed.NOTHING).expires == 1000 + 8 * 3600


def test_the_second_factor_makes_a_session_whole_and_counts_from_the_password() -> None:
    whole = elevate(begin(), method="otp", lifetimes=LIVES, now=1100)
    assert (whole.owes, whole.amr, whole.mfa_time) == (Owed.NOTHING, ("pwd", "otp", "mfa"), 1100)
    assert whole.expires == 1000 + 8 * 3600


@given(st.lists(st.floats(min_value=1000, max_value=29_000), max_size=8))
def test_no_number_of_step_ups_lengthens_a_session(times: list[float]) -> None:
    session = begin()
    for now in sorted(times):
        session = elevate(session, method="otp", lifetimes=LIVES, now=now)
        assert session.expires == 1000 + 8 * 3600
        assert session.amr == ("pwd", "otp", "mfa")


def test_a_session_ends_at_its_absolute_time_and_after_silence() -> None:
    session = elevate(begin(), method="otp", lifetimes=LIVES, now=1000)
    assert not session.is_expired(1000 + 899, 1000)
    assert session.is_expired(1000 + 900, 1000)
    assert session.is_expired(session.expires, session.expires - 1)


@pytest.mark.parametrize(
    ("host", "secure", "accepted"),
    [("portal.example.com", True, True), ("other.example.com", True, False), ("portal.example.com", False, False)],
)
def test_a_session_is_bound_to_its_host_and_to_tls(host: str, *, secure: bool, accepted: bool) -> None:
    assert is_bound_to(begin(), host=host, secure=secure) is accepted


def test_a_plain_http_session_is_never_accepted_over_tls() -> None:
    session = msgspec.structs.replace(begin(), secure=False)
    assert not is_bound_to(session, host=session.host, secure=True)


def test_the_oldest_sessions_are_surplus() -> None:
    ages = [(3.0, "c"), (1.0, "a"), (2.0, "b")]
    assert surplus(ages, 2) == ["a"]
    assert surplus(ages, 0) == ["c", "b", "a"]
    assert surplus(ages, 3) == []
    assert surplus(ages, None) == []


def test_milder_rules_do_not_lengthen_a_session_that_is_whole() -> None:
    whole = elevate(begin(), method="otp", lifetimes=LIVES, now=1100)
    milder = elevate(whole, method="otp", lifetimes=Lifetimes(absolute_s=90 * 3600), now=1200)
    assert milder.expires == whole.expires


def test_stricter_rules_shorten_a_session_at_its_next_step_up() -> None:
    whole = elevate(begin(), method="otp", lifetimes=LIVES, now=1100)
    assert elevate(whole, method="otp", lifetimes=Lifetimes(absolute_s=600), now=1200).expires == 1600


def test_a_clock_that_steps_back_lengthens_nothing_and_no_time_left_is_negative() -> None:
    session = begin(Owed.NOTHING, now=1000)
    assert elevate(session, method="otp", lifetimes=LIVES, now=10).expires == session.expires
    assert left(session, seen=1000, now=1100) == (800, 8 * 3600 - 100)
    assert left(session, seen=1000, now=99_999) == (0, 0)


def test_a_provider_that_saw_the_person_in_the_future_saw_them_now() -> None:
    session = start(
        handle="s_1", user_id="u_1", user="alice", tenant="acme", roles=[], email="", owes=Owed.NOTHING, lifetimes=LIVES, host="h",
        secure=True, client_ip="", user_agent="", now=1000.0, amr=("pwd", "mfa"), auth_time=9e9, provider="okta", acr="aal2",
    )  # fmt: skip
    assert (session.auth_time, session.amr, session.provider, session.acr) == (1000.0, ("pwd", "mfa"), "okta", "aal2")
    assert session.expires == 1000 + 8 * 3600


def test_a_code_given_after_a_passkey_leaves_nothing_that_resists_phishing() -> None:
    """attack: a stolen session that a passkey began, and a phished code that makes its second factor young."""
    strong = elevate(begin(), method="hwk", lifetimes=LIVES, now=1100)
    need = Requirement(acr=Assurance.PHISHING_RESISTANT, mfa_age_s=60)
    assert need.lack(strong, 1160) is None
    assert need.lack(strong, 1161) is Lack.MFA_AGE
    with_code = elevate(strong, method="otp", lifetimes=LIVES, now=1200)
    assert with_code.amr == ("pwd", "mfa", "otp")
    assert need.lack(with_code, 1200) is Lack.ACR
    assert need.lack(elevate(with_code, method="hwk", lifetimes=LIVES, now=1210), 1210) is None
