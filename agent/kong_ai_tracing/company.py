"""A batch of the outbox in, the same with others in one body out: a server counts requests, not spans.

What a quiet host spilled during an outage is small, a batch for each second. While the server takes what it
gets, such bodies go together, up to the size of a batch. Those that did not pass together go alone after
that: one that never passes must stand in nobody's way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from kong_ai_tracing.batches import Body
from kong_ai_tracing.ledger import Ledger
from kong_ai_tracing.outgoing import Outgoing

Merge = Callable[[Sequence[bytes]], bytes | None]
"""The data of several bodies → of one with all their spans; None when they are not alike."""


class Company:
    """Finds what may go together."""

    def __init__(
        self,
        outgoing: Outgoing,
        ledger: Ledger,
        merge: Merge,
        *,
        max_bytes: int,
        is_ready: Callable[[int], bool],
        let_go: Callable[[int], Awaitable[None]],
    ) -> None:
        self._outgoing = outgoing
        self._ledger = ledger
        self._merge = merge
        self._max_bytes = max_bytes
        self._is_ready = is_ready
        self._let_go = let_go

    async def of(self, number: int, body: Body) -> tuple[list[int], Body]:
        """The numbers that are taken together, and the body that holds their spans."""
        numbers, bodies = [number], [body]
        left = self._max_bytes - body.unpacked_bytes
        while _can_be_joined(bodies[-1]) and left > self._max_bytes // 2:
            other = self._outgoing.companion(number, self._is_ready)
            if other is None:
                break
            another = await self._ledger.body(other)
            if another is None:
                await self._let_go(other)
                continue
            numbers.append(other)
            bodies.append(another)
            left -= another.unpacked_bytes
        fitting = len(numbers) if left >= 0 and _can_be_joined(bodies[-1]) else len(numbers) - 1
        merged = await asyncio.to_thread(self._merged, bodies[:fitting]) if fitting > 1 else None
        if merged is None:
            fitting = 1
        self._outgoing.leave_behind(numbers[fitting:])
        return numbers[:fitting], merged or body

    def _merged(self, bodies: Sequence[Body]) -> Body | None:
        data = self._merge([body.unpack().data for body in bodies])
        if data is None:
            return None
        calls = b"".join(body.calls for body in bodies)
        return Body(sum(body.spans for body in bodies), data, calls=calls)


def _can_be_joined(body: Body) -> bool:
    """Whether it is known which of its spans are calls, and it follows no other body."""
    return len(body.calls) == body.spans and not body.follows
