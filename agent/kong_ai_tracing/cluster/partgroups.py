"""The parts of one partition in, on a worker: their traces as finished bodies.

A partition has all calls of its traces, in the order of the files and with the time of the log: so they are
grouped as on one host.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence

from kong_ai_tracing import assembly
from kong_ai_tracing.batches import Batcher
from kong_ai_tracing.cluster.jobs import Grouped, Groups, Job, Part
from kong_ai_tracing.gathering import Gathering
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.traces import Grouping

FIRST_NUMBER = 2
"""Of the batches of a task. What follows number 1 follows what earlier tasks gave."""


def group_parts(
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


def batcher_of(job: Job, *, first_number: int) -> Batcher:
    return Batcher(
        assembly.wire_form_of(job.blueprint.config),
        first_number=first_number,
        max_bytes=job.blueprint.config.delivery.batch_max_bytes,
        max_age_seconds=float("inf"),
        max_spans=job.max_spans,
    )
