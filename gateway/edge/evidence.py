"""What is left of a request: its records for the audit daemon, its log line, its counters.

Says nothing that was not decided elsewhere, and waits for nothing: whoever waits for a record is told by
the recorder.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

import msgspec
import orjson

from gateway.audit.access import MAX_USER_AGENT_BYTES, Node, Place, Subject, encode_text, fill, template
from gateway.audit.placement import place
from gateway.audit.protocol import ASYNC, GRADE, SEQUENCE_MASK
from gateway.edge.exchange import Exchange
from gateway.edge.forward_auth import VIA
from gateway.edge.metrics import EdgeMetrics, Finished
from gateway.edge.recorder import Recorder
from gateway.exchange.envelope import Event
from gateway.exchange.reason import Reason
from gateway.exchange.session import Session
from gateway.exchange.stream import STREAMS_BY_NUMBER

TEMPLATES: Final = 2048
LINES: Final = 64
_VIA: Final = {"": "", VIA: f',"via":"{VIA}"'}
_VARIANT: Final = len("01234567-0123-7123-")
"""Where a UUID has its variant: 8, 9, a or b (RFC 9562 §4.1)."""
_REASONS: Final = {reason: reason.value.encode("ascii") for reason in Reason}
_NO_USER_AGENT: Final = b'""'


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
    ) -> None:
        self.recorder = recorder
        self._metrics = metrics
        self._node = node
        self._log = log
        self._report = report
        self._templates: dict[
            tuple[int, str, bytes, str, str, str, str, str, str, str, bool], tuple[bytes, Session | None]
        ] = {}
        self._user_agents: dict[bytes, bytes] = {}
        self._rules: dict[str, bytes] = {}
        self._lines: list[str] = []

    def forget(self) -> None:
        """Compose templates anew: the configuration changed."""
        self._templates.clear()

    def record(self, x: Exchange, phase: str, *, waits: bool, at_least: int = ASYNC) -> None:
        """Hand the record of `x` to the audit daemon; with `waits`, `x.recorded` is called when it is safe."""
        recorder = self.recorder
        grade = max(GRADE[x.durability], at_least) if waits else ASYNC
        if x.stream == 0:
            is_known = x.entry is not None
            x.stream = place(
                x.route, x.method, x.reason, allowed=x.allowed, is_known=is_known, has_events=bool(x.events)
            )
        uid = x.request_id
        if phase not in ("single", "opening"):  # ids of requests have 8 for the variant, of which 9 and a are others
            uid = uid[:_VARIANT] + (b"9" if phase == "intent" else b"a") + uid[_VARIANT + 1 :]
        resolution = x.resolution
        mono = monotonic()
        payload = fill(
            self._template(x),
            x.allowed,
            x.received,
            x.method,
            x.request_id,
            resolution.path_json if resolution is not None else encode_text(x.raw_target.partition(b"?")[0], 256),
            self._user_agent(x.fields.user_agent),
            x.version,
            x.status,
            int((mono - x.started_mono) * 1000),
            x.sent,
            recorder.sequence & SEQUENCE_MASK,
            uid,
            self._rule(x.rule),
            resolution.resources if resolution is not None else b"",
            x.client_ip.encode("ascii"),
            x.peer.port,
            _REASONS[x.reason],
            int(x.started * 1000),
            _encode_events(x.events) if x.events else b"",
            int(mono * 1e9),
            b"pending" if phase == "intent" else x.outcome.encode("ascii"),
            phase.encode("ascii"),
            b',"shadow":' + x.shadow if x.shadow else b"",
        )
        recorder.add(payload, x.stream, grade, x if waits else None)

    def _template(self, x: Exchange) -> bytes:
        session = x.entry.session if x.entry is not None else None
        authority = x.fields.authority
        host = authority.host if authority is not None else ""
        policy = x.snapshot.policy  # what began before a reload records after it
        candidate = x.snapshot.candidate.version if x.snapshot.candidate is not None else ""
        key = (
            x.stream,
            x.route.name,
            x.method,
            session.handle if session is not None else "",
            host,
            x.tenant,
            x.peer.tls or x.peer.via,
            x.peer.fingerprint,
            policy.version,
            candidate,
            x.secure,
        )
        known, of = self._templates.get(key, (b"", None))
        # A handle outlives the session's rotation: what it may and how it was proven changes with the object.
        if not known or of is not session or x.events:
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
            )
            who = session or next((Subject(e.user_id, e.user, e.tenant) for e in x.events if e.user_id), None)
            known = template(
                x.route,
                x.method.decode("ascii"),
                who,
                where,
                self._node,
                stream=STREAMS_BY_NUMBER[x.stream],
                asked=policy.inputs,
            )
            if not x.events:
                if len(self._templates) >= TEMPLATES:
                    self._templates.clear()
                self._templates[key] = known, session
        return known

    def _user_agent(self, value: bytes) -> bytes:
        if not value:
            return _NO_USER_AGENT
        known = self._user_agents.get(value)
        if known is None:
            if len(value) > MAX_USER_AGENT_BYTES:  # attack: kilobytes, different ones each time
                return encode_text(value, MAX_USER_AGENT_BYTES)
            if len(self._user_agents) >= TEMPLATES:
                self._user_agents.clear()
            known = self._user_agents[value] = encode_text(value, MAX_USER_AGENT_BYTES)
        return known

    def _rule(self, place: str) -> bytes:
        known = self._rules.get(place)
        if known is None:
            if len(self._rules) >= TEMPLATES:
                self._rules.clear()
            known = self._rules[place] = encode_text(place.encode(), 256)
        return known

    def completed(self, x: Exchange) -> None:
        """Count a finished exchange and write its line."""
        seconds = monotonic() - x.started_mono
        key = (x.route.name, x.outcome, x.status, x.stage, x.reason)
        finished = self._metrics.finished.get(key)
        if finished is None:
            finished = self._metrics.finished[key] = Finished()
        finished.add(seconds, x.received, x.sent)
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


def _encode_events(events: Sequence[Event]) -> bytes:
    return b'"events":' + orjson.dumps(msgspec.to_builtins(list(events)), option=orjson.OPT_SORT_KEYS) + b","
