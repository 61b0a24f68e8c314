from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.exchange.errors import ConfigurationError
from gateway.server.run_directory import LOCK_NAME, AlreadyRunningError, RunDirectory, is_trusted_peer, running_process


def test_the_directories_are_made_private(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "state")
    for path in (directory.state_dir, directory.path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    directory.release()


def test_a_directory_that_others_can_enter_is_closed_to_them(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    RunDirectory(state).release()
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_two_gateways_on_one_state_directory_are_refused(tmp_path: Path) -> None:
    first = RunDirectory(tmp_path)
    with pytest.raises(AlreadyRunningError, match=f"process {os.getpid()}"):
        RunDirectory(tmp_path)
    first.release()
    RunDirectory(tmp_path).release()


def test_the_running_process_is_found_and_only_while_it_runs(tmp_path: Path) -> None:
    assert running_process(tmp_path) is None
    directory = RunDirectory(tmp_path)
    assert running_process(tmp_path) == os.getpid()
    directory.release()
    assert running_process(tmp_path) is None


def test_a_disk_that_is_full_keeps_no_gateway_from_its_next_start(tmp_path: Path) -> None:
    """What says which process it is has its room from the first start on."""
    RunDirectory(tmp_path).release()
    note = tmp_path / "run" / LOCK_NAME
    assert note.stat().st_size == 1
    assert running_process(tmp_path) is None
    directory = RunDirectory(tmp_path)
    assert note.read_text() == f"{os.getpid()}\n"
    directory.sign()
    assert note.read_text() == f"{os.getpid()}\n"
    directory.release()


def test_a_first_start_on_a_full_disk_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(ConfigurationError, match=r"state_dir: .*gateway\.pid: cannot be written: no space left"):
            RunDirectory(tmp_path)
    RunDirectory(tmp_path).release()


def test_a_crash_leaves_nothing_that_stops_the_next_start(tmp_path: Path) -> None:
    program = f"""
import os, socket
from pathlib import Path
from gateway.server.run_directory import RunDirectory
directory = RunDirectory(Path({str(tmp_path)!r}))
socket.socket(socket.AF_UNIX).bind(str(directory.path / "pages.sock"))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -9
    directory = RunDirectory(tmp_path)
    assert not (directory.path / "pages.sock").exists()
    directory.release()


def test_a_state_directory_too_deep_for_sockets_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="characters too long"):
        RunDirectory(tmp_path / ("x" * 90))


def test_a_state_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be made"):
        RunDirectory(tmp_path / "file" / "state")


def test_our_own_user_is_a_trusted_peer() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert is_trusted_peer(one)
