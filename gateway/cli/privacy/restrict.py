"""`gateway privacy restrict` and `lift`: data are stored and not used (Art. 18), until that is lifted."""

from __future__ import annotations

import click

from gateway.cli.administration import answer, refuse
from gateway.cli.policy.reading import count
from gateway.cli.privacy.subject import Request, names_somebody, request


@click.command()
@names_somebody
def restrict(*, subject: str, tenant: str, reason: str) -> None:
    """Store the data of a person and use them no more: no sign-in, no API key, no reading of records about them."""
    with request(subject, tenant, reason) as asked:
        asked.record("privacy.restricted", "edit")
        ended = _change(asked, restricted=True)
        if ended is None:
            refuse(f"the data of {subject!r} are restricted already")
    answer(
        {"ok": True, "sessions_ended": ended},
        [
            f"Restricted: sign-in is refused, {count(ended, 'session')} ended, and records show (restricted).",
            "Nothing was deleted; lift it with gateway privacy lift.",
        ],
    )


@click.command()
@names_somebody
def lift(*, subject: str, tenant: str, reason: str) -> None:
    """Lift a restriction: the account is again what it was before. Tell the person first (Art. 18(3))."""
    with request(subject, tenant, reason) as asked:
        asked.record("privacy.restriction_lifted", "edit")
        if _change(asked, restricted=False) is None:
            refuse(f"the data of {subject!r} are not restricted")
    answer({"ok": True}, ["Lifted: the account is again what it was before."])


def _change(asked: Request, *, restricted: bool) -> int | None:
    """Return how many sessions ended; None when there was nothing to change."""
    person = asked.person
    return asked.act.store.restrict(
        person.id, tenant=person.tenant, aliases=person.sealed_as, restricted=restricted, now=asked.act.now
    )
