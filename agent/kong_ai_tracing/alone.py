"""What a line holds in, the same with the spans of calls that wait for nobody, encoded, out.

Such spans depend on no other line, and so they can be made in the process that reads theirs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from kong_ai_tracing.batches import Encoded, Encoder, WireForm
from kong_ai_tracing.calls import AICall
from kong_ai_tracing.linereader import Reading
from kong_ai_tracing.traces import Grouping


class Alone:
    """Encodes the calls of traces that their callers did not name."""

    def __init__(self, form: WireForm, max_span_bytes: int | None) -> None:
        self._encoder = Encoder(form, max_span_bytes)
        self._grouping = Grouping()
        """Remembers nothing of such calls."""

    def encode(self, readings: Iterable[Reading]) -> None:
        """Those of lines with one record: of several the order would be lost."""
        for reading in readings:
            if len(reading.groups) == 1 and not reading.groups[0][0].context.shared:
                [calls], reading.groups = reading.groups, []
                reading.encoded = self._encoded(calls)

    def _encoded(self, calls: Sequence[AICall]) -> Encoded:
        ended_at_ms = calls[0].observation.ended_at_ms
        emissions = self._grouping.add(calls, ended_at_ms)
        return Encoded(
            [self._encoder.encode(each.span) for each in emissions],
            bytes(each.counts is None for each in emissions),
            ended_at_ms,
            Counter(each.counts for each in emissions if each.counts is not None),
            self._encoder.take_shortened(),
        )
