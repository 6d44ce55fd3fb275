"""Everything that is known of the daemon at one moment: from its memory, and from the state on disk.

The memory is always there. The disk may hang, so its part is read in a thread, is never waited for long, and
is the last one that was read when there is no newer one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from msgspec import Struct, field

from kong_ai_tracing.config import Config
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.projects import projects_of
from kong_ai_tracing.status import look_at_each
from kong_ai_tracing.statusreport import Report
from kong_ai_tracing.vitals import Vitals

_PATIENCE_SECONDS = 0.8
"""Less than the second after which a probe of Kubernetes gives up."""
_FRESH_SECONDS = 1.0
"""Whoever asks more often gets the same report: to ask costs the daemon next to nothing."""


class Now(Struct, frozen=True):
    """What the daemon says of itself, from its memory alone."""

    config: Config
    vitals: list[Vitals]
    reload_refused: bool = False
    """The last new configuration had problems, and the one before is in force."""


class Situation(Struct, frozen=True):
    """What is shown."""

    now: Now
    reports: dict[str, Report] = field(default_factory=dict)
    """By destination, from the state on disk; empty before the first was read."""
    state_error: str | None = None
    """Why there is no newer report."""

    @property
    def wanted(self) -> list[str]:
        """The destinations that the configuration names."""
        return [project.name for project in projects_of(self.now.config)]

    @property
    def vitals(self) -> list[Vitals]:
        return self.now.vitals


class Observer:
    """Gives the situation to whoever asks. `now` is asked each time."""

    def __init__(
        self,
        now: Callable[[], Now],
        *,
        read: Callable[[Config], dict[str, Report]] = look_at_each,
        clock: Callable[[], float] = time.monotonic,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        self._now = now
        self._read = read
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._reports: dict[str, Report] = {}
        self._error: str | None = None
        self._config: Config | None = None
        """What the reports are about."""
        self._reading: asyncio.Task[None] | None = None
        self._read_at = float("-inf")
        """When the last reading began."""

    def from_memory(self) -> Situation:
        """Without the disk."""
        return Situation(self._now())

    async def situation(self) -> Situation:
        """Ends within the patience, whatever the disk does."""
        now = self._now()
        is_fresh = self._config == now.config and self._clock() - self._read_at < _FRESH_SECONDS
        if self._reading is None and not is_fresh:
            self._read_at = self._clock()
            self._reading = asyncio.create_task(self._look(now.config))
        if self._reading is not None:
            # Whoever comes later waits for what is left of it; one reading is under way at most.
            patience = self._read_at + self._patience_seconds - self._clock()
            await asyncio.wait({self._reading}, timeout=max(0.0, patience))
        late = self._reading is not None
        error = f"to read it takes longer than {self._patience_seconds} s" if late else self._error
        return Situation(now, self._reports, error)

    async def _look(self, config: Config) -> None:
        try:
            self._reports, self._error = await asyncio.to_thread(self._read, config), None
        except (OperatorError, OSError) as error:
            self._error = str(error)
        self._config, self._reading = config, None
