"""Starting and reloading as far as no gateway runs; whole gateways are in tests/process."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import program


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    assert CliRunner().invoke(program, ["init", str(tmp_path)]).exit_code == 0
    return tmp_path


def test_reload_without_a_running_gateway_is_2(directory: Path) -> None:
    done = CliRunner().invoke(program, ["reload", "-c", str(directory / "gateway.yaml")])
    assert done.exit_code == 2
    assert "no gateway runs on" in done.stderr


def test_reload_finds_the_state_directory_even_when_the_rest_of_the_file_is_wrong(directory: Path) -> None:
    (directory / "gateway.yaml").write_text("state_dir: elsewhere\nnonsense: 1\n")
    done = CliRunner().invoke(program, ["reload", "-c", str(directory / "gateway.yaml")])
    assert f"no gateway runs on {directory / 'elsewhere'}" in done.stderr


@pytest.mark.parametrize("text", ["{", "state_dir: [a]\n", "- a\n"])
def test_reload_of_a_file_that_says_no_state_directory_is_2(directory: Path, text: str) -> None:
    (directory / "gateway.yaml").write_text(text)
    done = CliRunner().invoke(program, ["reload", "-c", str(directory / "gateway.yaml")])
    assert done.exit_code == 2
    assert "gateway.yaml" in done.stderr
