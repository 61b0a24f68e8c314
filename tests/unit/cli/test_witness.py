from __future__ import annotations

import asyncio
import json
import os
import signal
from base64 import b64encode
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner, Result

from gateway.audit.checkpoint import Signer
from gateway.audit.cosignature import WitnessKey
from gateway.audit.trust import TrustPolicy
from gateway.audit.witness import Submission
from gateway.cli import program
from gateway.exchange.errors import ConfigurationError, KeyringError
from gateway.server.witness_process import run_witness
from gateway.server.witness_settings import load_witness_settings
from tests.machine import free_ports

LOG = Signer("gateway/node/security", b"s" * 32)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(program, list(arguments))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = run("witness", "init", str(tmp_path / "w"), "--name", "witness.example/w1")
    assert made.exit_code == 0, made.output
    return tmp_path / "w"


def write(directory: Path, text: str) -> Path:
    path = directory / "witness.yaml"
    path.write_text(text)
    return path


def test_init_prints_a_line_that_a_policy_takes(tmp_path: Path) -> None:
    result = run("witness", "init", str(tmp_path), "--name", "witness.example/w1")
    line = next(line.strip() for line in result.output.splitlines() if line.strip().startswith("witness "))
    policy = TrustPolicy.parse(f"{line}\nquorum w1\n".encode())
    assert (policy.witnesses[0].name, policy.witnesses[0].url) == ("w1", "https://ADDRESS/")


def test_init_makes_a_post_quantum_key_when_asked(tmp_path: Path) -> None:
    result = run("witness", "init", str(tmp_path), "--name", "w1", "--algorithm", "ml-dsa-44", "--json")
    assert WitnessKey.parse(json.loads(result.output)["vkey"]).kind == 6


def test_init_never_writes_over_what_is_there(directory: Path) -> None:
    before = (directory / "witness-key.json").read_bytes()
    result = run("witness", "init", str(directory), "--name", "w2")
    assert (result.exit_code, "exists already" in result.output) == (2, True)
    assert (directory / "witness-key.json").read_bytes() == before


def test_init_refuses_a_name_that_no_key_may_have(tmp_path: Path) -> None:
    result = run("witness", "init", str(tmp_path), "--name", "a name")
    assert (result.exit_code, "without spaces" in result.output) == (2, True)


def test_show_lists_the_logs_and_what_was_cosigned(directory: Path) -> None:
    config = write(
        directory,
        f"version: 1\nlisten: 127.0.0.1:7380\nstate_dir: state\nkey: witness-key.json\nlogs: ['{LOG.vkey}']\n",
    )
    result = run("witness", "show", "-c", str(config))
    assert result.exit_code == 0, result.output
    assert "gateway/node/security: nothing cosigned yet" in result.output


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        ("version: 1\nlisten: 0.0.0.0:7380\nstate_dir: s\nkey: k\n", "1:1", "beyond loopback a witness needs tls"),
        ("version: 1\nlisten: 127.0.0.1:7380\nstate_dir: s\nkey: k\nlogz: []\n", "5:1", "unknown key"),
        ("version: 1\nlisten: 127.0.0.1:7380\nkey: k\n", "1:1", "the key state_dir is missing"),
        ("version: 1\nlisten: 127.0.0.1:7380\nstate_dir: s\nkey: k\nlogs: [x]\n", "5:8", "gateway audit trust --vkeys"),
        ("version: 1\nlisten: 127.0.0.1:7380\nstate_dir: s\nkey: k\nmetrics: 0.0.0.0:1\n", "1:1", "on loopback alone"),
        (
            f"version: 1\nlisten: 127.0.0.1:7380\nstate_dir: s\nkey: k\nlogs: ['{LOG.vkey}', '{LOG.vkey}']\n",
            "1:1",
            "a log is listed twice",
        ),
        (
            "version: 1\nlisten: 0.0.0.0:7380\nstate_dir: s\nkey: k\nunsafe_plaintext: true\ntls: {certificate: c, key: k}\n",
            "1:1",
            "contradict each other",
        ),
        ("- 1\n", "1:1", "is not a mapping"),
    ],
)
def test_what_is_wrong_with_a_witness_yaml_is_said_with_its_place(
    tmp_path: Path, text: str, place: str, sentence: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_witness_settings(text, tmp_path / "witness.yaml")
    assert f"witness.yaml:{place}: " in str(caught.value)
    assert sentence in str(caught.value)


def test_a_missing_witness_yaml_names_the_verb_that_makes_one(tmp_path: Path) -> None:
    result = run("witness", "show", "-c", str(tmp_path / "witness.yaml"))
    assert (result.exit_code, "gateway witness init" in result.output) == (2, True)


async def test_a_witness_runs_until_it_is_told_to_end(directory: Path) -> None:
    listen, metrics = free_ports(2)
    text = (
        f"version: 1\nlisten: 127.0.0.1:{listen}\nmetrics: 127.0.0.1:{metrics}\nstate_dir: state\n"
        f"key: witness-key.json\nlogs: ['{LOG.vkey}']\n"
    )
    settings = load_witness_settings(text, write(directory, text))
    ready = asyncio.Event()
    running = asyncio.create_task(run_witness(settings, on_ready=ready.set))
    await ready.wait()
    body = Submission(0, (), LOG.checkpoint(1, b"r" * 32)).dump()
    async with aiohttp.ClientSession() as session:
        async with session.post(f"http://127.0.0.1:{listen}/add-checkpoint", data=body) as answer:
            assert answer.status == 200
        async with session.get(f"http://127.0.0.1:{metrics}/metrics") as answer:
            assert 'gateway_witness_log_entries{log="gateway/node/security"} 1.0' in await answer.text()
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    shown = run("witness", "show", "-c", str(directory / "witness.yaml"), "--json")
    assert [found["size"] for found in json.loads(shown.output)["logs"]] == [1]


async def test_a_witness_without_its_key_or_certificate_does_not_begin(directory: Path) -> None:
    (port,) = free_ports(1)
    text = f"version: 1\nlisten: 127.0.0.1:{port}\nstate_dir: state\nkey: other.json\n"
    with pytest.raises(KeyringError, match="gateway witness init"):
        await run_witness(load_witness_settings(text, directory / "witness.yaml"))
    text = (
        f"version: 1\nlisten: 127.0.0.1:{port}\nstate_dir: state\nkey: witness-key.json\n"
        "tls: {certificate: cert.pem, key: key.pem}\n"
    )
    with pytest.raises(ConfigurationError, match="no such file"):
        await run_witness(load_witness_settings(text, directory / "witness.yaml"))
    (directory / "cert.pem").write_text(b64encode(b"x").decode())
    (directory / "key.pem").write_text(b64encode(b"x").decode())
    with pytest.raises(ConfigurationError, match=r"cert\.pem"):
        await run_witness(load_witness_settings(text, directory / "witness.yaml"))


@pytest.mark.parametrize("verb", [(), ("run",), ("show",)])
def test_help_names_the_file_that_is_read_and_not_the_gateways(verb: tuple[str, ...]) -> None:
    text = " ".join(run("witness", *verb, "--help").output.split())
    assert "The witness.yaml to use. [default: witness.yaml]" in text
    assert "default: gateway.yaml" not in text
    assert "[default: gateway.yaml]" in " ".join(run("audit", "verify", "--help").output.split())
