"""AI calls in, spans with their place in a trace out: a keyed state machine without clock or disk.

A call whose caller named no trace is a trace by itself and leaves at once. A call of a named trace waits
for company: until its group was quiet for `idle_ms`, never longer than `hold_ms`. Alone, it is its own
root; in company the group gets a root span and the calls hang under it. What a finished trace needs, should
a late call come, is remembered for a while: late calls hang under the same root, and a root of our
making is sent again with the same id and start.

Every value here can be stored and taken up again after a restart; `now_ms` is whatever clock the caller
keeps (live it is the time of day, over history it is the time of the log).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import orjson
from msgspec import Struct, field
from msgspec.structs import replace

from kong_ai_tracing.calls import AICall, Context, Observation
from kong_ai_tracing.ids import observation_id_from_seed
from kong_ai_tracing.jsontext import exact
from kong_ai_tracing.spans import Span
from kong_ai_tracing.tracememory import MemoryLimits, RememberedTrace, Root, TraceMemory

_CALL_OVERHEAD_BYTES = 2048
"""What a held call costs beside its input and output, roughly."""


class Emission(Struct, frozen=True):
    """One span to send, and what its safe arrival settles: a call held no longer, a trace remembered."""

    span: Span
    counts: str | None = None
    """What the span is counted as, when it is no call: `roots`, `children`."""
    released_call_id: str | None = None
    remembered: RememberedTrace | None = None


class _Group(Struct):
    calls: dict[str, AICall]
    """By id: a line that was read twice is one call."""
    first_seen_ms: int
    last_seen_ms: int
    bytes: int = 0


class GroupingLimits(Struct, frozen=True):
    """How long a call waits for company, and how much may wait."""

    idle_ms: int = 2_000
    hold_ms: int = 10_000
    max_held_bytes: int = 16 << 20
    memory: MemoryLimits = MemoryLimits()


class Grouping(Struct):
    """The open groups and the remembered traces."""

    limits: GroupingLimits = GroupingLimits()
    held_bytes: int = 0
    repeated: int = 0
    """Calls that were read twice while they waited, and are sent once."""
    _groups: OrderedDict[str, _Group] = field(default_factory=OrderedDict)
    """By trace id, the longest quiet first."""
    _by_age: OrderedDict[str, int] = field(default_factory=OrderedDict)
    """First seen, by trace id, the oldest first."""
    _announced: dict[str, int] = field(default_factory=dict)
    """Start, by trace id, of roots that were sent by a run that was cut off: they get no other start."""
    _memory: TraceMemory = field(default_factory=lambda: TraceMemory(MemoryLimits()))

    def __post_init__(self) -> None:
        if not self._memory:  # one that came from another process has its own
            self._memory = TraceMemory(self.limits.memory)

    def restore(self, remembered: Iterable[RememberedTrace], roots: Mapping[str, int] | None = None) -> None:
        """Take up what an earlier run remembered, oldest first.

        `roots`: by trace id the start of roots that it may have sent before it could remember them.
        """
        self._announced.update(roots or {})
        self._memory.restore(remembered)

    @property
    def remembered(self) -> Iterable[RememberedTrace]:
        """The finished traces, the longest unseen first."""
        return self._memory

    def add(self, calls: Sequence[AICall], now_ms: int) -> list[Emission]:
        """The calls of one line. What can leave at once is returned; nothing means the calls are held."""
        context = calls[0].context
        if calls[0].parent_id is not None:
            return list(_joined(calls))
        if not context.shared:
            return list(self._emit(calls, now_ms, remember=False))
        group = self._groups.get(context.trace_id)
        if group is None:
            group = self._groups[context.trace_id] = _Group({}, now_ms, now_ms)
            self._by_age[context.trace_id] = now_ms
        else:
            self._groups.move_to_end(context.trace_id)
        before = len(group.calls)
        size = 0
        for call in calls:
            group.calls[call.id] = call
            size += _weight(call)
        self.repeated += before + len(calls) - len(group.calls)
        group.last_seen_ms = now_ms
        group.bytes += size
        self.held_bytes += size
        return []

    def due(self, now_ms: int) -> Iterator[Emission]:
        """Spans of the groups whose waiting is over."""
        while emissions := self.take(now_ms):
            yield from emissions

    def flush(self, now_ms: int) -> Iterator[Emission]:
        """Spans of all groups: nothing more will come."""
        while emissions := self.take(now_ms, at_once=True):
            yield from emissions

    def take(self, now_ms: int, *, at_once: bool = False) -> list[Emission]:
        """Spans of one group whose waiting is over, or with `at_once` of any; none when there is none."""
        if not self._groups:
            return []
        limits = self.limits
        quiet_ms = now_ms - next(iter(self._groups.values())).last_seen_ms
        if quiet_ms >= limits.idle_ms or at_once or self.held_bytes > limits.max_held_bytes:
            return self._close(next(iter(self._groups)), now_ms)
        if now_ms - next(iter(self._by_age.values())) >= limits.hold_ms:
            return self._close(next(iter(self._by_age)), now_ms)
        return []

    def next_due_ms(self) -> int | None:
        """When `due` will next have something to give, if no call comes before."""
        if not self._groups:
            return None
        group = next(iter(self._groups.values()))
        first_seen_ms = next(iter(self._by_age.values()))
        return min(group.last_seen_ms + self.limits.idle_ms, first_seen_ms + self.limits.hold_ms)

    def forgotten(self) -> list[str]:
        """Trace ids that left the memory since this was last asked."""
        return self._memory.forgotten()

    def shortened(self) -> list[RememberedTrace]:
        """Remembered traces that had to do without their roots since this was last asked."""
        return self._memory.shortened()

    def take_repeated(self) -> int:
        """How many calls were read twice while they waited, since this was last asked."""
        repeated, self.repeated = self.repeated, 0
        return repeated

    def _close(self, trace_id: str, now_ms: int) -> list[Emission]:
        group = self._groups.pop(trace_id)
        del self._by_age[trace_id]
        self.held_bytes -= group.bytes
        return list(self._emit(list(group.calls.values()), now_ms, remember=True))

    def _emit(self, calls: Sequence[AICall], now_ms: int, *, remember: bool) -> Iterator[Emission]:
        trace_id = calls[0].context.trace_id
        known = self._memory.get(trace_id) if remember else None
        earlier = known.root if known else None
        announced_ms = self._announced.pop(trace_id, None) if remember else None
        if known is None and announced_ms is None and len(calls) == 1:
            [call] = calls
            span = Span(trace_id, call.id, None, call.context, call.observation)
            if remember:
                remembered = self._memory.remember(RememberedTrace(trace_id, call.id, now_ms))
                yield Emission(span, released_call_id=call.id, remembered=remembered)
            else:
                yield Emission(span)
            if call.children:
                yield from _children(call, call.context)
            return
        if known is None or earlier is not None:
            root_id = observation_id_from_seed(trace_id)
            root = _root(calls, earlier, announced_ms)
            context = root.context
            remembered = RememberedTrace.of(trace_id, root_id, now_ms, root)
            yield Emission(
                Span(trace_id, root_id, None, context, root.observation),
                counts="roots",
                remembered=self._memory.remember(remembered) if remember else None,
            )
        else:
            root_id = known.root_id
            context = _merged_context([call.context for call in calls])
            self._memory.remember(replace(known, last_seen_ms=now_ms))
        for call in calls:
            parent_id = root_id if call.id != root_id else None  # read again, it stays the root it was
            yield Emission(
                Span(trace_id, call.id, parent_id, context, call.observation),
                released_call_id=call.id if remember else None,
            )
            yield from _children(call, context)


def _joined(calls: Sequence[AICall]) -> Iterator[Emission]:
    """Calls that hang under the caller's own span: its trace has a root, and nothing is waited for."""
    for call in calls:
        context = call.context
        yield Emission(Span(context.trace_id, call.id, call.parent_id, context, call.observation))
        yield from _children(call, context)


