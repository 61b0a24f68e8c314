from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from gateway.exchange.notice import Notice
from gateway.exchange.session import Owed
from gateway.session.life import Lifetimes, start
from gateway.session.token import make_handle
from gateway.store.outbox import Outbox


def sign_in(house: Any, name: str, *, owes: Owed = Owed.NOTHING, **more: Any) -> str:
    store = house.store()
    user = store.user_named(name)
    begun: dict[str, Any] = {"client_ip": "192.0.2.1", "now": time.time()} | more
    session = start(
        handle=make_handle(os.urandom(16)),
        user_id=user.id,
        user=user.name,
        tenant=user.tenant,
        roles=user.roles,
        email="",
        owes=owes,
        lifetimes=Lifetimes(),
        host="localhost",
        secure=True,
        user_agent="Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0",
        **begun,
    )
    assert store.create_session(os.urandom(32), session, stamp=user.stamp, keep=None, now=time.time()) is not None
    store.close()
    return session.handle


def handles(house: Any, *arguments: str) -> list[str]:
    return [session["session"] for session in house.value("session", "list", *arguments)["sessions"]]


def test_sessions_are_listed_newest_first_by_person_and_tenant(house: Any) -> None:
    assert "Nobody is signed in." in house.run("session", "list").stdout
    for name in ("alice", "bob"):
        house.add(name, "--self-enrol")
    first, second = sign_in(house, "alice"), sign_in(house, "bob", owes=Owed.MFA)
    assert handles(house) == [second, first]
    assert handles(house, "--user", "ALICE") == [first]
    assert handles(house, "--tenant", "main") == [second, first]
    assert handles(house, "--tenant", "other") == []
    text = house.run("session", "list").stdout
    assert "owes mfa" in text
    assert "192.0.2.1" in text
    assert house.run("session", "list", "--user", "nobody").exit_code == 1
    assert handles(house, "--user", "alice", "--tenant", "main") == [first]
    assert handles(house, "--user", "alice", "--tenant", "other") == []


@pytest.mark.parametrize(("scope", "left"), [("user", 1), ("session", 2), ("tenant", 0), ("all", 0)])
def test_sessions_are_revoked_at_once_and_the_act_is_recorded(house: Any, scope: str, left: int) -> None:
    for name in ("alice", "bob"):
        house.add(name, "--self-enrol")
    handle = sign_in(house, "alice")
    sign_in(house, "alice")
    sign_in(house, "bob")
    words = {
        "user": ("--user", "alice"),
        "session": ("--session", handle),
        "tenant": ("--tenant", "main"),
        "all": ("--all",),
    }[scope]
    assert house.value("session", "revoke", *words) == {"ok": True, "sessions_ended": 3 - left}
    assert len(handles(house)) == left
    operation, record = house.records()[-2]
    assert operation == "session revoke"
    assert record["resources"][0]["type"] == ("sessions" if scope == "all" else scope)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--all", "--user", "alice"),
        ("--session", "rubbish"),
        ("--session", "s_" + "0" * 32, "--tenant", "main"),
        ("--ip", "203.0.113.1/24"),
        ("--issued-before", "yesterday"),
    ],
)
def test_revoke_wants_a_handle_or_all_or_conditions_that_can_be_read(house: Any, words: tuple[str, ...]) -> None:
    assert house.run("session", "revoke", *words).exit_code == 2


