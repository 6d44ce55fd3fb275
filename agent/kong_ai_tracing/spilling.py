"""Batches that wait too long go to the outbox on disk; when it is full, what the operator chose happens."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from kong_ai_tracing.deliveryhealth import DeliveryHealth
from kong_ai_tracing.gate import Gate
from kong_ai_tracing.ledger import Ledger
from kong_ai_tracing.outgoing import Outgoing
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.settlement import Settlement

_NO_ROOM_RETRY_SECONDS = 1.0


class Spilling:
    """Keeps batches in memory for as long as they may, and makes room for them on disk."""

    def __init__(
        self,
        outgoing: Outgoing,
        settlement: Settlement,
        ledger: Ledger,
        gate: Gate,
        health: DeliveryHealth,
        *,
        moved: asyncio.Condition,
        after_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._outgoing = outgoing
        self._settlement = settlement
        self._ledger = ledger
        self._gate = gate
        self._health = health
        self._moved = moved
        self._after_seconds = after_seconds
        self._clock = clock

    async def run(self) -> None:
        """Spill what has waited long enough, until cancelled."""
        while True:
            async with self._moved:
                await self._moved.wait_for(lambda: bool(self._outgoing.live))
                oldest = next(iter(self._outgoing.live.values()))
            patience = self._patience_seconds
            wait = oldest.since + patience - self._clock()
            if wait > 0:
                await asyncio.sleep(wait)
                continue
            async with self._moved:
                self.spill_older_than(patience)
                self._moved.notify_all()
            self._ledger.hurry()
            if oldest.batch.number in self._outgoing.live and not await self._make_room():
                await asyncio.sleep(_NO_ROOM_RETRY_SECONDS)

    def spill_older_than(self, seconds: float) -> None:
        """Let batches that have waited for so long end on disk, as far as there is room."""
        for live in self._outgoing.live.values():
            if self._clock() - live.since < seconds:
                break
            live.spill = True
        self._settlement.settle()

    @property
    def _patience_seconds(self) -> float:
        """No patience while nothing gets through: waiting would only slow the reader down."""
        return self._after_seconds if self._gate.healthy else 0.0

    async def _make_room(self) -> bool:
        """Drop the oldest body of a full outbox, if that is the operator's choice; says whether one went."""
        if not self._settlement.must_drop:
            return False
        async with self._moved:
            number = self._outgoing.oldest_at_rest(self._ledger.is_written)
            if number is None:
                return False
            self._outgoing.take(number)
        body = await self._ledger.body(number)
        if body is None:
            await self._let_go(number, Progress())
            return True
        self._health.tell_dropped()
        full = self._ledger.outbox_bytes
        counts = Counter(spans_dropped=body.spans, calls_dropped=sum(body.calls), batches_dropped=1)
        await self._let_go(number, Progress(counts=counts))
        self._ledger.hurry()
        async with self._moved:
            await self._moved.wait_for(lambda: self._ledger.outbox_bytes < full)
        return True

    async def _let_go(self, number: int, outcome: Progress) -> None:
        async with self._moved:
            self._settlement.has_ended(number, outcome)
            self._moved.notify_all()
