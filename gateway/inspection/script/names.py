"""Names of the browser's world: functions that run or show something, objects that hold the session."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Calling one of these runs text, shows a dialogue or carries data away; a portal's own script calls them, its data not.
RUNNERS: Final[frozenset[str]] = _words(
    "alert confirm prompt eval Function setTimeout setInterval setImmediate execScript importScripts globalEval "
    "getScript msSetImmediate showModalDialog queueMicrotask requestAnimationFrame fetch XMLHttpRequest sendBeacon "
    "WebSocket EventSource Worker SharedWorker ActiveXObject import atob fromCharCode fromCodePoint unescape "
    "decodeURIComponent constructor write writeln insertAdjacentHTML insertAdjacentElement appendChild replaceChildren "
    "createContextualFragment importNode createElement setAttribute append prepend replaceWith postMessage assign "
    "generateCRCTable crypto pushState replaceState navigate createObjectURL"
)
# Of these, the ones whose call alone is what a probe or an attack looks like.
DIALOGUES: Final[frozenset[str]] = _words(
    "alert confirm prompt eval Function setTimeout setInterval execScript globalEval getScript showModalDialog atob "
    "fromCharCode importScripts"
)
ROOTS: Final[frozenset[str]] = _words(
    "window self top parent frames globalThis document this opener location navigator navigation"
)
# What is worth reaching below a root.
MEMBERS: Final[frozenset[str]] = _words(
    "cookie domain location href innerHTML outerHTML srcdoc textContent innerText write writeln body documentElement "
    "defaultView localStorage sessionStorage referrer URL documentURI baseURI hash search assign replace open name "
    "onerror onload cookieStore opener"
)
# A name in this set, assigned to, moves the page or fills it.
ASSIGNED: Final[frozenset[str]] = _words(
    "location href innerHTML outerHTML srcdoc textContent innerText cookie onerror src domain"
)
# Words of the language that another word may follow or precede.
KEYWORDS: Final[frozenset[str]] = _words(
    "async await break case catch class const continue debugger default delete do else export extends finally for "
    "function get if import in instanceof let new of return set static super switch throw try typeof var void while "
    "with yield from as"
)
# Statement keywords whose head stands in parentheses: a statement follows the `)`.
HEADS: Final[frozenset[str]] = _words("if while for with switch catch function")
