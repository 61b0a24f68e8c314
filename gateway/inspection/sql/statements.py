"""How a statement begins: enough of its head to tell it from a sentence that begins with the same verb.

The head is judged on the *shape* of its first tokens: words as they are, every literal, variable and mark as one letter.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.inspection.sql.lexis import Kind, Lexer, Token

_SHAPES: Final = {
    Kind.END: "$",
    Kind.CUT: "%",
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
_TYPE: Final = "(?:as|table|cursor|n?(?:var)?(?:char|binary)|(?:big|small|tiny)?int|bit|sysname|datetime|float|[$%,=])"
_HEADS: Final = (
    rf"(?:drop|create|alter) {_OBJECT}\b",
    rf"truncate (?:table\b|{_NAME} [%;'\[])",
    r"rename (?:table|user)\b",
    r"lock tables?\b",
    r"(?:insert|replace|merge) (?:into|ignore|overwrite)\b",
    r"(?:bulk insert|insert or (?:replace|ignore|abort|rollback|fail))\b",
    rf"replace {_NAME} \(",
    r"delete from\b",
    rf"update only\b|update {_NAME} set {_NAME} [=(]",  # noqa: S608 - a pattern of statements, and none itself
    rf"exec(?:ute)? (?:immediate\b|[@'$%]|\( [@']|[xs]p_|{_NAME} (?:[%;'@0,(]|using\b))",
    rf"declare (?:@ {_TYPE}|{_NAME} (?:cursor|number|varchar2?|int|integer|text)\b)",
    r"waitfor (?:delay|time)\b",
    rf"set (?:@|{_NAME} (?:=|:=|to\b))",
    rf"copy (?:{_NAME} (?:from|to|\()|\()",
    rf"call (?:\w+ \. {_NAME} \(|{_NAME} \( [)'@])",
    rf"(?:grant|revoke) {_NAME} (?:on|to|from|,|privileges)",
    r"(?:attach|detach) (?:database\b|')",
    rf"(?:notify|listen) {_NAME} [%;]",
    rf"pragma {_NAME} [$%;=(]",
    r"vacuum (?:[$%;]|into\b)",
    r"(?:analy[zs]e|reconfigure|commit|rollback) [%;]",
    r"load (?:data|xml)\b",
    r"shutdown (?:[$%;]|with)",
    rf"use {_NAME} [%;]",
    rf"prepare {_NAME} (?:from|as|\()",
    r"deallocate prepare\b",
    rf"do (?:{_NAME} \(|')",
    r"(?:backup|restore) (?:database|log)\b",
    r"dbcc \w",
    rf"desc(?:ribe)? {_NAME} [%;]",
    r"print '",
    r"kill 0",
    rf"handler {_NAME} (?:open|read)",
    r"show (?:(?:databases|grants|variables|processlist)\b|(?:full )?(?:tables|columns) (?:[%;]|from|in|like))",
    r"begin (?:[%;]|tran|transaction|declare|dbms_\w+|execute)",
    r"if \(",
    rf"with {_NAME} (?:as\b|\()",
    r"(?:values|openrowset) \(",
    r"explain (?:select|update|delete|insert|analyze)\b",
    r"raiserror [('0]",
)
_HEAD: Final = re.compile("|".join(_HEADS))
VERBS: Final = frozenset(
    {
        "drop", "create", "alter", "truncate", "rename", "lock", "insert", "replace", "merge", "bulk", "delete", "update",
        "exec", "execute", "declare", "waitfor", "set", "copy", "call", "grant", "revoke", "attach", "detach", "notify", "listen", "pragma", "vacuum",
        "analyze", "analyse", "load", "shutdown", "reconfigure", "use", "prepare", "deallocate", "do", "backup",
        "restore", "dbcc", "desc", "describe", "print", "kill", "handler", "show", "begin", "if", "with", "values", "openrowset", "explain",
        "raiserror", "commit", "rollback",
    }
)  # fmt: skip
"""What begins a statement that is no SELECT."""
_LOOKED_AT: Final = 9
"""Tokens: `update a.b.c set d =` needs them."""


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
