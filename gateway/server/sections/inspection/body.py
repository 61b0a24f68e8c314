"""`inspection.body`: how large and how complex a body may be that is read before it goes upstream."""

from __future__ import annotations

from gateway.server.fields import Size
from gateway.server.sections.section import Section


class BodyRules(Section):
    """Bounds of what is read whole."""

    max: Size = 1024 * 1024
    """Bytes of a form, JSON or XML body that is held and read; a larger one is refused."""
