"""Three people to try the demo with, of two organisations. Their secrets are new each time and shown once."""

from __future__ import annotations

import secrets
import string
from datetime import UTC, datetime

import msgspec
import pyotp

from gateway.exchange.built_in import OPERATOR

_ALPHABET = string.digits + string.ascii_lowercase.translate({ord(letter): None for letter in "ilo"})
"""Without letters that look like digits: these passwords are typed from a terminal."""


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A user of the demo."""

    name: str
    tenant: str
    roles: tuple[str, ...]
    password: str
    secret: str
    """TOTP secret, base32 (RFC 6238: SHA-1, 6 digits, 30 s)."""

    @property
    def uri(self) -> str:
        """What an authenticator app reads from the QR code."""
        return pyotp.TOTP(self.secret).provisioning_uri(name=f"{self.name}@{self.tenant}", issuer_name="Gateway demo")

    def code(self, now: float) -> str:
        """The code that is valid at `now`."""
        return pyotp.TOTP(self.secret).at(datetime.fromtimestamp(now, UTC))


def three_people() -> tuple[Person, ...]:
    """Make client and billing of acme, and admin of globex, who may open the console too."""
    return tuple(
        Person(name=roles[0], tenant=tenant, roles=roles, password=_password(), secret=pyotp.random_base32())
        for roles, tenant in (
            (("client",), "acme"),
            (("billing",), "acme"),
            (("admin", OPERATOR), "globex"),
        )
    )


def _password() -> str:
    """Four groups of four: 80 bits, 33 ** 16."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(4))
