"""What a worker has for uploads: the sealed spool, threads that judge, the antivirus and the quarantine.

Judging takes as long as the files are large; a few threads do it, so that no upload stops the loop and many wait in line.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import BoundedSemaphore, Thread
from typing import Final

from gateway.edge.upload_holding import Outcome, Sender
from gateway.exchange.errors import GatewayError
from gateway.exchange.reason import Reason
from gateway.inspection.upload.objection import SUSPECT, Complaint
from gateway.inspection.upload.policy import Antivirus, UploadPolicy
from gateway.inspection.upload.reception import Reception
from gateway.inspection.upload.scanning import Scan, ScanIncompleteError
from gateway.inspection.upload.verdict import JudgedFile, Verdict
from gateway.quarantine.clamd import Clamd, parse_address
from gateway.quarantine.errors import QuarantineError, SpoolError
from gateway.quarantine.quarantine import Item, Quarantine, new_id
from gateway.quarantine.spool import SealedRoom, Spool
from gateway.server.upload_places import quarantine_directory, spool_directory

THREADS: Final = 8
MAX_WAITING: Final = 256
"""Uploads of one worker that may wait at once; each holds up to 256 KiB of memory."""
LOOKED_INTO: Final = 2
"""Files that are looked into at once: an archive of a few megabytes may take some 256 MiB meanwhile."""


class CrowdedError(GatewayError):
    """Too many uploads wait for their verdict."""

    reason = Reason.UPLOADS_UNAVAILABLE


class UploadKeeper:
    """The uploads of one worker."""

    def __init__(
        self,
        state_dir: Path,
        key: bytes,
        *,
        report: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Sweep the spool. `key` is the quarantine's."""
        self._directory, self._key = quarantine_directory(state_dir), key
        self._report, self._clock = report, clock
        self.spool = Spool(spool_directory(state_dir))
        try:
            self.spool.sweep()
        except SpoolError as error:  # portals without uploads go on
            report("spool.failed", str(error))
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._threads = 0
        self._turns = BoundedSemaphore(LOOKED_INTO)

    def room(self) -> SealedRoom:
        """Make a room for one upload. Raises `GatewayError`."""
        if self.spool.rooms >= MAX_WAITING:
            raise CrowdedError("too many uploads wait for their verdict")
        return self.spool.room()

    def judge(
        self, reception: Reception, policy: UploadPolicy, sender: Sender, done: Callable[[Outcome], None]
    ) -> None:
        """Judge an upload in a thread, and keep what is suspect; `done` is called on the running loop, later."""
        loop = asyncio.get_running_loop()
        scan = self._scan(policy.antivirus) if policy.antivirus is not None else None

        def work() -> None:
            try:
                verdict = reception.judge(scan, self._turns)
                outcome = self._keep(reception, verdict, policy, sender)
            except Exception as error:  # noqa: BLE001 - whatever goes wrong while judging refuses
                self._report("upload.unjudged", f"{type(error).__name__}: {sender.request_id}")
                outcome = Outcome(None)
            with suppress(RuntimeError):  # the loop has ended, and with it whoever waits
                loop.call_soon_threadsafe(done, outcome)

        self._work.put(work)
        if self._threads < THREADS:
            self._threads += 1
            Thread(target=self._serve, name=f"uploads-{self._threads}", daemon=True).start()

    def _serve(self) -> None:
        """Work for ever, in a thread that keeps no process from ending."""
        while True:
            self._work.get()()

    def _scan(self, antivirus: Antivirus) -> Scan:
        """Have each file scanned within the time that all files of the upload have together; to wait for a turn takes none of it."""
        address, left_s = parse_address(antivirus.clamd), antivirus.timeout_s

        def scan(pieces: Iterator[bytes], /) -> str:
            nonlocal left_s
            if left_s <= 0:  # attack: files that take long, and behind them the one that would be found
                raise ScanIncompleteError("the other files of the upload took the time of the antivirus")
            started = self._clock()
            try:
                return Clamd(address, left_s, self._clock)(pieces)
            finally:
                left_s -= self._clock() - started

        return scan

    def _keep(self, reception: Reception, verdict: Verdict, policy: UploadPolicy, sender: Sender) -> Outcome:
        """Keep what is suspect; a refusal does not wait for it to succeed."""
        rules = policy.quarantine
        files = {file.part: file for file in verdict.files}
        kept: dict[int, str] = {}
        results: list[str] = []
        quarantine = Quarantine(self._directory, self._key, max_bytes=rules.max_bytes)
        for complaint in verdict.complaints if rules.max_bytes else ():
            file = files.get(complaint.part)
            if file is None or complaint.objection not in SUSPECT:
                continue
            item = _item(file, complaint, sender, sender.at + rules.keep_s)
            try:
                is_kept = quarantine.add(item, reception.piece_of(file))
            except QuarantineError as error:
                self._report("quarantine.failed", str(error))
                results.append("failed")
                continue
            results.append("kept" if is_kept else "too_large")
            if is_kept:
                kept[file.part] = item.id
        return Outcome(verdict, kept, tuple(results))

    def prune(self, now: float) -> None:
        """Remove what was kept for long enough."""
        try:
            Quarantine(self._directory, self._key).prune(now)
        except QuarantineError as error:
            self._report("quarantine.failed", str(error))


def _item(file: JudgedFile, complaint: Complaint, sender: Sender, until: float) -> Item:
    return Item(
        id=new_id(sender.at),
        at=sender.at,
        until=until,
        request_id=sender.request_id,
        route=sender.route,
        tenant=sender.tenant,
        user=sender.user,
        client=sender.client,
        objection=complaint.objection.value,
        signature=complaint.signature,
        name=file.name,
        field=file.field,
        declared=file.declared,
        kind=file.kind,
        size=file.size,
        digest=file.digest,
    )
