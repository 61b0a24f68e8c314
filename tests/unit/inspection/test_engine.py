"""The engine: what counts, what is left out, and what its verdict says and does not say."""

from collections.abc import Iterable, Mapping

import pytest

from gateway.inspection.body import BodyTooComplexError, BodyUnreadableError, Limits
from gateway.inspection.engine import (
    MAX_HEAD_WORK,
    MAX_WORK,
    OVERLAP,
    QUESTION,
    UNUSUAL_NAME,
    WINDOW,
    Inspection,
    RequestLine,
)
from gateway.inspection.finding import Position, Value
from gateway.inspection.patch import Patch
from gateway.inspection.patterns import compile_pattern
from gateway.inspection.readings import TOO_MANY
from gateway.inspection.rules import Rule, Rules
from gateway.inspection.sign import Sign
from gateway.inspection.tuning import Exclusion, Mode, Override, Settings, Tuning, tuned
from gateway.inspection.verdict import CLEAN, MAX_FINDINGS, Verdict

NOW = 1_800_000_000.0
LINE = RequestLine("GET", b"/", "/")
FORM = b"application/x-www-form-urlencoded"
FOREVER = float("inf")


class Words:
    """A mechanism that sees words."""

    CLASS = "code"
    SIGNS: Mapping[str, str] = {"words.evil": "E.", "words.odd": "O.", "words.late": "L."}

    def __init__(self) -> None:
        self.asked: list[str] = []

    def can_occur(self, specials: frozenset[str], lowered: str) -> bool:
        return "!" in specials

    def signs(self, text: str, position: Position) -> Iterable[Sign]:
        self.asked.append(text)
        for name in self.SIGNS:
            word = name.partition(".")[2] + "!"
            start = text.find(word)
            while start >= 0:
                yield Sign(name, start, start + len(word))
                start = text.find(word, start + 1)


RULE_LIST = (
    Rule("words-evil", "code", "E", 5, 1, "words.evil"),
    Rule("words-odd", "code", "O", 3, 1, "words.odd"),
    Rule("words-late", "xss", "L", 2, 2, "words.late", positions=frozenset((Position.QUERY,))),
    Rule("reading-too-many", "protocol", "R", 5, 1, TOO_MANY),
    Rule("tool-ua", "protocol", "T", 5, 1, pattern=compile_pattern("(?i)eviltool/[0-9]"), contains=("eviltool",),
         positions=frozenset((Position.HEADER,))),
)  # fmt: skip
RULES = Rules(
    {rule.id: rule for rule in RULE_LIST},
    {rule.sign: rule for rule in RULE_LIST if rule.sign},
    tuple(rule for rule in RULE_LIST if rule.pattern is not None),
)


def tuning(**said: object) -> Tuning:
    return tuned(Settings(**{"mode": Mode.BLOCK} | said), RULES)  # type: ignore[arg-type]


def engine(mechanism: Words | None = None, key: bytes = b"") -> Inspection:
    return Inspection(RULES, mechanisms=(mechanism or Words(),), digest_key=key)


def ask(query: bytes, how: Tuning | None = None, fields: Iterable[tuple[bytes, bytes]] = ()) -> Verdict:
    line = RequestLine("GET", b"/?" + query, "/")
    return engine().judge_head(line, fields, how or tuning(), now=NOW)


def test_a_grave_sign_blocks_alone() -> None:
    verdict = ask(b"q=an+evil!+word")
    (finding,) = verdict.findings
    assert verdict.is_blocked
    assert not verdict.is_detected
    assert (finding.rule, finding.attack, finding.score, finding.position, finding.name, finding.reading) == (
        "words-evil", "code", 5, Position.QUERY, "q", "as sent",
    )  # fmt: skip
    assert (finding.start, finding.end) == (3, 8)


def test_a_weak_sign_needs_company_in_the_same_value() -> None:
    assert not ask(b"q=odd!").is_blocked
    assert not ask(b"q=odd!&r=odd!&s=odd!").is_blocked
    assert ask(b"q=odd!&r=odd!").score == 3
    assert ask(b"q=odd!+late!", tuning(paranoia=2)).score == 5
    assert ask(b"q=odd!+late!", tuning(paranoia=2)).is_blocked


