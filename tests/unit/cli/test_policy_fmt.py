from __future__ import annotations

import json
import os
import stat
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
"""
POLICY = """# who may
version: 1
routes:
- upstream: portal
  name: invoice  # one
  match: {methods: [GET], path: '/invoices/{id}'}
  allow: [{roles: [client]}]
roles: {client: {}}
"""
FORMATTED = """# who may
version: 1
roles:
  client: {}
routes:
  - name: invoice  # one
    match: {path: "/invoices/{id}", methods: [GET]}
    upstream: portal
    allow:
      - roles: [client]
"""
CASES = """cases:
  - expect: {decision: deny}
    request: GET https://portal.example.com/invoices/1
    name: nobody
"""
FORMATTED_CASES = """cases:
  - name: nobody
    request: GET https://portal.example.com/invoices/1
    expect: {decision: deny}
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


def test_policies_and_cases_are_written_in_their_form_and_still_hold(run: Callable[..., Result], site: Path) -> None:
    result = run("fmt")
    assert (result.exit_code, result.stdout) == (
        0,
        "policies/portal.yaml: formatted\npolicies/tests/portal.yaml: formatted\n2 files: 2 changed, 0 fine.\n",
    )
    assert (site / "policies" / "portal.yaml").read_text("utf-8") == FORMATTED
    assert (site / "policies" / "tests" / "portal.yaml").read_text("utf-8") == FORMATTED_CASES
    assert run("test").exit_code == 0
    assert run("fmt").stdout == "2 files: 0 changed, 2 fine.\n"


def test_check_shows_what_would_change_writes_nothing_and_exits_1(run: Callable[..., Result], site: Path) -> None:
    result = run("fmt", "--check")
    assert result.exit_code == 1
    assert "--- policies/portal.yaml\n+++ policies/portal.yaml (formatted)\n" in result.stdout
    assert "-roles: {client: {}}\n" in result.stdout
    assert result.stdout.endswith("2 files: 2 would change, 0 fine.\n")
    assert (site / "policies" / "portal.yaml").read_text("utf-8") == POLICY
    value = json.loads(run("fmt", "--check", "--json").stdout)
    assert (value["ok"], [file["changed"] for file in value["files"]]) == (False, [True, True])
    assert "(formatted)" in value["files"][0]["diff"]
    run("fmt")
    assert run("fmt", "--check").exit_code == 0


def test_nothing_is_written_while_one_file_cannot_be_read(run: Callable[..., Result], site: Path) -> None:
    (site / "policies" / "broken.yaml").write_text("version: 1\nversion: 1\n", "utf-8")
    (site / "policies" / "other.yaml").write_text("listen: []\n", "utf-8")
    result = run("fmt")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "policies/broken.yaml:2:1: the key 'version' stands here a second time; the first is in line 1 [duplicate-key]",
        "  2 | version: 1",
        "    | ^",
        "policies/other.yaml:1:1: this is neither a policy file nor a case file [nothing-declared]",
        "  1 | listen: []",
        "    | ^",
    ]
    assert (site / "policies" / "portal.yaml").read_text("utf-8") == POLICY


def test_files_and_directories_that_are_named_are_formatted_and_no_others(
    run: Callable[..., Result], site: Path
) -> None:
    (site / "gateway.yaml").unlink()  # nothing of it is needed
    assert run("fmt", str(site / "policies" / "tests")).exit_code == 0
    assert (site / "policies" / "portal.yaml").read_text("utf-8") == POLICY
    assert run("fmt", str(site / "policies" / "portal.yaml")).exit_code == 0
    assert (site / "policies" / "portal.yaml").read_text("utf-8") == FORMATTED
    assert run("fmt", str(site / "missing.yaml")).exit_code == 2


def test_rights_and_links_stay_and_nothing_is_left_behind(run: Callable[..., Result], site: Path) -> None:
    path = site / "policies" / "portal.yaml"
    real = site / "real.yaml"
    path.rename(real)
    real.chmod(0o640)
    path.symlink_to(real)
    assert run("fmt").exit_code == 0
    assert (path.is_symlink(), real.read_text("utf-8"), stat.S_IMODE(real.stat().st_mode)) == (True, FORMATTED, 0o640)
    assert sorted(entry.name for entry in site.iterdir()) == ["gateway.yaml", "policies", "real.yaml"]
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["portal.yaml", "tests"]


def test_a_file_of_another_owner_stays_theirs(
    run: Callable[..., Result], site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Laid out by root, a file that only the gateway's group may read was root's: the next reload could not read it."""
    path = site / "policies" / "portal.yaml"
    kept = path.stat()
    given: list[tuple[int, int]] = []

    def take(descriptor: int, owner: int, group: int) -> None:
        given.append((owner, group))

    made = os.fstat

    def of_root(descriptor: int) -> os.stat_result:
        found = list(made(descriptor))
        found[4], found[5] = kept.st_uid + 1, kept.st_gid + 1
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", of_root)
    monkeypatch.setattr(os, "fchown", take)
    assert run("fmt", str(path)).exit_code == 0
    assert given == [(kept.st_uid, kept.st_gid)]
    monkeypatch.undo()
    assert path.read_text("utf-8") == FORMATTED


def test_a_file_that_cannot_be_replaced_stays_whole(
    run: Callable[..., Result], site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = run("fmt")
    assert (result.exit_code, result.stderr) == (
        2,
        "policies/portal.yaml: cannot be written: no space left on device\n",
    )
    assert (site / "policies" / "portal.yaml").read_text("utf-8") == POLICY
    assert sorted(entry.name for entry in (site / "policies").iterdir()) == ["portal.yaml", "tests"]


@pytest.mark.parametrize(("kind", "key"), [("policy", "routes"), ("cases", "cases"), ("gateway", "listen")])
def test_a_schema_is_printed_for_each_kind_of_file(run: Callable[..., Result], kind: str, key: str) -> None:
    result = run("schema", kind)
    assert result.exit_code == 0
    value = json.loads(result.stdout)
    assert value["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert key in value["properties"]
    assert json.loads(run("schema", kind, "--json").stdout) == value


def test_the_schema_of_policies_is_printed_when_none_is_named(run: Callable[..., Result]) -> None:
    assert run("schema").stdout == run("schema", "policy").stdout
    assert run("schema", "polices").exit_code == 2


def test_a_new_directory_tells_editors_where_its_schemas_are(tmp_path: Path) -> None:
    home = tmp_path / "g"
    assert CliRunner().invoke(program, ["init", str(home)]).exit_code == 0
    for name in ("gateway.yaml", "policies/portal.yaml", "policies/tests/portal.yaml"):
        first = (home / name).read_text("utf-8").splitlines()[0]
        assert first.startswith("# yaml-language-server: $schema=")
        path = (home / name).parent / first.partition("=")[2]
        assert "properties" in json.loads(path.read_text("utf-8"))
    formatted = CliRunner().invoke(program, ["policy", "fmt", "--check", "-c", str(home / "gateway.yaml")])
    assert (formatted.exit_code, formatted.stdout) == (0, "2 files: 0 would change, 2 fine.\n")


def test_the_policies_that_ship_have_their_form() -> None:
    root = Path(__file__).parents[3]
    directories = [
        path for name in ("policies", "gateway/demo/policies") for path in (root / name, root / name / "tests")
    ]
    result = CliRunner().invoke(program, ["policy", "fmt", "--check", *map(str, directories)])
    assert (result.exit_code, result.stdout) == (0, "4 files: 0 would change, 4 fine.\n")
