"""One request body in, one classified answer out: a Langfuse server over HTTP.

Bodies have OTLP's form, whichever way they go: what rests in the outbox can be delivered after the way was
changed. For the batch endpoint they are translated when they are sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Literal

import httpx
from msgspec import Struct

from kong_ai_tracing import __version__, ingestion, otlp, shortening
from kong_ai_tracing.answers import classify, wrong_transport
from kong_ai_tracing.batches import Body
from kong_ai_tracing.endpoint import Endpoint
from kong_ai_tracing.httpclient import Connection, open_client, words_of
from kong_ai_tracing.outcomes import Accepted, Hold, Outcome, Partly, TooLarge, TryLater
from kong_ai_tracing.spans import Span
from kong_ai_tracing.transports import (
    OLDEST_WITH_OTLP_ONLY,
    Transport,
    Version,
    choose_transport,
    version_of,
)

log = logging.getLogger(__name__)

# The client's time-out is for each step of a request: a server that trickles would never reach it.
_STEPS_IN_TIME = 4
_MAX_SPAN_BYTES = 9_000_000
"""Langfuse's own writer cuts larger ones to pieces."""
_LABEL_BYTES = 100_000
"""More than all that is neither input nor output takes."""
_OTHER: dict[Transport, Transport] = {"otlp": "ingestion", "ingestion": "otlp"}


class _Elsewhere(Struct, frozen=True):
    """This way does not lead in; `otherwise` is what the answer means when there is no other."""

    reason: str
    otherwise: Outcome


class Langfuse:
    """A destination. Over which of its two ways it is reached shows with the first body."""

    name = "langfuse"
    max_span_bytes = _MAX_SPAN_BYTES - _LABEL_BYTES

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        public_key: str,
        secret_key: str,
        connection: Connection,
        compress: bool,
        transport: Literal["auto", "otlp", "ingestion"] = "auto",
    ) -> None:
        self._endpoint = endpoint
        self._compress = compress
        self._setting = transport
        self._transport: Transport | None = None
        self._choosing = asyncio.Lock()
        self._took_events = False
        self.patience_seconds = connection.timeout_seconds * _STEPS_IN_TIME
        self._auth = httpx.BasicAuth(public_key, secret_key)
        self._client = open_client(connection, clear_text=endpoint.is_clear_text)

    def encode(self, span: Span) -> bytes:
        return otlp.encode(span)

    def join(self, spans: Sequence[bytes]) -> bytes:
        return otlp.join(spans)

    def merge(self, bodies: Sequence[bytes]) -> bytes | None:
        return otlp.merge(bodies)

    def split(self, data: bytes) -> list[bytes]:
        return otlp.split(data)

    def shorten(self, span: bytes, max_bytes: int) -> bytes | None:
        return shortening.shorten(span, max_bytes)

    async def close(self) -> None:
        await self._client.aclose()

    async def send(self, body: Body) -> Outcome:
        """Send one body and say what became of it. Never raises for anything the network can do."""
        try:
            async with asyncio.timeout(self.patience_seconds):
                return await self._send(body)
        except (httpx.TimeoutException, TimeoutError) as error:
            return TryLater(f"no answer in time ({type(error).__name__})")
        except (httpx.HTTPError, OSError) as error:
            # An alert of TLS that comes after the handshake is not wrapped by the client: it is an OSError.
            return TryLater(words_of(error))

    # -- which way

    async def _send(self, body: Body) -> Outcome:
        first = await self._known_transport()
        answer = await self._send_over(first, body)
        if not isinstance(answer, _Elsewhere):
            return answer
        if self._setting != "auto":
            return await self._without_choice(answer)
        other = await self._send_over(_OTHER[first], body)
        if isinstance(other, _Elsewhere):
            return answer.otherwise
        if not isinstance(other, TryLater | Hold):
            self._transport = _OTHER[first]
            log.warning(
                "delivery.transport_changed destination=%s transport=%s reason=%r",
                self.name,
                self._transport,
                answer.reason,
            )
        return other

    async def _known_transport(self) -> Transport:
        async with self._choosing:
            if self._transport is None:
                must_ask = self._setting == "auto" and not self._endpoint.names_otlp
                version = await self._version() if must_ask else None
                choice = choose_transport(self._setting, self._endpoint, version)
                self._transport = choice.transport
                log.info(
                    "delivery.transport destination=%s transport=%s reason=%r",
                    self.name,
                    choice.transport,
                    choice.reason,
                )
            return self._transport

    async def _version(self) -> Version | None:
        return version_of(await self._client.get(self._endpoint.health_url))

    async def _without_choice(self, answer: _Elsewhere) -> Outcome:
        """The operator wants this way. What the server takes over the other only is not lost for that."""
        if not isinstance(answer.otherwise, Partly):
            return answer.otherwise
        if not self._took_events and (await self._version() or ()) >= OLDEST_WITH_OTLP_ONLY:
            return wrong_transport(f"{answer.reason}: this server takes traces over OTLP only")
        return answer.otherwise

    # -- the two ways

    async def _send_over(self, transport: Transport, body: Body) -> Outcome | _Elsewhere:
        return await (self._send_spans(body) if transport == "otlp" else self._send_events(body))

    async def _send_spans(self, body: Body) -> Outcome | _Elsewhere:
        if body.spans == 1 and body.unpacked_bytes > _MAX_SPAN_BYTES:
            return TooLarge(f"a span of {body.unpacked_bytes} bytes", _MAX_SPAN_BYTES)
        if self._compress != body.packed:
            body = await asyncio.to_thread(body.pack if self._compress else body.unpack)
        headers = {
            "x-langfuse-ingestion-version": "4",
            "x-langfuse-sdk-name": "kong-ai-tracing",
            "x-langfuse-sdk-version": __version__,
        }
        if body.packed:
            headers["content-encoding"] = "gzip"
        response = await self._post(self._endpoint.otlp_url, body.data, headers)
        outcome = classify(response)
        if response.status_code == 404:
            return _Elsewhere("the server has no OTLP endpoint (404)", outcome)
        return outcome

    async def _send_events(self, body: Body) -> Outcome | _Elsewhere:
        """Over the batch endpoint, which reads no gzip and answers for each event."""
        events = await asyncio.to_thread(lambda: ingestion.events_of(otlp.parsed(body.unpack().data)))
        if len(events.data) > ingestion.MAX_BYTES:
            return TooLarge(f"events of {len(events.data)} bytes")
        response = await self._post(self._endpoint.ingestion_url, events.data, {})
        if response.status_code != 207:
            outcome = classify(response)
            if response.status_code == 404:
                return _Elsewhere("the server has no batch endpoint (404)", outcome)
            return outcome
        outcome = ingestion.outcome_of(response, events, body.spans)
        if isinstance(outcome, Partly) and len(outcome.refused) == body.spans:
            # Version 4 does so with every trace, and no status tells it from events that are wrong.
            return _Elsewhere(f"the batch endpoint refused all events: {outcome.refused[0]}", outcome)
        self._took_events |= isinstance(outcome, Accepted | Partly)
        return outcome

    async def _post(self, url: str, data: bytes, headers: dict[str, str]) -> httpx.Response:
        return await self._client.post(
            url, content=data, headers={"content-type": "application/json"} | headers, auth=self._auth
        )
