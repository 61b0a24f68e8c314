"""Names: what people call their files passes, what leads, hides or runs does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inspection.upload.file_name import extension, objection_to, readings

HONEST = [
    "report.pdf", "O'Brien & Sons (final).pdf", "Rechnung Nr. 12_2025 \u2013 Müller.docx", "50% off.png", "100%.pdf", "a+b=c.pdf",
    "申込書.pdf", "עברית.pdf", "تقرير\u200f.pdf", "👩‍👩‍👧.png", "naïve café.jpg", "shop.com.pdf", "umowa.pl.pdf", "notes.py.txt", "v1.2.3.tar.gz",
    "Screenshot 2025-01-02 at 10.30.12.png", "10:30.pdf", "file", "blob", "IMG_0001.HEIC", "[draft] #3 @home, really!.md", "a;b.csv", "½ cup.txt",
    'the "best" offer.pdf', "price $5~.xlsx", "Rechnung .pdf", "concert.pdf", "auxiliary.docx", "com.pdf", "nullable.txt", "config.json.txt",
    "WhatsApp\u200e Image.jpeg", "a" * 251 + ".pdf", "%.pdf", "50%ab.pdf",
]  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_names_of_people_pass(name: str) -> None:
    assert objection_to(name) is None


ATTACKS = [
    ("../a.pdf", "name_path"), ("..\\a.pdf", "name_path"), ("/etc/passwd", "name_path"), ("a/b.pdf", "name_path"), ("C:\\a.pdf", "name_path"),
    ("C:a.pdf", "name_path"), ("..", "name_path"), (". .", "name_path"), ("%2e%2e%2fa.pdf", "name_path"), ("%252e%252e%252fa.pdf", "name_path"), ("..\uff0fa.pdf", "name_path"),
    ("\uff0e\uff0e\uff3ca.pdf", "name_path"), ("%c0%ae%c0%ae%2fa.pdf", "name_path"),
    ("a.php\0.jpg", "name_control"), ("a.php%00.jpg", "name_control"), ("a\r\nSet-Cookie: x.pdf", "name_control"), ("a%0d%0ab.pdf", "name_control"), ("a\x1b[2J.pdf", "name_control"), ("a\x85.pdf", "name_control"),
    ("annexe\u202efdp.exe", "name_disguised"), ("a\u2066b.pdf", "name_disguised"), ("a\u200b.pdf", "name_disguised"), ("invoice\u200fgpj.pdf", "name_disguised"), ("letter.pdf          .doc", "name_disguised"),
    ("a.pdf.", "name_disguised"), ("a.pdf ", "name_disguised"), ("a.pdf%20", "name_disguised"),
    ("CON", "name_reserved"), ("con.pdf", "name_reserved"), ("aux .pdf", "name_reserved"), ("LPT1.txt", "name_reserved"), ("COM¹.txt", "name_reserved"), ("nul.tar.gz", "name_reserved"),
    (".htaccess", "name_reserved"), (".user.ini", "name_reserved"), ("WEB.CONFIG", "name_reserved"), (".env", "name_reserved"),
    ("a.php", "name_executable"), ("a.PhP5", "name_executable"), ("a.php.jpg", "name_executable"), ("a.pdf.exe", "name_executable"), ("letter.exe .pdf", "name_executable"), ("a.asp;.jpg", "name_executable"), ("a.php:.jpg", "name_executable"),
    ("a.php::$DATA", "name_executable"), ("a.jpg::$INDEX_ALLOCATION.php", "name_executable"), ("a.p%68p", "name_executable"), ("a.\uff50\uff48\uff50", "name_executable"), ("a.phpé", "name_executable"), ("a.js", "name_executable"), ("a.lnk", "name_executable"), ("a.jsp", "name_executable"), ("x.phtml.png", "name_executable"), ("a.php. . .jpg", "name_executable"),
    ("", "name_missing"), ("a" * 252 + ".pdf", "name_too_long"), ("ü" * 130, "name_too_long"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "objection"), ATTACKS)
def test_names_that_lead_hide_or_run_are_refused(name: str, objection: str) -> None:
    found = objection_to(name)
    assert found is not None
    assert found.value == objection


@given(st.text(max_size=300))
def test_any_name_is_judged(name: str) -> None:
    objection_to(name)
    assert len(list(readings(name))) <= 8


@given(
    st.text(max_size=40),
    st.sampled_from(("/", "\\", "%2f", "%5C", "%252F", "\0", "%00", "\uff0f")),
    st.text(max_size=40),
)
def test_no_name_with_a_separator_or_nul_passes(before: str, what: str, after: str) -> None:
    assert objection_to(before + what + after) is not None


def test_the_extension_is_the_last_one() -> None:
    assert [extension(name) for name in ("a.PDF", "a.tar.gz", "a", ".pdf", "a.", "..x")] == [
        "pdf",
        "gz",
        "",
        "",
        "",
        "",
    ]
