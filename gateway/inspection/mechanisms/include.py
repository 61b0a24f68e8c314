"""Directives that a server or a spreadsheet obeys in a text: server side includes, edge side includes, formulas.

Sources: Apache mod_include, ESI Language 1.0, OWASP CSV injection.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.needles import follows_backslash
from gateway.inspection.prose import CodeSpans
from gateway.inspection.sign import Sign

CLASS: Final = "code"

SIGNS: Final[Mapping[str, str]] = {
    "include.server_side": "A directive of server side includes: exec, include, echo, set, printenv.",
    "include.edge_side": "An element of edge side includes that fetches or shows variables.",
    "include.typesetting": "A command of LaTeX that reads a file of the server or starts a program.",
    "include.formula_command": "A formula that starts a program: DDE.",
    "include.formula_fetch": "A formula that fetches an address: WEBSERVICE, IMPORTXML, HYPERLINK.",
    "include.formula_leak": "A formula that sends what stands in other cells to an address.",
    "include.formula": "The value begins as a formula of a spreadsheet does.",
    "include.code_sample": "One of the strong signs stands in code that a text quotes as Markdown.",
    "include.code_sample_live": "The same, for those who do not render Markdown.",
}

_SERVER_SIDE: Final = re.compile(
    r"<!-{0,2}\s*#\s*(?:exec|include|echo|set|printenv|config|flastmod|fsize|if|elif|else|endif|perl|odbc|email)\b",
    re.IGNORECASE,
)
_EDGE_SIDE: Final = re.compile(
    r"<\s*/?\s*esi\s*:\s*(?:include|inline|vars|remove|try|attempt|except|choose|when|otherwise|assign|debug|eval|comment)\b|<!--\s*esi\b"
    r"|\$\(HTTP_(?:COOKIE|HOST|USER_AGENT|REFERER|ACCEPT_LANGUAGE)",
    re.IGNORECASE,
)
_TYPESETTING: Final = re.compile(
    r"\\(?:immediate\s{0,4}\\)?write18\b|\\(?:input|include|verbatiminput|lstinputlisting(?:\[[^\]]{0,64}\])?|openin\s{0,4}\S{1,16}|openout\s{0,4}\S{1,16})\s{0,4}=?\s{0,4}\{?\s{0,4}[\"|/~]"
    r"|\\(?:input|include)\s{0,4}\{\s{0,4}\.\./|\\(?:read|openin)\d{0,2}\s{0,4}\\|\\(?:directlua|pdffiledump|catcode)\b"
)
_STARTED: Final = re.compile(
    r"\b(?:cmd|msexcel|powershell|mshta|rundll32|regsvr32|wscript|certutil|calc|bash|sh)(?:\.exe)?\s{0,4}\|\s{0,4}['\"/]"
    r"|\bDDE(?:AUTO)?\s{0,4}[(\"]",
    re.IGNORECASE,
)
_FORMULA_BEGINS: Final = re.compile(r"(?:\A|[\r\n,;\t\"'])\s{0,8}[=+\-@|]")
_FORMULA_REACH: Final = 160
"""How far before the program's name its formula begins."""
_FORMULA_FETCH: Final = re.compile(
    r"\A\s{0,8}[\"']?[=+\-@]\s{0,8}[^\r\n]{0,64}?\b(?:WEBSERVICE|IMPORT(?:XML|DATA|HTML|FEED|RANGE)|HYPERLINK|IMAGE|FILTERXML|RTD|CALL|REGISTER(?:\.ID)?|EXEC)\s{0,4}\(",
    re.IGNORECASE,
)
_ADDRESS: Final = re.compile(r"(?:https?|ftp):|\\\\\\\\|[\"']//", re.IGNORECASE)
_CELL: Final = re.compile(r"(?:(?<=[(,;&! +])|(?<=&amp;))\$?[A-Z]{1,3}\$?\d{1,7}\b(?![\"'/.])")
_ARGUMENTS: Final = 512
_FORMULA: Final = re.compile(r"\A\s{0,8}(?:=|@|[+\-](?=[A-Z@(]))[^\r\n]{0,32}?(?:[A-Z]{1,3}\$?\d|\(|\d\s{0,4}[*+/^-])")

_COMMANDS: Final = (
    "\\write18",
    "\\input",
    "\\include",
    "\\verbatim",
    "\\lstinput",
    "\\open",
    "\\read",
    "\\directlua",
    "\\pdffile",
    "\\catcode",
)


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether a directive may stand here, or a formula at the beginning."""
    if "<" in specials and ("#" in specials or "esi" in lowered):
        return True
    if ("$" in specials and "$(http_" in lowered) or ("\\" in specials and follows_backslash(lowered, _COMMANDS)):
        return True
    return ("(" in specials or "|" in specials or "=" in specials) and (
        lowered.lstrip()[:2].lstrip("\"'")[:1] in {"=", "+", "-", "@"}
        or ("|" in specials and ("=" in specials or "@" in specials or "+" in specials))
    )


def signs(text: str, position: Position) -> Iterator[Sign]:
    """Yield the directives of `text`."""
    spans = CodeSpans(text, position)
    for pattern, name in (
        (_SERVER_SIDE, "include.server_side"),
        (_EDGE_SIDE, "include.edge_side"),
        (_TYPESETTING, "include.typesetting"),
    ):
        match = pattern.search(text)
        if match is None:
            continue
        if match.start() in spans:
            yield Sign("include.code_sample", match.start(), match.end())
            yield Sign("include.code_sample_live", match.start(), match.end())
        else:
            yield Sign(name, match.start(), match.end())
    match = _STARTED.search(text)
    if match is not None and _begins_formula(text, match.start()):
        yield Sign("include.formula_command", match.start(), match.end())
    match = _FORMULA_FETCH.match(text)
    if match is not None:
        leaks = _ADDRESS.search(text, match.end(), match.end() + _ARGUMENTS) and _CELL.search(
            text, match.end(), match.end() + _ARGUMENTS
        )
        yield Sign("include.formula_leak" if leaks else "include.formula_fetch", match.start(), match.end())
    elif (match := _FORMULA.match(text)) is not None:
        yield Sign("include.formula", match.start(), match.end())


def _begins_formula(text: str, end: int) -> bool:
    """Tell whether a cell that is a formula begins shortly before `end`, on the same line."""
    start = max(0, end - _FORMULA_REACH, text.rfind("\n", 0, end))
    return _FORMULA_BEGINS.search(text, start, end) is not None
