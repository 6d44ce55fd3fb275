"""Anthropic's Messages API, also as Vertex and Bedrock carry it.

A request becomes the messages of a chat: the system prompt first, tool calls and results in OpenAI's form.
Messages that have that form already travel on as the text they are. A stream is put together to the message
that the call would have given unstreamed, and read as that one.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from kong_ai_tracing.entries import table
from kong_ai_tracing.eventstreams import EventStream
from kong_ai_tracing.jsontext import (
    Fields,
    dump,
    fields_of,
    is_empty,
    items_of,
    object_text,
    string_of,
    value_of,
)
from kong_ai_tracing.payloads.anthropicstream import message_of_stream
from kong_ai_tracing.payloads.dialect import (
    Answered,
    Asked,
    Dialect,
    failure_in,
    failure_of,
    messages_input,
    raw_text,
    terms_of,
    text_length,
)
from kong_ai_tracing.payloads.parts import media_part, picture_part, tool_call, tool_result
from kong_ai_tracing.payloads.turns import Turn, content_of, set_messages
from kong_ai_tracing.payloads.values import text_or_none

_OWN_BLOCKS = re.compile(rb'"(?:tool_use|tool_result|thinking|redacted_thinking|image|document)"')
"""Blocks that OpenAI's form has other words for. A message without any is passed on as it is."""

_EVENT_TYPES = frozenset(
    (
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "completion",
        "ping",
        "error",
    )
)


# -- the request


def _is_request(fields: Fields) -> bool:
    return "messages" in fields


def _is_certain_request(fields: Fields) -> bool:
    """Known by its shape alone: a chat with members that only Anthropic's has."""
    if "messages" not in fields:
        return False
    if "anthropic_version" in fields:
        return True
    tools = fields.get("tools")
    return "system" in fields or (tools is not None and b'"input_schema"' in bytes(tools))


def _read_request(fields: Fields) -> Asked:
    texts, length = _messages(fields)
    terms = terms_of(fields)
    return Asked(
        input=messages_input(b"[" + b",".join(texts) + b"]", _tools(fields.get("tools"))),
        model=terms.model,
        parameters=terms.parameters,
        streamed=terms.streamed,
        message_count=len(texts),
        prompt_length=length,
    )


def _messages(fields: Fields) -> tuple[list[bytes], int]:
    """The messages as texts, led by the system prompt, and the characters of text in them."""
    texts: list[bytes] = []
    length = 0
    system = fields.get("system")
    if system is not None and not is_empty(system):
        texts.append(object_text({"role": b'"system"', "content": raw_text(system)}))
        length += text_length(value_of(system))
    for item in items_of(fields.get("messages")):
        for text, characters in _in_openais_form(item):
            texts.append(text)
            length += characters
    return texts, length


def _in_openais_form(item: Raw) -> list[tuple[bytes, int]]:
    message = value_of(item)
    if not isinstance(message, dict):
        return [(raw_text(item), 0)]
    content = message.get("content")
    if not isinstance(content, list) or not _OWN_BLOCKS.search(item):
        return [(raw_text(item), text_length(content))]
    more = {name: value for name, value in message.items() if name not in ("role", "content")}
    turn = Turn(_role(message.get("role"), "user"), more)
    add_blocks(turn, content)
    return [(dump(each), text_length(each["content"])) for each in turn.messages()]


def _role(role: Any, default: str) -> str:
    return role if isinstance(role, str) and role else default


def add_blocks(turn: Turn, blocks: list[Any]) -> None:
    """Put Anthropic's content blocks into a turn."""
    for block in blocks:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "thinking":
            turn.add_thought(block.get("thinking"), block.get("signature"))
        elif kind == "redacted_thinking":
            turn.add_redacted_thought(block.get("data"))
        elif kind == "tool_use":
            more = _others(block, *_CALL_MEMBERS)
            turn.calls.append(tool_call(block.get("name"), block.get("input"), block.get("id"), more))
        elif kind == "tool_result":
            more = _others(block, "tool_use_id", "content")
            turn.add_result(tool_result(_result(block.get("content")), block.get("tool_use_id"), more=more))
        else:
            turn.add_part(_part(block))


_CALL_MEMBERS = ("id", "name", "input")


