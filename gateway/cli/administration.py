"""An act of an operator on the gateway's state: opened, recorded before it happens, and only then done.

Works with the gateway running or stopped. What cannot be recorded is not done. Each verb says itself
what it does; this module says nothing to the operator but errors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from gateway.audit import record
from gateway.authn.address import canonical_address
from gateway.authn.name import InvalidNameError, canonical_name
from gateway.authn.throttle import ACCOUNT, FACTOR
from gateway.cli.invocation import current
from gateway.cli.people import Discretion
from gateway.exchange.errors import ConfigurationError, GatewayError
from gateway.exchange.metrics import Registry
from gateway.exchange.notice import Circumstances, Notice
from gateway.ledger.producer import Build, append, operator
from gateway.post.postman import MailMetrics
from gateway.server.mailing import build_notices
from gateway.server.settings import Settings, load_settings
from gateway.server.state import open_state, read_redis_options
from gateway.store.attempts import AttemptKeys
from gateway.store.keyring import Keyring
from gateway.store.outbox import Outbox
from gateway.store.records import User
from gateway.store.state import Store

Result = TypeVar("Result")
NO: Final = 1
FOR_EVER_S: Final = 1e9
"""What stands in JSON, which has no infinity, for a lock that only an operator opens."""


class Administration:
    """The gateway's settings, keys and state, for one verb at one time."""

    def __init__(self, settings: Settings, keyring: Keyring, store: Store, now: float) -> None:
        self.settings = settings
        self.keyring = keyring
        self.store = store
        self.now = now
        self._discretion = Discretion(store, now) if settings.audit.privacy.subject_keys else None

    def record(self, *builds: Build) -> None:
        """Put records on stable storage. Raises `AuditUnavailableError`: then the verb must do nothing."""
        append(self.settings.state_dir, self.settings.audit.keys, builds)

    def record_account_change(self, event: str, user: User, **more: Any) -> None:
        """Record a change to an account, before it is made."""
        build: Build = partial(
            record.account_change,
            event=event,
            actor=operator(),
            user_uid=user.id,
            user_name=user.name,
            tenant=user.tenant,
            **more,
        )
        self.record(build if self._discretion is None else self._discretion.account(build, user.id, user.tenant))

    def record_administration(
        self,
        operation: str,
        *,
        action: str,
        resources: Sequence[tuple[str, str]] = (),
        tenant: str = "",
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Record another act, before it is done."""
        build: Build = partial(
            record.administration,
            operation=operation,
            actor=operator(),
            action=action,
            resources=resources,
            tenant=tenant,
            more=more,
        )
        self.record(build if self._discretion is None else self._discretion.resources(build, resources, tenant))

    def locked_s(self, user: User) -> float:
        """Return the seconds for which failed attempts keep the account or its factor locked; 0 = not locked."""
        keys = AttemptKeys(self.keyring)
        longest = max(
            self.store.blocked_s(keys.account(user.name), ACCOUNT, now=self.now),
            self.store.blocked_s(keys.factor(user.id), FACTOR, now=self.now),
        )
        return min(longest, FOR_EVER_S)

    def unlock(self, user: User) -> None:
        """Forget the failed attempts on an account and its factor."""
        keys = AttemptKeys(self.keyring)
        self.store.clear_attempts(
            [
                keys.account(user.name),
                keys.typed(user.name),
                keys.typed(canonical_address(user.email)),
                keys.current(user.id),
                keys.factor(user.id),
            ]
        )

    def tell(self, user_id: str, notice: Notice, *, subject: str = "") -> None:
        """Queue a letter to the owner of an account; the gateway sends it when it runs. Not told is not undone."""
        mail = self.settings.mail
        if mail is None or not mail.notices:
            return
        outbox = Outbox(self.store.rows, self.store.sealer, capacity=mail.queue)
        metrics = MailMetrics(Registry())  # of this process, which nobody asks
        notices = build_notices(
            self.settings, mail, outbox, person=self.store.user, threads=_in_this_thread, metrics=metrics
        )
        try:
            why = "" if notices.queue(user_id, notice, Circumstances(subject=subject)) else "the queue of mail is full"
        except GatewayError as error:
            why = str(error)
        if why:
            click.echo(f"the owner of the account was not told by mail: {why}", err=True)

    def require_user(self, name: str) -> User:
        """Find an account by any spelling of its name; ends the verb with exit 1 when there is none."""
        try:
            user = self.store.user_named(canonical_name(name))
        except InvalidNameError:
            user = None
        if user is None:
            refuse(f"there is no user {name!r}")
        return user


@contextmanager
def administration() -> Iterator[Administration]:
    """Open what gateway.yaml names; `state_dir` is made when it is missing.

    Raises:
        ConfigurationError: gateway.yaml is missing or wrong.
        KeyringError: the keyring cannot be used.
        StoreUnavailableError: the state cannot be used.

    """
    settings = read_settings()
    keyring = Keyring.load(settings.keyring)
    store = open_state(settings, keyring, read_redis_options(settings), create=True)
    try:
        yield Administration(settings, keyring, store, time.time())
    finally:
        store.close()


async def _in_this_thread(work: Callable[[], Result]) -> Result:
    return work()


def read_settings() -> Settings:
    """Read the gateway.yaml that the command line names."""
    path = current().config
    return load_settings(_read(path), path)


def refuse(sentence: str) -> NoReturn:
    """End the verb: the answer is no."""
    invocation = current()
    if invocation.json:
        invocation.answer({"ok": False, "errors": [sentence]}, "")
    else:
        click.echo(sentence, err=True)
    raise click.exceptions.Exit(NO)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows under their headings."""
    widths = [max(len(row[index]) for row in [columns, *rows]) for index in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [columns, *rows]]
    return "\n".join(line.rstrip() for line in lines)


def moment(time_s: float) -> str:
    """Write a time for people, in UTC; `never` for zero."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(time_s)) if time_s else "never"


def answer(value: Mapping[str, Any], lines: Sequence[str]) -> None:
    """Answer with a mapping in JSON, or with lines."""
    current().answer(dict(value), "\n".join(lines))


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError((f"{path}:1:1: the file is not UTF-8",)) from None
    except FileNotFoundError:
        raise ConfigurationError(
            (f"{path}: does not exist; name the file with -c, or make one with gateway init",)
        ) from None
    except OSError as error:
        raise ConfigurationError((f"{path}: cannot be read: {error.strerror}",)) from None
