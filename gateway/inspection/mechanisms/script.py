"""JavaScript that leaves the string it was put into, that is the whole value, or that hides what it calls.

A page that writes a value into `<script>`, into a handler or behind `javascript:` hands it to a JavaScript
engine. The engine runs nothing of a program that does not parse: what follows the first quotation mark must be
one (`';alert(1)//`), and sentences are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.html import address
from gateway.inspection.prose import CodeSpans
from gateway.inspection.script.program import Program, program
from gateway.inspection.sign import Sign

CLASS: Final = "xss"

SIGNS: Final[Mapping[str, str]] = {
    "script.string_breakout": "After the first quotation mark, or the end of a comment, the value goes on as a program that calls something and fits what the page has before and after it.",
    "script.statement": "The whole value is a program that calls a function of the browser that runs, shows or sends.",
    "script.idle_statement": "The whole value is a program that touches the browser without a clear effect, or several lines of one.",
    "script.address": "The value, or a link or style in it, is an address that runs a program: javascript:, vbscript:, data:text/html.",
    "script.obfuscation": "It is written so that no name can be read in it: JSFuck, members computed from pieces, escaped names.",
    "script.evaluated_code": "Text is decoded and run, or a function is built from text by a constructor.",
    "script.tagged_call": "A function is called through a tagged template, which needs no parentheses.",
    "script.code_sample": "One of these stands in code that a text quotes as Markdown.",
    "script.code_sample_live": "The same, for those who do not render Markdown.",
}

_CALLING: Final = frozenset("(`[=")
_DECLARATION: Final = re.compile(r"\s*(?:async\s+)?function\s+[A-Za-z_$][\w$]*\s*\([^()]*\)\s*\{")
_BRACE: Final = re.compile(r"[{}]")
_ROOT_NAMES: Final = (
    "document",
    "location",
    "window",
    "self",
    "top",
    "parent",
    "frames",
    "this",
    "cookie",
    "onerror",
    "script",
    "data:",
)

# A quotation mark, then what can follow a string in a program.
_BREAKOUT: Final = re.compile(
    r"\s*(?:[)\]}]\s*)*(?:[;,*/|&^%?:]|[-+](?!\s*\d+\s*$)|\.\w|<|>|!?=|in\b|\()|[ \t]*[\r\n\u2028\u2029]\s*[A-Za-z_$(\[]"
)
_AFTER: Final = re.compile(r"[\s)\]}]*(?:\|\||&&|\?\?|[;,+*/|&^%?:<>=!.-])*")
_TEMPLATE_HOLE: Final = re.compile(r"\$\{\s*(?=[A-Za-z_$(\[!])")
_STATEMENT: Final = re.compile(
    r"\d{0,9}[\s;,({\[!+~*/|&^)}\]-]{0,64}(?:(?:var|let|const|void|new|typeof|throw|return|delete|await|if|try|with|function|import)\b\s*)?"
    r"[({\[!\s]{0,16}[A-Za-z_$\\][\w$\\{}]*\s*(?:/\*[^*]*\*/\s*)?[.(\[=`?)\]/{!+]"
)
_WHOLE_LINES: Final = 2
"""A program of more lines is what people paste."""
_JSFUCK: Final = re.compile(r"[\[\]()!+ \t\r\n]{24,}")
_JSFUCK_MARKS: Final = (("![]", "[][", "!![]", "+[]", "! []", "[] ["), 3)
_NAMELESS: Final = re.compile(r"(?:[$_]{1,16}[^\w$\s\"']{1,8}){5}")
_LINKED: Final = re.compile(
    r"(?:\]\(|\]:\s|<|\[(?:url|img|link|email|iframe)\s*[=\]]|url\s*\(|(?:href|src|action|data|xlink:href|poster|background)\s*=)\s*[\"'<]?\s*"
    r"(?:j[\s\\]*a[\s\\]*v[\s\\]*a|v[\s\\]*b)[\s\\]*s[\s\\]*c[\s\\]*r[\s\\]*i[\s\\]*p[\s\\]*t\s*:",
    re.IGNORECASE,
)
_LINKED_DATA: Final = re.compile(
    r"(?:\]\(|\]:\s|\[(?:url|link|iframe)\s*[=\]]|href\s*=)\s*[\"'<]?\s*data:\s*(?:text/(?:html|xml)|image/svg\+xml|application/xhtml\+xml)\s*[;,]",
    re.IGNORECASE,
)
"""A link, not a picture, to a document of its own."""
_EVALUATED: Final = re.compile(
    r"\b(?:eval|Function|setTimeout|setInterval|execScript)\s*\(\s*(?:\w{1,16}\.)?(?:atob|unescape|decodeURI(?:Component)?|String\.fromC\w+)\s*\("
    r"|\bconstructor\s*[.(\[]\s*(?:constructor\s*\(\s*)?[\"'`][^\"'`\n]{0,256}[\"'`]\s*\)\s*\("
    r"|\b(?:eval|Function|setTimeout|setInterval|alert|confirm|prompt)\s*\(\s*String\s*\.\s*fromCharCode\s*\(\s*\d"
    r"|[\])]\s*\[\s*[\"'`]constructor[\"'`]\s*\]|\[\s*[\"'`]constructor[\"'`]\s*\]\s*[(`\[]"
    r"|\]\s*\.\s*(?:filter|map|find|some|every|sort)\s*\.\s*constructor\s*\(",
)
_TAGGED: Final = re.compile(
    r"(?:\.\s*(?:/\*[^*]{0,64}\*/\s*)?)(?:call|apply|map|sort|constructor|bind|from)\s*`[^`]{0,64}\$\s*\{|(?<![\w$])(?:alert|confirm|prompt|eval|setTimeout|setInterval)`[^`\s]{0,256}`"
)
_COMPUTED: Final = re.compile(
    r"(?<![\w$.])(?:window|self|top|parent|frames|globalThis|document|this)\)?\s*(?:/\*[^*]{0,64}\*/\s*)?(?:\?\.\s*)?"
    r"\[\s*(?:/\*[^*]{0,64}\*/\s*)?[\"'`/]"
)
_ESCAPED_CALL: Final = re.compile(
    r"(?:\\u(?:00[4-7][0-9a-fA-F]|\{0*[4-7][0-9a-fA-F]\})[\w$]{0,16}){1,16}\s*(?:\\u\{?0*28\}?|[(`])"
)
_EVALUATORS: Final = (
    "eval", "function", "settimeout", "setinterval", "execscript", "constructor", "alert", "confirm", "prompt",
)  # fmt: skip
_MEMBER: Final = 512
"""How far a computed member and what is done with it reach."""
_ENTRY_LIMIT: Final = 8
"""How many places of one value are read as a program: each attack needs one."""


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether anything may be called, assigned or linked."""
    if "(" in specials or "`" in specials:
        return True
    if "[" in specials or "=" in specials or ":" in specials:
        return any(name in lowered for name in _ROOT_NAMES)
    return False


