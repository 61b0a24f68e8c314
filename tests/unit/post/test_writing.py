from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.letter import Letter, Matter
from gateway.exchange.notice import Circumstances, Notice
from gateway.pages.texts import Texts, load_texts
from gateway.post.writing import Brand, Letterhead, Writer

NOW = 1_800_000_000.0
HEAD = Letterhead(
    sender=("Kundenportal Grün", "portal@example.com"),
    reply_to=("", "help@example.com"),
    scheme="https",
    host="portal.example.com",
    port=":8443",
    brands={"": Brand(name="Example"), "acme": Brand(name="Acme", accent="#112233")},
)
WRITER = Writer(HEAD, load_texts(), "en")
LETTER = Letter(
    id="ab" * 16,
    matter=Matter.RESET_CODE,
    to="alice@example.com",
    user="alice",
    tenant="acme",
    host="acme.example.com",
    code="12345678",
    circumstances=Circumstances(address="203.0.113.7", place="Bern, Switzerland", device="Firefox on Linux"),
    created=NOW,
    expires=NOW + 600,
)
EVERY = [(matter, None) for matter in Matter if matter is not Matter.NOTICE] + [
    (Matter.NOTICE, notice) for notice in Notice
]


def changed(**changes: object) -> Letter:
    return msgspec.structs.replace(LETTER, **changes)


def parsed(letter: Letter, writer: Writer = WRITER) -> EmailMessage:
    mail = message_from_bytes(writer.write(letter), policy=policy.default)
    assert isinstance(mail, EmailMessage)
    assert not mail.defects
    return mail


def part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    content = body.get_content()
    assert isinstance(content, str)
    return content


def test_a_mail_says_that_a_program_sent_it_and_nothing_in_it_tells_that_it_was_read() -> None:
    mail = parsed(LETTER)
    assert mail["From"] == "Kundenportal Grün <portal@example.com>"
    assert mail["To"] == "alice@example.com"
    assert mail["Reply-To"] == "help@example.com"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"] == f"<{LETTER.id}@example.com>"
    assert mail["Subject"] == "Your code to set a new password"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
    rich = part(mail, "html")
    for carrier in ("<img", "<script", "<link", "@import", "url(", "background=", "http-equiv"):
        assert carrier not in rich


def test_every_try_is_the_same_mail() -> None:
    assert WRITER.write(LETTER) == WRITER.write(changed(tries=3, due=NOW + 99))


@pytest.mark.parametrize(("matter", "notice"), EVERY)
def test_every_letter_is_one_text_in_two_forms(matter: Matter, notice: Notice | None) -> None:
    mail = parsed(changed(matter=matter, notice=notice))
    plain, rich = part(mail, "plain"), part(mail, "html")
    shown = _Words.of(rich)
    for line in plain.splitlines():
        if line.strip(" -"):
            assert " ".join(line.split()) in shown, line
    assert "%(" not in plain
    assert "%(" not in mail["Subject"]
    assert ("1234 5678" in plain) is matter.value.endswith("_code")
    assert "12345678" not in str(mail["Subject"])


@pytest.mark.parametrize(("matter", "notice"), EVERY)
def test_every_letter_is_whole_in_every_language(matter: Matter, notice: Notice | None) -> None:
    for language in load_texts():
        mail = parsed(changed(matter=matter, notice=notice, circumstances=Circumstances(language=language)))
        assert mail["Content-Language"] == language
        assert "%(" not in part(mail, "plain")


def test_a_catalogue_speaks_and_an_unknown_language_is_the_gateways_own() -> None:
    class Loud(Texts):
        def gettext(self, text: str) -> str:
            return (
                text.upper()
                .replace("%(USER)S", "%(user)s")
                .replace("%(HOST)S", "%(host)s")
                .replace("%(MINUTES)S", "%(minutes)s")
            )

    writer = Writer(HEAD, {"en": Texts(), "xx": Loud("xx")}, "en")
    loud = parsed(changed(circumstances=Circumstances(language="xx")), writer)
    assert loud["Subject"] == "YOUR CODE TO SET A NEW PASSWORD"
    assert "alice" in part(loud, "plain")
    assert parsed(changed(circumstances=Circumstances(language="yy")), writer)["Content-Language"] == "en"


def test_a_tenant_has_its_own_name_and_host() -> None:
    plain = part(parsed(changed(matter=Matter.NOTICE, notice=Notice.NEW_DEVICE)), "plain")
    assert "https://acme.example.com:8443/.gateway/account" in plain
    assert "Acme" in plain
    other = part(parsed(changed(matter=Matter.NOTICE, notice=Notice.NEW_DEVICE, tenant="", host="")), "plain")
    assert "https://portal.example.com:8443/.gateway/account" in other
    assert "Example" in other


@pytest.mark.parametrize(
    "address",
    [
        "",
        "alice",
        "alice@example.com\r\nBcc: everybody@example.com",
        "alice@example.com,bob@example.com",
        "attacker@evil.com@company.com",
        "<alice@example.com>",
        "alice@example.com ",
        '"a b"@example.com',
        "alice@[192.0.2.1]",
        "älice@example.com",
    ],
)
def test_a_letter_goes_to_one_plain_address_or_nowhere(address: str) -> None:
    with pytest.raises(ValueError, match="one plain address"):
        WRITER.write(changed(to=address))


HOSTILE = st.text(max_size=80) | st.sampled_from(
    [
        "\r\nBcc: everybody@example.com",
        "\r\n\r\n<script>alert(1)</script>",
        "</p><a href=//evil>",
        "%(code)s",
        "\u202egro.live",
        "=?utf-8?b?",
    ]
)


@given(user=HOSTILE, device=HOSTILE, place=HOSTILE, subject=HOSTILE)
def test_nothing_that_a_stranger_chose_becomes_a_header_a_line_or_markup(
    user: str, device: str, place: str, subject: str
) -> None:
    usual = parsed(changed(matter=Matter.NOTICE, notice=Notice.FACTOR_ADDED))
    where = Circumstances(address="203.0.113.7", place=place, device=device, subject=subject)
    mail = parsed(changed(matter=Matter.NOTICE, notice=Notice.FACTOR_ADDED, user=user, circumstances=where))
    assert [name for name, _ in mail.items()] == [name for name, _ in usual.items()]
    assert mail["Subject"] == usual["Subject"]
    assert mail["To"] == "alice@example.com"
    rich = part(mail, "html")
    assert re.findall(r"<(?:script|img|iframe)|<a [^>]*evil", rich) == []
    for fact in (device, place, subject):
        for line in part(mail, "plain").splitlines():
            assert not (len(fact) > 2 and "\n" in fact and line == fact.splitlines()[-1] and line.startswith("Bcc"))
    assert "\u202e" not in part(mail, "plain").replace(user, "")


def test_a_mail_is_ascii_in_lines_that_every_server_takes() -> None:
    written = WRITER.write(changed(user="å" * 100, circumstances=Circumstances(device="ü" * 500, language="de")))
    written.decode("ascii")
    assert all(len(line) <= 998 for line in written.split(b"\r\n"))  # RFC 5322 section 2.1.1
    assert b"\n" not in written.replace(b"\r\n", b"")


class _Words(HTMLParser):
    """What a person reads of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self._hidden = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden = tag in {"style", "title"}
        if tag == "td":
            self.text.append("|")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text.append(data)

    @staticmethod
    def of(html: str) -> str:
        parser = _Words()
        parser.feed(html)
        return " ".join("".join(parser.text).replace("|", " ").split())
