from __future__ import annotations

import os

import msgspec
import pytest

from gateway.authn.assurance import FactorRule, Method, Required
from gateway.exchange.notice import Circumstances, Notice
from gateway.exchange.reason import Reason
from gateway.exchange.session import Owed
from gateway.session.binding import Binding, Network
from gateway.session.device import device_id
from gateway.session.life import PENDING_S, Lifetimes
from gateway.session.rules import Bounds, NewDevice, RuleBook, Rules, TenantRules
from gateway.session.token import row_of
from gateway.store.account_options import AccountOptions
from gateway.store.openings import NO_ADDRESS, Client, Openings, Refused, SignedIn
from gateway.store.records import Factor, User
from gateway.store.state import Store

NOW = 1_000_000.0
CLIENT = Client(ip="192.0.2.1", host="portal.example.com", secure=True, user_agent="Firefox")


def rules(**lifetimes: object) -> RuleBook:
    return RuleBook(general=TenantRules(rules=Rules(lifetimes=Lifetimes(**lifetimes))))  # type: ignore[arg-type]


@pytest.fixture
def openings(store: Store) -> Openings:
    return Openings(store, options=AccountOptions(issuer="x", rules=rules(concurrent=2), mfa_always=True))


@pytest.fixture
def alice(add_user: object) -> User:
    assert callable(add_user)
    user = add_user()
    assert isinstance(user, User)
    return user


def opened(openings: Openings, user: User, **more: object) -> SignedIn:
    result = openings.open(user, **({"amr": ("pwd",), "client": CLIENT, "now": NOW} | more))  # type: ignore[arg-type]
    assert isinstance(result, SignedIn)
    return result


def test_what_the_provider_said_stands_in_the_session(openings: Openings, alice: User) -> None:
    session = opened(
        openings, alice, amr=("fed",), provider="corp", provider_session="sid", acr="gold", auth_time=NOW - 60
    ).session
    assert (session.amr, session.provider, session.provider_session, session.acr, session.auth_time) == (
        ("fed",),
        "corp",
        "sid",
        "gold",
        NOW - 60,
    )


def test_a_session_owes_what_was_not_proven(openings: Openings, store: Store, alice: User) -> None:
    assert opened(openings, alice).session.owes is Owed.ENROLMENT
    store.put_factor(alice.id, Factor(secret="A" * 16, created=NOW), [], now=NOW)
    first = opened(openings, alice).session
    assert (first.owes, first.expires) == (Owed.MFA, NOW + PENDING_S)
    whole = opened(openings, alice, amr=("hwk", "user"), second_factor_done=True).session
    assert (whole.owes, whole.mfa_time) == (Owed.NOTHING, NOW)


def test_an_account_that_changed_since_its_proof_was_checked_gets_no_session(
    openings: Openings, store: Store, alice: User
) -> None:
    assert store.change_user(alice, msgspec.structs.replace(alice, disabled=True), now=NOW) is not None
    result = openings.open(alice, amr=("pwd",), client=CLIENT, now=NOW)
    assert isinstance(result, Refused)
    assert result.reason is Reason.CREDENTIALS_REFUSED


def test_a_person_of_another_tenant_gets_no_session_on_the_host_of_one(openings: Openings, alice: User) -> None:
    client = msgspec.structs.replace(CLIENT, tenant="globex")
    result = openings.open(alice, amr=("pwd",), client=client, now=NOW)
    assert isinstance(result, Refused)
    assert (result.reason, result.events[0].reason) == (Reason.CREDENTIALS_REFUSED, Reason.TENANT_MISMATCH)


def test_the_session_of_the_cookie_that_came_along_ends(openings: Openings, alice: User) -> None:
    old = opened(openings, alice).token
    new = opened(openings, alice, replaces=old).token
    assert openings.live(old, CLIENT, NOW) is None
    assert openings.live(new, CLIENT, NOW) is not None


def test_elevation_rotates_and_the_oldest_beyond_the_cap_ends(openings: Openings, store: Store, alice: User) -> None:
    tokens: list[bytes] = []
    names: list[str] = []
    for age in range(3):
        half = opened(openings, alice, now=NOW + age).token
        whole = openings.elevate(half, method="otp", client=CLIENT, now=NOW + age)
        assert isinstance(whole, SignedIn)
        assert openings.live(half, CLIENT, NOW + age) is None
        tokens.append(whole.token)
        names.extend(event.name for event in whole.events)
    assert [openings.live(token, CLIENT, NOW + 3) is not None for token in tokens] == [False, True, True]
    assert names.count("session.revoked") == 1
    assert len(store.sessions(now=NOW + 3)) == 2


