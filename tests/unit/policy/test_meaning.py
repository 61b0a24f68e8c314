from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.policy import PolicyTable
from gateway.policy.proof.meaning import Meanings, options

HEAD = "version: 1\nroles: {client: {}, billing: {includes: [client]}, auditor: {}}\nroutes:\n  - {name: a, match: {path: '/a/{x}', methods: [GET]}, upstream: portal, %s}\n"
OTHER = "\n  - {name: z, match: {path: '/z', methods: [GET]}, upstream: portal, allow: [{roles: [auditor, client]}]}\n"


@pytest.fixture
def tell(compiled: Callable[..., PolicyTable]) -> Callable[[str, str], bool]:
    """Tell whether two routes mean the same."""

    def compare(one: str, other: str) -> bool:
        tables = [compiled(HEAD % text + OTHER) for text in (one, other)]
        return Meanings(tables[0]).of(tables[0].rules["a"]) == Meanings(tables[1]).of(tables[1].rules["a"])

    return compare


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("allow: [{roles: [client]}, {roles: [auditor]}]", "allow: [{roles: [auditor]}, {roles: [client]}]", True),
        ("allow: [{roles: [client, billing]}]", "allow: [{roles: [client]}]", True),
        ("allow: [{roles: [client]}]", "allow: [{roles: [billing]}]", False),
        ("allow: [{roles: [client]}]", "allow: [{roles: [client], tenants: [acme]}]", False),
        ("allow: [{roles: [client]}]", "mfa_age: 1h, allow: [{roles: [client]}]", False),
        ("mfa_age: 1h, allow: [{roles: [client]}]", "require: {mfa_age: 60m}, allow: [{roles: [client]}]", True),
        ("allow: [{roles: [client]}]", "credentials: [session, api_key], allow: [{roles: [client]}]", False),
        ("allow: [{roles: [client]}]", "deny: [{roles: [auditor]}], allow: [{roles: [client]}]", False),
        ("allow: [{roles: [client]}]", "cache: portal, allow: [{roles: [client]}]", True),
        ("public: true", "public: true, max_body: 1MiB", True),
        ("public: true", "deny: true", False),
    ],
)
def test_a_meaning_is_who_is_let_in(tell: Callable[[str, str], bool], one: str, other: str, alike: bool) -> None:
    assert tell(one, other) is alike


def test_what_refuses_everybody_means_nothing(compiled: Callable[..., PolicyTable]) -> None:
    table = compiled(HEAD % "deny: true" + OTHER)
    assert Meanings(table).of(table.rules["a"]) is None
    assert Meanings(table).of(None) is None


def test_options_are_named_as_policy_files_call_them(compiled: Callable[..., PolicyTable]) -> None:
    one = compiled(HEAD % "rate_limit: {rate: 60/m, burst: 2, per: user}, allow: [{roles: [client]}]" + OTHER).rules[
        "a"
    ]
    other = compiled(
        HEAD
        % "audit: {durability: strict}, max_body: 1KiB, path: {add_prefix: /v2}, allow: [{roles: [client], rate_limit: {rate: 1/s, burst: 1, per: user}}]"
        + OTHER
    ).rules["a"]
    found = {option.name: (option.old, option.new) for option in options(one, other)}
    assert found["rate_limit"] == ("1/s, burst 2, per user", "none")
    assert found["audit.durability"] == ("none", "strict")
    assert found["max_body"] == ("none", "1024")
    assert found["path"] == ("none", "none /v2")
    assert found["entries"] == ("none", "client: rate_limit 1/s, burst 1, per user")
    assert list(options(one, one)) == []
