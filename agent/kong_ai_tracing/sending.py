"""One body in, its end out: sent, halved, shortened or set aside, span by span where it must be.

A body that cannot be sent now is given back whole. One that was accepted in part stays here until its rest
has an end, too, so that nothing of it is sent twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Protocol

from msgspec import Struct, field

from kong_ai_tracing.batches import Body, WireForm
from kong_ai_tracing.gate import Gate
from kong_ai_tracing.outcomes import Accepted, Hold, Outcome, Partly, Refused, TooLarge, TryLater
from kong_ai_tracing.progress import Refusal

_MAX_TRIES = 5
"""So often the rest of a body is tried. Then it goes back whole, which repeats a part of it."""
_MAX_FAILURES = 5
"""A span that failed so often beside spans that were accepted is set aside: it is not the server then."""
_MAX_REMEMBERED = 1_000
_SMALLEST_BYTES = 16 << 10
"""A span is not shortened further than this."""


class Destination(WireForm, Protocol):
    """Where bodies go. `send` never raises for what a network or a disk can do."""

    name: str
    patience_seconds: float
    """A request that has not ended after so long is given up."""

    @property
    def max_span_bytes(self) -> int | None:
        """What input and output of a span may take, where that is known before it is sent."""

    async def send(self, body: Body) -> Outcome: ...

    def merge(self, bodies: Sequence[bytes]) -> bytes | None:
        """One body with the spans of all of these; None when they are not alike."""

    def split(self, data: bytes) -> list[bytes]: ...

    def shorten(self, span: bytes, max_bytes: int) -> bytes | None:
        """The same span with its longest texts cut; None when that does not make it small enough."""

    async def close(self) -> None: ...


class Receipt(Struct):
    """What became of the spans of a body."""

    delivered: int = 0
    calls_delivered: int = 0
    calls_refused: int = 0
    shortened: int = 0
    shortening: bool = False
    """The span that is sent next was made smaller."""
    refusals: list[Refusal] = field(default_factory=list)


class Sender:
    """Sends bodies through the gate."""

    def __init__(self, destination: Destination, gate: Gate) -> None:
        self._destination = destination
        self._gate = gate
        self._failures: Counter[int] = Counter()
        """How often a span failed beside others that were accepted, by the hash of its text."""

    @property
    def patience_seconds(self) -> float:
        """A request that has not ended after so long is given up."""
        return self._destination.patience_seconds

    async def deliver(self, body: Body) -> Receipt | None:
        """Send a body until each of its spans has an end; None when the whole must be tried later."""
        receipt = Receipt()
        rest = [body]
        tries = 0
        while rest:
            part = rest[-1]
            outcome = await self._attempt(part)
            if isinstance(outcome, TryLater | Hold):
                tries += 1
                if part is body or tries >= _MAX_TRIES:
                    return None
                continue
            rest.pop()
            if isinstance(outcome, Accepted):
                receipt.delivered += part.spans
                receipt.calls_delivered += sum(part.calls)
                receipt.shortened += receipt.shortening
                receipt.shortening = False
            elif isinstance(outcome, Partly):
                rest += await self._take_apart(part, outcome, receipt)
            else:
                rest += await self._mended(part, outcome, receipt)
        return receipt

    async def _attempt(self, body: Body) -> Outcome:
        passed = await self._gate.pass_through()
        try:
            outcome = await self._destination.send(body)
        except BaseException:
            self._gate.give_up(passed)
            raise
        if isinstance(outcome, Partly) and outcome.later:
            self._gate.learn(passed, TryLater(outcome.reason))
        else:
            self._gate.learn(passed, outcome)
        return outcome

    async def _take_apart(self, body: Body, outcome: Partly, receipt: Receipt) -> list[Body]:
        """Set aside what was refused; gives the rest that is to be tried again."""
        spans = await self._spans_of(body)
        refused = dict(outcome.refused)
        if len(refused) + len(outcome.later) < body.spans:
            refused |= self._failed_too_often(spans, outcome)
        later = [place for place in outcome.later if place not in refused]
        for place, reason in refused.items():
            await self._set_aside(self._part(body, spans, [place]), reason, receipt)
        rest = self._part(body, spans, later)
        receipt.delivered += body.spans - len(refused) - len(later)
        receipt.calls_delivered += sum(body.calls) - sum(rest.calls) - _calls(body, refused)
        return [rest] if later else []

    def _failed_too_often(self, spans: Sequence[bytes], outcome: Partly) -> dict[int, str]:
        if len(self._failures) > _MAX_REMEMBERED:
            self._failures.clear()
        too_often = {}
        for place in outcome.later:
            key = hash(spans[place])
            self._failures[key] += 1
            if self._failures[key] >= _MAX_FAILURES:
                too_often[place] = f"{outcome.reason}, {_MAX_FAILURES} times beside spans that were accepted"
        return too_often

    async def _mended(self, body: Body, outcome: Refused | TooLarge, receipt: Receipt) -> list[Body]:
        """The parts in which a refused body may pass, the one to be sent first at the end."""
        if body.spans > 1:
            spans = await self._spans_of(body)
            middle = len(spans) // 2
            halves = range(middle, len(spans)), range(middle)
            return [self._part(body, spans, half) for half in halves]
        if isinstance(outcome, TooLarge) and (shorter := await self._shorter(body, outcome.max_bytes)):
            receipt.shortening = True
            return [shorter]
        receipt.shortening = False
        await self._set_aside(body, outcome.reason, receipt)
        return []

    async def _shorter(self, body: Body, max_bytes: int | None) -> Body | None:
        [span] = await self._spans_of(body)
        limit = len(span) // 2 if max_bytes is None else min(max_bytes, len(span) // 2)
        if limit < _SMALLEST_BYTES:
            return None
        shorter = await asyncio.to_thread(self._destination.shorten, span, limit)
        return None if shorter is None else self._part(body, [shorter], [0])

    async def _set_aside(self, body: Body, reason: str, receipt: Receipt) -> None:
        packed = await asyncio.to_thread(body.pack)
        receipt.refusals.append(Refusal(1, reason, packed.data, self._destination.name))
        receipt.calls_refused += sum(body.calls)

    async def _spans_of(self, body: Body) -> list[bytes]:
        return await asyncio.to_thread(lambda: self._destination.split(body.unpack().data))

    def _part(self, body: Body, spans: Sequence[bytes], places: Collection[int]) -> Body:
        """Those spans of a body, as a body of their own."""
        data = self._destination.join([spans[place] for place in places])
        return Body(len(places), data, calls=bytes(body.calls[place] for place in places if body.calls))


def _calls(body: Body, places: Collection[int]) -> int:
    return sum(body.calls[place] for place in places if body.calls)
