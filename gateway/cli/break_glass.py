"""`gateway break-glass`: let an account in that rests in an envelope, for an hour at most, while something else is broken.

Opening needs the host and says why; signing in needs password and second factor of the account, which somebody else may
hold. The end is the store's: nothing has to run for it, and no session outlives it.
"""

from __future__ import annotations

import click
import msgspec

from gateway.authn.assurance import ENROLLABLE
from gateway.cli.administration import Administration, administration, answer, moment, refuse, table
from gateway.document.quantity import duration, written_duration
from gateway.store.principals import LOCAL
from gateway.store.records import User

LONGEST_S = 3600.0
_LONGEST_REASON = 1024
_LONGEST_TICKET = 100


@click.group("break-glass", short_help="Let an emergency account in for an hour at most.")
def break_glass() -> None:
    """Let an account in that rests until an emergency, for an hour at most; list such accounts; end it earlier."""


def _span(_context: click.Context, _parameter: click.Parameter, value: str) -> float:
    try:
        seconds = duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not 0 < seconds <= LONGEST_S:
        raise click.BadParameter(f"an emergency lasts {written_duration(LONGEST_S)} at most, and is opened again")
    return seconds


def _said(_context: click.Context, parameter: click.Parameter, value: str) -> str:
    longest = _LONGEST_TICKET if parameter.name == "ticket" else _LONGEST_REASON
    if parameter.name == "reason" and not value.strip():
        raise click.BadParameter("say why; it is recorded")
    if len(value) > longest or not value.isprintable():
        raise click.BadParameter(f"one line of {longest} characters at most")
    return value.strip()


@break_glass.command("open", short_help="Let NAME in.")
@click.argument("name")
@click.option("--for", "span_s", default="30m", show_default=True, callback=_span, help="For how long; 1h at most.")
@click.option("--reason", required=True, callback=_said, help="Why; it is recorded. Name nobody.")
@click.option("--ticket", default="", callback=_said, help="Number of the incident; it is recorded.")
def open_account(*, name: str, span_s: float, reason: str, ticket: str) -> None:
    """Let NAME sign in until the time is over. The account must be disabled, with a password and a second factor of its own.

    At the end its sessions end and it rests again, whatever runs. Its first sign-in is a finding in the log, and pages
    somebody where the alerts of deploy/prometheus do.
    """
    with administration() as act:
        account = act.require_user(name)
        _require_sealed(act, account)
        until = act.now + span_s
        more = {"break_glass": {"until": int(until * 1000), **({"ticket": ticket} if ticket else {})}}
        act.record_account_change("break_glass.opened", account, detail=reason, more=more)
        opened = msgspec.structs.replace(account, disabled=False, until=until)
        if act.store.change_user(account, opened, now=act.now) is None:
            act.record_account_change("break_glass.opened", account, success=False, reason="changed_meanwhile")
            refuse(f"{account.name} was changed by somebody else at the same moment; nothing was done, try again")
        act.unlock(account)
    answer(
        {"ok": True, "user": account.name, "until": until},
        [
            f"{account.name} may sign in until {moment(until)}; gateway break-glass close {account.name} ends it earlier."
        ],
    )


def _require_sealed(act: Administration, account: User) -> None:
    """End the verb unless the account rests, and could sign in without anybody else's help."""
    if account.restricted:
        refuse(f"the data of {account.name} are restricted; lift that first: gateway privacy lift")
    if not account.rests(act.now):
        state = f"is open until {moment(account.until)}" if account.until else "is in everyday use"
        refuse(f"{account.name} {state}; an emergency account rests until it is needed: gateway user disable")
    identity = act.settings.identity
    is_elsewhere = identity.password_tenants and account.tenant not in identity.password_tenants
    if account.provider != LOCAL or not identity.passwords or is_elsewhere:
        refuse(f"{account.name} signs in at an identity provider; an emergency account has a password here")
    if not account.password or not act.store.factors_of(account) & ENROLLABLE:
        # attack: whoever has the password alone sets up a factor of their own
        refuse(f"{account.name} has no password or no second factor; gateway user reset gives it both")


@break_glass.command("close", short_help="End the emergency of NAME.")
@click.argument("name")
def close_account(*, name: str) -> None:
    """Have NAME rest again and end its sessions at once."""
    with administration() as act:
        account = act.require_user(name)
        if not account.until:
            refuse(f"{account.name} was not opened for an emergency")
        act.record_account_change("break_glass.closed", account)
        changed = act.store.change_user(account, account.closed(), now=act.now)
        if changed is None:
            act.record_account_change("break_glass.closed", account, success=False, reason="changed_meanwhile")
            refuse(f"{account.name} was changed by somebody else at the same moment; nothing was done, try again")
    answer(
        {"ok": True, "user": account.name, "sessions_ended": changed[1]},
        [f"{account.name} rests again. Sessions ended: {changed[1]}."],
    )


@break_glass.command("list", short_help="List the accounts that were opened.")
def list_accounts() -> None:
    """List the accounts that are open, and those whose time is over and that nobody closed."""
    with administration() as act:
        act.record_administration("break-glass list", action="view", resources=[("users", "emergency")])
        opened = [account for account in act.store.users() if account.until]
        now = act.now
    rows = [(user.name, user.tenant, _state(user, now), moment(user.until)) for user in opened]
    found = [{"name": u.name, "tenant": u.tenant, "open": not u.rests(now), "until": u.until} for u in opened]
    columns = ("NAME", "TENANT", "STATE", "UNTIL")
    answer({"accounts": found}, [table(columns, rows) if rows else "No account is open for an emergency."])


def _state(account: User, now: float) -> str:
    if account.is_over(now):
        return "over"
    return "disabled" if account.disabled else "open"
