"""Waking early: a convenience whose failure costs time, never data."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading

import pytest

from kong_ai_tracing.watcher import Waker

LONG_SECONDS = 90.0


class FakeWatch:
    """A watch whose events and death the test decides."""

    def __init__(self):
        self.started: list[set[str]] = []
        self.alive = True
        self.stopped = 0

    def __call__(self, directories, wake):
        self.started.append(set(directories))
        self.wake = wake
        self.alive = True
        return self

    def is_alive(self):
        return self.alive

    def stop(self):
        self.stopped += 1


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


async def test_a_new_file_ends_the_wait(tmp_path):
    """Creating, renaming and deleting each wake the loop."""
    waker = Waker()
    waker.start([str(tmp_path)])
    assert waker.watching
    path = tmp_path / "ai.log"
    try:
        for happen in (
            path.touch,
            lambda: path.rename(tmp_path / "ai.log.1"),
            (tmp_path / "ai.log.1").unlink,
        ):
            happen()
            assert await waker.wait(LONG_SECONDS)
    finally:
        waker.stop()


async def test_writing_to_a_file_wakes_nobody(tmp_path):
    """A writer that opens and closes the file for each line costs nothing."""
    # covers NOT-05
    path = tmp_path / "ai.log"
    path.touch()
    waker = Waker()
    waker.start([str(tmp_path)])
    try:
        for _ in range(200):
            with path.open("a") as log:
                log.write("line\n")
        marker = tmp_path / "marker"
        marker.touch()
        assert await waker.wait(LONG_SECONDS), "the marker's event is the first that comes"
        assert not await waker.wait(0.05)
    finally:
        waker.stop()


async def test_time_ends_the_wait_when_nothing_happens():
    """Without any watch the wait is a plain sleep."""
    # covers NOT-01
    assert not await Waker().wait(0.001)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE])
async def test_a_full_kernel_table_is_said_once_and_polling_goes_on(tmp_path, caplog, number):
    """The limit on watches or instances is the operator's to raise; we go on without."""

    # covers NOT-03
    def refuse(directories, wake):
        raise OSError(number, os.strerror(number))

    clock = Clock()
    waker = Waker(refuse, clock=clock)
    with caplog.at_level(logging.WARNING):
        waker.start([str(tmp_path)])
        for _ in range(5):
            clock.now += 60
            assert not await waker.wait(0.001)
    assert not waker.watching
    assert [record.message.split()[0] for record in caplog.records] == ["watch.unavailable"]


async def test_a_dead_watching_thread_is_replaced(tmp_path):
    """The watch is looked after now and then; nothing depends on it meanwhile."""
    # covers NOT-04
    watch, clock = FakeWatch(), Clock()
    waker = Waker(watch, clock=clock)
    waker.start([str(tmp_path)])
    watch.alive = False
    assert not await waker.wait(0.001)
    clock.now += 60
    assert not await waker.wait(0.001)
    assert waker.watching
    assert len(watch.started) == 2


async def test_a_directory_that_was_replaced_is_watched_anew(tmp_path):
    """The watch follows the name of a directory, not the directory that had the name first."""
    # covers NOT-10
    logs = tmp_path / "logs"
    watch, clock = FakeWatch(), Clock()
    waker = Waker(watch, clock=clock)
    waker.start([str(logs)])
    assert watch.started == [], "it does not exist yet"
    logs.mkdir()
    clock.now += 60
    await waker.wait(0.001)
    logs.rename(tmp_path / "old")
    logs.mkdir()
    clock.now += 60
    await waker.wait(0.001)
    assert watch.started == [{str(logs)}, {str(logs)}]
    assert watch.stopped == 1


async def test_a_storm_of_events_ends_one_wait(tmp_path):
    """Many events from another thread are one call for the event loop, and none is needed twice."""
    # covers NOT-02, NOT-06
    watch = FakeWatch()
    waker = Waker(watch)
    waker.start([str(tmp_path)])
    loop, calls = asyncio.get_running_loop(), []
    original = loop.call_soon_threadsafe
    loop.call_soon_threadsafe = lambda *call: (calls.append(call), original(*call))[1]
    try:
        storm = threading.Thread(target=lambda: [watch.wake() for _ in range(60_000)])
        storm.start()
        storm.join()
    finally:
        del loop.call_soon_threadsafe
    assert len(calls) == 1
    assert await waker.wait(LONG_SECONDS)
    assert not await waker.wait(0.001)


async def test_stopping_twice_or_before_starting_is_harmless(tmp_path):
    """Stopping needs no particular moment."""
    Waker().stop()
    watch = FakeWatch()
    waker = Waker(watch)
    waker.start([str(tmp_path)])
    waker.stop()
    waker.stop()
    assert watch.stopped == 1
    assert not await waker.wait(0.001)


def test_a_late_event_after_the_end_of_the_loop_is_harmless(tmp_path):
    """The observer's thread may outlive the loop by a moment."""
    watch = FakeWatch()

    async def start():
        Waker(watch).start([str(tmp_path)])

    asyncio.run(start())
    watch.wake()
