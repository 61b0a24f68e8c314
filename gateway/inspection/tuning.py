"""How the rules count on one route: the mode, the paranoia, the threshold, what is left out and why, and the patches.

Settings are what a file says, each key of it or nothing; those of a route are laid over those of gateway.yaml. A tuning is
what comes of them, made ready for the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from gateway.document.place import Place
from gateway.document.source import did_you_mean
from gateway.inspection.finding import Position
from gateway.inspection.patch import Patch, read_expiry, read_patches
from gateway.inspection.rules import CLASSES, MOST_PARANOID, Rule, Rules, read_score

KEYS: Final = ("waf", "paranoia", "threshold", "exclusions", "rules", "patches")
"""The keys of a section `inspection` that are read here."""
DEFAULT_THRESHOLD: Final = 5
MAX_THRESHOLD: Final = 1_000


class Mode(StrEnum):
    """What follows when a request reaches the threshold."""

    OFF = "off"
    DETECT = "detect"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Findings that do not count, and why."""

    rule: str
    """Empty: the class says it."""
    attack: str
    position: Position | None
    name: str
    """Of the parameter, in lower case, `*` for any part of it; empty = any name."""
    reason: str
    expires_at: float
    """Unix seconds; infinite when it says nothing."""

    def covers(self, rule: Rule, position: Position, name: str, now: float) -> bool:
        """True if a finding of this rule at this place is left out."""
        return (
            now < self.expires_at
            and (rule.id == self.rule if self.rule else rule.attack == self.attack)
            and (self.position is None or position is self.position)
            and (not self.name or fnmatchcase(name.lower(), self.name))
        )


