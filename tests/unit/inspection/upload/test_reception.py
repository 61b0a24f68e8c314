"""A body from its first byte to the verdict."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.upload.objection import Objection
from gateway.inspection.upload.policy import Antivirus, UploadPolicy
from gateway.inspection.upload.reception import Reception, is_upload
from gateway.inspection.upload.scanning import ScanFailedError, ScanIncompleteError
from gateway.inspection.upload.source import Held
from tests.unit.inspection.upload import samples
from tests.unit.inspection.upload.bodies import CONTENT_TYPE, cut, field, file, form


class Memory:
    """A room in memory."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_closed = False

    @property
    def size(self) -> int:
        return len(self.data)

    def append(self, data: bytes) -> None:
        self.data += data

    def read(self, at: int, length: int) -> bytes:
        return bytes(self.data[at : at + length])

    def close(self) -> None:
        self.is_closed = True


def received(
    body: bytes, *, content_type: bytes = CONTENT_TYPE, policy: UploadPolicy | None = None, places: list[int] | None = None, name: str = ""
) -> Reception:  # fmt: skip
    reception = Reception(content_type, policy or UploadPolicy(), Memory(), name)
    for piece in cut(body, places or []):
        reception.feed(piece)
    reception.finish()
    return reception


PDF = file(b"file", b"scan.pdf", samples.pdf(), b"application/pdf")
PAGE = file(b"file", b"scan.pdf", b"<html>", b"application/pdf")


@given(st.lists(st.integers(min_value=0), max_size=8))
def test_a_body_is_given_back_byte_for_byte(places: list[int]) -> None:
    body = form(field(b"to", b"O'Brien"), PDF)
    reception = received(body, places=places)
    assert reception.complaint is None
    assert reception.fields == [("to", b"O'Brien")]
    assert reception.file_names == [("file", "scan.pdf")]
    verdict = reception.judge(None)
    assert not verdict.is_refused
    assert b"".join(reception.pieces()) == body
    (judged,) = verdict.files
    assert (judged.kind, judged.field, judged.name, judged.declared, judged.part) == (
        "pdf",
        "file",
        "scan.pdf",
        "application/pdf",
        1,
    )
    assert judged.digest == sha256(samples.pdf()).hexdigest()
    assert reception.piece_of(judged).read(0, 8) == b"%PDF-1.7"
    reception.close()


def test_every_file_is_judged_and_each_complaint_says_of_which() -> None:
    verdict = received(form(PDF, PAGE, field(b"a", b"1"), file(b"f", b"x.php", b""))).judge(None)
    assert [(one.objection, one.part) for one in verdict.complaints] == [
        (Objection.TYPE_DISGUISED, 1),
        (Objection.NAME_EXECUTABLE, 3),
    ]
    assert len(verdict.files) == 3


def test_what_is_infected_is_refused_by_name() -> None:
    seen = []

    def scan(pieces: Iterator[bytes]) -> str:
        seen.append(b"".join(pieces))
        return "Test.Signature" if len(seen) == 2 else ""

    verdict = received(form(PDF, PDF)).judge(scan)
    assert [(one.objection, one.part, one.signature) for one in verdict.complaints] == [
        (Objection.INFECTED, 1, "Test.Signature")
    ]
    assert seen == [samples.pdf()] * 2


def test_what_is_refused_anyway_is_not_shown_to_the_antivirus() -> None:
    def scan(_: Iterator[bytes]) -> str:
        raise AssertionError

    assert received(form(PAGE)).judge(scan).is_refused


@pytest.mark.parametrize("on_failure", ["refuse", "allow"])
def test_an_antivirus_that_is_away_closes_or_opens_by_route(on_failure: str) -> None:
    def scan(_: Iterator[bytes]) -> str:
        raise ScanFailedError

    policy = UploadPolicy(antivirus=Antivirus(clamd="unix:/x", on_failure=on_failure))  # type: ignore[arg-type]
    verdict = received(form(PDF), policy=policy).judge(scan)
    if on_failure == "allow":
        assert (verdict.is_refused, verdict.unscanned) == (False, 1)
    else:
        assert [one.objection for one in verdict.complaints] == [Objection.UNSCANNED]


def test_what_the_antivirus_did_not_look_at_whole_is_refused_whatever_the_route_says() -> None:
    def scan(_: Iterator[bytes]) -> str:
        raise ScanIncompleteError

    policy = UploadPolicy(antivirus=Antivirus(clamd="unix:/x", on_failure="allow"))
    assert [one.objection for one in received(form(PDF), policy=policy).judge(scan).complaints] == [Objection.UNSCANNED]


