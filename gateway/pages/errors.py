"""The page a person sees when the gateway itself refuses or cannot go on.

It decides nothing: status, title and sentence come from the closed list of reasons. Each page is
rendered once; one answer costs a few joins, so that a flood of refusals stays cheap. The page stands alone (style inline, allowed by its hash), because the edge serves it
also while the pages process is away.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files

from gateway.exchange.envelope import NotKept
from gateway.exchange.reason import ANSWERS, Reason
from gateway.pages.branding import Branding
from gateway.pages.moment import wait
from gateway.pages.texts import Texts

MARK = (
    '<svg class="mark" viewBox="0 0 40 40" fill="none" aria-hidden="true" focusable="false">'
    '<path d="M5 36V19C5 10.7 11.7 4 20 4s15 6.7 15 15v17" stroke="currentColor" stroke-width="4" stroke-linecap="round"/>'
    '<path d="M20 15a4.5 4.5 0 0 1 2.3 8.4L24 36h-8l1.7-12.6A4.5 4.5 0 0 1 20 15z" fill="currentColor"/></svg>'
)
"""The gate, drawn in the colour of the text around it."""

STYLE = files("gateway.pages").joinpath("static/base.css").read_text(encoding="utf-8")

_ENGLISH = Texts()

_NOT_KEPT: dict[NotKept, str] = {
    "no_form": "What you sent was not kept. Sign in, go back and send it again.",
    "too_large": "What you sent was not kept: it is too large for that. Sign in, go back and send it again.",
    "unreadable": "What you sent was not kept: files, and whatever no form of a page has written, cannot be. Sign in, go back and send it again.",
    "full": "What you sent was not kept: too much of it is waiting already. Sign in, go back and send it again.",
    "unavailable": "What you sent was not kept: that is not possible right now. Sign in, go back and send it again.",
}

_REFUSED_TO_A_PERSON = frozenset(
    {Reason.TENANT_MISMATCH, Reason.NO_RULE, Reason.ROLE_MISSING, Reason.CONDITION_FALSE, Reason.CONDITION_FAILED}
)
_WORTH_REPEATING = frozenset({408, 429, 500, 502, 503, 504})


class ErrorPages:
    """The pages in one look, each rendered when it is first needed."""

    __slots__ = ("_rendered", "_style", "_top", "csp", "framed_csp")

    def __init__(self, branding: Branding | None = None) -> None:
        branding = branding or Branding()
        self._style = STYLE + branding.style()
        self._top = _top(branding)
        self._rendered: dict[Reason, tuple[bytes, bytes]] = {}
        digest = b64encode(sha256(self._style.encode()).digest()).decode("ascii")
        images = "img-src 'self'; " if branding.logo else ""
        self.csp: bytes = (
            f"default-src 'none'; {images}style-src 'sha256-{digest}'; "
            "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
        ).encode("ascii")
        """The value of `Content-Security-Policy` to send with a page: nothing but its own style and the logo."""
        self.framed_csp: bytes = self.csp.replace(b"frame-ancestors 'none'", b"frame-ancestors 'self'")
        """The same for a page that says in a frame of the portal that the frame needs a sign-in: a link, nothing to click on twice."""

    def __call__(
        self,
        reason: Reason,
        *,
        request_id: str,
        detail: str = "",
        retry_after: int = 0,
        sign_in: str = "",
        not_kept: NotKept | None = None,
        framed: bool = False,
    ) -> bytes:
        """Build the complete HTML document for `reason`, UTF-8, to be sent with `csp`.

        `detail` says which rule or role decided, in words fit for the person; `retry_after` is in
        seconds, 0 = unsaid; `sign_in` is the address of the sign-in page, where that is the way on; `not_kept`
        says what became of a form; `framed` is for a frame inside the portal, whose person must sign in
        outside of it. Every value is escaped.
        """
        known = self._rendered.get(reason)
        if known is None:
            known = self._rendered[reason] = self._opening(reason), _offers(reason)
        opening, offers = known
        parts = [opening]
        if detail:
            parts.append(f'<p class="detail">{escape(detail)}</p>'.encode())
        if retry_after > 0:
            parts.append(f"<p>Please try again in {wait(_ENGLISH, retry_after)}.</p>".encode())
        if not_kept is not None:
            parts.append(f'<p class="detail">{escape(_NOT_KEPT[not_kept])}</p>'.encode())
        if framed:
            parts.append(_framed(sign_in))
        else:
            parts.append(_actions((sign_in, "Sign in")) if sign_in else offers)
        parts.append(b'<p class="reference">Reference <code>')
        parts.append(escape(request_id).encode())
        parts.append(b"</code></p></div></main></body></html>\n")
        return b"".join(parts)

    def _opening(self, reason: Reason) -> bytes:
        """Everything from the doctype to the sentence."""
        answer = ANSWERS[reason]
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="robots" content="noindex"><meta name="color-scheme" content="light dark">'
            f"<title>{escape(answer.title)}</title><style>{self._style}</style></head>"
            f'<body><main><div class="top">{self._top}</div><div class="card"><p class="status">{answer.status} <code>{escape(reason)}</code></p>'
            f'<h1>{escape(answer.title)}</h1><p class="lead">{escape(answer.sentence)}</p>'
        ).encode()


def _top(branding: Branding) -> str:
    """Render who speaks: the logo, which is not there while our pages are away, but its name is; else mark and name."""
    if branding.logo:
        return f'<img class="logo" src="{branding.logo_path}" alt="{escape(branding.name)}">'
    return f'{MARK}<span class="name">{escape(branding.name)}</span>' if branding.name else MARK


def _actions(*links: tuple[str, str]) -> bytes:
    """Render links as buttons, the first one prominent."""
    buttons = "".join(
        f'<a class="button{" quiet" if index else ""}" href="{escape(target)}">{escape(words)}</a>'
        for index, (target, words) in enumerate(links)
    )
    return f'<p class="actions">{buttons}</p>'.encode()


_SIGN_IN = _actions(("/.gateway/login", "Sign in"))


def _framed(sign_in: str) -> bytes:
    """Offer the sign-in in a window of its own: our pages refuse frames, and what stands around this one is not lost."""
    return (
        "<p>This part of the page needs you to sign in. That happens in a new window; then come back here.</p>"
        '<p class="actions">'
        f'<a class="button" href="{escape(sign_in)}" target="_blank" rel="noopener">Sign in in a new window</a>'
        '<a class="button quiet" href="">Try again</a></p>'
    ).encode()


def _offers(reason: Reason) -> bytes:
    """Render what the person can do next."""
    if reason in _REFUSED_TO_A_PERSON:
        return _actions(("/", "Go to the start page"), ("/.gateway/logout", "Use another account"))
    if ANSWERS[reason].status in _WORTH_REPEATING:
        # An empty reference is the address itself; the page never reloads on its own, so nothing loops.
        return _actions(("", "Try again"))
    if ANSWERS[reason].status == 401:  # noqa: PLR2004 - RFC 9110 §15.5.2
        return _SIGN_IN
    return _actions(("/", "Go to the start page"))


error_page = ErrorPages()
"""The pages in the gateway's own look."""
ERROR_PAGE_CSP: bytes = error_page.csp
FRAMED_PAGE_CSP: bytes = error_page.framed_csp
