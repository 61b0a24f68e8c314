from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.session import Owed, Session
from gateway.session.life import Lifetimes, start
from gateway.session.token import make_handle, make_token, row_of
from gateway.store.executor import store_executor
from gateway.store.forms import MAX_KEPT_EACH
from gateway.store.kept import KEPT_S, KeptForms
from gateway.store.keyring import SEAL_LEAD_S, Keyring
from gateway.store.live_sessions import ENDED_S
from gateway.store.records import User
from gateway.store.sqlite_rows import SQLiteRows, definitions
from gateway.store.state import Store, open_store
from gateway.store.tables import TABLES

NOW = 1_000_000.0
SECRET = b"s" * 32
FORM = b"subject=Readable"


@pytest.fixture
async def forms(store: Store, keyring: Keyring) -> AsyncIterator[KeptForms]:
    executor = store_executor()
    yield KeptForms(store, keyring=keyring, executor=executor)
    executor.close()


def begin(store: Store, name: str) -> tuple[bytes, Session]:
    """Sign somebody in."""
    user = User(
        id=f"u_{name}", stamp="1", name=name, tenant="acme", roles=(), password="", password_changed=NOW, created=NOW
    )
    store.add_user(user, now=NOW)
    token = make_token(os.urandom(32))
    session = start(
        handle=make_handle(os.urandom(16)),
        user_id=user.id,
        user=name,
        tenant="acme",
        roles=(),
        email="",
        owes=Owed.NOTHING,
        lifetimes=Lifetimes(),
        host="portal.example.com",
        secure=True,
        client_ip="",
        user_agent="",
        now=NOW,
    )
    assert store.create_session(row_of(token), session, stamp="1", keep=None, now=NOW) is not None
    return token, session


async def test_what_is_kept_comes_back_once(forms: KeptForms) -> None:
    assert await forms.keep(SECRET, FORM, token=b"", now=NOW)
    assert (await forms.take(SECRET, user_id="u_alice", now=NOW + 60)).form == FORM
    assert (await forms.take(SECRET, user_id="u_alice", now=NOW + 60)).form == b""


async def test_of_two_requests_at_once_exactly_one_gets_it(
    forms: KeptForms, store: Store, keyring: Keyring, state_dir: Path
) -> None:
    await forms.keep(SECRET, FORM, token=b"", now=NOW)
    executor, other_state = store_executor(), open_store(state_dir, keyring)
    other = KeptForms(other_state, keyring=keyring, executor=executor)
    taken = await asyncio.gather(*(f.take(SECRET, user_id="u_alice", now=NOW) for f in (forms, other) * 4))
    executor.close()
    other_state.close()
    assert sorted(t.form for t in taken) == [b""] * 7 + [FORM]


async def test_it_is_gone_after_its_time(forms: KeptForms, store: Store) -> None:
    await forms.keep(SECRET, FORM, token=b"", now=NOW)
    assert (await forms.take(SECRET, user_id="u_alice", now=NOW + KEPT_S)).form == b""
    store.maintain(now=NOW + KEPT_S)
    assert (await forms.take(SECRET, user_id="u_alice", now=NOW)).form == b"", "the sweep removed it"


@pytest.mark.parametrize("ending", ["live", "revoked", "expired", "rotated away"])
async def test_it_belongs_to_the_person_whose_cookie_came_with_it(forms: KeptForms, store: Store, ending: str) -> None:
    token, session = begin(store, "alice")
    now = NOW
    if ending == "revoked":
        store.end_all()
    elif ending == "expired":
        now += 9 * 3600
        store.maintain(now=now)
    elif ending == "rotated away":
        store.rotate_session(row_of(token), row_of(make_token(os.urandom(32))), session, keep=None, now=NOW)
    await forms.keep(SECRET, FORM, token=token, now=now)
    assert (await forms.take(SECRET, user_id="u_mallory", now=now)).foreign
    assert (await forms.take(SECRET, user_id="u_alice", now=now)).form == b"", "and the look of a stranger ends it"
    await forms.keep(SECRET, FORM, token=token, now=now)
    assert (await forms.take(SECRET, user_id="u_alice", now=now)).form == FORM


async def test_whose_a_session_was_is_forgotten_after_half_a_day(store: Store) -> None:
    token, session = begin(store, "alice")
    store.end_all()
    assert store.person_of(row_of(token)) == store.person("u_alice")
    store.maintain(now=session.expires + ENDED_S - 1)
    assert store.person_of(row_of(token)) == store.person("u_alice")
    store.maintain(now=session.expires + ENDED_S)
    assert store.person_of(row_of(token)) == b""


async def test_another_secret_opens_nothing(forms: KeptForms) -> None:
    await forms.keep(SECRET, FORM, token=b"", now=NOW)
    taken = await forms.take(b"t" * 32, user_id="u_alice", now=NOW)
    assert (taken.form, taken.foreign) == (b"", False)


