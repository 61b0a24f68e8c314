"""One exchange from its decision to the release of its answer, for any version of HTTP.

A version's connection (or stream) fills in how a body is read and an answer is framed and written.
Everything is a callback and nothing awaits: the pipeline decides, an upstream connection is taken, the
answer is held until it is recorded, then it goes out. Deadlines are numbers that the worker's sweep
compares with the clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from time import monotonic, time
from typing import TYPE_CHECKING, Final, cast

from gateway.audit.protocol import GROUP
from gateway.audit.resource import read_told
from gateway.edge import reports, session_state
from gateway.edge.answers import CONTINUE, plain_answer, refusal_answer
from gateway.edge.browser import waits_for_page
from gateway.edge.cross_origin import PREFLIGHT, granted
from gateway.edge.escort import Escort, judgement
from gateway.edge.exchange import Exchange, Phase, Refusal
from gateway.edge.forward_auth import allowing_answer, asked_about, is_asked, objection, refusing_answer
from gateway.edge.hardening import Facts, field_lines, harden, status_line
from gateway.edge.identity import IdentityUnfitError
from gateway.edge.inspecting import BROKEN, Released, hold_body, judge_head, transform_answer
from gateway.edge.interrupted import KEEP, interrupt
from gateway.edge.lasting import (
    ANSWER,
    CROWDED_RETRY_S,
    EVENT_STREAM,
    WEBSOCKET,
    Lasting,
    reconsider,
    take_places,
    why_closed,
)
from gateway.edge.metrics import EdgeMetrics
from gateway.edge.peer import Peer
from gateway.edge.pipeline import admit, receive
from gateway.edge.remote import UNAVAILABLE, Answers, RemoteState, unasked
from gateway.edge.resolve import NO_ROUTE, SERVER_WIDE
from gateway.edge.sessions import Sessions
from gateway.edge.snapshot import Upstream
from gateway.edge.tenancy import tenant_field
from gateway.edge.tunnel import FRAME_GRACE_S, Tunnel, leaving_share
from gateway.edge.uploads import Place
from gateway.edge.upstream import UpstreamConnection
from gateway.edge.withheld import WithheldError
from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.reason import Reason
from gateway.exchange.route import Action, Durability
from gateway.inspection.csp.tally import Tally
from gateway.wire.address import limiter_key
from gateway.wire.request import SAFE_METHODS, Fields
from gateway.wire.response import ResponseHead
from gateway.wire.rewriting import Places
from gateway.wire.websocket import GOING_AWAY, INTERNAL_ERROR, NORMAL, POLICY_VIOLATION, PROTOCOL_ERROR

if TYPE_CHECKING:
    from gateway.edge.held_bytes import HeldBytes
    from gateway.edge.inspecting import Holding, Transform
    from gateway.edge.takings import Takings
    from gateway.edge.upload_holding import UploadKeeper
    from gateway.edge.worker import Worker

READING, BODY, BUSY, TUNNEL, DISCARD, CLOSED = range(6)

MAX_HELD_BYTES: Final = 64 * 1024
RECORD_WAIT_S: Final = 2.0
"""How long an answer waits for its record before it becomes a 503."""
INSPECTION_WAIT_S: Final = 120.0
"""The most a body's verdict may take; what it waits for, such as a virus scanner, has time-outs of its own below this."""
HELD_TO_THE_END: Final = (Durability.STRICT, Durability.REMOTE)
"""What keeps the last piece of an answer back until the closing record is safe."""
SEARCHED_BYTES: Final = 16 * 1024
SEARCH_WAIT_S: Final = 2.0
"""How much of a page, and how long, is waited for to see whether the portal lost the person."""
HARDENED_ENTRIES: Final = 16
MIN_BODY_RATE: Final = 512.0
"""Bytes a second below which an upload is an attack, after the body time-out as a grace."""
STREAM_CHECK_S: Final = 0.5
"""How often what is open is decided about again: with the sweep and the end of a frame, all within a second."""

_READING_ACTIONS: Final = frozenset((None, Action.VIEW, Action.DOWNLOAD))
_CLIENT_FAULTS: Final = frozenset(
    (Reason.MALFORMED_BODY, Reason.BODY_TOO_LARGE, Reason.REQUEST_TIMEOUT, Reason.OVERLOADED)
)
_LOCAL: Final = frozenset(("jwks.json", reports.PAGE, session_state.PAGE, SERVER_WIDE, PREFLIGHT))
"""What the edge answers itself."""
_CLIENT_CLOSED: Final = 499
_END_OF_CHUNKS: Final = b"0\r\n\r\n"
_IDLE: Final = Refusal("tunnel", Reason.TUNNEL_IDLE)
_LEAVING: Final = Refusal("capacity", Reason.DRAINING)
_NOT_KEPT: Final = Refusal("portal", Reason.STORE_UNAVAILABLE, retry_after_s=2.0)
_NO_FRAME: Final = Refusal("tunnel", Reason.MALFORMED_FRAME)
NEVER: Final = float("inf")


