"""On whom a try is counted: strangers, known devices, and every name of one person."""

from __future__ import annotations

import os
import string
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.authn.throttle import ACCOUNT
from gateway.session.device import make_device
from gateway.store.admission import Admission, Admissions
from gateway.store.attempts import AttemptKeys
from gateway.store.keyring import Keyring
from gateway.store.openings import Client
from gateway.store.principals import find_principal
from gateway.store.records import User
from gateway.store.state import Store, open_store
from gateway.store.tables import ATTEMPTS

NOW = 1_800_000_000.0
HOST = "portal.example.com"
LOCK = ACCOUNT.lock_at


class Door:
    """Admissions over one store."""

    def __init__(self, state_dir: Path) -> None:
        keyring = Keyring.generate(os.urandom, NOW)
        self.store: Store = open_store(state_dir, keyring, create=True)
        self.admissions = Admissions(self.store, AttemptKeys(keyring))
        self.now = NOW

    def add(self, name: str, email: str = "", **more: object) -> User:
        user = User(
            id=f"u_{name}",
            stamp="1",
            name=name,
            tenant="acme",
            roles=(),
            email=email,
            password="x",
            password_changed=NOW,
            created=NOW,
        )
        user = msgspec.structs.replace(user, **more)
        assert self.store.add_user(user, now=NOW)
        return user

    def know(self, user: User) -> bytes:
        """Have the person signed in with a browser before; returns its cookie."""
        cookie = make_device(os.urandom(32))
        self.store.devices.mark(b"", user_id=user.id, host=HOST, renewed=cookie, name=os.urandom(8).hex(), now=self.now)
        return cookie

    def attempt(self, typed: str, *, ip: str = "192.0.2.1", device: bytes = b"", host: str = HOST) -> Admission:
        """Try once, after a pause that no delay outlasts but a lock-out does."""
        self.now += 130
        client = Client(ip=ip, host=host, secure=True, device=device)
        return self.admissions.admit(typed, client=client, now=self.now)

    def lock(self, typed: str) -> None:
        """Fail often enough, from one network after the other."""
        for number in range(LOCK):
            assert self.attempt(typed, ip=f"198.51.100.{number}").charged

    def forget(self) -> None:
        self.store.rows.clear(ATTEMPTS)


@pytest.fixture
def door(state_dir: Path) -> Iterator[Door]:
    door = Door(state_dir)
    yield door
    door.store.close()


def test_strangers_lock_nobody_out_of_a_device_that_signed_in_before(door: Door) -> None:
    alice = door.add("alice")
    device = door.know(alice)
    door.lock("alice")
    assert door.attempt("alice", ip="203.0.113.9").told_s > 0
    known = door.attempt("alice", device=device)
    assert (known.told_s, known.is_held) == (0, False)


def test_strangers_in_the_same_network_lock_nobody_out_of_a_known_device(door: Door) -> None:
    alice = door.add("alice")
    device = door.know(alice)
    for number in range(130):
        door.attempt(f"somebody{number}", ip="192.0.2.1")
    assert door.attempt("alice", ip="192.0.2.1").told_s > 0
    assert door.attempt("alice", ip="192.0.2.1", device=device).charged


def test_a_known_device_is_no_licence_to_guess(door: Door) -> None:
    """A stolen cookie gives as many tries as a stranger has, and no more."""
    alice = door.add("alice")
    device = door.know(alice)
    for _ in range(LOCK):
        assert door.attempt("alice", device=device).charged
    assert door.attempt("alice", device=device).told_s > 0
    assert door.attempt("alice", ip="203.0.113.9").charged, "and locks nobody else out"


def test_a_device_is_known_for_its_person_and_host_alone(door: Door) -> None:
    alice, bob = door.add("alice"), door.add("bob")
    device = door.know(bob)
    door.lock("alice")
    assert door.attempt("alice", device=device, ip="203.0.113.9").told_s > 0
    own = door.know(alice)
    assert door.attempt("alice", device=own, ip="203.0.113.9", host="other.example.com").told_s > 0


@pytest.mark.parametrize("device", [b"", b"gwd_", b"x" * 47, b"\xff" * 47])
def test_what_is_no_device_cookie_is_a_stranger(door: Door, device: bytes) -> None:
    door.add("alice")
    door.lock("alice")
    assert door.attempt("alice", device=device, ip="203.0.113.9").told_s > 0


