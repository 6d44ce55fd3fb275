"""One span in, one line of a batch body for the local trace store out, and how bodies rest in a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import orjson
from isal import isal_zlib
from msgspec import Raw, Struct

from kong_ai_tracing.spans import Span
from kong_ai_tracing.tracejson import observation_json, one_line, trace_values

_COMPRESS_FROM_BYTES = 1024


class Row(Struct, array_like=True):
    """The narrow columns of one observation: what lists show, sort and filter by."""

    id: str
    parent_id: str | None
    type: str
    name: str
    started_ms: int
    ended_ms: int
    first_token_ms: int | None
    level: str
    provider: str | None
    model: str | None
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cost: float
    trace_name: str
    user_id: str | None
    session_id: str | None
    environment: str
    service: str | None
    route: str | None
    is_call: bool = True
    """No root of several calls, and no step within one."""


class Record(Struct, array_like=True):
    """One span on its way to the store."""

    trace_id: str
    said: dict[str, Any]
    row: Row
    details: Raw
    bodies: dict[str, Raw]
    """`input` and `output`, where they exist."""


def encode(span: Span) -> bytes:
    """One span as a line of a batch body."""
    said = span.observation
    details = observation_json(span)
    bodies = {"input": said.input, "output": said.output}
    for name in bodies:
        details.pop(name, None)
    return msgspec.json.encode(
        Record(
            span.trace_id,
            trace_values(span.context),
            _row(span),
            Raw(orjson.dumps(details)),
            {name: Raw(one_line(body)) for name, body in bodies.items() if body is not None},
        )
    )


def join(spans: Iterable[bytes]) -> bytes:
    """The batch body that carries these encoded spans."""
    return b"\n".join(spans)


def split(body: bytes) -> list[bytes]:
    """The encoded spans of a batch body."""
    return body.split(b"\n")


def decode(body: bytes) -> list[Record]:
    """The records of a batch body."""
    return [_RECORDS.decode(line) for line in split(body)] if body else []


def packed(body: Raw | None) -> str | bytes | None:
    """Text stays text, so that SQL can look into it; long text is compressed and becomes a blob."""
    if body is None:
        return None
    text = memoryview(body)
    return str(text, "utf-8") if len(text) < _COMPRESS_FROM_BYTES else isal_zlib.compress(text, 1)


def unpacked(stored: str | bytes | None) -> str | bytes | None:
    """The JSON text that was packed."""
    return isal_zlib.decompress(stored) if isinstance(stored, bytes) else stored


def _row(span: Span) -> Row:
    said, context = span.observation, span.context
    usage, costs = said.usage_details, said.cost_details
    asked = sum(count for name, count in usage.items() if name.startswith("input"))
    answered = sum(count for name, count in usage.items() if name.startswith("output"))
    return Row(
        id=span.id,
        parent_id=span.parent_id,
        type=said.type,
        name=said.name,
        started_ms=said.started_at_ms,
        ended_ms=said.ended_at_ms,
        first_token_ms=said.completion_started_at_ms,
        level=said.level,
        provider=said.provider,
        model=said.model,
        input_tokens=asked,
        output_tokens=answered,
        total_tokens=usage.get("total", asked + answered),
        cost=costs.get("total", sum(costs.values())),
        trace_name=context.trace_name,
        user_id=context.user_id,
        session_id=context.session_id,
        environment=context.environment,
        service=said.metadata.get("kong_service"),
        route=said.metadata.get("kong_route"),
        is_call=said.origin is not None and "kong_object" not in said.metadata,
    )


_RECORDS = msgspec.json.Decoder(Record)
