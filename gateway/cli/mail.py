"""`gateway mail`: whether mail leaves, tried without a browser and without waiting for the queue."""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial

import click

from gateway.audit import record
from gateway.authn.address import is_address
from gateway.cli.administration import answer, refuse
from gateway.cli.invocation import current
from gateway.exchange.letter import Letter, Matter
from gateway.ledger.producer import append, operator
from gateway.post.smtp import NotTakenError
from gateway.server.mailing import build_submission, build_writer
from gateway.server.progress import Progress
from gateway.server.validate import read_and_validate

_LIFETIME_S = 600.0


@click.group()
def mail() -> None:
    """Try the mail server."""


@mail.command()
@click.argument("address")
def test(*, address: str) -> None:
    """Send a test mail to ADDRESS, and say what the mail server answered.

    It is sent at once and once, past the queue. Exit 1 when it was not taken.
    """
    if not is_address(address):
        raise click.UsageError(f"{address!r} is not an e-mail address")
    validated = read_and_validate(current().config)
    settings = validated.settings
    if settings.mail is None:
        refuse("gateway.yaml has no section mail, so nothing is sent")
    now = time.time()
    letter = Letter(
        id=os.urandom(16).hex(),
        matter=Matter.TEST,
        to=address,
        host=settings.public_url.host,
        created=now,
        expires=now + _LIFETIME_S,
    )
    writer = build_writer(settings, settings.mail, validated.texts)
    submission = build_submission(settings.mail, validated.bundle)
    append(
        settings.state_dir,
        settings.audit.keys,
        [partial(record.administration, operation="mail test", actor=operator(), resources=[("letter", letter.id)])],
    )
    server = f"{settings.mail.smtp.host}:{settings.mail.smtp.port_in_use}"
    with Progress(f"asking {server}"):
        try:
            asyncio.run(submission.submit(sender=writer.sender, recipient=address, mail=writer.write(letter)))
        except NotTakenError as error:
            refuse(f"{server}: {error}")
    answer({"ok": True, "server": server, "letter": letter.id}, [f"{server} took the mail to {address}."])
