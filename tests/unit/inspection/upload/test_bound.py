"""What a person is told that a route takes, where a file went beyond it."""

from __future__ import annotations

import pytest

from gateway.inspection.upload.bound import exceeded
from gateway.inspection.upload.policy import UploadPolicy

POLICY = UploadPolicy(max_size=10 * 1024 * 1024, max_files=3, types=frozenset({"png", "jpeg", "pdf"}))


@pytest.mark.parametrize(
    ("objection", "told"),
    [
        ("type_not_allowed", "JPEG, PDF, PNG"),
        ("file_too_large", "10 MB"),
        ("too_many_files", "3"),
        ("polyglot", ""),
        ("", ""),
    ],
)
def test_the_bound_is_told_that_the_objection_is_about(objection: str, told: str) -> None:
    assert exceeded(POLICY, objection) == told


def test_where_any_type_is_taken_none_are_listed() -> None:
    assert exceeded(UploadPolicy(), "type_not_allowed") == ""


@pytest.mark.parametrize(("size", "told"), [(900, "900 bytes"), (1536, "1 kB"), (3 << 30, "3 GB")])
def test_a_size_is_never_told_larger_than_what_is_taken(size: int, told: str) -> None:
    assert exceeded(UploadPolicy(max_size=size), "file_too_large") == told
