"""The waits of whoever reads: each ends when reading is to end, and none of them counts as standing still."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_SHORTEST = 4
"""Where much comes, files are looked at up to so many times as often."""

_LAST_LOOK_SECONDS = 0.1
"""So long a wait may take that begins after `stop`: what was read goes along if there is room for it."""


class Waits:
    """Knows whether reading shall end, and whether it moves. For one task."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._wait: asyncio.Timeout | None = None
        self._stepped_at: float | None = None
        """None while reading waits for something else than this host."""
        self.stopping = False

    @property
    def still_for_seconds(self) -> float:
        """How long reading has not taken a step, although it waits for nothing but this host."""
        return 0.0 if self._stepped_at is None else self._clock() - self._stepped_at

    def note_step(self) -> None:
        self._stepped_at = self._clock()

    def over(self) -> None:
        """There will be no more steps."""
        self._stepped_at = None

    def stop(self) -> None:
        """End the wait there is, now."""
        if not self.stopping:
            self.stopping = True
            if self._wait is not None:
                self._wait.reschedule(0)

    async def until_stopped(self, work: Awaitable[T]) -> T | None:
        """What the work gives; None when `stop` came first. The work is cancelled then.

        Done several times a second on an idle host, and so without any task: each would cost more than
        looking for new bytes.
        """
        self._stepped_at = None
        try:
            async with asyncio.timeout(_LAST_LOOK_SECONDS if self.stopping else None) as self._wait:
                return await work
        except TimeoutError:
            return None
        finally:
            self._wait = None
            self.note_step()

    async def see_through(
        self,
        work: Coroutine[Any, Any, None],
        *,
        interval_seconds: float,
        meanwhile: Callable[[], Awaitable[None]],
    ) -> bool:
        """Wait for work that may take very long, and do `meanwhile` now and then; gives whether it was done.

        The work is cancelled when `stop` came first.
        """
        task = asyncio.ensure_future(work)
        try:
            while True:
                await self.until_stopped(asyncio.wait({task}, timeout=interval_seconds))
                if task.done() or self.stopping:
                    break
                await meanwhile()
        finally:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
            return True
        return False


class Pauses:
    """How long to wait between two looks at files that grow.

    Where so much comes that each look finds a request's worth, the looks get closer: what comes then waits
    less, and requests are large enough all the same.
    """

    def __init__(self, interval_seconds: float) -> None:
        self._longest = self._seconds = interval_seconds

    def next_seconds(self, *, much_came: bool) -> float:
        if much_came:
            self._seconds = max(self._seconds / 2, self._longest / _SHORTEST)
        else:
            self._seconds = min(self._seconds * 2, self._longest)
        return self._seconds
