"""OpenAI's Responses API: instructions and input items in, output items out.

Both are given the form of a chat: the instructions become a system message, the output items one
assistant message with its text, tool calls and what was told of the thoughts.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Raw

from kong_ai_tracing.entries import table
from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, dump, is_empty, items_of, object_text, string_of, value_of
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
from kong_ai_tracing.payloads.parts import media_part, tool_call
from kong_ai_tracing.payloads.responsesstream import items_so_far
from kong_ai_tracing.payloads.turns import Turn, set_messages
from kong_ai_tracing.payloads.values import dicts_of, settings_of, text_or_none

_FINISHED = ("response.completed", "response.incomplete", "response.failed")


def _is_request(fields: Fields) -> bool:
    return ("input" in fields or "prompt" in fields) and "messages" not in fields


def _is_response(fields: Fields) -> bool:
    return string_of(fields.get("object")) == "response" or ("output" in fields and "status" in fields)


def _read_request(fields: Fields) -> Asked:
    messages = _messages(fields)
    return Asked(
        input=_input(messages, fields),
        model=word_of(fields.get("model")),
        parameters=parameters_of(fields) | settings_of(_form(fields)),
        streamed=is_streamed(fields),
        message_count=len(messages),
        prompt_length=_prompt_length(fields),
    )


def _input(messages: list[bytes], fields: Fields) -> bytes | None:
    """The messages, with a prompt that OpenAI keeps and the values for its variables beside them."""
    text, prompt = b"[" + b",".join(messages) + b"]", fields.get("prompt")
    if prompt is not None and not is_empty(prompt):
        return object_text({"prompt": raw_text(prompt)} | ({"messages": text} if messages else {}))
    return messages_input(text, fields.get("tools")) if messages else None


def _form(fields: Fields) -> dict[str, Any]:
    """The form of the answer, under the name that it has in a chat."""
    text = table(value_of(fields.get("text")))
    return {"response_format": text.get("format"), "verbosity": text.get("verbosity")}


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


_MEMBERS = frozenset(
    ("id", "model", "usage", "status", "output", "error", "incomplete_details", "service_tier")
)


def _answered(response: dict[str, Any]) -> Answered:
    """What a response object says, be it the whole body or the one in a stream's last event."""
    usage = response.get("usage")
    found = Answered(
        model=text_or_none(response.get("model")),
        usage=usage if isinstance(usage, dict) else {},
        finish_reason=_finish_reason(response),
        response_id=text_or_none(response.get("id")),
        service_tier=text_or_none(response.get("service_tier")),
        failure=failure_in(response.get("error")),
    )
    _set_output(found, dicts_of(response.get("output")))
    return found


def _finish_reason(response: dict[str, Any]) -> str | None:
    details = response.get("incomplete_details")
    reason = text_or_none(details.get("reason")) if isinstance(details, dict) else None
    return reason or text_or_none(response.get("status"))


def _set_output(found: Answered, items: list[dict[str, Any]]) -> None:
    turn = Turn()
    for item in items:
        _add_item(turn, item)
    set_messages(found, [turn])


def _add_item(turn: Turn, item: dict[str, Any]) -> None:
    kind = item.get("type")
    if kind == "message":
        _add_content(turn, item.get("content"))
    elif kind == "reasoning":
        _add_reasoning(turn, item)
    elif kind == "function_call":
        turn.calls.append(tool_call(item.get("name"), item.get("arguments"), _call_id(item)))
    elif kind == "custom_tool_call":
        custom = {"name": item.get("name"), "input": item.get("input")}
        turn.calls.append({"id": _call_id(item), "type": "custom", "custom": custom})
    elif kind == "image_generation_call" and isinstance(data := item.get("result"), str):
        turn.add_part(media_part(f"image/{text_or_none(item.get('output_format')) or 'png'}", data))
    else:
        turn.add_more("items", [item])


def _add_content(turn: Turn, content: Any) -> None:
    turn.add_text(content)
    for part in dicts_of(content):
        if isinstance(refusal := part.get("refusal"), str):
            turn.more["refusal"] = turn.more.get("refusal", "") + refusal
        turn.add_text(part.get("text"))
        turn.add_more("annotations", part.get("annotations"))


def _add_reasoning(turn: Turn, item: dict[str, Any]) -> None:
    """A summary of the thoughts, or the thoughts themselves, or what only OpenAI can read."""
    for told in (item.get("summary"), item.get("content")):
        texts = [text for part in dicts_of(told) if isinstance(text := part.get("text"), str)]
        if texts:
            turn.add_thought("\n\n".join(texts))
            return
    if encrypted := item.get("encrypted_content"):
        turn.add_redacted_thought(encrypted)


def _call_id(item: dict[str, Any]) -> Any:
    return item.get("call_id") or item.get("id")


def _is_event(event: dict[str, Any]) -> bool:
    kind = event.get("type")
    return isinstance(kind, str) and (kind.startswith("response.") or kind == "error")


def _read_events(stream: EventStream) -> Answered:
    failure: Failure | None = None
    begun: dict[str, Any] = {}
    for event in stream.values:
        kind, response = event.get("type"), event.get("response")
        if isinstance(response, dict):
            begun = response
            if kind in _FINISHED:
                return _finished(response, stream)
        if kind == "error":
            failure = failure_in(event.get("error") or event)
    found = _answered(begun)
    found.finish_reason = None
    found.failure = failure or found.failure
    found.partial = found.failure is None
    _set_output(found, items_so_far(stream))
    return found


def _finished(response: dict[str, Any], stream: EventStream) -> Answered:
    found = _answered(response)
    if found.output is None:
        _set_output(found, items_so_far(stream))
    return found


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

DIALECTS = (DIALECT,)
