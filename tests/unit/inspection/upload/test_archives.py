"""Archives of which readers disagree what is in them, and those that honest programs write."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib

import pytest

from gateway.inspection.upload.judgement import Offered, examine
from gateway.inspection.upload.objection import UploadRefusedError
from gateway.inspection.upload.policy import UploadPolicy
from gateway.inspection.upload.source import Held

SCRIPT = b"#!/bin/sh\nid\n"
END = bytes(1024)


def judged(name: str, data: bytes) -> str:
    try:
        return examine(Offered(name, "", Held(data)), UploadPolicy())
    except UploadRefusedError as refused:
        return refused.objection.value


def entry(
    name: bytes = b"a.txt",
    kind: bytes = b"0",
    data: bytes = b"",
    *,
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
    size: bytes = b"",
) -> bytes:
    """Make one member of a tar (POSIX.1-1988)."""
    header = bytearray(512)
    header[: len(name)] = name
    header[100:124] = b"0000644\x000000000\x000000000\x00"
    header[124:136] = size or b"%011o\0" % len(data)
    header[136:148] = b"00000000000\0"
    header[148:156] = b" " * 8
    header[156:157] = kind
    header[257:265] = magic
    header[345 : 345 + len(prefix)] = prefix
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data + bytes(-len(data) % 512)


def record(key: bytes, value: bytes) -> bytes:
    length = next(n for n in range(300) if len(b"%d %b=%b\n" % (n, key, value)) == n)
    return b"%d %b=%b\n" % (length, key, value)


FILE = entry(data=b"hi")
EVIL = entry(b"evil.sh", data=SCRIPT)
DISPUTED = {
    "a name for all that follow": entry(b"p", b"g", record(b"path", b"../../evil.sh")) + FILE,
    "a size for all that follow": entry(b"p", b"g", record(b"size", b"0")) + FILE,
    "the name of a sparse file": entry(b"p", b"x", record(b"GNU.sparse.name", b"../../evil.sh")) + FILE,
    "a directory before a name of GNU": entry(data=b"hi", prefix=b"../..", magic=b"ustar  \0"),
    "members within a directory's content": entry(b"dir/", b"5", EVIL) + FILE,
    "members within an old directory's content": entry(b"dir/", b"\0", EVIL) + FILE,
    "members within a long name's directory": entry(b"p", b"x", record(b"path", b"dir/")) + entry(data=EVIL) + FILE,
    "two headers of names": entry(b"p", b"x", record(b"path", b"evil.sh")) + entry(b"L", b"L", b"ok.txt\0") + FILE,
    "two names in one header": entry(b"p", b"x", record(b"path", b"evil.sh") + record(b"path", b"ok.txt")) + FILE,
    "two sizes": entry(b"p", b"x", record(b"size", b"2")) + entry(b"q", b"x", record(b"size", b"2")) + FILE,
    "a size beyond eight bytes": entry(data=b"hi", size=b"\x80\0\0\1" + (2).to_bytes(8)),
}


@pytest.mark.parametrize("what", DISPUTED)
def test_a_tar_that_readers_read_differently_is_refused(what: str) -> None:
    assert judged("a.tar", DISPUTED[what] + END) in {"archive_name", "content_broken"}


def path_field(raw: bytes, other: bytes) -> bytes:
    value = b"\1" + struct.pack("<L", zlib.crc32(raw)) + other
    return struct.pack("<2H", 0x7075, len(value)) + value


def zipped(info: zipfile.ZipInfo, data: bytes, *, keeps: bool = True) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(info, data)
        if not keeps:
            info.extra = b""
    return out.getvalue()


def test_a_directory_of_a_zip_has_no_content() -> None:
    assert judged("a.zip", zipped(zipfile.ZipInfo("dir/"), b"MZ" + bytes(64))) == "content_broken"


def test_a_member_of_a_zip_is_not_judged_as_one_type_and_opened_as_another() -> None:
    info = zipfile.ZipInfo("a.txt")
    info.extra = path_field(b"a.txt", b"a.html")
    assert judged("a.zip", zipped(info, b"<b>hi</b>")) == "archive_name"


def test_a_second_name_in_the_local_header_alone_is_refused() -> None:
    info = zipfile.ZipInfo("a.txt")
    info.extra = path_field(b"a.txt", b"../../evil.sh")
    assert judged("a.zip", zipped(info, b"hi", keeps=False)) == "archive_name"


def test_a_second_name_in_other_letters_passes() -> None:
    info = zipfile.ZipInfo("bersicht.txt")
    info.extra = path_field(b"bersicht.txt", "Übersicht.txt".encode())
    assert judged("a.zip", zipped(info, b"hi")) == "zip"


@pytest.mark.parametrize(
    "name",
    [
        "./a.txt",
        "./",
        "./sub/a.txt",
        "www.example.com/a.txt",
        "Meier & Co./a.txt",
        "Fotos /a.txt",
        "x" * 120 + "/a.txt",
    ],
)
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_as_honest_programs_write_them_pass(name: str, form: int) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, pax_headers={"comment": "made by git"}) as made:
        info = tarfile.TarInfo(name.rstrip("/"))
        info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
        info.size = 0 if name.endswith("/") else 2
        made.addfile(info, io.BytesIO(b"hi"))
    assert judged("a.tar", out.getvalue()) == "tar"
    assert judged("a.zip", zipped(zipfile.ZipInfo(name), b"" if name.endswith("/") else b"hi")) == "zip"


@pytest.mark.parametrize(
    "name", ["Photos.app/Contents/run", "../a.txt", "a/../../b.txt", "./../b.txt", "a./.. /b", "con./a"]
)
def test_names_that_lead_elsewhere_or_are_run_are_refused(name: str) -> None:
    assert judged("a.zip", zipped(zipfile.ZipInfo(name), b"hi")) in {"archive_name", "name_executable"}
