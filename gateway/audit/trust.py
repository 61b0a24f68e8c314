"""Whom an auditor believes: logs, witnesses and how many of them it takes (C2SP tlog-policy).

Decides whether a tree head is signed by a log of the policy and cosigned by its quorum. A key that
stands twice, a name that stands for nothing and a file that was cut off are errors, because each
would make a quorum smaller than whoever wrote it meant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from gateway.audit.checkpoint import (
    Checkpoint,
    CheckpointError,
    Vkey,
    parse_checkpoint,
    split_note,
    verify_checkpoint,
)
from gateway.audit.cosignature import Cosigned, WitnessKey, cosignatures
from gateway.exchange.errors import GatewayError

NONE: Final = "none"
"""The quorum of a policy that asks for no witness."""
MAX_POLICY_BYTES: Final = 1 << 20
MAX_DEFINITIONS: Final = 1024
_FORBIDDEN: Final = re.compile(rb"[^\t\n\x20-\x7e\x80-\xff]")
_SPACE: Final = re.compile(rb"[ \t]+")
_THRESHOLD: Final = re.compile(r"[0-9]{1,9}")
_LOG_WORDS: Final = (2, 3)
_WITNESS_WORDS: Final = (3, 4)
_QUORUM_WORDS: Final = 2
_GROUP_WORDS: Final = 4


class TrustError(GatewayError):
    """A policy file that is not one; the text names the line."""


class TrustedLog(msgspec.Struct, frozen=True):
    """A log whose tree heads are accepted."""

    vkey: Vkey
    url: str = ""


class TrustedWitness(msgspec.Struct, frozen=True):
    """A witness that may count towards the quorum."""

    name: str
    """Within the policy; the key has a name of its own."""
    key: WitnessKey
    url: str = ""
    """Submission prefix (C2SP tlog-witness)."""


class Group(msgspec.Struct, frozen=True):
    """So many of its members, witnesses or groups, make it up."""

    name: str
    threshold: int
    members: tuple[str, ...]


class Judged(msgspec.Struct, frozen=True):
    """A tree head that a log of the policy signed, and who else did."""

    checkpoint: Checkpoint
    log: Vkey
    cosigned: tuple[tuple[str, Cosigned], ...]
    """Witnesses of the policy by their names in it."""
    is_met: bool
    """The quorum is reached."""
    missing: str
    """What the quorum still lacks, in words; empty when it is met."""

    @property
    def time_s(self) -> int:
        """When the last of them signed (unix seconds); 0 = no witness did."""
        return max((found.time_s for _, found in self.cosigned), default=0)


class TrustPolicy(msgspec.Struct, frozen=True):
    """A policy file, read."""

    logs: tuple[TrustedLog, ...]
    witnesses: tuple[TrustedWitness, ...]
    groups: tuple[Group, ...]
    quorum: str

    @classmethod
    def parse(cls, data: bytes) -> TrustPolicy:
        """Read a policy file. Raises `TrustError`, naming the line."""
        return _Reader().read(data)

    def dump(self) -> bytes:
        """Return the policy as a file."""
        lines = [" ".join(filter(None, ("log", str(log.vkey), log.url))) for log in self.logs]
        lines += [
            " ".join(filter(None, ("witness", found.name, str(found.key), found.url))) for found in self.witnesses
        ]
        lines += [f"group {group.name} {group.threshold} {' '.join(group.members)}" for group in self.groups]
        return "\n".join([*lines, f"quorum {self.quorum}", ""]).encode("utf-8", "surrogateescape")

    def judge(self, note: bytes, *, log: Vkey | None = None) -> Judged:
        """Check the signatures on a tree head; `log` says whose it must be where the policy names no logs.

        Raises `CheckpointError`: malformed, signed by no log of the policy, or a known signature is wrong.
        """
        text, signatures = split_note(note)
        origin = parse_checkpoint(text).origin
        candidates = [found.vkey for found in self.logs if found.vkey.name == origin]
        if log is not None and (log in candidates or not self.logs):
            candidates = [log]
        if not candidates:
            if self.logs or log is not None:
                raise CheckpointError(f"the policy does not name the log {origin}")
            raise CheckpointError("the policy names no log: say whose checkpoint it should be")
        signed_by = {(name, key_id) for name, key_id, _ in signatures}
        signers = [vkey for vkey in candidates if (vkey.name, vkey.key_id) in signed_by] or candidates[:1]
        heads = [verify_checkpoint(note, vkey) for vkey in signers]  # a wrong signature beside a right one refuses
        by_key = {found.key: found.name for found in self.witnesses}
        cosigned = tuple((by_key[found.key], found) for found in cosignatures(note, list(by_key)))
        names = {name for name, _ in cosigned}
        return Judged(heads[0], signers[0], cosigned, *self.is_met_by(names))

    def is_met_by(self, names: set[str]) -> tuple[bool, str]:
        """Tell whether these witnesses, by their names in the policy, make up the quorum; if not, what it lacks."""
        if self.quorum == NONE:
            return True, ""
        witnessed = {found.name: found.name in names for found in self.witnesses}
        counts: dict[str, int] = {}
        for group in self.groups:  # a group only has members that were defined before it
            counts[group.name] = sum(witnessed[member] for member in group.members)
            witnessed[group.name] = counts[group.name] >= group.threshold
        if witnessed[self.quorum]:
            return True, ""
        group_asked = next((group for group in self.groups if group.name == self.quorum), None)
        if group_asked is None:
            return False, f"the witness {self.quorum} has not cosigned"
        return False, (
            f"the group {group_asked.name} has {counts[group_asked.name]} of the {group_asked.threshold} cosignatures it takes"
        )


def choose(policies: Sequence[TrustPolicy], origin: str) -> TrustPolicy | None:
    """Return the policy that names this log; else the one that names none, which leaves it to its user; else None.

    The streams of a node sign with one key, and a policy may name a key once: each stream has a policy.
    """
    named = [policy for policy in policies if any(log.vkey.name == origin for log in policy.logs)]
    return next(iter([*named, *(policy for policy in policies if not policy.logs)]), None)


class _Reader:
    """Reads a policy line by line."""

    def __init__(self) -> None:
        self._logs: list[TrustedLog] = []
        self._witnesses: list[TrustedWitness] = []
        self._groups: list[Group] = []
        self._quorum = ""
        self._defined: set[str] = set()
        self._members: set[str] = set()
        self._line = 0

    def read(self, data: bytes) -> TrustPolicy:
        if len(data) > MAX_POLICY_BYTES:
            raise TrustError("the policy is larger than 1 MiB")
        if not data.endswith(b"\n"):  # attack: a file that was cut off in the middle of its quorum
            raise TrustError("the policy does not end with a line end; the rest of it may be missing")
        verbs: Mapping[str, Callable[[list[str]], None]] = {
            "log": self._log,
            "witness": self._witness,
            "group": self._group,
            "quorum": self._set_quorum,
        }
        for number, line in enumerate(data[:-1].split(b"\n"), 1):
            self._line = number
            if forbidden := _FORBIDDEN.search(line):
                raise self._error(f"the byte 0x{forbidden[0][0]:02X} is not allowed")
            # names are octets (tlog-policy, Character set): two spellings of one letter are two names
            words = [word.decode("utf-8", "surrogateescape") for word in _SPACE.split(line.strip(b" \t"))]
            if words == [""] or words[0].startswith("#"):
                continue
            if words[0] not in verbs:
                raise self._error(f"a line begins with log, witness, group, quorum or #, not {words[0]!r}")
            verbs[words[0]](words)
            if len(self._logs) + len(self._defined) > MAX_DEFINITIONS:
                raise self._error(f"more than {MAX_DEFINITIONS} definitions")
        if not self._quorum:
            raise TrustError("the policy has no quorum line")
        return TrustPolicy(tuple(self._logs), tuple(self._witnesses), tuple(self._groups), self._quorum)

    def _log(self, words: list[str]) -> None:
        if len(words) not in _LOG_WORDS:
            raise self._error("write: log VKEY [URL]")
        try:
            vkey = Vkey.parse(words[1])
        except CheckpointError as exc:
            raise self._error(str(exc)) from exc
        if any(log.vkey.public == vkey.public for log in self._logs):
            raise self._error("the key of this log stands in the policy twice")
        self._logs.append(TrustedLog(vkey, "".join(words[2:])))

    def _witness(self, words: list[str]) -> None:
        if len(words) not in _WITNESS_WORDS:
            raise self._error("write: witness NAME VKEY [URL]")
        self._define(words[1])
        try:
            key = WitnessKey.parse(words[2])
        except CheckpointError as exc:
            raise self._error(str(exc)) from exc
        if any(found.key.public == key.public for found in self._witnesses):  # attack: one witness counts twice
            raise self._error("the key of this witness stands in the policy twice")
        self._witnesses.append(TrustedWitness(words[1], key, "".join(words[3:])))

    def _group(self, words: list[str]) -> None:
        if len(words) < _GROUP_WORDS:
            raise self._error("write: group NAME all|any|NUMBER MEMBER…")
        name, threshold, members = words[1], words[2], words[3:]
        for member in members:
            if member not in self._defined:
                raise self._error(f"{member!r} is not defined above")
            if member in self._members:
                raise self._error(f"{member!r} is a member already; each may count once")
            self._members.add(member)
        self._define(name)
        match threshold:
            case "all":
                needed = len(members)
            case "any":
                needed = 1
            case _:
                needed = int(threshold) if _THRESHOLD.fullmatch(threshold) else 0
        if not 1 <= needed <= len(members):
            raise self._error(f"a group of {len(members)} takes all, any or a number from 1 to {len(members)}")
        self._groups.append(Group(name, needed, tuple(members)))

    def _set_quorum(self, words: list[str]) -> None:
        if len(words) != _QUORUM_WORDS:
            raise self._error("write: quorum NAME")
        if self._quorum:
            raise self._error("the policy has a quorum already")
        if words[1] != NONE and words[1] not in self._defined:
            raise self._error(f"{words[1]!r} is not defined above")
        self._quorum = words[1]

    def _define(self, name: str) -> None:
        if name == NONE:
            raise self._error("the name none is taken: it stands for no witness at all")
        if name in self._defined:
            raise self._error(f"{name!r} is defined twice")
        self._defined.add(name)

    def _error(self, sentence: str) -> TrustError:
        return TrustError(f"line {self._line}: {sentence}")
