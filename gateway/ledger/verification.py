"""Verifies logs where they are: a gateway's own directory, a copy, an archive, several nodes at once.

Decides which file belongs to which log, which tree head to which, and what is missing altogether;
what a log proves is `gateway.audit.verify`'s. Never writes and takes no lock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from gateway.audit.checkpoint import CheckpointError, Vkey, parse_checkpoint, split_note
from gateway.audit.delivered import DeliveredLog, UnreadableLineError, read_line
from gateway.audit.finding import Finding, Kind
from gateway.audit.tally import Prune
from gateway.audit.trust import TrustPolicy
from gateway.audit.verdict import INCOMPLETE, INTACT, TAMPERED, Verdict, exit_code_of
from gateway.audit.verify import Verifier
from gateway.audit.vouching import apply_policy
from gateway.exchange.stream import STREAMS, Stream
from gateway.ledger.checking import Checker, Task, check, checker, tasks_of
from gateway.ledger.copy import Copy, CopyFile, LogCopy, Note, VanishedError, find_logs
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.reader import UnreadableLogError
from gateway.ledger.tile_check import KeptTiles, judge_tiles, read_kept

OWN_CHECKPOINT: Final = "checkpoint"
"""What messages call the tree head that a gateway published last; `Verifier` knows by it that it is its own."""

_TRIES: Final = 5
_FIRST_CHECKPOINT_S: Final = 2.0
"""A gateway publishes the first one of a log within a second."""
_LOOK_S: Final = 0.1

Told = Callable[[str, int, int], None]
"""Is told what is read, bytes done and bytes in all."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked, and what is given to answer it."""

    keys: AuditKeys | None = None
    structural: bool = False
    """Decrypt nothing, even with keys."""
    vkeys: tuple[Vkey, ...] = ()
    """Pinned: the logs must be signed by these."""
    published: tuple[tuple[Stream, str, bytes], ...] = ()
    """The last tree heads of each stream from the gateway's own state, with their names, which begin `checkpoint`."""
    trusted: tuple[tuple[str, bytes], ...] = ()
    """Tree heads that were kept elsewhere, with their names."""
    policies: tuple[TrustPolicy, ...] = ()
    """Must be met."""
    own_policies: tuple[TrustPolicy, ...] = ()
    """Say who the witnesses are, and demand nothing."""
    fleet: tuple[Vkey, ...] = ()
    """Logs that there must be."""
    streams: tuple[Stream, ...] = STREAMS
    first: int = 0
    last: int | None = None
    """Entries that are asked about; None = to the end."""
    is_live: bool = False
    """The directory is a gateway's own."""
    jobs: int = 1


