"""The pages as one aiohttp application: which pages there are, and what a request passes before each.

`_submitter` is the order of the gates; read it to answer "can a form advance without passing X?".
What a page then does is in `sign_in`, `factor` and `account`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from traceback import extract_tb
from typing import Any, Generic, Literal, Protocol

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.exchange.envelope import FRESHEN, SIGHTINGS, Event
from gateway.exchange.errors import GatewayError
from gateway.exchange.metrics import Registry
from gateway.exchange.reason import Reason
from gateway.exchange.session import Owed
from gateway.pages import (
    account,
    circles,
    factor,
    kept,
    new_device,
    oidc,
    passkey,
    reset,
    session_room,
    sign_in,
    sign_on,
)
from gateway.pages.accounts import Accounts, ClientMaker, ClientT
from gateway.pages.console.addresses import ADDRESSES
from gateway.pages.console.desk import Console
from gateway.pages.console.door import Door
from gateway.pages.factor_seams import SecondFactors
from gateway.pages.flow import FlowSeal
from gateway.pages.form import MAX_FORM_BYTES, PROOF_FIELDS, read_form
from gateway.pages.look import ASSET_CSP, Asset, Look
from gateway.pages.oidc_seams import Providers
from gateway.pages.portal_seams import Portals
from gateway.pages.provenance import refuse_embedding, refuse_foreign_submission
from gateway.pages.return_to import CONSOLE
from gateway.pages.visit import Desk, Problem, Visit, begin_visit, finish, form_expired, open_envelope, refuse

_log = structlog.get_logger("gateway.pages")
MAX_SIGHTINGS_BYTES = 4 * 1024 * 1024

_PAGE_DESTINATIONS = frozenset({"document"})
_ASSET_DESTINATIONS = {
    "text/css": frozenset({"document", "style", "image"}),
    "image/svg+xml": frozenset({"document", "style", "image"}),
    "text/javascript": frozenset({"document", "script"}),
}

_VISIT = web.RequestKey("visit", Visit)


class _Show(Protocol):
    """Shows a page, again with a problem."""

    async def __call__(self, visit: Visit, problem: Problem | None = None) -> web.Response:
        """Answer a GET, or a form that did not pass."""
        ...


_Submit = Callable[[Visit, dict[str, str]], Awaitable[web.Response]]


@dataclass(frozen=True, slots=True)
class _Form:
    """One form: its name, which its token is bound to, its fields, and what happens when all gates are passed."""

    name: str
    fields: frozenset[str]
    submit: _Submit


@dataclass(frozen=True, slots=True)
class _Page:
    """One address."""

    path: str
    show: _Show
    form: _Form | None
    session: Literal["none", "any", "owing", "complete"]
    """`none`: no session needed nor read; `any`: read if there is one; `owing`: needed; `complete`: needed, owing nothing."""


def _form(name: str, submit: _Submit, *fields: str) -> _Form:
    return _Form(name, frozenset(fields), submit)


async def _to_account(visit: Visit, problem: Problem | None = None) -> web.Response:
    """Send whoever opens an address without a page of its own to the account page, which says what went wrong."""
    if problem is not None:
        visit.change_flow(notice="form_expired")
    return visit.redirect(factor.ACCOUNT_PAGE)


async def _to_recovery(visit: Visit, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """Send whoever looks for recovery where a recovery code is taken."""
    return visit.redirect(f"{sign_in.MFA_PAGE}?method=recovery")


_PAGES = (
    _Page(
        "/.gateway/login",
        sign_in.show_sign_in,
        _form("sign-in", sign_in.sign_in, "username", "password", "return_to", "again"),
        "none",
    ),
    _Page(
        "/.gateway/mfa",
        sign_in.show_mfa,
        _form("mfa", sign_in.prove_factor, "code", "method", "remember", "return_to"),
        "owing",
    ),
    _Page(sign_in.SESSIONS_PAGE, session_room.show_room, _form("room", session_room.make_room, "handle"), "owing"),
    _Page("/.gateway/logout", sign_in.show_sign_out, _form("sign-out", sign_in.sign_out), "any"),
    _Page(kept.KEPT_PAGE, kept.show_kept, _form("discard", kept.discard_kept), "complete"),
    _Page("/.gateway", _to_account, None, "none"),
    _Page("/.gateway/", _to_account, None, "none"),
    _Page("/.gateway/account", account.show_account, None, "complete"),
    _Page("/.gateway/account/", _to_account, None, "none"),
    _Page("/.gateway/account/revoke", _to_account, _form("revoke", account.revoke, "handle"), "complete"),
    _Page("/.gateway/account/revoke-others", _to_account, _form("revoke-others", account.revoke_others), "complete"),
    _Page("/.gateway/account/forget-devices", _to_account, _form("forget-devices", account.forget_devices), "complete"),
    _Page(
        "/.gateway/account/password",
        account.show_password,
        _form(
            "password",
            account.change_password,
            "current_password",
            "new_password",
            "new_password_again",
            "username",
            "code",
        ),
        "complete",
    ),
    _Page(
        "/.gateway/enrol",
        factor.show_factor,
        _form("factor", factor.confirm_factor, "code", "return_to"),
        "owing",
    ),
    _Page(factor.OFFER_PAGE, factor.show_offer, None, "complete"),
    _Page("/.gateway/enrol/renew", factor.show_factor, _form("renew", factor.renew_factor, "code"), "complete"),
)


_PROVIDER_PAGES = (
    _Page("/.gateway/oidc/{provider}/start", oidc.start, None, "none"),
    _Page("/.gateway/oidc/{provider}/callback", oidc.callback, None, "none"),
    _Page("/.gateway/oidc/{provider}/signed-out", oidc.signed_out, None, "none"),
    _Page(oidc.ADDRESS_PAGE, oidc.to_address, _form("home-realm", oidc.find_by_address, "email", "return_to"), "none"),
)
"""Only where there are identity providers."""

_PASSKEY_PAGES = (
    _Page(
        "/.gateway/login/passkey",
        passkey.to_sign_in_page,
        _form("passkey", passkey.sign_in_with_passkey, "credential", "challenge", "return_to"),
        "none",
    ),
    _Page(
        "/.gateway/mfa/passkey",
        passkey.to_mfa_page,
        _form("mfa-passkey", passkey.prove_passkey, "credential", "challenge", "remember", "return_to"),
        "owing",
    ),
    _Page(
        passkey.ADD_PAGE,
        passkey.show_add,
        _form("passkey-add", passkey.add, "credential", "challenge", "name", "return_to"),
        "owing",
    ),
    _Page(passkey.PASSKEYS_PAGE, passkey.show_passkeys, None, "complete"),
    _Page(
        f"{passkey.PASSKEYS_PAGE}/rename",
        passkey.to_passkeys,
        _form("passkey-rename", passkey.rename, "handle", "name"),
        "complete",
    ),
    _Page(
        f"{passkey.PASSKEYS_PAGE}/remove",
        passkey.to_passkeys,
        _form("passkey-remove", passkey.remove, "handle"),
        "complete",
    ),
)
"""Only where passkeys are among the allowed factors."""

_RESET_PAGES = (
    _Page(reset.RESET_PAGE, reset.show_reset, _form("reset", reset.ask, "username"), "none"),
    _Page(reset.CODE_PAGE, reset.show_code, _form("reset-code", reset.prove, "code"), "none"),
    _Page(
        reset.PASSWORD_PAGE,
        reset.show_new_password,
        _form("reset-password", reset.set_password, "new_password", "new_password_again"),
        "none",
    ),
)
"""Only where a forgotten password is replaced by mail."""

_CONFIRMATION_PAGES = (
    _Page(
        sign_in.DEVICE_PAGE,
        new_device.show_device,
        _form("device", new_device.confirm, "code", "remember", "return_to"),
        "owing",
    ),
    _Page(new_device.AGAIN_PAGE, new_device.to_device, _form("device-again", new_device.send_again), "owing"),
)
"""What a session owes on a new device; without mail none can owe it for longer than a reload takes."""

_PORTAL_PAGES = (
    _Page(f"{sign_on.SIGN_ON_PAGE}/{{upstream}}", sign_on.show_sign_on, None, "complete"),
    _Page(
        f"{sign_on.ACCOUNT_PAGE}/{{upstream}}",
        sign_on.show_account,
        _form("portal-account", sign_on.tell_account, "username", "password", "forget"),
        "complete",
    ),
)
"""Only where people are signed on to a portal."""

_RECOVERY_PAGES = (
    _Page("/.gateway/recovery", _to_recovery, None, "none"),
    _Page(
        "/.gateway/account/recovery",
        factor.show_recovery,
        _form("recovery", factor.replace_recovery, "code"),
        "complete",
    ),
)
"""Only where recovery codes are among the allowed factors."""


@dataclass(frozen=True, kw_only=True)
class Dependencies(Generic[ClientT]):
    """What the pages need from the rest of the gateway."""

    accounts: Accounts[ClientT]
    kept: kept.KeptForms
    client: ClientMaker[ClientT]
    flow_key: bytes
    """32 bytes of the keyring's, for the login state alone."""
    registry: Registry
    clock: Callable[[], float] = time.time
    random: Callable[[int], bytes] = os.urandom
    look: Look = field(default_factory=Look)
    """Compiled once for a branding; outlives a reload that leaves the branding alone."""
    looks: Mapping[str, Look] = field(default_factory=dict)
    """Of tenants that have one of their own, by name."""
    place: Callable[[str], str] | None = None
    """Names the place of an address, empty if unknown; only where the operator has a database of places."""
    idle_warning_s: float = 0.0
    """How long before the idle end of a session pages warn; 0 = they do not."""
    recovery_codes: bool = True
    """Recovery codes are among the allowed factors; without them no page speaks of them."""
    factors: SecondFactors[ClientT] | None = None
    """What knows passkeys; None = they are not among the allowed factors."""
    totp: bool = True
    """An authenticator app may be set up."""
    remember_device_s: float = 0.0
    """How long a device may be remembered; 0 = never."""
    offers_factor: bool = False
    """People without a second factor are offered one when they sign in with a browser that is new."""
    never_remembered: frozenset[str] = frozenset()
    """Whoever holds one of these roles is asked on every device."""
    passwords: bool = True
    """People sign in with passwords of the gateway's own."""
    password_tenants: frozenset[str] = frozenset()
    """On whose hosts they do; empty = everybody's."""
    providers: Providers | None = None
    """Identity providers; without them no page speaks of one."""
    min_password_characters: int = 12
    """What the password page says; the accounts decide."""
    min_password_characters_alone: int = 15
    """The same, where no second factor stands beside the password."""
    resets: reset.Resets[ClientT] | None = None
    """What replaces forgotten passwords by mail; without it no page speaks of that."""
    confirmations: new_device.Confirmations[ClientT] | None = None
    """What confirms new devices by mail."""
    portals: Portals | None = None
    """Portals that people are signed on to, or whose cookies are kept."""
    console: Console | None = None
    """What administrators see; without it the console is an address like any unknown one."""
    watch: Callable[[bytes], Awaitable[None]] | None = None
    """Takes what the edge tells detectors of abuse; raises `ValueError` for anything else."""
    seal_events: Callable[[list[Event]], Awaitable[list[Event]]] | None = None
    """Gives the events of an answer the keys under which their people are sealed in the audit record; never fails."""


