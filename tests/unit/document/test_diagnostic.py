from __future__ import annotations

from gateway.document.diagnostic import Diagnostic, DocumentError, did_you_mean, illustrated, nearest
from gateway.exchange.errors import ConfigurationError
from gateway.inspection.finding import Position


def test_an_error_reads_as_file_line_column_and_sentence() -> None:
    assert (
        str(Diagnostic(path="policies/x.yaml", line=12, column=5, message="unknown key 'grops'"))
        == "policies/x.yaml:12:5: unknown key 'grops'"
    )


def test_a_warning_says_that_it_is_one() -> None:
    assert str(Diagnostic(path="x", line=1, column=1, message="m", severity="warning")) == "x:1:1: warning: m"


def test_the_name_stands_at_the_end_where_editors_do_not_look() -> None:
    finding = Diagnostic(path="x", line=1, column=1, message="unknown role 'a'", name="unknown-role")
    assert str(finding) == "x:1:1: unknown role 'a' [unknown-role]"


def test_the_line_of_a_finding_is_drawn_with_a_mark_under_its_column() -> None:
    finding = Diagnostic(path="x", line=2, column=4, message="m")
    assert illustrated([finding], {"x": "a\nb: c\nd"})[0].drawn() == "x:2:4: m\n  2 | b: c\n    |    ^"


def test_a_finding_about_a_file_nobody_gave_or_a_line_beyond_it_is_drawn_without_one() -> None:
    findings = [Diagnostic(path=path, line=line, column=1, message="m") for path, line in (("y", 1), ("x", 3))]
    assert [finding.drawn() for finding in illustrated(findings, {"x": "a\nb"})] == ["y:1:1: m", "x:3:1: m"]


def test_the_mark_stands_under_its_column_behind_wide_letters_and_far_to_the_right() -> None:
    wide = Diagnostic(path="x", line=1, column=3, message="m", excerpt="界界x")
    assert wide.drawn().splitlines()[2] == "    |     ^"
    far = Diagnostic(path="x", line=1, column=301, message="m", excerpt="-" * 300 + "x" + "-" * 300)
    _, shown, mark = far.drawn().splitlines()
    assert len(shown) <= 130
    assert shown[mark.index("^")] == "x"


def test_an_excerpt_cannot_drive_the_terminal() -> None:
    """Attack: a policy file with an escape sequence, drawn by the check that refuses it."""
    finding = Diagnostic(path="x", line=1, column=1, message="m", excerpt="\x1b[2Jboo\r")
    assert "\x1b" not in finding.drawn()
    assert "\r" not in finding.drawn()


def test_findings_sort_by_file_and_place() -> None:
    late, early = (Diagnostic(path="x", line=line, column=1, message="m") for line in (10, 9))
    assert sorted([late, early]) == [early, late]


def test_a_document_error_is_a_configuration_error_with_every_place() -> None:
    findings = tuple(Diagnostic(path="x", line=line, column=1, message="m") for line in (1, 2))
    error = DocumentError(findings)
    assert isinstance(error, ConfigurationError)
    assert error.diagnostics == ("x:1:1: m", "x:2:1: m")
    assert error.findings == findings


def test_the_nearest_word_is_named_whatever_its_case() -> None:
    assert nearest("grops", ["groups", "roles"]) == "groups"
    assert nearest("BILLING", ["client", "billing"]) == "billing"


def test_nothing_is_suggested_when_nothing_is_close() -> None:
    assert nearest("zzz", ["groups", "roles"]) is None
    assert did_you_mean("zzz", ["groups"]) == ""
    assert did_you_mean("grops", ["groups"]) == "; did you mean 'groups'?"
    assert did_you_mean("forms", tuple(Position)) == "; did you mean 'form'?", "the word, not the member"
