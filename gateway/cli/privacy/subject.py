"""Whom a privacy verb is about, and what all of them share: the state, the journal of erasures, records that name nobody."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeVar

import click

from gateway.audit import record
from gateway.authn.name import InvalidNameError, canonical_name
from gateway.cli.administration import Administration, administration, refuse
from gateway.ledger.producer import operator
from gateway.store.erasures import Erasures
from gateway.store.subject_data import Person, SubjectData
from gateway.store.subjects import StoredSubject

CONTROLLER: Final = "gateway.privacy"
_Command = TypeVar("_Command", bound=Callable[..., None])


def names_somebody(command: _Command) -> _Command:
    """Take the options that every privacy verb needs."""
    for option in (
        click.option("--reason", required=True, help="Why; it is recorded. Write a case number, not a name."),
        click.option("--tenant", required=True, help="Organisation of the person."),
        click.option("--subject", "subject", required=True, help="Name or id of the person."),
    ):
        command = option(command)
    return command


class Request:
    """One request about one person."""

    def __init__(
        self, act: Administration, person: Person, data: SubjectData, reason: str, *, despite_damage: bool
    ) -> None:
        self.act = act
        self.person = person
        self.data = data
        self.keys: list[StoredSubject] = []
        self.unreadable: list[str] = []
        """Pseudonyms whose keys do not open; without `despite_damage` such a key ends the verb."""
        self._reason = reason
        self._despite_damage = despite_damage
        self._find_keys()

    def _find_keys(self) -> None:
        if self._despite_damage:
            self.keys = self.data.readable_keys(self.person)
            self.unreadable = self.data.unreadable_keys(self.person)
        else:
            self.keys = self.data.subject_keys(self.person)

    def look_again(self) -> None:
        """Take the time and the person's keys as they are now."""
        self.act.now = time.time()
        self._find_keys()

    @property
    def tokens(self) -> list[str]:
        """The pseudonyms under which records know the person."""
        return [*(stored.token.hex() for stored in self.keys), *self.unreadable]

    def record(self, event: str, action: str, *, success: bool = True, **more: Any) -> None:
        """Put a record of the request on stable storage. It is no record of the person's data, and names no pseudonym."""
        self.act.record(
            partial(
                record.administration,
                operation=event.replace(".", " ").replace("_", " "),
                actor=operator(),
                action=action,
                resources=[("data_subject", self.data.reference(self.person))],
                tenant=self.person.tenant,
                success=success,
                detail=self._reason,
                more={"event": event, **more},
            )
        )

    def record_each(self, event: str, each: list[Mapping[str, Any]]) -> None:
        """Put a record for each of some things on stable storage, in one go."""
        self.act.record(
            *(
                partial(
                    record.administration,
                    operation=event.replace(".", " ").replace("_", " "),
                    actor=operator(),
                    action="delete",
                    tenant=self.person.tenant,
                    detail=self._reason,
                    more={"event": event, **one},
                )
                for one in each
            )
        )


@contextmanager
def request(subject: str, tenant: str, reason: str, *, despite_damage: bool = False) -> Iterator[Request]:
    """Open the state and find the person; ends the verb with exit 1 where nobody is known by that name.

    `despite_damage` goes on where a key of the person does not open.
    """
    with administration() as act:
        data = subject_data(act)
        find = partial(data.find, tenant=tenant, despite_damage=despite_damage)
        person = find(_canonical(subject)) or find(subject)
        if person is None:
            refuse(
                f"neither an account nor a record knows {subject!r} at tenant {tenant!r}; "
                "it may be erased already: look with gateway privacy status"
            )
        if _names(reason, person):
            refuse("--reason names the person, and stays in the log when they are erased: write a case number")
        yield Request(act, person, data, reason, despite_damage=despite_damage)


def also_at(tenants: Sequence[str]) -> list[str]:
    """Say that the log knows the same id at other tenants: only an operator can tell whether it is the same person."""
    if not tenants:
        return []
    return [
        f"The same id has a key at {', '.join(tenants)} too; if it is the same person, repeat it with that --tenant."
    ]


def _names(text: str, person: Person) -> bool:
    """Tell whether a text has a name of the person in it as a word."""
    words = text.casefold()
    return any(re.search(rf"(?<!\w){re.escape(name.casefold())}(?!\w)", words) for name in person.names)


def subject_data(act: Administration) -> SubjectData:
    """Return what the state knows of people."""
    erasures = Erasures(act.store.rows, act.store.sealer, act.settings.state_dir)
    return SubjectData(act.store, act.keyring, erasures)


def _canonical(name: str) -> str:
    try:
        return canonical_name(name)
    except InvalidNameError:
        return name