def create_app(dependencies: Dependencies[Any]) -> web.Application:
    """Make the application; `serve` puts it on a socket. Raises `ValueError` for a key of another length."""
    registry = dependencies.registry
    desk = Desk(
        accounts=dependencies.accounts,
        kept=dependencies.kept,
        client=dependencies.client,
        seal=FlowSeal(dependencies.flow_key, dependencies.random),
        look=dependencies.look,
        looks=dependencies.looks,
        clock=dependencies.clock,
        random=dependencies.random,
        place=dependencies.place,
        recovery_codes=dependencies.recovery_codes,
        idle_warning_s=dependencies.idle_warning_s,
        factors=dependencies.factors,
        totp=dependencies.totp,
        remember_device_s=dependencies.remember_device_s,
        never_remembered=dependencies.never_remembered,
        offers_factor=dependencies.offers_factor,
        min_password_characters=dependencies.min_password_characters,
        min_password_characters_alone=dependencies.min_password_characters_alone,
        resets=dependencies.resets,
        confirmations=dependencies.confirmations,
        portals=dependencies.portals,
        seal_events=dependencies.seal_events,
        console=dependencies.console,
        passwords=dependencies.passwords,
        password_tenants=dependencies.password_tenants,
        providers=dependencies.providers,
        sign_ins=registry.counter(
            "gateway_sign_ins_total", "Passwords given, by what came of it.", ("outcome", "reason")
        ),
        factor_checks=registry.counter(
            "gateway_factor_checks_total", "Second factors given, by what came of it.", ("outcome", "reason")
        ),
        forms_refused=registry.counter(
            "gateway_forms_refused_total", "Forms that were not looked at, by why.", ("reason",)
        ),
        kept_forms=registry.counter(
            "gateway_kept_forms_total", "Forms that sign-in interrupted, by what became of them.", ("outcome",)
        ),
        sign_in_loops=registry.counter(
            "gateway_sign_in_loops_total",
            "Times a browser was kept from going in circles, by what it lacked.",
            ("cause",),
        ),
        resets_counted=registry.counter(
            "gateway_password_resets_total", "Steps of resets by mail, by what came of them.", ("step", "outcome")
        ),
        confirmations_counted=registry.counter(
            "gateway_device_confirmations_total",
            "Codes by mail for new devices, sent and given, by what came of them.",
            ("step", "outcome"),
        ),
        portal_sign_ons=registry.counter(
            "gateway_portal_sign_ons_total",
            "Sign-ons to portals on a person's behalf, by how the person stands there then.",
            ("upstream", "standing"),
        ),
    )
    app = web.Application(middlewares=[_admit(desk)], client_max_size=MAX_FORM_BYTES)
    recovery = _RECOVERY_PAGES if dependencies.recovery_codes else ()
    providers = _PROVIDER_PAGES if dependencies.providers is not None else ()
    passkeys = _PASSKEY_PAGES if dependencies.factors is not None else ()
    resets = _RESET_PAGES if dependencies.resets is not None else ()
    portals = _PORTAL_PAGES if dependencies.portals is not None else ()
    for page in (*_PAGES, *recovery, *providers, *passkeys, *resets, *_CONFIRMATION_PAGES, *portals):
        app.router.add_get(page.path, _reader(page))
        if page.form is not None:
            app.router.add_post(page.path, _submitter(desk, page, page.form))
    if desk.providers is not None:
        app.router.add_post(FRESHEN, _freshen)
        app.router.add_post(oidc.BACK_CHANNEL, _take_logout)
    app.router.add_post(kept.KEEP, _keep)
    if dependencies.watch is not None:
        app.router.add_post(SIGHTINGS, _watcher(dependencies.watch))
    if dependencies.console is not None:
        _open_console(app, dependencies.console, desk, registry)
    assets = {asset.path: asset for look in (desk.look, *desk.looks.values()) for asset in look.assets}
    for asset in assets.values():
        app.router.add_get(asset.path, _asset_server(asset))
    return app


