"""How many requests may be under way at once: more while answers are quick, half after a failure.

As TCP does it (additive increase, multiplicative decrease): two at a start, so that one that hangs does not
hold back all; one after a failure; from there on twice as many with each round of answers up to half of
what went well before, then one more each round. Answers that become slow are taken for a queue in front of
the destination, and ours is made shorter.
"""

from __future__ import annotations

_FIRST = 2
_SMOOTHING = 0.2
_SLOW_SECONDS = 1.0
"""Below this no answer counts as slow, whatever the others took: bodies differ in size."""
_SLOW_TIMES = 3.0
_CROWDED_SECONDS = 2.5
"""Half of what is waited for an answer by default. One request at a time that takes so long stands in a queue
which others make, and soon there would be no answer at all; below this a destination may just be slow."""
_FORGETTING_SECONDS = 600.0
"""In so much time under way the quickest answer is taken for twice as long, since a destination may be slower
for good. Not sooner, or a fleet would take the queue that it makes for usual."""


class Pace:
    """The number of requests that may be under way, from 1 to `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._window = float(min(most, _FIRST))
        self._threshold = float(most)
        self._quickest_seconds: float | None = None
        self._usual_seconds = 0.0
        self._answers_to_come = 0

    @property
    def allowed(self) -> int:
        return int(self._window)

    def succeeded(self, seconds: float) -> bool:
        """A request was answered after so long. True when there was no other, and yet it stood in a queue."""
        if self._is_slow(seconds):
            if self._answers_to_come <= 0:
                self._answers_to_come = self.allowed
                was_alone = self.allowed == 1
                self._window = self._threshold = max(1.0, self._window / 2)
                self._answers_to_come -= 1
                return was_alone and self._usual_seconds > _CROWDED_SECONDS
            self._answers_to_come -= 1
            return False
        step = 1.0 if self._window < self._threshold else 1.0 / self._window
        self._window = min(float(self._most), self._window + step)
        return False

    def failed(self) -> None:
        """A wave of requests was not taken."""
        self._threshold = max(1.0, self._window / 2)
        self._window = 1.0

    def _is_slow(self, seconds: float) -> bool:
        if self._quickest_seconds is None:
            self._quickest_seconds = self._usual_seconds = seconds
        self._quickest_seconds = min(seconds, self._quickest_seconds * self._forgetting(seconds))
        self._usual_seconds += _SMOOTHING * (seconds - self._usual_seconds)
        return self._usual_seconds > max(_SLOW_SECONDS, _SLOW_TIMES * self._quickest_seconds)

    def _forgetting(self, seconds: float) -> float:
        return float(2.0 ** (seconds / self.allowed / _FORGETTING_SECONDS))
