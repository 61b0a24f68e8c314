"""A long list on several pages, and the words it is narrowed by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import msgspec

SIZE: Final = 50
MAX_WORDS: Final = 100
_MAX_PAGE: Final = 100_000


class Paging(msgspec.Struct, frozen=True, kw_only=True):
    """Where one page stands among the others; pages count from 1."""

    number: int
    last: int
    total: int
    previous: str
    """Query of the page before; empty = this is the first."""
    next: str


def page_number(query: Mapping[str, str]) -> int:
    """Read which page is asked for; anything that is no number of a page is the first."""
    said = query.get("page", "")
    return int(said) if said.isascii() and said.isdigit() and 0 < len(said) < 7 and 0 < int(said) <= _MAX_PAGE else 1  # noqa: PLR2004 - six digits


def words_of(query: Mapping[str, str], name: str) -> str:
    """Read one word of a search; one that is longer than any name is cut."""
    return query.get(name, "").strip()[:MAX_WORDS]


def paging(total: int, number: int, narrowed: Mapping[str, str]) -> Paging:
    """Say what stands around page `number`; `narrowed` is what the list was narrowed by, and stays."""
    last = max(1, -(-total // SIZE))
    kept = {name: value for name, value in narrowed.items() if value}
    return Paging(
        number=number,
        last=last,
        total=total,
        previous="?" + urlencode({**kept, "page": min(number - 1, last)}) if number > 1 else "",
        next="?" + urlencode({**kept, "page": number + 1}) if number < last else "",
    )
