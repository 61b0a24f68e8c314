"""Whether there is an account cannot be told from what is answered, what is done for it, or how long it takes.

Equal work is counted: look-ups, transactions and what they touch, and hashes. Processor time is compared over pairs
until it is certain, by a comparison that must find a difference where there is one.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import argon2
import msgspec
import pytest
from argon2.low_level import Type

from gateway.authn.password import Hasher
from gateway.authn.throttle import ACCOUNT
from gateway.exchange.reason import Reason
from gateway.session.device import make_device
from gateway.store.account_options import AccountOptions
from gateway.store.accounts import Accounts
from gateway.store.executor import BoundedExecutor, store_executor
from gateway.store.keyring import Keyring
from gateway.store.openings import Client, Refused
from gateway.store.outbox import Outbox
from gateway.store.records import User
from gateway.store.resets import Asked, Resets
from gateway.store.rows import Row, Table, Transaction
from gateway.store.sqlite_rows import SQLiteRows
from gateway.store.state import Store
from gateway.store.tables import ATTEMPTS, OUTBOX

NOW = 1_800_000_000.0
CLIENT = Client(ip="192.0.2.1", host="portal.example.com", secure=True, tenant="acme", device=make_device(bytes(32)))
"""With a device cookie that is nobody's: anybody can make one."""
PASSWORD = "correct horse battery"
BROWSER = b"b" * 32
PEOPLE: dict[str, dict[str, Any]] = {
    "known": {},
    "disabled": {"disabled": True},
    "over": {"until": 1.0},
    "federated": {"provider": "okta", "password": "", "issuer": "https://okta.example", "subject": "1"},
    "elsewhere": {"tenant": "globex"},
    "nowhere": {"email": ""},
    "held": {},
}
NAMES = [*PEOPLE, "unknown", "known@example.com", "nobody@example.com", "a b", ""]


class Hashes(Hasher):
    """Counts what it is asked."""

    def __init__(self) -> None:
        super().__init__(
            argon2.Parameters(
                type=Type.ID, version=19, salt_len=16, hash_len=32, time_cost=1, memory_cost=1024, parallelism=1
            )
        )
        self.asked = 0
        self.is_lazy = False

    def matches(self, phc: str | None, password: str) -> bool:
        self.asked += 1
        return False if self.is_lazy and phc is None else super().matches(phc, password)


