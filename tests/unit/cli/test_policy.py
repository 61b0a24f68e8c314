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
upstreams: {portal: {servers: ["http://127.0.0.1:3000"]}}
tenants: {acme: {hosts: [acme.example.com]}}
mfa: {required: always}
"""
POLICY = """version: 1
roles: {client: {}, billing: {includes: [client]}}
routes:
  - name: assets
    match: {path: "/static/**", methods: [GET]}
    upstream: portal
    public: true
  - name: invoice
    match: {path: "/invoices/{id}", methods: [GET]}
    upstream: portal
    allow:
      - roles: [billing]
        when: session.mfa_age < duration("12h")
"""
CASES = """cases:
  - name: billing reads an invoice
    as: {user: alice, tenant: acme, roles: [billing]}
    request: GET https://acme.example.com/invoices/1
    expect: {decision: allow, route: invoice}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "policies" / "tests").mkdir(parents=True)
    (tmp_path / "gateway.yaml").write_text(SETTINGS, "utf-8")
    (tmp_path / "policies" / "portal.yaml").write_text(POLICY, "utf-8")
    (tmp_path / "policies" / "tests" / "portal.yaml").write_text(CASES, "utf-8")
    return tmp_path


@pytest.fixture
def run(site: Path) -> Callable[..., Result]:
    def verb(*arguments: str) -> Result:
        return CliRunner().invoke(program, ["policy", *arguments, "-c", str(site / "gateway.yaml")])

    return verb


def answer_of(result: Result) -> dict[str, object]:
    value = json.loads(result.stdout)
    assert isinstance(value, dict)
    return value


def test_check_passes_a_sound_policy_and_prints_its_warnings(run: Callable[..., Result], site: Path) -> None:
    (site / "policies" / "more.yaml").write_text("version: 1\nroles: {idle: {}}\n", "utf-8")
    result = run("check")
    assert result.exit_code == 0
    assert "policies/more.yaml:2:9: warning: the role 'idle' is never granted anything" in result.stdout
    assert "The policy is sound: 2 routes, 3 roles, 1 case (version " in result.stdout
    value = answer_of(run("check", "--json"))
    assert (value["ok"], value["routes"], value["roles"], value["cases"]) == (True, 2, 3, 1)
    warnings = value["warnings"]
    assert isinstance(warnings, list)
    assert (warnings[0]["path"], warnings[0]["line"], warnings[0]["column"]) == ("policies/more.yaml", 2, 9)
    assert (warnings[0]["name"], warnings[0]["severity"]) == ("role-never-granted", "warning")


def test_check_prints_every_error_with_its_place_and_exits_2(run: Callable[..., Result], site: Path) -> None:
    (site / "policies" / "portal.yaml").write_text(
        POLICY.replace("[billing]", "[biling]").replace("public: true", "publik: true"), "utf-8"
    )
    result = run("check")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "policies/portal.yaml:4:5: the route says neither allow, nor public: true, nor deny: true; without one nobody could use it [missing-verdict]",
        "  4 |   - name: assets",
        "    |     ^",
        "policies/portal.yaml:7:5: unknown key 'publik'; did you mean 'public'? [unknown-key]",
        "  7 |     publik: true",
        "    |     ^",
        "policies/portal.yaml:12:17: unknown role 'biling'; did you mean 'billing'? [unknown-role]",
        "  12 |       - roles: [biling]",
        "     |                 ^",
    ]
    value = answer_of(run("check", "--json"))
    assert (value["ok"], len(value["errors"])) == (False, 3)  # type: ignore[arg-type]  # a list
    findings = value["findings"]
    assert isinstance(findings, list)
    assert findings[2] == {
        "name": "unknown-role",
        "severity": "error",
        "path": "policies/portal.yaml",
        "line": 12,
        "column": 17,
        "message": "unknown role 'biling'; did you mean 'billing'?",
    }


