from __future__ import annotations

import json
import time
from typing import Any

import pytest

from gateway.authn.password import Hasher
from gateway.authn.throttle import ACCOUNT, SP_800_63B_MAX_FAILURES
from gateway.exchange.notice import Notice
from gateway.store.attempts import AttemptKeys
from gateway.store.breach_online import BreachServiceError, OnlineBreachedPasswords
from gateway.store.keyring import Keyring
from gateway.store.outbox import Outbox
from gateway.store.passkeys import Passkey

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
WORDS = ("--tenant", "main", "--role", "client")


def test_a_person_is_added_with_a_made_password_and_the_uri_of_a_factor(house: Any) -> None:
    result = house.run("user", "add", "Alice", *WORDS, "--email", "alice@example.com")
    assert result.exit_code == 0, result.output
    assert "Added alice (tenant main, roles client)." in result.stdout
    assert "otpauth://totp/localhost:alice?secret=" in result.stdout
    password = next(line.split()[1] for line in result.stdout.splitlines() if line.startswith("Password:"))
    user = house.store().user_named("alice")
    assert user is not None
    assert (user.tenant, user.roles, user.email) == ("main", ("client",), "alice@example.com")
    assert Hasher().matches(user.password, password)
    factor = house.store().factor(user.id)
    assert factor is not None
    assert f"secret={factor.secret}&" in result.stdout


def test_a_given_password_is_one_line_and_is_not_repeated(house: Any) -> None:
    words = ("user", "add", "alice", *WORDS, "--password-stdin", "--totp-secret", SECRET.lower(), "--json")
    result = house.run(*words, given="correct horse battery\r\nanother line\n")
    assert result.exit_code == 0
    assert "correct horse" not in result.output
    value = json.loads(result.stdout)
    assert "password" not in value
    assert f"secret={SECRET}&" in value["uri"]
    user = house.store().user(value["id"])
    assert user is not None
    assert Hasher().matches(user.password, "correct horse battery")


def test_without_a_factor_the_person_enrols_at_the_next_sign_in(house: Any) -> None:
    value = house.add("alice", "--self-enrol")
    assert "uri" not in value
    assert house.store().factor(value["id"]) is None


def test_the_act_is_in_the_audit_log_with_actor_and_roles_and_without_secrets(house: Any) -> None:
    value = house.add("alice", "--totp-secret", SECRET)
    ((event, record),) = house.records()
    assert event == "user.added"
    assert record["user"]["uid"] == value["id"]
    assert record["actor"]["user"]["name"]
    assert record["unmapped"]["gw"]["roles"] == ["client"]
    assert SECRET not in json.dumps(record)
    assert "correct horse" not in json.dumps(record)


