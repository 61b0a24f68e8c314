"""`reload:`: whether the gateway looks for changed files by itself."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, StrictBool

from gateway.server.fields import Duration
from gateway.server.sections.section import Section

_LONGEST_S: Final = 600.0


class ReloadRules(Section):
    """When the configuration is read again without anybody asking."""

    watch: StrictBool = False
    """Look once a second whether gateway.yaml or a file that it names has changed."""
    settle: Annotated[Duration, Field(le=_LONGEST_S)] = 2.0
    """How long nothing may have changed before the files are read: somebody may still be writing them."""
