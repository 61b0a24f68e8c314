"""How a statement begins: enough of its head to tell it from a sentence that begins with the same verb.

The head is judged on the *shape* of its first tokens: words as they are, every literal, variable and mark as one letter.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.inspection.sql.lexis import Kind, Lexer, Token

_SHAPES: Final = {
    Kind.END: "$",
    Kind.CUT: "$",
    Kind.NUMBER: "0",
    Kind.STRING: "'",
    Kind.OPEN_STRING: "'",
    Kind.VARIABLE: "@",
    Kind.NAME: "name",
    Kind.FOREIGN: "\\",
}
_OBJECT: Final = (
    "(?:table|tables|database|schema|view|index|user|column|procedure|proc|function|trigger|role|login|sequence|type|extension|"
    "or|temp|temporary|unique|global|materialized|foreign|server|event|assembly|alias|system|session|tablespace)"
)
_NAME: Final = r"[\w$]+(?: \. ?[\w$]*)*"
_HEAD: Final = re.compile(
    rf"(?:(?:drop|create|alter) {_OBJECT}\b"
    rf"|truncate (?:table\b|{_NAME} [$;'\[])|rename (?:table|user)\b|lock tables?\b"
    r"|(?:insert|replace|merge) (?:into|ignore|overwrite)\b|bulk insert\b|insert or\b"
    rf"|replace {_NAME} \(|delete from\b|update {_NAME} set\b|update only\b"
    rf"|exec(?:ute)? (?:immediate\b|[@('$]|{_NAME} [$;'@0,(])"
    rf"|declare (?:@|{_NAME} (?:cursor|number|varchar2?|int|integer|text)\b)|waitfor (?:delay|time)\b"
    rf"|set (?:@|{_NAME} (?:=|:=|to\b))|copy (?:{_NAME} (?:from|to|\()|\()|call {_NAME} \("
    rf"|(?:grant|revoke) {_NAME} (?:on|to|from|,|privileges)|attach (?:database\b|')|pragma {_NAME} [$;=(]"
    r"|vacuum [$;]|vacuum into\b|analy[zs]e [$;]|load (?:data|xml)\b|shutdown (?:[$;]|with)|reconfigure [$;]"
    rf"|use {_NAME} [$;]|prepare {_NAME} (?:from|as|\()|execute {_NAME} using\b|deallocate prepare\b"
    rf"|do (?:{_NAME} \(|[$'])|(?:backup|restore) (?:database|log)\b|dbcc \w|print '|kill 0"
    rf"|handler {_NAME} (?:open|read)|show (?:tables|databases|grants|variables|columns|processlist|full)\b"
    rf"|begin (?:[$;]|tran|transaction|declare|dbms_\w+|execute)|if \(|with {_NAME} (?:as\b|\()|values \("
    rf"|openrowset \(|explain (?:select|update|delete|insert|analyze)\b|raiserror [('0]|commit [$;]|rollback [$;]|{_NAME} : begin\b)"
)
VERBS: Final = frozenset(
    {
        "drop", "create", "alter", "truncate", "rename", "lock", "insert", "replace", "merge", "bulk", "delete", "update",
        "exec", "execute", "declare", "waitfor", "set", "copy", "call", "grant", "revoke", "attach", "pragma", "vacuum",
        "analyze", "analyse", "load", "shutdown", "reconfigure", "use", "prepare", "deallocate", "do", "backup",
        "restore", "dbcc", "print", "kill", "handler", "show", "begin", "if", "with", "values", "openrowset", "explain",
        "raiserror", "commit", "rollback",
    }
)  # fmt: skip
"""What begins a statement that is no SELECT."""
_LOOKED_AT: Final = 6
"""Tokens: `update a.b.c set` needs seven, names of three parts are nobody's."""


def is_head(verb: Token, lexer: Lexer) -> bool:
    """Tell whether a statement begins with this verb, and leave the lexer behind the verb."""
    if verb.word not in VERBS:
        return False
    behind = lexer.position
    shape = [verb.word]
    for _ in range(_LOOKED_AT):
        token = lexer.next()
        shape.append(_SHAPES.get(token.kind, token.word))
        if token.kind in (Kind.END, Kind.CUT, Kind.OPEN_STRING):
            break
    lexer.position = behind
    return _HEAD.match(" ".join(shape)) is not None
