"""Mail as gateway.yaml says: the queue, what puts letters into it, and what takes them out.

It opens no connection: the server is first spoken to when a letter is due.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from gateway.exchange.letter import Letter
from gateway.exchange.notice import Circumstances, Notice, Notices, SilentNotices
from gateway.pages.device import describe_device
from gateway.pages.texts import Texts
from gateway.post.notices import MailedNotices
from gateway.post.postman import MailMetrics, Postman, Retry, Threads
from gateway.post.smtp import Server, Submission
from gateway.post.writing import Brand, Letterhead, Writer
from gateway.server.bundle import Bundle
from gateway.server.sections.mail import Mail
from gateway.server.settings import Settings
from gateway.store.outbox import Outbox
from gateway.store.records import User
from gateway.store.state import Store

_PASSWORD: Final = "mail.smtp.password"  # noqa: S105 - where it stands
_STEPS: Final = 6
"""Of one conversation, each as long as `timeout` at most: after that nobody is still sending."""


class Mailing(msgspec.Struct, frozen=True, kw_only=True):
    """What there is where there is `mail`."""

    outbox: Outbox
    notices: Notices
    tell: Callable[[str, Notice, Circumstances], None]
    """The same for callers in the store's thread."""
    postman: Postman


def build_submission(mail: Mail, bundle: Bundle) -> Submission:
    """Make what speaks to the mail server. Raises ValueError for a password or authorities that are none."""
    try:
        password = bundle.secrets.get(_PASSWORD, b"").decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("password: the file is not UTF-8") from None
    try:
        return Submission(
            Server(
                host=mail.smtp.host,
                port=mail.smtp.port_in_use,
                security=mail.smtp.security,
                username=mail.smtp.username,
                password=password,
                authorities=bundle.mail_authority,
                timeout_s=mail.smtp.timeout,
            )
        )
    except ValueError as error:
        raise ValueError(f"ca: {error}") from None


def build_writer(settings: Settings, mail: Mail, texts: Mapping[str, Texts]) -> Writer:
    """Make what writes letters in the look of the pages."""
    url = settings.public_url
    looks = {"": settings.branding} | {name: settings.branding_of(name) for name in settings.tenants}
    default = Brand()
    head = Letterhead(
        sender=mail.sender,
        reply_to=mail.reply_to,
        scheme=url.scheme,
        host=url.host,
        port=url.authority.removeprefix(f"[{url.host}]" if ":" in url.host else url.host),
        brands={
            tenant: Brand(
                name=branding.name or "",
                accent=branding.accent or default.accent,
                accent_dark=branding.accent_dark or default.accent_dark,
            )
            for tenant, branding in looks.items()
        },
    )
    return Writer(head, texts, settings.texts.language)


def build_mailing(
    settings: Settings,
    bundle: Bundle,
    texts: Mapping[str, Texts],
    *,
    store: Store,
    threads: Threads,
    metrics: MailMetrics,
    place: Callable[[str], str] | None,
    clock: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = os.urandom,
) -> Mailing | None:
    """Make all of it; None where there is no `mail`. Raises ValueError as `build_submission`."""
    mail = settings.mail
    if mail is None:
        return None
    outbox = Outbox(store.rows, store.sealer, capacity=mail.queue)
    shared: dict[str, Any] = {"threads": threads, "metrics": metrics, "clock": clock}
    notices = build_notices(settings, mail, outbox, person=store.user, place=place, random=random, **shared)
    retry = Retry(
        first_s=mail.retry.first,
        longest_s=mail.retry.longest,
        lease_s=_STEPS * mail.smtp.timeout,
    )
    postman = Postman(
        outbox, build_writer(settings, mail, texts), build_submission(mail, bundle), retry=retry, **shared
    )
    if mail.notices:
        return Mailing(outbox=outbox, notices=notices, tell=notices.tell, postman=postman)
    return Mailing(outbox=outbox, notices=SilentNotices(), tell=_tell_nobody, postman=postman)


def build_notices(
    settings: Settings,
    mail: Mail,
    outbox: Outbox,
    *,
    person: Callable[[str], User | None],
    threads: Threads,
    metrics: MailMetrics,
    place: Callable[[str], str] | None = None,
    clock: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = os.urandom,
) -> MailedNotices:
    """Make what puts notices into the queue, whether or not anybody takes them out here."""

    def describe(where: Circumstances) -> Circumstances:
        return msgspec.structs.replace(
            where,
            device=describe_device(where.device) if where.device else "",
            place=place(where.address) if place is not None and where.address else "",
        )

    def host(tenant: str) -> str:
        return settings.tenants[tenant].hosts[0] if tenant in settings.tenants else settings.public_url.host

    def put(letter: Letter, now: float) -> bool:
        return outbox.put(letter, now=now)

    return MailedNotices(
        person=person,
        put=put,
        host=host,
        describe=describe,
        keep_s=mail.retry.give_up,
        threads=threads,
        metrics=metrics,
        clock=clock,
        random=random,
    )


def _tell_nobody(_user_id: str, _notice: Notice, _circumstances: Circumstances) -> None:
    """Tell nobody: `mail.notices` is false."""
