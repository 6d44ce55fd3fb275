"""Calls in, batches out: the groups, the open batch, and the progress that its end will settle, in step.

Without a source and without a destination, so that the same steps run where only some traces are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kong_ai_tracing.batches import Batch, Batcher, Encoded
from kong_ai_tracing.calls import AICall
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.tracememory import RememberedTrace
from kong_ai_tracing.traces import Emission, Grouping


class Gathering:
    """The calls that were read and are in no closed batch."""

    def __init__(self, grouping: Grouping, batcher: Batcher) -> None:
        self._grouping = grouping
        self._batcher = batcher
        self.progress = Progress()

    @property
    def full(self) -> bool:
        return self._batcher.full

    @property
    def large(self) -> bool:
        return self._batcher.large

    @property
    def sends(self) -> bool:
        """Whether the batch holds something to send."""
        return self._batcher.due_in_seconds is not None

    def sends_in_seconds(self, now_ms: int, *, at_once: bool) -> float | None:
        """How long it is until a batch shall be closed, as far as can be said; None when no call waits.

        `at_once`: the destination has nothing to do, so a batch goes as soon as it is worth a request.
        """
        batcher = self._batcher
        due_in = batcher.due_in_seconds
        if due_in is not None:
            return min(due_in, batcher.worthwhile_in_seconds) if at_once else due_in
        due_ms = self._grouping.next_due_ms()
        if due_ms is None:
            return None
        group_in = max(0, due_ms - now_ms) / 1000
        return max(group_in, batcher.worthwhile_in_seconds) if at_once else group_in

    def restore(self, remembered: Sequence[RememberedTrace], roots: Mapping[str, int]) -> None:
        """Take up what an earlier run knew of its traces."""
        self._grouping.restore(remembered, roots)
        for trace in remembered:
            if trace.root_bytes:
                self._batcher.sent_before(trace.root_id)

    def hold(self, calls: Sequence[AICall], now_ms: int) -> None:
        """Calls that an earlier run held: they are written down already."""
        emissions = self._grouping.add(calls, now_ms)
        if emissions:
            # They were read again under another configuration, by which they wait for nobody.
            self._emit(emissions)
            for call in calls:
                self.progress.release(call.id)

    def add(self, calls: Sequence[AICall], now_ms: int) -> None:
        """The calls of one line, at the time of the log that they show."""
        # First, so that a group whose time is over is not joined by the call that shows it.
        self.fill(now_ms)
        emissions = self._grouping.add(calls, now_ms)
        if emissions:
            self._emit(emissions)
            return
        if repeated := self._grouping.take_repeated():
            self.progress.counts["calls_repeated"] += repeated
        if repeated < len(calls):
            for call in calls:
                self.progress.held[call.id] = call
        # Else they are held already, perhaps by an earlier step, which must be told when they leave.

    def add_encoded(self, spans: Encoded, now_ms: int) -> None:
        """The calls of one line that waited for nobody, and were encoded where they were read."""
        self.fill(now_ms)
        self._batcher.add_encoded(spans)
        self.progress.counts.update(spans.counts)

    def fill(self, now_ms: int, *, at_once: bool = False) -> None:
        """Group by group until the batch is full: what is left waits in its groups for the next one."""
        while not self._batcher.full:
            emissions = self._grouping.take(now_ms, at_once=at_once)
            if not emissions:
                break
            self._emit(emissions)

    def close(self) -> Batch:
        """The batch so far with its progress; the next one is begun."""
        progress, self.progress = self.progress, Progress()
        return self._batcher.close(progress)

    def _emit(self, emissions: Iterable[Emission]) -> None:
        progress = self.progress
        for emission in emissions:
            self._batcher.add(emission.span, is_call=emission.counts is None)
            if emission.counts is not None:
                progress.counts[emission.counts] += 1
            if emission.released_call_id is not None:
                progress.release(emission.released_call_id)
            if emission.remembered is not None:
                progress.remembered[emission.remembered.trace_id] = emission.remembered
        for trace in self._grouping.shortened():
            progress.remembered[trace.trace_id] = trace
        for trace_id in self._grouping.forgotten():
            progress.forget(trace_id)