def _others(block: dict[str, Any], *known: str) -> dict[str, Any]:
    """The members of a block that its new form has no place for; they stay beside it."""
    return {
        name: value
        for name, value in block.items()
        if name != "type" and name not in known and value is not None
    }


def _result(content: Any) -> Any:
    return content_of([_part(part) for part in content]) if isinstance(content, list) else content


def _part(block: Any) -> Any:
    """A picture or a document in the form in which Langfuse shows it; any other block as it is."""
    if not isinstance(block, dict) or block.get("type") not in ("image", "document"):
        return block
    source = block.get("source")
    if not isinstance(source, dict):
        return block
    kind, more = source.get("type"), _others(block, "source")
    if kind == "base64" and isinstance(media_type := source.get("media_type"), str):
        title = None if block["type"] == "image" else more.pop("title", None)
        return media_part(media_type, source.get("data"), title, more)
    if kind == "url" and block["type"] == "image":
        return picture_part(source.get("url")) | more
    return block


def _tools(tools: Raw | None) -> Raw | None:
    """Tool definitions in OpenAI's form; those that the provider runs itself as they are."""
    if tools is None or is_empty(tools):
        return None
    return Raw(b"[" + b",".join(_tool(item) for item in items_of(tools)) + b"]")


_FUNCTION_MEMBERS = {
    "name": "name",
    "description": "description",
    "input_schema": "parameters",
    "strict": "strict",
}


def _tool(item: Raw) -> bytes:
    tool = fields_of(item)
    if tool is None or "input_schema" not in tool:
        return raw_text(item)
    function = {new: raw_text(tool[name]) for name, new in _FUNCTION_MEMBERS.items() if name in tool}
    more = {
        name: raw_text(raw)
        for name, raw in tool.items()
        if name not in _FUNCTION_MEMBERS and name not in ("type", "function")
    }
    return object_text({"type": b'"function"', "function": object_text(function)} | more)


# -- the answer


def _is_response(fields: Fields) -> bool:
    return "content" in fields and ("role" in fields or "stop_reason" in fields)


def _is_certain_response(fields: Fields) -> bool:
    return string_of(fields.get("type")) == "message" and "content" in fields


_ANSWER_MEMBERS = frozenset(("id", "role", "model", "content", "usage", "stop_reason", "stop_details"))


def _read_response(fields: Fields) -> Answered:
    found = _answered({name: value_of(raw) for name, raw in fields.items() if name in _ANSWER_MEMBERS})
    found.failure = failure_of(fields)
    return found


def _answered(message: dict[str, Any]) -> Answered:
    """What a message of Anthropic's says, be it a whole body or the sum of a stream."""
    found = Answered(
        model=text_or_none(message.get("model")),
        usage=table(message.get("usage")),
        finish_reason=text_or_none(message.get("stop_reason")),
        response_id=text_or_none(message.get("id")),
    )
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    refusal = table(message.get("stop_details")).get("explanation")
    turn = Turn(_role(message.get("role"), "assistant"), {"refusal": refusal} if refusal else None)
    add_blocks(turn, content if isinstance(content, list) else [])
    set_messages(found, [turn])
    return found


def is_event(event: dict[str, Any]) -> bool:
    return event.get("type") in _EVENT_TYPES if isinstance(event.get("type"), str) else False


def _read_events(stream: EventStream) -> Answered:
    message, error, ended = message_of_stream(stream)
    found = _answered(message)
    found.failure = failure_in(error)
    found.partial = not ended and found.failure is None
    return found


# The anthropic models of Vertex are asked in this dialect, at paths that name no other one.
_MESSAGES_PATHS = r"/v1/messages/?$|/publishers/anthropic/models/[^/:]+:(?:streamRawPredict|rawPredict)$"

DIALECT = Dialect(
    name="anthropic",
    operation="chat",
    provider="anthropic",
    paths=re.compile(_MESSAGES_PATHS),
    is_request=_is_request,
    is_response=_is_response,
    is_event=is_event,
    read_request=_read_request,
    read_response=_read_response,
    read_events=_read_events,
)

BY_SHAPE = replace(DIALECT, is_request=_is_certain_request, is_response=_is_certain_response)
"""The Messages API on a path that says nothing."""

DIALECTS = (DIALECT,)