async def test_the_file_and_the_keyring_together_do_not_open_a_form(
    forms: KeptForms, store: Store, state_dir: Path
) -> None:
    await forms.keep(SECRET, FORM, token=b"", now=NOW)
    found = sqlite3.connect(state_dir / "state.sqlite3")
    rows = found.execute("SELECT id FROM forms").fetchall()
    found.close()
    opened = store.take_form(rows[0][0], now=NOW)
    assert opened is not None
    assert b"Readable" not in opened[1], "what the keyring opens is sealed once more, under the browser's secret"


async def test_a_form_moved_to_another_row_does_not_open(forms: KeptForms, state_dir: Path) -> None:
    other = b"t" * 32
    await forms.keep(SECRET, FORM, token=b"", now=NOW)
    await forms.keep(other, b"a=1", token=b"", now=NOW)
    file = sqlite3.connect(state_dir / "state.sqlite3")
    with file:
        first, second = file.execute("SELECT id, value FROM forms").fetchall()
        file.execute("UPDATE forms SET value = ? WHERE id = ?", (first[1], second[0]))
        file.execute("UPDATE forms SET value = ? WHERE id = ?", (second[1], first[0]))
    file.close()
    with pytest.raises(StoreUnavailableError):
        await forms.take(SECRET, user_id="u_alice", now=NOW)


async def test_strangers_cannot_fill_the_store(forms: KeptForms, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.store.forms.MAX_KEPT_UNKNOWN", 2)
    monkeypatch.setattr("gateway.store.forms.MAX_KEPT", 3)
    token, _ = begin(store, "alice")
    kept = [await forms.keep(os.urandom(32), FORM, token=b"", now=NOW) for _ in range(3)]
    assert kept == [True, True, False]
    assert await forms.keep(SECRET, FORM, token=token, now=NOW), "there is room for who was signed in"
    assert not await forms.keep(os.urandom(32), FORM, token=begin(store, "bob")[0], now=NOW)
    assert await forms.keep(SECRET, b"a=2", token=token, now=NOW), "in place of the earlier one"
    assert await forms.keep(os.urandom(32), FORM, token=b"", now=NOW + KEPT_S), "what is over takes no room"


async def test_one_person_keeps_a_few(forms: KeptForms, store: Store) -> None:
    token, _ = begin(store, "alice")
    secrets = [os.urandom(32) for _ in range(MAX_KEPT_EACH + 1)]
    for age, secret in enumerate(secrets):
        assert await forms.keep(secret, FORM, token=token, now=NOW + age)
    taken = [(await forms.take(secret, user_id="u_alice", now=NOW + 9)).form for secret in secrets]
    assert taken == [b""] + [FORM] * MAX_KEPT_EACH


async def test_dropping_takes_what_is_the_browsers_and_nothing_else(forms: KeptForms) -> None:
    await forms.keep(SECRET, FORM, token=b"", now=NOW)
    await forms.keep(b"b" * 32, FORM, token=b"", now=NOW)
    assert await forms.drop(SECRET)
    assert not await forms.drop(SECRET)
    assert (await forms.take(b"b" * 32, user_id="u_alice", now=NOW)).form == FORM


@pytest.mark.parametrize("how", ["deleted", "reset"])
async def test_an_account_that_goes_takes_its_forms_along(forms: KeptForms, store: Store, how: str) -> None:
    token, _ = begin(store, "alice")
    await forms.keep(SECRET, FORM, token=token, now=NOW)
    user = store.user("u_alice")
    assert user is not None
    if how == "deleted":
        store.delete_user(user.id)
    else:
        store.reset_user(user, user, factor=None, now=NOW)
    assert (await forms.take(SECRET, user_id="u_alice", now=NOW)).form == b""


async def test_a_rotated_key_still_opens_what_is_kept(forms: KeptForms, store: Store, keyring: Keyring) -> None:
    await forms.keep(SECRET, FORM, token=b"", now=NOW)
    store.adopt(keyring.rotate(os.urandom, NOW))
    store.maintain(now=NOW + SEAL_LEAD_S)
    assert store.key_use() == {2: 1}
    assert (await forms.take(SECRET, user_id="u_alice", now=NOW + SEAL_LEAD_S)).form == FORM


def test_a_state_of_before_gets_what_is_missing_and_stays_readable_to_the_gateway_of_before(
    sqlite: SQLiteRows, state_dir: Path
) -> None:
    file = sqlite3.connect(state_dir / "state.sqlite3")
    file.executescript("DROP TABLE owners; DROP TABLE forms; DROP INDEX users_by_email;")
    with ThreadPoolExecutor(4) as pool:  # several processes that start at once
        opened = list(pool.map(lambda _: SQLiteRows(state_dir, create=True), range(4)))
    for one in opened:
        one.close()
    names = {name for (name,) in file.execute("SELECT name FROM sqlite_master")}
    assert names >= definitions(TABLES).keys()
    assert file.execute("PRAGMA user_version").fetchone() == (2,)
    file.close()
