"""Holds keep what they cover; one person makes one, two end one, and a file that cannot be read holds everything."""

from __future__ import annotations

import errno
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger import holds as module
from gateway.ledger import spare
from gateway.ledger.holds import Hold, Holds, HoldsError, find_token
from gateway.ledger.layout import Layout
from tests.unit.ledger.conftest import Bench
from tests.unit.ledger.test_spool import seal_file


def hold(case: str = "2026/17", **more: Any) -> Hold:
    return Hold(case=case, reason="letter of counsel", created_by="os:1", created_ns=1, **more)


@pytest.mark.parametrize(
    ("first", "last", "is_held"),
    [(0, 99, False), (0, 100, True), (150, 160, True), (200, 300, True), (201, 300, False)],
)
def test_a_hold_keeps_what_was_taken_in_while_it_covers(first: int, last: int, is_held: bool) -> None:
    holds = Holds([hold(since_ns=100, until_ns=200)])
    assert (holds.blocks(Stream.ACCESS, first, last) is not None) is is_held


def test_a_hold_without_an_end_keeps_what_is_still_to_come() -> None:
    holds = Holds([hold(since_ns=100)])
    assert holds.blocks(Stream.ACCESS, 10**20, 10**21)
    assert not holds.blocks(Stream.ACCESS, 1, 99)


def test_a_hold_on_one_stream_keeps_no_other() -> None:
    holds = Holds([hold(streams=(Stream.ACCESS,))])
    assert holds.blocks(Stream.ACCESS, 1, 2)
    assert not holds.blocks(Stream.SECURITY, 1, 2)


def test_a_hold_that_names_people_keeps_their_keys_and_no_others() -> None:
    """T-61."""
    holds = Holds([hold(subjects=("alice", "tok-1"))])
    assert holds.blocks_subject({"alice", "u1"}, lambda _hold: False)
    assert holds.blocks_subject({"u1", "tok-1"}, lambda _hold: False)
    assert not holds.blocks_subject({"bob"}, lambda _hold: True)


def test_a_hold_that_names_nobody_keeps_the_keys_of_whoever_is_in_its_records() -> None:
    """T-61."""
    holds = Holds([hold()])
    assert holds.blocks_subject({"bob"}, lambda _hold: True)
    assert not holds.blocks_subject({"bob"}, lambda _hold: False)


def test_a_token_is_found_in_the_records_that_a_hold_covers(bench: Bench) -> None:
    log = bench.open(stream=Stream.ACCESS)
    for number, token in enumerate((b"early", b"inside", b"late")):
        log.append([(1, [number + 1], [b'{"t":"tok-%b"}' % token])], is_safe=True, now_ns=1000 * (number + 1))
    log.close()
    held = hold(streams=(Stream.ACCESS,), since_ns=1500, until_ns=2500)
    assert find_token(bench.layout, bench.keys, held, "tok-inside")
    for other in ("tok-early", "tok-late", "tok-nobody"):
        assert not find_token(bench.layout, bench.keys, held, other)
    assert not find_token(bench.layout, bench.keys, hold(streams=(Stream.SECURITY,)), "tok-inside")


def test_a_token_is_found_in_a_segment_too(bench: Bench) -> None:
    for number in (1, 2):
        log = bench.open()
        log.append([(1, [number], [b'{"t":"tok-%d"}' % number])], is_safe=True, now_ns=1000 * number)
        log.close()
    seal_file(bench, 1)
    assert find_token(bench.layout, bench.keys, hold(), "tok-1")
    assert find_token(bench.layout, bench.keys, hold(), "tok-2")
    assert not find_token(bench.layout, bench.keys, hold(), "tok-3")


def test_damaged_records_may_hold_anybody(bench: Bench) -> None:
    log = bench.open()
    bench.append(log, 5)
    log.close()
    path = bench.files()[0]
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    with pytest.raises(HoldsError, match="cannot be told"):
        find_token(bench.layout, bench.keys, hold(), "tok")


def test_a_case_has_one_hold() -> None:
    with pytest.raises(ValueError, match="already"):
        Holds([hold()]).create(hold())


def test_one_person_does_not_end_a_hold() -> None:
    holds = Holds([hold(), hold("other")])
    with pytest.raises(ValueError, match="a second person"):
        holds.release("2026/17", "os:1")
    asked = holds.ask_release("2026/17", "os:1", 5)
    with pytest.raises(ValueError, match="a second person"):
        asked.release("2026/17", "os:1")
    assert [left.case for left in asked.release("2026/17", "os:2").holds] == ["other"]


@pytest.mark.parametrize("act", [lambda h: h.release("none", "os:1"), lambda h: h.ask_release("none", "os:1", 1)])
def test_there_is_no_end_to_what_does_not_exist(act: Any) -> None:
    with pytest.raises(ValueError, match="there is no hold"):
        act(Holds())


def test_holds_are_read_as_they_were_written(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert Holds.load(layout).holds == ()
    holds = Holds([hold(streams=(Stream.ACCESS,), subjects=("alice",)), hold("other")])
    holds.save(layout)
    assert Holds.load(layout).holds == holds.holds
    assert layout.holds.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("junk", [b"", b"[]", b'{"holds":[{"case":"x"}]}', b'{"holds":[],"more":1}'])
def test_holds_that_cannot_be_read_hold_everything(tmp_path: Path, junk: bytes) -> None:
    layout = Layout(tmp_path)
    layout.holds.write_bytes(junk)
    with pytest.raises(HoldsError, match="everything counts as held"):
        Holds.load(layout)


def test_a_hold_is_made_on_a_full_disk_out_of_the_ballast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-41: the disk takes bytes again when the ballast has given some."""
    layout = Layout(tmp_path)
    layout.ballast.write_bytes(bytes(1 << 20))
    replace = spare.replace_file

    def on_a_full_disk(*arguments: Any) -> None:
        if layout.ballast.stat().st_size == 1 << 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(*arguments)

    monkeypatch.setattr(module, "replace_file", on_a_full_disk)
    Holds([hold()]).save(layout)
    assert Holds.load(layout).named("2026/17")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS])
def test_a_hold_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    layout = Layout(tmp_path)
    layout.ballast.write_bytes(b"")

    def fails(*_: Any) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(module, "replace_file", fails)
    with pytest.raises(HoldsError, match="cannot be written"):
        Holds([hold()]).save(layout)


def test_the_facts_of_a_hold_name_no_person() -> None:
    assert hold(subjects=("alice",), salt="salt").facts() == {
        "case": "2026/17",
        "reason": "letter of counsel",
        "since_ns": "0",
        "streams": [str(stream) for stream in STREAMS],
        "subjects": 1,
        "subjects_sha256": sha256(b"salt\nalice").hexdigest(),
        "until_ns": "0",
    }
