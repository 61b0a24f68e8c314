from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from gateway.exchange.errors import ConfigurationError
from gateway.server.commands import NotRunningError, ask_reload, ask_upgrade, is_proven, prove
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
    keys = tmp_path / "audit-keys.json"
    keys.write_text("secret")
    expected = Upgrade(program="/opt/gateway", proof=prove(keys, "/opt/gateway"))
    thread = serve(tmp_path, pack(Done(diagnostics=("no",))), expected)
    assert ask_upgrade(tmp_path, keys, "/opt/gateway") == ("no",)
    thread.join()


def test_a_program_is_started_for_those_alone_who_can_read_the_keys_of_the_trail(tmp_path: Path) -> None:
    keys = tmp_path / "audit-keys.json"
    keys.write_text("secret")
    asked = Upgrade(program="/opt/gateway", proof=prove(keys, "/opt/gateway"))
    assert is_proven(asked, keys)
    assert not is_proven(Upgrade(program="/proc/1/fd/3", proof=asked.proof), keys)
    assert not is_proven(Upgrade(program="/opt/gateway"), keys)
    assert not is_proven(Upgrade(program="/opt/\0gateway", proof=b"x"), keys)
    keys.write_text("another")
    assert not is_proven(asked, keys)
    keys.unlink()
    assert not is_proven(asked, keys)
    with pytest.raises(ConfigurationError, match=r"audit-keys\.json: cannot be read"):
        ask_upgrade(tmp_path, keys, "")


def test_nobody_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError, match="no gateway runs"):
        ask_reload(tmp_path)


def test_a_supervisor_that_ends_before_it_answers_is_no_success(tmp_path: Path) -> None:
    thread = serve(tmp_path, b"")
    with pytest.raises(ControlError, match="gone"):
        ask_reload(tmp_path)
    thread.join()
