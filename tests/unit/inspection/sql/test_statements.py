"""Heads of statements, and sentences that begin with the same verbs."""

import pytest

from gateway.inspection.sql.lexis import Lexer
from gateway.inspection.sql.statements import is_head


def begins(text: str) -> bool:
    lexer = Lexer(text, 0, escapes=True)
    return is_head(lexer.next(), lexer)


@pytest.mark.parametrize(
    "text",
    [
        "drop table users",
        "DROP/**/TABLE users",
        "insert into a values (1)",
        "update users set a=1",
        "update a.b set c = 1",
        "delete from users",
        "exec xp_cmdshell 'x'",
        "exec master..xp_cmdshell @c",
        "execute immediate 'x'",
        "declare @q varchar(9)",
        "waitfor delay '0:0:5'",
        "set @a=1",
        "copy t from program 'x'",
        "grant all on x to y",
        "truncate table x",
        "truncate x;",
        "shutdown",
        "use master;",
        "create user x",
        "alter table x add y int",
        "attach database 'x' as y",
        "prepare b from @a",
        "load data infile 'x'",
        "begin declare @x int",
        "if (1=1) select 1",
    ],
)
def test_statement_is_known_by_its_head(text: str) -> None:
    assert begins(text)


@pytest.mark.parametrize(
    "text",
    [
        "drop me a line",
        "update me please",
        "update cart set quantity",
        "declare bankruptcy",
        "declare @john a winner",
        "call me (maybe)",
        "set in stone",
        "grant smith",
        "use the stairs",
        "use less",
        "do not disturb",
        "create space",
        "copy that",
        "if only",
        "begin again",
        "show me",
        "print this",
        "kill time",
        "load more",
        "hello",
    ],
)
def test_sentence_with_the_same_verb_is_none(text: str) -> None:
    assert not begins(text)


def test_lexer_stands_behind_the_verb_afterwards() -> None:
    lexer = Lexer("drop table users", 0, escapes=True)
    is_head(lexer.next(), lexer)
    assert lexer.next().word == "table"