def test_the_outline_of_a_body_is_all_but_its_files() -> None:
    body = form(PDF, field(b"to", b"O'Brien"), file(b"empty", b"", b""), file(b"f", b"b.txt", b"secret"))
    reception = received(body)
    assert reception.is_form
    assert b"".join(reception.outline()) == body.replace(samples.pdf(), b"").replace(b"secret", b"")
    assert b"".join(received(samples.pdf(), content_type=b"application/pdf").outline()) == b""


def test_a_body_that_is_a_file_is_judged_as_one() -> None:
    assert not received(samples.pdf(), content_type=b"application/pdf").judge(None).is_refused
    assert not received(samples.pdf(), content_type=b"application/octet-stream", name="a.pdf").judge(None).is_refused
    assert not received(b"", content_type=b"application/pdf").judge(None).is_refused
    for content_type, name in (
        (b"image/png", ""),
        (b"", "a.png"),
        (b"application/pdf", "a.php"),
        (b"application/pdf", "../a.pdf"),
    ):
        assert received(samples.pdf(), content_type=content_type, name=name).judge(None).is_refused


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/form-data; boundary=a; boundary=b", b"multipart/form-data; boundary=a;boundary*0=b",
        b"multipart/form-data; charset=utf-7; boundary=a", b"multipart/mixed; boundary=a", b"multipart/related; boundary=a", b"multipart/form-data; boundary=" + b"a" * 71,
        b"multipart/form-data, application/json; boundary=a", b'multipart/form-data; boundary="a\\"b"', b"multipart/form-data; boundary=\xe4", b"multipart/form-data;\x0b boundary=a",
    ],
)  # fmt: skip
def test_a_content_type_with_two_readings_takes_nothing(content_type: bytes) -> None:
    reception = Reception(content_type, UploadPolicy(), Memory())
    complaint = reception.feed(b"--a\r\n")
    assert complaint is not None
    assert complaint.objection is Objection.FORM_AMBIGUOUS
    assert reception.size == 0
    assert reception.finish() is complaint
    assert reception.judge(None).is_refused


def test_more_than_the_route_takes_is_refused_while_it_comes() -> None:
    policy = UploadPolicy(max_size=10)
    reception = Reception(b"application/pdf", policy, Memory())
    assert reception.feed(b"x" * 10) is None
    complaint = reception.feed(b"x")
    assert complaint is not None
    assert complaint.objection is Objection.FILE_TOO_LARGE
    assert reception.size == 10
    too_many = received(form(PDF, PDF), policy=UploadPolicy(max_files=1)).complaint
    assert too_many is not None
    assert (too_many.objection, too_many.part) == (Objection.TOO_MANY_FILES, 1)
    assert received(form(PDF)[:-3]).complaint is not None


def test_nothing_is_left_of_a_body_that_is_closed() -> None:
    room = Memory()
    Reception(CONTENT_TYPE, UploadPolicy(), room).close()
    assert room.is_closed


@pytest.mark.parametrize(
    ("content_type", "is_one"),
    [
        (CONTENT_TYPE, True), (b"application/pdf", True), (b"image/png", True), (b"", True), (b"application/octet-stream", True), (b"text/csv", True), (b"multipart/mixed; boundary=x", True),
        (b"nonsense", True), (b"application/json", False), (b"application/json; charset=utf-8", False), (b"application/x-www-form-urlencoded", False), (b"application/vnd.api+json", False), (b"application/x-ndjson", False),
        (b"text/plain;charset=UTF-8", False), (b"application/soap+xml; action=x", False), (b"Application/JSON", False),
    ],
)  # fmt: skip
def test_bodies_of_values_are_no_uploads(content_type: bytes, *, is_one: bool) -> None:
    assert is_upload(content_type) is is_one


def test_sources_end_where_they_end() -> None:
    held = Held(b"hello")
    assert (held.read(0, 99), held.read(3, 99), held.read(1, 2), held.read(9, 1)) == (b"hello", b"lo", b"el", b"")


@pytest.mark.parametrize(
    "content_type",
    [b"multipart/x+xml; boundary=a", b"multipart/form-data+json; boundary=a", b"multipart/json; boundary=a"],
)
def test_a_form_by_another_name_is_no_body_of_values(content_type: bytes) -> None:
    """Python's cgi and others look at `multipart/` alone."""
    assert is_upload(content_type)
    assert Reception(content_type, UploadPolicy(), Memory()).complaint is not None
