"""`gateway privacy erase`: decide on a request for erasure (Art. 17) and, where nothing stands against it, do it."""

from __future__ import annotations

from typing import Any, Final

import click

from gateway.audit.subject import fingerprint
from gateway.cli.administration import answer, refuse
from gateway.cli.invocation import current
from gateway.cli.policy.reading import count
from gateway.cli.privacy.erased import destroyed_sentence, removed_sentence, unreadable_sentence
from gateway.cli.privacy.holding import hold_on
from gateway.cli.privacy.subject import Request, also_at, names_somebody, request
from gateway.server.progress import Progress

_GROUNDS: Final = {
    "legal-claims": "Art. 17(3)(e): needed for the establishment, exercise or defence of legal claims",
    "legal-obligation": "Art. 17(3)(b): processing is required by Union or Member State law",
}


@click.command()
@names_somebody
@click.option(
    "--ground",
    type=click.Choice(list(_GROUNDS)),
    help="Refuse the request on this ground; nothing is erased. HIPAA and PCI DSS are no law of the Union or a Member State.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def erase(*, subject: str, tenant: str, reason: str, ground: str | None, yes: bool) -> None:
    """Destroy the key of a person and delete everything about them. This cannot be undone.

    The log stays whole and verifies: what it says of the person cannot be read any more, by anybody.
    """
    with request(subject, tenant, reason, despite_damage=True) as asked:
        asked.record("privacy.erasure_requested", "delete")
        if ground is not None:
            asked.record("privacy.erasure_refused", "delete", success=False, reason="ground", ground=_GROUNDS[ground])
            answer(
                {"ok": True, "erased": False, "ground": ground},
                [
                    f"Recorded: nothing is erased. {_GROUNDS[ground]}.",
                    "Tell the person so within a month (Art. 12(4)).",
                ],
            )
            return
        held = hold_on(asked)
        if held:
            asked.record("privacy.erasure_refused", "delete", success=False, reason="held", hold=held)
            refuse(
                f"the hold of the case {held} keeps what is to be erased; it ends with gateway audit hold release, "
                "or refuse the request with --ground legal-claims"
            )
        if not yes:
            _confirm(asked)
        _erase(asked)


def _confirm(asked: Request) -> None:
    if current().json:
        refuse("this cannot be undone: say --yes")
    person = asked.person
    account = f"the account {person.user.name}" if person.user is not None else "no account"
    click.echo(
        f"Erases {person.id} at {person.tenant}: {account}, {count(len(asked.tokens), 'key')} of the log, and all that the state "
        "holds about them. This cannot be undone.",
        err=True,
    )
    if not click.confirm("Erase?", err=True):
        refuse("nothing was erased")


def _erase(asked: Request) -> None:
    data, act = asked.data, asked.act
    asked.look_again()  # attack: while the question waited for its answer, the person signed in and got a key
    destroyed: list[dict[str, Any]] = [
        {"token": stored.token.hex(), "fingerprint": fingerprint(stored.subject)} for stored in asked.keys
    ]
    destroyed += [{"token": token, "unreadable": True} for token in asked.unreadable]
    erasure = data.erasure(asked.person, now=act.now)
    elsewhere = data.elsewhere(asked.person)
    with Progress("erasing"):
        data.erasures.note(erasure)  # from here on a restart goes on where this ends
        counts = data.forget(asked.person, erasure, now=act.now)
        data.mark()
        left = act.store.rows.scrub()
    asked.record_each("privacy.key_destroyed", [*destroyed, {"removed": counts}])
    copies = (
        "Copies elsewhere are not reached from here: backups of the state until they expire, and whoever was sent "
        "records in clear (docs/privacy.md)."
    )
    lines = [
        f"Erased. {destroyed_sentence(len(destroyed))} {removed_sentence(counts)}",
        *unreadable_sentence(len(asked.unreadable)),
        *also_at(elsewhere),
        copies,
        *([f"warning: {left}"] if left else []),
    ]
    answer(
        {"ok": True, "erased": True, "keys": destroyed, "removed": counts, "left": left, "elsewhere": elsewhere}, lines
    )
