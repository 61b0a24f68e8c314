"""How a program of the same user talks to a running gateway: over a socket in its run directory."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from gateway.exchange.errors import GatewayError
from gateway.server.control import Done, Reload, Upgrade, pack, receive_reply
from gateway.server.run_directory import COMMANDS_NAME

_TIMEOUT_S: Final = 60.0
_UPGRADE_TIMEOUT_S: Final = 600.0
"""Longer than any `upgrade.ready_timeout`."""


class NotRunningError(GatewayError):
    """No gateway runs on the state directory."""


def ask_reload(state_dir: Path) -> tuple[str, ...]:
    """Have the gateway of `state_dir` read its configuration again; returns why it did not, nothing when it did.

    Raises:
        NotRunningError: nobody listens.
        ControlError: it went away before it answered.

    """
    return _ask(state_dir, Reload(), _TIMEOUT_S)


def ask_upgrade(state_dir: Path, program: str) -> tuple[str, ...]:
    """Have the gateway of `state_dir` hand over to `program` (empty: the one it was started as); returns why it did not.

    Raises:
        NotRunningError: nobody listens.
        ControlError: it went away before it answered.

    """
    return _ask(state_dir, Upgrade(program=program), _UPGRADE_TIMEOUT_S)


def _ask(state_dir: Path, request: Reload | Upgrade, timeout_s: float) -> tuple[str, ...]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(str(state_dir / "run" / COMMANDS_NAME))
            sock.sendall(pack(request))
        except OSError as error:
            raise NotRunningError(f"no gateway runs on {state_dir}; start it with gateway run") from error
        reply = receive_reply(sock)
    return reply.diagnostics if isinstance(reply, Done) else ()
