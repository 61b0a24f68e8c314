"""One request to our pages: who asks by the edge's word, the login state, and the answer in the making."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from gateway.authn.passkey import encode
from gateway.exchange.envelope import ENVELOPE_FIELD, EVENTS_FIELD, Envelope, Event, pack_events, unpack_envelope
from gateway.exchange.metrics import Counter
from gateway.exchange.reason import ANSWERS, Reason
from gateway.exchange.session import Owed, Session
from gateway.pages.accounts import Accounts, ClientMaker, Happened, Refusal
from gateway.pages.errors import ERROR_PAGE_CSP, ErrorPages, error_page
from gateway.pages.flow import CHALLENGE_NONCE_BYTES, FLOW_LIFETIME_S, Flow, FlowSeal
from gateway.pages.look import SECURITY_HEADERS, Look, make_nonce, page_csp
from gateway.pages.oidc_seams import Providers
from gateway.pages.texts import marked
from gateway.session.device import COOKIE_NAMES
from gateway.session.token import MAX_COOKIE_BYTES

if TYPE_CHECKING:
    from gateway.pages.console.desk import Console
    from gateway.pages.factor_seams import SecondFactors
    from gateway.pages.kept import KeptForms
    from gateway.pages.new_device import Confirmations
    from gateway.pages.portal_seams import Portals
    from gateway.pages.reset import Resets

_COOKIE_NAMES = {"https": "__Host-gw", "http": "gw"}
REFUSALS = web.RequestKey("refusals", ErrorPages)
"""The error pages in the look of the host that was asked."""
_UNAVAILABLE_RETRY_S = 2
DEVICE_COOKIE_S = 180 * 86_400
"""As long as a device is known (`store.devices`)."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What all visits share: the seams to the rest of the gateway, made once by `create_app`."""

    accounts: Accounts[Any]
    kept: KeptForms
    client: ClientMaker[Any]
    seal: FlowSeal
    look: Look
    clock: Callable[[], float]
    random: Callable[[int], bytes]
    place: Callable[[str], str] | None
    recovery_codes: bool
    looks: Mapping[str, Look]
    """Of tenants that have one of their own."""
    idle_warning_s: float
    """How long before the idle end a page warns; 0 = none does."""
    factors: SecondFactors[Any] | None
    """What knows passkeys; None = they are not among the allowed factors."""
    totp: bool
    """An authenticator app may be set up."""
    remember_device_s: float
    """How long a device may be remembered; 0 = never."""
    offers_factor: bool
    """People without a second factor are offered one when they sign in with a browser that is new."""
    never_remembered: frozenset[str]
    """Whoever holds one of these roles is asked on every device."""
    min_password_characters: int
    min_password_characters_alone: int
    resets: Resets[Any] | None
    """What replaces forgotten passwords by mail; None = an operator does."""
    confirmations: Confirmations[Any] | None
    """What confirms new devices by mail; None = there is no mail."""
    portals: Portals | None
    console: Console | None
    """What administrators see; None = there is no console."""
    seal_events: Callable[[list[Event]], Awaitable[list[Event]]] | None
    """Gives events the keys of their people; None = they are not sealed."""
    passwords: bool
    password_tenants: frozenset[str]
    """On whose hosts passwords are asked for; empty = everybody's."""
    providers: Providers | None
    sign_ins: Counter
    factor_checks: Counter
    forms_refused: Counter
    kept_forms: Counter
    sign_in_loops: Counter
    resets_counted: Counter
    confirmations_counted: Counter
    portal_sign_ons: Counter

    def takes_passwords(self, tenant: str) -> bool:
        """Tell whether people sign in with a password on the hosts of a tenant (empty = shared)."""
        return self.passwords and (not tenant or not self.password_tenants or tenant in self.password_tenants)

    def look_of(self, tenant: str) -> Look:
        """Return the look of our pages on the hosts of a tenant."""
        return self.looks.get(tenant, self.look)


