"""Signing in at an identity provider, as pages: there, back, and what the person is told when it does not work.

Nothing that a provider says is ever shown: its error codes choose a sentence of ours.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

import msgspec
import structlog
from aiohttp import web

from gateway.exchange.errors import GatewayError
from gateway.exchange.reason import ANSWERS, Reason
from gateway.exchange.session import Owed
from gateway.pages import sign_in
from gateway.pages.form import parse_form
from gateway.pages.oidc_chooser import remember_provider
from gateway.pages.oidc_seams import FederatedRefusal, Providers
from gateway.pages.return_to import safe_return
from gateway.pages.texts import marked
from gateway.pages.visit import Problem, Visit

ADDRESS_PAGE = "/.gateway/login/email"
BACK_CHANNEL = "/.gateway/oidc/{provider}/logout"
_BROWSER_BYTES = 32
_MAX_QUERY_CHARACTERS = 16_384
_MAX_QUERY_FIELDS = 32
_MAX_ADDRESS_CHARACTERS = 254
_log = structlog.get_logger("gateway.pages")

_SAID_NO = marked("You, or the service itself, stopped the sign-in.")
_TROUBLE = marked("The service has a problem of its own. Please try again in a few minutes.")
_ASKED_WRONGLY = marked("The service did not accept how this site asked. Please tell your administrator.")
_NOT_BELIEVED = marked("Please try again. If it happens again, tell your administrator the reference below.")

_ERRORS = {
    "access_denied": _SAID_NO,
    "consent_required": _SAID_NO,
    "interaction_required": _SAID_NO,
    "login_required": _SAID_NO,
    "account_selection_required": _SAID_NO,
    "server_error": _TROUBLE,
    "temporarily_unavailable": _TROUBLE,
    "unmet_authentication_requirements": marked("The service could not check you as strongly as this site asks."),
}
"""Sentences by registered error code; every other one is `_ASKED_WRONGLY`."""

_FAULTS = {
    "no_role": marked("Nobody has given your account any rights on this site yet. Please ask your administrator."),
    "no_tenant": marked("Your account does not belong to an organisation of this site."),
    "two_tenants": marked("Your account belongs to more than one organisation, and this site cannot choose."),
    "foreign_tenant": marked("Your organisation does not sign in this way."),
    "no_name": marked("The service did not say your user name. Please tell your administrator."),
    "unverified_name": marked(
        "Your e-mail address is not confirmed. Please confirm it at the service, then try again."
    ),
    "foreign_domain": marked("Only addresses of certain organisations may sign in this way."),
    "too_old": marked("This step needs a fresh sign-in, and the service did not ask you for one."),
    "context": marked("This site asks for a stronger sign-in than the service performed."),
}
"""Sentences by what was wrong; the others are the operator's to know."""


def _providers(visit: Visit) -> Providers:
    """Return the providers; without any these pages do not exist."""
    if visit.desk.providers is None:
        raise web.HTTPNotFound
    return visit.desk.providers


