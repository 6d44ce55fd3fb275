"""Lines that are read twice, after a crash or because an operator went back."""

from __future__ import annotations

from kong_ai_tracing.calls import AICall
from kong_ai_tracing.spans import Span
from kong_ai_tracing.traces import Grouping
from test_traces import call


def sent(grouping: Grouping, *calls: AICall, now_ms: int = 0) -> list[Span]:
    """The spans of these calls, each read at once, when all waiting is over."""
    at_once = [emission.span for each in calls for emission in grouping.add([each], now_ms)]
    return at_once + [emission.span for emission in grouping.flush(now_ms)]


def test_lines_that_are_read_twice_give_the_same_spans() -> None:
    """Ids, parents, times and usage: Langfuse replaces what it has, and no token is counted twice."""
    # covers ACK-08
    lines = [call(f"{number}", trace=f"{number % 7:032x}", start=1_000 + number) for number in range(500)]
    grouping = Grouping()
    first = sent(grouping, *lines)
    again = sent(grouping, *lines, now_ms=5_000)
    for span in [*first, *again]:
        span.observation.metadata.pop("calls", None)  # on a root: how many were read, not how many there are
    assert again == first
    usage = {span.id: span.observation.usage_details for span in first if span.parent_id is not None}
    assert all(each == {"input": 1, "output": 2, "total": 3} for each in usage.values())
    roots = [span for span in first if span.parent_id is None]
    assert [root.observation.usage_details for root in roots] == [{}] * 7


def test_a_line_that_is_read_twice_while_its_call_waits_is_one_call() -> None:
    """It stays alone, and its own root."""  # covers ACK-08
    [span] = sent(Grouping(), call("a"), call("a"))
    assert span.parent_id is None


def test_a_lonely_call_that_comes_again_is_not_its_own_child() -> None:
    """Its trace is remembered, and the root in it is this very call."""  # covers ACK-08
    grouping = Grouping()
    first = sent(grouping, call("a"))
    assert sent(grouping, call("a"), now_ms=5_000) == first
