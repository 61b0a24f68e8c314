import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.session import Session
from gateway.exchange.step_up import Assurance, Lack, Requirement, assurance_of

NOW = 1_000_000.0
SESSION = Session(
    handle="s_1",
    user_id="u_1",
    user="alice",
    tenant="acme",
    roles=("client",),
    amr=("pwd", "otp", "mfa"),
    auth_time=NOW - 3600,
    mfa_time=NOW - 600,
    created=NOW - 3600,
    expires=NOW + 3600,
    idle_s=900,
    host="portal.example.com",
    secure=True,
)


@pytest.mark.parametrize(
    ("amr", "mfa_time", "expected"),
    [
        (("pwd",), 0.0, Assurance.AAL1),
        (("swk",), 0.0, Assurance.AAL1),
        (("pwd", "otp", "mfa"), NOW, Assurance.AAL2),
        (("pwd", "swk", "mfa"), NOW, Assurance.PHISHING_RESISTANT),
        (("hwk", "user", "mfa"), NOW, Assurance.PHISHING_RESISTANT),
        (("pwd",), NOW, Assurance.AAL1),
        (("pwd", "hwk", "mfa"), 0.0, Assurance.AAL1),
    ],
)
def test_the_rung_follows_from_what_was_proven(amr: tuple[str, ...], mfa_time: float, expected: Assurance) -> None:
    assert assurance_of(msgspec.structs.replace(SESSION, amr=amr, mfa_time=mfa_time)) is expected


def test_a_word_that_a_provider_sent_is_no_rung() -> None:
    assert assurance_of(msgspec.structs.replace(SESSION, acr="phr", amr=("pwd",))) is Assurance.AAL1


@pytest.mark.parametrize(
    ("need", "lack"),
    [
        (Requirement(), None),
        (Requirement(mfa_age_s=600), None),
        (Requirement(mfa_age_s=599), Lack.MFA_AGE),
        (Requirement(auth_age_s=3600), None),
        (Requirement(auth_age_s=3599), Lack.AUTH_AGE),
        (Requirement(acr=Assurance.AAL2), None),
        (Requirement(acr=Assurance.PHISHING_RESISTANT), Lack.ACR),
        (Requirement(acr=Assurance.PHISHING_RESISTANT, mfa_age_s=1), Lack.ACR),
        (Requirement(acr=Assurance.PHISHING_RESISTANT, auth_age_s=1), Lack.AUTH_AGE),
    ],
)
def test_what_a_session_lacks(need: Requirement, lack: Lack | None) -> None:
    assert need.lack(SESSION, NOW) is lack


def test_a_factor_that_was_never_proven_is_older_than_every_limit() -> None:
    session = msgspec.structs.replace(SESSION, mfa_time=0.0)
    assert Requirement(mfa_age_s=10 * 365 * 86_400.0).lack(session, 1_790_000_000.0) is Lack.MFA_AGE


def test_a_clock_that_was_set_back_refuses_nobody_who_just_proved_a_factor() -> None:
    assert Requirement(mfa_age_s=60).lack(msgspec.structs.replace(SESSION, mfa_time=NOW + 30), NOW) is None


@given(
    limit=st.floats(0, 1e6),
    tighter=st.floats(0, 1e6),
    age=st.floats(0, 1e6),
    acr=st.none() | st.sampled_from(Assurance),
)
def test_a_tighter_limit_never_lets_more_people_in(
    limit: float, tighter: float, age: float, acr: Assurance | None
) -> None:
    session = msgspec.structs.replace(SESSION, mfa_time=NOW - age)
    loose, tight = max(limit, tighter), min(limit, tighter)
    if Requirement(mfa_age_s=tight, acr=acr).lack(session, NOW) is None:
        assert Requirement(mfa_age_s=loose, acr=acr).lack(session, NOW) is None
