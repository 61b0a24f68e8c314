"""What an account that was opened for an emergency can do, and that it ends by itself, wherever the rows are kept."""

from __future__ import annotations

import os

import msgspec
import pytest

from gateway.exchange.session import Owed, Session
from gateway.session.life import Lifetimes, confirmed, elevate
from gateway.store.keyring import Keyring
from gateway.store.records import User
from gateway.store.rows import Backend, Row
from gateway.store.state import Store
from gateway.store.tables import MARKS, USERS
from tests.contract.conftest import NOW
from tests.contract.test_api_keys import ALICE, alices
from tests.contract.test_store import added, session_of, signed_in

UNTIL = NOW + 1800


@pytest.fixture
def store(rows: Backend, keyring: Keyring) -> Store:
    return Store(rows, keyring)


def opened(store: Store, *, until: float = UNTIL) -> User:
    user = added(store)
    changed = store.change_user(user, msgspec.structs.replace(user, until=until), now=NOW)
    assert changed is not None
    return changed[0]


def stored(store: Store, row: bytes, now: float = NOW) -> Session | None:
    found = store.session(row, now)
    return found.session if found is not None else None


def test_a_session_ends_with_its_account_and_says_so(store: Store) -> None:
    row, session = signed_in(store, opened(store))
    assert session.expires > UNTIL
    found = stored(store, row)
    assert found is not None
    assert (found.expires, found.until) == (UNTIL, UNTIL)
    assert stored(store, row, UNTIL) is None


@pytest.mark.parametrize("owed", [Owed.MFA, Owed.DEVICE, Owed.ENROLMENT])
def test_a_session_that_grows_outlives_its_account_neither(store: Store, owed: Owed) -> None:
    """Attack: what is owed is paid, and the end is counted anew from the beginning."""
    row, session = signed_in(store, opened(store), owes=owed)
    grow = confirmed if owed is Owed.DEVICE else lambda s, **more: elevate(s, method="otp", **more)
    whole = grow(session, lifetimes=Lifetimes(), now=NOW + 60)
    assert whole.expires > UNTIL
    moved = os.urandom(32)
    assert store.rotate_session(row, moved, whole, keep=None, now=NOW + 60) == []
    found = stored(store, moved, NOW + 60)
    assert found is not None
    assert (found.expires, found.until) == (UNTIL, UNTIL)


def test_when_its_time_is_over_nobody_signs_in_and_no_session_grows(store: Store) -> None:
    user = opened(store)
    row, session = signed_in(store, user, owes=Owed.MFA)
    assert store.create_session(os.urandom(32), session_of(user), stamp=user.stamp, keep=None, now=UNTIL) is None
    assert store.rotate_session(row, os.urandom(32), session, keep=None, now=UNTIL) is None
    assert not store.take_room(row, os.urandom(32), session, keep=2, now=UNTIL)


def test_a_shorter_end_binds_a_session_that_grows_later(store: Store) -> None:
    user = opened(store)
    row, session = signed_in(store, user, owes=Owed.MFA)
    with_end = msgspec.structs.replace(user, until=NOW + 300)
    store.rows.transact(lambda tx: store.people.put_in(tx, with_end, now=NOW))
    whole = elevate(session, method="otp", lifetimes=Lifetimes(), now=NOW)
    moved = os.urandom(32)
    assert store.rotate_session(row, moved, whole, keep=None, now=NOW) == []
    found = stored(store, moved)
    assert found is not None
    assert found.expires == NOW + 300


def test_no_key_and_no_certificate_lends_what_would_outlive_the_emergency(store: Store) -> None:
    """Attack: a key that is made in the half hour."""
    assert store.add_user(ALICE, now=NOW)
    before = store.create_api_key(alices(), now=NOW)
    assert before is not None
    assert store.change_user(ALICE, msgspec.structs.replace(ALICE, until=UNTIL), now=NOW) is not None
    kept = store.api_keys.get(before[1].handle)
    assert kept is not None
    assert not kept.key.is_live(NOW)
    made = store.create_api_key(alices(), now=NOW)
    assert made is not None
    assert not made[1].is_live(NOW)
    assert store.people.is_disabled(ALICE.name, ALICE.tenant)


def test_an_account_of_every_day_has_no_end(store: Store) -> None:
    row, session = signed_in(store, added(store))
    found = stored(store, row)
    assert found is not None
    assert (found.expires, found.until) == (session.expires, 0.0)
    assert not store.people.is_disabled("alice", "acme")


def test_what_is_over_is_found_until_it_is_closed_and_what_is_open_is_not(store: Store) -> None:
    user = opened(store)
    assert store.emergencies.over(UNTIL - 1) == []
    assert store.emergencies.over(UNTIL) == [user]
    assert store.emergencies.over(UNTIL + 60) == [user]
    assert store.change_user(user, user.closed(), now=UNTIL) is not None
    assert store.emergencies.over(UNTIL + 120) == []
    assert store.emergencies.over(UNTIL + 180, everybody=True) == []


def test_an_account_that_is_opened_while_another_is_over_is_not_forgotten(store: Store) -> None:
    first = opened(store)
    assert store.change_user(first, first.closed(), now=UNTIL) is not None
    again = store.user(first.id)
    assert again is not None
    changed = store.change_user(again, msgspec.structs.replace(again, disabled=False, until=UNTIL + 600), now=UNTIL)
    assert changed is not None
    assert store.emergencies.over(UNTIL + 1) == []
    assert store.emergencies.over(UNTIL + 600) == [changed[0]]


def test_an_account_that_a_backup_brought_back_open_is_found_by_whoever_looks_at_all(
    store: Store, rows: Backend
) -> None:
    user = opened(store)
    rows.transact(lambda tx: tx.delete(MARKS, b"emergencies"))
    assert store.emergencies.over(UNTIL) == []
    assert store.emergencies.over(UNTIL, everybody=True) == [user]
    assert store.emergencies.over(UNTIL + 60) == [user], "it is known from then on"


def test_a_damaged_account_hides_no_other(store: Store, rows: Backend) -> None:
    user = opened(store)
    other = msgspec.structs.replace(user, id="u_other", name="other", until=0.0)
    assert store.add_user(other, now=NOW)
    row = rows.get(USERS, b"u_other")
    assert row is not None
    rows.transact(
        lambda tx: tx.put(USERS, msgspec.structs.replace(row, value=row.value[:-1] + bytes((row.value[-1] ^ 1,))))
    )
    assert store.emergencies.over(UNTIL) == [user]


def test_a_note_that_cannot_be_read_hides_nothing(store: Store, rows: Backend) -> None:
    user = opened(store)
    rows.transact(lambda tx: tx.put(MARKS, Row(id=b"emergencies", value=b"?")))
    assert store.emergencies.over(UNTIL) == [user]
