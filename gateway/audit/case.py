"""A case: records taken out of the log together with everything that proves them, in one file for others.

Decides what is in such a file and whether it is what it says. It proves that each record is in the log and
unchanged, by the log's signed tree head; that the collection is the one that was made, by the
signature of its list. It does not prove that nothing was left out, nor that a record is true.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec
import orjson

from gateway.audit.checkpoint import CheckpointError, Vkey, verify_signature
from gateway.audit.entry import EntryError, parse_entry
from gateway.audit.finding import Finding, Kind
from gateway.audit.merkle import ProofError
from gateway.audit.subject import is_sealed
from gateway.audit.tlog_proof import TlogProof, verify_proof
from gateway.audit.trust import TrustError, TrustPolicy, choose
from gateway.audit.verdict import INCOMPLETE, INTACT, POLICY_NOT_MET, TAMPERED

SIGNATURE_CONTEXT: Final = b"gateway audit case v1\n"
VERSION: Final = 1
README: Final = "README.txt"
MANIFEST: Final = "manifest.json"
RECORDS: Final = "records.jsonl"
OPENED: Final = "opened.jsonl"
TABLE: Final = "records.csv"
KEY: Final = "log-key.pem"
SUMS: Final = "SHA256SUMS"
SIGNATURE: Final = "SHA256SUMS.sig"
_LINE: Final = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9._/-]{1,200})")


class CaseError(ValueError):
    """Not a case, or one of another version."""


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken from one stream."""

    stream: str
    origin: str
    vkey: str
    size: int
    """Entries in the tree that the proofs lead to."""
    records: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Who made the collection, when and why."""

    version: int = VERSION
    case: str
    made_at: str
    """UTC, RFC 3339."""
    made_by: str
    """The user of the operating system who ran the command."""
    reason: str
    gateway: str
    """Version of the program."""
    asked: dict[str, str]
    """What was searched for."""
    opened: bool
    """Some values were sealed under a person's key, and stand opened in `opened.jsonl`."""
    unreadable: tuple[str, ...] = ()
    """Files of the log that could not be read when the collection was made."""
    streams: tuple[Collected, ...]


class CaseVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a case proves."""

    manifest: Manifest | None
    findings: tuple[Finding, ...]
    records: int
    """Proven to be in the log."""
    witnesses: tuple[str, ...]
    """Who cosigned every tree head, of those that the policies name."""
    is_own_word: bool
    """No key or policy was given: all that is known of the log's key is what the case itself says."""
    lacks: str
    """What a policy that was given asks for and a tree head does not have."""

    @property
    def exit_code(self) -> int:
        """0 proven, 1 a finding, 3 nothing wrong but the key is the case's own word, 4 a policy is not met."""
        if self.findings:
            return TAMPERED
        if self.lacks:
            return POLICY_NOT_MET
        return INCOMPLETE if self.is_own_word else INTACT

    def sentence(self) -> str:
        """Say what is proven, and by whom."""
        if self.manifest is None:
            return "NOT INTACT: this is no case that could be judged"
        name = f"case {self.manifest.case}, made at {self.manifest.made_at} by {self.manifest.made_by}"
        if self.findings:
            return (
                f"NOT INTACT: {len(self.findings)} findings in {name}; {self.records} records are proven all the same"
            )
        by = (
            f"the log's key and cosigned by {' and '.join(self.witnesses)}"
            if self.witnesses
            else "the log's key, by no witness"
        )
        proven = f"{name}: {self.records} records are in the log as they stand here, which is signed by {by}; the list of files is signed by the log's key"
        if self.lacks:
            return f"NOT ENOUGH: {proven}; the policy asks for more: {self.lacks}"
        if self.is_own_word:
            return f"nothing wrong in {proven}; but whose key that is, only the case itself says: compare it with one that you had from elsewhere (--vkey or --policy)"
        return f"intact: {proven}"


def proof_name(stream: str, index: int) -> str:
    """Return where the proof of a record stands."""
    return f"proofs/{stream}/{index}.tlog-proof"


def policy_name(stream: str) -> str:
    """Return where the trust policy of a stream stands."""
    return f"policy/{stream}.policy"


def vkey_name(stream: str) -> str:
    """Return where the verifier key of a stream's log stands."""
    return f"keys/{stream}.vkey"


def checkpoint_name(stream: str) -> str:
    """Return where the signed tree head of a stream stands."""
    return f"checkpoints/{stream}"


