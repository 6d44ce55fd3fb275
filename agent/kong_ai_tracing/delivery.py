"""Batches in; each ends durably in one of two ways: acknowledged by the destination, or spilled to the store.

Positions move over the longest run of batches that have ended, so a slow batch holds nobody back for
longer than the spill delay. Memory is bounded: `submit` waits while too much is on the way, the reader
waits with it, and the log is the buffer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from msgspec import Struct

from kong_ai_tracing.batches import Batch, Body, WireForm
from kong_ai_tracing.gate import Gate
from kong_ai_tracing.ledger import Ledger
from kong_ai_tracing.outcomes import Accepted, Outcome, Refused
from kong_ai_tracing.progress import Progress, Refusal
from kong_ai_tracing.statedir import StoreError
from kong_ai_tracing.store import Restored, Store

log = logging.getLogger(__name__)

_NO_ROOM_RETRY_SECONDS = 1.0
_HEALTH_INTERVAL_MS = 5_000


class Destination(WireForm, Protocol):
    """Where bodies go. `send` never raises for what a network or a disk can do."""

    name: str

    async def send(self, body: Body) -> Outcome: ...

    def split(self, data: bytes) -> list[bytes]: ...

    async def close(self) -> None: ...


class DeliveryLimits(Struct, frozen=True):
    """How much may be on the way, and how long before it rests on disk."""

    spill_after_seconds: float = 2.0
    commit_interval_seconds: float = 0.5
    max_in_flight_bytes: int = 8 << 20
    max_concurrency: int = 4
    outbox_max_bytes: int = 1 << 30
    free_space_floor_bytes: int = 256 << 20


class _Live(Struct):
    """A batch in memory whose end is still open."""

    batch: Batch
    since: float
    sending: bool = False
    spill: bool = False

    @property
    def follows(self) -> int:
        assert self.batch.body is not None, "only bodies are kept"
        return self.batch.body.follows


class Delivery:
    """Sends batches, spills those that wait too long, drains the outbox, commits progress in order."""

    def __init__(
        self,
        destination: Destination,
        store: Store,
        restored: Restored,
        limits: DeliveryLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float],
    ) -> None:
        self.gate = Gate(clock=clock, random=random)
        self.last_accepted_ms: int | None = None
        self._destination = destination
        self._limits = limits
        self._clock = clock
        self._live: OrderedDict[int, _Live] = OrderedDict()
        self._live_bytes = 0
        self._outbox: OrderedDict[int, bool] = OrderedDict.fromkeys(restored.outbox, False)
        """Spilled batches, oldest first; True while one is being sent."""
        self._follows = dict(restored.follows)
        """Of the spilled batches: which must arrive after all up to another number."""
        self._no_room = False
        self._acknowledged: dict[int, Progress] = {}
        self._next = restored.outbox[-1] + 1 if restored.outbox else 1
        self._health_written_ms = 0
        self._moved = asyncio.Condition()
        self._ledger = Ledger(
            store,
            restored,
            moved=self._moved,
            interval_seconds=limits.commit_interval_seconds,
            whole_after_seconds=limits.spill_after_seconds,
            clock=clock,
        )
        self._turn = 0
        self._closing = False

    @property
    def first_number(self) -> int:
        """The number that the first submitted batch must have."""
        return self._next

    @property
    def idle(self) -> bool:
        """True when everything submitted has been delivered."""
        return not self._live and not self._outbox

    @property
    def undelivered_batches(self) -> int:
        return len(self._live) + len(self._outbox)

    @property
    def failing_for_seconds(self) -> float:
        """How long the destination, or the disk, has taken nothing; 0 while both do."""
        since = self._ledger.failing_since
        return max(self.gate.failing_for_seconds, 0.0 if since is None else self._clock() - since)

    @property
    def pause_reason(self) -> str | None:
        """Why `submit` waits, when it does."""
        if self._ledger.failing_since is not None:
            return "the state directory cannot be written"
        if self._no_room:
            return "the outbox is full"
        if self._live_bytes >= self._limits.max_in_flight_bytes:
            return "the destination is slower than the log"
        return None

    async def submit(self, batch: Batch) -> None:
        """Take over a batch; waits while too much is on the way already."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.pause_reason is None)
            if batch.body is None:
                self._acknowledged[batch.number] = batch.progress
                self._settle()
            else:
                self._live[batch.number] = _Live(batch, self._clock())
                if batch.new_roots:
                    self._ledger.announce(batch.number, batch.new_roots)
                self._live_bytes += len(batch.body.data)
            self._moved.notify_all()

    async def secure(self, file_ids: Collection[int]) -> None:
        """Source files are about to vanish: nothing may depend on them any longer."""
        async with self._moved:
            self._spill_older_than(0.0)
            self._settle()
            self._ledger.keep_whole(file_ids)
            self._moved.notify_all()
        self._ledger.hurry()

    async def run(self) -> None:
        """Deliver until cancelled. Raises StoreError when the store turns out to be damaged."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._limits.max_concurrency):
                    tasks.create_task(self._work())
                tasks.create_task(self._spill_on_time())
                tasks.create_task(self._ledger.run())
        except* StoreError as group:
            damage = group
        else:
            return
        raise StoreError(str(_first_of(damage))) from damage

    async def written(self) -> None:
        """Wait until everything that is settled is on disk."""
        await self._ledger.written()

    async def drained(self) -> None:
        """Wait until everything submitted was delivered and written down."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.idle)
        await self.written()

    async def wind_down(self, grace_seconds: float) -> None:
        """Send nothing new; give the requests under way a moment, so that a plain stop repeats nothing."""
        self._closing = True
        async with self._moved:
            self._moved.notify_all()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait_for(lambda: not self._sending), grace_seconds)

    async def finish(self) -> None:
        """After `run` was cancelled: everything that is still open goes to disk, in one commit."""
        self._spill_older_than(float("-inf"))
        self._settle()
        self._ledger.keep_whole()
        self._note_health(force=True)
        await self._ledger.write()

    # -- sending

    @property
    def _sending(self) -> bool:
        return any(live.sending for live in self._live.values()) or any(self._outbox.values())

    async def _work(self) -> None:
        while True:
            number, body = await self._take()
            try:
                await self.gate.pass_through()
                outcome, refusals = await self._send(body)
            except BaseException:
                self.gate.give_up()
                await self._put_back(number)
                raise
            self._report(outcome)
            self.gate.learn(outcome)
            self._note_health()
            if isinstance(outcome, Accepted):
                await self._ended(number, body.spans, refusals)
            else:
                await self._put_back(number)

    async def _take(self) -> tuple[int, Body]:
        """The next batch to send: fresh and spilled ones in turn, each kind oldest first."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._next_live() or self._next_spilled() is not None)
            self._turn += 1
            spilled, live = self._next_spilled(), self._next_live()
            if live is not None and (spilled is None or self._turn % 2):
                live.sending = True
                assert live.batch.body is not None, "only bodies are kept"
                return live.batch.number, live.batch.body
            assert spilled is not None, "one of the two was there"
            self._outbox[spilled] = True
        return spilled, await self._ledger.body(spilled)

    def _next_live(self) -> _Live | None:
        if self._closing:
            return None
        candidates = ((number, live) for number, live in self._live.items() if not live.sending)
        return next(
            (one for n, one in candidates if self._ledger.is_announced(n) and self._may_go(one.follows)), None
        )

    def _next_spilled(self) -> int | None:
        if self._closing:
            return None
        candidates = (number for number, sending in self._outbox.items() if not sending)
        return next(
            (n for n in candidates if self._ledger.is_written(n) and self._may_go(self._follows.get(n, 0))),
            None,
        )

    def _may_go(self, follows: int) -> bool:
        """Have all ended that must arrive before? Of a span, the version that arrives last is kept."""
        return not follows or not any(
            next(iter(numbers), follows + 1) <= follows for numbers in (self._live, self._outbox)
        )

    async def _send(self, body: Body) -> tuple[Outcome, list[Refusal]]:
        """Send a body; when it is refused, halve it until the guilty spans stand alone."""
        outcome = await self._destination.send(body)
        if not isinstance(outcome, Refused):
            return outcome, []
        if body.spans == 1:
            packed = await asyncio.to_thread(body.pack)
            return Accepted(), [Refusal(1, outcome.reason, packed.data)]
        parts = await asyncio.to_thread(lambda: self._destination.split(body.unpack().data))
        refusals: list[Refusal] = []
        for half in (parts[: len(parts) // 2], parts[len(parts) // 2 :]):
            outcome, refused = await self._send(Body(len(half), self._destination.join(half)))
            if not isinstance(outcome, Accepted):
                return outcome, []
            refusals += refused
        return Accepted(), refusals

    def _report(self, outcome: Outcome) -> None:
        if isinstance(outcome, Accepted):
            if not self.gate.healthy:
                log.info("delivery.resumed destination=%s", self._destination.name)
        elif outcome.reason != self.gate.reason:
            log.warning("delivery.failing destination=%s reason=%r", self._destination.name, outcome.reason)

    async def _ended(self, number: int, spans: int, refusals: Sequence[Refusal]) -> None:
        self.last_accepted_ms = time.time_ns() // 1_000_000
        counts = Counter(spans_delivered=spans - len(refusals), requests_accepted=1)
        if refusals:
            counts["spans_refused"] = len(refusals)
            log.error(
                "delivery.refused destination=%s spans=%d reason=%r",
                self._destination.name,
                len(refusals),
                refusals[0].reason,
            )
        async with self._moved:
            # What came of a batch is written down together with its progress, or its going from the outbox:
            # after a crash in between it is sent again, and must not be counted twice.
            outcome = Progress(counts=counts, refused=list(refusals))
            live = self._live.get(number)
            if live is not None:
                live.batch.progress.merge(outcome)
                self._acknowledged[number] = live.batch.progress
            else:
                del self._outbox[number]
                self._follows.pop(number, None)
                self._ledger.delivered(number)
                self._ledger.settle(outcome)
            self._settle()
            self._moved.notify_all()

    async def _put_back(self, number: int) -> None:
        async with self._moved:
            if number in self._live:
                self._live[number].sending = False
            elif number in self._outbox:
                self._outbox[number] = False
            self._moved.notify_all()

    # -- spilling

    async def _spill_on_time(self) -> None:
        while True:
            async with self._moved:
                await self._moved.wait_for(lambda: bool(self._live))
                oldest = next(iter(self._live.values()))
            patience = self._spill_after_seconds
            wait = oldest.since + patience - self._clock()
            if wait > 0:
                await asyncio.sleep(wait)
                continue
            async with self._moved:
                self._spill_older_than(patience)
                self._settle()
                self._moved.notify_all()
            self._ledger.hurry()
            if oldest.batch.number in self._live:
                await asyncio.sleep(_NO_ROOM_RETRY_SECONDS)

    @property
    def _spill_after_seconds(self) -> float:
        """No patience while nothing gets through: waiting would only slow the reader down."""
        return self._limits.spill_after_seconds if self.gate.healthy else 0.0

    def _spill_older_than(self, seconds: float) -> None:
        for live in self._live.values():
            if self._clock() - live.since < seconds:
                break
            live.spill = True

    # -- settling: the only place where progress moves, and only in order

    def _settle(self) -> None:
        """Move over all batches that have ended, in the order in which they were read."""
        self._no_room = False
        while True:
            number = self._next
            live = self._live.get(number)
            if number in self._acknowledged:
                self._ledger.settle(self._acknowledged.pop(number))
            elif live is not None and live.spill and self._spill(live):
                self._ledger.settle(live.batch.progress)
            else:
                return
            if live is not None:
                assert live.batch.body is not None, "only bodies are kept"
                del self._live[number]
                self._live_bytes -= len(live.batch.body.data)
            self._next += 1

    def _spill(self, live: _Live) -> bool:
        """Put a body into the next commit, if the outbox has room for it."""
        assert live.batch.body is not None, "only bodies are kept"
        body = live.batch.body.pack()
        self._no_room = not self._ledger.has_room(
            len(body.data),
            max_bytes=self._limits.outbox_max_bytes,
            free_space_floor_bytes=self._limits.free_space_floor_bytes,
        )
        if self._no_room:
            return False
        self._ledger.spill(live.batch.number, body)
        self._outbox[live.batch.number] = live.sending
        if body.follows:
            self._follows[live.batch.number] = body.follows
        return True

    # -- health, for `status`

    def _note_health(self, *, force: bool = False) -> None:
        now_ms = time.time_ns() // 1_000_000
        if not force and self.gate.healthy and now_ms - self._health_written_ms < _HEALTH_INTERVAL_MS:
            return
        self._health_written_ms = now_ms
        state = "ok" if self.gate.healthy else "holding" if self.gate.holding else "retrying"
        health = {
            "state": state,
            "reason": self.gate.reason,
            "retry_in_seconds": round(self.gate.wait_seconds, 1),
            "last_accepted_ms": self.last_accepted_ms,
            "paused": self.pause_reason,
            "at_ms": now_ms,
        }
        self._ledger.note_health(self._destination.name, health)


def _first_of(group: BaseExceptionGroup[StoreError]) -> BaseException:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
