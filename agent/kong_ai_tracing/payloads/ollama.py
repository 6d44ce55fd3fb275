"""Ollama's own API: chat and generate, answered as one JSON object or as one a line, the last with `done`."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from kong_ai_tracing.entries import table
from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, items_of, value_of
from kong_ai_tracing.payloads.choices import GAP
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    failure_in,
    failure_of,
    is_streamed,
    word_of,
)
from kong_ai_tracing.payloads.parts import Message, media_part, text_part, thinking_block, tool_call
from kong_ai_tracing.payloads.prompts import asked_text, is_prompt, vectors_output
from kong_ai_tracing.payloads.turns import Turn, conversation, length_of, set_messages
from kong_ai_tracing.payloads.values import dicts_of, settings_of, text_or_none, values_of

_SETTINGS = ("stream", "format", "think", "keep_alive", "truncate", "dimensions", "raw", "suffix", "template")
_MEDIA_TYPES = {"iVBOR": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp"}
"""How pictures begin in base64. Ollama does not say what they are."""


def _parameters(fields: Fields) -> dict[str, Any]:
    return settings_of(table(value_of(fields.get("options"))) | values_of(fields, _SETTINGS))


# -- chat


def _is_chat(fields: Fields) -> bool:
    return "messages" in fields


def _is_certain_chat(fields: Fields) -> bool:
    """Known by its shape alone: nobody else has settings in `options`."""
    return "messages" in fields and "options" in fields


def _read_chat(fields: Fields) -> Asked:
    messages = [_message(message) for message in dicts_of(value_of(fields.get("messages")))]
    return _asked(fields, messages, dicts_of(value_of(fields.get("tools"))))


def _asked(fields: Fields, messages: list[Message], tools: list[Message]) -> Asked:
    return Asked(
        input=conversation(messages, tools=tools),
        model=word_of(fields.get("model")),
        parameters=_parameters(fields),
        streamed=is_streamed(fields),
        message_count=len(messages),
        prompt_length=length_of(messages),
    )


def _message(message: dict[str, Any]) -> Message:
    """A message in OpenAI's form: pictures among its parts, arguments as text."""
    found = {name: value for name, value in message.items() if name not in _OTHERWISE and value is not None}
    if pictures := _pictures(message.get("images")):
        said = message.get("content")
        found["content"] = [*([text_part(said)] if isinstance(said, str) and said else []), *pictures]
    if thoughts := message.get("thinking"):
        found["thinking"] = [thinking_block(thoughts)]
    if name := message.get("tool_name"):
        found["name"] = name
    if calls := _calls(message.get("tool_calls")):
        found["tool_calls"] = calls
    return found


_OTHERWISE = ("images", "thinking", "tool_name", "tool_calls")


def _pictures(images: Any) -> list[Message]:
    return [_picture(data) for data in images if isinstance(data, str)] if isinstance(images, list) else []


def _picture(data: str) -> Message:
    found = (media_type for start, media_type in _MEDIA_TYPES.items() if data.startswith(start))
    return media_part(next(found, "image/*"), data)


def _calls(calls: Any) -> list[Message]:
    found = []
    for call in dicts_of(calls):
        function = table(call.get("function"))
        call_id = call.get("id") or function.get("id")
        found.append(tool_call(function.get("name"), function.get("arguments"), call_id))
    return found


# -- generate: a chat of one turn


def _read_prompt(fields: Fields) -> Asked:
    messages: list[Message] = []
    if system := word_of(fields.get("system")):
        messages.append({"role": "system", "content": system})
    said = {"role": "user", "content": value_of(fields.get("prompt"))}
    messages.append(_message(said | values_of(fields, ("images",))))
    return _asked(fields, messages, [])


# -- both answers


def _is_response(fields: Fields) -> bool:
    return "done" in fields or ("message" in fields and "model" in fields) or "response" in fields


def _is_event(event: dict[str, Any]) -> bool:
    return "done" in event or "error" in event


def _read_response(fields: Fields) -> Answered:
    value = {name: value_of(raw) for name, raw in fields.items() if name != "context"}
    return _read([value], gap=None, ended="done" not in value)


def _read_events(stream: EventStream) -> Answered:
    return _read(stream.values, gap=stream.gap, ended=stream.done)


def _read(answers: list[dict[str, Any]], *, gap: int | None, ended: bool) -> Answered:
    found = Answered()
    turn = Turn()
    for number, answer in enumerate(answers):
        if number == gap:
            turn.add_text(GAP)
        message = table(answer.get("message"))
        for each in (message, answer):
            turn.add_thought_piece(each.get("thinking"))
        turn.add_text(message.get("content"))
        turn.add_text(answer.get("response"))
        turn.calls += _calls(message.get("tool_calls"))
        for picture in _pictures(message.get("images")):
            turn.add_part(picture)
        found.model = found.model or text_or_none(answer.get("model"))
        found.usage = _usage(answer) or found.usage
        found.failure = failure_in(answer.get("error")) or found.failure
        found.finish_reason = text_or_none(answer.get("done_reason")) or found.finish_reason
        ended = ended or answer.get("done") is True
    found.partial = not (ended or found.failure)
    set_messages(found, [turn])
    return found


def _usage(answer: dict[str, Any]) -> dict[str, Any]:
    counts = {"prompt_tokens": answer.get("prompt_eval_count"), "completion_tokens": answer.get("eval_count")}
    return {name: count for name, count in counts.items() if count is not None}


# -- embeddings


def _is_text(fields: Fields) -> bool:
    return "input" in fields or "prompt" in fields


def _has_vectors(fields: Fields) -> bool:
    return "embeddings" in fields or "embedding" in fields


def _read_text(fields: Fields) -> Asked:
    return asked_text(fields, fields.get("input") or fields.get("prompt"), _parameters(fields))


def _read_vectors(fields: Fields) -> Answered:
    one = fields.get("embedding")
    vectors = items_of(fields.get("embeddings")) or ([one] if one is not None else [])
    return Answered(
        output=vectors_output(len(vectors), _dimensions(vectors)),
        model=word_of(fields.get("model")),
        usage=_usage(values_of(fields, ("prompt_eval_count",))),
        failure=failure_of(fields),
    )


def _dimensions(vectors: list[Raw]) -> int | None:
    return len(items_of(vectors[0])) or None if vectors else None


CHAT = Dialect(
    name="ollama",
    operation="chat",
    provider="ollama",
    paths=re.compile(r"/api/chat/?$"),
    is_request=_is_chat,
    is_response=_is_response,
    is_event=_is_event,
    read_request=_read_chat,
    read_response=_read_response,
    read_events=_read_events,
)

GENERATE = Dialect(
    name="ollama",
    operation="generate",
    provider="ollama",
    paths=re.compile(r"/api/generate/?$"),
    is_request=is_prompt,
    is_response=_is_response,
    is_event=_is_event,
    read_request=_read_prompt,
    read_response=_read_response,
    read_events=_read_events,
)

EMBEDDING = Dialect(
    name="ollama",
    operation="embedding",
    type="embedding",
    provider="ollama",
    paths=re.compile(r"/api/(?:embed|embeddings)/?$"),
    is_request=_is_text,
    is_response=_has_vectors,
    read_request=_read_text,
    read_response=_read_vectors,
)

BY_SHAPE = replace(CHAT, is_request=_is_certain_chat)
"""A chat on a path that says nothing."""

DIALECTS = (CHAT, GENERATE, EMBEDDING)
