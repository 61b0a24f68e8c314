from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.rewrite.script_text import ScriptText


@pytest.mark.parametrize(
    ("text", "end"),
    [
        (b"a</script>", 1),
        (b"</SCRIPT >", 0),
        (b"</script/", 0),
        (b"</scripts></script>", 10),
        (b"</script", None),
        (b"<!--</script>", 4),
        (b"<!--<script></script>", None),
        (b"<!--<script></script></script>", 21),
        (b"<!--<script></script>--></script>", 24),
        (b"<!--<script>--></script>", 15),
        (b"<!-- <scripts> </script>", 15),
        (b"<!--><script></script>", 13),
        (b"<!---><script></script>", 14),
        (b"<!--<script ></script >x</script>", 24),
        (b"<!--<script><script></script></script>", 29),
    ],
)
def test_a_script_ends_where_browsers_say(text: bytes, end: int | None) -> None:
    at, is_over = ScriptText().end(text, 0)
    assert (at if is_over else None) == end


@given(
    st.lists(st.sampled_from([b"<!--", b"-->", b"-", b"<script", b"</script", b">", b" ", b"<", b"a", b"/"])).map(
        b"".join
    ),
    st.integers(1, 5),
)
def test_a_script_ends_at_the_same_place_however_it_is_cut(text: bytes, step: int) -> None:
    whole_at, whole = ScriptText().end(text, 0)
    script, at, is_over = ScriptText(), 0, False
    for upto in range(step, len(text) + step, step):
        at, is_over = script.end(text[:upto], at)
        if is_over:
            break
    assert is_over == whole
    if whole:
        assert at == whole_at
