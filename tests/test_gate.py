"""The gate before a destination: back-off, holds, single probes."""

from __future__ import annotations

import asyncio

from kong_ai_tracing.gate import Gate
from kong_ai_tracing.outcomes import Accepted, Hold, TryLater


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def passes(gate: Gate) -> bool:
    """Whether a request may go out now."""
    task = asyncio.create_task(gate.pass_through())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if task.done():
        return True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return False


async def test_a_healthy_gate_is_open() -> None:
    """Nothing waits while the destination takes what it gets."""
    gate = Gate(clock=Clock(), random=lambda: 1.0)
    assert await passes(gate)
    assert await passes(gate)


async def test_failures_wait_longer_and_longer_up_to_a_minute() -> None:
    """Full jitter: with the largest random number the wait doubles from half a second to sixty."""
    clock = Clock()
    gate = Gate(clock=clock, random=lambda: 1.0)
    waits = []
    for _ in range(9):
        gate.learn(TryLater("503"))
        waits.append(gate.wait_seconds)
        clock.now += gate.wait_seconds
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


async def test_jitter_spreads_a_fleet_over_the_whole_wait() -> None:
    """Hosts that fail together do not come back together."""  # covers SNK-12
    clock = Clock()
    waits = []
    for number in range(100):
        gate = Gate(clock=clock, random=lambda number=number: number / 100)
        for _ in range(5):
            gate.learn(TryLater("503"))
            clock.now += gate.wait_seconds
        gate.learn(TryLater("503"))
        waits.append(gate.wait_seconds)
    assert min(waits) < 1
    assert max(waits) > 15


async def test_requests_that_fail_together_count_once() -> None:
    """A wave of eight failures is one outage, not eight."""
    gate = Gate(clock=Clock(), random=lambda: 1.0)
    for _ in range(8):
        gate.learn(TryLater("503"))
    assert gate.wait_seconds == 0.5


async def test_the_wait_the_server_asked_for_is_the_least() -> None:
    """Retry-After is obeyed, with jitter on top."""  # covers SNK-04
    gate = Gate(clock=Clock(), random=lambda: 0.0)
    gate.learn(TryLater("429", after_seconds=30))
    assert gate.wait_seconds == 30


async def test_after_an_outage_one_probe_goes_first() -> None:
    """Only when the probe has passed do the others follow."""
    clock = Clock()
    gate = Gate(clock=clock, random=lambda: 1.0)
    gate.learn(TryLater("connection refused"))
    assert not await passes(gate)
    clock.now += 1
    assert await passes(gate)
    assert not await passes(gate)
    gate.learn(Accepted())
    assert await passes(gate)
    assert gate.healthy
    assert gate.failing_for_seconds == 0


async def test_a_hold_is_probed_slowly_and_said_to_be_one() -> None:
    """A revoked key waits for the operator; probes keep the distance the server needs."""  # covers SNK-08
    clock = Clock()
    gate = Gate(clock=clock, random=lambda: 0.0)
    gate.learn(Hold("401", probe_after_seconds=360))
    assert gate.holding
    clock.now += 359
    assert not await passes(gate)
    clock.now += 1
    assert await passes(gate)
