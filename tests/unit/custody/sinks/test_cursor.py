"""Cursors that survive crashes and bad disks, at the price of copies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.custody.sinks import cursor as cursor_module
from gateway.custody.sinks.cursor import Cursor, CursorError, CursorFile, DeadLetter, Replay, Unlisted


@pytest.fixture
def cursors(tmp_path: Path) -> CursorFile:
    return CursorFile(tmp_path, "siem", "access")


def at(index: int) -> Cursor:
    return Cursor(origin="gateway/a/access", next_index=index)


def letter(index: int) -> DeadLetter:
    return DeadLetter(origin="gateway/a/access", index=index, time=1, detail="it answered 400")


def test_a_cursor_is_read_as_it_was_written(cursors: CursorFile) -> None:
    assert cursors.load() is None
    cursors.store(at(5))
    assert cursors.load() == at(5).sealed()
    assert not cursors.is_damaged
    assert cursors.path.stat().st_mode & 0o077 == 0


def test_every_damaged_byte_of_a_cursor_leads_to_the_one_before_and_never_ahead(cursors: CursorFile) -> None:
    cursors.store(at(5))
    cursors.store(at(9))
    whole = cursors.path.read_bytes()
    for position in range(len(whole)):
        for bit in (1, 0x10, 0x80):
            damaged = bytearray(whole)
            damaged[position] ^= bit
            cursors.path.write_bytes(damaged)
            found = cursors.load()
            assert found in (at(5).sealed(), at(9).sealed())


@pytest.mark.parametrize("content", [b"", b"{", b'{"origin":"x","next_index":-1,"crc":0}', b"\xff"])
def test_a_cursor_that_is_none_falls_back_to_the_one_before(cursors: CursorFile, content: bytes) -> None:
    cursors.store(at(5))
    cursors.store(at(9))
    cursors.path.write_bytes(content)
    assert cursors.load() == at(5).sealed()
    assert cursors.is_damaged
    cursors.store(at(6))
    assert cursors.load() == at(6).sealed()
    cursors.path.unlink()
    assert cursors.load() == at(5).sealed(), "the damaged one did not push out the one before"


def test_without_any_readable_cursor_everything_is_delivered_again(cursors: CursorFile) -> None:
    cursors.store(at(5))
    cursors.store(at(9))
    cursors.path.write_bytes(b"")
    cursors.previous.write_bytes(b"")
    assert cursors.load() is None


def test_a_crash_between_the_two_renames_leaves_the_cursor_before(cursors: CursorFile) -> None:
    cursors.store(at(5))
    cursors.path.rename(cursors.previous)
    assert cursors.load() == at(5).sealed()


def test_a_directory_that_takes_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(CursorError, match="no such file"):
        CursorFile(tmp_path / "gone", "siem", "access").store(at(1))


def test_dead_letters_are_listed_once_each_and_a_torn_line_spoils_itself_alone(cursors: CursorFile) -> None:
    cursors.bury([letter(1), letter(4)])
    with cursors.dead_path.open("ab") as file:
        file.write(b'\n{"origin": "\xff"}\n{"origin": "gateway/a')
    cursors.bury([letter(4), letter(9)])
    assert [each.index for each in cursors.dead_letters()] == [1, 4, 9]
    cursors.keep_dead([letter(9)])
    assert cursors.dead_letters() == [letter(9)]


def test_a_list_of_dead_letters_has_an_end_and_what_is_not_listed_is_counted(
    cursors: CursorFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cursor_module, "MOST_BURIED", 2)
    assert cursors.unlisted() is None
    cursors.bury([letter(1), letter(2)])
    for _ in range(2):  # once more after a crash before the cursor moved
        cursors.bury([letter(5), letter(9)])
    cursors.bury([letter(12)])
    assert [each.index for each in cursors.dead_letters()] == [1, 2]
    assert cursors.unlisted() == Unlisted(origin=letter(5).origin, first=5, last=12, count=3)
    assert cursors.count_dead() == 5
    cursors.forget_unlisted(6)
    assert cursors.count_dead() == 5, "the fifth is not delivered again from the sixth on"
    cursors.forget_unlisted(5)
    cursors.forget_unlisted(5)
    assert cursors.count_dead() == 2
    cursors.bury([letter(14)])
    cursors.bury([DeadLetter(origin="gateway/another/access", index=3, time=0, detail="")])
    assert cursors.unlisted() == Unlisted(origin="gateway/another/access", first=3, last=3, count=1)
    cursors.unlisted_path.write_bytes(b"junk")
    assert cursors.count_dead() == 2


def test_a_wish_is_there_until_it_is_answered(cursors: CursorFile) -> None:
    assert cursors.asked() is None
    cursors.ask(Replay(start=4))
    assert cursors.asked() == Replay(start=4)
    cursors.answered()
    cursors.answered()
    assert cursors.asked() is None
    for content in (b"junk", b'{"\xff": 1}'):
        cursors.replay_path.write_bytes(content)
        assert cursors.asked() is None


def test_what_root_writes_belongs_to_the_owner_of_the_directory(cursors: CursorFile, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        cursors.ask(Replay(start=0))
        assert cursors.replay_path.stat().st_uid == os.geteuid()
        return
    os.chown(tmp_path, 4242, 4242)
    cursors.ask(Replay(start=0))
    assert cursors.replay_path.stat().st_uid == 4242
