"""One request body in, one classified answer out: Langfuse's OTLP endpoint over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from kong_ai_tracing import __version__, otlp, shortening
from kong_ai_tracing.batches import Body
from kong_ai_tracing.outcomes import Accepted, Hold, Outcome, Refused, TooLarge, TryLater
from kong_ai_tracing.spans import Span

# Langfuse remembers an unknown key for 300 s, anew at every try: a probe must come later than that.
_PROBE_KEYS_SECONDS = 360.0
_PROBE_PATH_SECONDS = 60.0
_MAX_RETRY_AFTER_SECONDS = 300.0
# The client's time-out is for each step of a request: a server that trickles would never reach it.
_STEPS_IN_TIME = 4
_MAX_REASON_CHARACTERS = 300
_RETRYABLE = frozenset({408, 425, 429})


class Langfuse:
    """A destination: Langfuse's OTLP/HTTP endpoint."""

    name = "langfuse"

    def __init__(
        self,
        *,
        otlp_url: str,
        public_key: str,
        secret_key: str,
        timeout_seconds: float,
        compress: bool,
        max_connections: int,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = otlp_url
        self._compress = compress
        self._patience_seconds = timeout_seconds * _STEPS_IN_TIME
        self._client = httpx.AsyncClient(
            auth=httpx.BasicAuth(public_key, secret_key),
            timeout=timeout_seconds,
            limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
            headers={
                "content-type": "application/json",
                "user-agent": f"kong-ai-tracing/{__version__}",
                "x-langfuse-ingestion-version": "4",
                "x-langfuse-sdk-name": "kong-ai-tracing",
                "x-langfuse-sdk-version": __version__,
            },
            transport=transport,
        )

    def encode(self, span: Span) -> bytes:
        return otlp.encode(span)

    def join(self, spans: Sequence[bytes]) -> bytes:
        return otlp.join(spans)

    def split(self, data: bytes) -> list[bytes]:
        return otlp.split(data)

    def shorten(self, span: bytes, max_bytes: int) -> bytes | None:
        return shortening.shorten(span, max_bytes)

    async def send(self, body: Body) -> Outcome:
        """Send one body and say what became of it. Never raises for anything the network can do."""
        if self._compress != body.packed:
            body = await asyncio.to_thread(body.pack if self._compress else body.unpack)
        headers = {"content-encoding": "gzip"} if body.packed else {}
        try:
            async with asyncio.timeout(self._patience_seconds):
                response = await self._client.post(self._url, content=body.data, headers=headers)
        except (httpx.TimeoutException, TimeoutError) as error:
            return TryLater(f"no answer in time ({type(error).__name__})")
        except httpx.HTTPError as error:
            return TryLater(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        return classify(response)

    async def close(self) -> None:
        await self._client.aclose()


def classify(response: httpx.Response) -> Outcome:
    """What an answer means for the batch, by the table of Langfuse's own behaviour."""
    status = response.status_code
    html = "html" in response.headers.get("content-type", "")
    if response.is_success:
        if html:
            return Hold(f"{status} with a web page: this is not Langfuse's endpoint", _PROBE_PATH_SECONDS)
        return Accepted()
    reason = f"{status} {_text(response)}".strip()
    if status in {401, 403}:
        return Hold(f"{reason} (check the keys and the project's plan)", _PROBE_KEYS_SECONDS)
    if status in {404, 405} or response.is_redirect:
        return Hold(
            f"{reason} (check langfuse_endpoint; Langfuse before 3.22 has no OTLP)", _PROBE_PATH_SECONDS
        )
    if status in _RETRYABLE or status >= 500:
        return TryLater(reason, _retry_after_seconds(response.headers.get("retry-after")))
    return TooLarge(reason) if status == 413 else Refused(reason)


def _text(response: httpx.Response) -> str:
    """The server's own words, short; a page's markup says nothing."""
    if "json" not in response.headers.get("content-type", ""):
        return response.reason_phrase
    return " ".join(response.text[:_MAX_REASON_CHARACTERS].split())


def _retry_after_seconds(value: str | None) -> float | None:
    """Seconds or an HTTP date; nonsense is ignored, more than five minutes is taken for five minutes."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    if not 0 <= seconds < float("inf"):
        return None
    return min(seconds, _MAX_RETRY_AFTER_SECONDS)
