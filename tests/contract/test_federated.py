"""What is remembered of identity providers and of the people they vouch for, on every place that keeps rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import msgspec
import pytest

from gateway.authn.claims import Mapped
from gateway.session.token import make_token
from gateway.store.executor import BoundedExecutor
from gateway.store.federated import KEPT_SIGN_INS, SIGN_IN_S, FederatedStore, SignInNote
from gateway.store.keyring import Keyring
from gateway.store.records import User
from gateway.store.rows import Backend
from gateway.store.state import Store
from tests.contract.conftest import NOW

ISSUER = "https://acme.okta.com"
TOKEN, OTHER = make_token(b"1" * 32), make_token(b"2" * 32)
HANDLE = "s_" + "0" * 32
Result = TypeVar("Result")


class _Inline(BoundedExecutor):
    """Runs at once."""

    def __init__(self) -> None:
        super().__init__("inline", threads=1, waiting=0)

    async def run(self, work: Callable[[], Result]) -> Result:
        return work()


@pytest.fixture
def store(rows: Backend, keyring: Keyring) -> Store:
    return Store(rows, keyring)


@pytest.fixture
def federated(store: Store, keyring: Keyring) -> FederatedStore:
    return FederatedStore(store, keyring=keyring, executor=_Inline(), longest_s=3600.0, random=os.urandom)


def mapped(user: str = "carol", subject: str = "00u1", **more: object) -> Mapped:
    return msgspec.structs.replace(
        Mapped(issuer=ISSUER, subject=subject, user=user, tenant="acme", roles=("client",)), **more
    )


async def vouched(federated: FederatedStore, who: Mapped) -> User:
    user = await federated.vouch("okta", who, now=NOW)
    assert user is not None
    return user


async def test_metadata_is_the_last_that_was_kept(federated: FederatedStore) -> None:
    assert await federated.load("okta", now=NOW) is None
    for document in (b"first", b"second"):
        await federated.keep("okta", document, now=NOW, expires=NOW + 60)
    await federated.keep("other", b"another's", now=NOW, expires=NOW + 60)
    assert await federated.load("okta", now=NOW) == b"second"
    assert await federated.load("okta", now=NOW + 61) is None


async def test_something_is_good_once_of_its_kind(federated: FederatedStore) -> None:
    used = [await federated.spend("attempt", b"x", now=NOW, expires=NOW + 60) for _ in range(3)]
    assert used == [True, False, False]
    assert await federated.spend("logout okta", b"x", now=NOW, expires=NOW + 60)
    assert await federated.spend("attempt", b"y", now=NOW, expires=NOW + 60)
    assert await federated.spend("attempt", b"x", now=NOW + 61, expires=NOW + 120)


async def test_person_is_found_again_by_issuer_and_subject_alone(federated: FederatedStore, store: Store) -> None:
    first = await vouched(federated, mapped())
    assert (await vouched(federated, mapped())) == first
    assert (await vouched(federated, mapped(email="carol@acme.example"))).id == first.id
    assert (await vouched(federated, mapped("dave", "00u2"))).id != first.id
    assert await federated.vouch("okta", mapped(subject="00u3"), now=NOW) is None
    elsewhere = mapped(issuer="https://evil.example")
    assert await federated.vouch("evil", elsewhere, now=NOW) is None
    assert [user.name for user in store.users()] == ["carol", "dave"]


async def test_new_name_is_taken_unless_somebody_has_it(federated: FederatedStore, store: Store) -> None:
    carol = await vouched(federated, mapped())
    await vouched(federated, mapped("dave", "00u2"))
    assert await federated.vouch("okta", mapped("dave"), now=NOW) is None
    assert (await vouched(federated, mapped("caroline"))).id == carol.id
    assert store.user_named("carol") is None
    assert await federated.vouch("okta", mapped("carol", "00u4"), now=NOW) is not None


async def test_tokens_open_with_their_cookie_alone(federated: FederatedStore) -> None:
    assert await federated.put_tokens(TOKEN, HANDLE, "okta", b"tokens", now=NOW)
    kept = await federated.tokens(TOKEN, HANDLE, now=NOW)
    assert kept is not None
    assert (kept.provider, kept.packed, kept.version, kept.busy) == ("okta", b"tokens", 1, False)
    assert "tokens" not in repr(kept).replace("KeptTokens", "")
    assert await federated.tokens(OTHER, HANDLE, now=NOW) is None
    assert await federated.tokens(TOKEN, "s_" + "1" * 32, now=NOW) is None
    assert await federated.tokens(TOKEN, HANDLE, now=NOW + 3601) is None


async def test_tokens_follow_their_cookie(federated: FederatedStore) -> None:
    await federated.put_tokens(TOKEN, HANDLE, "okta", b"tokens", now=NOW)
    await federated.carry(OTHER, make_token(b"3" * 32), HANDLE, now=NOW)  # somebody else's cookie carries nothing
    await federated.carry(TOKEN, OTHER, HANDLE, now=NOW)
    assert await federated.tokens(TOKEN, HANDLE, now=NOW) is None
    kept = await federated.tokens(OTHER, HANDLE, now=NOW)
    assert kept is not None
    assert kept.packed == b"tokens"
    await federated.drop_tokens(HANDLE)
    await federated.carry(OTHER, TOKEN, HANDLE, now=NOW)
    assert await federated.tokens(TOKEN, HANDLE, now=NOW) is None


async def test_too_much_is_not_kept(federated: FederatedStore) -> None:
    assert not await federated.put_tokens(TOKEN, HANDLE, "okta", bytes(64 * 1024), now=NOW)
    assert not await federated.put_tokens(b"no token", HANDLE, "okta", b"tokens", now=NOW)


async def test_one_holder_at_a_time_may_refresh(federated: FederatedStore) -> None:
    await federated.put_tokens(TOKEN, HANDLE, "okta", b"old", now=NOW)
    assert await federated.lease(HANDLE, version=1, holder="a", now=NOW, until=NOW + 60)
    assert not await federated.lease(HANDLE, version=1, holder="b", now=NOW + 59, until=NOW + 120)
    kept = await federated.tokens(TOKEN, HANDLE, now=NOW)
    assert kept is not None
    assert kept.busy
    assert not await federated.renew_tokens(TOKEN, HANDLE, b"b's", holder="b", now=NOW)
    assert await federated.renew_tokens(TOKEN, HANDLE, b"new", holder="a", now=NOW)
    assert not await federated.lease(HANDLE, version=1, holder="b", now=NOW, until=NOW + 60)  # somebody was faster
    assert await federated.lease(HANDLE, version=2, holder="b", now=NOW, until=NOW + 60)
    assert await federated.renew_tokens(TOKEN, HANDLE, b"", holder="b", now=NOW)
    kept = await federated.tokens(TOKEN, HANDLE, now=NOW)
    assert kept is not None
    assert (kept.packed, kept.version, kept.busy) == (b"new", 2, False)


async def test_holder_that_died_loses_its_lease(federated: FederatedStore) -> None:
    await federated.put_tokens(TOKEN, HANDLE, "okta", b"old", now=NOW)
    assert await federated.lease(HANDLE, version=1, holder="a", now=NOW, until=NOW + 60)
    assert await federated.lease(HANDLE, version=1, holder="b", now=NOW + 60, until=NOW + 120)
    assert not await federated.renew_tokens(TOKEN, HANDLE, b"late", holder="a", now=NOW + 61)


async def test_last_sign_ins_are_bounded_and_forgotten(federated: FederatedStore) -> None:
    def note(number: int, provider: str = "okta") -> SignInNote:
        return SignInNote(provider=provider, at=NOW + number / 1000, request_id=str(number), outcome="signed_in")

    await federated.note(note(0, "other"))
    for number in range(KEPT_SIGN_INS + 3):
        await federated.note(note(number))
    found = [item.request_id for item in federated.sign_ins("okta", now=NOW + 1)]
    assert len(found) == KEPT_SIGN_INS
    assert (found[0], found[-1]) == (str(KEPT_SIGN_INS + 2), "3")
    assert [item.request_id for item in federated.sign_ins("other", now=NOW + 1)] == ["0"]
    assert federated.sign_ins("okta", now=NOW + SIGN_IN_S + 1) == []


async def test_no_sign_in_drops_gives_or_moves_a_role_of_the_gateways_own(
    federated: FederatedStore, store: Store
) -> None:
    carol = await vouched(federated, mapped(roles=("client", "gateway.admin")))
    assert carol.gateway_roles == ()
    given = msgspec.structs.replace(carol, gateway_roles=("gateway.tenant-admin",), administers="acme")
    assert store.change_user(carol, given, now=NOW)
    again = await vouched(federated, mapped(roles=("billing",), email="carol@acme.example"))
    assert (again.roles, again.gateway_roles) == (("billing",), ("gateway.tenant-admin",))
    moved = await vouched(federated, mapped(tenant="globex"))
    assert (moved.tenant, moved.administers) == ("globex", "acme"), "it counts for nothing there"
    other = await vouched(federated, mapped(user="mallory", subject="00u2"))
    assert other.gateway_roles == ()
