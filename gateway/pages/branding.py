"""The operator's name and look on our pages: the theming seam.

It changes words, the logo and the accent colour. It cannot bring scripts, foreign addresses or
style rules into a sign-in page: every value has a grammar.
"""

from __future__ import annotations

import re
from hashlib import sha256

import msgspec

_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")
_HELP_ADDRESS = re.compile(r"(?:https://|mailto:|/(?!/))[!-~]{1,500}")
_MAX_LOGO_BYTES = 65_536
_MAX_WORDS = 120

READABLE = 4.5  # WCAG 2.2 §1.4.3
LIGHT_CARD = "#fffefb"
DARK_CARD = "#18201e"
"""What stands behind links; as in `static/base.css`."""


class Branding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the operator may set. Empty values mean the gateway's own look.

    Raises `ValueError` with a sentence for a value outside its grammar.
    """

    name: str = ""
    """Shown beside the mark and in the title; empty = the host."""
    logo: bytes = b""
    """An SVG document, shown instead of mark and name. Served as an image, so that scripts in it never run."""
    accent: str = ""
    """`#rrggbb` on light pages: buttons, links, focus."""
    accent_dark: str = ""
    """`#rrggbb` on dark pages."""
    help_text: str = ""
    help_url: str = ""
    """https://, mailto: or a path of this host."""

    def __post_init__(self) -> None:
        for field, text in (("name", self.name), ("help_text", self.help_text)):
            if len(text) > _MAX_WORDS or not text.isprintable():
                raise ValueError(f"{field} must be one line of at most {_MAX_WORDS} characters")
        for field, colour, ground, how in (
            ("accent", self.accent, LIGHT_CARD, "darker"),
            ("accent_dark", self.accent_dark, DARK_CARD, "lighter"),
        ):
            if colour and _COLOUR.fullmatch(colour) is None:
                raise ValueError(f"{field} must look like #0a6254")
            if colour and contrast(colour, ground) < READABLE:
                raise ValueError(f"{field} must be {how}: links in it could not be read")
        if self.help_url and _HELP_ADDRESS.fullmatch(self.help_url) is None:
            raise ValueError("help_url must begin with https://, mailto: or /")
        if self.logo and (len(self.logo) > _MAX_LOGO_BYTES or b"<svg" not in self.logo[:1024]):
            raise ValueError(f"logo must be an SVG document of at most {_MAX_LOGO_BYTES} bytes")
        if self.logo and not self.name:
            raise ValueError("a logo needs a name: screen readers say it")

    @property
    def logo_path(self) -> str:
        """Address of the logo; it changes with its bytes."""
        return asset_path("logo.svg", self.logo)

    def style(self) -> str:
        """Render the accent colours as the last rules of the style sheet."""
        rules = ""
        if self.accent:
            rules += (
                f"@media (prefers-color-scheme: light) {{ :root {{ {_accent(self.accent, 'black', '#ffffff')} }} }}\n"
            )
        if self.accent_dark:
            rules += f"@media (prefers-color-scheme: dark) {{ :root {{ {_accent(self.accent_dark, 'white', '#0f1514')} }} }}\n"
        return rules


def asset_path(name: str, body: bytes) -> str:
    """Return the address of a file of ours that browsers may keep for ever: it changes with its bytes."""
    stem, _, suffix = name.rpartition(".")
    return f"/.gateway/static/{stem}.{sha256(body).hexdigest()[:16]}.{suffix}"


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colours `#rrggbb`, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    """Return the relative luminance of a colour (WCAG 2.2, "relative luminance")."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)  # noqa: PLR2004 - sRGB
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _accent(colour: str, toward: str, text: str) -> str:
    """Derive everything that follows the accent: its stronger shade, the text on it, the tint behind text."""
    return (
        f"--accent: {colour}; --accent-strong: color-mix(in srgb, {colour} 78%, {toward}); --on-accent: {text}; "
        f"--tint: color-mix(in srgb, {colour} 10%, var(--card)); --glow: color-mix(in srgb, {colour} 8%, var(--page));"
    )