def test_a_rule_counts_once_in_a_value_however_it_is_read() -> None:
    assert ask(b"q=odd!+odd!+odd%2521").score == 3


def test_honest_text_has_no_verdict_at_all() -> None:
    assert ask(b"q=O%27Brien") is CLEAN


def test_a_rule_beyond_the_paranoia_does_not_count() -> None:
    assert ask(b"q=late!") is CLEAN
    assert ask(b"q=late!", tuning(paranoia=2)).score == 2


def test_a_rule_counts_at_its_positions_only() -> None:
    verdict = engine().judge_body(LINE, FORM, b"q=late!", tuning(paranoia=2), limits=Limits(), now=NOW)
    assert verdict is CLEAN


def test_detection_only_says_so_and_lets_pass() -> None:
    verdict = ask(b"q=evil!", tuning(mode=Mode.DETECT))
    assert (verdict.is_blocked, verdict.is_detected, verdict.score) == (False, True, 5)


def test_a_route_where_it_is_off_is_not_looked_at() -> None:
    words = Words()
    off = tuning(mode=Mode.OFF)
    assert engine(words).judge_head(RequestLine("GET", b"/?q=evil!", "/"), [], off, now=NOW) is CLEAN
    assert engine(words).judge_body(LINE, b"application/json", b"{", off, limits=Limits(), now=NOW) is CLEAN
    assert words.asked == []


def test_the_threshold_decides() -> None:
    assert not ask(b"q=evil!", tuning(threshold=6)).is_blocked
    assert ask(b"q=evil!+odd!", tuning(threshold=8)).is_blocked


def test_an_exclusion_leaves_out_what_it_covers() -> None:
    exclusion = Exclusion("words-evil", "", Position.QUERY, "q", "a page about evil", NOW + 1)
    assert ask(b"q=evil!", tuning(exclusions=(exclusion,))) is CLEAN
    assert ask(b"r=evil!", tuning(exclusions=(exclusion,))).is_blocked
    expired = Exclusion("words-evil", "", Position.QUERY, "q", "a page about evil", NOW)
    assert ask(b"q=evil!", tuning(exclusions=(expired,))).is_blocked


def test_an_override_weighs_anew() -> None:
    assert not ask(b"q=evil!", tuning(overrides={"words-evil": Override(score=4)})).is_blocked
    assert ask(b"q=evil!", tuning(overrides={"words-evil": Override(is_enabled=False)})) is CLEAN


def test_a_value_wrapped_in_encodings_is_seen_through() -> None:
    verdict = ask(b"q=%2565vil!")
    assert verdict.is_blocked
    assert verdict.findings[0].reading == "url"


def test_a_value_with_too_many_readings_is_an_attack_by_itself() -> None:
    nest = b"%25252525253c%2526%2523x26;lt;\\u0025u003c%2BADw-\xef\xbc\x9c/**/\\x26%2523x3c;%00%2526%252337;5c"
    assert "reading-too-many" in {finding.rule for finding in ask(b"q=" + nest).findings}


def test_a_pattern_is_looked_for_at_its_positions() -> None:
    assert ask(b"", fields=[(b"User-Agent", b"EvilTool/1.0")]).is_blocked
    assert ask(b"q=EvilTool/1.0") is CLEAN
    assert ask(b"", fields=[(b"User-Agent", b"eviltool")]) is CLEAN


def test_a_field_that_was_harmless_is_not_looked_at_again() -> None:
    words = Words()
    inspection = engine(words)
    fields = [(b"x-note", b"hello!"), (b"authorization", b"Bearer secret!"), (b"cookie", b"a=b!")]
    for _ in range(3):
        assert inspection.judge_head(LINE, fields, tuning(), now=NOW) is CLEAN
    assert words.asked == ["hello!", "secret!", "b!", "secret!", "b!", "secret!", "b!"]


def test_a_field_that_was_hostile_is_hostile_again() -> None:
    inspection = engine()
    for _ in range(2):
        assert inspection.judge_head(LINE, [(b"x-note", b"evil!")], tuning(), now=NOW).is_blocked


