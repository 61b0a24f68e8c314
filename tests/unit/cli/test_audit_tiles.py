from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.cli.test_audit_proof import cosign, run, site

__all__ = ["site"]


def test_whole_streams_are_exported_and_the_export_is_recorded_first(site: Path, tmp_path: Path) -> None:
    cosign(site)
    out = tmp_path / "tiles"
    result = run("export", "--format", "tlog-tiles", "-o", str(out), "--reason", "audit 2026", "-c", str(site))
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == ["access", "security"]
    assert "300 entries of gateway/node/" in result.output
    assert "witnesses cosigned 300" in result.output
    assert (out / "access" / "tile" / "entries" / "001.p" / "44").is_file()
    assert (out / "security" / "checkpoint").read_bytes().split(b"\n")[1] == b"1"  # the export itself
    assert "audit 2026" in run("query", "-c", str(site), "--json").output


def test_one_stream_can_be_chosen(site: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiles"
    result = run("export", "--format", "tlog-tiles", "--stream", "access", "-o", str(out), "-c", str(site), "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)["streams"]
    assert list(found) == ["access"]
    assert (found["access"]["size"], found["access"]["cosigned"]) == (300, 0)
    assert found["access"]["vkey"].startswith("gateway/node/")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("--user", "alice", "-o", "out"), 2, "leave away: user"),
        (("--since", "1d", "-o", "out"), 2, "leave away: since"),
        ((), 2, "needs -o DIRECTORY"),
        (("--stream", "traffic", "-o", "out"), 1, "has not begun"),
    ],
)
def test_what_would_break_the_tree_is_refused(site: Path, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    arguments = tuple(str(site.parent / word) if word == "out" else word for word in arguments)
    result = run("export", "--format", "tlog-tiles", *arguments, "-c", str(site))
    assert (result.exit_code, sentence in result.output) == (code, True), result.output


def test_nothing_is_written_over(site: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    result = run("export", "--format", "tlog-tiles", "-o", str(tmp_path / "out"), "-c", str(site))
    assert (result.exit_code, "exists already" in result.output) == (1, True)
    assert (tmp_path / "out").read_text() == "mine"
