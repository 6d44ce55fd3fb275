"""Every batch ends acknowledged or spilled, and progress moves only in order. The clock is moved by hand."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from kong_ai_tracing.batches import Batch, Body
from kong_ai_tracing.delivery import Delivery, DeliveryLimits
from kong_ai_tracing.identity import Position
from kong_ai_tracing.outcomes import Accepted, Hold, Outcome, Refused, TryLater
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.spans import Span
from kong_ai_tracing.statedir import StoreError
from kong_ai_tracing.store import Store
from kong_ai_tracing.storestatus import StoreStatus, read_status
from kong_ai_tracing.storesteps import Restored
from test_store import MARKER, RECORD, held_call


class Sink:
    """A destination whose answers the test decides, one request at a time."""

    name = "sink"

    def __init__(self) -> None:
        self.received: list[list[bytes]] = []
        self.answer: Callable[[list[bytes]], Outcome] = lambda parts: Accepted()
        self.gate = asyncio.Event()
        self.gate.set()
        self.stalled: bytes | None = None
        """Only bodies with this span wait at the gate; None: all."""
        self.arrived = asyncio.Event()

    def encode(self, span: Span) -> bytes:
        raise NotImplementedError

    def join(self, spans: Sequence[bytes]) -> bytes:
        return b",".join(spans)

    def merge(self, bodies: Sequence[bytes]) -> bytes | None:
        return self.join(bodies)

    def split(self, data: bytes) -> list[bytes]:
        return data.split(b",")

    def shorten(self, span: bytes, max_bytes: int) -> bytes | None:
        return None

    async def send(self, body: Body) -> Outcome:
        parts = self.split(body.unpack().data)
        self.arrived.set()
        if self.stalled is None or self.stalled in parts:
            await self.gate.wait()
        outcome = self.answer(parts)
        if isinstance(outcome, Accepted):
            self.received.append(parts)
        return outcome

    async def close(self) -> None:
        pass

    @property
    def spans(self) -> list[bytes]:
        return [part for parts in self.received for part in parts]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """A delivery at work on a real store."""

    def __init__(self, state_dir: Path, **limits: Any) -> None:
        self.state_dir = state_dir
        self.store = Store(state_dir)
        self.sink = Sink()
        self.clock = Clock()
        defaults = {"commit_interval_seconds": 0.01, "free_space_floor_bytes": 0, "max_concurrency": 2}
        self.delivery = Delivery(
            self.sink,
            self.store,
            self.store.restore(),
            DeliveryLimits(**(defaults | limits)),
            clock=self.clock,
            random=lambda: 1.0,
        )
        self.number = self.delivery.first_number
        self.running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.running = asyncio.create_task(self.delivery.run())

    async def submit(
        self,
        *parts: bytes,
        calls: bytes = b"",
        follows: int = 0,
        new_roots: dict[str, int] | None = None,
        **progress: Any,
    ) -> None:
        body = Body(len(parts), b",".join(parts), follows=follows, calls=calls) if parts else None
        offset = self.number * 100
        step = Progress(records={1: RECORD}, positions={1: Position(1, offset, MARKER)}, **progress)
        batch = Batch(self.number, body, step, new_roots or {})
        self.number += 1
        await self.delivery.submit(batch)

    async def stop(self) -> None:
        """As the daemon stops: senders first, then one last commit."""
        if self.running is not None:
            self.running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.running
        await self.delivery.finish()

    @property
    def on_disk(self) -> Restored:
        """What the next process would find. Not by the store's own connection, which may be amid a commit."""
        with contextlib.closing(Store.copy_in_memory(self.state_dir)) as found:
            return found.restore()

    @property
    def status(self) -> StoreStatus:
        status = read_status(self.state_dir)
        assert status is not None
        return status

    @property
    def offset(self) -> int:
        files = self.on_disk.files
        return files[0].offset if files else 0


async def until(condition: Callable[[], bool]) -> None:
    """Let the tasks run until something they do is visible; real threads (SQLite) take real time."""
    async with asyncio.timeout(90):
        while not condition():  # noqa: ASYNC110 - the conditions are many, and not all have an event
            await asyncio.sleep(0.001)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    await rig.stop()
    rig.store.close()


