"""The next policy of a route: what is in force, and what reports and scripts that were seen would add to it.

Proposes only what a policy can grant by name. `unsafe-inline`, `unsafe-eval`, whole schemes for scripts and wildcards are
never proposed: what would need them is listed as work on the portal. Whoever pastes the text decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from gateway.inspection.csp.policy import FETCH_DIRECTIVES, Directives
from gateway.inspection.csp.scripts import read_approved
from gateway.inspection.csp.tally import Count

_SCRIPTS: Final = frozenset(("script-src", "script-src-elem"))
_FALLBACKS: Final = {
    "script-src-elem": "script-src",
    "script-src-attr": "script-src",
    "style-src-elem": "style-src",
    "style-src-attr": "style-src",
}
_WORK: Final = {
    (
        "script-src",
        "inline",
    ): "scripts in the page whose text changes, or that were not seen in it: move their data into an attribute, and approve the rest by its hash",
    (
        "script-src-attr",
        "inline",
    ): "event handlers in attributes (onclick=…) and javascript: links: no nonce can approve them",
    ("script-src", "eval"): "eval or new Function: needs 'unsafe-eval', which would undo the policy",
    ("script-src", "wasm-eval"): "WebAssembly: write 'wasm-unsafe-eval' into script-src if it is the portal's own",
    (
        "style-src",
        "inline",
    ): "style attributes or style elements: write 'unsafe-inline' into style-src, or leave styles out of the policy",
}
_GRANTED: Final = FETCH_DIRECTIVES - {"object-src", "default-src"} | {"form-action", "frame-ancestors"}
"""What an origin may be added to; plugins and `<base>` of other origins are attacks in whatever portal."""
_SCHEMES_OF_DATA: Final = frozenset(("img-src", "font-src", "media-src"))


class Suggestion(NamedTuple):
    """What to write, and what no policy can settle."""

    directives: Directives
    approved: tuple[str, ...]
    """Entries of `scripts:` as they are."""
    scripts: tuple[str, ...]
    """Entries beyond these."""
    reasons: dict[tuple[str, str], int]
    """For each (directive, source) that is new, and for each script as ("scripts", entry): how often it was told."""
    work: tuple[tuple[str, int], ...]
    """What the portal would have to change, and how often it was told."""


def suggest(directives: Directives, approved: Iterable[str], counts: Iterable[Count]) -> Suggestion:
    """Make the next policy of `directives` and approved scripts from what was counted."""
    lists = {name: list(sources) for name, sources in directives}
    entries = list(approved)
    known = read_approved(entries)
    scripts: list[str] = []
    reasons: dict[tuple[str, str], int] = {}
    work: dict[str, int] = {}
    seen_inline = 0
    ordered = sorted(counts, key=lambda count: (count.kind, count.directive, count.what))
    for count in ordered:
        if count.kind == "script":
            seen_inline += count.what.startswith("sha256-")
            if not known.has(count.what) and count.what not in scripts:
                scripts.append(count.what)
                reasons["scripts", count.what] = count.times
    for count in ordered:
        if count.kind != "reported":
            continue
        directive = count.directive
        base = _FALLBACKS.get(directive, directive)
        task = _WORK.get((directive, count.what)) or _WORK.get((base, count.what))
        if task is not None:
            if not (base == "script-src" and directive != "script-src-attr" and count.what == "inline" and seen_inline):
                work[task] = work.get(task, 0) + count.times
        elif directive in _SCRIPTS:
            # strict-dynamic ignores hosts: what helps is the script itself, which the rewriting of pages names
            if "'strict-dynamic'" not in lists.get("script-src", ()):
                _grant(lists, reasons, "script-src", count)
        elif base in _GRANTED:
            _grant(lists, reasons, base, count)
    written = tuple((name, tuple(sources)) for name, sources in lists.items())
    return Suggestion(
        written, tuple(entries), tuple(scripts), reasons, tuple(sorted(work.items(), key=lambda item: -item[1]))
    )


def _grant(lists: dict[str, list[str]], reasons: dict[tuple[str, str], int], directive: str, count: Count) -> None:
    """Add a source by name; a directive that only its fallback governed begins with what that one says (CSP3 §6.8.3)."""
    source = count.what
    is_origin = source.startswith(("http://", "https://", "ws://", "wss://")) or source == "'self'"
    if not is_origin and not (source in {"data:", "blob:"} and directive in _SCHEMES_OF_DATA):
        return
    if directive not in lists:
        if directive not in FETCH_DIRECTIVES or "default-src" not in lists:
            return  # this policy did not object; another one of the portal's did
        lists[directive] = list(lists["default-src"])
    sources = lists[directive]
    if sources == ["'none'"]:
        sources.clear()
    if source not in sources:
        sources.append(source)
    reasons[directive, source] = reasons.get((directive, source), 0) + count.times


def write_yaml(suggestion: Suggestion, *, mode: str, indent: int = 6) -> str:
    """Write the `csp:` of a route to paste, each new word with how often it was told."""
    pad = " " * indent
    lines = [f"{pad}csp:", f"{pad}  mode: {mode}", f"{pad}  policy:"]
    for name, sources in suggestion.directives:
        lines.append(f"{pad}    {name}:" + (" []" if not sources else ""))
        for source in sources:
            times = suggestion.reasons.get((name, source))
            lines.append(f"{pad}      - {_quoted(source)}" + (f"  # told {times} times" if times else ""))
    if suggestion.approved or suggestion.scripts:
        lines.append(f"{pad}  scripts:")
        lines.extend(f"{pad}    - {_quoted(script)}" for script in suggestion.approved)
        lines.extend(
            f"{pad}    - {_quoted(script)}  # new, seen {suggestion.reasons['scripts', script]} times: look at it before"
            for script in suggestion.scripts
        )
    lines.extend(f"{pad}  # not granted ({times} times): {task}" for task, times in suggestion.work)
    return "\n".join(lines) + "\n"


def _quoted(word: str) -> str:
    return f'"{word}"'
