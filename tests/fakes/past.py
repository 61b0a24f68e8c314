"""A past: requests of many people, decided by a policy and recorded as the edge records them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from gateway.audit.access import COURSES, MAX_USER_AGENT_BYTES, Node, Place, encode_text, fill, remark, template
from gateway.exchange.decision import Decision
from gateway.exchange.reason import ANSWERS, Reason
from gateway.exchange.route import Route
from gateway.exchange.session import Session
from gateway.exchange.stream import Stream
from gateway.ledger.keys import AuditKeys
from gateway.ledger.log import open_log
from gateway.ledger.log_file import FILE_BYTES
from gateway.policy import Facts, PolicyTable
from gateway.policy.judgement import Verdict, answer, route

NODE = Node("node-a", "boot", "0.1.0")
NOBODYS = Route(name="none", template="", methods=("GET",), upstream="", public=True)
AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
)
BATCH = 64


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """One request as it came in."""

    facts: Facts
    session: Session | None
    now: float
    certificate: str = ""


def judged(table: PolicyTable, hosts: Mapping[str, str], past: Past) -> Verdict:
    """Decide it as the gateway does."""
    found = route(table, hosts, past.facts)
    if isinstance(found, Reason):
        return Verdict(None, Decision(allowed=False, reason=found))
    return answer(table, hosts, found, past.facts, session=past.session, now=past.now)


class Recorder:
    """Makes records; templates are kept as the edge keeps them."""

    def __init__(self, table: PolicyTable, hosts: Mapping[str, str]) -> None:
        self.table = table
        self._hosts = hosts
        self._templates: dict[tuple[object, ...], tuple[bytes, Session | None]] = {}
        self._sequence = 0

    def record(self, past: Past, *, reason: Reason | None = None, phase: bytes = b"single") -> bytes:
        """Make the record of a request; `reason` = what refused it after policy."""
        verdict = judged(self.table, self._hosts, past)
        allowed = verdict.decision.allowed and reason is None
        rule = verdict.decision.rule if reason is None else ""
        said = reason or verdict.decision.reason
        return self._fill(past, verdict, said, allowed=allowed, rule=rule, phase=phase)

    def _fill(self, past: Past, verdict: Verdict, said: Reason, *, allowed: bool, rule: str, phase: bytes) -> bytes:
        facts, session = past.facts, past.session
        met = verdict.match.route if verdict.match is not None else NOBODYS
        if verdict.match is None:
            session = None  # nobody is asked before there is a route
        tenant = self._hosts[facts.host]
        if verdict.match is not None:
            tenant = verdict.match.tenant(tenant, facts.host, facts.fields) or tenant
        self._sequence += 1
        request_id = b"%032x" % self._sequence
        payload = fill(
            self._template(met, past, session, tenant, said, allowed=allowed, rule=rule), 0, request_id, encode_text(facts.path.encode(), 2048),
            encode_text(facts.user_agent.encode("latin-1"), 256), b"", 12, 2048,
            self._sequence, request_id, b"", b'"ip":"%b"' % facts.client_ip.encode(), 50_000,
            int(past.now * 1000), b"0" * 16, b"0" * 32, b"", int(past.now * 1e6), COURSES[phase.decode()]["completed" if allowed else "blocked"],
        )  # fmt: skip
        cut = max(0, len(facts.user_agent) - MAX_USER_AGENT_BYTES)
        return remark(payload, size=len(payload) + cut) if cut else payload

    def _template(
        self, met: Route, past: Past, session: Session | None, tenant: str, said: Reason, *, allowed: bool, rule: str
    ) -> bytes:
        facts = past.facts
        handle = session.handle if session is not None else ""
        key = met.name, facts.method, handle, facts.host, tenant, facts.secure, past.certificate, said, allowed, rule
        known, of = self._templates.get(key, (b"", None))
        if not known or of is not session:
            place = Place(
                host=facts.host,
                tenant=tenant,
                secure=facts.secure,
                tls="TLSv1.3 TLS_AES_256_GCM_SHA384",
                policy_version=self.table.version,
                certificate=past.certificate,
                is_https=facts.secure,
            )
            known = template(
                met,
                facts.method,
                session,
                place,
                NODE,
                stream=Stream.ACCESS,
                asked=self.table.inputs,
                allowed=allowed,
                reason=said,
                rule=encode_text(rule.encode(), 256),
                status=200 if allowed else ANSWERS[said].status,
            )
            self._templates[key] = known, session
        return known


def write_log(state_dir: Path, keys: AuditKeys, payloads: Iterable[bytes], *, capacity: int = FILE_BYTES) -> None:
    """Write records as the audit daemon does, in batches."""
    log = open_log(state_dir, keys, Stream.SECURITY, boot="boot", capacity=capacity)
    sequence, batch = 1, []
    for payload in payloads:
        batch.append(payload)
        if len(batch) == BATCH:
            log.append(
                [(0, range(sequence, sequence + len(batch)), batch)], is_safe=False, now_ns=1_800_000_000_000_000_000
            )
            sequence, batch = sequence + len(batch), []
    if batch:
        log.append(
            [(0, range(sequence, sequence + len(batch)), batch)], is_safe=False, now_ns=1_800_000_000_000_000_000
        )
    log.settle()
    log.close()


def signed_in(name: str, roles: tuple[str, ...], now: float, **changes: object) -> Session:
    """Make the session of a person of acme who has just signed in with both factors."""
    values: dict[str, object] = {
        "handle": f"s_{name}", "user_id": f"u_{name}", "user": name, "tenant": "acme", "roles": roles, "email": f"{name}@acme.example",
        "amr": ("pwd", "otp", "mfa"), "auth_time": now - 60, "mfa_time": now - 50, "created": now - 60, "expires": now + 28_800,
        "idle_s": 900.0, "host": "acme.example.com", "secure": True,
    }  # fmt: skip
    return Session(**{**values, **changes})  # type: ignore[arg-type]  # a factory of test values


def days(
    requests: int,
    *,
    since: float,
    until: float,
    people: int,
    roles_of: Callable[[int], tuple[str, ...]],
    host: str,
    addresses: Callable[[random.Random], tuple[str, str]],
    seed: int = 7,
) -> Iterator[Past]:
    """Make requests evenly over a time: people sign in every few hours, work for a while, and somebody who is not signed in asks too.

    `addresses` picks a method and a path.
    """
    choose = random.Random(seed)
    sessions: dict[int, Session] = {}
    for index in range(requests):
        now = since + (until - since) * index / requests
        method, path = addresses(choose)
        session = None
        if choose.random() > 0.05:
            number = min(int(choose.expovariate(6 / people)), people - 1)  # few people make most requests
            session = sessions.get(number)
            if session is None or now - session.auth_time > 14_400:
                roles = roles_of(number)
                session = sessions[number] = signed_in(
                    f"person{number}",
                    roles,
                    now,
                    handle=f"s_{number}_{index}",
                    host=host,
                    mfa_time=now - choose.random() * 50,
                )
        facts = Facts(
            method=method,
            host=host,
            path=path,
            client_ip=f"10.0.{index % 250}.{index % 199}",
            user_agent=AGENTS[index % len(AGENTS)],
        )
        yield Past(facts=facts, session=session, now=now)