async def test_an_acknowledged_batch_moves_the_position_and_leaves_no_body(rig: Rig) -> None:
    """In the normal second nothing but a position is written."""
    rig.start()
    await rig.submit(b"a", b"b")
    await rig.delivery.drained()
    assert rig.sink.spans == [b"a", b"b"]
    assert rig.offset == 100
    status = rig.status
    assert (status.outbox_batches, status.counters["spans_delivered"]) == (0, 2)


async def test_progress_never_passes_an_open_batch(rig: Rig) -> None:
    """Answers may come in any order; the position waits for the oldest."""  # covers ACK-01
    rig.sink.gate.clear()
    rig.sink.stalled = b"first"
    rig.start()
    await rig.submit(b"first")
    await rig.submit(b"second")
    await rig.submit(b"third")
    await until(lambda: sorted(rig.sink.spans) == [b"second", b"third"])
    assert rig.offset == 0
    assert "spans_delivered" not in rig.status.counters
    rig.sink.gate.set()
    await rig.delivery.drained()
    assert rig.offset == 300


async def test_other_traffic_moves_the_position_too(rig: Rig) -> None:
    """Lines that carry no call count as done."""  # covers ACK-09
    rig.start()
    await rig.submit()
    await rig.delivery.drained()
    assert rig.offset == 100


async def test_a_batch_that_waits_too_long_is_spilled(rig: Rig) -> None:
    """After the spill delay the body is on disk and the position moves on."""
    rig.sink.answer = lambda parts: TryLater("503", 1_000)
    rig.start()
    await rig.submit(b"a")
    await until(lambda: not rig.delivery.gate.healthy)
    rig.clock.now += 2.1
    await until(lambda: rig.offset == 100)
    [number] = rig.on_disk.outbox
    assert rig.store.body(number).unpack().data == b"a"


async def test_spilled_batches_are_delivered_by_the_next_process(tmp_path: Path) -> None:
    """What rests on disk does not need the log any more."""
    before = Rig(tmp_path)
    before.sink.answer = lambda parts: TryLater("503", 1_000)
    before.start()
    await before.submit(b"a")
    await before.submit(b"b")
    await before.stop()
    assert before.offset == 200
    before.store.close()
    after = Rig(tmp_path)
    after.start()
    await after.delivery.drained()
    await after.stop()
    assert sorted(after.sink.spans) == [b"a", b"b"]
    assert after.status.outbox_batches == 0
    after.store.close()


async def test_an_answer_that_comes_after_the_spill_still_counts(rig: Rig) -> None:
    """The body leaves the outbox and is not sent a second time."""
    rig.sink.gate.clear()
    rig.start()
    await rig.submit(b"a")
    await rig.sink.arrived.wait()
    rig.clock.now += 3
    await rig.delivery.secure([])
    await until(lambda: rig.on_disk.outbox != [])
    rig.sink.gate.set()
    await rig.delivery.drained()
    assert rig.sink.spans == [b"a"]
    assert rig.on_disk.outbox == []


async def test_a_stop_loses_nothing_when_the_sink_hangs(rig: Rig) -> None:
    """Unsent data rests in the outbox, the position is behind it."""  # covers PRC-02
    rig.sink.gate.clear()
    rig.start()
    await rig.submit(b"a")
    await rig.sink.arrived.wait()
    await rig.stop()
    assert rig.on_disk.outbox == [1]
    assert rig.offset == 100


async def test_a_plain_stop_repeats_nothing(rig: Rig) -> None:
    """Requests under way get a moment to be answered."""
    rig.sink.gate.clear()
    rig.start()
    await rig.submit(b"a")
    await rig.sink.arrived.wait()
    stopping = asyncio.create_task(rig.delivery.wind_down(5))
    rig.sink.gate.set()
    await stopping
    await rig.stop()
    assert rig.on_disk.outbox == []
    assert rig.sink.spans == [b"a"]


async def test_a_stop_begins_no_request_that_waited_for_its_turn(rig: Rig) -> None:
    """What the pace held back goes to the outbox, and the stop does not wait for it."""
    rig.sink.gate.clear()
    rig.delivery.gate._pace.failed()  # one at a time from now on
    rig.start()
    await rig.submit(b"a")
    await rig.sink.arrived.wait()
    await rig.submit(b"b")
    await until(lambda: rig.delivery.undelivered_batches == 2)
    stopping = asyncio.create_task(rig.delivery.wind_down(60))
    await asyncio.sleep(0)
    rig.sink.gate.set()
    async with asyncio.timeout(30):
        await stopping
    await rig.stop()
    assert rig.sink.spans == [b"a"]
    assert rig.on_disk.outbox == [2]


