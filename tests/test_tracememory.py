"""What is remembered of traces: bounded in number and in bytes, and enough for late calls."""

from __future__ import annotations

import contextlib
import gc
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from msgspec import MsgspecError, msgpack

from kong_ai_tracing.calls import AICall
from kong_ai_tracing.ids import observation_id_from_seed, trace_id_from_seed
from kong_ai_tracing.jsontext import dump
from kong_ai_tracing.progress import Progress
from kong_ai_tracing.store import Commit, Store
from kong_ai_tracing.tracememory import MemoryLimits, RememberedTrace
from kong_ai_tracing.traces import Grouping, GroupingLimits
from test_traces import TRACE, call, spans


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(tmp_path)) as store:
        yield store


def grouping_of(**limits: int) -> Grouping:
    return Grouping(GroupingLimits(memory=MemoryLimits(**limits)))


def asking(question_bytes: int, name: str, trace: str) -> AICall:
    one = call(name, trace=trace)
    one.observation.input = orjson.dumps([{"role": "user", "content": "x" * question_bytes}])
    return one


def send_pair(grouping: Grouping, number: int, question_bytes: int) -> RememberedTrace:
    """Two calls of a trace, so that it gets a root of our making. Gives what is remembered of it."""
    trace = trace_id_from_seed(str(number))
    grouping.add([asking(question_bytes, f"{number}/{half}", trace) for half in "ab"], now_ms=number)
    [remembered] = [each.remembered for each in grouping.flush(number) if each.remembered]
    return remembered


def test_remembered_roots_are_bounded_in_bytes() -> None:
    """However long the questions are, what is really allocated for all roots stays near the limit."""
    limit = 1 << 20
    grouping = grouping_of(root_bytes=limit)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(400):
            send_pair(grouping, number, 20_000)
            grouping.shortened()
        gc.collect()
        allocated, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert limit / 2 < allocated < limit * 1.3 + 400 * 1_024


def test_what_is_remembered_of_a_short_trace_takes_less_than_two_kilobytes() -> None:
    """Twenty thousand traces are a bound only if each is small."""
    grouping = Grouping()
    send_pair(grouping, 0, 300)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(1, 501):
            send_pair(grouping, number, 300)
        gc.collect()
        allocated, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert allocated < 500 * 2_048


def test_a_text_that_was_made_takes_no_more_than_its_length() -> None:
    """Calls that wait are counted by the length of their texts, so nothing may be hidden behind it."""
    value = [{"role": "user", "content": "hello"}]
    tracemalloc.start()
    try:
        texts = [dump(value) for _ in range(1_000)]
        allocated, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert allocated < 1_000 * (len(texts[0]) + 100)


def test_a_late_call_hangs_under_a_root_for_which_there_was_no_room() -> None:
    """Its root is neither sent again, which would empty it, nor made anew with another start."""
    grouping = grouping_of(root_bytes=16_000)
    remembered = [send_pair(grouping, number, 100) for number in range(80)]
    shortened = grouping.shortened()
    assert shortened[0] == remembered[0].without_root()
    assert remembered[-1] not in shortened
    late = [call(name, trace=trace_id_from_seed("0"), start=60_000) for name in ("late", "later")]
    grouping.add(late, now_ms=60_000)
    root_id = remembered[0].root_id
    assert spans(list(grouping.flush(60_000))) == [("late", root_id), ("later", root_id)]


def test_a_root_of_many_megabytes_does_not_cost_the_others_theirs() -> None:
    """It is remembered without question and answer from the first."""
    grouping = grouping_of(root_bytes=64_000)
    first = send_pair(grouping, 0, 100)
    assert send_pair(grouping, 1, 10_000).root is None
    assert grouping.shortened() == []
    grouping.add([call("late", trace=first.trace_id, start=60_000)], now_ms=60_000)
    assert [each.counts for each in grouping.flush(60_000)] == ["roots", None]


def test_a_root_that_is_sent_again_is_counted_once() -> None:
    """A trace with a late call every second must not use up the room of others."""
    grouping = grouping_of(root_bytes=16_000)
    for number in range(100):
        grouping.add([call(f"{number}/{half}") for half in "ab"], now_ms=number)
        assert next(iter(grouping.flush(number))).counts == "roots"
    assert grouping.shortened() == []


def test_a_restart_takes_up_no_more_than_there_is_room_for() -> None:
    """The newest roots are kept, whatever limits the earlier run had."""
    before = Grouping()
    stored = [RememberedTrace.read(msgpack.encode(send_pair(before, n, 100))) for n in range(80)]
    after = grouping_of(root_bytes=16_000)
    after.restore(stored)
    shortened = {trace.trace_id for trace in after.shortened()}
    assert stored[0].trace_id in shortened
    assert stored[-1].trace_id not in shortened
    after.add([call("late", trace=stored[0].trace_id)], now_ms=60_000)
    assert spans(list(after.flush(60_000))) == [("late", stored[0].root_id)]


def test_a_damaged_root_is_noticed_when_it_is_read() -> None:
    """Not when a late call comes: then nothing could be salvaged any more."""
    row = msgpack.encode({"trace_id": TRACE, "root_id": "r", "last_seen_ms": 1, "root": {"calls": "two"}})
    with pytest.raises(MsgspecError):
        RememberedTrace.read(row)


def test_a_trace_that_was_forgotten_and_seen_again_in_one_step_is_remembered(store: Store) -> None:
    """And one that was seen again and then forgotten is not, although an earlier step wrote it."""
    trace = RememberedTrace("t" * 32, observation_id_from_seed("t"), 5)
    store.commit(Commit(Progress(remembered={trace.trace_id: trace})))
    again = Progress()
    again.forget(trace.trace_id)
    again.remembered[trace.trace_id] = trace
    store.commit(Commit(again))
    assert store.restore().remembered == [trace]
    gone = Progress(remembered={trace.trace_id: trace})
    gone.forget(trace.trace_id)
    store.commit(Commit(gone))
    assert store.restore().remembered == []
