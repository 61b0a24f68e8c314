from __future__ import annotations

import pytest

from gateway.inspection.origin import OriginRules, Said, Sender, is_forgeable, sender_of

OWN = b"https://portal.example"
RULES = OriginRules()


def judged(rules: OriginRules = RULES, **said: bytes) -> Sender:
    return sender_of(Said(**said), rules, OWN)


@pytest.mark.parametrize("site", [b"same-origin", b"none"])
def test_what_the_browser_vouches_for_is_our_own(site: bytes) -> None:
    assert judged(site=site) is Sender.OWN


def test_a_page_that_hides_its_origin_may_post_to_its_own_server() -> None:
    assert judged(site=b"same-origin", origin=b"null") is Sender.OWN


@pytest.mark.parametrize("site", [b"cross-site", b"same-site", b"", b"SAME-ORIGIN", b"same-origin, none", b"nonsense"])
def test_a_form_on_another_site_is_foreign(site: bytes) -> None:
    assert judged(site=site, origin=b"https://evil.example") is Sender.FOREIGN


def test_a_sandboxed_frame_is_foreign_where_the_browser_has_no_fetch_metadata() -> None:
    assert judged(origin=b"null") is Sender.FOREIGN


def test_a_foreign_page_cannot_gain_by_dropping_its_origin() -> None:
    assert judged(site=b"cross-site") is Sender.FOREIGN
    assert judged(site=b"cross-site", referer=OWN + b"/") is Sender.FOREIGN
    assert judged(origin=b"null", referer=OWN + b"/") is Sender.FOREIGN


def test_a_sibling_host_is_foreign_until_the_operator_trusts_the_site() -> None:
    assert judged(site=b"same-site", origin=b"https://blog.portal.example") is Sender.FOREIGN
    assert judged(OriginRules(same_site=True), site=b"same-site") is Sender.TRUSTED
    assert judged(OriginRules(same_site=True), site=b"cross-site") is Sender.FOREIGN


def test_an_origin_that_the_operator_trusts_may_post_as_an_identity_provider_does() -> None:
    rules = OriginRules(trusted_origins=frozenset((b"https://idp.example",)))
    assert judged(rules, site=b"cross-site", origin=b"https://idp.example") is Sender.TRUSTED
    assert judged(rules, origin=b"https://idp.example") is Sender.TRUSTED
    assert judged(rules, referer=b"https://idp.example/saml") is Sender.TRUSTED
    assert judged(rules, site=b"cross-site", origin=b"https://idp.example.evil.example") is Sender.FOREIGN
    assert judged(rules, site=b"cross-site", origin=b"https://idp.example@evil.example") is Sender.FOREIGN


@pytest.mark.parametrize(
    ("said", "sender"),
    [
        ({"origin": OWN}, Sender.OWN),
        ({"origin": b"http://portal.example"}, Sender.FOREIGN),
        ({"origin": b"https://portal.example:8443"}, Sender.FOREIGN),
        ({"referer": OWN + b"/form?x=1"}, Sender.OWN),
        ({"referer": b"https://evil.example/?" + OWN}, Sender.FOREIGN),
        ({"referer": b"https://portal.example.evil.example/"}, Sender.FOREIGN),
        ({"referer": b"about:blank"}, Sender.FOREIGN),
        ({}, Sender.UNSAID),
    ],
)
def test_browsers_without_fetch_metadata_are_judged_by_origin_and_then_by_referer(
    said: dict[str, bytes], sender: Sender
) -> None:
    assert judged(RULES, **said) is sender


def test_what_a_browser_sends_along_by_itself_can_be_forged() -> None:
    assert is_forgeable(cookies=True, certificate=False, authorization=b"")
    assert is_forgeable(cookies=False, certificate=True, authorization=b"")
    assert is_forgeable(cookies=False, certificate=False, authorization=b"Basic YTpi")
    assert is_forgeable(cookies=True, certificate=False, authorization=b"Negotiate x")


def test_a_program_with_a_token_cannot_be_made_to_send_it() -> None:
    assert not is_forgeable(cookies=False, certificate=False, authorization=b"")
    assert not is_forgeable(cookies=True, certificate=False, authorization=b"Bearer x")


def test_only_what_changes_something_is_subject() -> None:
    assert RULES.is_subject(b"POST")
    assert RULES.is_subject(b"DELETE")
    assert RULES.is_subject(b"FROBNICATE")
    assert not RULES.is_subject(b"GET")
    assert not OriginRules(mode="off").is_subject(b"POST")
    assert OriginRules(methods=frozenset((b"GET",))).is_subject(b"GET")
