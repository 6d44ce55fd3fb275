"""OpenAI chat completions, and the many servers that speak the same."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder

from kong_ai_tracing.entries import table
from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import Fields, dump, items_of, object_text, objects_of, value_of
from kong_ai_tracing.payloads.choices import BESIDE, Choice, answered, choices_of, has_choices, is_chunk
from kong_ai_tracing.payloads.chunks import read_chunks, sources_beside
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    messages_input,
    raw_text,
    terms_of,
    text_length,
)
from kong_ai_tracing.payloads.reasoning import Thoughts, with_thinking


class _Message(Struct):
    content: str | list[Any] | None = None


class _Answer(Thoughts):
    content: str | list[Any] | None = None


_MESSAGES = Decoder(list[_Message])
_ANSWER = Decoder(_Answer)
_OBJECTS = re.compile(rb"[\[\s]*(?:[{}\]]|$)")


def _is_request(fields: Fields) -> bool:
    return "messages" in fields and _OBJECTS.match(fields["messages"]) is not None


def _read_request(fields: Fields) -> Asked:
    messages = fields.get("messages") or Raw(b"[]")
    count, length = _measure(messages)
    tools = fields.get("tools") or fields.get("functions")
    terms = terms_of(fields)
    return Asked(
        messages_input(raw_text(messages), tools),
        terms.model,
        terms.parameters,
        terms.streamed,
        message_count=count,
        prompt_length=length,
    )


def _measure(messages: Raw) -> tuple[int, int]:
    """How many messages, and how many characters of text in them."""
    try:
        read = _MESSAGES.decode(messages)
    except (ValueError, RecursionError):
        contents = [value_of(message.get("content")) for message in objects_of(messages)]
        return len(items_of(messages)), sum(map(text_length, contents))
    length = 0
    for message in read:
        content = message.content
        length += len(content) if type(content) is str else text_length(content)
    return len(read), length


def _read_response(fields: Fields) -> Answered:
    choices = choices_of(fields.get("choices"))
    found = answered(fields, choices)
    messages = [_message_of(choice) for choice in choices if choice.message or choice.text]
    if len(messages) == 1:
        [(text, found.response_length)] = messages
        found.output = _with_sources(text, fields)
    elif messages:
        found.output = b"[" + b",".join([text for text, _ in messages]) + b"]"
        found.response_length = sum([length for _, length in messages])
    return found


def _message_of(choice: Choice) -> tuple[bytes, int]:
    """The message of a choice, and the characters of text in it. Most travel on as the text they are."""
    raw = choice.message
    if not raw:
        text = object_text({"role": b'"assistant"', "content": raw_text(choice.text)})
        return text, text_length(value_of(choice.text))
    try:
        answer = _ANSWER.decode(raw)
    except (ValueError, RecursionError):
        return _odd_message(raw)
    content = answer.content
    if type(content) is list or answer.are_told:
        return _odd_message(raw)
    return _with_role(raw_text(raw)), len(content or "")


def _odd_message(raw: Raw) -> tuple[bytes, int]:
    """A message that says more than a text, such as thoughts, or is none."""
    message = table(value_of(raw))
    length = text_length(message.get("content"))
    told = with_thinking(message)
    return _with_role(raw_text(raw)) if told is message else dump({"role": "assistant"} | told), length


def _with_sources(message: bytes, fields: Fields) -> bytes:
    """A message with what stands beside the choices; one that has such a member keeps its own."""
    sources = [name for name in BESIDE if name in fields and b'"%b"' % name.encode() not in message]
    if not sources or not message.endswith(b"}") or b":" not in message:
        return message
    return (
        message[:-1]
        + b"".join(b',"%b":%b' % (name.encode(), raw_text(fields[name])) for name in sources)
        + b"}"
    )


def _with_role(message: bytes) -> bytes:
    """Some servers leave the role out, without which nobody shows a message as one."""
    if message.startswith(b'{"') and b'"role"' not in message:
        return b'{"role":"assistant",' + message[1:]
    return message


def _read_events(stream: EventStream) -> Answered:
    found, messages = read_chunks(stream)
    if len(messages) == 1:
        messages = [sources_beside(stream) | messages[0]]
    if messages:
        found.output = dump(messages[0] if len(messages) == 1 else messages)
        found.response_length = sum(text_length(message.get("content")) for message in messages)
    return found


# Vertex carries the bodies of Mistral and others as they are; Anthropic's have a reader of their own.
_PATHS = r"/chat/completions/?$|/publishers/(?!anthropic/)[^/]+/models/[^/:]+:(?:streamRawP|rawP)redict$"

DIALECT = Dialect(
    name="chat",
    operation="chat",
    paths=re.compile(_PATHS),
    distinctive=True,
    is_request=_is_request,
    is_response=has_choices,
    is_event=is_chunk,
    read_request=_read_request,
    read_response=_read_response,
    read_events=_read_events,
)

DIALECTS = (DIALECT,)
