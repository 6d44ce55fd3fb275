"""Spans in, request bodies out: a batch is closed on bytes or age, and knows what its end settles."""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

from isal import igzip
from msgspec import Struct, field
from msgspec.structs import replace

from kong_ai_tracing import shortening
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.spans import Span

_GZIP_LEVEL = 1
_SPREAD = 0.2
_LARGE = 4
"""A batch is large with this part of its greatest size."""
_MAX_ROOTS = 20_000
"""As many as the grouping remembers."""


class WireForm(Protocol):
    """How a destination wants its spans."""

    def encode(self, span: Span) -> bytes: ...

    def join(self, spans: Sequence[bytes]) -> bytes: ...


class Body(Struct, frozen=True):
    """One request body. `packed` says that `data` is gzip-compressed."""

    spans: int
    data: bytes
    packed: bool = False
    follows: int = 0
    """It must arrive after all batches up to this number: it holds a newer version of one of their spans."""
    calls: bytes = b""
    """For each span a 1 when it is a call; empty when that is not known, or counted elsewhere."""

    @property
    def unpacked_bytes(self) -> int:
        """The size before compression; gzip says it in its last four bytes."""
        return int.from_bytes(self.data[-4:], "little") if self.packed else len(self.data)

    def pack(self) -> Body:
        return (
            self if self.packed else replace(self, data=igzip.compress(self.data, _GZIP_LEVEL), packed=True)
        )

    def unpack(self) -> Body:
        if not self.packed:
            return self
        data = igzip.decompress(self.data)  # type: ignore[no-untyped-call]
        return replace(self, data=data, packed=False)


class Batch(Struct):
    """A finished body and the progress that its end settles. `body` is None when there is nothing to send."""

    number: int
    body: Body | None
    progress: Progress
    new_roots: dict[str, int] = field(default_factory=dict)
    """Start by trace id of the roots of our making that are sent for the first time. It must be known for
    good before that: after a crash the calls may come in another order, and the start is half of the id."""


class Encoded(Struct):
    """Spans of one line that depend on no other line, as they will stand in a body."""

    parts: list[bytes]
    calls: bytes
    """For each a 1 when it is a call."""
    ended_at_ms: int
    """Of the first call."""
    counts: dict[str, int] = field(default_factory=dict)
    """What else than calls they are."""
    shortened: int = 0


class Encoder:
    """Spans to parts of a body."""

    def __init__(self, form: WireForm, max_span_bytes: int | None) -> None:
        self._form = form
        self._max_span_bytes = max_span_bytes or sys.maxsize
        self.shortened = 0

    def encode(self, span: Span) -> bytes:
        fitted = shortening.fitted(span, self._max_span_bytes)
        self.shortened += fitted is not span
        return self._form.encode(fitted)

    def take_shortened(self) -> int:
        """How many spans were too large since this was last asked."""
        shortened, self.shortened = self.shortened, 0
        return shortened


class Batcher:
    """Collects encoded spans until the batch is full or old enough."""

    def __init__(
        self,
        form: WireForm,
        *,
        first_number: int,
        max_bytes: int,
        max_age_seconds: float,
        max_spans: int | None = None,
        max_span_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._form = form
        self._number = first_number
        self._max_bytes = max_bytes
        self._max_spans = max_spans or sys.maxsize
        self._encoder = Encoder(form, max_span_bytes)
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._random = random
        self._parts: list[bytes] = []
        self._calls = bytearray()
        self._bytes = 0
        self._follows = 0
        self._shortened = 0
        self._new_roots: dict[str, int] = {}
        self._sent_in: OrderedDict[str, int] = OrderedDict()
        """The number of the batch with the newest version, by the id of each root that may be sent again."""
        self._due_at = 0.0
        self._next_at = float("-inf")
        """From then on a small batch makes no more requests than one each `max_age_seconds`."""

    def sent_before(self, root_id: str) -> None:
        """A root of an earlier run: it may rest in any batch that run left behind."""
        self._note_root(root_id, self._number - 1)

    def add(self, span: Span, *, is_call: bool = True) -> None:
        self._begin()
        if span.observation.origin is None and span.context.shared:
            earlier = self._sent_in.get(span.id)
            if earlier is None:
                self._new_roots[span.trace_id] = span.observation.started_at_ms
            elif earlier < self._number:
                self._follows = max(self._follows, earlier)
            self._note_root(span.id, self._number)
        part = self._encoder.encode(span)
        self._parts.append(part)
        self._calls.append(is_call)
        self._bytes += len(part)

    def add_encoded(self, spans: Encoded) -> None:
        """Spans that were encoded where their line was read."""
        self._begin()
        self._parts += spans.parts
        self._calls += spans.calls
        self._bytes += sum(map(len, spans.parts))
        self._shortened += spans.shortened

    def _begin(self) -> None:
        if not self._parts:
            self._due_at = self._clock() + self._age_seconds()

    @property
    def full(self) -> bool:
        return self._bytes >= self._max_bytes or len(self._parts) >= self._max_spans

    @property
    def due_in_seconds(self) -> float | None:
        """How long the batch may still stay open; None when it is empty."""
        if not self._parts:
            return None
        return max(0.0, self._due_at - self._clock())

    @property
    def large(self) -> bool:
        """Whether it is worth a request although another one went just before."""
        return self._bytes * _LARGE >= self._max_bytes

    @property
    def worthwhile_in_seconds(self) -> float:
        """When the batch, or one begun now, is worth a request to a destination with nothing to do."""
        return 0.0 if self.large else max(0.0, self._next_at - self._clock())

    def close(self, progress: Progress) -> Batch:
        """The batch so far, with the progress that its end will settle; the next one is begun."""
        body = None
        if self._parts:
            data = self._form.join(self._parts)
            body = Body(len(self._parts), data, follows=self._follows, calls=bytes(self._calls))
            self._next_at = self._clock() + self._age_seconds()
        if shortened := self._shortened + self._encoder.take_shortened():
            progress.counts["spans_shortened"] += shortened
        batch = Batch(self._number, body, progress, self._new_roots)
        self._number += 1
        self._parts = []
        self._calls.clear()
        self._bytes = self._follows = self._shortened = 0
        self._new_roots = {}
        return batch

    def _age_seconds(self) -> float:
        """Up to a fifth less, at random: hosts that wake up together do not send together."""
        return self._max_age_seconds * (1 - _SPREAD * self._random())

    def _note_root(self, root_id: str, number: int) -> None:
        self._sent_in[root_id] = number
        self._sent_in.move_to_end(root_id)
        if len(self._sent_in) > _MAX_ROOTS:
            self._sent_in.popitem(last=False)
