from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from gateway.server.commands import NotRunningError, ask_reload, ask_upgrade
from gateway.server.control import ControlError, Done, Reload, Upgrade, pack, receive


def serve(state_dir: Path, answer: bytes, expected: Reload | Upgrade = Reload()) -> threading.Thread:  # noqa: B008 - immutable
    """Answer one command as a supervisor would."""
    (state_dir / "run").mkdir()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(state_dir / "run" / "commands.sock"))
    listener.listen()

    def work() -> None:
        with listener:
            connection, _ = listener.accept()
            with connection:
                assert receive(connection) == expected
                connection.sendall(answer)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_the_supervisors_diagnostics_come_back(tmp_path: Path) -> None:
    thread = serve(tmp_path, pack(Done(diagnostics=("gateway.yaml:1:1: no",))))
    assert ask_reload(tmp_path) == ("gateway.yaml:1:1: no",)
    thread.join()


def test_the_program_to_hand_over_to_is_named(tmp_path: Path) -> None:
    thread = serve(tmp_path, pack(Done(diagnostics=("no",))), Upgrade(program="/opt/gateway"))
    assert ask_upgrade(tmp_path, "/opt/gateway") == ("no",)
    thread.join()


def test_nobody_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError, match="no gateway runs"):
        ask_reload(tmp_path)


def test_a_supervisor_that_ends_before_it_answers_is_no_success(tmp_path: Path) -> None:
    thread = serve(tmp_path, b"")
    with pytest.raises(ControlError, match="gone"):
        ask_reload(tmp_path)
    thread.join()