class Idle(msgspec.Struct, frozen=True, kw_only=True):
    """What the script of a page knows of its session, whole seconds."""

    idle_s: int
    absolute_s: int
    warn_s: int


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a form is shown again."""

    reason: Reason
    title: str
    sentence: str
    fields: tuple[str, ...] = ()
    retry_after_s: int = 0


def problem_of(refusal: Refusal, *fields: str) -> Problem:
    """Put a refusal into words; `fields` are the inputs to mark."""
    answer = ANSWERS[refusal.reason]
    return Problem(
        reason=refusal.reason,
        title=answer.title,
        sentence=refusal.problem or answer.sentence,
        fields=fields,
        retry_after_s=refusal.retry_after_s,
    )


def form_expired() -> Problem:
    """Say that the form is too old, or was never ours."""
    answer = ANSWERS[Reason.FORM_EXPIRED]
    return Problem(
        reason=Reason.FORM_EXPIRED, title=answer.title, sentence=marked("Nothing was changed. Please send it again.")
    )


@dataclass(slots=True)
class Visit:
    """One request. `session` is set once `identify` found a live one."""

    desk: Desk
    request: web.Request
    envelope: Envelope
    now: float
    token: bytes
    client: Any
    flow: Flow
    flow_changed: bool
    flow_came: bool
    """The browser sent a login state of ours, so it keeps our cookies."""
    session: Session | None = None
    events: list[Event] = field(default_factory=list)
    _session_cookie: str | None = None
    _device_cookie: str = ""
    _flow_ended: bool = False
    _flow_lifetime_s: float = FLOW_LIFETIME_S

    @property
    def origin(self) -> str:
        """The origin of our pages, as the browser writes it."""
        return f"{self.envelope.scheme}://{self.envelope.authority}"

    @property
    def handle(self) -> str:
        """Handle of the session, or empty."""
        return self.session.handle if self.session is not None else ""

    async def identify(self) -> Session | None:
        """Find the live session of the cookie; raises `StoreUnavailableError`."""
        if self.token:
            self.session = await self.desk.accounts.identify(self.token, client=self.client, now=self.now)
        return self.session

    def record(self, happened: Happened) -> None:
        """Keep events for the audit record of this request."""
        self.events.extend(happened.events)

    def head_for(self, return_to: str) -> None:
        """Remember where the browser wants to go after sign-in; already judged by `safe_return`."""
        self.change_flow(return_to=return_to)

    def change_flow(self, **changes: str | bytes | float | tuple[float, ...]) -> None:
        """Change the login state; its cookie goes out with the answer."""
        changed = msgspec.structs.replace(self.flow, **changes)
        if changed != self.flow:
            self.flow = changed
            self.flow_changed = True

    def renew_flow(self) -> None:
        """Give the login state a fresh secret: forms from before a sign-in are void after it."""
        fresh = self.desk.seal.begin(self.flow.return_to, self.now)
        self.flow = msgspec.structs.replace(self.flow, secret=fresh.secret, issued=fresh.issued)
        self.flow_changed = True

    def end_flow(self) -> None:
        """Delete the login state."""
        self._flow_ended = True

    def shorten_flow(self, seconds: float) -> None:
        """Keep the login state for a moment only."""
        self._flow_lifetime_s = seconds

    @property
    def new_token(self) -> bytes:
        """The session cookie that goes out with the answer; empty = none."""
        return (self._session_cookie or "").encode("ascii")

    def take_session(self, token: bytes, device: bytes = b"") -> None:
        """Give the browser a new session cookie (ASVS 7.2.4: never the one it came with)."""
        self._session_cookie = token.decode("ascii")
        self._device_cookie = device.decode("ascii")

    def drop_session(self) -> None:
        """Delete the session cookie."""
        self._session_cookie = ""

    def new_challenge(self, purpose: str) -> tuple[str, bytes]:
        """Make a challenge for a passkey; return it as a form carries it and as the ceremony needs it."""
        raw = self.flow.challenge(purpose, self.handle, self.now, self.desk.random(CHALLENGE_NONCE_BYTES))
        return encode(raw), raw

    def page(
        self,
        template: str,
        *,
        status: int = 200,
        problem: Problem | None = None,
        scripted: bool = False,
        **values: Any,
    ) -> web.Response:
        """Answer with a page of ours; a problem decides the status and is shown in it. `scripted`: it carries a script of ours."""
        # Sealed anew with each page: an open form has the whole lifetime before it.
        self.flow = msgspec.structs.replace(self.flow, issued=self.now)
        self.flow_changed = True
        nonce = make_nonce(self.desk.random(18))
        idle = self._idle()
        look = self.desk.look_of(self.envelope.tenant)
        language = look.language_for(self.request.headers.get("Accept-Language", ""))
        body = look.render(
            template,
            language,
            nonce=nonce,
            host=self.envelope.host,
            errors=problem,
            token=lambda form: self.flow.token(form, self.handle),
            recovery_codes=self.desk.recovery_codes,
            idle=idle,
            **values,
        )
        response = web.Response(body=body, status=status if problem is None else ANSWERS[problem.reason].status)
        response.headers["Content-Type"] = "text/html; charset=utf-8"
        response.headers["Content-Language"] = language
        response.headers["Content-Security-Policy"] = page_csp(nonce, scripted=scripted, asks=idle is not None)
        if problem is not None and problem.retry_after_s > 0:
            response.headers["Retry-After"] = str(problem.retry_after_s)
        return self._with_cookies(response)

    def _idle(self) -> Idle | None:
        """Say when to warn that the session ends; None where there is none, or nobody wants to be warned."""
        session, warn_s = self.session, self.desk.idle_warning_s
        if session is None or session.owes is not Owed.NOTHING or not warn_s:
            return None
        # This request is the last use: the edge noted it before it came here.
        return Idle(
            idle_s=int(session.idle_s),
            absolute_s=max(0, int(session.expires - self.now)),
            warn_s=int(min(warn_s, session.idle_s / 2)),
        )

    def redirect(self, target: str) -> web.Response:
        """Answer 303 to a path of this origin (RFC 9110 §15.4.4: the browser turns to GET)."""
        response = web.Response(status=303, headers={"Location": target})
        response.headers["Content-Security-Policy"] = ERROR_PAGE_CSP.decode("ascii")
        return self._with_cookies(response)

    def _with_cookies(self, response: web.Response) -> web.Response:
        """Add the cookies that changed."""
        name = self.envelope.cookie_name
        attributes = "; Path=/; HttpOnly; SameSite=Lax"
        if self.envelope.scheme == "https":
            attributes += "; Secure"
        if self._session_cookie is not None:
            ending = "" if self._session_cookie else "; Max-Age=0"
            response.headers.add("Set-Cookie", f"{name}={self._session_cookie}{attributes}{ending}")
        if self._device_cookie:
            device = (
                f"{COOKIE_NAMES[self.envelope.scheme]}={self._device_cookie}{attributes}; Max-Age={DEVICE_COOKIE_S}"
            )
            response.headers.add("Set-Cookie", device)
        if self._flow_ended:
            response.headers.add("Set-Cookie", f"{name}-flow={attributes}; Max-Age=0")
        elif self.flow_changed:
            sealed = self.desk.seal.close(self.flow, self.origin)
            response.headers.add(
                "Set-Cookie", f"{name}-flow={sealed}{attributes}; Max-Age={int(self._flow_lifetime_s)}"
            )
        return response


def refuse(request: web.Request, reason: Reason, request_id: str) -> web.Response:
    """Answer with a refusal of the gateway itself: cookies stay untouched (RFC 9457 where no page is wanted)."""
    answer = ANSWERS[reason]
    unavailable = answer.status == 503  # noqa: PLR2004 - RFC 9110 §15.6.4
    retry_after = _UNAVAILABLE_RETRY_S if unavailable else 0
    accept = request.headers.get("Accept", "text/html")
    csp = ERROR_PAGE_CSP
    if "json" in accept and "text/html" not in accept:
        problem = {
            "type": "about:blank",
            "title": answer.title,
            "status": answer.status,
            "detail": answer.sentence,
            "reason": str(reason),
            "request_id": request_id,
        }
        response = web.Response(body=msgspec.json.encode(problem), status=answer.status)
        response.headers["Content-Type"] = "application/problem+json"
    else:
        refusals = request.get(REFUSALS, error_page)
        accepted = request.headers.get("Accept-Language", "")
        body = refusals(reason, request_id=request_id, accepted=accepted, retry_after=retry_after)
        response = web.Response(body=body, status=answer.status)
        csp = refusals.csp
        response.headers["Content-Type"] = "text/html; charset=utf-8"
    response.headers["Content-Security-Policy"] = csp.decode("ascii")
    if retry_after:
        response.headers["Retry-After"] = str(retry_after)
    return response


def finish(response: web.StreamResponse, events: list[Event]) -> None:
    """Put on what every answer of the pages carries."""
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    if events:
        response.headers[EVENTS_FIELD] = pack_events(events).decode("ascii")


def open_envelope(request: web.Request) -> Envelope | None:
    """Read the edge's word about the request; None where there is not exactly one sound one."""
    values = request.headers.getall(ENVELOPE_FIELD, [])
    if len(values) != 1:
        return None
    try:
        envelope = unpack_envelope(values[0])
    except (ValueError, msgspec.MsgspecError):
        return None
    return envelope if envelope.cookie_name == _COOKIE_NAMES[envelope.scheme] else None


