"""What is done about which sighting, for whom: the choice of an operator for requests and for answers, and of roles over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.inspection.leak.pattern import Pattern
from gateway.inspection.leak.scanner import Scanner
from gateway.inspection.leak.sighting import Action
from gateway.inspection.leak.text_form import TextForm

_STRICT: Final = frozenset((Action.MASK, Action.BLOCK))


@dataclass(frozen=True, slots=True)
class Choice:
    """What is done about each kind, in one direction."""

    general: Mapping[str, Action] = field(default_factory=dict)
    of_roles: Mapping[str, Mapping[str, Action]] = field(default_factory=dict)

    def actions_for(self, roles: Sequence[str]) -> dict[str, Action]:
        """Return what holds for somebody with these roles.

        A role says what its people may see, so of several the one that lets most pass counts; of a kind that none of them
        names, the general choice.
        """
        found = dict(self.general)
        told: dict[str, Action] = {}
        for role in roles:
            for kind, action in self.of_roles.get(role, {}).items():
                told[kind] = action if kind not in told else min(action, told[kind], key=_rank)
        found.update(told)
        return {kind: action for kind, action in found.items() if action is not Action.ALLOW}

    @property
    def is_empty(self) -> bool:
        """Whether nothing is looked for, whoever asks."""
        choices = (self.general, *self.of_roles.values())
        return not any(action is not Action.ALLOW for choice in choices for action in choice.values())

    @property
    def is_strict(self) -> bool:
        """Whether something is masked or blocked for anybody."""
        return any(is_strict(choice) for choice in (self.general, *self.of_roles.values()))


_RANKS: Final = {action: rank for rank, action in enumerate(Action)}


def _rank(action: Action) -> int:
    return _RANKS[action]


def is_strict(actions: Mapping[str, Action]) -> bool:
    """Tell whether something is masked or blocked: then what cannot be looked through must not pass either."""
    return not _STRICT.isdisjoint(actions.values())


@dataclass(frozen=True, slots=True)
class LeakRules:
    """What is looked for on a route."""

    requests: Choice = field(default_factory=Choice)
    answers: Choice = field(default_factory=Choice)
    patterns: tuple[Pattern, ...] = ()
    key: bytes = field(default=b"", repr=False)
    """Makes the digests of what is sighted."""
    refuses_unreadable: bool = True
    """What cannot be looked through does not pass where something would be masked or blocked."""

    def scanner(self, form: TextForm, actions: Mapping[str, Action]) -> Scanner:
        """Return what looks through one body."""
        return Scanner(form, actions, key=self.key, patterns=self.patterns)
