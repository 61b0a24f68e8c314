from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.exchange.errors import ConfigurationError
from gateway.server import process
from gateway.server.bundle import Bundle, Kind
from gateway.server.control import Boot, Channel, ControlError, Done, Prepare
from gateway.server.edge_process import EdgeProcess
from gateway.server.supervisor import Supervisor


@pytest.fixture(autouse=True)
def switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(process, "FIPS_SWITCH", tmp_path / "fips_enabled")
    monkeypatch.delenv("OPENSSL_CONF", raising=False)
    return tmp_path / "fips_enabled"


def test_an_edge_alone_gets_the_rules_for_openssl() -> None:
    assert process._environment("edge")["OPENSSL_CONF"] == str(process.OPENSSL_RULES)
    assert process.OPENSSL_RULES.is_file()
    for kind in ("pages", "audit"):
        assert "OPENSSL_CONF" not in process._environment(kind)


def test_rules_of_the_operator_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENSSL_CONF", "/etc/ssl/ours.cnf")
    assert process._environment("edge")["OPENSSL_CONF"] == "/etc/ssl/ours.cnf"


@pytest.mark.parametrize(("content", "is_ours"), [("1\n", False), ("0\n", True)])
def test_rules_of_a_machine_in_fips_mode_stay(switch: Path, content: str, is_ours: bool) -> None:
    switch.write_text(content)
    assert ("OPENSSL_CONF" in process._environment("edge")) is is_ours


# a reload, as one process sees it

OLD, NEW = (Bundle(path="/g/gateway.yaml", settings="version: 1\n", policies={}, digest=digest) for digest in "on")


class Script:
    """The other end of a child's channel: answers everything, until it is told to go."""

    def __init__(self, connection: socket.socket, *, leaves_at: type | None = None) -> None:
        self.requests: list[str] = []
        self._connection = connection
        self._leaves_at = leaves_at

    async def run(self) -> None:
        channel = await Channel.open(self._connection)
        with suppress(ControlError):
            while True:
                request = await channel.next_request()
                if self._leaves_at is not None and isinstance(request, self._leaves_at):
                    break
                self.requests.append(type(request).__name__)
                await channel.reply(Done())
        channel.close()


@asynccontextmanager
async def child(kind: Kind = "edge", **options: Any) -> AsyncIterator[tuple[process.ChildProcess, Script]]:
    """A child that serves on the old bundle."""
    ours, theirs = socket.socketpair()
    found = process.ChildProcess(kind, kind, lambda: None, interpreter="")  # type: ignore[arg-type, return-value]
    found._channel = await Channel.open(ours)
    found.is_ready, found.running = True, OLD.digest
    script = Script(theirs, **options)
    running = asyncio.create_task(script.run())
    yield found, script
    found._channel.close()
    await running


async def test_a_process_that_came_back_meanwhile_is_not_taken_for_one_that_prepared() -> None:
    """Attack: it would say that it swapped in what it never built, and go on by the policy before."""
    async with child() as (found, script):
        await found.follow(NEW)
        assert (script.requests, found.running) == (["Prepare", "Commit"], NEW.digest)
        await found.follow(NEW)
        assert len(script.requests) == 2
    boot = Boot(
        kind="edge", slot=0, worker=0, workers=1, shares_limits=False, bundle=OLD, state_dir="/s", run_dir="/s/run",
        pages_socket="/s/run/pages.sock", node="n", boot_id="b", version="0",
    )  # fmt: skip
    with pytest.raises(ConfigurationError, match="nothing was prepared"):
        EdgeProcess(boot).commit()


async def test_a_reload_of_equal_files_is_swapped_in_too() -> None:
    """What stands beside them may be new: the hour, a database of places."""
    async with child() as (found, script):
        await found.prepare(OLD)
        await found.follow(OLD)
        assert script.requests == ["Prepare", "Commit"]


async def test_what_ends_every_worker_that_prepares_it_ends_no_more_than_those() -> None:
    """Attack: a policy that no worker survives must not be the one on which all of them start again."""
    async with child(leaves_at=Prepare) as (edge, _), child("pages") as (pages, _):
        supervisor = Supervisor.__new__(Supervisor)
        supervisor._audit = supervisor._custodian = supervisor._pages = pages
        supervisor._edges = [edge]
        before = supervisor.validated = object()  # type: ignore[assignment]
        with pytest.raises(ConfigurationError) as caught:
            await supervisor._swap(SimpleNamespace(bundle=NEW))  # type: ignore[arg-type]
        assert caught.value.diagnostics == ("edge: the child is gone; nothing was reloaded",)
        assert supervisor.validated is before
        assert pages.running == OLD.digest
