"""The antivirus: a real clamd where there is one, and every way in which one may fail."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.inspection.upload.scanning import ScanFailedError, ScanIncompleteError
from gateway.quarantine.clamd import Address, Clamd, parse_address
from tests.fakes.clamd import INFECTED, SIGNATURE, STREAM_MAX_BYTES, clamd, clamd_program, saying

needs_clamd = pytest.mark.skipif(clamd_program() is None and "CI" not in os.environ, reason="no clamd")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clamd]:
    with clamd(tmp_path_factory.mktemp("clamd")) as address:
        yield Clamd(parse_address(address), 30.0)


@needs_clamd
def test_a_real_daemon_knows_what_is_infected(real: Clamd) -> None:
    assert real(iter([b"hello", b" world"])) == ""
    assert real(iter([b"xx " + INFECTED[:10], INFECTED[10:]])) == f"{SIGNATURE}.UNOFFICIAL"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", INFECTED)
    assert real(iter([packed.getvalue()])).startswith(SIGNATURE)
    assert real(iter([])) == ""
    assert real.version().startswith("ClamAV 1.")


@needs_clamd
def test_a_file_beyond_the_limits_of_a_real_daemon_is_not_called_clean(real: Clamd) -> None:
    with pytest.raises(ScanIncompleteError):
        real(iter([b"x" * 65536] * (STREAM_MAX_BYTES // 65536 + 2)))


def scan(answer: bytes | None, *, after: int = 1 << 30, pieces: int = 1, timeout_s: float = 5.0) -> str:
    with saying(answer, after=after) as address:
        return Clamd(parse_address(address), timeout_s)(iter([b"x" * 65536] * pieces))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"stream: OK\0", ""),
        (b"stream: Win.Test.EICAR_HDB-1 FOUND\0", "Win.Test.EICAR_HDB-1"),
        (b"stream: Eicar-Signature(69630e4574ec6798239b091cda43dca0:69) FOUND\0", "Eicar-Signature"),
    ],
)
def test_an_answer_is_taken_at_its_word(answer: bytes, said: str) -> None:
    assert scan(answer) == said


@pytest.mark.parametrize(
    "answer",
    [b"UNKNOWN COMMAND\0", b"stream: \0", b"stream:  FOUND\0", b"x stream: OK\0", b"stream: Can't allocate memory ERROR\0", b"\0", b"y" * 5000],
)  # fmt: skip
def test_anything_else_is_no_answer(answer: bytes) -> None:
    with pytest.raises(ScanFailedError):
        scan(answer)


@pytest.mark.parametrize(
    "answer", [b"INSTREAM size limit exceeded. ERROR\0", b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0"]
)
def test_a_part_is_not_the_whole(answer: bytes) -> None:
    with pytest.raises(ScanIncompleteError):
        scan(answer)


def test_a_daemon_that_gives_up_in_the_middle_did_not_look_at_it() -> None:
    """A file made to kill the antivirus must not pass where its absence is forgiven."""
    with pytest.raises(ScanIncompleteError):
        scan(b"", after=100, pieces=200)


@pytest.mark.parametrize("answer", [b"", b"stream: OK"])
def test_a_daemon_that_dies_over_a_whole_file_did_not_look_at_it_either(answer: bytes) -> None:
    """It takes a file whole before it looks: that is when most of what kills it does."""
    with pytest.raises(ScanIncompleteError):
        scan(answer)


def test_a_file_that_takes_too_long_is_not_one_about_which_nobody_could_be_asked() -> None:
    with pytest.raises(ScanIncompleteError, match="too long"):
        scan(None, timeout_s=0.2)


def test_a_daemon_that_takes_nothing_is_not_waited_for_longer() -> None:
    with saying(None, after=0) as address, pytest.raises(ScanIncompleteError, match="too long"):
        Clamd(parse_address(address), 0.3)(iter([b"x" * (1 << 20)] * 100))


def test_a_daemon_that_dies_when_it_is_asked_for_its_version_is_away() -> None:
    with saying(b"", after=1) as address, pytest.raises(ScanFailedError, match="broke off"):
        Clamd(parse_address(address), 0.3).version()


def test_a_daemon_that_is_away_is_told(tmp_path: Path) -> None:
    for address in (f"unix:{tmp_path}/none.sock", "tcp://127.0.0.1:1"):
        with pytest.raises(ScanFailedError, match="cannot be reached"):
            Clamd(parse_address(address), 1.0)(iter([b"x"]))


def test_a_clock_that_ran_out_asks_nobody() -> None:
    times = iter([0.0, 10.0])
    with pytest.raises(ScanFailedError):
        Clamd(Address("/none", "", 0), 5.0, clock=lambda: next(times))(iter([]))


def test_addresses_are_read() -> None:
    assert parse_address("unix:/run/clamav/clamd.ctl") == Address("/run/clamav/clamd.ctl", "", 0)
    assert parse_address("tcp://127.0.0.1:3310") == Address("", "127.0.0.1", 3310)
    assert parse_address("tcp://[::1]:3310") == Address("", "::1", 3310)
    for wrong in (
        "",
        "unix:",
        "unix:x",
        "tcp://x",
        "tcp://x:0",
        "tcp://x:70000",
        "http://x:1",
        "unix:/" + "x" * 200,
        "unix:/a\0b",
    ):
        with pytest.raises(ValueError, match="write unix:"):
            parse_address(wrong)
