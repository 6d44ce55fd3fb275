"""Calls that waited for company when an earlier run ended: in again, as if they had just been read.

Of most of them the state has the place of their line only, which is read again. That waits while its file is
out of sight, and a call whose line is gone is counted and set aside.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from kong_ai_tracing.calls import AICall
from kong_ai_tracing.gathering import Gathering
from kong_ai_tracing.linereader import LineReader
from kong_ai_tracing.lines import Line, Origin, OutOfSightError, SetAside
from kong_ai_tracing.logtime import LogTime
from kong_ai_tracing.protection import SAMPLED_OUT
from kong_ai_tracing.storerows import HeldCall

log = logging.getLogger(__name__)


class Rereader(Protocol):
    async def __call__(self, origin: Origin) -> Line | None:
        """An earlier line; None when it is gone. Raises OutOfSightError when that cannot be said yet."""
        ...


class HeldCalls:
    """Takes them up into the groups of this run."""

    def __init__(self, reader: LineReader, gathering: Gathering, log_time: LogTime) -> None:
        self._reader = reader
        self._gathering = gathering
        self._log_time = log_time
        self._reread: Rereader
        self._out_of_sight: list[HeldCall] = []
        """Those whose lines could not be read again yet."""

    async def restore(
        self, calls: Iterable[HeldCall], reread: Rereader, note_step: Callable[[], None]
    ) -> None:
        """Take up what an earlier run left; `note_step` is called before each."""
        self._reread = reread
        for held in calls:
            note_step()
            if held.call is None:
                await self._take_up(held)
            else:
                self._hold(held.call)

    async def look_again(self) -> None:
        """After a scan: files that were out of sight may have turned up, or be gone for good."""
        left, self._out_of_sight = self._out_of_sight, []
        for held in left:
            await self._take_up(held)

    async def _take_up(self, held: HeldCall) -> None:
        try:
            line = await self._reread(held.origin)
        except OutOfSightError:
            self._out_of_sight.append(held)
            return
        progress = self._gathering.progress
        progress.released.add(held.call_id)  # its place; what follows may write it down anew
        protected = None if line is None else self._reader.call(line, held.call_id)
        if protected is None:
            log.error("held.lost file=%s offset=%d", held.origin.file, held.origin.offset)
            progress.counts["calls_lost"] += 1
            progress.set_aside.append(SetAside(held.origin, "gone before it was delivered"))
            return
        progress.add_media(protected.media)  # a repeat, which Langfuse knows
        if not protected.calls:
            progress.counts[SAMPLED_OUT] += 1
        for call in protected.calls:
            progress.held[call.id] = call
            self._hold(call)

    def _hold(self, call: AICall) -> None:
        self._log_time.advance(call.observation.ended_at_ms)
        self._gathering.hold([call], self._log_time.now_ms)
