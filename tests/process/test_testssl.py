"""What testssl.sh says about a gateway as `gateway init` makes it, with a certificate of a real chain."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trustme

pytestmark = pytest.mark.timeout(240)  # a scanner that opens hundreds of connections

OF_OTHERS = frozenset(("cert_revocation", "engine_problem"))
"""Whether a certificate says where it would be revoked is its issuer's business, and the test's own says nothing; which engines the
scanner's own OpenSSL has is the machine's."""


def test_testssl_finds_nothing_of_medium_severity(make_gateway: Any, tmp_path: Path) -> None:
    gateway = make_gateway(workers=1)  # so that each ticket comes back to the process that made it
    authority = trustme.CA()
    now = dt.datetime.now(dt.UTC)
    leaf = authority.issue_cert("localhost", not_before=now - dt.timedelta(1), not_after=now + dt.timedelta(90))
    tls = gateway.directory / "config" / "tls"
    (tls / "cert.pem").write_bytes(b"".join(item.bytes() for item in leaf.cert_chain_pems))
    (tls / "key.pem").write_bytes(leaf.private_key_pem.bytes())
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    gateway.start()
    program = shutil.which("testssl")
    assert program is not None, "testssl is missing: run tests/install-packages"
    report = tmp_path / "report.json"
    done = subprocess.run(
        [
            program, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--ip", "127.0.0.1",
            "--add-ca", str(tmp_path / "ca.pem"), "--connect-timeout", "10", "--openssl-timeout", "10",
            "-p", "-s", "-f", "-P", "-S", "-U", "--jsonfile", str(report), f"localhost:{gateway.port}",
        ],
        capture_output=True, text=True, timeout=220, cwd=tmp_path, check=False,
    )  # fmt: skip
    findings = json.loads(report.read_text())
    harmless = {"OK", "INFO", "LOW"}
    assert [item for item in findings if item["severity"] not in harmless and item["id"] not in OF_OTHERS] == []
    said = {item["id"]: item["finding"] for item in findings}
    assert "scanTime" in said, done.stdout  # it came to its end
    assert said["TLS1"] == said["TLS1_1"] == "not offered"
    assert said["cert_trust"].startswith("Ok via SAN")
    assert said["secure_client_renego"] == "not vulnerable"
    assert said["sessionresumption_ticket"] == "supported"
    assert said["PFS_ECDHE_curves"] == "prime256v1 secp384r1 secp521r1 X25519"
    assert "DH_groups" not in said  # D(HE)at: a client that asks for 8192 bits makes us work for nothing
