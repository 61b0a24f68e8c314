"""Collect every text a person reads into the catalogue's template, bring the languages up to date and compile them.

`python -m tools.collect_texts` writes `gateway/pages/locale/`; with `--check` it writes nothing and exits 1 where that
would change something. English stands in the code: a language is a `.po` file beside the template.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from gateway.exchange.reason import ANSWERS

ROOT = Path(__file__).resolve().parent.parent
LOCALE = ROOT / "gateway" / "pages" / "locale"
TEMPLATE = LOCALE / "gateway.pot"
_METHODS = [("**.py", "python"), ("**/templates/**", "jinja2")]
_KEYWORDS = {"marked": None, "said": None, "gettext": None, "_": None, "ngettext": (1, 2)}
_OPTIONS = {"**/templates/**": {"extensions": "jinja2.ext.i18n", "trimmed": "true", "newstyle_gettext": "true"}}
_NO_DATE = datetime(1970, 1, 1, tzinfo=UTC)
_PACKAGES = ("pages", "post", "authn")


def collected() -> Catalog:
    """Return the texts of templates and code, and those of the closed list of reasons."""
    catalog = Catalog(project="gateway", header_comment="# Every text that a person reads on the gateway's own pages.")
    for package in _PACKAGES:
        for name, _, message, comments, context in extract_from_dir(
            ROOT / "gateway" / package, method_map=_METHODS, options_map=_OPTIONS, keywords=_KEYWORDS
        ):
            catalog.add(message, None, [(f"{package}/{name}", 0)], auto_comments=comments, context=context)
    for answer in ANSWERS.values():
        for text in (answer.title, answer.sentence):
            catalog.add(text, None, [("exchange/reason.py", 0)])
    return catalog


def _as_po(catalog: Catalog) -> bytes:
    written = BytesIO()
    write_po(written, catalog, width=120, sort_output=True, omit_header=False, include_lineno=False)
    # The dates would make every run another file.
    return b"".join(line for line in written.getvalue().splitlines(keepends=True) if b"-Date: " not in line)


def _as_mo(catalog: Catalog) -> bytes:
    catalog.creation_date = catalog.revision_date = _NO_DATE
    written = BytesIO()
    write_mo(written, catalog)
    return written.getvalue()


def wanted() -> Iterator[tuple[Path, bytes]]:
    """Yield every file of the catalogue as it should be."""
    template = collected()
    yield TEMPLATE, _as_po(template)
    for path in sorted(LOCALE.glob("*.po")):
        with path.open("rb") as file:
            language = read_po(file, locale=path.stem)
        language.update(template, no_fuzzy_matching=True, update_header_comment=False)
        language.obsolete.clear()
        # Through the text and back: what is compiled is exactly what is readable.
        po = _as_po(language)
        yield path, po
        yield path.with_suffix(".mo"), _as_mo(read_po(BytesIO(po), locale=path.stem))


def untranslated(path: Path) -> list[str]:
    """List what a language lacks."""
    with path.open("rb") as file:
        return [str(message.id) for message in read_po(file, locale=path.stem) if message.id and not message.string]


def main(arguments: list[str]) -> int:
    """Write the files, or say which ones are not as they should be."""
    stale = [path for path, content in wanted() if not path.exists() or path.read_bytes() != content]
    if "--check" in arguments:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)}: is not what the code says; run make texts\n")
        return 1 if stale else 0
    for path, content in list(wanted()):
        path.write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
