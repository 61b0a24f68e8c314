from __future__ import annotations

import fcntl
import os
import stat
from hashlib import sha1
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authn.breached import HEADER, WIDTH, BreachedListError, digest_of
from gateway.exchange.errors import StoreUnavailableError
from gateway.store.breached import IMPORTED_NAME, LocalBreachedPasswords
from gateway.store.breached_import import PARTIAL_NAME, _behind, import_list, prefixes

RANGES = 4
WORDS = [f"word {number}" for number in range(400)]


def nothing(_: float) -> None:
    """Tell nobody."""


def digests() -> list[str]:
    return sorted(digest_of(word).hex().upper() for word in WORDS)


def one_file(directory: Path, lines: list[str] | None = None) -> Path:
    path = directory / "list.txt"
    path.write_text("".join(f"{line}\r\n" for line in lines or [f"{digest}:3" for digest in digests()]))
    return path


def range_files(directory: Path) -> Path:
    """Four ranges, with hashes of our own making: no word has a hash that begins with four zeros."""
    source = directory / "ranges"
    source.mkdir()
    for prefix in prefixes(RANGES):
        suffixes = sorted(
            sha1(f"{prefix}{n}".encode(), usedforsecurity=False).hexdigest()[5:].upper() for n in range(50)
        )
        (source / f"{prefix}.txt").write_text("\n".join(f"{suffix}:1" for suffix in suffixes))
    return source


def listed(state: Path) -> bytes:
    return (state / IMPORTED_NAME).read_bytes()


def test_a_file_becomes_the_list(tmp_path: Path) -> None:
    state = tmp_path / "state"
    told: list[float] = []
    assert import_list(one_file(tmp_path), state, tell=told.append) == len(WORDS)
    known = LocalBreachedPasswords(state)
    assert all(word in known for word in WORDS)
    assert "a password that nobody has" not in known
    assert told[-1] == 1.0
    assert stat.S_IMODE((state / IMPORTED_NAME).stat().st_mode) == 0o600
    assert not (state / PARTIAL_NAME).exists()


