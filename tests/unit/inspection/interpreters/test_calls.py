import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.interpreters.calls import DYNAMIC, calls


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("system('id')", ["system"]),
        ("system ('id')", ["system"]),
        ("os.system(1); $f(2)", ["system", "$f"]),
        ("('sys'.'tem')('id')", [DYNAMIC]),
        ('"system"(id)', [DYNAMIC]),
        ("a[0](1)", [DYNAMIC]),
        ("a + (b)", []),
        ("(a)", []),
        ("word 'x' (y)", []),
        ("f" * 100 + "(", ["f" * 64]),
    ],
)
def test_what_stands_before_a_parenthesis_is_called(text: str, names: list[str]) -> None:
    assert [call.name for call in calls(text)] == names


@given(st.text(alphabet="ab_$ (.)]'\n", max_size=64))
def test_calls_lie_in_the_text(text: str) -> None:
    for call in calls(text):
        assert text[call.at] == "("
        assert text[call.start : call.start + len(call.name)] == call.name
        assert call.is_adjacent == (call.start + len(call.name) == call.at)