async def start(visit: Visit, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """Send the browser to a provider."""
    query = visit.request.query
    if "return_to" in query:
        visit.head_for(safe_return(query["return_to"]))
    provider = visit.request.match_info["provider"]
    target = await _begin(visit, provider, fresh="fresh" in query, other="other" in query)
    if isinstance(target, web.Response):
        return target
    return visit.redirect(target)


async def _begin(
    visit: Visit, provider: str, *, fresh: bool = False, other: bool = False, login_hint: str = ""
) -> str | web.Response:
    """Return where the browser goes; or a page that says why it goes nowhere."""
    if not visit.flow.browser:
        visit.change_flow(browser=visit.desk.random(_BROWSER_BYTES))
    visit.change_flow(issued=visit.now)  # as long before it as any page has
    try:
        target = await _providers(visit).begin(
            provider,
            browser=visit.flow.browser,
            origin=visit.origin,
            host=visit.envelope.host,
            tenant=visit.envelope.tenant,
            return_to=visit.flow.return_to,
            now=visit.now,
            fresh=fresh,
            other=other,
            login_hint=login_hint,
        )
    except GatewayError as error:
        return _unavailable(visit, provider, error)
    if target is None:
        raise web.HTTPNotFound
    return target


async def callback(visit: Visit, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """Take what a provider sent with the browser."""
    provider = visit.request.match_info["provider"]
    try:
        result = await _providers(visit).finish(
            provider,
            _query(visit.request.query_string),
            browser=visit.flow.browser,
            origin=visit.origin,
            tenant=visit.envelope.tenant,
            request_id=visit.envelope.request_id,
            client_ip=visit.envelope.client_ip,
            user_agent=visit.request.headers.get("User-Agent", ""),
            client=visit.client,
            now=visit.now,
            replaces=visit.token,
        )
    except GatewayError as error:
        return _unavailable(visit, provider, error)
    if result is None:
        raise web.HTTPNotFound
    visit.record(result)
    if result.return_to:
        visit.head_for(safe_return(result.return_to))
    if isinstance(result, FederatedRefusal):
        return await _explain(visit, provider, result)
    response = sign_in.advance(visit, result)
    remember_provider(visit, response, provider)
    return response


def _query(text: str) -> list[tuple[str, str]]:
    """Read a query; one that no provider sends reads as nothing, and is refused as such."""
    if len(text) > _MAX_QUERY_CHARACTERS:
        return []
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_QUERY_FIELDS)
    except ValueError:
        return []


async def _explain(visit: Visit, provider: str, refusal: FederatedRefusal) -> web.Response:
    """Say why there is no session. Who comes too late begins again; who is signed in anyway goes on."""
    if refusal.reason is Reason.SIGN_IN_EXPIRED:
        session = await visit.identify()
        if session is not None and session.owes is Owed.NOTHING:
            return visit.redirect(sign_in.leave(visit))
        return sign_in.to_sign_in(visit, Reason.SIGN_IN_EXPIRED)
    _log.warning(
        "login.failed",
        request_id=visit.envelope.request_id,
        provider=provider,
        reason=str(refusal.reason),
        fault=refusal.fault,
        error=refusal.error,
    )
    if refusal.reason is Reason.PROVIDER_REFUSED:
        advice = _ERRORS.get(refusal.error, _ASKED_WRONGLY)
    else:
        advice = refusal.problem or _FAULTS.get(refusal.fault, "")
    if not advice and refusal.reason is Reason.PROVIDER_ANSWER_REFUSED:
        advice = _NOT_BELIEVED
    return _page(visit, provider, refusal.reason, advice, refusal.retry_after_s)


def _unavailable(visit: Visit, provider: str, error: GatewayError) -> web.Response:
    """Say that a provider cannot be asked; whatever else could not be decided is answered as everywhere."""
    if error.reason is not Reason.PROVIDER_UNAVAILABLE:
        raise error
    _log.warning("provider.unavailable", request_id=visit.envelope.request_id, reason=str(error))
    return _page(visit, provider, error.reason, marked("Please try again in a moment."), _RETRY_S)


_RETRY_S = 10


def _page(visit: Visit, provider: str, reason: Reason, advice: str, retry_after_s: int) -> web.Response:
    answer = ANSWERS[reason]
    response = visit.page(
        "provider_refused.html",
        status=answer.status,
        title=answer.title,
        sentence=answer.sentence,
        advice=advice,
        retry=f"/.gateway/oidc/{provider}/start",
        switch=reason in {Reason.IDENTITY_REFUSED, Reason.NAME_TAKEN, Reason.TENANT_MISMATCH},
        request_id=visit.envelope.request_id,
    )
    if retry_after_s:
        response.headers["Retry-After"] = str(retry_after_s)
    return response


async def find_by_address(visit: Visit, form: dict[str, str]) -> web.Response:
    """Lead a person to the provider of their e-mail address."""
    if form["return_to"]:
        visit.head_for(safe_return(form["return_to"]))
    address = form["email"].strip()
    provider = ""
    if len(address) <= _MAX_ADDRESS_CHARACTERS:
        provider = _providers(visit).of_address(address, visit.envelope.host, visit.envelope.tenant)
    if not provider:
        problem = Problem(
            reason=Reason.CREDENTIALS_REFUSED,
            title=marked("No way to sign in was found"),
            sentence=marked("Nobody signs in here with an address of that kind. Check it, or choose another way."),
            fields=("email",),
        )
        return await sign_in.show_sign_in(visit, problem, address=address[:_MAX_ADDRESS_CHARACTERS])
    target = await _begin(visit, provider, login_hint=address)
    # Not a redirect: browsers hold the way of a form to our own origin (CSP `form-action`), redirects included.
    return target if isinstance(target, web.Response) else visit.page("onward.html", target=target, signing_out=False)


async def to_address(visit: Visit, problem: Problem | None = None) -> web.Response:
    """Send whoever opens the address of that form to the sign-in page."""
    return visit.redirect(sign_in.SIGN_IN_PAGE) if problem is None else await sign_in.show_sign_in(visit, problem)


async def signed_out(visit: Visit, problem: Problem | None = None) -> web.Response:  # noqa: ARG001 - the shape of every page
    """Receive the browser after it signed out at a provider; it has no effect."""
    _providers(visit)
    return visit.redirect(f"{sign_in.SIGN_IN_PAGE}?reason=signed_out")


async def take_logout(visit: Visit) -> web.Response:
    """Take a logout token, which a provider sends without any browser (OpenID Connect Back-Channel Logout 1.0 §2.5).

    No cookie or form of ours comes along, so the token is all the proof there is; a browser is not let through.
    """
    request = visit.request
    if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers or "Cookie" in request.headers:
        return _to_provider(400, "invalid_request")
    if request.content_type != "application/x-www-form-urlencoded" or "Content-Encoding" in request.headers:
        return _to_provider(400, "invalid_request")
    try:
        values = parse_form(await request.read(), frozenset({"logout_token"}))
    except web.HTTPRequestEntityTooLarge:
        return _to_provider(413, "invalid_request")
    if isinstance(values, Reason) or not values["logout_token"]:
        return _to_provider(400, "invalid_request")
    try:
        result = await _providers(visit).logged_out(
            request.match_info["provider"], values["logout_token"], now=visit.now
        )
    except GatewayError as error:
        _log.warning("provider.logout_undecided", request_id=visit.envelope.request_id, reason=str(error))
        return _to_provider(503, "temporarily_unavailable")
    if result is None:
        raise web.HTTPNotFound
    visit.record(result)
    if isinstance(result, FederatedRefusal):
        _log.warning("provider.logout_refused", request_id=visit.envelope.request_id, fault=result.fault)
        return _to_provider(400, "invalid_request")
    return _to_provider(200, "")


async def freshen(visit: Visit) -> web.Response:
    """Refresh the tokens of a session for the edge; for everybody else this page does not exist."""
    if not visit.envelope.freshens or not visit.envelope.session:
        raise web.HTTPNotFound
    done = await _providers(visit).freshen(visit.token, visit.envelope.session)
    return web.Response(status=204 if done else 503)


def _to_provider(status: int, error: str) -> web.Response:
    """Answer a provider (§2.8): no cookie, nothing to keep."""
    body = msgspec.json.encode({"error": error}) if error else b""
    response = web.Response(status=status, body=body)
    response.headers["Content-Type"] = "application/json"
    if status == 503:  # noqa: PLR2004 - RFC 9110 §15.6.4
        response.headers["Retry-After"] = str(_RETRY_S)
    return response
