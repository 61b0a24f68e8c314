"""A body with files: held sealed while it comes, judged whole by others, sent on byte for byte or not at all.

Where it waits, who judges it and what is kept of what was refused are the keeper's, behind a seam. What stands in the record
are words of closed lists, sizes and digests; names that a client chose are sealed in the quarantine alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Final, NamedTuple, Protocol

from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.snapshot import RouteInspection
from gateway.edge.waf import ask_second, note
from gateway.exchange.errors import GatewayError
from gateway.exchange.reason import Reason
from gateway.inspection.upload.objection import Complaint, Objection
from gateway.inspection.upload.policy import MAX_PARTS, UploadPolicy
from gateway.inspection.upload.reception import Reception, Room, is_upload
from gateway.inspection.upload.verdict import Verdict

RETRY_S: Final = 5.0
INFECTED_EVENT: Final = "upload.infected"
UNSCANNED_EVENT: Final = "upload.unscanned"
_MOST_TOLD: Final = 16
_CONTENT_TYPE: Final = b"content-type: "
_REASONS: Final = {
    Objection.INFECTED: Reason.UPLOAD_INFECTED,
    Objection.UNSCANNED: Reason.UPLOADS_UNAVAILABLE,
    Objection.FILE_TOO_LARGE: Reason.BODY_TOO_LARGE,
    Objection.FORM_TOO_LARGE: Reason.BODY_TOO_LARGE,
}
_SEVEREST: Final = (Objection.INFECTED,)
_UNAVAILABLE: Final = Refusal("inspection", Reason.UPLOADS_UNAVAILABLE, retry_after_s=RETRY_S)

Judge = Callable[[Exchange, bytes], Refusal | bytes | None]
Done = Callable[[Refusal | None], None]


_FORM: Final = b"multipart/form-data"
_ANY_FILE: Final = UploadPolicy(max_size=1 << 40, max_files=MAX_PARTS, active_content="allow")
"""Of routes that say nothing of uploads: `http.max_body` and `max_body` bound them."""


class UploadsUnavailableError(GatewayError):
    """Uploads cannot be taken now."""

    reason = Reason.UPLOADS_UNAVAILABLE


class Beside(NamedTuple):
    """Where what takes long is read, and how much is read on the loop."""

    executor: Executor
    on_loop_bytes: int


class Sender(NamedTuple):
    """Who uploads, for whoever looks at the quarantine."""

    at: float
    request_id: str
    route: str
    tenant: str
    user: str
    client: str


class Outcome(NamedTuple):
    """What became of an upload."""

    verdict: Verdict | None
    """None = it could not be judged."""
    kept: Mapping[int, str] = {}
    """Ids in the quarantine, by the number of the part."""
    results: tuple[str, ...] = ()
    """What became of each file that was to be kept: kept, too_large, failed."""


class UploadKeeper(Protocol):
    """Where uploads wait, and who judges them."""

    def room(self) -> Room:
        """Make a room for one upload. Raises `GatewayError` where there are too many, or no disk."""

    def judge(
        self, reception: Reception, policy: UploadPolicy, sender: Sender, done: Callable[[Outcome], None]
    ) -> None:
        """Judge an upload elsewhere, and keep what is suspect; `done` is called on the loop, later and once."""


class UploadHolding:
    """Holds one upload."""

    def __init__(
        self,
        x: Exchange,
        rules: RouteInspection,
        policy: UploadPolicy,
        judges: Sequence[Judge],
        beside: Beside,
        *,
        reads_files: bool,
    ) -> None:
        """Begin. `reads_files`: a body that is a file is read by `judges`, too, where it is small."""
        self._x, self._rules, self._policy, self._judges = x, rules, policy, judges
        self._reads_files, self._beside = reads_files, beside
        self._is_judged_now = self._is_closed = False
        self._keeper = x.client.upload_keeper
        self._reception: Reception | None = None

    def _begin(self) -> Reception:
        """Take a room. Raises `GatewayError`."""
        if self._keeper is None:
            raise UploadsUnavailableError("nothing here keeps uploads")
        self._reception = Reception(content_type(self._x), self._policy, self._keeper.room())
        return self._reception

    def feed(self, data: bytes) -> Refusal | None:
        """Take more of the body."""
        try:
            reception = self._reception or self._begin()
            complaint = reception.feed(data)
        except GatewayError as error:
            return self._unavailable(error)
        return None if complaint is None else self._refused(Verdict((), (complaint,)))

    def finish(self, done: Done) -> None:
        """Judge names and fields as any body is, and the files elsewhere."""
        reception = self._reception
        assert reception is not None  # noqa: S101 - it was fed
        complaint = reception.finish()
        if complaint is not None:
            done(self._refused(Verdict((), (complaint,))))
            return
        try:
            body = self._outline(reception) if self._judges else b""
        except GatewayError as error:
            done(self._unavailable(error))
            return
        if len(body) > self._rules.max_body:
            done(Refusal("inspection", Reason.BODY_TOO_LARGE, Objection.FORM_TOO_LARGE.value))
        elif len(body) <= self._beside.on_loop_bytes:
            self._go_on(reception, self._read(body), done)
        else:
            self._is_judged_now = True
            reading = asyncio.get_running_loop().run_in_executor(self._beside.executor, self._read, body)
            reading.add_done_callback(lambda read: self._go_on_late(reception, read, done))

    def _read(self, body: bytes) -> Refusal | None:
        """Have everything but the files read as any other body is."""
        for judge in self._judges:
            judged = judge(self._x, body)
            if isinstance(judged, Refusal):
                return judged
            if judged is not None and judged != body:
                return Refusal("inspection", Reason.DATA_REFUSED)  # what is judged is sealed: nothing is masked in it
        return None

    def _go_on_late(self, reception: Reception, reading: asyncio.Future[Refusal | None], done: Done) -> None:
        self._is_judged_now = False
        try:
            refusal = reading.result()
        except Exception:  # noqa: BLE001 - whatever goes wrong while inspecting refuses
            self._x.client.inspection_failed(self._x)
            refusal = Refusal("inspection", Reason.INTERNAL_ERROR)
        if self._is_closed:
            reception.close()
        else:
            self._go_on(reception, refusal, done)

    def _go_on(self, reception: Reception, refusal: Refusal | None, done: Done) -> None:
        """Have the files judged, where nothing else objects."""
        if refusal is not None:
            done(refusal)
            return
        if self._rules.uploads is None:  # nobody asked for more than its fields
            self._pass(reception, done)
            return
        x, keeper = self._x, self._keeper
        assert keeper is not None  # noqa: S101 - of whom its room is
        session = x.entry.session if x.entry is not None else None
        sender = Sender(
            at=x.started,
            request_id=x.request_id.decode("ascii"),
            route=x.route.name,
            tenant=session.tenant if session is not None else x.tenant,
            user=session.user if session is not None else "",
            client=x.client_ip,
        )
        self._is_judged_now = True
        keeper.judge(reception, self._policy, sender, lambda outcome: self._judged(reception, outcome, done))

    def _outline(self, reception: Reception) -> bytes:
        if reception.is_form:
            return b"".join(reception.outline())
        return b"".join(reception.pieces()) if self._reads_files and reception.size <= self._rules.max_body else b""

    def _judged(self, reception: Reception, outcome: Outcome, done: Done) -> None:
        self._is_judged_now = False
        for result in outcome.results:
            self._x.client.metrics.quarantined.inc((result,))
        if self._is_closed:
            reception.close()
            return
        verdict = outcome.verdict
        if verdict is None:
            note(self._x, "uploads", {"outcome": "failed"})
            done(_UNAVAILABLE)
        elif verdict.is_refused:
            done(self._refused(verdict, outcome.kept))
        else:
            self._passed(verdict)
            self._pass(reception, done)

    def _pass(self, reception: Reception, done: Done) -> None:
        """Let it go upstream, unless a second engine objects."""
        if self._rules.crs is None:
            done(None)
        else:
            ask_second(self._x, self._rules.crs, self._outline(reception), done)

    def _passed(self, verdict: Verdict) -> None:
        x = self._x
        counted = x.client.metrics.uploads
        counted.inc((x.route.name, "unscanned"), verdict.unscanned)
        counted.inc((x.route.name, "passed"), len(verdict.files) - verdict.unscanned)
        if verdict.files:
            files = [{"part": file.part, "kind": file.kind, "size": file.size} for file in verdict.files[:_MOST_TOLD]]
            told: dict[str, object] = {"outcome": "passed", "files": files}
            if verdict.unscanned:
                told["unscanned"] = verdict.unscanned
                self._detected(UNSCANNED_EVENT)
            note(x, "uploads", told)

    def _refused(self, verdict: Verdict, kept: Mapping[int, str] | None = None) -> Refusal:
        x = self._x
        files = {file.part: file for file in verdict.files}
        told = []
        for complaint in verdict.complaints[:_MOST_TOLD]:
            x.client.metrics.uploads.inc((x.route.name, complaint.objection.value))
            one: dict[str, object] = {"objection": complaint.objection.value, "part": complaint.part}
            file = files.get(complaint.part)
            if file is not None:
                one |= {"kind": file.kind, "size": file.size, "sha256": file.digest}
            if complaint.signature:
                one["signature"] = complaint.signature
            if kept is not None and complaint.part in kept:
                one["quarantine"] = kept[complaint.part]
            told.append(one)
        note(x, "uploads", {"outcome": "refused", "files": told})
        worst = _worst(verdict.complaints)
        if worst is Objection.INFECTED:
            self._detected(INFECTED_EVENT)
        elif worst is Objection.UNSCANNED:
            self._detected(UNSCANNED_EVENT)
        reason = _REASONS.get(worst, Reason.UPLOAD_REFUSED)
        retry_s = RETRY_S if reason is Reason.UPLOADS_UNAVAILABLE else 0.0
        return Refusal("inspection", reason, worst.value, retry_after_s=retry_s)

    def _detected(self, event: str) -> None:
        if event not in self._x.detections:
            self._x.detections.append(event)

    def _unavailable(self, error: GatewayError) -> Refusal:
        note(self._x, "uploads", {"outcome": "failed", "because": error.reason.value})
        return Refusal("inspection", error.reason, retry_after_s=RETRY_S)

    @property
    def length(self) -> int:
        """Bytes that go upstream."""
        return self._reception.size if self._reception is not None else 0

    def pieces(self) -> Iterator[bytes]:
        """Give out the body as it came."""
        return self._reception.pieces() if self._reception is not None else iter(())

    def close(self) -> None:
        """Forget the body, as soon as nobody reads it."""
        self._is_closed = True
        if self._reception is not None and not self._is_judged_now:
            self._reception.close()


def _worst(complaints: Sequence[Complaint]) -> Objection:
    """Say which complaint the answer is about: a virus before all others, else the first."""
    found = [complaint.objection for complaint in complaints]
    return next((objection for objection in _SEVEREST if objection in found), found[0])


def hold_upload(
    x: Exchange,
    rules: RouteInspection,
    judges: Sequence[Judge],
    beside: Beside,
    *,
    reads_files: bool,
    is_strict: bool,
) -> UploadHolding | None:
    """Hold the body of `x` where it is an upload; None = it is none.

    Where nothing is said of uploads, a form with files that is larger than what is held in memory is held here all the
    same, so that its fields are read: `is_strict` says that they must be.
    """
    if x.body_done:
        return None
    kind = content_type(x)
    if rules.uploads is not None:
        return (
            UploadHolding(x, rules, rules.uploads, judges, beside, reads_files=reads_files) if is_upload(kind) else None
        )
    length = x.fields.length
    if not judges or not is_strict or not kind.lower().startswith(_FORM):
        return None
    if length is not None and length <= rules.max_body:
        return None
    return UploadHolding(x, rules, _ANY_FILE, judges, beside, reads_files=False)


def content_type(x: Exchange) -> bytes:
    """Return the Content-Type of a request; of several all, which no parser takes."""
    lines = x.fields.forward.split(b"\r\n")
    return b", ".join(line[len(_CONTENT_TYPE) :] for line in lines if line.startswith(_CONTENT_TYPE))
