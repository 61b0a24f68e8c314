"""What the demo says when it is ready: where it is, who may sign in, and what to try."""

from __future__ import annotations

import io
import shlex
from pathlib import Path
from typing import Any

import segno
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.demo.people import Person
from gateway.demo.ports import LOOPBACK
from gateway.demo.run import PROGRAM, Demo

SHOWN_AS_QR = "billing"
WHITE_ON_BLACK, PLAIN = ("\x1b[97;40m", "\x1b[0m"), ("", "")  # ECMA-48 SGR


def announcement(demo: Demo, now: float, *, coloured: bool = False) -> str:
    """Write the whole text for a terminal; `now` decides which codes are current.

    `coloured` paints the QR code white on black, so that it can be scanned from a light terminal too.
    """
    program, config = shlex.quote(_short(PROGRAM)), shlex.quote(_short(demo.config))
    scanned = next(person for person in demo.people if person.name == SHOWN_AS_QR)
    fingerprint = x509.load_pem_x509_certificate(demo.certificate.chain).fingerprint(SHA256()).hex(":").upper()
    return f"""
The demo is ready: {demo.url}

Your browser will warn of the certificate, which is the demo's own. Its SHA-256 fingerprint:
{fingerprint[:47]}
{fingerprint[48:]}

{people(demo.people, now)}

{_indented(_qr(scanned.uri), WHITE_ON_BLACK if coloured else PLAIN)}
Scan this to add {scanned.name} to an authenticator app, or type one of the secrets into it:
{_secrets(demo.people)}

To try
  As billing, open an invoice of your own organisation, then guess one of the other's:
    {demo.url}/customers/acme/invoices/1001     allowed
    {demo.url}/customers/globex/invoices/1002   refused, and the page says which rule
    http://{LOOPBACK}:{demo.portal_port}/customers/globex/invoices/1002   the portal alone shows it to anyone
  As client, open the office. As admin, open it again: {demo.url}/office
  As admin, see policy, people and sessions:           {demo.url}/.gateway/admin/
  As anybody, attack it, then ask with the reference on the page why it was stopped:
    {demo.url}/?q=%27%20OR%201=1--     or put a <script> into the suggestion box, or a program into the documents
    {program} inspection explain REFERENCE -c {config}
  In another terminal, watch the evidence and prove it, ask why, and who could:
    {program} audit tail --follow -c {config}
    {program} audit verify -c {config}
    {program} policy explain --as billing GET {demo.url}/office -c {config}
    {program} policy who-can GET {demo.url}/office -c {config}
    tail -f {shlex.quote(_short(demo.log))}
    curl http://{LOOPBACK}:{demo.ports.admin}/metrics
  Ctrl-C here ends it all and leaves nothing behind.
"""


def people(persons: tuple[Person, ...], now: float) -> str:
    """Write the table of users with their passwords and current codes."""
    rows = [("user", "organisation", "roles", "password", "code now")]
    rows += [
        (person.name, person.tenant, ",".join(person.roles), person.password, person.code(now)) for person in persons
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  " + "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
    )


def as_json(demo: Demo, now: float) -> dict[str, Any]:
    """The same for programs."""
    return {
        "url": demo.url,
        "redirect": f"http://{LOOPBACK}:{demo.ports.redirect}",
        "admin": f"http://{LOOPBACK}:{demo.ports.admin}",
        "portal": f"http://{LOOPBACK}:{demo.portal_port}",
        "directory": str(demo.directory),
        "config": str(demo.config),
        "certificate": str(demo.directory / "config" / "tls" / "cert.pem"),
        "people": [
            {
                "user": person.name,
                "tenant": person.tenant,
                "roles": list(person.roles),
                "password": person.password,
                "totp_secret": person.secret,
                "otpauth": person.uri,
                "code": person.code(now),
            }
            for person in demo.people
        ],
    }


def _qr(text: str) -> str:
    out = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(out, border=2, compact=True)
    return out.getvalue()


def _secrets(persons: tuple[Person, ...]) -> str:
    width = max(len(person.name) for person in persons)
    return "\n".join(f"  {person.name.ljust(width)}   {person.secret}   {person.uri}" for person in persons)


def _indented(text: str, paint: tuple[str, str]) -> str:
    return "\n".join(f"  {paint[0]}{line}{paint[1]}" for line in text.splitlines())


def _short(path: Path) -> str:
    """Write `path` from the working directory if that is shorter."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
