"""What a session owes when it opens: the rule, what is unusual, and devices that are remembered."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.authn.assurance import FactorRule, Method, Required, Signal
from gateway.exchange.session import Owed, Session
from gateway.store.account_options import AccountOptions
from gateway.store.openings import RESET_S, Client, Openings, SignedIn
from gateway.store.records import Factor, User
from gateway.store.state import Store

NOW = 1_000_000.0
HOME = Client(ip="192.0.2.1", host="portal.example.com", secure=True, user_agent="Firefox")
ABROAD = msgspec.structs.replace(HOME, ip="198.51.100.1")
COUNTRIES = {"192.0.2.1": "DE", "192.0.2.99": "DE", "198.51.100.1": "FR"}
DAYS_S = 86_400.0
BOTH = frozenset({Method.TOTP, Method.WEBAUTHN})


class House:
    """Openings by one rule, and a person with an app."""

    def __init__(self, store: Store, user: User, **rule: Any) -> None:
        self.store = store
        self.user = user
        given = FactorRule(**({"required": Required.ALWAYS, "methods": BOTH} | rule))
        options = AccountOptions(issuer="x", factor_rule=given)
        self.openings = Openings(store, options=options, country=lambda ip: COUNTRIES.get(ip, ""))
        store.put_factor(user.id, Factor(secret="A" * 16, created=NOW), [], now=NOW)

    def open(self, client: Client = HOME, *, now: float = NOW, **more: Any) -> SignedIn:
        opened = self.openings.open(self.user, amr=("pwd",), client=client, now=now, **more)
        assert isinstance(opened, SignedIn)
        return opened

    def prove(self, opened: SignedIn, client: Client = HOME, *, now: float = NOW, remember: bool = False) -> SignedIn:
        proven = self.openings.elevate(opened.token, method="otp", client=client, now=now, remember=remember)
        assert isinstance(proven, SignedIn)
        return proven

    def known(self, *, remember: bool = False, now: float = NOW) -> Client:
        """Sign in whole; the browser as it is afterwards."""
        opened = self.open(now=now)
        proven = self.prove(opened, now=now, remember=remember) if opened.session.owes else opened
        return msgspec.structs.replace(HOME, device=proven.device)


@pytest.fixture
def make(store: Store, add_user: Any) -> Any:
    def make(**rule: Any) -> House:
        user = add_user()
        assert isinstance(user, User)
        return House(store, user, **rule)

    return make


# Risk


def test_risk_asks_nobody_on_a_device_that_is_known(make: Any) -> None:
    house = make(required=Required.RISK)
    first = house.open()
    assert first.session.owes is Owed.MFA, "a browser that nobody has seen"
    client = msgspec.structs.replace(HOME, device=house.prove(first).device)
    assert house.open(client, now=NOW + 60).session.owes is Owed.NOTHING


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"device": b""}, "another browser"),
        ({"ip": "198.51.100.1"}, "another country"),
        ({"ip": "192.0.2.99"}, "another network"),
    ],
)
def test_risk_asks_when_something_is_unusual(make: Any, change: dict[str, Any], what: str) -> None:
    house = make(required=Required.RISK)
    client = msgspec.structs.replace(house.known(), **change)
    assert house.open(client, now=NOW + 60).session.owes is Owed.MFA, what


def test_risk_asks_after_many_failures_and_after_a_new_password(make: Any, store: Store) -> None:
    house = make(required=Required.RISK)
    client = house.known()
    signals = frozenset({Signal.MANY_FAILURES})
    asked = house.open(client, now=NOW + 60, signals=signals)
    assert asked.session.owes is Owed.MFA
    user = store.user(house.user.id)
    assert user is not None
    changed = store.change_user(user, msgspec.structs.replace(user, password_changed=NOW + 100), now=NOW + 100)
    assert changed is not None
    house.user = changed[0]
    assert house.open(client, now=NOW + 200).session.owes is Owed.MFA
    assert house.open(client, now=NOW + 100 + RESET_S).session.owes is Owed.NOTHING


# Remembered devices


def test_a_remembered_device_brings_the_time_of_its_proof_along(make: Any) -> None:
    house = make(remember_s=30 * DAYS_S)
    client = house.known(remember=True)
    session = house.open(client, now=NOW + DAYS_S).session
    assert (session.owes, session.mfa_time) == (Owed.NOTHING, NOW)
    assert "mfa" not in session.amr


def test_nobody_is_remembered_who_did_not_ask_for_it(make: Any) -> None:
    house = make(remember_s=30 * DAYS_S)
    assert house.open(house.known(), now=NOW + 60).session.owes is Owed.MFA


def test_nobody_is_remembered_where_the_rule_says_nothing_of_it(make: Any) -> None:
    house = make()
    assert house.open(house.known(remember=True), now=NOW + 60).session.owes is Owed.MFA


def test_roles_that_are_never_remembered_are_asked_each_time(make: Any) -> None:
    house = make(remember_s=30 * DAYS_S, never_remembered=frozenset({"client"}))
    proven = house.prove(house.open(), remember=True)
    assert "device.remembered" not in [event.name for event in proven.events]
    client = msgspec.structs.replace(HOME, device=proven.device)
    assert house.open(client, now=NOW + 60).session.owes is Owed.MFA


def test_a_device_is_remembered_for_its_time_and_is_asked_then(make: Any) -> None:
    house = make(remember_s=30 * DAYS_S)
    client = house.known(remember=True)
    assert house.open(client, now=NOW + 30 * DAYS_S).session.owes is Owed.MFA


@pytest.mark.parametrize("required", [Required.ALWAYS, Required.RISK, Required.ENROLLED])
def test_an_emergency_asks_for_its_factor_on_the_browser_of_the_emergency_before(make: Any, required: Required) -> None:
    """Attack: the browser was remembered then, and somebody has the password without the rest of the envelope."""
    house = make(required=required, remember_s=30 * DAYS_S)
    client = house.known(remember=True)
    client = msgspec.structs.replace(client, device=house.open(client, now=NOW + 60).device or client.device)
    changed = house.store.change_user(house.user, msgspec.structs.replace(house.user, until=NOW + 3600), now=NOW)
    assert changed is not None
    house.user = changed[0]
    assert house.open(client, now=NOW + 120).session.owes is Owed.MFA


def test_a_copy_of_the_cookie_is_worth_nothing_once_it_was_used(make: Any) -> None:
    house = make(remember_s=30 * DAYS_S)
    stolen = house.known(remember=True)
    assert house.open(stolen, now=NOW + 3600).session.owes is Owed.NOTHING
    assert house.open(stolen, now=NOW + 7200).session.owes is Owed.MFA


def test_a_remembered_device_in_another_country_is_asked(make: Any) -> None:
    house = make(remember_s=30 * DAYS_S)
    client = msgspec.structs.replace(house.known(remember=True), ip=ABROAD.ip)
    assert house.open(client, now=NOW + 60).session.owes is Owed.MFA


def test_a_change_of_factors_forgets_what_was_remembered(make: Any, store: Store) -> None:
    house = make(remember_s=30 * DAYS_S)
    client = house.known(remember=True)
    assert store.rows.transact(lambda tx: store.devices.ask_again_in(tx, house.user.id, now=NOW)) == 1
    assert house.open(client, now=NOW + 60).session.owes is Owed.MFA


# Methods that are no longer allowed


def test_whoever_has_only_a_method_that_is_forbidden_by_now_proves_it_and_sets_up_another(make: Any) -> None:
    house = make(methods=frozenset({Method.WEBAUTHN}))
    opened = house.open()
    assert opened.session.owes is Owed.MFA
    proven: Session = house.prove(opened).session
    assert proven.owes is Owed.ENROLMENT
    assert "mfa" in proven.amr


# Roles


def test_by_role_asks_those_who_hold_one_and_whoever_has_a_factor(make: Any, store: Store) -> None:
    house = make(required=Required.BY_ROLE, roles=frozenset({"admin"}))
    assert house.open().session.owes is Owed.MFA
    store.reset_user(house.user, house.user, factor=None, now=NOW)
    user = store.user(house.user.id)
    assert user is not None
    house.user = user
    assert house.open().session.owes is Owed.NOTHING
    changed = store.change_user(user, msgspec.structs.replace(user, roles=("admin",)), now=NOW)
    assert changed is not None
    house.user = changed[0]
    assert house.open().session.owes is Owed.ENROLMENT