def signs(text: str, position: Position) -> Iterator[Sign]:
    """Yield what a JavaScript engine would make of `text`, each sign once."""
    spans = CodeSpans(text, position)
    seen: set[str] = set()
    for sign in _signs(text):
        shown = sign
        if spans and sign.start in spans:
            shown = Sign("script.code_sample", sign.start, sign.end)
            if "script.code_sample" not in seen:
                yield Sign("script.code_sample_live", sign.start, sign.end)
        if shown.name not in seen:
            seen.add(shown.name)
            yield shown


def _signs(text: str) -> Iterator[Sign]:
    lowered = text.lower()
    yield from _addresses(text, lowered)
    yield from _breakouts(text)
    yield from _whole(text)
    if "(" in text and any(name in lowered for name in _EVALUATORS):
        yield from _found(_EVALUATED, text, "script.evaluated_code")
    if "`" in text:
        yield from _found(_TAGGED, text, "script.tagged_call")
    if "\\u" in text:
        yield from _found(_ESCAPED_CALL, text, "script.obfuscation")
    if "[" in text:
        yield from _hidden(text)


def _found(pattern: re.Pattern[str], text: str, name: str) -> Iterator[Sign]:
    """Yield the first places; more tell nothing, unless the first ones stand in quoted code."""
    for count, match in enumerate(pattern.finditer(text)):
        if count >= _ENTRY_LIMIT:
            return
        yield Sign(name, match.start(), match.end())


