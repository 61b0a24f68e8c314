"""The page a person sees when the gateway itself refuses or cannot go on.

It decides nothing: status, title and sentence come from the closed list of reasons. Each page is
rendered once for a language; one answer costs a few joins, so that a flood of refusals stays cheap. The page
stands alone (style inline, allowed by its hash), because the edge serves it also while the pages process is away.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Final

from gateway.exchange.envelope import NotKept
from gateway.exchange.reason import ANSWERS, Reason
from gateway.pages.branding import Branding
from gateway.pages.moment import wait
from gateway.pages.texts import SOURCE, Texts, load_texts, marked, negotiate
from gateway.pages.upload_words import told_of_upload

MARK = (
    '<svg class="mark" viewBox="0 0 40 40" fill="none" aria-hidden="true" focusable="false">'
    '<path d="M5 36V19C5 10.7 11.7 4 20 4s15 6.7 15 15v17" stroke="currentColor" stroke-width="4" stroke-linecap="round"/>'
    '<path d="M20 15a4.5 4.5 0 0 1 2.3 8.4L24 36h-8l1.7-12.6A4.5 4.5 0 0 1 20 15z" fill="currentColor"/></svg>'
)
"""The gate, drawn in the colour of the text around it."""

STYLE = files("gateway.pages").joinpath("static/base.css").read_text(encoding="utf-8")

_NOT_KEPT: dict[NotKept, str] = {
    "no_form": marked("What you sent was not kept. Sign in, go back and send it again."),
    "too_large": marked("What you sent was not kept: it is too large for that. Sign in, go back and send it again."),
    "unreadable": marked(
        "What you sent was not kept: files, and whatever no form of a page has written, cannot be. "
        "Sign in, go back and send it again."
    ),
    "full": marked(
        "What you sent was not kept: too much of it is waiting already. Sign in, go back and send it again."
    ),
    "unavailable": marked(
        "What you sent was not kept: that is not possible right now. Sign in, go back and send it again."
    ),
}

_REFUSED_TO_A_PERSON = frozenset(
    {
        Reason.TENANT_MISMATCH,
        Reason.NO_RULE,
        Reason.DENIED,
        Reason.DEVICE_UNKNOWN,
        Reason.ROLE_MISSING,
        Reason.CONDITION_FALSE,
        Reason.CONDITION_FAILED,
    }
)
_OF_UPLOADS = frozenset(
    {Reason.UPLOAD_REFUSED, Reason.UPLOAD_INFECTED, Reason.UPLOADS_UNAVAILABLE, Reason.BODY_TOO_LARGE}
)
"""Where the rule is what is wrong with a file: a person is told in words."""
_OF_DETECTORS = frozenset({Reason.ABUSE_BLOCKED, Reason.ABUSE_SLOWED})
"""Where the rule is the reference of a detector's answer, which says nothing to the person; the record names it."""
_WORTH_REPEATING = frozenset({408, 429, 500, 502, 503, 504})


