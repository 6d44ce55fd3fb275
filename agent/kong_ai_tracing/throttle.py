"""How quickly history may be sent: never faster than an operator allows, and after what is written now."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

_BURST_SECONDS = 1.0
"""What was not sent in the last second may be caught up with."""
_LOOK_INTERVAL_SECONDS = 0.5
_MAX_YIELD_SECONDS = 10.0
"""So long each batch lets live traffic go first: one that never passes must not hold up history for ever."""


class Throttle:
    """Gives leave to send so many spans, one asker after the other."""

    def __init__(
        self,
        *,
        spans_per_second: float | None = None,
        is_live_waiting: Callable[[], Awaitable[bool]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._spans_per_second = spans_per_second
        self._is_live_waiting = is_live_waiting
        self._clock = clock
        self._sleep = sleep
        self._free_at = float("-inf")
        """When everything that was sent has been paid for."""
        self._turn = asyncio.Lock()

    @property
    def max_spans(self) -> int | None:
        """A batch may hold what is sent in one second, so that the rate holds within seconds, too."""
        return None if self._spans_per_second is None else max(1, int(self._spans_per_second))

    async def leave(self, spans: int) -> None:
        """Wait until so many spans may be sent. Who is cancelled while waiting has used nothing up."""
        async with self._turn:
            await self._let_live_go_first()
            if self._spans_per_second is None:
                return
            while (wait_seconds := self._free_at - self._clock()) > 0:
                await self._sleep(wait_seconds)
            start = max(self._free_at, self._clock() - _BURST_SECONDS)
            self._free_at = start + spans / self._spans_per_second

    async def _let_live_go_first(self) -> None:
        if self._is_live_waiting is None:
            return
        until = self._clock() + _MAX_YIELD_SECONDS
        while self._clock() < until and await self._is_live_waiting():
            log.debug("backfill.yields")
            await self._sleep(_LOOK_INTERVAL_SECONDS)
