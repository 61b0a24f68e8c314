from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gateway.inspection.upload.kinds import KINDS
from gateway.inspection.upload.objection import SUSPECT, Objection
from gateway.inspection.upload.policy import Antivirus, UploadPolicy
from gateway.server.sections.inspection import Inspection

GUIDE = (Path(__file__).parents[3] / "docs" / "uploads.md").read_text()


def read(**uploads: Any) -> UploadPolicy:
    section = Inspection.model_validate({"uploads": uploads}).uploads
    assert section is not None
    return section.policy


def test_what_is_absent_or_off_keeps_nothing_and_refuses_nothing() -> None:
    assert Inspection.model_validate({}).uploads is None
    assert Inspection.model_validate({"uploads": "off"}).uploads is None


def test_the_defaults_are_those_of_the_policy() -> None:
    assert read() == UploadPolicy()


def test_every_key_reaches_the_policy() -> None:
    policy = read(
        max_size="5MiB",
        max_files=3,
        types=["pdf", "jpg", "tgz"],
        active_content="allow",
        archives={"depth": 1, "ratio": 20, "entries": 7, "unpacked": "1MiB", "encrypted": "allow"},
        antivirus={"clamd": "tcp://127.0.0.1:3310", "timeout": "5s", "on_failure": "allow"},
        quarantine={"keep": "1d", "max": 0},
    )
    assert (policy.max_size, policy.max_files, policy.active_content) == (5 << 20, 3, "allow")
    assert policy.types == frozenset(("pdf", "jpeg", "gz"))
    archives = policy.archives
    assert (archives.depth, archives.ratio, archives.entries, archives.unpacked, archives.encrypted) == (
        1,
        20,
        7,
        1 << 20,
        "allow",
    )
    assert policy.antivirus == Antivirus(clamd="tcp://127.0.0.1:3310", timeout_s=5.0, on_failure="allow")
    assert (policy.quarantine.keep_s, policy.quarantine.max_bytes) == (86_400.0, 0)


def test_a_route_can_take_back_the_list_and_the_antivirus() -> None:
    assert read(types="any", antivirus="off") == UploadPolicy()


@pytest.mark.parametrize(
    ("uploads", "told"),
    [
        ({"types": ["pfd"]}, "did you mean 'pdf'"),
        ({"types": []}, "at least 1"),
        ({"types": ["exe"]}, "not a type"),
        ({"types": [1]}, "not a type"),
        ({"antivirus": {"clamd": "/run/clamd"}}, "write unix:"),
        ({"antivirus": {"clamd": 3310}}, "write unix:"),
        ({"antivirus": {}}, "Field required"),
        ({"antivirus": {"clamd": "unix:/x", "timeout": "5m"}}, "less than or equal to 100"),
        ({"archives": {"depth": 0}}, "greater than or equal to 1"),
        ({"active_content": "sanitise"}, "refuse"),
        ({"maxsize": "1MiB"}, "Extra inputs"),
        ({"quarantine": {"keep": "0s"}}, "more than 0"),
    ],
)
def test_what_is_not_understood_refuses(uploads: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(told)):
        read(**uploads)


def test_the_guide_names_every_objection_every_kind_and_what_is_kept() -> None:
    refused = GUIDE.partition("## What is refused")[2].partition("\n## ")[0]
    assert {word for word in Objection if f"`{word}`" not in refused} == set()
    names = set(re.findall(r"[a-z0-9]+", GUIDE.partition("## Names of types")[2].partition("\n## ")[0]))
    assert set(KINDS) - names == set()
    quarantine = GUIDE.partition("## The quarantine")[2].partition("\n## ")[0]
    assert {word for word in Objection if f"`{word}`" in quarantine} == SUSPECT


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("application/pdf", "did you mean pdf?"),
        ("image/*", "did you mean png, jpeg,"),
        ("pdff", "did you mean 'pdf'?"),
        ("???", "write some of pdf, png,"),
    ],
)
def test_a_type_that_there_is_not_is_answered_with_those_that_there_are(written: str, told: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(told)):
        read(types=[written])
