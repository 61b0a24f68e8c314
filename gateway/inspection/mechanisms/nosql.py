"""Injection into document stores and graphs: operators in place of values, script in a server's `$where`, Cypher (CWE-943).

A query operator is told from other names with a dollar sign (JSON Schema's `$ref`, OData's `$filter`) by MongoDB's own list. In a
parameter's or a member's name it changes the query; in a text it does when the text is a document, or leaves the one it stands in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from gateway.inspection.finding import Position
from gateway.inspection.sign import Sign
from gateway.inspection.sql.places import begins, exits

CLASS: Final = "nosqli"
SIGNS: Final[Mapping[str, str]] = {
    "nosql.operator": "An operator of MongoDB stands where a plain value should.",
    "nosql.document": "The value leaves its place in a query document and adds an operator.",
    "nosql.script": "The value leaves its place and goes on as script of a document store.",
    "nosql.shell": "The value is a command of MongoDB's shell that writes, removes or evaluates.",
    "nosql.cypher": "The value leaves its place and goes on as Cypher.",
    "nosql.operator_text": "A text mentions an operator of MongoDB as a document would have it.",
    "nosql.shell_text": "A text mentions a command of MongoDB's shell.",
}

_OPERATORS: Final = (
    r"(?:ne|eq|gte?|lte?|n?in|not|nor|or|and|exists|expr|jsonSchema|mod|regex|text|where|all|elemMatch|size|near(?:Sphere)?|"
    r"geo(?:Within|Intersects)|function|accumulator|lookup|merge|out|unionWith|match|group|project|unset|set|inc|push|pull|rename|"
    r"currentOp|rand|options|search|type|slice|natural)"
)
_SHARED: Final = frozenset(
    {"search", "type", "match", "group", "project", "merge", "out", "set", "options", "size", "rand", "slice"}
)
"""Names that JSON Schema, OData, Json.NET and analytics use with a dollar sign, too: they count in brackets and beside others only."""
_BRACKETED: Final = re.compile(rf"\[\s{{0,4}}['\"]?\$({_OPERATORS})['\"]?\s{{0,4}}\]", re.IGNORECASE)
_NAME: Final = re.compile(rf"(?:[\w.\[\]-]{{0,128}}[.\[])?\$({_OPERATORS})\]?", re.IGNORECASE)
_MEMBER: Final = re.compile(rf"(?:^|[{{,\[(\s'\"])['\"]?\$({_OPERATORS})['\"]?\s{{0,8}}:", re.IGNORECASE)
_DOCUMENT: Final = re.compile(r"\s*[\[{]")
_LEAVING: Final = re.compile(r"[\w.@ -]{0,64}['\"]?\s{0,8}[}\])]{0,8}\s{0,8},\s{0,8}['\"]?")
_NAMES: Final = frozenset(
    (Position.QUERY_NAME, Position.FORM_NAME, Position.COOKIE_NAME, Position.PART_NAME, Position.JSON_NAME)
)
_SCRIPT: Final = (
    r"(?:return\s{0,8}\(?\s{0,8}(?:true\b|false\b|this\b|[!\d'\"({])|(?:var|let|const)\s{1,8}\w+\s{0,8}=|while\s{0,8}\(|do\s{0,8}\{|"
    r"for\s{0,8}\(|this\s{0,4}[.\[]\s{0,4}['\"\w]|db\.\w+\.|sleep\s{0,4}\(\s{0,4}\d|function\s{0,8}\w{0,32}\s{0,4}\(|"
    r"throw\s{1,8}(?:new\b|\w+\())"
)
_SCRIPT_BEHIND_MARK: Final = re.compile(
    rf"\s*[)}}\]]{{0,8}}\s{{0,8}}(?:;|\|\||&&|,)\s{{0,8}}[({{!]{{0,4}}\s{{0,8}}{_SCRIPT}"
)
_SCRIPT_COMPUTED: Final = re.compile(r"\s*[-+*/]\s{0,8}(?:sleep\s{0,4}\(\s{0,4}\d|this\.\w|db\.\w+\.|\(function\b)")
_SCRIPT_BEHIND_WORD: Final = re.compile(
    rf"\s*[\w.-]{{0,64}}\s{{0,8}}[)}}\]]{{0,8}}\s{{0,8}}(?:;|\|\||&&)\s{{0,8}}[({{!]{{0,4}}\s{{0,8}}{_SCRIPT}"
)
_DB: Final = "db"
_WRITING: Final = (
    r"(?:insert(?:One|Many)?|update(?:One|Many)?|remove|delete(?:One|Many)|drop(?:Database|Index(?:es)?|User)?|save|eval|replaceOne|"
    r"renameCollection|runCommand|adminCommand|shutdownServer|createUser|createCollection|copyDatabase|mapReduce|bulkWrite|findAndModify|"
    r"findOneAnd(?:Delete|Update|Replace))"
)
_SHELL: Final = re.compile(
    rf"\bdb(?:\.\w{{1,64}}|\[['\"]\w{{1,64}}['\"]\]|\.getCollection\([^)]{{1,80}}\)){{0,3}}\.{_WRITING}\s{{0,4}}\("
)
_SHELL_READING: Final = re.compile(
    r"\bdb\.\w{1,64}\.(?:find(?:One)?|aggregate|count(?:Documents)?|distinct|stats)\s{0,4}\("
)
_SHELL_START: Final = re.compile(r"(?:[\w.@-]{0,64}['\"]?\s{0,8}[)}\]]{0,8}\s{0,8}[;,|&]{1,2})?\s*(?=db[.\[])")
_CYPHER: Final = re.compile(
    r"\s*[})\]]{0,8}\s{0,8}(?:(?:or|and|xor)\b[^\n]{1,200}?)?\s{0,8}"
    r"(?:(?:return|with|set|remove)\b[^\n]{1,200}//|detach\s{1,8}delete\b|(?:optional\s{1,8})?match\s{0,8}\(|union\s{1,8}(?:all\s{1,8})?match\b|"
    r"load\s{1,8}csv\b|call\s{1,8}(?:db|dbms|apoc)\.|foreach\s{0,8}\(|merge\s{0,8}\()",
    re.IGNORECASE,
)


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether a dollar sign, a mark or the signs of script stand in the text."""
    if "$" in specials:
        return True
    if "(" not in specials and "=" not in specials and "." not in specials and "/" not in specials:
        return False
    return not specials.isdisjoint("'\";|&,") or "db" in lowered