def published(layout: Layout) -> Iterator[tuple[Stream, str, bytes]]:
    """Read what a gateway published last. Read it before the log: a live log only grows. Raises `OSError`."""
    for stream in STREAMS:
        if layout.checkpoint(stream).exists():
            yield stream, OWN_CHECKPOINT, layout.checkpoint(stream).read_bytes()
        if layout.cosigned(stream).exists():
            yield stream, f"{OWN_CHECKPOINT} that witnesses cosigned", layout.cosigned(stream).read_bytes()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What several logs prove."""

    verdicts: tuple[tuple[str, Verdict], ...]
    """Each log, with where it was found."""
    findings: tuple[Finding, ...] = ()
    """What belongs to no log that is there."""
    silent: tuple[str, ...] = ()
    """Who was to be asked and gave no answer, in words."""

    @property
    def exit_code(self) -> int:
        """Return the worst of all."""
        if any(finding.is_failure for finding in self.findings):
            return TAMPERED
        code = exit_code_of(verdict for _, verdict in self.verdicts)
        return INCOMPLETE if code == INTACT and self.silent else code


def verify_trees(roots: Sequence[Path], question: Question, told: Told | None = None) -> Report:
    """Verify every log under some directories, and delivered records in files. Raises `UnreadableLogError`."""
    for _ in range(_TRIES - 1):
        try:
            return _verify_trees(roots, question, told)
        except VanishedError:  # a custodian sealed or pruned meanwhile
            continue
    return _verify_trees(roots, question, told)


def verify_own(
    layout: Layout, question: Question, told: Told | None = None, *, pause: Callable[[float], None] = time.sleep
) -> Report:
    """Verify the log of a gateway, which may run; see `verify_trees`.

    A log that begins while it is looked at has no checkpoint yet. It is waited for, and then everything is looked at again.
    """
    report = verify_trees([layout.directory], question, told)
    known = {stream for stream, name, _ in question.published if name == OWN_CHECKPOINT}
    young = [
        layout.checkpoint(Stream(verdict.stream))
        for _, verdict in report.verdicts
        if verdict.exit_code == INCOMPLETE and verdict.stream in STREAMS and verdict.stream not in known
    ]
    for _ in range(round(_FIRST_CHECKPOINT_S / _LOOK_S)):
        if not young:
            break
        if all(checkpoint.exists() for checkpoint in young):
            heads = tuple(published(layout))
            return verify_trees([layout.directory], msgspec.structs.replace(question, published=heads), told)
        pause(_LOOK_S)
    return report


def _verify_trees(roots: Sequence[Path], question: Question, told: Told | None) -> Report:
    copy = Copy(logs=[], notes=[], lines=[])
    for root in roots:
        # a gateway that has not begun, or whose log is gone: that is a finding and no wrong argument
        if question.is_live and not root.exists():
            continue
        found = find_logs(root, is_live=question.is_live)
        if len(roots) > 1:
            for log in found.logs:
                log.place = root.name if log.place == "." else f"{root.name}/{log.place}"
            found.notes = [msgspec.structs.replace(note, name=f"{root.name}/{note.name}") for note in found.notes]
        copy.logs += found.logs
        copy.notes += found.notes
        copy.lines += found.lines
    keys = None if question.structural else question.keys
    with checker(keys, question.jobs) as checks:
        return _Session(copy, question, checks, told).run()


def verify_directory(
    directory: Path,
    stream: Stream,
    *,
    keys: AuditKeys | None = None,
    vkey: Vkey | None = None,
    checkpoints: Sequence[tuple[str, bytes]] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Verdict:
    """Verify the log of one stream. `progress` is told bytes done and bytes in all.

    `checkpoints` must have been read before: a live log only grows. Raises `UnreadableLogError`.
    """
    question = Question(
        keys=keys,
        vkeys=() if vkey is None else (vkey,),
        published=tuple((stream, name, note) for name, note in checkpoints if name == OWN_CHECKPOINT),
        trusted=tuple((name, note) for name, note in checkpoints if name != OWN_CHECKPOINT),
        streams=(stream,),
        is_live=keys is not None or bool(checkpoints),
    )
    told = None if progress is None else (lambda _, done, total: progress(done, total))
    report = verify_trees([directory], question, told)
    verdict = report.verdicts[0][1] if report.verdicts else Verifier().finish()
    return msgspec.structs.replace(verdict, findings=(*verdict.findings, *report.findings))


class _Session:
    """One verification of everything that was found."""

    def __init__(self, copy: Copy, question: Question, checks: Checker, told: Told | None) -> None:
        self._copy = copy
        self._question = question
        self._checks = checks
        self._told = told
        self._prunes: dict[str, list[Prune]] = {}
        """By public key of the log that says it."""
        self._heard: set[str] = set()
        """Public keys of the security streams that are at hand."""
        self._used: set[bytes] = set()
        """Tree heads that a log was held against. By what they are: whoever made a copy chose the names in it."""
        self._origins = frozenset(log.origin for log in copy.logs)
        self._total = sum(file.size for log in copy.logs for file in log.files)
        self._done = 0

    def run(self) -> Report:
        logs = self._logs()
        verdicts = [(log, self._verify(log)) for log in logs]
        shown = [(log.place, verdict) for log, verdict in verdicts if log.stream in {None, *self._question.streams}]
        shown += [("", verdict) for verdict in self._verify_lines()]
        return Report(verdicts=tuple(shown), findings=tuple(self._absent([verdict for _, verdict in shown])))

    def _logs(self) -> list[LogCopy]:
        """Return the logs to judge, security first: it says what was pruned from the others."""
        question = self._question
        logs = list(self._copy.logs)
        for stream, _, note in question.published:
            is_there = any(log.stream is stream and (question.is_live or log.origin == origin_of(note)) for log in logs)
            if not is_there and not self._copy.lines and all(log.files or log.stream is not stream for log in logs):
                logs.append(LogCopy(place=".", stream=stream))
        if question.is_live and not logs:
            logs.append(LogCopy(place=".", stream=question.streams[0]))
        if not self._needs_security(logs):
            logs = [log for log in logs if log.stream in {None, *question.streams}]
        return sorted(logs, key=lambda log: STREAMS.index(log.stream) if log.stream else len(STREAMS))

    def _needs_security(self, logs: Sequence[LogCopy]) -> bool:
        asked = [log for log in logs if log.stream in {None, *self._question.streams}]
        return any(log.files and log.files[0].number > 1 for log in asked)

    def _verify(self, log: LogCopy) -> Verdict:
        question = self._question
        origin = log.origin
        vkey = self._pinned(origin, log.stream)
        keys = question.keys
        verifier = Verifier(
            vkey=vkey,
            base_origin=keys.origin if keys is not None else "",
            public=keys.public if keys is not None else b"",
            opener=None if question.structural else keys,
            checkpoints=self._checkpoints(log, vkey.name if vkey is not None else origin),
        )
        for name in log.strangers:
            verifier.note(Kind.INSERTED, name, "is not a file of this log")
        for name in log.leftovers:
            verifier.note(Kind.INTERRUPTED, name, "a file that was being made; it holds no records yet")
        kept = None if log.tiles is None else read_kept(log.tiles)
        if isinstance(kept, KeptTiles):
            verifier.want(size for size, _ in kept.trees)
        self._check_files(log, verifier)
        self._check_tiles(log, verifier, kept)
        public = verifier.trust.public.hex()
        if log.stream is Stream.SECURITY and log.files:
            self._heard.add(public)
        verdict = verifier.finish(self._prunes.get(public, []) if public in self._heard else None)
        if verifier.is_partial and question.last is not None and question.last < self._vouched_to(verdict):
            verdict = msgspec.structs.replace(verdict, doubts=())
        self._prunes.setdefault(public, []).extend(verdict.prunes)
        return self._apply_policy(msgspec.structs.replace(verdict, named=log.stream or ""))

    @staticmethod
    def _vouched_to(verdict: Verdict) -> int:
        """Return how many entries somebody else vouches for."""
        return max((one.size for one in verdict.vouched), default=0)

    def _apply_policy(self, verdict: Verdict) -> Verdict:
        if self._question.policies:
            return apply_policy(verdict, self._question.policies)
        if self._question.own_policies and verdict.files:
            verdict = apply_policy(verdict, self._question.own_policies)
            return msgspec.structs.replace(verdict, lacks="")
        return verdict

    def _verify_lines(self) -> list[Verdict]:
        """Judge delivered records, of as many logs as the files hold."""
        logs: dict[str, DeliveredLog] = {}
        unread = DeliveredLog("")
        for path in self._copy.lines:
            for place, line in _lines_of(path):
                try:
                    origin, index, entry = read_line(line)
                except UnreadableLineError as exc:
                    unread.refuse(str(exc), place)
                    continue
                logs.setdefault(origin, DeliveredLog(origin)).take(index, entry, place)
        if not logs and unread.findings and all(_is_foreign(path) for path in self._copy.lines):
            raise UnreadableLogError(
                f"{self._copy.lines[0]}: records in ECS or CEF have lost what their hashes were made of and cannot be "
                "verified; use what an OCSF sink kept, or a copy of the log"
            )
        verdicts = [self._verify_delivered(log) for _, log in sorted(logs.items())]
        return [*verdicts, unread.finish(None, ())] if unread.findings else verdicts

    def _verify_delivered(self, log: DeliveredLog) -> Verdict:
        stream = next((stream for stream in STREAMS if log.origin.endswith(f"/{stream}")), None)
        vkey = self._pinned(log.origin, None)
        keys = self._question.keys
        if vkey is None and keys is not None and log.origin.startswith(keys.origin + "/"):
            vkey = keys.vkey(log.origin)
        notes = self._checkpoints(LogCopy(place="", stream=stream), log.origin)
        verdict = log.finish(vkey, [(name, note) for name, note in notes if origin_of(note) == log.origin])
        return self._apply_policy(verdict)

    def _pinned(self, origin: str, stream: Stream | None) -> Vkey | None:
        """Return the key that was given for a log, by its name; one of another name if its stream is the same."""
        given = [*self._question.vkeys, *self._question.fleet]
        given += [log.vkey for policy in self._question.policies for log in policy.logs]
        exact = [vkey for vkey in given if vkey.name == origin]
        like = [vkey for vkey in self._question.vkeys if stream is not None and vkey.name.endswith(f"/{stream}")]
        return next(iter([*exact, *like]), None)

    def _checkpoints(self, log: LogCopy, origin: str) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        question = self._question
        found += [
            (name, note)
            for stream, name, note in question.published
            if stream is log.stream and (question.is_live or not log.files or origin_of(note) == origin)
        ]
        for note in self._copy.notes:
            # a damaged one is of no log that is known; it counts for the log that stands beside it
            is_beside = note.origin not in self._origins and note.is_published and note.belongs_beside(log)
            if note.origin == origin or is_beside:
                # attack: a file of the copy with the name of the one that the auditor brought
                found.append((f"{OWN_CHECKPOINT if note.is_published else 'copied'} {note.name}", note.data))
                self._used.add(note.data)
        for name, data in question.trusted:
            about = origin_of(data)
            is_gone = not log.files and about.endswith(f"/{log.stream}")
            if about == origin or is_gone or (not about and log.stream is question.streams[0]):
                found.append((f"kept {name}" if name.startswith(OWN_CHECKPOINT) else name, data))
                self._used.add(data)
        return found

    def _check_files(self, log: LogCopy, verifier: Verifier) -> None:
        files = self._in_order(log.files, verifier)
        for file in files:
            verifier.learn(file.head)
        tasks = self._asked(tasks_of(files, verifier.trust), verifier)
        for file, task in tasks:
            if file.head is not None:
                self._checks.submit(task)
        number = 0
        for file, task in tasks:
            if file.head is None:
                path, trust, _, next_head, is_newest = task
                keys = None if self._question.structural else self._question.keys
                passage = check((path, trust, verifier.position, next_head, is_newest), keys)
            else:
                passage = self._checks.result(task)
            if file.number == number:
                verifier.absorb_twin(passage)
            else:
                verifier.absorb(passage)
            number = file.number
            self._done += file.size
            if self._told is not None:
                self._told(log.stream or log.place, self._done, self._total)

    @staticmethod
    def _check_tiles(log: LogCopy, verifier: Verifier, kept: KeptTiles | Finding | None) -> None:
        if log.tiles is None or verifier.is_partial:
            return
        judged = judge_tiles(log.tiles, verifier.origin, verifier.heads, kept, known=verifier.known)
        if judged is not None:
            verifier.findings += judged.findings
            verifier.take_hashes(judged.hashes, judged.size, judged.root, is_sound=not judged.findings)

    def _asked(self, tasks: list[tuple[CopyFile, Task]], verifier: Verifier) -> list[tuple[CopyFile, Task]]:
        """Leave out the files that were not asked about, as far as their heads say which those are.

        What follows is read up to the next tree head that was kept elsewhere: it vouches for the rest.
        """
        first, last = self._question.first, self._question.last
        if first == 0 and last is None:
            return tasks
        begins = [(file.number, file.head.first_index) for file, _ in tasks if file.head is not None]
        low = max((number for number, index in begins if index <= first), default=0)
        reach = min((size for size in verifier.wanted_sizes if last is not None and size > last), default=None)
        high = min(
            (
                number
                for number, index in begins
                if last is not None and index > last and (reach is None or index >= reach)
            ),
            default=None,
        )
        chosen = [pair for pair in tasks if pair[0].number >= low and (high is None or pair[0].number < high)]
        head = next((file.head for file, _ in chosen if file.head is not None), None)
        if head is not None and (low > tasks[0][0].number or len(chosen) < len(tasks)):
            if head.file_no > 1:
                verifier.resume(head)
            verifier.is_partial = True
        return chosen

    @staticmethod
    def _in_order(files: Sequence[CopyFile], verifier: Verifier) -> list[CopyFile]:
        """Say which files have a name that is not theirs, or are there twice (attack: mv, cp)."""
        there: dict[tuple[int, bool], CopyFile] = {}
        for file in files:
            if file.named and file.named != file.number:
                verifier.note(
                    Kind.REORDERED, file.path.name, f"the file is number {file.number} of the log by its head"
                )
            other = there.get((file.number, file.is_sealed))
            if other is not None:
                verifier.note(Kind.DUPLICATE, file.path.name, f"is file {file.number} again, beside {other.path.name}")
                continue
            there[file.number, file.is_sealed] = file
        return [there[key] for key in sorted(there, key=lambda key: (key[0], not key[1]))]

    def _absent(self, verdicts: Sequence[Verdict]) -> list[Finding]:
        """Name the logs that should be there and are not."""
        there = {verdict.origin for verdict in verdicts if verdict.files}
        findings = [
            Finding(kind=Kind.MISSING_ORIGIN, message=f"the fleet has the log {vkey.name}; it is not here")
            for vkey in self._question.fleet
            if vkey.name not in there and self._is_asked(vkey.name)
        ]
        kept = [Note(name, origin_of(data), data, is_published=True) for name, data in self._question.trusted]
        findings += [
            Finding(
                kind=Kind.MISSING_ORIGIN,
                file=note.name,
                message=f"a tree head of the log {note.origin or '?'}, which is not here",
            )
            for note in (*kept, *self._copy.notes)
            if note.data not in self._used
            and note.is_published
            and note.origin not in there
            and self._is_asked(note.origin)
        ]
        return findings

    def _is_asked(self, origin: str) -> bool:
        """Tell whether a log is of a stream that was asked about; one that names no stream is."""
        stream = origin.rpartition("/")[2]
        return stream not in set(Stream) or stream in self._question.streams


def _lines_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each line with its place. Raises `UnreadableLogError`."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"{path.name}:{number}", line
    except OSError as exc:
        raise UnreadableLogError(f"{path}: cannot be read: {os.strerror(exc.errno or 0).lower()}") from exc


def _is_foreign(path: Path) -> bool:
    """Tell whether the first line of a file is a record in ECS or CEF, which sinks can deliver too. Raises `UnreadableLogError`."""
    _, line = next(_lines_of(path), ("", b""))
    return line.startswith(b"CEF:") or (line.startswith(b"{") and b'"ecs":{' in line)


def origin_of(note: bytes) -> str:
    """Return the log that a tree head is of; empty when it is no tree head."""
    try:
        return parse_checkpoint(split_note(note)[0]).origin
    except CheckpointError:
        return ""