async def test_a_single_acceptance_is_seen_in_status_also_after_a_restart(rig: Rig) -> None:
    """An operator who asks after the only batch of the day is told when it was taken."""
    rig.start()
    await rig.submit(b"a")
    await rig.delivery.drained()
    accepted = rig.status.health["sink"]["last_accepted_ms"]
    assert accepted == rig.delivery.health.last_accepted_ms is not None
    assert Rig(rig.state_dir).delivery.health.last_accepted_ms == accepted


async def test_a_refused_batch_is_halved_down_to_the_guilty_span(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are delivered; the guilty one is kept with the server's reason."""  # covers SNK-06
    rig.sink.answer = lambda parts: Refused("400 bad: my prompt") if b"bad" in parts else Accepted()
    rig.start()
    await rig.submit(b"a", b"b", b"bad", b"c")
    await rig.delivery.drained()
    assert rig.sink.spans == [b"a", b"b", b"c"]
    assert rig.status.counters["spans_refused"] == 1
    assert rig.status.refused == 1
    assert rig.offset == 100
    assert "reason='400' " in caplog.text
    assert "my prompt" not in caplog.text, "a server may repeat what was sent; our log does not"


async def test_a_revoked_key_sets_nothing_aside(rig: Rig) -> None:
    """Everything is kept until the operator has acted."""  # covers SNK-08
    rig.sink.answer = lambda parts: Hold("401", 360)
    rig.start()
    await rig.submit(b"a")
    await until(lambda: rig.delivery.gate.holding)
    rig.sink.answer = lambda parts: Accepted()
    rig.clock.now += 400
    await rig.submit(b"b")
    rig.delivery.gate.look_again()
    await rig.delivery.drained()
    assert sorted(rig.sink.spans) == [b"a", b"b"]
    assert rig.status.refused == 0


async def test_the_reader_waits_while_too_much_is_on_the_way(tmp_path: Path) -> None:
    """Memory is bounded: the log is the buffer."""
    rig = Rig(tmp_path, max_in_flight_bytes=10)
    rig.sink.gate.clear()
    rig.start()
    await rig.submit(b"0123456789")
    waiting = asyncio.create_task(rig.submit(b"x"))
    await rig.sink.arrived.wait()
    assert not waiting.done()
    assert rig.delivery.pause_reason == "the destination is slower than the log"
    rig.sink.gate.set()
    await waiting
    await rig.delivery.drained()
    await rig.stop()
    rig.store.close()


async def test_a_full_outbox_pauses_the_reader_and_drops_nothing(tmp_path: Path) -> None:
    """At the cap positions stay, submit waits, and all goes on when there is room again."""  # covers SNK-01
    rig = Rig(tmp_path, outbox_max_bytes=30, max_in_flight_bytes=1)
    rig.sink.answer = lambda parts: TryLater("503", 1_000)
    rig.start()
    await rig.submit(b"a")
    await until(lambda: not rig.delivery.gate.healthy)
    rig.clock.now += 3
    await until(lambda: rig.offset == 100)
    await rig.submit(b"b")
    waiting = asyncio.create_task(rig.submit(b"c"))
    rig.clock.now += 3
    await until(lambda: rig.delivery.pause_reason == "the outbox is full")
    assert not waiting.done()
    rig.sink.answer = lambda parts: Accepted()
    rig.clock.now += 2_000
    rig.delivery.gate.look_again()
    await waiting
    await rig.delivery.drained()
    assert sorted(rig.sink.spans) == [b"a", b"b", b"c"]
    await rig.stop()
    rig.store.close()


async def test_a_disk_that_takes_nothing_claims_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """No offset moves until the write succeeds; then all of it does."""  # covers CHK-04
    monkeypatch.setattr("kong_ai_tracing.ledger._RETRY_SECONDS", 0.01)
    real, failures = rig.store.commit, 3

    def commit(step: Any) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise sqlite3.OperationalError("database or disk is full")
        real(step)

    monkeypatch.setattr(rig.store, "commit", commit)
    rig.start()
    await rig.submit(b"a")
    await until(lambda: rig.delivery.pause_reason is not None)
    rig.clock.now += 31
    assert rig.delivery.failing_for_seconds == 31
    assert rig.offset == 0
    await rig.delivery.drained()
    assert rig.offset == 100
    assert rig.sink.spans == [b"a"]


async def test_a_store_that_is_damaged_meanwhile_ends_the_run(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one error that an operator can read, not with a group of tracebacks."""  # covers CHK-03

    def commit(step: Any) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    with monkeypatch.context() as patched:
        patched.setattr(rig.store, "commit", commit)
        running = asyncio.create_task(rig.delivery.run())
        await rig.submit(b"a")
        with pytest.raises(StoreError, match="is damaged"):
            await running


async def test_a_call_that_waits_is_written_whole_before_its_file_goes(rig: Rig) -> None:
    """A vanishing file is no longer needed for the calls that were read from it."""
    waiting = held_call("a")
    rig.start()
    await rig.submit(held={waiting.id: waiting})
    await until(lambda: len(rig.on_disk.held) == 1)
    assert rig.on_disk.held[0].call is None
    await rig.delivery.secure([RECORD.file_id])
    await rig.submit()
    await until(lambda: rig.on_disk.held[0].call == waiting)


async def test_a_call_that_was_just_read_is_written_whole_when_its_file_goes(rig: Rig) -> None:
    """There may be no later commit before a crash: the one that lets the file go must hold the call."""
    waiting = held_call("a")
    await rig.submit(held={waiting.id: waiting}, retired=[RECORD.file_id])
    rig.start()
    await until(lambda: rig.on_disk.held != [])
    assert rig.on_disk.held[0].call == waiting


async def test_the_commit_that_lets_a_file_go_holds_its_calls_that_were_written_by_their_place(
    rig: Rig,
) -> None:
    """Before a crash there may be nothing else: afterwards nobody knows where their lines are."""
    waiting = held_call("a")
    rig.start()
    await rig.submit(held={waiting.id: waiting})
    await until(lambda: len(rig.on_disk.held) == 1)
    assert rig.on_disk.held[0].call is None
    await rig.submit(retired=[RECORD.file_id])
    await until(lambda: rig.on_disk.files == [])
    assert rig.on_disk.held[0].call == waiting


async def test_a_new_root_is_on_disk_before_it_is_sent(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash it must get the same start again, whatever the order of its calls is then."""
    monkeypatch.setattr("kong_ai_tracing.ledger._RETRY_SECONDS", 0.01)
    real, full = rig.store.commit, True

    def commit(step: Any) -> None:
        if full:
            raise sqlite3.OperationalError("database or disk is full")
        real(step)

    monkeypatch.setattr(rig.store, "commit", commit)
    rig.start()
    await rig.submit(b"root", new_roots={"trace": 1_000})
    await until(lambda: rig.delivery.pause_reason is not None)
    assert rig.sink.spans == []
    full = False
    await until(lambda: rig.on_disk.roots == {"trace": 1_000})
    await rig.delivery.drained()
    assert rig.sink.spans == [b"root"]


async def test_a_newer_version_of_a_span_waits_for_the_older_one(rig: Rig) -> None:
    """The version that arrives last is kept, so the others may overtake, but not this one."""
    rig.sink.gate.clear()
    rig.sink.stalled = b"root"
    rig.start()
    await rig.submit(b"root")
    await rig.submit(b"root again", follows=1)
    await rig.submit(b"other")
    await until(lambda: rig.sink.spans == [b"other"])
    rig.sink.gate.set()
    await rig.delivery.drained()
    assert rig.sink.spans == [b"other", b"root", b"root again"]


async def test_the_order_of_versions_outlives_a_restart(tmp_path: Path) -> None:
    """A body in the outbox knows what it must follow."""
    before = Rig(tmp_path)
    before.sink.answer = lambda parts: TryLater("503", 1_000)
    before.start()
    await before.submit(b"root")
    await before.submit(b"root again", follows=1)
    await before.stop()
    before.store.close()
    after = Rig(tmp_path)
    after.sink.gate.clear()
    after.sink.stalled = b"root"
    after.start()
    await after.submit(b"other")
    await until(lambda: after.sink.spans == [b"other"])
    after.sink.gate.set()
    await after.delivery.drained()
    assert after.sink.spans == [b"other", b"root", b"root again"]
    await after.stop()
    after.store.close()


async def test_a_stop_writes_waiting_calls_whole(rig: Rig) -> None:
    """The log may be rotated away while the daemon is down."""
    waiting = held_call("a")
    rig.start()
    await rig.submit(held={waiting.id: waiting})
    await rig.delivery.drained()
    await rig.stop()
    assert rig.on_disk.held[0].call == waiting


async def test_an_outage_does_not_slow_the_reader_down(tmp_path: Path) -> None:
    """Once nothing gets through, batches rest on disk at once: the clock need not move for it."""
    rig = Rig(tmp_path, max_in_flight_bytes=1)
    rig.sink.answer = lambda parts: TryLater("503", 1_000)
    rig.start()
    await rig.submit(b"a")
    await until(lambda: not rig.delivery.gate.healthy)
    for part in (b"b", b"c", b"d"):
        await rig.submit(part)
    await until(lambda: rig.offset == 400)
    assert len(rig.on_disk.outbox) == 4
    await rig.stop()
    rig.store.close()


async def test_a_full_outbox_drops_the_oldest_when_the_operator_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New data goes on; what was dropped is counted and said."""  # covers SNK-15
    monkeypatch.setattr("kong_ai_tracing.spilling._NO_ROOM_RETRY_SECONDS", 0.01)
    rig = Rig(tmp_path, outbox_max_bytes=70, max_in_flight_bytes=1, on_full="drop_oldest")
    rig.sink.answer = lambda parts: TryLater("503", 1_000)
    rig.start()
    await rig.submit(b"a")
    await until(lambda: not rig.delivery.gate.healthy)
    rig.clock.now += 3
    for part in (b"b", b"c", b"d", b"e", b"f"):
        await rig.submit(part)
        await until(lambda: rig.offset == (rig.number - 1) * 100)
    rig.sink.answer = lambda parts: Accepted()
    rig.clock.now += 2_000
    rig.delivery.gate.look_again()
    await rig.delivery.drained()
    counters = rig.status.counters
    assert len(rig.sink.spans) + counters["spans_dropped"] == 6
    assert rig.sink.spans[-1] == b"f"
    assert rig.offset == 600
    assert "delivery.dropping" in caplog.text
    await rig.stop()
    rig.store.close()


async def test_a_disk_that_others_filled_drops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropping would free nothing: the reader waits, whatever the operator prefers at our own limit."""
    rig = Rig(tmp_path, max_in_flight_bytes=1, free_space_floor_bytes=1_000, on_full="drop_oldest")
    monkeypatch.setattr("kong_ai_tracing.spilling._NO_ROOM_RETRY_SECONDS", 0.01)
    free = 1_000_000
    monkeypatch.setattr(rig.store, "free_bytes", lambda: free)
    rig.sink.answer = lambda parts: TryLater("503", 1_000)
    rig.start()
    for part in (b"a", b"b", b"c", b"d"):
        await rig.submit(part)
    await until(lambda: rig.on_disk.outbox == [1, 2, 3, 4])
    free = 999
    await rig.submit(b"e")
    await until(lambda: rig.delivery.pause_reason == "the outbox is full")
    await asyncio.sleep(0.1)
    assert rig.on_disk.outbox == [1, 2, 3, 4]
    assert "spans_dropped" not in rig.status.counters
    await rig.stop()
    rig.store.close()


async def test_a_batch_that_never_passes_stands_in_nobodys_way(tmp_path: Path) -> None:
    """It stays in the outbox, everything else is delivered, and no position waits for it."""  # covers ACK-02
    rig = Rig(tmp_path, max_concurrency=1)
    rig.sink.answer = lambda parts: TryLater("500") if b"poison" in parts else Accepted()
    rig.start()
    for part in (b"a", b"poison", b"b", b"c", b"d"):
        await rig.submit(part)
    rig.clock.now += 3
    await rig.delivery.secure([])

    def all_but_the_poison_arrived() -> bool:
        rig.clock.now += 61
        rig.delivery.gate.look_again()
        return sorted(rig.sink.spans) == [b"a", b"b", b"c", b"d"]

    await until(all_but_the_poison_arrived)
    await until(lambda: rig.on_disk.outbox == [2])
    assert rig.offset == 500
    await rig.stop()
    rig.store.close()


async def test_a_sender_that_breaks_loses_nothing(tmp_path: Path) -> None:
    """A batch leaves only when it was answered: after a defect it is still there."""  # covers ACK-03
    rig = Rig(tmp_path)

    def defect(parts: list[bytes]) -> Outcome:
        raise RuntimeError("a defect")

    rig.sink.answer = defect
    await rig.submit(b"a")
    with pytest.raises(BaseExceptionGroup):
        await rig.delivery.run()
    await rig.stop()
    assert [rig.store.body(n).unpack().data for n in rig.on_disk.outbox] == [b"a"]
    assert rig.offset == 100
    rig.store.close()


async def test_a_trace_that_stays_open_holds_no_position_back(rig: Rig) -> None:
    """Its calls are in the store; lines far behind it are done."""  # covers ACK-05
    waiting = held_call("open for hours")
    rig.start()
    await rig.submit(held={waiting.id: waiting})
    for hour in range(3):
        rig.clock.now += 3_600
        await rig.submit(b"other %d" % hour)
    await rig.delivery.drained()
    await until(lambda: rig.offset == 400)
    assert rig.on_disk.held[0].call == waiting


async def test_a_thousand_outages_leave_no_trace_of_themselves(tmp_path: Path) -> None:
    """No place of a request, no byte of the budget is lost on the way."""  # covers SNK-03
    draw = random.Random(20)
    rig = Rig(tmp_path, max_concurrency=4, max_in_flight_bytes=40, spill_after_seconds=0.001)
    down = False
    rig.sink.answer = lambda parts: TryLater("503") if down and draw.random() < 0.8 else Accepted()
    rig.start()
    for number in range(1_000):
        down = draw.random() < 0.5
        await rig.submit(b"%d" % number)
        rig.clock.now += draw.choice((0.0, 0.1, 61.0))
        rig.delivery.gate.look_again()
    down = False
    draining = asyncio.create_task(rig.delivery.drained())
    while not draining.done():
        rig.clock.now += 61
        rig.delivery.gate.look_again()
        await asyncio.sleep(0.001)
    assert rig.delivery.gate.under_way == 0
    assert rig.delivery.pause_reason is None
    assert rig.delivery.undelivered_batches == 0
    assert rig.delivery._outgoing.live_bytes == 0
    assert sorted(map(int, rig.sink.spans)) == list(range(1_000))
    await rig.stop()
    rig.store.close()


async def test_after_an_outage_old_and_new_take_turns(tmp_path: Path) -> None:
    """What rests is drained while new data is not kept waiting for all of it."""  # covers SNK-02
    rig = Rig(tmp_path, max_concurrency=1)
    rig.sink.answer = lambda parts: TryLater("503")
    rig.start()
    for number in range(60):
        await rig.submit(b"old %d" % number)
    await until(lambda: not rig.delivery.gate.healthy)
    rig.clock.now += 3
    await until(lambda: len(rig.on_disk.outbox) == 60)
    rig.sink.answer = lambda parts: Accepted()
    rig.clock.now += 61
    rig.delivery.gate.look_again()
    await until(lambda: rig.delivery.gate.healthy)
    for number in range(3):
        await rig.submit(b"new %d" % number)
    await rig.delivery.drained()
    order = [span.split()[0] for span in rig.sink.spans]
    assert len(order) == 63
    assert b"old" in order[-10:], "the new did not wait for all of the old"
    assert order[:60].count(b"new") == 3
    await rig.stop()
    rig.store.close()


async def test_where_nothing_is_fresh_old_and_new_of_the_outbox_take_turns(tmp_path: Path) -> None:
    """What was spilled a moment ago does not wait for all that an outage left behind."""
    rig = Rig(tmp_path, max_concurrency=1)
    rig.sink.answer = lambda parts: TryLater("503")
    rig.start()
    for number in range(20):
        await rig.submit(b"%d" % number)
    await until(lambda: not rig.delivery.gate.healthy)
    rig.clock.now += 3
    await until(lambda: len(rig.on_disk.outbox) == 20)
    rig.sink.answer = lambda parts: Accepted()
    rig.clock.now += 61
    rig.delivery.gate.look_again()
    await rig.delivery.drained()
    order = [int(span) for span in rig.sink.spans]
    assert sorted(order) == list(range(20))
    assert max(order[:6]) == 19
    assert min(order[:6]) < 3
    await rig.stop()
    rig.store.close()


async def small_ones(tmp_path: Path, count: int, **limits: Any) -> Rig:
    """So many batches of one call each, in the outbox of a new process."""
    before = Rig(tmp_path)
    before.sink.answer = lambda parts: TryLater("503")
    before.start()
    for number in range(count):
        await before.submit(b"%d" % number, calls=b"\1")
    await before.stop()
    before.store.close()
    return Rig(tmp_path, **limits)


async def test_small_batches_of_the_outbox_go_together(tmp_path: Path) -> None:
    """After an outage a server that counts requests gets few; each batch is accounted for as ever."""
    rig = await small_ones(tmp_path, 60, max_merged_bytes=50, max_concurrency=1)
    assert len(rig.store.restore().outbox) == 60
    rig.start()
    await rig.delivery.drained()
    assert sorted(map(int, rig.sink.spans)) == list(range(60))
    assert len(rig.sink.received) <= 6, "60 without company"
    assert len(rig.sink.received[0]) == 1, "the first shows whether the server takes anything"
    assert rig.store.restore().outbox == []
    counters = rig.store.status().counters
    assert (counters["spans_delivered"], counters["calls_delivered"]) == (60, 60)
    assert counters["requests_accepted"] == len(rig.sink.received)
    await rig.stop()
    rig.store.close()


async def test_one_that_never_passes_holds_up_none_of_its_company(tmp_path: Path) -> None:
    """What did not pass together goes alone."""
    rig = await small_ones(tmp_path, 20, max_merged_bytes=1_000, max_concurrency=1)
    failed: list[list[bytes]] = []

    def answer(parts: list[bytes]) -> Outcome:
        if b"7" not in parts:
            return Accepted()
        failed.append(parts)
        return TryLater("500")

    def later() -> bool:
        rig.clock.now += 61
        rig.delivery.gate.look_again()
        return len(rig.sink.spans) == 19

    rig.sink.answer = answer
    rig.start()
    await until(later)
    assert [len(parts) for parts in failed if len(parts) > 1] == [19]
    await rig.delivery.written()
    assert [rig.store.body(n).unpack().data for n in rig.store.restore().outbox] == [b"7"]
    await rig.stop()
    rig.store.close()


async def test_a_refused_span_costs_its_company_nothing(tmp_path: Path) -> None:
    """It is set aside with its reason, the others arrive."""
    rig = await small_ones(tmp_path, 20, max_merged_bytes=1_000)
    rig.sink.answer = lambda parts: Refused("400") if b"7" in parts else Accepted()
    rig.start()
    await rig.delivery.drained()
    assert sorted(map(int, rig.sink.spans)) == [n for n in range(20) if n != 7]
    counters = rig.store.status().counters
    assert (counters["spans_delivered"], counters["spans_refused"], counters["calls_refused"]) == (19, 1, 1)
    await rig.stop()
    rig.store.close()


async def test_a_newer_version_of_a_span_has_no_company(tmp_path: Path) -> None:
    """In one request with the older one nobody knows which of them would be kept."""
    before = Rig(tmp_path)
    before.sink.answer = lambda parts: TryLater("503")
    before.start()
    for number in range(10):
        await before.submit(b"%d" % number, calls=b"\1", follows=3 if number == 5 else 0)
    await before.stop()
    before.store.close()
    rig = Rig(tmp_path, max_merged_bytes=1_000, max_concurrency=1)
    rig.start()
    await rig.delivery.drained()
    assert [b"5"] in rig.sink.received
    order = rig.sink.spans
    assert order.index(b"5") > max(order.index(b"%d" % older) for older in range(3))
    assert len(rig.sink.received) < 6
    await rig.stop()
    rig.store.close()


async def test_what_cannot_be_joined_goes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when an older version of this program made some of the bodies."""
    rig = await small_ones(tmp_path, 10, max_merged_bytes=1_000)
    monkeypatch.setattr(rig.delivery._company, "_merge", lambda bodies: None)
    rig.start()
    await rig.delivery.drained()
    assert sorted(map(int, rig.sink.spans)) == list(range(10))
    await rig.stop()
    rig.store.close()