def test_check_reads_the_case_files_too(run: Callable[..., Result], site: Path) -> None:
    (site / "policies" / "tests" / "portal.yaml").write_text(CASES.replace("[billing]", "[biling]"), "utf-8")
    result = run("check")
    assert result.exit_code == 2
    assert result.stderr == (
        "policies/tests/portal.yaml:3:45: unknown role 'biling'; did you mean 'billing'? [unknown-role]\n"
        "  3 |     as: {user: alice, tenant: acme, roles: [biling]}\n"
        "    |                                             ^\n"
    )


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("gateway.yaml", "version: [", "gateway.yaml:2:1: not YAML"),
        (
            "gateway.yaml",
            SETTINGS.replace("policies", "x").replace("mfa:", "policies: nowhere\nmfa:"),
            "nowhere: does not exist",
        ),
        (
            "policies/extra.yml",
            "version: 1",
            "policies/extra.yml: is not read; rename it to extra.yaml or move it away",
        ),
    ],
)
def test_files_that_cannot_be_used_are_named(
    run: Callable[..., Result], site: Path, name: str, text: str, expected: str
) -> None:
    (site / name).write_text(text, "utf-8")
    for verb in (["check"], ["test"], ["explain", "GET", "https://acme.example.com/"]):
        result = run(*verb)
        assert result.exit_code == 2
        assert expected in result.stderr


def test_a_missing_gateway_yaml_and_a_file_that_is_not_utf_8_are_errors(run: Callable[..., Result], site: Path) -> None:
    (site / "policies" / "portal.yaml").write_bytes(b"version: \xff")
    assert "policies/portal.yaml:1:1: the file is not UTF-8" in run("check").stderr
    (site / "gateway.yaml").unlink()
    result = run("check")
    assert (result.exit_code, "gateway.yaml: does not exist" in result.stderr) == (2, True)


def test_files_that_are_not_policies_are_left_alone(run: Callable[..., Result], site: Path) -> None:
    (site / "policies" / "README.md").write_text("# About", "utf-8")
    (site / "policies" / ".portal.yaml.swp").write_text("\x00", "utf-8")
    assert run("check").exit_code == 0


def test_test_passes_when_every_case_holds(run: Callable[..., Result]) -> None:
    result = run("test")
    assert (result.exit_code, result.stdout) == (0, "1 case: 1 passed, 0 failed.\n")


def test_test_shows_each_failing_case_with_its_place_and_exits_1(run: Callable[..., Result], site: Path) -> None:
    text = CASES.replace("roles: [billing]", "roles: [client]") + CASES.removeprefix("cases:\n").replace(
        "billing reads", "billing still reads"
    )
    (site / "policies" / "tests" / "portal.yaml").write_text(text, "utf-8")
    result = run("test")
    assert result.exit_code == 1
    assert result.stdout == (
        "policies/tests/portal.yaml:2:5: billing reads an invoice\n"
        "    expected  allow by invoice\n"
        "    actual    deny (role_missing) by invoice at policies/portal.yaml:11:5\n"
        "2 cases: 1 passed, 1 failed.\n"
    )
    value = answer_of(run("test", "--json"))
    assert (value["ok"], value["passed"], value["failed"]) == (False, 1, 1)
    assert isinstance(value["results"], list)
    assert value["results"][0] == {
        "name": "billing reads an invoice",
        "source": "policies/tests/portal.yaml:2:5",
        "passed": False,
        "expected": {"decision": "allow", "route": "invoice", "reason": None},
        "actual": {
            "decision": "deny",
            "route": "invoice",
            "reason": "role_missing",
            "rule": "policies/portal.yaml:11:5",
        },
    }


def test_test_runs_the_files_and_directories_it_is_given(run: Callable[..., Result], site: Path) -> None:
    other = site / "other"
    other.mkdir()
    (other / "c.yaml").write_text(CASES.replace("decision: allow", "decision: deny"), "utf-8")
    assert run("test", str(other)).exit_code == 1
    assert run("test", str(other / "c.yaml")).exit_code == 1
    assert run("test", str(site / "policies" / "tests" / "portal.yaml")).exit_code == 0
    assert run("test", str(site / "missing.yaml")).exit_code == 2