def _open_console(app: web.Application, console: Console, desk: Desk, registry: Registry) -> None:
    """Add the pages of the console, which have a door of their own."""
    door = Door(
        console=console,
        visit_of=lambda request: request[_VISIT],
        requests=registry.counter(
            "gateway_console_requests_total", "Requests to the console, by what came of them.", ("outcome",)
        ),
        forms_refused=desk.forms_refused,
    )
    for address in ADDRESSES:
        if address.readable:
            app.router.add_get(address.path, door.reader(address))
        if address.submit is not None:
            app.router.add_post(address.path, door.submitter(address))


def _admit(desk: Desk) -> Middleware:
    """Make the one middleware: nothing is served without the edge's envelope, and every answer is finished here."""

    @web.middleware
    async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
        envelope = open_envelope(request)
        if envelope is None:
            response: web.StreamResponse = refuse(request, Reason.MALFORMED_HEAD, "")
            finish(response, [])
            return response
        visit = begin_visit(desk, request, envelope)
        request[_VISIT] = visit
        try:
            response = await handler(request)
            if visit.token and visit.new_token:
                await _carry(desk, visit)
        except web.HTTPMethodNotAllowed as error:
            # attack: a 405 tells apart what is there from what is not
            known = request.path not in {kept.KEEP, FRESHEN, SIGHTINGS} and not f"{request.path}/".startswith(CONSOLE)
            response = refuse(request, Reason.METHOD_NOT_ALLOWED if known else Reason.NO_ROUTE, envelope.request_id)
            if known:
                response.headers["Allow"] = ", ".join(sorted(error.allowed_methods))
        except web.HTTPNotFound:
            response = refuse(request, Reason.NO_ROUTE, envelope.request_id)
        except GatewayError as error:
            _log.warning("page.undecided", request_id=envelope.request_id, reason=error.reason, error=str(error))
            response = refuse(request, error.reason, envelope.request_id)
        except Exception as error:  # noqa: BLE001 - the root of every request: refuse, and say so
            # Neither its text nor its variables: a form is full of secrets.
            _log.error("page.failed", request_id=envelope.request_id, error=type(error).__name__, at=_places(error))
            response = refuse(request, Reason.INTERNAL_ERROR, envelope.request_id)
        if visit.events and desk.seal_events is not None:
            finish(response, await desk.seal_events(visit.events))
        else:
            finish(response, visit.events)
        return response

    return admit


