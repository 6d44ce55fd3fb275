"""The whole way with its two ends in the hands of the test: what is read, and what became of it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from typing import Any

import pytest

from kong_ai_tracing.batches import Batch, Batcher
from kong_ai_tracing.calls import CallSettings
from kong_ai_tracing.files import Chunk, ScanResult
from kong_ai_tracing.linereader import LineReader
from kong_ai_tracing.lines import Line, Origin
from kong_ai_tracing.notices import Notice
from kong_ai_tracing.pipeline import Pipeline, Rhythm
from kong_ai_tracing.privacy import Privacy, PrivacySettings
from kong_ai_tracing.protection import Protection
from kong_ai_tracing.redact import RedactionSettings, Redactor
from kong_ai_tracing.spans import Span
from kong_ai_tracing.store import Restored
from kong_ai_tracing.storerows import HeldCall
from kong_ai_tracing.traces import Grouping
from kong_writer import kong_line, observation_id

OTHER_TRAFFIC = b'{"request":{"id":"1"},"response":{"status":200},"started_at":1}\n'
MAX_BATCH_BYTES = 200
BATCH_AGE_SECONDS = 0.5
GROUP_IDLE_SECONDS = 2.0
FIRST, LATE = 10, 764
"""Two lines of one trace; the second comes 15 s of log time later."""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Gives what the test puts in; None in between means that all is read."""

    wants_scan = False

    def __init__(self) -> None:
        self.unread: deque[bytes | None] = deque()
        self.offset = 0
        self.notices: list[Notice] = []
        self.ended = False
        """Whether the file is done as soon as all that was given out of it is on disk."""

    async def scan(self, unwritten: Collection[int] = ()) -> ScanResult:
        notices, self.notices = self.notices, []
        done = self.ended and 1 not in unwritten
        self.ended = self.ended and not done
        return ScanResult(notices, [], [1] if done else [], [])

    async def read(self) -> Chunk | None:
        text = self.unread.popleft() if self.unread else None
        if text is None:
            return None
        lines = []
        for data in text.splitlines(keepends=True):
            lines.append(Line("/log", 1, self.offset, data.removesuffix(b"\n")))
            self.offset += len(data)
        return Chunk(1, [*lines])


class Form:
    def encode(self, span: Span) -> bytes:
        return f"{span.id}<{span.parent_id}".encode()

    def join(self, spans: Sequence[bytes]) -> bytes:
        return b" ".join(spans)


class Taker:
    """A delivery that takes everything at once."""

    def __init__(self, clock: Clock) -> None:
        self.idle = True
        self.clock = clock
        self.batches: list[Batch] = []
        self.sent_at: list[float] = []
        """When each batch with a body came."""
        self.disk = asyncio.Event()
        self.disk.set()
        self.batches_before_heavy: list[int] = []
        """How many had come whenever a heavy line was about to be read."""

    async def submit(self, batch: Batch, *, at_once: bool = False) -> None:
        self.batches.append(batch)
        if batch.body is not None:
            self.sent_at.append(self.clock.now)

    async def room_for(self, size: int) -> None:
        self.batches_before_heavy.append(len(self.batches))

    async def written(self) -> None:
        await self.disk.wait()

    async def secure(self, file_ids: set[int]) -> None:
        return

    def unwritten_files(self) -> set[int]:
        return set()

    def tell_pause(self) -> None:
        return

    @property
    def spans(self) -> dict[str, str]:
        """Parent by span."""
        parts = [part for batch in self.batches if batch.body for part in batch.body.data.decode().split()]
        return dict(part.split("<") for part in parts)


class Wake:
    """Each wait lasts a second of the test's clock, or with `exact` as long as it may."""

    tells_of_writes = False

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.exact = False

    def note_lines(self, file_id: int) -> None:
        pass

    async def wait(self, timeout_seconds: float) -> bool:
        self.clock.now += timeout_seconds if self.exact else 1
        await asyncio.sleep(0)
        return False


