"""Templates for the paths that were asked for below a wildcard, and no others.

Works on paths alone; whether the templates fit beside those of other routes is the compiler's to say.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from gateway.policy.template import Template

MAX_TEMPLATES: Final = 6
"""More would be a list of paths and no policy."""
MAX_NAMES: Final = 4
"""Different names in one place up to which they are written out; more are any name."""
_WILD: Final = "*"


class _Branch:
    """What followed in one place."""

    __slots__ = ("below", "ends")

    def __init__(self) -> None:
        self.below: dict[str, _Branch] = {}
        self.ends = False

    def add(self, segments: list[str]) -> None:
        """Grow by one path."""
        branch = self
        for segment in segments:
            branch = branch.below.setdefault(segment, _Branch())
        branch.ends = True

    def merge(self, other: _Branch) -> None:
        """Take over what followed elsewhere."""
        self.ends = self.ends or other.ends
        for segment, branch in other.below.items():
            self.below.setdefault(segment, _Branch()).merge(branch)

    def fold(self) -> None:
        """Put many names in one place together."""
        named = [segment for segment in self.below if segment]  # the empty one is a slash at the end
        if len(named) > MAX_NAMES:
            joined = _Branch()
            for segment in named:
                joined.merge(self.below.pop(segment))
            self.below[_WILD] = joined
        for branch in self.below.values():
            branch.fold()

    def templates(self) -> list[str]:
        """Write each way from here to an end."""
        found = [""] if self.ends else []
        for segment, branch in sorted(self.below.items()):
            found += [f"/{segment}{rest}" for rest in branch.templates()]
        return found


def narrower_templates(template: Template, paths: Collection[str]) -> list[str]:
    """Find up to six templates that match all `paths`, each of which `template` matches, and less than it does.

    Returns nothing where there are no such templates. Parameters and literal segments of the template stay as they are.
    """
    written = template.text.split("/")[1:]
    fixed = written[:-1] if template.rest else written
    root = _Branch()
    for path in paths:
        segments = path.split("/")[1:]
        if any(sign in path for sign in "*{}") or len(segments) < len(fixed):
            return []
        root.add(
            [own if own != _WILD else segment for own, segment in zip(fixed, segments, strict=False)]
            + segments[len(fixed) :]
        )
    root.fold()
    found = root.templates()
    if not found or len(found) > MAX_TEMPLATES or template.text in found:
        return []
    return [text for text in found if not (text.endswith("/") and text[:-1] in found)]  # `/x` stands for `/x/` too
