"""Where a request to our pages comes from, as far as the browser says so.

It refuses what the browser itself calls foreign, framed or scripted. Clients that send none of
these fields pass here: the anti-forgery token and its cookie decide then, as they do anyway.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.exchange.reason import Reason

_OWN_SITES = frozenset({"same-origin", "none"})


def refuse_embedding(fields: Mapping[str, str], destinations: frozenset[str]) -> Reason | None:
    """Refuse a read that is not for one of `destinations` (Fetch Metadata, `Sec-Fetch-Dest`; ASVS 3.5.8).

    Same-origin scripts and frames are refused too: a hole in the portal must not read our forms.
    """
    destination = fields.get("Sec-Fetch-Dest")
    return None if destination is None or destination in destinations else Reason.CROSS_ORIGIN


def refuse_foreign_submission(fields: Mapping[str, str], origin: str) -> Reason | None:
    """Refuse a form that a page of ours did not send by navigation (ASVS 3.5.1, 3.5.3).

    `origin` is `scheme://authority`. An opaque Origin (`null`) is foreign: our pages send a
    Referrer-Policy under which browsers name the origin.
    """
    if fields.get("Sec-Fetch-Site", "same-origin") not in _OWN_SITES:
        return Reason.CROSS_ORIGIN
    if fields.get("Sec-Fetch-Mode", "navigate") != "navigate":
        return Reason.CROSS_ORIGIN
    if fields.get("Sec-Fetch-Dest", "document") != "document":
        return Reason.CROSS_ORIGIN
    return None if fields.get("Origin", origin).lower() == origin.lower() else Reason.CROSS_ORIGIN
