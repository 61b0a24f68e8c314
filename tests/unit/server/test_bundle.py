from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.exchange.errors import ConfigurationError, KeyringError
from gateway.ledger.keys import AuditKeys
from gateway.server.bundle import read_bundle


def test_everything_that_gateway_yaml_names_is_read(directory: Path) -> None:
    bundle, problems = read_bundle(directory / "gateway.yaml")
    assert problems == []
    assert list(bundle.policies) == ["policies/portal.yaml"]
    assert list(bundle.cases) == ["policies/tests/portal.yaml"]
    assert list(bundle.certificates) == ["127.0.0.1:8443"]
    assert bundle.keyring
    assert bundle.audit_keys


def test_the_digest_changes_with_any_byte_of_any_file(directory: Path) -> None:
    before = read_bundle(directory / "gateway.yaml")[0].digest
    assert read_bundle(directory / "gateway.yaml")[0].digest == before
    with (directory / "policies" / "portal.yaml").open("a") as file:
        file.write("# more\n")
    assert read_bundle(directory / "gateway.yaml")[0].digest != before


def test_no_child_gets_what_it_has_no_business_with(directory: Path) -> None:
    bundle, _ = read_bundle(directory / "gateway.yaml")
    edge, pages, audit = bundle.narrow("edge"), bundle.narrow("pages"), bundle.narrow("audit")
    assert edge.audit_keys is None
    assert pages.audit_keys is None
    assert pages.certificates == {}
    assert audit.audit_keys == bundle.audit_keys
    assert audit.keyring is None
    assert audit.certificates == {}
    assert {edge.digest, pages.digest, audit.digest} == {bundle.digest}


def test_the_custodian_opens_the_log_and_cannot_sign_it(directory: Path) -> None:
    """It talks to receivers of the log and to witnesses."""
    bundle, _ = read_bundle(directory / "gateway.yaml")
    custodian = bundle.narrow("custodian")
    assert (custodian.keyring, custodian.policies, custodian.certificates) == (None, {}, {})
    with pytest.raises(KeyringError):
        AuditKeys.parse(custodian.audit_keys or b"")
    whole = AuditKeys.parse(bundle.audit_keys or b"")
    reading = AuditKeys.parse_for_reading(custodian.audit_keys or b"")
    assert reading.kek_id == whole.kek_id
    with pytest.raises(KeyringError):
        reading.signer("o")


def test_a_missing_gateway_yaml_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_bundle(tmp_path / "gateway.yaml")
    assert caught.value.diagnostics == ("gateway.yaml: does not exist",)


def test_every_missing_file_is_told_in_one_run(directory: Path) -> None:
    (directory / "config" / "keyring.json").unlink()
    (directory / "config" / "audit-keys.json").unlink()
    (directory / "tls" / "cert.pem").unlink()
    _, problems = read_bundle(directory / "gateway.yaml")
    text = "\n".join(problems)
    assert len(problems) == 3
    assert "tls/cert.pem: does not exist" in text
    assert "keyring.json: does not exist" in text
    assert "config/audit-keys.json: does not exist" in text


@pytest.mark.parametrize("name", ["config/keyring.json", "config/audit-keys.json"])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_file_that_others_may_read_is_refused_with_the_mend(directory: Path, name: str, mode: int) -> None:
    (directory / name).chmod(mode)
    _, problems = read_bundle(directory / "gateway.yaml")
    assert len(problems) == 1
    assert "chmod 600" in problems[0]
    assert f"{mode:04o}" in problems[0]


def test_a_tls_key_may_be_shared_with_a_group_but_not_with_everybody(directory: Path) -> None:
    key = directory / "tls" / "key.pem"
    key.chmod(0o640)
    assert read_bundle(directory / "gateway.yaml")[1] == []
    key.chmod(0o644)
    assert (
        "tls/key.pem: is readable by others (mode 0644); run: chmod 600 tls/key.pem"
        in read_bundle(directory / "gateway.yaml")[1]
    )


def test_an_empty_policy_directory_is_an_error(directory: Path) -> None:
    (directory / "policies" / "portal.yaml").unlink()
    assert any("holds no policy" in problem for problem in read_bundle(directory / "gateway.yaml")[1])


def test_a_policy_with_the_wrong_ending_is_not_silently_left_out(directory: Path) -> None:
    (directory / "policies" / "more.yml").write_text("version: 1\n")
    assert read_bundle(directory / "gateway.yaml")[1] == [
        "policies/more.yml: is not read; rename it to more.yaml or move it away"
    ]


def test_a_policy_that_is_not_text_is_told_with_its_line(directory: Path) -> None:
    (directory / "policies" / "portal.yaml").write_bytes(b"version: 1\n# \xff\n")
    assert read_bundle(directory / "gateway.yaml")[1] == ["policies/portal.yaml:2:1: the file is not UTF-8"]


def test_a_fifo_in_place_of_a_key_does_not_hang_the_start(directory: Path) -> None:
    key = directory / "tls" / "key.pem"
    key.unlink()
    os.mkfifo(key, 0o600)
    assert read_bundle(directory / "gateway.yaml")[1] == ["tls/key.pem: is not a file"]


def test_a_file_of_absurd_size_is_not_read(directory: Path) -> None:
    with (directory / "tls" / "cert.pem").open("ab") as file:
        file.truncate(5 * 1024 * 1024)
    assert any("is larger than" in problem for problem in read_bundle(directory / "gateway.yaml")[1])


def test_cases_that_a_link_leads_away_from_are_missed(directory: Path) -> None:
    """Attack: a policy that breaks its promises goes live, because `tests` leads nowhere and no case runs."""
    cases = directory / "policies" / "tests"
    cases.rename(directory / "cases")
    cases.symlink_to("nowhere")
    assert read_bundle(directory / "gateway.yaml")[1] == ["policies/tests: does not exist"]
    cases.unlink()
    cases.symlink_to("../cases")
    assert read_bundle(directory / "gateway.yaml")[1] == []


def test_a_directory_in_the_place_of_a_policy_is_not_overlooked(directory: Path) -> None:
    """Attack: the file that denies becomes a directory, and everybody is let in."""
    (directory / "policies" / "deny.yaml").mkdir()
    (directory / "policies" / "old.yml").mkdir()
    assert read_bundle(directory / "gateway.yaml")[1] == ["policies/deny.yaml: is not a file"]


@pytest.mark.parametrize("name", ["tls/cert.pem", "tls/key.pem", "config/audit-keys.json", "policies/portal.yaml"])
def test_a_directory_in_the_place_of_a_file_is_told_and_leaves_nothing_open(directory: Path, name: str) -> None:
    (directory / name).unlink()
    (directory / name).mkdir()
    before = len(os.listdir("/proc/self/fd"))
    assert f"{name}: is not a file" in read_bundle(directory / "gateway.yaml")[1]
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_cannot_even_be_looked_at_is_a_sentence_too(directory: Path) -> None:
    path = directory / "gateway.yaml"
    path.write_text(path.read_text() + f"\ncandidate: {'p' * 300}\n")
    _, problems = read_bundle(path)
    assert problems
    assert all("cannot be read: file name too long" in problem for problem in problems)