async def _carry(desk: Desk, visit: Visit) -> None:
    """Take what is sealed under the cookie along to its new value, which must reach the browser all the same.

    Without it people are signed on to portals once more, and tokens of a provider are not passed on until they sign in again.
    """
    if desk.providers is not None and visit.handle:
        try:
            await desk.providers.carry(visit.token, visit.new_token, visit.handle, now=visit.now)
        except GatewayError as error:
            _log.warning("tokens.not_carried", request_id=visit.envelope.request_id, reason=error.reason)
    if desk.portals is not None:
        try:
            await desk.portals.carry(visit.token, visit.new_token, now=visit.now)
        except GatewayError as error:
            _log.warning("portal.not_carried", request_id=visit.envelope.request_id, reason=error.reason)


async def _take_logout(request: web.Request) -> web.StreamResponse:
    """Serve an identity provider that tells of a logout: it comes without a browser, and its token is its proof."""
    return await oidc.take_logout(request[_VISIT])


async def _freshen(request: web.Request) -> web.StreamResponse:
    """Serve the edge, which needs a token that is about to end."""
    return await oidc.freshen(request[_VISIT])


async def _keep(request: web.Request) -> web.StreamResponse:
    """Serve the edge, which has a form that a person cannot send yet; for everybody else this page does not exist."""
    visit = request[_VISIT]
    if visit.envelope.interrupted is None:
        raise web.HTTPNotFound
    return await kept.keep(visit, visit.envelope.interrupted)