def test_an_unknown_handle_or_person_is_the_answer_no(house: Any) -> None:
    for words in (("--session", "s_" + "0" * 32), ("--user", "nobody")):
        result = house.run("session", "revoke", *words, "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout)["ok"] is False


def test_nobody_to_sign_out_is_fine(house: Any) -> None:
    assert house.run("session", "revoke", "--all").stdout == "0 sessions ended.\n"


def test_what_cannot_be_recorded_is_not_revoked(house: Any) -> None:
    house.add("alice", "--self-enrol")
    sign_in(house, "alice")
    keys = house.directory / "config" / "audit-keys.json"
    kept = keys.read_bytes()
    keys.unlink()
    assert house.run("session", "revoke", "--all").exit_code == 2
    keys.write_bytes(kept)
    keys.chmod(0o600)
    assert len(handles(house)) == 1


@pytest.mark.parametrize("verb", ["disable", "reset", "delete"])
def test_changing_a_person_ends_their_sessions(house: Any, verb: str) -> None:
    house.add("alice", "--self-enrol")
    sign_in(house, "alice")
    sign_in(house, "alice")
    assert house.value("user", verb, "alice")["sessions_ended"] == 2
    assert handles(house) == []


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (("--provider", "okta"), {"old", "far"}),
        (("--provider", "local"), {"okta"}),
        (("--ip", "198.51.100.0/24"), {"old", "okta"}),
        (("--ip", "192.0.2.1"), {"far"}),
        (("--ip", "2001:db8::/32"), {"old", "far", "okta"}),
        (("--issued-before", "30m"), {"far", "okta"}),
        (("--issued-before", "2001-01-01T00:00Z"), {"old", "far", "okta"}),
        (("--role", "client", "--issued-before", "30m"), {"far", "okta"}),
        (("--role", "admin"), {"old", "far", "okta"}),
        (("--tenant", "main", "--ip", "198.51.100.7"), {"old", "okta"}),
        (("--tenant", "other", "--ip", "198.51.100.7"), {"old", "far", "okta"}),
    ],
)
def test_sessions_are_revoked_by_every_condition_together_and_tried_dry_first(
    house: Any, words: tuple[str, ...], left: set[str]
) -> None:
    house.add("alice", "--self-enrol")
    made = {
        "old": sign_in(house, "alice", now=time.time() - 3600),
        "far": sign_in(house, "alice", client_ip="198.51.100.7", country="NZ"),
        "okta": sign_in(house, "alice", provider="okta"),
    }
    gone = {made[name] for name in made.keys() - left}
    tried = house.value("session", "revoke", *words, "--dry-run")
    assert {session["session"] for session in tried["would_end"]} == gone
    assert len(handles(house)) == 3, "a dry run ends nothing"
    assert house.value("session", "revoke", *words)["sessions_ended"] == len(gone)
    assert set(handles(house)) == {made[name] for name in left}
    records = [record for operation, record in house.records() if operation == "session revoke"]
    assert [record["unmapped"]["gw"].get("events") for record in records] == [
        None,
        [{"name": "session.revoked", "count": len(gone)}],
    ]
    assert records[-1]["actor"]["app_name"] == "gateway"


def test_the_list_says_country_browser_provider_and_factors(house: Any) -> None:
    house.add("alice", "--self-enrol")
    sign_in(house, "alice", provider="okta", country="NZ", amr=("pwd", "otp", "mfa"), device="d_1")
    (found,) = house.value("session", "list")["sessions"]
    assert (found["provider"], found["country"], found["bound"]) == ("okta", "NZ", True)
    text = house.run("session", "list").stdout
    for word in ("okta", "NZ", "pwd+otp+mfa", "Firefox on Windows"):
        assert word in text


def test_what_would_end_is_shown_as_a_list(house: Any) -> None:
    house.add("alice", "--self-enrol")
    handle = sign_in(house, "alice")
    text = house.run("session", "revoke", "--session", handle, "--dry-run").stdout
    assert handle in text
    assert "1 session would end." in text
    assert "No session would end." in house.run("session", "revoke", "--provider", "okta", "--dry-run").stdout


@pytest.mark.parametrize("way", ["user", "session"])
def test_a_person_is_told_by_mail_when_an_operator_ends_their_sessions(house: Any, way: str) -> None:
    path = house.directory / "gateway.yaml"
    path.write_text(path.read_text() + "mail: {smtp: {host: mail.example.com}, from: portal@example.com}\n")
    house.add("alice", "--self-enrol", "--email", "alice@example.com")
    house.add("bob", "--self-enrol", "--email", "bob@example.com")
    handle = sign_in(house, "alice")
    sign_in(house, "bob")
    house.value("session", "revoke", f"--{way}", {"user": "alice", "session": handle}[way])
    house.value("session", "revoke", "--user", "alice")  # nothing is left, so there is nothing to tell
    store = house.store()
    (letter,) = Outbox(store.rows, store.sealer, capacity=9).due(now=time.time(), limit=9)
    store.close()
    assert (letter.to, letter.notice) == ("alice@example.com", Notice.SESSIONS_REVOKED)
