"""The person's own page: where they are signed in, what protects them, and changing the password."""

from __future__ import annotations

from aiohttp import web

from gateway.exchange.reason import ANSWERS, Reason
from gateway.exchange.session import Session
from gateway.pages.accounts import Device, Refusal
from gateway.pages.device import describe_device
from gateway.pages.factor import ACCOUNT_PAGE
from gateway.pages.kept import forget_kept
from gateway.pages.sign_in import to_sign_in, turn_away
from gateway.pages.texts import marked
from gateway.pages.visit import Problem, Visit, problem_of

FEW_RECOVERY_CODES = 3

_NOTICES = {
    "password_changed": (
        marked("Your password is changed"),
        marked("Every other session of yours has been signed out."),
    ),
    "session_ended": (marked("Signed out"), marked("That session can no longer be used.")),
    "session_gone": (marked("Nothing to do"), marked("That session had already ended.")),
    "form_expired": (marked("The form has expired"), marked("Nothing was changed. Please try again.")),
    "devices_forgotten": (
        marked("No device is remembered any more"),
        marked("Every device is asked for a second step at its next sign-in."),
    ),
    "others_ended": (marked("Signed out everywhere else"), marked("Only this session is left.")),
}

_MAX_SECRET_CHARACTERS = 1024


async def show_account(visit: Visit, problem: Problem | None = None) -> web.Response:
    """Show the sessions and the state of password, authenticator app and recovery codes."""
    view = await visit.desk.accounts.account(visit.token, client=visit.client, now=visit.now)
    if isinstance(view, Refusal):
        return turn_away(visit, view) or to_sign_in(visit)
    factors = None
    if visit.desk.factors is not None:
        found = await visit.desk.factors.view(visit.token, client=visit.client, now=visit.now)
        if isinstance(found, Refusal):
            return turn_away(visit, found) or to_sign_in(visit)
        factors = found
    notice = _NOTICES.get(visit.flow.notice)
    visit.change_flow(notice="")
    return visit.page(
        "account.html",
        problem=problem,
        notice=notice,
        view=view,
        factors=factors,
        totp=visit.desk.totp,
        few=FEW_RECOVERY_CODES,
        administers=await _administers(visit, view.session),
        now=visit.now,
        devices=[(device, describe_device(device.user_agent), network_of(visit, device)) for device in view.devices],
    )


async def _administers(visit: Visit, session: Session) -> bool:
    """Tell whether to show the person the way to the console."""
    console = visit.desk.console
    if console is None or not console.opens_from(visit.envelope.client_ip):
        return False
    return await console.people.administrator(session) is not None


def network_of(visit: Visit, device: Device) -> str:
    """Say which network a session came from; the place only where the operator brought a database of places."""
    if visit.desk.place is None or not device.client_ip:
        return device.client_ip
    place = visit.desk.place(device.client_ip)
    return f"{device.client_ip}, {place}" if place else device.client_ip


async def revoke(visit: Visit, form: dict[str, str]) -> web.Response:
    """End one session of the person."""
    result = await visit.desk.accounts.revoke_session(visit.token, form["handle"], client=visit.client, now=visit.now)
    visit.record(result)
    if isinstance(result, Refusal):
        return turn_away(visit, result) or to_sign_in(visit)
    if form["handle"] == visit.handle:
        await forget_kept(visit)
        visit.drop_session()
        visit.end_flow()
        return visit.redirect("/.gateway/login?reason=signed_out")
    visit.change_flow(notice="session_ended" if result.count else "session_gone")
    return visit.redirect(ACCOUNT_PAGE)


async def revoke_others(visit: Visit, form: dict[str, str]) -> web.Response:  # noqa: ARG001 - nothing but the proof is in it
    """End every session of the person but this one."""
    result = await visit.desk.accounts.revoke_others(visit.token, client=visit.client, now=visit.now)
    visit.record(result)
    if isinstance(result, Refusal):
        return turn_away(visit, result) or to_sign_in(visit)
    visit.change_flow(notice="others_ended")
    return visit.redirect(ACCOUNT_PAGE)


async def forget_devices(visit: Visit, form: dict[str, str]) -> web.Response:  # noqa: ARG001 - nothing but the proof is in it
    """Have every device asked for a second factor again."""
    result = await visit.desk.accounts.forget_devices(visit.token, client=visit.client, now=visit.now)
    visit.record(result)
    if isinstance(result, Refusal):
        return turn_away(visit, result) or to_sign_in(visit)
    visit.change_flow(notice="devices_forgotten")
    return visit.redirect(ACCOUNT_PAGE)


async def show_password(visit: Visit, problem: Problem | None = None, score: int | None = None) -> web.Response:
    """Show the form for a new password."""
    view = await visit.desk.accounts.account(visit.token, client=visit.client, now=visit.now)
    if isinstance(view, Refusal):
        return turn_away(visit, view) or to_sign_in(visit)
    return visit.page(
        "password.html",
        problem=problem,
        has_totp=view.has_totp,
        user=view.session.user,
        score=score,
        least=visit.desk.min_password_characters if view.has_totp else visit.desk.min_password_characters_alone,
    )


async def change_password(visit: Visit, form: dict[str, str]) -> web.Response:
    """Replace the password: the current one and, with a factor, a fresh code; other sessions end (ASVS 6.2.3, 7.4.3)."""
    current, new, again = form["current_password"], form["new_password"], form["new_password_again"]
    if max(len(current), len(new), len(form["code"])) > _MAX_SECRET_CHARACTERS:
        return await show_password(visit, not_accepted("That is too long.", "new_password"))
    if not current or not new:
        return await show_password(
            visit, not_accepted("Please fill in every field.", "current_password", "new_password")
        )
    if new != again:
        return await show_password(visit, not_accepted("The two new passwords are not the same.", "new_password_again"))
    result = await visit.desk.accounts.change_password(
        visit.token, current, new, client=visit.client, now=visit.now, code=form["code"]
    )
    visit.record(result)
    if isinstance(result, Refusal):
        if result.reason is Reason.FRESH_SIGN_IN_REQUIRED and not await _asks_for_code(visit):
            return visit.redirect("/.gateway/mfa?step_up=mfa_age&return_to=/.gateway/account/password")
        problem = problem_of(result, *_WRONG_FIELDS.get(result.reason, ()))
        return turn_away(visit, result) or await show_password(visit, problem, getattr(result, "score", None))
    visit.take_session(result.token)
    visit.renew_flow()
    visit.change_flow(notice="password_changed")
    return visit.redirect(ACCOUNT_PAGE)


async def _asks_for_code(visit: Visit) -> bool:
    """Tell whether the form has a field for a code; whoever has passkeys alone proves one on its own page."""
    factors = visit.desk.factors
    return factors is None or "totp" in await factors.has_factor(visit.token, client=visit.client, now=visit.now)


_WRONG_FIELDS = {
    Reason.CREDENTIALS_REFUSED: ("current_password",),
    Reason.CODE_REFUSED: ("code",),
    Reason.FRESH_SIGN_IN_REQUIRED: ("code",),
    Reason.PASSWORD_REFUSED: ("new_password",),
}


def not_accepted(sentence: str, *fields: str) -> Problem:
    """Say what is wrong with the form before anybody is asked."""
    return Problem(
        reason=Reason.PASSWORD_REFUSED, title=ANSWERS[Reason.PASSWORD_REFUSED].title, sentence=sentence, fields=fields
    )
