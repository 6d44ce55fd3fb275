"""A refused body in, what it says in an operator's words out."""

from __future__ import annotations

from typing import Any

import orjson
from msgspec import Struct

from kong_ai_tracing.storerows import unpacked


class Said(Struct, frozen=True):
    """One observation of a refused body."""

    trace_id: str
    id: str
    name: str
    type: str
    started_at_ms: int
    bytes: int
    input_bytes: int
    output_bytes: int
    input: str | None = None
    """Only when content was asked for."""
    output: str | None = None


class Entry(Struct, frozen=True):
    """One line of `refused list --json`."""

    id: str
    refused_at: str
    destination: str
    spans: int
    bytes: int
    """As kept: compressed."""
    reason: str
    retry: bool
    """It was asked for again and waits for the daemon."""


class Details(Struct, frozen=True):
    """What `refused show --json` prints."""

    refused: Entry
    observations: list[Said]


def spans_in(packed: bytes, *, content: bool) -> list[Said] | None:
    """The observations of a body; None when they cannot be read: it is damaged, or the local store's."""
    request = otlp_request(packed)
    if request is None:
        return None
    try:
        return [
            _said(span, content=content)
            for resource in orjson.loads(request)["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]
    except (KeyError, TypeError, ValueError):
        return None


def otlp_request(packed: bytes) -> bytes | None:
    """A body as one line of OTLP/JSON; None when it is none."""
    data = unpacked(packed)
    if data is None or not data.startswith(b'{"resourceSpans"'):
        return None
    return data.replace(b"\n", b"")


def _said(span: dict[str, Any], *, content: bool) -> Said:
    attributes = {each["key"]: each["value"].get("stringValue", "") for each in span["attributes"]}
    asked = attributes.get("langfuse.observation.input", "")
    answered = attributes.get("langfuse.observation.output", "")
    return Said(
        trace_id=span["traceId"],
        id=span["spanId"],
        name=span["name"],
        type=attributes.get("langfuse.observation.type", ""),
        started_at_ms=int(span["startTimeUnixNano"]) // 1_000_000,
        bytes=len(orjson.dumps(span)),
        input_bytes=len(asked.encode()),
        output_bytes=len(answered.encode()),
        input=asked if content else None,
        output=answered if content else None,
    )