class Watched(SQLiteRows):
    """Notes what is asked of the rows, and of which table; which row it is stays out of it."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__(state_dir, create=True)
        self.done: list[tuple[str, ...]] = []

    def get(self, table: Table, row_id: bytes) -> Row | None:
        self.done.append(("get", table.name))
        return super().get(table, row_id)

    def find(self, table: Table, index: str, token: bytes) -> list[Row]:
        self.done.append(("find", table.name, index))
        return super().find(table, index, token)

    def transact(self, work: Callable[[Transaction], Any], *, durable: bool = True, confirmed: bool = False) -> Any:
        self.done.append(("transact", str(durable), str(confirmed)))
        return super().transact(
            lambda tx: work(_WatchedTransaction(tx, self.done)), durable=durable, confirmed=confirmed
        )


class _WatchedTransaction:
    def __init__(self, tx: Transaction, done: list[tuple[str, ...]]) -> None:
        self._tx = tx
        self._done = done

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._tx, name)

        def call(table: Table, *arguments: Any) -> Any:
            self._done.append((name, table.name, str(len(arguments[0])) if name == "get_many" else ""))
            return method(table, *arguments)

        return call


class House:
    """Accounts and resets over rows that are watched."""

    def __init__(self, state_dir: Path) -> None:
        keyring = Keyring.generate(os.urandom, NOW)
        self.rows = Watched(state_dir)
        self.store = Store(self.rows, keyring)
        self.hasher = Hashes()
        self.executors = [store_executor(), BoundedExecutor("hashing", threads=1, waiting=10)]
        options = AccountOptions(issuer="portal.example.com")
        self.accounts = Accounts(
            self.store,
            options=options,
            keyring=keyring,
            hasher=self.hasher,
            breached=None,
            store_executor=self.executors[0],
            hashing_executor=self.executors[1],
        )
        self.outbox = Outbox(self.rows, self.store.sealer, capacity=1000)
        self.resets = Resets(
            self.store,
            options=options,
            keyring=keyring,
            outbox=self.outbox,
            passwords=self.accounts.passwords,
            tell=None,
            store_executor=self.executors[0],
        )
        for name, more in PEOPLE.items():
            user = User(
                id=f"u_{name}",
                stamp="1",
                name=name,
                tenant="acme",
                roles=("client",),
                email=f"{name}@example.com",
                password=self.hasher.hash(PASSWORD, salt=bytes(16)),
                password_changed=NOW,
                created=NOW,
            )
            assert self.store.add_user(msgspec.structs.replace(user, **more), now=NOW)

    async def sign_in(self, name: str, password: str = "wrong") -> Refused:
        result = await self.accounts.sign_in(name, password, client=CLIENT, now=NOW)
        assert isinstance(result, Refused)
        return result

    async def ask(self, name: str) -> Asked:
        result = await self.resets.ask(name, BROWSER, client=CLIENT, now=NOW)
        assert isinstance(result, Asked)
        return result

    async def hold(self, name: str) -> None:
        """Lock an account by its other name, as strangers do."""
        for number in range(ACCOUNT.lock_at):
            client = msgspec.structs.replace(CLIENT, ip=f"198.51.100.{number}")
            await self.accounts.sign_in(f"{name}@example.com", "wrong", client=client, now=NOW + number * 130 - 2000)

    def forget(self) -> None:
        self.rows.clear(ATTEMPTS)
        self.rows.clear(OUTBOX)

    async def work_of(self, act: Callable[[], Awaitable[Any]]) -> tuple[list[tuple[str, ...]], int]:
        """Return what one act did to the rows, in order, and how often it hashed."""
        self.rows.done.clear()
        self.hasher.asked = 0
        await act()
        return list(self.rows.done), self.hasher.asked

    def close(self) -> None:
        for executor in self.executors:
            executor.close()
        self.store.close()


@pytest.fixture
async def house(state_dir: Path) -> AsyncIterator[House]:
    house = House(state_dir)
    yield house
    house.close()


async def test_a_refused_sign_in_is_the_same_work_whoever_is_meant(house: House) -> None:
    """CVE-2026-32595, CVE-2026-41263: unknown, wrong, disabled, federated, of another tenant, held."""
    done, answers = {}, {}
    for name in NAMES:
        house.forget()
        if name == "held":
            await house.hold(name)
        done[name] = await house.work_of(lambda name=name: house.sign_in(name))  # type: ignore[misc]
        house.rows.clear(ATTEMPTS)
        if name == "held":
            await house.hold(name)
        result = await house.sign_in(name)
        answers[name] = (result.reason, result.retry_after_s, result.problem, result.score)
    assert done["unknown"][1] == 1
    for name in NAMES:
        assert done[name] == done["unknown"], name
    assert set(answers.values()) == {(Reason.CREDENTIALS_REFUSED, 0, "", None)}


@pytest.mark.parametrize("name", ["disabled", "over"])
async def test_a_right_password_of_an_account_that_rests_is_the_same_work_as_a_wrong_one(
    house: House, name: str
) -> None:
    wrong = await house.work_of(lambda: house.sign_in(name))
    house.forget()
    assert await house.work_of(lambda: house.sign_in(name, PASSWORD)) == wrong


async def test_a_right_password_of_a_held_account_is_the_same_work_as_a_wrong_one(house: House) -> None:
    await house.hold("held")
    wrong = await house.work_of(lambda: house.sign_in("held"))
    house.forget()
    await house.hold("held")
    assert await house.work_of(lambda: house.sign_in("held", PASSWORD)) == wrong


async def test_a_locked_name_is_refused_by_the_same_work_whether_somebody_has_it(house: House) -> None:
    done = {}
    for name in ("known", "unknown", "disabled", "federated"):
        house.forget()
        for number in range(ACCOUNT.lock_at):
            client = msgspec.structs.replace(CLIENT, ip=f"198.51.100.{number}")
            await house.accounts.sign_in(name, "wrong", client=client, now=NOW + number * 130 - 2000)
        done[name] = await house.work_of(lambda name=name: house.sign_in(name))  # type: ignore[misc]
        assert (await house.sign_in(name)).reason is Reason.TOO_MANY_ATTEMPTS
    assert all(work == done["unknown"] for work in done.values())
    assert done["unknown"][1] == 0


async def test_a_request_for_a_code_is_the_same_work_whoever_is_meant(house: House) -> None:
    done = {}
    for name in NAMES:
        house.forget()
        done[name] = await house.work_of(lambda name=name: house.ask(name))  # type: ignore[misc]
        assert house.outbox.count(now=NOW) == 1, "a letter to nobody waits as one to somebody does"
    for name in NAMES:
        assert done[name] == done["unknown"], name


async def test_a_code_is_checked_by_the_same_work_whether_it_is_somebodys(house: House) -> None:
    done = []
    for name in ("known", "unknown"):
        house.forget()
        await house.ask(name)
        done.append(await house.work_of(lambda: house.resets.prove(BROWSER, "00000000", client=CLIENT, now=NOW)))
    assert done[0] == done[1]


PAIRS_AT_LEAST = 80
PAIRS_AT_MOST = 2560
TOLD_APART = 0.2
"""Of the time for an unknown name. To open a row that is there takes 0.03 to 0.06 of it, a hash that is left out 1.4."""
DEVIATIONS = 5
"""Of the median's rank: it is outside these ranks once in two million measurements, however busy the machine is."""


