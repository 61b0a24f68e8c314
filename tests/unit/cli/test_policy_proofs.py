"""`policy who-can`, `what-can` and `diff` as a person calls them; what they prove is tested beside `gateway.policy`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import program

SETTINGS = """version: 1
public_url: https://portal.example.com
listen: [{address: 127.0.0.1:8443, tls: {certificate: cert.pem, key: key.pem}}]
state_dir: state
keyring: config/keyring.json
upstreams: {portal: {servers: ["http://127.0.0.1:3000"]}}
tenants: {acme: {hosts: [acme.example.com]}, zeta: {hosts: [zeta.example.com]}}
identity: {providers: [{id: local, type: password}], api_keys: {lifetime: 1d}}
mfa: {required: always}
audit: {durability: group, keys: config/audit-keys.json}
"""
POLICY = """version: 1
roles: {client: {}, billing: {includes: [client]}, contractor: {}}
routes:
  - name: assets
    match: {path: "/static/**", methods: [GET]}
    upstream: portal
    public: true
  - name: invoice
    match: {path: "/invoices/{id}", methods: [GET]}
    upstream: portal
    credentials: [session, api_key]
    deny: [{roles: [contractor]}]
    allow:
      - roles: [client]
        when: network.is_in("10.0.0.0/8")
  - name: closed
    match: {path: "/closed", methods: [GET]}
    upstream: portal
    deny: true
"""
INVOICE = "https://acme.example.com/invoices/1"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    for directory in ("policies", "next"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "portal.yaml").write_text(POLICY, "utf-8")
    (tmp_path / "gateway.yaml").write_text(SETTINGS, "utf-8")
    return tmp_path


@pytest.fixture
def run(site: Path) -> Callable[..., Result]:
    def verb(*arguments: str) -> Result:
        return CliRunner().invoke(program, [*arguments, "-c", str(site / "gateway.yaml")])

    return verb


@pytest.fixture
def people(site: Path, run: Callable[..., Result]) -> None:
    """Add alice and zoe, who hold `billing`, carl, who is a contractor too, and a key of alice's."""
    assert CliRunner().invoke(program, ["init", str(site / "made")]).exit_code == 0
    (site / "made" / "config").rename(site / "config")
    for name, tenant, *roles in (
        ("alice", "acme", "billing"),
        ("zoe", "zeta", "billing"),
        ("carl", "acme", "client", "contractor"),
    ):
        given = [part for role in roles for part in ("--role", role)]
        added = run("user", "add", name, "--tenant", tenant, *given)
        assert added.exit_code == 0, added.output
    created = run("apikey", "create", "script", "--user", "alice", "--role", "billing")
    assert created.exit_code == 0, created.output


def test_who_can_lists_lines_roles_and_conditions(run: Callable[..., Result]) -> None:
    result = run("policy", "who-can", "--roles-only", "get", INVOICE)
    assert result.exit_code == 0, result.output
    for words in (
        "invoice at policies/portal.yaml:8:5: /invoices/{id}",
        "credential  session or api_key",
        "Refused, whatever else is allowed",
        "role    contractor",
        "policies/portal.yaml:14:9",
        "billing includes client",
        'when    network.is_in("10.0.0.0/8")',
    ):
        assert words in result.stdout
    assert "People" not in result.stdout
    value = json.loads(run("policy", "who-can", "--roles-only", "--json", "GET", INVOICE).stdout)
    assert value["allow"][0]["roles"] == [["client"], ["billing", "client"]]
    assert value["holders"] == [
        {"roles": ["billing"], "tenants": ["acme"], "standing": "depends"},
        {"roles": ["client"], "tenants": ["acme"], "standing": "depends"},
    ]


@pytest.mark.usefixtures("people")
def test_who_can_names_the_people_and_keys_that_hold_a_role(run: Callable[..., Result]) -> None:
    value = json.loads(run("policy", "who-can", "--json", "GET", INVOICE).stdout)
    found = {(person["kind"], person["name"].partition(" ")[0]): person["standing"] for person in value["people"]}
    assert found == {
        ("user", "alice"): "depends",
        ("user", "carl"): "refused",
        ("user", "zoe"): "refused",
        ("api_key", "alice"): "depends",
    }
    text = run("policy", "who-can", "GET", INVOICE).stdout
    assert "People and API keys that hold such a role" in text
    assert "API key" in text


def test_who_can_says_when_people_cannot_be_looked_up(run: Callable[..., Result]) -> None:
    result = run("policy", "who-can", "GET", INVOICE)
    assert result.exit_code == 0
    assert "People and API keys cannot be looked up" in result.stdout


def test_who_can_exits_1_when_nobody_can(run: Callable[..., Result]) -> None:
    closed = run("policy", "who-can", "--roles-only", "GET", "https://acme.example.com/closed")
    assert (closed.exit_code, "NOBODY can." in closed.stdout) == (1, True)
    nowhere = run("policy", "who-can", "GET", "https://acme.example.com/nowhere")
    assert (nowhere.exit_code, "NOBODY (no_route)" in nowhere.stdout) == (1, True)
    public = run("policy", "who-can", "GET", "https://acme.example.com/static/app.js")
    assert (public.exit_code, "everybody, without signing in" in public.stdout) == (0, True)


