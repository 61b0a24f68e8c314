from __future__ import annotations

from pathlib import Path

import pytest

from gateway.exchange.stream import Stream
from gateway.ledger.layout import FileName, Layout, file_name, parse_name, segment_name


@pytest.mark.parametrize("stream", list(Stream))
def test_names_carry_their_streams_and_numbers(stream: Stream) -> None:
    assert file_name(stream, 7) == f"{stream}-000000000007.log"
    assert parse_name(file_name(stream, 7)) == FileName(stream, 7, is_sealed=False)
    assert parse_name(segment_name(stream, 7)) == FileName(stream, 7, is_sealed=True)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "security-7.log",
        "security-000000000000.log",
        "security-000000000007.log.new",
        "security-00000000000\u0667.log",
        "x-security-000000000007.log",
        "main-000000000007.log",
    ],
)
def test_other_names_are_not_log_files(name: str) -> None:
    assert parse_name(name) is None


def test_only_bytes_that_verify_covers_are_in_the_audit_directory(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "state")
    layout.create()
    layout.create()
    own = [place(stream) for stream in Stream for place in (layout.checkpoint, layout.lock)]
    assert len(set(own)) == 2 * len(Stream)
    for path in (*own, layout.ballast, layout.socket):
        assert layout.directory not in path.parents
    for directory in (layout.directory, layout.checkpoints, layout.run):
        assert directory.stat().st_mode & 0o777 == 0o700
