"""The head that goes upstream, and what comes back from our own pages.

Composes what was decided: the canonical target, the client's fields, then ours. The connection sends it.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from time import time
from typing import Final

import msgspec

from gateway.audit.receipt import FIELD
from gateway.edge.browser import origin_of, page_of
from gateway.edge.certified import certificate_of
from gateway.edge.exchange import Exchange
from gateway.edge.hardening import field_lines, status_line
from gateway.edge.identity import identity_fields
from gateway.edge.interrupted import KEEP, interrupted
from gateway.edge.leaks import asked_readable
from gateway.edge.page_answer import asked_whole
from gateway.edge.snapshot import Upstream
from gateway.edge.tenancy import tenant_field
from gateway.edge.trace import trace_fields
from gateway.exchange.envelope import ENVELOPE_FIELD, Envelope, pack_envelope, unpack_events
from gateway.exchange.reason import Reason
from gateway.wire.forwarded import forwarding_fields
from gateway.wire.request import API_KEY_PREFIX, PSEUDONYM
from gateway.wire.response import ResponseHead

IDENTITIES: Final = 2048
_REASON_OF: Final = {reason.value: reason for reason in Reason}


class Outgoing:
    """Composes heads, for one worker; remembers identities while their assertion is fresh."""

    def __init__(self, report: Callable[[str, str], None]) -> None:
        self._report = report
        self._identities: dict[tuple[str, str, str], tuple[float, object, bytes]] = {}
        self._date = (0, b"")

    def date(self) -> bytes:
        """The time as a field value, for answers whose upstream has no clock; made once a second."""
        now = int(time())
        if self._date[0] != now:
            self._date = now, formatdate(now, usegmt=True).encode("ascii")
        return self._date[1]

    def forget(self) -> None:
        """Sign anew: the configuration changed."""
        self._identities.clear()

    def head(self, x: Exchange, forwarding: dict[tuple[str, str, bool], bytes]) -> bytes:
        """The head that goes upstream: canonical target, the client's fields, then ours."""
        fields, authority, resolution = x.fields, x.fields.authority, x.resolution
        assert authority is not None  # noqa: S101 - admitted
        assert resolution is not None  # noqa: S101 - admitted
        upstream = x.destination
        assert upstream is not None  # noqa: S101 - set with the pool
        escort = x.escort
        chain = x.chain or x.client_ip
        key = (authority.text, chain, x.secure)
        ours = forwarding.get(key)
        if ours is None:
            if len(forwarding) >= 16:
                forwarding.clear()
            proto = "https" if x.secure else "http"
            port = authority.port or (443 if x.secure else 80)
            ours = forwarding_fields(x.client_ip, chain, proto=proto, authority=authority.text, port=port)
            forwarding[key] = ours
        assert x.upstream is not None  # noqa: S101 - the connection that asks
        host = authority.text.encode("ascii") if upstream.preserve_host else x.upstream.authority
        parts = [
            b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (x.method, resolution.forwarded or resolution.text, host),
            self._page_fields(x)
            if upstream.internal
            else asked_readable(x, asked_whole(x, fields.forward))
            if escort is None
            else escort.client_fields(
                asked_readable(x, asked_whole(x, fields.forward)),
                host=authority.host,
                path=resolution.text,
                secure=x.secure,
                own_origin=origin_of(x),
                now=x.started,
            ),
            ours,
        ]
        if x.field_rules is not None:  # a client's field of the same name was dropped with its head
            parts.append(field_lines(x.field_rules.request))
        if resolution.mapping is not None and resolution.mapping.strip:
            parts.append(b"x-forwarded-prefix: %b\r\n" % resolution.mapping.strip.encode("ascii"))
        parts.append(
            b"%b: %b\r\nvia: %b%b %b\r\n"
            % (upstream.field_names["request_id"], x.request_id, fields.via, x.version, PSEUDONYM)
        )
        if upstream.internal:
            parts.append(self._envelope(x))
        elif x.entry is not None:
            parts.append(self.identity(x, upstream))
        match = resolution.match
        if match is not None and match.rule.tenancy is not None:
            parts.append(tenant_field(x))
        if x.receipt:
            parts.append(b"%b: %b\r\n" % (FIELD, x.receipt))
        if escort is not None and not upstream.internal:
            parts.append(escort.fields)
        if (
            fields.authorization
            and x.route.authorization == "portal"
            and not upstream.internal
            and (escort is None or not escort.authorizes)
            and API_KEY_PREFIX not in fields.authorization  # our credential is nobody else's business
        ):
            parts.append(b"authorization: %b\r\n" % fields.authorization)
        if fields.traceparent or x.snapshot.trace.flags:
            parts.append(trace_fields(x))
        if fields.websocket:
            parts.append(b"connection: Upgrade\r\nupgrade: websocket\r\n")
        if x.holding is not None and (fields.chunked or fields.length is not None):
            parts.append(b"content-length: %d\r\n" % x.holding.length)
        elif upstream.internal and (fields.chunked or fields.length is not None):
            parts.append(b"content-length: %d\r\n" % len(x.form))
        elif fields.chunked:
            parts.append(b"transfer-encoding: chunked\r\n")
        elif fields.length is not None:
            parts.append(b"content-length: %d\r\n" % fields.length)
        parts.append(b"\r\n")
        return b"".join(parts)

    def identity(self, x: Exchange, upstream: Upstream) -> bytes:
        """The fields that say to an upstream who this is. Raises `IdentityUnfitError`."""
        entry = x.entry
        assert entry is not None  # noqa: S101 - asked for by the caller
        session = entry.session
        key = (session.handle, upstream.name, x.snapshot.version)  # what began before a reload is sent after it
        known = self._identities.get(key)
        if known is not None and known[1] is session and x.started < known[0]:
            return known[2]
        rules = upstream.identity
        made = identity_fields(
            session,
            rules,
            upstream.field_names,
            x.snapshot.sign,
            issuer=x.snapshot.issuer,
            upstream=upstream.name,
            now=x.started,
        )
        if len(self._identities) >= IDENTITIES:
            self._identities.clear()
        self._identities[key] = (x.started + rules.assertion.reuse_s, session, made)
        return made

    @staticmethod
    def _page_fields(x: Exchange) -> bytes:
        """Our own pages get the client's fields with our own cookies instead of the portal's."""
        kept = b"".join(
            line + b"\r\n" for line in x.fields.forward.split(b"\r\n") if line and not line.startswith(b"cookie:")
        )
        if x.fields.origin and b"\r\norigin:" not in b"\r\n" + kept:
            kept += b"origin: %b\r\n" % x.fields.origin
        return kept + (b"cookie: %b\r\n" % x.fields.own_cookies if x.fields.own_cookies else b"")

    @staticmethod
    def _envelope(x: Exchange) -> bytes:
        authority = x.fields.authority
        assert authority is not None  # noqa: S101 - admitted
        envelope = Envelope(
            request_id=x.request_id.decode("ascii"),
            client_ip=x.client_ip,
            scheme="https" if x.secure else "http",
            host=authority.host,
            authority=authority.text,
            tenant=x.tenant,
            session=x.entry.session.handle if x.entry is not None else "",
            cookie_name="__Host-gw" if x.secure else "gw",
            astray=bool(x.events),  # nothing else happens before our pages are asked
            certificate=x.peer.fingerprint if certificate_of(x.peer, x.snapshot, x.started) is not None else "",
            interrupted=interrupted(x, page_of(x))
            if x.resolution is not None and x.resolution.internal == KEEP
            else None,
        )
        return b"%b: %b\r\n" % (ENVELOPE_FIELD.encode("ascii"), pack_envelope(envelope))

    def page_head(self, x: Exchange, head: ResponseHead) -> bytes:
        """An answer head of our own pages: their fields as they are, their events kept for the record."""
        if head.events:
            try:
                told = unpack_events(head.events)
            except (msgspec.DecodeError, ValueError):
                told = []
                self._report("pages.malformed_events", x.request_id.decode("ascii"))
            x.events = (*x.events, *told)
            for event in told:
                if event.outcome == "failure":  # the page answered, and the answer is no
                    x.allowed = False
                    x.reason = _REASON_OF.get(event.reason, x.reason)
        own = b"".join([b"%b: %b\r\n" % pair for pair in head.weighed])
        return status_line(head.status) + head.forward + own + x.snapshot.headers.for_pages(secure=x.secure)
