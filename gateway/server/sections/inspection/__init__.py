"""`inspection:` of gateway.yaml and, key by key, of a route: what is looked at in requests and answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.server.sections.inspection.body import BodyRules
from gateway.server.sections.section import Section


class Inspection(Section):
    """Everything that inspects; a part that is absent is off."""

    waf: Literal["off", "detect", "block"] = "off"
    """Whether attacks in requests are stopped, only recorded, or not looked for."""
    paranoia: Annotated[int, Field(ge=1, le=4, strict=True)] = 1
    """How much is taken for an attack: 1 what hardly any honest person writes, 4 whatever could be one."""
    threshold: Annotated[int, Field(ge=2, le=100, strict=True)] = 5
    """The score from which a request is stopped."""
    body: BodyRules = BodyRules()