@dataclass(frozen=True, slots=True)
class Override:
    """What an operator says about one rule; None = as the rule says."""

    score: int | None = None
    is_enabled: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What one section says; None = nothing."""

    mode: Mode | None = None
    paranoia: int | None = None
    threshold: int | None = None
    exclusions: tuple[Exclusion, ...] = ()
    overrides: Mapping[str, Override] = field(default_factory=dict)
    patches: tuple[Patch, ...] = ()

    def under(self, own: Settings) -> Settings:
        """Lay the settings of a route over these; of exclusions and patches both count."""
        return Settings(
            mode=self.mode if own.mode is None else own.mode,
            paranoia=self.paranoia if own.paranoia is None else own.paranoia,
            threshold=self.threshold if own.threshold is None else own.threshold,
            exclusions=self.exclusions + own.exclusions,
            overrides={**self.overrides, **own.overrides},
            patches=self.patches + own.patches,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tuning:
    """What the engine goes by; made by `tuned`."""

    mode: Mode
    paranoia: int
    threshold: int
    weights: Mapping[str, tuple[Rule, int]]
    """What counts here, and how much: by sign, and by id for rules with a pattern."""
    exclusions: tuple[Exclusion, ...]
    patches: tuple[Patch, ...]
    decisive: frozenset[str] = frozenset()
    """Signs and rules each of which stops a request whatever else is found; none where exclusions could spare it."""

    @property
    def is_on(self) -> bool:
        """False if nothing of a request has to be looked at."""
        return self.mode is not Mode.OFF or bool(self.patches)

    def has_patched_body(self, method: str, path: str, now: float) -> bool:
        """True if a patch that blocks is about bodies of requests with this method and canonical path."""
        return any(
            patch.action == "block" and patch.reads_bodies and patch.is_about(method, path, now)
            for patch in self.patches
        )


def tuned(settings: Settings, rules: Rules) -> Tuning:
    """Make settings ready: which rules count, and how much."""
    paranoia = settings.paranoia or 1
    weights: dict[str, tuple[Rule, int]] = {}
    for rule in rules.by_id.values():
        override = settings.overrides.get(rule.id, Override())
        counts = rule.paranoia <= paranoia if override.is_enabled is None else override.is_enabled
        if counts:
            weights[rule.sign or rule.id] = (rule, rule.score if override.score is None else override.score)
    mode, threshold = settings.mode or Mode.OFF, settings.threshold or DEFAULT_THRESHOLD
    stops = mode is Mode.BLOCK and not settings.exclusions
    return Tuning(
        mode=mode,
        paranoia=paranoia,
        threshold=threshold,
        weights=weights,
        exclusions=settings.exclusions,
        patches=settings.patches,
        decisive=frozenset(
            key for key, (rule, score) in weights.items() if stops and score >= threshold and not rule.positions
        ),
    )


def read_settings(place: Place, rules: Rules, now: float) -> Settings | None:
    """Read the keys of a section `inspection` that are about rules; the others are somebody else's.

    What is wrong is reported where it stands. An exclusion or a patch that has expired is a warning, and left out.
    """
    entries = place.entries()
    if entries is None:
        return None
    mode = entries["waf"].one_of(tuple(Mode)) if "waf" in entries else None
    return Settings(
        mode=None if mode is None else Mode(mode),
        paranoia=entries["paranoia"].count(maximum=MOST_PARANOID) if "paranoia" in entries else None,
        threshold=entries["threshold"].count(maximum=MAX_THRESHOLD) if "threshold" in entries else None,
        exclusions=tuple(_read_exclusions(entries["exclusions"], rules, now)) if "exclusions" in entries else (),
        overrides=_read_overrides(entries["rules"], rules) if "rules" in entries else {},
        patches=tuple(read_patches(entries["patches"], now)) if "patches" in entries else (),
    )


def _read_exclusions(place: Place, rules: Rules, now: float) -> Sequence[Exclusion]:
    found = []
    for item in place.items() or ():
        exclusion = _read_exclusion(item, rules)
        if exclusion is None:
            continue
        if now >= exclusion.expires_at:
            item.warn(
                "this exclusion has expired and has no effect; remove it, or give it another day",
                name="expired-exclusion",
            )
            continue
        found.append(exclusion)
    return found


def _read_exclusion(place: Place, rules: Rules) -> Exclusion | None:
    fields = place.fields(("reason",), ("rule", "class", "position", "name", "expires"))
    if fields is None:
        return None
    known = len(place.findings)
    if ("rule" in fields) == ("class" in fields):
        place.fail("an exclusion names a rule or a class", name="missing-key")
        return None
    rule = _rule_id(fields["rule"], rules) if "rule" in fields else ""
    attack = fields["class"].one_of(CLASSES) if "class" in fields else ""
    position = fields["position"].one_of(tuple(Position)) if "position" in fields else None
    name = fields["name"].text() if "name" in fields else ""
    reason = fields["reason"].text()
    expires_at = read_expiry(fields["expires"]) if "expires" in fields else float("inf")
    if rule is None or attack is None or name is None or reason is None or expires_at is None:
        return None
    if len(place.findings) > known:
        return None
    if "[" in name:
        # fnmatch has classes in brackets; names of parameters have brackets of their own.
        name = name.replace("[", "[[]")
    where = None if position is None else Position(position)
    return Exclusion(rule, attack, where, name.lower(), reason, expires_at)


def _read_overrides(place: Place, rules: Rules) -> dict[str, Override]:
    found: dict[str, Override] = {}
    for name, item in (place.entries() or {}).items():
        if name not in rules.by_id:
            item.key().fail(f"there is no rule {name!r}{did_you_mean(name, rules.by_id)}", name="unknown-rule")
            continue
        fields = item.fields((), ("score", "enabled"))
        if not fields:
            if fields is not None:
                item.fail("say the score, or whether it is enabled", name="empty-mapping")
            continue
        score = read_score(fields["score"]) if "score" in fields else None
        is_enabled = fields["enabled"].flag() if "enabled" in fields else None
        found[name] = Override(score, is_enabled)
    return found


def _rule_id(place: Place, rules: Rules) -> str | None:
    text = place.text()
    if text in CLASSES:
        place.fail(f"{text!r} is a class of rules; write `class: {text}` in place of `rule`", name="unknown-rule")
        return None
    if text is not None and text not in rules.by_id:
        place.fail(f"there is no rule {text!r}{did_you_mean(text, rules.by_id)}", name="unknown-rule")
        return None
    return text