def test_only_a_live_session_is_elevated(openings: Openings, alice: User) -> None:
    for token in (b"no token", os.urandom(47), openings.new_token()):
        result = openings.elevate(token, method="otp", client=CLIENT, now=NOW)
        assert isinstance(result, Refused)
        assert result.reason is Reason.SESSION_EXPIRED


@pytest.mark.parametrize("change", [{"host": "other.example.com"}, {"secure": False}, {"tenant": "globex"}])
def test_a_session_lives_only_where_it_was_made(openings: Openings, alice: User, change: dict[str, object]) -> None:
    token = opened(openings, alice).token
    assert openings.live(token, msgspec.structs.replace(CLIENT, **change), NOW) is None


@pytest.mark.parametrize(
    ("owes", "reason"), [(Owed.MFA, Reason.MFA_REQUIRED), (Owed.ENROLMENT, Reason.MFA_ENROLMENT_REQUIRED)]
)
def test_what_is_owed_is_said(openings: Openings, store: Store, alice: User, owes: Owed, reason: Reason) -> None:
    if owes is Owed.MFA:
        store.put_factor(alice.id, Factor(secret="A" * 16, created=NOW), [], now=NOW)
    token = opened(openings, alice).token
    result = openings.whole(token, CLIENT, NOW)
    assert isinstance(result, Refused)
    assert result.reason is reason
    whole = opened(openings, alice, second_factor_done=True).token
    stored = openings.whole(whole, CLIENT, NOW)
    assert not isinstance(stored, Refused)
    assert stored.row == row_of(whole)


# Rules of sessions


def ruled(store: Store, rules: Rules, **more: object) -> Openings:
    options = AccountOptions(issuer="x", rules=RuleBook(general=TenantRules(rules=rules)), mfa_always=False)
    return Openings(store, options=options, **more)  # type: ignore[arg-type]


def test_a_role_shortens_the_session_of_whoever_holds_it(store: Store, alice: User) -> None:
    book = RuleBook(
        general=TenantRules(
            rules=Rules(lifetimes=Lifetimes(idle_s=900, absolute_s=3600)),
            roles={alice.roles[0]: (Bounds(idle_s=60, absolute_s=600),)},
        )
    )
    openings = Openings(store, options=AccountOptions(issuer="x", rules=book, mfa_always=False))
    session = opened(openings, alice).session
    assert (session.idle_s, session.expires) == (60, NOW + 600)


def test_a_session_is_bound_to_what_the_rules_say(store: Store, alice: User) -> None:
    binding = Binding(device=True, network=Network(ipv4=24, ipv6=56), certificate=True)
    openings = ruled(store, Rules(binding=binding), country=lambda address: "CH" if address == CLIENT.ip else "")
    client = msgspec.structs.replace(CLIENT, certificate="ab")
    first = opened(openings, alice, client=client)
    session = first.session
    assert (session.network, session.certificate, session.country) == ("192.0.2.0/24", "ab", "CH")
    assert session.device == device_id(first.device)
    stored = openings.live(first.token, client, NOW)
    assert stored is not None
    assert msgspec.structs.replace(stored.session, subject=None) == session


def test_a_session_that_owes_a_factor_is_bound_to_its_device_once_it_is_whole(store: Store, alice: User) -> None:
    """Who knows the password alone makes no device a known one."""
    store.put_factor(alice.id, Factor(secret="A" * 16, created=NOW), [], now=NOW)
    openings = ruled(store, Rules(binding=Binding(device=True)))
    half = opened(openings, alice)
    assert (half.device, half.session.device, store.devices.of(alice.id, now=NOW)) == (b"", "", [])
    whole = openings.elevate(half.token, method="otp", client=CLIENT, now=NOW)
    assert isinstance(whole, SignedIn)
    assert whole.session.device == device_id(whole.device) != ""
    again = openings.elevate(whole.token, method="otp", client=CLIENT, now=NOW + 9)
    assert isinstance(again, SignedIn)
    assert (again.device, again.session.device) == (b"", whole.session.device), "a step-up changes no device"


