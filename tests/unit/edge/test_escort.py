"""People known to a portal by a name and password of its own, and by their provider's tokens: on a worker, over a real store."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest

from gateway.edge.escort import DetectRules, EscortRules, SignOnRules
from gateway.edge.escorts import filled
from gateway.exchange.envelope import unpack_envelope
from gateway.exchange.session import Session
from gateway.session.vault import Owner, VaultRules
from gateway.wire.set_cookie import Cookie
from tests.unit.edge.conftest import Edge, session, until
from tests.unit.edge.test_vault import TOKEN, Site, keyring, site, store  # noqa: F401 - fixtures

PAGE = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: none\r\n"
FORM = SignOnRules(kind="form", username="", password="")
BASIC = SignOnRules(kind="basic", username="{user}", password="shared secret")
OWN = SignOnRules(kind="basic", username="", password="")
UNAUTHORIZED = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno"


class Tokens:
    def __init__(self) -> None:
        self.values = {"access": "at.1", "id": "it.1"}

    def token(self, kind: str, token: bytes, session: Session, now: float) -> str:
        return self.values[kind]


def use(site: Site, sign_on: SignOnRules | None = None, **rules: Any) -> None:  # noqa: F811 - the fixture's value
    site.edge.change_upstream(
        escort=EscortRules(vault=VaultRules(mode="http_only"), modes={}, sign_on=sign_on, **rules)
    )
    site.edge.change(escorts=True)


def sign_on(site: Site, *cookies: str, ago: float = 0.0) -> None:  # noqa: F811
    """What the pages leave behind when they signed somebody on."""
    kept = [Cookie(name=name.encode(), value=b"1", created=time.time()) for name in cookies]
    owner = Owner(TOKEN, site.session, "portal")
    site.vaults.change(owner, kept, VaultRules(mode="all"), now=time.time(), signed_on=time.time() - ago)


async def test_a_person_whom_the_portal_does_not_know_is_sent_to_be_signed_on(site: Site) -> None:  # noqa: F811
    use(site, FORM)
    page = await site.get("/invoices/1", fields=PAGE)
    assert page.status == 302
    assert page.field("location") == [b"/.gateway/sign-on/portal?return_to=/invoices/1"]
    program = await site.get("/invoices/1")
    assert program.status == 401
    assert b'"portal_sign_on"' in program.body
    assert b"/.gateway/sign-on/portal" in program.body
    assert site.edge.portal.heads == []


async def test_who_was_signed_on_goes_there_with_the_portals_cookies(site: Site) -> None:  # noqa: F811
    use(site, FORM)
    sign_on(site, "SID")
    assert (await site.get(fields=PAGE)).status == 200
    assert site.received() == [b"SID=1"]


async def test_public_places_and_programs_need_no_sign_on(site: Site) -> None:  # noqa: F811
    use(site, FORM)
    assert (await site.get("/public/a")).status == 200
    site.edge.sessions.entries[TOKEN].session = replace_session(site.session, credential="api_key")
    assert (await site.get("/invoices/1")).status == 200


def replace_session(before: Session, **changes: Any) -> Session:
    return session(handle=before.handle, **changes)


LOST = {
    "status": (DetectRules(frozenset({403}), b"", b"", 60.0), b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
    "location": (
        DetectRules(frozenset(), b"/login", b"", 60.0),
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/login?next=1\r\nContent-Length: 0\r\n\r\n",
    ),
    "body": (
        DetectRules(frozenset(), b"", b"who are you", 60.0),
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 21\r\n\r\n<p>who are you</p>   ",
    ),
}


@pytest.mark.parametrize("kind", LOST)
async def test_a_lost_person_is_signed_on_again_and_not_twice(site: Site, kind: str) -> None:  # noqa: F811
    detect, answer = LOST[kind]
    use(site, replace(FORM, detect=detect))
    site.edge.portal.answers[b"/"] = answer
    sign_on(site, "SID", ago=100)
    lost = await site.get(fields=PAGE)
    assert lost.status == 302
    assert lost.field("location") == [b"/.gateway/sign-on/portal?return_to=/"]
    assert site.edge.worker.metrics.portal_sign_ons.values == {("portal", "lost"): 1}
    sign_on(site, "SID")  # just now: whatever the portal says is passed on
    again = await site.get(fields=PAGE)
    assert again.status == int(answer.split(b" ")[1])
    assert b"/.gateway/" not in b"".join(again.field("location"))


async def test_what_no_page_asked_for_is_never_answered_by_a_sign_on(site: Site) -> None:  # noqa: F811
    use(site, replace(FORM, detect=LOST["status"][0]))
    site.edge.portal.answers[b"/"] = LOST["status"][1]
    sign_on(site, "SID", ago=100)
    assert (await site.get()).status == 403
    assert (await site.get(method="POST", body=b"a=1", fields=PAGE)).status == 403


async def test_a_page_in_pieces_is_searched_too(site: Site) -> None:  # noqa: F811
    async def answer(_portal: Any, _head: bytes, _reader: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b"11\r\n<p>who are you</p\r\n0\r\n\r\n")

    use(site, replace(FORM, detect=LOST["body"][0]))
    site.edge.portal.answers[b"/"] = answer
    sign_on(site, "SID", ago=100)
    assert (await site.get(fields=PAGE)).status == 302
    sign_on(site, "SID")
    assert b"who are you" in (await site.get(fields=PAGE)).body


async def test_a_page_that_can_be_searched_is_asked_for_uncompressed(site: Site) -> None:  # noqa: F811
    use(site, replace(FORM, detect=LOST["body"][0]))
    sign_on(site, "SID")
    await site.get(fields=PAGE + "Accept-Encoding: gzip\r\n")
    assert site.edge.portal.field(b"accept-encoding") == []


async def test_a_form_that_a_person_sent_is_kept_until_the_portal_knows_them(site: Site) -> None:  # noqa: F811
    use(site, FORM)
    fields = (
        PAGE.replace("none", "same-origin")
        + "Origin: http://127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    )
    await site.get(method="POST", body=b"text=long+and+dear", fields=fields)
    (head,) = site.edge.portal.heads  # the pages of this test
    assert head.startswith(b"POST /.gateway/keep ")
    assert site.edge.portal.bodies == [b"text=long+and+dear"]
    envelope = unpack_envelope(site.edge.portal.field(b"x-gateway-envelope")[0])
    assert envelope.interrupted is not None
    assert (envelope.interrupted.reason, envelope.interrupted.upstream) == ("portal_sign_on", "portal")


async def test_an_exception_on_the_way_refuses(site: Site) -> None:  # noqa: F811
    site.edge.worker.escorts = None
    assert (await site.get()).status == 500
    assert site.edge.portal.heads == []


# basic authentication


def basic(username: str, password: str) -> list[bytes]:
    return [b"Basic " + b64encode(f"{username}:{password}".encode())]


async def test_name_and_password_go_along_instead_of_what_the_browser_says(site: Site) -> None:  # noqa: F811
    use(site, BASIC)
    assert (await site.get(fields="Authorization: Basic ZXZpbDpldmls\r\n")).status == 200
    assert site.edge.portal.field(b"authorization") == basic("alice", "shared secret")


async def test_a_password_that_is_wrong_is_sent_once(site: Site) -> None:  # noqa: F811
    """attack: twenty tabs with a password that changed lock the account at the portal."""
    use(site, BASIC)
    site.edge.portal.answers[b"/"] = UNAUTHORIZED
    replies = await asyncio.gather(*(site.get() for _ in range(12)))
    assert {reply.status for reply in replies} <= {403, 503}
    assert len(site.edge.portal.heads) == 1
    refused = await site.get()
    assert b'"portal_refused"' in refused.body
    assert len(site.edge.portal.heads) == 1
    assert b"WWW-Authenticate: Basic" not in refused.raw


NO_JUDGEMENT = {
    "hung up": b"",
    "an error": b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
    "too many": b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("kind", NO_JUDGEMENT)
async def test_a_password_that_the_portal_did_not_judge_is_still_on_trial(site: Site, kind: str) -> None:  # noqa: F811
    """attack: the first answer is a failure, which passed for a yes, and twenty tabs lock the account after it."""
    use(site, BASIC)
    answer = NO_JUDGEMENT[kind]
    site.edge.portal.answers[b"/"] = answer or _hang_up
    assert (await site.get()).status == (int(answer.split(b" ")[1]) if answer else 502)
    known = site.accounts.known("u1", "portal", username="alice", password="shared secret")
    assert known is not None
    assert known.standing == "untried"
    site.edge.portal.answers[b"/"] = UNAUTHORIZED
    before = len(site.edge.portal.heads)
    await asyncio.gather(*(site.get() for _ in range(12)))
    assert len(site.edge.portal.heads) - before <= 1


async def test_a_place_that_asks_for_another_proof_does_not_end_a_password(site: Site) -> None:  # noqa: F811
    """attack: a link to the one address of a portal that wants a token locks whoever follows it out of the whole portal."""
    use(site, BASIC)
    assert (await site.get()).status == 200
    site.edge.portal.answers[b"/invoices/1"] = UNAUTHORIZED.replace(b"Basic", b'Bearer realm="api"')
    assert (await site.get("/invoices/1")).status == 401
    assert (await site.get()).status == 200


async def leave_on_trial(site: Site, answer: bytes) -> None:  # noqa: F811
    """Ask with a password that is on trial, and go before the portal answers."""
    goes = asyncio.Event()

    async def late(_portal: Any, _head: bytes, _reader: Any, writer: Any) -> None:
        await goes.wait()
        writer.write(answer)

    site.edge.portal.answers[b"/"] = late
    _, writer = await site.edge.connect()
    writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: gw=%b\r\n\r\n" % TOKEN)
    await until(lambda: site.edge.portal.heads)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    left = site.edge.worker._connections
    await until(lambda: all(each.exchange is None or each.exchange.outcome == "aborted_client" for each in left))  # type: ignore[attr-defined]  # HTTP/1.1
    goes.set()
    await until(lambda: not left)
    await until(lambda: not _trying(site))


def _trying(site: Site) -> bytes:  # noqa: F811
    account = site.accounts.get("u1", "portal")
    return account.trying if account is not None else b""


async def test_who_leaves_while_a_password_is_on_trial_locks_nobody_out(site: Site) -> None:  # noqa: F811
    """Two pages that a person did not wait for, and the password counted as refused; after one it rested for a minute."""
    use(site, BASIC)
    await leave_on_trial(site, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    del site.edge.portal.answers[b"/"]
    assert (await site.get()).status == 200


async def test_who_does_not_wait_for_the_no_of_a_portal_does_not_have_it_said_twice(site: Site) -> None:  # noqa: F811
    """attack: a page that asks and goes, over and over, until the portal locks the account."""
    use(site, BASIC)
    await leave_on_trial(site, UNAUTHORIZED)
    assert b'"portal_refused"' in (await site.get()).body
    assert len(site.edge.portal.heads) == 1


async def _hang_up(_portal: Any, _head: bytes, _reader: Any, writer: Any) -> None:
    writer.close()


async def test_a_password_that_was_never_sent_may_be_tried_at_once(site: Site) -> None:  # noqa: F811
    use(site, BASIC)
    await site.edge.portal.stop()
    assert (await site.get()).status in (502, 503)
    account = site.accounts.get("u1", "portal")
    assert account is not None
    assert (account.trying, account.accepted, account.refused) == (b"", b"", b"")


async def test_cookies_that_come_while_a_password_is_on_trial_are_kept(site: Site) -> None:  # noqa: F811
    use(site, BASIC)
    site.sets("SID=secret; HttpOnly")
    reply = await site.get()
    assert reply.status == 200
    assert reply.field("set-cookie") == []
    assert site.kept() == {b"SID": b"secret"}


async def test_a_password_that_works_goes_along_with_everything(site: Site) -> None:  # noqa: F811
    use(site, BASIC)
    await site.get()
    replies = await asyncio.gather(*(site.get() for _ in range(6)))
    assert {reply.status for reply in replies} == {200}


async def test_who_did_not_tell_an_account_is_asked(site: Site) -> None:  # noqa: F811
    use(site, OWN)
    assert (await site.get(fields=PAGE)).field("location") == [b"/.gateway/sign-on/portal?return_to=/"]
    site.accounts.set("u1", "portal", username="al", password="own", now=time.time())
    assert (await site.get()).status == 200
    assert site.edge.portal.field(b"authorization") == basic("al", "own")


async def test_a_name_with_a_colon_would_be_another_one(site: Site) -> None:  # noqa: F811
    use(site, OWN)
    site.accounts.set("u1", "portal", username="root:", password="x", now=time.time())
    assert (await site.get()).status == 403
    assert site.edge.portal.heads == []


def test_a_name_is_no_template() -> None:
    """attack: a person called `{email}` becomes somebody else at the portal."""
    assert filled("{tenant}-{user}", session(user="{email}", tenant="acme")) == "acme-{email}"
    assert filled("", session()) == ""


# tokens


async def test_tokens_go_along_where_they_are_named(site: Site) -> None:  # noqa: F811
    site.edge.worker.escorts._tokens = Tokens()  # type: ignore[union-attr]  # made by the fixture
    use(site, tokens=(("access", b"authorization"), ("id", b"x-id-token")))
    assert (await site.get(fields="Authorization: Bearer evil\r\n")).status == 200
    assert site.edge.portal.field(b"authorization") == [b"Bearer at.1"]
    assert site.edge.portal.field(b"x-id-token") == [b"it.1"]


async def test_a_token_that_would_end_a_line_does_not_go(site: Site, edge: Edge) -> None:  # noqa: F811
    tokens = Tokens()
    tokens.values["access"] = "x\r\nX-Gateway-User: root"
    site.edge.worker.escorts._tokens = tokens  # type: ignore[union-attr]  # made by the fixture
    use(site, tokens=(("access", b"x-token"),))
    assert (await site.get()).status == 200
    assert site.edge.portal.field(b"x-token") == []
    assert edge.reports == [("portal.malformed_token", "portal")]
    edge.reports.clear()


async def test_who_has_no_token_goes_without(site: Site) -> None:  # noqa: F811
    tokens = Tokens()
    tokens.values["access"] = ""
    site.edge.worker.escorts._tokens = tokens  # type: ignore[union-attr]  # made by the fixture
    use(site, tokens=(("access", b"x-token"),))
    assert (await site.get()).status == 200
    assert site.edge.portal.field(b"x-token") == []


async def test_a_provider_that_does_not_answer_keeps_nobody_elses_cookies_waiting(site: Site) -> None:  # noqa: F811
    """attack: two people whose tokens are being freshened, and the portal answered 503 to everybody."""
    answers = threading.Event()
    asked = threading.Semaphore(0)

    class Silent(Tokens):
        def token(self, kind: str, token: bytes, session: Session, now: float) -> str:
            asked.release()
            answers.wait(30)
            return super().token(kind, token, session, now)

    site.edge.worker.escorts._tokens = Silent()  # type: ignore[union-attr]  # made by the fixture
    use(site, tokens=(("access", b"x-token"),))
    waiting = [asyncio.ensure_future(site.get()) for _ in range(2)]
    try:
        for _ in waiting:
            await asyncio.to_thread(asked.acquire)
        use(site)
        site.sets("SID=secret; HttpOnly", path="/invoices/1")
        assert (await site.get("/invoices/1")).status == 200
        assert site.kept() == {b"SID": b"secret"}
    finally:
        answers.set()
        await asyncio.gather(*waiting)


async def test_nothing_goes_along_for_who_is_not_signed_in(site: Site) -> None:  # noqa: F811
    use(site, BASIC)
    await site.edge.get("/public/a", fields="Authorization: Basic eDp5\r\n")
    assert site.edge.portal.field(b"authorization") == [b"Basic eDp5"]