def _watcher(watch: Callable[[bytes], Awaitable[None]]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Serve the edge, which tells what detectors count; for everybody else this page does not exist."""

    async def take(request: web.Request) -> web.StreamResponse:
        if not request[_VISIT].envelope.tells:
            raise web.HTTPNotFound
        told = bytearray()
        async for piece in request.content.iter_any():
            told += piece
            if len(told) > MAX_SIGHTINGS_BYTES:
                return web.Response(status=413)
        try:
            await watch(bytes(told))
        except ValueError:
            return web.Response(status=400)
        return web.Response(status=204)

    return take


def _places(error: Exception) -> list[str]:
    """Name the lines an exception passed, innermost last."""
    return [f"{Path(frame.filename).name}:{frame.lineno}" for frame in extract_tb(error.__traceback__)]


def _reader(page: _Page) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Serve GET and HEAD of a page."""

    async def read(request: web.Request) -> web.StreamResponse:
        visit = request[_VISIT]
        refusal = refuse_embedding(request.headers, _PAGE_DESTINATIONS)
        if refusal is not None:
            return refuse(request, refusal, visit.envelope.request_id)
        turned = await _need_session(visit, page)
        return turned if turned is not None else await page.show(visit)

    return read


def _submitter(desk: Desk, page: _Page, form: _Form) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Serve POST of a page: every gate in order, then the act."""

    async def submit(request: web.Request) -> web.StreamResponse:
        visit = request[_VISIT]
        # (1) What the browser says about where the form was.
        refusal = refuse_foreign_submission(request.headers, visit.origin)
        if refusal is not None:
            desk.forms_refused.inc((refusal,))
            return refuse(request, refusal, visit.envelope.request_id)
        # (2) One reading of the body.
        values = await read_form(request, form.fields)
        if isinstance(values, Reason):
            desk.forms_refused.inc((values,))
            return refuse(request, values, visit.envelope.request_id)
        # (3) The session the form needs.
        turned = await _need_session(visit, page)
        if turned is not None:
            return turned
        # (4) The anti-forgery token: of this form, this browser, this session.
        if values["form"] != form.name or not visit.flow.owns(values["form_token"], form.name, visit.handle):
            desk.forms_refused.inc((Reason.FORM_EXPIRED,))
            if not visit.flow_came and values.get("again"):
                return circles.explain(visit, circles.Cause.NO_COOKIES)
            return await page.show(visit, form_expired() if visit.flow_came else circles.no_cookies())
        return await form.submit(visit, {name: values[name] for name in values.keys() - PROOF_FIELDS})

    return submit


async def _need_session(visit: Visit, page: _Page) -> web.Response | None:
    """Find the session; answer instead of the page where it is missing or owes something."""
    if page.session == "none":
        return None
    session = await visit.identify()
    if page.session == "any":
        return None
    if session is None:
        if page.session == "complete" and page.path != kept.KEPT_PAGE:
            visit.head_for(factor.ACCOUNT_PAGE)
        return sign_in.to_sign_in(visit, sign_in.why_signed_out(visit))
    if page.session == "complete" and session.owes is not Owed.NOTHING:
        return visit.redirect(sign_in.owed_page(session))
    return None


def _asset_server(asset: Asset) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Serve one file that never changes."""

    async def serve(request: web.Request) -> web.StreamResponse:
        refusal = refuse_embedding(request.headers, _ASSET_DESTINATIONS[asset.content_type])
        if refusal is not None:
            return refuse(request, refusal, request[_VISIT].envelope.request_id)
        return web.Response(
            body=asset.body,
            headers={
                "Content-Type": f"{asset.content_type}; charset=utf-8",
                "Content-Security-Policy": ASSET_CSP,
                "Cache-Control": "public, max-age=31536000, immutable",
            },
        )

    return serve
