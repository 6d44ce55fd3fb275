"""How much looking a text is worth.

Looking at one place costs some microseconds, and a text may be made of nothing but places that must be looked
at. Ordinary text, also tables of addresses and numbers, stays far below what is allowed here; what lies above
is taken out as a whole, so that no text holds up the calls behind it and none hides a secret in a crowd.
"""

from __future__ import annotations

UNSEARCHED = "unsearched"
"""The kind of what was taken out because it would have taken too long to search it."""

PLACE_STEPS = 4
STRING_STEPS = 1
_FREE_STEPS = 8_000
_BYTES_FOR_A_STEP = 10
_MOST_STEPS = 200_000


class TooMuchWorkError(Exception):
    """The text is not worth more."""


class Work:
    """What is left to be spent on one text."""

    __slots__ = ("_left",)

    def __init__(self, size: int) -> None:
        self._left = allowed_steps(size)

    def spend(self, steps: int) -> None:
        """Raises TooMuchWorkError when nothing is left."""
        self._left -= steps
        if self._left < 0:
            raise TooMuchWorkError


def allowed_steps(size: int) -> int:
    """Steps for a text of so many bytes: one place for each 40 of them, and some thousand in any case."""
    return min(_FREE_STEPS + size // _BYTES_FOR_A_STEP, _MOST_STEPS)