def test_who_can_refuses_a_question_that_is_none(run: Callable[..., Result]) -> None:
    assert (run("policy", "who-can", "GTE", INVOICE).exit_code, run("policy", "who-can", "GET", "/x").exit_code) == (
        2,
        2,
    )


def test_what_can_lists_everything_for_a_role(run: Callable[..., Result]) -> None:
    result = run("policy", "what-can", "role:billing")
    assert result.exit_code == 0
    assert "billing can reach 2 places." in result.stdout
    value = json.loads(run("policy", "what-can", "--json", "--tenant", "zeta", "role:billing").stdout)
    assert [(reach["template"], reach["methods"], reach["route"]) for reach in value["reach"]] == [
        ("/invoices/{id}", ["GET", "HEAD"], "invoice"),
        ("/static/**", ["GET", "HEAD"], "assets"),
    ]
    assert value["reach"][0]["hosts"] == ["portal.example.com", "zeta.example.com"]
    assert value["reach"][0]["conditions"] == ['when network.is_in("10.0.0.0/8")']


@pytest.mark.usefixtures("people")
def test_what_can_looks_a_user_up(run: Callable[..., Result]) -> None:
    alice = run("policy", "what-can", "alice")
    assert (alice.exit_code, "alice (billing) can reach 2 places." in alice.stdout) == (0, True)
    carl = json.loads(run("policy", "what-can", "--json", "carl").stdout)
    assert [reach["route"] for reach in carl["reach"]] == ["assets"]
    missing = run("policy", "what-can", "bob")
    assert (missing.exit_code, "there is no user 'bob'" in missing.stderr) == (2, True)


def test_what_can_exits_1_for_nothing_and_2_for_an_unknown_role(run: Callable[..., Result], site: Path) -> None:
    assert "unknown role 'biling'; did you mean 'billing'?" in run("policy", "what-can", "role:biling").stderr
    assert run("policy", "what-can", "role:").exit_code == 2
    assert run("policy", "what-can", "--tenant", "amce", "role:billing").exit_code == 2
    (site / "policies" / "portal.yaml").write_text(POLICY.replace("public: true", "deny: true"), "utf-8")
    nothing = run("policy", "what-can", "role:contractor")
    assert (nothing.exit_code, nothing.stdout) == (1, "contractor can reach nothing.\n")


def test_diff_of_the_same_meaning_exits_0(run: Callable[..., Result], site: Path) -> None:
    (site / "next" / "portal.yaml").write_text(POLICY.replace("name: invoice", "name: bill"), "utf-8")
    same = run("policy", "diff", str(site / "policies"), str(site / "next"))
    assert (same.exit_code, same.stdout) == (0, "Both policies mean the same.\n")


def test_diff_says_who_loses_and_gains_with_a_request_that_shows_it(run: Callable[..., Result], site: Path) -> None:
    text = POLICY.replace("10.0.0.0/8", "10.0.0.0/9").replace("contractor: {}", "contractor: {includes: [client]}")
    text = text.replace("upstream: portal\n    public", "upstream: portal\n    allow_suffix: true\n    public")
    text = text.replace('"/closed"', '"/shut"').replace("deny: true", "allow: [{roles: [billing]}]")
    (site / "next" / "portal.yaml").write_text(text, "utf-8")
    result = run("policy", "diff", str(site / "policies"), str(site / "next"))
    assert result.exit_code == 1
    for words in (
        "GAINS  refused before, allowed now",
        "GET HEAD /shut",
        "no route -> ",
        "allowed now: GET https://acme.example.com/shut as somebody:billing of acme, from 203.0.113.7",
        "OTHER CONDITIONS",
        "refused now: GET https://acme.example.com/invoices/any as somebody:billing of acme, from 10.128.0.0",
        "allow_suffix: false -> true",
        "The policies differ: 1 gain, 1 changed condition, 1 changed option.",
    ):
        assert words in result.stdout, result.stdout
    value = json.loads(run("policy", "diff", "--json", str(site / "policies"), str(site / "next")).stdout)
    assert value["same"] is False
    assert [change["kind"] for change in value["changes"]] == ["gains", "conditions"]
    assert value["changes"][1]["loss"]["request"]["client_ip"] == "10.128.0.0"
    assert value["changes"][1]["gain"] is None


def test_diff_of_a_policy_that_does_not_compile_exits_2(run: Callable[..., Result], site: Path) -> None:
    (site / "next" / "portal.yaml").write_text(POLICY.replace("[contractor]", "[contracter]"), "utf-8")
    result = run("policy", "diff", str(site / "policies"), str(site / "next"))
    assert (result.exit_code, "unknown role 'contracter'" in result.stderr) == (2, True)
