"""Names of the browser's world: functions that run or show something, objects that hold the session."""

from __future__ import annotations

from collections.abc import Mapping
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
    "alert confirm prompt eval Function execScript globalEval getScript showModalDialog atob fromCharCode importScripts"
)
ROOTS: Final[frozenset[str]] = _words(
    "window self top parent frames globalThis document this opener location navigator navigation"
)
# What is worth reaching below a root. `self`, `this`, `top` and `parent` are names of other languages' programs, too.
OF_DOCUMENT: Final[frozenset[str]] = _words(
    "cookie domain location body documentElement defaultView referrer URL documentURI baseURI write writeln "
    "createElement forms scripts cookieStore implementation innerHTML"
)
_OF_WINDOW: Final[frozenset[str]] = _words(
    "location document localStorage sessionStorage onerror cookieStore opener eval alert confirm prompt Function navigation"
)
_OF_OTHERS: Final[frozenset[str]] = _words("document localStorage sessionStorage cookieStore eval alert confirm prompt")
MEMBERS: Final[Mapping[str, frozenset[str]]] = {
    "window": _OF_WINDOW,
    "globalThis": _OF_WINDOW,
    "frames": _OF_WINDOW,
    "opener": _OF_WINDOW,
    "self": _OF_OTHERS,
    "top": _OF_OTHERS,
    "parent": _OF_OTHERS,
    "location": _words("href hash search assign replace"),
    "navigator": _words("sendBeacon clipboard serviceWorker"),
    "navigation": _words("navigate"),
}
# A member so named, assigned to, fills the page or the browser's store of cookies.
FILLED: Final[frozenset[str]] = _words("innerHTML outerHTML srcdoc textContent innerText cookie")
# A name so called, assigned to, moves the page or handles what fails.
MOVED: Final[frozenset[str]] = _words("location onerror")
# A text as their first argument is run.
TIMERS: Final[frozenset[str]] = _words("setTimeout setInterval setImmediate")
# Words of the language that another word may follow or precede.
KEYWORDS: Final[frozenset[str]] = _words(
    "async await break case catch class const continue debugger default delete do else export extends finally for "
    "function get if import in instanceof let new of return set static super switch throw try typeof var void while "
    "with yield from as"
)
# Statement keywords whose head stands in parentheses: a statement follows the `)`.
HEADS: Final[frozenset[str]] = _words("if while for with switch catch function")
