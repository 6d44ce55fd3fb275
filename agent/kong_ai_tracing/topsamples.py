"""What `top` shows, taken from the state directories every few seconds: reports, newest traces, rates."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise

from msgspec import Struct, field

from kong_ai_tracing.config import Config
from kong_ai_tracing.errors import OperatorError
from kong_ai_tracing.localstore import FILE_NAME, LocalTraces, TraceSummary
from kong_ai_tracing.status import look
from kong_ai_tracing.statusreport import Report

_WINDOW = 6
"""A rate is taken over so many samples."""
_HISTORY = 120
_MOST_TRACES = 50


class Sample(Struct, frozen=True):
    """One look."""

    at: float
    """Seconds of a clock that does not jump."""
    report: Report
    traces: list[TraceSummary] = field(default_factory=list)
    """The newest of the local store; none when traces go to Langfuse."""


def take_sample(config: Config, clock: Callable[[], float] = time.monotonic) -> Sample:
    """Raises OperatorError when the state cannot be read."""
    return Sample(clock(), look(config), _newest_traces(config))


def _newest_traces(config: Config) -> list[TraceSummary]:
    path = config.state_dir / FILE_NAME
    if config.langfuse_enabled or not path.exists():
        return []
    try:
        with contextlib.closing(LocalTraces(path)) as store:
            return store.traces(limit=_MOST_TRACES)
    except sqlite3.Error:
        return []  # another version's file, or one that is just being made


class History(Struct):
    """The last samples, and what follows from comparing them."""

    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    error: str | None = None
    """Why the last look gave nothing."""

    def add(self, sample: Sample) -> None:
        self.samples.append(sample)
        self.error = None

    @property
    def newest(self) -> Sample | None:
        return self.samples[-1] if self.samples else None

    def rate(self, counter: str) -> float | None:
        """So many a second, of late; None before there are two samples."""
        if len(self.samples) < 2:
            return None
        earlier = self.samples[-min(_WINDOW, len(self.samples))]
        return _rate(earlier, self.samples[-1], counter)

    def rates(self, counter: str) -> list[float]:
        """The rate between each two samples, oldest first."""
        return [_rate(one, other, counter) for one, other in pairwise(self.samples)]


def _rate(one: Sample, other: Sample, counter: str) -> float:
    grown = other.report.counters.get(counter, 0) - one.report.counters.get(counter, 0)
    return max(0, grown) / max(1e-3, other.at - one.at)  # it shrinks when a damaged state was built anew


def try_sample(config: Config, take: Callable[[Config], Sample] = take_sample) -> Sample | str:
    """A sample, or why there is none."""
    try:
        return take(config)
    except (OperatorError, OSError, sqlite3.Error) as error:
        return str(error)
