"""Grouping calls into traces: a pure state machine, driven by hand."""

from __future__ import annotations

import orjson
from msgspec import msgpack
from msgspec.structs import replace

from kong_ai_tracing.calls import AICall, Context, Observation
from kong_ai_tracing.ids import observation_id_from_seed, trace_id_from_seed
from kong_ai_tracing.tracememory import MemoryLimits, RememberedTrace
from kong_ai_tracing.traces import Emission, Grouping, GroupingLimits

TRACE = trace_id_from_seed("turn-1")


def call(
    name: str, *, trace: str = TRACE, shared: bool = True, start: int = 1_000, **context: object
) -> AICall:
    return AICall(
        id=observation_id_from_seed(name),
        observation=Observation(
            type="generation",
            name=name,
            started_at_ms=start,
            ended_at_ms=start + 100,
            input=orjson.dumps(
                [{"role": "system", "content": "s"}, {"role": "user", "content": f"ask {name}"}]
            ),
            output=orjson.dumps({"role": "assistant", "content": f"answer {name}"}),
            usage_details={"input": 1, "output": 2, "total": 3},
        ),
        context=Context(
            trace_id=trace,
            shared=shared,
            trace_name="chat",
            environment="test",
            **context,  # type: ignore[arg-type]
        ),
    )


def spans(emissions: list[Emission]) -> list[tuple[str, str | None]]:
    return [(emission.span.observation.name, emission.span.parent_id) for emission in emissions]


def test_a_call_whose_caller_named_no_trace_leaves_at_once() -> None:
    """One call without company is one trace, and it is its own root."""
    [emission] = Grouping().add([call("a", shared=False)], now_ms=0)
    assert spans([emission]) == [("a", None)]
    assert emission.released_call_id is None
    assert emission.remembered is None


def test_a_lonely_call_of_a_named_trace_is_its_own_root() -> None:
    """No span is sent that says nothing: alone, the call is the root."""
    grouping = Grouping()
    assert grouping.add([call("a")], now_ms=0) == []
    assert list(grouping.due(1_999)) == []
    [emission] = grouping.due(2_000)
    assert spans([emission]) == [("a", None)]
    assert emission.released_call_id == observation_id_from_seed("a")


def test_calls_in_company_hang_under_a_root_of_our_making() -> None:
    """The root spans the group, shows the first question and the last answer, and carries no usage."""
    grouping = Grouping()
    grouping.add([call("a", start=1_000, user_id="u1")], now_ms=0)
    grouping.add([call("b", start=5_000, session_id="s1")], now_ms=1_500)
    assert list(grouping.due(2_500)) == []
    root, first, second = grouping.due(3_500)
    root_id = observation_id_from_seed(TRACE)
    assert (root.span.id, root.span.parent_id) == (root_id, None)
    assert spans([first, second]) == [("a", root_id), ("b", root_id)]
    observation = root.span.observation
    assert (observation.started_at_ms, observation.ended_at_ms) == (1_000, 5_100)
    assert orjson.loads(observation.input or b"") == [{"role": "user", "content": "ask a"}]
    assert orjson.loads(observation.output or b"")["content"] == "answer b"
    assert observation.usage_details == {}
    for emission in (root, first, second):
        assert (emission.span.context.user_id, emission.span.context.session_id) == ("u1", "s1")


def test_no_call_waits_longer_than_the_hold_time() -> None:
    """A group that never gets quiet is closed after hold_ms."""
    grouping = Grouping(GroupingLimits(idle_ms=2_000, hold_ms=10_000))
    for second in range(10):
        grouping.add([call(f"c{second}", start=second * 1000)], now_ms=second * 1_000)
        assert list(grouping.due(second * 1_000)) == []
    assert len(list(grouping.due(10_000))) == 11


def test_late_calls_hang_under_the_same_root_which_is_sent_again() -> None:
    """A woken group keeps its root's id and start; the root shows the new end and answer."""  # covers ACK-07
    grouping = Grouping()
    grouping.add([call("a", start=1_000), call("b", start=2_000)], now_ms=0)
    first_root = next(iter(grouping.due(2_000))).span
    grouping.add([call("late", start=60_000)], now_ms=60_000)
    root, late = list(grouping.due(62_000))[:2]
    assert root.span.id == first_root.id
    assert root.span.observation.started_at_ms == first_root.observation.started_at_ms
    assert root.span.observation.ended_at_ms == 60_100
    assert root.span.observation.metadata["calls"] == 3
    assert orjson.loads(root.span.observation.output or b"")["content"] == "answer late"
    assert spans([late]) == [("late", first_root.id)]