def test_a_browser_that_comes_again_is_known_and_its_cookie_changes(store: Store, alice: User) -> None:
    openings = ruled(store, Rules())
    first = opened(openings, alice)
    assert "device.added" in [event.name for event in first.events]
    client = msgspec.structs.replace(CLIENT, device=first.device)
    second = opened(openings, alice, client=client, now=NOW + 60)
    assert "device.added" not in [event.name for event in second.events]
    assert second.device != first.device
    assert len(store.devices.of(alice.id, now=NOW)) == 1
    assert second.session.device == "", "known, not bound"


def test_the_owner_is_told_of_a_new_device_but_not_of_the_very_first(store: Store, alice: User) -> None:
    told: list[tuple[str, Notice, Circumstances]] = []
    openings = ruled(store, Rules(new_device=NewDevice.NOTIFY), tell=lambda *what: told.append(what))
    first = opened(openings, alice)
    assert told == []
    opened(openings, alice, client=msgspec.structs.replace(CLIENT, device=first.device))
    assert told == []
    opened(openings, alice, client=msgspec.structs.replace(CLIENT, ip="198.51.100.7", user_agent="Safari"))
    assert told == [(alice.id, Notice.NEW_DEVICE, Circumstances(address="198.51.100.7", device="Safari"))]


# A device that is new

CONFIRM = Rules(new_device=NewDevice.CONFIRM)


@pytest.fixture
def told() -> list[tuple[str, Notice, Circumstances]]:
    return []


@pytest.fixture
def confirming(store: Store, told: list[tuple[str, Notice, Circumstances]]) -> Openings:
    return ruled(store, CONFIRM, tell=lambda *what: told.append(what))


def test_a_new_device_owes_a_code_and_the_first_of_an_account_is_new_too(confirming: Openings, alice: User) -> None:
    session = opened(confirming, alice).session
    assert (session.owes, session.owes_next, session.expires) == (Owed.DEVICE, Owed.NOTHING, NOW + PENDING_S)


def test_a_confirmed_device_is_known_and_no_letter_says_so_once_more(
    confirming: Openings, store: Store, alice: User, told: list[tuple[str, Notice, Circumstances]]
) -> None:
    first = opened(confirming, alice)
    assert (first.device, store.devices.of(alice.id, now=NOW)) == (b"", [])
    whole = confirming.confirm(first.token, client=CLIENT, now=NOW + 500)
    assert isinstance(whole, SignedIn)
    assert (whole.session.owes, whole.session.expires) == (Owed.NOTHING, NOW + 8 * 3600)
    assert confirming.live(first.token, CLIENT, NOW + 500) is None, "rotated"
    client = msgspec.structs.replace(CLIENT, device=whole.device)
    assert opened(confirming, alice, client=client, now=NOW + 600).session.owes is Owed.NOTHING
    other = opened(confirming, alice, now=NOW + 700)
    assert isinstance(confirming.confirm(other.token, client=CLIENT, now=NOW + 710), SignedIn)
    assert told == []


def test_a_passkey_needs_no_code_and_its_owner_is_told(
    confirming: Openings, store: Store, alice: User, told: list[tuple[str, Notice, Circumstances]]
) -> None:
    for amr in ("hwk", "swk"):
        passkey = opened(confirming, alice, amr=(amr, "user", "mfa"), second_factor_done=True)
        assert passkey.session.owes is Owed.NOTHING
    assert [notice for _, notice, _ in told] == [Notice.NEW_DEVICE], "the very first is no news"
    store.put_factor(alice.id, Factor(secret="A" * 16, created=NOW), [], now=NOW)
    half = opened(confirming, alice)
    proven = confirming.elevate(half.token, method="swk", client=CLIENT, now=NOW + 1)
    assert isinstance(proven, SignedIn)
    assert proven.session.owes is Owed.NOTHING


def test_a_provider_that_says_passkey_spares_nobody_the_code(confirming: Openings, alice: User) -> None:
    session = opened(confirming, alice, amr=("hwk", "mfa"), provider="corp", second_factor_done=True).session
    assert (session.owes, session.mfa_time) == (Owed.DEVICE, NOW)


