"""What a worker of the cluster is asked to do: read a stretch of a file, group what belongs together.

Each task gives the same result wherever and however often it is done, so that what a lost worker had is made
again by another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from kong_ai_tracing import __version__
from kong_ai_tracing.cluster.jobs import Grouped, Groups, Job, Outline, Part, Reading, Stretch
from kong_ai_tracing.cluster.partgroups import group_parts
from kong_ai_tracing.cluster.stretches import let_go, read_stretch
from kong_ai_tracing.errors import OperatorError

if TYPE_CHECKING:
    from distributed import Worker, WorkerPlugin
else:
    try:
        from distributed import WorkerPlugin
    except ModuleNotFoundError:  # said by who wants a cluster
        WorkerPlugin = object

_T = TypeVar("_T")

_FRAMES_TOLD = 4

_jobs: dict[str, Job] = {}


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


def version() -> str:
    return __version__


def read(job_id: str, stretch: Stretch) -> Reading:
    """Carry the lines of a stretch as far as each goes alone."""
    return _told(lambda: asyncio.run(read_stretch(_jobs[job_id], stretch)))


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
    return _told(lambda: group_parts(_jobs[job_id], groups, times, parts, last=last))


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
