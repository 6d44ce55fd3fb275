"""What is known at one moment, whatever the disk does."""

from __future__ import annotations

import asyncio
import threading

from kong_ai_tracing.statedir import StoreError
from kong_ai_tracing.statuspage.situation import Now, Observer
from situations import config, report, vitals


class Disk:
    """A state that is read, hangs or fails as a test wants it."""

    def __init__(self) -> None:
        self.reads = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.asked = threading.Event()
        """Set when it is asked while it hangs."""
        self.error: Exception | None = None

    def read(self, _config):
        self.reads += 1
        if not self.go_on.is_set():
            self.asked.set()
        assert self.go_on.wait(120)
        if self.error is not None:
            raise self.error
        return {"langfuse": report(set_aside_lines=self.reads)}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_who_asks_often_costs_one_look_a_second():
    """Ten at once share one, too."""
    disk, clock = Disk(), Clock()
    observer = Observer(lambda: Now(config(), [vitals()]), read=disk.read, clock=clock, patience_seconds=60)
    await asyncio.gather(*(observer.situation() for _ in range(10)))
    await observer.situation()
    assert disk.reads == 1
    clock.now += 1.5
    assert (await observer.situation()).reports["langfuse"].set_aside_lines == 2


async def test_a_disk_that_hangs_leaves_the_last_report_and_a_word():
    """Nobody waits longer than the patience, nor do threads pile up; afterwards all is well again."""
    disk, clock = Disk(), Clock()
    observer = Observer(lambda: Now(config(), [vitals()]), read=disk.read, clock=clock, patience_seconds=60)
    assert (await observer.situation()).state_error is None
    disk.go_on.clear()
    clock.now += 1.5
    first = asyncio.create_task(observer.situation())
    assert await asyncio.to_thread(disk.asked.wait, 60)
    clock.now += 60
    for _ in range(20):
        shown = await observer.situation()
    assert shown.state_error == "to read it takes longer than 60 s"
    assert shown.reports["langfuse"].set_aside_lines == 1
    assert disk.reads == 2
    assert not first.done(), "its patience is one of the real clock"
    disk.go_on.set()
    assert (await first).reports["langfuse"].set_aside_lines == 2
    assert (await observer.situation()).state_error is None


async def test_who_asks_a_disk_that_hangs_waits_no_longer_than_the_patience():
    """Also the first one, for whom there is no report yet."""
    disk = Disk()
    disk.go_on.clear()
    observer = Observer(lambda: Now(config(), [vitals()]), read=disk.read, patience_seconds=0.1)
    shown = await asyncio.wait_for(observer.situation(), 30)
    assert shown.state_error == "to read it takes longer than 0.1 s"
    assert shown.reports == {}
    disk.go_on.set()


async def test_a_state_that_cannot_be_read_is_told():
    """With the last report, until it can be read again."""
    disk, clock = Disk(), Clock()
    observer = Observer(lambda: Now(config(), [vitals()]), read=disk.read, clock=clock, patience_seconds=60)
    disk.error = StoreError("database is locked")
    assert (await observer.situation()).state_error == "database is locked"
    disk.error = None
    clock.now += 2
    assert (await observer.situation()).state_error is None


async def test_health_needs_no_disk():
    """A probe must be answered while the disk hangs."""
    disk = Disk()
    observer = Observer(lambda: Now(config(), [vitals()]), read=disk.read)
    assert observer.from_memory().vitals == [vitals()]
    assert disk.reads == 0
