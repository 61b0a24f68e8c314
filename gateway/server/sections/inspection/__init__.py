"""`inspection:` of gateway.yaml and, key by key, of a route: what is looked at in requests and answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.server.sections.inspection.body import BodyRules
from gateway.server.sections.inspection.browser import CorsSection, CspSection, CsrfRules
from gateway.server.sections.inspection.crs import Crs
from gateway.server.sections.inspection.detectors import DetectorRules, Spares
from gateway.server.sections.inspection.downloads import Downloads
from gateway.server.sections.inspection.leaks import LeaksSection
from gateway.server.sections.inspection.uploads import Uploads
from gateway.server.sections.section import Section


class Inspection(Section):
    """Everything that inspects; a part that is absent is off."""

    waf: Literal["off", "detect", "block"] = "off"
    """Whether attacks in requests are stopped, only recorded, or not looked for."""
    paranoia: Annotated[int, Field(ge=1, le=4, strict=True)] = 1
    """How much is taken for an attack: 1 what hardly any honest person writes, 4 whatever could be one."""
    threshold: Annotated[int, Field(ge=2, le=1000, strict=True)] = 5
    """The score from which a request is stopped."""
    exclusions: list[dict[str, Any]] = Field(default_factory=list)
    """Findings that do not count, and why; read by `gateway.inspection.tuning`, like the two below."""
    rules: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """What counts otherwise than the shipped rules say."""
    patches: list[dict[str, Any]] = Field(default_factory=list)
    """Holes of the portal that are closed here."""
    crs: Crs | None = None
    detectors: dict[str, DetectorRules] = Field(default_factory=dict)
    """What detectors of abuse answer, by their id; said in gateway.yaml alone."""
    spared: Spares = ()
    """Whom they never answer; said in gateway.yaml alone."""
    body: BodyRules | None = None
    """Bounds of bodies that are read; said at all, they hold whether attacks are looked for or not."""
    downloads: Downloads | None = None
    """How many records one person may take; absent = not counted."""
    leaks: LeaksSection = None
    """Card numbers, secrets and own patterns in requests and answers; absent = not looked for."""
    csrf: CsrfRules = None
    cors: CorsSection = None
    csp: CspSection = None
    uploads: Uploads = None
    """What files may be; absent = they go upstream as they come."""
