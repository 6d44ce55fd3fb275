"""One medium in, one classified answer out: Langfuse's upload of media, in three requests.

Langfuse is asked for an address, the bytes go there without our keys, and Langfuse is told. What it has
already is not sent again. The address lets anybody write who knows it, so no log and no error holds it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
from msgspec.structs import replace

from kong_ai_tracing.answers import classify
from kong_ai_tracing.endpoint import Endpoint
from kong_ai_tracing.httpclient import Connection, open_client
from kong_ai_tracing.media import Attachment, Medium
from kong_ai_tracing.outcomes import Accepted, Hold, Outcome, Refused, TooLarge, TryLater
from kong_ai_tracing.tracejson import rfc3339

MEDIA_PATH = "/api/public/media"

# Time-outs of the client are for each step; a request as a whole ends, too, later the more there is to send.
_STEPS_IN_TIME = 4
_SLOWEST_BYTES_PER_SECOND = 64 << 10
_PROBE_STORAGE_SECONDS = 60.0
_MAX_REASON_CHARACTERS = 300


class MediaClient:
    """Uploads to one Langfuse project."""

    def __init__(
        self, *, endpoint: Endpoint, public_key: str, secret_key: str, connection: Connection
    ) -> None:
        self._url = endpoint.base_url + MEDIA_PATH
        self._patience_seconds = connection.timeout_seconds * _STEPS_IN_TIME
        self._langfuse = open_client(connection)
        self._langfuse.auth = httpx.BasicAuth(public_key, secret_key)
        self._storage = open_client(replace(connection, client_certificate=None, client_key=None))

    async def upload(self, attachment: Attachment) -> Outcome:
        """Upload one medium and say what became of it. Never raises for what the network can do."""
        medium = attachment.medium
        patience_seconds = self._patience_seconds + len(medium.data) / _SLOWEST_BYTES_PER_SECOND
        try:
            async with asyncio.timeout(patience_seconds):
                return await self._upload(attachment)
        except (httpx.TimeoutException, TimeoutError) as error:
            return TryLater(f"no answer in time ({type(error).__name__})")
        except (httpx.HTTPError, OSError) as error:
            return TryLater(type(error).__name__)
        except (httpx.InvalidURL, ValueError) as error:
            return TryLater(f"not understood: {type(error).__name__}")

    async def _upload(self, attachment: Attachment) -> Outcome:
        medium = attachment.medium
        response = await self._langfuse.post(self._url, json=_question(attachment))
        outcome = classify(response)
        if not isinstance(outcome, Accepted):
            return outcome
        answer = response.json()
        address, media_id = answer.get("uploadUrl"), answer.get("mediaId")
        if media_id != medium.media_id:
            return Refused("Langfuse gives this medium another id")
        if address is None:
            return Accepted()
        if not isinstance(address, str):
            return TryLater("not understood: the address for an upload")
        began = time.monotonic()
        stored = await self._storage.put(address, content=medium.data, headers=_headers(medium, address))
        outcome = _of_storage(stored)
        if isinstance(outcome, TryLater | Hold):
            return outcome
        told = await self._langfuse.patch(
            f"{self._url}/{media_id}",
            json={
                "uploadedAt": rfc3339(time.time_ns() // 1_000_000),
                "uploadHttpStatus": stored.status_code,
                "uploadTimeMs": round((time.monotonic() - began) * 1000),
            }
            | ({} if stored.is_success else {"uploadHttpError": stored.text[:_MAX_REASON_CHARACTERS]}),
        )
        if isinstance(outcome, Accepted) and not told.is_success:
            return classify(told)
        return outcome

    async def close(self) -> None:
        await self._langfuse.aclose()
        await self._storage.aclose()


def _question(attachment: Attachment) -> dict[str, Any]:
    medium = attachment.medium
    return {
        "traceId": attachment.trace_id,
        "observationId": attachment.observation_id,
        "field": attachment.field,
        "contentType": medium.content_type,
        "contentLength": len(medium.data),
        "sha256Hash": medium.sha256_base64,
    }


def _headers(medium: Medium, address: str) -> dict[str, str]:
    headers = {"content-type": medium.content_type}
    # Google's storage refuses what was not signed; Amazon checks the first header, Azure needs the other.
    if "storage.googleapis.com" not in address:
        headers |= {"x-amz-checksum-sha256": medium.sha256_base64, "x-ms-blob-type": "BlockBlob"}
    return headers


def _of_storage(response: httpx.Response) -> Outcome:
    """What the object storage behind Langfuse says, of which we know nothing but the status."""
    if response.is_success:
        return Accepted()
    outcome = classify(response)
    reason = f"the object storage answered {response.status_code} {response.reason_phrase}"
    if isinstance(outcome, TryLater):
        return TryLater(reason, outcome.after_seconds)
    if isinstance(outcome, Refused | TooLarge):
        return Refused(reason)
    return Hold(reason, _PROBE_STORAGE_SECONDS)
