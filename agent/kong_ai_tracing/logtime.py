"""What time it is in the log: groups wait in it, so that history is grouped as it was live."""

from __future__ import annotations

import time
from collections.abc import Callable

_FUTURE_TOLERANCE_MS = 60_000


class LogTime:
    """The latest end of a call that was read, and what has passed since the log was read to its end.

    `clock`: monotonic seconds, in which the time since then is measured.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._idle_since: float | None = None
        self.now_ms = 0

    def advance(self, ended_at_ms: int) -> None:
        """A call was read that ended then; one from the future, of a clock that was wrong, says nothing."""
        if self.now_ms < ended_at_ms <= time.time() * 1000 + _FUTURE_TOLERANCE_MS:
            self.now_ms = ended_at_ms

    def pass_idle(self) -> None:
        """All is read: from the first time this is said on, time passes in the log as it does outside."""
        now = self._clock()
        if self._idle_since is None:
            self._idle_since = now
        passed_ms = int((now - self._idle_since) * 1000)
        self.now_ms += passed_ms
        self._idle_since += passed_ms / 1000  # what is left of a millisecond counts the next time

    def end_idle(self) -> None:
        """Something was read again."""
        if self._idle_since is not None:
            self.pass_idle()
            self._idle_since = None
