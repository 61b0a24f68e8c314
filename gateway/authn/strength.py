"""How hard a password is to guess: an estimate for the person, and a least score for the operator.

The estimate is zxcvbn's (D. Wheeler, USENIX Security 2016): dictionaries, names, dates, rows of keys, repetitions,
and the words of the account itself. It looks at the first 100 characters and says nothing about breaches.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from zxcvbn_rs_py import Warning as Found
from zxcvbn_rs_py import zxcvbn

from gateway.exchange.marked import marked

BEST: Final = 4
_OTHERWISE: Final = marked("It is easy to guess. Several words that have nothing to do with each other are better.")
_ADVICE: Final = (
    (Found.StraightRowsOfKeysAreEasyToGuess, marked("Rows of keys are easy to guess.")),
    (Found.ShortKeyboardPatternsAreEasyToGuess, marked("Patterns on the keyboard are easy to guess.")),
    (Found.RepeatsLikeAaaAreEasyToGuess, marked("Repeated characters are easy to guess.")),
    (Found.RepeatsLikeAbcAbcAreOnlySlightlyHarderToGuess, marked("Repetitions are hardly harder to guess than what is repeated.")),
    (Found.ThisIsATop10Password, marked("This is one of the most common passwords of all.")),
    (Found.ThisIsATop100Password, marked("This is a very common password.")),
    (Found.ThisIsACommonPassword, marked("This is a common password.")),
    (Found.ThisIsSimilarToACommonlyUsedPassword, marked("This is much like a common password.")),
    (Found.SequencesLikeAbcAreEasyToGuess, marked("Sequences of letters or digits are easy to guess.")),
    (Found.RecentYearsAreEasyToGuess, marked("Years are easy to guess.")),
    (Found.AWordByItselfIsEasyToGuess, marked("One word by itself is easy to guess. Add others.")),
    (Found.DatesAreOftenEasyToGuess, marked("Dates are easy to guess.")),
    (Found.NamesAndSurnamesByThemselvesAreEasyToGuess, marked("Names are easy to guess.")),
    (Found.CommonNamesAndSurnamesAreEasyToGuess, marked("Common names are easy to guess.")),
)  # fmt: skip


class Strength(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate."""

    score: int
    """0 (at once) to 4 (more tries than anybody has)."""
    advice: str = ""
    """One sentence for the person, from the catalogue; empty when nothing is to be said."""


def estimate(password: str, context: Iterable[str]) -> Strength:
    """Estimate a normalised password; `context` are words that whoever guesses knows too. About a millisecond.

    Text that is no text (lone surrogates) has the score 0.
    """
    try:
        found = zxcvbn(password, [word for word in context if word])
    except UnicodeEncodeError:
        return Strength(score=0, advice=_OTHERWISE)
    score = int(found.score)
    if score == BEST or found.feedback is None:
        return Strength(score=score)
    warning = found.feedback.warning
    said = (advice for kind, advice in _ADVICE if kind == warning)
    return Strength(score=score, advice=next(said, _OTHERWISE))
