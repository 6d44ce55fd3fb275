"""What a late call must know of its trace, for as many traces as there is room for.

A root rests packed: as objects it would take five times as much. Roots are bounded in bytes, because each
holds a question and an answer. Where there is no room for one, its trace is still remembered, so that a
late call hangs under it; it is not sent again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from msgspec import Raw, Struct, field, msgpack
from msgspec.structs import replace

from kong_ai_tracing.calls import Context, Observation

_NO_ROOT = Raw(msgpack.encode(None))
_LARGEST_SHARE = 16
"""A root that would take more than this part of the room is not kept: it would cost too many others."""


class Root(Struct, frozen=True):
    """The root span of our making, as it was last sent."""

    context: Context
    observation: Observation
    calls: int


class RememberedTrace(Struct, frozen=True, gc=False):
    """What a late call must know of its trace."""

    trace_id: str
    root_id: str
    last_seen_ms: int
    packed_root: Raw = field(default=_NO_ROOT, name="root")

    @classmethod
    def of(cls, trace_id: str, root_id: str, last_seen_ms: int, root: Root | None = None) -> RememberedTrace:
        return cls(trace_id, root_id, last_seen_ms, Raw(msgpack.encode(root)))

    @classmethod
    def read(cls, packed: bytes) -> RememberedTrace:
        """From its row. Raises MsgspecError when that is damaged, in its root, too."""
        trace = msgpack.decode(packed, type=cls)
        _ = trace.root
        return trace

    @property
    def root(self) -> Root | None:
        """None when it is not sent again: a call is its own root, or there was no room for it."""
        return msgpack.decode(self.packed_root, type=Root | None)

    @property
    def root_bytes(self) -> int:
        return len(memoryview(self.packed_root)) if self.packed_root != _NO_ROOT else 0

    def without_root(self) -> RememberedTrace:
        return replace(self, packed_root=_NO_ROOT)


class MemoryLimits(Struct, frozen=True):
    """How many traces are remembered, how long, and how much their roots may take."""

    traces: int = 20_000
    ms: int = 3_600_000
    root_bytes: int = 16 << 20


class TraceMemory:
    """The remembered traces, the longest unseen first."""

    def __init__(self, limits: MemoryLimits) -> None:
        self._limits = limits
        self._traces: OrderedDict[str, RememberedTrace] = OrderedDict()
        self._root_sizes: OrderedDict[str, int] = OrderedDict()
        """Of the traces that have one, in the same order."""
        self.root_bytes = 0
        self._forgotten: list[str] = []
        self._shortened: list[RememberedTrace] = []

    def __len__(self) -> int:
        return len(self._traces)

    def __iter__(self) -> Iterator[RememberedTrace]:
        return iter(self._traces.values())

    def get(self, trace_id: str) -> RememberedTrace | None:
        return self._traces.get(trace_id)

    def restore(self, traces: Iterable[RememberedTrace]) -> None:
        """Take up what an earlier run remembered, oldest first."""
        for trace in traces:
            self._put(trace)
            self._make_room()

    def remember(self, trace: RememberedTrace) -> RememberedTrace:
        """Gives back what is remembered of it, which may be less."""
        if trace.root_bytes > self._limits.root_bytes // _LARGEST_SHARE:
            trace = trace.without_root()
        self._put(trace)
        oldest_ms = trace.last_seen_ms - self._limits.ms
        while len(self._traces) > self._limits.traces or (
            next(iter(self._traces.values())).last_seen_ms < oldest_ms
        ):
            trace_id, _ = self._traces.popitem(last=False)
            self._drop_root(trace_id)
            self._forgotten.append(trace_id)
        self._make_room()
        return trace

    def forgotten(self) -> list[str]:
        """Ids of the traces that left since this was last asked."""
        gone, self._forgotten = self._forgotten, []
        return gone

    def shortened(self) -> list[RememberedTrace]:
        """The traces that had to do without their roots since this was last asked."""
        shortened, self._shortened = self._shortened, []
        return shortened

    def _put(self, trace: RememberedTrace) -> None:
        self._drop_root(trace.trace_id)
        self._traces[trace.trace_id] = trace
        self._traces.move_to_end(trace.trace_id)
        if size := trace.root_bytes:
            self._root_sizes[trace.trace_id] = size
            self.root_bytes += size

    def _make_room(self) -> None:
        while self.root_bytes > self._limits.root_bytes:
            trace_id = next(iter(self._root_sizes))
            self._drop_root(trace_id)
            self._traces[trace_id] = shortened = self._traces[trace_id].without_root()
            self._shortened.append(shortened)

    def _drop_root(self, trace_id: str) -> None:
        self.root_bytes -= self._root_sizes.pop(trace_id, 0)