def _addresses(text: str, lowered: str) -> Iterator[Sign]:
    """The whole value as an address, and addresses in links and styles."""
    if ":" not in text:
        return
    name, rest = address.scheme(text)
    if name in {"javascript", "livescript", "mocha", "jscript"}:
        read = program(rest)
        if read.acts or read.runs or rest.lstrip().startswith(("/", '"', "'", "`", "{", "[")):
            yield Sign("script.address", 0, len(text))
    elif name == "vbscript":
        if re.match(r"\s*(?:\w+\s*\(|(?:msgbox|execute|eval|createobject|document)\b)", rest, re.IGNORECASE):
            yield Sign("script.address", 0, len(text))
    elif name and address.runs(text) and "," in rest:
        yield Sign("script.address", 0, len(text))
    if "script:" in lowered or "script :" in lowered or ("\\" in text and "script" in lowered):
        yield from _found(_LINKED, text, "script.address")
    if "data:" in lowered:
        yield from _found(_LINKED_DATA, text, "script.address")


def _breakouts(text: str) -> Iterator[Sign]:
    """Read on after the first quotation mark of each kind: that one ends the page's string."""
    for quote in "'\"`":
        at = text.find(quote)
        if at < 0 or _BREAKOUT.match(text, at + 1) is None:
            continue
        entry = _AFTER.match(text, at + 1)
        start = entry.end() if entry else at + 1
        if text.startswith("//", at + 1) or text.startswith("/*", at + 1):
            start = at + 1
        read = program(text, start)
        if _fits(read, text, quote):
            yield Sign("script.string_breakout", at, read.end)
    at = text.find("*/")
    if at >= 0 and "/*" not in text[:at]:
        # The page's own comment ends here.
        read = program(text, at + 2)
        if read.shows or (read.calls and read.ends_in_comment):
            yield Sign("script.string_breakout", at, read.end)
    for match in _TEMPLATE_HOLE.finditer(text):
        read = program(text, match.end())
        if read.shows and read.calls:
            yield Sign("script.string_breakout", match.start(), read.end)
        break


def _fits(read: Program, text: str, quote: str) -> bool:
    """Tell whether the page's program, with this in it, would call something."""
    if not read.calls and not (read.assigns and read.runs):
        return False
    if read.shows or read.is_long:
        return True
    if read.is_broken and not read.runs:
        return False
    # Of an unknown function only what is made to fit: a comment that cuts the rest, or a string left open.
    return (
        read.ends_in_comment or (read.is_open and text.rstrip().endswith(quote)) or (read.runs and not read.is_broken)
    )


def _whole(text: str) -> Iterator[Sign]:
    """Read the value as a program of its own."""
    if _STATEMENT.match(text) is None or _only_declares(text):
        return
    read = program(text)
    if read.is_broken or not (read.runs or read.shows) or read.is_open:
        return
    acts = (read.shows and read.acts) or read.fills or read.hides
    strong = acts and read.lines <= _WHOLE_LINES
    if strong:
        yield Sign("script.statement", 0, read.end)
    elif read.runs:
        yield Sign("script.idle_statement", 0, read.end)


def _only_declares(text: str) -> bool:
    """Tell whether the value declares a function and calls nothing outside of it: nothing runs of that."""
    if _DECLARATION.match(text) is None:
        return False
    depth = 0
    for brace in _BRACE.finditer(text):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return _CALLING.isdisjoint(text[brace.end() :])
    return False


def _hidden(text: str) -> Iterator[Sign]:
    """Find programs without a name that says what they do: JSFuck, jjencode, members computed from pieces."""
    if "![" in text or "[]" in text or "! [" in text:
        for match in _JSFUCK.finditer(text):
            run = match[0]
            marks, enough = _JSFUCK_MARKS
            if sum(run.count(mark) for mark in marks) >= enough and "(" in run:
                yield Sign("script.obfuscation", match.start(), match.end())
                break
    if "$=" in text or "_=" in text:
        nameless = _NAMELESS.search(text)
        if nameless is not None and "=" in nameless[0] and ("[" in nameless[0] or "(" in nameless[0]):
            yield Sign("script.obfuscation", nameless.start(), nameless.end())
    for count, match in enumerate(_COMPUTED.finditer(text)):
        if count >= _ENTRY_LIMIT:
            break
        read = program(text, match.start(), min(len(text), match.start() + _MEMBER))
        if read.hides or (read.shows and not read.is_broken):
            yield Sign("script.obfuscation", match.start(), match.end())
