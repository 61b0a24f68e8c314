from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from gateway.store.records import User

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
WORDS = ("--tenant", "main", "--role", "client")


def account(house: Any, name: str = "alice") -> User:
    found = house.store().user_named(name)
    assert isinstance(found, User)
    return found


def make_federated(house: Any, name: str) -> None:
    """Have an identity provider vouch for the person from now on."""
    store, user = house.store(), account(house, name)
    there = msgspec.structs.replace(user, provider="okta", issuer="https://okta.example", subject="1", password="")
    assert store.change_user(user, there, now=user.created) is not None
    store.close()


def test_an_administrator_of_the_gateway_is_added_by_name(house: Any) -> None:
    house.value("user", "add", "alice", *WORDS, "--role", "gateway.admin", "--totp-secret", SECRET)
    alice = account(house)
    assert (alice.roles, alice.gateway_roles) == (("client",), ("gateway.admin",))
    (person,) = house.value("user", "list")["users"]
    assert (person["roles"], person["gateway_roles"]) == (["client"], ["gateway.admin"])
    assert "client, gateway.admin" in house.run("user", "list").stdout


def test_an_administrator_needs_no_role_of_the_policy(house: Any) -> None:
    words = ("--tenant", "main", "--role", "gateway.admin", "--totp-secret", SECRET)
    value = house.value("user", "add", "alice", *words)
    assert "warnings" not in value
    assert account(house).roles == ()


def test_nobody_is_added_as_an_administrator_without_a_second_factor(house: Any) -> None:
    result = house.run("user", "add", "alice", *WORDS, "--role", "gateway.admin", "--self-enrol")
    assert result.exit_code == 2
    assert "gateway.admin needs a second factor from the start" in result.stderr


@pytest.mark.parametrize("role", ["gateway.root", "Gateway.Admin", "gateway.tenant-admins"])
def test_a_reserved_name_that_is_no_role_of_ours_is_refused(house: Any, role: str) -> None:
    for words in (
        ("user", "add", "alice", "--tenant", "main", "--role", role),
        ("user", "role", "alice", "--add", role),
    ):
        result = house.run(*words)
        assert result.exit_code == 2
        assert "the gateway's own roles are gateway.admin and gateway.tenant-admin" in result.stderr


def test_roles_are_given_and_taken_and_sessions_end(house: Any) -> None:
    house.add("alice", "--totp-secret", SECRET)
    value = house.value("user", "role", "alice", "--add", "gateway.tenant-admin", "--add", "billing")
    assert value["gateway_roles"] == ["gateway.tenant-admin"]
    assert value["roles"] == ["client", "billing"]
    assert any("'billing' allows nothing" in warning for warning in value["warnings"])
    assert account(house).administers == "main"
    value = house.value("user", "role", "alice", "--remove", "gateway.tenant-admin", "--remove", "client")
    assert (value["roles"], value["gateway_roles"]) == (["billing"], [])
    assert account(house).administers == ""


def test_the_act_is_recorded_with_what_was_given_and_taken(house: Any) -> None:
    house.add("alice", "--totp-secret", SECRET)
    house.value("user", "role", "alice", "--add", "gateway.admin", "--remove", "client")
    event, record = house.records()[-1]
    assert event == "user.roles_changed"
    assert record["unmapped"]["gw"]["added"] == ["gateway.admin"]
    assert record["unmapped"]["gw"]["removed"] == ["client"]


def test_somebody_without_a_second_factor_becomes_no_administrator(house: Any) -> None:
    house.add("alice", "--self-enrol")
    result = house.run("user", "role", "alice", "--add", "gateway.admin")
    assert result.exit_code == 1
    assert "alice has no second factor" in result.stderr
    assert account(house).gateway_roles == ()


