from __future__ import annotations

from pathlib import Path

import pytest

from gateway.server import process


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
