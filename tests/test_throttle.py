"""History keeps to its rate and lets live traffic go first. The clock is moved by hand."""

from __future__ import annotations

import asyncio

from kong_ai_tracing.throttle import Throttle


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


async def test_no_more_is_sent_than_the_rate_allows() -> None:
    """Whatever the sizes of the batches are, also with several askers at once."""
    clock = Clock()
    throttle = Throttle(spans_per_second=10, clock=clock, sleep=clock.sleep)
    await asyncio.gather(*(throttle.leave(spans) for spans in (10, 3, 7, 30, 10, 40)))
    assert clock.now - 100 >= (10 + 3 + 7 + 30 + 10) / 10 - 1


async def test_a_pause_does_not_allow_a_flood() -> None:
    """An hour in which nothing was sent is not made up for."""
    clock = Clock()
    throttle = Throttle(spans_per_second=10, clock=clock, sleep=clock.sleep)
    await throttle.leave(10)
    clock.now += 3600
    began = clock.now
    for _ in range(10):
        await throttle.leave(10)
    assert clock.now - began >= 7


async def test_live_traffic_goes_first_for_a_while() -> None:
    """Until it is through; and not for ever, because a batch that never passes may be among it."""
    clock = Clock()

    async def waits_for_three_seconds() -> bool:
        return clock.now < 103

    async def waits_for_ever() -> bool:
        return True

    await Throttle(is_live_waiting=waits_for_three_seconds, clock=clock, sleep=clock.sleep).leave(5)
    assert 103 <= clock.now < 104
    began = clock.now
    await Throttle(is_live_waiting=waits_for_ever, clock=clock, sleep=clock.sleep).leave(5)
    assert 9 < clock.now - began < 12


async def test_who_gives_up_waiting_uses_nothing_up() -> None:
    """A stop comes while a batch waits for its turn: the next run sends it."""
    clock = Clock()
    asleep = asyncio.Event()

    async def sleep(seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    throttle = Throttle(spans_per_second=1, clock=clock, sleep=sleep)
    await throttle.leave(5)
    waiting = asyncio.create_task(throttle.leave(100))
    await asleep.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    clock.now += 5
    await asyncio.wait_for(throttle.leave(1), 1)
