"""Sign-in, codes, enrolment, passwords and sessions, as a page uses them: a real store, cheap argon2id."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import argon2
import msgspec
import pyotp
import pytest
from argon2.low_level import Type

from gateway.authn.breached import BreachedList, make_list
from gateway.authn.password import Hasher
from gateway.authn.throttle import ACCOUNT
from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.reason import Reason
from gateway.exchange.session import Owed
from gateway.session.life import PENDING_S, Lifetimes
from gateway.session.rules import RuleBook, Rules, TenantRules
from gateway.session.token import is_token, row_of
from gateway.store.account_options import AccountOptions
from gateway.store.accounts import Accounts, AccountView, Done, Enrolled, Enrolment, RecoveryCodes
from gateway.store.breach_online import OnlineBreachedPasswords
from gateway.store.executor import BoundedExecutor, OverloadedError, store_executor
from gateway.store.keyring import Keyring
from gateway.store.openings import Client, Refused, SignedIn
from gateway.store.records import Factor, User
from gateway.store.sqlite_rows import SQLiteRows
from gateway.store.sqlite_sessions import SQLiteSessions
from gateway.store.state import Store

NOW = 1_000_000.0
CLIENT = Client(ip="192.0.2.1", host="portal.example.com", secure=True, user_agent="Firefox")
PASSWORD = "correct horse battery"
NEW = "staple with more hay"
SECRET = pyotp.random_base32()


def cheap(*, time_cost: int) -> argon2.Parameters:
    return argon2.Parameters(
        type=Type.ID, version=19, salt_len=16, hash_len=32, time_cost=time_cost, memory_cost=8, parallelism=1
    )


CHEAP = cheap(time_cost=1)
BREACHED = BreachedList(make_list(["qwertyuiop12345"]))


def code_at(now: float, secret: str = SECRET) -> str:
    return pyotp.TOTP(secret).at(int(now))


class House:
    """Accounts over one store, with words for what tests do."""

    def __init__(self, state_dir: Path) -> None:
        self.keyring = Keyring.generate(os.urandom, NOW)
        self.rows = SQLiteRows(state_dir, create=True)
        self.store = Store(self.rows, self.keyring)
        self.hasher = Hasher(CHEAP)
        self.executors = [store_executor(), BoundedExecutor("hashing", threads=2, waiting=30)]
        self.accounts = self.with_options()

    def with_options(
        self, *, online: OnlineBreachedPasswords | None = None, hasher: Hasher | None = None, **options: Any
    ) -> Accounts:
        return Accounts(
            self.store,
            options=AccountOptions(issuer="portal.example.com", **options),
            keyring=self.keyring,
            hasher=hasher or self.hasher,
            breached=BREACHED,
            online=online,
            store_executor=self.executors[0],
            hashing_executor=self.executors[1],
        )

    def add(self, name: str = "alice", *, totp: bool = True, tenant: str = "acme") -> User:
        user = User(
            id=f"u_{name}",
            stamp="first",
            name=name,
            tenant=tenant,
            roles=("client",),
            email=f"{name}@example.com",
            password=self.hasher.hash(PASSWORD, salt=os.urandom(16)),
            password_changed=NOW,
            created=NOW,
        )
        assert self.store.add_user(user, now=NOW, factor=Factor(secret=SECRET, created=NOW) if totp else None)
        return user

    async def password(
        self, name: str = "alice", password: str = PASSWORD, *, now: float = NOW, **more: Any
    ) -> SignedIn | Refused:
        return await self.accounts.sign_in(name, password, client=CLIENT, now=now, **more)

    async def half(self, *, now: float = NOW) -> SignedIn:
        """Give the password."""
        result = await self.password(now=now)
        assert isinstance(result, SignedIn), result
        return result

    async def whole(self, *, now: float = NOW) -> SignedIn:
        """Give password and code."""
        first = await self.half(now=now)
        result = await self.accounts.verify_code(first.token, code_at(now), client=CLIENT, now=now)
        assert isinstance(result, SignedIn), result
        return result

    def close(self) -> None:
        for executor in self.executors:
            executor.close()
        self.store.close()


@pytest.fixture
async def house(state_dir: Path) -> AsyncIterator[House]:
    house = House(state_dir)
    yield house
    house.close()


def refused(result: object, reason: Reason) -> Refused:
    assert isinstance(result, Refused), result
    assert result.reason is reason
    return result


def names(result: Any) -> list[str]:
    return [event.name for event in result.events]


# Signing in


async def test_a_right_password_makes_a_session_that_owes_the_factor(house: House) -> None:
    house.add()
    result = await house.half()
    assert is_token(result.token)
    assert result.session.owes is Owed.MFA
    assert result.session.expires == NOW + PENDING_S
    assert (result.session.user, result.session.tenant, result.session.roles) == ("alice", "acme", ("client",))
    assert names(result) == ["login.succeeded", "session.created"]
    known = await house.accounts.identify(result.token, client=CLIENT, now=NOW)
    assert known is not None
    assert msgspec.structs.replace(known, subject=None) == result.session


@pytest.mark.parametrize("spelling", ["ALICE", " alice ", "\uff21lice"])
async def test_any_spelling_of_the_name_signs_in(house: House, spelling: str) -> None:
    house.add()
    assert isinstance(await house.password(spelling), SignedIn)


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("alice", "wrong"),
        ("nobody", PASSWORD),
        ("", PASSWORD),
        ("a\x00b", PASSWORD),
        ("alice", ""),
        ("alice", "x" * 100_000),
    ],
)
async def test_wrong_names_and_wrong_passwords_get_the_same_answer(house: House, name: str, password: str) -> None:
    house.add()
    result = refused(await house.password(name, password), Reason.CREDENTIALS_REFUSED)
    assert names(result) == ["login.failed"]
    assert result.retry_after_s == 0


async def test_an_unknown_name_is_not_repeated_in_the_record(house: House) -> None:
    result = refused(await house.password("my-password-typed-here", "x"), Reason.CREDENTIALS_REFUSED)
    assert "my-password" not in repr(result)


async def test_unknown_people_cost_the_same_hashing_as_known_ones(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[bool] = []
    matches = Hasher.matches

    def counting(self: Hasher, phc: str | None, password: str) -> bool:
        hashed.append(phc is not None)
        return matches(self, phc, password)

    monkeypatch.setattr(Hasher, "matches", counting)
    house.add()
    await house.password("alice", "wrong")
    await house.password("nobody", "wrong")
    await house.password("a\x00b", "wrong")
    assert hashed == [True, False, False]


async def test_a_disabled_account_is_refused_like_a_wrong_password(house: House) -> None:
    user = house.add()
    house.store.change_user(user, msgspec.structs.replace(user, disabled=True), now=NOW)
    refused(await house.password(), Reason.CREDENTIALS_REFUSED)


async def test_the_host_of_another_tenant_refuses_and_only_the_record_says_why(house: House) -> None:
    house.add()
    there = msgspec.structs.replace(CLIENT, tenant="globex")
    result = refused(await house.accounts.sign_in("alice", PASSWORD, client=there, now=NOW), Reason.CREDENTIALS_REFUSED)
    assert result.events[0].reason == Reason.TENANT_MISMATCH


async def test_the_session_of_the_cookie_that_came_along_ends(house: House) -> None:
    """ASVS 7.2.4: session fixation."""
    house.add()
    before = await house.whole()
    after = await house.password(now=NOW + 31, replaces=before.token)
    assert isinstance(after, SignedIn)
    assert await house.accounts.identify(before.token, client=CLIENT, now=NOW + 31) is None
    assert isinstance(await house.password(now=NOW + 32, replaces=b"rubbish"), SignedIn)


async def test_an_account_disabled_while_its_password_is_hashed_gets_no_session(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = house.add()
    matches = Hasher.matches

    def meanwhile(self: Hasher, phc: str | None, password: str) -> bool:
        house.store.change_user(user, msgspec.structs.replace(user, disabled=True), now=NOW)
        return matches(self, phc, password)

    monkeypatch.setattr(Hasher, "matches", meanwhile)
    refused(await house.password(), Reason.CREDENTIALS_REFUSED)
    assert house.store.sessions(now=NOW) == []


async def test_a_hash_of_weaker_parameters_is_renewed_at_sign_in(house: House) -> None:
    house.add()
    stronger = Hasher(cheap(time_cost=2))
    accounts = house.with_options(hasher=stronger)
    assert isinstance(await accounts.sign_in("alice", PASSWORD, client=CLIENT, now=NOW), SignedIn)
    user = house.store.user("u_alice")
    assert user is not None
    assert "t=2" in user.password
    assert isinstance(await accounts.sign_in("alice", PASSWORD, client=CLIENT, now=NOW), SignedIn)


async def test_without_mfa_for_all_a_person_without_a_factor_owes_nothing(house: House) -> None:
    house.add(totp=False)
    house.add("bob")
    accounts = house.with_options(mfa_always=False)
    alice = await accounts.sign_in("alice", PASSWORD, client=CLIENT, now=NOW)
    bob = await accounts.sign_in("bob", PASSWORD, client=CLIENT, now=NOW)
    assert isinstance(alice, SignedIn)
    assert isinstance(bob, SignedIn)
    assert (alice.session.owes, bob.session.owes) == (Owed.NOTHING, Owed.MFA)


async def test_a_tenants_lifetimes_hold_for_its_people(house: House) -> None:
    house.add(totp=False)
    short = Lifetimes(idle_s=60, absolute_s=120, concurrent=1)
    book = RuleBook(tenants={"acme": TenantRules(rules=Rules(lifetimes=short))})
    accounts = house.with_options(mfa_always=False, rules=book)
    tokens = []
    for age in range(2):
        result = await accounts.sign_in("alice", PASSWORD, client=CLIENT, now=NOW + age)
        assert isinstance(result, SignedIn)
        tokens.append(result.token)
        assert result.session.expires == NOW + age + 120
    assert await accounts.identify(tokens[0], client=CLIENT, now=NOW + 1) is None
    assert await accounts.identify(tokens[1], client=CLIENT, now=NOW + 1) is not None


# Throttling


async def test_failures_on_every_spelling_count_on_one_account_and_lock_it(house: House) -> None:
    house.add()
    now = NOW
    for attempt in range(10):
        refused(
            await house.password(["alice", "ALICE", " Alice"][attempt % 3], "wrong", now=now),
            Reason.CREDENTIALS_REFUSED,
        )
        now += 60
    locked = refused(await house.password(now=now), Reason.TOO_MANY_ATTEMPTS)
    assert locked.retry_after_s == ACCOUNT.lock_s - 60
    assert names(locked) == ["login.locked"]
    assert isinstance(await house.password(now=now + ACCOUNT.lock_s - 60), SignedIn)


async def test_a_locked_out_password_is_not_even_hashed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.add()
    for attempt in range(4):
        await house.password("alice", "wrong", now=NOW + attempt / 100)

    def never(*_: object) -> bool:
        raise AssertionError("hashed")

    monkeypatch.setattr(Hasher, "matches", never)
    refused(await house.password(now=NOW + 0.1), Reason.TOO_MANY_ATTEMPTS)


async def test_unknown_names_lock_exactly_like_known_ones(house: House) -> None:
    house.add()
    for name in ("alice", "nobody"):
        answers = [await house.password(name, "wrong", now=NOW) for _ in range(6)]
        assert [type(answer).__name__ + str(getattr(answer, "reason", "")) for answer in answers] == [
            "Refusedcredentials_refused"
        ] * 4 + ["Refusedtoo_many_attempts"] * 2


async def test_a_hundred_guesses_at_once_are_not_a_hundred_tries(house: House) -> None:
    house.add()
    results = await asyncio.gather(*(house.password("alice", f"guess {n}") for n in range(25)))
    reasons = [result.reason for result in results if isinstance(result, Refused)]
    assert reasons.count(Reason.CREDENTIALS_REFUSED) == 4
    assert reasons.count(Reason.TOO_MANY_ATTEMPTS) == 21


async def test_spraying_one_password_over_many_accounts_locks_the_network_and_not_the_accounts(house: House) -> None:
    house.add()
    for number in range(31):
        await house.password(f"person{number}", "Summer is here!")
    refused(await house.password(), Reason.TOO_MANY_ATTEMPTS)
    elsewhere = msgspec.structs.replace(CLIENT, ip="198.51.100.7")
    assert isinstance(await house.accounts.sign_in("alice", PASSWORD, client=elsewhere, now=NOW), SignedIn)


async def test_an_overload_is_said_and_charges_nobody(house: House) -> None:
    house.add()
    full = BoundedExecutor("hashing", threads=1, waiting=0)
    accounts = Accounts(
        house.store,
        options=AccountOptions(issuer="x"),
        keyring=house.keyring,
        hasher=house.hasher,
        breached=None,
        store_executor=house.executors[0],
        hashing_executor=full,
    )
    full._places.acquire()
    for _ in range(20):
        with pytest.raises(OverloadedError):
            await accounts.sign_in("alice", PASSWORD, client=CLIENT, now=NOW)
    full._places.release()
    assert isinstance(await accounts.sign_in("alice", PASSWORD, client=CLIENT, now=NOW), SignedIn)
    full.close()


# The second factor


async def test_the_code_makes_the_session_whole_under_a_new_token(house: House) -> None:
    house.add()
    first = await house.half()
    result = await house.accounts.verify_code(first.token, code_at(NOW), client=CLIENT, now=NOW)
    assert isinstance(result, SignedIn)
    assert result.token != first.token
    assert (result.session.owes, result.session.amr, result.session.mfa_time) == (
        Owed.NOTHING,
        ("pwd", "otp", "mfa"),
        NOW,
    )
    assert result.session.handle == first.session.handle
    assert names(result) == ["factor.verified", "session.rotated", "device.added"]
    assert await house.accounts.identify(first.token, client=CLIENT, now=NOW) is None


async def test_a_replayed_code_is_refused_in_another_session_of_the_same_person(house: House) -> None:
    """ASVS 6.5.1, RFC 6238 section 5.2."""
    house.add()
    await house.whole()
    second = await house.half(now=NOW + 1)
    refused(
        await house.accounts.verify_code(second.token, code_at(NOW), client=CLIENT, now=NOW + 1), Reason.CODE_REFUSED
    )


async def test_of_two_browsers_with_the_same_code_at_once_exactly_one_gets_in(house: House) -> None:
    house.add()
    halves = [await house.half() for _ in range(4)]
    results = await asyncio.gather(
        *(house.accounts.verify_code(half.token, code_at(NOW), client=CLIENT, now=NOW) for half in halves)
    )
    assert sum(isinstance(result, SignedIn) for result in results) == 1


async def test_five_wrong_codes_lock_the_factor_for_every_session(house: House) -> None:
    house.add()
    first = await house.half()
    for _ in range(5):
        wrong = refused(
            await house.accounts.verify_code(first.token, "000000", client=CLIENT, now=NOW), Reason.CODE_REFUSED
        )
        assert names(wrong) == ["factor.failed"]
    second = await house.half()
    locked = refused(
        await house.accounts.verify_code(second.token, code_at(NOW), client=CLIENT, now=NOW), Reason.TOO_MANY_ATTEMPTS
    )
    assert locked.retry_after_s == 60
    later = NOW + 60
    assert isinstance(
        await house.accounts.verify_code(second.token, code_at(later), client=CLIENT, now=later), SignedIn
    )


async def test_an_empty_code_is_refused_and_charged_to_nobody(house: House) -> None:
    house.add()
    first = await house.half()
    for _ in range(9):
        refused(await house.accounts.verify_code(first.token, " ", client=CLIENT, now=NOW), Reason.CODE_REFUSED)
    assert isinstance(await house.accounts.verify_code(first.token, code_at(NOW), client=CLIENT, now=NOW), SignedIn)


async def test_a_token_of_another_host_scheme_tenant_or_form_is_no_session(house: House) -> None:
    house.add()
    first = await house.half()
    for client in (
        msgspec.structs.replace(CLIENT, host="other.example.com"),
        msgspec.structs.replace(CLIENT, secure=False),
        msgspec.structs.replace(CLIENT, tenant="globex"),
    ):
        assert await house.accounts.identify(first.token, client=client, now=NOW) is None
        refused(
            await house.accounts.verify_code(first.token, code_at(NOW), client=client, now=NOW), Reason.SESSION_EXPIRED
        )
    refused(await house.accounts.verify_code(b"rubbish", code_at(NOW), client=CLIENT, now=NOW), Reason.SESSION_EXPIRED)
    assert isinstance(await house.accounts.verify_code(first.token, code_at(NOW), client=CLIENT, now=NOW), SignedIn)


async def test_a_half_session_is_over_after_ten_minutes(house: House) -> None:
    house.add()
    first = await house.half()
    late = NOW + PENDING_S
    refused(
        await house.accounts.verify_code(first.token, code_at(late), client=CLIENT, now=late), Reason.SESSION_EXPIRED
    )


async def test_a_whole_session_steps_up_with_a_fresh_code(house: House) -> None:
    house.add()
    whole = await house.whole()
    later = NOW + 600
    result = await house.accounts.verify_code(whole.token, code_at(later), client=CLIENT, now=later)
    assert isinstance(result, SignedIn)
    assert (result.session.mfa_time, result.session.expires) == (later, whole.session.expires)


# Enrolment and recovery


async def enrolled(house: House, *, now: float = NOW) -> tuple[Enrolled, str]:
    first = await house.half(now=now)
    begun = await house.accounts.begin_enrolment(first.token, client=CLIENT, now=now)
    assert isinstance(begun, Enrolment)
    result = await house.accounts.confirm_enrolment(first.token, code_at(now, begun.secret), client=CLIENT, now=now)
    assert isinstance(result, Enrolled)
    return result, begun.secret


async def test_a_person_without_a_factor_enrols_one_and_gets_ten_codes(house: House) -> None:
    house.add(totp=False)
    first = await house.half()
    assert first.session.owes is Owed.ENROLMENT
    other = await house.half()
    begun = await house.accounts.begin_enrolment(first.token, client=CLIENT, now=NOW)
    assert isinstance(begun, Enrolment)
    assert begun.uri.startswith("otpauth://totp/portal.example.com:alice?secret=")
    refused(await house.accounts.confirm_enrolment(first.token, "000000", client=CLIENT, now=NOW), Reason.CODE_REFUSED)
    result = await house.accounts.confirm_enrolment(first.token, code_at(NOW, begun.secret), client=CLIENT, now=NOW)
    assert isinstance(result, Enrolled)
    assert len(set(result.recovery_codes)) == 10
    assert result.session.owes is Owed.NOTHING
    assert names(result) == ["factor.enrolled", "session.rotated", "device.added", "session.revoked"]
    for dead in (first.token, other.token):
        assert await house.accounts.identify(dead, client=CLIENT, now=NOW) is None


async def test_showing_the_enrolment_again_keeps_its_secret(house: House) -> None:
    house.add(totp=False)
    first = await house.half()
    shown = [await house.accounts.begin_enrolment(first.token, client=CLIENT, now=NOW + age) for age in (0, 300)]
    assert shown[0] == shown[1]


async def test_the_code_of_the_enrolment_cannot_be_used_again(house: House) -> None:
    house.add(totp=False)
    _, secret = await enrolled(house)
    again = await house.half()
    refused(
        await house.accounts.verify_code(again.token, code_at(NOW, secret), client=CLIENT, now=NOW), Reason.CODE_REFUSED
    )


async def test_a_half_session_cannot_enrol_over_the_factor_it_owes(house: House) -> None:
    """Attack: only the password is stolen."""
    house.add()
    first = await house.half()
    refused(await house.accounts.begin_enrolment(first.token, client=CLIENT, now=NOW), Reason.MFA_REQUIRED)
    refused(
        await house.accounts.confirm_enrolment(first.token, code_at(NOW), client=CLIENT, now=NOW), Reason.MFA_REQUIRED
    )


async def test_replacing_a_factor_needs_a_code_of_the_old_one(house: House) -> None:
    house.add()
    whole = await house.whole()
    refused(
        await house.accounts.begin_enrolment(whole.token, client=CLIENT, now=NOW + 30), Reason.FRESH_SIGN_IN_REQUIRED
    )
    refused(
        await house.accounts.begin_enrolment(whole.token, client=CLIENT, now=NOW + 30, code="000000"),
        Reason.CODE_REFUSED,
    )
    begun = await house.accounts.begin_enrolment(whole.token, client=CLIENT, now=NOW + 30, code=code_at(NOW + 30))
    assert isinstance(begun, Enrolment)
    assert [event.name for event in begun.events] == ["factor.verified"], "the code that was spent is in the record"
    again = await house.accounts.begin_enrolment(whole.token, client=CLIENT, now=NOW + 31)
    assert isinstance(again, Enrolment)
    assert (again.secret, again.uri, again.expires, again.events) == (begun.secret, begun.uri, begun.expires, ())
    result = await house.accounts.confirm_enrolment(
        whole.token, code_at(NOW + 31, begun.secret), client=CLIENT, now=NOW + 31
    )
    assert isinstance(result, Enrolled)
    factor = house.store.factor("u_alice")
    assert factor is not None
    assert factor.secret == begun.secret


async def test_an_old_session_without_a_factor_gives_its_password_again_before_it_enrols_one(house: House) -> None:
    house.add(totp=False)
    accounts = house.with_options(mfa_always=False)
    first = await accounts.sign_in("alice", PASSWORD, client=CLIENT, now=NOW)
    assert isinstance(first, SignedIn)
    source = SQLiteSessions(house.rows, house.store)
    source.seen_writer()([(NOW + 890, row_of(first.token), first.session)])
    refused(await accounts.begin_enrolment(first.token, client=CLIENT, now=NOW + 900), Reason.FRESH_SIGN_IN_REQUIRED)
    assert isinstance(await accounts.begin_enrolment(first.token, client=CLIENT, now=NOW + 899), Enrolment)


async def test_confirming_without_an_enrolment_is_an_expired_form(house: House) -> None:
    house.add(totp=False)
    first = await house.half()
    refused(await house.accounts.confirm_enrolment(first.token, "123456", client=CLIENT, now=NOW), Reason.FORM_EXPIRED)
    refused(await house.accounts.confirm_enrolment(b"x", "123456", client=CLIENT, now=NOW), Reason.SESSION_EXPIRED)
    refused(
        await house.accounts.verify_code(first.token, "123456", client=CLIENT, now=NOW), Reason.MFA_ENROLMENT_REQUIRED
    )


async def test_a_recovery_code_signs_in_once_however_it_is_typed(house: House) -> None:
    house.add(totp=False)
    result, _ = await enrolled(house)
    typed = result.recovery_codes[0].upper().replace("-", " ")
    for expected in (SignedIn, Refused):
        first = await house.half(now=NOW + 1)
        answer = await house.accounts.verify_code(first.token, typed, client=CLIENT, now=NOW + 1)
        assert isinstance(answer, expected)
        if isinstance(answer, SignedIn):
            assert names(answer) == ["factor.verified", "recovery.used", "session.rotated", "device.added"]
            view = await house.accounts.account(answer.token, client=CLIENT, now=NOW + 1)
            assert isinstance(view, AccountView)
            assert view.recovery_codes_left == 9


async def test_recovery_codes_that_are_switched_off_neither_exist_nor_work(house: House) -> None:
    house.add(totp=False)
    result, _ = await enrolled(house)
    house.accounts = house.with_options(recovery_codes=False)
    first = await house.half(now=NOW + 1)
    refused(
        await house.accounts.verify_code(first.token, result.recovery_codes[0], client=CLIENT, now=NOW + 1),
        Reason.CODE_REFUSED,
    )


async def test_new_recovery_codes_need_a_code_and_void_the_old_ones(house: House) -> None:
    house.add(totp=False)
    result, secret = await enrolled(house)
    later = NOW + 30
    refused(
        await house.accounts.replace_recovery_codes(result.token, "", client=CLIENT, now=later),
        Reason.FRESH_SIGN_IN_REQUIRED,
    )
    fresh = await house.accounts.replace_recovery_codes(result.token, code_at(later, secret), client=CLIENT, now=later)
    assert isinstance(fresh, RecoveryCodes)
    assert names(fresh) == ["factor.verified", "recovery.replaced"]
    assert not set(fresh.codes) & set(result.recovery_codes)
    first = await house.half(now=later)
    refused(
        await house.accounts.verify_code(first.token, result.recovery_codes[1], client=CLIENT, now=later),
        Reason.CODE_REFUSED,
    )
    assert isinstance(await house.accounts.verify_code(first.token, fresh.codes[0], client=CLIENT, now=later), SignedIn)


# The account


async def test_the_account_shows_the_persons_own_sessions_current_first(house: House) -> None:
    house.add()
    house.add("bob")
    first = await house.whole()
    second = await house.whole(now=NOW + 60)
    view = await house.accounts.account(first.token, client=CLIENT, now=NOW + 60)
    assert isinstance(view, AccountView)
    assert [(device.handle, device.current) for device in view.devices] == [
        (first.session.handle, True),
        (second.session.handle, False),
    ]
    assert (view.has_totp, view.recovery_codes_left, view.password_changed) == (True, 0, NOW)
    assert view.devices[0].user_agent == "Firefox"


async def test_a_half_session_sees_and_changes_nothing(house: House) -> None:
    house.add()
    half = (await house.half()).token
    accounts, now = house.accounts, NOW
    refused(await accounts.account(half, client=CLIENT, now=now), Reason.MFA_REQUIRED)
    refused(await accounts.revoke_others(half, client=CLIENT, now=now), Reason.MFA_REQUIRED)
    refused(await accounts.revoke_session(half, "s_1", client=CLIENT, now=now), Reason.MFA_REQUIRED)
    refused(await accounts.change_password(half, PASSWORD, NEW, client=CLIENT, now=now), Reason.MFA_REQUIRED)
    refused(await accounts.replace_recovery_codes(half, code_at(now), client=CLIENT, now=now), Reason.MFA_REQUIRED)


async def test_sessions_are_revoked_one_by_one_or_all_others_and_never_other_peoples(house: House) -> None:
    house.add()
    house.add("bob")
    mine = [await house.whole(now=NOW + 30 * age) for age in range(3)]
    now = NOW + 90
    theirs = await house.password("bob", now=now)
    assert isinstance(theirs, SignedIn)
    for handle in (theirs.session.handle, "s_" + "0" * 32, "rubbish"):
        none = await house.accounts.revoke_session(mine[0].token, handle, client=CLIENT, now=now)
        assert none == Done(count=0, events=())
    one = await house.accounts.revoke_session(mine[0].token, mine[1].session.handle, client=CLIENT, now=now)
    assert isinstance(one, Done)
    assert (one.count, names(one), one.events[0].session) == (1, ["session.revoked"], mine[1].session.handle)
    others = await house.accounts.revoke_others(mine[0].token, client=CLIENT, now=now)
    assert isinstance(others, Done)
    assert others.count == 1
    alive = [await house.accounts.identify(s.token, client=CLIENT, now=now) is not None for s in (*mine, theirs)]
    assert alive == [True, False, False, True]


async def test_signing_out_ends_the_session_and_twice_is_fine(house: House) -> None:
    house.add()
    whole = await house.whole()
    done = await house.accounts.sign_out(whole.token, client=CLIENT, now=NOW)
    assert (done.count, names(done)) == (1, ["logout"])
    assert await house.accounts.identify(whole.token, client=CLIENT, now=NOW) is None
    assert await house.accounts.sign_out(whole.token, client=CLIENT, now=NOW) == Done(count=0, events=())


# Passwords


async def test_a_password_change_rotates_this_session_and_ends_the_others(house: House) -> None:
    house.add()
    other = await house.whole()
    mine = await house.whole(now=NOW + 30)
    now = NOW + 60
    result = await house.accounts.change_password(mine.token, PASSWORD, NEW, client=CLIENT, now=now, code=code_at(now))
    assert isinstance(result, SignedIn)
    assert names(result) == ["factor.verified", "password.changed", "session.rotated", "session.revoked"]
    for dead in (other.token, mine.token):
        assert await house.accounts.identify(dead, client=CLIENT, now=now) is None
    assert await house.accounts.identify(result.token, client=CLIENT, now=now) is not None
    refused(await house.password(now=now), Reason.CREDENTIALS_REFUSED)
    assert isinstance(await house.password(password=NEW, now=now), SignedIn)


async def test_a_password_change_needs_the_current_password_and_a_fresh_code(house: House) -> None:
    house.add()
    whole, now = await house.whole(), NOW + 30
    change: Callable[..., Any] = house.accounts.change_password
    refused(
        await change(whole.token, "wrong", NEW, client=CLIENT, now=now, code=code_at(now)), Reason.CREDENTIALS_REFUSED
    )
    refused(await change(whole.token, PASSWORD, NEW, client=CLIENT, now=now), Reason.FRESH_SIGN_IN_REQUIRED)
    refused(await change(whole.token, PASSWORD, NEW, client=CLIENT, now=now, code="000000"), Reason.CODE_REFUSED)
    assert isinstance(await change(whole.token, PASSWORD, NEW, client=CLIENT, now=now, code=code_at(now)), SignedIn)


@pytest.mark.parametrize(
    ("new", "words"),
    [("short", "too short"), ("qwertyuiop12345", "breaches"), ("alice@example.com", "name"), ("x" * 129, "too long")],
)
async def test_a_bad_new_password_is_refused_with_a_sentence_before_a_code_is_spent(
    house: House, new: str, words: str
) -> None:
    house.add()
    whole, now = await house.whole(), NOW + 30
    result = refused(
        await house.accounts.change_password(whole.token, PASSWORD, new, client=CLIENT, now=now, code=code_at(now)),
        Reason.PASSWORD_REFUSED,
    )
    assert words in result.problem
    assert isinstance(
        await house.accounts.change_password(whole.token, PASSWORD, NEW, client=CLIENT, now=now, code=code_at(now)),
        SignedIn,
    )


async def test_guessing_the_current_password_from_a_stolen_session_is_throttled(house: House) -> None:
    house.add()
    whole = await house.whole()
    for _ in range(4):
        refused(
            await house.accounts.change_password(whole.token, "guess", NEW, client=CLIENT, now=NOW),
            Reason.CREDENTIALS_REFUSED,
        )
    refused(
        await house.accounts.change_password(whole.token, PASSWORD, NEW, client=CLIENT, now=NOW),
        Reason.TOO_MANY_ATTEMPTS,
    )


class _Online(OnlineBreachedPasswords):
    """The range API at an address where nobody listens."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1/range/")


async def test_when_the_online_list_cannot_be_asked_no_new_password_is_taken(house: House) -> None:
    house.add(totp=False)
    accounts = house.with_options(mfa_always=False, online=_Online())
    first = await accounts.sign_in("alice", PASSWORD, client=CLIENT, now=NOW)
    assert isinstance(first, SignedIn)
    result = await accounts.change_password(first.token, PASSWORD, NEW, client=CLIENT, now=NOW)
    assert "cannot be checked" in refused(result, Reason.PASSWORD_REFUSED).problem


# The store is down


async def test_a_missing_store_is_an_error_and_never_a_sign_out(house: House, state_dir: Path) -> None:
    house.add()
    whole = await house.whole()
    (state_dir / "state.sqlite3").rename(state_dir / "away")
    with pytest.raises(StoreUnavailableError):
        await house.accounts.identify(whole.token, client=CLIENT, now=NOW)
    with pytest.raises(StoreUnavailableError):
        await house.password()
    (state_dir / "away").rename(state_dir / "state.sqlite3")
    assert await house.accounts.identify(whole.token, client=CLIENT, now=NOW) is not None