def test_cve_2025_24806_47203_name_and_address_of_one_person_share_one_count(door: Door) -> None:
    door.add("alice", "alice@example.com")
    for number in range(LOCK // 2):
        assert door.attempt("alice", ip=f"198.51.100.{number}").charged
        assert door.attempt("ALICE@Example.com", ip=f"198.51.101.{number}").charged
    for typed in ("alice", "alice@example.com"):
        held = door.attempt(typed, ip="203.0.113.9")
        assert held.is_held, typed
        assert held.told_s == 0, "what was not typed so often is not told: one name would tell the other"


def test_an_account_that_is_held_stays_so_under_either_name_and_is_told_of_neither_as_the_others(door: Door) -> None:
    door.add("alice", "alice@example.com")
    door.lock("alice")
    assert door.attempt("alice", ip="203.0.113.9").told_s > 0
    by_address = door.attempt("alice@example.com", ip="203.0.113.9")
    assert (by_address.told_s, by_address.is_held) == (0, True)
    unknown = door.attempt("nobody@example.com", ip="203.0.113.9")
    assert unknown.told_s == 0


def test_a_name_that_nobody_has_is_locked_as_one_that_somebody_has(door: Door) -> None:
    door.add("alice")
    waits = []
    for typed in ("alice", "nobody"):
        door.now = NOW
        door.lock(typed)
        waits.append(door.attempt(typed, ip="203.0.113.9").told_s)
    assert waits[0] == waits[1] > 0


def test_the_address_of_several_accounts_and_of_people_of_a_provider_names_nobody(door: Door) -> None:
    door.add("alice", "shared@example.com")
    door.add("bob", "shared@example.com")
    door.add("carol", "carol@example.com", provider="okta", password="")
    for typed in ("shared@example.com", "carol@example.com"):
        assert find_principal(door.store.people, typed).user is None
    assert len(find_principal(door.store.people, "shared@example.com").several) == 2


def test_nobody_takes_a_name_by_an_address(door: Door) -> None:
    """The account whose name looks like an address is the one that is meant by it."""
    named = door.add("alice@example.com")
    door.add("mallory", "alice@example.com")
    assert find_principal(door.store.people, "alice@example.com").user == named


def test_a_tag_in_an_address_is_another_mailbox(door: Door) -> None:
    door.add("alice", "alice@example.com")
    assert find_principal(door.store.people, "alice+shop@example.com").user is None


def test_a_success_forgives_the_person_and_not_the_network(door: Door) -> None:
    door.add("alice")
    tries = [door.attempt("alice") for _ in range(LOCK - 1)]
    door.admissions.settle(tries[-1])
    assert all(door.attempt("alice", ip=f"198.51.100.{number}").charged for number in range(LOCK))


def test_an_overload_costs_nothing(door: Door) -> None:
    door.add("alice")
    for number in range(3 * LOCK):
        door.admissions.forgive(door.attempt("alice", ip=f"198.51.100.{number}"))


SPELLINGS = st.sampled_from(["alice", "alice@example.com"]).flatmap(
    lambda name: st.tuples(
        *(
            st.sampled_from(sorted({letter, letter.upper(), chr(ord(letter) + 0xFEE0)}))
            if letter in string.ascii_lowercase
            else st.just(letter)
            for letter in name
        )
    ).map("".join)
)
SPACES = st.text(" \t\u00a0\u2003", max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(SPACES, SPELLINGS, SPACES)
def test_every_spelling_of_a_name_is_one_principal(door: Door, before: str, spelling: str, after: str) -> None:
    """Case, full width, spaces: CVE-2025-24806, CVE-2026-47203."""
    if door.store.user_named("alice") is None:
        door.add("alice", "alice@example.com")
    door.forget()
    plain = "alice@example.com" if "@" in spelling else "alice"
    found = find_principal(door.store.people, f"{before}{spelling}{after}")
    assert found.user is not None
    assert found.user.name == "alice"
    assert found.text == plain
    door.now = NOW
    for number in range(LOCK):
        door.attempt(f"{before}{spelling}{after}" if number % 2 else plain, ip=f"198.51.100.{number}")
    assert door.attempt(plain, ip="203.0.113.9").told_s > 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5000), st.booleans()), max_size=60))
def test_whatever_strangers_do_a_known_device_has_its_own_count(
    door: Door, story: list[tuple[bool, float, bool]]
) -> None:
    """However many tries strangers make, in whatever rhythm, the first tries of a known device are let through."""
    alice = door.store.user_named("alice") or door.add("alice", "alice@example.com")
    door.forget()
    device = door.know(alice)
    for by_name, pause, near in story:
        door.now += pause
        door.attempt("alice" if by_name else "alice@example.com", ip="192.0.2.1" if near else "198.51.100.7")
    for _ in range(ACCOUNT.free):
        assert door.attempt("alice", device=device).charged


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.text(max_size=300))
def test_any_text_is_somebody_or_nobody(door: Door, typed: str) -> None:
    admission = door.attempt(typed, ip="203.0.113.1")
    assert admission.user is None
    door.forget()


def test_person_of_a_provider_takes_nobody_s_address_by_choosing_it_as_a_name(door: Door) -> None:
    """attack: a name at a provider that is the address of somebody here, who then cannot sign in or reset by it."""
    owner = door.add("alice", "alice@acme.example")
    squatter = door.add("alice@acme.example", password="", provider="okta", issuer="https://okta.example", subject="7")
    assert find_principal(door.store.people, "Alice@acme.example").user == owner
    other = door.add("bob@acme.example", password="", provider="okta", issuer="https://okta.example", subject="8")
    assert find_principal(door.store.people, "bob@acme.example").user == other
    assert find_principal(door.store.people, squatter.name).user == owner


def test_detectors_hold_strangers_and_no_device_that_is_known(door: Door) -> None:
    alice = door.add("alice", "alice@acme.example")
    browser = door.know(alice)
    keys = AttemptKeys(Keyring.generate(os.urandom, NOW))
    held = {keys.watched("alice")}
    admissions = Admissions(door.store, keys, lambda account, _: account in held)
    strange, known = (Client(ip="203.0.113.9", host=HOST, secure=True, device=device) for device in (b"", browser))
    assert admissions.admit("Alice", client=strange, now=NOW).is_held
    by_address = admissions.admit("alice@acme.example", client=strange, now=NOW)
    assert by_address.is_held, "whichever of its names is typed"
    assert by_address.account == keys.watched("alice")
    assert not admissions.admit("alice", client=known, now=NOW).is_held
    assert not admissions.admit("bob", client=strange, now=NOW).is_held


def test_a_name_that_nobody_has_is_known_to_detectors_by_a_digest_alone(door: Door) -> None:
    keys = AttemptKeys(Keyring.generate(os.urandom, NOW))
    admission = Admissions(door.store, keys).admit("hunter2", client=Client(ip="::1", host=HOST, secure=True), now=NOW)
    assert admission.account == keys.watched("hunter2")
    assert "hunter2" not in admission.account
