from __future__ import annotations

import pytest

from gateway.document.annotated import Annotated, Collection, Entry, annotate


def entry(annotated: Annotated, *path: str | int) -> Entry:
    """Find the entry that a path of keys and indexes leads to."""
    node = annotated.root
    found: Entry | None = None
    for part in path:
        assert isinstance(node, Collection)
        found = next(
            item for index, item in enumerate(node.entries) if part == (index if item.key is None else item.key)
        )
        if isinstance(found.node, Collection):
            node = found.node
    assert found is not None
    return found


def texts(found: Entry) -> tuple[list[str], str]:
    return [remark.text for remark in found.before], found.after


def test_what_stands_above_the_first_key_belongs_to_the_file() -> None:
    found = annotate("# head\n\n# more\nversion: 1\n")
    assert [(remark.text, remark.blank_before) for remark in found.head] == [("# head", False), ("# more", True)]
    assert texts(entry(found, "version")) == ([], "")


def test_a_comment_at_the_end_of_a_line_belongs_to_what_stands_there() -> None:
    found = annotate("a: 1  # one\nb:   # two\n  - x # three\nc: {d: [1, 2]}  # four\n")
    assert [texts(entry(found, *path))[1] for path in (("a",), ("b",), ("b", 0), ("c",), ("c", "d"))] == [
        "# one",
        "# two",
        "# three",
        "# four",
        "",
    ]


def test_a_comment_above_an_entry_belongs_to_it_and_to_no_key_inside() -> None:
    found = annotate("a:\n  # about the item\n  - name: x\n    # about the key\n    path: y\n")
    assert texts(entry(found, "a", 0))[0] == ["# about the item"]
    assert texts(entry(found, "a", 0, "name"))[0] == []
    assert texts(entry(found, "a", 0, "path"))[0] == ["# about the key"]


def test_a_comment_further_right_than_what_follows_ends_the_block_it_stands_in() -> None:
    found = annotate("a:\n  - name: x\n    # of the item\n  # of the list\nb: 1\n# of the file\n")
    item, listed = entry(found, "a", 0).node, entry(found, "a").node
    assert isinstance(item, Collection)
    assert isinstance(listed, Collection)
    assert [remark.text for remark in (*item.foot, *listed.foot, *found.root.foot)] == [
        "# of the item",
        "# of the list",
        "# of the file",
    ]


def test_comments_between_braces_stay_between_them() -> None:
    found = annotate("a: {b: 1, # first\n    # about c\n    c: 2\n    # end\n    }\n# about d\nd: 1\n")
    assert texts(entry(found, "a", "b"))[1] == "# first"
    assert texts(entry(found, "a", "c"))[0] == ["# about c"]
    inner = entry(found, "a").node
    assert isinstance(inner, Collection)
    assert [remark.text for remark in inner.foot] == ["# end"]
    assert texts(entry(found, "d"))[0] == ["# about d"]


@pytest.mark.parametrize("sign", ["|", ">", "|-", ">2"])
def test_a_comment_behind_the_sign_of_a_block_is_one_and_text_in_the_block_is_none(sign: str) -> None:
    found = annotate(f"a: {sign}  # about a\n  # text\n  more\nb: 1\n")
    assert texts(entry(found, "a")) == ([], "# about a")
    assert texts(entry(found, "b")) == ([], "")


def test_a_sign_in_a_text_begins_no_comment() -> None:
    found = annotate("a: 'x # y'\nb: x#y\nc: \"# z\"\n")
    assert [texts(entry(found, key)) for key in "abc"] == [([], "")] * 3


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_one(end: str) -> None:
    found = annotate(end.join(["# head", "a: 1 # one", "", "# two", "b: 2", ""]))
    assert ([remark.text for remark in found.head], texts(entry(found, "a"))[1]) == (["# head"], "# one")
    assert [(remark.text, remark.blank_before) for remark in entry(found, "b").before] == [("# two", True)]


def test_a_file_that_is_no_mapping_is_not_read() -> None:
    with pytest.raises(ValueError, match="not a mapping"):
        annotate("- a\n")
