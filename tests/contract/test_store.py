"""What the gateway's state must do, wherever its rows are kept."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from gateway.authn.throttle import ACCOUNT, FACTOR, Throttle
from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.session import Owed, Session
from gateway.exchange.subject import SubjectKey
from gateway.session.life import Lifetimes, elevate, start
from gateway.session.token import make_handle, make_token, row_of
from gateway.store.keyring import SEAL_LEAD_S, Keyring
from gateway.store.records import Factor, PendingFactor, User
from gateway.store.state import Store
from tests.contract.conftest import NOW, OpenRows, write_seen

Opener = Callable[[], Store]


@pytest.fixture
def another(open_rows: OpenRows, keyring: Keyring) -> Opener:
    """Open one more connection to the same state, as another process would."""
    return lambda: Store(open_rows(), keyring)


@pytest.fixture
def store(another: Opener) -> Store:
    return another()


def user_named(name: str, *, tenant: str = "acme") -> User:
    return User(
        id=f"u_{name}",
        stamp="first",
        name=name,
        tenant=tenant,
        roles=("client",),
        password="hash",
        password_changed=NOW,
        created=NOW,
    )


def added(store: Store, name: str = "alice", *, tenant: str = "acme") -> User:
    user = user_named(name, tenant=tenant)
    assert store.add_user(user, now=NOW)
    return user


SUBJECT = SubjectKey(b"t" * 16, b"k" * 32)


def session_of(user: User, *, now: float = NOW, owes: Owed = Owed.NOTHING) -> Session:
    begun = start(
        handle=make_handle(os.urandom(16)),
        user_id=user.id,
        user=user.name,
        tenant=user.tenant,
        roles=user.roles,
        email="",
        owes=owes,
        lifetimes=Lifetimes(),
        host="portal.example.com",
        secure=True,
        client_ip="192.0.2.1",
        user_agent="Firefox",
        now=now,
    )
    return msgspec.structs.replace(begun, subject=SUBJECT)


def signed_in(
    store: Store, user: User, *, now: float = NOW, keep: int | None = None, owes: Owed = Owed.NOTHING
) -> tuple[bytes, Session]:
    row, session = os.urandom(32), session_of(user, now=now, owes=owes)
    assert store.create_session(row, session, stamp=user.stamp, keep=keep, now=now) is not None
    return row, session


def handles(store: Store, user: User, now: float = NOW) -> list[str]:
    return [stored.session.handle for stored in store.sessions(now=now, user_id=user.id)]


# Users


def test_a_user_is_found_by_name_and_id_and_by_nothing_else(store: Store) -> None:
    user = added(store)
    assert store.user_named("alice") == store.user(user.id) == user
    assert store.user_named("bob") is None
    assert store.user("u_bob") is None


def test_a_name_belongs_to_one_account_whatever_the_tenant(store: Store) -> None:
    added(store)
    twin = msgspec.structs.replace(user_named("alice", tenant="globex"), id="u_other")
    assert not store.add_user(twin, now=NOW)
    assert store.user("u_other") is None


def test_users_are_listed_by_name_and_by_tenant(store: Store) -> None:
    for name, tenant in (("carol", "acme"), ("alice", "globex"), ("bob", "acme")):
        added(store, name, tenant=tenant)
    assert [user.name for user in store.users()] == ["alice", "bob", "carol"]
    assert [user.name for user in store.users(tenant="acme")] == ["bob", "carol"]
    assert store.users(tenant="nobody") == []


def test_a_change_is_made_once_on_the_account_as_it_was_read(store: Store) -> None:
    user = added(store)
    first = store.change_user(user, msgspec.structs.replace(user, email="a@example.com"), now=NOW)
    assert first is not None
    assert first[0].stamp != user.stamp
    assert store.change_user(user, msgspec.structs.replace(user, email="b@example.com"), now=NOW) is None
    current = store.user(user.id)
    assert current is not None
    assert current.email == "a@example.com"


def test_the_name_and_id_of_an_account_never_change(store: Store) -> None:
    user = added(store)
    changed = store.change_user(user, msgspec.structs.replace(user, id="u_x", name="mallory"), now=NOW)
    assert changed is not None
    assert (changed[0].id, changed[0].name) == (user.id, "alice")
    assert store.user_named("mallory") is None


def test_rehashing_keeps_sessions_and_loses_against_a_password_change(store: Store) -> None:
    user = added(store)
    row, _ = signed_in(store, user)
    assert store.rehash(user.id, old="hash", new="stronger", now=NOW)
    assert not store.rehash(user.id, old="hash", new="weaker", now=NOW)
    assert store.session(row, NOW) is not None
    assert store.create_session(os.urandom(32), session_of(user), stamp=user.stamp, keep=None, now=NOW) is not None
    current = store.user(user.id)
    assert current is not None
    assert current.password == "stronger"


@pytest.mark.parametrize("act", ["disable", "reset", "delete"])
def test_disable_reset_and_delete_end_every_session_of_the_person_at_once(store: Store, act: str) -> None:
    user, other = added(store), added(store, "bob")
    rows = [signed_in(store, user)[0] for _ in range(3)]
    kept, _ = signed_in(store, other)
    store.put_factor(user.id, Factor(secret="A" * 16, created=NOW), [b"code"], now=NOW)
    match act:
        case "disable":
            changed = store.change_user(user, msgspec.structs.replace(user, disabled=True), now=NOW)
            assert changed is not None
            assert changed[1] == 3
            assert store.factor(user.id) is not None
        case "reset":
            changed = store.reset_user(user, msgspec.structs.replace(user, password="new"), factor=None, now=NOW)
            assert changed is not None
            assert changed[1] == 3
            assert (store.factor(user.id), store.count_recovery(user.id)) == (None, 0)
        case _:
            assert store.delete_user(user.id) == 3
            assert (store.user(user.id), store.user_named("alice"), store.factor(user.id)) == (None, None, None)
            assert store.delete_user(user.id) is None
    assert all(store.session(row, NOW) is None for row in rows)
    assert store.session(kept, NOW) is not None


def test_a_deleted_name_can_be_given_again(store: Store) -> None:
    user = added(store)
    store.delete_user(user.id)
    assert store.add_user(msgspec.structs.replace(user, id="u_new"), now=NOW)


# Sessions


def test_a_session_is_what_was_stored(store: Store) -> None:
    user = added(store)
    row, session = signed_in(store, user)
    stored = store.session(row, NOW)
    assert stored is not None
    assert (stored.session, stored.seen, stored.row) == (session, NOW, row)
    assert store.session(os.urandom(32), NOW) is None
    current = store.user(user.id)
    assert current is not None
    assert current.last_sign_in == NOW


def test_a_session_is_over_at_its_end_and_after_silence(store: Store) -> None:
    row, session = signed_in(store, added(store))
    assert store.session(row, NOW + 899) is not None
    assert store.session(row, NOW + 900) is None
    write_seen(store)([(session.expires - 1, row, session)])
    assert store.session(row, session.expires - 0.5) is not None
    assert store.session(row, session.expires) is None


def test_last_seen_never_goes_back(store: Store) -> None:
    row, session = signed_in(store, added(store))
    write = write_seen(store)
    write([(NOW + 50, row, session), (NOW + 40, row, session), (NOW + 45, os.urandom(32), session)])
    assert len(store.sessions(now=NOW)) == 1, "an id that there is not does not come to be"
    stored = store.session(row, NOW + 50)
    assert stored is not None
    assert stored.seen == NOW + 50


def test_no_session_starts_for_an_account_that_changed_while_its_password_was_checked(store: Store) -> None:
    user = added(store)
    store.change_user(user, user, now=NOW)
    assert store.create_session(os.urandom(32), session_of(user), stamp=user.stamp, keep=None, now=NOW) is None
    assert handles(store, user) == []


def test_a_disabled_account_is_known_by_its_name_and_tenant(store: Store) -> None:
    user = added(store)
    assert not store.is_disabled(user.name, user.tenant)
    assert store.change_user(user, msgspec.structs.replace(user, disabled=True), now=NOW) is not None
    assert store.is_disabled(user.name, user.tenant)
    assert not store.is_disabled(user.name, "another")
    assert not store.is_disabled("nobody", user.tenant)


def test_no_session_starts_for_a_disabled_or_deleted_account(store: Store) -> None:
    user = added(store)
    changed = store.change_user(user, msgspec.structs.replace(user, disabled=True), now=NOW)
    assert changed is not None
    assert store.create_session(os.urandom(32), session_of(user), stamp=changed[0].stamp, keep=None, now=NOW) is None
    store.delete_user(user.id)
    assert store.create_session(os.urandom(32), session_of(user), stamp=changed[0].stamp, keep=None, now=NOW) is None


def test_rotation_moves_the_session_and_the_old_row_is_gone(store: Store) -> None:
    user = added(store)
    old, session = signed_in(store, user, owes=Owed.MFA)
    new = os.urandom(32)
    whole = elevate(session, method="otp", lifetimes=Lifetimes(), now=NOW + 5)
    assert store.rotate_session(old, new, whole, keep=None, now=NOW + 5) == []
    assert store.session(old, NOW + 5) is None
    stored = store.session(new, NOW + 5)
    assert stored is not None
    assert stored.session == whole
    assert handles(store, user, NOW + 5) == [session.handle]


def test_a_session_that_ended_cannot_be_rotated_back_to_life(store: Store) -> None:
    user = added(store)
    old, session = signed_in(store, user)
    store.end_session(old)
    assert store.rotate_session(old, os.urandom(32), session, keep=None, now=NOW) is None
    assert handles(store, user) == []


def test_a_rotation_under_another_handle_is_refused_and_changes_nothing(store: Store) -> None:
    user = added(store)
    row, session = signed_in(store, user)
    other = msgspec.structs.replace(session, handle=make_handle(os.urandom(16)))
    assert store.rotate_session(row, os.urandom(32), other, keep=None, now=NOW) is None
    assert store.session(row, NOW) is not None


def test_the_session_that_a_sign_in_replaces_ends_with_it(store: Store) -> None:
    user = added(store)
    old, session = signed_in(store, user)
    ended = store.create_session(os.urandom(32), session_of(user), stamp=user.stamp, keep=None, now=NOW, replaces=old)
    assert ended == [session.handle]
    assert store.session(old, NOW) is None


def test_one_more_than_the_cap_ends_the_oldest(store: Store) -> None:
    user = added(store)
    made = [signed_in(store, user, now=NOW + age)[1].handle for age in range(5)]
    ended = store.create_session(os.urandom(32), session_of(user, now=NOW + 9), stamp=user.stamp, keep=5, now=NOW + 9)
    assert ended == [made[0]]
    assert len(handles(store, user, NOW + 9)) == 5


def test_the_newest_session_is_never_the_one_that_ends(store: Store) -> None:
    user = added(store)
    signed_in(store, user, now=NOW + 100)  # a clock that was set back since
    row, _ = signed_in(store, user, now=NOW, keep=1)
    assert store.session(row, NOW) is not None
    assert len(handles(store, user)) == 1


def test_a_password_alone_pushes_no_whole_session_out(store: Store) -> None:
    """Pending sessions are counted apart: who has only a stolen password cannot sign the owner out."""
    user = added(store)
    whole, _ = signed_in(store, user, keep=1)
    for age in range(4):
        signed_in(store, user, now=NOW + age, keep=1, owes=Owed.MFA)
    assert store.session(whole, NOW) is not None
    assert len(handles(store, user, NOW + 4)) == 2


def test_sessions_end_by_handle_only_for_their_owner(store: Store) -> None:
    user, other = added(store), added(store, "bob")
    row, session = signed_in(store, user)
    assert store.end_handle(session.handle, user_id=other.id) == []
    assert store.session(row, NOW) is not None
    assert [stored.session.handle for stored in store.end_handle(session.handle, user_id=user.id)] == [session.handle]
    assert store.session(row, NOW) is None
    assert store.end_handle(session.handle) == []


def test_sessions_end_by_person_tenant_and_all(store: Store) -> None:
    alice, bob, carol = added(store), added(store, "bob"), added(store, "carol", tenant="globex")
    for user in (alice, alice, bob, carol):
        signed_in(store, user)
    assert store.end_user(alice.id) == 2
    assert store.end_tenant("acme") == 1
    assert len(store.sessions(now=NOW)) == 1
    assert store.end_all() == 1
    assert store.end_all() == 0


def test_every_session_but_one_ends(store: Store) -> None:
    user = added(store)
    kept, _ = signed_in(store, user)
    for _ in range(3):
        signed_in(store, user)
    assert store.end_user(user.id, but=kept) == 3
    assert store.session(kept, NOW) is not None


def test_lists_are_newest_first_and_hold_no_session_that_is_over(store: Store) -> None:
    user = added(store)
    old = signed_in(store, user, now=NOW)[1].handle
    new = signed_in(store, user, now=NOW + 800)[1].handle
    assert handles(store, user, NOW + 850) == [new, old]
    assert handles(store, user, NOW + 1000) == [new]
    assert [stored.session.handle for stored in store.sessions(now=NOW + 850, tenant="acme")] == [new, old]
    assert store.sessions(now=NOW + 850, tenant="globex") == []


def test_a_password_change_moves_this_session_and_ends_the_others(store: Store) -> None:
    user = added(store)
    row, session = signed_in(store, user)
    others = [signed_in(store, user)[0] for _ in range(2)]
    to = os.urandom(32)
    new = msgspec.structs.replace(user, password="other")
    changed = store.change_password(user, new, row=row, to=to, session=session, now=NOW)
    assert changed is not None
    assert changed[1] == 2
    assert store.session(to, NOW) is not None
    assert all(store.session(gone, NOW) is None for gone in (row, *others))


def test_a_password_change_on_a_changed_account_or_an_ended_session_changes_nothing(store: Store) -> None:
    user = added(store)
    row, session = signed_in(store, user)
    new = msgspec.structs.replace(user, password="other")
    assert store.change_password(user, new, row=os.urandom(32), to=os.urandom(32), session=session, now=NOW) is None
    assert store.user(user.id) == msgspec.structs.replace(user, last_sign_in=NOW)
    stale = msgspec.structs.replace(user, stamp="stale")
    assert store.change_password(stale, new, row=row, to=os.urandom(32), session=session, now=NOW) is None
    assert store.session(row, NOW) is not None


# No stale session


@pytest.mark.parametrize("way", ["row", "handle", "user", "tenant", "all", "delete", "rotate"])
def test_however_a_session_ends_no_other_process_serves_it_once_more(another: Opener, way: str) -> None:
    writer, reader = another(), another()
    user = added(writer)
    token = make_token(os.urandom(32))
    row, session = row_of(token), session_of(user)
    assert writer.create_session(row, session, stamp=user.stamp, keep=None, now=NOW) is not None
    assert reader.session(row, NOW) is not None
    match way:
        case "row":
            writer.end_session(row)
        case "handle":
            writer.end_handle(session.handle)
        case "user":
            writer.end_user(user.id)
        case "tenant":
            writer.end_tenant(user.tenant)
        case "all":
            writer.end_all()
        case "delete":
            writer.delete_user(user.id)
        case _:
            writer.rotate_session(row, bytes(32), session, keep=None, now=NOW)
    assert reader.session(row, NOW) is None
    assert session.handle not in [stored.session.handle for stored in reader.sessions(now=NOW) if stored.row == row]


def test_reading_a_session_while_others_write_always_gives_the_committed_state(another: Opener) -> None:
    writer, reader = another(), another()
    user = added(writer)
    for _ in range(50):
        row, _session = signed_in(writer, user)
        assert reader.session(row, NOW) is not None
        writer.end_session(row)
        assert reader.session(row, NOW) is None


# Factors


def test_a_factor_keeps_its_last_step_apart_from_its_secret(store: Store) -> None:
    user = added(store)
    assert store.factor(user.id) is None
    store.put_factor(user.id, Factor(secret="A" * 16, created=NOW, last_step=7), [], now=NOW)
    assert store.advance_step(user.id, after=7, step=9, now=NOW)
    assert store.factor(user.id) == Factor(secret="A" * 16, created=NOW, last_step=9)


def test_a_step_is_taken_once_and_never_backwards(store: Store) -> None:
    user = added(store)
    store.put_factor(user.id, Factor(secret="A" * 16, created=NOW), [], now=NOW)
    assert store.advance_step(user.id, after=0, step=5, now=NOW)
    assert not store.advance_step(user.id, after=0, step=5, now=NOW)
    assert not store.advance_step(user.id, after=5, step=5, now=NOW)
    assert not store.advance_step(user.id, after=5, step=4, now=NOW)
    assert not store.advance_step("u_nobody", after=0, step=5, now=NOW)


def test_of_many_requests_with_the_same_code_exactly_one_wins(another: Opener) -> None:
    user = added(another())
    another().put_factor(user.id, Factor(secret="A" * 16, created=NOW), [b"code"], now=NOW)
    stores = [another() for _ in range(6)]
    barrier = threading.Barrier(len(stores))

    def race(store: Store) -> tuple[bool, bool]:
        barrier.wait(10)
        return patiently(lambda: store.advance_step(user.id, after=0, step=5, now=NOW)), patiently(
            lambda: store.use_recovery(user.id, b"code", now=NOW)
        )

    with ThreadPoolExecutor(len(stores)) as pool:
        won = list(pool.map(race, stores))
    assert [sum(column) for column in zip(*won, strict=True)] == [1, 1]


def patiently(act: Callable[[], bool]) -> bool:
    """Try again while others hold the lock: a busy store is an error, not an answer."""
    for _ in range(40):
        try:
            return act()
        except StoreUnavailableError:
            continue
    raise AssertionError("never free")


def test_recovery_codes_are_spent_once_and_voided_by_new_ones(store: Store) -> None:
    user = added(store)
    assert not store.replace_recovery(user.id, [b"one"], now=NOW)
    store.put_factor(user.id, Factor(secret="A" * 16, created=NOW), [b"one", b"two"], now=NOW)
    assert store.count_recovery(user.id) == 2
    assert store.use_recovery(user.id, b"one", now=NOW)
    assert not store.use_recovery(user.id, b"one", now=NOW)
    assert not store.use_recovery("u_other", b"two", now=NOW)
    assert store.replace_recovery(user.id, [b"three"], now=NOW)
    assert not store.use_recovery(user.id, b"two", now=NOW)
    assert store.count_recovery(user.id) == 1


def test_an_enrolment_belongs_to_one_session_and_ends_after_its_time(store: Store) -> None:
    user = added(store)
    _, session = signed_in(store, user, owes=Owed.ENROLMENT)
    pending = PendingFactor(user_id=user.id, secret="A" * 16, expires=NOW + 600, replacing=False)
    store.put_enrolment(session.handle, pending, now=NOW)
    assert store.enrolment(session.handle, now=NOW) == pending
    assert store.enrolment(make_handle(bytes(16)), now=NOW) is None
    assert store.enrolment(session.handle, now=NOW + 600) is None


def enrolling(store: Store, user: User, *, replacing: bool = False) -> tuple[bytes, Session, PendingFactor]:
    row, session = signed_in(store, user, owes=Owed.ENROLMENT)
    pending = PendingFactor(user_id=user.id, secret="B" * 16, expires=NOW + 600, replacing=replacing)
    store.put_enrolment(session.handle, pending, now=NOW)
    return row, elevate(session, method="otp", lifetimes=Lifetimes(), now=NOW), pending


def activated(store: Store, row: bytes, session: Session, pending: PendingFactor) -> int | None:
    to = os.urandom(32)
    return store.activate(pending, step=3, recovery=[b"r"], row=row, to=to, session=session, now=NOW)


def test_activation_sets_the_factor_moves_the_session_and_ends_the_others(store: Store) -> None:
    user = added(store)
    row, session, pending = enrolling(store, user)
    signed_in(store, user)
    assert activated(store, row, session, pending) == 1
    assert store.factor(user.id) == Factor(secret="B" * 16, created=NOW, last_step=3)
    assert store.count_recovery(user.id) == 1
    assert store.session(row, NOW) is None
    assert handles(store, user) == [session.handle]
    assert store.enrolment(session.handle, now=NOW) is None


def test_the_second_of_two_enrolments_loses(store: Store) -> None:
    user = added(store)
    first, second = enrolling(store, user), enrolling(store, user)
    assert activated(store, *first) == 1
    assert activated(store, *second) is None
    factor = store.factor(user.id)
    assert factor is not None


def test_a_factor_that_appeared_meanwhile_is_not_replaced_by_an_enrolment_without_its_code(store: Store) -> None:
    user = added(store)
    row, session, pending = enrolling(store, user)
    store.put_factor(user.id, Factor(secret="A" * 16, created=NOW), [], now=NOW)
    assert activated(store, row, session, pending) is None
    factor = store.factor(user.id)
    assert factor is not None
    assert factor.secret == "A" * 16
    assert store.session(row, NOW) is not None


def test_an_enrolment_that_was_restarted_is_not_confirmed_with_the_old_secret(store: Store) -> None:
    user = added(store)
    row, session, pending = enrolling(store, user)
    store.put_enrolment(session.handle, msgspec.structs.replace(pending, secret="C" * 16), now=NOW)
    assert activated(store, row, session, pending) is None


# Attempts


def test_attempts_are_charged_before_they_are_checked(store: Store) -> None:
    key = b"k" * 16
    waits = [store.admit_attempt([(key, FACTOR)], now=NOW) for _ in range(6)]
    assert waits == [0, 0, 0, 0, 0, 60]
    assert store.blocked_s(key, FACTOR, now=NOW) == 60
    assert store.blocked_s(key, FACTOR, now=NOW + 60) == 0


def test_a_refused_attempt_charges_no_key(store: Store) -> None:
    locked, free = b"l" * 16, b"f" * 16
    for _ in range(5):
        store.admit_attempt([(locked, FACTOR)], now=NOW)
    strict = Throttle(free=0, delay_s=1, lock_at=1, lock_s=9, longest_s=9, forget_s=99)
    assert store.admit_attempt([(free, strict), (locked, FACTOR)], now=NOW) == 60
    assert store.blocked_s(free, strict, now=NOW) == 0


def test_a_right_attempt_is_forgiven_or_clears_the_count(store: Store) -> None:
    key = b"k" * 16
    for _ in range(4):
        store.admit_attempt([(key, ACCOUNT)], now=NOW)
    store.forgive_attempt([(key, ACCOUNT)])
    assert store.admit_attempt([(key, ACCOUNT)], now=NOW) == 0
    assert store.admit_attempt([(key, ACCOUNT)], now=NOW) == 1
    store.clear_attempts([key])
    assert store.admit_attempt([(key, ACCOUNT)], now=NOW) == 0
    store.forgive_attempt([(key, ACCOUNT), (b"unknown" * 2, ACCOUNT)])
    assert store.blocked_s(key, ACCOUNT, now=NOW) == 0


def test_no_number_of_attempts_at_once_gets_more_than_the_free_ones(another: Opener) -> None:
    stores, key = [another() for _ in range(5)], b"k" * 16
    barrier = threading.Barrier(len(stores))

    def guess(store: Store) -> int:
        barrier.wait(10)
        return sum(patiently(lambda: store.admit_attempt([(key, FACTOR)], now=NOW) == 0) for _ in range(4))

    with ThreadPoolExecutor(len(stores)) as pool:
        assert sum(pool.map(guess, stores)) == FACTOR.lock_at


# Upkeep


def test_maintenance_removes_what_is_over_and_nothing_else(store: Store) -> None:
    user = added(store)
    signed_in(store, user, now=NOW)
    kept, _ = signed_in(store, user, now=NOW + 700)
    store.put_enrolment("s_1", PendingFactor(user_id=user.id, secret="A", expires=NOW + 5, replacing=False), now=NOW)
    store.admit_attempt([(b"a" * 16, ACCOUNT)], now=NOW - 2 * 86400)
    for _ in range(3):
        store.admit_attempt([(b"b" * 16, ACCOUNT)], now=NOW)
    done = store.maintain(now=NOW + 1000)
    assert (done.expired, done.resealed, done.healed) == (1, 0, 0)
    assert store.session(kept, NOW + 1000) is not None
    assert store.admit_attempt([(b"b" * 16, ACCOUNT)], now=NOW + 1000) == 0
    assert store.admit_attempt([(b"b" * 16, ACCOUNT)], now=NOW + 1000) == 1


def test_maintenance_leaves_a_minute_for_last_seen_that_is_not_written_yet(store: Store) -> None:
    signed_in(store, added(store), now=NOW)
    assert store.maintain(now=NOW + 930).expired == 0
    assert store.maintain(now=NOW + 960).expired == 1


def test_rotated_keys_log_nobody_out_and_upkeep_moves_every_value(open_rows: OpenRows) -> None:
    first = Keyring.generate(os.urandom, NOW)
    before = Store(open_rows(), first)
    user = added(before)
    row, session = signed_in(before, user)
    before.put_factor(user.id, Factor(secret="A" * 16, created=NOW), [b"code"], now=NOW)
    before.put_enrolment(
        session.handle, PendingFactor(user_id=user.id, secret="A", expires=NOW + 600, replacing=True), now=NOW
    )
    keyring = first.rotate(os.urandom, NOW)
    later = NOW + SEAL_LEAD_S
    store = Store(open_rows(), keyring)
    assert store.key_use() == {1: 5}
    assert store.maintain(now=NOW).resealed == 0
    assert store.maintain(now=later).resealed == 5
    assert store.key_use() == {2: 5}
    stored = store.session(row, later)
    assert stored is not None
    assert stored.session == session
    alone = Store(open_rows(), keyring.retire(frozenset({1}), later))
    assert alone.user_named("alice") is not None
    assert alone.session(row, later) is not None
    assert alone.factor(user.id) is not None
    assert alone.use_recovery(user.id, b"code", now=later)
