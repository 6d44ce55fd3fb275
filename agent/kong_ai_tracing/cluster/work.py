"""What a worker of the cluster does: read a stretch of a file, group what belongs together.

Both are the steps of `pipeline`, with another end; each task gives the same result wherever and however often
it is done, so that what a lost worker had is made again by another one.
"""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from msgspec import field

from kong_ai_tracing import __version__, assembly
from kong_ai_tracing.archives import Archive, Archives
from kong_ai_tracing.batches import Batch, Batcher
from kong_ai_tracing.calls import AICall
from kong_ai_tracing.cluster.jobs import (
    Company,
    Grouped,
    Groups,
    Job,
    Outline,
    Part,
    Reading,
    Stretch,
    partition_of,
)
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.files import Chunk, ScanResult
from kong_ai_tracing.gathering import Gathering
from kong_ai_tracing.linereader import LineReader
from kong_ai_tracing.pipeline import Pipeline, Rhythm
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.rotationrisk import Rotations
from kong_ai_tracing.traces import Emission, Grouping
from kong_ai_tracing.watcher import Waker

if TYPE_CHECKING:
    from distributed import Worker, WorkerPlugin
else:
    try:
        from distributed import WorkerPlugin
    except ModuleNotFoundError:  # said by who wants a cluster
        WorkerPlugin = object

_T = TypeVar("_T")

FIRST_NUMBER = 2
"""Of the batches of a grouping task. What follows number 1 follows what earlier tasks gave."""
_MAX_OPEN = 8
"""Files that were read in part stay open for who reads on: a compressed one is not read again up to there."""

_FRAMES_TOLD = 4

_jobs: dict[str, Job] = {}
_open: OrderedDict[tuple[str, int, int], Archives] = OrderedDict()
_open_lock = threading.Lock()
_local = threading.local()


class Posting(WorkerPlugin):  # type: ignore[misc]
    """Brings a job to every worker, those that join later included, past all graphs and dashboards."""

    def __init__(self, job: Job) -> None:
        self.name = f"kong-ai-tracing-{job.id}"
        self._job = job

    def setup(self, worker: Worker) -> None:
        _jobs[self._job.id] = self._job

    def teardown(self, worker: Worker) -> None:
        _jobs.pop(self._job.id, None)
        let_go(self._job.id)


class WorkerError(Exception):
    """A task failed. Its words hold nothing of what was read."""


def let_go(job_id: str) -> None:
    """Nobody reads on where this worker stopped."""
    with _open_lock:
        for key in [key for key in _open if key[0] == job_id]:
            _open.pop(key).let_go()


def version() -> str:
    return __version__


def read(job_id: str, stretch: Stretch) -> Reading:
    """Carry the lines of a stretch as far as each goes alone."""
    return _told(lambda: asyncio.run(_read(_jobs[job_id], stretch)))


def outline_of(reading: Reading) -> Outline:
    return reading.outline


def part_of(reading: Reading, partition: int) -> Part:
    return reading.parts[partition]


def group(
    job_id: str, groups: Groups, times: Sequence[tuple[int, int]], parts: list[Part], last: bool
) -> Grouped:
    """Bring the calls of each trace of a partition together.

    `times`: for each part the time of the log before it, and at its end.
    """
    return _told(lambda: _group(_jobs[job_id], groups, times, parts, last=last))


def _told(act: Callable[[], _T]) -> _T:
    """Raises WorkerError, to which nothing else is tied: Dask passes on what is, and logs it."""
    try:
        return act()
    except OperatorError as error:
        words = str(error)
    except OSError as error:
        where = error.filename or "what it was to read"
        words = (
            f"a worker cannot read {where}: {error.strerror or type(error).__name__}; workers must find it"
            " under the same path, or name URLs"
        )
    except Exception as error:  # whatever it was, its own words may hold a prompt
        words = f"{type(error).__name__} at {_place(error.__traceback__)}"
    raise WorkerError(words)


def _place(trace: TracebackType | None) -> str:
    frames = []
    while trace is not None:
        frames.append(f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " ".join(frames[-_FRAMES_TOLD:])


# -- reading


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

    async def submit(self, batch: Batch) -> None:
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

    def note_rotations(self, rotations: Iterable[Rotations]) -> None:
        """Archives do not rotate."""

    def tell_pause(self) -> None:
        """There is none."""


class _Limited:
    """A source that ends after so many bytes."""

    wants_scan = False

    def __init__(self, archives: Archives, max_bytes: int) -> None:
        self._archives = archives
        self._left = max_bytes

    async def scan(self) -> ScanResult:
        return await self._archives.scan()

    async def read(self) -> Chunk | None:
        if self._left <= 0:
            return None
        chunk = await self._archives.read()
        if chunk is not None and chunk.items:
            last = chunk.items[-1].origin
            self._left -= last.offset + last.length - chunk.items[0].origin.offset
        return chunk


async def _read(job: Job, stretch: Stretch) -> Reading:
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


def batcher_of(job: Job, *, first_number: int) -> Batcher:
    return Batcher(
        assembly.wire_form_of(job.blueprint.config),
        first_number=first_number,
        max_bytes=job.blueprint.config.delivery.batch_max_bytes,
        max_age_seconds=float("inf"),
        max_spans=job.max_spans,
    )


# -- grouping


def _group(
    job: Job, groups: Groups, times: Sequence[tuple[int, int]], parts: Sequence[Part], *, last: bool
) -> Grouped:
    if groups.packed:
        grouping: Grouping = pickle.loads(groups.packed)  # noqa: S301 - this module made it
    else:
        grouping = assembly.grouping_of(job.blueprint.config)
    batcher = batcher_of(job, first_number=FIRST_NUMBER)
    gathering = Gathering(grouping, batcher)
    done = Grouped([], Progress(), groups)
    for trace in grouping.remembered:
        if trace.root_bytes:
            batcher.sent_before(trace.root_id)
    gathering.restore(groups.remembered, groups.roots)
    for company in groups.held:
        gathering.hold(company.calls, company.now_ms)
    now_ms = 0
    for (before_ms, end_ms), part in zip(times, parts, strict=True):
        for company in part.companies():
            now_ms = max(before_ms, company.now_ms)
            _count_calls(done.settles, len(company.calls))
            gathering.add(company.calls, now_ms)
            if gathering.full:
                _close(gathering, done)
        now_ms = max(before_ms, end_ms)
    gathering.fill(now_ms, at_once=last)
    while gathering.full:
        _close(gathering, done)
        gathering.fill(now_ms, at_once=last)
    _close(gathering, done)
    done.groups = Groups(pickle.dumps(grouping))
    return done


def _close(gathering: Gathering, done: Grouped) -> None:
    """What a run that is cut off must not remember half of is settled at the end of all batches.

    The calls of a body count with it, so that each commit adds up.
    """
    batch = gathering.close()
    settled, batch.progress = batch.progress, Progress()
    if batch.body is not None:
        batch.body = batch.body.pack()
        calls = sum(batch.body.calls)
        _count_calls(batch.progress, calls)
        _count_calls(done.settles, -calls)
        for name in ("roots", "children"):
            batch.progress.counts[name] = settled.counts.pop(name, 0)
        done.batches.append(batch)
    done.settles.merge(settled)


def _count_calls(progress: Progress, count: int) -> None:
    progress.counts.update({"calls": count, "calls_found": count})
