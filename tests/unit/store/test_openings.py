from __future__ import annotations

import os

import msgspec
import pytest

from gateway.exchange.reason import Reason
from gateway.exchange.session import Owed
from gateway.session.life import PENDING_S, Lifetimes
from gateway.session.token import row_of
from gateway.store.account_options import AccountOptions
from gateway.store.openings import Client, Openings, Refused, SignedIn
from gateway.store.records import Factor, User
from gateway.store.state import Store

NOW = 1_000_000.0
CLIENT = Client(ip="192.0.2.1", host="portal.example.com", secure=True, user_agent="Firefox")


@pytest.fixture
def openings(store: Store) -> Openings:
    return Openings(store, options=AccountOptions(issuer="x", lifetimes=Lifetimes(concurrent=2), mfa_always=True))


@pytest.fixture
def alice(add_user: object) -> User:
    assert callable(add_user)
    user = add_user()
    assert isinstance(user, User)
    return user


def opened(openings: Openings, user: User, **more: object) -> SignedIn:
    result = openings.open(user, **({"amr": ("pwd",), "client": CLIENT, "now": NOW} | more))  # type: ignore[arg-type]
    assert isinstance(result, SignedIn)
    return result


def test_what_the_provider_said_stands_in_the_session(openings: Openings, alice: User) -> None:
    session = opened(
        openings, alice, amr=("fed",), provider="corp", provider_session="sid", acr="gold", auth_time=NOW - 60
    ).session
    assert (session.amr, session.provider, session.provider_session, session.acr, session.auth_time) == (
        ("fed",),
        "corp",
        "sid",
        "gold",
        NOW - 60,
    )


def test_a_session_owes_what_was_not_proven(openings: Openings, store: Store, alice: User) -> None:
    assert opened(openings, alice).session.owes is Owed.ENROLMENT
    store.put_factor(alice.id, Factor(secret="A" * 16, created=NOW), [], now=NOW)
    first = opened(openings, alice).session
    assert (first.owes, first.expires) == (Owed.MFA, NOW + PENDING_S)
    whole = opened(openings, alice, amr=("hwk", "user"), second_factor_done=True).session
    assert (whole.owes, whole.mfa_time) == (Owed.NOTHING, NOW)


def test_an_account_that_changed_since_its_proof_was_checked_gets_no_session(
    openings: Openings, store: Store, alice: User
) -> None:
    assert store.change_user(alice, msgspec.structs.replace(alice, disabled=True), now=NOW) is not None
    result = openings.open(alice, amr=("pwd",), client=CLIENT, now=NOW)
    assert isinstance(result, Refused)
    assert result.reason is Reason.CREDENTIALS_REFUSED


def test_a_person_of_another_tenant_gets_no_session_on_the_host_of_one(openings: Openings, alice: User) -> None:
    client = msgspec.structs.replace(CLIENT, tenant="globex")
    result = openings.open(alice, amr=("pwd",), client=client, now=NOW)
    assert isinstance(result, Refused)
    assert (result.reason, result.events[0].reason) == (Reason.CREDENTIALS_REFUSED, Reason.TENANT_MISMATCH)


def test_the_session_of_the_cookie_that_came_along_ends(openings: Openings, alice: User) -> None:
    old = opened(openings, alice).token
    new = opened(openings, alice, replaces=old).token
    assert openings.live(old, CLIENT, NOW) is None
    assert openings.live(new, CLIENT, NOW) is not None


def test_elevation_rotates_and_the_oldest_beyond_the_cap_ends(openings: Openings, store: Store, alice: User) -> None:
    tokens, names = [], []
    for age in range(3):
        half = opened(openings, alice, now=NOW + age).token
        whole = openings.elevate(half, method="otp", client=CLIENT, now=NOW + age)
        assert isinstance(whole, SignedIn)
        assert openings.live(half, CLIENT, NOW + age) is None
        tokens.append(whole.token)
        names.extend(event.name for event in whole.events)
    assert [openings.live(token, CLIENT, NOW + 3) is not None for token in tokens] == [False, True, True]
    assert names.count("session.revoked") == 1
    assert len(store.sessions(now=NOW + 3)) == 2


def test_only_a_live_session_is_elevated(openings: Openings, alice: User) -> None:
    for token in (b"no token", os.urandom(47), openings.new_token()):
        result = openings.elevate(token, method="otp", client=CLIENT, now=NOW)
        assert isinstance(result, Refused)
        assert result.reason is Reason.SESSION_EXPIRED


@pytest.mark.parametrize("change", [{"host": "other.example.com"}, {"secure": False}, {"tenant": "globex"}])
def test_a_session_lives_only_where_it_was_made(openings: Openings, alice: User, change: dict[str, object]) -> None:
    token = opened(openings, alice).token
    assert openings.live(token, msgspec.structs.replace(CLIENT, **change), NOW) is None


@pytest.mark.parametrize(
    ("owes", "reason"), [(Owed.MFA, Reason.MFA_REQUIRED), (Owed.ENROLMENT, Reason.MFA_ENROLMENT_REQUIRED)]
)
def test_what_is_owed_is_said(openings: Openings, store: Store, alice: User, owes: Owed, reason: Reason) -> None:
    if owes is Owed.MFA:
        store.put_factor(alice.id, Factor(secret="A" * 16, created=NOW), [], now=NOW)
    token = opened(openings, alice).token
    result = openings.whole(token, CLIENT, NOW)
    assert isinstance(result, Refused)
    assert result.reason is reason
    whole = opened(openings, alice, second_factor_done=True).token
    stored = openings.whole(whole, CLIENT, NOW)
    assert not isinstance(stored, Refused)
    assert stored.row == row_of(whole)
