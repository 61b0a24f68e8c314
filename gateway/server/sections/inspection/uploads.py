"""`inspection.uploads`: what files may be, who is asked about them, and what is kept of those that are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from gateway.document.diagnostic import did_you_mean
from gateway.inspection.upload.kinds import KINDS, SPELLINGS
from gateway.inspection.upload.policy import Antivirus, ArchivePolicy, QuarantinePolicy, UploadPolicy
from gateway.quarantine.clamd import parse_address
from gateway.server.fields import Allowance, Count, Period, Size
from gateway.server.sections.section import Section

_LONGEST_SCAN_S = 100.0
"""Less than what a body may be judged for, so that the route's own word about a failure is heard."""


def _kind(value: Any) -> str:
    if not isinstance(value, str) or value not in SPELLINGS:
        choices = "; write some of " + ", ".join(KINDS)
        meant = _meant(str(value)) or did_you_mean(str(value), SPELLINGS) or choices
        raise ValueError(f"{value!r} is not a type of file{meant}")
    return SPELLINGS[value]


def _meant(value: str) -> str:
    """Name the types that a media type stands for, or a whole family of them such as `image`."""
    family = value.lower().rstrip("/*")
    names = [
        kind.name for kind in KINDS.values() if any(family in {media, media.partition("/")[0]} for media in kind.media)
    ]
    return f"; did you mean {', '.join(names)}?" if names else ""


def _daemon(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("write unix:/run/clamav/clamd.ctl or tcp://127.0.0.1:3310")  # noqa: TRY004 - pydantic collects ValueError only
    parse_address(value)
    return value


def _unless_off(value: Any) -> Any:
    """Let a route say that it has none of what gateway.yaml says."""
    return None if value == "off" else value


Answer = Literal["refuse", "allow"]


class ArchiveRules(Section):
    """How far archives are followed, and how much they may become."""

    depth: Annotated[int, Field(ge=1, le=10, strict=True)] = 3
    """Archives within archives, the outermost counted; a document of an office program is one."""
    ratio: Annotated[int, Field(ge=2, le=100_000, strict=True)] = 100
    """Bytes that come out for one that went in."""
    entries: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] = 10_000
    """Members, in all depths together."""
    unpacked: Size = 256 * 1024 * 1024
    """Bytes that come out, in all depths together."""
    encrypted: Answer = "refuse"
    """Archives and documents that cannot be looked into."""


class AntivirusRules(Section):
    """Who is asked about each file."""

    clamd: Annotated[str, BeforeValidator(_daemon)]
    """The socket of ClamAV's daemon."""
    timeout: Annotated[Period, Field(le=_LONGEST_SCAN_S)] = 30.0
    """For all files of an upload together."""
    on_failure: Answer = "refuse"
    """What becomes of an upload about which it gives no answer."""


class QuarantineRules(Section):
    """What is kept of files that were refused for what they are."""

    keep: Period = 30 * 86_400.0
    max: Allowance = 1024 * 1024 * 1024
    """Bytes of all that is kept; the oldest go first. 0 keeps nothing."""


class UploadRules(Section):
    """What files may be."""

    max_size: Size = 25 * 1024 * 1024
    """Bytes of one file."""
    max_files: Count = 20
    types: Annotated[
        Annotated[list[Annotated[str, BeforeValidator(_kind)]], Field(min_length=1)] | None,
        BeforeValidator(lambda value: None if value == "any" else value),
    ] = None
    """What is taken, by the names of formats; absent, or `any` on a route = everything that is not run somewhere."""
    archives: ArchiveRules = ArchiveRules()
    active_content: Answer = "refuse"
    """Macros, scripts and actions in documents and drawings."""
    antivirus: Annotated[AntivirusRules | None, BeforeValidator(_unless_off)] = None
    quarantine: QuarantineRules = QuarantineRules()

    @property
    def policy(self) -> UploadPolicy:
        """Return the rules as they are applied."""
        archives, antivirus = self.archives, self.antivirus
        return UploadPolicy(
            max_size=self.max_size,
            max_files=self.max_files,
            types=frozenset(self.types) if self.types is not None else None,
            archives=ArchivePolicy(
                depth=archives.depth,
                ratio=archives.ratio,
                entries=archives.entries,
                unpacked=archives.unpacked,
                encrypted=archives.encrypted,
            ),
            active_content=self.active_content,
            antivirus=Antivirus(clamd=antivirus.clamd, timeout_s=antivirus.timeout, on_failure=antivirus.on_failure)
            if antivirus is not None
            else None,
            quarantine=QuarantinePolicy(keep_s=self.quarantine.keep, max_bytes=self.quarantine.max),
        )


Uploads = Annotated[UploadRules | None, BeforeValidator(_unless_off)]
"""`off` on a route takes back what gateway.yaml says."""
