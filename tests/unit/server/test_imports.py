"""What a process loads before it serves: each start waits for it, and each worker keeps it in memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"aiohttp", "aiosmtplib", "webauthn", "boto3", "aiokafka", "duckdb", "redis"}


@pytest.mark.parametrize(
    ("module", "needs"),
    [
        ("gateway.server.edge_process", set()),
        ("gateway.server.audit_process", set()),
        ("gateway.server.custody_process", set()),
        ("gateway.server.pages_process", {"aiohttp", "aiosmtplib", "webauthn"}),
        ("gateway.server.validate", set()),
        ("gateway.server.supervisor", {"aiohttp"}),
    ],
)
def test_a_process_loads_no_library_that_it_does_not_serve_with(module: str, needs: set[str]) -> None:
    program = f"import sys, {module}; print(*(name for name in {sorted(HEAVY)} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == needs


def test_an_edge_loads_nothing_of_the_custodian_and_of_witnesses() -> None:
    program = "import sys, gateway.server.edge_process; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    outer = ("gateway.custody", "gateway.witness", "gateway.post", "gateway.cli")
    assert [name for name in done.stdout.split() if name.startswith(outer)] == []


def test_the_custodian_loads_nothing_of_how_requests_are_decided() -> None:
    program = "import sys, gateway.server.custody_process; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    deciding = ("gateway.policy", "gateway.edge.snapshot", "cel_expr_python")
    assert [name for name in done.stdout.split() if name.startswith(deciding)] == []