def test_a_directory_of_ranges_becomes_the_list(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert import_list(range_files(tmp_path), state, tell=nothing, ranges=RANGES) == 50 * RANGES
    entries = [listed(state)[at : at + WIDTH] for at in range(HEADER.size, len(listed(state)), WIDTH)]
    assert entries == sorted(set(entries))
    assert {entry.hex()[:5] for entry in entries} == {"00000", "00001", "00002", "00003"}


@pytest.mark.parametrize(
    "kept", [0, 1, 7, HEADER.size, HEADER.size + 1, HEADER.size + 123 * WIDTH, HEADER.size + 399 * WIDTH + 3]
)
def test_an_interrupted_file_goes_on_where_it_stopped(tmp_path: Path, kept: int) -> None:
    state = tmp_path / "state"
    source = one_file(tmp_path)
    import_list(source, state, tell=nothing)
    whole = listed(state)
    # As a killed import leaves it: the header of an unfinished list, and part of its entries.
    (state / PARTIAL_NAME).write_bytes((whole[: HEADER.size - 8] + bytes(8) + whole[HEADER.size :])[:kept])
    (state / IMPORTED_NAME).unlink()
    assert import_list(source, state, tell=nothing) == len(WORDS)
    assert listed(state) == whole


@pytest.mark.parametrize("entries", [1, 49, 50, 51, 120, 199, 200])
def test_interrupted_ranges_go_on_where_they_stopped(tmp_path: Path, entries: int) -> None:
    state = tmp_path / "state"
    source = range_files(tmp_path)
    import_list(source, state, tell=nothing, ranges=RANGES)
    whole = listed(state)
    (state / PARTIAL_NAME).write_bytes(
        whole[: HEADER.size - 8] + bytes(8) + whole[HEADER.size : HEADER.size + entries * WIDTH + 4]
    )
    for done in range(min((entries - 1) // 50, RANGES - 1)):  # whole ranges are not read again
        (source / f"{done:05X}.txt").unlink()
    assert import_list(source, state, tell=nothing, ranges=RANGES) == 50 * RANGES
    assert listed(state) == whole


def test_restart_forgets_what_was_begun(tmp_path: Path) -> None:
    state = tmp_path / "state"
    source = one_file(tmp_path)
    import_list(source, state, tell=nothing)
    (state / PARTIAL_NAME).write_bytes(listed(state)[: HEADER.size - 8] + bytes(8) + b"\xff" * WIDTH)
    assert import_list(source, state, tell=nothing, restart=True) == len(WORDS)


def test_what_is_no_beginning_of_a_list_is_not_gone_on_with(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / PARTIAL_NAME).write_bytes(b"something else entirely")
    assert import_list(one_file(tmp_path), state, tell=nothing) == len(WORDS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: [*lines[:3], "not a hash", *lines[3:]], "line 4: is not a SHA-1"),
        (lambda lines: [*lines[:3], lines[3][:39] + ":1"], "line 4: is not a SHA-1"),
        (lambda lines: [*lines[:3], lines[3].replace(":", ";")], "line 4: is not a SHA-1"),
        (lambda lines: [lines[1], lines[0]], "out of order"),
        (lambda _: [""], "holds no entry"),
    ],
)
def test_a_malformed_list_changes_nothing(tmp_path: Path, change: object, words: str) -> None:
    assert callable(change)
    state = tmp_path / "state"
    import_list(one_file(tmp_path), state, tell=nothing)
    before = listed(state)
    bad = one_file(tmp_path, change([f"{digest}:1" for digest in digests()]))
    with pytest.raises(BreachedListError, match=words):
        import_list(bad, state, tell=nothing, restart=True)
    assert listed(state) == before


def test_a_missing_range_is_named_and_can_be_brought(tmp_path: Path) -> None:
    """What is in a range that is missing would pass."""
    state = tmp_path / "state"
    source = range_files(tmp_path)
    content = (source / "00002.txt").read_bytes()
    (source / "00002.txt").unlink()
    with pytest.raises(BreachedListError, match="the range 00002 is missing"):
        import_list(source, state, tell=nothing, ranges=RANGES)
    assert not (state / IMPORTED_NAME).exists()
    (source / "00002").write_bytes(content)
    assert import_list(source, state, tell=nothing, ranges=RANGES) == 50 * RANGES


@pytest.mark.parametrize(("content", "words"), [("", "holds no entry"), ("<html>blocked</html>", "line 1: is not 35")])
def test_a_range_that_is_empty_or_an_error_page_is_named(tmp_path: Path, content: str, words: str) -> None:
    source = range_files(tmp_path)
    (source / "00001.txt").write_text(content)
    with pytest.raises(BreachedListError, match=f"00001.txt: .*{words}"):
        import_list(source, tmp_path / "state", tell=nothing, ranges=RANGES)


def test_two_imports_do_not_write_one_list(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with (state / PARTIAL_NAME).open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailableError, match="another import is under way"):
            import_list(one_file(tmp_path), state, tell=nothing)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    os.symlink(precious, state / PARTIAL_NAME)
    with pytest.raises(StoreUnavailableError):
        import_list(one_file(tmp_path), state, tell=nothing)
    assert precious.read_bytes() == b"precious"


@given(st.integers(min_value=0, max_value=len(WORDS) - 1), st.integers(min_value=1, max_value=12))
def test_the_line_behind_any_entry_is_found(tmp_path_factory: pytest.TempPathFactory, index: int, digits: int) -> None:
    lines = [f"{digest}:{'9' * digits}\n".encode() for digest in digests()]
    path = tmp_path_factory.mktemp("behind") / "list"
    path.write_bytes(b"".join(lines))
    with path.open("rb") as source:
        found = _behind(source, bytes.fromhex(digests()[index])[:WIDTH], path.stat().st_size)
    assert found == sum(len(line) for line in lines[: index + 1])
