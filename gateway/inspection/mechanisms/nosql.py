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
    r"currentOp|rand|options|search|type|slice|natural|comment)"
)
_SHARED: Final = frozenset(
    {
        "search",
        "type",
        "match",
        "group",
        "project",
        "merge",
        "out",
        "set",
        "options",
        "size",
        "rand",
        "slice",
        "comment",
    }
)
"""Names that JSON Schema, OData, Json.NET and analytics use with a dollar sign, too: they count in brackets and beside others only."""
_ALONE: Final = frozenset(
    {
        "where",
        "ne",
        "eq",
        "gt",
        "gte",
        "lt",
        "lte",
        "in",
        "nin",
        "regex",
        "or",
        "and",
        "nor",
        "not",
        "exists",
        "expr",
        "elemmatch",
        "jsonschema",
    }
)
"""What is no other program's parameter."""
_ALONE_IN_JSON: Final = _ALONE | {
    "all",
    "mod",
    "text",
    "near",
    "nearsphere",
    "geowithin",
    "geointersects",
    "function",
    "accumulator",
    "lookup",
    "unionwith",
    "unset",
    "inc",
    "push",
    "pull",
    "rename",
    "natural",
    "currentop",
}
_BRACKETED: Final = re.compile(rf"\[\s{{0,4}}['\"]?\$({_OPERATORS})['\"]?\s{{0,4}}\]", re.IGNORECASE)
_INDEXED: Final = re.compile(
    rf"[\w.-]{{0,64}}(?:\[[\w.-]{{0,64}}\]){{0,8}}\[\s{{0,4}}\$({_OPERATORS})\s{{0,4}}\]", re.IGNORECASE
)
"""`user[$ne]`, where the value itself is split into name and value again."""
_NAME: Final = re.compile(rf"(?:[\w.\[\]-]{{0,128}}[.\[])?\$({_OPERATORS})\]?", re.IGNORECASE)
_ASKED: Final = re.compile(
    r"(?:filters?|where)(?:\[(?!\w{0,64}(?:pass|pwd|secret|token|hash|salt|otp|pin\b|key))\w{1,64}\]){1,4}\[\$[gl]te?\](?:=[\d.:TZ+-]{1,40})?",
    re.IGNORECASE,
)
"""What an interface asks its clients to send: the bounds of a range, under its own parameter (Strapi, Feathers)."""
_MEMBER: Final = re.compile(rf"(?:^|[{{,\[(\s'\"])['\"]?\$({_OPERATORS})['\"]?\s{{0,8}}:(?![=:])", re.IGNORECASE)
_DOCUMENT: Final = re.compile(r"\s*[\[{]")
_LEAVING: Final = re.compile(r"[\w.@ -]{0,64}['\"]?[}\])\s]{0,16},\s{0,8}['\"]?")
_BEGINNING: Final = re.compile(
    rf"\s*['\"]?\$({_OPERATORS})['\"]?\s{{0,8}}:\s{{0,8}}(?:['\"{{\[/\d]|true\b|null\b|function\b)", re.IGNORECASE
)
_NAMES: Final = frozenset(
    (Position.QUERY_NAME, Position.FORM_NAME, Position.COOKIE_NAME, Position.PART_NAME, Position.JSON_NAME)
)
_ENDED: Final = r"\s{0,8}\)?\s{0,8}(?:;|\}|[!=]=|&&|\|\|)"
_RETURN: Final = (
    r"return\s{0,8}\(?\s{0,8}(?:(?:true|false)(?:\s{0,8}\)?\s{0,8}\Z|" + _ENDED + r")"
    r"|(?:\d{1,9}|'[^'\n]{0,64}'|\"[^\"\n]{0,64}\"|\w{1,64})"
    + _ENDED
    + r"|this\s{0,4}[.\[]|!|\{|db\.\w|to(?:json|string)\(|function\b)"
)
_SCRIPT: Final = (
    rf"(?:{_RETURN}|(?:(?:var|let|const)\s{{1,8}})?\w{{1,64}}\s{{0,8}}=\s{{0,8}}new\s{{1,8}}Date\b|(?:var|let|const)\s{{1,8}}\w+\s{{0,8}}=|"
    r"while\s{0,8}\(|do\s{0,8}\{|for\s{0,8}\(|this\s{0,4}[.\[]\s{0,4}['\"\w]|db\.\w+\.|sleep\s{0,4}\(\s{0,4}\d|"
    r"function\s{0,8}\w{0,32}\s{0,4}\(|throw\s{1,8}(?:new\b|\w+\())"
)
_SCRIPT_BEHIND_MARK: Final = re.compile(
    rf"\s*[)}}\]]{{0,8}}\s{{0,8}}(?:;|\|\||&&|,)\s{{0,8}}[({{!]{{0,4}}\s{{0,8}}{_SCRIPT}"
)
_SCRIPT_COMPUTED: Final = re.compile(r"\s*[-+*/]\s{0,8}(?:sleep\s{0,4}\(\s{0,4}\d|this\.\w|db\.\w+\.|\(function\b)")
_SCRIPT_BEHIND_WORD: Final = re.compile(
    rf"\s*(?:[\w.-]{{1,64}}\s{{0,8}}[)}}\]]{{0,8}}\s{{0,8}}(?:;|\|\||&&)|;)(?![\s({{!]{{0,8}}function)\s{{0,8}}[({{!]{{0,4}}\s{{0,8}}{_SCRIPT}"
)
_PREDICATE: Final = re.compile(
    r"\s*this\.\w{1,64}\.(?:match|test|indexOf|startsWith|charAt|substring|substr|length\s*[=<>]|search)\b[^;\n]{0,128}"
)
"""What MongoDB's `$where` takes as a condition."""
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
    r"\s*[})\]]{0,8}(?<=[\s})\]])\s{0,8}(?:(?:or|and|xor)\b[^\n]{1,200}?)?\s{0,8}"
    r"(?:(?:return|with|set|remove)\s[^\n]{1,200}//\s{0,8}\S{0,8}\s{0,8}\Z|detach\s{1,8}delete\s|"
    r"(?:optional\s{1,8})?(?:match|merge|create)\s{0,8}\(\s{0,4}\w{0,32}\s{0,4}(?::\s{0,4}\w|\)\s{0,8}(?:<?-|return|detach|set|delete|where|with))|"
    r"union\s{1,8}(?:all\s{1,8})?match\b|load\s{1,8}csv\s|call\s{1,8}(?:db|dbms|apoc)\.)",
    re.IGNORECASE,
)


