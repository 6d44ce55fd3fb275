"""The gate before a destination: back-off, holds, single probes, and how many at once."""

from __future__ import annotations

import asyncio

from kong_ai_tracing.gate import Gate, Pass
from kong_ai_tracing.outcomes import Accepted, Hold, TryLater


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def a_pass(gate: Gate) -> Pass | None:
    """A pass if a request may go out now."""
    task = asyncio.create_task(gate.pass_through())
    for _ in range(3):
        await asyncio.sleep(0)
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


async def passed(gate: Gate) -> Pass:
    found = await a_pass(gate)
    assert found is not None
    return found


async def fail(gate: Gate, clock: Clock, outcome: TryLater | Hold = TryLater("503")) -> None:  # noqa: B008
    """One request that is not taken, as soon as one may go out."""
    clock.now += gate.wait_seconds
    gate.learn(await passed(gate), outcome)


async def test_a_healthy_gate_is_open() -> None:
    """Nothing waits while the destination takes what it gets."""
    gate = Gate(clock=Clock(), random=lambda: 1.0)
    for _ in range(3):
        gate.learn(await passed(gate), Accepted())


async def test_failures_wait_longer_and_longer_up_to_a_minute() -> None:
    """Full jitter: with the largest random number the wait doubles from half a second to sixty."""
    clock = Clock()
    gate = Gate(clock=clock, random=lambda: 1.0)
    waits = []
    for _ in range(9):
        await fail(gate, clock)
        waits.append(gate.wait_seconds)
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]


async def test_jitter_spreads_a_fleet_over_the_whole_wait() -> None:
    """Hosts that fail together do not come back together."""  # covers SNK-12
    waits = []
    for number in range(100):
        clock = Clock()
        gate = Gate(clock=clock, random=lambda number=number: number / 100)
        for _ in range(6):
            await fail(gate, clock)
        waits.append(gate.wait_seconds)
    assert min(waits) < 1
    assert max(waits) > 15


async def test_hosts_that_were_told_the_same_time_do_not_come_back_together() -> None:
    """A Retry-After or a hold is the same for all: a tenth of it is added at random."""  # covers SNK-12
    for outcome in (TryLater("429", after_seconds=300), Hold("401", probe_after_seconds=300)):
        waits = []
        for number in range(100):
            clock = Clock()
            gate = Gate(clock=clock, random=lambda number=number: number / 100)
            await fail(gate, clock, outcome)
            waits.append(gate.wait_seconds)
        assert min(waits) == 300
        assert max(waits) > 329


async def test_requests_that_fail_together_count_once() -> None:
    """A wave of eight failures is one outage, not eight."""
    gate = Gate(clock=Clock(), random=lambda: 1.0, max_concurrency=8)
    for _ in range(20):
        gate.learn(await passed(gate), Accepted())
    wave = [await passed(gate) for _ in range(8)]
    for each in wave:
        gate.learn(each, TryLater("503"))
    assert gate.wait_seconds == 0.5
    assert gate.under_way == 0


async def test_an_answer_to_an_older_request_does_not_end_a_wait() -> None:
    """The server asked for a pause; what it still took before says nothing about it."""
    gate = Gate(clock=Clock(), random=lambda: 0.0, max_concurrency=2)
    gate.learn(await passed(gate), Accepted())
    older, newer = await passed(gate), await passed(gate)
    gate.learn(newer, TryLater("429", after_seconds=30))
    gate.learn(older, Accepted())
    assert not gate.healthy
    assert gate.wait_seconds == 30


async def test_a_late_failure_does_not_end_what_is_well_again() -> None:
    """A request that hung through an outage is no new outage."""
    clock = Clock()
    gate = Gate(clock=clock, random=lambda: 0.0, max_concurrency=2)
    gate.learn(await passed(gate), Accepted())
    hung = await passed(gate)
    await fail(gate, clock)
    gate.learn(await passed(gate), Accepted())
    gate.learn(hung, TryLater("no answer in time"))
    assert gate.healthy


async def test_the_wait_the_server_asked_for_is_the_least() -> None:
    """Retry-After is obeyed, with jitter on top."""  # covers SNK-04
    clock = Clock()
    gate = Gate(clock=clock, random=lambda: 0.0)
    await fail(gate, clock, TryLater("429", after_seconds=30))
    assert gate.wait_seconds == 30


async def test_after_an_outage_one_probe_goes_first_and_then_more_and_more() -> None:
    """A server that comes back is not run over by what has waited."""  # covers SNK-02, SNK-09
    clock = Clock()
    gate = Gate(clock=clock, random=lambda: 1.0, max_concurrency=8)
    for _ in range(20):
        gate.learn(await passed(gate), Accepted())
    await fail(gate, clock, TryLater("connection refused"))
    assert await a_pass(gate) is None
    clock.now += 1
    rounds = []
    for _ in range(5):
        wave = []
        while (each := await a_pass(gate)) is not None:
            wave.append(each)
        rounds.append(len(wave))
        for each in wave:
            gate.learn(each, Accepted())
    assert rounds[0] == 1
    assert rounds == sorted(rounds)
    assert rounds[-1] > 3
    assert gate.failing_for_seconds == 0


async def test_a_request_that_is_given_up_leaves_its_place() -> None:
    """A cancelled probe does not keep the others out."""
    clock = Clock()
    gate = Gate(clock=clock, random=lambda: 1.0)
    await fail(gate, clock)
    clock.now += 1
    gate.give_up(await passed(gate))
    assert await a_pass(gate) is not None


async def test_a_hold_is_probed_slowly_and_said_to_be_one() -> None:
    """A revoked key waits for the operator; probes keep the distance the server needs."""  # covers SNK-08
    clock = Clock()
    gate = Gate(clock=clock, random=lambda: 0.0)
    await fail(gate, clock, Hold("401", probe_after_seconds=360))
    assert gate.holding
    clock.now += 359
    assert await a_pass(gate) is None
    clock.now += 1
    assert await a_pass(gate) is not None


async def test_a_server_that_refuses_some_gets_one_request_at_a_time() -> None:
    """A wait comes after each request then, also after those that pass, until enough have passed."""
    # covers SNK-12
    clock = Clock()
    gate = Gate(clock=clock, random=lambda: 1.0, max_concurrency=8)
    for outcome in [TryLater("503")] * 4 + [Accepted(), TryLater("503"), Accepted()]:
        clock.now += gate.wait_seconds
        gate.learn(await passed(gate), outcome)
    assert gate.healthy
    assert gate.allowed == 1
    assert gate.wait_seconds > 4
    assert await a_pass(gate) is None
    requests = 0
    while gate.allowed == 1:
        clock.now += gate.wait_seconds
        gate.learn(await passed(gate), Accepted())
        requests += 1
    assert 3 < requests < 40
    assert gate.wait_seconds == 0
