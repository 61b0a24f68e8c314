from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from gateway.exchange.errors import StoreUnavailableError
from gateway.exchange.letter import Letter, Matter
from gateway.exchange.metrics import Registry
from gateway.exchange.notice import Circumstances, Notice, SilentNotices
from gateway.pages.texts import load_texts
from gateway.post.notices import MailedNotices
from gateway.post.postman import MailMetrics, Postman, Retry
from gateway.post.smtp import Server, Submission
from gateway.post.writing import Letterhead, Writer
from gateway.store.keyring import Keyring
from gateway.store.outbox import Outbox
from gateway.store.sealing import Sealer
from gateway.store.sqlite_rows import SQLiteRows
from tests.fakes.mail_server import PASSWORD, USER, MailServer, mail_server

NOW = 1_800_000_000.0
HEAD = Letterhead(sender=("", "portal@example.com"), scheme="https", host="portal.example.com", brands={})
LETTER = Letter(
    id="ab" * 16,
    matter=Matter.RESET_CODE,
    to="alice@example.com",
    user="alice",
    user_id="u_1",
    code="12345678",
    created=NOW,
    expires=NOW + 600,
)


@dataclass
class Post:
    """The whole of it, with a clock that tests move."""

    rows: SQLiteRows
    keyring: Keyring
    server: MailServer
    now: float = NOW
    registry: Registry = field(default_factory=Registry)

    def __post_init__(self) -> None:
        self.metrics = MailMetrics(self.registry)
        self.outbox = Outbox(self.rows, Sealer(self.keyring), capacity=10)
        self.postman = self.another()

    def another(self, **changes: Any) -> Postman:
        submission = Submission(
            Server(
                host="localhost",
                port=self.server.port,
                security="starttls",
                username=USER,
                password=PASSWORD,
                authorities=self.server.authority,
                timeout_s=15.0,
            )
        )
        values: dict[str, Any] = {
            "queue": self.outbox,
            "writer": Writer(HEAD, load_texts(), "en"),
            "carrier": submission,
            "retry": Retry(),
            "threads": at_once,
            "metrics": self.metrics,
            "clock": lambda: self.now,
        }
        return Postman(**(values | changes))

    def put(self, **changes: Any) -> Letter:
        letter = msgspec.structs.replace(LETTER, **changes)
        assert self.outbox.put(letter, now=self.now)
        return letter

    def counted(self, name: str) -> dict[tuple[str, ...], float]:
        return {
            labels: value for sample in self.registry.dump() if sample.name == name for labels, value in sample.values
        }


def of_mail(logs: Any) -> list[Any]:
    """Leave out what libraries log: other tests may have sent that to the same log."""
    return [entry for entry in logs if entry["event"].startswith("mail.")]


async def at_once(work: Callable[[], Any]) -> Any:
    return work()


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    rows = SQLiteRows(tmp_path, create=True)
    async with mail_server() as server:
        yield Post(rows, Keyring.generate(os.urandom, NOW), server)
    rows.close()


async def test_a_letter_is_sent_once_and_gone(post: Post) -> None:
    post.put()
    assert await post.postman.deliver() == 1
    assert await post.postman.deliver() == 0
    (text,) = post.server.texts()
    assert "1234 5678" in text
    assert post.outbox.count(now=post.now) == 0
    assert post.counted("gateway_mail_sent_total") == {("reset_code",): 1}
    assert post.counted("gateway_mail_queue_letters") == {(): 0}


async def test_a_server_that_is_down_loses_no_letter(post: Post) -> None:
    post.put()
    post.server.answer = "451 later"
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            assert await post.postman.deliver() == 0
            assert await post.postman.deliver() == 0  # its time has not come
            post.now += 120
    assert post.server.commands == 3
    assert [(entry["event"], entry["fault"], entry["wait_s"]) for entry in of_mail(logs)] == [
        ("mail.deferred", "refused_now", 30),
        ("mail.deferred", "refused_now", 60),
        ("mail.deferred", "refused_now", 120),
    ]
    assert all("alice" not in str(entry) and "1234" not in str(entry) for entry in logs)
    post.server.answer = ""
    assert await post.postman.deliver() == 1
    assert post.counted("gateway_mail_deferred_total") == {("refused_now",): 3}


async def test_a_letter_that_nobody_wants_is_not_tried_again(post: Post) -> None:
    post.put()
    post.server.recipient_answer = "550 no such person"
    with structlog.testing.capture_logs() as logs:
        await post.postman.deliver()
    assert post.outbox.count(now=post.now) == 0
    assert post.counted("gateway_mail_failed_total") == {("refused",): 1}
    assert [(entry["event"], entry["user_id"]) for entry in of_mail(logs)] == [("mail.failed", "u_1")]


async def test_a_code_that_no_longer_works_is_not_sent(post: Post) -> None:
    post.put()
    post.now += 600
    assert await post.postman.deliver() == 0
    assert not post.server.arrived
    assert post.counted("gateway_mail_failed_total") == {("expired",): 1}


async def test_a_letter_whose_next_try_would_come_too_late_is_given_up_at_once(post: Post) -> None:
    post.put(expires=NOW + 20)
    post.server.answer = "451 later"
    await post.postman.deliver()
    assert post.outbox.count(now=post.now) == 0


