"""HTML that a browser would act on: elements that run or load, event handlers, styles, and the way out of an attribute.

The value is read as content and as what stands in an attribute, in double quotes, in single quotes and without.
Tags that only mark text (`<b>`, `<br>`, `<div class="x">`), names in angle brackets and comparisons are nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.html import address, style
from gateway.inspection.html.names import (
    ACTING_LINKS,
    ACTING_PRAGMAS,
    DIRECTIVES,
    LOADED_FROM,
    LOADERS,
    is_event,
    may_be_event,
)
from gateway.inspection.html.tokenizer import Attribute, Tag, attributes, tags
from gateway.inspection.lower_case import lower_case
from gateway.inspection.prose import CodeSpans, is_running
from gateway.inspection.script.program import Program, program
from gateway.inspection.sign import Sign

CLASS: Final = "xss"

SIGNS: Final[Mapping[str, str]] = {
    "html.script_element": "A script element with an address or with content that is a program.",
    "html.event_handler": "A tag carries an event handler whose value is a program.",
    "html.idle_handler": "A tag carries an event handler whose value calls and assigns nothing.",
    "html.attribute_breakout": "A quotation mark or a space ends the page's attribute and an event handler follows.",
    "html.script_address": "An attribute's value is an address that runs a program.",
    "html.loading_element": "An element that loads another document or program: iframe, object, embed, applet.",
    "html.page_control": "base, meta or link that moves the page, changes its encoding or restyles it.",
    "html.acting_style": "A style that runs a program in some browser, or one that fetches and so tells what it matches.",
    "html.style_element": "A style element with rules of its own.",
    "html.animated_attribute": "An SVG animation that sets an address or an event handler.",
    "html.directive": "An attribute that a client-side framework evaluates, with a call of the browser in it.",
    "html.form": "A form, or a button that sends a form, to an address of the value's choosing.",
    "html.input": "A field of a form.",
    "html.encoded_tag": "A tag in UTF-7, or one whose angle brackets lost their high bit.",
    "html.raw_text_end": "The end of an element whose content is no HTML, then a tag: the way out of script, style, title or textarea.",
    "html.link": "A link or an image that leads elsewhere.",
    "html.mention": "The name of an element that would act, without what makes it act.",
    "html.code_sample": "One of the strong signs stands in code that a text quotes as Markdown.",
    "html.code_sample_live": "The same, for those who do not render Markdown.",
}

_STYLE_SHEET: Final = re.compile(r"(?!//)[\w./-]{0,128}[\w-]\.css(?:\?[\w.=&-]{0,64})?")
"""Of the site itself, as people quote it."""
_WEAK: Final = frozenset({"html.mention", "html.link", "html.input"})
_BREAKOUT_GATE: Final = re.compile(r"on[a-z]{3,40}[\t\n\x0b\f\r \0]*=")
"""In lower case: a search that begins with letters of one case is several times as fast."""
_SPACE: Final = re.compile(r"[\t\n\x0b\f\r ]")
_BEFORE_WORD: Final = re.compile(r"<[A-Za-z]{1,8}/?>\w")
_SHORT_TAG: Final = re.compile(r"</?[A-Za-z]{1,8}/?>")
_DECISIVE: Final = frozenset(
    {"html.script_element", "html.event_handler", "html.script_address", "html.attribute_breakout"}
)
_ACTING_ALONE: Final = LOADERS | {"script", "style"}
"""What counts without any attribute."""
_PROGRAMS: Final = 64
"""How many values of attributes are read as programs; a handler beyond counts unread."""
_TAGS: Final = 16
"""How many scripts and styles are read; those beyond count unread."""
_NEAR: Final = 512
_BETWEEN: Final = 2
"""Between a quotation mark and the handler that leaves the attribute stand at most so many other attributes, unless
the handler's value calls the browser itself: what stands there in sentences are their words."""
_UTF7: Final = re.compile(r"\+ADw-?\s*(?:/|\+AC8-?)?[a-z!?]", re.IGNORECASE)
_RAW_TEXT_END: Final = re.compile(
    r"</(?:script|style|title|textarea|xmp|noscript|noembed|noframes)[^<>]{0,64}>[^<>\w]{0,64}<[a-z!/]",
    re.IGNORECASE,
)
_BINDING: Final = re.compile(
    r"(?:^|[;{:\s\"'])(?:-moz-binding\s*:\s*url|behavior\s*:\s*url)\s*\(|\bexpression\s*\(\s*(?:alert|eval|document|window|this)",
    re.IGNORECASE,
)
_SCRIPT_CONTENT: Final = 512
_STYLE_CONTENT: Final = 4_096
_SCRIPT_END: Final = re.compile(r"</\s*script", re.IGNORECASE)
_STYLE_END: Final = re.compile(r"</\s*style", re.IGNORECASE)
_ELLIPSIS: Final = re.compile(r"[\s.\u2026*_]*")


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether a tag, a handler or a style that binds may stand here."""
    if "<" in specials:
        return True
    if "=" in specials and "on" in lowered:
        return True
    if "(" in specials and ("-moz-binding" in lowered or "behavior" in lowered or "expression" in lowered):
        return True
    return "+" in specials and "+adw" in lowered


def signs(text: str, position: Position) -> Iterator[Sign]:
    """Yield what a browser would act on in `text`, each sign once."""
    spans = CodeSpans(text, position)
    seen: set[str] = set()
    # Programs that tidy up what people write take a no-break space for a space.
    for sign in _Page(text.replace("\xa0", " ")).signs():
        shown = sign
        if spans and sign.start in spans:
            if sign.name in _WEAK:
                continue
            shown = Sign("html.code_sample", sign.start, sign.end)
            if "html.code_sample" not in seen:
                yield Sign("html.code_sample_live", sign.start, sign.end)
        if shown.name not in seen:
            seen.add(shown.name)
            yield shown
            if shown.name in _DECISIVE:
                return  # a browser that runs this runs anything


@dataclass(slots=True)
class _Page:
    """A value that is read as a page, and how much of it was read as programs."""

    text: str
    programs: int = 0
    tags: int = 0

    def signs(self) -> Iterator[Sign]:
        text = self.text
        lowered = lower_case(text)
        if "<" in text:
            for tag in tags(text):
                if not tag.is_end and (tag.attributes or tag.name in _ACTING_ALONE):
                    yield from self._of_tag(tag)
            if "</" in text and (match := _RAW_TEXT_END.search(text)) is not None:
                yield Sign("html.raw_text_end", match.start(), match.end())
            if (stripped := _without_short_tags(text)) is not None:
                yield from _Page(stripped).signs()
        if "=" in text and "on" in lowered:
            yield from self._breakouts(lowered)
        if "+adw" in lowered and (match := _UTF7.search(text)) is not None:
            yield Sign("html.encoded_tag", match.start(), match.end())
        if "(" in text and any(name in lowered for name in ("-moz-binding", "behavior", "expression")):
            match = _BINDING.search(text)
            if match is not None:
                yield Sign("html.acting_style", match.start(), match.end())

    def _of_tag(self, tag: Tag) -> Iterator[Sign]:
        if tag.name in {"script", "style"}:
            self.tags += 1
        # So many scripts or styles are no sentences: they are not read any more, they count.
        name = _element_sign(tag, self.text) if self.tags <= _TAGS else "html.script_element"
        if name:
            yield Sign(name, tag.start, tag.end)
        for attribute in tag.attributes:
            name = self._attribute_sign(attribute)
            if name:
                yield Sign(name, tag.start, attribute.end)

    def _program(self, text: str) -> Program:
        self.programs += 1
        return program(text)

    def _attribute_sign(self, attribute: Attribute) -> str:
        """Judge an attribute that any element may have."""
        name, value = attribute.name, attribute.value
        if name.startswith("on"):
            return self._handler_sign(attribute)
        if not value:
            return ""
        if value[0] == "`" and _BREAKOUT_GATE.search(value.lower()) is not None:
            return "html.event_handler"  # back-ticks are quotation marks to old browsers
        if value[0] in "oO" and _BREAKOUT_GATE.match(value.lower()) is not None:
            # `<img src= onerror="f()">`: a filter that closes the gap makes an attribute of it.
            found, _, _ = attributes(value, 0)
            return self._handler_sign(found[0])
        if name == "style":
            return "html.acting_style" if style.runs(value) else ""
        if name == "srcdoc":
            return "html.loading_element"
        if ":" in value and _is_running_address(name, value):
            return "html.script_address"
        if name.startswith(DIRECTIVES) and "(" in value and self.programs < _PROGRAMS:
            read = self._program(value)
            return "html.directive" if read.runs and not read.is_broken else ""
        return ""

    def _handler_sign(self, attribute: Attribute) -> str:
        if not attribute.has_value or not (is_event(attribute.name) or may_be_event(attribute.name)):
            return ""
        if self.programs >= _PROGRAMS:
            return "html.event_handler"  # nobody's sentences hold so many
        read = self._program(attribute.value)
        if not is_event(attribute.name):
            return "html.event_handler" if read.calls else ""
        if read.acts or read.runs or address.runs(attribute.value):
            return "html.event_handler"
        if attribute.value.lstrip().startswith(("throw", "import")):
            return "html.event_handler"
        # Cut off by the value's end: the page goes on writing the handler.
        if not attribute.value:
            return "html.idle_handler" if attribute.end >= len(self.text.rstrip()) else ""
        return "html.idle_handler"

    def _breakouts(self, lowered: str) -> Iterator[Sign]:
        """Read on as attributes after what ends an attribute: a quotation mark of each kind, or a space."""
        text = self.text
        if _BREAKOUT_GATE.search(lowered) is None:
            return
        for mark in "\"'`":
            at = text.find(mark)
            if at >= 0:
                yield from self._of_breakout(at, at + 1, is_quoted=True)
        match = _SPACE.search(text)
        if match is not None:
            yield from self._of_breakout(match.start(), match.end(), is_quoted=False)

    def _of_breakout(self, start: int, begin: int, *, is_quoted: bool) -> Iterator[Sign]:
        text = self.text
        found, _, _ = attributes(text, begin)
        for attribute in found:
            name = attribute.name.lstrip("\"'`\\;/")
            if not name.startswith("on") or not attribute.has_value or not (is_event(name) or may_be_event(name)):
                continue
            if self.programs >= _PROGRAMS:
                yield Sign("html.attribute_breakout", start, attribute.end)
                return
            read = self._program(attribute.value)
            # In sentences their words stand between; so they may not, unless the browser itself is called.
            before = text[begin if is_quoted else 0 : attribute.start][:_NEAR]
            between = len(before.replace("/", " ").split(None, _BETWEEN + 1))
            near = between <= (_BETWEEN if is_quoted else 0) and (not is_quoted or text[start] not in before)
            if is_event(name):
                is_last = not attribute.value.strip("\"' ") and attribute.end >= len(text.rstrip()) and near
                if read.runs or is_last or (near and (read.acts or read.is_open)):
                    yield Sign("html.attribute_breakout", start, attribute.end)
                    return
            elif is_quoted and near and between == 0 and read.calls:
                yield Sign("html.attribute_breakout", start, attribute.end)
                return


def _without_short_tags(text: str) -> str | None:
    """Return `text` as a filter leaves it that takes tags out of words, None where it has no such tags."""
    if not any(text[match.start() - 1 : match.start()].isalnum() for match in _BEFORE_WORD.finditer(text)):
        return None
    stripped = _SHORT_TAG.sub("", text)
    return stripped if "=" in stripped or "<" in stripped else None


def _element_sign(tag: Tag, text: str) -> str:
    """Judge the element by its name and by the attributes that make it act."""
    match tag.name:
        case "script":
            return _script_sign(tag, text)
        case "style":
            return _style_sign(tag, text)
        case "base":
            return "html.page_control" if _has(tag, "href") else ""
        case "meta":
            return "html.page_control" if _is_pragma(tag) else ""
        case "link":
            return _link_sign(tag)
        case "animate" | "set" | "animatetransform" | "animatemotion":
            return _animation_sign(tag)
        case "form" | "isindex":
            return "html.form" if _sends_elsewhere(tag, "action") else "html.input" if tag.attributes else ""
        case "input" | "button" | "textarea" | "select" | "keygen":
            return "html.form" if _sends_elsewhere(tag, "formaction") else "html.input" if tag.attributes else ""
        case "a" | "img" | "image" | "video" | "audio" | "source" | "area" | "picture" | "track":
            return "html.link" if tag.value("href", "src", "srcset", "poster", "ping") else ""
        case name if name in LOADERS:
            if not any(each.name in LOADED_FROM for each in tag.attributes) or _is_player_in_prose(tag, text):
                return "html.mention"
            return "html.loading_element"
        case _:
            return ""


def _is_player_in_prose(tag: Tag, text: str) -> bool:
    """Tell whether somebody speaks of a frame with a page of another site, as of a video: it runs nothing in this one."""
    source = tag.value("src") or ""
    return (
        tag.name == "iframe"
        and source.startswith("https://")
        and not any(each.name == "srcdoc" or each.name.startswith("on") for each in tag.attributes)
        and is_running(text, 0, tag.start)
    )


def _has(tag: Tag, name: str) -> bool:
    return any(each.name == name and each.has_value for each in tag.attributes)


def _sends_elsewhere(tag: Tag, name: str) -> bool:
    """Tell whether the form goes to another host, or to a program: that is how passwords are asked for."""
    target = tag.value(name)
    if target is None:
        return False
    scheme, _ = address.scheme(target)
    return scheme not in {"", "mailto", "tel"} or target.strip().startswith(("//", "\\\\", "/\\"))


def _script_sign(tag: Tag, text: str) -> str:
    """A script with an address loads it; else what follows must be a program, and sentences are none."""
    if tag.value("src", "href", "xlink:href") or _has(tag, "src"):
        return "html.script_element"
    if not tag.is_complete:
        return "html.script_element" if tag.attributes else "html.mention"
    end = _SCRIPT_END.search(text, tag.end, tag.end + _SCRIPT_CONTENT)
    content = text[tag.end : end.start() if end else tag.end + _SCRIPT_CONTENT]
    if not content.strip():
        return "html.script_element" if end else "html.mention"
    if _ELLIPSIS.fullmatch(content):
        return "html.mention"
    read = program(content)
    # `List<Script> x = f();`: what stands right behind a name without an end is the parameter of a type.
    is_parameter = end is None and text[: tag.start][-1:].isalnum()
    if read.runs or (read.acts and not is_parameter):
        return "html.script_element"
    is_alone = end is not None and not read.is_broken and content == content.strip()
    return "html.script_element" if is_alone else "html.mention"


def _style_sign(tag: Tag, text: str) -> str:
    end = _STYLE_END.search(text, tag.end, tag.end + _STYLE_CONTENT)
    content = text[tag.end : end.start() if end else tag.end + _STYLE_CONTENT]
    if style.runs(content) or style.loads(content):
        return "html.acting_style"
    return "html.style_element" if "{" in content else ""


def _is_pragma(tag: Tag) -> bool:
    pragma = tag.value("http-equiv")
    if pragma is not None and pragma.strip().lower() in ACTING_PRAGMAS - {"content-type", "x-ua-compatible"}:
        return True
    encoding = f"{tag.value('charset') or ''} {tag.value('content') or ''}".lower().replace("_", "-")
    return any(name in encoding for name in ("utf-7", "utf7", "iso-2022", "hz-gb", "x-user-defined"))


def _link_sign(tag: Tag) -> str:
    if not _has(tag, "href"):
        return ""
    relations = (tag.value("rel") or "").lower().split()
    is_own_style = _STYLE_SHEET.fullmatch(tag.value("href") or "") is not None and relations == ["stylesheet"]
    acts = any(each in ACTING_LINKS for each in relations) and not is_own_style
    return "html.page_control" if acts else "html.link"


def _animation_sign(tag: Tag) -> str:
    target = (tag.value("attributename") or "").strip().lower()
    if target in {"href", "xlink:href", "src", "action", "style"} or is_event(target):
        return "html.animated_attribute"
    return ""


def _is_running_address(name: str, value: str) -> bool:
    if address.runs(value):
        return (
            name not in {"title", "alt", "placeholder", "content", "aria-label"}
            or program(address.scheme(value)[1]).acts
        )
    # Lists of values of an animation, and refresh's `0;url=`.
    if name in {"values", "from", "to", "by", "content", "srcset"}:
        return any(address.runs(part.rpartition("=")[2].strip(" \"'")) for part in value[:1024].split(";"))
    # Spaces that a filter or a form took for nothing.
    squeezed = value[:64].replace(" ", "").replace("\u3000", "").lower()
    return name in {"src", "href", "data", "action", "xlink:href", "formaction"} and squeezed.startswith(
        ("javascript:", "vbscript:")
    )
