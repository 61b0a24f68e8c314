"""Handing one finished mail to the operator's server: over TLS that is demanded, with one time limit a step.

It says what came of it in three words: taken, later, never. It keeps no connection and tries nothing twice.
"""

from __future__ import annotations

import asyncio
import ssl
from enum import StrEnum
from typing import Any, Final, Literal

import aiosmtplib
import msgspec

from gateway.exchange.errors import GatewayError

_PERMANENT: Final = 500  # RFC 5321 section 4.2.1
_LOCAL_FAULTS: Final = frozenset({530, 534, 535, 538})  # RFC 4954 section 6: our sign-in, not the letter


class Fault(StrEnum):
    """Why a server did not take a mail: a closed list, for the log, the metric and the operator."""

    UNREACHABLE = "unreachable"
    TLS = "tls"
    NO_STARTTLS = "no_starttls"
    SIGN_IN = "sign_in"
    TIMED_OUT = "timed_out"
    REFUSED_NOW = "refused_now"
    REFUSED = "refused"


SENTENCES: Final = {
    Fault.UNREACHABLE: "the mail server cannot be reached",
    Fault.TLS: "the certificate of the mail server is not trusted, or TLS failed; see mail.smtp.ca",
    Fault.NO_STARTTLS: "the mail server offers no STARTTLS, and nothing is sent in the clear",
    Fault.SIGN_IN: "the mail server does not take mail.smtp.username and its password",
    Fault.TIMED_OUT: "the mail server did not answer in time",
    Fault.REFUSED_NOW: "the mail server does not take the mail now",
    Fault.REFUSED: "the mail server refuses the mail",
}


class NotTakenError(GatewayError):
    """A mail was not taken. The text names no person: what servers say about recipients stays out of it."""

    def __init__(self, fault: Fault, status: int = 0) -> None:
        super().__init__(SENTENCES[fault] + (f" (it answered {status})" if status else ""))
        self.fault = fault
        self.status_of_server = status

    @property
    def is_final(self) -> bool:
        """Trying again would change nothing. Everything that the operator can mend is worth another try."""
        return self.fault is Fault.REFUSED


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Where mail goes."""

    host: str
    port: int
    security: Literal["starttls", "tls", "unsafe_plaintext"]
    username: str = ""
    password: str = ""
    authorities: bytes | None = None
    """PEM; None = those of the system."""
    timeout_s: float = 20.0


def tls_context(authorities: bytes | None) -> ssl.SSLContext:
    """Make what is demanded of the server: a certificate for its name, TLS 1.2 or later. Raises ValueError for PEM that is none."""
    try:
        context = ssl.create_default_context(cadata=authorities.decode("ascii") if authorities else None)
    except (ssl.SSLError, UnicodeDecodeError):
        raise ValueError("holds no certificates in PEM") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Submission:
    """Speaks to one server (RFC 6409, RFC 8314)."""

    def __init__(self, server: Server) -> None:
        """Raises ValueError when the authorities are no certificates."""
        self._server = server
        self._context = None if server.security == "unsafe_plaintext" else tls_context(server.authorities)

    async def submit(self, *, sender: str, recipient: str, mail: bytes) -> None:
        """Hand over a mail; the envelope is `sender` and `recipient`.

        Raises:
            NotTakenError: it was not taken, as far as the server said. After a time-out it may have been.

        """
        await self._converse(sender, recipient, mail)

    async def verify(self) -> None:
        """Connect, start TLS and sign in, as for a mail, and leave. Raises NotTakenError."""
        await self._converse("", "", b"")

    async def _converse(self, sender: str, recipient: str, mail: bytes) -> None:
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            timeout=server.timeout_s,
            use_tls=server.security == "tls",
            start_tls=False,
            tls_context=self._context,
            local_hostname="localhost",  # the machine's name is nobody's business
        )
        lines: list[Any] = []  # transports; uvloop's are no subclass of asyncio's
        try:
            async with asyncio.timeout(4 * server.timeout_s):
                await client.connect()
                lines.append(client.transport)
                await client.ehlo()
                if server.security == "starttls":
                    if not client.supports_extension("starttls"):
                        raise NotTakenError(Fault.NO_STARTTLS)
                    await client.starttls(tls_context=self._context)
                    lines.append(client.transport)
                    await client.ehlo()
                if server.username:
                    if not client.supports_extension("auth"):
                        raise NotTakenError(Fault.SIGN_IN)
                    await client.login(server.username, server.password)
                if mail:
                    await client.sendmail(sender, [recipient], mail)
                await _leave(client)
        except (aiosmtplib.SMTPException, OSError, TimeoutError, ValueError) as error:
            raise _fault_of(error) from None  # its text may quote the mail or the password's sign-in
        finally:
            client.close()
            for line in reversed(lines):
                line.abort()  # to close is to wait for the server's end of TLS: `gateway mail test` is over before


async def _leave(client: aiosmtplib.SMTP) -> None:
    """Say goodbye; what the server thinks of that changes nothing."""
    try:
        await client.quit()
    except (aiosmtplib.SMTPException, OSError):
        return


def _fault_of(error: Exception) -> NotTakenError:
    match error:
        case aiosmtplib.SMTPRecipientsRefused():
            code = max((item.code for item in error.recipients), default=0)
            return NotTakenError(Fault.REFUSED if code >= _PERMANENT else Fault.REFUSED_NOW, code)
        case aiosmtplib.SMTPAuthenticationError():
            return NotTakenError(Fault.SIGN_IN, error.code)
        case aiosmtplib.SMTPConnectResponseError() | aiosmtplib.SMTPHeloError():
            return NotTakenError(Fault.REFUSED_NOW, error.code)
        case aiosmtplib.SMTPResponseException():
            if error.code in _LOCAL_FAULTS:
                return NotTakenError(Fault.SIGN_IN, error.code)
            return NotTakenError(Fault.REFUSED if error.code >= _PERMANENT else Fault.REFUSED_NOW, error.code)
        case aiosmtplib.SMTPTimeoutError() | TimeoutError():
            return NotTakenError(Fault.TIMED_OUT)
        case ssl.SSLError():
            return NotTakenError(Fault.TLS)
        case aiosmtplib.SMTPException() if isinstance(error.__cause__, ssl.SSLError):
            return NotTakenError(Fault.TLS)
        case _:
            return NotTakenError(Fault.UNREACHABLE)
