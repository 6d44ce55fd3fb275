"""How long to wait when requests are not taken: longer with each that fails, forgotten little by little.

What is refused by a server that takes other requests says that it has too much to do, perhaps with a
thousand others like us. Then requests are spaced: one at a time, with a wait also after those that pass. The
rate grows evenly with time and is halved by each refusal, as TCP does it, so that all come to the same share.
"""

from __future__ import annotations

_FIRST_WAIT_SECONDS = 0.5
_MAX_WAIT_SECONDS = 60.0
_MAX_LEVEL = 7.0
_FORGOTTEN = 0.5
"""So much of a failure is made up for by each request that passes."""
_SPACED_ABOVE = 2.0
"""Less is an accident: a server that is restarted, a balancer with one bad member."""
_MAX_SLOW_LEVEL = 4.0
"""Slow answers alone space requests by no more than eight seconds: the destination may just be slow."""
_GROWTH = 0.0015
"""Spaced requests come faster with it: by a sixtieth of a request a second, each second."""


class Backoff:
    """Knows how far waits have grown; each wait is to be spread at random below its ceiling."""

    def __init__(self) -> None:
        self._level = 0.0
        """How often the first wait is doubled."""
        self._has_passed = False
        """Whether something was taken since the last time that nothing was."""
        self.is_spaced = False
        """Whether requests go one at a time, with a wait after each."""

    @property
    def ceiling_seconds(self) -> float:
        """The longest that the next wait may be."""
        return min(_MAX_WAIT_SECONDS, _FIRST_WAIT_SECONDS * float(2.0**self._level))

    def failed(self) -> None:
        """A request was not taken."""
        self._level = min(_MAX_LEVEL, self._level + 1)
        if self._has_passed and self._level > _SPACED_ABOVE:
            self.is_spaced = True
        self._has_passed = False

    def slowed(self) -> None:
        """A request was taken, but so late that there is a queue which others make."""
        self._has_passed = True
        self._level = max(self._level, min(_MAX_SLOW_LEVEL, self._level + 1))
        self.is_spaced = self._level > _SPACED_ABOVE

    def passed(self) -> None:
        """A request was taken."""
        self._has_passed = True
        forgotten = min(1.0, _GROWTH * 4.0**self._level) if self.is_spaced else _FORGOTTEN
        self._level = max(0.0, self._level - forgotten)
        self.is_spaced = self.is_spaced and self._level > _SPACED_ABOVE
