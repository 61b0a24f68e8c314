"""Whether a case is what it says: every record of it proven, and every page for readers as the records have it.

Whoever makes a case may be the one that it is held against, and holds the key that signs the list of its files. So what
people read, the page and the table, is made again from what is proven; only what was sealed rests on their word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway import __version__
from gateway.audit import mapping
from gateway.audit.case import (
    KEY,
    MANIFEST,
    OPENED,
    README,
    RECORDS,
    SIGNATURE,
    SIGNATURE_CONTEXT,
    SUMS,
    TABLE,
    VERSION,
    Collected,
    Manifest,
    checkpoint_name,
    policy_name,
    proof_name,
    stored_record,
    vkey_name,
)
from gateway.audit.case_readme import readme
from gateway.audit.checkpoint import CheckpointError, Vkey, verify_signature
from gateway.audit.entry import EntryError, parse_entry
from gateway.audit.finding import Finding, Kind
from gateway.audit.merkle import ProofError
from gateway.audit.subject import is_sealed
from gateway.audit.tlog_proof import TlogProof, verify_proof
from gateway.audit.trust import TrustError, TrustPolicy, choose
from gateway.audit.verdict import INCOMPLETE, INTACT, POLICY_NOT_MET, TAMPERED

_LINE: Final = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9._/-]{1,200})")


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
    unread: tuple[str, ...] = ()
    """Files for readers that another version of the program made, and that could not be compared with what is proven."""

    @property
    def exit_code(self) -> int:
        """0 proven, 1 a finding, 3 nothing wrong but the key is the case's own word, 4 a policy is not met."""
        if self.findings:
            return TAMPERED
        if self.lacks:
            return POLICY_NOT_MET
        return INCOMPLETE if self.is_own_word or self.unread else INTACT

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
        proven = f"{name}: {self.records} records are in the log as they stand in {RECORDS}, which is signed by {by}; the list of files is signed by the log's key"
        if self.manifest.opened:
            proven += f"; what {OPENED} and {TABLE} show in place of sealed values is the word of whoever made the case"
        if self.lacks:
            return f"NOT ENOUGH: {proven}; the policy asks for more: {self.lacks}"
        if self.is_own_word:
            return f"nothing wrong in {proven}; but whose key that is, only the case itself says: compare it with one that you had from elsewhere (--vkey or --policy)"
        if self.unread:
            return (
                f"nothing wrong in {proven}; but gateway {self.manifest.gateway} made {' and '.join(self.unread)}, which this "
                f"one cannot compare with the records: believe {RECORDS}, or verify with that version"
            )
        return f"intact: {proven}"


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
        self._unread: list[str] = []

    def judge(self) -> CaseVerdict:
        manifest = self._manifest()
        records = 0
        if manifest is not None:
            self._sums()  # (1)
            self._signature(manifest)  # (2)
            records = self._records(manifest)  # (3), (4)
            self._opened(manifest)
            self._pages(manifest)
        return CaseVerdict(
            manifest=manifest,
            findings=tuple(self._findings),
            records=records,
            witnesses=tuple(sorted(self._witnesses or ())),
            is_own_word=self._is_own_word,
            lacks=self._lacks,
            unread=tuple(self._unread),
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
        if self._given:  # nothing is wrong with the case: the reader did not say whom to believe about this log
            self._lacks = f"no policy that was given names the log {collected.origin}"
        return TrustPolicy.parse(self._files.get(policy_name(collected.stream), b""))

    def _records(self, manifest: Manifest) -> int:
        lines: dict[tuple[str, int], _Told] = {}
        for line in self._files.get(RECORDS, b"").split(b"\n"):
            if not line:
                continue
            told = _read_line(line)
            if told is None or told.key in lines:
                self._find(Kind.BITFLIP, RECORDS, "a line cannot be read, or stands twice")
                continue
            lines[told.key] = told
        proven = 0
        expected = {proof_name(*key) for key in lines}
        for name in sorted(each for each in self._files if each.startswith("proofs/") and each not in expected):
            self._find(Kind.INSERTED, name, "is a proof of no record that is here")
        streams = {collected.stream: collected for collected in manifest.streams}
        counts: dict[str, int] = {}
        for (stream, index), told in lines.items():
            counts[stream] = counts.get(stream, 0) + 1
            collected = streams.get(stream)
            if collected is None:
                self._find(Kind.INSERTED, RECORDS, f"a record of {stream}, of which the manifest says nothing")
            elif self._is_proven(collected, index, told):
                proven += 1
        for collected in manifest.streams:
            if counts.get(collected.stream, 0) != collected.records:
                self._find(
                    Kind.MISSING, RECORDS, f"the manifest says {collected.records} records of {collected.stream}"
                )
        return proven

    def _is_proven(self, collected: Collected, index: int, told: _Told) -> bool:
        name = proof_name(collected.stream, index)
        try:
            proof = TlogProof.parse(self._files.get(name, b""))
            vkey = self._vkey(collected)
            proven = verify_proof(proof, self._policy(collected), log=vkey)
            entry = parse_entry(proven.entry)
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
        if stored_record(entry.payload) != told.record or (told.origin, told.taken_in_ns) != (vkey.name, entry.time_ns):
            self._find(Kind.BITFLIP, RECORDS, f"entry {index} of {collected.stream} is not what its proof proves")
            return False
        names = {witness for witness, _ in judged.cosigned}
        self._witnesses = names if self._witnesses is None else self._witnesses & names
        if not judged.is_met and self._given:
            self._lacks = self._lacks or judged.missing
        return True

    def _opened(self, manifest: Manifest) -> None:
        """Compare what was opened with what is proven: it may differ only where a value is sealed."""
        if not manifest.opened:
            if OPENED in self._files:
                self._find(Kind.INSERTED, OPENED, "the manifest says that nothing was opened")
            return
        stored = {told.key: told for told in self._told(RECORDS)}
        for opened in self._told(OPENED):
            told = stored.pop(opened.key, None)
            if (
                told is None
                or not agrees(told.record, opened.record)
                or (told.origin, told.taken_in_ns) != (opened.origin, opened.taken_in_ns)
            ):
                self._find(Kind.INSERTED, OPENED, "a line says something else than the record that is proven")
        if stored:
            self._find(Kind.MISSING, OPENED, f"{len(stored)} records are not there")

    def _pages(self, manifest: Manifest) -> None:
        """Make again what people read (attack: a table that tells another story than the records that are proven)."""
        shown = self._told(OPENED if manifest.opened else RECORDS)
        rows = [mapping.to_row(each.record, mapping.Position(each.origin, each.index)) for each in shown]
        table = mapping.csv_header() + "".join(map(mapping.csv_line, rows))
        for name, made in ((README, readme(manifest)), (TABLE, table)):
            if name in self._files and self._files[name] != made.encode():
                if manifest.gateway == __version__:
                    self._find(Kind.BITFLIP, name, "says something else than the records and the manifest")
                else:
                    self._unread.append(name)
        for collected in manifest.streams:
            self._keys(collected)

    def _keys(self, collected: Collected) -> None:
        """Compare the files of keys, which other programs read, with the key that everything was checked with."""
        try:
            public = Ed25519PublicKey.from_public_bytes(Vkey.parse(collected.vkey).public)
        except CheckpointError:
            return  # has been said
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for name, made in ((KEY, pem), (vkey_name(collected.stream), f"{collected.vkey}\n".encode())):
            if name in self._files and self._files[name] != made:
                self._find(Kind.WRONG_KEY_RANGE, name, "holds another key than the manifest names")

    def _told(self, name: str) -> list[_Told]:
        lines = [line for line in self._files.get(name, b"").split(b"\n") if line]
        told = [read for line in lines if (read := _read_line(line)) is not None]
        if len(told) < len(lines) and name == OPENED:
            self._find(Kind.BITFLIP, name, "a line cannot be read")
        return told


class _Told(msgspec.Struct, frozen=True):
    """A line of `records.jsonl` or `opened.jsonl`: what it says of a record."""

    stream: str
    index: int
    origin: str
    taken_in_ns: int
    record: dict[str, Any]

    @property
    def key(self) -> tuple[str, int]:
        return self.stream, self.index


def agrees(stored: Any, opened: Any) -> bool:
    """Tell whether a record says the same, apart from values that were sealed and now are texts."""
    if is_sealed(stored):
        return isinstance(opened, str) or stored == opened
    if isinstance(stored, dict) and isinstance(opened, dict):
        return stored.keys() == opened.keys() and all(agrees(stored[name], opened[name]) for name in stored)
    if isinstance(stored, list) and isinstance(opened, list):
        return len(stored) == len(opened) and all(map(agrees, stored, opened))
    return bool(stored == opened)


def _read_line(line: bytes) -> _Told | None:
    try:
        return msgspec.convert(orjson.loads(line), _Told)
    except (orjson.JSONDecodeError, msgspec.ValidationError):
        return None