async def time_tells(house: House, act: Callable[[str], Awaitable[Any]], one: str, other: str) -> bool:
    """Say whether `one` takes longer or shorter than `other` by TOLD_APART, measuring until that is certain.

    What is compared is processor time, in pairs that follow one another and change places: waiting for the processor
    is not in it, and what slows the machine down slows both of a pair. Of the differences the median counts, and the
    ranks around it say between which values it is, whatever their distribution.
    """
    differences: list[float] = []
    others: list[float] = []
    while True:
        for number in range(PAIRS_AT_LEAST if not differences else len(differences)):
            took = {}
            for name in (one, other) if number % 2 else (other, one):
                house.forget()
                start = time.process_time()
                await act(name)
                took[name] = time.process_time() - start
            differences.append(took[one] - took[other])
            others.append(took[other])
        differences.sort()
        bound = TOLD_APART * statistics.median(others)
        rank = int(len(differences) / 2 - DEVIATIONS * len(differences) ** 0.5 / 2)
        least, most = differences[rank], differences[-1 - rank]
        if -bound < least and most < bound:
            return False
        if most < -bound or bound < least:
            return True
        between = f"between {least:g} s and {most:g} s after {len(differences)} pairs"
        assert len(differences) < PAIRS_AT_MOST, f"{between}: neither equal nor different"


@pytest.mark.parametrize("name", ["known", "disabled", "federated", "nobody@example.com"])
async def test_the_time_of_a_refused_sign_in_does_not_tell_who_has_an_account(house: House, name: str) -> None:
    assert not await time_tells(house, house.sign_in, name, "unknown")


@pytest.mark.parametrize("name", ["known", "disabled", "known@example.com"])
async def test_the_time_of_a_request_for_a_code_does_not_tell_who_has_an_account(house: House, name: str) -> None:
    assert not await time_tells(house, house.ask, name, "unknown")


async def test_the_comparison_finds_a_check_that_hashes_for_known_names_alone(house: House) -> None:
    """What the comparison is worth: the fault of the advisories is seen."""
    house.hasher.is_lazy = True
    assert await time_tells(house, house.sign_in, "known", "unknown")
