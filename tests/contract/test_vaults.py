from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from gateway.exchange.session import Session
from gateway.session.token import make_token, row_of
from gateway.session.vault import EMPTY_VAULT, Owner, Vault, VaultRules
from gateway.store.keyring import Keyring
from gateway.store.live_sessions import LiveSessions
from gateway.store.portal_accounts import PortalAccounts, digest_of
from gateway.store.rows import Backend
from gateway.store.sealing import Sealer
from gateway.store.tables import SESSIONS, VAULTS
from gateway.store.vaults import VaultCache, Vaults, vault_row
from gateway.wire.set_cookie import Cookie
from tests.contract.conftest import NOW, OpenRows

RULES = VaultRules(mode="http_only", max_count=50)
TOKEN = make_token(b"t" * 32)
OTHER = make_token(b"o" * 32)


def session(**changes: Any) -> Session:
    values: dict[str, Any] = {
        "handle": "s_" + "1" * 32, "user_id": "u_alice", "user": "alice", "tenant": "acme", "roles": ("client",), "auth_time": NOW, "created": NOW,
        "expires": NOW + 3600, "idle_s": 900.0, "host": "portal.example", "secure": True,
    }  # fmt: skip
    return Session(**{**values, **changes})


WIKI = Owner(TOKEN, session(), "wiki")


def cookie(name: str, value: str = "1", **changes: Any) -> Cookie:
    return Cookie(**{"name": name.encode(), "value": value.encode(), "created": NOW, **changes})


def sign_in(rows: Backend, sealer: Sealer, token: bytes, person: Session) -> None:
    rows.transact(lambda tx: LiveSessions(rows, sealer).put_in(tx, row_of(token), person, now=NOW))


@pytest.fixture
def vaults(rows: Backend, sealer: Sealer, keyring: Keyring) -> Vaults:
    sign_in(rows, sealer, TOKEN, session())
    return Vaults(rows, sealer, keyring)


def names(vault: Vault) -> set[bytes]:
    return {kept.name for kept in vault.cookies}


def test_what_was_kept_is_returned_to_the_same_session_and_upstream(vaults: Vaults) -> None:
    vaults.change(WIKI, [cookie("sid")], RULES, now=NOW)
    assert names(vaults.read(WIKI, now=NOW)) == {b"sid"}
    assert vaults.read(Owner(TOKEN, session(), "shop"), now=NOW) == EMPTY_VAULT
    assert vaults.read(Owner(TOKEN, session(handle="s_" + "2" * 32), "wiki"), now=NOW) == EMPTY_VAULT
    assert vaults.read(WIKI, now=NOW + 3600) == EMPTY_VAULT


def test_the_state_and_the_keyring_open_no_vault_without_the_cookie(vaults: Vaults, rows: Backend) -> None:
    """A thief with the state file and the keyring still lacks what only the browser has."""
    vaults.change(WIKI, [cookie("sid", "very secret")], RULES, now=NOW)
    assert vaults.read(Owner(OTHER, session(), "wiki"), now=NOW) == EMPTY_VAULT
    stored = rows.get(VAULTS, vault_row(WIKI))
    assert stored is not None
    assert b"secret" not in stored.value
    assert b"wiki" not in stored.value


def test_the_cookie_opens_no_vault_without_the_keyring(vaults: Vaults, rows: Backend, sealer: Sealer) -> None:
    vaults.change(WIKI, [cookie("sid")], RULES, now=NOW)
    stranger = Vaults(rows, sealer, Keyring.generate(os.urandom, NOW))
    assert stranger.read(WIKI, now=NOW) == EMPTY_VAULT


def test_nothing_is_written_where_nothing_changes(vaults: Vaults, rows: Backend) -> None:
    vaults.change(WIKI, [cookie("sid")], RULES, now=NOW)
    before = rows.get(VAULTS, vault_row(WIKI))
    vaults.change(WIKI, [cookie("sid", created=NOW + 5)], RULES, now=NOW + 5)
    assert rows.get(VAULTS, vault_row(WIKI)) == before


