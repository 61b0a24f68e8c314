"""What a new password must be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.server.sections.section import Section


class Passwords(Section):
    """What a new password must be (NIST SP 800-63B: length and a breach list, no forced rotation)."""

    min_length: Annotated[int, Field(strict=True, ge=12, le=128)] = 12
    breach_check: Literal["offline", "online", "off"] = "offline"
    """`offline`: the list that ships; `online`: Have I Been Pwned, five characters of a SHA-1; `off`: none."""
