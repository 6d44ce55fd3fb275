"""Batches in; each ends durably in one of two ways: acknowledged by the destination, or spilled to the store.

Positions move over the longest run of batches that have ended, so a slow batch holds nobody back for
longer than the spill delay. Memory is bounded: `submit` waits while too much is on the way, the reader
waits with it, and the log is the buffer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from kong_ai_tracing.batches import Batch, Body
from kong_ai_tracing.company import Company
from kong_ai_tracing.deliveryhealth import DeliveryHealth
from kong_ai_tracing.gate import Gate
from kong_ai_tracing.ledger import Ledger
from kong_ai_tracing.outgoing import Outgoing
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.rotationrisk import Rotations
from kong_ai_tracing.sending import Destination, Receipt, Sender
from kong_ai_tracing.settlement import DeliveryLimits, Settlement
from kong_ai_tracing.spilling import Spilling
from kong_ai_tracing.statedir import DamagedStoreError, StoreError
from kong_ai_tracing.store import Commit, Restored, Store
from kong_ai_tracing.threads import within
from kong_ai_tracing.throttle import Throttle
from kong_ai_tracing.uploads import MediaStore, Uploads

__all__ = ["Delivery", "DeliveryLimits", "Destination"]

log = logging.getLogger(__name__)

_MARKED_INTERVAL_SECONDS = 2.0


class Delivery:
    """Sends batches, spills those that wait too long, drains the outbox, commits progress in order."""

    def __init__(
        self,
        destination: Destination,
        store: Store,
        restored: Restored,
        limits: DeliveryLimits,
        *,
        media_store: MediaStore | None = None,
        throttle: Throttle | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float],
    ) -> None:
        self.gate = Gate(clock=clock, random=random, max_concurrency=limits.max_concurrency)
        self._sender = Sender(destination, self.gate)
        self._limits = limits
        self._throttle = throttle
        self._clock = clock
        self._outgoing = Outgoing(restored.outbox, restored.follows)
        self._moved = asyncio.Condition()
        self._ledger = Ledger(
            store,
            moved=self._moved,
            interval_seconds=limits.commit_interval_seconds,
            whole_after_seconds=limits.spill_after_seconds,
            clock=clock,
        )
        earlier = restored.health.get(destination.name, {})
        self.health = DeliveryHealth(
            destination.name,
            self.gate,
            self._ledger,
            last_accepted_ms=earlier.get("last_accepted_ms"),
            clock=clock,
        )
        first_number = max([0, *restored.outbox]) + 1
        self._settlement = Settlement(self._outgoing, self._ledger, limits, first_number)
        self._spilling = Spilling(
            self._outgoing,
            self._settlement,
            self._ledger,
            self.gate,
            self.health,
            moved=self._moved,
            after_seconds=limits.spill_after_seconds,
            clock=clock,
        )
        self._company = Company(
            self._outgoing,
            self._ledger,
            destination.merge,
            max_bytes=limits.max_merged_bytes,
            is_ready=self._is_on_disk,
            let_go=lambda number: self._let_go([number], Progress()),
        )
        self._passed = False
        """Whether the last request was accepted."""
        self._closing = False
        self._busy = 0
        """How many senders have a batch, under way or waiting at the gate."""
        self._taken = 0
        """The same, with those that are still being read from the disk."""
        self._uploads: Uploads | None = None
        if media_store is not None:
            self._uploads = Uploads(media_store, self._ledger, moved=self._moved, clock=clock, random=random)

    @property
    def first_number(self) -> int:
        """The number that the first submitted batch must have."""
        return self._settlement.next_number

    @property
    def idle(self) -> bool:
        """True when everything submitted has been delivered."""
        return not self._outgoing

    @property
    def undelivered_batches(self) -> int:
        return len(self._outgoing)

    @property
    def spans_on_disk(self) -> int:
        """How many spans wait in the outbox."""
        return self._ledger.outbox_spans

    @property
    def disk_fails(self) -> bool:
        """Whether the state cannot be written at the moment."""
        return self._ledger.failing_since is not None

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
        if self._settlement.is_full:
            return "the outbox is full"
        if self._outgoing.live_bytes >= self._limits.max_in_flight_bytes:
            return "the destination is slower than the log"
        return None

    def stuck(self, limit_seconds: float) -> str | None:
        """Which part has waited for this host alone for longer than that; None when none has."""
        if self._ledger.still_for_seconds > limit_seconds:
            return "committing"
        if self.gate.longest_under_way_seconds > self._sender.patience_seconds + limit_seconds:
            return "sending"
        return None

    async def submit(self, batch: Batch, *, at_once: bool = False) -> None:
        """Take over a batch; waits while too much is on the way already, or too much was for its rate.

        `at_once`: it waits for nothing, because `finish` is to follow.
        """
        if self._throttle is not None and batch.body is not None and not at_once:
            await self._throttle.leave(batch.body.spans)
        async with self._moved:
            if not at_once:
                await self._room_for_batch(batch)
            if batch.body is None:
                self._settlement.nothing_to_send(batch)
            else:
                self._outgoing.add(batch, batch.body, self._clock())
                if batch.new_roots:
                    self._ledger.announce(batch.number, batch.new_roots)
            self._moved.notify_all()

    async def _room_for_batch(self, batch: Batch) -> None:
        with self.health.timed_pause():
            await self._moved.wait_for(lambda: self.pause_reason is None and self._has_written_media(batch))
        self.health.tell_resumed(self.pause_reason)

    async def room_for(self, size: int) -> None:
        """Wait until there is room for so much, or nothing is left in memory that could leave it."""
        self._ledger.hurry()
        async with self._moved:
            await self._moved.wait_for(lambda: self._has_room_for(size))

    def _has_room_for(self, size: int) -> bool:
        ledger = self._ledger
        taken = self._outgoing.live_bytes + ledger.unwritten_body_bytes + ledger.unwritten_media_bytes
        return not taken or taken + size <= self._limits.max_in_flight_bytes

    def _has_written_media(self, batch: Batch) -> bool:
        """Whether not too much that is to be uploaded waits in memory, beside what this batch holds."""
        waiting = self._ledger.unwritten_media_bytes - batch.progress.media_bytes
        return waiting < self._limits.max_in_flight_bytes

    def take_room_for_medium(self, size: int) -> bool:
        """Whether a medium may be uploaded. Yes is a promise that it will be submitted."""
        return self._uploads is not None and self._ledger.take_room_for_medium(
            size,
            max_bytes=self._limits.outbox_max_bytes // 2,
            free_space_floor_bytes=self._limits.free_space_floor_bytes,
        )

    async def secure(self, file_ids: Collection[int]) -> None:
        """Source files are about to vanish: nothing may depend on them any longer."""
        async with self._moved:
            self._spilling.spill_older_than(0.0)
            self._ledger.keep_whole(file_ids)
            self._moved.notify_all()
        self._ledger.hurry()

    def unwritten_files(self) -> set[int]:
        """The files that batches have progress of which is not on disk."""
        return self._settlement.unsettled_files() | self._ledger.unwritten_files()

    async def run(self) -> None:
        """Deliver until cancelled. Raises StoreError when the store turns out to be damaged."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._limits.max_concurrency):
                    tasks.create_task(self._work())
                tasks.create_task(self._spilling.run())
                tasks.create_task(self._ledger.run())
                if self._uploads is not None:
                    tasks.create_task(self._uploads.run())
                tasks.create_task(self._take_up_marked())
        except* StoreError as group:
            damage = group
        else:
            return
        raise _first_of(damage)

    @property
    def unwritten(self) -> Commit:
        """After a run that a damaged store ended: what was settled and is not on disk."""
        return self._ledger.unwritten

    async def written(self) -> None:
        """Wait until everything that is settled is on disk."""
        await self._ledger.written()

    async def drained(self) -> None:
        """Wait until everything submitted was delivered and written down."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.idle)
        await self.written()

    async def uploaded(self, patience_seconds: float) -> bool:
        """Wait until all media were uploaded, and whether they were. A media store that takes nothing for
        `patience_seconds`, or until an operator acts, is not waited for."""
        if self._uploads is None:
            return True
        done = await self._uploads.drained(patience_seconds)
        await self.written()
        return done

    async def wind_down(self, grace_seconds: float) -> None:
        """Send nothing new; give the requests under way a moment, so that a plain stop repeats nothing."""
        self._closing = True
        self.gate.close()
        async with self._moved:
            self._moved.notify_all()
            await within(grace_seconds, self._moved.wait_for(lambda: self._busy <= self.gate.waiting))

    async def finish(self) -> None:
        """After `run` was cancelled: everything that is still open goes to disk, in one commit."""
        self._spilling.spill_older_than(float("-inf"))
        self._ledger.keep_whole()
        self.health.note(self.pause_reason)
        await self._ledger.write()
        if self._uploads is not None:
            await self._uploads.close()

    # -- sending

    async def _work(self) -> None:
        while True:
            # Passed on without a name: a body would stay in memory for as long as the next one is waited for.
            await self._deliver(*await self._take())

    async def _deliver(self, numbers: list[int], body: Body) -> None:
        self._busy += 1
        try:
            receipt = await self._sender.deliver(body)
        except BaseException:
            await self._put_back(numbers)
            raise
        self._passed = receipt is not None
        self.health.tell_answer(self.pause_reason, accepted=self._passed)
        if receipt is None:
            await self._put_back(numbers)
        else:
            await self._ended(numbers, receipt)
        async with self._moved:
            self._busy -= 1
            self._taken -= 1
            self._moved.notify_all()

    async def _take(self) -> tuple[list[int], Body]:
        """What to send next: a batch, or some of the outbox that go together."""
        while True:
            async with self._moved:
                await self._moved.wait_for(lambda: self._next_number is not None)
                number = self._next_number
                assert number is not None, "nothing happened since it was there"
                self._outgoing.take(number)
                self._taken += 1
                live = self._outgoing.live.get(number)
            if live is not None:
                return [number], live.body
            body = await self._ledger.body(number)
            if body is None:
                self._taken -= 1
                await self._let_go([number], Progress())
            elif self._throttle is not None:
                await self._throttle.leave(body.spans)
                return [number], body
            elif self._passed:
                return await self._company.of(number, body)
            else:
                return [number], body

    async def _take_up_marked(self) -> None:
        """Refused bodies that an operator wants to be sent again join the outbox."""
        while True:
            await asyncio.sleep(_MARKED_INTERVAL_SECONDS)
            try:
                numbers = await self._ledger.take_marked()
            except DamagedStoreError:
                raise
            except StoreError:
                continue  # the ledger tells of it
            if numbers:
                log.info("refused.retrying batches=%d", len(numbers))
                async with self._moved:
                    self._outgoing.rejoin(numbers)
                    self._moved.notify_all()

    @property
    def _next_number(self) -> int | None:
        """None also when the gate would let nothing more through: what is new then can still go first."""
        if self._closing or self._taken >= self.gate.allowed:
            return None
        return self._outgoing.next(self._is_on_disk)

    def _is_on_disk(self, number: int) -> bool:
        """Whether what must be on disk before a batch is sent is there."""
        return self._ledger.is_announced(number) and self._ledger.is_written(number)

    async def _ended(self, numbers: list[int], receipt: Receipt) -> None:
        counts = Counter(
            spans_delivered=receipt.delivered, calls_delivered=receipt.calls_delivered, requests_accepted=1
        )
        if receipt.shortened:
            counts["spans_shortened"] = receipt.shortened
        if receipt.refusals:
            counts["spans_refused"] = len(receipt.refusals)
            counts["calls_refused"] = receipt.calls_refused
            self.health.tell_refused(receipt.refusals)
        await self._let_go(numbers, Progress(counts=counts, refused=receipt.refusals))

    async def _let_go(self, numbers: list[int], outcome: Progress) -> None:
        """Batches that were sent together have one outcome, and leave with one commit."""
        async with self._moved:
            self._settlement.has_ended(numbers[0], outcome)
            for number in numbers[1:]:
                self._settlement.has_ended(number, Progress())
            self._moved.notify_all()

    async def _put_back(self, numbers: list[int]) -> None:
        async with self._moved:
            self._outgoing.put_back(numbers)
            self._moved.notify_all()

    # -- what an operator is told

    def note_rotations(self, rotations: Iterable[Rotations]) -> None:
        """Write down what was learned of rotation: at once, also while nothing can be settled."""
        self._ledger.note_rotations(rotations)

    def tell_pause(self) -> None:
        """Say once why reading waits; for the reader to call when `submit` has waited for a while."""
        self.health.tell_pause(self.pause_reason)


def _first_of(group: BaseExceptionGroup[StoreError]) -> BaseException:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