def test_the_factor_comes_before_the_code_and_does_not_replace_it(
    confirming: Openings, store: Store, alice: User
) -> None:
    store.put_factor(alice.id, Factor(secret="A" * 16, created=NOW), [], now=NOW)
    half = opened(confirming, alice)
    assert (half.session.owes, half.session.owes_next) == (Owed.MFA, Owed.DEVICE)
    assert isinstance(confirming.confirm(half.token, client=CLIENT, now=NOW), Refused), "not before the factor"
    proven = confirming.elevate(half.token, method="otp", client=CLIENT, now=NOW + 500)
    assert isinstance(proven, SignedIn)
    session = proven.session
    assert (session.owes, session.owes_next, session.expires) == (Owed.DEVICE, Owed.NOTHING, NOW + 500 + PENDING_S)
    again = confirming.elevate(proven.token, method="otp", client=CLIENT, now=NOW + 501)
    assert isinstance(again, Refused)
    assert again.reason is Reason.DEVICE_UNCONFIRMED
    assert confirming.grow(session, method="otp", client=CLIENT, now=NOW + 501).session.owes is Owed.DEVICE
    whole = confirming.confirm(proven.token, client=CLIENT, now=NOW + 900)
    assert isinstance(whole, SignedIn)
    assert whole.session.owes is Owed.NOTHING


def test_an_account_without_an_address_needs_a_second_factor_on_a_new_device(
    confirming: Openings, store: Store, alice: User
) -> None:
    changed = store.change_user(alice, msgspec.structs.replace(alice, email=""), now=NOW)
    assert changed is not None
    refusal = confirming.open(changed[0], amr=("pwd",), client=CLIENT, now=NOW)
    assert isinstance(refusal, Refused)
    assert (refusal.reason, refusal.problem) == (Reason.DEVICE_UNCONFIRMED, NO_ADDRESS)
    assert store.sessions(now=NOW) == []
    assert opened(confirming, changed[0], second_factor_done=True).session.owes is Owed.NOTHING
    store.put_factor(alice.id, Factor(secret="A" * 16, created=NOW), [], now=NOW)
    half = opened(confirming, changed[0])
    proven = confirming.elevate(half.token, method="otp", client=CLIENT, now=NOW)
    assert isinstance(proven, SignedIn)
    assert proven.session.owes is Owed.NOTHING


# As often as one may be signed in


def full(store: Store, alice: User, concurrent: int = 2) -> tuple[Openings, list[SignedIn]]:
    openings = ruled(store, Rules(lifetimes=Lifetimes(concurrent=concurrent, when_full="refuse", absolute_s=3600)))
    return openings, [opened(openings, alice, now=NOW + age) for age in range(concurrent)]


def test_at_one_more_the_new_session_waits_and_nobody_is_signed_out(store: Store, alice: User) -> None:
    openings, others = full(store, alice)
    late = opened(openings, alice, now=NOW + 9)
    assert (late.session.owes, late.session.expires) == (Owed.ROOM, NOW + 9 + PENDING_S)
    for other in others:
        assert other.session.owes is Owed.NOTHING
        assert openings.live(other.token, CLIENT, NOW + 9) is not None
    refusal = openings.whole(late.token, CLIENT, NOW + 9)
    assert isinstance(refusal, Refused)
    assert refusal.reason is Reason.TOO_MANY_SESSIONS
    found = openings.waiting_for(late.token, CLIENT, NOW + 9)
    assert not isinstance(found, Refused)
    assert {stored.session.handle for stored in found[1]} == {other.session.handle for other in others}


def test_whoever_ends_a_session_goes_on_in_its_place(store: Store, alice: User) -> None:
    openings, others = full(store, alice)
    late = opened(openings, alice, now=NOW + 9)
    made = openings.make_room(late.token, others[0].session.handle, client=CLIENT, now=NOW + 60)
    assert isinstance(made, SignedIn)
    assert [event.name for event in made.events] == ["session.revoked", "session.rotated"]
    assert (made.session.owes, made.session.expires) == (Owed.NOTHING, NOW + 9 + 3600)
    assert made.token != late.token
    assert openings.live(late.token, CLIENT, NOW + 60) is None
    assert openings.live(others[0].token, CLIENT, NOW + 60) is None
    assert openings.live(others[1].token, CLIENT, NOW + 60) is not None


@pytest.mark.parametrize("handle", ["", "rubbish", "s_" + "0" * 32, "own"])
def test_what_ends_nothing_makes_no_room(store: Store, alice: User, handle: str) -> None:
    openings, others = full(store, alice)
    late = opened(openings, alice, now=NOW + 9)
    wanted = late.session.handle if handle == "own" else handle
    refusal = openings.make_room(late.token, wanted, client=CLIENT, now=NOW + 10)
    assert isinstance(refusal, Refused)
    assert (refusal.reason, refusal.events) == (Reason.TOO_MANY_SESSIONS, ())
    assert all(openings.live(other.token, CLIENT, NOW + 10) is not None for other in others)


