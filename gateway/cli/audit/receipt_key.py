"""`gateway audit receipt-key`: the key with which an upstream checks audit receipts."""

from __future__ import annotations

from base64 import b64encode

import click

from gateway.audit.receipt import MAX_KEY_NUMBER
from gateway.cli.administration import read_settings, refuse
from gateway.cli.audit.custody import record_act
from gateway.cli.invocation import current
from gateway.ledger.keys import AuditKeys


@click.command("receipt-key", short_help="Show the key with which an upstream checks receipts.")
@click.argument("upstream")
@click.option(
    "--number",
    type=click.IntRange(1, MAX_KEY_NUMBER),
    help="Number of the key, to give the upstream the next one before it is used.  [default: its receipt_key]",
)
def receipt_key_verb(*, upstream: str, number: int | None) -> None:
    """Show the secret that the audit daemon of this node shares with UPSTREAM, base64.

    It is derived from the audit keys: every node has its own, and an upstream behind several nodes needs all of them.
    That it was shown is recorded.
    """
    settings = read_settings()
    own = settings.upstreams.get(upstream)
    if own is None:
        refuse(f"there is no upstream {upstream}; there is {', '.join(sorted(settings.upstreams))}")
    number = number or own.receipt_key
    if number is None:
        refuse(f"upstreams.{upstream} has no receipt_key; say which one is meant with --number")
    keys = AuditKeys.load(settings.audit.keys)
    key = b64encode(keys.receipt_key(upstream, number)).decode()
    record_act(settings, "audit.receipt_key_shown", more={"receipt_key": {"upstream": upstream, "number": number}})
    current().answer({"ok": True, "upstream": upstream, "number": number, "origin": keys.origin, "key": key}, key)