class Rig:
    def __init__(self, rhythm: Rhythm = Rhythm()) -> None:  # noqa: B008 - it is frozen
        self.clock = Clock()
        self.source = Source()
        self.taker = Taker(self.clock)
        self.wake = Wake(self.clock)
        batcher = Batcher(
            Form(),
            first_number=1,
            max_bytes=MAX_BATCH_BYTES,
            max_age_seconds=BATCH_AGE_SECONDS,
            clock=self.clock,
        )
        self.pipeline = Pipeline(
            self.source,
            LineReader(CallSettings(), Protection(Privacy(PrivacySettings()), Redactor(RedactionSettings()))),
            Grouping(),
            batcher,
            self.taker,
            rhythm=rhythm,
            wake=self.wake,
            clock=self.clock,
        )

    def held(self, call_id: str, origin: Origin) -> Restored:
        """A store with one call that waits, by its place."""
        return Restored([], [HeldCall(call_id, origin, None)], [], {}, [], {})

    async def live(self, until: Any) -> None:
        running = asyncio.create_task(self.pipeline.run_live())
        async with asyncio.timeout(90):
            while not until():  # noqa: ASYNC110 - every step of the pipeline may make it true
                await asyncio.sleep(0)
            self.pipeline.stop()
            await running


@pytest.fixture
async def rig() -> Rig:
    return Rig()


async def test_a_waiting_call_leaves_although_other_traffic_goes_on(rig: Rig) -> None:
    """A line every second must not stop the time for the call that waits for company."""
    rig.source.unread += [kong_line(1, 0, shared=True), *[None, OTHER_TRAFFIC] * 30]
    await rig.live(until=lambda: rig.taker.spans or not rig.source.unread)
    assert observation_id(1, 0) in rig.taker.spans
    assert rig.source.unread, "it left only when the other traffic was over"


async def test_a_group_is_sent_when_its_waiting_is_over_and_not_a_look_later() -> None:
    """The reader wakes for it, however seldom files are looked at."""
    rig = Rig(Rhythm(poll_interval_seconds=60.0, scan_interval_seconds=60.0))
    rig.wake.exact = True
    read_at = rig.clock.now
    rig.source.unread += [kong_line(1, 0, shared=True)]
    await rig.live(until=lambda: rig.taker.sent_at)
    assert rig.taker.sent_at == [pytest.approx(read_at + GROUP_IDLE_SECONDS, abs=0.0015)]


async def test_after_a_silence_a_call_is_sent_at_once(rig: Rig) -> None:
    """One more comes no sooner than the age of a batch after it: no more requests than before."""
    rig.wake.exact = True
    read_at = rig.clock.now
    rig.source.unread += [kong_line(1, 0), None, kong_line(1, 1), None, kong_line(1, 2)]
    await rig.live(until=lambda: len(rig.taker.spans) == 3)
    assert rig.taker.sent_at == [read_at, pytest.approx(read_at + BATCH_AGE_SECONDS, abs=0.0015)]


async def test_while_the_destination_is_busy_a_batch_is_sent_at_its_age(rig: Rig) -> None:
    """What it cannot take at once may as well grow."""
    rig.wake.exact = True
    rig.taker.idle = False
    read_at = rig.clock.now
    rig.source.unread += [kong_line(1, 0), None, kong_line(1, 1)]
    await rig.live(until=lambda: len(rig.taker.spans) == 2)
    assert rig.taker.sent_at == [pytest.approx(read_at + BATCH_AGE_SECONDS, abs=0.0015)]


async def test_a_large_batch_is_sent_when_all_is_read(rig: Rig) -> None:
    """It is worth a request although one went just before."""
    rig.wake.exact = True
    read_at = rig.clock.now
    large = b"".join(kong_line(1, seq) for seq in range(1, 4))
    rig.source.unread += [kong_line(1, 0), None, large]
    await rig.live(until=lambda: len(rig.taker.spans) == 4)
    assert rig.taker.sent_at == [read_at, read_at + Rhythm().poll_interval_seconds]


async def test_history_is_grouped_as_it_was_live(rig: Rig) -> None:
    """A call that comes 15 s of log time after its trace is late, also when nothing stands between them."""
    rig.source.unread += [kong_line(1, FIRST, shared=True), kong_line(1, LATE, shared=True)]
    await rig.pipeline.run_to_end()
    assert rig.taker.spans[observation_id(1, FIRST)] == "None"
    assert rig.taker.spans[observation_id(1, LATE)] == observation_id(1, FIRST)


