from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from gateway.authn.api_key import is_key, row_of
from gateway.exchange.letter import Letter
from gateway.exchange.notice import Notice
from gateway.store.outbox import Outbox
from gateway.store.rows import Row
from gateway.store.tables import API_KEYS

DAY_S = 86_400


def make(house: Any, *arguments: str) -> dict[str, Any]:
    made: dict[str, Any] = house.value(
        "apikey", "create", "export", "--service", "export", "--tenant", "main", "--role", "client", *arguments
    )
    return made


def listed(house: Any, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = house.value("apikey", "list", *arguments)["api_keys"]
    return found


def test_a_key_is_shown_once_and_never_again(house: Any) -> None:
    made = make(house)
    assert is_key(made["key"].encode())
    assert made["user"] == "service:export"
    assert 90 * DAY_S - 5 <= made["expires"] - time.time() <= 90 * DAY_S
    text = house.run("apikey", "list").stdout
    assert made["handle"] in text
    assert made["key"] not in text
    assert "key" not in listed(house)[0]


def test_a_key_is_told_to_people_with_its_end(house: Any) -> None:
    text = house.run("apikey", "create", "x", "--service", "x", "--tenant", "main", "--role", "client").stdout
    assert re.search(r"Key:   gwk_[0-9A-Za-z]{49}  \(shown once\)\n", text)
    assert "Made the key k_" in text


def test_a_key_carries_what_it_was_made_with(house: Any) -> None:
    made = make(
        house,
        "--scope",
        "a",
        "--scope",
        "b",
        "--network",
        "10.0.0.0/8",
        "--expires",
        "1d",
        "--rate",
        "10/s",
        "--burst",
        "5",
    )
    (key,) = listed(house)
    assert (key["scopes"], key["networks"], key["rate_per_s"], key["burst"]) == (["a", "b"], ["10.0.0.0/8"], 10.0, 5)
    assert (key["roles"], key["tenant"], key["state"], key["last_used"]) == (["client"], "main", "serves", 0.0)
    assert key["expires"] == made["expires"] <= time.time() + DAY_S


def test_a_persons_key_holds_no_role_that_the_person_does_not(house: Any) -> None:
    house.add("alice", "--self-enrol")
    refused = house.run("apikey", "create", "x", "--user", "alice", "--role", "admin")
    assert refused.exit_code == 1
    assert "alice does not hold the role admin" in refused.stderr
    made = house.value("apikey", "create", "x", "--user", "ALICE", "--role", "client")
    assert made["user"] == "alice"
    assert [key["handle"] for key in listed(house, "--user", "alice")] == [made["handle"]]
    house.run("user", "disable", "alice")
    assert listed(house)[0]["state"] == "rests"
    house.run("user", "delete", "alice")
    assert listed(house) == []


def test_a_key_is_revoked_by_its_handle(house: Any) -> None:
    made = make(house)
    assert house.value("apikey", "revoke", made["handle"]) == {"ok": True, "keys_ended": 1}
    assert listed(house) == []
    again = house.run("apikey", "revoke", made["handle"])
    assert again.exit_code == 1
    assert "there is no API key" in again.stderr
    store = house.store()
    assert store.api_keys.read(row_of(made["key"].encode())) is None
    store.close()


def test_every_key_of_an_owner_is_revoked_at_once(house: Any) -> None:
    make(house), make(house)
    other = house.value("apikey", "create", "x", "--service", "other", "--tenant", "main", "--role", "client")
    assert house.value("apikey", "revoke", "--service", "export", "--tenant", "main")["keys_ended"] == 2
    assert [key["handle"] for key in listed(house)] == [other["handle"]]


def test_a_rotated_key_serves_for_the_overlap(house: Any) -> None:
    made = make(house)
    fresh = house.value("apikey", "rotate", made["handle"], "--overlap", "1h")
    assert fresh["key"] != made["key"]
    assert fresh["replaces"] == made["handle"]
    states = {key["handle"]: (key["state"], key["expires"]) for key in listed(house)}
    assert states[made["handle"]][0] == "replaced"
    assert states[made["handle"]][1] <= time.time() + 3600
    assert states[fresh["handle"]][0] == "serves"
    again = house.run("apikey", "rotate", made["handle"])
    assert again.exit_code == 1
    assert "was replaced before" in again.stderr


def test_a_key_lives_no_longer_than_the_configuration_allows(house: Any) -> None:
    refused = house.run(
        "apikey", "create", "x", "--service", "x", "--tenant", "main", "--role", "client", "--expires", "2y"
    )
    assert refused.exit_code == 2
    assert "identity.api_keys.longest" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--role", "client"), "name the owner: --user or --service"),
        (("--service", "x", "--role", "client"), "--service needs --tenant"),
        (("--service", "X y", "--tenant", "main", "--role", "client"), "is not a service"),
        (("--service", "x", "--tenant", "main"), "--role"),
        (("--service", "x", "--tenant", "main", "--role", "a,b"), "is not a role"),
        (("--service", "x", "--tenant", "main", "--role", "client", "--scope", "a b"), "a scope is one word"),
        (("--service", "x", "--tenant", "main", "--role", "client", "--network", "10.0.0.1/8"), "is not an IP address or a network"),
        (("--service", "x", "--tenant", "main", "--role", "client", "--rate", "10/s"), "--rate and --burst go together"),
        (("--service", "x", "--tenant", "main", "--role", "client", "--rate", "fast", "--burst", "1"), "--rate"),
        (("--service", "x", "--tenant", "main", "--role", "client", "--expires", "soon"), "--expires"),
        (("--user", "x", "--service", "x", "--tenant", "main", "--role", "client"), "name the owner"),
        (("--user", "x", "--tenant", "main", "--role", "client"), "--tenant goes with --service"),
    ],
)  # fmt: skip
def test_what_makes_no_key_is_refused_with_a_sentence(house: Any, arguments: tuple[str, ...], expected: str) -> None:
    refused = house.run("apikey", "create", "x", *arguments)
    assert refused.exit_code == 2
    assert expected in refused.stderr
    assert listed(house) == []


