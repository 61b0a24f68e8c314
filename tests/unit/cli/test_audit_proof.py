from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.audit.checkpoint import split_note
from gateway.audit.cosignature import Cosigner
from gateway.audit.tlog_proof import TlogProof
from gateway.audit.trust import TrustPolicy
from gateway.cli import program
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.log import open_log

YAML = """version: 1
public_url: http://localhost:8000
listen:
  - {address: 127.0.0.1:8000, unsafe_plaintext: true}
state_dir: state
upstreams:
  portal: {servers: ["http://127.0.0.1:3000"]}
"""
WITNESS = Cosigner("witness.example/w1", 4, b"w" * 32)
STREAM = Stream.ACCESS


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A stopped gateway with 300 records in `access`, each with a uid, in two files."""
    config = tmp_path / "gateway.yaml"
    config.write_text(YAML)
    (tmp_path / "config").mkdir()
    keys = AuditKeys.generate(origin="gateway/node", created="2026-11-23T00:00:00Z", random=os.urandom)
    keys.create(tmp_path / "config" / "audit-keys.json")
    for part in range(2):
        log = open_log(tmp_path / "state", keys, STREAM, boot="b", capacity=1 << 17)
        rows = [b'{"metadata":{"uid":"u-%d"}}' % i for i in range(part * 150, part * 150 + 150)]
        log.append([(0, range(part * 150 + 1, part * 150 + 151), rows)], is_safe=True, now_ns=1_790_000_000_000_000_000)
        log.close()
    return config


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(program, ["audit", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def cosign(site: Path, *, size: int = 300) -> None:
    """Have a witness cosign the checkpoint, and name it in gateway.yaml."""
    layout = Layout(site.parent / "state")
    note = layout.checkpoint(STREAM).read_bytes()
    layout.cosigned(STREAM).parent.mkdir()
    layout.cosigned(STREAM).write_bytes(note + WITNESS.cosign(split_note(note)[0], 1_790_000_100))
    (site.parent / "witness.policy").write_text(f"witness w1 {WITNESS.key} https://w1.example/\nquorum w1\n")
    site.write_text(f"{YAML}audit: {{witness: {{policy: witness.policy}}}}\n")


def test_a_record_is_proven_to_whoever_has_the_policy_and_nothing_else(site: Path, tmp_path: Path) -> None:
    cosign(site)
    proof = tmp_path / "x.tlog-proof"
    made = run("prove", "--index", "170", "--stream", "access", "-o", str(proof), "-c", str(site))
    assert made.exit_code == 0, made.output
    assert proof.stat().st_mode & 0o077 == 0, "it holds the record"
    assert run("trust", "-o", str(tmp_path / "trust"), "-c", str(site)).exit_code == 0
    checked = run("check-proof", str(proof), "--policy", str(tmp_path / "trust" / "access.policy"))
    assert checked.exit_code == 0, checked.output
    assert checked.output.startswith(
        "PROVEN: record u-170 (taken in 2026-09-21T14:13:20Z by the node's clock) is entry 170"
    )
    assert "cosigned by w1 at 2026-09-21T14:15:00Z" in checked.output


def test_a_record_is_found_by_its_uid(site: Path, tmp_path: Path) -> None:
    proof = tmp_path / "x.tlog-proof"
    made = run("prove", "--uid", "u-299", "-o", str(proof), "-c", str(site), "--json")
    assert made.exit_code == 0, made.output
    answer = json.loads(made.output)
    assert (answer["stream"], answer["index"], answer["uid"]) == ("access", 299, "u-299")
    assert TlogProof.parse(proof.read_bytes()).index == 299


def test_the_use_is_recorded_before_anything_is_read(site: Path, tmp_path: Path) -> None:
    run("prove", "--uid", "u-7", "--reason", "case 12", "-o", str(tmp_path / "x"), "-c", str(site))
    found = run("query", "-c", str(site), "--json").output
    assert '"audit prove"' in found
    assert "case 12" in found


def test_without_a_witness_the_verdict_says_that_the_node_alone_vouches(site: Path, tmp_path: Path) -> None:
    proof = tmp_path / "x.tlog-proof"
    run("prove", "--index", "0", "--stream", "access", "-o", str(proof), "-c", str(site))
    run("trust", "--stream", "access", "-o", str(tmp_path / "trust"), "-c", str(site))
    checked = run("check-proof", str(proof), "--policy", str(tmp_path / "trust" / "access.policy"))
    assert checked.exit_code == 0
    assert checked.output.startswith("PROVEN by the node alone:")
    assert "No witness vouches for it" in checked.output


def test_a_proof_whose_witnesses_are_missing_exits_4(site: Path, tmp_path: Path) -> None:
    proof = tmp_path / "x.tlog-proof"
    run("prove", "--index", "0", "--stream", "access", "-o", str(proof), "-c", str(site))
    cosign(site)
    run("trust", "--stream", "access", "-o", str(tmp_path / "trust"), "-c", str(site))
    checked = run("check-proof", str(proof), "--policy", str(tmp_path / "trust" / "access.policy"))
    assert checked.exit_code == 4
    assert checked.output.startswith("NOT ENOUGH:")
    assert "w1 has not cosigned" in checked.output


def test_a_changed_proof_is_not_proven(site: Path, tmp_path: Path) -> None:
    cosign(site)
    proof, policies = tmp_path / "x.tlog-proof", tmp_path / "trust"
    run("prove", "--index", "5", "--stream", "access", "-o", str(proof), "-c", str(site))
    run("trust", "-o", str(policies), "-c", str(site))
    good = TlogProof.parse(proof.read_bytes())
    for bad in (
        TlogProof(6, good.hashes, good.checkpoint, good.extra),
        TlogProof(5, good.hashes, good.checkpoint, good.extra.replace(b"u-5", b"u-6")),
        TlogProof(5, good.hashes[:-1], good.checkpoint, good.extra),
        TlogProof(5, good.hashes, good.checkpoint.replace(b"\n300\n", b"\n299\n"), good.extra),
        TlogProof(5, good.hashes, good.checkpoint),
    ):
        proof.write_bytes(bad.dump())
        checked = run("check-proof", str(proof), "--policy", str(policies / "access.policy"), "--json")
        assert checked.exit_code == 1, checked.output
        assert "NOT PROVEN" in checked.output
    proof.write_bytes(b"no proof at all")
    assert run("check-proof", str(proof), "--policy", str(policies / "access.policy")).exit_code == 1


def test_a_policy_for_another_log_does_not_count(site: Path, tmp_path: Path) -> None:
    proof, policies = tmp_path / "x.tlog-proof", tmp_path / "trust"
    run("prove", "--index", "5", "--stream", "access", "-o", str(proof), "-c", str(site))
    run("trust", "-o", str(policies), "-c", str(site))
    assert sorted(path.name for path in policies.iterdir()) == ["access.policy", "security.policy"]
    other = policies / "security.policy"
    checked = run("check-proof", str(proof), "--policy", str(other))
    assert (checked.exit_code, "no policy names the log" in checked.output) == (1, True)
    both = ("--policy", str(other), "--policy", str(policies / "access.policy"))
    assert run("check-proof", str(proof), *both).exit_code == 0


def test_the_record_itself_can_be_shown(site: Path, tmp_path: Path) -> None:
    proof, policies = tmp_path / "x.tlog-proof", tmp_path / "trust"
    run("prove", "--index", "5", "--stream", "access", "-o", str(proof), "-c", str(site))
    run("trust", "-o", str(policies), "-c", str(site))
    policy = ("--policy", str(policies / "access.policy"))
    assert '"uid": "u-5"' in run("check-proof", str(proof), *policy, "--show").output
    shown = json.loads(run("check-proof", str(proof), *policy, "--show", "--json").output)
    assert shown["record"] == {"metadata": {"uid": "u-5"}}


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--index", "300", "--stream", "access"), 1, "there is no record 300 in access"),
        (("--index", "0", "--stream", "traffic"), 1, "there is no record 0 in traffic"),
        (("--uid", "u-300"), 1, "there is no record u-300"),
        (("--index", "0"), 2, "--index needs --stream"),
        ((), 2, "say which record"),
        (("--index", "0", "--uid", "u-0", "--stream", "access"), 2, "say which record"),
    ],
)
def test_a_record_that_is_not_there_is_said(
    site: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    result = run("prove", *arguments, "-o", str(tmp_path / "x"), "-c", str(site))
    assert (result.exit_code, sentence in result.output) == (code, True), result.output
    assert not (tmp_path / "x").exists()


def test_a_damaged_log_proves_nothing(site: Path, tmp_path: Path) -> None:
    (path,) = sorted((site.parent / "state" / "audit").glob("access-*1.log"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    result = run("prove", "--index", "299", "--stream", "access", "-o", str(tmp_path / "x"), "-c", str(site))
    assert result.exit_code != 0
    assert not (tmp_path / "x").exists()


def test_trust_prints_the_keys_for_a_witness(site: Path) -> None:
    result = run("trust", "--vkeys", "--stream", "access", "-c", str(site))
    assert result.exit_code == 0
    policy = TrustPolicy.parse(f"log {result.output.strip()}\nquorum none\n".encode())
    assert policy.logs[0].vkey.name.startswith("gateway/node/")
    assert policy.logs[0].vkey.name.endswith("/access")


def test_trust_of_a_log_that_has_not_begun_says_so(tmp_path: Path, site: Path) -> None:
    result = run("trust", "--stream", "traffic", "-c", str(site))
    assert (result.exit_code, "has not begun" in result.output) == (2, True)


def test_a_broken_policy_in_gateway_yaml_is_named_with_its_line(site: Path) -> None:
    cosign(site)
    (site.parent / "witness.policy").write_text("witness w1 nonsense\nquorum w1\n")
    result = run("trust", "-c", str(site))
    assert (result.exit_code, "witness.policy: line 1:" in result.output) == (2, True)
