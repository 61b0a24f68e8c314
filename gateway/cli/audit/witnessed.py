"""Asks the witnesses of a trust policy what they cosigned last, so that a log can be held against it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from gateway.audit.checkpoint import CheckpointError, parse_checkpoint, split_note
from gateway.audit.cosignature import cosignatures
from gateway.audit.trust import TrustedWitness, TrustPolicy
from gateway.custody.witness_client import WitnessClient, WitnessUnreachableError
from gateway.exchange.errors import ConfigurationError

TIMEOUT_S: Final = 10.0


class Heard(NamedTuple):
    """What the witnesses said."""

    notes: tuple[tuple[str, bytes], ...]
    """Tree heads, with the names of who gave them."""
    silent: tuple[str, ...]
    """Who could not be asked, or has never seen a log, in words."""


def ask_witnesses(
    policies: Sequence[TrustPolicy], origins: Iterable[str], *, ca: bytes | None = None, timeout_s: float = TIMEOUT_S
) -> Heard:
    """Ask every witness that has an address about every log. Raises `ConfigurationError`: there is nobody or nothing to ask."""
    asked = sorted({*origins, *(log.vkey.name for policy in policies for log in policy.logs)})
    witnesses = {found.key: found for policy in policies for found in policy.witnesses if found.url}
    if not witnesses:
        raise ConfigurationError(("--against-witness: no policy has a witness with an address; see --policy",))
    if not asked:
        raise ConfigurationError(("--against-witness: say whose log it is: a log line in the policy, --vkey or -c",))
    return asyncio.run(_ask(list(witnesses.values()), asked, ca, timeout_s))


async def _ask(
    witnesses: Sequence[TrustedWitness], origins: Sequence[str], ca: bytes | None, timeout_s: float
) -> Heard:
    notes: list[tuple[str, bytes]] = []
    silent: list[str] = []
    async with WitnessClient(timeout_s=timeout_s, ca=ca) as client:
        for witness in witnesses:
            for origin in origins:
                try:
                    note = await client.checkpoint(witness.url, origin)
                except WitnessUnreachableError as exc:
                    silent.append(f"the witness {witness.name} was not heard: {exc}")
                    break
                if note:
                    if _is_own_word(witness, origin, note):
                        notes.append((f"witness {witness.name}", note))
                    else:
                        silent.append(f"what was said for the witness {witness.name} of {origin} is no word of its own")
                else:
                    silent.append(f"the witness {witness.name} has never seen {origin}")
    return Heard(tuple(notes), tuple(silent))


def _is_own_word(witness: TrustedWitness, origin: str, note: bytes) -> bool:
    """Tell whether the witness cosigned this log (attack: somebody on the way answers with a tree head of the node's)."""
    try:
        return bool(cosignatures(note, [witness.key])) and parse_checkpoint(split_note(note)[0]).origin == origin
    except CheckpointError:
        return False
