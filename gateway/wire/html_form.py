"""The form of a page that asks for a name and a password: where it goes, and what it brings along.

Reads HTML as it comes from a portal, which may be broken or hostile: nothing is run, followed or decoded but text. Whether
the form may be sent where it says is not decided here.
"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Final, NamedTuple

MAX_FORMS: Final = 64
MAX_FIELDS: Final = 256
_SENT_TYPES: Final = frozenset(
    {"hidden", "text", "email", "password", "tel", "url", "search", "number", "date", "checkbox", "radio"}
)


class HtmlForm(NamedTuple):
    """One form."""

    action: str
    """As written; empty = the page's own address."""
    method: str
    """`get` or `post`."""
    names: frozenset[str]
    """Every input that can be filled in."""
    values: tuple[tuple[str, str], ...]
    """What the form sends if nobody touches it, in order."""
    has_password: bool


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, str, HtmlForm]] = []
        self._open: dict[str, str] | None = None
        self._names: set[str] = set()
        self._values: list[tuple[str, str]] = []
        self._submits: list[tuple[str, str]] = []
        self._has_password = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a form, or a field of the one that is open."""
        about = {name: value or "" for name, value in reversed(attrs)}  # of repeated attributes the first counts
        if tag == "form" and self._open is None and len(self.found) < MAX_FORMS:  # forms do not nest
            self._open = about
            self._names, self._values, self._submits, self._has_password = set(), [], [], False
        elif tag in {"input", "button"} and self._open is not None and len(self._names) < MAX_FIELDS:
            self._field(tag, about)

    def handle_endtag(self, tag: str) -> None:
        """Close the form."""
        if tag == "form":
            self.finish()

    def finish(self) -> None:
        """Keep the form that is open, if there is one."""
        about, self._open = self._open, None
        if about is not None:
            method = "post" if about.get("method", "").strip().lower() == "post" else "get"
            values = (*self._values, *self._submits[:1])  # the button that Enter would press
            form = HtmlForm(about.get("action", "").strip(), method, frozenset(self._names), values, self._has_password)
            self.found.append((about.get("id", ""), about.get("name", ""), form))

    def _field(self, tag: str, about: dict[str, str]) -> None:
        name = about.get("name", "")
        kind = about.get("type", "submit" if tag == "button" else "text").strip().lower()
        if kind == "password":
            self._has_password = True
        if not name or "disabled" in about:
            return
        if kind == "submit":
            self._submits.append((name, about.get("value", "")))
        elif tag == "input" and kind in _SENT_TYPES:
            self._names.add(name)
            if kind not in {"checkbox", "radio"}:
                self._values.append((name, about.get("value", "")))
            elif "checked" in about:
                self._values.append((name, about.get("value", "on")))


def find_form(page: str, which: str = "") -> HtmlForm | None:
    """Find the form whose `id` or `name` is `which`, or the first with a password field; None when there is none."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    reader.finish()
    for identity, name, form in reader.found:
        if (which and which in {identity, name}) or (not which and form.has_password):
            return form
    return None


def filled_in(form: HtmlForm, entries: dict[str, str]) -> list[tuple[str, str]]:
    """Return what the form sends with these entries, in its order; what it has no input for comes last."""
    pairs = [(name, entries.get(name, value)) for name, value in form.values]
    present = {name for name, _ in pairs}
    return pairs + [(name, value) for name, value in entries.items() if name not in present]
