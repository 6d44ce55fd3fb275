"""Which way into Langfuse is taken, and that nothing is lost when it was the wrong one."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from kong_ai_tracing import otlp
from kong_ai_tracing.batches import Body
from kong_ai_tracing.endpoint import INGESTION_PATH, OTLP_PATH, parse_endpoint
from kong_ai_tracing.outcomes import Accepted, Hold, Outcome, Partly, TooLarge, TryLater
from kong_ai_tracing.transports import choose_transport, version_of
from langfuse_server import FakeLangfuse
from test_langfuse import langfuse
from test_otlp import PARENT_ID, SPAN

BASE = parse_endpoint("https://langfuse.example.com/api/public/ingestion")
OTLP_ENDPOINT = parse_endpoint("https://langfuse.example.com/api/public/otel")
BODY = Body(2, otlp.join([otlp.encode(SPAN), otlp.encode(replace(SPAN, id=PARENT_ID))]))
OLD: dict[str, Any] = {"version": "3.20.0", "has_otlp": False, "takes_batches": True}


@pytest.mark.parametrize(
    ("version", "transport"),
    [
        ((3, 21, 9), "ingestion"),
        ((2, 95), "ingestion"),
        ((3, 22), "otlp"),
        ((4, 16, 0), "otlp"),
        (None, "otlp"),
    ],
)
def test_the_version_decides_where_the_address_does_not(
    version: tuple[int, ...] | None, transport: str
) -> None:
    """The plugin's default address names the batch endpoint, so that says nothing."""
    assert choose_transport("auto", BASE, version).transport == transport
    assert choose_transport("ingestion", BASE, version).transport == "ingestion"
    assert choose_transport("auto", OTLP_ENDPOINT, version).transport == "otlp"


def test_the_version_is_read_from_the_health_page() -> None:
    """Whatever else answers there has none."""
    assert version_of(httpx.Response(200, json={"status": "OK", "version": "4.16.0"})) == (4, 16, 0)
    assert version_of(httpx.Response(503, json={"version": "v3.22"})) == (3, 22)
    for other in ({"version": "new"}, {}, []):
        assert version_of(httpx.Response(200, json=other)) is None
    assert version_of(httpx.Response(200, text="<html>")) is None


async def send(server: FakeLangfuse, *bodies: Body, **settings: Any) -> list[Outcome]:
    destination = langfuse(server.url, timeout=60, **settings)
    try:
        return [await destination.send(body) for body in bodies]
    finally:
        await destination.close()


def paths(server: FakeLangfuse) -> list[str]:
    return [request.path for request in server.requests]


async def test_a_server_of_today_gets_otlp(caplog: pytest.LogCaptureFixture) -> None:
    """The log says which way was chosen, and why."""
    caplog.set_level(logging.INFO)
    with FakeLangfuse() as server:
        assert await send(server, BODY) == [Accepted()]
    assert paths(server) == [OTLP_PATH]
    assert "transport=otlp reason='the server is Langfuse 4.16.0'" in caplog.text


@pytest.mark.parametrize("packed", [True, False])
async def test_an_old_server_gets_events(packed: bool) -> None:
    """Not compressed, whatever the body was; and OTLP is not even tried."""
    with FakeLangfuse(**OLD) as server:
        assert await send(server, BODY.pack() if packed else BODY) == [Accepted()]
    assert paths(server) == [INGESTION_PATH]
    assert [event["type"] for event in server.events].count("generation-create") == 2


async def test_a_server_without_otlp_gets_the_same_spans_as_events(caplog: pytest.LogCaptureFixture) -> None:
    """It hid its version; the 404 tells, and later bodies go the right way at once."""
    with FakeLangfuse(**OLD | {"version": "unknown"}) as server:
        assert await send(server, BODY, BODY) == [Accepted(), Accepted()]
    assert paths(server) == [OTLP_PATH, INGESTION_PATH, INGESTION_PATH]
    assert "delivery.transport_changed" in caplog.text


