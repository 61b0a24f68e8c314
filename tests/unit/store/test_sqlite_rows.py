"""What is SQLite's own: the file says nothing, and a row that was touched does not open. The rest is tests/contract."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from gateway.exchange.errors import KeyringError, StoreUnavailableError
from gateway.session.token import row_of
from gateway.store.keyring import SEAL_LEAD_S, Keyring
from gateway.store.records import Factor, User
from gateway.store.sealing import SealBrokenError
from gateway.store.sessions import SessionCache
from gateway.store.sqlite_rows import STATE_NAME, SQLiteRows
from gateway.store.sqlite_sessions import SQLiteSessions
from gateway.store.state import Store, open_store

NOW = 1_000_000.0
AddUser = Callable[..., User]
SignIn = Callable[..., bytes]


def shell(state_dir: Path, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    """Do what somebody with write access to the file can do."""
    connection = sqlite3.connect(state_dir / STATE_NAME)
    with connection:
        rows = connection.execute(sql, parameters).fetchall()
    connection.close()
    return rows


def test_the_file_tells_neither_who_is_a_user_nor_who_is_signed_in(
    store: Store, state_dir: Path, add_user: AddUser, sign_in: SignIn
) -> None:
    user = add_user("alice.liddell", tenant="wonderland", user_id="u_0123")
    token = sign_in(user)
    store.put_factor(user.id, Factor(secret="JBSWY3DPEHPK3PXP", created=NOW), [b"code"], now=NOW)
    store.close()
    data = b"".join(entry.read_bytes() for entry in state_dir.iterdir())
    for secret in (
        b"liddell",
        b"wonderland",
        b"not a hash",
        token,
        token[4:],
        b"192.0.2.1",
        b"JBSWY3DP",
        b"Firefox",
        b"client",
    ):
        assert secret not in data


@pytest.mark.parametrize("table", ["sessions", "users", "factors"])
def test_one_changed_byte_of_a_row_refuses_it_and_never_signs_out(  # noqa: PLR0917 - fixtures
    store: Store, source: SQLiteSessions, state_dir: Path, add_user: AddUser, sign_in: SignIn, table: str
) -> None:
    user = add_user()
    token = sign_in(user)
    store.put_factor(user.id, Factor(secret="JBSWY3DPEHPK3PXP", created=NOW), [], now=NOW)
    ((sealed,),) = shell(state_dir, f"SELECT value FROM {table}")
    assert isinstance(sealed, bytes)
    shell(state_dir, f"UPDATE {table} SET value = ?", sealed[:-1] + bytes([sealed[-1] ^ 1]))
    look: dict[str, Callable[[], object]] = {
        "sessions": lambda: SessionCache(source).lookup(token, NOW),
        "users": lambda: store.user(user.id),
        "factors": lambda: store.factor(user.id),
    }
    with pytest.raises(SealBrokenError):
        look[table]()


def test_rows_swapped_between_users_do_not_open(
    store: Store, source: SQLiteSessions, state_dir: Path, add_user: AddUser, sign_in: SignIn
) -> None:
    """Attack: a copy of the administrator's row under my own id."""
    me, admin = add_user("me"), add_user("admin")
    mine, theirs = sign_in(me), sign_in(admin)
    for table, column, to, origin in (
        ("sessions", "id", row_of(mine), row_of(theirs)),
        ("users", "id", me.id.encode(), admin.id.encode()),
    ):
        copied = shell(
            state_dir,
            f"UPDATE {table} SET value = (SELECT value FROM {table} WHERE {column} = ?) WHERE {column} = ? RETURNING 1",
            origin,
            to,
        )
        assert copied == [(1,)]
    with pytest.raises(SealBrokenError):
        SessionCache(source).lookup(mine, NOW)
    with pytest.raises(SealBrokenError):
        store.user(me.id)


