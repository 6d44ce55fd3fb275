"""Encoded spans in, a request to the batch endpoint out; and its answer, which is one for each event.

Each span becomes an event of its own, each trace one more that carries its labels. The id of an event is a
digest of what it says: the same event comes again with the same id, and Langfuse keeps it once; one that
says something else has another id, and is laid over the earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import httpx
import orjson
from msgspec import Struct

from kong_ai_tracing import __version__
from kong_ai_tracing.answers import RETRYABLE, not_langfuse, wrong_keys
from kong_ai_tracing.outcomes import Accepted, Outcome, Partly, TryLater
from kong_ai_tracing.tracejson import rfc3339

MAX_BYTES = 3_500_000
"""What Langfuse's documentation allows. Its code takes a million more."""

_HEAD = b'{"batch":['
_TAIL = b'],"metadata":' + orjson.dumps({"sdk_name": "kong-ai-tracing", "sdk_version": __version__}) + b"}"
_GENERATIONS = frozenset(("generation", "embedding"))
"""Old servers know no other types than these and spans, and only a generation has a model and usage."""
_PERHAPS_GENERATIONS = frozenset(("retriever", "guardrail"))
"""A reranking and a moderation have a model, a search and the check of a plugin have none."""
_MAX_REASON_CHARACTERS = 300


class Events(Struct, frozen=True):
    """A request body, and which spans each event in it speaks for, by their place."""

    data: bytes
    places: dict[str, tuple[int, ...]]


def events_of(spans: Sequence[dict[str, Any]]) -> Events:
    """The request that carries these spans (in OTLP's form, parsed)."""
    parts: list[bytes] = []
    places: dict[str, tuple[int, ...]] = {}
    speakers = _speakers(spans)
    for trace_id, (speaker, members) in speakers.items():
        _add(parts, places, "trace-create", _trace(trace_id, spans[speaker]), spans[speaker], members)
    for place, span in enumerate(spans):
        kind, body = _observation(span)
        _add(parts, places, kind, body, span, (place,))
    return Events(b"".join((_HEAD, b",".join(parts), _TAIL)), places)


def outcome_of(response: httpx.Response, events: Events, spans: int) -> Outcome:
    """What became of each span, from the results in a 207."""
    try:
        said = orjson.loads(response.content)
        succeeded = {each["id"] for each in said["successes"]}
        failed = {each["id"]: each for each in said["errors"]}
    except (ValueError, KeyError, TypeError):
        return not_langfuse(response)
    refused: dict[int, str] = {}
    later: set[int] = set()
    why_later = ""
    for event_id, places in events.places.items():
        if event_id in succeeded:
            continue
        status, reason = _failure(failed.get(event_id))
        if status in (401, 403):
            return wrong_keys(reason)
        if status >= 500 or status in RETRYABLE:
            later.update(places)
            why_later = reason
        else:
            refused.update(dict.fromkeys(places, reason))
    later -= refused.keys()
    if not refused and not later:
        return Accepted()
    if len(later) == spans:
        return TryLater(why_later)
    return Partly(refused, tuple(sorted(later)), why_later)


def _failure(error: Any) -> tuple[int, str]:
    """The status of an event that did not succeed. One without a result may be lost and comes again."""
    if not isinstance(error, dict) or not isinstance(status := error.get("status"), int):
        return 500, "the server gave no result for an event"
    words = " ".join(str(error[name]) for name in ("message", "error") if error.get(name))
    return status, f"{status} {words[:_MAX_REASON_CHARACTERS]}".strip()


def _speakers(spans: Sequence[dict[str, Any]]) -> dict[str, tuple[int, tuple[int, ...]]]:
    """By trace id: the span that speaks for the trace (its root, else the last), and all its spans."""
    found: dict[str, tuple[int, tuple[int, ...]]] = {}
    for place, span in enumerate(spans):
        trace_id = span["traceId"]
        speaker, members = found.get(trace_id, (place, ()))
        if "parentSpanId" not in span or "parentSpanId" in spans[speaker]:
            speaker = place
        found[trace_id] = speaker, (*members, place)
    return found


