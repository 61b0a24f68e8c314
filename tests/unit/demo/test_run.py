from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.demo import run
from gateway.demo.configuration import Certificate, Ports
from gateway.demo.run import Demo, DemoError

PORTS = Ports(https=1, redirect=2, admin=3)
CERTIFICATE = Certificate(b"certificate", b"key")


def program(tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a shell script in the place of the gateway's program; the demo's directory."""
    path = tmp_path / "gateway"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(run, "PROGRAM", path)
    (tmp_path / "demo").mkdir()
    return tmp_path / "demo"


async def start(directory: Path) -> tuple[str, list[str], Demo]:
    demo, steps = Demo(directory, PORTS, CERTIFICATE), list[str]()
    try:
        with pytest.raises(DemoError) as caught:
            await demo.start(steps.append)
    finally:
        await demo.stop()
    return str(caught.value), steps, demo


async def test_a_verb_that_fails_says_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = program(tmp_path, 'echo "no space left" >&2; exit 2', monkeypatch)
    message, steps, _ = await start(directory)
    assert message == "`gateway init` failed with status 2: no space left"
    assert steps == ["Making keys"]


async def test_a_verb_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = program(tmp_path, "exec sleep 60", monkeypatch)
    monkeypatch.setattr(run, "VERB_S", 0.2)
    assert "took more than" in (await start(directory))[0]


async def test_a_gateway_that_dies_at_once_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = program(
        tmp_path,
        '[ "$1" = init ] && mkdir -p "$2/config/tls" || { echo "keyring.json: readable by others"; exit 2; }',
        monkeypatch,
    )
    message, steps, demo = await start(directory)
    assert message == "the gateway ended with status 2; it said last:\nkeyring.json: readable by others"
    assert steps[-1] == "Starting the gateway"
    assert demo._portal is not None
    assert demo._portal.returncode is not None


async def test_a_gateway_that_never_becomes_ready_is_given_up_and_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = program(
        tmp_path, '[ "$1" = init ] && mkdir -p "$2/config/tls" || { echo waiting; exec sleep 60; }', monkeypatch
    )
    monkeypatch.setattr(run, "GATEWAY_START_S", 0.3)
    message, _, demo = await start(directory)
    assert message.startswith("the gateway is not ready after")
    assert message.endswith("waiting")
    assert demo._gateway is not None
    assert demo._gateway.returncode is not None


async def test_a_portal_that_does_not_start_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = program(tmp_path, "exit 0", monkeypatch)
    monkeypatch.setattr("sys.executable", "/bin/true")
    assert (await start(directory))[0] == "the portal did not start, without a word"


async def test_a_portal_that_dies_is_named_by_its_status(tmp_path: Path) -> None:
    demo = Demo(tmp_path, PORTS, CERTIFICATE)
    demo._gateway = await asyncio.create_subprocess_exec("/bin/sleep", "60")
    demo._portal = await asyncio.create_subprocess_exec("/bin/sh", "-c", "exit 7")
    assert str(await demo.ended()) == "the portal ended with status 7"
    await demo.stop()


async def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "STOP_S", 0.2)
    demo = Demo(tmp_path, PORTS, CERTIFICATE)
    script = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    demo._gateway = await asyncio.create_subprocess_exec("/bin/sh", "-c", script, stdout=asyncio.subprocess.PIPE)
    assert demo._gateway.stdout is not None
    await demo._gateway.stdout.readline()
    await demo.stop()
    assert demo._gateway.returncode == -9


async def test_what_was_not_started_cannot_be_waited_for(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="not started"):
        await Demo(tmp_path, PORTS, CERTIFICATE).ended()