def test_a_session_row_moved_to_a_token_of_ones_own_does_not_open(
    store: Store, state_dir: Path, add_user: AddUser, sign_in: SignIn
) -> None:
    """Attack: write access to the file, and a session of somebody else."""
    victim = sign_in(add_user("victim"))
    mine = sign_in(add_user("mallory"))
    shell(state_dir, "DELETE FROM sessions WHERE id = ?", row_of(mine))
    shell(state_dir, "UPDATE sessions SET id = ? WHERE id = ?", row_of(mine), row_of(victim))
    with pytest.raises(SealBrokenError):
        store.session(row_of(mine), NOW)


def test_a_damaged_session_can_still_be_revoked(
    store: Store, state_dir: Path, add_user: AddUser, sign_in: SignIn
) -> None:
    user = add_user()
    sign_in(user)
    shell(state_dir, "UPDATE sessions SET value = x'00'")
    with pytest.raises(SealBrokenError, match="cut short"):
        store.sessions(now=NOW)
    assert store.end_user(user.id) == 1


def test_a_value_of_an_unknown_shape_is_refused(store: Store, state_dir: Path, add_user: AddUser) -> None:
    user = add_user()
    key, sealed = store.sealer.seal("users", user.id.encode(), msgspec.msgpack.encode({"from": "the future"}), NOW)
    shell(state_dir, "UPDATE users SET key = ?, value = ?", key, sealed)
    with pytest.raises(SealBrokenError, match="another version of the gateway"):
        store.user(user.id)


def test_another_keyring_is_refused_before_anything_is_written(
    store: Store, state_dir: Path, add_user: AddUser
) -> None:
    add_user()
    with pytest.raises(KeyringError, match="was written under another keyring"):
        open_store(state_dir, Keyring.generate(os.urandom, NOW))


def test_a_process_adopts_a_rotated_keyring_and_refuses_a_foreign_one(
    store: Store, state_dir: Path, keyring: Keyring, add_user: AddUser, sign_in: SignIn
) -> None:
    user = add_user()
    rotated = keyring.rotate(os.urandom, NOW)
    later = NOW + SEAL_LEAD_S
    other = open_store(state_dir, rotated)
    changed = other.change_user(user, user, now=later)
    assert changed is not None
    with pytest.raises(SealBrokenError, match="gateway reload"):
        store.user(user.id)
    store.adopt(rotated)
    assert store.user(user.id) == changed[0]
    with pytest.raises(KeyringError, match="another one"):
        store.adopt(Keyring.generate(os.urandom, NOW))
    other.close()


def test_opening_needs_no_write_so_a_busy_store_does_not_keep_a_worker_from_starting(
    store: Store, sqlite: SQLiteRows, state_dir: Path, keyring: Keyring
) -> None:
    assert store.users() == []
    with sqlite.database.write():
        open_store(state_dir, keyring).close()


def test_a_locked_store_refuses_a_revocation_and_leaves_the_session(
    store: Store, state_dir: Path, keyring: Keyring, add_user: AddUser, sign_in: SignIn
) -> None:
    user = add_user()
    token = sign_in(user)
    other = SQLiteRows(state_dir)
    with other.database.write(), pytest.raises(StoreUnavailableError, match="locked"):
        store.end_user(user.id)
    assert store.session(row_of(token), NOW) is not None
    assert store.end_user(user.id) == 1
    other.close()


def test_broken_rows_do_not_keep_upkeep_from_the_others(
    state_dir: Path, store: Store, keyring: Keyring, add_user: AddUser
) -> None:
    add_user("alice")
    add_user("bob")
    shell(state_dir, "UPDATE users SET value = x'00' WHERE id = CAST('u_alice' AS BLOB)")
    store.adopt(keyring.rotate(os.urandom, NOW))
    assert store.maintain(now=NOW + SEAL_LEAD_S).resealed == 1
    assert store.key_use() == {1: 1, 2: 1}


def test_the_schema_is_strict_about_types(store: Store, state_dir: Path) -> None:
    store.users()
    with pytest.raises(sqlite3.IntegrityError):
        shell(state_dir, "INSERT INTO recovery (id, value, key) VALUES (x'00', 'text', 0)")
