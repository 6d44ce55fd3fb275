"""OpenAI's Responses API: instructions and input items in, output items out.

Both are given the form of a chat: the instructions become a system message, the output items one
assistant message with its text, tool calls and summary of the reasoning.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Raw

from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, dump, is_empty, items_of, object_text, string_of, value_of
from kong_ai_tracing.payloads.choices import GAP
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    Failure,
    failure_in,
    is_streamed,
    messages_input,
    parameters_of,
    raw_text,
    text_length,
    word_of,
)
from kong_ai_tracing.payloads.values import text_or_none

_FINISHED = ("response.completed", "response.incomplete", "response.failed")
_TEXT_PARTS = {"output_text": "text", "text": "text", "refusal": "refusal"}


def _is_request(fields: Fields) -> bool:
    return ("input" in fields or "prompt" in fields) and "messages" not in fields


def _is_response(fields: Fields) -> bool:
    return string_of(fields.get("object")) == "response" or ("output" in fields and "status" in fields)


def _read_request(fields: Fields) -> Asked:
    messages = _messages(fields)
    return Asked(
        input=messages_input(b"[" + b",".join(messages) + b"]", fields.get("tools")) if messages else None,
        model=word_of(fields.get("model")),
        parameters=parameters_of(fields),
        streamed=is_streamed(fields),
        message_count=len(messages),
        prompt_length=_prompt_length(fields),
    )


def _messages(fields: Fields) -> list[bytes]:
    """The input items, led by the instructions where there are some."""
    instructions, given = fields.get("instructions"), fields.get("input")
    messages = []
    if instructions is not None and not is_empty(instructions):
        messages.append(_message("system", instructions))
    if given is None:
        return messages
    if string_of(given) is not None:
        return [*messages, _message("user", given)]
    return messages + [raw_text(item) for item in items_of(given)]


def _message(role: str, content: Raw) -> bytes:
    return object_text({"role": dump(role), "content": raw_text(content)})


def _prompt_length(fields: Fields) -> int:
    length = text_length(value_of(fields.get("instructions")))
    given = value_of(fields.get("input"))
    if isinstance(given, list):
        return length + sum(text_length(item.get("content")) for item in given if isinstance(item, dict))
    return length + text_length(given)


def _read_response(fields: Fields) -> Answered:
    return _answered({name: value_of(raw) for name, raw in fields.items() if name in _MEMBERS})


_MEMBERS = frozenset(("id", "model", "usage", "status", "output", "error", "incomplete_details"))


def _answered(response: dict[str, Any]) -> Answered:
    """What a response object says, be it the whole body or the one in a stream's last event."""
    usage = response.get("usage")
    found = Answered(
        model=text_or_none(response.get("model")),
        usage=usage if isinstance(usage, dict) else {},
        finish_reason=_finish_reason(response),
        response_id=text_or_none(response.get("id")),
        failure=failure_in(response.get("error")),
    )
    items = response.get("output")
    _set_output(found, [item for item in items if isinstance(item, dict)] if isinstance(items, list) else [])
    return found


def _finish_reason(response: dict[str, Any]) -> str | None:
    details = response.get("incomplete_details")
    reason = text_or_none(details.get("reason")) if isinstance(details, dict) else None
    return reason or text_or_none(response.get("status"))


def _set_output(found: Answered, items: list[dict[str, Any]]) -> None:
    if not items:
        return
    message = _assistant_message(items)
    found.output = dump(message)
    found.response_length = text_length(message["content"])


def _assistant_message(items: list[dict[str, Any]]) -> dict[str, Any]:
    texts: list[str] = []
    reasoning: list[str] = []
    calls: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for item in items:
        kind = item.get("type")
        if kind == "message":
            texts += _texts_of(item.get("content"))
        elif kind == "reasoning":
            reasoning += _texts_of(item.get("summary"))
        elif kind == "function_call":
            calls.append(_tool_call(item))
        else:
            others.append(item)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None}
    more = {"reasoning": "\n\n".join(reasoning), "tool_calls": calls, "items": others}
    return message | {name: value for name, value in more.items() if value}


def _texts_of(parts: Any) -> list[str]:
    if isinstance(parts, str):
        return [parts]
    found = []
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict) and isinstance(kind := part.get("type"), str):
            text = part.get(_TEXT_PARTS.get(kind, "text"))
            if isinstance(text, str):
                found.append(text)
    return found


def _tool_call(item: dict[str, Any]) -> dict[str, Any]:
    call = {"id": item.get("call_id") or item.get("id"), "type": "function"}
    return call | {"function": {"name": item.get("name"), "arguments": item.get("arguments")}}


def _is_event(event: dict[str, Any]) -> bool:
    kind = event.get("type")
    return isinstance(kind, str) and (kind.startswith("response.") or kind == "error")


def _read_events(stream: EventStream) -> Answered:
    failure: Failure | None = None
    begun: dict[str, Any] = {}
    for event in stream.events:
        kind, response = event.value.get("type"), event.value.get("response")
        if isinstance(response, dict):
            begun = response
            if kind in _FINISHED:
                return _finished(response, stream)
        if kind == "error":
            failure = failure_in(event.value.get("error") or event.value)
    found = _answered(begun)
    found.finish_reason = None
    found.failure = failure or found.failure
    found.partial = found.failure is None
    _set_output(found, _items_so_far(stream))
    return found


def _finished(response: dict[str, Any], stream: EventStream) -> Answered:
    found = _answered(response)
    if found.output is None:
        _set_output(found, _items_so_far(stream))
    return found


def _items_so_far(stream: EventStream) -> list[dict[str, Any]]:
    """The output items put together from their fragments, for a stream that has no last event."""
    items: dict[int, dict[str, Any]] = {}
    for number, event in enumerate(stream.events):
        value = event.value
        index = value.get("output_index")
        if not isinstance(index, int):
            continue
        kind = value.get("type")
        if isinstance(item := value.get("item"), dict):
            known = items.get(index, {})
            items[index] = item if kind == "response.output_item.done" else known | item
        elif isinstance(delta := value.get("delta"), str) and isinstance(kind, str):
            _add_delta(items.setdefault(index, {}), kind, (GAP if number == stream.gap else "") + delta)
    return [item for _, item in sorted(items.items())]


def _add_delta(item: dict[str, Any], kind: str, delta: str) -> None:
    if kind in ("response.output_text.delta", "response.refusal.delta"):
        item.setdefault("type", "message")
        _append_text(item, "content", "output_text", delta)
    elif kind == "response.function_call_arguments.delta":
        item.setdefault("type", "function_call")
        item["arguments"] = (_word_or_empty(item.get("arguments"))) + delta
    elif kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
        item.setdefault("type", "reasoning")
        _append_text(item, "summary", "summary_text", delta)


def _append_text(item: dict[str, Any], member: str, kind: str, delta: str) -> None:
    parts = item.get(member)
    if not isinstance(parts, list) or not parts or not isinstance(parts[-1], dict):
        parts = item[member] = [{"type": kind, "text": ""}]
    parts[-1]["text"] = _word_or_empty(parts[-1].get("text")) + delta


def _word_or_empty(value: Any) -> str:
    return value if isinstance(value, str) else ""


DIALECT = Dialect(
    name="responses",
    operation="response",
    paths=re.compile(r"/responses/?$"),
    is_request=_is_request,
    is_response=_is_response,
    is_event=_is_event,
    read_request=_read_request,
    read_response=_read_response,
    read_events=_read_events,
)
