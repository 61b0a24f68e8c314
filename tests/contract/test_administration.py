"""What administrators do to accounts and sessions, on every place that keeps rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
import pytest

from gateway.exchange.administration import Administrator
from gateway.exchange.session import Session
from gateway.session.token import make_handle, make_token, row_of
from gateway.store.administration import PeopleDesk
from gateway.store.executor import BoundedExecutor
from gateway.store.keyring import Keyring
from gateway.store.records import Factor, User
from gateway.store.rows import Backend
from gateway.store.state import Store
from tests.contract.conftest import NOW

Result = TypeVar("Result")


class _Inline(BoundedExecutor):
    """Runs at once."""

    def __init__(self) -> None:
        super().__init__("inline", threads=1, waiting=0)

    async def run(self, work: Callable[[], Result]) -> Result:
        return work()


def user(name: str, tenant: str, *gateway_roles: str, administers: str = "") -> User:
    return User(
        id="u_" + name.encode().hex().ljust(32, "0")[:32],
        stamp="0" * 32,
        name=name,
        tenant=tenant,
        roles=("client",),
        gateway_roles=gateway_roles,
        administers=administers,
        password="$argon2id$",
        password_changed=NOW,
        created=NOW,
    )


ROOT = user("root", "acme", "gateway.admin")
TINA = user("tina", "acme", "gateway.tenant-admin", administers="acme")
MOVED = user("mona", "globex", "gateway.tenant-admin", administers="acme")
ALICE, GWEN = user("alice", "acme"), user("gwen", "globex")


@pytest.fixture
def store(rows: Backend, keyring: Keyring) -> Store:
    store = Store(rows, keyring)
    for person in (ROOT, TINA, MOVED, ALICE, GWEN):
        assert store.add_user(person, now=NOW, factor=Factor(secret="JBSWY3DPEHPK3PXP", created=NOW))
    return store


@pytest.fixture
def desk(store: Store, keyring: Keyring) -> PeopleDesk:
    return PeopleDesk(store, keyring=keyring, executor=_Inline(), asking=_Inline())


def opened(store: Store, person: User, number: int) -> Session:
    """Have the person signed in."""
    session = Session(
        handle=make_handle(number.to_bytes(16, "big")),
        user_id=person.id,
        user=person.name,
        tenant=person.tenant,
        roles=person.roles,
        auth_time=NOW,
        mfa_time=NOW,
        created=NOW,
        expires=NOW + 3600,
        idle_s=900.0,
        host="portal.example.com",
        secure=True,
    )
    current = store.user(person.id)
    assert current is not None
    row = row_of(make_token(number.to_bytes(32, "big")))
    assert store.create_session(row, session, stamp=current.stamp, keep=None, now=NOW) == []
    return session


async def asker(desk: PeopleDesk, store: Store, person: User, number: int) -> Administrator:
    found = await desk.administrator(opened(store, person, number))
    assert found is not None
    return found


async def test_who_administers_is_what_the_account_says_now(desk: PeopleDesk, store: Store) -> None:
    assert (await asker(desk, store, ROOT, 1)).is_operator
    assert not (await asker(desk, store, TINA, 2)).is_operator
    for number, person in enumerate((ALICE, GWEN, MOVED), 3):
        assert await desk.administrator(opened(store, person, number)) is None
    session = opened(store, ROOT, 9)
    root = store.user(ROOT.id)
    assert root is not None
    for change in ({"disabled": True}, {"disabled": False, "gateway_roles": ()}):
        changed = store.change_user(root, msgspec.structs.replace(root, **change), now=NOW)
        assert changed is not None
        root = changed[0]
        assert await desk.administrator(session) is None


async def test_each_sees_what_is_theirs(desk: PeopleDesk, store: Store) -> None:
    root, tina = await asker(desk, store, ROOT, 1), await asker(desk, store, TINA, 2)
    opened(store, GWEN, 3)
    everybody = await desk.people(root, "", start=0, size=10)
    assert [one.name for one in everybody.people] == ["alice", "gwen", "mona", "root", "tina"]
    assert [one.gateway_roles for one in everybody.people if one.name == "mona"] == [()]
    assert [one.name for one in (await desk.people(tina, "", start=0, size=10)).people] == ["alice", "root", "tina"]
    assert {one.user for one in (await desk.sessions(root, "", start=0, size=10, now=NOW)).sessions} == {
        "root",
        "tina",
        "gwen",
    }
    assert (await desk.sessions(tina, "gwen", start=0, size=10, now=NOW)).total == 0
    assert await desk.person(tina, GWEN.id, now=NOW) is None
    assert await desk.named(tina, "gwen") is None
    assert await desk.named(root, "\0") is None
    portrait = await desk.person(tina, ROOT.id, now=NOW)
    assert portrait is not None
    assert (portrait.may_change, portrait.factors) == (False, ("totp",))


async def test_acts_end_sessions_and_change_nobody_else(desk: PeopleDesk, store: Store) -> None:
    tina = await asker(desk, store, TINA, 1)
    session, theirs = opened(store, ALICE, 2), opened(store, GWEN, 3)
    assert (await desk.end_session(tina, ALICE.id, theirs.handle)).outcome == "gone"
    assert (await desk.end_session(tina, ALICE.id, session.handle)).outcome == "done"
    opened(store, ALICE, 4)
    acted = await desk.set_disabled(tina, ALICE.id, disabled=True, now=NOW)
    assert (acted.outcome, acted.count) == ("done", 1)
    acted = await desk.reset_factors(tina, ALICE.id, now=NOW)
    assert acted.outcome == "done"
    assert store.factor(ALICE.id) is None
    for target, outcome in ((GWEN, "gone"), (ROOT, "not_allowed"), (TINA, "not_allowed")):
        assert (await desk.reset_factors(tina, target.id, now=NOW)).outcome == outcome
        assert (await desk.set_disabled(tina, target.id, disabled=True, now=NOW)).outcome == outcome
        assert store.factor(target.id) is not None
    assert len(store.sessions(now=NOW, user_id=GWEN.id)) == 1


@pytest.mark.parametrize("disabled", [True, False])
async def test_no_administrator_enables_an_account_of_an_emergency(
    desk: PeopleDesk, store: Store, *, disabled: bool
) -> None:
    """Attack: it was ended before its time, or is over, and the console lets it in again with no reason on record."""
    root = await asker(desk, store, ROOT, 1)
    until = NOW + 600 if disabled else NOW - 1
    ended = msgspec.structs.replace(ALICE, disabled=disabled, until=until)
    assert store.change_user(ALICE, ended, now=NOW) is not None
    acted = await desk.set_disabled(root, ALICE.id, disabled=False, now=NOW)
    assert acted.outcome == "not_allowed"
    assert [(event.name, event.outcome) for event in acted.events] == [("user.enabled", "failure")]
    found = store.user(ALICE.id)
    assert found is not None
    assert (found.disabled, found.until) == (disabled, until)


async def test_who_was_disabled_while_restricted_stays_so(desk: PeopleDesk, store: Store) -> None:
    root = await asker(desk, store, ROOT, 1)
    assert store.restrict(ALICE.id, tenant=ALICE.tenant, restricted=True, now=NOW) is not None
    assert (await desk.set_disabled(root, ALICE.id, disabled=True, now=NOW)).outcome == "done"
    assert store.restrict(ALICE.id, tenant=ALICE.tenant, restricted=False, now=NOW) is not None
    found = store.user(ALICE.id)
    assert found is not None
    assert (found.disabled, found.restricted) == (True, "")
