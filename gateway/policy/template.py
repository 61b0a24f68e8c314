"""A path template: literal segments, `{name}` or `*` for one segment, `**` for any rest.

Templates are written in the canonical form of paths (`gateway.wire.target`), because that is what
they are compared with: escapes in upper case and only where a character needs one.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

import msgspec

MAX_SEGMENTS: Final = 32
OWN_PREFIX: Final = ".gateway"
"""Everything under `/.gateway/` is the gateway's own and never reaches a route."""

_LITERAL = re.compile(r"(?:[A-Za-z0-9._~!$&'()+,;=:@-]|%[0-9A-F]{2})*")  # pchar of RFC 3986 section 3.3, without "*"
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}")
_ESCAPE = re.compile(r"%([0-9A-F]{2})")
_BEYOND_PATH = re.compile(r"[?#]")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")


class TemplateError(ValueError):
    """A template that cannot be one. `offset` counts characters from 0; `name` is that of the finding."""

    def __init__(self, offset: int, sentence: str, *, name: str = "malformed-template") -> None:
        super().__init__(sentence)
        self.offset = offset
        self.name = name


class Template(msgspec.Struct, frozen=True):
    """A parsed template: `/a/{id}/**` has the segments `("a", None)`, the rest, and the parameter `id` at 1."""

    text: str
    segments: tuple[str | None, ...]
    """None stands for exactly one segment that is not empty."""
    rest: bool
    """The template ends in `**`: it matches its segments and everything below them."""
    parameters: tuple[tuple[str, int], ...]
    """Name and index of each `{name}`."""

    @property
    def names(self) -> frozenset[str]:
        """Names of the parameters."""
        return frozenset(name for name, _ in self.parameters)

    @property
    def shape(self) -> tuple[tuple[str | None, ...], bool]:
        """What the template matches, whatever its parameters are called."""
        return self.segments, self.rest

    def covers(self, path: str) -> bool:
        """Whether the template matches a path in any case, were there no narrower one."""
        segments, parts = self.segments, path.split("/")[1:]
        if len(parts) < len(segments) or (len(parts) > len(segments) and not self.rest):
            return False
        return all(
            segment is None or unquote(segment).lower() == part.lower()
            for segment, part in zip(segments, parts, strict=False)
        )

    @property
    def folded(self) -> tuple[tuple[str | None, ...], bool]:
        """The shape as an upstream sees it that ignores case and decodes first."""
        return tuple(part and unquote(part).lower() for part in self.segments), self.rest


def parse_template(text: str) -> Template:
    """Read a template.

    Raises:
        TemplateError: with a sentence and the offset of what is wrong.

    """
    if not text.startswith("/"):
        raise TemplateError(0, f"{text!r} does not start with /")
    parts = text[1:].split("/")
    if len(parts) > MAX_SEGMENTS:
        raise TemplateError(0, f"the template has more than {MAX_SEGMENTS} segments")
    segments: list[str | None] = []
    parameters: dict[str, int] = {}
    rest = False
    offset = 1
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        parameter = _PARAMETER.fullmatch(part)
        if part == "**":
            if not last:
                raise TemplateError(offset, "** stands for any rest and must be the last segment")
            rest = True
        elif parameter:
            if parameter[1] in parameters:
                raise TemplateError(offset, f"the parameter {parameter[0]} stands here a second time")
            parameters[parameter[1]] = index
            segments.append(None)
        elif part == "*":
            segments.append(None)
        else:
            _check_literal(part, offset, last=last)
            segments.append(part)
        offset += len(part) + 1
    if segments and segments[0] == OWN_PREFIX:
        raise TemplateError(
            0, f"everything under /{OWN_PREFIX}/ is the gateway's own and never reaches a route", name="reserved-path"
        )
    return Template(text, tuple(segments), rest, tuple(parameters.items()))


def _check_literal(part: str, offset: int, *, last: bool) -> None:
    """Refuse a segment that no canonical path can hold: such a route would never match."""
    if not part and not last:
        raise TemplateError(offset, "the template has an empty segment (//)")
    if part in {".", ".."}:
        raise TemplateError(offset, f"{part!r} is resolved before routing and never matches", name="not-canonical")
    for wild in "*{}":
        if wild in part:
            at = offset + part.index(wild)
            raise TemplateError(at, "a wildcard or parameter takes a whole segment: *, {name} or, at the end, **")
    beyond = _BEYOND_PATH.search(part)
    if beyond:
        raise TemplateError(offset + beyond.start(), "a template is a path, without query and fragment")
    if not _LITERAL.fullmatch(part):
        raise TemplateError(
            offset, f"{part!r} is not in canonical form; write {_canonical(part)!r}", name="not-canonical"
        )
    for found in _ESCAPE.finditer(part):
        byte = int(found[1], 16)
        if _UNRESERVED.fullmatch(chr(byte)):
            raise TemplateError(
                offset + found.start(), f"{found[0]} is always seen as {chr(byte)!r}; write that", name="not-canonical"
            )
        if byte < 0x20 or byte == 0x7F:  # noqa: PLR2004 - controls, US-ASCII
            raise TemplateError(
                offset + found.start(),
                f"{found[0]} is a control character; such paths are refused",
                name="not-canonical",
            )


def _canonical(part: str) -> str:
    upper = re.sub(r"%[0-9a-fA-F]{2}", lambda found: found[0].upper(), part)
    return re.sub(r"%(?![0-9A-F]{2})", "%25", quote(upper, safe="!$&'()+,;=:@%"))
