"""What is left of a request: its records for the audit daemon, its log line, its counters.

Says nothing that was not decided elsewhere, and waits for nothing: whoever waits for a record is told by
the recorder.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable
from time import monotonic
from typing import Final

import orjson

from gateway.audit.access import (
    COURSES,
    MAX_PATH_BYTES,
    MAX_USER_AGENT_BYTES,
    Blemish,
    Node,
    Place,
    Subject,
    encode_text,
    fill,
    remark,
    template,
)
from gateway.audit.canonical import encode
from gateway.audit.placement import lane, place
from gateway.audit.protocol import ASYNC, GRADE, RECEIPTED, SEQUENCE_MASK
from gateway.audit.receipt import SALT_BYTES, SENT, line_digest
from gateway.audit.record import DETECTIONS, Stamp, detection, uuid7
from gateway.audit.resource import encode_resources, own_resource, together
from gateway.audit.subject import Sealing
from gateway.edge.exchange import Exchange, Refusal
from gateway.edge.forward_auth import VIA
from gateway.edge.lookout import Lookout
from gateway.edge.metrics import EdgeMetrics, Finished
from gateway.edge.recorder import Recorder
from gateway.edge.resolve import Resolution
from gateway.edge.subjects import SubjectKeys, SubjectSeals
from gateway.edge.trace import SPAN_AT, trace_ids
from gateway.exchange.reason import Reason
from gateway.exchange.route import SELF
from gateway.exchange.session import Session
from gateway.exchange.stream import STREAM_NUMBERS, STREAMS_BY_NUMBER

TEMPLATES: Final = 2048
LINES: Final = 64
MAX_RULE_BYTES: Final = 256
_VIA: Final = {"": "", VIA: f',"via":"{VIA}"'}
_VARIANT: Final = len("01234567-0123-7123-")
"""Where a UUID has its variant: 8, 9, a or b (RFC 9562 §4.1)."""
_ENDED: Final = {
    Reason.SESSION_EXPIRED: "expired",
    Reason.SESSION_REVOKED: "revoked",
    Reason.IDENTITY_CHANGED: "rights changed",
}
"""OCSF `actor.session.expiration_reason`."""
_MEDIA_TYPE: Final = re.compile(rb"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}").fullmatch
_SPEAKING: Final = frozenset(("single", "opening"))
"""Phases whose record tells the events of a request first."""
NO_BLEMISH: Final = Blemish()
_CHAIN: Final = 16
"""Proxies that a record names."""


class _Template:
    """What the records of requests that are alike have in common, and where such a record belongs."""

    __slots__ = ("lane", "session", "stream", "text")

    def __init__(self, text: bytes, session: Session | None, stream: int, lane: int) -> None:
        self.text = text
        self.session = session
        self.stream = stream
        self.lane = lane


class Evidence:
    """Writes what happened, for one worker."""

    def __init__(
        self,
        *,
        recorder: Recorder,
        metrics: EdgeMetrics,
        node: Node,
        log: Callable[[bytes], None],
        report: Callable[[str, str], None],
        subjects: SubjectKeys | None = None,
    ) -> None:
        self.recorder = recorder
        self.seals = SubjectSeals(subjects)
        self._metrics = metrics
        self._node = node
        self._log = log
        self._report = report
        self._templates: dict[
            tuple[int, Reason, bool, str, int, str, bytes, bytes, str, str, str, str, str, str, str, bool], _Template
        ] = {}
        self._sealed: dict[tuple[bytes, str, bytes], tuple[Sealing | None, bytes, bytes, Blemish | None]] = {}
        self._types: dict[bytes, bytes] = {b"": b""}
        self._lines: list[str] = []
        self.lookout = Lookout()

    def forget(self) -> None:
        """Compose templates anew: the configuration changed."""
        self._templates.clear()

    def record(self, x: Exchange, phase: str, *, waits: bool, at_least: int = ASYNC) -> None:
        """Hand the record of `x` to the audit daemon; with `waits`, `x.recorded` is called when it is safe."""
        recorder = self.recorder
        grade = max(GRADE[x.durability], at_least) if waits else ASYNC
        if recorder.may_gap:
            if x.stream == 0:
                x.stream, x.lane = _placed(x)
                x.is_left_out = x.stream in recorder.may_gap and not recorder.has_room
            if x.is_left_out and not x.events:
                recorder.leave_out(x if waits else None)
                return
        uid = x.request_id
        if phase not in ("single", "opening"):  # ids of requests have 8 for the variant, of which 9 and a are others
            uid = uid[:_VARIANT] + (b"9" if phase == "intent" else b"a") + uid[_VARIANT + 1 :]
        resolution = x.resolution
        mono = monotonic()
        peer, entry, agent = x.peer, x.entry, x.fields.user_agent
        sealing = None
        if x.snapshot.seals_subjects:
            subject = entry.session.subject if entry is not None else None
            sealed = self._sealed.get((subject.token, x.client_ip, agent)) if subject is not None else None
            sealing, client, user_agent, blemish = sealed or self._seal(x)
        elif x.client_ip == peer.ip:
            client = peer.client
            user_agent, blemish = self.seals.agents.get(agent) or self.seals.agent(agent)
        else:
            client, user_agent, blemish = self.seals.client(None, x.client_ip, agent)
        if x.chain:
            client = _intermediates(x.chain) + client
        if resolution is not None:
            path, resources = resolution.path_json, resolution.resources
            if resolution.blemish is not None or resolution.names_people or x.told is not None:
                resources, blemish = self._about(x, resolution, sealing, blemish or NO_BLEMISH)
        else:
            path, resources = encode_text(x.raw_target.partition(b"?")[0], MAX_PATH_BYTES), b""
        if x.fields.traceparent:
            trace, span = trace_ids(x)
        else:
            trace = x.request_id.replace(b"-", b"")
            span = trace[SPAN_AT:]
        more = b',"shadow":' + x.shadow if x.shadow else b""
        baked = self._template(x, sealing)
        if x.stream == 0:
            x.stream, x.lane = baked.stream, baked.lane
        mark = x.lane
        if x.receipt_key and phase == "intent" and resolution is not None:
            x.receipt_salt = os.urandom(SALT_BYTES)
            line = line_digest(x.receipt_salt, x.method, resolution.forwarded or resolution.text)
            more = SENT % (x.receipt_key, line.encode("ascii")) + more
            mark |= RECEIPTED
        payload = fill(
            baked.text,
            x.received,
            x.request_id,
            path,
            user_agent,
            self._types.get(x.content_type) or self._content_type(x.content_type),
            int((mono - x.started_mono) * 1000),
            x.sent,
            recorder.sequence & SEQUENCE_MASK,
            uid,
            resources,
            client,
            peer.port,
            int(x.started * 1000),
            span,
            trace,
            self.seals.events(x.events, sealing) if x.events else b"",
            int(mono * 1e9),
            COURSES[phase][x.outcome],
            more,
        )
        if blemish is not None or x.outcome != "completed" or x.noticed:
            payload = _remarked(x, payload, blemish or NO_BLEMISH)
        recorder.add(payload, x.stream | mark, grade, x if waits else None)
        if x.events and phase in _SPEAKING:
            self._detect_events(x)
        if x.detections and phase != "intent":
            self._detect(x)

    def has_room(self, x: Exchange, refusal: Refusal | None) -> bool:
        """Whether what is about to happen to `x` can be recorded, or may lack its record."""
        recorder = self.recorder
        if recorder.available:
            return True
        reason, is_known = Reason.ALLOWED if refusal is None else refusal.reason, x.entry is not None
        stream = place(x.route, x.method, reason, allowed=refusal is None, is_known=is_known, has_events=bool(x.events))
        return recorder.is_crowded and stream in recorder.may_gap

    def _seal(self, x: Exchange) -> tuple[Sealing | None, bytes, bytes, Blemish | None]:
        """Return what seals a record, and address and browser of the client as it has them; of a session it is remembered."""
        agent = x.fields.user_agent
        sealing = self.seals.of(x)
        client, user_agent, blemish = self.seals.client(sealing, x.client_ip, agent)
        subject = x.entry.session.subject if x.entry is not None else None
        if sealing is not None and subject is not None and len(agent) <= MAX_USER_AGENT_BYTES:
            if len(self._sealed) >= TEMPLATES:
                self._sealed.clear()
            self._sealed[subject.token, x.client_ip, agent] = sealing, client, user_agent, blemish
        return sealing, client, user_agent, blemish

    def _detect_events(self, x: Exchange) -> None:
        """Write a finding of its own for what somebody should look at."""
        for event in x.events:
            if event.name in DETECTIONS:
                user = self.seals.changed(event, is_sealed=x.snapshot.seals_subjects)
                self._find(x, event.name, user, event.tenant)

    def _detect(self, x: Exchange) -> None:
        """Write a finding for each that inspection made; what an answer brings may come after its opening record."""
        for name in x.detections:
            self._find(x, name, None, "")
        x.detections = []

    def _find(self, x: Exchange, name: str, user: dict[str, object] | None, tenant: str) -> None:
        """Write one finding about `x`."""
        time_ms = int(x.started * 1000)
        stamp = Stamp(
            uid=uuid7(time_ms, os.urandom(10)),
            sequence=self.recorder.sequence,
            time_ms=time_ms,
            mono_ns=int(monotonic() * 1e9),
            boot_uid=self._node.boot_uid,
            node=self._node.hostname,
            version=self._node.version,
        )
        found = detection(
            stamp,
            name,
            correlation_uid=x.request_id.decode("ascii"),
            user=user,
            tenant=tenant or x.tenant,
        )
        self._metrics.findings.inc((name,))
        self.recorder.add(encode(found), STREAM_NUMBERS[stamp.stream], ASYNC, None)

    def _about(
        self, x: Exchange, resolution: Resolution, sealing: Sealing | None, blemish: Blemish
    ) -> tuple[bytes, Blemish]:
        """Say which data the request is about, and what is to be said of its text."""
        redactions, cut = blemish
        resources = resolution.resources
        if resolution.blemish is not None:
            redactions, cut = redactions + resolution.blemish.redactions, cut + resolution.blemish.cut
        if resolution.names_people or x.told is not None:
            resources, taken = self._resources(x, resolution, sealing)
            redactions += taken
        return resources, Blemish(redactions, cut)

    def _resources(self, x: Exchange, resolution: Resolution, sealing: Sealing | None) -> tuple[bytes, int]:
        """Say which data this request is about and whose they are; each person under their own key."""
        match, session = resolution.match, x.entry.session if x.entry is not None else None
        own = None
        if match is not None:
            spec = x.route.resource
            owner = match.owner_id()
            if spec is not None and spec.owner == SELF:
                owner = session.user_id if session is not None else ""
            own = own_resource(x.route, match.resource_id(), owner)
        named = together(own, x.told)
        tenant = session.tenant if session is not None else x.tenant
        if sealing is None:
            return encode_resources(x.route, named)
        seals, asking = self.seals, sealing
        is_refused_stranger = session is None and not x.allowed

        def seal(field: str, person: str, text: str) -> object:
            # attack: a stranger asks for ids that nobody has, and each would get a key that is kept for ever
            if is_refused_stranger or (session is not None and person == session.user_id):
                return asking.value(field, text)
            owners = seals.of_person(person, tenant)
            return text if owners is None else owners.value(field, text)

        return encode_resources(x.route, named, seal=seal)

    def _content_type(self, value: bytes) -> bytes:
        """Write a media type without its parameters; what is none is left out."""
        known = self._types.get(value)
        if known is None:
            name = value.partition(b";")[0].strip(b" \t").lower()
            known = b'"content_type":"%b",' % name if _MEDIA_TYPE(name) is not None else b""
            if len(self._types) >= TEMPLATES:
                self._types = {b"": b""}
            self._types[value[:MAX_USER_AGENT_BYTES]] = known
        return known

    def _template(self, x: Exchange, sealing: Sealing | None) -> _Template:
        session = x.entry.session if x.entry is not None else None
        authority = x.fields.authority
        host = authority.host if authority is not None else ""
        policy = x.snapshot.policy  # what began before a reload records after it
        candidate = x.snapshot.candidate.version if x.snapshot.candidate is not None else ""
        key = (
            x.stream,
            x.reason,
            x.allowed,
            x.rule,
            x.status,
            x.route.name,
            x.method,
            x.version,
            session.handle if session is not None else "",
            sealing.token if sealing is not None else "",
            authority.text if authority is not None else "",
            x.tenant,
            x.peer.aspect,
            policy.version,
            candidate,
            x.secure,
        )
        known = self._templates.get(key)
        # A handle outlives the session's rotation: what it may and how it was proven changes with the object.
        if known is None or known.session is not session or x.events:
            stream, marked = (x.stream, x.lane) if x.stream else _placed(x)
            where = Place(
                host=host,
                tenant=x.tenant,
                secure=x.peer.secure,
                tls=x.peer.tls,
                certificate=x.peer.fingerprint,
                via=x.peer.via,
                policy_version=policy.version,
                candidate_version=candidate,
                is_https=x.secure,
                port=(authority.port or 0) if authority is not None else 0,
                sni=x.peer.sni,
            )
            who = session or next((Subject(e.user_id, e.user, e.tenant) for e in x.events if e.user_id), None)
            text = template(
                x.route,
                x.method.decode("ascii"),
                who,
                where,
                self._node,
                stream=STREAMS_BY_NUMBER[stream],
                asked=policy.inputs,
                sealing=sealing,
                events=x.events,
                allowed=x.allowed,
                reason=x.reason,
                rule=encode_text(x.rule.encode(), MAX_RULE_BYTES),
                status=x.status,
                version=x.version,
            )
            known = _Template(text, session, stream, marked)
            if not x.events:
                if len(self._templates) >= TEMPLATES:
                    self._templates.clear()
                self._templates[key] = known
        return known

    def completed(self, x: Exchange) -> None:
        """Count a finished exchange and write its line."""
        seconds = monotonic() - x.started_mono
        key = (x.route.name, x.outcome, x.status, x.stage, x.reason)
        finished = self._metrics.finished.get(key)
        if finished is None:
            finished = self._metrics.finished[key] = Finished()
        finished.add(seconds, x.received, x.sent)
        self.lookout.note(x)
        if x.snapshot.log_requests:
            self._lines.append(
                f'{{"event":"request.completed","time":{x.started:.3f},"request_id":"{x.request_id.decode("ascii")}",'
                f'"route":"{x.route.name}","outcome":"{x.outcome}","reason":"{x.reason}","status":{x.status},'
                f'"duration_s":{seconds:.6f},"received":{x.received},"sent":{x.sent}{_VIA[x.peer.via]}}}\n'
            )
            if len(self._lines) >= LINES:
                self.flush_log()

    def flush_log(self) -> None:
        """Write the lines of finished requests."""
        if self._lines:
            lines, self._lines = self._lines, []
            self._log("".join(lines).encode("ascii"))

    def failed(self, where: str, x: Exchange) -> None:
        """Report an exception on the request path: the request was refused."""
        frames = traceback.extract_tb(sys.exc_info()[2])
        place = f"{frames[-1].filename.rsplit('/', 2)[-1]}:{frames[-1].lineno}" if frames else ""
        error = sys.exc_info()[0]
        self._report(
            "request.failed", f"{where} {x.request_id.decode('ascii')} {error.__name__ if error else ''} {place}"
        )


def _placed(x: Exchange) -> tuple[int, int]:
    """Return the number of the stream of a request, and whether its records may use what is kept for a full disk."""
    is_known = x.entry is not None
    stream = place(x.route, x.method, x.reason, allowed=x.allowed, is_known=is_known, has_events=bool(x.events))
    return stream, lane(x.route, stream)


def _intermediates(chain: str) -> bytes:
    """The proxies between the client and us, whose word about each other was believed."""
    return b'"intermediate_ips":%b,' % orjson.dumps(chain.replace(" ", "").split(",")[1 : _CHAIN + 1])


def _remarked(x: Exchange, payload: bytes, blemish: Blemish) -> bytes:
    """Say what is rarely to be said of a request."""
    redactions, cut = blemish
    more: dict[str, object] = {}
    told = x.told
    if told is not None:
        if told.changes:
            more["change"] = {"fields": list(told.changes)}
        if told.faults:
            more["resource_faults"] = list(told.faults)
    if x.noticed:
        more["inspection"] = x.noticed
    ended = _ENDED.get(x.reason, "") if x.entry is not None and x.outcome != "completed" else ""
    if not redactions and not cut and not more and not ended:
        return payload
    return remark(payload, redactions=redactions, size=len(payload) + cut if cut else 0, more=more, ended=ended)
