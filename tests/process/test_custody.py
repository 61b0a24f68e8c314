"""The custodian beside a running gateway: closed files become segments, and nobody notices."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any


def files(gateway: Any) -> list[str]:
    return sorted(path.name for path in (Path(gateway.directory) / "state" / "audit").iterdir())


def is_sealed(gateway: Any) -> bool:
    """Every file but the newest of each stream is a segment."""
    streams: dict[str, list[str]] = {}
    for name in files(gateway):
        streams.setdefault(name.split("-")[0], []).append(name)
    return all(
        names[-1].endswith(".log") and all(name.endswith(".seg") for name in names[:-1]) for names in streams.values()
    ) and any(name.endswith(".seg") for name in files(gateway))


def test_what_an_earlier_run_wrote_is_sealed_and_still_verifies(make_gateway: Callable[..., Any]) -> None:
    gateway = make_gateway()
    gateway.start()
    assert gateway.stop() == 0
    gateway.start()
    gateway.wait_until(lambda: is_sealed(gateway))
    gateway.wait_until(lambda: gateway.metric('gateway_audit_segments_sealed_total{stream="security"}') >= 1)
    assert gateway.metric("gateway_custody_active") == 1
    gateway.wait_until(lambda: gateway.metric('gateway_process_up{process="custodian"}') == 1)
    assert gateway.cli("audit", "verify").returncode == 0
    gateway.wait_until((gateway.directory / "state" / "tiles" / "security" / "state.json").exists)
    applied = gateway.cli("audit", "retention", "apply")
    assert applied.returncode == 0, applied.stderr
    assert "the gateway has applied the rules" in applied.stdout
    held = gateway.cli("audit", "hold", "create", "--case", "2026/17", "--reason", "letter of counsel")
    assert held.returncode == 0, held.stderr
    [custodian] = gateway.children("custodian")
    os.kill(custodian, signal.SIGKILL)
    assert gateway.ready()[0] == 200, "nobody waits for it"
    gateway.wait_until(lambda: gateway.children("custodian") not in ([], [custodian]))
    gateway.wait_until(lambda: gateway.metric("gateway_custody_active") == 1)
    assert gateway.cli("audit", "verify").returncode == 0


def test_after_an_upgrade_one_custodian_goes_on(make_gateway: Callable[..., Any]) -> None:
    gateway = make_gateway()
    gateway.start()
    [before] = gateway.children("custodian")
    upgraded = gateway.cli("upgrade")
    assert upgraded.returncode == 0, upgraded.stderr
    gateway.wait_until(lambda: not Path(f"/proc/{before}").exists())
    gateway.wait_until(lambda: gateway.metric("gateway_custody_active") == 1)
    gateway.wait_until(lambda: is_sealed(gateway))
    assert gateway.cli("audit", "verify").returncode == 0