def can_occur(specials: frozenset[str], lowered: str) -> bool:
    """Say whether a dollar sign, a mark or the signs of script stand in the text."""
    if "$" in specials:
        return True
    if specials.isdisjoint("(=./") and "return" not in lowered:
        return False
    return not specials.isdisjoint("'\";|&,") or "db" in lowered or "this." in lowered


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
        script = _SCRIPT_BEHIND_WORD.match(text, begin) or _PREDICATE.fullmatch(text, begin)
        if script:
            yield Sign("nosql.script", *script.span())
        start = _SHELL_START.match(text, begin)
        if writing and start and start.end() == writing.start():
            yield Sign("nosql.shell", *writing.span())
        beginning = _BEGINNING.match(text, begin)
        if beginning and beginning.group(1).lower() not in _SHARED:
            yield Sign("nosql.document", *beginning.span())
        leaving = _LEAVING.match(text, begin) if "$" in text else None
        member = _MEMBER.search(text) if leaving and text.startswith("$", leaving.end()) else None
        if leaving and member and member.start(1) == leaving.end() + 1:
            yield Sign("nosql.document", begin, member.end())


def _operators(text: str, position: Position) -> Iterator[Sign]:
    """Find operators where they take effect."""
    if _ASKED.fullmatch(text):
        return
    if position in _NAMES:
        name = _NAME.fullmatch(text)
        alone = _ALONE_IN_JSON if position is Position.JSON_NAME else _ALONE
        if name and (name.start(1) > 1 or name.group(1).lower() in alone):
            yield Sign("nosql.operator", *name.span())
    bracketed = _BRACKETED.search(text) if position in _NAMES else _INDEXED.match(text)
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
