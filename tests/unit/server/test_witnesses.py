from __future__ import annotations

import asyncio
import os
from pathlib import Path

import aiohttp
import pytest
import trustme

from gateway.audit.checkpoint import Signer
from gateway.audit.cosignature import Cosigner
from gateway.audit.witness import Submission
from gateway.custody.station import Station
from gateway.custody.trail import Trail
from gateway.exchange.errors import ConfigurationError
from gateway.exchange.metrics import Registry
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.server.bundle import Kind, read_bundle
from gateway.server.settings import load_settings
from gateway.server.witness_metrics import NodeMetrics
from gateway.server.witnesses import witness_duties, witness_problems
from gateway.witness.keys import generate
from tests.machine import free_port

YAML = """version: 1
public_url: http://localhost:8000
listen:
  - {address: 127.0.0.1:8000, unsafe_plaintext: true}
state_dir: state
upstreams:
  portal: {servers: ["http://127.0.0.1:3000"]}
audit: {witness: %s}
"""
W1 = f"witness w1 {Cosigner('witness.example/w1', 4, b'w' * 32).key}"


def problems(directory: Path, witness: str) -> list[str]:
    path = directory / "gateway.yaml"
    path.write_text(YAML % witness)
    bundle, errors = read_bundle(path)
    found = [error for error in errors if not any(name in error for name in ("keyring", "audit-keys", "policies"))]
    return found + witness_problems(load_settings(path.read_text(), path), bundle)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "p").write_text(f"{W1} https://w1.example/\nquorum w1\n")
    (tmp_path / "p").chmod(0o644)  # whatever the umask
    generate(tmp_path / "witness-key.json", "peer", "ed25519", lambda n: b"k" * n)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    leaf = authority.issue_cert("w1.example")
    leaf.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    (tmp_path / "both.pem").chmod(0o600)
    return tmp_path


def test_a_policy_and_a_witness_of_its_own_are_accepted(directory: Path) -> None:
    serve = "{listen: 127.0.0.1:7380, key: witness-key.json, tls: {certificate: both.pem, key: both.pem}}"
    assert problems(directory, f"{{policy: p, ca: ca.pem, serve: {serve}}}") == []


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ("quorum none\n", "its quorum is none"),
        (f"{W1}\nquorum w1\n", "even if all witnesses with an address cosign, the witness w1 has not cosigned"),
        (f"{W1} http://w1.example/\nquorum w1\n", "w1 is reached without TLS"),
        (f"{W1} ftp://w1.example/\nquorum w1\n", "w1 is reached without TLS"),
        ("quorum w1\n", "p: line 1: 'w1' is not defined above"),
        ("", "does not end with a line end"),
    ],
)
def test_a_policy_that_nobody_could_meet_is_an_error(directory: Path, policy: str, sentence: str) -> None:
    (directory / "p").write_text(policy)
    found = problems(directory, "{policy: p}")
    assert len(found) == 1, found
    assert found[0].startswith("audit.witness.policy: ")
    assert sentence in found[0]


def test_plain_http_beyond_loopback_can_be_allowed(directory: Path) -> None:
    (directory / "p").write_text(f"{W1} http://w1.example/\nquorum w1\n")
    assert problems(directory, "{policy: p, unsafe_plaintext: true}") == []
    settings = load_settings(YAML % "{policy: p, unsafe_plaintext: true}", directory / "gateway.yaml")
    assert any("audit.witness.unsafe_plaintext" in warning for warning in settings.warnings())


def test_plain_http_on_loopback_needs_no_leave(directory: Path) -> None:
    (directory / "p").write_text(f"{W1} http://127.0.0.1:7380/\nquorum w1\n")
    assert problems(directory, "{policy: p}") == []