def test_a_name_is_unique_in_every_spelling_and_tenant(house: Any) -> None:
    house.add("alice")
    result = house.run("user", "add", "ALICE", *WORDS)
    assert result.exit_code == 1
    assert "there is a user 'alice' already" in result.stderr


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("short\n", "at least 12"),
        ("1q2w3e4r5t6y\n", "breaches"),
        ("alice@example.com\n", "name or address"),
        ("aaaaaaaaaaaa\n", "different characters"),
    ],
)
def test_a_weak_password_is_refused_and_not_quoted(house: Any, given: str, words: str) -> None:
    result = house.run("user", "add", "alice", *WORDS, "--email", "alice@example.com", "--password-stdin", given=given)
    assert result.exit_code == 1
    assert words in result.stderr
    assert given.strip() not in result.stderr
    assert house.store().user_named("alice") is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (True, "known from data breaches"),
        (BreachServiceError("the range API answered 503"), "cannot be checked: the range API answered 503"),
    ],
)
def test_with_an_online_check_a_chosen_password_is_asked_about(
    house: Any, monkeypatch: pytest.MonkeyPatch, answer: object, words: str
) -> None:
    asked: list[str] = []

    async def holds(_self: object, password: str) -> object:
        asked.append(password)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(OnlineBreachedPasswords, "holds", holds)
    config = house.directory / "gateway.yaml"
    config.write_text(config.read_text().replace("breach_check: offline", "breach_check: online"))
    result = house.run("user", "add", "alice", *WORDS, "--password-stdin", given="correct horse battery\n")
    assert (result.exit_code, asked) == (1, ["correct horse battery"])
    assert words in result.stderr
    assert house.store().user_named("alice") is None
    assert house.run("user", "add", "alice", *WORDS).exit_code == 0, "a password made here is on no list"
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("al ice", *WORDS), "no white space"),
        (("alice", "--tenant", "mian", "--role", "client"), "no tenant 'mian'; did you mean 'main'?"),
        (("alice", "--tenant", "Main", "--role", "client"), "is not a tenant"),
        (("alice", "--tenant", "main", "--role", "a,b"), "is not a role"),
        (("alice", "--tenant", "main"), "--role"),
        (("alice", *WORDS, "--email", "no address"), "not an e-mail address"),
        (("alice", *WORDS, "--email", "a@b\r\nX-Gateway-Roles: admin"), "not an e-mail address"),
        (("alice", *WORDS, "--totp-secret", "0189"), "base32"),
        (("alice", *WORDS, "--totp-secret", SECRET, "--self-enrol"), "exclude each other"),
        (("alice", *WORDS, "--password-stdin"), "no password on standard input"),
    ],
)
def test_wrong_words_are_usage_errors(house: Any, arguments: tuple[str, ...], words: str) -> None:
    result = house.run("user", "add", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr.replace("\n", " ")


@pytest.mark.parametrize("line", [b"\n", b"\xff" * 20 + b"\n", b"x" * 5000])
def test_a_line_that_is_no_password_is_a_usage_error(house: Any, line: bytes) -> None:
    result = house.run("user", "add", "alice", *WORDS, "--password-stdin", given=line)
    assert result.exit_code == 2


def test_a_role_that_the_policy_does_not_know_is_a_warning(house: Any) -> None:
    result = house.run("user", "add", "alice", "--tenant", "main", "--role", "clinet")
    assert result.exit_code == 0
    assert (
        "warning: the role 'clinet' allows nothing: the policy does not know it; did you mean 'client'?"
        in result.stderr
    )


def test_a_policy_that_does_not_compile_is_a_warning_too(house: Any) -> None:
    (house.directory / "policies" / "portal.yaml").write_text("nonsense")
    value = house.add("alice")
    assert "gateway policy check" in value["warnings"][0]


def test_a_short_secret_is_taken_with_a_warning(house: Any) -> None:
    value = house.add("alice", "--totp-secret", "JBSWY3DPEHPK3PXP")
    assert "128 bits" in value["warnings"][0]


def test_people_are_listed_with_their_state(house: Any) -> None:
    assert "There is no user." in house.run("user", "list").stdout
    alice = house.add("alice")
    house.add("bob", "--self-enrol")
    house.run("user", "disable", "bob")
    store, keys = house.store(), AttemptKeys(Keyring.load(house.directory / "config" / "keyring.json"))
    for _ in range(10):
        store.admit_attempt([(keys.account("alice"), ACCOUNT)], now=time.time() + 3600)
    listed = house.value("user", "list")["users"]
    assert [(user["name"], user["disabled"], user["totp"]) for user in listed] == [
        ("alice", False, True),
        ("bob", True, False),
    ]
    assert "password" not in json.dumps(listed).replace("password_changed", "")
    lines = house.run("user", "list", "--tenant", "main").stdout.splitlines()
    assert lines[0].split() == ["NAME", "TENANT", "ROLES", "STATE", "FACTOR", "LAST", "SIGN-IN"]
    assert lines[2].split()[:5] == ["bob", "main", "client", "disabled", "none"]
    assert house.value("user", "list", "--tenant", "other") == {"users": []}
    assert alice["id"] in {user["id"] for user in listed}


def test_a_locked_account_is_shown_and_opened_by_enable(house: Any) -> None:
    house.add("alice")
    store, keys = house.store(), AttemptKeys(Keyring.load(house.directory / "config" / "keyring.json"))
    (user,) = house.value("user", "list")["users"]
    assert user["locked_s"] == 0
    clock = time.time() - 90 * 86400
    for _ in range(SP_800_63B_MAX_FAILURES):
        while wait := store.admit_attempt([(keys.account("alice"), ACCOUNT)], now=clock):
            clock += wait
    (user,) = house.value("user", "list")["users"]
    assert user["locked_s"] == 1e9
    assert "locked" in house.run("user", "list").stdout
    house.value("user", "enable", "alice")
    (user,) = house.value("user", "list")["users"]
    assert user["locked_s"] == 0


def test_disable_enable_and_delete_say_what_they_did_and_are_recorded_first(house: Any) -> None:
    house.add("alice")
    assert house.value("user", "disable", "Alice") == {"ok": True, "user": "alice", "sessions_ended": 0}
    user = house.store().user_named("alice")
    assert user is not None
    assert user.disabled
    assert "Enabled alice." in house.run("user", "enable", "alice").stdout
    assert "0 sessions ended." in house.run("user", "delete", "alice").stdout
    assert house.store().user_named("alice") is None
    assert [event for event, _ in house.records()] == ["user.added", "user.disabled", "user.enabled", "user.deleted"]


@pytest.mark.parametrize("verb", ["disable", "enable", "reset", "delete"])
def test_nobody_is_the_answer_no(house: Any, verb: str) -> None:
    for name in ("nobody", "no body"):
        result = house.run("user", verb, name, "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout) == {"ok": False, "errors": [f"there is no user {name!r}"]}


def test_a_reset_gives_new_secrets_and_ends_what_the_old_ones_opened(house: Any) -> None:
    before = house.add("alice", "--totp-secret", SECRET)
    store = house.store()
    store.replace_recovery(before["id"], [b"code"], now=time.time())
    after = house.value("user", "reset", "alice")
    assert after["password"]
    assert SECRET not in after["uri"]
    user = house.store().user_named("alice")
    assert user is not None
    assert Hasher().matches(user.password, after["password"])
    assert house.store().count_recovery(user.id) == 0
    house.value("user", "reset", "alice", "--self-enrol", "--password-stdin", given="a better horse battery\n")
    assert house.store().factor(user.id) is None


def test_the_factors_alone_are_reset_and_the_password_stays(house: Any) -> None:
    added = house.add("alice")
    store = house.store()
    assert store.rows.transact(lambda tx: store.passkeys.add_in(tx, _passkey(added["id"]), now=time.time()))
    (listed,) = house.value("user", "list")["users"]
    assert (listed["factors"], listed["passkeys"]) == (["totp", "webauthn"], 1)
    assert "totp, webauthn" in house.run("user", "list").stdout
    before = store.user_named("alice")
    answer = house.value("user", "reset", "alice", "--factors")
    assert "password" not in answer
    after = house.store().user_named("alice")
    assert before is not None
    assert after is not None
    assert after.password == before.password
    assert after.stamp != before.stamp
    (listed,) = house.value("user", "list")["users"]
    assert (listed["factors"], listed["passkeys"]) == ([], 0)
    assert house.run("user", "reset", "alice", "--factors", "--password-stdin").exit_code == 2
    assert house.run("user", "reset", "alice", "--factors").stdout.endswith("is set up at the next sign-in.\n")
    given = house.value("user", "reset", "alice", "--factors", "--totp-secret", SECRET)
    assert SECRET in given["uri"]


@pytest.mark.parametrize(
    ("words", "notice"),
    [
        (("reset", "alice"), Notice.PASSWORD_CHANGED),
        (("reset", "alice", "--factors"), Notice.FACTOR_REMOVED),
    ],
)
def test_a_person_is_told_by_mail_when_an_operator_replaces_what_they_sign_in_with(
    house: Any, words: tuple[str, ...], notice: Notice
) -> None:
    path = house.directory / "gateway.yaml"
    path.write_text(path.read_text() + "mail: {smtp: {host: mail.example.com}, from: portal@example.com}\n")
    house.add("alice", "--email", "alice@example.com")
    house.value("user", *words)
    store = house.store()
    (letter,) = Outbox(store.rows, store.sealer, capacity=9).due(now=time.time(), limit=9)
    store.close()
    assert (letter.to, letter.notice) == ("alice@example.com", notice)


def _passkey(user_id: str) -> Passkey:
    return Passkey(
        id=b"key",
        user_id=user_id,
        relying_party="portal.example.com",
        public_key=b"",
        sign_count=0,
        aaguid="",
        backup_eligible=False,
        backed_up=False,
        transports=(),
        name="Key",
        created=time.time(),
    )


def test_what_cannot_be_recorded_is_not_done(house: Any) -> None:
    house.add("alice")
    (house.directory / "config" / "audit-keys.json").unlink()
    for verb in ("disable", "delete"):
        assert house.run("user", verb, "alice").exit_code == 2
    user = house.store().user_named("alice")
    assert user is not None
    assert not user.disabled
    assert house.run("user", "list").exit_code == 2


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda house: (house.directory / "gateway.yaml").unlink(), "does not exist; name the file with -c"),
        (lambda house: (house.directory / "gateway.yaml").write_bytes(b"\xff"), "not UTF-8"),
        (lambda house: (house.directory / "config" / "keyring.json").chmod(0o644), "chmod 600"),
        (lambda house: (house.directory / "config" / "keyring.json").unlink(), "restore it from its backup"),
        (lambda house: (house.state_dir / "state.sqlite3").write_bytes(b"rubbish" * 1000), "restore it from a backup"),
    ],
)
def test_what_is_broken_is_named_with_exit_2(house: Any, damage: Any, words: str) -> None:
    house.state_dir.mkdir()
    damage(house)
    result = house.run("user", "list")
    assert result.exit_code == 2
    assert words in result.stderr
