"""When may the next request go out? Back-off with full jitter, holds, and one at a time in bad times."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct

from kong_ai_tracing.backoff import Backoff
from kong_ai_tracing.outcomes import Hold, Outcome, TryLater
from kong_ai_tracing.pace import Pace
from kong_ai_tracing.threads import within

_SPREAD = 0.1
"""How much of a wait that all were given is added at random, so that a fleet does not come back at once."""


class Pass(Struct, frozen=True, eq=False):
    """One request that was let through."""

    era: int
    """How many failures there had been: an answer to an older request says nothing about a newer failure."""
    since: float


class Gate:
    """Lets requests of one destination through: several while all is well, else one at a time, with waits.

    `random` gives numbers from 0 to 1; it spreads the retries of a fleet over the whole wait.
    """

    def __init__(
        self, *, clock: Callable[[], float], random: Callable[[], float], max_concurrency: int = 1
    ) -> None:
        self._clock = clock
        self._random = random
        self._pace = Pace(max_concurrency)
        self._era = 0
        self._backoff = Backoff()
        self._open_at = 0.0
        self._failing_since: float | None = None
        self._single: Pass | None = None
        """The one request under way, when only one may be."""
        self._under_way: set[Pass] = set()
        self._changed = asyncio.Event()
        self._closed = False
        self.waiting = 0
        """How many wait to pass."""
        self.requests_failed = 0
        """How many requests ended in a way in which they must be repeated."""
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

    @property
    def under_way(self) -> int:
        """How many requests have no end yet."""
        return len(self._under_way)

    @property
    def longest_under_way_seconds(self) -> float:
        """How long the oldest of them has been under way."""
        return max((self._clock() - passed.since for passed in self._under_way), default=0.0)

    @property
    def allowed(self) -> int:
        """How many requests may be under way at once."""
        return self._pace.allowed if self._is_free else 1

    async def pass_through(self) -> Pass:
        """Wait until a request may go out. Each pass must be answered by `learn` or `give_up`."""
        self.waiting += 1
        try:
            while not self._is_open():
                self._changed.clear()
                waits_for_time = not self._is_free and self._single is None and not self._closed
                await within(self.wait_seconds if waits_for_time else None, self._changed.wait())
        finally:
            self.waiting -= 1
        passed = Pass(self._era, self._clock())
        self._under_way.add(passed)
        if not self._is_free:
            self._single = passed
        return passed

    def learn(self, passed: Pass, outcome: Outcome) -> None:
        """Take note of how a request ended."""
        self._end(passed)
        if isinstance(outcome, TryLater | Hold):
            self._failed(passed, outcome)
        elif passed.era == self._era:
            is_slow = self._pace.succeeded(self._clock() - passed.since)
            self._failing_since = self.reason = None
            self.holding = False
            if is_slow:
                self._backoff.slowed()
            else:
                self._backoff.passed()
            if self._backoff.is_spaced:
                self._open_at = self._clock() + self._backoff.ceiling_seconds * self._random()
        self._changed.set()

    def give_up(self, passed: Pass) -> None:
        """A pass was not used."""
        self._end(passed)
        self._changed.set()

    def look_again(self) -> None:
        """The time may have come: those who wait look at the clock."""
        self._changed.set()

    def close(self) -> None:
        """Let nothing through any more."""
        self._closed = True

    @property
    def _is_free(self) -> bool:
        return self.healthy and not self._backoff.is_spaced

    def _is_open(self) -> bool:
        if self._closed:
            return False
        if self._is_free:
            return self.under_way < self._pace.allowed
        return self._single is None and self.wait_seconds == 0

    def _end(self, passed: Pass) -> None:
        self._under_way.discard(passed)
        if passed is self._single:
            self._single = None

    def _failed(self, passed: Pass, outcome: TryLater | Hold) -> None:
        self.requests_failed += 1
        is_late = passed.era != self._era
        if is_late and self.healthy:
            return  # What it ran into is over.
        if self._failing_since is None:
            self._failing_since = self._clock()
        self.reason = outcome.reason
        self.holding = isinstance(outcome, Hold)
        open_at = self._clock() + self._pause_seconds(outcome)
        if not is_late:
            self._era += 1  # requests that fail together count once
            self._backoff.failed()
            self._pace.failed()
            self._open_at = open_at
        elif self.holding or _asked_seconds(outcome):
            self._open_at = max(self._open_at, open_at)

    def _pause_seconds(self, outcome: TryLater | Hold) -> float:
        if isinstance(outcome, Hold):
            return outcome.probe_after_seconds * (1 + _SPREAD * self._random())
        asked = _asked_seconds(outcome)
        return max(asked, self._backoff.ceiling_seconds * self._random()) + asked * _SPREAD * self._random()


def _asked_seconds(outcome: TryLater | Hold) -> float:
    """How long the server asked us to wait, where it did."""
    return (isinstance(outcome, TryLater) and outcome.after_seconds) or 0.0
