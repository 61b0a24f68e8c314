"""Make an upstream's answer safe to release: security headers, cookies, caching, public names of places.

Our fields overwrite the portal's weaker ones and never stand twice. The result for one answer head
depends on the head and on a few facts about the request, so it is remembered on the parsed head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final

from gateway.inspection.csp.policy import Policy
from gateway.wire.cookies import harden_set_cookie
from gateway.wire.response import ResponseHead
from gateway.wire.rewriting import Places

STATUS_LINES: Final = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode()) for status in map(int, HTTPStatus)
}

_FRAME_OPTIONS: Final[dict[tuple[str, ...], bytes]] = {("'none'",): b"DENY", ("'self'",): b"SAMEORIGIN"}
"""What X-Frame-Options says where it can say the same as `frame-ancestors`; elsewhere it would only contradict."""
_STRICT_REFERRER: Final = frozenset(
    (b"no-referrer", b"same-origin", b"strict-origin", b"strict-origin-when-cross-origin")
)


def status_line(status: int) -> bytes:
    """`HTTP/1.1 200 OK CRLF`; an unregistered status gets an empty phrase."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def field_lines(fields: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Write fields as lines of a head."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


@dataclass(frozen=True, slots=True)
class HeaderRules:
    """The operator's response header settings, ready to write."""

    hsts: bytes
    """Value of Strict-Transport-Security; empty = not sent. Only over TLS."""
    csp: bytes
    """Enforced beside the portal's own policy."""
    csp_report_only: bytes
    referrer_policy: bytes
    permissions_policy: bytes
    coop: bytes
    corp: bytes

    def always(self, *, secure: bool) -> bytes:
        """Fields that stand on every answer, whatever the portal says."""
        fields = [
            b"x-content-type-options: nosniff\r\n",
            b"cross-origin-opener-policy: %b\r\n" % self.coop,
            b"cross-origin-resource-policy: %b\r\n" % self.corp,
        ]
        if self.permissions_policy:
            fields.append(b"permissions-policy: %b\r\n" % self.permissions_policy)
        if secure and self.hsts:
            fields.append(b"strict-transport-security: %b\r\n" % self.hsts)
        return b"".join(fields)

    def for_pages(self, *, secure: bool) -> bytes:
        """The same for our own pages, whose windows no script of the portal may hold (ASVS 3.4.8).

        `same-origin` would not do: portal and pages share an origin, and a script that opens our page could read it.
        """
        return replace(self, coop=b"noopener-allow-popups").always(secure=secure)


@dataclass(frozen=True, slots=True)
class Facts:
    """What hardening needs to know about the request."""

    secure: bool
    places: Places
    """How the upstream's names of places are said in public."""
    no_store: bool
    allow_service_worker: bool
    fields: tuple[tuple[bytes, bytes], ...] = ()
    """Fields that policy sets on the answer, in the place of the portal's; never one of those that are written below."""
    policy: Policy | None = None
    """The content security policy of the route, which stands on the answer already."""


def harden(head: ResponseHead, rules: HeaderRules, facts: Facts) -> bytes:
    """Status line and field lines of the answer, without framing fields and without the final CRLF."""
    forward = _without(head.forward, facts.fields) if facts.fields else head.forward
    out = [status_line(head.status), forward, rules.always(secure=facts.secure)]
    places = facts.places
    csp, frame = rules.csp, b"SAMEORIGIN"
    ancestors = facts.policy.ancestors if facts.policy is not None else None
    if ancestors is not None:
        csp, frame = _framed_by(csp, ancestors), _FRAME_OPTIONS.get(ancestors, b"")
    referrer = rules.referrer_policy
    cache: list[bytes] = []
    for name, value in head.weighed:
        if name == b"set-cookie":
            if places.mapping is not None or b"domain" in value.lower():
                value = places.cookie(value)  # noqa: PLW2901 - the same cookie, by its public name
            hardened = harden_set_cookie(value, secure=facts.secure)
            if hardened is not None:
                out.append(b"set-cookie: %b\r\n" % hardened)
        elif name == b"clear-site-data":
            # The portal must not sign people out of the gateway: neither "cookies" nor "*".
            kept = [
                part.strip()
                for part in value.split(b",")
                if part.strip() in (b'"cache"', b'"storage"', b'"executionContexts"')
            ]
            if kept:
                out.append(b"clear-site-data: %b\r\n" % b", ".join(kept))
        elif name in (b"location", b"content-location"):
            out.append(b"%b: %b\r\n" % (name, places.reference(value)))
        elif name == b"link":
            out.append(b"link: %b\r\n" % places.link(value))
        elif name == b"refresh":
            out.append(b"refresh: %b\r\n" % places.refresh(value))
        elif name == b"x-frame-options":
            frame = b"DENY" if value.strip().upper() == b"DENY" else frame
        elif name == b"referrer-policy":
            stricter = value.strip().lower()
            referrer = (
                stricter
                if stricter == b"no-referrer" or (stricter in _STRICT_REFERRER and referrer not in _STRICT_REFERRER)
                else referrer
            )
        elif name == b"service-worker-allowed":
            if facts.allow_service_worker:
                out.append(b"service-worker-allowed: %b\r\n" % value)
        else:
            cache.append(b"%b: %b\r\n" % (name, value))
    out.extend((b"cache-control: no-store\r\n",) if facts.no_store else cache)
    if frame:
        out.append(b"x-frame-options: %b\r\n" % frame)
    out.append(b"referrer-policy: %b\r\n" % referrer)
    if csp:
        out.append(b"content-security-policy: %b\r\n" % csp)
    if rules.csp_report_only and facts.policy is None:  # two would report about the same
        out.append(
            b"content-security-policy-report-only: %b; report-uri /.gateway/csp-report\r\n" % rules.csp_report_only
        )
    if facts.fields:
        out.append(field_lines(facts.fields))
    return b"".join(out)


def _framed_by(csp: bytes, ancestors: tuple[str, ...]) -> bytes:
    """Put the route's `frame-ancestors` into the general policy: it stands on what has no policy of a page, too (a PDF)."""
    parts = [part.strip() for part in csp.split(b";")]
    kept = [part for part in parts if part and part.split()[0].lower() != b"frame-ancestors"]
    return b"; ".join((*kept, b"frame-ancestors " + " ".join(ancestors).encode("ascii")))


def _without(block: bytes, fields: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Leave out the lines of these names."""
    names = {name for name, _ in fields}
    return b"".join([line for line in block.splitlines(keepends=True) if line.partition(b":")[0].lower() not in names])