def _children(call: AICall, context: Context) -> Iterator[Emission]:
    for child in call.children:
        yield Emission(Span(context.trace_id, child.id, call.id, context, child.observation), "children")


def _weight(call: AICall) -> int:
    size = _size(call.observation)
    for child in call.children:
        size += _size(child.observation)
    return size


def _size(observation: Observation) -> int:
    return len(observation.input or b"") + len(observation.output or b"") + _CALL_OVERHEAD_BYTES


def _root(calls: Sequence[AICall], earlier: Root | None, announced_ms: int | None) -> Root:
    """The root of a group: from its first start to its last end, first question in, last answer out.

    Usage and cost stay with the calls: on a root they would be counted twice.
    """
    first = min(calls, key=lambda call: call.observation.started_at_ms)
    last = max(calls, key=lambda call: call.observation.ended_at_ms)
    contexts = [call.context for call in calls]
    if earlier is None:
        context = _merged_context(contexts)
        started_at_ms = first.observation.started_at_ms if announced_ms is None else announced_ms
        question = _question(first.observation.input)
        answer, count = last.observation, len(calls)
        ended_at_ms = max(started_at_ms, answer.ended_at_ms)
    else:
        context = _merged_context([earlier.context, *contexts])
        started_at_ms = earlier.observation.started_at_ms
        question = earlier.observation.input
        later = last.observation.ended_at_ms >= earlier.observation.ended_at_ms
        answer = last.observation if later else earlier.observation
        ended_at_ms = max(last.observation.ended_at_ms, earlier.observation.ended_at_ms)
        count = earlier.calls + len(calls)
    observation = Observation(
        type="span",
        name=context.trace_name,
        started_at_ms=started_at_ms,
        ended_at_ms=ended_at_ms,
        level=answer.level,
        status_message=answer.status_message,
        input=question,
        output=answer.output,
        metadata={"calls": count, "total_duration_ms": ended_at_ms - started_at_ms},
    )
    return Root(context, observation, count)


def _merged_context(contexts: Sequence[Context]) -> Context:
    """One context for the whole trace: the first that says something wins, labels add up."""
    if len(contexts) == 1:
        return contexts[0]

    def first(name: str) -> str | None:
        return next((value for context in contexts if (value := getattr(context, name))), None)

    metadata: dict[str, object] = {}
    for context in reversed(contexts):
        metadata.update(context.metadata)
    return replace(
        contexts[0],
        user_id=first("user_id"),
        session_id=first("session_id"),
        release=first("release"),
        version=first("version"),
        tags=list(dict.fromkeys(tag for context in contexts for tag in context.tags)),
        metadata=metadata,
    )


def _question(text: bytes | None) -> bytes | None:
    """The last thing the user said in a list of messages, as a list of one; other inputs stay whole."""
    if text is None:
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    messages = value.get("messages") if isinstance(value, dict) else value
    if not isinstance(messages, list):
        return text
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            return exact(orjson.dumps([message]))
    return text