def test_nobody_ends_the_session_of_somebody_else_to_make_room(store: Store, alice: User, add_user: object) -> None:
    assert callable(add_user)
    openings, _ = full(store, alice)
    theirs = opened(openings, add_user("bob"), now=NOW + 3)
    late = opened(openings, alice, now=NOW + 9)
    assert isinstance(openings.make_room(late.token, theirs.session.handle, client=CLIENT, now=NOW + 10), Refused)
    assert openings.live(theirs.token, CLIENT, NOW + 10) is not None


def test_of_two_who_wait_for_one_place_one_gets_it(store: Store, alice: User) -> None:
    openings, others = full(store, alice)
    first, second = (opened(openings, alice, now=NOW + age) for age in (8, 9))
    assert isinstance(openings.make_room(first.token, others[0].session.handle, client=CLIENT, now=NOW + 10), SignedIn)
    refusal = openings.make_room(second.token, others[0].session.handle, client=CLIENT, now=NOW + 10)
    assert isinstance(refusal, Refused)
    assert refusal.reason is Reason.TOO_MANY_SESSIONS


def test_a_factor_comes_before_room_and_a_session_that_waits_cannot_skip_it(store: Store, alice: User) -> None:
    store.put_factor(alice.id, Factor(secret="A" * 16, created=NOW), [], now=NOW)
    openings = ruled(store, Rules(lifetimes=Lifetimes(concurrent=1, when_full="refuse")))
    for age in range(2):
        half = opened(openings, alice, now=NOW + age)
        assert half.session.owes is Owed.MFA
        refusal = openings.make_room(half.token, "", client=CLIENT, now=NOW + age)
        assert isinstance(refusal, Refused)
        assert refusal.reason is Reason.MFA_REQUIRED
        whole = openings.elevate(half.token, method="otp", client=CLIENT, now=NOW + age)
        assert isinstance(whole, SignedIn)
        assert whole.session.owes is (Owed.ROOM if age else Owed.NOTHING)
        if not age:  # a step-up of a session that is there is never refused for lack of room
            again = openings.elevate(whole.token, method="otp", client=CLIENT, now=NOW)
            assert isinstance(again, SignedIn)
            assert again.session.owes is Owed.NOTHING


def test_of_two_requests_that_rotate_one_session_the_loser_is_told_and_ends_nothing(store: Store, alice: User) -> None:
    """Session fixation and lost rotations: one token, two step-ups; the winner's session lives."""
    openings = ruled(store, Rules())
    token = opened(openings, alice).token
    winner = openings.elevate(token, method="otp", client=CLIENT, now=NOW + 1)
    loser = openings.elevate(token, method="otp", client=CLIENT, now=NOW + 1)
    assert isinstance(winner, SignedIn)
    assert isinstance(loser, Refused)
    assert loser.reason is Reason.SESSION_EXPIRED
    assert winner.token != token
    assert openings.live(winner.token, CLIENT, NOW + 1) is not None


@pytest.mark.parametrize("step", [-86_400.0, -1.0])
def test_a_clock_that_is_set_back_lengthens_no_session(store: Store, alice: User, step: float) -> None:
    openings = ruled(store, Rules(lifetimes=Lifetimes(idle_s=600, absolute_s=3600)))
    first = opened(openings, alice)
    again = openings.elevate(first.token, method="otp", client=CLIENT, now=NOW + step)
    assert isinstance(again, SignedIn)
    assert again.session.expires == NOW + 3600


@pytest.mark.parametrize("when_full", ["oldest_out", "refuse"])
def test_the_number_of_sessions_holds_however_a_session_became_whole(store: Store, alice: User, when_full: str) -> None:
    """A passkey that is set up during a sign-in makes the session whole without a code."""
    lifetimes = Lifetimes(concurrent=1, when_full=when_full)  # type: ignore[arg-type]
    openings = ruled(store, Rules(lifetimes=lifetimes))
    first = opened(openings, alice)
    store.put_factor(alice.id, Factor(secret="A" * 16, created=NOW), [], now=NOW)
    half = opened(openings, alice, now=NOW + 1)
    stored = openings.live(half.token, CLIENT, NOW + 1)
    assert stored is not None
    grown = openings.grow(half.session, method="hwk", client=CLIENT, now=NOW + 2)
    kept = openings.held(grown.session, NOW + 2)
    assert store.rotate_session(stored.row, row_of(b"gws_x"), kept, keep=None, now=NOW + 2) == []
    seated, events = openings.seat(row_of(b"gws_x"), grown.session, NOW + 2)
    lives = openings.live(first.token, CLIENT, NOW + 2) is not None
    if when_full == "refuse":
        assert (seated.owes, lives, events) == (Owed.ROOM, True, ())
    else:
        assert (seated.owes, lives) == (Owed.NOTHING, False)
        assert [event.name for event in events] == ["session.revoked"]