async def test_a_server_that_refuses_all_events_gets_the_same_spans_over_otlp() -> None:
    """An upgrade to version 4 while we run: it says 207 and keeps nothing, and nothing vanishes behind it."""
    with FakeLangfuse(**OLD) as server:
        destination = langfuse(server.url, timeout=60)
        assert await destination.send(BODY) == Accepted()
        server.has_otlp, server.takes_batches = True, False
        assert await destination.send(BODY) == Accepted()
        assert await destination.send(BODY) == Accepted()
        await destination.close()
    assert paths(server) == [INGESTION_PATH, INGESTION_PATH, OTLP_PATH, OTLP_PATH]
    assert server.span_ids() == {SPAN.id, PARENT_ID}


async def test_events_that_an_old_server_refuses_are_refused() -> None:
    """When OTLP is not there, they are simply wrong."""
    with FakeLangfuse(**OLD, event_status=lambda event: 400) as server:
        [outcome] = await send(server, BODY)
    assert isinstance(outcome, Partly)
    assert outcome.refused.keys() == {0, 1}
    assert paths(server) == [INGESTION_PATH, OTLP_PATH]


async def test_neither_way_there_holds() -> None:
    """A wrong address is not taken for an old server."""
    with FakeLangfuse(**OLD) as server:
        destination = langfuse(server.url + "/wrong", timeout=60)
        outcome = await destination.send(BODY)
        await destination.close()
    assert isinstance(outcome, Hold)
    assert len(server.requests) == 2


async def test_the_operators_word_stands_and_loses_nothing() -> None:
    """Events for a server that takes OTLP only wait until the setting is right."""
    with FakeLangfuse() as server:
        [outcome] = await send(server, BODY, transport="ingestion")
    assert isinstance(outcome, Hold)
    assert 'transport = "auto"' in outcome.reason
    assert paths(server) == [INGESTION_PATH]
    with FakeLangfuse(**OLD) as server:
        [outcome] = await send(server, BODY, transport="otlp")
    assert isinstance(outcome, Hold)
    assert paths(server) == [OTLP_PATH]


async def test_a_server_that_cannot_be_asked_is_asked_again() -> None:
    """No way is chosen before somebody has answered."""
    destination = langfuse("http://127.0.0.1:1", timeout=60)
    assert isinstance(await destination.send(BODY), TryLater)
    assert destination._transport is None
    await destination.close()


async def test_events_beyond_the_limit_are_not_even_sent() -> None:
    """The batch endpoint takes less than OTLP."""  # covers SNK-05
    large = replace(SPAN, observation=replace(SPAN.observation, input=b'"' + b"x" * 2_000_000 + b'"'))
    with FakeLangfuse(**OLD) as server:
        [outcome] = await send(server, Body(1, otlp.join([otlp.encode(large)])))
    assert isinstance(outcome, TooLarge)
    assert server.requests == []


@pytest.mark.parametrize("packed", [True, False])
async def test_a_span_that_langfuse_would_cut_to_pieces_is_not_sent(packed: bool) -> None:
    """Its writer cuts both texts of such a row to half a megabyte; we cut the longest only."""
    huge = replace(SPAN, observation=replace(SPAN.observation, input=b'"' + b"x" * 10_000_000 + b'"'))
    body = Body(1, otlp.join([otlp.encode(huge)]))
    with FakeLangfuse() as server:
        [outcome] = await send(server, body.pack() if packed else body)
    assert isinstance(outcome, TooLarge)
    assert server.requests == []


async def test_a_wrong_key_is_not_taken_for_another_way() -> None:
    """The keys are the problem, over both ways."""
    for server_settings in ({}, OLD):
        with FakeLangfuse(**server_settings) as server:
            [outcome] = await send(server, BODY, secret_key="sk-lf-wrong")
        assert isinstance(outcome, Hold)
        assert outcome.probe_after_seconds >= 360
