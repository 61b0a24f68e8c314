"""Emergency accounts that nobody closed are disabled for good, and never without a record."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.ledger.layout import Layout
from gateway.ledger.producer import append_with_badge
from gateway.server import emergencies
from gateway.server.control import Boot
from gateway.server.emergencies import EmergencyKeeper
from gateway.server.validate import read_and_validate
from gateway.store.executor import BoundedExecutor
from gateway.store.records import User
from gateway.store.sealing import SealBrokenError
from gateway.store.state import Store, open_store
from gateway.store.tables import SUBJECT_KEYS
from tests.fakes.audit_daemon import FakeAuditDaemon

NOW = 1_800_000_000.0
UNTIL = NOW + 1800


@pytest.fixture
def boot(directory: Path) -> Boot:
    validated = read_and_validate(directory / "gateway.yaml")
    return Boot(
        kind="pages",
        slot=1000,
        workers=1,
        shares_limits=False,
        listeners=(),
        bundle=validated.bundle,
        state_dir=str(validated.settings.state_dir),
        run_dir=str(directory),
        pages_socket="pages.sock",
        node="node-a",
        boot_id="boot",
        version="1",
        badge=bytes(16),
    )


@pytest.fixture
def store(directory: Path) -> Iterator[Store]:
    validated = read_and_validate(directory / "gateway.yaml")
    assert validated.keyring is not None
    opened = open_store(validated.settings.state_dir, validated.keyring, create=True)
    yield opened
    opened.close()


@pytest.fixture
async def daemon(boot: Boot) -> AsyncIterator[FakeAuditDaemon]:
    layout = Layout(Path(boot.state_dir))
    layout.create()
    fake = FakeAuditDaemon()
    await fake.start(layout.socket)
    yield fake
    await fake.stop()


@pytest.fixture
def keeper(boot: Boot) -> Iterator[EmergencyKeeper]:
    executor = BoundedExecutor("store", threads=1, waiting=8)
    yield EmergencyKeeper(boot, executor)
    executor.close()


def opened(store: Store, name: str = "envelope", *, until: float = UNTIL, **more: Any) -> User:
    user = User(
        id=f"u_{name}",
        name=name,
        tenant="main",
        roles=("client",),
        stamp="s",
        password="",
        password_changed=NOW,
        created=NOW,
        **more,
    )
    assert store.add_user(user, now=NOW)
    stored = store.user(user.id)
    assert stored is not None
    changed = store.change_user(stored, msgspec.structs.replace(stored, until=until), now=NOW)
    assert changed is not None
    return changed[0]


async def test_what_is_over_is_disabled_for_good_with_a_record_that_names_nobody_in_clear(
    store: Store, keeper: EmergencyKeeper, daemon: FakeAuditDaemon
) -> None:
    opened(store)
    assert await keeper.end_those_over(store, seals=True, now=UNTIL - 1) == 0
    assert daemon.payloads == []
    assert await keeper.end_those_over(store, seals=True, now=UNTIL) == 1
    found = store.user("u_envelope")
    assert found is not None
    assert (found.disabled, found.until) == (True, 0.0)
    assert found.rests(NOW), "a clock that is put back lets nobody in"
    (told,) = daemon.records
    assert (told["class_uid"], told["activity_id"]) == (3001, 5)
    assert told["unmapped"]["gw"]["event"] == "break_glass.expired"
    assert told["unmapped"]["gw"]["break_glass"] == {"until": int(UNTIL * 1000)}
    assert b"envelope" not in daemon.payloads[0]
    assert await keeper.end_those_over(store, seals=True, now=UNTIL + 60) == 0
    assert len(daemon.payloads) == 1


async def test_a_restriction_that_is_lifted_later_does_not_enable_it(
    store: Store, keeper: EmergencyKeeper, daemon: FakeAuditDaemon
) -> None:
    opened(store, disabled=True, restricted="enabled")
    assert await keeper.end_those_over(store, seals=False, now=UNTIL) == 1
    found = store.user("u_envelope")
    assert found is not None
    assert (found.restricted, found.until) == ("disabled", 0.0)
    assert daemon.records[0]["user"]["name"] == "envelope"


async def test_what_cannot_be_recorded_is_not_done_and_tried_again(
    store: Store, keeper: EmergencyKeeper, daemon: FakeAuditDaemon
) -> None:
    user = opened(store)
    daemon.refuses = True
    assert await keeper.end_those_over(store, seals=False, now=UNTIL) == 0
    assert store.user(user.id) == user
    daemon.refuses = False
    assert await keeper.end_those_over(store, seals=False, now=UNTIL + 60) == 1


async def test_without_a_daemon_nothing_is_done(store: Store, keeper: EmergencyKeeper) -> None:
    user = opened(store)
    assert await keeper.end_those_over(store, seals=False, now=UNTIL) == 0
    assert store.user(user.id) == user


def damage_key(store: Store, user: User) -> None:
    """Flip a bit of the key under which the log names somebody."""
    token = store.subjects.of(user.id, user.tenant, now=NOW).token
    row = store.rows.get(SUBJECT_KEYS, token)
    assert row is not None
    spoilt = msgspec.structs.replace(row, value=row.value[:-1] + bytes([row.value[-1] ^ 1]))
    store.rows.transact(lambda tx: tx.put(SUBJECT_KEYS, spoilt))


async def test_a_damaged_key_of_the_person_keeps_no_emergency_open(
    store: Store, keeper: EmergencyKeeper, daemon: FakeAuditDaemon
) -> None:
    """Attack: a bit of one row, and the upkeep ends there each time: the account and all others stay as they are."""
    first, second = opened(store, "first"), opened(store, "second")
    damage_key(store, first)
    damage_key(store, second)
    assert await keeper.end_those_over(store, seals=True, now=UNTIL) == 2
    for user in (first, second):
        found = store.user(user.id)
        assert found is not None
        assert (found.disabled, found.until) == (True, 0.0)
        assert store.subjects.readable(user.id), "the record is sealed under a key that an erasure finds"
    assert len(daemon.payloads) == 2
    assert all(user.name.encode() not in payload for user in (first, second) for payload in daemon.payloads)


async def test_an_account_that_is_opened_again_while_it_is_recorded_is_not_said_to_be_over(
    store: Store, keeper: EmergencyKeeper, daemon: FakeAuditDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = opened(store)
    append = append_with_badge

    def open_again(*args: Any, **more: Any) -> None:
        append(*args, **more)
        found = store.user(user.id)
        assert found is not None
        if found.until == UNTIL:
            store.change_user(found, msgspec.structs.replace(found, until=UNTIL + 1800), now=UNTIL)

    monkeypatch.setattr(emergencies, "append_with_badge", open_again)
    assert await keeper.end_those_over(store, seals=True, now=UNTIL) == 0
    found = store.user(user.id)
    assert found is not None
    assert found.until == UNTIL + 1800
    said, taken_back = daemon.records
    assert (said["unmapped"]["gw"]["event"], said["status_id"]) == ("break_glass.expired", 1)
    assert (taken_back["unmapped"]["gw"]["event"], taken_back["status_id"]) == ("break_glass.expired", 2)
    assert taken_back["unmapped"]["gw"]["reason"] == "changed_meanwhile"


async def test_an_account_that_cannot_be_changed_keeps_no_other_open(
    store: Store, keeper: EmergencyKeeper, daemon: FakeAuditDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: a bit of one of its API keys, which an account takes along when it changes."""
    opened(store, "first")
    opened(store, "second")
    change = store.change_user

    def refuse(old: User, new: User, *, now: float) -> tuple[User, int] | None:
        if old.name == "first":
            raise SealBrokenError("a row of api_keys does not open")
        return change(old, new, now=now)

    monkeypatch.setattr(store, "change_user", refuse)
    assert await keeper.end_those_over(store, seals=False, now=UNTIL) == 1
    said = [(told["user"]["name"], told["status_id"]) for told in daemon.records]
    assert sorted(said) == [("first", 1), ("first", 2), ("second", 1)]
