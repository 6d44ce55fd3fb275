"""The batches whose end is open, in memory and in the outbox: which of them goes next?

After an outage new data must not wait for all of the old. So fresh batches take turns with the oldest of the
outbox, and where none is fresh, the newest of the outbox does. A batch that did not pass goes behind all that
were not tried yet: one that never passes stands in nobody's way.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping

from msgspec import Struct

from kong_ai_tracing.batches import Batch, Body


class Live(Struct):
    """A batch in memory."""

    batch: Batch
    body: Body
    since: float
    sending: bool = False
    spill: bool = False
    """Whether it shall go to the outbox."""


class Outgoing:
    """Batches by number, which is the order in which they were read."""

    def __init__(self, spilled: Iterable[int], follows: Mapping[int, int]) -> None:
        self.live: OrderedDict[int, Live] = OrderedDict()
        self.live_bytes = 0
        self._spilled: OrderedDict[int, bool] = OrderedDict.fromkeys(spilled, False)
        """True while one is being sent."""
        self._follows = dict(follows)
        self._tried: set[int] = set()
        self._alone: set[int] = set()
        """Of the outbox, those that did not pass together with others, or are not like them."""
        self._turn = 0

    def __len__(self) -> int:
        return len(self.live) + len(self._spilled)

    def add(self, batch: Batch, body: Body, now: float) -> None:
        self.live[batch.number] = Live(batch, body, now)
        self.live_bytes += len(body.data)
        if body.follows:
            self._follows[batch.number] = body.follows

    def end_live(self, number: int) -> None:
        """A batch in memory has ended."""
        self._follows.pop(number, None)
        self._tried.discard(number)
        self.live_bytes -= len(self.live.pop(number).body.data)

    def rest_on_disk(self, number: int) -> None:
        """A batch moves to the outbox; a request with it goes on."""
        live = self.live.pop(number)
        self.live_bytes -= len(live.body.data)
        self._spilled[number] = live.sending

    def end(self, number: int) -> None:
        """A batch of the outbox has ended."""
        del self._spilled[number]
        self._follows.pop(number, None)
        self._tried.discard(number)
        self._alone.discard(number)

    def rejoin(self, numbers: Iterable[int]) -> None:
        """Batches that were refused are in the outbox again, before all others."""
        for number in sorted(numbers, reverse=True):
            self._spilled[number] = False
            self._spilled.move_to_end(number, last=False)

    def next(self, is_ready: Callable[[int], bool]) -> int | None:
        """The batch to send now."""
        live = ((number, live.sending) for number, live in self.live.items())
        oldest, newest = self._spilled.items(), reversed(self._spilled.items())
        for kind in (oldest, live) if self._turn % 2 else (live, newest):
            if (number := self._first(kind, is_ready)) is not None:
                return number
        return None

    def take(self, number: int) -> None:
        """It is being sent."""
        self._turn += 1
        self._mark(number, sending=True)

    def put_back(self, numbers: Collection[int]) -> None:
        """They did not pass; if they went together, they do not do so again."""
        if len(numbers) > 1:
            self._alone.update(numbers)
        for number in numbers:
            self._tried.add(number)
            self._mark(number, sending=False)

    def companion(self, number: int, is_ready: Callable[[int], bool]) -> int | None:
        """Takes the nearest batch of the outbox that may be sent together with this one."""
        if number in self._alone:
            return None
        is_old = number - next(iter(self._spilled)) < next(reversed(self._spilled)) - number
        for other in self._spilled if is_old else reversed(self._spilled):
            if self._spilled[other] or not is_ready(other):
                continue
            if other not in self._tried and other not in self._alone:
                self._mark(other, sending=True)
                return other
        return None

    def leave_behind(self, numbers: Collection[int]) -> None:
        """Companions that are not sent after all; from now on each goes without company."""
        self._alone.update(numbers)
        for number in numbers:
            self._mark(number, sending=False)

    def oldest_at_rest(self, is_ready: Callable[[int], bool]) -> int | None:
        """The oldest batch of the outbox that is not being sent."""
        return next((n for n, sending in self._spilled.items() if not sending and is_ready(n)), None)

    def _first(self, kind: Iterable[tuple[int, bool]], is_ready: Callable[[int], bool]) -> int | None:
        tried = []
        for number, sending in kind:
            if sending or not is_ready(number) or not self._may_go(number):
                continue
            if number not in self._tried:
                return number
            tried.append(number)
        if not tried:
            return None
        self._tried.difference_update(tried)  # a new round
        return tried[0]

    def _may_go(self, number: int) -> bool:
        """Have all ended that must arrive before? Of a span, the version that arrives last is kept."""
        follows = self._follows.get(number, 0)
        return not follows or not any(
            next(iter(numbers), follows + 1) <= follows for numbers in (self.live, self._spilled)
        )

    def _mark(self, number: int, *, sending: bool) -> None:
        if number in self.live:
            self.live[number].sending = sending
        elif number in self._spilled:
            self._spilled[number] = sending