def test_the_roles_of_a_policy_are_not_changed_where_a_provider_says_them(house: Any) -> None:
    house.add("alice", "--totp-secret", SECRET)
    make_federated(house, "alice")
    result = house.run("user", "role", "alice", "--add", "billing")
    assert result.exit_code == 1
    assert "come from the identity provider okta at each sign-in" in result.stderr
    value = house.value("user", "role", "alice", "--add", "gateway.admin")
    assert value["gateway_roles"] == ["gateway.admin"]
    assert any("only where okta says that a second factor was used" in warning for warning in value["warnings"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "name a role"),
        (("--add", "client", "--remove", "client"), "client is to be added and removed"),
        (("--add", "no role"), "is not a role"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(house: Any, words: tuple[str, ...], sentence: str) -> None:
    house.add("alice", "--totp-secret", SECRET)
    result = house.run("user", "role", "alice", *words)
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_giving_what_somebody_has_changes_nothing_and_says_so(house: Any) -> None:
    house.add("alice", "--totp-secret", SECRET)
    result = house.run("user", "role", "alice", "--add", "client")
    assert result.exit_code == 1
    assert "alice has these roles already: client" in result.stderr


def test_nobody_who_is_not_there_gets_a_role(house: Any) -> None:
    assert house.run("user", "role", "mallory", "--add", "gateway.admin").exit_code == 1


def test_a_key_carries_none_of_the_gateways_roles(house: Any) -> None:
    house.value("user", "add", "alice", *WORDS, "--role", "gateway.admin", "--totp-secret", SECRET)
    for owner in (("--user", "alice"), ("--service", "backup", "--tenant", "main")):
        result = house.run("apikey", "create", "nightly", *owner, "--role", "gateway.admin")
        assert result.exit_code == 2
        assert "'gateway.admin' is no role of a key" in result.stderr


def test_no_session_is_found_by_a_role_that_none_carries(house: Any) -> None:
    result = house.run("session", "revoke", "--role", "gateway.admin")
    assert result.exit_code == 2
    assert "no session carries gateway.admin; name the person" in result.stderr


@pytest.mark.parametrize(
    "section",
    [
        "mfa: {required: by_role, roles: [gateway.admin]}",
        "mfa: {required: always, never_remember: [Gateway.Admin]}",
        "sessions: {roles: {gateway.admin: {idle: 5m}}}",
        (
            "identity: {providers: [{id: local, type: password}, {id: okta, type: oidc, issuer: 'https://okta.example', "
            "client_id: a, client_secret: {file: config/keyring.json}, tenant: main, "
            "roles: {claim: groups, grant: {admins: gateway.admin}}}]}"
        ),
        (
            "identity: {issuers: [{id: bots, issuer: 'https://bots.example', audience: portal, tenant: main, "
            "roles: {claim: roles, grant: {all: gateway.tenant-admin}}}]}"
        ),
    ],
)
def test_gateway_yaml_gives_none_of_the_gateways_roles(house: Any, section: str) -> None:
    path = house.directory / "gateway.yaml"
    key = section.partition(":")[0]
    lines = [line for line in path.read_text().splitlines(keepends=True) if not line.startswith(f"{key}:")]
    path.write_text("".join(lines) + section + "\n")
    result = house.run("check", "--json")
    assert result.exit_code == 2
    assert any("are the gateway's own roles" in error for error in json.loads(result.stdout)["errors"])


def test_a_policy_declares_and_allows_none_of_the_gateways_roles(house: Any) -> None:
    (path,) = (house.directory / "policies").glob("*.yaml")
    text = path.read_text()
    path.write_text(text.replace("roles:\n", "roles:\n  gateway.admin: {}\n", 1))
    result = house.run("policy", "check")
    assert result.exit_code == 2
    assert "the role 'gateway.admin' cannot be declared: names that begin with gateway." in result.stderr
    path.write_text(text.replace("[client]", "[client, gateway.admin]", 1))
    result = house.run("policy", "check")
    assert result.exit_code == 2
    assert "'gateway.admin' is no role of a policy" in result.stderr
