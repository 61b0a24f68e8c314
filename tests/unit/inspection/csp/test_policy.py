from __future__ import annotations

import pytest

from gateway.inspection.csp.policy import STRICT, Policy, PolicyError, read_directives

HASH = "sha256-" + "A" * 43 + "="


def test_the_strict_policy_carries_the_nonce_of_the_answer() -> None:
    assert Policy(mode="enforce").write("bm8=", "/.gateway/csp-report") == (
        b"script-src 'nonce-bm8=' 'strict-dynamic'; object-src 'none'; base-uri 'self'; report-uri /.gateway/csp-report"
    )


def test_the_mode_says_in_which_field_it_stands() -> None:
    assert Policy(mode="enforce").field == b"content-security-policy"
    assert Policy(mode="report").field == b"content-security-policy-report-only"


def test_without_nonces_the_hashes_of_approved_scripts_stand_in_the_policy() -> None:
    policy = Policy(mode="report", nonces=False, hashes=(HASH,), report_sample=True)
    assert policy.write("", "").startswith(f"script-src '{HASH}' 'strict-dynamic' 'report-sample'; ".encode())


def test_a_page_that_is_not_rewritten_has_no_nonce_to_guess() -> None:
    assert b"nonce" not in Policy(mode="enforce").write("", "")


def test_none_gives_way_to_the_nonce_that_it_would_be_ignored_beside() -> None:
    policy = Policy(mode="enforce", directives=read_directives({"script-src": "'none'"}))
    assert policy.write("x", "").startswith(b"script-src 'nonce-x';")
    assert policy.write("", "").startswith(b"script-src 'none';")


def test_named_directives_replace_the_strict_ones_and_the_others_stay() -> None:
    directives = read_directives({"script-src": "'self' https://cdn.example", "img-src": ["'self'", "data:"]})
    assert dict(directives) == {
        "script-src": ("'self'", "https://cdn.example"), "object-src": ("'none'",), "base-uri": ("'self'",), "img-src": ("'self'", "data:"),
    }  # fmt: skip
    assert read_directives({}) == STRICT


@pytest.mark.parametrize(
    "written",
    [
        {"script-src": "'self' 'wasm-unsafe-eval' *.example.com https://a.example:8443/js/ https: blob: https://*"},
        {"frame-ancestors": "'self' https://partner.example"},
        {"sandbox": "allow-forms allow-scripts"},
        {"sandbox": []},
        {"upgrade-insecure-requests": []},
        {"require-trusted-types-for": "'script'", "trusted-types": "default dompurify 'allow-duplicates'"},
        {"style-src": f"'{HASH}' 'unsafe-inline'"},
        {"connect-src": "wss://live.example *"},
    ],
)
def test_what_browsers_follow_is_taken(written: dict[str, str | list[str]]) -> None:
    assert read_directives(written)


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"script-srcs": "'self'"}, "no directive"),
        ({"report-uri": "/x"}, "no directive"),
        ({"script-src": "self"}, "single quotes"),
        ({"script-src": HASH}, "single quotes"),
        ({"script-src": "'nonce-abc'"}, "known to everybody"),
        ({"script-src": "'selfish'"}, "no source"),
        ({"script-src": "'sha256-AAAA'"}, "no source"),
        ({"script-src": ""}, "is empty"),
        ({"script-src": "'none' 'self'"}, "ignored by browsers"),
        ({"script-src": "'self' 'self'"}, "twice"),
        ({"script-src": "https://a.example;object-src"}, "no source"),
        ({"script-src": "https://a.example,b"}, "no source"),
        ({"script-src": ["a\r\nx: y"]}, "no source"),
        ({"frame-ancestors": "'unsafe-inline'"}, "no effect"),
        ({"sandbox": "everything"}, "no word"),
        ({"upgrade-insecure-requests": "1"}, "stands alone"),
        ({"img-src": [f"h{number}.example" for number in range(129)]}, "more than"),
    ],
)
def test_what_browsers_would_ignore_is_an_error(written: dict[str, str | list[str]], sentence: str) -> None:
    with pytest.raises(PolicyError, match=sentence) as failed:
        read_directives(written)
    assert failed.value.directive in written


def test_who_may_frame_pages_counts_only_when_enforced() -> None:
    directives = read_directives({"frame-ancestors": "https://partner.example"})
    assert Policy(mode="enforce", directives=directives).ancestors == ("https://partner.example",)
    assert Policy(mode="report", directives=directives).ancestors is None
    assert Policy(mode="enforce").ancestors is None
