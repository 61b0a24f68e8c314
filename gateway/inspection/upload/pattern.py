"""Patterns over the bytes of files: linear in what they search, whatever it was made for (RE2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import re2

_OPTIONS: Final = re2.Options()
_OPTIONS.encoding = re2.Options.Encoding.LATIN1
_OPTIONS.log_errors = False


def searcher(pattern: bytes) -> Callable[[bytes], Any]:
    """Compile a pattern and return its search: a match with the interface of `re`, or None."""
    found: Callable[[bytes], Any] = re2.compile(pattern, _OPTIONS).search
    return found


def finder(pattern: bytes) -> Callable[[bytes], Any]:
    """Compile a pattern and return what iterates over its matches."""
    found: Callable[[bytes], Any] = re2.compile(pattern, _OPTIONS).finditer
    return found
