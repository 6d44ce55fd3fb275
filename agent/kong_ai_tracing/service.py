"""One run of the pipeline, from taking up what an earlier run left to the last commit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Protocol, TypeAlias

from kong_ai_tracing import assembly
from kong_ai_tracing.config import Config
from kong_ai_tracing.delivery import Delivery, Destination
from kong_ai_tracing.files import ScanResult
from kong_ai_tracing.heldcalls import Rereader
from kong_ai_tracing.linereader import LineReader
from kong_ai_tracing.lines import Line, Origin
from kong_ai_tracing.matching import Match
from kong_ai_tracing.pipeline import Pipeline, Source
from kong_ai_tracing.selection import Selection
from kong_ai_tracing.store import Commit, Restored, Store
from kong_ai_tracing.throttle import Throttle
from kong_ai_tracing.watcher import Waker
from kong_ai_tracing.writealarm import Listened

log = logging.getLogger(__name__)

EXIT_DELIVERED = 0
EXIT_UNREACHABLE = 4

_GRACE_SECONDS = 5.0
"""So long a stop waits for the answers of a destination that has been giving some. What is not waited for is
sent again by the next start."""
_GRACE_OF_THE_SILENT_SECONDS = 1.0
"""Of one that has not: a stop is not to wait for what does not come."""
_CHECK_INTERVAL_SECONDS = 0.2


class LogSource(Source, Protocol):
    """Files that can be read, read again at one place, and closed."""

    async def reread(self, origin: Origin) -> Line | None: ...

    async def close(self) -> None: ...


class Way(Protocol):
    """How a source is read: on this host, or elsewhere."""

    following: bool
    finished: bool

    @property
    def stopping(self) -> bool: ...

    @property
    def still_for_seconds(self) -> float: ...

    async def restore(self, restored: Restored, reread: Rereader) -> None: ...

    async def run_to_end(self) -> None: ...

    def stop(self) -> None: ...


Elsewhere: TypeAlias = Callable[[Delivery], Way]
"""Makes the way of a run that reads elsewhere, to where it delivers."""


class Service:
    """Reads a source through the pipeline into a destination until it is told to stop or has nothing more."""

    def __init__(
        self,
        config: Config,
        store: Store,
        restored: Restored,
        source: LogSource,
        destination: Destination,
        *,
        match: Match | None = None,
        selection: Selection | None = None,
        other_readers: int = 0,
        throttle: Throttle | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._store = store
        self._restored = restored
        self._source = source
        self._destination = destination
        self._waker = Waker()
        self._uploaded = False
        """Whether all media were uploaded."""
        self.delivery: Delivery = assembly.delivery_of(config, destination, store, restored, throttle)
        self.reader = LineReader(
            assembly.call_settings_of(config),
            assembly.protection_of(config, self.delivery.take_room_for_medium),
            match=match,
            is_wanted=selection.test() if selection is not None else None,
        )
        if other_readers:
            # Loaded here: only a large backfill reads in processes of their own.
            from kong_ai_tracing.lineprocesses import ReadAhead
            from kong_ai_tracing.lineworker import Blueprint

            blueprint = Blueprint(config, match, selection, destination.max_span_bytes)
            source = self._source = ReadAhead(source, self.reader, blueprint, other_readers)
        self._on_this_host = Pipeline(
            source,
            self.reader,
            assembly.grouping_of(config),
            assembly.batcher_of(config, destination, self.delivery, throttle),
            self.delivery,
            rhythm=assembly.rhythm_of(config),
            wake=self._waker,
        )
        self.pipeline: Way = elsewhere(self.delivery) if elsewhere is not None else self._on_this_host

    def stop(self) -> None:
        """End the run in good order, soon."""
        self.pipeline.stop()

    @property
    def following(self) -> bool:
        """True when nothing that is written from now on is missed, or only the disk keeps us from that."""
        return self.pipeline.following or self.delivery.disk_fails

    def stuck(self, limit_seconds: float) -> str | None:
        """Which part has not moved for longer than that, although nothing keeps it from moving."""
        if self.pipeline.still_for_seconds > limit_seconds:
            return "reading"
        return self.delivery.stuck(limit_seconds)

    @property
    def unwritten(self) -> Commit:
        """After a run that a damaged store ended: what was settled and is not on disk."""
        return self.delivery.unwritten

    def close(self) -> None:
        """Close the store, after a run."""
        self._store.close()

    async def run_live(
        self,
        directories: Iterable[str],
        files: Callable[[], Iterable[Listened]] | None = None,
        last_look: Callable[[], Awaitable[ScanResult]] | None = None,
    ) -> int:
        """Follow the source until `stop`, woken by what happens in these directories and to these files.

        `last_look` says in the end which files are done. Gives the exit code.
        """
        async with self._running() as sending:
            self._waker.start(directories, files)
            reading = asyncio.create_task(self._on_this_host.run_live(last_look))
            await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                reading.cancel()
                sending.result()
            await reading
            await self._wind_down()
        return EXIT_DELIVERED

    async def run_to_end(self, *, patience_seconds: float) -> int:
        """Read what there is and deliver it; gives the exit code.

        A destination or a state directory that takes nothing for `patience_seconds`, or until an operator
        acts, ends the run: what was read rests in the outbox, and the rest is read by the next run.
        """
        async with self._running() as sending:
            reading = asyncio.create_task(self._read_and_drain(patience_seconds))
            while not reading.done() and not sending.done():
                await asyncio.wait(
                    {reading, sending}, timeout=_CHECK_INTERVAL_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                if self.pipeline.stopping or self._hopeless(patience_seconds):
                    break
            if sending.done():
                reading.cancel()
                sending.result()
            self.pipeline.stop()
            await asyncio.wait({reading}, timeout=_GRACE_OF_THE_SILENT_SECONDS)
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
            await self._wind_down()
            delivered = self.delivery.idle and self.pipeline.finished and self._uploaded
        if not delivered:
            log.error(
                "run.unfinished waiting_batches=%d reason=%r",
                self.delivery.undelivered_batches,
                self.delivery.gate.reason or self.delivery.pause_reason or "stopped",
            )
        return EXIT_DELIVERED if delivered else EXIT_UNREACHABLE

    async def _wind_down(self) -> None:
        answers = self.delivery.health.answers
        await self.delivery.wind_down(_GRACE_SECONDS if answers else _GRACE_OF_THE_SILENT_SECONDS)

    def _hopeless(self, patience_seconds: float) -> bool:
        return self.delivery.gate.holding or self.delivery.failing_for_seconds > patience_seconds

    async def _read_and_drain(self, patience_seconds: float) -> None:
        await self.pipeline.run_to_end()
        if self.pipeline.finished:
            await self.delivery.drained()
            self._uploaded = await self.delivery.uploaded(patience_seconds)

    @contextlib.asynccontextmanager
    async def _running(self) -> AsyncIterator[asyncio.Task[None]]:
        sending = asyncio.create_task(self.delivery.run())
        try:
            log.info("service.ready")  # from here on `stop` ends it in good order
            await self.pipeline.restore(self._restored, self._source.reread)
            yield sending
        finally:
            self._waker.stop()
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
            try:
                await self.delivery.finish()
            finally:
                await self._source.close()
                await self._destination.close()
