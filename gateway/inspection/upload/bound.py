"""Which bound a refused upload went beyond, in a form that every language shares: `PDF, PNG`, `10 MB`, `20`."""

from __future__ import annotations

from typing import Final

from gateway.inspection.upload.objection import Objection
from gateway.inspection.upload.policy import UploadPolicy

_STEP: Final = 1024
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")
"""As file managers name them: whoever reads this chooses a file in one."""


def exceeded(policy: UploadPolicy, rule: str) -> str:
    """Say what the policy would have taken in the place of what the objection `rule` is about; empty = nothing to say."""
    if rule == Objection.TYPE_NOT_ALLOWED and policy.types is not None:
        return ", ".join(kind.upper() for kind in sorted(policy.types))
    if rule == Objection.FILE_TOO_LARGE:
        return _readable(policy.max_size)
    if rule == Objection.TOO_MANY_FILES:
        return str(policy.max_files)
    return ""


def _readable(size: int) -> str:
    """Write a size in the largest unit of which there is at least one, rounded down: never more than is taken."""
    unit = 0
    whole = size
    while whole >= _STEP and unit + 1 < len(_UNITS):
        whole //= _STEP
        unit += 1
    return f"{whole} {_UNITS[unit]}"