def begin_visit(desk: Desk, request: web.Request, envelope: Envelope) -> Visit:
    """Read the cookies of a request."""
    now = desk.clock()
    request[REFUSALS] = desk.look_of(envelope.tenant).refusals
    cookies = _own_cookies(request, envelope.cookie_name)
    token = cookies.get(envelope.cookie_name, "")
    origin = f"{envelope.scheme}://{envelope.authority}"
    flow = desk.seal.open(cookies.get(f"{envelope.cookie_name}-flow", ""), origin, now)
    return Visit(
        desk=desk,
        request=request,
        envelope=envelope,
        now=now,
        # A session that is bound elsewhere is none here, and does not end by what its thief does.
        token=token.encode("ascii")
        if token.isascii() and len(token) <= MAX_COOKIE_BYTES and not envelope.astray
        else b"",
        client=desk.client(
            ip=envelope.client_ip,
            host=envelope.host,
            secure=envelope.scheme == "https",
            tenant=envelope.tenant,
            user_agent=request.headers.get("User-Agent", "")[:512],
            certificate=envelope.certificate,
            device=_device(cookies.get(COOKIE_NAMES[envelope.scheme], "")),
            language=desk.look.language_for(request.headers.get("Accept-Language", "")),
        ),
        flow=flow if flow is not None else desk.seal.begin("/", now),
        flow_changed=flow is None,
        flow_came=flow is not None,
    )


def _device(value: str) -> bytes:
    """Return the value of the device cookie; anything that cannot be one is none."""
    return value.encode("ascii") if value.isascii() and len(value) <= MAX_COOKIE_BYTES else b""


def _own_cookies(request: web.Request, name: str) -> dict[str, str]:
    """Find our cookies; one that comes twice counts as absent (RFC 6265 §5.4: the order proves nothing)."""
    wanted = {name, f"{name}-flow", f"{name}-device"}
    found: dict[str, str] = {}
    for line in request.headers.getall("Cookie", []):
        for pair in line.split(";"):
            key, _, value = pair.strip(" \t").partition("=")
            if key in wanted:
                found[key] = "" if key in found else value
    return found
