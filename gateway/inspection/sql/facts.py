"""What a text does as the rest of a statement: the facts that a reading tells, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from gateway.inspection.sql.lexis import Kind


class Ending(Enum):
    """How the reading came to its end."""

    END = auto()
    """In code, at the end of the text."""
    OPEN = auto()
    """In a string, which the application's own quotation mark closes."""
    CUT = auto()
    """In a comment, which cuts off what the application had left."""
    ERROR = auto()
    """At something that no server takes there."""
    ENDLESS = auto()
    """Nowhere: there was more than is read."""


class First(Enum):
    """What the text begins with, behind the place it has left."""

    NOTHING = auto()
    LOGICAL = auto()
    COMPARISON = auto()
    ARITHMETIC = auto()
    CONCATENATION = auto()
    """`||`, which joins conditions in MySQL."""
    STRING = auto()
    COMMA = auto()
    CLAUSE = auto()
    SEMICOLON = auto()


class Fact(Enum):
    """What the statement does that the application did not ask for."""

    TABLE = auto()
    """A SELECT names where from."""
    TAUTOLOGY = auto()
    """A condition is joined whose truth the data do not decide."""
    CONDITION = auto()
    """A condition on the data is joined."""
    JOINED_TRUTH = auto()
    """A truth value is joined as a condition."""
    JOINED_NUMBER = auto()
    """A number is joined as a condition."""
    JOINED_TEXT = auto()
    """A string is joined as a condition."""
    JOINED_NAME = auto()
    """A column is joined as a condition."""
    UNION = auto()
    """A second SELECT is added, of things that are no plain words."""
    UNION_WORDS = auto()
    """A second SELECT is added, of plain words."""
    SUBQUERY = auto()
    """A SELECT stands in parentheses, of things that are no plain words."""
    SUBQUERY_WORDS = auto()
    """A SELECT stands in parentheses, of plain words from something."""
    SELECT = auto()
    """The text is a SELECT, of things that are no plain words."""
    SELECT_WORDS = auto()
    """The text is a SELECT, of plain words from something."""
    STATEMENT = auto()
    """The text is another statement."""
    STACKED = auto()
    """Another statement begins behind the first."""
    STACKED_SELECT = auto()
    """A SELECT of anything begins behind the first statement."""
    STACKED_WORDS = auto()
    """A SELECT of plain words begins behind the first statement."""
    TERMINATED = auto()
    """The statement is ended, and nothing follows."""
    DELAY = auto()
    """The server is told to wait."""
    PROBE_NAME = auto()
    """The name of such a function stands where a column's should."""
    PROBE = auto()
    """A function or procedure is called that tells about the server or reaches beyond it."""
    CATALOGUE = auto()
    """A table of names of the server is named."""
    TELLING = auto()
    """A function without arguments that tells about the server is called."""
    TOLD = auto()
    """What such a function tells is made part of a string."""
    CALL = auto()
    """Any other function is called."""
    SERVER_VARIABLE = auto()
    """`@@version` and its like."""
    ORDINAL = auto()
    """Results are ordered or grouped by a column's number, or limited."""
    CLAUSE = auto()
    """ORDER BY, GROUP BY, HAVING or LIMIT with anything else."""
    INTO_FILE = auto()
    """Results are written to a file or into a variable."""
    CASE = auto()
    """A value is chosen by a condition."""
    CAST = auto()
    """A type is forced (PostgreSQL), which makes an error tell the value."""


@dataclass(slots=True)
class Continuation:
    """What was read."""

    ending: Ending = Ending.END
    stop: int = 0
    """Where the reading came to its end."""
    first: First = First.NOTHING
    facts: dict[Fact, tuple[int, int]] = field(default_factory=dict)
    """Each with the first place it was seen at."""
    left: Kind = Kind.END
    """What the text begins with when an operand was awaited."""
    left_alone: bool = True
    """The text begins with one operand, and the first thing behind it is no arithmetic."""
    operands: int = 0
    cut: int = 0
    """Where the comment begins that cuts off the rest; meaningful when `ending` is CUT."""
    string: int = 0
    """Where the string begins that is open; meaningful when `ending` is OPEN."""
    numbers: int = 0
    names: int = 0
    operators: int = 0
    """But commas."""
    comments: int = 0
    """Comments that stood for white space."""
    lines: int = 0
    """Comments to the end of a line with more lines behind them."""

    @property
    def is_whole(self) -> bool:
        """Tell whether a server would take all of the text."""
        return self.ending not in (Ending.ERROR, Ending.ENDLESS)
