"""Whether a request shows that a person is there, so that their session is kept from idling out.

Whatever a page does by itself does not: what the policy says of a route, what the page says of its
request, and streams, which browsers open again without anybody asking. Nothing here can lengthen a
session: who lies about it loses it sooner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.edge.exchange import Exchange


def shows_activity(x: Exchange) -> bool:
    """Tell whether the request of an admitted exchange counts as use of the session."""
    fields, background = x.fields, x.snapshot.background
    if fields.unattended or not x.route.activity:
        return False
    if background:
        block = b"\n" + fields.forward
        for line in background:
            if line in block:
                return False
    return True
