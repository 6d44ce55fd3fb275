"""One request to Langfuse and what its answer means, against a server that behaves like the real one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from kong_ai_tracing.answers import classify
from kong_ai_tracing.batches import Body
from kong_ai_tracing.endpoint import parse_endpoint
from kong_ai_tracing.httpclient import Connection
from kong_ai_tracing.langfuse import Langfuse
from kong_ai_tracing.outcomes import Accepted, Hold, Outcome, Refused, TooLarge, TryLater
from langfuse_server import FakeLangfuse
from test_otlp import SPAN


def langfuse(
    url: str, *, secret_key: str = "sk-lf-test", compress: bool = True, timeout: float = 60.0, **settings: Any
) -> Langfuse:
    return Langfuse(
        endpoint=parse_endpoint(url),
        public_key="pk-lf-test",
        secret_key=secret_key,
        connection=Connection(timeout_seconds=timeout, max_connections=2),
        compress=compress,
        **settings,
    )


@pytest.fixture
async def server() -> AsyncIterator[FakeLangfuse]:
    with FakeLangfuse() as server:
        yield server


async def send(destination: Langfuse, body: Body | None = None) -> Outcome:
    if body is None:
        body = Body(1, destination.join([destination.encode(SPAN)]))
    try:
        return await destination.send(body)
    finally:
        await destination.close()


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("packed", [True, False])
async def test_a_body_is_accepted_in_every_form(server: FakeLangfuse, compress: bool, packed: bool) -> None:
    """Fresh or from disk, compressed or not on the wire: the same span arrives."""
    destination = langfuse(server.url, compress=compress)
    body = Body(1, destination.join([destination.encode(SPAN)]))
    assert await send(destination, body.pack() if packed else body) == Accepted()
    assert [span["spanId"] for span in server.spans] == [SPAN.id]
    assert server.violations == []
    [request] = server.requests
    assert request.headers.get("content-encoding") == ("gzip" if compress else None)
    assert request.headers["x-langfuse-ingestion-version"] == "4"


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("429:7", TryLater),
        ("500", TryLater),
        ("503", TryLater),
        ("408", TryLater),
        ("401", Hold),
        ("403", Hold),
        ("400", Refused),
        ("413", TooLarge),
        ("cut", TryLater),
        ("hang", TryLater),
        ("accept-cut", TryLater),
    ],
)
async def test_each_answer_has_one_meaning(server: FakeLangfuse, script: str, kind: type[Outcome]) -> None:
    """Only what can never pass is refused; everything else keeps the data."""  # covers SNK-09
    server.script(script)
    # Only what hangs is given up: a busy machine is not to be taken for that.
    destination = langfuse(server.url, timeout=0.5 if "hang" in script else 60.0)
    assert isinstance(await send(destination), kind)


async def test_an_answer_that_never_ends_is_given_up() -> None:
    """Byte after byte, each in time, would keep a sender busy for ever."""  # covers SNK-09

    ended = asyncio.Event()

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
            while not reader.at_eof():
                writer.write(b" ")
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(65_536), 0.02)
        ended.set()

    trickling = await asyncio.start_server(trickle, "127.0.0.1", 0)
    port = trickling.sockets[0].getsockname()[1]
    async with trickling, asyncio.timeout(60):
        outcome = await send(langfuse(f"http://127.0.0.1:{port}", timeout=0.1))
        await ended.wait()
    assert isinstance(outcome, TryLater)


async def test_who_listens_nowhere_is_told_in_the_systems_words() -> None:
    """An operator knows "Connection refused"; that all attempts failed says nothing."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # so that nobody else listens there
        port = held.getsockname()[1]
        destination = langfuse(f"http://127.0.0.1:{port}", transport="otlp", timeout=60)
        assert await send(destination) == TryLater("ConnectError: Connection refused")


async def test_a_wrong_key_holds_and_is_not_printed(server: FakeLangfuse) -> None:
    """The reason names the keys as the thing to check, never their text."""
    outcome = await send(langfuse(server.url, secret_key="sk-lf-very-secret"))
    assert isinstance(outcome, Hold)
    assert outcome.probe_after_seconds >= 360
    assert "very-secret" not in outcome.reason


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_failing_server_cannot_put_what_was_sent_into_our_log(status: int) -> None:
    """The reason for trying later is logged: it has the status and none of the server's own words."""
    outcome = classify(httpx.Response(status, json={"message": "cannot store 'my secret prompt'"}))
    assert isinstance(outcome, TryLater)
    assert outcome.reason == f"{status} {httpx.codes.get_reason_phrase(status)}"


async def test_a_server_without_otlp_and_a_wrong_path_hold(server: FakeLangfuse) -> None:
    """404 and a redirect are matters of configuration: nothing is set aside."""
    server.has_otlp = False
    assert isinstance(await send(langfuse(server.url)), Hold)
    assert isinstance(await send(langfuse(server.url + "/wrong")), Hold)


async def test_nobody_there_is_tried_later() -> None:
    """A refused connection is an outage."""
    assert isinstance(await send(langfuse("http://127.0.0.1:1")), TryLater)


def test_a_web_page_is_no_success() -> None:
    """A proxy's login page with status 200 must not swallow data."""  # covers SNK-10
    response = httpx.Response(200, headers={"content-type": "text/html"}, text="<html>log in</html>")
    assert isinstance(classify(response), Hold)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("7", 7.0), ("0.5", 0.5), ("100000", 300.0), ("-3", None), ("soon", None), ("nan", None), ("inf", None)],
)
def test_retry_after_is_obeyed_within_reason(value: str, expected: float | None) -> None:
    """Seconds are taken up to five minutes; nonsense is ignored."""  # covers SNK-04
    outcome = classify(httpx.Response(429, headers={"retry-after": value}))
    assert isinstance(outcome, TryLater)
    assert outcome.after_seconds == expected


def test_retry_after_may_be_a_date() -> None:
    """HTTP allows both forms."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=200), usegmt=True)
    outcome = classify(httpx.Response(503, headers={"retry-after": date}))
    assert isinstance(outcome, TryLater)
    assert outcome.after_seconds is not None
    assert 0 < outcome.after_seconds <= 200
