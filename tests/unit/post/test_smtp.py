from __future__ import annotations

import asyncio
import gc
import socket
import threading
from typing import Any, Literal

import pytest
import trustme

from gateway.post.smtp import Fault, NotTakenError, Server, Submission, tls_context
from tests.fakes.mail_server import PASSWORD, USER, MailServer, mail_server, mail_server_in_a_thread

MAIL = b"From: portal@example.com\r\nTo: alice@example.com\r\nSubject: Hello\r\n\r\n.a line that begins with a dot\r\n"


def submission(server: MailServer, **changes: Any) -> Submission:
    values: dict[str, Any] = {
        "host": "localhost",
        "port": server.port,
        "security": server.security,
        "username": "" if server.security == "unsafe_plaintext" else USER,
        "password": PASSWORD,
        "authorities": server.authority,
        "timeout_s": 5.0,
    }
    return Submission(Server(**(values | changes)))


async def fault_of(submission: Submission) -> Fault:
    with pytest.raises(NotTakenError) as caught:
        await submission.submit(sender="portal@example.com", recipient="alice@example.com", mail=MAIL)
    assert PASSWORD not in str(caught.value)
    assert "alice" not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value.fault


@pytest.mark.parametrize("security", ["starttls", "tls", "unsafe_plaintext"])
async def test_a_mail_arrives_as_it_was_handed_over(security: Any) -> None:
    async with mail_server(security) as server:
        await submission(server).submit(sender="portal@example.com", recipient="alice@example.com", mail=MAIL)
    (envelope,) = server.arrived
    assert (envelope.mail_from, envelope.rcpt_tos) == ("portal@example.com", ["alice@example.com"])
    assert envelope.original_content == MAIL
    assert server.sign_ins == ([] if security == "unsafe_plaintext" else [(USER.encode(), PASSWORD.encode())])


async def test_the_connection_can_be_tried_without_a_mail() -> None:
    async with mail_server() as server:
        await submission(server).verify()
    assert server.sign_ins
    assert not server.arrived


def test_a_connection_is_over_with_the_loop_though_the_server_never_ends_tls() -> None:
    """What `gateway mail test` and `gateway doctor` leave behind: nothing."""
    with mail_server_in_a_thread() as server:
        server.parted = threading.Event()
        asyncio.run(submission(server).verify())
        server.parted.set()
    gc.collect()  # an open socket would fail the test


async def test_a_server_without_starttls_gets_neither_the_mail_nor_the_password() -> None:
    async with mail_server("unsafe_plaintext", sign_in=False) as server:
        assert await fault_of(submission(server, security="starttls", username=USER)) is Fault.NO_STARTTLS
    assert not server.arrived
    assert not server.sign_ins


async def test_a_certificate_of_another_authority_is_refused() -> None:
    async with mail_server() as server:
        other = trustme.CA().cert_pem.bytes()
        assert await fault_of(submission(server, authorities=other)) is Fault.TLS
    async with mail_server("tls") as server:
        assert await fault_of(submission(server, authorities=None)) is Fault.TLS
    assert not server.arrived


async def test_a_certificate_for_another_name_is_refused() -> None:
    securities: tuple[Literal["starttls", "tls"], ...] = ("starttls", "tls")
    for security in securities:
        async with mail_server(security, host="other.test") as server:
            assert await fault_of(submission(server)) is Fault.TLS


async def test_a_wrong_password_is_the_operators_to_mend_and_no_reason_to_give_up() -> None:
    async with mail_server() as server:
        sender = submission(server, password="wrong")
        assert await fault_of(sender) is Fault.SIGN_IN
    assert not NotTakenError(Fault.SIGN_IN).is_final


async def test_a_server_that_wants_a_sign_in_and_gets_none_is_the_operators_to_mend() -> None:
    async with mail_server() as server:
        assert await fault_of(submission(server, username="")) is Fault.SIGN_IN


async def test_a_server_that_says_later_is_asked_later() -> None:
    async with mail_server() as server:
        server.answer = "451 4.3.0 alice@example.com: try again"
        assert await fault_of(submission(server)) is Fault.REFUSED_NOW
        server.answer, server.recipient_answer = "", "450 4.2.0 alice@example.com is greylisted"
        assert await fault_of(submission(server)) is Fault.REFUSED_NOW


async def test_a_server_that_says_never_is_believed() -> None:
    async with mail_server() as server:
        server.recipient_answer = "550 5.1.1 no such alice@example.com"
        assert await fault_of(submission(server)) is Fault.REFUSED
    assert NotTakenError(Fault.REFUSED, 550).is_final


async def test_a_server_that_never_answers_is_left() -> None:
    async with mail_server() as server:
        server.answer = "hang"
        assert await fault_of(submission(server, timeout_s=0.2)) is Fault.TIMED_OUT


async def test_a_line_that_is_cut_after_the_mail_counts_as_not_taken() -> None:
    async with mail_server() as server:
        server.answer = "drop"
        assert await fault_of(submission(server)) is Fault.UNREACHABLE


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        server = Server(host="127.0.0.1", port=port, security="unsafe_plaintext", timeout_s=2.0)
        assert await fault_of(Submission(server)) is Fault.UNREACHABLE


async def test_something_that_is_no_mail_server_is_not_waited_for() -> None:
    left = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        server = Server(host="127.0.0.1", port=port, security="unsafe_plaintext", timeout_s=0.2)
        assert await fault_of(Submission(server)) is Fault.TIMED_OUT
        await left.wait()


@pytest.mark.parametrize(
    "authorities", [b"none", b"\xff", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"]
)
def test_authorities_that_are_none_are_told_at_once(authorities: bytes) -> None:
    with pytest.raises(ValueError, match="PEM"):
        tls_context(authorities)