def test_what_is_no_handle_is_refused(house: Any) -> None:
    for verb in ("revoke", "rotate"):
        refused = house.run("apikey", verb, "alice")
        assert refused.exit_code == 2
        assert "k_ and 16 hexadecimal digits" in refused.stderr
    assert house.run("apikey", "revoke").exit_code == 2


def test_each_act_on_a_key_is_in_the_audit_trail_and_the_key_is_not(house: Any) -> None:
    made = make(house)
    fresh = house.value("apikey", "rotate", made["handle"])
    house.run("apikey", "revoke", fresh["handle"])
    text = house.run("audit", "query", "--json").stdout
    for operation in ("apikey create", "apikey rotate", "apikey revoke"):
        assert operation in text
    assert made["handle"] in text
    assert made["key"] not in text
    assert fresh["key"] not in text


def test_no_person_can_be_called_like_a_service(house: Any) -> None:
    refused = house.run("user", "add", "service:export", "--tenant", "main", "--role", "client", "--self-enrol")
    assert refused.exit_code == 2
    assert "services with API keys" in refused.stderr


def test_a_person_is_told_by_mail_of_a_key_that_an_operator_made(house: Any) -> None:
    path = house.directory / "gateway.yaml"
    path.write_text(path.read_text() + "mail: {smtp: {host: mail.example.com}, from: portal@example.com}\n")
    house.add("alice", "--self-enrol", "--email", "alice@example.com")
    house.value("apikey", "create", "nightly export", "--user", "alice", "--role", "client")
    make(house)
    (letter,) = waiting(house)
    assert (letter.to, letter.notice, letter.circumstances.subject) == (
        "alice@example.com",
        Notice.API_KEY_CREATED,
        "nightly export",
    )


def test_an_operator_is_told_when_the_person_cannot_be(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = house.directory / "gateway.yaml"
    path.write_text(path.read_text() + "mail: {smtp: {host: mail.example.com}, from: portal@example.com}\n")
    house.add("alice", "--self-enrol", "--email", "alice@example.com")
    monkeypatch.setattr(Outbox, "put", lambda *_, **__: False)
    made = house.run("apikey", "create", "x", "--user", "alice", "--role", "client", "--json")
    assert made.exit_code == 0
    assert json.loads(made.stdout)["user"] == "alice"
    assert "was not told by mail: the queue of mail is full" in made.stderr


def test_every_key_of_an_owner_is_revoked_although_one_is_damaged(house: Any) -> None:
    make(house), make(house)
    store = house.store()

    def spoil(tx: Any) -> None:
        row = store.rows.all(API_KEYS)[0]
        tx.put(API_KEYS, Row(id=row.id, value=bytes(64), key=row.key, tokens=row.tokens, expires=row.expires))

    store.rows.transact(spoil)
    store.close()
    assert house.value("apikey", "revoke", "--service", "export", "--tenant", "main")["keys_ended"] == 2


def waiting(house: Any) -> list[Letter]:
    store = house.store()
    letters = Outbox(store.rows, store.sealer, capacity=9).due(now=time.time(), limit=9)
    store.close()
    return letters
