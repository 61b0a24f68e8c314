"""A one-page PDF out of lines of text, the way report generators of 2002 made them (PDF 1.3, Courier, no compression)."""

from __future__ import annotations

from collections.abc import Sequence

A4 = (595, 842)
FONT_SIZE, LEADING, MARGIN = 11, 15, 64


def one_page(lines: Sequence[str]) -> bytes:
    """Set `lines` in Courier on one A4 page; characters outside Latin-1 become question marks."""
    shown = b"\n".join(b"(" + _escaped(line) + b") Tj T*" for line in lines)
    content = b"BT /F1 %d Tf %d TL %d %d Td\n%b\nET" % (FONT_SIZE, LEADING, MARGIN, A4[1] - MARGIN, shown)
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"
        % A4,
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>",
    )
    document = bytearray(b"%PDF-1.3\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(document))
        document += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(document)
    entries = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    document += b"xref\n0 %d\n0000000000 65535 f \n%b" % (len(objects) + 1, entries)
    document += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(document)


def _escaped(line: str) -> bytes:
    return line.encode("latin-1", "replace").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")