def test_late_calls_hang_under_a_call_that_was_alone() -> None:
    """When the first call was its own root it stays the root, and is not sent twice."""
    grouping = Grouping()
    grouping.add([call("a")], now_ms=0)
    list(grouping.due(2_000))
    grouping.add([call("late")], now_ms=9_000)
    assert spans(list(grouping.due(11_000))) == [("late", observation_id_from_seed("a"))]


def test_two_calls_of_one_line_are_one_trace_at_once() -> None:
    """A transformer's call and the proxy's call share the line, so their trace is complete."""
    emissions = Grouping().add([call("t", shared=False), call("p", shared=False)], now_ms=0)
    root_id = observation_id_from_seed(TRACE)
    assert spans(emissions) == [("chat", None), ("t", root_id), ("p", root_id)]


def test_a_flush_closes_every_group() -> None:
    """When nothing more will come, nothing waits."""
    grouping = Grouping()
    grouping.add([call("a")], now_ms=0)
    grouping.add([call("b", trace=trace_id_from_seed("turn-2"))], now_ms=0)
    assert spans(list(grouping.flush(0))) == [("a", None), ("b", None)]
    assert grouping.held_bytes == 0


def test_held_calls_are_bounded_in_bytes() -> None:
    """Above max_held_bytes the longest quiet group is closed early."""
    grouping = Grouping(GroupingLimits(max_held_bytes=10_000))
    for number in range(10):
        grouping.add([call(f"c{number}", trace=trace_id_from_seed(str(number)))], now_ms=number)
        list(grouping.due(number))
    assert grouping.held_bytes <= 10_000


def test_what_is_remembered_survives_a_restart() -> None:
    """A late call finds its root although another process sent it."""  # covers ACK-06
    before = Grouping()
    before.add([call("a", start=1_000), call("b", start=2_000)], now_ms=0)
    remembered = [e.remembered for e in before.due(2_000) if e.remembered]
    stored = [msgpack.decode(msgpack.encode(trace), type=RememberedTrace) for trace in remembered]
    after = Grouping()
    after.restore(stored)
    after.add([call("late", start=30_000)], now_ms=30_000)
    root, late = after.due(32_000)
    assert root.span.id == observation_id_from_seed(TRACE)
    assert late.span.parent_id == root.span.id


def test_the_memory_of_traces_is_bounded() -> None:
    """The longest unseen traces are forgotten, and said to be."""
    grouping = Grouping(GroupingLimits(memory=MemoryLimits(traces=2)))
    for number in range(3):
        grouping.add([call(f"c{number}", trace=trace_id_from_seed(str(number)))], now_ms=number)
    list(grouping.flush(10))
    assert grouping.forgotten() == [trace_id_from_seed("0")]
    assert grouping.forgotten() == []


def test_a_root_that_a_killed_run_may_have_sent_keeps_its_start() -> None:
    """After the crash its calls may come in another order, or one by one; a second start would double it."""
    grouping = Grouping()
    grouping.restore([], {TRACE: 700})
    grouping.add([call("b", start=5_000)], now_ms=0)
    root, first = grouping.due(2_000)
    root_id = observation_id_from_seed(TRACE)
    assert (root.span.id, root.span.observation.started_at_ms) == (root_id, 700)
    assert spans([first]) == [("b", root_id)]
    grouping.add([call("a", start=700)], now_ms=4_000)
    again, late = grouping.due(6_000)
    assert again.span.observation.started_at_ms == 700
    assert again.span.observation.metadata["calls"] == 2
    assert spans([late]) == [("a", root_id)]


def test_calls_under_the_callers_own_span_leave_at_once() -> None:
    """Their trace has a root, so none is made and nothing is waited for."""
    grouping = Grouping()
    first, second = (replace(call(name), parent_id="b7ad6b7169203331") for name in ("a", "b"))
    emissions = grouping.add([first, second], now_ms=0)
    assert spans(emissions) == [("a", "b7ad6b7169203331"), ("b", "b7ad6b7169203331")]
    assert all(emission.released_call_id is None for emission in emissions)
    assert list(grouping.flush(0)) == []
