from ipaddress import ip_network

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.session import Session
from gateway.exchange.step_up import Assurance, Factor, Lack, Requirement, assurance_of, proven_by

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


@pytest.mark.parametrize(
    ("factor", "amr", "mfa_time", "proven"),
    [
        (Factor.ANY, ("pwd", "otp", "mfa"), NOW, True),
        (Factor.ANY, ("pwd",), NOW, False),
        (Factor.ANY, ("pwd", "otp", "mfa"), 0.0, False),
        (Factor.TOTP, ("pwd", "otp", "mfa"), NOW, True),
        (Factor.TOTP, ("hwk", "user", "mfa"), NOW, False),
        (Factor.WEBAUTHN, ("hwk", "user", "mfa"), NOW, True),
        (Factor.WEBAUTHN, ("pwd", "otp", "mfa"), NOW, False),
        (Factor.WEBAUTHN, ("swk",), NOW, False),
    ],
)
def test_a_kind_of_factor_counts_where_it_was_proven(
    factor: Factor, amr: tuple[str, ...], mfa_time: float, *, proven: bool
) -> None:
    session = msgspec.structs.replace(SESSION, amr=amr, mfa_time=mfa_time)
    assert proven_by(session, factor) is proven
    assert Requirement(factor=factor).lack(session, NOW) is (None if proven else Lack.FACTOR)


@pytest.mark.parametrize(
    ("address", "refused"),
    [
        ("10.1.2.3", False),
        ("2001:db8::1", False),
        ("192.0.2.1", True),
        ("::ffff:192.0.2.1", True),
        ("", True),
        ("10.1.2.3.4", True),
        ("fe80::1%eth0", True),
    ],
)
def test_an_address_that_is_not_surely_in_a_network_is_refused(address: str, *, refused: bool) -> None:
    need = Requirement(networks=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")))
    assert need.refuses_address(address) is refused
    assert Requirement().refuses_address(address) is False


def test_a_device_that_is_not_known_is_refused_where_one_is_wanted() -> None:
    known = msgspec.structs.replace(SESSION, known_device=True)
    need = Requirement(known_device=True)
    assert (need.refuses_device(SESSION), need.refuses_device(known)) == (True, False)
    assert not Requirement().refuses_device(SESSION)