async def test_many_groups_that_leave_together_fill_many_batches(rig: Rig) -> None:
    """One body with all of them would be larger than a server takes."""
    rig.source.unread += [kong_line(1, seq, shared=True) for seq in range(90)]
    await rig.pipeline.run_to_end()
    sizes = [len(batch.body.data) for batch in rig.taker.batches if batch.body]
    assert len(rig.taker.spans) > 90
    assert max(sizes) < 2 * MAX_BATCH_BYTES
    assert sum(batch.progress.counts["calls"] for batch in rig.taker.batches) == 90


async def test_a_batch_settles_just_the_lines_whose_calls_are_in_it(rig: Rig) -> None:
    """Lines are read a few at a time, and a batch may be full after any of them: a crash loses none."""
    lines = [kong_line(1, seq) for seq in range(40)]
    rig.source.unread.append(b"".join(lines))
    await rig.pipeline.run_to_end()
    sent = 0
    for batch in rig.taker.batches:
        sent += batch.body.spans if batch.body else 0
        assert batch.progress.positions[1].offset == sum(map(len, lines[:sent]))
    assert list(rig.taker.spans) == [observation_id(1, seq) for seq in range(40)]


async def test_a_stop_does_not_wait_for_a_disk_that_takes_nothing(rig: Rig) -> None:
    """The first commit may wait for room or for a lock of another program."""  # covers PRC-03
    rig.taker.disk.clear()
    running = asyncio.create_task(rig.pipeline.run_live())
    await asyncio.sleep(0.01)
    rig.pipeline.stop()
    async with asyncio.timeout(30):
        await running


async def test_what_was_read_before_a_stop_goes_along(rig: Rig) -> None:
    """Its file may be gone at the next start."""
    rig.source.unread += [kong_line(1, 0)]
    await rig.live(until=lambda: not rig.source.unread)
    assert list(rig.taker.spans) == [observation_id(1, 0)]


async def test_a_line_of_megabytes_goes_alone(rig: Rig) -> None:
    """In memory it becomes several times as large: what was read before leaves first, and so does it."""
    heavy = kong_line(1, 1, padding_bytes=2 << 20)
    rig.source.unread += [kong_line(1, 0), heavy, kong_line(1, 2), heavy]
    await rig.pipeline.run_to_end()
    assert rig.taker.batches_before_heavy == [1, 2]
    assert [batch.body.spans for batch in rig.taker.batches if batch.body] == [1, 2, 1]


async def test_lost_bytes_are_counted(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """They are told, and added up in the step that says that their file has ended."""
    # covers TRU-02
    rig.source.notices = [Notice("truncated", "/log", "was cut", 300), Notice("gone", "/log.1", "is gone")]
    rig.source.ended = True
    await rig.pipeline.run_to_end()
    counts = [batch.progress.counts["bytes_lost"] for batch in rig.taker.batches]
    assert sum(counts) == 300
    assert "file.truncated" in caplog.text


@pytest.mark.parametrize("stops", [False, True])
async def test_a_file_is_not_done_before_its_last_lines_are_in_a_batch(rig: Rig, stops: bool) -> None:
    """While lines wait for room, their file is compressed and deleted: a crash must find it as it was."""
    # covers CMP-01, SNK-15
    lines = [kong_line(1, seq) for seq in range(40)]
    rig.source.unread.append(b"".join(lines))
    rig.pipeline._rhythm = Rhythm(scan_interval_seconds=0.01)
    submit, there = rig.taker.submit, 0

    async def wait_for_a_look(batch: Batch, *, at_once: bool = False) -> None:
        nonlocal there
        if batch.body is not None and not there:
            there = batch.body.spans
            rig.source.ended = True
            rig.source.notices = [Notice("deleted", "/log", "shows that there was a look")]
            while rig.source.notices:  # noqa: ASYNC110 - the pipeline looks while this waits
                await asyncio.sleep(0)
            if stops:
                rig.pipeline.stop()
                await asyncio.Event().wait()  # there is no room
        await submit(batch)

    rig.taker.submit = wait_for_a_look  # type: ignore[method-assign]
    await rig.pipeline.run_to_end()
    assert 0 < there < len(lines)
    settled = 0
    for batch in rig.taker.batches:
        if 1 in batch.progress.positions:
            settled = batch.progress.positions[1].offset
        assert not batch.progress.retired or settled == sum(map(len, lines))
    assert settled == sum(map(len, lines)), "what was given out goes along at a stop: its file may be gone"
    assert any(batch.progress.retired for batch in rig.taker.batches)
