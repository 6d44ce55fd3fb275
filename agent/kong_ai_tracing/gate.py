"""When may the next request go out? Back-off with full jitter, holds, and one probe after an outage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kong_ai_tracing.outcomes import Hold, Outcome, TryLater

_FIRST_WAIT_SECONDS = 0.5
_MAX_WAIT_SECONDS = 60.0


class Gate:
    """Lets requests of one destination through while it is healthy, and single probes while it is not.

    `random` gives numbers from 0 to 1; it spreads the retries of a fleet over the whole wait.
    """

    def __init__(self, *, clock: Callable[[], float], random: Callable[[], float]) -> None:
        self._clock = clock
        self._random = random
        self._failures = 0
        self._open_at = 0.0
        self._failing_since: float | None = None
        self._probing = False
        self._changed = asyncio.Event()
        self.reason: str | None = None
        """Why the destination takes nothing; None while it is healthy."""
        self.holding = False
        """True when only an operator can mend it."""

    @property
    def healthy(self) -> bool:
        return self.reason is None

    @property
    def wait_seconds(self) -> float:
        return max(0.0, self._open_at - self._clock())

    @property
    def failing_for_seconds(self) -> float:
        """How long nothing has passed; 0 while healthy."""
        return 0.0 if self._failing_since is None else self._clock() - self._failing_since

    async def pass_through(self) -> None:
        """Wait until a request may go out. Each pass must be answered by `learn` or `give_up`."""
        while True:
            if self.healthy:
                return
            if not self._probing and self.wait_seconds == 0:
                self._probing = True
                return
            self._changed.clear()
            timeout = None if self._probing else self.wait_seconds
            try:
                await asyncio.wait_for(self._changed.wait(), timeout)
            except TimeoutError:
                continue

    def learn(self, outcome: Outcome) -> None:
        """Take note of how a request ended."""
        self._probing = False
        if isinstance(outcome, TryLater | Hold):
            if self._failing_since is None:
                self._failing_since = self._clock()
            self.reason = outcome.reason
            self.holding = isinstance(outcome, Hold)
            if self.wait_seconds == 0:  # requests that fail together count once
                self._open_at = self._clock() + self._pause_seconds(outcome)
                self._failures += 1
        else:
            self._failing_since = None
            self.reason = None
            self.holding = False
            self._failures = 0
        self._changed.set()

    def give_up(self) -> None:
        """A pass was not used."""
        self._probing = False
        self._changed.set()

    def _pause_seconds(self, outcome: TryLater | Hold) -> float:
        if isinstance(outcome, Hold):
            return outcome.probe_after_seconds * (1 + 0.1 * self._random())
        ceiling = min(_MAX_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2.0 ** min(self._failures, 10))
        return (outcome.after_seconds or 0.0) + ceiling * self._random()
