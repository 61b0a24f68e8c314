"""A mail server on a real socket: STARTTLS or TLS by a certificate of its own authority, sign-in, and faults on demand."""

from __future__ import annotations

import asyncio
import ssl
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, Literal

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

HOST = "mail.test"
USER, PASSWORD = "gateway", "smtp secret"


@dataclass
class MailServer:
    """What arrived, and how the server behaves from now on."""

    port: int
    authority: bytes
    security: str
    arrived: list[Envelope] = field(default_factory=list)
    commands: int = 0
    parted: threading.Event | None = None
    """When set, the server hears nothing after it has said goodbye, until this happens."""
    answer: str = ""
    """To DATA, in place of 250; `hang` answers nothing, `drop` takes the mail and cuts the line before saying so."""
    recipient_answer: str = ""
    sign_ins: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def handle_RCPT(self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _o: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.recipient_answer:
            return self.recipient_answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        self.commands += 1
        if self.answer == "hang":
            await asyncio.Event().wait()
        if self.answer and self.answer != "drop":
            return self.answer
        self.arrived.append(envelope)
        if self.answer == "drop":
            assert isinstance(server.transport, asyncio.WriteTransport)
            server.transport.abort()
        return "250 OK"

    async def handle_QUIT(self, server: SMTP, _session: Session, _envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        if self.parted is not None:
            await server.push("221 Bye")
            assert self.parted.wait(30)
        return "221 Bye"

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.sign_ins.append((data.login, data.password))
        good = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        return AuthResult(success=good, handled=False)

    def mails(self) -> list[EmailMessage]:
        """What arrived, parsed."""
        found = []
        for envelope in self.arrived:
            content = envelope.original_content
            assert content is not None
            mail = message_from_bytes(content, policy=policy.default)
            assert isinstance(mail, EmailMessage)
            found.append(mail)
        return found

    def texts(self) -> list[str]:
        """The plain part of each mail."""
        parts = [mail.get_body(("plain",)) for mail in self.mails()]
        return [part.get_content() for part in parts if part is not None]


class _Protocol(SMTP):
    """Remembers what it was connected by, before and after STARTTLS."""

    def connection_made(self, transport: Any) -> None:
        self.transports = [*getattr(self, "transports", []), transport]
        super().connection_made(transport)


@asynccontextmanager
async def mail_server(
    security: Literal["starttls", "tls", "unsafe_plaintext"] = "starttls",
    *,
    host: str = "localhost",
    sign_in: bool = True,
) -> AsyncIterator[MailServer]:
    """Serve until the block ends."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    protocols: list[_Protocol] = []
    site = MailServer(0, authority.cert_pem.bytes(), security)

    def protocol() -> _Protocol:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it does not see that the whole connection is TLS
            made = make()
        protocols.append(made)
        return made

    def make() -> _Protocol:
        return _Protocol(
            site,
            hostname=HOST,
            tls_context=context if security == "starttls" else None,
            require_starttls=security == "starttls",
            auth_required=sign_in and security != "unsafe_plaintext",
            auth_require_tls=security == "starttls",
            authenticator=site.authenticate if sign_in else None,
            loop=asyncio.get_running_loop(),
        )

    server = await asyncio.get_running_loop().create_server(
        protocol, "127.0.0.1", 0, ssl=context if security == "tls" else None
    )
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        server.close()
        for made in protocols:
            handler = made._handler_coroutine
            for transport in getattr(made, "transports", []):
                transport.abort()
            if handler is not None:
                handler.cancel()
                await asyncio.wait({handler})
        await server.wait_closed()
        await _until_quiet()


async def _until_quiet() -> None:
    """Wait for handshakes that failed: the loop closes their sockets when it hears of it, a moment later."""
    loop: Any = asyncio.get_running_loop()
    async with asyncio.timeout(5.0):
        while any(transport._sock is not None for transport in list(getattr(loop, "_transports", {}).values())):
            await asyncio.sleep(0.005)


@contextmanager
def mail_server_in_a_thread() -> Iterator[MailServer]:
    """Serve on a loop of its own, for callers that block or have one of their own."""
    ready: list[tuple[MailServer, asyncio.AbstractEventLoop, asyncio.Event]] = []
    is_ready = threading.Event()

    async def serve() -> None:
        async with mail_server() as found:
            over = asyncio.Event()
            ready.append((found, asyncio.get_running_loop(), over))
            is_ready.set()
            await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert is_ready.wait(30)
    found, loop, over = ready[0]
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
