from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.demo.pdf import one_page


@settings(max_examples=50)
@given(st.lists(st.text(max_size=40), max_size=10))
def test_every_offset_of_the_cross_reference_table_points_at_its_object(lines: list[str]) -> None:
    document = one_page(lines)
    start = int(re.fullmatch(rb".*\nstartxref\n(\d+)\n%%EOF\n", document, re.DOTALL).group(1))  # type: ignore[union-attr]
    offsets = [int(entry) for entry in re.findall(rb"(\d{10}) 00000 n ", document[start:])]
    assert document[start:].startswith(b"xref\n0 6\n")
    assert len(offsets) == 5
    for number, offset in enumerate(offsets, start=1):
        assert document[offset:].startswith(b"%d 0 obj\n" % number)


def test_parentheses_and_backslashes_cannot_end_a_string() -> None:
    assert rb"(a\)b\(c\\) Tj" in one_page(["a)b(c\\"])


def test_the_stream_length_is_exact() -> None:
    document = one_page(["Invoice", "Total"])
    length = int(re.search(rb"/Length (\d+)", document).group(1))  # type: ignore[union-attr]
    stream = document[document.index(b"stream\n") + 7 : document.index(b"\nendstream")]
    assert len(stream) == length
