"""A stretch of a file in, on a worker: what can leave at once as finished bodies, the rest put aside.

The steps are those of one host, with another end of the pipeline.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence

from msgspec import field

from kong_ai_tracing.archives import Archive, Archives
from kong_ai_tracing.batches import Batch
from kong_ai_tracing.calls import AICall
from kong_ai_tracing.cluster.jobs import Company, Job, Outline, Part, Reading, Stretch, partition_of
from kong_ai_tracing.cluster.partgroups import batcher_of
from kong_ai_tracing.files import Chunk, ScanResult
from kong_ai_tracing.linereader import LineReader
from kong_ai_tracing.pipeline import Pipeline, Rhythm
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.rotationrisk import Rotations
from kong_ai_tracing.traces import Emission, Grouping
from kong_ai_tracing.watcher import Waker

_MAX_OPEN = 8
"""Files that were read in part stay open for who reads on: a compressed one is not read again up to there."""

_open: OrderedDict[tuple[str, int, int], Archives] = OrderedDict()
_open_lock = threading.Lock()
_local = threading.local()


class Apart(Grouping):
    """Puts aside the calls that wait for company; the others leave at once."""

    companies: list[Company] = field(default_factory=list)
    taken: int = 0
    now_ms: int = 0

    def add(self, calls: Sequence[AICall], now_ms: int) -> list[Emission]:
        self.now_ms = max(self.now_ms, now_ms)
        if calls[0].parent_id is not None or not calls[0].context.shared:
            return Grouping.add(self, calls, now_ms)
        self.companies.append(Company(now_ms, list(calls)))
        return []

    def counted(self) -> int:
        """How many calls were put aside since this was last asked."""
        total = sum(len(each.calls) for each in self.companies)
        new, self.taken = total - self.taken, total
        return new


class Collected:
    """The end of the way on a worker: keeps what a delivery would take."""

    def __init__(self, apart: Apart) -> None:
        self._apart = apart
        self.batches: list[Batch] = []
        self.settles = Progress()

    async def submit(self, batch: Batch, *, at_once: bool = False) -> None:
        progress, later = batch.progress, self.settles
        later.positions.update(progress.positions)
        later.calls.update(progress.calls)
        progress.positions, progress.calls, progress.held = {}, type(progress.calls)(), {}
        # They are found where they are grouped, so that each batch adds up.
        if put_aside := self._apart.counted():
            progress.counts.subtract({"calls": put_aside, "calls_found": put_aside})
        if batch.body is not None:
            batch.body = batch.body.pack()
        self.batches.append(batch)

    async def room_for(self, size: int) -> None:
        """There is as much as a stretch needs."""

    async def written(self) -> None:
        """Nothing is."""

    async def secure(self, file_ids: Collection[int]) -> None:
        """Nothing vanishes."""

    def unwritten_files(self) -> set[int]:
        """None is asked for."""
        return set()

    def note_rotations(self, rotations: Iterable[Rotations]) -> None:
        """Archives do not rotate."""

    def tell_pause(self) -> None:
        """There is none."""

    @property
    def idle(self) -> bool:
        """Nothing is ever sent."""
        return True


class _Limited:
    """A source that ends after so many bytes."""

    wants_scan = False

    def __init__(self, archives: Archives, max_bytes: int) -> None:
        self._archives = archives
        self._left = max_bytes

    async def scan(self, unwritten: Collection[int] = ()) -> ScanResult:
        return await self._archives.scan()

    async def read(self) -> Chunk | None:
        if self._left <= 0:
            return None
        chunk = await self._archives.read()
        if chunk is not None and chunk.items:
            last = chunk.items[-1].origin
            self._left -= last.offset + last.length - chunk.items[0].origin.offset
        return chunk


async def read_stretch(job: Job, stretch: Stretch) -> Reading:
    archives = _opened(job, stretch.archives)
    before = archives.read_bytes
    apart = Apart()
    collected = Collected(apart)
    pipeline = Pipeline(
        _Limited(archives, job.stretch_bytes),
        _reader_of(job),
        apart,
        batcher_of(job, first_number=1),
        collected,
        rhythm=Rhythm(),
        wake=Waker(),
    )
    await pipeline.run_to_end()
    read_bytes = archives.read_bytes - before
    rest = await _kept_open(job, archives)
    parts: list[list[Company]] = [[] for _ in range(job.partitions)]
    for company in apart.companies:
        parts[partition_of(company.calls[0].context.trace_id, job.partitions)].append(company)
    packed = [Part.of(each) for each in parts]
    outline = Outline(
        collected.batches,
        collected.settles,
        [part.calls for part in packed],
        apart.now_ms,
        read_bytes,
        Stretch(rest) if rest else None,
    )
    return Reading(outline, packed)


def _key(job: Job, archives: Sequence[Archive]) -> tuple[str, int, int]:
    return job.id, archives[0].record.file_id, archives[0].record.offset


def _opened(job: Job, archives: tuple[Archive, ...]) -> Archives:
    with _open_lock:
        found = _open.pop(_key(job, archives), None)
    return found or Archives.of(archives, max_line_bytes=job.blueprint.config.tailing.max_line_bytes)


async def _kept_open(job: Job, archives: Archives) -> tuple[Archive, ...]:
    """What is still to be read; it is left open here, and whoever reads on elsewhere opens it anew."""
    rest = archives.rest()
    if not rest:
        await archives.close()
        return rest
    with _open_lock:
        _open[_key(job, rest)] = archives
        oldest = _open.popitem(last=False)[1] if len(_open) > _MAX_OPEN else None
    if oldest is not None:
        await oldest.close()
    return rest


def _reader_of(job: Job) -> LineReader:
    """One for each thread: to make it takes longer than to read a small file."""
    made: dict[str, LineReader] = _local.__dict__.setdefault("readers", {})
    if job.id not in made:
        made.clear()
        made[job.id] = job.blueprint.reader()
    return made[job.id]


def let_go(job_id: str) -> None:
    """Nobody reads on where this worker stopped."""
    with _open_lock:
        for key in [key for key in _open if key[0] == job_id]:
            _open.pop(key).let_go()