class Answering(ABC):
    """Answers one request at a time."""

    __slots__ = (
        "_forwarding", "_lasting", "_mode", "_received_at_check", "_tail", "_tunnel", "_upload", "_upload_since", "_worker", "_write_paused",
        "checked_at", "deadline", "exchange", "peer", "served",
    )  # fmt: skip

    peer: Peer

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.exchange: Exchange | None = None
        self._mode = READING
        self._forwarding: dict[tuple[str, str, bool], bytes] = {}
        self._tail = b""
        self._write_paused = False
        self.served = 0
        self.deadline = NEVER
        self.checked_at = 0.0
        self._upload_since = 0.0
        self._upload: Place | None = None
        """Held while the body of a request is on its way upstream."""
        self._received_at_check = 0
        self._lasting: Lasting | None = None
        self._tunnel: Tunnel | None = None

    @property
    def metrics(self) -> EdgeMetrics:
        """What the worker counts."""
        return self._worker.metrics

    @property
    def tally(self) -> Tally:
        """What the worker was told about policies and scripts of pages."""
        return self._worker.tally

    @property
    def held_bytes(self) -> HeldBytes:
        """What the worker counts of the bodies in its memory."""
        return self._worker.held_bytes

    @property
    def takings(self) -> Takings | None:
        """Where the workers count the records that people take; None = nowhere."""
        return self._worker.takings

    @property
    def upload_keeper(self) -> UploadKeeper | None:
        """Where the worker keeps uploads until they are judged; None = nowhere."""
        return self._worker.upload_keeper

    # what a version of HTTP fills in

    @abstractmethod
    def pause_request(self) -> None:
        """The upstream does not take the request: take no more of it from the client."""

    @abstractmethod
    def resume_request(self) -> None:
        """Take the request again."""

    @abstractmethod
    def _take_body(self, x: Exchange) -> None:
        """Somebody takes the body now: pass on what came of it, then what comes."""

    @abstractmethod
    def _has_rest(self, x: Exchange) -> bool:
        """Whether the rest of the body is here already, so that its client cannot keep anybody waiting."""

    @abstractmethod
    def _frame(self, x: Exchange, head: ResponseHead) -> bytes:
        """Framing fields of the answer."""

    @abstractmethod
    def _last_fields(self, x: Exchange) -> bytes:
        """Fields that only the connection knows, for the end of the answer's head."""

    @abstractmethod
    def _emit(self, x: Exchange, pieces: list[bytes]) -> None:
        """Write the head of the answer and what is there of its body."""

    @abstractmethod
    def _emit_more(self, piece: bytes) -> None:
        """Write more of the body."""

    @abstractmethod
    def _emit_continue(self) -> None:
        """Write `100 (Continue)`: the body may come."""

    @abstractmethod
    def _emitted(self, x: Exchange) -> None:
        """The answer is complete and its exchange concluded: the next request, or the end."""

    @abstractmethod
    def _break_off(self) -> None:
        """End in the middle of an answer, so that the client cannot take what it has for the whole."""

    @abstractmethod
    def _open_tunnel(self, x: Exchange) -> None:
        """Both directions are open from now on."""

    @abstractmethod
    def _is_forgotten(self) -> None:
        """Nothing will be heard of this client any more."""

    # what became of the client

    def _vanished(self) -> None:
        """The client is gone; whatever was under way ends and is recorded."""
        self._mode = CLOSED
        x = self.exchange
        if x is not None and not (x.tunnel and self._was_announced(x)):
            x.outcome = "aborted_client"
        if (
            x is not None
            and x.phase is Phase.UPSTREAM
            and x.body_done
            and x.upstream is not None
            and (_destination(x).internal or (x.escort is not None and x.escort.is_trial))
        ):
            # Our pages act all the same: what they did belongs into the record, so their answer is awaited. So is the portal's
            # to a password on trial, which otherwise nobody could try for a minute.
            return
        self._is_forgotten()
        if x is None:
            return
        if x.escort is not None and not x.sent_at:
            self._withdraw(x, x.escort)
        self._leave_upstream(x)
        self._conclude(x)

    def _conclude_unread(self, x: Exchange, head: ResponseHead | None) -> None:
        """Record what our pages did for a client that did not wait for it, or remember what the portal said to a password."""
        escort = x.escort
        if head is not None and escort is None:
            x.status = head.status
            self._worker.outgoing.page_head(x, head)
        elif head is not None and escort is not None and escort.is_trial and self._worker.escorts is not None:
            self._worker.escorts.settle(x, escort, accepted=judgement(head))
        if x.upstream is not None:
            x.upstream.abort()
            x.upstream = None
        self._is_forgotten()
        self._conclude(x)

    def forget(self) -> None:
        """Compose anew: the configuration changed."""
        self._forwarding.clear()

    def is_gone(self, x: Exchange) -> bool:
        """True if nobody waits for `x` any more."""
        return self._mode == CLOSED or self.exchange is not x

    def awaits(self, x: Exchange) -> bool:
        """True if `x` still wants a connection to its upstream: not gone, not answered meanwhile."""
        return self.exchange is x and self._mode != CLOSED and x.phase is Phase.UPSTREAM and x.upstream is None

    # the request

    def _exchange(self, method: bytes, target: bytes, version: bytes, fields: Fields, *, close: bool) -> Exchange:
        worker = self._worker
        now = time()
        peer = self.peer
        x = self.exchange = Exchange(
            client=self,
            peer=peer,
            snapshot=worker.snapshot,
            request_id=worker.request_id(now),
            method=method,
            raw_target=target,
            version=version,
            fields=fields,
            started=now,
            started_mono=monotonic(),
            secure=peer.secure,
            client_ip=peer.ip,
            route=NO_ROUTE,
            close=close or worker.draining,
        )
        return x

    def _begin(self, x: Exchange) -> None:
        """Decide about a request whose head was read, and let it go its way."""
        if x.body_done:
            self._mode = BUSY
        else:
            self._mode = BODY
            self._upload_since = x.started_mono
        self.deadline = x.started_mono + x.snapshot.wire.body_timeout_s
        worker, refusal = self._worker, None
        asking = x.snapshot.forward_auth
        if asking is not None and is_asked(x, asking):
            x, refusal = asked_about(
                x, asking
            )  # its record and its limits are those of the request that is asked about
            self.exchange = x
        if refusal is None and not worker.recorder.available:
            refusal = worker.standing()
        if refusal is not None:
            self.go_on(x, refusal)
        elif worker.remote is None:
            self.go_on(x, self._decide(x))
        else:
            self._ask(x, worker.remote)

    def _ask(self, x: Exchange, remote: RemoteState) -> None:
        """Let the store that answers later be asked; `decide_with` goes on."""
        try:
            refusal = receive(x, remote.limits, x.started)
        except Exception:  # noqa: BLE001 - whatever goes wrong while deciding refuses
            self._worker.evidence.failed("receive", x)
            refusal = Refusal("pipeline", Reason.INTERNAL_ERROR)
        if refusal is None:
            remote.ask(x)
            return
        self._compare(x, refusal, remote.unread)
        self.go_on(x, refusal)

    def _compare(self, x: Exchange, refusal: Refusal | None, answers: Answers) -> None:
        """Let a candidate policy judge by what a remote store said: nothing more is asked for it."""
        shadow = self._worker.shadow
        if shadow is not None:
            shadow.compare(x, refusal, answers)
            answers.missing()

    def decide_with(self, x: Exchange, answers: Answers) -> None:
        """Decide with what a remote store said; what the request owes to limits is counted before it goes on."""
        remote = self._worker.remote
        assert remote is not None  # noqa: S101 - it answered
        try:
            refusal = admit(x, answers, remote.limits, x.started)
        except Exception:  # noqa: BLE001 - whatever goes wrong while deciding refuses
            self._worker.evidence.failed("admit", x)
            refusal = Refusal("pipeline", Reason.INTERNAL_ERROR)
        owed = remote.limits.owed()
        more = unasked(answers)
        if more and refusal is not None and refusal.reason is Reason.STORE_UNAVAILABLE and not x.asked:
            x.asked = True
            remote.ask(x, more)
            return
        self._compare(x, refusal, answers)
        if owed and refusal is None:
            remote.settle(x, owed)
        else:
            self.go_on(x, refusal)

    def go_on(self, x: Exchange, refusal: Refusal | None) -> None:
        """Let a request go its way: it may go upstream, or `refusal` says why not."""
        worker = self._worker
        if worker.recorder.may_gap and not worker.evidence.has_room(x, refusal):
            refusal = Refusal("audit", Reason.AUDIT_UNAVAILABLE, retry_after_s=1.0)
        if x.peer.via:
            self._answer_check(x, refusal)
        elif refusal is not None and refusal.reason is Reason.AUDIT_UNAVAILABLE:
            self.record_failed(x)
        elif refusal is not None:
            if not x.body_done and interrupt(x, refusal, worker.limits):
                self._collect(x)  # kept by our pages until after the sign-in
            else:
                self.refuse(x, refusal)
        elif x.fields.websocket and self._is_crowded(x, WEBSOCKET):
            self.refuse(x, Refusal("limit", Reason.TOO_MANY_OPEN, retry_after_s=CROWDED_RETRY_S))
        elif x.resolution is not None and x.resolution.internal == reports.PAGE and not x.body_done:
            self._collect(x)
        elif x.resolution is not None and x.resolution.internal in _LOCAL:
            self._answer_locally(x, x.resolution.internal)
        elif x.fields.max_forwards == 0 and x.method == b"OPTIONS":  # RFC 9110 §7.6.2: we are the last who may answer
            self._answer_locally(x, SERVER_WIDE)
        elif not x.body_done and x.resolution is not None and x.resolution.internal:
            self._collect(x)
        elif x.inspection is not None:
            self._inspect(x)
        else:
            self._proceed(x)

    def _inspect(self, x: Exchange) -> None:
        """Judge what came for a route that is inspected: the head now, the body when all of it is here."""
        refusal = self._judge_head(x)
        if refusal is None:
            try:
                x.holding = hold_body(x)
            except Exception:  # noqa: BLE001 - whatever goes wrong while inspecting refuses
                self._worker.evidence.failed("inspect body", x)
                refusal = BROKEN
        if refusal is not None:
            self.refuse(x, refusal)
        elif x.holding is None:
            self._proceed(x)
        elif x.body_done:
            self._hold_piece(x, x.holding, b"")
        elif not self._has_rest(x) and not self._may_upload(x):
            self._refuse_upload(x)
        else:
            self._collect(x)

    def _judge_head(self, x: Exchange) -> Refusal | None:
        try:
            return judge_head(x)
        except Exception:  # noqa: BLE001 - whatever goes wrong while inspecting refuses
            self._worker.evidence.failed("inspect head", x)
            return BROKEN

    def _hold_piece(self, x: Exchange, holding: Holding, body: bytes) -> None:
        """Give what came of a body to what holds it; the end of it lets it be judged."""
        refusal: Refusal | Released | None
        try:
            refusal = holding.feed(body)
        except Exception:  # noqa: BLE001 - whatever goes wrong while inspecting refuses
            self._worker.evidence.failed("inspect body", x)
            refusal = BROKEN
        if isinstance(refusal, Released):
            x.form, x.holding = b"".join(holding.pieces()), None
            holding.close()
            self._proceed(x)
            return
        if refusal is not None:
            self.refuse(x, refusal)
            return
        if not x.body_done:
            return
        x.phase = Phase.INSPECTING
        self.deadline = monotonic() + INSPECTION_WAIT_S
        try:
            holding.finish(lambda refusal: self.inspected(x, refusal))
        except Exception:  # noqa: BLE001 - whatever goes wrong while inspecting refuses
            self._worker.evidence.failed("inspect body", x)
            self.inspected(x, BROKEN)

    def inspection_failed(self, x: Exchange) -> None:
        """Report the exception that is being handled: a body could not be judged."""
        self._worker.evidence.failed("inspect body", x)

    def inspected(self, x: Exchange, refusal: Refusal | None) -> None:
        """Let a request whose body was judged go its way."""
        if self.exchange is not x or self._mode == CLOSED or x.phase is not Phase.INSPECTING:
            return
        x.phase = Phase.DECIDING
        if refusal is not None:
            self.refuse(x, refusal)
        else:
            self._proceed(x)

    def pump(self, x: Exchange) -> None:
        """Send more of a held body upstream, as much as its server takes."""
        pieces, holding = x.pieces, x.holding
        if pieces is None or holding is None:
            return
        if x.phase is Phase.UPSTREAM:  # its server took some of it: the wait for the answer begins anew
            self.deadline = monotonic() + (x.route.response_timeout_s or _destination(x).response_timeout_s)
        try:
            for piece in pieces:
                upstream = x.upstream
                if upstream is None or self.exchange is not x:
                    return
                upstream.write(piece)
                if upstream.paused:
                    return
        except Exception:  # noqa: BLE001 - a body of which a part cannot be read ends its request
            self._worker.evidence.failed("held body", x)
            self.on_failed(x, Reason.INTERNAL_ERROR)
            return
        x.pieces = x.holding = None
        holding.close()

    def _answer_check(self, x: Exchange, refusal: Refusal | None) -> None:
        """Tell another proxy what was decided about the request that it holds."""
        worker = self._worker
        refusal = refusal or objection(x) or (self._judge_head(x) if x.inspection is not None else None)
        worker.metrics.checks.inc(
            ("refused", refusal.reason.value) if refusal is not None else ("allowed", x.reason.value)
        )
        if refusal is None:
            upstream = x.snapshot.upstreams[x.route.upstream]
            try:
                identity = worker.outgoing.identity(x, upstream) if x.entry is not None else b""
            except IdentityUnfitError:
                self.refuse(x, Refusal("identity", Reason.IDENTITY_UNFIT))
                return
            self._answer(x, 200, allowing_answer(x, upstream, identity + tenant_field(x)))
        elif refusal.reason is Reason.AUDIT_UNAVAILABLE:
            self.record_failed(x)
        else:
            self.refuse(x, refusal)

    def _collect(self, x: Exchange) -> None:
        """Wait for the whole body: a form is here before our pages are asked, so that a slow one does not hold them."""
        if x.fields.expects_continue:
            self._emit_continue()
        self._take_body(x)
        self.resume_request()  # more than a buffer of it may have come while a store was asked

    def _proceed(self, x: Exchange) -> None:
        """Go upstream, with what goes along for a person."""
        if x.snapshot.escorts and x.entry is not None and not self._has_escort(x):
            return
        self._announce(x)

    def _has_escort(self, x: Exchange) -> bool:
        """Find what goes along with `x`; False while that is waited for, or where it must not go."""
        upstream = x.snapshot.upstreams.get(x.route.upstream)
        if upstream is None or upstream.escort is None or (x.resolution is not None and x.resolution.internal):
            return True
        escorts = self._worker.escorts
        if escorts is None:
            return self._takes(x, Refusal("portal", Reason.INTERNAL_ERROR))
        found = escorts.find(x, upstream.escort)
        if found is not None:
            return self._takes(x, found)
        if not x.body_done:
            self.pause_request()  # not a byte of a body before somebody takes it
        x.phase = Phase.ESCORT
        self.deadline = monotonic() + RECORD_WAIT_S
        return False

    def _takes(self, x: Exchange, found: Escort | Refusal) -> bool:
        if isinstance(found, Escort):
            x.escort = found
            return True
        if not x.body_done and interrupt(x, found, self._worker.limits):
            self._collect(x)  # kept by our pages until the portal knows the person
        else:
            self.refuse(x, found)
        return False

    def escorted(self, x: Exchange, found: Escort | Refusal) -> None:
        """What goes along with `x` was found, or why it must not go."""
        if self.exchange is not x or self._mode == CLOSED or x.phase is not Phase.ESCORT:
            if isinstance(found, Escort):
                self._withdraw(x, found)
            return
        x.phase = Phase.DECIDING
        if self._takes(x, found):
            self._announce(x)

    def _withdraw(self, x: Exchange, escort: Escort) -> None:
        """Say of a password that was to be tried for `x` that it never was."""
        if escort.is_trial and self._worker.escorts is not None:
            escort.is_trial = False
            self._worker.escorts.settle(x, escort, accepted=None)

    def _announce(self, x: Exchange) -> None:
        """Go upstream; what may change something is announced first."""
        if not x.body_done:
            if self._upload is None and not self._has_rest(x) and not self._may_upload(x):
                self._refuse_upload(x)
                return
            self.pause_request()  # not a byte of a body before somebody takes it
        if x.snapshot.receipts and self._lacks_receipt(x) and not self._worker.recorder.available:
            self.record_failed(x)  # its stream may lack records, and without one there is no receipt
            return
        if (x.receipt_key or x.method not in SAFE_METHODS or x.route.action not in _READING_ACTIONS) and x.allowed:
            x.phase = Phase.INTENT
            self._worker.evidence.record(x, "intent", waits=True, at_least=GROUP)
        else:
            self._forward(x)

    @staticmethod
    def _lacks_receipt(x: Exchange) -> bool:
        """Find out whether the upstream of `x` takes requests only with the receipt of their record."""
        upstream = x.snapshot.upstreams.get(x.route.upstream)
        if upstream is not None and (x.resolution is None or not x.resolution.internal):
            x.receipt_key = upstream.receipt_key
        return x.receipt_key > 0

    def _may_upload(self, x: Exchange) -> bool:
        """Take a place for a body that is still to come; False when its client has as many under way as it may."""
        upstream = x.snapshot.upstreams[x.route.upstream]
        if not upstream.max_uploads_per_client:
            return True
        client = limiter_key(x.client_ip) if x.peer.trusted else x.peer.limiter_key
        self._upload = self._worker.uploads.take(upstream.name, client, upstream.max_uploads_per_client)
        return self._upload is not None

    def _refuse_upload(self, x: Exchange) -> None:
        self._worker.metrics.uploads_refused.inc((x.route.upstream,))
        self.refuse(x, Refusal("limit", Reason.TOO_MANY_UPLOADS, retry_after_s=CROWDED_RETRY_S))

    def _end_upload(self) -> None:
        """Give the place of the upload back, if one is held."""
        place, self._upload = self._upload, None
        if place is not None:
            self._worker.uploads.give_back(place)

    def _decide(self, x: Exchange) -> Refusal | None:
        try:
            limits, now = self._worker.limits, x.started
            refusal = receive(x, limits, now) or admit(x, self._worker.sessions, limits, now)
        except Exception:  # noqa: BLE001 - whatever goes wrong while deciding refuses
            self._worker.evidence.failed("admit", x)
            return Refusal("pipeline", Reason.INTERNAL_ERROR)
        if self._worker.shadow is not None:
            self._worker.shadow.compare(x, refusal, self._worker.sessions)
        return refusal

    def _forward(self, x: Exchange) -> None:
        """Go upstream: the one place from which a request leaves, and nothing leaves that was not allowed."""
        if not x.allowed and (x.resolution is None or x.resolution.internal != KEEP):  # our pages keep a refused form
            self.refuse(x, Refusal("pipeline", Reason.INTERNAL_ERROR))
            return
        x.phase = Phase.UPSTREAM
        pool = self._worker.pool_of(x)
        self.deadline = monotonic() + pool.upstream.patience_s
        pool.take(x)

    def on_attached(self, x: Exchange, connection: UpstreamConnection) -> None:
        """Send the request; then let the body flow."""
        try:
            head = self._worker.outgoing.head(x, self._forwarding)
        except IdentityUnfitError:
            x.upstream = None
            connection.close()
            self.refuse(x, Refusal("identity", Reason.IDENTITY_UNFIT))
            return
        except Exception:  # noqa: BLE001 - a request that cannot be written is not sent
            self._worker.evidence.failed("request head", x)
            x.upstream = None
            connection.close()
            self.on_failed(x, Reason.INTERNAL_ERROR)
            return
        x.sent_at = monotonic()
        self.deadline = x.sent_at + (x.route.response_timeout_s or _destination(x).response_timeout_s)
        connection.send(x, head)
        if x.form and x.destination is not None and x.destination.internal:
            connection.write(x.form)
        elif x.form:
            self._pass_body(x, connection, x.form)
        if x.holding is not None:
            x.pieces = x.holding.pieces()
            self.pump(x)
        if not x.body_done:
            self._take_body(x)
            self.resume_request()

    def _took(self, x: Exchange, body: bytes) -> None:
        """Pass on a part of the body: to the upstream that is attached, or into the form that is collected."""
        now = monotonic()
        wire = x.snapshot.wire
        x.received += len(body)
        if x.received > (x.route.max_body_bytes or wire.max_body):
            self.on_failed(x, Reason.BODY_TOO_LARGE)
            self.on_settled(x)
            return
        if x.body_done:
            self._mode = BUSY
            self._end_upload()
        if x.holding is not None:
            self._hold_piece(x, x.holding, body)
            if self.exchange is not x or x.body_done or x.phase is not Phase.DECIDING:
                return
        elif x.upstream is None:
            x.form += body
            if x.body_done and x.resolution is not None and x.resolution.internal == reports.PAGE:
                self._answer_locally(x, reports.PAGE)
                return
            if x.body_done:
                self._proceed(x)
                return
        else:
            self._pass_body(x, x.upstream, body)
        if x.upstream is not None and (x.body_done or x.upstream.paused):
            self.deadline = now + (x.route.response_timeout_s or _destination(x).response_timeout_s)
        else:
            grace = self._upload_since + wire.body_timeout_s + x.received / MIN_BODY_RATE
            self.deadline = min(now + wire.body_timeout_s, grace)

    @staticmethod
    def _collects(x: Exchange) -> bool:
        resolution = x.resolution
        return (
            x.phase is Phase.DECIDING
            and resolution is not None
            and (bool(resolution.internal) or x.holding is not None)
            and (x.allowed or resolution.internal == KEEP)
        )

    @staticmethod
    def _pass_body(x: Exchange, upstream: UpstreamConnection, body: bytes) -> None:
        if x.fields.chunked:
            if body:
                upstream.write(b"%x\r\n%b\r\n" % (len(body), body))
            if x.body_done:
                upstream.write(_END_OF_CHUNKS)
        elif body:
            upstream.write(body)

    # the answer

    def refuse(self, x: Exchange, refusal: Refusal) -> None:
        """Answer `x` ourselves."""
        x.stage, x.reason, x.rule, x.allowed = refusal.stage, refusal.reason, refusal.rule, False
        x.told, x.content_type = None, b""
        if x.outcome == "completed":
            x.outcome = "blocked"
        put = refusing_answer if x.peer.via else refusal_answer
        status, parts = put(x, refusal, x.started)
        if x.fields.websocket or not x.body_done:
            x.close = True
        self._answer(x, status, parts)

    def _answer_locally(self, x: Exchange, page: str) -> None:
        if page == "jwks.json" and x.method in SAFE_METHODS:
            self._answer(
                x,
                200,
                plain_answer(
                    x,
                    200,
                    b"application/json",
                    x.snapshot.jwks,
                    now=x.started,
                    extra=b"cache-control: public, max-age=300\r\n",
                ),
            )
            return
        if page == session_state.PAGE and x.method in (b"GET", b"HEAD", b"POST"):
            self._tell_session(x)
            return
        if page == PREFLIGHT:
            fields = granted(x)
            if isinstance(fields, Refusal):
                self.refuse(x, fields)
                return
            x.close = x.close or not x.body_done
            self._answer(x, 204, plain_answer(x, 204, b"", b"", now=x.started, extra=field_lines(fields)))
            return
        if page == reports.PAGE and x.method == b"POST":
            reports.take_reports(x)
            self._answer(x, 204, plain_answer(x, 204, b"", b"", now=x.started))
            return
        if page == SERVER_WIDE and x.resolution is not None:
            methods = ", ".join(x.resolution.methods or x.route.methods)
            x.close = x.close or not x.body_done
            allow = b"allow: %b\r\n" % methods.encode("ascii")
            self._answer(x, 204, plain_answer(x, 204, b"", b"", now=x.started, extra=allow))
            return
        self.refuse(x, Refusal("route", Reason.METHOD_NOT_ALLOWED))

    def _tell_session(self, x: Exchange) -> None:
        """Tell a page how long its session lasts; a POST is a person who stays."""
        x.close = x.close or not x.body_done
        if not session_state.is_own(x):
            self.refuse(x, Refusal("inspection", Reason.CROSS_ORIGIN))
            return
        if x.method == b"POST" and x.entry is not None and x.entry.session.credential == "cookie":
            self._worker.sessions.touch(x.entry, x.started)
        told = session_state.session_state(x, x.started)
        no_store = b"cache-control: no-store\r\n"
        self._answer(x, 200, plain_answer(x, 200, b"application/json", told, now=x.started, extra=no_store))

    def _answer(self, x: Exchange, status: int, parts: list[bytes]) -> None:
        """Hold a complete answer of our own until it is recorded."""
        x.status = status
        x.sent = len(parts[1])
        x.held = [parts[0] + self._last_fields(x) + b"\r\n", parts[1]]
        x.ended = True
        self._hold(x)

    def on_head(self, x: Exchange, head: ResponseHead) -> None:
        """Take the head of an answer whose body is still to come."""
        self._hold_head(x, head)
        if self.exchange is x and self._lasting is None and head.content_type[:17].lower() == b"text/event-stream":
            self._lasting = Lasting(EVENT_STREAM, x.snapshot)

    def _part_with_escort(self, x: Exchange, escort: Escort, head: ResponseHead) -> ResponseHead:
        """Take out of an answer what is not for the browser, and note what it says about the person."""
        authority, resolution, metrics = x.fields.authority, x.resolution, self._worker.metrics
        assert authority is not None  # noqa: S101 - admitted
        assert resolution is not None  # noqa: S101 - admitted
        if x.method == b"GET" and waits_for_page(x.fields):
            escort.look_for_person(head, x.started)
        if escort.credentials and judgement(head) is False:
            escort.is_lost = True
        if escort.is_lost:
            return head
        head, malformed, too_large = escort.take_cookies(
            head,
            self._places(x),
            host=authority.host,
            path=resolution.text,
            secure=x.secure,
            now=x.started,
        )
        if malformed:
            metrics.cookies_dropped.inc((x.route.upstream, "malformed"), malformed)
        if too_large:
            metrics.cookies_dropped.inc((x.route.upstream, "too_large"), too_large)
        return head

    def _waits_for_keeping(self, x: Exchange, escort: Escort) -> bool:
        """Store what came with an answer before it is held; True while it waits, or was answered otherwise."""
        if escort.searches:
            escort.search_until = escort.search_until or monotonic() + SEARCH_WAIT_S
            if not x.ended and x.held_bytes < SEARCHED_BYTES and monotonic() < escort.search_until:
                self.deadline = escort.search_until  # more of the page is to come: what shows it may be in there
                return True
            escort.look_into_page(x.held[1:])
        escorts = self._worker.escorts
        assert escorts is not None  # noqa: S101 - they found this one
        if escort.is_lost and not escort.credentials:
            self._worker.metrics.portal_sign_ons.inc((x.route.upstream, "lost"))
            self._answer_instead(x, Refusal("portal", Reason.PORTAL_SIGN_ON))
            return True
        is_trial, escort.is_trial = escort.is_trial, False
        if escort.is_lost:
            self._worker.metrics.portal_sign_ons.inc((x.route.upstream, "refused"))
            has_room = escorts.settle(x, escort, accepted=False)
        elif is_trial and (x.allowed or not x.sent_at):  # else it was sent and not answered: nobody knows
            is_judged = x.allowed and x.status < 500 and x.status not in (401, 429)
            has_room = escorts.settle(x, escort, accepted=True if is_judged else None)
        elif escort.changes:
            has_room = escorts.keep(x, escort, escort.changes)
            escort.changes = ()
        else:
            return False
        if not has_room:
            self._answer_instead(x, _NOT_KEPT)
            return True
        x.phase = Phase.STORING
        self.deadline = monotonic() + RECORD_WAIT_S
        return True

    def kept(self, x: Exchange, evicted: int) -> None:
        """What came with the answer of `x` is safe; less than 0: it is not."""
        escort = x.escort
        if self.exchange is not x or self._mode == CLOSED or x.phase is not Phase.STORING or escort is None:
            return
        x.phase = Phase.UPSTREAM
        if evicted < 0:
            self._answer_instead(x, _NOT_KEPT)
        elif escort.is_lost:
            self._answer_instead(x, Refusal("portal", Reason.PORTAL_REFUSED))
        else:
            if evicted:
                self._worker.metrics.cookies_dropped.inc((x.route.upstream, "too_many"), evicted)
            self._hold(x)

    def _answer_instead(self, x: Exchange, refusal: Refusal) -> None:
        """Answer `x` ourselves, in place of an answer of the portal that nobody has seen."""
        x.escort = None
        self._leave_upstream(x)
        self._tunnel = None
        x.held, x.held_bytes, x.chunked, x.sent, x.ended, x.tunnel = (), 0, False, 0, False, False
        x.transform = None
        x.phase = Phase.UPSTREAM
        self.refuse(x, refusal)

    def _hold_head(self, x: Exchange, head: ResponseHead) -> None:
        """Harden the head of the upstream's answer and hold it."""
        if self._mode == CLOSED and self.exchange is x:
            self._conclude_unread(x, head)
        if self.exchange is not x or self._mode == CLOSED:
            return
        x.status = head.status
        x.content_type = head.content_type
        if head.audit_resources or head.audit_changes:
            self._hear(x, head)
        if x.escort is not None:
            head = self._part_with_escort(x, x.escort, head)
        if x.inspection is not None and head.status != 101 and not (x.resolution is not None and x.resolution.internal):
            try:
                transform = transform_answer(x, head)
            except WithheldError as withheld:
                self._answer_instead(x, withheld.refusal)
                return
            except Exception:  # noqa: BLE001 - an answer that cannot be inspected is not released
                self._worker.evidence.failed("inspect answer", x)
                self._answer_instead(x, BROKEN)
                return
            if transform is not None:
                head = transform.head
                x.transform = transform if x.method != b"HEAD" and head.status not in (204, 304) else None
        if head.status == 101:
            x.held = [
                (CONTINUE if x.fields.expects_continue else b"")  # RFC 9110 §7.8
                + status_line(101)
                + head.forward
                + b"upgrade: websocket\r\nconnection: Upgrade\r\nx-request-id: %b\r\n\r\n" % x.request_id
            ]
            self._tunnel = Tunnel()
            return
        if x.fields.websocket:
            x.close = True  # bytes sent after a handshake that was declined are not a request (CVE-2026-2833)
        if not x.body_done:
            x.close = True  # an early answer: the rest of the request is not wanted
        if x.resolution is not None and x.resolution.internal:
            parts = self._worker.outgoing.page_head(x, head)
        else:
            parts = self._hardened(x, head)
        if not head.dated:  # RFC 9110 §6.6.1
            parts += b"date: %b\r\n" % self._worker.outgoing.date()
        x.held = [b"%b%bx-request-id: %b\r\n%b\r\n" % (parts, self._frame(x, head), x.request_id, self._last_fields(x))]

    def _transformed(self, x: Exchange, transform: Transform, data: bytes | None = None) -> bytes | None:
        """Return what may leave after more of the answer came, or after its end; None when nothing may any more."""
        try:
            return transform.finish() if data is None else transform.feed(data)
        except WithheldError as withheld:
            self._withhold(x, withheld.refusal)
        except Exception:  # noqa: BLE001 - an answer that cannot be inspected does not go on
            self._worker.evidence.failed("inspect answer", x)
            self._withhold(x, BROKEN)
        return None

    def _withhold(self, x: Exchange, refusal: Refusal) -> None:
        """Let nothing more of an answer out: answer in its place, or break off."""
        x.transform = None
        self._leave_upstream(x)
        x.stage, x.reason, x.rule, x.outcome, x.close = refusal.stage, refusal.reason, refusal.rule, "blocked", True
        if x.phase < Phase.HELD:
            self._answer_instead(x, refusal)
        elif x.phase is Phase.HELD:
            x.ended = True  # the record of the head is under way; break off when it is safe
        else:
            self._abort(x)

    def _hear(self, x: Exchange, head: ResponseHead) -> None:
        """Take what a portal says about the data in its answer; our own pages say it by their events."""
        if _destination(x).internal:
            return
        told = x.told = read_told(head.audit_resources, head.audit_changes)
        for fault in told.faults:
            self._worker.metrics.resource_faults.inc((x.route.upstream, fault))

    @staticmethod
    def _is_unnamed(x: Exchange) -> bool:
        """Whether an answer of the portal would leave without a word about whose data it holds, where it must say so."""
        return (
            x.allowed
            and x.sent_at > 0
            and 200 <= x.status < 300
            and x.method != b"OPTIONS"
            and (x.told is None or not x.told.resources)
        )

    def on_whole(self, x: Exchange, head: ResponseHead, body: bytes) -> None:
        """The whole answer arrived in one read, as most do: one record, nothing to follow."""
        if self._mode == CLOSED and self.exchange is x:
            self._conclude_unread(x, head)
        if self.exchange is not x or self._mode == CLOSED:
            return
        self._hold_head(x, head)
        if x.phase is not Phase.UPSTREAM:  # answered instead
            return
        if x.transform is not None:
            if body:
                self.on_body(x, body)
            self.on_end(x)
            self.on_settled(x)
            return
        if body:
            cast("list[bytes]", x.held).append(body)  # a list since the head
            x.sent = len(body)
        x.ended = True
        self._hold(x)

    def _hardened(self, x: Exchange, head: ResponseHead) -> bytes:
        authority = x.fields.authority
        assert authority is not None  # noqa: S101 - a head without a valid Host is no Exchange
        fields = x.field_rules.response if x.field_rules is not None else ()
        # which entry allowed makes a difference only where entries set fields
        allowed_by = x.rule if fields else ""
        key = (x.snapshot.version, x.route.name, authority.text, x.secure, x.entry is not None, allowed_by)
        known = head.hardened.get(key)
        if known is None:
            facts = Facts(
                secure=x.secure,
                places=self._places(x),
                no_store=not x.route.public and x.route.cache == "no-store",
                allow_service_worker=x.route.allow_service_worker,
                fields=fields,
                policy=x.inspection.browser.policy
                if x.inspection is not None and x.inspection.browser is not None
                else None,
            )
            if len(head.hardened) >= HARDENED_ENTRIES:  # the client chooses the port in Host
                head.hardened.clear()
            known = head.hardened[key] = harden(head, x.snapshot.headers, facts)
        return known

    @staticmethod
    def _places(x: Exchange) -> Places:
        authority = x.fields.authority
        assert authority is not None  # noqa: S101 - a head without a valid Host is no Exchange
        return Places(
            scheme=b"https" if x.secure else b"http",
            authority=authority.text.encode("ascii"),
            upstream_authorities=_destination(x).authorities,
            mapping=x.resolution.mapping if x.resolution is not None else None,
        )

    def on_body(self, x: Exchange, data: bytes) -> None:
        """Pass body or tunnel bytes on, or hold them with the head."""
        if self.is_gone(x):
            return
        tunnel = self._tunnel
        if tunnel is not None and x.tunnel:
            data = tunnel.take_from_server(data)
            if tunnel.is_ending:
                self._pass_rest(x, tunnel, data)
                return
        elif x.transform is not None:
            transformed = self._transformed(x, x.transform, data)
            if not transformed:
                return
            data = transformed
        self._pass_on(x, data)

    def _pass_on(self, x: Exchange, data: bytes) -> None:
        """Pass on a part of the answer's body as the client is to have it."""
        x.sent += len(data)
        piece = b"%x\r\n%b\r\n" % (len(data), data) if x.chunked else data
        if x.phase is Phase.RELEASED:
            if not self._write_paused:  # attack: a byte taken now and then is not progress
                self.deadline = monotonic() + self._idle_timeout(x)
            self._write(x, piece)
            if self._write_paused and x.upstream is not None:
                x.upstream.pause_reading()
            return
        cast("list[bytes]", x.held).append(piece)  # a list since the head
        x.held_bytes += len(piece)
        if x.held_bytes > MAX_HELD_BYTES and x.upstream is not None:
            x.upstream.pause_reading()

    def _write(self, x: Exchange, piece: bytes) -> None:
        """Write to the client; `strict` keeps the newest piece back until the closing record is safe."""
        if x.durability in HELD_TO_THE_END and not x.tunnel:
            piece, self._tail = self._tail, piece
        if piece:
            self._emit_more(piece)

    def on_end(self, x: Exchange) -> None:
        """The upstream's answer is complete."""
        if self.is_gone(x):
            return
        if x.transform is not None and not x.tunnel:
            rest = self._transformed(x, x.transform)
            if rest is None:
                return
            if rest:
                self._pass_on(x, rest)
        x.ended = True
        if x.tunnel and x.phase is Phase.RELEASED:
            self._upstream_left(x)
            return
        if x.chunked:
            if x.phase is Phase.RELEASED:
                self._write(x, _END_OF_CHUNKS)
            else:
                cast("list[bytes]", x.held).append(_END_OF_CHUNKS)  # a list since the head
        if x.phase is Phase.RELEASED:
            self._close_exchange(x)

    def on_failed(self, x: Exchange, reason: Reason, *, retry_after_s: float = 1.0) -> None:
        """There will be no (more) answer: say so if nothing was said yet, else break off."""
        if self._mode == CLOSED and self.exchange is x:
            self._conclude_unread(x, None)
        if self.is_gone(x) or x.ended:  # what is whole cannot fail any more: it leaves with its record
            return
        if x.upstream is not None:
            x.upstream.abort()
            x.upstream = None
        if x.tunnel and x.phase is Phase.RELEASED:
            self._upstream_left(x)
            return
        if x.phase is Phase.INTENT:  # its safe record is still to come, and would release an answer that has none
            x.stage, x.reason, x.allowed, x.outcome = "upstream", reason, False, "blocked"
            self._abort(x)
            return
        if x.resolution is not None and x.resolution.internal == KEEP and x.phase < Phase.HELD:
            x.held, x.held_bytes, x.chunked, x.sent, x.close = (), 0, False, 0, True
            self.refuse(x, Refusal(x.stage, x.reason))  # what it would have been without our pages
            return
        if reason in _CLIENT_FAULTS:
            x.outcome = "blocked"
        else:
            self._worker.metrics.upstream_failures.inc((x.route.upstream, reason.value))
            x.outcome = "upstream_error"
        x.close = True
        if x.phase is Phase.RELEASED:
            self._abort(x)
        elif x.phase is Phase.HELD:
            x.ended = True  # the record of the head is under way; break off when it is safe
            x.reason = reason
            x.tunnel = False
        else:
            x.held = ()
            x.held_bytes = 0
            x.chunked = x.tunnel = False
            x.sent = 0
            self.refuse(x, Refusal("upstream", reason, retry_after_s=retry_after_s))

    def on_settled(self, x: Exchange) -> None:
        """Everything of one read is here: record what stands."""
        if x.phase is Phase.UPSTREAM and x.held and not self.is_gone(x):
            if self._lasting is not None and not x.ended and self._is_crowded(x, self._lasting.kind):
                self._leave_upstream(x)
                x.held, x.held_bytes, x.chunked, x.sent, x.close = (), 0, False, 0, True
                self.refuse(x, Refusal("limit", Reason.TOO_MANY_OPEN, retry_after_s=CROWDED_RETRY_S))
                return
            if not x.ended and x.held_bytes < x.whole_bytes:  # it may yet be withheld
                self.deadline = monotonic() + self._idle_timeout(x)
                return
            self._hold(x)

    def _hold(self, x: Exchange) -> None:
        """Write the opening record (or the only one) and wait for it; what came with the answer is kept before."""
        if x.escort is not None and self._waits_for_keeping(x, x.escort):
            return
        if x.route.require_resource and self._is_unnamed(x):
            self._worker.metrics.upstream_failures.inc((x.route.upstream, Reason.RESOURCE_UNNAMED.value))
            self._answer_instead(x, Refusal("audit", Reason.RESOURCE_UNNAMED))
            return
        x.phase = Phase.HELD
        x.recorded_single = x.ended
        self.deadline = monotonic() + RECORD_WAIT_S
        self._worker.evidence.record(x, "single" if x.ended else "opening", waits=True)

    def recorded(self, x: Exchange, *, safe: bool) -> None:
        """The record that `x` waited for is safe, or cannot be made so."""
        if self.exchange is not x or self._mode == CLOSED or x.phase is Phase.RELEASED:
            return
        if safe and x.recorded_single and x.phase is Phase.HELD:
            x.phase = Phase.RELEASED
            held, x.held = cast("list[bytes]", x.held), ()
            self._emit(x, held)
            self._finish(x)
        elif not safe or (x.phase is Phase.INTENT and x.receipt_key and not x.receipt):
            self.record_failed(x)
        elif x.phase is Phase.INTENT:
            self._forward(x)
        elif x.phase is Phase.CLOSING:
            self._finish(x)
        else:
            self._release(x)

    def broke(self, x: Exchange) -> None:
        """An exception on the way of `x`: report it and end the connection."""
        self._worker.evidence.failed("answer", x)
        if not self.is_gone(x):
            self._abort(x)

    def record_failed(self, x: Exchange) -> None:
        """No record, no answer but this one."""
        self._worker.metrics.unrecorded.inc((x.phase.name.lower(),))
        if x.phase is Phase.CLOSING:
            self._abort(x)
            return
        if x.upstream is not None:
            x.upstream.abort()
            x.upstream = None
        refusal = Refusal("audit", Reason.AUDIT_UNAVAILABLE, retry_after_s=1.0)
        x.stage, x.reason, x.allowed, x.outcome = refusal.stage, refusal.reason, False, "blocked"
        put = refusing_answer if x.peer.via else refusal_answer
        x.status, parts = put(x, refusal, time())
        x.close = True
        x.sent = len(parts[1])
        x.chunked = x.tunnel = False
        x.held = [parts[0] + self._last_fields(x) + b"\r\n", parts[1]]
        x.ended = True
        if x.phase is Phase.DECIDING:
            # attack: a flood while the daemon is away; what there is room for is told it later
            x.recorded_single = True
            if self._worker.recorder.has_room:
                self._worker.evidence.record(x, "single", waits=False)
        elif x.phase is Phase.HELD:
            x.recorded_single = False
        self._release(x)

    def _release(self, x: Exchange) -> None:
        held, x.held, x.held_bytes = list(x.held), (), 0
        x.phase = Phase.RELEASED
        if x.ended and x.outcome != "completed" and x.allowed and not x.recorded_single:
            self._abort(x)  # the answer broke off while its head was being recorded
            return
        if x.tunnel:
            self._emit(x, held)
            self._begin_to_last(x)
            if x.ended:
                self._upstream_left(x)
            else:
                self._open_tunnel(x)
            return
        if x.ended:
            if x.durability in HELD_TO_THE_END and not x.recorded_single and len(held) > 1:
                self._tail = held.pop()
            self._emit(x, held)
            self._close_exchange(x)
            return
        self._begin_to_last(x)
        if x.durability in HELD_TO_THE_END and len(held) > 1:
            self._tail = held.pop()
        self._emit(x, held)
        if x.upstream is not None:
            if self._write_paused:
                x.upstream.pause_reading()
            else:
                x.upstream.resume_reading()

    def _close_exchange(self, x: Exchange) -> None:
        """Everything was passed on: the closing record, where one is due, then the next request."""
        if not x.recorded_single and x.durability in HELD_TO_THE_END and not x.tunnel and x.allowed:
            x.phase = Phase.CLOSING
            self.deadline = monotonic() + RECORD_WAIT_S
            x.recorded_single = True
            self._worker.evidence.record(x, "closing", waits=True)
            return
        self._finish(x)

    def _finish(self, x: Exchange) -> None:
        if self._tail:
            self._emit_more(self._tail)
            self._tail = b""
        self._conclude(x)
        self._emitted(x)

    def _conclude(self, x: Exchange) -> None:
        """Leave the exchange behind: the closing record, counters, the log line."""
        if x.phase is Phase.DONE:
            return
        if self._upload is not None:
            self._end_upload()
        if x.holding is not None:
            holding, x.holding, x.pieces = x.holding, None, None
            holding.close()
        early = x.phase < Phase.HELD
        if early:  # the client went away before there was an answer
            x.status = x.status or _CLIENT_CLOSED
            x.reason = x.reason if x.stage else Reason.INTERNAL_ERROR
        if not x.recorded_single:
            self._worker.evidence.record(x, "single" if early else "closing", waits=False)
        x.phase = Phase.DONE
        if self._lasting is not None:
            self._cease_to_last(x, self._lasting)
        self.exchange = None
        self._worker.evidence.completed(x)

    def _abort(self, x: Exchange) -> None:
        """Break off in the middle: the client must not take what it has for the whole."""
        self._tail = b""
        self._leave_upstream(x)
        self._conclude(x)
        self._mode = CLOSED
        self._break_off()

    @staticmethod
    def _idle_timeout(x: Exchange) -> float:
        return x.route.idle_timeout_s or _destination(x).idle_timeout_s

    # the worker's sweep

    def _expired(self, x: Exchange, now: float) -> None:
        """The deadline of `x` passed."""
        if self._mode == CLOSED:
            self._conclude_unread(x, None)
            return
        self.deadline = now + RECORD_WAIT_S
        tunnel = self._tunnel
        if tunnel is not None and tunnel.is_open and tunnel.is_ending:  # no end of the frame in sight
            self._abort(x)
        elif tunnel is not None and tunnel.is_open and not self._write_paused:
            self._end_tunnel(x, tunnel, GOING_AWAY, _IDLE, "completed")
        elif self._write_paused or x.phase is Phase.RELEASED:
            x.outcome = "aborted_client" if self._write_paused or self._mode == BODY else "upstream_error"
            self._abort(x)
        elif x.phase is Phase.INSPECTING:
            self.refuse(x, BROKEN)
        elif x.phase is Phase.ESCORT:
            self.refuse(x, _NOT_KEPT)
        elif x.phase is Phase.UPSTREAM and x.held and x.escort is not None and x.escort.searches:
            self._hold(x)  # a page that comes in drops: what there is of it must do
        elif x.phase is Phase.STORING:
            self._answer_instead(x, _NOT_KEPT)
        elif x.phase in (Phase.INTENT, Phase.HELD, Phase.CLOSING):
            self.record_failed(x)
        elif x.phase is Phase.PARKED:
            self.refuse(x, UNAVAILABLE)
        elif not x.body_done and (
            x.phase is Phase.DECIDING or (x.upstream is not None and not x.upstream.paused)
        ):  # the client is slow: with a form for our pages, or with a body that its upstream waits for
            self.on_failed(x, Reason.REQUEST_TIMEOUT)
            self.on_settled(x)
        elif x.upstream is None:  # all connections were busy
            self.on_failed(x, Reason.OVERLOADED)
            self.on_settled(x)
        else:
            x.upstream.overdue()
            self.on_failed(x, Reason.UPSTREAM_TIMEOUT)
            self.on_settled(x)

    def check_stream(self, x: Exchange, now_mono: float, now: float) -> None:
        """End what is open and would be refused now."""
        lasting = self._lasting
        if lasting is None or not lasting.is_open or now_mono - self.checked_at < STREAM_CHECK_S:
            return
        self.checked_at = now_mono
        worker = self._worker
        if worker.remote is None:
            self.look_again(x, worker.sessions, now)
        else:
            worker.remote.ask_again(x, worker.snapshot)

    def look_again(self, x: Exchange, sessions: Sessions, now: float) -> None:
        """Decide again about what is open."""
        lasting, tunnel, worker = self._lasting, self._tunnel, self._worker
        if lasting is None or not lasting.is_open or (tunnel is not None and tunnel.is_ending):
            return
        refusal: Refusal | None
        try:
            refusal = reconsider(x, lasting.judged, worker.snapshot, sessions, now)
        except StoreUnavailableError:
            return
        except Exception:  # noqa: BLE001 - whatever goes wrong while deciding refuses
            worker.evidence.failed("reconsider", x)
            refusal = Refusal("pipeline", Reason.INTERNAL_ERROR)
        if refusal is None:
            lasting.judged = worker.snapshot
            if (
                self._is_active(x)
                and x.route.activity
                and x.entry is not None
                and x.entry.session.credential == "cookie"
            ):
                sessions.touch(x.entry, now)
            return
        x.rule = refusal.rule or x.rule
        if tunnel is not None:
            self._end_tunnel(x, tunnel, POLICY_VIOLATION, refusal, "blocked")
        else:
            x.outcome, x.stage, x.reason = "blocked", refusal.stage, refusal.reason
            self._abort(x)

    def _is_active(self, x: Exchange) -> bool:
        """Whether the person did something since the last look: answers to pings are the browser's."""
        if self._tunnel is not None:
            return self._tunnel.has_spoken()
        before, self._received_at_check = self._received_at_check, x.received
        return x.received > before

    # what stays open

    def _is_crowded(self, x: Exchange, kind: str) -> bool:
        """Take the places for what will last; True when there are none left."""
        if self._lasting is not None and self._lasting.places:
            return False
        places = take_places(x, self._worker.occupancy)
        if places is None:
            self._lasting = None
            return True
        self._lasting = Lasting(kind, x.snapshot, places)
        return False

    def _begin_to_last(self, x: Exchange) -> None:
        """The head left and more will follow: from now on the exchange is looked after."""
        self.deadline = monotonic() + self._idle_timeout(x)
        self.checked_at = 0.0
        self._received_at_check = x.received
        lasting = self._lasting
        if lasting is None:
            lasting = self._lasting = Lasting(ANSWER, x.snapshot)
        elif lasting.kind == WEBSOCKET and not x.tunnel:
            lasting.kind = ANSWER  # a handshake that was declined at length
        lasting.is_open = True
        self._worker.metrics.lasts(lasting.kind, 1)
        if self._tunnel is not None:
            self._tunnel.is_open = True

    def _cease_to_last(self, x: Exchange, lasting: Lasting) -> None:
        """Give back what was held for it, however it ended."""
        self._lasting = None
        worker = self._worker
        if lasting.is_open:
            worker.metrics.lasts(lasting.kind, -1)
            worker.metrics.streams_closed.inc((lasting.kind, why_closed(x)))
        if worker.occupancy is not None:
            for place in lasting.places:
                worker.occupancy.give_back(place)

    def leave_when_due(self, x: Exchange, now: float) -> None:
        """Send a tunnel or event stream away at its moment within the time to drain: it would not end by itself."""
        lasting, tunnel, worker = self._lasting, self._tunnel, self._worker
        if lasting is None or not lasting.is_open or lasting.kind == ANSWER or not worker.drain_until:
            return
        if now < worker.drain_until - worker.drain_s * (1.0 - leaving_share(x.request_id)):
            return
        if tunnel is None:
            x.stage, x.reason = "capacity", Reason.DRAINING
            self._abort(x)
        elif not tunnel.is_ending:
            self._end_tunnel(x, tunnel, GOING_AWAY, _LEAVING, "completed")

    # the tunnel

    def _pass_up(self, x: Exchange, data: bytes) -> None:
        """Pass on what the client says in a tunnel."""
        tunnel = self._tunnel
        assert tunnel is not None  # noqa: S101 - made with the 101
        x.received += len(data)
        is_sound = tunnel.take_from_client(data)
        if tunnel.is_ending:
            return
        if not is_sound:
            self._end_tunnel(x, tunnel, PROTOCOL_ERROR, _NO_FRAME, "blocked")
            return
        self.deadline = monotonic() + self._idle_timeout(x)
        if x.upstream is not None:
            x.upstream.write(data)

    def _pass_rest(self, x: Exchange, tunnel: Tunnel, data: bytes) -> None:
        """Complete the frame under way of a tunnel that must end; then end it."""
        x.sent += len(data)
        if data:
            self._emit_more(data)
        if tunnel.is_between_frames:
            self._part(x, tunnel)

    def _end_tunnel(self, x: Exchange, tunnel: Tunnel, code: int, why: Refusal, outcome: str) -> None:
        """Nothing of the client goes on; both sides are told as soon as they can be."""
        x.stage, x.reason, x.outcome = why.stage, why.reason, outcome
        tunnel.is_ending, tunnel.code = True, code
        if x.upstream is not None:
            tunnel.tell_upstream(x.upstream, GOING_AWAY)
        if self._write_paused:
            self._abort(x)  # a client that takes nothing would not take this either
        elif tunnel.is_between_frames or x.upstream is None:
            self._part(x, tunnel)
        else:
            self.deadline = monotonic() + FRAME_GRACE_S

    def _upstream_left(self, x: Exchange) -> None:
        """The upstream hung up on a tunnel."""
        tunnel = self._tunnel
        assert tunnel is not None  # noqa: S101 - made with the 101
        if not tunnel.is_ending:
            if tunnel.is_closed_by_server or tunnel.is_closed_by_client:
                tunnel.code, x.outcome = NORMAL, "completed"
            else:
                tunnel.code, x.reason, x.outcome = INTERNAL_ERROR, Reason.UPSTREAM_CLOSED, "upstream_error"
        if tunnel.is_between_frames and not self._write_paused:
            self._part(x, tunnel)
        else:
            self._abort(x)

    def _part(self, x: Exchange, tunnel: Tunnel) -> None:
        """Between two frames: say the last word to both, and hang up."""
        word = tunnel.word_to_client(tunnel.code)
        if word:
            self._emit_more(word)
        self._leave_upstream(x)
        self._conclude(x)
        self._emitted(x)

    def _leave_upstream(self, x: Exchange) -> None:
        """Give the upstream's connection up; the other end of a tunnel is told first."""
        upstream, x.upstream = x.upstream, None
        if upstream is None:
            return
        if self._tunnel is not None and self._tunnel.is_open:
            self._tunnel.leave_upstream(upstream, GOING_AWAY)
        else:
            upstream.abort()

    def _was_announced(self, x: Exchange) -> bool:
        """Whether one side, or we, said that the tunnel is over before the client hung up."""
        tunnel = self._tunnel
        return x.outcome != "completed" or (
            tunnel is not None and (tunnel.is_closed_by_client or tunnel.is_closed_by_server)
        )


def _destination(x: Exchange) -> Upstream:
    assert x.destination is not None  # noqa: S101 - set when the exchange was forwarded
    return x.destination
