"""How our pages look and what a browser may do with them: templates, style sheet, headers."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from copy import copy
from functools import partial
from hashlib import sha256
from importlib.resources import files
from types import CodeType
from typing import Any

from jinja2 import BytecodeCache, Environment, PackageLoader, StrictUndefined, Template, pass_context
from jinja2.bccache import Bucket
from jinja2.runtime import Context
from markupsafe import Markup

from gateway.pages.branding import Branding, asset_path
from gateway.pages.errors import MARK, STYLE, ErrorPages
from gateway.pages.moment import ago, iso, stamp, wait
from gateway.pages.texts import SOURCE, Texts, load_texts, negotiate

TEMPLATES = (
    "account.html",
    "circles.html",
    "codes.html",
    "console_evidence.html",
    "console_overview.html",
    "console_people.html",
    "console_person.html",
    "console_proof.html",
    "console_record.html",
    "console_role.html",
    "console_roles.html",
    "console_route.html",
    "console_routes.html",
    "console_sessions.html",
    "console_try.html",
    "console_unproven.html",
    "device.html",
    "factor.html",
    "kept.html",
    "login.html",
    "logout.html",
    "mfa.html",
    "offer.html",
    "onward.html",
    "passkey_add.html",
    "passkeys.html",
    "password.html",
    "portal_account.html",
    "provider_refused.html",
    "recovery.html",
    "renew.html",
    "sessions.html",
    "reset.html",
    "reset_code.html",
    "reset_password.html",
    "signed_in.html",
)

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: under it browsers send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # Severs the window of a portal script that opened us to read our page; `same-origin` would not, because the
    # portal is of our origin (measured in Chromium). Browsers that do not know the value see one that differs from
    # the portal's, which severs as well.
    "Cross-Origin-Opener-Policy": "noopener-allow-popups",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""On every answer of the pages; the edge overwrites with at least the same."""

ASSET_CSP = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; sandbox"
"""For the logo and the icon when somebody opens them as a document: an SVG may style itself, nothing more."""


class Asset:
    """A file of ours that browsers may keep for ever: its address changes with its bytes."""

    __slots__ = ("body", "content_type", "integrity", "path")

    def __init__(self, name: str, body: bytes, content_type: str) -> None:
        self.path = asset_path(name, body)
        self.body = body
        self.content_type = content_type
        self.integrity = "sha256-" + b64encode(sha256(body).digest()).decode("ascii")
        """For whoever embeds it (Subresource Integrity §3.1)."""


class _Compiled(BytecodeCache):
    """The templates that one language compiled, for the others: nothing in them depends on the language."""

    def __init__(self) -> None:
        self._codes: dict[str, CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give what is there."""
        bucket.code = self._codes.get(bucket.key + bucket.checksum)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what was compiled."""
        if bucket.code is not None:
            self._codes[bucket.key + bucket.checksum] = bucket.code


class Look:
    """Everything rendered, for one branding, in every language; templates are read and compiled at construction."""

    def __init__(
        self, branding: Branding | None = None, texts: Mapping[str, Texts] | None = None, language: str = SOURCE
    ) -> None:
        """Compile for the catalogues `texts`; `language` is for browsers that prefer none of them."""
        here = files("gateway.pages")
        self._sheet = STYLE + here.joinpath("static/pages.css").read_text(encoding="utf-8")
        self.icon = Asset("icon.svg", here.joinpath("static/icon.svg").read_bytes(), "image/svg+xml")
        self.session = Asset("session.js", here.joinpath("static/session.js").read_bytes(), "text/javascript")
        self.passkey = Asset("passkey.js", here.joinpath("static/passkey.js").read_bytes(), "text/javascript")
        self.language = language
        self.texts = texts if texts is not None else load_texts()
        compiled = _Compiled()
        self._templates = {tag: self._compile(said, compiled) for tag, said in self.texts.items()}
        self.wear(branding or Branding())

    def wear(self, branding: Branding) -> None:
        """Put on a look."""
        self.branding = branding
        self.style = Asset("gateway.css", (self._sheet + branding.style()).encode(), "text/css")
        self.logo = Asset("logo.svg", branding.logo, "image/svg+xml")
        self.refusals = ErrorPages(branding, self.texts, self.language)

    def wearing(self, branding: Branding) -> Look:
        """Return the same pages in another look; what was compiled is shared."""
        other = copy(self)
        other.wear(branding)
        return other

    def _compile(self, texts: Texts, compiled: _Compiled) -> dict[str, Template]:
        environment = Environment(
            loader=PackageLoader("gateway.pages"),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],
            bytecode_cache=compiled,
        )
        environment.policies["ext.i18n.trimmed"] = True
        environment.install_gettext_callables(  # type: ignore[attr-defined]  # what the extension adds
            texts.gettext, texts.ngettext, newstyle=True
        )

        @pass_context
        def said(_: Context, text: str) -> str:
            """Translate when it is rendered: without the context, the compiler would do it to a literal, for every language."""
            return texts.gettext(text)

        # attack: `_` trusts what it is given as our own markup; a text that is not a literal is escaped
        environment.filters["said"] = said
        environment.globals.update(
            language=texts.language,
            icon=self.icon.path,
            passkey_script=self.passkey,
            session_script=self.session,
            mark=Markup(MARK),  # noqa: S704 - a constant of ours
            ago=partial(ago, texts),
            stamp=partial(stamp, texts),
            wait=partial(wait, texts),
            iso=iso,
        )
        return {name: environment.get_template(name) for name in TEMPLATES}

    @property
    def assets(self) -> tuple[Asset, ...]:
        """Files to serve."""
        always = (self.style, self.icon, self.passkey, self.session)
        return (*always, self.logo) if self.logo.body else always

    def language_for(self, accepted: str) -> str:
        """Choose the language for a value of Accept-Language."""
        return negotiate(accepted, self.texts, self.language)

    def render(self, template: str, language: str = SOURCE, /, **values: Any) -> bytes:
        """Render one page as UTF-8; every value is escaped."""
        brand = {"brand": self.branding, "style": self.style.path, "logo": self.logo.path}
        return self._templates[language][template].render(**brand, **values).encode()


def page_csp(nonce: str, *, scripted: bool = False, asks: bool = False) -> str:
    """Write the policy of a page: its style sheet and its script, if any, by nonce, our images, our forms, nothing else (CSP Level 3)."""
    script = f"script-src 'nonce-{nonce}'; " if scripted or asks else ""
    script += "connect-src 'self'; " if asks else ""
    return (
        f"default-src 'none'; {script}style-src 'nonce-{nonce}'; img-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'"
    )


def make_nonce(random_bytes: bytes) -> str:
    """Write 16 or more random bytes as a nonce."""
    return urlsafe_b64encode(random_bytes).decode("ascii").rstrip("=")
