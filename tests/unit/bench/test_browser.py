"""Forms and cookies of the small browser."""

from __future__ import annotations

from tests.bench.browser import Browser, forms

PAGE = b"""
<form method="get" action="/search"><input name="q"></form>
<form method="POST" action="/.gateway/login">
  <input type="hidden" name="token" value="a&amp;b"><input name="username"><input name="password" type="password">
  <input type="submit" value="go">
</form>
<input name="outside">
"""


def test_only_forms_that_post_are_found_with_their_hidden_values() -> None:
    (form,) = forms(PAGE)
    assert form.action == "/.gateway/login"
    assert form.fields == {"token": "a&b", "username": "", "password": ""}


def test_cookies_are_kept_by_origin_and_dropped_when_they_expire() -> None:
    browser = Browser()
    browser._keep("127.0.0.1:1", "gw=abc; HttpOnly; Path=/; SameSite=Lax")
    browser._keep("127.0.0.1:1", "gw-flow=x; Max-Age=600")
    assert browser.cookies("http://127.0.0.1:1/page") == "gw=abc; gw-flow=x"
    assert browser.cookies("http://127.0.0.1:2/page") == ""
    browser._keep("127.0.0.1:1", "gw-flow=; Max-Age=0")
    assert browser.cookies("http://127.0.0.1:1/page") == "gw=abc"
