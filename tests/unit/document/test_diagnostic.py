from __future__ import annotations

from gateway.document.diagnostic import Diagnostic, DocumentError, did_you_mean, nearest
from gateway.exchange.errors import ConfigurationError


def test_an_error_reads_as_file_line_column_and_sentence() -> None:
    assert (
        str(Diagnostic(path="policies/x.yaml", line=12, column=5, message="unknown key 'grops'"))
        == "policies/x.yaml:12:5: unknown key 'grops'"
    )


def test_a_warning_says_that_it_is_one() -> None:
    assert str(Diagnostic(path="x", line=1, column=1, message="m", severity="warning")) == "x:1:1: warning: m"


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