def record_line(stream: str, origin: str, index: int, taken_in_ns: int, record: Mapping[str, Any]) -> bytes:
    """Return one line of `records.jsonl` or `opened.jsonl`."""
    made = {"index": index, "origin": origin, "record": record, "stream": stream, "taken_in_ns": taken_in_ns}
    return orjson.dumps(made, option=orjson.OPT_SORT_KEYS) + b"\n"


def list_sums(files: Mapping[str, bytes]) -> bytes:
    """Return the list of files with their SHA-256, as `sha256sum -c` reads it."""
    return "".join(f"{sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())).encode()


def judge_case(
    files: Mapping[str, bytes], *, vkeys: Sequence[Vkey] = (), policies: Sequence[TrustPolicy] = ()
) -> CaseVerdict:
    """Check a case by itself and, where they are given, by keys and policies that the reader had from elsewhere.

    In the order of what depends on what: (1) the list, (2) its signature, (3) the tree heads, (4) each record.
    """
    return _Judge(files, vkeys, policies).judge()


class _Judge:
    def __init__(self, files: Mapping[str, bytes], vkeys: Sequence[Vkey], policies: Sequence[TrustPolicy]) -> None:
        self._files = files
        self._vkeys = {vkey.name: vkey for vkey in vkeys}
        self._given = policies
        self._findings: list[Finding] = []
        self._witnesses: set[str] | None = None
        self._is_own_word = not vkeys and not any(policy.logs for policy in policies)
        self._lacks = ""

    def judge(self) -> CaseVerdict:
        manifest = self._manifest()
        records = 0
        if manifest is not None:
            self._sums()  # (1)
            self._signature(manifest)  # (2)
            records = self._records(manifest)  # (3), (4)
            self._opened(manifest)
        return CaseVerdict(
            manifest=manifest,
            findings=tuple(self._findings),
            records=records,
            witnesses=tuple(sorted(self._witnesses or ())),
            is_own_word=self._is_own_word,
            lacks=self._lacks,
        )

    def _find(self, kind: Kind, file: str, message: str) -> None:
        self._findings.append(Finding(kind=kind, file=file, message=message))

    def _manifest(self) -> Manifest | None:
        try:
            manifest = msgspec.json.decode(self._files.get(MANIFEST, b""), type=Manifest)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._find(Kind.BITFLIP, MANIFEST, "cannot be read")
            return None
        if manifest.version != VERSION:
            self._find(Kind.BITFLIP, MANIFEST, f"has version {manifest.version}; use the gateway that wrote it")
            return None
        return manifest

    def _sums(self) -> None:
        listed: dict[str, str] = {}
        for line in self._files.get(SUMS, b"").decode("utf-8", "replace").splitlines():
            match = _LINE.fullmatch(line)
            if match is None or match[2] in listed:
                self._find(Kind.BITFLIP, SUMS, "a line is malformed, or names a file again")
                return
            listed[match[2]] = match[1]
        for name, digest in listed.items():
            if name not in self._files:
                self._find(Kind.MISSING, name, "is on the list and not there")
            elif sha256(self._files[name]).hexdigest() != digest:
                self._find(Kind.BITFLIP, name, "does not have the SHA-256 of the list")
        for name in self._files.keys() - listed.keys() - {SUMS, SIGNATURE}:
            self._find(Kind.INSERTED, name, "is not on the list")

    def _signature(self, manifest: Manifest) -> None:
        if not manifest.streams:
            self._find(Kind.BAD_SIGNATURE, SIGNATURE, "no log is named that could have signed")
        for collected in manifest.streams[:1]:  # the streams of a node sign with one key
            try:
                verify_signature(
                    self._vkey(collected).public,
                    self._files.get(SIGNATURE, b""),
                    SIGNATURE_CONTEXT,
                    self._files.get(SUMS, b""),
                )
            except CheckpointError as exc:
                self._find(Kind.BAD_SIGNATURE, SIGNATURE, str(exc))

    def _vkey(self, collected: Collected) -> Vkey:
        """Return the key that must have signed: the one that was given, else the one that the case says. Raises `CheckpointError`."""
        said = Vkey.parse(collected.vkey)
        if said.name != collected.origin:
            raise CheckpointError("the verifier key is not that of the log")
        trusted = [found.vkey for policy in self._given for found in policy.logs] + [*self._vkeys.values()]
        if trusted and said.public not in {each.public for each in trusted}:  # the streams of a node sign with one key
            raise CheckpointError(f"the key of {said.name} is none of those that were given")
        return said

    def _policy(self, collected: Collected) -> TrustPolicy:
        """Return by whose signatures a tree head is judged. Raises `TrustError`, `CheckpointError`."""
        given = choose(self._given, collected.origin)
        if given is not None:
            return given
        if self._given:
            raise CheckpointError(f"no policy that was given names the log {collected.origin}")
        return TrustPolicy.parse(self._files.get(policy_name(collected.stream), b""))

    def _records(self, manifest: Manifest) -> int:
        lines: dict[tuple[str, int], Any] = {}
        for line in self._files.get(RECORDS, b"").splitlines():
            key, record = _read_line(line)
            if key is None or key in lines:
                self._find(Kind.BITFLIP, RECORDS, "a line cannot be read, or stands twice")
                continue
            lines[key] = record
        proven = 0
        expected = {proof_name(*key) for key in lines}
        for name in sorted(each for each in self._files if each.startswith("proofs/") and each not in expected):
            self._find(Kind.INSERTED, name, "is a proof of no record that is here")
        streams = {collected.stream: collected for collected in manifest.streams}
        counts: dict[str, int] = {}
        for (stream, index), record in lines.items():
            counts[stream] = counts.get(stream, 0) + 1
            collected = streams.get(stream)
            if collected is None:
                self._find(Kind.INSERTED, RECORDS, f"a record of {stream}, of which the manifest says nothing")
            elif self._is_proven(collected, index, record):
                proven += 1
        for collected in manifest.streams:
            if counts.get(collected.stream, 0) != collected.records:
                self._find(
                    Kind.MISSING, RECORDS, f"the manifest says {collected.records} records of {collected.stream}"
                )
        return proven

    def _is_proven(self, collected: Collected, index: int, record: Any) -> bool:
        name = proof_name(collected.stream, index)
        try:
            proof = TlogProof.parse(self._files.get(name, b""))
            vkey = self._vkey(collected)
            proven = verify_proof(proof, self._policy(collected))
            payload = parse_entry(proven.entry).payload
        except (ProofError, CheckpointError, TrustError, EntryError) as exc:
            self._find(Kind.BITFLIP, name, str(exc))
            return False
        judged = proven.judged
        if judged.log != vkey or proof.index != index or judged.checkpoint.size != collected.size:
            self._find(
                Kind.REORDERED, name, "proves another record, or leads to another tree head than the manifest says"
            )
            return False
        if proof.checkpoint != self._files.get(checkpoint_name(collected.stream)):
            self._find(Kind.FORK, name, "does not end in the tree head that lies beside it")
            return False
        if stored_record(payload) != record:
            self._find(Kind.BITFLIP, RECORDS, f"entry {index} of {collected.stream} is not what its proof proves")
            return False
        names = {witness for witness, _ in judged.cosigned}
        self._witnesses = names if self._witnesses is None else self._witnesses & names
        if not judged.is_met and self._given:
            self._lacks = judged.missing
        return True

    def _opened(self, manifest: Manifest) -> None:
        """Compare what was opened with what is proven: it may differ only where a value is sealed."""
        if not manifest.opened:
            return
        stored = dict(filter(None, map(_read_line, self._files.get(RECORDS, b"").splitlines())))
        for line in self._files.get(OPENED, b"").splitlines():
            key, record = _read_line(line)
            if key is None or not agrees(stored.pop(key, None), record):
                self._find(Kind.INSERTED, OPENED, "a line says something else than the record that is proven")
        if stored:
            self._find(Kind.MISSING, OPENED, f"{len(stored)} records are not there")


def stored_record(payload: bytes) -> dict[str, Any]:
    """Return the record as it stands in a case; bytes that are no JSON object as text."""
    try:
        read = orjson.loads(payload)
    except orjson.JSONDecodeError:
        read = None
    return read if isinstance(read, dict) else {"raw": payload.decode("utf-8", "backslashreplace")}


def agrees(stored: Any, opened: Any) -> bool:
    """Tell whether a record says the same, apart from values that were sealed and now are texts."""
    if is_sealed(stored):
        return isinstance(opened, str) or stored == opened
    if isinstance(stored, dict) and isinstance(opened, dict):
        return stored.keys() == opened.keys() and all(agrees(stored[name], opened[name]) for name in stored)
    if isinstance(stored, list) and isinstance(opened, list):
        return len(stored) == len(opened) and all(map(agrees, stored, opened))
    return bool(stored == opened)


def _read_line(line: bytes) -> tuple[tuple[str, int] | None, Any]:
    try:
        read = orjson.loads(line)
        return (str(read["stream"]), int(read["index"])), read["record"]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None, None
