"""Files of each kind, made here: small, whole, and harmless unless their name says otherwise."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence

WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*, extra: bytes = b"", after: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">2I5B", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(b"\0\x7f")) + chunk(b"IEND", b"") + after


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">2BH", 0xFF, marker, len(data) + 2) + data


def jpeg(*, comment: bytes = b"", after: bytes = b"") -> bytes:
    frame = segment(0xC0, b"\x08\0\x01\0\x01\x01\x01\x11\0")
    scan = segment(0xDA, b"\x01\x01\0\0\x3f\0") + b"\x37\xff\x00\x9a\xff\xd0\x12"
    comments = segment(0xFE, comment) if comment else b""
    return (
        b"\xff\xd8" + segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0") + comments + frame + scan + b"\xff\xd9" + after
    )


def gif(*, comment: bytes = b"", after: bytes = b"") -> bytes:
    said = b"!\xfe" + bytes((len(comment),)) + comment + b"\0" if comment else b""
    picture = b",\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0"
    return b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff" + said + picture + b";" + after


def webp(after: bytes = b"") -> bytes:
    body = b"WEBPVP8L" + struct.pack("<I", 8) + b"\x2f\0\0\0\0\0\0\0"
    return b"RIFF" + struct.pack("<I", len(body)) + body + after


def bitmap() -> bytes:
    return (
        b"BM"
        + struct.pack("<IHHI", 58, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0)
        + b"\0\0\xff\0"
    )


def tiff() -> bytes:
    return b"II*\0\x08\0\0\0\0\0\0\0\0\0"


def film(brand: bytes = b"isom", after: bytes = b"") -> bytes:
    kind = b"ftyp" + brand + b"\0\0\0\0" + brand
    boxes = [kind, b"free", b"mdat" + b"\x07" * 40]
    return b"".join(struct.pack(">I", len(box) + 4) + box for box in boxes) + after


def pdf(*objects: bytes, after: bytes = b"", head: bytes = b"%PDF-1.7\n") -> bytes:
    catalog = b"<< /Type /Catalog /Pages 2 0 R /OpenAction [3 0 R /Fit] >>"
    pages = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 10 10] >>"
    bodies = [catalog, pages, page, *objects]
    out = head + b"".join(b"%d 0 obj\n%b\nendobj\n" % (number, body) for number, body in enumerate(bodies, 1))
    return out + b"trailer << /Root 1 0 R >>\nstartxref\n0\n%%EOF\n" + after


def stream(dictionary: bytes, data: bytes) -> bytes:
    return b"<< %b /Length %d >>\nstream\n%b\nendstream" % (dictionary, len(data), data)


def archive(members: Mapping[str, bytes | str], *, method: int = zipfile.ZIP_DEFLATED, comment: bytes = b"") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, data in members.items():
            made.writestr(name, data)
        made.comment = comment
    return out.getvalue()


def tar(members: Mapping[str, bytes], *, links: Sequence[tuple[str, str]] = ()) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
        for name, target in links:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            made.addfile(entry)
    return out.getvalue()


def tgz(members: Mapping[str, bytes]) -> bytes:
    return gzip.compress(tar(members))


def relation(kind: str, target: str, *, external: bool = False) -> str:
    mode = ' TargetMode="External"' if external else ""
    return f'<Relationship Id="r1" Type="{_RELATIONS}/{kind}" Target="{target}"{mode}/>'


def document(
    extra: Mapping[str, bytes | str] | None = None,
    *,
    main: str = f"{WORD}.main+xml",
    body: str = "<w:p><w:r><w:t>Hello, O'Brien</w:t></w:r></w:p>",
    relations: str = "",
    types: str = "",
) -> bytes:
    parts: dict[str, bytes | str] = {
        "[Content_Types].xml": (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            f'<Override PartName="/word/document.xml" ContentType="{main}"/>{types}</Types>'
        ),
        "_rels/.rels": f'<?xml version="1.0"?><Relationships>{relation("officeDocument", "word/document.xml")}</Relationships>',
        "word/document.xml": f'<?xml version="1.0"?><w:document xmlns:w="http://w"><w:body>{body}</w:body></w:document>',
        "word/_rels/document.xml.rels": f'<?xml version="1.0"?><Relationships>{relations}</Relationships>',
        "docProps/thumbnail.jpeg": jpeg(),
    }
    return archive({**parts, **(extra or {})})


def spreadsheet(extra: Mapping[str, bytes | str] | None = None) -> bytes:
    main = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
    return archive(
        {
            "[Content_Types].xml": f'<Types><Override PartName="/xl/workbook.xml" ContentType="{main}"/></Types>',
            "xl/workbook.xml": "<workbook/>",
            "xl/worksheets/sheet1.xml": "<worksheet><sheetData><row><c><f>SUM(A1:A2)</f><v>3</v></c></row></sheetData></worksheet>",
            **(extra or {}),
        }
    )


def open_document(extra: Mapping[str, bytes | str] | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(zipfile.ZipInfo("mimetype"), "application/vnd.oasis.opendocument.text")
        for name, data in {"content.xml": "<office:text xmlns:office='o'/>", **(extra or {})}.items():
            made.writestr(name, data)
    return out.getvalue()


def compound(streams: Mapping[str, bytes], *, root_class: bytes = bytes(16)) -> bytes:
    """A compound file (MS-CFB) with sectors of 512 bytes; every stream is padded to the size that needs no mini stream."""
    sectors: list[bytes] = []
    chains: list[list[int]] = []

    def put(data: bytes) -> int:
        start = len(sectors)
        count = max(1, -(-len(data) // 512))
        sectors.extend(data[at * 512 : at * 512 + 512].ljust(512, b"\0") for at in range(count))
        chains.append(list(range(start, start + count)))
        return start

    def entry(
        name: str, kind: int, start: int, size: int, *, child: int = 0xFFFFFFFF, right: int = 0xFFFFFFFF
    ) -> bytes:
        raw = name.encode("utf-16-le") + b"\0\0"
        head = raw.ljust(64, b"\0") + struct.pack("<HBB3I", len(raw), kind, 1, 0xFFFFFFFF, right, child)
        return head + (root_class if kind == 5 else bytes(16)) + bytes(20) + struct.pack("<3I", start, size, 0)

    padded = {name: data.ljust(4096, b"\0") for name, data in streams.items()}
    starts = {name: put(data) for name, data in padded.items()}
    entries = [entry("Root Entry", 5, 0xFFFFFFFE, 0, child=1 if streams else 0xFFFFFFFF)]
    for index, name in enumerate(padded, 1):
        right = index + 1 if index < len(padded) else 0xFFFFFFFF
        entries.append(entry(name, 2, starts[name], len(padded[name]), right=right))
    while len(entries) % 4:
        entries.append(bytes(64) + struct.pack("<HBB3I", 0, 0, 0, *[0xFFFFFFFF] * 3) + bytes(48))
    directory = put(b"".join(entries))
    tables = -(-(len(sectors) + 1) // 127)
    table = [0xFFFFFFFF] * (tables * 128)
    for chain in chains:
        for here, after in zip(chain, [*chain[1:], 0xFFFFFFFE], strict=True):
            table[here] = after
    first = len(sectors)
    for index in range(tables):
        table[first + index] = 0xFFFFFFFD
    sectors.extend(struct.pack("<128I", *table[index * 128 : index * 128 + 128]) for index in range(tables))
    listed = [*range(first, first + tables), *[0xFFFFFFFF] * (109 - tables)]
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<5H6x", 0x3E, 3, 0xFFFE, 9, 6)
    head += struct.pack("<9I", 0, tables, directory, 0, 4096, 0xFFFFFFFE, 0, 0xFFFFFFFE, 0)
    return head + struct.pack("<109I", *listed) + b"".join(sectors)


def program() -> bytes:
    return b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + bytes(60)


def with_flag_of_encryption(data: bytes) -> bytes:
    """Say of the first member, in both lists, that it is encrypted."""
    local, central = data.index(b"PK\x03\x04"), data.index(b"PK\x01\x02")
    made = bytearray(data)
    made[local + 6] |= 1
    made[central + 8] |= 1
    return bytes(made)
