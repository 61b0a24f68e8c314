"""How many bytes of bodies wait in the memory of one worker until they were judged, of all clients together.

Each body has its bound, and each client a number of uploads; many clients have many. What is over this is refused, so that no
number of addresses fills the memory of the node.
"""

from __future__ import annotations

from typing import Final

MOST_HELD_BYTES: Final = 256 * 1024 * 1024
LARGEST_BODIES: Final = 4
"""So many bodies of the largest size always find room, whatever the operator says that size is."""


class HeldBytes:
    """The count. Whoever takes gives back as much."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held = 0

    def take(self, size: int, largest: int) -> bool:
        """Count `size` bytes more, of a body of `largest` bytes at most; False, and nothing counted, where there is no room."""
        if self.held + size > max(MOST_HELD_BYTES, LARGEST_BODIES * largest):
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        """Count `size` bytes less."""
        self.held -= size
