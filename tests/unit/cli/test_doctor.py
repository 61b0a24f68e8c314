from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

from gateway.cli import doctor as module
from gateway.cli import program
from gateway.server.run_directory import RunDirectory


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    assert CliRunner().invoke(program, ["init", str(tmp_path / "g")]).exit_code == 0
    return tmp_path / "g"


def doctor(directory: Path) -> Result:
    return CliRunner().invoke(program, ["doctor", "-c", str(directory / "gateway.yaml")])


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_what_is_weak_is_said_and_is_no_failure(directory: Path) -> None:
    change(directory / "gateway.yaml", "required: always", "required: enrolled")
    change(directory / "gateway.yaml", "trusted_proxies: []", "trusted_proxies: [0.0.0.0/0]")
    change(directory / "gateway.yaml", "durability: group", "durability: async")
    change(directory / "gateway.yaml", "hsts: 2y", "hsts: 0s")
    change(directory / "gateway.yaml", "  client: {rate: 50/s, burst: 200, per: ip}\n", "")
    done = doctor(directory)
    assert done.exit_code == 0, done.output
    for subject in (
        "mfa",
        "trusted_proxies",
        "audit.durability",
        "audit.witness",
        "headers.hsts",
        "limits",
        "certificate of",
        "gateway: is not running",
    ):
        assert f"weak: {subject}" in done.stdout


def test_a_console_that_is_open_from_everywhere_is_said(directory: Path) -> None:
    path = directory / "gateway.yaml"
    for more, is_weak in (("", True), (", networks: [10.0.0.0/8]", False)):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("admin:")]
        path.write_text("\n".join([*lines, f"admin: {{console: {{enabled: true{more}}}}}", ""]))
        assert ("weak: admin.console: the console can be opened from everywhere" in doctor(directory).stdout) is is_weak


def test_a_configuration_that_may_not_run_is_2(directory: Path) -> None:
    change(directory / "gateway.yaml", "version: 1", "version: 2")
    assert doctor(directory).exit_code == 2


def test_a_gateway_that_runs_but_does_not_answer_is_wrong(directory: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        change(directory / "gateway.yaml", "127.0.0.1:9090", f"127.0.0.1:{probe.getsockname()[1]}")
    running = RunDirectory(directory / "state")
    done = doctor(directory)
    running.release()
    assert done.exit_code == 1
    assert "does not answer" in done.stdout


def test_a_state_directory_in_memory_or_on_a_network_is_wrong(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for system, word in (("tmpfs", "in memory"), ("nfs4", "network file system")):
        monkeypatch.setattr(module, "_file_system", lambda _path, system=system: system)
        done = doctor(directory)
        assert done.exit_code == 1
        assert word in done.stdout


def test_the_kernel_without_landlock_is_said(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "landlock_version", lambda: 0)
    assert "not separated" in doctor(directory).stdout


def test_findings_can_be_json(directory: Path) -> None:
    done = CliRunner().invoke(program, ["--json", "doctor", "-c", str(directory / "gateway.yaml")])
    assert {"kind", "subject", "sentence"} == set(json.loads(done.stdout)["findings"][0])


def test_the_file_system_of_a_path_is_the_one_mounted_nearest() -> None:
    assert module._file_system(Path("/proc/self")) == "proc"


def test_what_weakens_tls_is_said(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "config" / "tls" / "clients.pem").write_bytes(trustme.CA().cert_pem.bytes())
    change(
        directory / "gateway.yaml",
        "key: config/tls/key.pem}",
        "key: config/tls/key.pem}\n    client_certificates: {mode: optional, ca: config/tls/clients.pem}",
    )
    monkeypatch.delenv("OPENSSL_CONF", raising=False)
    said = doctor(directory).output
    assert "listen[0].client_certificates: there is no crl" in said
    assert "OPENSSL_CONF" not in said
    monkeypatch.setenv("OPENSSL_CONF", "/etc/ssl/openssl.cnf")
    assert "OPENSSL_CONF: is set" in doctor(directory).output


def test_routes_on_which_attacks_are_not_looked_for_are_named(tmp_path: Path) -> None:
    directory = tmp_path / "g"
    assert CliRunner().invoke(program, ["init", str(directory)]).exit_code == 0
    config = directory / "gateway.yaml"
    for mode, said in (("block", ""), ("detect", "recorded and pass on the routes portal"), ("off", "not looked for")):
        text = config.read_text()
        line = next(line for line in text.splitlines() if line.startswith("inspection:"))
        config.write_text(text.replace(line, f"inspection: {{waf: {mode}}}"))
        shown = CliRunner().invoke(program, ["doctor", "-c", str(config)]).output
        assert ("inspection.waf" in shown) is bool(said)
        assert said in shown
