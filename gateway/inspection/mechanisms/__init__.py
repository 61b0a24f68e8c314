"""The mechanisms, in the order in which they are asked: each judges what one kind of parser would do with a text."""

from __future__ import annotations

from typing import Final

from gateway.inspection.mechanisms import crlf, html, include, prototype, script, template
from gateway.inspection.sign import Mechanism

MECHANISMS: Final[tuple[Mechanism, ...]] = (
    html,
    script,
    template,
    include,
    prototype,
    crlf,
)
"""One line for each module of this package."""