async def test_a_letter_to_nobody_leaves_without_a_word(post: Post) -> None:
    """Whoever asks for an account that does not exist causes the same work and no mail."""
    post.put(to="")
    with structlog.testing.capture_logs() as logs:
        assert await post.postman.deliver() == 0
    assert of_mail(logs) == []
    assert not post.server.commands
    assert post.outbox.count(now=post.now) == 0
    assert post.counted("gateway_mail_failed_total") == {}


async def test_a_letter_that_cannot_be_written_holds_up_no_other(post: Post) -> None:
    post.put(to="alice@example.com\r\nBcc: all@example.com")
    post.put(id="cd" * 16)
    assert await post.postman.deliver() == 1
    assert post.counted("gateway_mail_failed_total") == {("unwritable",): 1}


async def test_two_nodes_never_send_one_letter(post: Post) -> None:
    for number in range(8):
        post.put(id=f"{number:02x}" * 16)
    other = post.another()
    await asyncio.gather(post.postman.deliver(), other.deliver())
    assert len(post.server.arrived) == 8
    assert len({mail["Message-ID"] for mail in post.server.mails()}) == 8


async def test_a_restart_in_the_middle_of_a_try_offers_the_letter_again_after_its_lease(post: Post) -> None:
    letter = post.put()
    assert post.outbox.claim(letter, now=post.now, until=post.now + 120) is not None
    assert await post.postman.deliver() == 0
    post.now += 120
    assert await post.postman.deliver() == 1
    (mail,) = post.server.mails()
    assert mail["Message-ID"] == f"<{letter.id}@example.com>"


async def test_a_mail_that_the_server_took_without_saying_so_comes_again_under_the_same_id(post: Post) -> None:
    post.put()
    post.server.answer = "drop"
    assert await post.postman.deliver() == 0
    post.server.answer = ""
    post.now += 60
    assert await post.postman.deliver() == 1
    first, second = post.server.mails()
    assert first["Message-ID"] == second["Message-ID"]


async def test_a_full_queue_takes_no_more(post: Post) -> None:
    for number in range(10):
        post.put(id=f"{number:02x}" * 16, matter=Matter.DEVICE_CODE)
    letter = msgspec.structs.replace(LETTER, id="ff" * 16, matter=Matter.DEVICE_CODE)
    assert not post.outbox.put(letter, now=post.now)


async def test_a_queue_that_cannot_be_used_is_waited_for(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    post.put()
    monkeypatch.setattr("gateway.post.postman.TICK_S", 0.01)
    states = iter([True, True, False])

    async def threads(work: Callable[[], Any]) -> Any:
        if next(states, False):
            raise StoreUnavailableError("away")
        return work()

    running = asyncio.create_task(post.another(threads=threads).run())
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(30):
            while not post.server.arrived:
                await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait({running})
    assert [entry["event"] for entry in of_mail(logs)].count("mail.queue_unavailable") == 1


@dataclass
class Alice:
    id: str = "u_1"
    name: str = "alice"
    tenant: str = "acme"
    email: str = "alice@example.com"


def notices(post: Post, **changes: Any) -> MailedNotices:
    values: dict[str, Any] = {
        "person": lambda user_id: Alice() if user_id == "u_1" else None,
        "put": lambda letter, now: post.outbox.put(letter, now=now),
        "host": lambda tenant: f"{tenant}.example.com",
        "describe": lambda where: msgspec.structs.replace(where, place="Bern"),
        "threads": at_once,
        "metrics": post.metrics,
        "keep_s": 86_400.0,
        "clock": lambda: post.now,
        "random": os.urandom,
    }
    return MailedNotices(**(values | changes))


async def test_the_owner_of_an_account_hears_of_what_happened(post: Post) -> None:
    where = Circumstances(address="203.0.113.7", device="Firefox on Linux", language="en")
    await notices(post).notify("u_1", Notice.NEW_DEVICE, circumstances=where)
    assert await post.postman.deliver() == 1
    (text,) = post.server.texts()
    assert "Firefox on Linux" in text
    assert "203.0.113.7, Bern" in text
    assert "https://acme.example.com/.gateway/account" in text
    assert post.counted("gateway_mail_queued_total") == {("notice",): 1}


async def test_nobody_is_told_who_has_no_plain_address_or_no_account(post: Post) -> None:
    await notices(post).notify("u_2", Notice.NEW_DEVICE)
    await notices(post, person=lambda _: Alice(email="")).notify("u_1", Notice.NEW_DEVICE)
    await notices(post, person=lambda _: Alice(email="a@b@c")).notify("u_1", Notice.NEW_DEVICE)
    await SilentNotices().notify("u_1", Notice.NEW_DEVICE)
    assert post.outbox.count(now=post.now) == 0


async def test_what_cannot_be_told_undoes_nothing(post: Post) -> None:
    def away(_: str) -> Alice:
        raise StoreUnavailableError("away")

    with structlog.testing.capture_logs() as logs:
        await notices(post, person=away).notify("u_1", Notice.PASSWORD_CHANGED)
        await notices(post, put=lambda *_: False).notify("u_1", Notice.PASSWORD_CHANGED)
    assert [entry["event"] for entry in of_mail(logs)] == ["mail.not_queued", "mail.not_queued"]
    assert post.counted("gateway_mail_failed_total") == {("queue_unavailable",): 1, ("queue_full",): 1}
