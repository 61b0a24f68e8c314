"""Names of HTML that make a browser do something: event handlers, elements that load, attributes of frameworks."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# HTML 8.1.8.2 (event handlers), Pointer Events, CSS Animations, UI Events, SVG 2, and what old browsers still take.
EVENTS: Final[frozenset[str]] = frozenset(
    f"on{name}"
    for name in _words("""
    abort activate afterprint afterscriptexecute animationcancel animationend animationiteration animationstart
    auxclick beforeactivate beforecopy beforecut beforedeactivate beforeinput beforematch beforepaste beforeprint
    beforescriptexecute beforetoggle beforeunload begin blur bounce cancel canplay canplaythrough cellchange change
    click close command contentvisibilityautostatechange contextlost contextmenu contextrestored copy cuechange cut
    dataavailable datasetchanged dblclick deactivate drag dragend dragenter dragexit dragleave dragover dragstart drop
    durationchange emptied encrypted end ended error filterchange finish focus focusin focusout formdata
    fullscreenchange fullscreenerror gesturechange gestureend gesturestart gotpointercapture hashchange help input
    invalid keydown keypress keyup languagechange layoutcomplete load loadeddata loadedmetadata loadend loadstart
    losecapture lostpointercapture message messageerror mousedown mouseenter mouseleave mousemove mouseout mouseover
    mouseup mousewheel move movestart mozfullscreenchange offline online page pagehide pagereveal pageshow pageswap
    paste pause play playing pointercancel pointerdown pointerenter pointerleave pointermove pointerout pointerover
    pointerrawupdate pointerup popstate progress propertychange ratechange readystatechange rejectionhandled repeat
    reset resize resizeend rowenter scroll scrollend scrollsnapchange scrollsnapchanging search securitypolicyviolation
    seeked seeking select selectionchange selectstart show slotchange stalled start stop storage submit suspend
    timeupdate toggle touchcancel touchend touchmove touchstart transitioncancel transitionend transitionrun
    transitionstart unhandledrejection unload volumechange waiting webkitanimationend webkitanimationiteration
    webkitanimationstart webkitfullscreenchange webkitmouseforcechanged webkitmouseforcedown webkitmouseforceup
    webkitplaybacktargetavailabilitychanged webkittransitionend webkitwillrevealbottom wheel zoom
    """)
)

# Elements that load another document or program from the address in one of these attributes.
LOADERS: Final[frozenset[str]] = _words(
    "iframe frame frameset embed object applet vmlframe portal fencedframe xml bgsound layer ilayer"
)
LOADED_FROM: Final[frozenset[str]] = _words("src data code codebase srcdoc archive classid object movie datasrc")

# `<link rel>` whose address acts on the page that holds it.
ACTING_LINKS: Final[frozenset[str]] = _words(
    "stylesheet import preload modulepreload prefetch prerender manifest serviceworker dns-prefetch preconnect"
)

# `<meta http-equiv>` that moves, marks or re-reads the page.
ACTING_PRAGMAS: Final[frozenset[str]] = _words(
    "refresh set-cookie content-security-policy content-type link x-ua-compatible"
)

# Attributes by which client-side frameworks run an expression: Vue, Alpine, AngularJS, Angular, htmx, Stimulus.
DIRECTIVES: Final[tuple[str, ...]] = (
    "v-",
    "@",
    ":",
    "x-",
    "ng-",
    "data-ng-",
    "(",
    "[",
    "hx-on",
    "data-hx-on",
    "bind-",
    "on-",
    "#",
)


def is_event(name: str) -> bool:
    """Tell whether `name`, in lower case, is an event handler that a browser knows."""
    return name in EVENTS


def may_be_event(name: str) -> bool:
    """Tell whether `name` is shaped like an event handler: some browser of tomorrow may know it."""
    return len(name) > 4 and name.startswith("on") and name.isalpha()
