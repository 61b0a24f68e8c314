"""How a program of the same user talks to a running gateway: over a socket in its run directory.

The gateway's own processes are of that user too, and those that meet hostile bytes can connect. Reading
the configuration again gives nobody anything; a program to start is taken from those alone who can read
the keys of the audit trail, which is what confinement keeps from an edge and from the pages.
"""

from __future__ import annotations

import hmac
import os
import socket
from pathlib import Path
from typing import Final

from gateway.exchange.errors import ConfigurationError, GatewayError
from gateway.server.control import Done, Reload, Upgrade, pack, receive_reply
from gateway.server.run_directory import COMMANDS_NAME

_TIMEOUT_S: Final = 300.0
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


def ask_upgrade(state_dir: Path, keys: Path, program: str) -> tuple[str, ...]:
    """Have the gateway of `state_dir` hand over to `program` (empty: the one it was started as); returns why it did not.

    `keys`: file with the keys of the audit trail.

    Raises:
        ConfigurationError: the keys cannot be read.
        NotRunningError: nobody listens.
        ControlError: it went away before it answered.

    """
    try:
        proof = prove(keys, program)
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        raise ConfigurationError((f"{keys}: cannot be read: {reason}; ask as the user of the gateway",)) from error
    return _ask(state_dir, Upgrade(program=program, proof=proof), _UPGRADE_TIMEOUT_S)


def prove(keys: Path, program: str) -> bytes:
    """Make the proof that a request to start `program` needs. Raises OSError when the keys cannot be read."""
    return hmac.digest(keys.read_bytes(), b"gateway upgrade\0" + os.fsencode(program), "sha256")


def is_proven(request: Upgrade, keys: Path) -> bool:
    """Tell whether whoever asks can read `keys`; nobody can prove it when we cannot read them ourselves."""
    try:
        return hmac.compare_digest(prove(keys, request.program), request.proof)
    except (OSError, ValueError):  # a NUL or a lone surrogate in the path
        return False


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
