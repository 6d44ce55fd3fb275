"""A backfill whose files are read by a Dask cluster, in the place of the pipeline of one host.

Workers read stretches of files; calls that stand alone come back as finished bodies. The others stay on the
workers, parted by trace, and are grouped there in the order of the files: so every trace is put together as
one host would have done it. This host delivers, with the one rate and the one ledger there are: it needs no
more than the bodies, and a cluster needs no key.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from kong_ai_tracing.archives import Archive, Archives
from kong_ai_tracing.batches import Batch
from kong_ai_tracing.cluster import work
from kong_ai_tracing.cluster.jobs import Groups, Job, Outline, Stretch, partition_of
from kong_ai_tracing.cluster.partgroups import FIRST_NUMBER, batcher_of
from kong_ai_tracing.cluster.stretches import Apart, Collected
from kong_ai_tracing.delivery import Delivery
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.files import Chunk, ScanResult
from kong_ai_tracing.heldcalls import Rereader
from kong_ai_tracing.pipeline import Pipeline, Rhythm
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.store import Restored
from kong_ai_tracing.waits import Waits
from kong_ai_tracing.watcher import Waker

if TYPE_CHECKING:
    from distributed import Client, Future

log = logging.getLogger(__name__)

_AHEAD = 2
"""So many stretches of a file may wait on the workers for the files before it."""
_WINDOW = 16
"""So many stretches are grouped at once."""
_TELL_SECONDS = 2.0


class ClusterError(OperatorError):
    """The cluster cannot do it; the text says why and what to do."""


class _Read(Struct):
    """A stretch that was read: its parts are on the workers."""

    outline: Outline
    parts: list[Future | None]
    """By partition; None where nothing waits."""


class ClusterReading:
    """Reads archives on a cluster, and hands everything to the delivery in order."""

    def __init__(
        self, client: Client, job: Job, archives: Archives, delivery: Delivery, *, at_once: int
    ) -> None:
        self._client = client
        self._job = job
        self._archives = archives
        self._delivery = delivery
        self._slots = asyncio.Semaphore(at_once)
        self._tasks = 0
        self._turn = asyncio.Lock()
        self._number = delivery.first_number
        self._last_grouped = self._number - 1
        """The newest batch with roots that may be sent again; at first any that an earlier run left."""
        self._groups = [Groups() for _ in range(job.partitions)]
        self._now_ms = 0
        self._waits = Waits(asyncio.get_running_loop().time)
        self._stopped = asyncio.Event()
        self.following = False
        self.finished = False
        self.still_for_seconds = 0.0

    @property
    def stopping(self) -> bool:
        return self._waits.stopping

    def stop(self) -> None:
        self._waits.stop()
        self._stopped.set()

    async def restore(self, restored: Restored, reread: Rereader) -> None:
        """Take up what an earlier run left, each trace where its calls will be grouped."""
        apart, left = Apart(), _Left()
        pipeline = Pipeline(
            _Nothing(await self._archives.scan()),
            self._job.blueprint.reader(),
            apart,
            batcher_of(self._job, first_number=1),
            left,
            rhythm=Rhythm(),
            wake=Waker(),
        )
        await pipeline.restore(restored, reread)
        await pipeline.run_to_end()
        await self._submit(left.batches)
        self._now_ms = apart.now_ms
        count = self._job.partitions
        for trace in restored.remembered:
            self._groups[partition_of(trace.trace_id, count)].remembered.append(trace)
        for trace_id, started_ms in restored.roots.items():
            self._groups[partition_of(trace_id, count)].roots[trace_id] = started_ms
        for company in apart.companies:
            self._groups[partition_of(company.calls[0].context.trace_id, count)].held.append(company)

    async def run_to_end(self) -> None:
        """Read everything, give it to the delivery, and return."""
        working = asyncio.ensure_future(self._work())
        stop = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait({working, stop}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
                self.finished = not self.stopping
        except* ClusterError as group:
            raise group.exceptions[0] from None
        finally:
            for each in (working, stop):
                each.cancel()
            await asyncio.wait({working, stop})

    async def _work(self) -> None:
        shares = self._archives.by_content()
        queues: list[asyncio.Queue[_Read | None]] = [asyncio.Queue(_AHEAD) for _ in shares]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._group_all(queues))
            for share, queue in zip(shares, queues, strict=True):
                await self._slots.acquire()
                tasks.create_task(self._read_all(share, queue))

    # -- reading

    async def _read_all(self, share: tuple[Archive, ...], queue: asyncio.Queue[_Read | None]) -> None:
        """One content, stretch by stretch."""
        try:
            stretch: Stretch | None = Stretch(share)
            while stretch is not None:
                path = stretch.archives[0].record.path
                read = await self._read(stretch)
                await self._submit(read.outline.batches)
                stretch, read.outline.batches = read.outline.rest, []
                self._archives.read_elsewhere(path, read.outline.read_bytes)
                await queue.put(read)
        finally:
            self._slots.release()
        await queue.put(None)

    async def _read(self, stretch: Stretch) -> _Read:
        reading = self._task("read", work.read, self._job.id, stretch)
        outline: Outline = await self._result(self._task("outline", work.outline_of, reading))
        parts = [
            self._task("part", work.part_of, reading, number) if waiting else None
            for number, waiting in enumerate(outline.waiting)
        ]
        return _Read(outline, parts)

    # -- grouping

    async def _group_all(self, queues: Sequence[asyncio.Queue[_Read | None]]) -> None:
        """What waits for company, in the order of the files."""
        async for window in _windows(queues):
            times = []
            for read in window:
                before_ms, self._now_ms = self._now_ms, max(self._now_ms, read.outline.now_ms)
                times.append((before_ms, self._now_ms))
            settles = Progress()
            for read in window:
                settles.merge(read.outline.settles)
            await self._group(times, window, settles, last=False)
        await self._group([], [], Progress(), last=True)

    async def _group(
        self, times: list[tuple[int, int]], window: list[_Read], settles: Progress, *, last: bool
    ) -> None:
        tasks: dict[int, Future] = {}
        for number, groups in enumerate(self._groups):
            mine = [
                (time, part) for time, read in zip(times, window, strict=True) if (part := read.parts[number])
            ]
            if mine or (last and groups):
                own_times, parts = [time for time, _ in mine], [part for _, part in mine]
                tasks[number] = self._task("group", work.group, self._job.id, groups, own_times, parts, last)
        follows = self._last_grouped
        for number, task in tasks.items():
            grouped = await self._result(task)
            self._groups[number] = grouped.groups
            await self._submit(grouped.batches, follows=follows)
            self._last_grouped = self._number - 1
            settles.merge(grouped.settles)
        await self._submit([Batch(0, None, settles)])

    # -- tasks and batches

    def _task(self, name: str, act: Callable[..., Any], *arguments: Any) -> Future:
        self._tasks += 1
        key = f"kong-ai-tracing-{name}-{self._job.id}-{self._tasks}"
        return self._client.submit(act, *arguments, key=key, pure=False)

    async def _result(self, task: Future) -> Any:
        from distributed import KilledWorker

        try:
            return await task
        except work.WorkerError as error:
            raise ClusterError(str(error)) from None
        except KilledWorker:
            raise ClusterError(
                "the workers that had a task died one after the other: give them more memory, see their logs"
            ) from None

    async def _submit(self, batches: Sequence[Batch], *, follows: int = 0) -> None:
        """In one order with all others: that of their numbers."""
        async with self._turn:
            first = self._number
            for batch in batches:
                if self.stopping:
                    await asyncio.Event().wait()  # until it is cancelled
                batch.number, self._number = self._number, self._number + 1
                if batch.body is not None and batch.body.follows:
                    within = batch.body.follows - FIRST_NUMBER
                    batch.body = replace(batch.body, follows=follows if within < 0 else first + within)
                await self._waits.see_through(
                    self._delivery.submit(batch), interval_seconds=_TELL_SECONDS, meanwhile=self._tell
                )

    async def _tell(self) -> None:
        self._delivery.tell_pause()


async def _windows(queues: Sequence[asyncio.Queue[_Read | None]]) -> AsyncIterator[list[_Read]]:
    """What was read, in order: all there is of it, so that many small files are grouped at once."""
    window: list[_Read] = []
    for queue in queues:
        while True:
            if window and (queue.empty() or len(window) >= _WINDOW):
                yield window
                window = []
            read = await queue.get()
            if read is None:
                break
            window.append(read)
    if window:
        yield window


class _Nothing:
    """A source of no lines, which brings what is known of the files."""

    wants_scan = False

    def __init__(self, found: ScanResult) -> None:
        self._found: ScanResult | None = found

    async def scan(self, unwritten: Collection[int] = ()) -> ScanResult:
        found, self._found = self._found, None
        return found or ScanResult(notices=[], records=[], retired=[], vanishing=[])

    async def read(self) -> Chunk | None:
        return None


class _Left(Collected):
    """What taking up an earlier run gives."""

    def __init__(self) -> None:
        super().__init__(Apart())

    async def submit(self, batch: Batch, *, at_once: bool = False) -> None:
        self.batches.append(batch)
