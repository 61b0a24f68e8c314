"""`gateway break-glass`: whom it lets in, for how long, and what it leaves in the log."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest

from tests.unit.cli.conftest import House
from tests.unit.cli.test_administration_leaves_records import stored

WHY = ("--reason", "the identity provider is down")


@pytest.fixture
def sealed(house: House) -> House:
    """A house with an emergency account in an envelope."""
    house.add("envelope")
    assert house.run("user", "disable", "envelope").exit_code == 0
    return house


def account(house: House, name: str = "envelope") -> Any:
    store = house.store()
    try:
        user = store.user_named(name)
        assert user is not None
        return user
    finally:
        store.close()


def change(house: House, **changes: Any) -> None:
    store = house.store()
    try:
        user = store.user_named("envelope")
        assert user is not None
        assert store.change_user(user, msgspec.structs.replace(user, **changes), now=time.time()) is not None
    finally:
        store.close()


def told(house: House, event: str) -> list[dict[str, Any]]:
    return [record for name, record in house.records() if name == event]


def test_an_account_is_opened_for_a_while_with_its_reason_on_record(sealed: House) -> None:
    before = time.time()
    opened = sealed.value("break-glass", "open", "envelope", "--for", "20m", "--ticket", "INC-7", *WHY)
    assert before + 1200 <= opened["until"] <= time.time() + 1200
    user = account(sealed)
    assert (user.disabled, user.until) == (False, opened["until"])
    (record,) = told(sealed, "break_glass.opened")
    gw = record["unmapped"]["gw"]
    assert record["status_detail"] == WHY[1]
    assert gw["break_glass"] == {"ticket": "INC-7", "until": int(opened["until"] * 1000)}
    assert (record["class_uid"], record["activity_id"]) == (3001, 2)
    assert record["actor"]["user"]["name"]
    assert sealed.value("break-glass", "list")["accounts"] == [
        {"name": "envelope", "tenant": "main", "open": True, "until": opened["until"]}
    ]
    assert "emergency" in sealed.run("user", "list").stdout


def test_no_record_of_it_names_the_person_in_clear(sealed: House) -> None:
    sealed.value("break-glass", "open", "envelope", *WHY)
    sealed.value("break-glass", "close", "envelope")
    assert b"envelope" not in b"\n".join(stored(sealed))
    assert sealed.value("audit", "verify")["ok"]


def test_closing_ends_it_at_once(sealed: House) -> None:
    sealed.value("break-glass", "open", "envelope", *WHY)
    assert sealed.value("break-glass", "close", "envelope") == {"ok": True, "user": "envelope", "sessions_ended": 0}
    user = account(sealed)
    assert (user.disabled, user.until) == (True, 0.0)
    assert len(told(sealed, "break_glass.closed")) == 1
    assert "No account is open" in sealed.run("break-glass", "list").stdout
    again = sealed.run("break-glass", "close", "envelope")
    assert again.exit_code == 1
    assert "was not opened for an emergency" in again.stderr


@pytest.mark.parametrize("verb", [("break-glass", "close"), ("user", "disable")])
def test_no_lifted_restriction_lets_in_an_account_that_was_ended_meanwhile(
    sealed: House, verb: tuple[str, ...]
) -> None:
    """Attack: it is restricted while it is open, closed, and the lifted restriction makes it one of every day, without an end."""
    who = ("--subject", "envelope", "--tenant", "main", "--reason", "case 7")
    sealed.value("break-glass", "open", "envelope", *WHY)
    sealed.value("privacy", "restrict", *who)
    sealed.value(*verb, "envelope")
    sealed.value("privacy", "lift", *who)
    assert account(sealed).disabled


def test_a_restriction_that_is_lifted_gives_an_emergency_its_end_back(sealed: House) -> None:
    who = ("--subject", "envelope", "--tenant", "main", "--reason", "case 7")
    until = sealed.value("break-glass", "open", "envelope", *WHY)["until"]
    sealed.value("privacy", "restrict", *who)
    sealed.value("privacy", "lift", *who)
    assert (account(sealed).disabled, account(sealed).until) == (False, until)


def test_what_was_disabled_before_its_end_is_not_listed_as_open(sealed: House) -> None:
    until = sealed.value("break-glass", "open", "envelope", *WHY)["until"]
    sealed.value("user", "disable", "envelope")
    assert sealed.value("break-glass", "list")["accounts"] == [
        {"name": "envelope", "tenant": "main", "open": False, "until": until}
    ]
    assert "disabled" in sealed.run("break-glass", "list").stdout


def test_no_key_is_made_that_sleeps_until_the_account_is_one_of_every_day(sealed: House) -> None:
    sealed.value("break-glass", "open", "envelope", *WHY)
    refused = sealed.run("apikey", "create", "later", "--user", "envelope", "--role", "client")
    assert refused.exit_code == 1
    assert "no key counts" in refused.stderr
    store = sealed.store()
    try:
        assert store.api_keys.all() == []
    finally:
        store.close()


def test_what_is_over_can_be_opened_again_and_what_is_open_cannot(sealed: House) -> None:
    sealed.value("break-glass", "open", "envelope", *WHY)
    again = sealed.run("break-glass", "open", "envelope", "--for", "1h", *WHY)
    assert again.exit_code == 1
    assert "is open until" in again.stderr
    change(sealed, until=time.time() - 1)
    assert [found["open"] for found in sealed.value("break-glass", "list")["accounts"]] == [False]
    sealed.value("break-glass", "open", "envelope", *WHY)


def test_an_account_of_every_day_is_no_emergency_account(house: House) -> None:
    house.add("alice")
    refused = house.run("break-glass", "open", "alice", *WHY)
    assert refused.exit_code == 1
    assert "alice is in everyday use; an emergency account rests until it is needed" in refused.stderr
    assert account(house, "alice").until == 0
    assert told(house, "break_glass.opened") == []


def test_an_open_account_is_not_made_one_of_every_day(sealed: House) -> None:
    sealed.value("break-glass", "open", "envelope", *WHY)
    refused = sealed.run("user", "enable", "envelope")
    assert refused.exit_code == 1
    assert "gateway break-glass close envelope comes first" in refused.stderr
    assert account(sealed).until > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--for", "61m", *WHY), "an emergency lasts 1h at most"),
        (("--for", "0s", *WHY), "an emergency lasts 1h at most"),
        (("--for", "soon", *WHY), "'soon'"),
        ((), "Missing option '--reason'"),
        (("--reason", " "), "say why"),
        (("--reason", "two\nlines"), "one line of 1024 characters"),
        (("--ticket", "7" * 101, *WHY), "one line of 100 characters"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_happens(
    sealed: House, arguments: tuple[str, ...], sentence: str
) -> None:
    refused = sealed.run("break-glass", "open", "envelope", *arguments)
    assert refused.exit_code == 2
    assert sentence in refused.stderr
    assert account(sealed).disabled


def test_an_account_without_a_factor_of_its_own_is_not_opened(house: House) -> None:
    """Attack: who has the password alone sets up a factor, and is in."""
    house.add("envelope", "--self-enrol")
    house.run("user", "disable", "envelope")
    refused = house.run("break-glass", "open", "envelope", *WHY)
    assert refused.exit_code == 1
    assert "no password or no second factor" in refused.stderr


@pytest.mark.parametrize("changes", [{"provider": "corp"}, {"password": ""}, {"restricted": "enabled"}])
def test_an_account_that_could_not_sign_in_by_itself_is_not_opened(sealed: House, changes: dict[str, Any]) -> None:
    change(sealed, **changes)
    assert sealed.run("break-glass", "open", "envelope", *WHY).exit_code == 1
    assert account(sealed).disabled


def test_where_nobody_has_a_password_there_is_no_such_account(sealed: House) -> None:
    path = sealed.directory / "gateway.yaml"
    path.write_text(path.read_text().replace("type: password}", "type: password, tenants: [other]}"))
    refused = sealed.run("break-glass", "open", "envelope", *WHY)
    assert refused.exit_code != 0
    assert account(sealed).disabled


def test_what_cannot_be_recorded_is_not_done(sealed: House) -> None:
    for path in (sealed.state_dir / "audit").iterdir():
        path.unlink()
    (sealed.state_dir / "audit").rmdir()
    (sealed.state_dir / "audit").write_text("no directory")
    refused = sealed.run("break-glass", "open", "envelope", *WHY)
    assert refused.exit_code == 2
    assert account(sealed).disabled


def test_nobody_of_that_name_is_said_so(sealed: House) -> None:
    for verb in ("open", "close"):
        more = WHY if verb == "open" else ()
        refused = sealed.run("break-glass", verb, "nobody", *more, "--json")
        assert refused.exit_code == 1
        assert json.loads(refused.stdout)["errors"] == ["there is no user 'nobody'"]