def test_test_without_a_case_is_not_a_success(run: Callable[..., Result], site: Path) -> None:
    (site / "policies" / "tests" / "portal.yaml").unlink()
    result = run("test")
    assert (result.exit_code, "there is no case in policies/tests; write one" in result.stderr) == (2, True)
    (site / "policies" / "tests").rmdir()
    assert run("test").exit_code == 2


def test_explain_shows_the_criteria_and_allows_with_0(run: Callable[..., Result]) -> None:
    result = run("explain", "--as", "alice:billing", "GET", "https://acme.example.com/invoices/42")
    assert result.exit_code == 0
    assert result.stdout == (
        "GET https://acme.example.com/invoices/42 as alice (billing)\n"
        "\n"
        "  hit     host     acme.example.com belongs to the tenant acme\n"
        "  hit     path     /invoices/42 is /invoices/{id}\n"
        "  hit     method   GET is the route invoice\n"
        "  hit     session  alice of the tenant acme\n"
        "  hit     factor   proven 0 s ago\n"
        "  hit     tenant   the host belongs to acme, the session to acme\n"
        "  the rule at policies/portal.yaml:12:9\n"
        "    hit     role     holds billing\n"
        '    hit     when     session.mfa_age < duration("12h")\n'
        "\n"
        "ALLOWED (allowed) by policies/portal.yaml:12:9: The request is allowed.\n"
    )


def test_explain_shows_what_is_required_and_what_denies(run: Callable[..., Result], site: Path) -> None:
    path = site / "policies" / "portal.yaml"
    verdict = '        when: session.mfa_age < duration("12h")\n'
    assert path.read_text().count(verdict) == 1
    denying = verdict + "    require: {device: known}\n    deny: [{roles: [client], when: path.id == '42'}]\n"
    path.write_text(path.read_text().replace(verdict, denying))
    asked = ("explain", "--as", "alice:billing", "--known-device", "GET")
    result = run(*asked, "https://acme.example.com/invoices/42")
    assert result.exit_code == 1
    place = "policies/portal.yaml:15:12"
    assert "  hit     device   needs a browser that the person had signed in with before; it is one\n" in result.stdout
    assert (
        f"  the rule at {place}\n"
        "    hit     deny     all of it holds: it refuses\n"
        "    hit     role     holds billing, which includes client\n"
        "    hit     when     path.id == '42'\n"
    ) in result.stdout
    assert f"REFUSED (denied) by {place}: " in result.stdout
    assert run(*asked, "https://acme.example.com/invoices/43").exit_code == 0
    unknown = run("explain", "--as", "alice:billing", "GET", "https://acme.example.com/invoices/43")
    assert "REFUSED (device_unknown)" in unknown.stdout


def test_explain_exits_1_for_a_refusal_and_names_the_deciding_line(run: Callable[..., Result]) -> None:
    result = run("explain", "--as", "alice:billing", "--mfa-age", "13h", "get", "https://acme.example.com/invoices/42")
    assert result.exit_code == 1
    assert '    miss    when     session.mfa_age < duration("12h")\n' in result.stdout
    assert "REFUSED (condition_false) by policies/portal.yaml:12:9: " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "sign_in_required"),
        (("--as", "alice:client"), "role_missing"),
        (("--as", "alice:"), "role_missing"),
        (("--as", "alice:nonsense,"), "role_missing"),
        (("--as", "alice:billing", "--mfa-age", "never"), "mfa_required"),
        (
            (
                "--as",
                "alice:client, billing",
                "--auth-age",
                "1h",
                "--email",
                "a@b.example",
                "--ip",
                "10.0.0.1",
                "--user-agent",
                "x",
            ),
            "allowed",
        ),
    ],
)
def test_explain_answers_for_the_person_it_is_given(
    run: Callable[..., Result], arguments: tuple[str, ...], reason: str
) -> None:
    result = run("explain", "--json", *arguments, "GET", "https://acme.example.com/invoices/42")
    value = answer_of(result)
    assert (value["reason"], value["decision"], result.exit_code) == (
        reason,
        "allow" if reason == "allowed" else "deny",
        int(reason != "allowed"),
    )
    assert value["route"] == "invoice"
    assert value["criteria"]


