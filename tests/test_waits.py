"""A reader that waits: what ends its waits, and when it counts as standing still."""

from __future__ import annotations

import asyncio

import pytest

from kong_ai_tracing.waits import Pauses, Waits


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def waits(clock: Clock) -> Waits:
    return Waits(clock)


async def test_work_that_ends_gives_what_it_gives(waits: Waits) -> None:
    """A wait adds nothing to what is waited for."""
    assert await waits.until_stopped(asyncio.sleep(0, "word")) == "word"


async def test_a_stop_ends_a_wait_at_once(waits: Waits) -> None:
    """Nobody who stops the service waits for a file to grow."""  # covers PRC-03
    asyncio.get_running_loop().call_soon(waits.stop)
    async with asyncio.timeout(30):
        assert await waits.until_stopped(asyncio.Event().wait()) is None


async def test_a_cancellation_is_no_stop(waits: Waits) -> None:
    """Who cancels the reader must not wait for ever."""
    reading = asyncio.create_task(waits.until_stopped(asyncio.Event().wait()))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_a_wait_is_no_standstill(waits: Waits, clock: Clock) -> None:
    """The watchdog of the service manager must not strike while there is just nothing to read."""
    waits.note_step()
    clock.now += 5
    assert waits.still_for_seconds == 5
    reading = asyncio.create_task(waits.until_stopped(asyncio.Event().wait()))
    await asyncio.sleep(0)
    clock.now += 60
    assert waits.still_for_seconds == 0
    waits.stop()
    await reading
    assert waits.still_for_seconds == 0
    clock.now += 2
    assert waits.still_for_seconds == 2


async def test_long_work_is_seen_through_while_other_things_are_done(waits: Waits) -> None:
    """Rotated files are found while Langfuse takes nothing."""
    looks = 0
    room = asyncio.Event()

    async def look() -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            room.set()

    async def work() -> None:
        await room.wait()

    async with asyncio.timeout(30):
        await waits.see_through(work(), interval_seconds=0.001, meanwhile=look)
    assert looks == 3


async def test_work_that_takes_several_steps_is_done_after_a_stop(waits: Waits) -> None:
    """What was read goes along, if there is room for it."""
    done = []

    async def work() -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        done.append(True)

    waits.stop()
    await waits.see_through(work(), interval_seconds=600, meanwhile=never)
    assert done


async def test_work_that_does_not_end_is_left_after_a_stop(waits: Waits) -> None:
    """An outbox without room must not keep the service from ending."""
    waits.stop()
    async with asyncio.timeout(30):
        await waits.see_through(asyncio.Event().wait(), interval_seconds=600, meanwhile=never)


async def never() -> None:
    raise AssertionError("there was nothing to wait for")


def test_where_much_comes_looks_get_closer() -> None:
    """Down to a quarter of the interval, and back when little comes."""
    pauses = Pauses(1.0)
    assert [pauses.next_seconds(much_came=True) for _ in range(3)] == [0.5, 0.25, 0.25]
    assert [pauses.next_seconds(much_came=False) for _ in range(3)] == [0.5, 1.0, 1.0]
