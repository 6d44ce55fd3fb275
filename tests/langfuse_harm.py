"""What Langfuse 4.16 takes and regrets: values that it stores garbled, or that lose data of others too."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from typing import Any

_MODEL_TYPES = ["generation", "embedding"]
_OTHER_TYPES = ["span", "event", "agent", "tool", "chain", "retriever", "guardrail", "evaluator"]
TYPES = frozenset(_MODEL_TYPES + _OTHER_TYPES)
LEVELS = frozenset(["DEBUG", "DEFAULT", "WARNING", "ERROR"])
_EARLIEST_NS, _LATEST_NS = 946_684_800 * 10**9, 4_102_444_800 * 10**9  # the years 2000 and 2100
_TEXTS = {
    "langfuse.observation.type",
    "langfuse.observation.level",
    "langfuse.observation.status_message",
    "langfuse.observation.model.name",
    "langfuse.observation.completion_start_time",
    "langfuse.observation.input",
    "langfuse.observation.output",
    "langfuse.trace.name",
    "langfuse.environment",
    "langfuse.user.id",
    "langfuse.session.id",
    "user.id",
    "session.id",
    "langfuse.release",
    "langfuse.version",
}
_OBJECTS = {
    "langfuse.observation.model.parameters",
    "langfuse.observation.usage_details",
    "langfuse.observation.cost_details",
    "langfuse.observation.metadata",
    "langfuse.trace.metadata",
}
_SHORT = ("langfuse.trace.name", "langfuse.user.id", "langfuse.session.id", "user.id", "session.id")


def harm_in(span: dict[str, Any]) -> list[str]:
    """What the real server would take and regret."""
    return [*_harm_in_ids(span), *_harm_in_times(span), *_harm_in_attributes(span["attributes"])]


def no_constant(name: str) -> None:
    raise ValueError(name)


def has_surrogate(text: str) -> bool:
    return any("\ud800" <= each <= "\udfff" for each in text) if not text.isascii() else False


def _harm_in_ids(span: dict[str, Any]) -> list[str]:
    harm = []
    for key, digits in (("traceId", 32), ("spanId", 16), ("parentSpanId", 16)):
        value = span[key]
        if value is None:
            continue
        if len(value) != digits or not value.strip("0"):
            harm.append(f"{key} {value!r}")
    if not span["name"]:
        harm.append("no name")
    return harm


def _harm_in_times(span: dict[str, Any]) -> list[str]:
    start, end = span["startTimeUnixNano"], span["endTimeUnixNano"]
    if not _EARLIEST_NS <= start <= _LATEST_NS or not _EARLIEST_NS <= end <= _LATEST_NS:
        return [f"absurd time {start} {end}"]
    harm = [] if start <= end else ["ends before it starts"]
    first_token = span["attributes"].get("langfuse.observation.completion_start_time")
    if isinstance(first_token, str):
        try:
            at_ms = datetime.fromisoformat(first_token).timestamp() * 1000
        except (ValueError, OverflowError):
            return [*harm, f"first token at {first_token!r}"]
        if at_ms < start // 10**6:
            harm.append("first token before the start")
    return harm


def _harm_in_attributes(attributes: dict[str, Any]) -> list[str]:
    harm = [
        f"{name} is not text" for name in _TEXTS & attributes.keys() if not isinstance(attributes[name], str)
    ]
    harm += _harm_in_words(attributes)
    harm += [
        f"{name} holds a NUL"
        for name, value in attributes.items()
        if isinstance(value, str) and "\0" in value
    ]
    harm += [
        f"{name} has more than 200 characters" for name in _SHORT if len(str(attributes.get(name, ""))) > 200
    ]
    objects = {name: _json_object(attributes[name]) for name in _OBJECTS & attributes.keys()}
    harm += [f"{name} is not a JSON object" for name, value in objects.items() if value is None]
    for tokens in (objects.get("langfuse.observation.usage_details") or {}).values():
        if not isinstance(tokens, int) or isinstance(tokens, bool) or not 0 <= tokens < 2**53:
            harm.append(f"token count {tokens!r}")
    for cost in (objects.get("langfuse.observation.cost_details") or {}).values():
        if not isinstance(cost, int | float) or isinstance(cost, bool) or not math.isfinite(cost) or cost < 0:
            harm.append(f"cost {cost!r}")
    for name in ("langfuse.observation.input", "langfuse.observation.output"):
        if _json_holds_harm(attributes.get(name)):
            harm.append(f"{name} holds an escaped NUL or lone surrogate")
    return harm


def _harm_in_words(attributes: dict[str, Any]) -> list[str]:
    """Values that silently become something else."""
    harm = []
    if attributes.get("langfuse.observation.type") not in TYPES:
        harm.append(f"type {attributes.get('langfuse.observation.type')!r}")
    if attributes.get("langfuse.observation.level", "DEFAULT") not in LEVELS:
        harm.append(f"level {attributes['langfuse.observation.level']!r}")
    environment = attributes.get("langfuse.environment", "default")
    if not re.fullmatch(r"(?!langfuse)[a-z0-9_-]{1,40}", str(environment)):
        harm.append(f"environment {environment!r}")
    tags = attributes.get("langfuse.trace.tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) and len(tag) <= 200 for tag in tags):
        harm.append("tags are not a list of short texts")
    return harm


def _json_object(text: Any) -> dict[str, Any] | None:
    try:
        value = json.loads(text, parse_constant=no_constant)
    except (ValueError, TypeError):
        return None
    return value if isinstance(value, dict) else None


def _json_holds_harm(text: Any) -> bool:
    if not isinstance(text, str) or "\\u" not in text:
        return False
    try:
        return _holds_harm(json.loads(text))
    except ValueError:
        return False


def _holds_harm(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value or has_surrogate(value)
    if isinstance(value, list):
        return any(map(_holds_harm, value))
    if isinstance(value, dict):
        return any(map(_holds_harm, value)) or any(map(_holds_harm, value.values()))
    return False
