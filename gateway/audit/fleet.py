"""The logs of all nodes, as whoever verifies them expects to find them.

A file with a line `log VKEY` for each log of each node, as a trust policy has them (C2SP tlog-policy), or the key alone: its
other lines are not looked at, so that a trust policy can be the list. A node that was left out of a copy shows.
The list can be a signed note (C2SP signed-note): then a line that was taken out of it shows too.
"""

from __future__ import annotations

from gateway.audit.checkpoint import CheckpointError, Vkey, verify_note
from gateway.exchange.errors import GatewayError

MAX_FLEET_BYTES = 1 << 20
_SIGNED = "\n\n— ".encode()
_OTHER_LINES = frozenset({"witness", "group", "quorum"})


class FleetError(GatewayError):
    """A list of logs that is not one; the text names the line."""


def parse_fleet(data: bytes, signer: Vkey | None = None) -> tuple[Vkey, ...]:
    """Read the list; `signer` must have signed it. Raises `FleetError`, naming the line."""
    if len(data) > MAX_FLEET_BYTES:
        raise FleetError("the list of logs is larger than 1 MiB")
    if signer is not None:
        try:
            data = verify_note(data, signer)
        except CheckpointError as exc:
            raise FleetError(f"the list of logs is not signed as it must be: {exc}") from exc
    elif _SIGNED in data:
        raise FleetError("the list of logs is signed; say by which key it must be: --fleet-key")
    if not data.endswith(b"\n"):  # attack: a list that was cut off, so that a node is not missed
        raise FleetError("the list of logs does not end with a line end; the rest of it may be missing")
    found: dict[str, Vkey] = {}
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        words = line.split()
        if not words or words[0].startswith("#") or words[0] in _OTHER_LINES:
            continue
        if len(words) == 1 and words[0] != "log":  # as `gateway audit trust --vkeys` prints them
            words = ["log", *words]
        if words[0] != "log" or len(words) not in {2, 3}:
            raise FleetError(f"line {number}: write: log VKEY")
        try:
            vkey = Vkey.parse(words[1])
        except CheckpointError as exc:
            raise FleetError(f"line {number}: {exc}") from exc
        if vkey.name in found:
            raise FleetError(f"line {number}: the log {vkey.name} stands in the list twice")
        found[vkey.name] = vkey
    if not found:
        raise FleetError("the list names no log")
    return tuple(found.values())
