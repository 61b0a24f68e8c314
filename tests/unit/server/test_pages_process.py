from __future__ import annotations

from gateway.policy.roles import Roles
from gateway.server.pages_process import account_options
from gateway.server.settings import Settings, load_settings

BASE = """\
version: 1
public_url: https://portal.example.com
listen: [{address: "0.0.0.0:8443", tls: {certificate: c, key: k}}]
upstreams: {portal: {servers: ["http://127.0.0.1:3000"]}}
"""


def read(more: str = "") -> Settings:
    return load_settings(BASE + more, "gateway.yaml")


def test_what_the_file_says_about_accounts_reaches_the_store() -> None:
    options = account_options(
        read(
            "mfa: {required: always, methods: [totp]}\n"
            "sessions: {idle: 20m, absolute: 4h, concurrent: 2}\n"
            "tenants: {acme: {hosts: [acme.example.com], sessions: {idle: 5m}}}\n"
            "passwords: {min_length: 16, breach_check: online}\n"
        ),
        Roles({}),
    )
    assert options.issuer == "portal.example.com"
    assert options.mfa_always
    assert not options.recovery_codes
    assert (options.passwords.min_length, options.passwords.min_length_alone) == (16, 16)
    assert options.passwords.place == ("", "portal.example.com", "acme.example.com")
    general = options.rules_of("other", ["client"]).lifetimes
    assert (general.idle_s, general.absolute_s, general.concurrent) == (1200.0, 14400.0, 2)
    own = options.rules_of("acme", ["client"]).lifetimes
    assert (own.idle_s, own.absolute_s, own.concurrent) == (300.0, 14400.0, 2)


def test_absent_sections_enforce_neither_a_factor_nor_a_number_of_sessions() -> None:
    options = account_options(read(), Roles({}))
    assert not options.mfa_always
    assert options.rules_of("", []).lifetimes.concurrent is None
