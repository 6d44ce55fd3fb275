"""An encoded span that is too large in, the same span with its longest texts cut out.

Texts are cut where they stand, so that messages stay messages and JSON stays JSON. They are cut between
characters: neither an escape nor a surrogate pair is ever torn.
"""

from __future__ import annotations

from typing import Any

import orjson

SHORTENED = "kong_ai_tracing.shortened"
"""Metadata: names of the values that were cut."""

_METADATA = "langfuse.observation.metadata"
_OBJECTS = frozenset(
    (
        _METADATA,
        "langfuse.trace.metadata",
        "langfuse.observation.model.parameters",
        "langfuse.observation.usage_details",
        "langfuse.observation.cost_details",
    )
)
_JSON = _OBJECTS | {"langfuse.observation.input", "langfuse.observation.output"}
_SHORTEST = 64
"""Texts are not cut below this many characters."""


def shorten(span: bytes, max_bytes: int) -> bytes | None:
    """The span in at most `max_bytes`; None when its texts are not what makes it large."""
    limit = max_bytes
    while limit > _SHORTEST:
        parsed = orjson.loads(span)
        _cut_attributes(parsed, limit)
        shorter = orjson.dumps(parsed)
        if len(shorter) <= max_bytes:
            return shorter
        limit //= 2
    return None


def _cut_attributes(span: dict[str, Any], limit: int) -> None:
    attributes = {each["key"]: each["value"] for each in span["attributes"]}
    cut = []
    for key, value in attributes.items():
        text = value.get("stringValue", "")
        if len(text) > limit:
            value["stringValue"] = (
                _cut_json(text, limit, key in _OBJECTS) if key in _JSON else _cut(text, limit)
            )
            cut.append(key.removeprefix("langfuse.").removeprefix("observation."))
    if cut:
        _note(span, attributes, ",".join(sorted(cut)))
    status = span.get("status")
    if status and len(status.get("message", "")) > limit:
        status["message"] = _cut(status["message"], limit)


def _note(span: dict[str, Any], attributes: dict[str, Any], names: str) -> None:
    if _METADATA not in attributes:
        attributes[_METADATA] = {"stringValue": "{}"}
        span["attributes"].append({"key": _METADATA, "value": attributes[_METADATA]})
    metadata = orjson.loads(attributes[_METADATA]["stringValue"])
    said = metadata.get(SHORTENED, "").split(",")
    metadata[SHORTENED] = ",".join(sorted({*said, *names.split(",")} - {""}))
    attributes[_METADATA]["stringValue"] = orjson.dumps(metadata).decode()


def _cut_json(text: str, limit: int, is_object: bool) -> str:
    """JSON of at most about `limit` characters: its longest texts are cut, or else all of it is."""
    try:
        value = orjson.loads(text)
    except ValueError:
        return "{}" if is_object else orjson.dumps(_cut(text, limit)).decode()
    longest = limit
    while longest > _SHORTEST:
        longest //= 2
        shorter = orjson.dumps(cut_texts(value, longest)).decode()
        if len(shorter) <= limit:
            return shorter
    return "{}" if is_object else orjson.dumps(_cut(text, limit // 2)).decode()


def cut_texts(value: Any, longest: int) -> Any:
    """The same value with every text in it of at most `longest` characters, but for the note at its end."""
    if isinstance(value, str):
        return _cut(value, longest)
    if isinstance(value, list):
        return [cut_texts(each, longest) for each in value]
    if isinstance(value, dict):
        return {key: cut_texts(each, longest) for key, each in value.items()}
    return value


def _cut(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    return f"{text[:longest]}… [{len(text) - longest} characters cut: too large for Langfuse]"
