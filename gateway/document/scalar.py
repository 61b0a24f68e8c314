"""What an unquoted word of YAML means: the core schema of YAML 1.2 and nothing from YAML 1.1.

`NO`, `on`, `12:30:00` and `2026-01-01` are text; `0o17` is 15. A number with a leading zero is
refused, because YAML 1.1 reads `010` as 8 and YAML 1.2 as 10.
"""

from __future__ import annotations

import re

NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_DECIMAL = re.compile(r"[-+]?[0-9]{1,40}")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]{1,40}")
_RADIX = re.compile(r"0o[0-7]{1,40}|0x[0-9a-fA-F]{1,40}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,40}|[0-9]{1,40}(?:\.[0-9]{0,40})?)(?:[eE][-+]?[0-9]{1,3})?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

Scalar = str | int | float | bool


def resolve(word: str) -> Scalar:
    """Turn an unquoted word into its value (YAML 1.2.2 section 10.3.2, narrowed).

    Raises:
        ValueError: with a sentence, for a word that stands for nothing or can be read in two ways.

    """
    if word in NULL:
        raise ValueError("empty value; write one, or remove the key")
    if word in _BOOLEANS:
        return _BOOLEANS[word]
    if _LEADING_ZERO.fullmatch(word):
        raise ValueError(f"{word} can be read in two ways; remove the leading zero, or quote it if it is text")
    if _DECIMAL.fullmatch(word):
        return int(word)
    if _RADIX.fullmatch(word):
        return int(word, 0)
    if _NOT_FINITE.fullmatch(word):
        raise ValueError(f"{word} is not a number the gateway works with; quote it if it is text")
    if _FLOAT.fullmatch(word):
        return float(word)
    return word