def test_explain_shows_why_there_is_no_route(run: Callable[..., Result]) -> None:
    result = run("explain", "GET", "https://acme.example.com/other")
    assert result.exit_code == 1
    assert "  miss    path     no template matches /other\n" in result.stdout
    assert result.stdout.endswith("REFUSED (no_route): There is nothing at this address.\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("GTE", "https://acme.example.com/"), "unknown method 'GTE'; did you mean 'GET'?"),
        (("GET", "/invoices/42"), "is not an absolute URL"),
        (("--mfa-age", "60", "GET", "https://acme.example.com/"), "'60' is not a length of time"),
        (("--as", ":billing", "GET", "https://acme.example.com/"), "--as needs a name"),
        (
            ("--as", "a:billing", "--tenant", "amce", "GET", "https://acme.example.com/"),
            "unknown tenant 'amce'; did you mean 'acme'?",
        ),
        (("--as", "alice", "GET", "https://acme.example.com/"), "the user 'alice' cannot be looked up"),
    ],
)
def test_explain_refuses_arguments_that_mean_nothing(
    run: Callable[..., Result], arguments: tuple[str, ...], expected: str
) -> None:
    result = run("explain", *arguments)
    assert result.exit_code == 2
    assert expected in result.stderr


def test_explain_looks_a_user_up_when_no_roles_are_given_and_roles_that_are_given_win(tmp_path: Path) -> None:
    home = tmp_path / "home"
    config = ["-c", str(home / "gateway.yaml")]
    runner = CliRunner()
    assert runner.invoke(program, ["init", str(home)]).exit_code == 0
    person = ["--tenant", "main", "--role", "client", "--password-stdin"]
    added = runner.invoke(program, ["user", "add", "Alice", *person, *config], input="correct horse battery staple\n")
    assert added.exit_code == 0, added.output
    ask = ["policy", "explain", "GET", "https://localhost:8443/", *config]
    found = runner.invoke(program, [*ask, "--as", "ALICE"])
    assert (found.exit_code, "as alice (client)" in found.stdout) == (0, True)
    without = runner.invoke(program, [*ask, "--as", "alice:"])
    assert (without.exit_code, "as alice (no role)" in without.stdout) == (1, True)
    missing = runner.invoke(program, [*ask, "--as", "bob"])
    assert (missing.exit_code, "there is no user 'bob'" in missing.stderr) == (2, True)
    assert runner.invoke(program, ["user", "disable", "alice", *config]).exit_code == 0
    disabled = runner.invoke(program, [*ask, "--as", "alice"])
    assert (disabled.exit_code, "is disabled and can have no session" in disabled.stderr) == (2, True)
    invalid = runner.invoke(program, [*ask, "--as", "b b"])
    assert (invalid.exit_code, "a name holds no white space" in invalid.stderr) == (2, True)


def test_check_reads_the_candidate_and_its_cases_too(run: Callable[..., Result], site: Path) -> None:
    (site / "gateway.yaml").write_text(SETTINGS + "candidate: next\n", "utf-8")
    (site / "next" / "tests").mkdir(parents=True)
    (site / "next" / "portal.yaml").write_text(POLICY, "utf-8")
    (site / "next" / "tests" / "portal.yaml").write_text(CASES, "utf-8")
    assert run("check").exit_code == 0
    (site / "next" / "tests" / "portal.yaml").write_text(CASES.replace("[billing]", "[biling]"), "utf-8")
    result = run("check")
    assert result.exit_code == 2
    assert "next/tests/portal.yaml:3:" in result.stderr
    (site / "next" / "portal.yaml").write_text(POLICY.replace("[billing]", "[biling]"), "utf-8")
    result = run("check")
    assert result.exit_code == 2
    assert "next/portal.yaml:12:" in result.stderr
