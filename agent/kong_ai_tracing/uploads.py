"""Media at rest in, media in Langfuse out: oldest first, with a gate of their own, beside the spans.

A medium is in the store from the commit that covers its line until Langfuse has it or refuses it. So a stop
or a crash repeats an upload at most, which Langfuse knows by its digest.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import Protocol

from kong_ai_tracing.gate import Gate
from kong_ai_tracing.ledger import Ledger
from kong_ai_tracing.media import Attachment
from kong_ai_tracing.outcomes import Hold, Outcome, Refused, TooLarge, TryLater
from kong_ai_tracing.progress import Progress

log = logging.getLogger(__name__)

_CONCURRENCY = 4
_CHECK_SECONDS = 0.2


class MediaStore(Protocol):
    """Where media go. `upload` never raises for what a network can do."""

    async def upload(self, attachment: Attachment) -> Outcome: ...

    async def close(self) -> None: ...


class Uploads:
    """Uploads what rests in the store."""

    def __init__(
        self,
        media_store: MediaStore,
        ledger: Ledger,
        *,
        moved: asyncio.Condition,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self.gate = Gate(clock=clock, random=random, max_concurrency=_CONCURRENCY)
        self._media_store = media_store
        self._ledger = ledger
        self._moved = moved
        self._taking = asyncio.Lock()
        self._under_way: set[int] = set()
        self._said: str | None = None
        """What the log last said of the media store."""

    async def run(self) -> None:
        """Upload until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_CONCURRENCY):
                tasks.create_task(self._work())

    async def drained(self, patience_seconds: float) -> bool:
        """Wait until everything was uploaded or refused; False when nothing passes for so long, or until an
        operator acts."""
        while self._ledger.media_waiting:
            if self.gate.holding or self.gate.failing_for_seconds > patience_seconds:
                return False
            await asyncio.sleep(_CHECK_SECONDS)
        return True

    async def close(self) -> None:
        await self._media_store.close()

    async def _work(self) -> None:
        while True:
            number, attachment = await self._take()
            outcome = await self._to_its_end(attachment)
            counts = Counter(media_uploaded=1)
            if isinstance(outcome, Refused | TooLarge):
                counts = Counter(media_refused=1)
                log.warning(
                    "media.refused type=%s bytes=%d reason=%r",
                    attachment.medium.content_type,
                    len(attachment.medium.data),
                    outcome.reason,
                )
            self._ledger.uploaded(number, Progress(counts=counts))
            self._under_way.discard(number)

    async def _take(self) -> tuple[int, Attachment]:
        """The next one that nobody has taken."""
        async with self._taking:
            while True:
                seen = self._ledger.commits
                found = await self._ledger.oldest_medium(self._under_way)
                if found is not None:
                    self._under_way.add(found[0])
                    return found
                await self._commit_after(seen)

    async def _commit_after(self, seen: int) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self._ledger.commits != seen)

    async def _to_its_end(self, attachment: Attachment) -> Outcome:
        """Try until it is uploaded or refused."""
        medium = attachment.medium
        if await asyncio.to_thread(lambda: sha256(medium.data).digest()) != medium.digest:
            return Refused("it was damaged on disk")
        while True:
            passed = await self.gate.pass_through()
            try:
                outcome = await self._media_store.upload(attachment)
            except BaseException:
                self.gate.give_up(passed)
                raise
            self.gate.learn(passed, outcome)
            self._report()
            if not isinstance(outcome, TryLater | Hold):
                return outcome

    def _report(self) -> None:
        reason = self.gate.reason
        if reason == self._said:
            return
        self._said = reason
        if reason is None:
            log.info("media.resumed")
        else:
            log.warning("media.failing reason=%r", reason)