class ErrorPages:
    """The pages in one look and every language, each rendered when it is first needed."""

    __slots__ = ("_language", "_rendered", "_style", "_texts", "_top", "csp", "framed_csp")

    def __init__(
        self, branding: Branding | None = None, texts: Mapping[str, Texts] | None = None, language: str = SOURCE
    ) -> None:
        """Take the catalogues `texts`; `language` is for browsers that prefer none of them."""
        branding = branding or Branding()
        self._texts = texts if texts is not None else load_texts()
        self._language = language
        self._style = STYLE + branding.style()
        self._top = _top(branding)
        self._rendered: dict[tuple[str, Reason], tuple[bytes, bytes]] = {}
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
        accepted: str = "",
        route: str = "",
        rule: str = "",
        bound: str = "",
        retry_after: int = 0,
        sign_in: str = "",
        not_kept: NotKept | None = None,
        framed: bool = False,
    ) -> bytes:
        """Build the complete HTML document for `reason`, UTF-8, to be sent with `csp`.

        `accepted` is the value of Accept-Language; `rule` of `route` is what decided; `bound` is what an
        upload went beyond (`PDF, PNG`); `retry_after` is in seconds, 0 = unsaid; `sign_in` is the address of the sign-in page, where that is the way on; `not_kept`
        says what became of a form; `framed` is for a frame inside the portal, whose person must sign in
        outside of it. Every value is escaped.
        """
        texts = self._texts[negotiate(accepted, self._texts, self._language)]
        said = texts.gettext
        known = self._rendered.get((texts.language, reason))
        if known is None:
            known = self._rendered[texts.language, reason] = self._opening(reason, texts), _offers(reason, texts)
        opening, offers = known
        parts = [opening]
        if detail := _detail(reason, route, rule, bound, texts):
            parts.append(f'<p class="detail">{escape(detail)}</p>'.encode())
        if retry_after > 0:
            again = said("Try again in %(time)s.") % {"time": wait(texts, retry_after)}
            parts.append(f"<p>{escape(again)}</p>".encode())
        if not_kept is not None:
            parts.append(f'<p class="detail">{escape(said(_NOT_KEPT[not_kept]))}</p>'.encode())
        if framed:
            parts.append(_framed(sign_in, texts))
        else:
            parts.append(_actions((sign_in, said("Sign in"))) if sign_in else offers)
        parts.append(f'<p class="reference">{escape(said("Reference"))} <code>'.encode())
        parts.append(escape(request_id).encode())
        parts.append(b"</code></p></div></main></body></html>\n")
        return b"".join(parts)

    def _opening(self, reason: Reason, texts: Texts) -> bytes:
        """Everything from the doctype to the sentence."""
        answer = ANSWERS[reason]
        title, sentence = escape(texts.gettext(answer.title)), escape(texts.gettext(answer.sentence))
        return (
            f'<!doctype html><html lang="{texts.language}"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="robots" content="noindex"><meta name="color-scheme" content="light dark">'
            f"<title>{title}</title><style>{self._style}</style></head>"
            f'<body><main><div class="top">{self._top}</div><div class="card"><p class="status">{answer.status} <code>{escape(reason)}</code></p>'
            f'<h1>{title}</h1><p class="lead">{sentence}</p>'
        ).encode()


def _detail(reason: Reason, route: str, rule: str, bound: str, texts: Texts) -> str:
    """Say what decided, in words that help the person; empty where the reason's own sentence is all there is to say."""
    if reason in _OF_UPLOADS:
        return told_of_upload(rule, bound, texts)
    if not rule or reason in _OF_DETECTORS:
        return ""
    return texts.gettext("The rule of “%(route)s” says so (%(rule)s).") % {"route": route, "rule": rule}


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


def _framed(sign_in: str, texts: Texts) -> bytes:
    """Offer the sign-in in a window of its own: our pages refuse frames, and what stands around this one is not lost."""
    said = texts.gettext
    why = said("This part of the page needs you to sign in. That happens in a new window; then come back here.")
    return (
        f'<p>{escape(why)}</p><p class="actions">'
        f'<a class="button" href="{escape(sign_in)}" target="_blank" rel="noopener">{escape(said("Sign in in a new window"))}</a>'
        f'<a class="button quiet" href="">{escape(said("Try again"))}</a></p>'
    ).encode()


def _offers(reason: Reason, texts: Texts) -> bytes:
    """Render what the person can do next."""
    said = texts.gettext
    if reason in _REFUSED_TO_A_PERSON:
        return _actions(("/", said("Go to the start page")), ("/.gateway/logout", said("Use another account")))
    if ANSWERS[reason].status in _WORTH_REPEATING:
        # An empty reference is the address itself; the page never reloads on its own, so nothing loops.
        return _actions(("", said("Try again")))
    if ANSWERS[reason].status == 401:  # noqa: PLR2004 - RFC 9110 §15.5.2
        return _actions(("/.gateway/login", said("Sign in")))
    return _actions(("/", said("Go to the start page")))


error_page: Final = ErrorPages()
"""The pages in the gateway's own look."""
ERROR_PAGE_CSP: Final[bytes] = error_page.csp
