"""`inspection.downloads`: how many different records somebody may take, in which time, and what follows."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

from pydantic import Field, PlainValidator

from gateway.inspection.leak.distinct import MOST
from gateway.inspection.leak.download import Allowance, DownloadRules
from gateway.server.fields import RoleName
from gateway.server.sections.section import Section

_RATE: Final = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,3})?(m|h|d)")
_SECONDS: Final = {"m": 60.0, "h": 3600.0, "d": 86_400.0}


def _allowance(value: Any) -> Allowance:
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("write records and a time, such as 200/h, 50/10m or 1000/d")
    if int(found[1]) > MOST:
        raise ValueError(f"no more than {MOST} records can be told apart: take a shorter time")
    return Allowance(int(found[1]), int(found[2] or 1) * _SECONDS[found[3]])


def _allowance_or_none(value: Any) -> Allowance | None:
    return None if value == "none" else _allowance(value)


class Downloads(Section):
    """The bound on how many records one person takes."""

    records: Annotated[Allowance, PlainValidator(_allowance)]
    action: Literal["alert", "step_up", "block"] = "alert"
    roles: dict[RoleName, Annotated[Allowance | None, PlainValidator(_allowance_or_none)]] = Field(default_factory=dict)
    """What people with a role may take instead; `none` is no bound."""

    @property
    def rules(self) -> DownloadRules:
        """Return the bound as records are counted by."""
        return DownloadRules(self.records, self.action, self.roles)
