"""How many unfinished requests each client has under way to each upstream, in one worker.

Whoever sends a body slowly holds a connection of the upstream for as long: here one client is kept from
holding them all. Workers tell each other nothing, since each has connections of its own. What is
counted is open; who has nothing open is not remembered.
"""

from __future__ import annotations

Place = tuple[str, str]
"""Upstream and client, of one upload."""


class Uploads:
    """The counts."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[Place, int] = {}

    def take(self, upstream: str, client: str, most: int) -> Place | None:
        """Take a place for one more upload of `client`, who has `most` of them; None when all are taken."""
        place = (upstream, client)
        held = self._held.get(place, 0)
        if held >= most:
            return None
        self._held[place] = held + 1
        return place

    def give_back(self, place: Place) -> None:
        """Give one place back, once."""
        left = self._held[place] - 1
        if left:
            self._held[place] = left
        else:
            del self._held[place]

    def __len__(self) -> int:
        """Places that are held."""
        return sum(self._held.values())