@pytest.mark.parametrize(
    ("witness", "sentence"),
    [
        ("{policy: missing}", "missing: "),
        ("{policy: p, ca: p}", "audit.witness.ca: holds no certificate"),
        ("{serve: {listen: 127.0.0.1:7380, key: p}}", "p: is readable by others"),
        (
            "{serve: {listen: 127.0.0.1:7380, key: witness-key.json, tls: {certificate: ca.pem, key: both.pem}}}",
            "audit.witness.serve.tls: not a certificate with its key",
        ),
        ("{serve: {listen: 127.0.0.1:7380, key: both.pem}}", "audit.witness.serve.key: both.pem: is not the key"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(directory: Path, witness: str, sentence: str) -> None:
    found = problems(directory, witness)
    assert len(found) == 1, found
    assert sentence in found[0]


@pytest.mark.parametrize(
    ("witness", "sentence"),
    [
        ("{interval: 10ms}", "audit.witness.interval: must be at least"),
        ("{timeout: 2m}", "audit.witness.timeout: must be at most"),
        ("{polcy: p}", "audit.witness.polcy: unknown key; did you mean 'policy'?"),
        ("{serve: {listen: 0.0.0.0:7380, key: k}}", "audit.witness.serve: beyond loopback a witness needs tls"),
    ],
)
def test_what_is_wrong_in_gateway_yaml_is_said_with_its_place(directory: Path, witness: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(YAML % witness, directory / "gateway.yaml")
    assert sentence in str(caught.value)
    assert "gateway.yaml:8:" in str(caught.value)


async def test_a_node_asks_for_each_stream_and_is_the_witness_of_others(directory: Path) -> None:
    log = Signer("gateway/node-b/security", b"s" * 32)
    port = free_port()
    text = YAML % f"{{policy: p, serve: {{listen: 127.0.0.1:{port}, key: witness-key.json, logs: ['{log.vkey}']}}}}"
    path = directory / "gateway.yaml"
    path.write_text(text)
    bundle, _ = read_bundle(path)
    keys = AuditKeys.generate(origin="gateway/node", created="2026-11-23T00:00:00Z", random=os.urandom)
    layout, registry = Layout(directory / "state"), Registry()
    layout.state_dir.mkdir()
    station = Station.open(layout, keys, Trail(layout, node="n", boot_uid="b", version="1"), registry)
    duties = witness_duties(load_settings(text, path), bundle, station, NodeMetrics(registry))
    assert [duty.name for duty in duties] == ["witness-security", "witness-access", "witness-traffic", "peer-witness"]
    running = asyncio.create_task(duties[-1].run())
    body = Submission(0, (), log.checkpoint(4, b"r" * 32)).dump()
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.post(f"http://127.0.0.1:{port}/add-checkpoint", data=body) as answer:
                    assert answer.status == 200
                    break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)
    duties[-1].measure()
    sizes = next(sample for sample in registry.dump() if sample.name == "gateway_witness_log_entries")
    assert dict(sizes.values) == {("gateway/node-b/security",): 4}
    assert len(list((directory / "state" / "witness").glob("*.checkpoint"))) == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def test_without_the_section_nothing_is_done(directory: Path) -> None:
    path = directory / "gateway.yaml"
    path.write_text(YAML % "{}")
    bundle, _ = read_bundle(path)
    keys = AuditKeys.generate(origin="gateway/node", created="2026-11-23T00:00:00Z", random=os.urandom)
    layout = Layout(directory / "state")
    station = Station.open(layout, keys, Trail(layout, node="n", boot_uid="b", version="1"), Registry())
    assert witness_duties(load_settings(YAML % "{}", path), bundle, station, NodeMetrics(Registry())) == []


def test_only_the_custodian_gets_the_files_of_witnesses(directory: Path) -> None:
    path = directory / "gateway.yaml"
    path.write_text(YAML % "{policy: p, serve: {listen: 127.0.0.1:7380, key: witness-key.json}}")
    bundle, _ = read_bundle(path)
    assert set(bundle.witness_files) == {"policy", "serve.key"}
    assert set(bundle.narrow("custodian").witness_files) == {"policy", "serve.key"}
    kinds: tuple[Kind, ...] = ("edge", "pages", "audit")
    for kind in kinds:
        assert bundle.narrow(kind).witness_files == {}
