"""`inspection.leaks`: what is looked for in requests and answers, and what is done where it is sighted, for whom."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, model_validator

from gateway.document.diagnostic import did_you_mean
from gateway.inspection.leak.pattern import MAX_PATTERNS, NAME, InvalidPatternError, Pattern, compile_pattern
from gateway.inspection.leak.rules import Choice, LeakRules
from gateway.inspection.leak.sighting import Action, Kind
from gateway.server.fields import RoleName
from gateway.server.sections.section import Section

_USUAL = (Kind.CARDS.value, Kind.SECRETS.value)
_WORDS = tuple(action.value for action in Action)


def _pattern(value: Any) -> Pattern:
    if not isinstance(value, dict) or set(value) != {"name", "pattern"}:
        raise ValueError("write a name and a pattern, such as {name: customer-number, pattern: '\\bKD-[0-9]{8}\\b'}")
    name, source = value["name"], value["pattern"]
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in Kind.__members__.values():
        raise ValueError(
            "name: a lower-case letter, then letters, digits, - or _ (64 at most), and no kind of the gateway's"
        )
    if not isinstance(source, str):
        raise ValueError("pattern: write text")  # noqa: TRY004 - pydantic collects ValueError only
    try:
        return compile_pattern(name, source)
    except InvalidPatternError as error:
        raise ValueError(f"pattern: {error}") from None


def _actions(value: Any) -> dict[str, Action]:
    if isinstance(value, str) and value in _WORDS:
        return dict.fromkeys(_USUAL, Action(value))
    if isinstance(value, str):
        sentence = f"{value!r}: write {', '.join(_WORDS[:-1])} or {_WORDS[-1]}{did_you_mean(value, _WORDS)}"
        raise ValueError(sentence)  # noqa: TRY004 - pydantic collects ValueError only
    if not isinstance(value, dict) or not all(isinstance(word, str) for word in value.values()):
        raise ValueError(
            "write kinds with what is done, such as {cards: mask, secrets: block}, or one word for both of these"
        )
    for kind, word in value.items():
        if word not in _WORDS:
            raise ValueError(f"{kind}: write {', '.join(_WORDS[:-1])} or {_WORDS[-1]}{did_you_mean(word, _WORDS)}")
    return {str(kind): Action(word) for kind, word in value.items()}


Actions = Annotated[dict[str, Action], PlainValidator(_actions)]


class RoleLeaks(Section):
    """What holds for people with a role instead."""

    requests: Actions = Field(default_factory=dict)
    answers: Actions = Field(default_factory=dict)


class Leaks(Section):
    """Card numbers, secrets and an operator's patterns in requests and answers."""

    requests: Actions = Field(default_factory=dict)
    answers: Actions = Field(default_factory=dict)
    roles: dict[RoleName, RoleLeaks] = Field(default_factory=dict)
    patterns: Annotated[tuple[Annotated[Pattern, PlainValidator(_pattern)], ...], Field(max_length=MAX_PATTERNS)] = ()
    unreadable: Literal["block", "allow"] = "block"
    """What becomes of a text that cannot be looked through, where something would be masked or blocked."""

    @model_validator(mode="after")
    def _is_known(self) -> Leaks:
        own = [pattern.name for pattern in self.patterns]
        if len(set(own)) < len(own):
            raise ValueError("patterns: a name stands twice")
        known = [*(kind.value for kind in Kind), *own]
        choices = {"requests": self.requests, "answers": self.answers}
        for role, leaks in self.roles.items():
            choices[f"roles.{role}.requests"] = leaks.requests
            choices[f"roles.{role}.answers"] = leaks.answers
        for place, choice in choices.items():
            for kind in choice:
                if kind not in known:
                    raise ValueError(
                        f"{place}: nothing is called {kind!r} here{did_you_mean(kind, known)};"
                        f" write {', '.join(known[:-1])} or {known[-1]}"
                    )
        used = {kind for choice in choices.values() for kind in choice}
        for name in own:
            if name not in used:
                raise ValueError(
                    f"patterns: {name} is looked for, and nothing is done: name it under requests or answers"
                )
        return self

    def rules(self, key: bytes) -> LeakRules | None:
        """Return what is looked for; None = nothing. `key` makes the digests."""
        rules = LeakRules(
            requests=Choice(self.requests, {role: leaks.requests for role, leaks in self.roles.items()}),
            answers=Choice(self.answers, {role: leaks.answers for role, leaks in self.roles.items()}),
            patterns=self.patterns,
            key=key,
            refuses_unreadable=self.unreadable == "block",
        )
        return None if rules.requests.is_empty and rules.answers.is_empty else rules


def spelled_out(key: str, word: Any) -> Any:
    """Return the mapping that a word under `leaks`, `answers` or `requests` is short for; anything else as it is."""
    if word not in _WORDS:
        return word
    if key == "leaks":
        return {"answers": word}
    return dict.fromkeys(_USUAL, word) if key in ("answers", "requests") else word


def _by_word(value: Any) -> Any:
    """Read `leaks: mask` as `leaks: {answers: mask}`, and `leaks: off` as nothing."""
    if value == "off":
        return None
    return {"answers": value} if isinstance(value, str) else value


LeaksSection = Annotated[Leaks | None, BeforeValidator(_by_word)]
