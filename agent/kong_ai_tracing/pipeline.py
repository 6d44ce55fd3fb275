"""The whole way, in the order in which it happens: from the files of a Kong host to delivered batches.

files → lines → entries → calls → traces → spans → batches → delivery. Live, `--once` and backfill are
this same code with another source of files or another end. Everything between the files and the batches
is plain functions over values; this module moves the values and keeps the book of progress.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from typing import Any, Protocol, cast

from msgspec import Struct

from kong_ai_tracing.batches import Batch, Batcher
from kong_ai_tracing.files import Chunk, Passed, ScanResult
from kong_ai_tracing.gathering import Gathering
from kong_ai_tracing.heldcalls import HeldCalls, Rereader
from kong_ai_tracing.identity import Position
from kong_ai_tracing.linereader import Kind, LineReader, ReadChunk, Reading
from kong_ai_tracing.lines import Line, OversizedLine, SetAside, marker_of
from kong_ai_tracing.logtime import LogTime
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.rotationrisk import Rotations
from kong_ai_tracing.store import Restored
from kong_ai_tracing.traces import Grouping
from kong_ai_tracing.waits import Pauses, Waits

log = logging.getLogger(__name__)

_MAX_MEDIA_BYTES = 4 << 20
"""With so many bytes to upload a batch is closed."""
_HEAVY_BYTES = 1 << 20
"""A longer line is read when what was read before has left the memory, or nearly so."""
_EVENT_PAUSE_SECONDS = 0.05
_TICK_SECONDS = 0.001
"""Groups wait in whole milliseconds: a wait for one ends when its time is over."""


_COUNTED_AS: dict[Kind, str] = {
    "calls": "lines_calls",
    "malformed": "lines_malformed",
    "other": "lines_other",
}


class Source(Protocol):
    """Where lines come from: live files, or an archive."""

    @property
    def wants_scan(self) -> bool:
        """True when reading met something that only a scan can settle."""
        ...

    async def scan(self, unwritten: Collection[int] = ()) -> ScanResult:
        """`unwritten`: files of which lines were given out that are not on disk; none of them is done."""
        ...

    async def read(self) -> Chunk | None: ...


class Submission(Protocol):
    """Where batches go."""

    async def submit(self, batch: Batch, *, at_once: bool = False) -> None:
        """Waits for room, if not `at_once`."""
        ...

    async def room_for(self, size: int) -> None: ...

    async def written(self) -> None: ...

    async def secure(self, file_ids: Collection[int]) -> None: ...

    def unwritten_files(self) -> set[int]:
        """The files that batches have progress of which is not on disk."""
        ...

    def note_rotations(self, rotations: Iterable[Rotations]) -> None: ...

    def tell_pause(self) -> None: ...

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, nor waits to be sent."""
        ...


class Wake(Protocol):
    """What ends a wait early."""

    async def wait(self, timeout_seconds: float) -> bool:
        """True when something happened in a watched directory."""
        ...

    @property
    def tells_of_writes(self) -> bool:
        """Whether nothing that is read now can grow without ending a wait."""
        ...

    def note_lines(self, file_id: int) -> None:
        """Lines of a file were read."""
        ...


class Rhythm(Struct, frozen=True):
    """How often to look for new bytes and for new files."""

    poll_interval_seconds: float = 0.25
    scan_interval_seconds: float = 2.0