# A device that is known


def test_a_session_knows_whether_its_browser_was_one_before(store: Store, alice: User) -> None:
    """`require: {device: known}` asks for it; the very first browser of an account is none yet."""
    openings = ruled(store, Rules())
    first = opened(openings, alice)
    again = opened(openings, alice, client=msgspec.structs.replace(CLIENT, device=first.device))
    other = opened(openings, alice)
    assert [result.session.known_device for result in (first, again, other)] == [False, True, False]


def test_a_browser_that_was_confirmed_by_mail_is_as_good_as_known(confirming: Openings, alice: User) -> None:
    first = opened(confirming, alice)
    assert not first.session.known_device
    whole = confirming.confirm(first.token, client=CLIENT, now=NOW + 1)
    assert isinstance(whole, SignedIn)
    assert whole.session.known_device


def test_a_passkey_on_a_browser_that_is_new_makes_it_no_known_one(confirming: Openings, alice: User) -> None:
    passkey = opened(confirming, alice, amr=("hwk", "user", "mfa"), second_factor_done=True)
    assert not passkey.session.known_device


def test_setting_up_a_factor_confirms_no_browser_where_none_is_confirmed(store: Store, alice: User) -> None:
    """attack: whoever has the password sets up a factor of their own on their own browser."""
    openings = ruled(store, Rules(new_device=NewDevice.NOTIFY))
    half = opened(openings, alice)
    proven = openings.elevate(half.token, method="otp", client=CLIENT, now=NOW + 1)
    assert isinstance(proven, SignedIn)
    assert not proven.session.known_device


def test_a_tenant_may_ask_more_people_for_a_factor_and_never_fewer(store: Store, alice: User) -> None:
    always = FactorRule(required=Required.ALWAYS, methods=frozenset(Method))
    enrolled = FactorRule(required=Required.ENROLLED, methods=frozenset(Method))
    for general, own, owes in (
        (enrolled, {}, Owed.NOTHING),
        (enrolled, {alice.tenant: always}, Owed.ENROLMENT),
        (enrolled, {"zeta": always}, Owed.NOTHING),
        (always, {alice.tenant: enrolled}, Owed.ENROLMENT),
    ):
        options = AccountOptions(issuer="x", rules=rules(), factor_rule=general, tenant_rules=own)
        assert opened(Openings(store, options=options), alice).session.owes is owes


def test_people_of_a_tenant_that_is_gone_neither_sign_in_nor_stay(store: Store, alice: User) -> None:
    before = Openings(store, options=AccountOptions(issuer="x", rules=rules(), tenants=frozenset({alice.tenant})))
    token = opened(before, alice).token
    assert before.live(token, CLIENT, NOW) is not None
    after = Openings(store, options=AccountOptions(issuer="x", rules=rules(), tenants=frozenset({"zeta"})))
    assert after.live(token, CLIENT, NOW) is None
    refusal = after.open(alice, amr=("pwd",), client=CLIENT, now=NOW)
    assert isinstance(refusal, Refused)
    assert refusal.reason is Reason.CREDENTIALS_REFUSED


def test_people_of_a_tenant_that_takes_no_passwords_come_by_a_provider_alone(store: Store, alice: User) -> None:
    for tenants, local, federated in (
        (frozenset({"zeta"}), False, True),
        (frozenset({alice.tenant}), True, True),
        (frozenset[str](), True, True),
    ):
        made = Openings(store, options=AccountOptions(issuer="x", rules=rules(), password_tenants=tenants))
        for provider, expected in (("local", local), ("corp", federated)):
            result = made.open(alice, amr=("pwd",), client=CLIENT, now=NOW, provider=provider)
            assert isinstance(result, SignedIn) is expected
            if isinstance(result, Refused):
                assert result.reason is Reason.CREDENTIALS_REFUSED
