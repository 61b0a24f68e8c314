"""A letter becomes a mail: two forms of one text, and the header fields of a mail that a program sends.

No picture, no foreign address, nothing that tells the sender it was read. No value reaches a header but the
addresses, which have a grammar; everything else is text, escaped where it is HTML.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final, Protocol

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway.authn.address import is_address
from gateway.exchange.letter import Letter, Matter
from gateway.post.words import filled, words_of

CODE_MINUTES: Final = 10
_GROUP: Final = 4
_LONGEST_FACT: Final = 64
_REFUSED: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
FOR_CODES: Final = frozenset({Matter.RESET_CODE, Matter.DEVICE_CODE, Matter.SIGN_IN_CODE})


class Texts(Protocol):
    """The catalogue of one language."""

    def gettext(self, text: str) -> str:
        """Translate; what the catalogue lacks stays English."""
        ...


class Brand(msgspec.Struct, frozen=True, kw_only=True):
    """The look of a tenant's letters."""

    name: str = ""
    """Empty = the host."""
    accent: str = "#0a6254"
    accent_dark: str = "#5fd0b4"


class Letterhead(msgspec.Struct, frozen=True, kw_only=True):
    """What all letters of a gateway have in common."""

    sender: tuple[str, str]
    """Name, or nothing, and address."""
    reply_to: tuple[str, str] | None = None
    scheme: str
    host: str
    """Of the pages, for letters that name none."""
    port: str = ""
    """With its colon, where it is not the scheme's own."""
    brands: Mapping[str, Brand]
    """By tenant; the empty name is for all others."""


class Writer:
    """Writes the mails of one gateway; templates are compiled at construction."""

    def __init__(self, head: Letterhead, texts: Mapping[str, Texts], language: str) -> None:
        """Take the catalogues by language tag; `language` is for letters in none of them."""
        self._head = head
        self._texts = texts
        self._language = language
        plain = Environment(
            loader=PackageLoader("gateway.post"),
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,  # noqa: S701 - text/plain
        )
        self._plain = plain.get_template("letter.txt")
        self._rich = plain.overlay(autoescape=True).get_template("letter.html")

    @property
    def sender(self) -> str:
        """Address of the envelope."""
        return self._head.sender[1]

    def write(self, letter: Letter) -> bytes:
        """Return the whole mail: ASCII, lines ended by CRLF, the same bytes at each try.

        Raises:
            ValueError: the letter cannot be written: no plain address, or a notice of nothing.

        """
        if not is_address(letter.to):
            raise ValueError("a letter goes to one plain address")
        head, asked = self._head, letter.circumstances.language
        language = asked if asked in self._texts else self._language
        gettext = self._texts[language].gettext
        host = letter.host or head.host
        brand = head.brands.get(letter.tenant) or head.brands.get("") or Brand()
        values = {"user": letter.user, "host": host, "minutes": str(CODE_MINUTES)}
        words = filled(words_of(letter), gettext, values)
        about = {
            "words": words,
            "language": language,
            "code": _grouped(letter.code) if letter.matter in FOR_CODES else "",
            "facts": _facts(letter, gettext),
            "link": f"{head.scheme}://{host}{head.port}/.gateway/account" if words.leads_to_account else "",
            "brand": brand.name or host,
            "accent": brand.accent,
            "accent_dark": brand.accent_dark,
            "footer": gettext("This mail was sent by a program, because of what happened at %(host)s.") % values,
        }
        mail = EmailMessage(policy=SMTP)
        mail["From"] = _mailbox(head.sender)
        mail["To"] = _mailbox(("", letter.to))
        if head.reply_to is not None:
            mail["Reply-To"] = _mailbox(head.reply_to)
        mail["Subject"] = words.subject
        mail["Date"] = format_datetime(datetime.fromtimestamp(letter.created, UTC))
        mail["Message-ID"] = f"<{letter.id}@{head.sender[1].partition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834 section 5
        mail["X-Auto-Response-Suppress"] = "All"
        mail.set_content(self._plain.render(about), cte="quoted-printable")
        mail.add_alternative(self._rich.render(about), subtype="html", cte="quoted-printable")
        mail["Content-Language"] = language
        mail.set_boundary(f"=_{letter.id}")
        return mail.as_bytes()


def _facts(letter: Letter, gettext: Callable[[str], str]) -> list[tuple[str, str]]:
    """List what is known of the circumstances, one line each."""
    where = letter.circumstances
    network = f"{where.address}, {where.place}" if where.address and where.place else where.address or where.place
    moment = datetime.fromtimestamp(letter.created, UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = (
        (gettext("When"), moment if letter.matter is not Matter.TEST else ""),
        (gettext("Device"), where.device),
        (gettext("Network"), network),
        (gettext("Name"), where.subject),
    )
    return [(name, _one_line(value)) for name, value in lines if value]


def _one_line(text: str) -> str:
    """Leave out what could change how a line reads: controls, invisible and turning characters."""
    kept = "".join(character for character in text if unicodedata.category(character) not in _REFUSED)
    return kept if len(kept) <= _LONGEST_FACT else kept[: _LONGEST_FACT - 1] + "…"


def _grouped(code: str) -> str:
    return " ".join(code[start : start + _GROUP] for start in range(0, len(code), _GROUP))


def _mailbox(named: tuple[str, str]) -> Address:
    return Address(display_name=named[0], addr_spec=named[1])
