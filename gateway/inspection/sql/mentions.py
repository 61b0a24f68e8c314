"""SQL that stands anywhere in a text: weak signs, most of them for the bolder levels only.

Each group of patterns is tried only where one of its words occurs, since most texts have none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from gateway.inspection.patterns import Pattern, compile_pattern


class _Mention(NamedTuple):
    """One kind of mention."""

    sign: str
    words: tuple[str, ...]
    pattern: Pattern


_WAIT: Final = compile_pattern(r"""(?i)waitfor[\s+]+delay[\s+]*['"@]""")
_CLOSED: Final = ("'", '"', ";", ")", "`")
_MENTIONS: Final = (
    _Mention("sql.statement", ("select",), compile_pattern(r"""(?i)\bselect\b[^;]*\bfrom\s+[\w`"\[(]""")),
    _Mention(
        "sql.statement",
        ("insert", "delete", "update", "table"),
        compile_pattern(
            r"""(?i)\binsert\s+into\s+[\w`"\[.]+\s*(?:\(|values)|\bdelete\s+from\s+[\w`"\[.]+\s+where\b"""
            r"""|\bupdate\s+[\w`"\[.]+\s+set\s+[\w`"\[.]+\s*=|\b(?:drop|truncate|alter)\s+table\s+\w|\bcreate\s+table\s+\w+\s*\("""
        ),
    ),
    _Mention(
        "sql.keywords",
        ("select", "having", "order", "group", "outfile", "dumpfile", "exec", ";", "when"),
        compile_pattern(
            r"""(?i)\bunion\b[\s/*!()\w]*\bselect\b|\b(?:select|having|order\s+by|group\s+by)\b\s*[\d(*'"@]|\binto\s+(?:out|dump)file\b"""
            r"""|\bexec(?:ute)?\s+(?:immediate\b|(?:xp|sp)_)|\bwhen\b[^.]*\bthen\b"""
            r"""|;\s*(?:select|insert|update|delete|drop|truncate|declare|replace|shutdown|waitfor)\b"""
        ),
    ),
    _Mention(
        "sql.keywords",
        ("or", "and", "union", "like", "having", "not", "as", "alter", "print"),
        compile_pattern(
            r"""(?i)['"`]\s*(?:or|and|xor|union|like|having|not|as|alter|print)\b|\b(?:or|and)\s*['"(]\s*['"\d(]|\b(?:or|and)\s+\d+\s*[=<>]"""
        ),
    ),
    _Mention(
        "sql.function_name",
        ("(",),
        compile_pattern(
            r"""(?i)\b(?:sleep|benchmark|pg_sleep|extractvalue|updatexml|load_file|concat|concat_ws|group_concat|char|chr|ascii|substr|substring|"""
            r"""mid|version|database|current_user|db_name|user|hex|unhex|conv|if|ifnull|elt|make_set|name_const|find_in_set|convert|cast|replace|"""
            r"""overlay|encode|decode|mod|div|sin|json_valid|json_extract|lo_get|lo_import|randomblob|xmltype|password|md5|sha1)\s?\("""
        ),
    ),
    _Mention(
        "sql.catalogue_name",
        ("schema", "pg_", "sqlite_", "sys", "db", "tab_columns", "sp_", "xp_", "openrowset", "northwind"),
        compile_pattern(
            r"""(?i)\b(?:information_schema|pg_catalog|pg_shadow|sqlite_master|sqlite_schema|sysobjects|syscolumns|sysdatabases|msysaccessobjects|"""
            r"""msysobjects|all_tab_columns|user_tab_columns|tempdb|msdb|northwind|schema_name|table_schema|sp_executesql|openrowset|xp_cmdshell)\b"""
        ),
    ),
)


def mentions(text: str, lowered: str) -> Iterator[tuple[str, int, int]]:
    """List what a text mentions, each kind at most once: sign, start, end."""
    if "waitfor" in lowered:
        wait = _WAIT.search(text)
        if wait:
            start, end = wait.span()
            yield "sql.delay" if text[:start].rstrip("+ \t\r\n").endswith(_CLOSED) else "sql.statement", start, end
    for mention in _MENTIONS:
        if any(word in lowered for word in mention.words):
            found = mention.pattern.search(text)
            if found:
                yield mention.sign, *found.span()
