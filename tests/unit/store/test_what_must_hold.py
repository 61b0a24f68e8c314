"""What an attacker gains from a failover, a damaged row, or a crash between two changes: nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from gateway.authn.mailed_code import Purpose
from gateway.session.device import make_device
from gateway.session.token import make_token, row_of
from gateway.store.executor import store_executor
from gateway.store.federated import FederatedStore
from gateway.store.keyring import Keyring
from gateway.store.mailed import MailedCodes
from gateway.store.passkeys import Passkey
from gateway.store.records import Factor, User
from gateway.store.rows import Row
from gateway.store.sqlite_rows import SQLiteRows
from gateway.store.state import Store
from gateway.store.tables import DEVICES, PASSKEYS

NOW = 1_000_000.0
HOST = "portal.example.com"


class Watched(SQLiteRows):
    """Notes which changes have to be confirmed by a replica, where there is one."""

    confirmed: bool | None = None

    def transact(self, work: Callable[..., Any], *, durable: bool = True, confirmed: bool = False) -> Any:
        Watched.confirmed = confirmed
        return super().transact(work, durable=durable, confirmed=confirmed)


@pytest.fixture
def sqlite(state_dir: Any) -> Any:
    rows = Watched(state_dir, create=True)
    yield rows
    rows.close()


def passkey(user: User) -> Passkey:
    return Passkey(
        id=b"credential", user_id=user.id, relying_party=HOST, name="key", public_key=b"cose", created=NOW, sign_count=1,
        aaguid="", transports=(), backup_eligible=False, backed_up=False,
    )  # fmt: skip


def spend_challenge(store: Store, _: Keyring, __: User) -> None:
    assert store.passkeys.spend(b"challenge", expires=NOW + 60, now=NOW)


def prove_code(store: Store, keyring: Keyring, user: User) -> None:
    issued(store, keyring, user)


def take_code(store: Store, keyring: Keyring, user: User) -> None:
    codes = issued(store, keyring, user)
    Watched.confirmed = None
    assert codes.take(b"browser", Purpose.RESET, now=NOW) is not None


def spend_answer(store: Store, keyring: Keyring, _: User) -> None:
    executor = store_executor()
    state = FederatedStore(store, keyring=keyring, executor=executor, longest_s=60.0)
    assert asyncio.run(state.spend("state", b"value", now=NOW, expires=NOW + 60))
    executor.close()


def forget_device(store: Store, _: Keyring, user: User) -> None:
    device = known(store, user)
    Watched.confirmed = None
    assert store.devices.forget(device, user_id=user.id, now=NOW)


def use_passkey(store: Store, _: Keyring, user: User) -> None:
    given = passkey(user)
    assert store.rows.transact(lambda tx: store.passkeys.add_in(tx, given, now=NOW))
    Watched.confirmed = None
    assert store.passkeys.note_use(given, sign_count=2, backed_up=False, now=NOW)


def issued(store: Store, keyring: Keyring, user: User) -> MailedCodes:
    codes = MailedCodes(store.rows, store.sealer, keyring, os.urandom)
    code = store.rows.transact(
        lambda tx: codes.issue_in(tx, b"browser", Purpose.RESET, user_id=user.id, stamp=user.stamp, now=NOW)
    )
    Watched.confirmed = None
    assert codes.prove(b"browser", Purpose.RESET, code, now=NOW) is not None
    return codes


def known(store: Store, user: User, *, remember: bool = False) -> str:
    name = os.urandom(16).hex()
    store.devices.mark(b"", user_id=user.id, host=HOST, renewed=make_device(os.urandom(32)), name=name, now=NOW)
    if remember:
        assert store.devices.remember(name, user_id=user.id, until=NOW + 3600, now=NOW)
    return name


@pytest.mark.parametrize(
    "act",
    [spend_challenge, prove_code, take_code, spend_answer, forget_device, use_passkey],
    ids=lambda act: act.__name__,
)
def test_what_was_spent_or_forgotten_does_not_come_back_with_a_failover(
    act: Any, store: Store, keyring: Keyring, add_user: Any
) -> None:
    act(store, keyring, add_user())
    assert Watched.confirmed is True


def test_the_session_that_a_sign_in_ends_does_not_come_back_with_a_failover(
    store: Store, add_user: Any, sign_in: Any
) -> None:
    user = add_user()
    token = sign_in(user)
    stored = store.session(row_of(token), NOW)
    assert stored is not None
    fresh = msgspec.structs.replace(stored.session, handle="s_" + "0" * 32)
    row = row_of(make_token(os.urandom(32)))
    ended = store.create_session(row, fresh, stamp=user.stamp, keep=None, now=NOW, replaces=row_of(token))
    assert ended == [stored.session.handle]
    assert Watched.confirmed is True


def spoil(store: Store, user: User) -> None:
    """Leave a device and a passkey of the person that nobody can open."""
    known(store, user)
    assert store.rows.transact(lambda tx: store.passkeys.add_in(tx, passkey(user), now=NOW))

    def work(tx: Any) -> None:
        for table in (DEVICES, PASSKEYS):
            for row in store.rows.all(table):
                tx.put(table, Row(id=row.id, value=bytes(64), key=row.key, tokens=row.tokens, expires=row.expires))

    store.rows.transact(work)


def test_a_damaged_row_keeps_nobody_from_being_deleted(store: Store, add_user: Any) -> None:
    user = add_user()
    spoil(store, user)
    assert store.delete_user(user.id) == 0
    assert not store.rows.all(DEVICES)
    assert not store.rows.all(PASSKEYS)


def test_a_damaged_row_keeps_nobody_from_being_reset(store: Store, add_user: Any) -> None:
    user = add_user()
    spoil(store, user)
    assert store.reset_user(user, user, factor=Factor(secret="A" * 16, created=NOW), now=NOW) is not None
    assert not store.rows.all(DEVICES)
    assert not store.rows.all(PASSKEYS)


def test_no_remembered_device_outlives_a_new_password_by_a_crash_between_the_two(store: Store, add_user: Any) -> None:
    user = add_user()
    known(store, user, remember=True)
    changed = store.change_user(user, msgspec.structs.replace(user, password="another"), now=NOW)
    assert changed is not None
    (device,) = store.devices.of(user.id, now=NOW)
    assert not device.is_remembered(NOW)


def test_devices_stay_remembered_when_the_password_does(store: Store, add_user: Any) -> None:
    user = add_user()
    known(store, user, remember=True)
    assert store.change_user(user, msgspec.structs.replace(user, disabled=True), now=NOW) is not None
    (device,) = store.devices.of(user.id, now=NOW)
    assert device.is_remembered(NOW)
