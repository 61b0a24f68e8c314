"""Marks texts for people where they are written; they are translated where they are shown, by the pages' catalogue."""

from __future__ import annotations


def marked(text: str) -> str:
    """Return the text as it is; its being an argument here is what puts it into the catalogue."""
    return text
