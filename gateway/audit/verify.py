"""Puts the files of a log together and says what they prove: continuity, checkpoints, what was pruned.

Fed file by file, oldest first; gives findings and a verdict. With the key-encryption key every
record is hashed again and every root compared; without it everything that is not encrypted is
checked. It reads nothing itself, and it never repairs.

What it cannot know: whether the end of the log was cut off cleanly, unless a checkpoint that was
kept elsewhere says how long the log once was.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence

from gateway.audit.checkpoint import Checkpoint, CheckpointError, Vkey, verify_checkpoint
from gateway.audit.file_check import KeyOpener, check_file, read_head
from gateway.audit.filehead import FileHead
from gateway.audit.finding import DECLARED, Finding, Kind
from gateway.audit.merkle import ProofError, Tree, verify_consistency
from gateway.audit.passage import Passage, Position, Trust
from gateway.audit.proof import HashStore, prove_consistency
from gateway.audit.removal import judge_removals
from gateway.audit.tally import CLOCK_SLACK_NS, Hold, Prune
from gateway.audit.verdict import Verdict, Vouched
from gateway.audit.walk import is_interrupted
from gateway.exchange.stream import STREAM_NUMBERS, Stream

__all__ = [
    "DECLARED",
    "Finding",
    "KeyOpener",
    "Kind",
    "Verdict",
    "Verifier",
]


class Verifier:
    """Follows a log from file to file."""

    def __init__(
        self,
        *,
        vkey: Vkey | None = None,
        base_origin: str = "",
        public: bytes = b"",
        opener: KeyOpener | None = None,
        checkpoints: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Prepare.

        `vkey` pins the key and the origin; `public` and `base_origin` pin the key and the beginning of
        the origin; with neither, the key that the first head names is taken (and only consistency is
        shown). `checkpoints` are signed notes that were kept elsewhere, each with a name for messages;
        those called `checkpoint…` are the log's own.
        """
        self.findings: list[Finding] = []
        self.origin = vkey.name if vkey else ""
        self.position = Position()
        """Where the last file ended."""
        self.tail = 0
        """Offset after the last valid frame of the newest file."""
        self.leftover = b""
        """What follows it, up to the last byte that is not zero."""
        self._public = vkey.public if vkey else public
        self._base_origin = base_origin
        self._opener = opener
        self._notes = list(checkpoints)
        self._wanted: dict[int, list[tuple[str, Checkpoint, bytes]]] = {}
        self._is_learned = False
        self._vouched: list[Vouched] = []
        self._unread = opener is None
        self._first: int | None = None
        self._proven = 0
        self._file_no = 0
        self._is_begun = False
        self._absent: FileHead | None = None
        self._tail_of_sealed = 0
        self._last_signed: tuple[int, bytes] | None = None
        self._boot = ""
        self._files = self._segments = 0
        self._first_ns = self._last_ns = 0
        self._failed = False
        self._closed: list[tuple[int, int]] = []
        """Ranges of sealed files that were not decrypted: no tree head inside them can be computed."""
        self._prunes: list[Prune] = []
        self._holds: list[Hold] = []
        self.heads: dict[int, bytes] = {}
        """Size and root of the last tree head of each file, and of those that were wanted."""
        self._sizes: frozenset[int] = frozenset()
        self.is_partial = False
        """Only some of the files are looked at."""

    # what the opener of a log goes on from

    @property
    def tree(self) -> Tree | None:
        """The tree so far; None where it could not be followed."""
        frontier = self.position.frontier
        return None if frontier is None else Tree(self.position.next_index, frontier)

    @property
    def next_index(self) -> int:
        """Index of the next entry."""
        return self.position.next_index

    @property
    def next_frame(self) -> int:
        """Number of the next frame."""
        return self.position.next_frame

    @property
    def last_sha256(self) -> bytes:
        """SHA-256 of the last frame."""
        return self.position.last_sha256

    @property
    def sequences(self) -> dict[int, int]:
        """Slot -> last sequence in the log."""
        return self.position.sequences

    @property
    def intents(self) -> dict[str, int]:
        """Correlation uid of each intent without an outcome -> slot of its producer."""
        return self.position.intents

    def is_interrupted(self, rest: bytes, head: FileHead) -> bool:
        """Tell whether bytes after the last frame are the beginning of the next, as a crash leaves them."""
        return is_interrupted(rest, head, self.position)

    # files

    def resume(self, head: FileHead) -> None:
        """Begin in the middle, at the file that starts with this head, and believe what it says about the past."""
        self.learn(head)
        self.position = Position.at_head(head)
        self._file_no = head.file_no - 1
        self._is_begun = True

    def learn(self, head: FileHead | None) -> None:
        """Take origin and key from the first head that can be read, where they are not pinned."""
        if head is None or self._is_learned:
            return
        self._public = self._public or head.public
        if not self.origin:
            self.origin = head.origin
            if self._base_origin and not head.origin.startswith(self._base_origin + "/"):
                self._find(Kind.INSERTED, "", f"the log is {head.origin}, which is not one of {self._base_origin}")
        self._parse_notes()

    @property
    def wanted_sizes(self) -> frozenset[int]:
        """Sizes for which a checkpoint was given that no file has reached yet."""
        return frozenset(self._wanted)

    @property
    def trust(self) -> Trust:
        """What each file has to agree with."""
        stream = self.origin.rpartition("/")[2]
        return Trust(
            origin=self.origin,
            public=self._public,
            stream=STREAM_NUMBERS[Stream(stream)] if stream in set(Stream) else 0,
            sizes=self._sizes.union(self._wanted),
        )

    def want(self, sizes: Iterable[int]) -> None:
        """Have the roots of these sizes in `heads`, too, where the log signed them. To be said before the first file."""
        self._sizes = self._sizes.union(sizes)

    @property
    def known(self) -> range:
        """The sizes of which each that the log signed and that was wanted is in `heads`."""
        if self._failed or self._unread or self.is_partial or self._first is None:
            return range(0)
        return range(self._first + 1, self.position.next_index + 1)

    def file(self, name: str, data: bytes, next_head: FileHead | None = None) -> None:
        """Check one file. `next_head` is the head of the file after it; None for the newest."""
        self.learn(read_head(data))
        self.absorb(check_file(name, data, self.trust, opener=self._opener, before=self.position, next_head=next_head))

    def absorb(self, passage: Passage) -> None:
        """Put a file that was checked after those before it."""
        if passage.head is not None:
            self._check_continues(passage, passage.head)
        self._files += 1
        self._segments += passage.is_sealed
        self._check_clock(passage)
        if self._first is None:
            self._first = passage.begin.next_index
        if passage.proven and not self._failed:
            self._proven = passage.proven
        self.findings += passage.findings
        self._failed = self._failed or any(finding.is_failure for finding in passage.findings)
        for size, root in passage.signed:
            self._compare(size, root)
        if passage.signed:
            self._last_signed = passage.signed[-1]
            self.heads.update(passage.signed)
        self._unread = self._unread or passage.is_unread
        if passage.is_sealed and passage.is_unread:
            self._closed.append((passage.begin.next_index, passage.end.next_index))
        self._prunes += passage.prunes
        self._holds += passage.holds
        self.position = passage.end
        self.tail = passage.tail
        self.leftover = passage.leftover
        self._tail_of_sealed = passage.tail if passage.is_sealed and passage.head is not None else 0
        self._file_no = passage.head.file_no if passage.head is not None else self._file_no + 1
        self._is_begun = True

    def absorb_twin(self, passage: Passage) -> None:
        """Hold a log file against the segment that it became, which was absorbed: both are there until one is deleted."""
        self.findings += passage.findings
        self._failed = self._failed or any(finding.is_failure for finding in passage.findings)
        sealed, logged = self.position, passage.end
        if (sealed.next_index, sealed.next_frame, sealed.last_sha256) != (
            logged.next_index,
            logged.next_frame,
            logged.last_sha256,
        ) or (None not in (sealed.frontier, logged.frontier) and sealed.frontier != logged.frontier):
            self._find(Kind.FORK, passage.name, "the log file and the segment of this number hold different entries")

    def _check_continues(self, passage: Passage, head: FileHead) -> None:
        name, before = passage.name, self.position
        if head.file_no != self._file_no + 1:
            if not self._is_begun:
                self._absent = head  # whether that was allowed, the log may say later
                return
            lost = (
                f"file {self._file_no + 1}"
                if head.file_no == self._file_no + 2
                else f"files {self._file_no + 1} to {head.file_no - 1}"
            )
            self._missing(name, before.next_index, head.first_index, f"{lost} of the log before this one")
            return
        if not before.follows:
            return
        if (
            head.first_index != before.next_index
            or head.first_frame != before.next_frame
            or head.prev_sha256 != before.last_sha256
            or (before.frontier is not None and head.frontier != before.frontier)
            or (self._tail_of_sealed and head.prev_tail != self._tail_of_sealed)
            or not self._carries_signed_root(head)
        ):
            if head.first_index > before.next_index:
                self._missing(name, before.next_index, head.first_index, "the file before it lacks its last frames")
            else:
                self._find(Kind.INSERTED, name, "the file does not continue the one before it", offset=0)

    def _carries_signed_root(self, head: FileHead) -> bool:
        """Tell whether the tree in a head has the root that was signed before it: a check that needs no keys."""
        if self._last_signed is None or self._last_signed[0] != head.first_index:
            return True
        if head.first_index.bit_count() != len(head.frontier):
            return False
        return Tree(head.first_index, head.frontier).root() == self._last_signed[1]

    def _check_clock(self, passage: Passage) -> None:
        if not passage.first_ns:
            return
        if passage.first_ns < self._last_ns - CLOCK_SLACK_NS:
            back = (self._last_ns - passage.first_ns) / 1e9
            self._find(
                Kind.CLOCK_JUMP, passage.name, f"the clock went back by {back:.1f} s", first=passage.begin.next_index
            )
        self._first_ns = self._first_ns or passage.first_ns
        self._last_ns = passage.last_ns

    # checkpoints

    def _parse_notes(self) -> None:
        self._is_learned = True
        for name, note in self._notes:
            try:
                checkpoint = verify_checkpoint(note, Vkey(self.origin, self._public))
            except CheckpointError as exc:
                self.findings.append(Finding(kind=Kind.BAD_SIGNATURE, file=name, message=str(exc)))
                continue
            self._wanted.setdefault(checkpoint.size, []).append((name, checkpoint, note))

    def _compare(self, size: int, root: bytes) -> None:
        for name, checkpoint, note in self._wanted.pop(size, ()):
            if checkpoint.root != root:
                self._find(Kind.FORK, "", f"{name} has another root for {size} entries", first=0, last=size - 1)
            else:
                self._vouched.append(Vouched(size, name, note=note))

    def take_hashes(self, hashes: HashStore, size: int, root: bytes, *, is_sound: bool) -> None:
        """Hold tree heads for sizes inside sealed files against hashes that were kept beside the log.

        A proof made from them stands by itself, whoever keeps them. That there is none says something only where the
        hashes were found to be those under the signed `root` of `size` entries: `is_sound`.
        """
        for wanted in [each for each in self._wanted if 0 < each < size]:
            unmet: list[tuple[str, Checkpoint, bytes]] = []
            for name, checkpoint, note in self._wanted[wanted]:
                try:
                    proof = prove_consistency(hashes, wanted, size)
                except ProofError:
                    unmet.append((name, checkpoint, note))
                    continue
                try:
                    verify_consistency(wanted, size, checkpoint.root, root, proof)
                    self._vouched.append(Vouched(wanted, name, note=note))
                except ProofError:
                    if is_sound:
                        message = f"{name} has another root for {wanted} entries"
                        self._find(Kind.FORK, "", message, first=0, last=wanted - 1)
                    else:
                        unmet.append((name, checkpoint, note))
            self._wanted[wanted] = unmet

    def finish(self, prunes: Sequence[Prune] | None = ()) -> Verdict:
        """Compare the end with the checkpoints and say what is proven.

        `prunes` are what the security stream says was removed, None where that is not at hand; a stream's own count anyway.
        """
        if not self._files:
            self._without_files()
        else:
            self._check_beginning(prunes)
            self._check_unmet()
        for uid, slot in self.position.intents.items():
            self.findings.append(
                Finding(kind=Kind.OPEN_INTENT, message=f"request {uid} of producer {slot} has no outcome yet")
            )
        self._name_holds()
        self.findings += judge_removals(self._holds, self._prunes, is_unread=self._unread)
        tree = self.tree if self._files else None
        first = self._first or 0
        return Verdict(
            findings=tuple(self.findings),
            origin=self.origin,
            vkey=str(Vkey(self.origin, self._public)) if self.origin and self._public else "",
            first=first,
            size=self.position.next_index,
            root=tree.root() if tree is not None and not self._unread else b"",
            proven=self._proven,
            files=self._files,
            segments=self._segments,
            first_ns=self._first_ns,
            last_ns=self._last_ns,
            has_contents=self._files > 0 and not self._unread,
            vouched=tuple(sorted(self._vouched)),
            doubts=("only a part of the log was looked at",) if self.is_partial else (),
            prunes=tuple(self._prunes),
            holds=tuple(self._holds),
        )

    def _name_holds(self) -> None:
        """Say which legal holds are in force."""
        active: dict[str, int] = {}
        for hold in self._holds:
            if hold.is_released:
                active.pop(hold.name, None)
            else:
                active[hold.name] = hold.index
        for name, index in active.items():
            self._find(Kind.HELD, "", f"the legal hold {name} is in force", first=index)

    def _check_beginning(self, prunes: Sequence[Prune] | None) -> None:
        """Say whether a missing beginning was pruned; only the log itself can say that it was."""
        head = self._absent
        if head is None:
            return
        last = head.first_index - 1
        if last < 0:
            self._find(Kind.MISSING, "", f"files 1 to {head.file_no - 1} of the log, which held no entries")
            return
        # attack: what an older log of the same node says was pruned, for files of this one that were removed
        said = [
            prune
            for prune in [*self._prunes, *(prunes or ())]
            if prune.stream == self.origin.rpartition("/")[2] and prune.origin in {"", self.origin}
        ]
        covered = 0
        for prune in sorted(said, key=lambda prune: prune.first):
            if prune.first <= covered:
                covered = max(covered, prune.last + 1)
        ends = [prune for prune in said if prune.last == last]
        root = b64encode(Tree(head.first_index, head.frontier).root()).decode() if _fits(head) else ""
        if covered > last and all(prune.root == root for prune in ends):
            words = ", ".join(sorted({prune.policy for prune in said if prune.policy}))
            self._find(
                Kind.PRUNED_OK,
                "",
                "the log says that these entries were removed" + (f" ({words})" if words else ""),
                first=0,
                last=last,
            )
        elif covered > last:
            self._find(
                Kind.FORK, "", "the record of what was pruned names another root than this log has", first=0, last=last
            )
        elif self._unread:
            message = "these entries are not there; whether they were pruned, and under no legal hold, can be read with the keys only"
            self._find(Kind.UNDECRYPTABLE, "", message, first=0, last=last)
        else:
            message = "the beginning of the log is not there, and no record says that it was pruned"
            if prunes is None:
                message += ": neither that nor whether a legal hold kept it can be told without the security stream"
            self._missing("", 0, last + 1, message)

    def _check_unmet(self) -> None:
        first = self._first or 0
        for size, notes in sorted(self._wanted.items()):
            for name, checkpoint, note in notes:
                if size == 0:
                    # attack: the tree head of the first moment, as the one that says how long the log is
                    if not self.position.next_index or name.startswith("checkpoint"):
                        self._vouched.append(Vouched(0, name, note=note))
                elif size > self.position.next_index:
                    if not self.is_partial:
                        self._beyond(name, size)
                elif self._absent is not None and size == self._absent.first_index and _fits(self._absent):
                    self._compare(size, Tree(size, self._absent.frontier).root())
                elif any(begin < size < end for begin, end in self._closed):
                    message = f"whether {name} fits, inside a sealed file, can be seen with the keys only"
                    self._find(Kind.UNDECRYPTABLE, "", message, first=size - 1)
                elif size > first:
                    self.findings.append(
                        Finding(
                            kind=Kind.FORK,
                            message=f"{checkpoint.size} entries are what {name} is signed for, where no tree head of the log stands",
                        )
                    )

    def _beyond(self, name: str, size: int) -> None:
        self.findings.append(
            Finding(
                kind=Kind.TRUNCATED if name.startswith("checkpoint") else Kind.ROLLBACK,
                message=f"{name} is signed for {size} entries, the log has {self.position.next_index}",
                first_index=self.position.next_index,
                last_index=size - 1,
            )
        )

    def _without_files(self) -> None:
        for name, note in self._notes:
            try:
                size = int(note.split(b"\n")[1])
            except (IndexError, ValueError):
                self.findings.append(Finding(kind=Kind.BAD_SIGNATURE, file=name, message="not a checkpoint"))
                continue
            if size:
                self.findings.append(
                    Finding(
                        kind=Kind.TRUNCATED,
                        message=f"{name} is signed for {size} entries, there is no log file",
                        first_index=0,
                        last_index=size - 1,
                    )
                )

    # words

    def note(self, kind: Kind, file: str, message: str) -> None:
        """Add a finding of the caller's: a file that should not be there, a name that does not fit."""
        self._find(kind, file, message)

    def _find(self, kind: Kind, file: str, message: str, *, offset: int = -1, first: int = -1, last: int = -1) -> None:
        self._failed = self._failed or kind not in DECLARED
        self.findings.append(
            Finding(kind=kind, message=message, file=file, offset=offset, first_index=first, last_index=last)
        )

    def _missing(self, file: str, first: int, stop: int, message: str) -> None:
        absent = range(first, stop)
        self._find(
            Kind.MISSING,
            file,
            message,
            offset=0 if file else -1,
            first=absent[0] if absent else -1,
            last=absent[-1] if absent else -1,
        )


def _fits(head: FileHead) -> bool:
    return head.first_index.bit_count() == len(head.frontier)
