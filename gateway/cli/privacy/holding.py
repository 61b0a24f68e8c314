"""Which legal hold keeps the records of a person: as long as there is one, no key of theirs is destroyed."""

from __future__ import annotations

from gateway.cli.privacy.subject import Request
from gateway.ledger.holds import Hold, find_token
from gateway.ledger.keys import AuditKeys
from gateway.ledger.layout import Layout
from gateway.ledger.promise_reader import PromiseReader


def hold_on(asked: Request) -> str:
    """Name a hold that is in force over records of the person; empty where there is none.

    Raises `HoldsError`, `UnreadableLogError`: it cannot be told, so everything is held.
    """
    settings = asked.act.settings
    layout = Layout(settings.state_dir)
    keys = AuditKeys.load(settings.audit.keys)
    tokens = asked.tokens

    def is_referenced(hold: Hold) -> bool:
        return any(find_token(layout, keys, hold, token) for token in tokens)

    hold = PromiseReader(layout, keys).holds()[0].blocks_subject({*asked.person.names, *tokens}, is_referenced)
    return "" if hold is None else hold.case
