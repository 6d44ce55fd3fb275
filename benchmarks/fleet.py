"""A fleet comes back from an outage to one Langfuse that takes little more than the fleet produces.

    python benchmarks/fleet.py [--hosts 1000] [--outage 3600] [--capacity 2] [--server refuses]

Time is virtual. What decides is the product's own code: which batch goes next (`outgoing`), what an answer
means (`answers`), back-off, jitter and spacing (`gate`, `backoff`), how many at once (`pace`). Of our making
are the server, and the rule by which a batch that has waited goes to the outbox.

Three servers are tried. One refuses with 503 what its queue has no room for. One counts requests in windows
of a minute, as Langfuse Cloud does, and answers 429 with Retry-After beyond its limit. One lets everybody
wait, and works also for those who have given up.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import httpx

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from fleetscene import BATCH_SPREAD, BUCKET_SECONDS, Result, Scene, table
from kong_ai_tracing.answers import classify
from kong_ai_tracing.batches import Batch, Body
from kong_ai_tracing.gate import Gate
from kong_ai_tracing.outcomes import Outcome, TryLater
from kong_ai_tracing.outgoing import Outgoing
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.sending import Sender
from virtual_time import VirtualTimeLoop

SERVERS = ("refuses", "limits", "hangs")
_SERVICE_SECONDS = 0.1
_QUEUE_SECONDS = 1.0
"""So much work may wait before the server that refuses."""
_WINDOW_SECONDS = 60.0
_TIMEOUT_SECONDS = 5.0
"""`langfuse_timeout`"""
_SPILL_AFTER_SECONDS = 2.0
"""`delivery.spill_after_seconds`"""
_CONCURRENCY = 8
"""`delivery.max_concurrency`"""
_BEFORE_SECONDS = 60.0
"""So long all is well first, and every host learns how quick the server is."""
_PLAYED_SECONDS = 300.0
"""So much of the outage is played, until all wait as long as they ever do; the rest is what it left."""
_CALM_SECONDS = 300.0
"""So long everything is watched when nothing of the outage is left."""


class Server:
    """Takes so many requests a second, from time 0 on."""

    def __init__(self, scene: Scene, result: Result) -> None:
        self._scene, self._result = scene, result
        self._free_at = 0.0
        self._window = self._in_window = 0

    async def answer(self, now: float) -> Outcome:
        if now < -_PLAYED_SECONDS:
            await asyncio.sleep(_SERVICE_SECONDS)
            return answered(200)
        if now < 0:
            return TryLater("ConnectError: connection refused")
        bucket = int(now / BUCKET_SECONDS)
        self._result.offered[bucket] += 1
        if self._scene.server == "limits":
            if wait_seconds := self._over_limit(now):
                self._result.refused += 1
                return answered(429, wait_seconds)
            waits = 0.0
        else:
            waits = max(0.0, self._free_at - now)
            if self._scene.server == "refuses" and waits > _QUEUE_SECONDS:
                self._result.refused += 1
                return answered(503)
            self._free_at = now + waits + 1 / self._scene.served_per_second
        if waits + _SERVICE_SECONDS > _TIMEOUT_SECONDS:
            self._result.wasted += 1
            await asyncio.sleep(_TIMEOUT_SECONDS)
            return TryLater("no answer in time (ReadTimeout)")
        await asyncio.sleep(waits + _SERVICE_SECONDS)
        self._result.accepted[bucket] += 1
        return answered(200)

    def _over_limit(self, now: float) -> int:
        """Seconds until the next window, when this one is used up."""
        window = int(now / _WINDOW_SECONDS)
        if window != self._window:
            self._window, self._in_window = window, 0
        if self._in_window < self._scene.served_per_second * _WINDOW_SECONDS:
            self._in_window += 1
            return 0
        return int((window + 1) * _WINDOW_SECONDS - now) + 1


@cache
def answered(status: int, retry_after: int | None = None) -> Outcome:
    """What the product makes of an answer."""
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return classify(httpx.Response(status, headers=headers, json={}))


class Fleet:
    """All hosts, and what is seen of them."""

    def __init__(self, scene: Scene, loop: VirtualTimeLoop) -> None:
        self.scene, self.result = scene, Result(scene)
        self._loop, self._opens_at = loop, loop.time() + _BEFORE_SECONDS + _PLAYED_SECONDS
        self.server = Server(scene, self.result)
        dice = random.Random(scene.seed)
        self._hosts = [Host(self, random.Random(dice.random()), loop.time) for _ in range(scene.hosts)]
        self._left = 0
        self._drained = asyncio.Event()

    def now(self) -> float:
        """Seconds since the server came back."""
        return self._loop.time() - self._opens_at

    async def play(self) -> Result:
        tasks = [asyncio.create_task(host.produce()) for host in self._hosts]
        await asyncio.sleep(_BEFORE_SECONDS)
        for host in self._hosts:
            host.lose_sight()
        await asyncio.sleep(_PLAYED_SECONDS)
        self._left = sum(host.count_backlog() for host in self._hosts)
        self._half = self._left // 2
        await self._drained.wait()
        await asyncio.sleep(_CALM_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return self.result

    def note_backlog(self, host: Host) -> None:
        """A host has got rid of one batch that the outage left behind."""
        self._left -= 1
        if self._left == self._half:
            self.result.halfway = [each.backlog_sent for each in self._hosts]
        if host.backlog_sent == host.backlog:
            self.result.drained_at.append(self.now())
        if not self._left:
            self._drained.set()


class Host:
    """One gateway: makes batches, spills those that wait, sends what its gate lets through."""

    name = "langfuse"
    patience_seconds = 4 * _TIMEOUT_SECONDS

    def __init__(self, fleet: Fleet, dice: random.Random, clock: Callable[[], float]) -> None:
        self._fleet, self._random, self._clock = fleet, dice, clock
        self._gate = Gate(clock=clock, random=dice.random, max_concurrency=_CONCURRENCY)
        self._sender = Sender(self, self._gate)  # type: ignore[arg-type]
        self._outgoing = Outgoing((), {})
        self._number = 0
        self._last_of_outage = 0
        self._made_at: dict[int, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy = 0
        self.backlog = self.backlog_sent = 0

    async def send(self, body: Body) -> Outcome:
        return await self._fleet.server.answer(self._fleet.now())

    async def produce(self) -> None:
        """Make batches until cancelled."""
        await asyncio.sleep(self._random.random() * self._fleet.scene.batch_seconds)
        loop = asyncio.get_running_loop()
        while True:
            self._number += 1
            body = Body(1, b"")
            self._outgoing.add(Batch(self._number, body, Progress()), body, self._clock())
            self._made_at[self._number] = self._fleet.now()
            if self._gate.healthy:
                loop.call_later(_SPILL_AFTER_SECONDS, self._spill, self._number)
            else:
                self._spill(self._number)
            self._send_more()
            spread = 1 - BATCH_SPREAD * self._random.random()
            await asyncio.sleep(self._fleet.scene.batch_seconds * spread)

    def lose_sight(self) -> None:
        """The outage begins; what it leaves behind before it is played is in the outbox at once."""
        scene = self._fleet.scene
        unplayed_seconds = max(0.0, scene.outage_seconds - _PLAYED_SECONDS)
        first = self._number + 1
        self._number += int(unplayed_seconds * scene.made_per_second / scene.hosts)
        self._outgoing.rejoin(range(first, self._number + 1))
        self._send_more()

    def count_backlog(self) -> int:
        """What the outage has left behind, as of now."""
        self._last_of_outage = self._number
        self.backlog = len(self._outgoing)
        return self.backlog

    def _spill(self, number: int) -> None:
        if number in self._outgoing.live:
            self._outgoing.rest_on_disk(number)

    def _send_more(self) -> None:
        while self._busy < self._gate.allowed:
            number = self._outgoing.next(lambda _: True)
            if number is None:
                return
            self._outgoing.take(number)
            self._busy += 1
            task = asyncio.create_task(self._deliver(number))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, number: int) -> None:
        receipt = await self._sender.deliver(Body(1, b""))
        if receipt is None:
            self._outgoing.put_back((number,))
        else:
            (self._outgoing.end_live if number in self._outgoing.live else self._outgoing.end)(number)
            self._note(number, self._made_at.pop(number, -1.0))
        self._busy -= 1
        self._send_more()

    def _note(self, number: int, made_at: float) -> None:
        if number <= self._last_of_outage:
            self.backlog_sent += 1
            self._fleet.note_backlog(self)
        elif made_at >= 0 and self._last_of_outage:
            self._fleet.result.lateness[int(made_at / 60)].append(self._fleet.now() - made_at)


def simulate(scene: Scene) -> Result:
    """Play a scene to its end."""
    loop = VirtualTimeLoop()
    try:
        return loop.run_until_complete(Fleet(scene, loop).play())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def main() -> int:
    """Play each server and print what was seen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = Scene()
    parser.add_argument("--hosts", type=int, default=usual.hosts)
    parser.add_argument("--outage", type=float, default=usual.outage_seconds, metavar="SECONDS")
    parser.add_argument("--batch", type=float, default=usual.batch_seconds, metavar="SECONDS")
    parser.add_argument(
        "--capacity", type=float, default=usual.capacity, help="of the server, over what is made"
    )
    parser.add_argument("--server", choices=SERVERS, action="append", help="may be repeated; default all")
    parser.add_argument("--seed", type=int, default=usual.seed)
    options = parser.parse_args()
    results = []
    for server in options.server or SERVERS:
        began = time.monotonic()
        scene = Scene(server, options.hosts, options.outage, options.batch, options.capacity, options.seed)
        results.append(simulate(scene))
        print(f"{server}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    print("\n".join(table(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
