"""Read a text as the rest of a SQL statement, and say what it would do there.

A value that has got out of its place (or that stands in none) must go on as SQL, or the server answers with an error and nothing
else happens. This reader keeps two states, an operand is awaited or an operator is, and a stack of what is open: one pass, no
recursion, no backtracking. What is cut off at the end of the text is no error, since the application's own statement goes on there.
"""

from __future__ import annotations

from typing import Final

from gateway.inspection.sql.facts import Continuation, Ending, Fact, First
from gateway.inspection.sql.lexis import Kind, Lexer, Token
from gateway.inspection.sql.lookahead import is_called, is_compared, is_nested, is_plural, is_procedure, is_text
from gateway.inspection.sql.statements import is_head
from gateway.inspection.sql.words import (
    ARGUMENT_WORDS,
    ARITHMETIC_WORDS,
    BEFORE_OPERAND,
    CATALOGUES,
    CLAUSES,
    COMPARING,
    COMPARISONS,
    CONSTANTS,
    DELAYS,
    FUNCTIONS,
    JOINING,
    LITERALS,
    LOGICAL,
    NO_ALIAS,
    PROBES,
    RESERVED,
    SCHEMAS,
    SERVER_VARIABLES,
    SET_OPERATORS,
    STRING_FUNCTIONS,
    TELLING,
    TYPES,
    UNSEPARATED,
)

_SIGNS: Final = frozenset(("-", "+", "~", "!"))
"""Operators that stand before one operand."""
_DELIMITED_MAX: Final = 64
"""Characters of a name in brackets (SQL Server's longest has 128; an array's subscript none of them)."""
_WORDS_IN_A_ROW: Final = 3
"""`delete from cart c`, `create user eve identified`: what a grammar puts side by side; a sentence goes on."""