class Pipeline:
    """Carries lines from a source to a delivery until it is stopped, or until the source has no more."""

    def __init__(
        self,
        source: Source,
        reader: LineReader,
        grouping: Grouping,
        batcher: Batcher,
        delivery: Submission,
        *,
        rhythm: Rhythm,
        wake: Wake,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._reader = reader
        self._gathering = Gathering(grouping, batcher)
        self._delivery = delivery
        self._rhythm = rhythm
        self._wake = wake
        self._clock = clock
        self._ends: dict[int, tuple[int, bytes]] = {}
        """Of each file, where the newest line that the open batch covers ends, and its last bytes."""
        self._log_time = LogTime(clock)
        self._held_calls = HeldCalls(reader, self._gathering, self._log_time)
        self._pauses = Pauses(rhythm.poll_interval_seconds)
        self._filled = False
        """Whether a batch was filled since all was read the last time."""
        self._scan_due_at = clock()
        self._waits = Waits(clock)
        self._in_hand: set[int] = set()
        """The files of the chunk on its way, and of the batch that waits for room."""
        self.following = False
        """True when it is on disk which files there are: nothing that is written from now on is missed."""
        self.finished = False
        """True when `run_to_end` has given everything there was to the delivery."""

    async def restore(self, restored: Restored, reread: Rereader) -> None:
        """Take up what an earlier run knew of its traces, and the calls that waited for company."""
        self._gathering.restore(restored.remembered, restored.roots)
        await self._held_calls.restore(restored.held, reread, self._waits.note_step)

    async def run_live(self, last_look: Callable[[], Awaitable[ScanResult]] | None = None) -> None:
        """Follow the source until `stop`; `last_look` says then which files are done."""
        await self._begin()
        while not self.stopping:
            if not await self._step():
                await self._rest()
        if last_look is not None:
            # All that was given out is in the open batch, or with the delivery: which settle in this order.
            self._take_scan(await last_look())
        await self._close_batch()
        self._waits.over()

    async def run_to_end(self) -> None:
        """Read what there is now, give everything to the delivery, and return."""
        await self._begin()
        while not self.stopping and await self._step():
            pass
        self._take_scan(await self._source.scan())  # what was noticed since the last one
        if not self.stopping:
            await self._release(at_once=True)
        await self._close_batch()
        self._waits.over()
        self.finished = not self.stopping

    @property
    def stopping(self) -> bool:
        return self._waits.stopping

    @property
    def still_for_seconds(self) -> float:
        """How long reading has not taken a step, although it waits for nothing but this host."""
        return self._waits.still_for_seconds

    def stop(self) -> None:
        """End `run_live` or `run_to_end` at the next line."""
        self._waits.stop()

    async def _begin(self) -> None:
        """Write down which files there are before the first line is read.

        What is history at the first start, and what is a generation that was missed, is decided by what
        the first scan found: that must survive a crash in the next moment.
        """
        await self._scan()
        await self._close_batch()
        await self._see_through(self._delivery.written())
        self.following = not self.stopping

    async def _step(self) -> bool:
        """Carry one chunk along the way. False when nothing is unread."""
        self._waits.note_step()
        if self._clock() >= self._scan_due_at or self._source.wants_scan:
            await self._scan()
        chunk = await self._source.read()
        if chunk is None:
            return False
        self._log_time.end_idle()
        self._wake.note_lines(chunk.file_id)
        if chunk.passed is not None:
            self._pass_over(chunk.passed)
        items, readings = chunk.items, chunk.readings if isinstance(chunk, ReadChunk) else []
        items.reverse()
        readings.reverse()
        self._in_hand = {chunk.file_id}
        # To its end, also when reading is to stop: its file may be gone by the next start.
        while items:
            if len(items[-1].data) > _HEAVY_BYTES:
                await self._make_way(len(items[-1].data))
            readings = readings or self._reader.read_few(items)
            self._carry(items, readings)
            if self._gathering.full or self._progress.media_bytes >= _MAX_MEDIA_BYTES:
                self._filled = True
                await self._close_batch()
        self._in_hand = set()
        return True

    async def _make_way(self, size: int) -> None:
        """What a line of megabytes becomes on its way is several times as large: so it goes alone."""
        await self._close_batch()
        await self._see_through(self._delivery.room_for(size))

    async def _rest(self) -> None:
        """Nothing to read: let waiting groups and the open batch come of age, then wait for more."""
        self._log_time.pass_idle()
        await self._release()
        pause_seconds = self._pauses.next_seconds(much_came=self._filled or self._gathering.large)
        self._filled = False
        if self._sends_in_seconds == 0 or (self._has_progress and not self._gathering.sends):
            await self._close_batch()
        if self.stopping:
            return
        if await self._waits.until_stopped(self._wake.wait(self._patience_seconds(pause_seconds))):
            self._scan_due_at = self._clock()
            # A directory in which much happens must not keep us busy: one look answers for many events.
            await asyncio.sleep(_EVENT_PAUSE_SECONDS)

    def _patience_seconds(self, pause_seconds: float) -> float:
        """How long files need not be looked at: until the next scan, where none of them grows unheard."""
        sends_in_seconds = self._sends_in_seconds
        if sends_in_seconds is not None:
            return min(pause_seconds, sends_in_seconds + _TICK_SECONDS)
        if self._has_progress or not self._wake.tells_of_writes:
            return pause_seconds
        return max(pause_seconds, self._scan_due_at - self._clock())

    @property
    def _sends_in_seconds(self) -> float | None:
        """How long it is until a batch shall be closed; None when no call waits."""
        if self._gathering.full:
            return 0.0
        return self._gathering.sends_in_seconds(self._log_time.now_ms, at_once=self._delivery.idle)

    def _pass_over(self, passed: Passed) -> None:
        """What was delivered before is not sent again, and counts."""
        file_id, calls, progress = passed.position.file_id, passed.calls, self._progress
        self._ends.pop(file_id, None)
        progress.positions[file_id] = passed.position
        progress.calls[file_id] += calls or 0
        progress.counts["calls_found"] += calls or 0
        progress.counts["calls_already_there"] += calls or 0
        if calls is None:
            progress.counts["bytes_already_there"] += passed.bytes

    # -- lines → calls → spans

    def _carry(self, items: list[Line | OversizedLine], readings: list[Reading | None]) -> None:
        """The last of the lines the whole way down to the open batch, from its reading on if there is one."""
        item = items[-1]
        file_id = item.file_id
        self._ends[file_id] = item.end, item.tail
        self._progress.counts["lines"] += 1
        reading = readings.pop() if readings else None
        if isinstance(item, OversizedLine):
            self._progress.counts["lines_malformed"] += 1
            self._set_aside(SetAside(item.origin, "longer than max_line_bytes"))
            items.pop()
            return
        del item
        if reading is None:
            # Nobody but the reader has the line then: what is made of it is large enough.
            reading = self._reader.read(cast(Line, items.pop()))
        else:
            items.pop()
        self._take(file_id, reading)

    def _take(self, file_id: int, reading: Reading) -> None:
        """What a line holds, down to the open batch."""
        counts = self._progress.counts
        counts[_COUNTED_AS[reading.kind]] += 1
        if reading.found:
            counts["calls_found"] += reading.found
            counts["calls_filtered"] += reading.filtered
            self._progress.calls[file_id] += reading.found - reading.filtered
        if reading.counts:
            counts.update(reading.counts)
            self._progress.add_media(reading.media)
        for each in reading.set_aside:
            self._set_aside(each)
        for calls in reading.groups:
            counts["calls"] += len(calls)
            self._log_time.advance(calls[0].observation.ended_at_ms)
            self._gathering.add(calls, self._log_time.now_ms)
        if reading.encoded is not None:
            counts["calls"] += sum(reading.encoded.calls)
            self._log_time.advance(reading.encoded.ended_at_ms)
            self._gathering.add_encoded(reading.encoded, self._log_time.now_ms)

    async def _release(self, *, at_once: bool = False) -> None:
        """Let the groups go whose waiting is over, in as many batches as they fill."""
        self._gathering.fill(self._log_time.now_ms, at_once=at_once)
        while self._gathering.full and not self.stopping:
            await self._close_batch()
            self._gathering.fill(self._log_time.now_ms, at_once=at_once)

    def _set_aside(self, item: SetAside) -> None:
        # Without the offset, so that many such lines of one file are told in few words; the store has it.
        log.warning("line.set_aside file=%s reason=%r", item.origin.file, item.reason)
        self._progress.set_aside.append(item)

    # -- spans → batches → delivery

    @property
    def _progress(self) -> Progress:
        """Of the open batch."""
        return self._gathering.progress

    @property
    def _has_progress(self) -> bool:
        return bool(self._ends) or bool(self._progress)

    async def _close_batch(self) -> None:
        """Hand the open batch to the delivery, together with the progress that its end settles."""
        if not self._has_progress and not self._gathering.sends:
            return
        progress = self._progress
        for file_id, (end, tail) in self._ends.items():
            progress.positions[file_id] = Position(file_id, end, marker_of(tail))
        self._ends = {}
        batch, others = self._gathering.close(), self._in_hand
        self._in_hand = others | batch.progress.positions.keys()
        if not await self._see_through(self._delivery.submit(batch)):
            # Reading ends, and the delivery writes down what it has: so this must be with it.
            await self._delivery.submit(batch, at_once=True)
        self._in_hand = others

    async def _see_through(self, work: Coroutine[Any, Any, None]) -> bool:
        """Wait for the delivery, which may have no room for as long as Langfuse or the disk are away.

        False when reading is to end, and the wait was given up.
        """
        return await self._waits.see_through(
            work, interval_seconds=self._rhythm.scan_interval_seconds, meanwhile=self._look_meanwhile
        )

    async def _look_meanwhile(self) -> None:
        """While the delivery has no room, rotated files are still found and held open."""
        self._delivery.tell_pause()
        if leaving := await self._look():
            await self._delivery.secure(leaving)

    async def _scan(self) -> None:
        self._scan_due_at = self._clock() + self._rhythm.scan_interval_seconds
        leaving = await self._look()
        await self._held_calls.look_again()
        if leaving:
            await self._delivery.secure(leaving)  # which makes room for the rest of it
            await self._close_batch()
            await self._delivery.secure(leaving)

    async def _look(self) -> set[int]:
        """Find out which files there are; gives those whose lines another run may not find."""
        unwritten = self._in_hand | self._ends.keys() | self._delivery.unwritten_files()
        result = await self._source.scan(unwritten)
        self._take_scan(result)
        return {*result.vanishing, *result.retired}

    def _take_scan(self, result: ScanResult) -> None:
        for notice in result.notices:
            log.warning("file.%s path=%s note=%r", notice.kind, notice.path, notice.message)
            if notice.lost_bytes:
                self._progress.counts["bytes_lost"] += notice.lost_bytes
        if result.rotations:
            self._delivery.note_rotations(result.rotations)
        for record in result.records:
            self._progress.records[record.file_id] = record
        self._progress.looks.extend(result.looks)
        self._progress.retired.extend(result.retired)
