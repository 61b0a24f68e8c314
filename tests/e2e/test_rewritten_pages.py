"""Chromium parses random pages that were rewritten: nonces stand on approved scripts, tokens in forms of ours, and neither anywhere else."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Page as Tab
from playwright.sync_api import Route, sync_playwright

from gateway.inspection.csp.scripts import hash_of, read_approved
from gateway.inspection.rewrite.charset import Charset
from gateway.inspection.rewrite.insertion import Insertion
from gateway.inspection.rewrite.page import Page
from tests.e2e.wiki_story import CHROMIUM, FLAGS
from tests.machine import cannot_run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PAGES: Final = int(os.environ.get("GATEWAY_RANDOM_PAGES", "800"))
SEED: Final = int(os.environ.get("GATEWAY_RANDOM_SEED", "44"))
OWN, NONCE, TOKEN = "https://portal.example", "bm9uY2U5OTk=", "TOKEN-OF-A-FORM"
INTO: Final = Insertion(
    url=f"{OWN}/app/page?x=1",
    own=OWN,
    charset=Charset.UTF_8,
    nonce=NONCE,
    approved=read_approved([hash_of("start()"), "/static/app.js", "/lib/*"]),
    input=b'<input type="hidden" name="gw_csrf" value="%b">' % TOKEN.encode(),
)
NAMES: Final = [
    "script",
    "style",
    "textarea",
    "title",
    "svg",
    "math",
    "desc",
    "foreignObject",
    "mi",
    "annotation-xml",
    "select",
    "option",
    "template",
    "table",
    "tr",
    "td",
    "form",
    "p",
    "div",
    "b",
    "a",
    "i",
    "noscript",
    "iframe",
    "xmp",
    "plaintext",
    "noembed",
    "noframes",
    "body",
    "html",
    "head",
    "base",
    "meta",
    "link",
    "img",
    "br",
    "li",
    "ul",
    "button",
    "h1",
    "input",
    "mtext",
    "g",
    "path",
    "colgroup",
    "caption",
    "nobr",
    "font",
    "span",
]
ATTRIBUTES: Final = (
    "src=/static/app.js", "src=/evil.js", "src='/lib/a'", "method=post", "action=/x", "action=//evil/", "href=/static/", "href=../x", "x='", 'y="', "a=b", "/",
    " =", "nonce=zz", "type=module", "encoding=text/html", "rel=preload", "as=script", "color=red", "<script",
)  # fmt: skip
TEXTS: Final = (
    "start()", "evil()", "<!--", "-->", "--!>", "<![CDATA[", "]]>", "<!", "<?x", "</", "'", '"', ">", "<", " ", "text", "&lt;", "\n", "<!doctype html>",
    "</script", "</style x", "--", "<!-->", "</>",
)  # fmt: skip
HONEST: Final = (
    "<script>start()</script>", "<script src=/static/app.js></script>", "<form method=post>", "<form method=post action=/y></form>", "</form>",
)  # fmt: skip
WALK: Final = """([html, nonce, token]) => {
  const frame = document.createElement('iframe');
  document.body.append(frame);
  const page = frame.contentDocument;
  page.open(); page.write(html); page.close();
  const found = {scripts: [], forms: [], leaks: []};
  const walk = (node, inTemplate) => {
    const text = [node.data, node.publicId, node.systemId].filter(Boolean).join();
    if (text.includes(nonce) || text.includes(token)) found.leaks.push(`${node.parentNode.nodeName} ${node.nodeType}`);
    if (node.nodeType === 1) {
      const isHTML = node.namespaceURI.endsWith('/xhtml');
      if (node.nonce === nonce) {
        if (isHTML && !inTemplate && ['script', 'link'].includes(node.localName))
          found.scripts.push([node.hasAttribute('src') ? node.src : node.localName === 'link' ? node.href : null, node.textContent]);
        else found.leaks.push(node.nodeName);
      }
      const isField = isHTML && node.localName === 'input' && node.name === 'gw_csrf' && !inTemplate;
      for (const {name, value} of node.attributes)
        if ((value.includes(nonce) && name !== 'nonce') || (value.includes(token) && !isField)) found.leaks.push(`${node.nodeName} ${name}`);
      if (isField && node.form) found.forms.push([node.form.method, node.form.action]);
      if (node.localName === 'template' && node.content) walk(node.content, true);
    }
    node.childNodes.forEach(child => walk(child, inTemplate));
  };
  walk(page, false);
  frame.remove();
  return found;
}"""


@pytest.fixture
def tab() -> Iterator[Tab]:
    """A page of the portal's origin that runs no script of its own."""

    def answer(route: Route) -> None:
        if route.request.url.startswith(f"{OWN}/app/page"):
            headers = {"content-security-policy": "script-src 'none'; frame-src 'none'"}
            route.fulfill(status=200, content_type="text/html", headers=headers, body="<!doctype html><body>")
        else:
            route.abort()

    if not CHROMIUM.exists():
        cannot_run(f"not installed: {CHROMIUM}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tab = chromium.new_page()
        tab.route("**/*", answer)
        tab.goto(INTO.url)
        yield tab
        chromium.close()


def random_page(chance: random.Random) -> str:
    pieces = []
    for _ in range(chance.randint(3, 22)):
        kind = chance.random()
        if kind < 0.35:
            attributes = "".join(f" {chance.choice(ATTRIBUTES)}" for _ in range(chance.choice((0, 0, 0, 1, 2))))
            pieces.append(f"<{chance.choice(NAMES)}{attributes}{chance.choice(('>', '>', '>', '/>', ''))}")
        elif kind < 0.6:
            pieces.append(f"</{chance.choice(NAMES)}{chance.choice(('>', '>', ' >', '/>', ''))}")
        else:
            pieces.append(chance.choice(TEXTS if kind < 0.8 else HONEST))
    return "".join(pieces)


def test_what_is_put_into_a_page_stands_where_it_was_meant_to_in_a_real_browser(tab: Tab) -> None:
    chance, nonces, tokens = random.Random(SEED), 0, 0
    for _ in range(PAGES):
        written = random_page(chance)
        page = Page(INTO)
        rewritten = (page.feed(written.encode()) + page.finish()).decode()
        if NONCE not in rewritten and TOKEN not in rewritten:
            continue
        found: dict[str, list[Any]] = tab.evaluate(WALK, [rewritten, NONCE, TOKEN])
        assert found["leaks"] == [], written
        for source, text in found["scripts"]:
            approved = hash_of(text) in INTO.approved.hashes if source is None else INTO.approved.has_place(source, OWN)
            assert approved, written
        assert len(found["scripts"]) == rewritten.count(f'nonce="{NONCE}"'), written
        for method, action in found["forms"]:
            assert (method, action.startswith(f"{OWN}/")) == ("post", True), written
        nonces += len(found["scripts"])
        tokens += len(found["forms"])
    assert nonces > PAGES / 4
    assert tokens > PAGES / 8