class Reader:
    """Reads one text from one place in one of the two states."""

    __slots__ = (
        "_aliased",
        "_between",
        "_branches",
        "_compared",
        "_computed",
        "_first_order",
        "_fresh",
        "_joined",
        "_leads",
        "_lexer",
        "_modes",
        "_named",
        "_origin",
        "_pending",
        "_previous",
        "_selected",
        "_strings",
        "_term",
        "_term_kind",
        "_wanted",
        "seen",
    )  # fmt: skip

    def __init__(self, text: str, position: int, *, escapes: bool, operand: bool) -> None:
        """Begin at `position`, where an operand is awaited or, behind one, an operator."""
        self._lexer = Lexer(text, position, escapes=escapes)
        self._wanted = self._leads = operand
        self._fresh = operand
        """A SELECT may stand here: at the beginning, behind a parenthesis, behind UNION."""
        self._modes: list[str] = ["text"]
        """What is open: text, paren, call, list (of a SELECT), from, order, case, brace, bracket."""
        self._joined = False
        self._compared = False
        self._computed = False
        self._named = False
        self._selected = False
        self._between = 0
        self._strings = 0
        """How many calls are open that make a string of their arguments."""
        self._branches = False
        """The statement behind a semicolon begins with IF, as the code of other languages does."""
        self._term = position
        self._term_kind: Kind | None = None
        self._previous: Token = Token(Kind.END if operand else Kind.STRING, "", position, position)
        self._aliased = False
        self._pending = False
        """A SELECT has begun whose first item is a plain word or still to come."""
        self._origin = (Fact.SELECT, Fact.SELECT_WORDS)
        self._first_order = False
        self.seen = Continuation(stop=position)

    def read(self, budget: int) -> Continuation:
        """Read until the end or until no server would, at most `budget` tokens."""
        seen = self.seen
        while True:
            budget -= 1
            if budget < 0:
                seen.ending = Ending.ENDLESS
                break
            token = self._lexer.next()
            seen.stop = token.start
            if token.kind is Kind.END:
                break
            if token.kind is Kind.CUT:
                awaited = (
                    self._wanted
                    and self._previous.word != ","
                    and (seen.operands > 0 or seen.first is not First.NOTHING)
                )
                seen.ending = Ending.ERROR if awaited else Ending.CUT
                seen.cut = token.start
                break
            if not (self._operand(token) if self._wanted else self._operator(token)):
                seen.ending = Ending.ERROR
                break
            self._previous = token
            if token.kind is Kind.OPEN_STRING:
                seen.ending = Ending.OPEN
                seen.string = token.start
                break
        if seen.ending is not Ending.ERROR or not self._wanted:
            self._close_term(seen.stop)
        seen.comments = self._lexer.comments
        seen.lines = self._lexer.lines
        return seen

    # --- what is told

    def _tell(self, fact: Fact, start: int) -> None:
        """Note a fact at the first place it is seen."""
        self.seen.facts.setdefault(fact, (start, self._lexer.position))

    def _begin_term(self, token: Token, *, joined: bool) -> None:
        """Begin a condition behind a connective."""
        self._close_term(token.start)
        self._joined = joined
        self._term = token.start
        self._aliased = False
        self._wanted = True

    def _close_term(self, end: int) -> None:
        """Judge the condition that ends here, and forget it."""
        if self._joined and self._term_kind is not None:
            if self._compared:
                fact = Fact.CONDITION if self._named or self._selected else Fact.TAUTOLOGY
            elif self._computed:
                fact = Fact.CONDITION
            elif self._named:
                fact = Fact.JOINED_NAME
            elif self._term_kind is Kind.NUMBER:
                fact = Fact.JOINED_NUMBER
            else:
                fact = Fact.JOINED_TEXT
            self.seen.facts.setdefault(fact, (self._term, end))
        self._joined = self._compared = self._computed = self._named = self._selected = False
        self._term_kind = None

    def _took(self, kind: Kind, *, solid: bool) -> bool:
        """Note an operand; a `solid` one is nothing that prose would put behind SELECT."""
        self._wanted = self._fresh = False
        self._aliased = False
        seen = self.seen
        if seen.operands == 0 and seen.first is First.NOTHING and self._leads:
            seen.left = kind
        seen.operands += 1
        if kind is Kind.NUMBER:
            seen.numbers += 1
        elif kind is Kind.WORD:
            seen.names += 1
        if self._term_kind is None:
            self._term_kind = kind
        if solid:
            self._selects_something()
        if self._first_order:
            self._first_order = False
            self._tell(Fact.ORDINAL if kind is Kind.NUMBER else Fact.CLAUSE, self._term)
        return True

    def _selects_something(self) -> None:
        """Note that what a SELECT begins with is no plain word."""
        if self._pending and self._modes[-1] == "list":
            self._pending = False
            self._tell(self._origin[0], self._term)

    # --- operands

    def _operand(self, token: Token) -> bool:
        """Take a token where an operand is awaited."""
        match token.kind:
            case Kind.NUMBER | Kind.STRING | Kind.OPEN_STRING:
                return self._took(token.kind, solid=True)
            case Kind.NAME:
                self._named = True
                return self._took(Kind.WORD, solid=True)
            case Kind.VARIABLE:
                self._named = True
                if token.word in SERVER_VARIABLES:
                    self._tell(Fact.SERVER_VARIABLE, token.start)
                return self._took(Kind.VARIABLE, solid=True)
            case Kind.WORD:
                return self._operand_word(token)
            case Kind.OPERATOR:
                if token.word in _SIGNS:
                    self._fresh = False
                    return True
                return token.word == "*" and self._modes[-1] in ("list", "call") and self._star()
            case _:
                return self._operand_mark(token)

    def _star(self) -> bool:
        """`*` where all columns may stand."""
        self._named = True
        return self._took(Kind.NAME, solid=True)

    def _operand_mark(self, token: Token) -> bool:
        """Take a mark where an operand is awaited."""
        mark = token.word
        if mark == "(":
            self._selects_something()
            self._modes.append("paren")
            self._fresh = True
            return True
        if mark == ")" and self._modes[-1] == "call" and self._previous.word == "(":
            self._modes.pop()
            return self._took(Kind.NAME, solid=True)
        if mark == "{":
            self._modes.append("brace")
            return self._lexer.next().kind is Kind.WORD
        if mark == "[":
            return self._bracketed(token)
        return False

    def _bracketed(self, token: Token) -> bool:
        """Take `[name]` (SQL Server), or the beginning of an array's elements."""
        if self._previous.word == "array":
            self._modes.append("bracket")
            return True
        text = self._lexer.text
        close = text.find("]", token.end, token.end + _DELIMITED_MAX)
        if close < 0:
            return False
        self._lexer.position = close + 1
        self._named = True
        return self._took(Kind.WORD, solid=False)

    def _operand_word(self, token: Token) -> bool:
        """Take a word where an operand is awaited."""
        word = token.word
        if word == "select":
            return self._select(token)
        if word in BEFORE_OPERAND:
            self._fresh = word in ("exists", "all", "any", "some")
            return True
        if word == "case":
            self._selects_something()
            self._modes.append("case")
            return True
        if word == "when" and self._modes[-1] == "case":
            self._begin_term(token, joined=True)
            return True
        if word == "array":
            mark = self._lexer.position
            if self._lexer.next().word == "[":
                self._modes.append("bracket")
                self._previous = token
                return True
            self._lexer.position = mark
        if word in LITERALS and not is_called(self._lexer):
            if self._joined and self._term_kind is None and word in ("true", "false"):
                self._tell(Fact.JOINED_TRUTH, self._term)
            return self._took(Kind.NUMBER if word == "null" else Kind.VARIABLE, solid=word == "null")
        if word in RESERVED and not is_called(self._lexer):
            return self._begins_text(token)
        if word == "begin" and self._begins_text(token):
            return True
        return self._name(token)

    def _begins_text(self, token: Token) -> bool:
        """Take a statement that is no SELECT at the very beginning of the text."""
        if (
            not self._leads
            or self.seen.operands
            or self.seen.first is not First.NOTHING
            or not is_head(token, self._lexer)
        ):
            return False
        return self._statement(token, Fact.STATEMENT)

    def _name(self, token: Token) -> bool:
        """Take a name of one or more parts, and the parenthesis of a call."""
        start = token.start
        word = token.word
        if word in CATALOGUES:
            self._tell(Fact.CATALOGUE, start)
        dotted = False
        probing = word in PROBES
        while True:
            behind = self._lexer.position
            following = self._lexer.next()
            if following.word != "." or following.kind is not Kind.MARK:
                break
            part = self._lexer.next()
            while part.word == "." and part.kind is Kind.MARK:
                part = self._lexer.next()
            if part.kind not in (Kind.WORD, Kind.NAME) and part.word != "*":
                return False
            if part.word in CATALOGUES:
                self._tell(Fact.CATALOGUE, start)
            if not dotted and token.word not in SCHEMAS:
                probing = False
                dotted = True
            word = part.word
            probing = probing or (word in PROBES and not dotted)
        if following.word == "(" and following.kind is Kind.MARK:
            self._named = self._named or dotted
            return self._call("" if dotted else word, token, following, probing=probing)
        self._lexer.position = behind
        if word in CONSTANTS and self._modes[-1] != "from":
            self._computed = True
            if word in TELLING and word != "user":
                self._tell(Fact.TELLING, start)
            return self._took(Kind.WORD, solid=word not in TELLING)
        self._named = True
        if probing:
            self._tell(Fact.PROBE_NAME, start)
        return self._took(Kind.WORD, solid=False)

    def _call(self, word: str, token: Token, parenthesis: Token, *, probing: bool) -> bool:
        """Take the head of a function's call."""
        behind = self._lexer.position
        argument = self._lexer.next()
        self._lexer.position = behind
        empty = argument.word == ")"
        if is_plural(self._lexer):
            return False
        self._computed = True
        self._named = self._named or not (word in FUNCTIONS or probing or word in DELAYS)
        solid = not empty and (argument.kind is not Kind.WORD or is_nested(self._lexer))
        if solid and (word in DELAYS or (probing and token.word.startswith("dbms_"))):
            self._tell(Fact.DELAY, token.start)
        if probing and (solid or self._modes[-1] != "text"):
            self._tell(Fact.PROBE, token.start)
        if word in TELLING and empty:
            self._tell(Fact.TELLING, token.start)
            if self._strings:
                self._tell(Fact.TOLD, token.start)
        self._tell(Fact.CALL, token.start)
        self._took(Kind.NAME, solid=True)
        if word in STRING_FUNCTIONS:
            self._modes.append("string")
            self._strings += 1
        self._modes.append("call")
        self._previous = parenthesis
        self._wanted = True
        self._fresh = True
        if empty:
            self._lexer.next()
            self._modes.pop()
            if self._modes[-1] == "string":
                self._modes.pop()
                self._strings -= 1
            self._wanted = self._fresh = False
        return True

    def _select(self, token: Token) -> bool:
        """Take SELECT, where one may stand, and what it says of rows."""
        if not self._fresh:
            return False
        self._leads = False
        if self._modes[-1] == "text" and self._origin[0] is not Fact.UNION and self.seen.operands == 0:
            self._origin = (Fact.SELECT, Fact.SELECT_WORDS)
        elif self._origin[0] is not Fact.UNION or self._modes[-1] in ("paren", "call"):
            self._origin = (Fact.SUBQUERY, Fact.SUBQUERY_WORDS)
        if self._modes[-1] == "text":
            self._modes[-1] = "list"
        else:
            self._modes.append("list")
        self._computed = self._selected = True
        self._pending = True
        self._aliased = False
        self._fresh = False
        self._term = min(self._term, token.start)
        behind = self._lexer.position
        following = self._lexer.next()
        while following.word in ("distinct", "all", "distinctrow", "sql_calc_found_rows", "high_priority", "top"):
            if following.word == "top":
                behind = self._lexer.position
                if self._lexer.next().kind is not Kind.NUMBER:
                    break
            behind = self._lexer.position
            following = self._lexer.next()
        self._lexer.position = behind
        return True

    # --- operators

    def _operator(self, token: Token) -> bool:
        """Take a token where an operator is awaited."""
        seen = self.seen
        match token.kind:
            case Kind.STRING | Kind.OPEN_STRING:
                if self._previous.kind is Kind.STRING:
                    if seen.first is First.NOTHING:
                        seen.first = First.STRING
                    return True
                return self._modes[-1] == "list" and self._alias(token)
            case Kind.NAME:
                return self._modes[-1] in ("list", "from") and self._alias(token)
            case Kind.WORD:
                return self._operator_word(token)
            case Kind.OPERATOR:
                return self._operator_sign(token)
            case Kind.MARK:
                return self._operator_mark(token)
            case _:
                return False

    def _alias(self, token: Token) -> bool:
        """Take a second name behind a column or a table, which servers read as AS."""
        behind_query = self._previous.word == ")"
        if self._aliased or self._previous.word in NO_ALIAS or (token.word in NO_ALIAS and not behind_query):
            return False
        self._aliased = True
        return True

    def _begins_with(self, first: First) -> None:
        """Note what the text begins with."""
        if self.seen.first is First.NOTHING:
            self.seen.first = first

    def _operator_sign(self, token: Token) -> bool:
        """Take an operator of signs."""
        sign = token.word
        self.seen.operators += 1
        if sign in ("||", "&&"):
            self._begins_with(First.LOGICAL if sign == "&&" else First.CONCATENATION)
            self._begin_term(token, joined=True)
            self._fresh = False
            return True
        if sign == "::":
            return self._cast()
        if sign in COMPARISONS:
            if sign.startswith("?") and not is_text(self._lexer):
                return False
            self._begins_with(First.COMPARISON)
            self._compared = True
        elif sign == "!":
            return False
        else:
            self._begins_with(First.ARITHMETIC)
            if self.seen.operands == 1:
                self.seen.left_alone = False
        self._wanted = True
        return True

    def _cast(self) -> bool:
        """Take the type behind `::` (PostgreSQL)."""
        self._begins_with(First.ARITHMETIC)
        following = self._lexer.next()
        if following.word in TYPES:
            self._tell(Fact.CAST, self._previous.start)
        behind = self._lexer.position
        if following.word == "double" and self._lexer.next().word != "precision":
            self._lexer.position = behind
        return following.kind in (Kind.WORD, Kind.NAME)

    def _operator_mark(self, token: Token) -> bool:
        """Take a mark where an operator is awaited."""
        mark = token.word
        if mark == ")":
            return self._close()
        if mark == ",":
            self._begins_with(First.COMMA)
            self._close_term(token.start)
            self._wanted = True
            self._aliased = False
            return True
        if mark == ";":
            self._begins_with(First.SEMICOLON)
            self._close_term(token.start)
            return self._stack(token)
        if mark == "[":
            self._modes.append("bracket")
            self._wanted = True
            return self._previous.kind is not Kind.STRING
        if mark in "]}":
            wanted = "bracket" if mark == "]" else "brace"
            if wanted not in self._modes:
                return False
            while self._modes.pop() != wanted:
                pass
            return True
        return mark == "(" and self._modes[-1] == "from" and self._open_columns()

    def _open_columns(self) -> bool:
        """Take the columns of a table that has been named."""
        self._modes.append("paren")
        self._wanted = True
        return True

    def _close(self) -> bool:
        """Take a closing parenthesis: of ours, or of the application's when none of ours is open."""
        while len(self._modes) > 1:
            closed = self._modes.pop()
            if closed in ("paren", "call"):
                if self._modes[-1] == "string":
                    self._modes.pop()
                    self._strings -= 1
                return True
            self._pending = False
        self._close_term(self._lexer.position)
        self._modes[-1] = "text"
        return True

    def _operator_word(self, token: Token) -> bool:
        """Take a word where an operator is awaited."""
        word = token.word
        mode = self._modes[-1]
        if word in LOGICAL:
            self.seen.operators += 1
            self._begins_with(First.LOGICAL)
            if word == "and" and self._between:
                self._between -= 1
                self._wanted = True
                return True
            self._begin_term(token, joined=True)
            return True
        if word in COMPARING or word in ("isnull", "notnull"):
            return self._comparison(word)
        if word == "not":
            following = self._lexer.next()
            return following.word in COMPARING and self._comparison(following.word)
        if word in ARITHMETIC_WORDS or (word == "as" and self.seen.operands):
            self._begins_with(First.ARITHMETIC)
            self._wanted = True
            return True
        if word in SET_OPERATORS:
            return self._set_operator(token)
        if word in CLAUSES:
            return self._clause(token)
        if mode == "case" and word in ("when", "then", "else", "end"):
            return self._case(token)
        if word in JOINING and "from" in (mode, self._modes[0]):
            self._wanted = word in ("join", "straight_join")
            self._aliased = True
            return True
        if word in ("asc", "desc"):
            return mode in ("order", "text") and self._direction()
        if word in ARGUMENT_WORDS and (mode == "call" or "call" in self._modes):
            self._wanted = True
            return True
        if self._word_statement(token):
            return True
        return mode in ("list", "from") and word not in RESERVED and self._alias(token)

    def _direction(self) -> bool:
        """ASC and DESC change nothing that is awaited."""
        self._aliased = True
        return True

    def _comparison(self, word: str) -> bool:
        """Take a comparison that is a word."""
        self._begins_with(First.COMPARISON)
        self._compared = True
        self._wanted = word not in ("isnull", "notnull")
        if word == "between":
            self._between += 1
        if word in ("sounds", "similar"):
            return self._lexer.next().word in ("like", "to")
        return word in ("glob", "match", "isnull", "notnull") or is_compared(self._lexer, word)

    def _set_operator(self, token: Token) -> bool:
        """Take UNION [ALL] SELECT and its relations, also with the second SELECT in parentheses."""
        self._begins_with(First.CLAUSE)
        self._close_term(token.start)
        following = self._lexer.next()
        if following.word in ("all", "distinct", "distinctrow"):
            following = self._lexer.next()
        while following.word == "(" and following.kind is Kind.MARK:
            self._modes.append("paren")
            following = self._lexer.next()
        if following.kind in (Kind.END, Kind.CUT):
            self._lexer.position = following.start
            return True
        if following.word == "values":
            self._tell(Fact.UNION, token.start)
            self._wanted = True
            return True
        if following.word == "table" and self.seen.left is Kind.NUMBER:
            return self._whole_table(token)
        if following.word != "select":
            return False
        if self._modes[-1] == "paren":
            self._modes.append("list")
        else:
            self._modes[-1] = "list"
        self._origin = (Fact.UNION, Fact.UNION_WORDS)
        self._tell(Fact.UNION_WORDS, token.start)
        self._term = token.start
        self._pending = True
        self._aliased = False
        self._wanted = True
        behind = self._lexer.position
        if self._lexer.next().word not in ("all", "distinct"):
            self._lexer.position = behind
        return True

    def _whole_table(self, union: Token) -> bool:
        """Take TABLE with a name and nothing behind it; the students' union has tables, too."""
        name = self._lexer.next()
        behind = self._lexer.position
        ending = self._lexer.next()
        self._lexer.position = behind
        if name.kind is not Kind.WORD or ending.kind not in (Kind.END, Kind.CUT):
            return False
        self._tell(Fact.UNION, union.start)
        return self._took(Kind.WORD, solid=False)

    def _case(self, token: Token) -> bool:
        """Take the parts of CASE."""
        word = token.word
        if word == "end":
            self._close_term(token.start)
            self._modes.pop()
            return True
        if word == "then":
            self._tell(Fact.CASE, self._term)
        self._begin_term(token, joined=word == "when")
        return True

    def _clause(self, token: Token) -> bool:
        """Take FROM, WHERE, ORDER BY and what else follows in a SELECT."""
        word = token.word
        mode = self._modes[-1]
        if word == "from":
            return self._from(token)
        if word == "into":
            return self._into(token)
        if mode == "call" and word == "for":
            self._wanted = True
            return True
        self._begins_with(First.CLAUSE)
        if word == "where":
            if mode not in ("from", "text"):
                return False
            self._begin_term(token, joined=False)
            return True
        if word == "having":
            self._begin_term(token, joined=True)
            return True
        if word in ("on", "using"):
            if mode != "from":
                return mode == "call" and self._want()
            self._begin_term(token, joined=False)
            return True
        if word == "for":
            return self._lexer.next().word in ("update", "share", "xml", "json", "browse")
        if word == "procedure":
            following = self._lexer.next()
            if following.word not in ("analyse", "analyze"):
                return False
            self._tell(Fact.PROBE, token.start)
            return self._name(following)
        return self._ordering(token)

    def _want(self) -> bool:
        """Await an operand."""
        self._wanted = True
        return True

    def _ordering(self, token: Token) -> bool:
        """Take ORDER BY, GROUP BY, LIMIT, OFFSET, FETCH."""
        word = token.word
        if word in ("order", "group") and self._lexer.next().word != "by":
            return False
        if word == "fetch":
            return self._lexer.next().word in ("next", "first")
        self._close_term(token.start)
        if self._modes[-1] in ("list", "from", "text"):
            self._modes[-1] = "order"
        self._term = token.start
        self._first_order = len(self._modes) == 1 and word in ("order", "group")
        self._wanted = True
        return True

    def _from(self, token: Token) -> bool:
        """Take FROM, in a SELECT that has named its columns, or as a word between arguments."""
        mode = self._modes[-1]
        if mode == "call":
            self._wanted = True
            return True
        if mode != "list":
            return False
        if self._pending:
            self._pending = False
            self._tell(self._origin[1], self._term)
        self._tell(Fact.TABLE, token.start)
        self._close_term(token.start)
        self._modes[-1] = "from"
        self._wanted = True
        self._aliased = False
        return True

    def _into(self, token: Token) -> bool:
        """Take INTO, which writes results away."""
        self._begins_with(First.CLAUSE)
        behind = self._lexer.position
        following = self._lexer.next()
        if following.word in ("outfile", "dumpfile"):
            self._tell(Fact.INTO_FILE, token.start)
        elif following.kind is Kind.VARIABLE:
            self._tell(Fact.INTO_FILE, token.start)
            self._lexer.position = behind
        elif self._modes[-1] == "list":
            self._lexer.position = behind
        else:
            return False
        self._wanted = True
        return True

    # --- statements behind the first

    def _word_statement(self, token: Token) -> bool:
        """Take a statement that SQL Server begins without a semicolon, and a delay that stands where no operator does."""
        word = token.word
        if word != "waitfor" and self._leads and self.seen.left is not Kind.NUMBER:
            return False
        detached = token.start > self._previous.end or self._previous.kind is not Kind.STRING
        if word in UNSEPARATED and (detached or word == "waitfor"):
            if word.startswith("exec") and not is_procedure(self._lexer):
                return False
            return is_head(token, self._lexer) and self._statement(token, Fact.STACKED)
        if (
            word == "select"
            and detached
            and self.seen.operands == 0
            and self.seen.first is First.NOTHING
            and not self._leads
        ):
            return self._stacked_select(token)
        if (
            word in DELAYS
            and self.seen.operands == 0
            and detached
            and self._previous.kind is Kind.STRING
            and is_called(self._lexer)
        ):
            self._tell(Fact.DELAY, token.start)
            return self._name(token)
        return False

    def _stack(self, token: Token) -> bool:
        """Take what follows a semicolon: another statement, or the end."""
        self._modes[:] = ["text"]
        following = self._lexer.next()
        while following.word in (";", ")") and following.kind is Kind.MARK:
            following = self._lexer.next()
        if following.kind in (Kind.END, Kind.CUT):
            self._lexer.position = following.start
            self._tell(Fact.TERMINATED, token.start)
            return True
        if following.word == "(":
            following = self._lexer.next()
        if following.word == "select":
            self._tell(Fact.STACKED_SELECT, token.start)
            return self._stacked_select(token)
        if following.word in PROBES and is_called(self._lexer):
            self._modes.append("paren")
            return self._name(following)
        if following.word in DELAYS and is_called(self._lexer):
            self._tell(Fact.DELAY, following.start)
            return self._name(following)
        if following.word == "waitfor":
            self._tell(Fact.DELAY, following.start)
        self._branches = following.word == "if"
        return is_head(following, self._lexer) and self._statement(token, Fact.STACKED)

    def _stacked_select(self, token: Token) -> bool:
        """Read on in a SELECT that is a statement of its own."""
        self._modes[:] = ["list"]
        self._origin = (Fact.STACKED, Fact.STACKED_WORDS)
        self._pending = True
        self._term = token.start
        self._wanted = True
        return True

    def _statement(self, token: Token, fact: Fact) -> bool:
        """Read the rest of a statement loosely: no two plain words stand side by side in it but those of its grammar."""
        branching = token.word == "if" or self._branches
        if not branching:
            self._tell(fact, token.start)
        if token.word == "waitfor":
            self._tell(Fact.DELAY, token.start)
        words = 0
        ended = False
        allowed = 1 if self.seen.left in (Kind.WORD, Kind.END) and self._leads else _WORDS_IN_A_ROW
        lexer = self._lexer
        while True:
            behind = lexer.position
            following = lexer.next()
            kind = following.kind
            if kind is Kind.WORD:
                word = following.word
                if word in PROBES or word.startswith(("xp_", "sp_")):
                    self._tell(Fact.PROBE, following.start)
                elif word == "waitfor":
                    self._tell(Fact.DELAY, following.start)
                elif branching and word != "if" and is_head(following, lexer):
                    self._tell(fact, following.start)
                elif word in CATALOGUES:
                    self._tell(Fact.CATALOGUE, following.start)
                words = 0 if word in RESERVED else words + 1
                if words > allowed:
                    lexer.position = behind
                    return False
                continue
            words = 0
            if kind is Kind.VARIABLE and following.word in SERVER_VARIABLES:
                self._tell(Fact.SERVER_VARIABLE, following.start)
            if kind is Kind.FOREIGN:
                lexer.position = behind
                return False
            ended = following.word == ";" or (ended and kind is Kind.CUT)
            if kind in (Kind.END, Kind.CUT, Kind.OPEN_STRING):
                lexer.position = behind
                if ended:
                    self._tell(Fact.TERMINATED, following.start)
                self._wanted = kind is Kind.OPEN_STRING
                self._term_kind = None
                return True
