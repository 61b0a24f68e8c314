from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.finding import Kind
from gateway.exchange.stream import Stream
from gateway.ledger.reader import UnreadableLogError
from gateway.ledger.verification import verify_directory

Bench = Any
"""The fixture of conftest.py; test folders are not packages."""


def grow(bench: Bench, opens: int = 3, records: int = 2) -> None:
    for _ in range(opens):
        log = bench.open()
        bench.append(log, records)
        log.close()


def kinds(bench: Bench) -> set[Kind]:
    return {finding.kind for finding in bench.verify().findings}


def test_a_copied_directory_verifies_like_the_original(bench: Bench, tmp_path: Path) -> None:
    grow(bench)
    copy = tmp_path / "copy"
    shutil.copytree(bench.layout.directory, copy)
    verdict = verify_directory(
        copy,
        Stream.SECURITY,
        keys=bench.keys,
        checkpoints=[("kept", bench.layout.checkpoint(Stream.SECURITY).read_bytes())],
    )
    assert (verdict.exit_code, verdict.size) == (0, 6)
    assert verify_directory(copy, Stream.SECURITY).exit_code == 3
    pinned = verify_directory(copy, Stream.SECURITY, vkey=bench.keys.vkey(verdict.origin))
    assert (pinned.exit_code, pinned.failures) == (3, [])


def test_progress_is_told_in_bytes(bench: Bench) -> None:
    grow(bench)
    told: list[tuple[int, int]] = []
    verify_directory(
        bench.layout.directory,
        Stream.SECURITY,
        keys=bench.keys,
        progress=lambda done, total: told.append((done, total)),
    )
    assert len(told) == 3
    assert told[-1][0] == told[-1][1]


def test_swapped_copied_and_strange_files_have_names(bench: Bench) -> None:
    grow(bench)
    first, second, third = bench.files()
    spare = first.with_name("spare")
    first.rename(spare)
    second.rename(first)
    spare.rename(second)
    assert kinds(bench) == {Kind.REORDERED}
    first.rename(spare)
    second.rename(first)
    spare.rename(second)
    assert kinds(bench) == set()
    shutil.copy(first, first.with_name("security-000000000009.log"))
    assert Kind.DUPLICATE in kinds(bench)
    first.with_name("security-000000000009.log").unlink()
    third.with_name("notes.txt").write_text("hello")
    assert kinds(bench) == {Kind.INSERTED}


def test_a_damaged_head_does_not_hide_the_rest(bench: Bench) -> None:
    grow(bench)
    data = bytearray(bench.files()[1].read_bytes())
    data[40] ^= 1
    bench.files()[1].write_bytes(bytes(data))
    verdict = bench.verify()
    assert verdict.exit_code == 1
    assert verdict.size == 6
    assert all(finding.file == "security-000000000002.log" for finding in verdict.failures)


def test_a_log_that_is_gone_is_a_finding_and_one_that_never_was_is_not(bench: Bench, tmp_path: Path) -> None:
    assert bench.verify().exit_code == 3
    grow(bench)
    shutil.rmtree(bench.layout.directory)
    assert kinds(bench) == {Kind.TRUNCATED}
    with pytest.raises(UnreadableLogError, match="no such file"):
        verify_directory(tmp_path / "nowhere", Stream.SECURITY)