def _add(
    parts: list[bytes],
    places: dict[str, tuple[int, ...]],
    kind: str,
    body: dict[str, Any],
    span: dict[str, Any],
    speaks_for: tuple[int, ...],
) -> None:
    # Of two events about one thing the later wins; the end of a root that grows is such an order.
    timestamp = _time(span["endTimeUnixNano"])
    content = orjson.dumps({name: value for name, value in body.items() if value is not None})
    event_id = sha256(b"\n".join((kind.encode(), timestamp.encode(), content))).hexdigest()[:32]
    if event_id not in places:
        event = {"id": event_id, "timestamp": timestamp, "type": kind, "body": orjson.Fragment(content)}
        parts.append(orjson.dumps(event))
    places[event_id] = (*places.get(event_id, ()), *speaks_for)


def _trace(trace_id: str, span: dict[str, Any]) -> dict[str, Any]:
    said = _attributes(span)
    is_root = "parentSpanId" not in span
    return {
        "id": trace_id,
        "timestamp": _time(span["startTimeUnixNano"]),
        "name": said.get("langfuse.trace.name"),
        "userId": said.get("langfuse.user.id"),
        "sessionId": said.get("langfuse.session.id"),
        "environment": said.get("langfuse.environment"),
        "release": said.get("langfuse.release"),
        "version": said.get("langfuse.version"),
        "tags": said.get("langfuse.trace.tags"),
        "metadata": _json(said.get("langfuse.trace.metadata")),
        "input": _json(said.get("langfuse.observation.input")) if is_root else None,
        "output": _json(said.get("langfuse.observation.output")) if is_root else None,
    }


def _observation(span: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    said = _attributes(span)
    kind = said.get("langfuse.observation.type")
    body = {
        "id": span["spanId"],
        "traceId": span["traceId"],
        "parentObservationId": span.get("parentSpanId"),
        "name": span["name"],
        "startTime": _time(span["startTimeUnixNano"]),
        "environment": said.get("langfuse.environment"),
        "level": said.get("langfuse.observation.level"),
        "statusMessage": said.get("langfuse.observation.status_message"),
        "version": said.get("langfuse.version"),
        "metadata": _json(said.get("langfuse.observation.metadata")),
        "input": _json(said.get("langfuse.observation.input")),
        "output": _json(said.get("langfuse.observation.output")),
    }
    if kind == "event":
        return "event-create", body
    body["endTime"] = _time(span["endTimeUnixNano"])
    model = said.get("langfuse.observation.model.name")
    if kind not in _GENERATIONS and not (kind in _PERHAPS_GENERATIONS and model):
        return "span-create", body
    return "generation-create", body | {
        "completionStartTime": said.get("langfuse.observation.completion_start_time"),
        "model": model,
        "modelParameters": _parameters(said.get("langfuse.observation.model.parameters")),
        "usageDetails": _json(said.get("langfuse.observation.usage_details")),
        "costDetails": _json(said.get("langfuse.observation.cost_details")),
        "promptName": said.get("langfuse.observation.prompt.name"),
        "promptVersion": said.get("langfuse.observation.prompt.version"),
    }


def _attributes(span: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for attribute in span["attributes"]:
        value = attribute["value"]
        if "arrayValue" in value:
            found[attribute["key"]] = [each["stringValue"] for each in value["arrayValue"]["values"]]
        elif "intValue" in value:
            found[attribute["key"]] = int(value["intValue"])
        else:
            found[attribute["key"]] = value["stringValue"]
    return found


def _json(text: str | None) -> orjson.Fragment | None:
    """A value that is JSON already; it is put in as it is."""
    return None if text is None else orjson.Fragment(text)


def _parameters(text: str | None) -> dict[str, Any] | None:
    """Strings, numbers, truth values and lists of strings as they are, all else as JSON text."""
    if text is None:
        return None
    return {
        name: value if _is_parameter(value) else orjson.dumps(value).decode()
        for name, value in orjson.loads(text).items()
    }


def _is_parameter(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(each, str) for each in value)
    return value is None or isinstance(value, str | int | float | bool)


def _time(unix_nano: str) -> str:
    return rfc3339(int(unix_nano) // 1_000_000)
