"""From one body to the end of each of its spans, against a server that behaves like the real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from kong_ai_tracing import otlp
from kong_ai_tracing.batches import Body
from kong_ai_tracing.gate import Gate
from kong_ai_tracing.langfuse import Langfuse
from kong_ai_tracing.outcomes import Accepted, Outcome, Partly, Refused, TryLater
from kong_ai_tracing.sending import Receipt, Sender
from kong_ai_tracing.spans import Span
from langfuse_server import FakeLangfuse
from test_delivery import Sink
from test_langfuse import langfuse
from test_otlp import SPAN


def span(number: int, size: int = 10) -> Span:
    content = b'"' + b"x" * size + b'"'
    return replace(SPAN, id=f"{number:016x}", observation=replace(SPAN.observation, input=content))


def body(*spans: Span) -> Body:
    return Body(len(spans), otlp.join([otlp.encode(each) for each in spans]))


def quick_gate() -> Gate:
    """Waits are so short that they can really be waited for."""
    return Gate(
        clock=lambda: asyncio.get_running_loop().time() * 1_000, random=lambda: 0.0, max_concurrency=8
    )


@pytest.fixture
async def to() -> AsyncIterator[Callable[..., Langfuse]]:
    opened: list[Langfuse] = []

    def open_langfuse(server: FakeLangfuse, **settings: Any) -> Langfuse:
        opened.append(langfuse(server.url, timeout=60, **settings))
        return opened[-1]

    yield open_langfuse
    for each in opened:
        await each.close()


async def deliver(destination: Any, sent: Body) -> Receipt | None:
    async with asyncio.timeout(90):
        return await Sender(destination, quick_gate()).deliver(sent)


async def test_what_a_proxy_finds_too_large_is_halved(to: Callable[..., Langfuse]) -> None:
    """Down to bodies that pass; each span arrives once."""  # covers SNK-05
    with FakeLangfuse(max_body_bytes=20_000) as server:
        receipt = await deliver(to(server, compress=False), body(*(span(n, 4_000) for n in range(16))))
    assert receipt is not None
    assert (receipt.delivered, receipt.refusals, receipt.shortened) == (16, [], 0)
    assert sorted(each["spanId"] for each in server.spans) == [f"{n:016x}" for n in range(16)]
    assert len(server.requests) < 16


async def test_a_span_that_is_too_large_alone_is_shortened(to: Callable[..., Langfuse]) -> None:
    """Its longest text is cut until it passes; its neighbours stay whole."""  # covers SNK-05
    with FakeLangfuse(max_body_bytes=50_000) as server:
        receipt = await deliver(to(server, compress=False), body(span(1), span(2, 300_000), span(3)))
    assert receipt is not None
    assert (receipt.delivered, receipt.refusals, receipt.shortened) == (3, [], 1)
    assert server.violations == []
    texts = {each["spanId"]: each["attributes"]["langfuse.observation.input"] for each in server.spans}
    assert len(texts[f"{1:016x}"]) < 100
    assert 10_000 < len(texts[f"{2:016x}"]) < 50_000
    assert "characters cut" in texts[f"{2:016x}"]


async def test_a_span_that_never_fits_is_set_aside_whole(to: Callable[..., Langfuse]) -> None:
    """A limit below anything sensible: the reason is kept with it."""  # covers SNK-05
    with FakeLangfuse(max_body_bytes=500) as server:
        receipt = await deliver(to(server, compress=False), body(span(1, 60_000)))
    assert receipt is not None
    assert receipt.delivered == 0
    [refusal] = receipt.refusals
    assert refusal.reason.startswith("413")
    assert server.spans == []


async def test_events_beyond_the_limit_of_the_batch_endpoint_are_halved(to: Callable[..., Langfuse]) -> None:
    """A root stands in two events, so bodies grow on the way."""  # covers SNK-05
    spans = [span(n, 500_000) for n in range(6)]
    with FakeLangfuse(version="3.20.0", has_otlp=False, takes_batches=True) as server:
        receipt = await deliver(to(server), body(*spans))
    assert receipt is not None
    assert receipt.delivered == 6
    assert {request.status for request in server.requests} == {207}
    assert max(request.wire_bytes for request in server.requests) <= 3_500_000


async def test_each_event_of_a_mixed_answer_has_its_own_end(to: Callable[..., Langfuse]) -> None:
    """One is refused, one fails twice and passes, the others are not sent again."""  # covers SNK-07
    failures = {f"{2:016x}": 2}

    def status(event: dict[str, Any]) -> int | None:
        each = event["body"]["id"]
        if each == f"{1:016x}":
            return 400
        if failures.get(each, 0):
            failures[each] -= 1
            return 500
        return 201

    with FakeLangfuse(version="3.20.0", has_otlp=False, takes_batches=True, event_status=status) as server:
        receipt = await deliver(to(server), body(*(span(n) for n in range(4))))
    assert receipt is not None
    assert receipt.delivered == 3
    assert [refusal.reason for refusal in receipt.refusals] == ["400 scripted 400"]
    accepted = [event["body"]["id"] for event in server.events if event["type"] != "trace-create"]
    assert sorted(accepted) == [f"{n:016x}" for n in (0, 2, 3)]
    assert len(server.requests) == 3


async def test_an_event_that_fails_for_ever_is_set_aside_when_its_neighbours_pass(
    to: Callable[..., Langfuse],
) -> None:
    """It is not the server then; the span is kept with the reason and can be tried again by hand."""
    # covers ACK-02
    with FakeLangfuse(
        version="3.20.0",
        has_otlp=False,
        takes_batches=True,
        event_status=lambda event: 500 if event["body"]["id"] == f"{1:016x}" else 201,
    ) as server:
        sender = Sender(to(server), quick_gate())
        rounds = [await sender.deliver(body(span(0), span(1))) for _ in range(5)]
    assert rounds[:4] == [None] * 4
    assert rounds[4] is not None
    [refusal] = rounds[4].refusals
    assert refusal.reason.startswith("500")
    assert rounds[4].delivered == 1


class Scripted(Sink):
    """Answers one after the other."""

    def __init__(self, *outcomes: Outcome) -> None:
        super().__init__()
        self._outcomes = iter(outcomes)
        self.answer = lambda parts: next(self._outcomes)


async def test_a_failure_in_the_middle_of_halving_repeats_nothing() -> None:
    """What was accepted before it is not sent a second time."""  # covers ACK-03
    sink = Scripted(Refused("400"), Accepted(), TryLater("503"), TryLater("503"), Accepted())
    receipt = await deliver(sink, Body(4, b"a,b,c,d"))
    assert receipt is not None
    assert receipt.delivered == 4
    assert sink.spans == [b"a", b"b", b"c", b"d"]


async def test_a_body_that_cannot_be_sent_now_goes_back_whole() -> None:
    """Without waiting for it: others may pass."""
    assert await deliver(Scripted(TryLater("503")), Body(2, b"a,b")) is None


async def test_a_rest_that_does_not_pass_goes_back_with_the_whole() -> None:
    """A part of it is repeated then, with the same ids; nothing stays in memory for ever."""
    sink = Scripted(Refused("400"), Accepted(), *[TryLater("503")] * 5)
    assert await deliver(sink, Body(2, b"a,b")) is None


async def test_an_outage_in_the_middle_of_an_answer_sets_nothing_aside() -> None:
    """Its first spans were accepted; the others fail alone as long as it lasts."""
    sink = Scripted(*[Partly(later=(1,), reason="500"), *[TryLater("503")] * 4, Accepted()])
    receipt = await deliver(sink, Body(2, b"a,b"))
    assert receipt is not None
    assert (receipt.delivered, receipt.refusals) == (2, [])


async def test_a_cancelled_request_leaves_the_gate_open() -> None:
    """A stop in the middle of a request does not keep the next one out."""
    sink = Sink()
    sink.gate.clear()
    gate = quick_gate()
    sending = asyncio.create_task(Sender(sink, gate).deliver(Body(1, b"a")))
    await sink.arrived.wait()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert gate.under_way == 0
