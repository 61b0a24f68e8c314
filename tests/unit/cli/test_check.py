from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import program


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    assert CliRunner().invoke(program, ["init", str(tmp_path)]).exit_code == 0
    return tmp_path


def check(directory: Path, *options: str) -> Result:
    return CliRunner().invoke(program, ["check", "-c", str(directory / "gateway.yaml"), *options])


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_sound_configuration_is_0_and_says_what_it_is(directory: Path) -> None:
    done = check(directory)
    assert done.exit_code == 0
    assert "fine: 1 route, " in done.stdout


def test_warnings_are_told_and_are_no_failure(directory: Path) -> None:
    change(directory / "policies" / "portal.yaml", "  client: {}", "  client: {}\n  idle: {}")
    change(directory / "gateway.yaml", "breach_check: offline", "breach_check: off")
    done = check(directory)
    assert done.exit_code == 0
    assert done.stdout.count("warning: ") == 2
    answer = json.loads(check(directory, "--json").stdout)
    assert answer["ok"] is True
    assert len(answer["warnings"]) == 2


def test_every_error_of_a_run_is_on_a_line_of_its_own_and_the_exit_is_2(directory: Path) -> None:
    change(directory / "policies" / "portal.yaml", "upstream: portal", "upstream: portla")
    (directory / "config" / "audit-keys.json").chmod(0o644)
    change(directory / "config" / "keyring.json", '"version": 1', '"version": 3')
    done = check(directory)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 3
    assert "did you mean 'portal'?" in done.stderr


def test_errors_of_gateway_yaml_do_not_hide_those_of_the_policies(directory: Path) -> None:
    change(directory / "gateway.yaml", "burst: 200", "burst: 0")
    change(directory / "policies" / "portal.yaml", "upstream: portal", "upstream: portla")
    done = check(directory)
    assert done.exit_code == 2
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["gateway.yaml", "policies/portal.yaml"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("upstreams:", "upstream:"),
        ("tenants:", "tenants: 1\nx:"),
        ("public_url: https://", "public_url: htp://"),
        ("policies: policies/", "policies: nowhere/"),
    ],
)
def test_an_error_of_gateway_yaml_is_not_told_a_second_time_as_one_of_the_policies(
    directory: Path, old: str, new: str
) -> None:
    change(directory / "gateway.yaml", old, new)
    assert "policies/portal.yaml" not in check(directory).stderr


def test_errors_can_be_json(directory: Path) -> None:
    change(directory / "gateway.yaml", "version: 1", "version: 2")
    done = check(directory, "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout) == {"ok": False, "errors": ["gateway.yaml:4:10: version: write 1"]}


def test_a_missing_file_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert done.exit_code == 2
    assert done.stderr.strip() == "gateway.yaml: does not exist"


def test_each_certificate_is_listed_with_what_it_covers_and_its_end(directory: Path) -> None:
    done = check(directory)
    assert re.search(r"config/tls/cert\.pem \(default\): localhost; EC secp256r1; ends \d{4}-\d\d-\d\d", done.stdout)
    (certificate,) = json.loads(check(directory, "--json").stdout)["certificates"]
    assert certificate["names"] == ["localhost"]
    assert certificate["default"] is True
    assert certificate["not_after"] > certificate["not_before"] > 0


def with_file_sink(directory: Path, path: Path) -> tuple[int, int]:
    """Send the log to a file as well; returns line and column of its path."""
    config = directory / "gateway.yaml"
    text = config.read_text()
    old = "keys: config/audit-keys.json}"
    assert text.count(old) == 1
    config.write_text(text.replace(old, f"{old[:-1]}, sinks: [{{name: local, type: file, path: {path}}}]}}"))
    number, line = next((at, line) for at, line in enumerate(config.read_text().splitlines(), 1) if str(path) in line)
    return number, line.index(str(path)) + 1


def test_a_file_sink_without_its_directory_is_told_at_its_place(directory: Path, tmp_path: Path) -> None:
    line, column = with_file_sink(directory, tmp_path / "gone" / "audit.jsonl")
    done = check(directory)
    assert done.exit_code == 0, "a receiver that is away keeps no gateway from starting"
    assert (
        f"warning: gateway.yaml:{line}:{column}: audit.sinks[0].path: the directory {tmp_path}/gone is not there; "
        "make it, then restart the gateway" in done.stdout
    )
    (tmp_path / "gone").write_text("")
    assert f"the directory {tmp_path}/gone is no directory; make it" in check(directory).stdout
    (tmp_path / "gone").unlink()
    (tmp_path / "gone").mkdir()
    assert "audit.sinks" not in check(directory).stdout
    (tmp_path / "gone" / "audit.jsonl").mkdir()
    assert f"audit.sinks[0].path: {tmp_path}/gone/audit.jsonl is something else than a file" in check(directory).stdout


def test_a_file_sink_that_cannot_be_written_is_told_with_who_could_not(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "logs"
    place.mkdir()
    line, column = with_file_sink(directory, place / "audit.jsonl")
    refused = place
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != refused and access(path, mode))
    where = f"warning: gateway.yaml:{line}:{column}: audit.sinks[0].path: "
    assert f"{where}the directory {place} cannot be written by the user id {os.geteuid()}" in check(directory).stdout
    refused = place / "audit.jsonl"
    assert "audit.sinks" not in check(directory).stdout, "it is made when the first record comes"
    refused.write_text("")
    assert f"{where}{refused} cannot be written by the user id {os.geteuid()}" in check(directory).stdout