def signs(text: str, position: Position) -> Iterable[Sign]:
    """Find operators, and script behind a place that was left; the first strong sign is enough."""
    for sign in _found(text, position):
        return [sign]
    return list(_mentioned(text))


def _found(text: str, position: Position) -> Iterator[Sign]:
    """Find what would change a query."""
    if "$" in text:
        yield from _operators(text, position)
    yield from _behind_marks(text)
    writing = _SHELL.search(text) if _DB in text else None
    for begin in begins(text, position):
        script = _SCRIPT_BEHIND_WORD.match(text, begin)
        if script:
            yield Sign("nosql.script", *script.span())
        start = _SHELL_START.match(text, begin)
        if writing and start and start.end() == writing.start():
            yield Sign("nosql.shell", *writing.span())
        leaving = _LEAVING.match(text, begin) if "$" in text else None
        member = _MEMBER.search(text) if leaving and text.startswith("$", leaving.end()) else None
        if leaving and member and member.start(1) == leaving.end() + 1:
            yield Sign("nosql.document", begin, member.end())


def _operators(text: str, position: Position) -> Iterator[Sign]:
    """Find operators where they take effect."""
    if position in _NAMES:
        name = _NAME.fullmatch(text)
        if name and (text[: name.start(1)].rstrip("$") or name.group(1).lower() not in _SHARED):
            yield Sign("nosql.operator", *name.span())
    bracketed = _BRACKETED.search(text)
    if bracketed:
        yield Sign("nosql.operator", *bracketed.span())
    if _DOCUMENT.match(text):
        for member in _MEMBER.finditer(text):
            if member.group(1).lower() not in _SHARED:
                yield Sign("nosql.operator", *member.span())


def _behind_marks(text: str) -> Iterator[Sign]:
    """Find script, or Cypher, behind the mark that ends a string."""
    for quote in "'\"":
        if quote not in text:
            continue
        for start, _, first in exits(text, quote):
            if not first:
                break
            found = _SCRIPT_BEHIND_MARK.match(text, start) or _SCRIPT_COMPUTED.match(text, start)
            if found:
                yield Sign("nosql.script", start - 1, found.end())
            cypher = _CYPHER.match(text, start)
            if cypher:
                yield Sign("nosql.cypher", start - 1, cypher.end())


def _mentioned(text: str) -> Iterator[Sign]:
    """Find what a text says about such queries, wherever it stands."""
    member = _MEMBER.search(text) if "$" in text else None
    if member and member.group(1).lower() not in _SHARED:
        yield Sign("nosql.operator_text", *member.span())
    shell = (_SHELL.search(text) or _SHELL_READING.search(text)) if _DB in text else None
    if shell:
        yield Sign("nosql.shell_text", *shell.span())