def test_a_field_that_one_tuning_lets_pass_is_not_harmless_to_another() -> None:
    inspection = engine()
    fields = [(b"x-note", b"late!")]
    everywhere = Rules({"a-b": Rule("a-b", "xss", "L", 5, 1, "words.late")}, {})
    assert inspection.judge_head(LINE, fields, tuning(), now=NOW) is CLEAN
    assert inspection.judge_head(LINE, fields, tuned(Settings(mode=Mode.BLOCK), everywhere), now=NOW).is_blocked


def test_the_payload_stands_nowhere_in_a_verdict() -> None:
    verdict = ask(b"<payload-evil!>=payload-evil!+secret&r=payload-evil!")
    assert verdict.is_blocked
    assert "payload" not in repr(verdict)
    assert UNUSUAL_NAME in {finding.name for finding in verdict.findings}


def test_a_digest_tells_values_apart_and_differs_by_key() -> None:
    line = RequestLine("GET", b"/?q=evil!+one&r=evil!+two&s=evil!+one", "/")
    first = [finding.digest for finding in engine().judge_head(line, [], tuning(), now=NOW).findings]
    assert len(first) == 3
    assert len(set(first)) == 2
    keyed = [finding.digest for finding in engine(key=b"k").judge_head(line, [], tuning(), now=NOW).findings]
    assert set(first).isdisjoint(keyed)


def test_findings_are_capped() -> None:
    verdict = ask(b"&".join(b"a%d=evil!" % n for n in range(40)))
    assert len(verdict.findings) == MAX_FINDINGS
    assert verdict.is_truncated


def test_a_flood_of_faint_signs_hides_no_grave_one() -> None:
    verdict = ask(b"a=" + b"odd!" * 5000 + b"evil!")
    assert verdict.is_blocked
    assert [finding.rule for finding in verdict.findings] == ["words-evil", "words-odd"]


