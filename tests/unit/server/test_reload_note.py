from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.server.reload_note import drop_reload_note, read_reload_note, write_reload_note


def test_the_last_note_is_read_and_only_its_owner_may(tmp_path: Path) -> None:
    write_reload_note(tmp_path, ("policies/a.yaml:3:5: unknown role 'x'",), now=1.0)
    write_reload_note(tmp_path, (), now=2.0)
    note = read_reload_note(tmp_path)
    assert note is not None
    assert (note.at, note.problems) == (2.0, ())
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_thousand_errors_make_no_long_note(tmp_path: Path) -> None:
    write_reload_note(tmp_path, tuple(f"{number}" for number in range(1000)), now=1.0)
    note = read_reload_note(tmp_path)
    assert note is not None
    assert len(note.problems) == 50


def test_an_earlier_gateway_leaves_nothing(tmp_path: Path) -> None:
    write_reload_note(tmp_path, (), now=1.0)
    drop_reload_note(tmp_path)
    drop_reload_note(tmp_path)
    assert read_reload_note(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"at": "soon"}', b"\xff"])
def test_a_note_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "reload.json").write_bytes(content)
    assert read_reload_note(tmp_path) is None


def test_a_note_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    with capture_logs() as logs:
        write_reload_note(tmp_path / "gone", ("x",), now=1.0)
    assert [entry["event"] for entry in logs] == ["reload.not_noted"]
