"""Bodies that no dialect knows: the whole of it as input, the text found by the usual members as output."""

from __future__ import annotations

import re
from typing import Any

from kong_ai_tracing.entries import table
from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, dump, object_text, value_of
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    failure_in,
    failure_of,
    raw_text,
    terms_of,
    text_length,
)
from kong_ai_tracing.payloads.values import text_or_none

_SECRETS = frozenset(("api_key", "apikey", "key", "authorization"))
_END_MARKS = (
    "done",
    "finish_reason",
    "stop_reason",
    "finishReason",
    "stopReason",
    "done_reason",
    "is_finished",
)


def _never(_: Any) -> bool:
    return False


def _read_request(fields: Fields) -> Asked:
    terms = terms_of(fields)
    return Asked(
        input=object_text({name: raw_text(raw) for name, raw in fields.items() if name not in _SECRETS}),
        model=terms.model,
        parameters=terms.parameters,
        streamed=terms.streamed,
    )


def _read_response(fields: Fields) -> Answered:
    value = {name: value_of(raw) for name, raw in fields.items() if name not in ("embedding", "embeddings")}
    found = _beside_the_text(value)
    found.failure = failure_of(fields)
    _set_text(found, _text_in(value))
    return found


def _beside_the_text(value: dict[str, Any]) -> Answered:
    """Model, usage, end and id, at the top or, as at the start of Anthropic's streams, within the message."""
    inner = table(value.get("message"))
    reasons = (text_or_none(value.get(mark)) for mark in _END_MARKS)
    return Answered(
        model=text_or_none(value.get("model")) or text_or_none(inner.get("model")),
        usage=_usage(inner) | _usage(value),
        finish_reason=next(filter(None, reasons), None),
        response_id=text_or_none(value.get("id")) or text_or_none(inner.get("id")),
    )


def _usage(value: dict[str, Any]) -> dict[str, Any]:
    for name in ("usage", "usageMetadata"):
        if isinstance(usage := value.get(name), dict):
            return usage
    if "eval_count" in value or "prompt_eval_count" in value:
        return {"prompt_tokens": value.get("prompt_eval_count"), "completion_tokens": value.get("eval_count")}
    return {}


def _set_text(found: Answered, text: str) -> None:
    if text:
        found.output = dump({"role": "assistant", "content": text})
        found.response_length = text_length(text)


_END_TYPES = ("message_stop", "message-end", "stream-end")
_TEXT_MEMBERS = (
    "text",
    "generated_text",
    "content",
    "response",
    "completion",
    "outputText",
    "message",
    "output",
    "parts",
    "candidates",
    "generations",
    "results",
    "delta",
    "token",
)


def _text_in(value: Any, depth: int = 0) -> str:
    """The text in an answer, wherever the usual members lead to it."""
    if isinstance(value, str):
        return value
    if depth > 8:
        return ""
    if isinstance(value, list):
        return "".join(_text_in(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return next((text for name in _TEXT_MEMBERS if (text := _text_in(value.get(name), depth + 1))), "")
    return ""


def _read_events(stream: EventStream) -> Answered:
    found = Answered(partial=not stream.done)
    texts: list[str] = []
    for value in stream.values:
        part = _beside_the_text(value)
        found.model = found.model or part.model
        found.response_id = found.response_id or part.response_id
        found.finish_reason = part.finish_reason or found.finish_reason
        found.usage = found.usage | part.usage
        found.failure = failure_in(value.get("error")) or found.failure
        found.partial = found.partial and not _ends(value)
        texts.append(_text_in({name: item for name, item in value.items() if name != "generated_text"}))
    found.partial = found.partial and found.failure is None
    _set_text(found, "".join(texts))
    return found


def _ends(value: dict[str, Any]) -> bool:
    if value.get("type") in _END_TYPES or value.get("generated_text"):
        return True
    candidates = value.get("candidates")
    inner = candidates[0] if isinstance(candidates, list) and candidates else None
    places = (value, value.get("delta"), inner)
    return any(place.get(mark) for place in places if isinstance(place, dict) for mark in _END_MARKS)


UNKNOWN = Dialect(
    name="unknown",
    operation="call",
    paths=re.compile(r"$^"),
    is_request=_never,
    is_response=_never,
    is_event=_never,
    read_request=_read_request,
    read_response=_read_response,
    read_events=_read_events,
)
"""The last resort for a body that Kong says belongs to an AI call."""