def test_a_body_that_is_too_dense_to_be_judged_is_refused() -> None:
    class Many(Words):
        SIGNS: Mapping[str, str] = {}

    inspection = Inspection(RULES, mechanisms=(Many(),) * 40)
    body = b"a=" + b"!" * (MAX_WORK // 40)
    assert inspection.judge_body(LINE, FORM, body[: len(body) // 2], tuning(), limits=Limits(), now=NOW) is CLEAN
    with pytest.raises(BodyTooComplexError, match="too dense"):
        inspection.judge_body(LINE, FORM, body, tuning(), limits=Limits(), now=NOW)


def test_a_body_that_is_hostile_through_and_through_is_not_read_to_its_end() -> None:
    words = Words()
    body = b"&".join(b"a%d=evil!" % n for n in range(500))
    assert engine(words).judge_body(LINE, FORM, body, tuning(), limits=Limits(), now=NOW).is_blocked
    assert len(words.asked) < 30


@pytest.mark.parametrize("at", [0, WINDOW - 3, WINDOW, 2 * WINDOW - OVERLAP, 3 * WINDOW])
def test_nothing_hides_in_a_long_value_or_at_the_edge_of_a_window(at: int) -> None:
    body = b"a=" + b"x" * at + b"evil!" + b"y" * WINDOW
    verdict = engine().judge_body(LINE, FORM, body, tuning(), limits=Limits(), now=NOW)
    assert verdict.is_blocked
    assert (verdict.findings[0].start, verdict.findings[0].end) == (at, at + 5)


def test_a_mechanism_is_given_no_more_than_a_window() -> None:
    words = Words()
    engine(words).judge_body(LINE, FORM, b"a=" + b"!" * 3 * WINDOW, tuning(), limits=Limits(), now=NOW)
    assert max(map(len, words.asked)) == WINDOW


def test_a_body_that_cannot_be_read_is_not_judged() -> None:
    with pytest.raises(BodyUnreadableError):
        engine().judge_body(LINE, b"application/json", b"{", tuning(), limits=Limits(), now=NOW)
    with pytest.raises(BodyTooComplexError):
        engine().judge_body(LINE, b"application/json", b"[[1]]", tuning(), limits=Limits(depth=1), now=NOW)


def patch(action: str = "block", **said: object) -> Patch:
    told: dict[str, object] = {
        "id": "cve-2027-1", "title": "T", "action": action, "methods": frozenset(), "path": None,
        "positions": frozenset(), "name": "", "pattern": None, "expires_at": FOREVER,
    }  # fmt: skip
    return Patch(**told | said)  # type: ignore[arg-type]


def test_a_patch_blocks_a_word_that_no_rule_minds_even_where_rules_are_off() -> None:
    for mode in Mode:
        verdict = ask(b"debug=true", tuning(mode=mode, patches=(patch(name="debug"),)))
        assert verdict.is_blocked
        assert (verdict.findings[0].rule, verdict.findings[0].attack) == ("cve-2027-1", "patch")
        assert ask(b"other=true", tuning(mode=mode, patches=(patch(name="debug"),))) is CLEAN


def test_a_patch_can_only_record() -> None:
    verdict = ask(b"debug=true", tuning(patches=(patch("detect", name="debug"),)))
    assert (verdict.is_blocked, verdict.is_detected) == (False, True)


def test_a_patch_sees_through_encodings_and_into_bodies_and_fields() -> None:
    how = tuning(patches=(patch(pattern=compile_pattern("sec\u00adret|secret")),))
    assert ask(b"a=%2573ecret", how).is_blocked
    assert ask(b"", how, [(b"x-a", b"secret")]).is_blocked
    assert ask(b"", how, [(b"cookie", b"a=secret")]).is_blocked
    verdict = engine().judge_body(LINE, b"application/json", b'["secret"]', how, limits=Limits(), now=NOW)
    assert verdict.is_blocked


def test_a_patch_about_another_request_does_nothing() -> None:
    assert ask(b"debug=true", tuning(patches=(patch(name="debug", methods=frozenset(("POST",))),))) is CLEAN


def test_an_explanation_quotes_what_was_read_and_names_what_was_left_out() -> None:
    exclusion = Exclusion("words-odd", "", None, "", "odd is fine here", FOREVER)
    values = [Value(Position.QUERY, "q", "%65vil! odd! late!")]
    told = list(engine().explain(values, tuning(exclusions=(exclusion,)), NOW))
    counted = [(said.rule.id, said.score) for said in told if said.rule is not None and said.score]
    assert counted == [("words-evil", 5)]
    (evil,) = [said for said in told if said.score]
    assert (evil.reading, evil.hit.how) == ("evil! odd! late!", "url")
    assert "odd is fine here" in {said.excluded_because for said in told}
    assert any(said.rule is None and said.hit.key == "words.late" for said in told)


def test_a_body_of_many_short_values_is_as_much_work_as_a_long_one() -> None:
    body = "&".join(f"a{at}=!{at}" for at in range(9_000)).encode()
    enough = MAX_WORK // (9_000 * QUESTION) + 1
    slow = Inspection(RULES, mechanisms=[Words() for _ in range(enough)])
    with pytest.raises(BodyTooComplexError, match="too dense"):
        slow.judge_body(LINE, FORM, body, tuning(), limits=Limits(), now=NOW)


def test_a_head_may_cost_less_than_a_body() -> None:
    query = b"&".join(b"a%d=!%d" % (at, at) for at in range(2 * MAX_HEAD_WORK // QUESTION))
    with pytest.raises(BodyTooComplexError, match="too dense"):
        ask(query)
    fields = [(b"x-a", b"!%d" % at) for at in range(2 * MAX_HEAD_WORK // QUESTION)]
    with pytest.raises(BodyTooComplexError, match="too dense"):
        ask(b"", fields=fields)


def test_names_of_every_language_are_told_as_they_are() -> None:
    (finding, *_) = ask("Straße=evil!".encode()).findings
    assert finding.name == "Straße"


def test_the_exclusion_for_a_name_that_is_not_told_lets_it_pass() -> None:
    query = b"first%20name=odd!+evil!"
    (told, *_) = ask(query).findings
    assert told.name == UNUSUAL_NAME
    pasted = Exclusion(told.rule, "", told.position, told.name, "honest", FOREVER)
    assert told.rule not in {finding.rule for finding in ask(query, tuning(exclusions=(pasted,))).findings}
    assert ask(b"other=evil!", tuning(exclusions=(pasted,))).is_blocked
