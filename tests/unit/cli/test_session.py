from __future__ import annotations

import json
import os
import time
from typing import Any

import pytest

from gateway.exchange.session import Owed
from gateway.session.life import Lifetimes, start
from gateway.session.token import make_handle


def sign_in(house: Any, name: str, *, owes: Owed = Owed.NOTHING) -> str:
    store = house.store()
    user = store.user_named(name)
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
        client_ip="192.0.2.1",
        user_agent="Firefox",
        now=time.time(),
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
    assert house.run("session", "list", "--user", "alice", "--tenant", "main").exit_code == 2


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
    "words", [(), ("--all", "--user", "alice"), ("--session", "rubbish"), ("--user", "a", "--tenant", "b")]
)
def test_revoke_wants_exactly_one_scope(house: Any, words: tuple[str, ...]) -> None:
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
