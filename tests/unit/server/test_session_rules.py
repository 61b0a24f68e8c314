"""`sessions:` of gateway.yaml and of its tenants, from the file to the rules of a person."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.document.source import DocumentError
from gateway.policy import compile_policy
from gateway.policy.roles import Roles
from gateway.server.session_rules import is_bound_to_country, rule_book, unknown_roles
from gateway.server.settings import Settings, load_settings
from gateway.session.binding import Binding, Network
from gateway.session.life import Lifetimes

BASE = """version: 1
public_url: https://portal.test
listen: [{address: 127.0.0.1:8443, tls: {certificate: a.pem, key: a.key}}]
upstreams: {portal: {servers: ["http://127.0.0.1:3000"]}}
"""
ROLES = Roles({"client": (), "admin": ("client",), "root": ("admin",)})


def read(text: str) -> Settings:
    return load_settings(BASE + text, Path("gateway.yaml"))


def refusals(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        read(text)
    return list(caught.value.diagnostics)


def test_an_absent_section_leaves_the_defaults_and_binds_nothing() -> None:
    rules = rule_book(read(""), ROLES).of("acme", ["admin"])
    assert rules.lifetimes == Lifetimes(idle_s=900, absolute_s=8 * 3600, concurrent=None)
    assert rules.binding == Binding()
    assert read("").sessions.warn == 120.0


def test_tenant_replaces_and_roles_tighten() -> None:
    settings = read(
        "sessions: {idle: 20m, concurrent: 4, when_full: refuse, roles: {admin: {idle: 5m, bind: {device: true}}}}\n"
        "tenants: {acme: {hosts: [acme.test], sessions: {idle: 40m, absolute: 1h, roles: {admin: {concurrent: 1}}}}}\n"
    )
    book = rule_book(settings, ROLES)
    client, admin, root = (book.of("acme", [role]) for role in ("client", "admin", "root"))
    assert client.lifetimes == Lifetimes(idle_s=2400, absolute_s=3600, concurrent=4, when_full="refuse")
    assert admin.lifetimes == Lifetimes(idle_s=300, absolute_s=3600, concurrent=1, when_full="refuse")
    assert root == admin, "who holds a role by inclusion holds it"
    assert (client.binding.device, admin.binding.device) == (False, True)
    elsewhere = book.of("globex", ["root"])
    assert elsewhere.lifetimes == Lifetimes(idle_s=300, absolute_s=8 * 3600, concurrent=4, when_full="refuse")


@pytest.mark.parametrize(
    ("written", "network"),
    [
        ("off", Network()),
        ("country", Network(country=True)),
        ('"/24,/56"', Network(ipv4=24, ipv6=56)),
        ('"/32,/128"', Network(ipv4=32, ipv6=128)),
    ],
)
def test_how_much_of_an_address_must_stay(written: str, network: Network) -> None:
    settings = read(f"geo: {{database: geo.mmdb}}\nsessions: {{bind: {{network: {written}}}}}\n")
    assert rule_book(settings, ROLES).of("", []).binding.network == network
    assert is_bound_to_country(settings) is network.country


def test_fields_of_background_requests_are_read_as_they_come() -> None:
    settings = read('sessions: {background: [X-Poll, "X-Requested-With: poll", "Sec-Purpose:prefetch"]}\n')
    assert settings.sessions.background == ("x-poll:", "x-requested-with: poll", "sec-purpose: prefetch")


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("sessions: {idle: 9h}", "sessions: idle is longer than absolute"),
        ("sessions: {when_full: refuse}", "sessions.when_full: has no effect without concurrent"),
        ("sessions: {when_full: maybe, concurrent: 2}", "sessions.when_full: write 'oldest_out' or 'refuse'"),
        ("sessions: {roles: {admin: {}}}", "sessions.roles.admin: must not be empty"),
        ("sessions: {roles: {admin: {idle: 2h, absolute: 1h}}}", "idle is longer than absolute"),
        ("sessions: {roles: {admin: {idl: 2h}}}", "sessions.roles.admin.idl: unknown key; did you mean 'idle'?"),
        ("sessions: {bind: {network: /24}}", "sessions.bind.network: write off, country, or how much"),
        ('sessions: {bind: {network: "/33,/56"}}', "sessions.bind.network: write off, country, or how much"),
        ("sessions: {bind: {network: country}}", "sessions.bind.network: needs geo.database"),
        ("sessions: {bind: {certificate: true}}", "sessions.bind.certificate: no listener has client_certificates"),
        ("sessions: {bind: {device: 1}}", "sessions.bind.device: write true or false"),
        ("sessions: {new_device: notify}", "sessions.new_device: needs mail"),
        ("sessions: {new_device: confirm}", "sessions.new_device: needs the section mail"),
        ("sessions: {new_device: ask}", "sessions.new_device: write"),
        (
            "tenants: {acme: {hosts: [a.test], sessions: {new_device: confirm}}}",
            "tenants.acme.sessions.new_device: needs the section mail",
        ),
        ("sessions: {background: [Cookie]}", "sessions.background[0]: Cookie says nothing about who asks"),
        ('sessions: {background: ["a b"]}', "sessions.background[0]: write the name of a header field"),
        ("sessions: {background: [X-Poll, x-poll]}", "sessions: background lists a field twice"),
        ("sessions: {warn: 2h}", "sessions.warn: must be at most 1h"),
        (
            "tenants: {acme: {hosts: [a.test], sessions: {idle: 10h}}}",
            "tenants.acme.sessions: idle is longer than absolute",
        ),
        (
            "tenants: {acme: {hosts: [a.test], sessions: {roles: {admin: {bind: {network: country}}}}}}",
            "tenants.acme.sessions.roles.admin.bind.network: needs geo.database",
        ),
        ("tenants: {acme: {hosts: [a.test], sessions: {warn: 1m}}}", "tenants.acme.sessions.warn: unknown key"),
    ],
)
def test_a_rule_that_cannot_hold_is_named_with_its_place(text: str, finding: str) -> None:
    found = refusals(text + "\n")
    assert any(finding in line and line.startswith("gateway.yaml:") for line in found), found


def test_a_role_that_no_policy_declares_is_an_error() -> None:
    policy = "version: 1\nroles: {client: {}}\nroutes:\n  - {name: a, match: {path: /a, methods: [GET]}, upstream: portal, allow: [{roles: [client]}]}\n"
    table, _ = compile_policy({"p.yaml": policy}, upstreams=["portal"], tenants=["acme"], hosts=["portal.test"])
    settings = read(
        "sessions: {roles: {clint: {idle: 5m}}}\n"
        "tenants: {acme: {hosts: [acme.test], sessions: {roles: {client: {idle: 5m}, boss: {idle: 5m}}}}}\n"
    )
    assert unknown_roles(settings, table) == [
        "sessions.roles.clint: no policy declares the role clint; did you mean 'client'?",
        "tenants.acme.sessions.roles.boss: no policy declares the role boss",
    ]