def test_two_workers_lose_none_of_each_others_cookies(open_rows: OpenRows, sealer: Sealer, keyring: Keyring) -> None:
    first, second = (Vaults(open_rows(), sealer, keyring) for _ in range(2))
    sign_in(open_rows(), sealer, TOKEN, session())

    def work(vaults: Vaults, prefix: str) -> Callable[[], None]:
        def run() -> None:
            for number in range(10):
                vaults.change(WIKI, [cookie(f"{prefix}{number}")], RULES, now=NOW)

        return run

    threads = [threading.Thread(target=work(vaults, prefix)) for vaults, prefix in ((first, "a"), (second, "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(first.read(WIKI, now=NOW)) == {f"{p}{n}".encode() for p in "ab" for n in range(10)}


def test_a_removed_cookie_is_gone_and_an_expired_one_is_not_kept(vaults: Vaults) -> None:
    vaults.change(WIKI, [cookie("a"), cookie("b"), cookie("c", expires=NOW - 1)], RULES, now=NOW)
    vaults.change(WIKI, [cookie("a", "", expires=0.0)], RULES, now=NOW)
    assert names(vaults.read(WIKI, now=NOW)) == {b"b"}


def test_the_oldest_cookies_give_way_beyond_the_count(vaults: Vaults) -> None:
    rules = VaultRules(mode="all", max_count=2)
    changed = vaults.change(WIKI, [cookie("a"), cookie("b"), cookie("c")], rules, now=NOW)
    assert changed.evicted == 1
    assert names(changed.vault) == {b"b", b"c"}


def test_a_sign_on_leaves_nothing_of_the_portals_session_before_it(vaults: Vaults) -> None:
    vaults.change(WIKI, [cookie("old")], RULES, now=NOW)
    vaults.change(WIKI, [cookie("sid")], RULES, now=NOW, signed_on=NOW)
    vault = vaults.read(WIKI, now=NOW)
    assert (names(vault), vault.signed_on) == ({b"sid"}, NOW)


def test_nothing_is_kept_for_a_session_that_ended_meanwhile(vaults: Vaults, rows: Backend) -> None:
    rows.transact(lambda tx: tx.delete(SESSIONS, row_of(TOKEN)))
    vaults.change(WIKI, [cookie("sid")], RULES, now=NOW)
    assert rows.all(VAULTS) == []


def test_a_vault_ends_with_its_session(vaults: Vaults, rows: Backend, sealer: Sealer) -> None:
    live = LiveSessions(rows, sealer)
    for end in (
        lambda: rows.transact(lambda tx: live.end_in(tx, [row_of(TOKEN)])),
        lambda: rows.transact(lambda tx: live.end_owner_in(tx, "u_alice")),
        lambda: rows.transact(lambda tx: live.end_handle_in(tx, session().handle, user_id=None)),
        lambda: live.end_tenant("acme"),
        live.end_all,
        lambda: live.sweep(NOW + 4000),
    ):
        sign_in(rows, sealer, TOKEN, session())
        vaults.change(WIKI, [cookie("sid")], RULES, now=NOW)
        assert len(rows.all(VAULTS)) == 1
        end()
        assert rows.all(VAULTS) == []


def test_a_vault_goes_along_when_the_cookies_value_changes(vaults: Vaults, rows: Backend, sealer: Sealer) -> None:
    vaults.change(WIKI, [cookie("sid")], RULES, now=NOW, signed_on=NOW)
    live = LiveSessions(rows, sealer)
    rows.transact(lambda tx: live.rotate_in(tx, row_of(TOKEN), row_of(OTHER), session(), keep=None, now=NOW))
    assert vaults.read(Owner(OTHER, session(), "wiki"), now=NOW) == EMPTY_VAULT  # what a crash at this point leaves
    vaults.move(TOKEN, OTHER, now=NOW)
    moved = vaults.read(Owner(OTHER, session(), "wiki"), now=NOW)
    assert (names(moved), moved.signed_on) == ({b"sid"}, NOW)
    assert vaults.read(WIKI, now=NOW) == EMPTY_VAULT
    rows.transact(lambda tx: live.end_in(tx, [row_of(OTHER)]))
    assert rows.all(VAULTS) == []


def test_moving_what_is_not_there_is_no_error(vaults: Vaults) -> None:
    vaults.move(TOKEN, OTHER, now=NOW)


def test_a_cached_vault_is_never_older_than_a_change_of_another_worker(
    open_rows: OpenRows, sealer: Sealer, keyring: Keyring
) -> None:
    mine, theirs = open_rows(), open_rows()
    sign_in(mine, sealer, TOKEN, session())
    cache = VaultCache(Vaults(mine, sealer, keyring), getattr(mine, "generations", None))
    cache.load(WIKI, NOW)
    if cache.is_local:
        assert cache.peek(WIKI, NOW) == EMPTY_VAULT
    Vaults(theirs, sealer, keyring).change(WIKI, [cookie("sid")], RULES, now=NOW)
    assert cache.peek(WIKI, NOW) is None
    assert names(cache.load(WIKI, NOW)) == {b"sid"}
    assert cache.peek(Owner(OTHER, session(), "wiki"), NOW) is None
    assert cache.peek(WIKI, NOW + 1) is None


# accounts at portals

WRONG, RIGHT = digest_of("alice", "wrong"), digest_of("alice", "right")


@pytest.fixture
def accounts(rows: Backend, sealer: Sealer) -> PortalAccounts:
    return PortalAccounts(rows, sealer)


def claim(accounts: PortalAccounts, credentials: bytes, now: float = NOW) -> str:
    return accounts.claim("u_alice", "wiki", credentials, now=now, until=now + 30)


def settle(accounts: PortalAccounts, credentials: bytes, *, accepted: bool | None) -> None:
    accounts.settle("u_alice", "wiki", credentials, accepted=accepted, now=NOW)


def test_an_account_is_kept_listed_and_deleted(accounts: PortalAccounts, rows: Backend) -> None:
    accounts.set("u_alice", "wiki", username="al", password="secret password", now=NOW)
    accounts.set("u_alice", "shop", username="al", password="x", now=NOW)
    accounts.set("u_bob", "wiki", username="bob", password="y", now=NOW)
    found = accounts.get("u_alice", "wiki")
    assert found is not None
    assert (found.username, found.password) == ("al", "secret password")
    assert [account.upstream for account in accounts.of("u_alice")] == ["shop", "wiki"]
    assert accounts.delete("u_alice", "wiki")
    assert not accounts.delete("u_alice", "wiki")
    rows.transact(lambda tx: accounts.drop_person_in(tx, "u_alice"))
    assert accounts.of("u_alice") == []
    assert accounts.get("u_bob", "wiki") is not None


def test_a_wrong_password_is_tried_once_however_often_it_is_asked_for(accounts: PortalAccounts) -> None:
    assert claim(accounts, WRONG) == "granted"
    assert claim(accounts, WRONG) == "busy"
    settle(accounts, WRONG, accepted=False)
    assert [claim(accounts, WRONG, NOW + later) for later in (0, 60, 86400)] == ["refused"] * 3


def test_other_credentials_are_tried_after_a_refusal(accounts: PortalAccounts) -> None:
    claim(accounts, WRONG)
    settle(accounts, WRONG, accepted=False)
    assert claim(accounts, RIGHT) == "granted"
    settle(accounts, RIGHT, accepted=True)
    assert claim(accounts, WRONG) == "refused"


def test_telling_an_account_anew_lifts_the_refusal(accounts: PortalAccounts) -> None:
    claim(accounts, WRONG)
    settle(accounts, WRONG, accepted=False)
    accounts.set("u_alice", "wiki", username="alice", password="wrong", now=NOW)
    assert claim(accounts, WRONG) == "granted"


def test_a_portal_that_did_not_answer_did_not_refuse(accounts: PortalAccounts) -> None:
    for _ in range(5):
        assert claim(accounts, RIGHT) == "granted"
        settle(accounts, RIGHT, accepted=None)


def test_attempts_that_were_killed_do_not_go_on_for_ever(accounts: PortalAccounts) -> None:
    """kill -9 between the form and the portal's answer: nobody knows how often the portal counted."""
    assert [claim(accounts, RIGHT, NOW + moment) for moment in (0, 10, 31, 62)] == [
        "granted",
        "busy",
        "granted",
        "refused",
    ]


def test_a_verdict_on_credentials_that_were_replaced_meanwhile_says_nothing(accounts: PortalAccounts) -> None:
    claim(accounts, WRONG)
    accounts.set("u_alice", "wiki", username="alice", password="right", now=NOW)
    settle(accounts, WRONG, accepted=False)
    assert claim(accounts, RIGHT) == "granted"


def test_what_is_known_is_what_was_told_and_how_it_fared(accounts: PortalAccounts) -> None:
    def standing(**given: str) -> str:
        known = accounts.known("u_alice", "wiki", **{"username": "", "password": "", **given})
        return "unknown" if known is None else known.standing

    assert standing() == "unknown"
    assert standing(username="alice") == "unknown"
    assert standing(username="alice", password="right") == "untried"
    accounts.set("u_alice", "wiki", username="", password="right", now=NOW)
    assert standing(username="alice") == "untried"
    claim(accounts, RIGHT)
    settle(accounts, RIGHT, accepted=True)
    assert standing(username="alice") == "accepted"
    settle(accounts, RIGHT, accepted=False)  # changed at the portal since
    assert standing(username="alice") == "refused"
    assert claim(accounts, RIGHT) == "refused"
